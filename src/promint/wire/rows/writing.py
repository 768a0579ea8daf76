r"""Rows to bytes: CSV, XLSX and JSON Lines, streamed.

The rules, for whoever writes the same bytes another way:

**Values.** None and the empty text are an empty cell. The moments of `created`, `expire_date`,
`attached` and `activated` are UTC microseconds and become RFC 3339 in UTC, with a fraction of a
second only where there is one and without its last zeros: `2026-12-31T23:59:59Z`, `…59.25Z`.
Other whole numbers are written in decimal.

**CSV.** UTF-8. A header of the columns' names, then the rows; every row ends with `\r\n`. The
delimiter is a comma. A cell is in quotes if it holds a comma, a quote, `\r` or `\n`, and no
other; quotes within are doubled. Unless `raw`, the file begins with a byte order mark, so that
Excel takes it for UTF-8, and a text that would start a formula has an apostrophe before it
(`guarding.guarded`); the mark also says to our reader that these apostrophes are to be taken
away.

**JSON Lines.** UTF-8 without a mark. An object a line with the columns' names as keys, in order;
empty ones are left out. Moments are texts, other whole numbers are numbers. `raw` changes
nothing.

**XLSX.** Texts are texts, also those of digits; whole numbers are numbers; moments are texts.
Characters that XML cannot hold are `_xHHHH_`, as in every XLSX. Unless `raw`, a text that would
start a formula has the style `quotePrefix`, which is the apostrophe of spreadsheets. A sheet is
full at 1,048,576 rows; the next one, `codes 2`, begins with the same header.

**Lines.** A database can make CSV and JSON Lines several times as fast as this module, if it is not
asked for the rules above. So it leaves them to `LineWriter.lines`: it gives the values as they
are, CSV with `CELL` for the delimiter and `\n` after each row, JSON with its own quotes; and each
moment as `MOMENT` and its microseconds. Here the few moments of a piece are written once each, and
delimiters put in their place; where a text of a piece needs quotes or an apostrophe, all its rows
are written by `rows`.
"""

import io
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import IO, Protocol, runtime_checkable
from xml.sax.saxutils import escape

import msgspec

from promint.domain.errors import BadValue
from promint.wire.rows.chunks import FileFormat
from promint.wire.rows.dates import exact_moment
from promint.wire.rows.guarding import (
    FORMULA_CHARACTERS,
    FORMULA_STARTS,
    guarded,
    needs_guard,
)

Value = str | int | None
BOM = b"\xef\xbb\xbf"
CELL, MOMENT = "\x1f", "\x1e"
"""What lines of a database have between two cells, and before a moment. No text has them."""

CODE_COLUMNS = (
    "code",
    "state",
    "created",
    "expire_date",
    "attached",
    "activated",
    "attach_count",
    "activation_count",
    "database_id",
    "profile_id",
    "batch_id",
)
"""The columns of an export; the program's additional data fields follow."""

MOMENTS = frozenset({"created", "expire_date", "attached", "activated"})
"""The columns that hold UTC microseconds."""


class RowWriter(Protocol):
    """Turns rows into the bytes of a file, piece by piece; nothing of it is kept."""

    def begin(self) -> bytes:
        """Return what stands before the first row."""

    def rows(self, rows: Sequence[Sequence[Value]]) -> bytes:
        """Return some rows; each has a value for every column.

        Raises:
            BadValue: a text is longer than the format can hold.
        """

    def end(self) -> bytes:
        """Return what stands after the last row."""


@runtime_checkable
class LineWriter(RowWriter, Protocol):
    """Also turns rows that a database made lines of into the same bytes."""

    def lines(self, lines: bytes) -> bytes:
        """Return some rows, as lines with `CELL` and `MOMENT`; see above."""


