"""XLSX read row by row, in bounded memory: a ZIP archive of XML parts (ECMA-376, part 1).

The libraries for it either hold a whole sheet in memory, whose size a single far cell decides,
or take an empty cell and a formula without its value for the same (ADR 0008). Macros, hidden
rows and columns, merged cells and everything else that is not a value is passed over.
"""

import csv
import io
import re
import zipfile
import zlib
from abc import ABC, abstractmethod
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, cast
from xml.parsers import expat

from promint.wire.rows.assembling import Cell, Number, Wrong
from promint.wire.rows.blocks import UNPACKED_FREE_BYTES, UNPACKED_RATIO_MAX, Source, is_damaged
from promint.wire.rows.chunks import refusal
from promint.wire.rows.writing import column_letters

ROWS_MAX = 1_048_576
COLUMNS_MAX = 16_384
CELL_CHARACTERS_MAX = 65_536
SHARED_BYTES_MAX = 256 << 20
PARTS_MAX = 10_000
CHUNK_CELLS = 65_536
_FEED_BYTES = 64 << 10
_PENDING_BYTES_MAX = 1 << 20
_DEPTH_MAX = 64

_ESCAPED = re.compile(r"_x([0-9A-Fa-f]{4})_")
_DATE_FORMATS = frozenset([*range(14, 23), *range(27, 37), *range(45, 48), *range(50, 59)])
_NOT_OF_A_DATE = re.compile(r'"[^"]*"|\\.|_.|\*.|\[(?![hms]+\])[^\]]*\]|General', re.IGNORECASE)
_OF_A_DATE = re.compile(r"[ymdhs]", re.IGNORECASE)
_ZEROS = re.compile("0{2,15}")

NO_RESULT = Wrong(
    "a formula without its value; open the file in a spreadsheet and save it", is_damage=True
)
HALF_A_CHARACTER = Wrong("half a character, which no text can hold", is_damage=True)

Batch = tuple[list[int], list[list[Cell]]]
"""Numbers of rows, and their cells."""


class Sheet(NamedTuple):
    """A sheet of a workbook: its name, and the part that holds it."""

    name: str
    part: str
    is_hidden: bool = False


