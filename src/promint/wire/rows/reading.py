"""A file of rows opened: what it is, and its chunks, as often as they are asked for."""

import io
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, BinaryIO, Self

import msgspec

from promint.domain.errors import BadValue
from promint.wire.rows.assembling import Assembler, Cell
from promint.wire.rows.blocks import BrokenPack, Readable, Source, Spool, TextBlocks, Unpacked
from promint.wire.rows.chunks import (
    Chunk,
    FileFormat,
    PlainChunk,
    ReadOptions,
    Recognised,
    refusal,
)
from promint.wire.rows.columns import Layout, Naming
from promint.wire.rows.dates import LocalDates
from promint.wire.rows.delimited import CsvTable, PlainLines
from promint.wire.rows.guarding import unguarded
from promint.wire.rows.jsonlines import JsonTable, json_layout
from promint.wire.rows.recognition import (
    GZIP,
    SAMPLE_BYTES,
    SAMPLE_ROWS,
    ZIP,
    Text,
    recognise_dialect,
    recognise_format,
    recognise_text,
    refuse_others,
    sample_of,
)
from promint.wire.rows.workbooks import CellsByLine, Sheet, Workbook, plain_text

DEFAULTS = ReadOptions()


class RowReader:
    """An open file of rows. Iterated, it yields chunks; each iteration begins anew.

    So a rehearsal, the import and the search for the texts behind what was refused read the same
    file one after the other. `close` it at last; the file given stays open.
    """

    def __init__(self, file: BinaryIO, name: str, options: ReadOptions) -> None:
        self._spools: list[Spool] = []
        self._file = name
        self._options = options
        self._source: Source = file if file.seekable() else self._spooled(file)
        self._workbook: Workbook | None = None
        self._table: _Table
        try:
            self._table = self._recognise()
        except BaseException:
            self.close()
            raise
        self.recognised = self._table.recognised
        """What the file is; see `Recognised`."""
        self.bytes_total = self._source.seek(0, io.SEEK_END) if file.seekable() else None
        """The size of the file, packed or not; None of a stream."""

    def reason(self, error: BadValue) -> str:
        """Return why a row cannot be used, with the column that holds what the error names."""
        return self._table.layout.reason(error.what, error.where)

    @property
    def bytes_done(self) -> int:
        """How far the file has been read, in bytes of the file as it is."""
        return self._source.tell()

    def __enter__(self) -> Self:
        """Nothing more to open."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Forget what was kept of a stream. The file given stays open."""
        if self._workbook:
            self._workbook.close()
        for spool in self._spools:
            spool.close()

    def __iter__(self) -> Iterator[Chunk]:
        """Yield the chunks of the file.

        Raises:
            BadValue: the file cannot be read from here on, or it has no row at all. The sentence
                says what to do and names the line.
        """
        is_empty = True
        for chunk in self._table.chunks():
            if is_empty:
                is_empty = not chunk.rejects and (
                    not any(map(str.strip, chunk.texts))
                    if isinstance(chunk, PlainChunk)
                    else not chunk.rows
                )
            yield chunk
        if is_empty:
            raise refusal("the file has a header, but no row", self._file)

    def _spooled(self, stream: Any) -> Spool:
        spool = Spool(stream)
        self._spools.append(spool)
        return spool

    def _recognise(self) -> "_Table":
        head, is_gzip = self._head()
        refuse_others(head, self._source, self._file)
        wanted = self._options.format
        if head.startswith(ZIP):
            if wanted not in (None, FileFormat.XLSX):
                raise refusal(
                    f"this is XLSX or a ZIP archive, not {wanted}; leave the format out", self._file
                )
            return self._recognise_workbook(is_gzip=is_gzip)
        if wanted is FileFormat.XLSX:
            raise refusal("this is no XLSX workbook; leave the format out", self._file)
        return self._recognise_text(head, is_gzip=is_gzip)

    def _head(self) -> tuple[bytes, bool]:
        """Return the first bytes, unpacked, and whether they were packed."""
        self._source.seek(0)
        head = self._source.read(SAMPLE_BYTES)
        if not head.startswith(GZIP):
            return head, False
        try:
            head = b"".join(_pieces(self._bytes(is_gzip=True), SAMPLE_BYTES))
        except BrokenPack as broken:
            raise refusal(str(broken), self._file) from None
        if head.startswith(GZIP):
            raise refusal("gzip within gzip; unpack it once", self._file)
        return head, True

    def _bytes(self, *, is_gzip: bool) -> Readable:
        self._source.seek(0)
        return Unpacked(self._source) if is_gzip else self._source

    # -- text ------------------------------------------------------------------------------

    def _recognise_text(self, head: bytes, *, is_gzip: bool) -> "_Table":
        options = self._options
        text = recognise_text(head, self._file, options.encoding)
        is_whole = len(head) < SAMPLE_BYTES
        sample = sample_of(head, text, is_whole=is_whole)
        if not is_whole and not ("\n" in sample or "\r" in sample):
            raise refusal(
                f"the first line has over {len(sample):,} characters; a table has one row a line",
                self._file,
                1,
            )
        form = options.format or recognise_format(sample, self._file)
        naming = Naming(options)
        if form is FileFormat.JSONL:
            return self._recognise_json(sample, text, naming, is_gzip=is_gzip)

        dialect = recognise_dialect(sample, self._file, naming, options, form, is_whole=is_whole)
        if (
            options.format is None
            and dialect.delimiter is None
            and not self._is_named_csv()
            and not dialect.first_row[0].startswith('"')
            and '\n"' not in sample
        ):
            form = FileFormat.TXT
        is_prefixed = text.bom_bytes > 0 if options.is_prefixed is None else options.is_prefixed
        is_prefixed = is_prefixed and form is FileFormat.CSV
        first_row = tuple(map(unguarded, dialect.first_row)) if is_prefixed else dialect.first_row
        layout = naming.layout(
            first_row,
            self._file,
            dialect.first_line,
            has_header=dialect.has_header,
            only=dialect.only,
        )
        return _Lines(
            Recognised(
                form,
                is_gzip,
                text.encoding,
                text.bom_bytes > 0,
                dialect.delimiter,
                has_header=dialect.has_header,
                is_prefixed=is_prefixed,
                columns=layout.columns,
                ignored=layout.ignored,
                header=first_row if dialect.has_header else (),
            ),
            self,
            layout,
            text,
            naming,
            dialect.skip,
        )

    def _is_named_csv(self) -> bool:
        return self._file.lower().removesuffix(".gz").endswith(".csv")

    def _recognise_json(
        self, sample: str, text: Text, naming: Naming, *, is_gzip: bool
    ) -> "_Table":
        if naming.is_told:
            raise refusal("JSON Lines have keys, no numbered columns", self._file)
        keys = tuple(_keys(sample))
        layout = json_layout(naming, tuple(self._options.fields), keys)
        named = {key: name[0] for key in keys if (name := naming.name_of(key))}
        if keys and naming.needs_code and "code" not in named.values():
            raise refusal(
                f"no key holds the code: the first line has {', '.join(map(repr, keys[:8]))}; "
                "say which with --column code=KEY",
                self._file,
                1,
            )
        return _Lines(
            Recognised(
                FileFormat.JSONL,
                is_gzip,
                text.encoding,
                text.bom_bytes > 0,
                columns=tuple((ours, key) for key, ours in named.items()),
                ignored=tuple(key for key in keys if key not in named),
            ),
            self,
            layout,
            text,
            naming,
            0,
        )

    # -- XLSX ------------------------------------------------------------------------------

    def _recognise_workbook(self, *, is_gzip: bool) -> "_Table":
        source = self._source
        if is_gzip:
            source = self._spooled(self._bytes(is_gzip=True))
        try:
            self._workbook = workbook = Workbook(source, self._file)
        except BrokenPack as broken:
            raise refusal(str(broken), self._file) from None
        options = self._options
        naming = Naming(options)
        if options.sheet is not None:
            sheets, empty = [workbook.sheet(options.sheet)], f"sheet {options.sheet!r} is empty"
        else:
            # A list that a workbook hides is seldom the one that its owner means.
            sheets = sorted(workbook.sheets, key=lambda sheet: sheet.is_hidden)
            empty = "the workbook is empty"
        for sheet in sheets:
            first = _first_rows(workbook, sheet)
            if first:
                break
        else:
            raise refusal(empty, self._file)
        line, cells = first[0]
        header = [plain_text(cell) for cell in cells]
        has_header = options.has_header
        if has_header is None:
            has_header = naming.known(header) > 0
        used = {
            place for _, row in first for place, cell in enumerate(row) if plain_text(cell).strip()
        }
        layout = naming.layout(
            header,
            self._file,
            line,
            has_header=has_header,
            only=used.pop() if len(used) == 1 else None,
        )
        sheets = [sheet]
        if has_header:
            sheets += _continued(workbook, sheet, line, header)
        others = [
            other.name
            for other in workbook.sheets
            if other not in sheets and not other.is_hidden and _first_rows(workbook, other)
        ]
        return _Sheets(
            Recognised(
                FileFormat.XLSX,
                is_gzip,
                sheet=sheet.name,
                has_header=has_header,
                columns=layout.columns,
                ignored=layout.ignored,
                header=tuple(header) if has_header else (),
                other_sheets=tuple(others),
            ),
            self,
            layout,
            workbook,
            sheets,
            line if has_header else 0,
        )