def open_writer(form: FileFormat, columns: Sequence[str], *, raw: bool = False) -> RowWriter:
    """Return a writer of rows with these columns. `raw` is for machines: no guard, no mark.

    Raises:
        BadValue: the format is not one that tables are written in.
    """
    if form is FileFormat.CSV:
        return CsvWriter(columns, raw=raw)
    if form is FileFormat.JSONL:
        return JsonWriter(columns)
    if form is FileFormat.XLSX:
        return XlsxWriter(columns, raw=raw)
    raise BadValue("not one of csv, xlsx, jsonl", "format")


def write_rows(writer: RowWriter, rows: Iterable[Sequence[Sequence[Value]]]) -> Iterator[bytes]:
    """Yield the bytes of a file whose rows come in chunks."""
    yield writer.begin()
    for some in rows:
        if data := writer.rows(some):
            yield data
    yield writer.end()


def _texts(column: str, values: Iterable[Value]) -> list[str]:
    if column in MOMENTS:
        return [_moment(value) for value in values]
    return ["" if value is None else str(value) for value in values]


@lru_cache(maxsize=8192)
def _moment(value: Value) -> str:
    """Codes that were imported together share their moment."""
    return exact_moment(value) if isinstance(value, int) else ""


# -- moments in lines ----------------------------------------------------------------------

MOMENTS_MAX = 8
"""Of so many moments each is put in place everywhere at once; of more, one after the other."""

_MARK = MOMENT.encode()
_MARKED = re.compile(_MARK + b"(-?[0-9]+)")


def _with_moments(lines: bytes) -> bytes:
    """Return lines with their moments written out; nearly always they share a few."""
    for _ in range(MOMENTS_MAX):
        if (found := _MARKED.search(lines)) is None:
            return lines
        # With the byte that ends it, for another may begin with the same digits.
        end = lines[found.end() : found.end() + 1]
        lines = lines.replace(found[0] + end, _moment(int(found[1])).encode() + end)
    return _MARKED.sub(lambda found: _moment(int(found[1])).encode(), lines)


# -- CSV -----------------------------------------------------------------------------------

_TO_QUOTE = re.compile('[,"\r\n]')
# In a column joined by line feeds: a cell with what needs a quote, or the start of a formula.
_SPECIAL = re.compile(f"[,\"\r\x00]|^'*[{FORMULA_STARTS}]", re.MULTILINE)


_CELL = CELL.encode()
# Ten times as quick as `replace`, which looks for each one.
_TO_COMMAS = bytes.maketrans(_CELL, b",")
_QUOTED_BYTES = (b",", b'"', b"\r")
_GUARDED_BYTES = [start.encode() for start in f"'{FORMULA_CHARACTERS}" if start not in "\r\n"]


def csv_cell(text: str) -> str:
    """Return a cell as it stands in a CSV, in quotes if it needs them."""
    return '"' + text.replace('"', '""') + '"' if _TO_QUOTE.search(text) else text


class CsvWriter:
    """Writes CSV."""

    def __init__(self, columns: Sequence[str], *, raw: bool = False) -> None:
        self._columns = columns
        self._raw = raw

    def begin(self) -> bytes:
        """Return the mark, unless raw, and the header."""
        header = self._line([self._cell(column) for column in self._columns])
        return header if self._raw else BOM + header

    def rows(self, rows: Sequence[Sequence[Value]]) -> bytes:
        """Return some rows."""
        if not rows:
            return b""
        columns = zip(self._columns, zip(*rows, strict=True), strict=True)
        cells = [self._column(_texts(name, values)) for name, values in columns]
        return ("\r\n".join(map(",".join, zip(*cells, strict=True))) + "\r\n").encode()

    def lines(self, lines: bytes) -> bytes:
        """Return some rows that are lines."""
        if any(special in lines for special in _QUOTED_BYTES) or (
            not self._raw and _may_start_formula(lines)
        ):
            return self.rows([self._values(line) for line in lines.decode().split("\n")[:-1]])
        return _with_moments(lines).translate(_TO_COMMAS).replace(b"\n", b"\r\n")

    @staticmethod
    def _values(line: str) -> list[Value]:
        return [
            int(text[1:]) if text.startswith(MOMENT) else text or None for text in line.split(CELL)
        ]

    def end(self) -> bytes:
        """Return nothing."""
        return b""

    def _column(self, texts: list[str]) -> list[str]:
        """Return the cells of a column; nearly always they are the texts."""
        joined = "\n".join(texts)
        if _SPECIAL.search(joined) is None and joined.count("\n") == len(texts) - 1:
            return texts
        return [self._cell(text) for text in texts]

    def _cell(self, text: str) -> str:
        return csv_cell(text if self._raw else guarded(text))

    @staticmethod
    def _line(cells: Iterable[str]) -> bytes:
        return (",".join(cells) + "\r\n").encode()


