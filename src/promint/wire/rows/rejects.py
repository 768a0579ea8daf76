"""The rejects file: every row that could not be used, its reason beside it."""

import csv
from collections.abc import Iterable, Sequence

from promint.wire.rows.blocks import raw_lines_of
from promint.wire.rows.chunks import FileFormat, Recognised
from promint.wire.rows.delimited import NO_DELIMITER
from promint.wire.rows.guarding import guarded, unguarded
from promint.wire.rows.writing import BOM, csv_cell


class RejectsWriter:
    """Writes a CSV: line, reason, then the cells of the row as they stand in its file.

    The cells keep their header, so that the file can be imported again once the rows are mended:
    `line` and `reason` are columns that nobody reads. A row that is no CSV is one cell.
    """

    def __init__(self, recognised: Recognised) -> None:
        self._form = recognised.format
        self._delimiter = recognised.delimiter or NO_DELIMITER
        if recognised.format is FileFormat.XLSX:
            self._delimiter = ","
        self._is_prefixed = recognised.is_prefixed
        self._header = recognised.header
        if not self._header:
            numbered = {theirs: ours for ours, theirs in recognised.columns}
            width = max((int(number) for number in numbered if number.isdecimal()), default=1)
            self._header = tuple(numbered.get(str(n), str(n)) for n in range(1, width + 1))
        if recognised.format is FileFormat.JSONL:
            self._header = ("original",)

    def begin(self) -> bytes:
        """Return the header."""
        return BOM + self._line(["line", "reason", *self._header])

    def rows(self, rejects: Iterable[tuple[int, str, str]]) -> bytes:
        """Return rejects: line, reason, and the row's text in its file."""
        return b"".join(
            self._line([str(line), reason, *self._cells(original)])
            for line, reason, original in rejects
        )

    def _cells(self, original: str) -> Sequence[str]:
        if self._form in (FileFormat.TXT, FileFormat.JSONL):
            return [original]
        try:
            rows = list(csv.reader(raw_lines_of(original), delimiter=self._delimiter, strict=True))
        except csv.Error:
            return [original]
        if len(rows) != 1:
            return [original]
        return [unguarded(cell) for cell in rows[0]] if self._is_prefixed else rows[0]

    @staticmethod
    def _line(cells: Iterable[str]) -> bytes:
        return (",".join(csv_cell(guarded(cell)) for cell in cells) + "\r\n").encode()
