"""CSV and plain text: quick where a file holds nothing but codes."""

import csv
from collections.abc import Callable, Iterator, Sequence
from itertools import repeat

from promint.domain.damage import damage_of, may_hold_damage
from promint.wire.rows.assembling import Assembler
from promint.wire.rows.blocks import (
    LINE_CHARACTERS_MAX,
    TextBlocks,
    damaged_bytes,
    is_damaged,
    lines_of,
    raw_lines_of,
    shown,
)
from promint.wire.rows.chunks import (
    Chunk,
    Encoding,
    Originals,
    PlainChunk,
    Reject,
    RejectKind,
    refusal,
)
from promint.wire.rows.guarding import unguarded

CELL_CHARACTERS_MAX = 65_536
_LONG_CELL = (
    f"a cell of over {CELL_CHARACTERS_MAX:,} characters; a quote before it may not be closed"
)
NO_DELIMITER = "\x1f"
"""Stands where a file of one column has no delimiter: no code can hold it."""


class PlainLines:
    """Reads lines that are a code each, whatever stands there."""

    def __init__(
        self,
        blocks: TextBlocks,
        encoding: Encoding,
        *,
        skip: int,
        is_prefixed: bool,
        accept_damaged: bool,
    ) -> None:
        self._blocks = blocks
        self._encoding = encoding
        self._skip = skip
        self._is_prefixed = is_prefixed
        self._accept_damaged = accept_damaged

    def __iter__(self) -> Iterator[Chunk]:
        """Yield chunks; `skip` lines at the top are the header's."""
        skip = self._skip
        for block in self._blocks:
            first_line = self._blocks.line
            texts = lines_of(block)
            self._blocks.line += len(texts)
            if skip:
                first_line += skip
                del texts[:skip]
                skip = 0
            yield self.chunk(block, first_line, texts)

    def chunk(self, block: str, first_line: int, texts: list[str]) -> PlainChunk:
        """Return the chunk of lines; `block` is a text that holds all of them."""
        chunk = PlainChunk(first_line, texts)
        if is_damaged(block):
            self._take_out(chunk, self._undecodable, RejectKind.UNUSABLE)
        if not self._accept_damaged and may_hold_damage(block):
            self._take_out(chunk, damage_of, RejectKind.DAMAGED)
        if self._is_prefixed and "'" in block:
            texts[:] = map(unguarded, texts)
        return chunk

    def _undecodable(self, text: str) -> str | None:
        return damaged_bytes(text, self._encoding) if is_damaged(text) else None

    def _take_out(
        self, chunk: PlainChunk, reason_of: Callable[[str], str | None], kind: RejectKind
    ) -> None:
        for index, text in enumerate(chunk.texts):
            if reason := reason_of(text):
                line = chunk.first_line + index
                chunk.rejects.append(Reject(line, reason, shown(text), kind))
                chunk.texts[index] = ""
        chunk.rejects.sort(key=_line)