def _may_start_formula(lines: bytes) -> bool:
    return any(
        start[0] in lines
        and start in lines
        and (lines.startswith(start) or b"\n" + start in lines or _CELL + start in lines)
        for start in _GUARDED_BYTES
    )


# -- JSON Lines ----------------------------------------------------------------------------

_encode = msgspec.json.Encoder().encode_lines


class JsonWriter:
    """Writes JSON Lines."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = columns
        self._moments = [name in MOMENTS for name in columns]

    def begin(self) -> bytes:
        """Return nothing."""
        return b""

    def rows(self, rows: Sequence[Sequence[Value]]) -> bytes:
        """Return some rows."""
        return _encode([self._object(row) for row in rows])

    def lines(self, lines: bytes) -> bytes:
        """Return some rows that are lines."""
        return _with_moments(lines)

    def _object(self, row: Sequence[Value]) -> dict[str, Value]:
        return {
            name: _moment(value) if is_moment else value
            for name, is_moment, value in zip(self._columns, self._moments, row, strict=True)
            if value is not None and value != ""
        }

    def end(self) -> bytes:
        """Return nothing."""
        return b""


# -- XLSX ----------------------------------------------------------------------------------

SHEET_ROWS_MAX = 1_048_576
SHEET_BYTES_MAX = 2 << 30
"""A part of over 4 GiB would need an extension of ZIP that Excel does not read in a stream."""
CELL_CHARACTERS_MAX = 32_767

_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_PROLOGUE = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_TYPES = "application/vnd.openxmlformats-officedocument.spreadsheetml"

_STYLES = (
    f'{_PROLOGUE}<styleSheet xmlns="{_MAIN}">'
    '<fonts count="1"><font><sz val="11"/><name val="Calibri"/></font></fonts>'
    '<fills count="2"><fill><patternFill patternType="none"/></fill>'
    '<fill><patternFill patternType="gray125"/></fill></fills>'
    '<borders count="1"><border><left/><right/><top/><bottom/><diagonal/></border></borders>'
    '<cellStyleXfs count="1"><xf numFmtId="0" fontId="0" fillId="0" borderId="0"/></cellStyleXfs>'
    '<cellXfs count="3">'
    '<xf numFmtId="0" fontId="0" fillId="0" borderId="0" xfId="0"/>'
    '<xf numFmtId="49" fontId="0" fillId="0" borderId="0" xfId="0" applyNumberFormat="1"/>'
    '<xf numFmtId="49" fontId="0" fillId="0" borderId="0" xfId="0" applyNumberFormat="1"'
    ' quotePrefix="1"/>'
    '</cellXfs><cellStyles count="1"><cellStyle name="Normal" xfId="0" builtinId="0"/></cellStyles>'
    "</styleSheet>"
)
_TEXT_STYLE, _GUARDED_STYLE = 1, 2

# What XML cannot hold, or would change; and what would be read as the escape of it.
_TO_ESCAPE = re.compile(
    "[\x00-\x08\x0b\x0c\r\x0e-\x1f\ud800-\udfff\ufffe\uffff]|_(?=x[0-9A-Fa-f]{4}_)"
)
_SPECIAL_XML = re.compile("[\x00-\x08\x0b-\x1f\ud800-\udfff\ufffe\uffff&<>]|_x")


class _Sink(io.RawIOBase):
    """What an archive is written to: bytes wait here until they are taken."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        piece = bytes(data)  # type: ignore[call-overload] # a buffer of bytes, as zipfile gives it
        self._pieces.append(piece)
        return len(piece)

    def take(self) -> bytes:
        data = b"".join(self._pieces)
        self._pieces.clear()
        return data


