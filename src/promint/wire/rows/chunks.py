"""What reading a table of codes gives: options in, rows and rejects out.

A reader yields chunks. A chunk holds what about a mebibyte of the file held, so that memory stays
the same whatever the file's size. Its rejects are the rows that cannot be used, each with the
reason and with its text as it stands in the file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, Protocol

from promint.domain.errors import BadFile


class FileFormat(StrEnum):
    """The forms of a table of codes. `txt` is one code a line, whatever it holds."""

    CSV = "csv"
    TXT = "txt"
    XLSX = "xlsx"
    JSONL = "jsonl"


class Encoding(StrEnum):
    """The encodings of text that are read; a byte order mark is recognised and passed over."""

    UTF_8 = "utf-8"
    UTF_16_LE = "utf-16-le"
    UTF_16_BE = "utf-16-be"
    CP1251 = "cp1251"


DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe"}
"""The delimiters that are recognised, and how people call them."""


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How a file is to be read. None of an option: what the file itself tells.

    `columns` says for a name of ours (`code`, `expire_date` …, a name of `fields`, or
    `custom:NAME`) which column holds it: its number, from 1, or its header. `fields` are the
    program's additional data fields, `time_zone` is its zone, in which dates without one are
    read. `is_prefixed` says whether an apostrophe before what would start a formula is a
    spreadsheet's guard and no part of the text. `accept_damaged` takes codes that a spreadsheet
    has plainly damaged all the same. `needs_code` off is for lists of profiles: a row may have no
    code, and one column without a header is what it is.
    """

    format: FileFormat | None = None
    encoding: Encoding | None = None
    delimiter: str | None = None
    has_header: bool | None = None
    is_prefixed: bool | None = None
    sheet: str | None = None
    columns: Mapping[str, int | str] = field(default_factory=dict)
    fields: Sequence[str] = ()
    time_zone: str = "UTC"
    accept_damaged: bool = False
    needs_code: bool = True


@dataclass(frozen=True, slots=True)
class Recognised:
    """How a file is read; shown to people.

    `columns` are our names and the headers, or numbers, of their columns; `ignored` are the
    headers that no name of ours has. `encoding`, `delimiter` and `sheet` are None where the format
    has none; the delimiter also where there is one column. In JSON Lines each line has keys of
    its own: there both lists are those of the first lines.
    """

    format: FileFormat
    is_gzip: bool = False
    encoding: Encoding | None = None
    has_bom: bool = False
    delimiter: str | None = None
    sheet: str | None = None
    has_header: bool = False
    is_prefixed: bool = False
    columns: tuple[tuple[str, str], ...] = ()
    ignored: tuple[str, ...] = ()
    header: tuple[str, ...] = ()
    """The first row as it stands, if it is a header: for the rejects file."""
    other_sheets: tuple[str, ...] = ()
    """The sheets that hold something, are not hidden, and are not read."""

    def values(self) -> dict[str, object]:
        """Return what is shown with `--json`: plain values by name."""
        return {
            "format": self.format.value,
            "gzip": self.is_gzip,
            "encoding": self.encoding and self.encoding.value,
            "bom": self.has_bom,
            "delimiter": self.delimiter,
            "sheet": self.sheet,
            "other_sheets": list(self.other_sheets),
            "header": self.has_header,
            "columns": dict(self.columns),
            "ignored": list(self.ignored),
        }

    def sentence(self) -> str:
        """Return one sentence for people, such as `CSV, UTF-8 with BOM, delimiter comma …`."""
        parts = [_FORMAT_NAMES[self.format] + (" in gzip" if self.is_gzip else "")]
        if self.encoding:
            parts.append(self.encoding.value.upper() + (" with BOM" if self.has_bom else ""))
        if self.delimiter:
            name = DELIMITERS.get(self.delimiter, self.delimiter)
            parts.append(f"delimiter {name}")
        if self.sheet is not None:
            parts.append(f"sheet {self.sheet}")
        if self.format is not FileFormat.JSONL:
            parts.append("with a header" if self.has_header else "without a header")
        mapped = ", ".join(f"{ours} from {theirs}" for ours, theirs in self.columns)
        ignored = f"; ignored: {', '.join(self.ignored)}" if self.ignored else ""
        if self.other_sheets:
            ignored += f"; sheets not read: {', '.join(self.other_sheets)}"
        return f"{', '.join(parts)}; columns: {mapped or 'by the keys of each line'}{ignored}"