class Workbook:
    """An open workbook.

    Raises:
        BadFile: it is none, it is damaged or encrypted, or absurdly large.
    """

    def __init__(self, source: Source, file: str) -> None:
        self._file = file
        self._refuse_large_directory(source)
        try:
            self._archive = zipfile.ZipFile(cast("io.BytesIO", source))
        except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError):
            raise self._damaged() from None
        self._names = set(self._archive.namelist())
        self._refuse_others()
        self._read_workbook()
        self._styles: _Styles | None = None
        self._shared: _SharedTexts | None = None

    def close(self) -> None:
        """Close the archive; the file stays open."""
        self._archive.close()

    def _damaged(self) -> Exception:
        return refusal(
            "the XLSX file is cut off or damaged; get it again, or save it again", self._file
        )

    def _refuse_large_directory(self, source: Source) -> None:
        """Refuse absurdly many parts before the directory of the archive is read."""
        size = source.seek(0, io.SEEK_END)
        source.seek(max(0, size - 65_557))
        tail = source.read(65_557)
        place = tail.rfind(b"PK\x05\x06")
        parts = int.from_bytes(tail[place + 10 : place + 12], "little") if place >= 0 else 0
        directory_bytes = int.from_bytes(tail[place + 12 : place + 16], "little")
        if parts > PARTS_MAX or (place >= 0 and directory_bytes > PARTS_MAX * 1000):
            raise refusal(f"a ZIP archive of over {PARTS_MAX:,} parts is no workbook", self._file)

    def _refuse_others(self) -> None:
        if any(info.flag_bits & 1 for info in self._archive.infolist()):
            raise refusal("the workbook is encrypted; save it without a password", self._file)
        if "xl/workbook.bin" in self._names:
            raise refusal("this is an XLSB workbook; save it as XLSX or CSV", self._file)
        if "content.xml" in self._names and "mimetype" in self._names:
            raise refusal("this is an OpenDocument file; save it as XLSX or CSV", self._file)
        if "word/document.xml" in self._names:
            raise refusal("this is a document of Word; save the table as XLSX or CSV", self._file)
        if "_rels/.rels" not in self._names:
            raise refusal("this is a ZIP archive, but no workbook; unpack it first", self._file)

    def _read_workbook(self) -> None:
        main = "xl/workbook.xml"
        for kind, target, _ in self._relations("_rels/.rels", ""):
            if kind == "officeDocument":
                main = target
        if main not in self._names:
            raise refusal("this is a ZIP archive, but no workbook; unpack it first", self._file)
        folder, _, name = main.rpartition("/")
        relations = list(self._relations(f"{folder}/_rels/{name}.rels", folder))
        parts = {id_: target for kind, target, id_ in relations if kind == "worksheet"}
        self._shared_part = next((t for kind, t, _ in relations if kind == "sharedStrings"), None)
        self._styles_part = next((t for kind, t, _ in relations if kind == "styles"), None)
        self.sheets: list[Sheet] = []
        self.is_1904 = False

        def start(tag: str, attributes: Mapping[str, str]) -> None:
            if tag == "workbookPr":
                self.is_1904 = attributes.get("date1904") in ("1", "true")
            elif tag == "sheet":
                part = parts.get(_by_local_name(attributes, "id"))
                if part in self._names:
                    is_hidden = attributes.get("state", "visible") != "visible"
                    self.sheets.append(Sheet(attributes.get("name", ""), part, is_hidden))

        self._parse(main, start)

    def _relations(self, part: str, folder: str) -> Iterator[tuple[str, str, str]]:
        """Yield kind, target and id of the relations of a part."""
        found: list[tuple[str, str, str]] = []

        def start(tag: str, attributes: Mapping[str, str]) -> None:
            if tag == "Relationship":
                target = attributes.get("Target", "")
                whole = target[1:] if target.startswith("/") else f"{folder}/{target}".lstrip("/")
                kind = attributes.get("Type", "").rpartition("/")[2]
                found.append((kind, whole, attributes.get("Id", "")))

        if part in self._names:
            self._parse(part, start)
        yield from found

    def sheet(self, wanted: str) -> Sheet:
        """Return a sheet by its name or number, from 1.

        Raises:
            BadFile: there is no such sheet.
        """
        for sheet in self.sheets:
            if sheet.name.casefold() == wanted.strip().casefold():
                return sheet
        if wanted.isdecimal() and 0 < int(wanted) <= len(self.sheets):
            return self.sheets[int(wanted) - 1]
        names = ", ".join(repr(sheet.name) for sheet in self.sheets)
        raise refusal(f"no sheet is called {wanted!r}; there are {names}", self._file)

    def rows(
        self, sheet: Sheet, width: int = COLUMNS_MAX, batch_cells: int = CHUNK_CELLS
    ) -> Iterator[Batch]:
        """Yield the rows of a sheet, each with at most its first `width` cells, in batches.

        A batch has about `batch_cells` of them, and at least what a block of the file holds.

        Raises:
            BadFile: the part is damaged, or a cell is absurdly long.
        """
        if self._styles is None:
            self._styles = self._read_styles()
        if self._shared is None:
            self._shared = self._shared_texts()
        reading = _SheetRows(self._shared, self._styles, width, self._file)
        for _ in self._feed(sheet.part, reading):
            if reading.cell_count >= batch_cells:
                yield reading.take()
        yield reading.take()

    def _read_styles(self) -> "_Styles":
        formats: dict[int, str] = {}
        styles: list[int] = []
        inside = False

        def start(tag: str, attributes: Mapping[str, str]) -> None:
            nonlocal inside
            if tag == "numFmt":
                formats[_whole(attributes.get("numFmtId"))] = attributes.get("formatCode", "")
            elif tag in ("cellXfs", "cellStyleXfs"):
                inside = tag == "cellXfs"
            elif tag == "xf" and inside:
                styles.append(_whole(attributes.get("numFmtId")))

        if self._styles_part in self._names:
            self._parse(self._styles_part, start)
        dates = {number for number, code in formats.items() if _is_of_a_date(code)}
        dates |= _DATE_FORMATS - formats.keys()
        return _Styles(
            frozenset(style for style, number in enumerate(styles) if number in dates),
            {
                style: len(code)
                for style, number in enumerate(styles)
                if _ZEROS.fullmatch(code := formats.get(number, ""))
            },
        )

    def _shared_texts(self) -> "_SharedTexts":
        texts = _SharedTexts(self._file)
        if self._shared_part in self._names:
            for _ in self._feed(self._shared_part, texts):
                pass
        return texts

    def _parse(self, part: str, start: Callable[[str, Mapping[str, str]], None]) -> None:
        for _ in self._feed(part, _Starts(start)):
            pass

    def _feed(self, part: str, handlers: "_Handlers") -> Iterator[None]:
        """Parse a part, with a pause after every block."""
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.buffer_size = _FEED_BYTES
        parser.StartElementHandler = handlers.start
        parser.EndElementHandler = handlers.end
        parser.CharacterDataHandler = handlers.characters
        # A definition of entities is how a small part becomes a large one. Workbooks have none.
        parser.StartDoctypeDeclHandler = self._refuse_doctype
        fed = 0
        for data in self._bytes(part):
            try:
                parser.Parse(data, False)
            except expat.ExpatError:
                raise self._damaged() from None
            fed += len(data)
            if fed - parser.CurrentByteIndex > _PENDING_BYTES_MAX:
                raise self._damaged()
            yield
        try:
            parser.Parse(b"", True)
        except expat.ExpatError:
            raise self._damaged() from None

    def _refuse_doctype(self, *_: object) -> None:
        raise refusal("the workbook defines a document type, which none does", self._file)

    def _bytes(self, part: str) -> Iterator[bytes]:
        info = self._archive.getinfo(part)
        most = UNPACKED_FREE_BYTES + UNPACKED_RATIO_MAX * info.compress_size
        size = 0
        try:
            with self._archive.open(info) as stream:
                while data := stream.read(_FEED_BYTES):
                    size += len(data)
                    if size > most:
                        raise refusal(
                            f"a part of the workbook unpacks to over {UNPACKED_RATIO_MAX} times "
                            "its size; save the table as CSV if that is right",
                            self._file,
                        )
                    yield data
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError):
            raise self._damaged() from None