@dataclass
class _Table(ABC):
    """A file whose layout is known."""

    recognised: Recognised
    reader: RowReader
    layout: Layout

    @abstractmethod
    def chunks(self) -> Iterable[Chunk]: ...

    def assembler(self, layout: Layout, *, is_1904: bool = False) -> Assembler:
        options = self.reader._options
        dates = LocalDates(options.time_zone, is_1904=is_1904)
        return Assembler(layout, dates, options.fields, accept_damaged=options.accept_damaged)


@dataclass
class _Lines(_Table):
    """A table of lines of text."""

    text: Text
    naming: Naming
    skip: int

    def __post_init__(self) -> None:
        """See at once whether there is such a time zone."""
        self._assembler = self.assembler(self.layout)

    def chunks(self) -> Iterable[Chunk]:
        known, reader = self.recognised, self.reader
        blocks = TextBlocks(
            reader._bytes(is_gzip=known.is_gzip),
            reader._file,
            self.text.encoding,
            self.text.bom_bytes,
        )
        if known.format is FileFormat.JSONL:
            return JsonTable(blocks, self.text.encoding, self.naming, self.layout, self._assembler)
        plain = PlainLines(
            blocks,
            self.text.encoding,
            skip=self.skip,
            is_prefixed=known.is_prefixed,
            accept_damaged=reader._options.accept_damaged,
        )
        if known.format is FileFormat.TXT:
            return plain
        return CsvTable(
            blocks,
            reader._file,
            self.text.encoding,
            known.delimiter,
            skip=self.skip,
            is_prefixed=known.is_prefixed,
            assembler=self._assembler,
            plain=plain if self.layout.is_plain else None,
        )