class CsvTable:
    """Reads rows after RFC 4180; a block without quotes that holds only codes goes as lines."""

    def __init__(
        self,
        blocks: TextBlocks,
        file: str,
        encoding: Encoding,
        delimiter: str | None,
        *,
        skip: int,
        is_prefixed: bool,
        assembler: Assembler,
        plain: PlainLines | None,
    ) -> None:
        self._blocks = blocks
        self._file = file
        self._encoding = encoding
        self._delimiter = delimiter or NO_DELIMITER
        self._skip = skip
        self._is_prefixed = is_prefixed
        self._assembler = assembler
        self._plain = plain

    def __iter__(self) -> Iterator[Chunk]:
        """Yield chunks.

        Raises:
            BadValue: a quote is never closed, or a cell or row is absurdly long.
        """
        skip = self._skip
        rest = ""
        for block in self._blocks:
            text = rest + block
            chunk = self._unquoted(text, skip) if '"' not in text else None
            if chunk is None:
                chunk, rest = self._parse(text, skip, is_last=False)
            else:
                rest = ""
            yield chunk
            skip = 0
        if rest:
            yield self._parse(rest, skip, is_last=True)[0]

    def _unquoted(self, text: str, skip: int) -> Chunk | None:
        """Return the chunk of a text without quotes, if all its rows have the width of the table.

        Such a text is cut into lines, or cells, at once.
        """
        first_line = self._blocks.line + skip
        lines = lines_of(text)[skip:]
        if self._plain:
            if self._delimiter in text:
                return None
            chunk: Chunk = self._plain.chunk(text, first_line, lines)
        else:
            gaps = self._assembler.width - 1
            longest = max(map(len, lines), default=0)
            if longest > CELL_CHARACTERS_MAX or is_damaged(text):
                return None
            if set(map(str.count, lines, repeat(self._delimiter))) - {gaps}:
                return None
            cells = self._delimiter.join(lines).split(self._delimiter) if lines else []
            if self._is_prefixed and "'" in text:
                cells = list(map(unguarded, cells))
            columns = [cells[place :: gaps + 1] for place in range(gaps + 1)]
            chunk = self._assembler.chunk_of_columns(
                range(first_line, first_line + len(lines)),
                columns,
                [],
                Originals(first_line, lines, {}),
                is_text=True,
            )
        self._blocks.line = first_line + len(lines)
        return chunk

    def _parse(self, text: str, skip: int, *, is_last: bool) -> tuple[Chunk, str]:
        """Return the chunk of the whole rows of a text, and the text of the row that goes on."""
        raw = raw_lines_of(text)[skip:]
        first_line = self._blocks.line + skip
        parsed = _Rows(raw, self._delimiter)
        done = parsed.read()
        if not done:
            self._refuse_endless(raw[parsed.begun :], first_line + parsed.begun, is_last=is_last)
        rest = "" if done else "".join(raw[parsed.begun :])
        del raw[len(raw) if done else parsed.begun :]
        self._blocks.line = first_line + len(raw)

        if self._plain and done and not parsed.is_uneven and self._are_codes(parsed.rows):
            texts = [row[0] if row else "" for row in parsed.rows]
            return self._plain.chunk(text, first_line, texts), rest

        rejects: list[Reject] = []
        spans = {first_line + begin: count for begin, count in parsed.spans}
        originals = Originals(first_line, raw, spans)
        lines = [first_line + begin for begin in parsed.begins]
        self._refuse_long_cells(parsed.rows, raw, lines, spans)
        for begin, count in parsed.broken:
            original = "".join(raw[begin : begin + count])
            if len(original) > CELL_CHARACTERS_MAX:
                self._refuse_endless(raw[begin : begin + count], first_line + begin, is_last=True)
            reason = "text after a closing quote; a quote within a cell is written twice"
            rejects.append(Reject(first_line + begin, reason, shown(original).rstrip("\r\n")))
        rows: Sequence[Sequence[str]] = parsed.rows
        if is_damaged(text):
            lines, rows = self._without_undecodable(lines, rows, originals, rejects)
        if self._is_prefixed and "'" in text:
            rows = [list(map(unguarded, row)) for row in rows]
        return self._assembler.chunk(lines, rows, rejects, originals, is_text=True), rest

    @staticmethod
    def _are_codes(rows: Sequence[Sequence[str]]) -> bool:
        """Say whether each row is one cell, and a short one."""
        return all(not row or (len(row) == 1 and len(row[0]) < 1024) for row in rows)

    def _refuse_endless(self, raw: Sequence[str], line: int, *, is_last: bool) -> None:
        """Refuse a row without an end, if nothing follows or it is too much already."""
        size = sum(map(len, raw))
        if not is_last and size <= LINE_CHARACTERS_MAX:
            return
        # Read leniently, the row's first line has as many cells as stand before the quote's end.
        start = raw[0][:CELL_CHARACTERS_MAX]
        cells = next(csv.reader([start], delimiter=self._delimiter), [])
        what = "is never closed" if is_last else f"is not closed for {size:,} characters"
        what = f"a quote opened here {what}; close it, or write a quote within a cell twice"
        if len(raw[0]) > CELL_CHARACTERS_MAX:
            what = _LONG_CELL
        raise refusal(what, self._file, line, len(cells))

    def _refuse_long_cells(
        self,
        rows: Sequence[Sequence[str]],
        raw: Sequence[str],
        lines: Sequence[int],
        spans: dict[int, int],
    ) -> None:
        if not spans and max(map(len, raw), default=0) <= CELL_CHARACTERS_MAX:
            return
        for line, row in zip(lines, rows, strict=True):
            for column, cell in enumerate(row, 1):
                if len(cell) > CELL_CHARACTERS_MAX:
                    raise refusal(_LONG_CELL, self._file, line, column)

    def _without_undecodable(
        self,
        lines: Sequence[int],
        rows: Sequence[Sequence[str]],
        originals: Originals,
        rejects: list[Reject],
    ) -> tuple[list[int], list[Sequence[str]]]:
        good_lines, good_rows = [], []
        for line, row in zip(lines, rows, strict=True):
            original = originals.get(line) or ""
            if is_damaged(original):
                reason = damaged_bytes(original, self._encoding)
                rejects.append(Reject(line, reason, shown(original).rstrip("\r\n")))
            else:
                good_lines.append(line)
                good_rows.append(row)
        return good_lines, good_rows


class _Rows:
    """Raw lines parsed: the rows, and the index of the line where each begins.

    `spans` are index and number of lines of the rows that have more than one; `broken` the same of
    those that are no CSV.
    """

    def __init__(self, raw: Sequence[str], delimiter: str) -> None:
        self._raw = raw
        self._delimiter = delimiter
        self.rows: list[list[str]] = []
        self.begins: Sequence[int] = ()
        self.spans: list[tuple[int, int]] = []
        self.broken: list[tuple[int, int]] = []
        self.begun = 0
        """Where the row begins that was not finished."""
        self._is_at_end = False

    @property
    def is_uneven(self) -> bool:
        """Say whether a row has more than one line, or is broken."""
        return bool(self.spans or self.broken)

    def read(self) -> bool:
        """Parse; say whether the last row is finished."""
        reader = csv.reader(self._raw, delimiter=self._delimiter, strict=True)
        try:
            self.rows = list(reader)
        except csv.Error:
            return self._read_one_by_one()
        if len(self.rows) < len(self._raw):
            return self._read_one_by_one()
        self.begins = range(len(self.rows))
        return True

    def _read_one_by_one(self) -> bool:
        begins: list[int] = []
        self.begins, self.rows = begins, []
        reader = csv.reader(self._lines(), delimiter=self._delimiter, strict=True)
        begun = 0
        while True:
            try:
                for row in reader:
                    self.rows.append(row)
                    begins.append(begun)
                    if reader.line_num - begun > 1:
                        self.spans.append((begun, reader.line_num - begun))
                    begun = reader.line_num
                return True
            except csv.Error:
                # The module's errors differ by their text alone. At the end of the lines it is
                # the quote that is not closed.
                if self._is_at_end:
                    self.begun = begun
                    return False
                self.broken.append((begun, reader.line_num - begun))
                begun = reader.line_num

    def _lines(self) -> Iterator[str]:
        yield from self._raw
        self._is_at_end = True


def _line(reject: Reject) -> int:
    return reject.line