class _Archive(zipfile.ZipFile):
    """An archive that may be given up: what is not finished is nobody's."""

    def __del__(self) -> None:
        """Write no end, as every other archive does; there may be an open part."""


class XlsxWriter:
    """Writes a workbook whose archive is a stream: sheets first, what lists them last."""

    def __init__(self, columns: Sequence[str], *, raw: bool = False) -> None:
        self._columns = columns
        self._raw = raw
        self._letters = [column_letters(number) for number in range(len(columns))]
        self._sink = _Sink()
        # Cheap compression: rows are so alike that more of it costs three times the time for
        # a tenth of the size.
        self._archive = _Archive(self._sink, "w", zipfile.ZIP_DEFLATED, compresslevel=1)
        self._sheet: IO[bytes] | None = None
        self._sheets = 0
        self._row = 0
        self._bytes = 0

    def begin(self) -> bytes:
        """Return the start of the archive and of the first sheet, with the header."""
        self._open_sheet()
        return self._sink.take()

    def rows(self, rows: Sequence[Sequence[Value]]) -> bytes:
        """Return what the archive has become by some rows; it may be nothing yet.

        Raises:
            BadValue: a text is longer than 32,767 characters.
        """
        while rows:
            if self._row == SHEET_ROWS_MAX or self._bytes > SHEET_BYTES_MAX:
                self._close_sheet()
                self._open_sheet()
            some = rows[: SHEET_ROWS_MAX - self._row]
            self._write_rows(some)
            rows = rows[len(some) :]
        return self._sink.take()

    def end(self) -> bytes:
        """Return the end of the sheet, and the parts that list what there is."""
        self._close_sheet()
        numbers = range(1, self._sheets + 1)
        overrides = "".join(
            f'<Override PartName="/xl/worksheets/sheet{number}.xml" '
            f'ContentType="{_TYPES}.worksheet+xml"/>'
            for number in numbers
        )
        sheets = "".join(
            f'<sheet name="{sheet_name(number)}" sheetId="{number}" r:id="rId{number}"/>'
            for number in numbers
        )
        relations = "".join(
            f'<Relationship Id="rId{number}" Type="{_OFFICE}/worksheet" '
            f'Target="worksheets/sheet{number}.xml"/>'
            for number in numbers
        )
        self._part("xl/styles.xml", _STYLES)
        self._part(
            "xl/workbook.xml",
            f'{_PROLOGUE}<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}">'
            f"<sheets>{sheets}</sheets></workbook>",
        )
        self._part(
            "xl/_rels/workbook.xml.rels",
            f'{_PROLOGUE}<Relationships xmlns="{_PACKAGE}/relationships">{relations}'
            f'<Relationship Id="rId{self._sheets + 1}" Type="{_OFFICE}/styles" '
            'Target="styles.xml"/></Relationships>',
        )
        self._part(
            "_rels/.rels",
            f'{_PROLOGUE}<Relationships xmlns="{_PACKAGE}/relationships">'
            f'<Relationship Id="rId1" Type="{_OFFICE}/officeDocument" Target="xl/workbook.xml"/>'
            "</Relationships>",
        )
        self._part(
            "[Content_Types].xml",
            f'{_PROLOGUE}<Types xmlns="{_PACKAGE}/content-types">'
            '<Default Extension="rels" '
            'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
            '<Default Extension="xml" ContentType="application/xml"/>'
            f'<Override PartName="/xl/workbook.xml" ContentType="{_TYPES}.sheet.main+xml"/>'
            f'<Override PartName="/xl/styles.xml" ContentType="{_TYPES}.styles+xml"/>'
            f"{overrides}</Types>",
        )
        self._archive.close()
        return self._sink.take()

    def _part(self, name: str, text: str) -> None:
        self._archive.writestr(_entry(name), text)

    def _open_sheet(self) -> None:
        self._sheets += 1
        entry = _entry(f"xl/worksheets/sheet{self._sheets}.xml")
        self._sheet = self._archive.open(entry, "w")
        self._row = 0
        self._bytes = 0
        self._write(f'{_PROLOGUE}<worksheet xmlns="{_MAIN}"><sheetData>')
        header = [
            _text_cells(letters, [1], [name], raw=self._raw) for letters, name in self._named()
        ]
        self._write_cells(1, header)

    def _named(self) -> Iterator[tuple[str, str]]:
        return zip(self._letters, self._columns, strict=True)

    def _close_sheet(self) -> None:
        assert self._sheet is not None
        self._write("</sheetData></worksheet>")
        self._sheet.close()

    def _write_rows(self, rows: Sequence[Sequence[Value]]) -> None:
        numbers = range(self._row + 1, self._row + 1 + len(rows))
        cells = [
            self._cells(letters, name, numbers, values)
            for (letters, name), values in zip(self._named(), zip(*rows, strict=True), strict=True)
        ]
        self._write_cells(len(rows), cells)

    def _cells(
        self, letters: str, name: str, numbers: Sequence[int], values: Sequence[Value]
    ) -> list[str]:
        if name not in MOMENTS and all(value is None or isinstance(value, int) for value in values):
            return [
                "" if value is None else f'<c r="{letters}{number}"><v>{value}</v></c>'
                for number, value in zip(numbers, values, strict=True)
            ]
        return _text_cells(letters, numbers, _texts(name, values), raw=self._raw)

    def _write_cells(self, count: int, columns: Sequence[Sequence[str]]) -> None:
        first = self._row + 1
        self._write(
            "".join(
                f'<row r="{number}">{"".join(cells)}</row>'
                for number, cells in enumerate(zip(*columns, strict=True), first)
            )
        )
        self._row += count

    def _write(self, text: str) -> None:
        assert self._sheet is not None
        data = text.encode()
        self._bytes += len(data)
        self._sheet.write(data)