@dataclass
class _Sheets(_Table):
    """A sheet of a workbook; of an export of ours also the sheets that go on with it."""

    workbook: Workbook
    sheets: Sequence[Sheet]
    header_line: int

    def __post_init__(self) -> None:
        """See at once whether there is such a time zone."""
        self._assembler = self.assembler(self.layout, is_1904=self.workbook.is_1904)

    def chunks(self) -> Iterator[Chunk]:
        offset, last = 0, 0
        for sheet in self.sheets:
            header_line = self.header_line
            for lines, table in self.workbook.rows(sheet, self.layout.width):
                first = 0
                while first < len(lines) and lines[first] <= header_line:
                    first += 1
                numbers = [offset + line for line in lines[first:]]
                rows = table[first:]
                last = numbers[-1] if numbers else last
                originals = CellsByLine(numbers, rows)
                yield self._assembler.chunk(numbers, rows, [], originals)
            offset = last


def _continued(
    workbook: Workbook, sheet: Sheet, line: int, header: Sequence[str]
) -> Iterator[Sheet]:
    """Yield the sheets that go on with one, as those of an export do: name, number, same header."""
    by_name = {other.name: other for other in workbook.sheets}
    number = 2
    while other := by_name.get(f"{sheet.name} {number}"):
        first = _first_rows(workbook, other)
        if not first or first[0][0] != line or [*map(plain_text, first[0][1])] != [*header]:
            return
        yield other
        number += 1


def _first_rows(workbook: Workbook, sheet: Sheet) -> list[tuple[int, list[Cell]]]:
    """Return the first rows that are not blank, with their numbers."""
    found: list[tuple[int, list[Cell]]] = []
    for lines, table in workbook.rows(sheet, batch_cells=1):
        for line, row in zip(lines, table, strict=True):
            if any(not isinstance(cell, str) or cell.strip() for cell in row):
                found.append((line, row))
            if len(found) == SAMPLE_ROWS:
                return found
    return found


def _keys(sample: str) -> dict[str, None]:
    """Return the keys of the first objects, in order."""
    keys: dict[str, None] = {}
    for line in sample.splitlines()[:SAMPLE_ROWS]:
        try:
            value = msgspec.json.decode(line.strip().removeprefix("\ufeff"))
        except (msgspec.DecodeError, RecursionError):
            continue
        if isinstance(value, dict):
            keys.update(dict.fromkeys(value))
    return keys


def _pieces(source: Readable, size: int) -> Iterator[bytes]:
    while size > 0 and (data := source.read(size)):
        size -= len(data)
        yield data


def open_rows(file: BinaryIO, *, name: str, options: ReadOptions = DEFAULTS) -> RowReader:
    """Open a file of rows and recognise what it is.

    `file` may be packed with gzip, and may be a stream that cannot seek: what is read of it is
    kept in a temporary file. `name` is how messages call it.

    Raises:
        BadValue: it cannot be read as a table of codes. The sentence says what it is instead,
            names line and column where there is one, and says what to do.
    """
    return RowReader(file, name, options)


def originals(reader: RowReader, lines: Iterable[int]) -> Iterator[tuple[int, str]]:
    """Yield lines of a file with their texts; `lines` are in order. The file is read once more.

    For the rejects file: what the store refuses is known by its line alone.
    """
    wanted = iter(lines)
    line = next(wanted, None)
    for chunk in reader:
        last = _last_line(chunk)
        while line is not None and line <= last:
            yield line, chunk.original(line) or ""
            line = next(wanted, None)
        if line is None:
            return


def _last_line(chunk: Chunk) -> int:
    if isinstance(chunk, PlainChunk):
        return chunk.first_line + len(chunk.texts) - 1
    ends: Sequence[int] = [chunk.rows[-1].line] if chunk.rows else []
    return max([*ends, *(reject.line for reject in chunk.rejects[-1:])], default=0)