class _Styles(NamedTuple):
    """Which styles of cells show a number as a date, and which with zeros in front, how long."""

    dates: frozenset[int]
    zeros: Mapping[int, int]


class _Handlers(ABC):
    """What a part is parsed with; names come without their prefix."""

    @abstractmethod
    def start(self, tag: str, attributes: Mapping[str, str]) -> None: ...

    def end(self, tag: str) -> None:  # noqa: B027  # may be left as it is
        """Most parts say everything in their elements' starts."""

    def characters(self, text: str) -> None:  # noqa: B027  # may be left as it is
        """Most parts say everything in their elements' starts."""


class _Starts(_Handlers):
    def __init__(self, take: Callable[[str, Mapping[str, str]], None]) -> None:
        self._take = take

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        self._take(tag.rpartition(":")[2], attributes)


class _SharedTexts(_Handlers):
    """The texts that cells share, packed: a million Python texts would take 70 MB more."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._packed = bytearray()
        self._ends = array("Q", [0])
        self._takes = False
        self._depth_of_reading = 0

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        local = tag.rpartition(":")[2]
        if local == "t" and not self._depth_of_reading:
            self._takes = True
        elif local == "rPh":
            # How a Japanese text is read aloud, which is no part of it.
            self._depth_of_reading += 1

    def end(self, tag: str) -> None:
        local = tag.rpartition(":")[2]
        if local == "t":
            self._takes = False
        elif local == "rPh":
            self._depth_of_reading -= 1
        elif local == "si":
            self._ends.append(len(self._packed))
            if len(self._packed) + 8 * len(self._ends) > SHARED_BYTES_MAX:
                raise self._too_much()

    def characters(self, text: str) -> None:
        if self._takes:
            self._packed += text.encode()
            if len(self._packed) > SHARED_BYTES_MAX:
                raise self._too_much()

    def _too_much(self) -> Exception:
        return refusal(
            f"over {SHARED_BYTES_MAX >> 20} MiB of text in one workbook; save it as CSV",
            self._file,
        )

    def text(self, index: str) -> str | Wrong:
        """Return a text by its number."""
        number = _whole(index)
        if not 0 <= number < len(self._ends) - 1:
            return Wrong("a text that the workbook does not have", is_damage=True)
        return self._packed[self._ends[number] : self._ends[number + 1]].decode()


class _SheetRows(_Handlers):
    """Collects the rows of a sheet."""

    def __init__(self, shared: _SharedTexts, styles: _Styles, width: int, file: str) -> None:
        self._shared = shared
        self._styles = styles
        self._width = width
        self._file = file
        self._lines: list[int] = []
        self._table: list[list[Cell]] = []
        self.cell_count = 0
        self._line = 0
        self._row: list[Cell] = []
        self._column = -1
        self._type = ""
        self._style = ""
        self._value: list[str] = []
        self._size = 0
        self._takes = False
        self._has_formula = False
        self._has_value = False
        self._depth_of_reading = 0
        self._depth = 0
        self._columns: dict[str, int] = {}

    def take(self) -> Batch:
        """Return the rows that are complete, once."""
        batch = self._lines, self._table
        self._lines, self._table, self.cell_count = [], [], 0
        return batch

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        self._depth += 1
        if self._depth > _DEPTH_MAX:
            raise refusal(
                "the workbook is damaged: nested too deep", self._file, self._line or None
            )
        if ":" in tag:
            tag = tag.rpartition(":")[2]
        if tag == "c":
            reference = attributes.get("r")
            self._column = self._column_of(reference) if reference else self._column + 1
            self._type = attributes.get("t", "n")
            self._style = attributes.get("s", "")
            self._has_formula = self._has_value = False
        elif tag in {"v", "t"}:
            if not self._depth_of_reading:
                self._takes = self._has_value = True
        elif tag == "row":
            self._start_row(_whole(attributes.get("r")))
        elif tag == "f":
            self._has_formula = True
        elif tag == "rPh":
            self._depth_of_reading += 1

    def _start_row(self, number: int) -> None:
        self._line = max(number, self._line + 1)
        if self._line > ROWS_MAX:
            raise refusal(
                f"no sheet has over {ROWS_MAX:,} rows; the workbook is damaged",
                self._file,
                self._line,
            )
        self._row = []
        self._column = -1

    def _column_of(self, reference: str) -> int:
        letters = reference.rstrip("0123456789")
        try:
            return self._columns[letters]
        except KeyError:
            column = 0
            for letter in letters[:4].upper():
                column = column * 26 + ord(letter) - ord("A") + 1
            if not (letters.isalpha() and letters.isascii() and column <= COLUMNS_MAX):
                raise refusal(
                    f"no cell is called {reference[:20]!r}; the workbook is damaged",
                    self._file,
                    self._line,
                ) from None
            self._columns[letters] = column - 1
            return column - 1

    def end(self, tag: str) -> None:
        self._depth -= 1
        if ":" in tag:
            tag = tag.rpartition(":")[2]
        if tag in {"v", "t"}:
            self._takes = False
        elif tag == "c":
            self._end_cell()
        elif tag == "row":
            self._lines.append(self._line)
            self._table.append(self._row)
            self.cell_count += len(self._row) + 1
        elif tag == "rPh":
            self._depth_of_reading -= 1

    def characters(self, text: str) -> None:
        if self._takes:
            self._value.append(text)
            self._size += len(text)
            if self._size > CELL_CHARACTERS_MAX:
                raise refusal(
                    f"a cell of over {CELL_CHARACTERS_MAX:,} characters, which is no code",
                    self._file,
                    self._line,
                    column_letters(self._column),
                )

    def _end_cell(self) -> None:
        value = "".join(self._value)
        self._value.clear()
        self._size = 0
        column = self._column
        if column >= self._width or (not self._has_value and not self._has_formula):
            return
        row = self._row
        if column > len(row):
            row.extend([""] * (column - len(row)))
        cell = self._cell(value)
        if column == len(row):
            row.append(cell)
        else:
            row[column] = cell

    def _cell(self, value: str) -> Cell:
        if self._has_formula and not self._has_value:
            return NO_RESULT
        kind = self._type
        if kind == "n":
            if not value:
                return ""
            style = _whole(self._style) if self._style else 0
            zeros = self._styles.zeros.get(style)
            if zeros and value.isdecimal():
                value = value.zfill(zeros)
            return Number(value, style in self._styles.dates)
        if kind == "s":
            shared = self._shared.text(value)
            return _unescaped(shared) if isinstance(shared, str) else shared
        if kind == "b":
            return "TRUE" if value == "1" else "FALSE"
        return _unescaped(value)


class CellsByLine:
    """The cells behind a chunk's rows, as CSV."""

    def __init__(self, lines: Sequence[int], table: Sequence[Sequence[Cell]]) -> None:
        self._lines = lines
        self._table = table

    def get(self, line: int) -> str | None:
        """Return the cells of a row as a line of CSV."""
        index = bisect_left(self._lines, line)
        if index == len(self._lines) or self._lines[index] != line:
            return None
        return csv_line(plain_text(cell) for cell in self._table[index])


def plain_text(cell: Cell) -> str:
    """Return what a cell shows, without asking whether it can be used."""
    if isinstance(cell, str):
        return cell
    return cell.text if isinstance(cell, Number) else ""


def csv_line(cells: Iterable[str]) -> str:
    """Return cells as one row of CSV, without a line end."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(cells)
    return text.getvalue()


def _is_of_a_date(code: str) -> bool:
    return _OF_A_DATE.search(_NOT_OF_A_DATE.sub("", code)) is not None


def _unescaped(text: str) -> str | Wrong:
    """Undo `_x000D_`, the way in which XLSX writes what XML cannot."""
    if "_x" not in text:
        return text
    whole = _ESCAPED.sub(lambda match: chr(int(match[1], 16)), text)
    return HALF_A_CHARACTER if is_damaged(whole) else whole


def _by_local_name(attributes: Mapping[str, str], name: str) -> str:
    return next((v for key, v in attributes.items() if key.rpartition(":")[2] == name), "")


def _whole(text: str | None) -> int:
    return int(text) if text and text.isdecimal() and len(text) < 10 else -1