def _text_cells(
    letters: str, numbers: Sequence[int], texts: Sequence[str], *, raw: bool
) -> list[str]:
    joined = "\n".join(texts)
    if 2 * len(joined) > CELL_CHARACTERS_MAX:
        for number, text in zip(numbers, texts, strict=True):
            # Spreadsheets count as UTF-16 does.
            if len(text.encode("utf-16-le")) > 2 * CELL_CHARACTERS_MAX:
                raise BadValue(
                    f"a text of {len(text):,} characters, more than a cell of XLSX holds "
                    f"({CELL_CHARACTERS_MAX:,}); export as CSV",
                    f"row {number}, column {letters}",
                )
    written: Iterable[str] = texts
    if _SPECIAL_XML.search(joined):
        written = map(xml_text, texts)
    styles: Callable[[str], int] = _style_of if not raw else lambda _: _TEXT_STYLE
    return [
        f'<c r="{letters}{number}" s="{styles(text)}" t="inlineStr"><is>'
        f'<t xml:space="preserve">{xml}</t></is></c>'
        if text
        else ""
        for number, text, xml in zip(numbers, texts, written, strict=True)
    ]


def _style_of(text: str) -> int:
    return _GUARDED_STYLE if needs_guard(text) else _TEXT_STYLE


def xml_text(text: str) -> str:
    """Return a text as it stands in a cell's XML."""
    return escape(_TO_ESCAPE.sub(lambda match: f"_x{ord(match[0]):04X}_", text))


def sheet_name(number: int) -> str:
    """Return the name of an export's sheet, from 1."""
    return "codes" if number == 1 else f"codes {number}"


def column_letters(number: int) -> str:
    """Return a column's letters: 0 is A, 26 is AA."""
    letters = ""
    number += 1
    while number:
        number, letter = divmod(number - 1, 26)
        letters = chr(ord("A") + letter) + letters
    return letters


def _entry(name: str) -> zipfile.ZipInfo:
    """Return an entry without the time of day: the same rows make the same bytes."""
    entry = zipfile.ZipInfo(name)
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry
