"""Templates: the pattern of generated codes, such as `SPRING-{8}` or `{4}-{4}-{4:digits}{check}`.

==============  ==============================================================================
`{8}`           8 random symbols of the alphabet `clear`
`{8:digits}`    8 of a named alphabet: `clear`, `digits`, `letters`, `cyrillic`
`{8:[ABC12]}`   8 of these symbols
`{check}`       one check symbol over all random ones, which stand before it; once at most
`{{` `}}`       a brace
==============  ==============================================================================

Everything else is fixed text. Random bytes are an argument; whole columns of a block of codes
are made at once, because a step in Python for each symbol would be a hundred times slower.

**The check symbol.** Let the random symbols, from the left, have the values d1 … dn in the joined
alphabet of all groups, which has q symbols, and let M be q, or q + 1 where q is even, so that M is
odd. The check symbol is the one whose value c makes 2^n d1 + … + 2 dn + c divisible by M; codes
that would need the value q, which is no symbol's, are not generated. This is a pure system of
ISO/IEC 7064 with radix 2, like its MOD 11-2 and MOD 37-2. It catches every wrong symbol: the sum
moves by 2^i (d - d'), where 2 is coprime to M and d - d' is neither 0 nor as large as M. And
every swap of neighbours: that moves it by 2^i (2 - 1)(d - d').
"""

import codecs
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import compress
from math import log2

from promint.domain.alphabets import ALPHABETS, CLEAR, SYMBOLS_MAX, joins_before, own_alphabet
from promint.domain.codetext import CODE_CHARACTERS_MAX, canonical, clean_code, code_key
from promint.domain.errors import BadValue
from promint.domain.model import CodeMatching, LoyaltyProgram
from promint.domain.rude import NO_WORDS, RudeWords, read_as

RandomBytes = Callable[[int], bytes]
"""Returns so many random bytes of the operating system."""

BLOCK_CODES = 16_384
"""Codes made at once: enough to hide Python's cost, few enough for the processor's cache."""

FRUITLESS_MAX = 50
"""Blocks without one usable code, after which none is believed to exist."""

WHERE = "template"
MISTYPED = "mistyped: its check symbol does not fit"

_PIECE = re.compile(r"(?P<brace>\{\{|\}\})|\{(?P<group>[^{}]*)\}|(?P<fixed>[^{}]+)")
_GROUP = re.compile(r"(?P<length>[1-9][0-9]{0,2})(?::(?:(?P<name>\w+)|\[(?P<own>[^\[\]]*)\]))?")
_CHECK = "check"
_NO_SYMBOL = 0
"""In place of a check symbol: the byte of a code that cannot be."""
_LINE_END = 1


def has_check(text: str) -> bool:
    """Say whether the codes of a template carry a check symbol."""
    return f"{{{_CHECK}}}" in text.replace("{{", "")


def is_mistyped(program: LoyaltyProgram, code: str) -> bool:
    """Say whether a code cannot be one of the program's, without looking it up.

    True for a code of the form of its template whose check symbol does not fit. Such a program
    takes no code like that in, so nothing is refused that exists.
    """
    if "{" not in program.template or not has_check(program.template):
        return False
    try:
        return not _kept(program.template, program.code_matching).check(code)
    except BadValue:
        return False


@dataclass(frozen=True, slots=True)
class Group:
    """So many random symbols of an alphabet; `name` is how the template spells the alphabet."""

    length: int
    alphabet: str
    name: str = ""

    def __str__(self) -> str:
        """Return the group as a template has it."""
        return f"{{{self.length}:{self.name}}}" if self.name else f"{{{self.length}}}"


@dataclass(frozen=True, slots=True)
class Check:
    """The place of the check symbol."""

    def __str__(self) -> str:
        """Return it as a template has it."""
        return f"{{{_CHECK}}}"


Part = str | Group | Check
"""What a template is made of; a string is fixed text."""


