"""The symbols that generated codes are made of."""

# The Cyrillic letters are meant.
# ruff: noqa: RUF001

import unicodedata

from promint.domain.codetext import canonical
from promint.domain.errors import BadValue
from promint.domain.model import CodeMatching

CLEAR = "clear"
"""The alphabet of a group that names none."""

ALPHABETS = {
    CLEAR: "23456789ABCDEFGHJKLMNPQRSTUVWXYZ",
    "digits": "0123456789",
    "letters": "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "cyrillic": "БГДЖИЛПФЦЧШЩЫЭЮЯ",
}
"""The alphabets that have a name.

`clear` has 32 symbols, no two of which look alike: of 0 and O neither, of 1, I and L only L.
`cyrillic` leaves out what looks like a Latin letter or a digit (А В Е Ё З К М Н О Р С Т У Х Ь) and
what differs from another only by a small mark (Й Ъ); 16 are left.
"""

SYMBOLS_MAX = 100
"""The most symbols of the groups of one template: the check symbol is computed in bytes."""

_JAMO = ("\u1100", "\u11ff")


def own_alphabet(symbols: str, matching: CodeMatching, where: str) -> str:
    """Return an alphabet that a template brings itself, checked.

    Raises:
        BadValue: it has fewer than 2 symbols, one twice as the program compares codes, or one
            that a code cannot hold anywhere: white space, a mark that joins the symbol before it,
            or one that stands for several when it is compared.
    """
    compared: dict[str, str] = {}
    for symbol in symbols:
        key = canonical(symbol, matching)
        if len(key) != 1 or unicodedata.category(symbol)[0] not in "LNPS" or joins_before(key):
            raise BadValue(f"{symbol!r} cannot be a symbol of an alphabet", where)
        if key in compared:
            twice = repr(symbol) if compared[key] == symbol else f"{compared[key]!r} as {symbol!r}"
            raise BadValue(f"the alphabet [{symbols}] has {twice} twice", where)
        compared[key] = symbol
    if not 2 <= len(symbols) <= SYMBOLS_MAX:
        raise BadValue(f"the alphabet [{symbols}] does not have 2 to {SYMBOLS_MAX} symbols", where)
    return symbols


def joins_before(text: str) -> bool:
    """Say whether a text may become one with a symbol before it when it is normalized.

    True of marks, and of Hangul jamo, which are letters that compose.
    """
    first = text[:1]
    return bool(first) and (unicodedata.category(first)[0] == "M" or _JAMO[0] <= first <= _JAMO[1])
