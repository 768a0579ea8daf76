"""What a file is, by its first bytes: never by its name alone."""

import codecs
import csv
import re
from collections.abc import Sequence
from typing import NamedTuple

from promint.wire.rows.blocks import Source, is_damaged, raw_lines_of
from promint.wire.rows.chunks import DELIMITERS, Encoding, FileFormat, ReadOptions, refusal
from promint.wire.rows.columns import Naming
from promint.wire.rows.delimited import NO_DELIMITER

SAMPLE_BYTES = 256 << 10
SAMPLE_ROWS = 100
GZIP = b"\x1f\x8b"
ZIP = b"PK\x03\x04"
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"

_A_PICTURE = "a picture; codes are read from CSV, text, XLSX and JSON Lines"
_OTHERS = (
    (b"%PDF", "a PDF; save the table itself as CSV or XLSX"),
    (b"\x89PNG", _A_PICTURE),
    (b"\xff\xd8\xff", _A_PICTURE),
    (b"GIF8", _A_PICTURE),
    (b"PK\x05\x06", "an empty ZIP archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it first"),
    (b"Rar!\x1a\x07", "a RAR archive; unpack it first"),
    (b"BZh", "packed with bzip2; unpack it first, or pack it with gzip"),
    (b"\xfd7zXZ\x00", "packed with xz; unpack it first, or pack it with gzip"),
    (b"\x28\xb5\x2f\xfd", "packed with zstd; unpack it first, or pack it with gzip"),
    (b"SQLite format 3\x00", "an SQLite database; export the table as CSV"),
    (b"PAR1", "a Parquet file; export the table as CSV"),
    (b"{\\rtf", "an RTF text; save it as plain text"),
    (b"\xff\xfe\x00\x00", "UTF-32; save the file as UTF-8"),
    (b"\x00\x00\xfe\xff", "UTF-32; save the file as UTF-8"),
)
_BOMS = (
    (codecs.BOM_UTF8, Encoding.UTF_8),
    (codecs.BOM_UTF16_LE, Encoding.UTF_16_LE),
    (codecs.BOM_UTF16_BE, Encoding.UTF_16_BE),
)
_MARKUP = re.compile(r"\s*<(?:!doctype|html|table|\?xml|head|body|meta)", re.IGNORECASE)
_SEPARATOR_LINE = re.compile(r"\"?sep=(.)\"?[\r\n]*", re.IGNORECASE)


class Text(NamedTuple):
    """How the bytes of a text are read."""

    encoding: Encoding
    bom_bytes: int


class Dialect(NamedTuple):
    """How the lines of a CSV are read. `skip` lines at the top are no rows."""

    delimiter: str | None
    first_row: tuple[str, ...]
    first_line: int
    has_header: bool
    skip: int
    only: int | None
    """The only column that is not empty in the first rows."""


def refuse_others(head: bytes, source: Source, file: str) -> None:
    """Refuse what is plainly no table: by the bytes that such files begin with.

    Raises:
        BadFile: it says what the file is and what to do with it.
    """
    if not head:
        raise refusal("the file is empty", file)
    for magic, what in _OTHERS:
        if head.startswith(magic):
            raise refusal(f"this is {what}", file)
    if head.startswith(_OLE):
        raise refusal(_what_ole_is(source), file)


def _what_ole_is(source: Source) -> str:
    """Say what an OLE file is: its directory names the streams, in UTF-16."""
    source.seek(0)
    header = source.read(512)
    sector_bits = min(int.from_bytes(header[30:32], "little"), 16)
    first_sector = int.from_bytes(header[48:52], "little")
    source.seek((first_sector + 1) << sector_bits)
    directory = source.read(8192)
    if "EncryptedPackage".encode("utf-16-le") in directory:
        return "the workbook is encrypted; save it without a password"
    if any(name.encode("utf-16-le") in directory for name in ("Workbook", "Book")):
        return "this is a workbook of Excel 97 (.xls); save it as XLSX or CSV"
    return "this is an old Office document; save the table as XLSX or CSV"