class Template:
    """A template that codes can be made from. `Template.parse` reads one.

    `space` is how many different codes it can make, rude words not counted off.
    """

    def __init__(self, parts: tuple[Part, ...], matching: CodeMatching) -> None:
        self.parts = parts
        self.matching = matching
        self.text = "".join(map(_written, parts))
        self._has_check = Check() in parts
        drawn = "".join(group.alphabet for group in self.groups)
        # One symbol for each value, whichever way the groups spell it: `[AB]` and `[ab]` share.
        self._symbols = {canonical(symbol, matching): symbol for symbol in drawn}
        self._values = {key: value for value, key in enumerate(self._symbols)}
        self._modulus = len(self._symbols) | 1
        self._pattern = re.compile("".join(map(self._expression, parts)))
        self.space = self._count_space()
        self._prepare_drawing()

    @classmethod
    def parse(cls, text: str, matching: CodeMatching) -> "Template":
        """Return the template that a text says, for a program that compares codes like this.

        Raises:
            BadValue: it is malformed, its codes would not be good ones, or it has no random part.
        """
        parts = _parts(unicodedata.normalize("NFC", text), matching)
        _check_parts(parts, matching)
        return cls(parts, matching)

    @property
    def groups(self) -> tuple[Group, ...]:
        """The random parts, in their order."""
        return tuple(part for part in self.parts if isinstance(part, Group))

    @property
    def prefix(self) -> str:
        """The fixed text with which all its codes begin; empty where they begin at random."""
        first = self.parts[0]
        return first if isinstance(first, str) else ""

    @property
    def bits(self) -> float:
        """How many bits of chance a code has."""
        return log2(self.space)

    def with_last_group(self, length: int) -> "Template":
        """Return the template with another length of its last group.

        Raises:
            BadValue: its codes would be too long.
        """
        last = max(i for i, part in enumerate(self.parts) if isinstance(part, Group))
        group = self.parts[last]
        assert isinstance(group, Group)
        longer = Group(length, group.alphabet, group.name)
        parts = (*self.parts[:last], longer, *self.parts[last + 1 :])
        _check_parts(parts, self.matching)
        return Template(parts, self.matching)

    # -- codes that are there --------------------------------------------------------------

    def matches(self, code: str) -> bool:
        """Say whether a code has this form, its check symbol aside, as the program compares."""
        return self._pattern.fullmatch(canonical(code, self.matching)) is not None

    def check(self, code: str) -> bool:
        """Say whether a code can be right.

        False if it has this form and its check symbol says that it was mistyped. True for a text
        of another form: the program may hold codes of other origin.
        """
        found = self._pattern.fullmatch(canonical(code, self.matching))
        if found is None or not self._has_check:
            return True
        state = 0
        for symbol in "".join(found.groups()):
            state = (state * 2 + self._values[symbol]) % self._modulus
        return state == 0

    def _expression(self, part: Part) -> str:
        """Return what matches a part in the compared form of a code."""
        if isinstance(part, str):
            return re.escape(_compared(part, self.matching))
        symbols: Iterable[str] = self._symbols
        if isinstance(part, Group):
            symbols = (canonical(symbol, self.matching) for symbol in part.alphabet)
        return f"([{re.escape(''.join(symbols))}]{{{_length(part)}}})"

    # -- codes that are new ----------------------------------------------------------------

    def draw_many(
        self, count: int, random_bytes: RandomBytes, rude: RudeWords = NO_WORDS
    ) -> list[str]:
        """Return so many codes, each drawn from the whole space with the same chance.

        They are independent: one may come twice. Codes in which a rude word can be read are
        drawn again, wherever at least one of its symbols is random and one is a letter.

        Raises:
            BadValue: the rude words leave no code.
        """
        codes: list[str] = []
        fruitless = 0
        while len(codes) < count:
            drawn = self._draw_block(min(count - len(codes), BLOCK_CODES), random_bytes, rude)
            codes += drawn
            fruitless = 0 if drawn else fruitless + 1
            if fruitless == FRUITLESS_MAX:
                raise BadValue("the rude words leave no code of it", WHERE)
        return codes

    def _prepare_drawing(self) -> None:
        """Lay out one row of a block: a byte for each symbol, and a line end.

        A byte stands for a character of `_characters`, so that any alphabet is drawn in bytes.
        """
        written = "".join(part for part in self.parts if isinstance(part, str))
        drawn = "".join(group.alphabet for group in self.groups)
        characters = ["\0", "\n", *dict.fromkeys(drawn + written)]
        if len(characters) > 256:
            raise BadValue("more than 254 different characters", WHERE)
        byte_of = {character: byte for byte, character in enumerate(characters)}

        row = bytearray()
        self._runs: list[tuple[bytes, bytes, range]] = []
        for part in self.parts:
            if isinstance(part, str):
                row += bytes(byte_of[character] for character in part)
            elif isinstance(part, Group):
                places = range(len(row), len(row) + part.length)
                self._runs.append((*_chances(part.alphabet, byte_of), places))
                row += bytes(part.length)
            else:
                self._check_column = len(row)
                row += bytes(1)
        self._row = bytes(row) + bytes([_LINE_END])

        self._characters = "".join(characters)
        self._read_as = "\0\n" + "".join(map(read_as, characters[2:]))
        self._letters = frozenset(byte for symbol, byte in byte_of.items() if symbol.isalpha())
        # What is looked at for rude words: everything but what separates the groups.
        self._view = [
            place
            for place, byte in enumerate(self._row)
            if byte in (_NO_SYMBOL, _LINE_END) or characters[byte].isalnum()
        ]

        values = dict.fromkeys(range(256), 0)
        for symbol in drawn:
            values[byte_of[symbol]] = self._values[canonical(symbol, self.matching)]
        self._value_table = bytes(values.values())
        self._double_table = bytes(2 * total % self._modulus for total in range(256))
        checks = [*(byte_of[symbol] for symbol in self._symbols.values()), _NO_SYMBOL]
        self._check_table = bytes(checks[-state % self._modulus] for state in range(256))

    def _draw_block(self, count: int, random_bytes: RandomBytes, rude: RudeWords) -> list[str]:
        """Return up to `count` codes: the ones of as many rows that are good."""
        width = len(self._row)
        rows = bytearray(self._row * count)
        for table, unfair, places in self._runs:
            symbols = _uniform(count * len(places), table, unfair, random_bytes)
            for number, place in enumerate(places):
                rows[place::width] = symbols[number * count : (number + 1) * count]

        is_good = bytearray(b"\1" * count)
        if self._has_check:
            checks = self._checks(rows, count)
            rows[self._check_column :: width] = checks
            for absent in re.finditer(b"\0", checks):
                is_good[absent.start()] = 0
        if rude:
            for row in self._rude_rows(rows, count, rude):
                is_good[row] = 0

        codes = codecs.charmap_decode(rows, "strict", self._characters)[0].split("\n")
        return list(compress(codes, is_good))

    def _checks(self, rows: bytearray, count: int) -> bytes:
        """Return the check symbol of each row.

        A column is one number of `count` bytes: values are below 101 and their sum is below 256,
        so that adding two columns is one addition without a carry.
        """
        state = bytes(count)
        for place in (place for _, _, places in self._runs for place in places):
            values = rows[place :: len(self._row)].translate(self._value_table)
            total = int.from_bytes(state, "big") + int.from_bytes(values, "big")
            state = total.to_bytes(count, "big").translate(self._double_table)
        return state.translate(self._check_table)

    def _rude_rows(self, rows: bytearray, count: int, rude: RudeWords) -> set[int]:
        """Return the rows that spell a rude word, read without what separates the groups."""
        width, seen = len(self._row), len(self._view)
        view = bytearray(count * seen)
        for number, place in enumerate(self._view):
            view[number::seen] = rows[place::width]
        found = set()
        for first, end in rude.found(bytes(view), self._read_as):
            places = self._view[first % seen : (end - 1) % seen + 1]
            is_word = not self._letters.isdisjoint(view[first:end])
            if is_word and any(self._row[place] == _NO_SYMBOL for place in places):
                found.add(first // seen)
        return found

    def _count_space(self) -> int:
        """Count the codes: with a check symbol, the ones whose check value has a symbol."""
        if not any(isinstance(part, Check) for part in self.parts):
            space = 1
            for group in self.groups:
                space *= len(group.alphabet) ** group.length
            return space
        modulus = self._modulus
        # How many beginnings of codes lead to each state; all but few values are drawn, so the
        # ones that are not are taken off the whole.
        ways = [1] + [0] * (modulus - 1)
        for group in self.groups:
            drawn = {self._values[canonical(symbol, self.matching)] for symbol in group.alphabet}
            missing = [value for value in range(modulus) if value not in drawn]
            for _ in range(group.length):
                total = sum(ways)
                sums = [
                    total - sum(ways[(after - value) % modulus] for value in missing)
                    for after in range(modulus)
                ]
                ways = [0] * modulus
                for before, number in enumerate(sums):
                    ways[before * 2 % modulus] = number
        return sum(
            number for state, number in enumerate(ways) if -state % modulus < len(self._symbols)
        )


def _written(part: Part) -> str:
    """Return a part as a template has it."""
    if isinstance(part, str):
        return part.replace("{", "{{").replace("}", "}}")
    return str(part)


@lru_cache(256)
def _kept(text: str, matching: CodeMatching) -> Template:
    return Template.parse(text, matching)


def _parts(text: str, matching: CodeMatching) -> tuple[Part, ...]:
    """Read a template; neighbouring pieces of fixed text become one."""
    parts: list[Part] = []
    at = 0
    while at < len(text):
        piece = _PIECE.match(text, at)
        if piece is None:
            raise BadValue(f"a single {text[at]} at character {at + 1}; write it twice", WHERE)
        at = piece.end()
        if piece["group"] is not None:
            parts.append(_group(piece["group"], matching))
            continue
        fixed = piece["fixed"] or piece["brace"][0]
        before = parts[-1] if parts else None
        if isinstance(before, str):
            parts[-1] = before + fixed
        else:
            parts.append(fixed)
    return tuple(parts)


def _group(inside: str, matching: CodeMatching) -> Group | Check:
    """Read what stands between braces."""
    if inside == _CHECK:
        return Check()
    found = _GROUP.fullmatch(inside)
    if found is None:
        raise BadValue(
            f"{{{inside}}} is none of {{8}}, {{8:digits}}, {{8:[ABC]}} and {{{_CHECK}}}", WHERE
        )
    length, name, own = int(found["length"]), found["name"], found["own"]
    if own is not None:
        return Group(length, own_alphabet(own, matching, WHERE), f"[{own}]")
    if name is not None and name not in ALPHABETS:
        raise BadValue(
            f"there is no alphabet {name}, only {', '.join(ALPHABETS)} and [your symbols]", WHERE
        )
    return Group(length, ALPHABETS[name or CLEAR], name or "")


def _check_parts(parts: tuple[Part, ...], matching: CodeMatching) -> None:
    """Refuse a template whose codes would not all be good ones.

    Raises:
        BadValue: it says why.
    """
    groups = [part for part in parts if isinstance(part, Group)]
    if not groups:
        raise BadValue("it has no random part such as {8}", WHERE)
    if parts.count(Check()) > 1:
        raise BadValue(f"it has {{{_CHECK}}} twice", WHERE)
    if Check() in parts and any(isinstance(part, Group) for part in parts[parts.index(Check()) :]):
        raise BadValue(f"{{{_CHECK}}} stands before a random part that it shall check", WHERE)
    if sum(map(_length, parts)) > CODE_CHARACTERS_MAX:
        raise BadValue(f"its codes have more than {CODE_CHARACTERS_MAX} characters", WHERE)
    drawn = {canonical(symbol, matching): symbol for group in groups for symbol in group.alphabet}
    if len(drawn) > SYMBOLS_MAX:
        raise BadValue(f"its alphabets have more than {SYMBOLS_MAX} symbols together", WHERE)

    # The code with the longest compared form stands for all of them.
    longest = max(drawn, key=lambda key: len(key.encode()))
    sample, compared = "", ""
    for part in parts:
        if isinstance(part, str):
            if joins_before(_compared(part, matching)):
                raise BadValue(f"{part!r} begins with a mark for the symbol before it", WHERE)
            sample += part
            compared += _compared(part, matching)
        else:
            sample += drawn[longest] * _length(part)
            compared += longest * _length(part)
    if clean_code(sample, WHERE) != sample or code_key(sample, matching, WHERE) != compared:
        raise BadValue("it begins or ends with white space", WHERE)


def _length(part: Part) -> int:
    if isinstance(part, Check):
        return 1
    return part.length if isinstance(part, Group) else len(part)


def _compared(fixed: str, matching: CodeMatching) -> str:
    """Return the compared form of text within a code, where its outer blanks count."""
    return canonical(f"|{fixed}|", matching)[1:-1]


def _chances(alphabet: str, byte_of: Mapping[str, int]) -> tuple[bytes, bytes]:
    """Return which symbol each random byte draws, and the bytes that would not be fair."""
    fair = 256 - 256 % len(alphabet)
    table = bytes(byte_of[alphabet[byte % len(alphabet)]] for byte in range(256))
    return table, bytes(range(fair, 256))


def _uniform(count: int, table: bytes, unfair: bytes, random_bytes: RandomBytes) -> bytes:
    """Return so many symbols, each with the same chance: unfair bytes are drawn again."""
    symbols = random_bytes(count).translate(table, unfair)
    while len(symbols) < count:
        symbols += random_bytes(count - len(symbols)).translate(table, unfair)
    return symbols
