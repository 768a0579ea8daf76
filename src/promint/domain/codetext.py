"""The text of a promo code: one canonical form, and the bucket that it falls into."""

import re
import unicodedata
from hashlib import blake2b

from promint.domain.errors import BadValue
from promint.domain.model import BUCKETS_MAX, CodeMatching

CODE_CHARACTERS_MAX = 255
KEY_BYTES_MAX = 1024

# Unicode's general categories that no code may hold: control (Cc), format, which is where the
# zero-width and the bidirectional controls are (Cf), surrogate (Cs), line and paragraph
# separators (Zl, Zp).
_REFUSED_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# Invisible all the same, though their category says letter or mark: combining grapheme joiner,
# Hangul fillers, Khmer inherent vowels, Mongolian and other variation selectors.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)


def canonical(code: str, matching: CodeMatching) -> str:
    """Return the form in which two texts of one code are equal. Idempotent.

    Forgiving: NFKC, case folding, NFKC again, for case folding undoes the first on 637 code
    points. Exact: NFC. Outer white space is trimmed last as well, because NFKC makes some.
    """
    if code.isascii():
        return code.strip().casefold() if matching is CodeMatching.FORGIVING else code.strip()
    if matching is CodeMatching.FORGIVING:
        folded = unicodedata.normalize("NFKC", code).casefold()
        return unicodedata.normalize("NFKC", folded).strip()
    return unicodedata.normalize("NFC", code).strip()


def clean_code(text: str, where: str = "code") -> str:
    """Return a code as it is stored and shown: trimmed, and free of what cannot be seen.

    Raises:
        BadValue: it is empty or longer than 255 characters after trimming, or holds a
            control, zero-width or bidirectional-control character.
    """
    code = text.strip()
    if not code:
        raise BadValue("empty", where)
    if len(code) > CODE_CHARACTERS_MAX:
        raise BadValue(f"longer than {CODE_CHARACTERS_MAX} characters", where)
    if not (code.isascii() and code.isprintable()):
        _refuse_invisible(code, where)
    return code


def code_key(code: str, matching: CodeMatching, where: str = "code") -> str:
    """Return the compared form of a clean code.

    Raises:
        BadValue: it is over 1,024 bytes, which a few characters that stand for many can make it.
    """
    key = canonical(code, matching)
    if not key:
        raise BadValue("empty", where)
    if len(key) * 4 > KEY_BYTES_MAX and len(key.encode()) > KEY_BYTES_MAX:
        raise BadValue(f"its compared form is over {KEY_BYTES_MAX} bytes", where)
    return key


def _refuse_invisible(code: str, where: str) -> None:
    for character in code:
        if unicodedata.category(character) in _REFUSED_CATEGORIES or _INVISIBLE.match(character):
            raise BadValue(f"holds the character U+{ord(character):04X}", where)


def bucket(key: str, buckets: int) -> int:
    """Return the bucket of a code: its first 8 bytes of BLAKE2b, big-endian, mod `buckets`."""
    if buckets == 1:
        return 0
    return int.from_bytes(blake2b(key.encode()).digest()[:8], "big") % buckets


def shard_key(loyalty_id: int, key: str, buckets: int) -> int:
    """Return the shard key of a code: the first column of every key of code data."""
    return loyalty_id * BUCKETS_MAX + bucket(key, buckets)