def recognise_text(head: bytes, file: str, wanted: Encoding | None) -> Text:
    """Return the encoding of a text, by its mark, the place of its zeros, or what it is valid in.

    Raises:
        BadFile: it holds a zero byte, and is not UTF-16; or it has the mark of another encoding
            than the one that is wanted.
    """
    for bom, encoding in _BOMS:
        if head.startswith(bom):
            if wanted not in (None, encoding):
                raise refusal(
                    f"the file begins with the mark of {encoding.value.upper()}, not "
                    f"{wanted.upper()}; leave the encoding out",
                    file,
                    1,
                )
            return Text(encoding, len(bom))
    if wanted in (Encoding.UTF_16_LE, Encoding.UTF_16_BE):
        return Text(wanted, 0)
    even, odd = head[::2].count(0), head[1::2].count(0)
    # Each line end of UTF-16 has a zero of its own.
    is_wide = even + odd >= max(len(head) // 20, head.count(b"\n"), 1)
    if is_wide and min(even, odd) * 20 <= max(even, odd):
        found = Encoding.UTF_16_LE if odd > even else Encoding.UTF_16_BE
        if wanted:
            raise refusal(
                f"the file is {found.value.upper()}, not {wanted.upper()}; leave the encoding out",
                file,
                1,
            )
        return Text(found, 0)
    if even + odd:
        place = head.index(0)
        raise refusal(
            f"a zero byte (byte {place + 1}): this is no text; save the table as CSV or XLSX",
            file,
            head.count(b"\n", 0, place) + 1,
        )
    if wanted:
        return Text(wanted, 0)
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        if _is_russian(head):
            return Text(Encoding.CP1251, 0)
    return Text(Encoding.UTF_8, 0)


# In CP1251 the letters are 0xC0 to 0xFF, Ё and ё. Words make them stand next to each other, as
# the accented letters of western encodings hardly ever do.
_RUSSIAN_LETTER = re.compile(rb"[\xc0-\xff\xa8\xb8]")
_RUSSIAN_PAIR = re.compile(rb"[\xc0-\xff\xa8\xb8]{2,}")


def _is_russian(head: bytes) -> bool:
    letters = len(_RUSSIAN_LETTER.findall(head))
    in_words = sum(map(len, _RUSSIAN_PAIR.findall(head)))
    return b"\x98" not in head and in_words * 2 > letters


def recognise_format(sample: str, file: str) -> FileFormat:
    """Return the form of a text: JSON Lines if it starts with an object, else CSV or text.

    Raises:
        BadFile: it is a page of HTML or XML, or one JSON list.
    """
    if _MARKUP.match(sample):
        raise refusal(
            "this is a page of HTML or XML, whatever its name says; open it in a spreadsheet and "
            "save it as XLSX or CSV",
            file,
        )
    start = sample.lstrip()
    if re.match(r"\{[ \t]*[\r\n]", start):
        raise refusal("one JSON object over several lines; write one a line", file, 1)
    if re.match(r"\{\s*(?:\"|\}|$)", start):
        return FileFormat.JSONL
    if re.match(r"\[\s*[\[{\"]", start):
        raise refusal("one JSON list; write one object a line (JSON Lines)", file, 1)
    return FileFormat.CSV


def recognise_dialect(
    sample: str,
    file: str,
    naming: Naming,
    options: ReadOptions,
    form: FileFormat,
    *,
    is_whole: bool,
) -> Dialect:
    """Return delimiter and header of a table, from the whole lines of its beginning.

    Raises:
        BadFile: there is no row, or the first one cannot be read.
    """
    lines = raw_lines_of(sample)
    skip = 0
    delimiter = options.delimiter
    if lines and (told := _SEPARATOR_LINE.fullmatch(lines[0])) and form is FileFormat.CSV:
        delimiter, skip = delimiter or told[1], 1
    while skip < len(lines) and not lines[skip].strip():
        skip += 1
    if skip == len(lines):
        if is_whole:
            raise refusal("the file holds nothing but blank lines", file)
        raise refusal(f"the first {skip:,} lines are blank; take them out", file, 1)
    first_line = skip + 1
    if form is FileFormat.TXT:
        row = [lines[skip].rstrip("\r\n")]
        has_header = _is_header(row, naming, options, is_alone=True)
        return Dialect(None, tuple(row), first_line, has_header, skip + has_header, 0)

    rows_by = {d: _rows(lines[skip:], d) for d in (*DELIMITERS, NO_DELIMITER)}
    if delimiter is None:
        delimiter = _likeliest(rows_by, naming)
    elif len(delimiter) != 1:
        raise refusal("the delimiter is not one character", file)
    rows = rows_by.get(delimiter or NO_DELIMITER) or _rows(lines[skip:], delimiter or NO_DELIMITER)
    if not rows:
        raise refusal(
            "the first row has a quote that is never closed; close it, or write a quote within a "
            "cell twice",
            file,
            first_line,
            1,
        )
    row = rows[0]
    has_header = _is_header(row, naming, options, is_alone=len(row) == 1)
    if len(row) == 1 and not has_header:
        _refuse_other_delimiter(rows_by, naming, delimiter, file, first_line)
        _refuse_rare_delimiter(row[0], naming, file, first_line)
    used = {place for cells in rows for place, cell in enumerate(cells) if cell.strip()}
    only = used.pop() if len(used) == 1 else None
    return Dialect(
        delimiter if len(row) > 1 or options.delimiter else None,
        tuple(row),
        first_line,
        has_header,
        skip + (_height(lines[skip:], delimiter) if has_header else 0),
        only,
    )


def _rows(lines: Sequence[str], delimiter: str) -> list[list[str]]:
    """Return the first rows; where quotes make no sense, those before."""
    rows: list[list[str]] = []
    try:
        for row in csv.reader(lines, delimiter=delimiter, strict=True):
            if row:
                rows.append(row)
            if len(rows) == SAMPLE_ROWS:
                break
    except csv.Error:
        pass
    return rows


def _height(lines: Sequence[str], delimiter: str | None) -> int:
    reader = csv.reader(lines, delimiter=delimiter or NO_DELIMITER)
    next(reader)
    return reader.line_num


def _likeliest(rows_by: dict[str, list[list[str]]], naming: Naming) -> str | None:
    """Return the delimiter that makes most known headers, else the one that all rows have alike."""
    known = {d: naming.known(rows_by[d][0]) for d in DELIMITERS if rows_by[d]}
    best = max(known, key=lambda d: (known[d], len(rows_by[d][0])), default=None)
    if best and known[best] and len(rows_by[best][0]) > 1:
        return best
    alike = {
        d: len(rows_by[d][0])
        for d in known
        if len(rows_by[d][0]) > 1 and len(set(map(len, rows_by[d]))) == 1
    }
    return max(alike, key=lambda d: alike[d], default=None)


def _is_header(row: Sequence[str], naming: Naming, options: ReadOptions, *, is_alone: bool) -> bool:
    if options.has_header is not None:
        return options.has_header
    named = [name for cell in row if (name := naming.name_of(cell))]
    if is_alone:
        # A single word could as well be a code; it is a header only if it means the code.
        return bool(named) and (named[0][0] == "code" or not options.needs_code)
    return bool(named)


def _refuse_other_delimiter(
    rows_by: dict[str, list[list[str]]],
    naming: Naming,
    delimiter: str | None,
    file: str,
    line: int,
) -> None:
    for other in DELIMITERS:
        rows = rows_by[other]
        if other != delimiter and rows and len(rows[0]) > 1 and naming.known(rows[0]):
            raise refusal(
                f"the delimiter does not occur in the first row, but {DELIMITERS[other]} does; "
                "leave the option out, or name that one",
                file,
                line,
            )


def _refuse_rare_delimiter(text: str, naming: Naming, file: str, line: int) -> None:
    """Refuse a first row that is no header, but would be one between other characters."""
    for other in sorted(set(re.findall(r"[^\w\-.'\"]", text))):
        if naming.known(text.split(other)) > 1:
            raise refusal(
                f"the columns seem to stand between {other!r}; put commas, semicolons, tabs or "
                "pipes there",
                file,
                line,
                text.index(other) + 1,
            )


def sample_of(head: bytes, text: Text, *, is_whole: bool) -> str:
    """Return the whole lines of the first bytes; of a file with one long line, what there is."""
    errors = "surrogatepass" if text.encoding.startswith("utf-16") else "surrogateescape"
    decoder = codecs.getincrementaldecoder(text.encoding.value)(errors)
    sample = decoder.decode(head[text.bom_bytes :])
    if not is_whole:
        cut = max(sample.rfind("\n"), sample.rfind("\r", 0, len(sample) - 1)) + 1
        sample = sample[:cut] or sample
    return sample if not is_damaged(sample) else sample.encode("utf-8", "replace").decode()
