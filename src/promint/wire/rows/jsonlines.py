"""JSON Lines: an object a line, read as strictly as the body of a request."""

from collections.abc import Iterator, Mapping
from typing import Any

from promint.domain.errors import Malformed
from promint.wire.codecs import read_json
from promint.wire.rows.assembling import Assembler, Cell, Wrong
from promint.wire.rows.blocks import TextBlocks, damaged_bytes, is_damaged, raw_lines_of, shown
from promint.wire.rows.chunks import Chunk, Encoding, Originals, Reject
from promint.wire.rows.columns import SYNONYMS, Layout, Naming
from promint.wire.rows.dates import ADVICE

_DATES = ("expire_date", "attached", "activated")
_KEYS_REMEMBERED = 1000


class JsonTable:
    """Reads objects; each has keys of its own, named like the columns of a table."""

    def __init__(
        self,
        blocks: TextBlocks,
        encoding: Encoding,
        naming: Naming,
        layout: Layout,
        assembler: Assembler,
    ) -> None:
        self._blocks = blocks
        self._encoding = encoding
        self._naming = naming
        self._layout = layout
        self._assembler = assembler
        self._keys: dict[str, str | None] = {}

    def __iter__(self) -> Iterator[Chunk]:
        """Yield chunks."""
        for block in self._blocks:
            first_line = self._blocks.line
            raw = raw_lines_of(block)
            self._blocks.line += len(raw)
            lines: list[int] = []
            table: list[list[Cell]] = []
            rejects: list[Reject] = []
            has_damage = is_damaged(block)
            for line, text in enumerate(raw, first_line):
                if not text.strip():
                    continue
                if has_damage and is_damaged(text):
                    reason = damaged_bytes(text, self._encoding)
                    rejects.append(Reject(line, reason, shown(text).rstrip("\r\n")))
                    continue
                try:
                    table.append(self._cells(read_json(text.encode())))
                    lines.append(line)
                except Malformed as malformed:
                    reason = malformed.what
                    if malformed.where != "body":
                        reason = f"key {malformed.where!r}: {reason}"
                    rejects.append(Reject(line, reason, text.rstrip("\r\n")))
            yield self._assembler.chunk(lines, table, rejects, Originals(first_line, raw, {}))

    def _cells(self, values: Mapping[str, Any]) -> list[Cell]:
        cells: list[Cell] = [""] * self._layout.width
        given: dict[str, str] = {}
        for key, value in values.items():
            ours = self._ours(key)
            if ours is None or value is None:
                continue
            place = self._layout.places[ours]
            if ours in given:
                cells[place] = Wrong(f"given as {given[ours]!r} and {key!r}; leave one")
            else:
                cells[place] = _cell(value, ours)
                given[ours] = key
        return cells

    def _ours(self, key: str) -> str | None:
        try:
            return self._keys[key]
        except KeyError:
            named = self._naming.name_of(key)
            ours = named[0] if named and named[0] in self._layout.places else None
            if len(self._keys) < _KEYS_REMEMBERED:
                self._keys[key] = ours
            return ours


def json_layout(naming: Naming, fields: tuple[str, ...], keys: tuple[str, ...]) -> Layout:
    """Return a layout with a place for all that a line may have; `keys` are those of the first."""
    names = dict.fromkeys([*SYNONYMS, *fields])
    names.update(dict.fromkeys(named[0] for key in keys if (named := naming.name_of(key))))
    places = {name: place for place, name in enumerate(names)}
    return Layout(len(places), places, tuple(places), "key", naming.needs_code)


def _cell(value: Any, ours: str) -> Cell:
    if isinstance(value, str):
        return value
    if isinstance(value, (dict, list)):
        return Wrong("a nested value")
    if ours in _DATES:
        return Wrong(f"not a date; {ADVICE}")
    if isinstance(value, bool):
        return Wrong("not a text") if ours in SYNONYMS else str(value).lower()
    if isinstance(value, int):
        return str(value)
    if ours in SYNONYMS:
        return Wrong("a number with a fraction or exponent; write it as a text")
    return repr(value)