_FORMAT_NAMES = {
    FileFormat.CSV: "CSV",
    FileFormat.TXT: "text, one code a line",
    FileFormat.XLSX: "XLSX",
    FileFormat.JSONL: "JSON Lines",
}


class Row(NamedTuple):
    """One usable row. None where a cell is empty or there is no such column.

    `line` is the line of the file where the row starts, from 1; in XLSX the number of the row,
    counted on over the sheets. `code` is as it stands, to be cleaned by `codetext.clean_code`.
    Moments are UTC microseconds. `custom` is name and value of a profile's custom field;
    `fields` are the additional data, as the text of a JSON object of texts.
    """

    line: int
    code: str
    expires_at: int | None = None
    attached_at: int | None = None
    activated_at: int | None = None
    database_id: int | None = None
    profile_id: str | None = None
    email: str | None = None
    phone: str | None = None
    custom: tuple[str, str] | None = None
    fields: str | None = None


class RejectKind(StrEnum):
    """Whether a spreadsheet damaged the row, or it cannot be read for another reason."""

    DAMAGED = "damaged"
    UNUSABLE = "unusable"


class Reject(NamedTuple):
    """A row that cannot be used. `original` is its text in the file, of XLSX the cells as CSV."""

    line: int
    reason: str
    original: str
    kind: RejectKind = RejectKind.UNUSABLE


@dataclass(frozen=True, slots=True)
class PlainChunk:
    """Codes and nothing else, of lines that follow each other: the fast path.

    `texts[i]` stands on line `first_line + i`. A text that is empty after `strip` is a blank line,
    or one that was rejected; it is to be passed over. The others are to be cleaned.
    """

    first_line: int
    texts: list[str]
    rejects: list[Reject] = field(default_factory=list)

    def original(self, line: int) -> str | None:
        """Return the text of the row that starts on a line, None if none of this chunk does."""
        index = line - self.first_line
        if 0 <= index < len(self.texts) and self.texts[index]:
            return self.texts[index]
        return _rejected(self.rejects, line)


@dataclass(frozen=True, slots=True)
class RowChunk:
    """Rows with more than a code, in order of their lines; blank ones are not among them."""

    rows: list[Row]
    rejects: list[Reject]
    originals: "TextsByLine"

    def original(self, line: int) -> str | None:
        """Return the text of the row that starts on a line, None if none of this chunk does."""
        text = self.originals.get(line)
        return _rejected(self.rejects, line) if text is None else text.rstrip("\r\n")


Chunk = PlainChunk | RowChunk


class TextsByLine(Protocol):
    """The texts behind a chunk's rows, put together only for the few that are asked for."""

    def get(self, line: int) -> str | None:
        """Return the text of the row that starts on this line."""


class Originals(NamedTuple):
    """The lines behind a chunk's rows, from `first_line` on."""

    first_line: int
    texts: Sequence[str]
    spans: Mapping[int, int]
    """How many lines a row has, by the line where it starts; absent is 1."""

    def get(self, line: int) -> str | None:
        """Return the text of the row that starts on this line."""
        index = line - self.first_line
        if not 0 <= index < len(self.texts):
            return None
        return "".join(self.texts[index : index + self.spans.get(line, 1)])


def _rejected(rejects: Sequence[Reject], line: int) -> str | None:
    return next((reject.original for reject in rejects if reject.line == line), None)


def refusal(
    what: str, name: str, line: int | None = None, column: int | str | None = None
) -> BadFile:
    """Return the error that ends a file: what is wrong, what to do, and where.

    `column` is a number, from 1, or the letters of a spreadsheet.
    """
    where = name
    if line is not None:
        where += f", line {line}"
    if column is not None:
        where += f", column {column}"
    return BadFile(what, where)
