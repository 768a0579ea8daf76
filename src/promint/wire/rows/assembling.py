"""Cells to rows: one column after the other, for a step in Python a row would be too slow."""

from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
from math import isnan, nan
from typing import NamedTuple

import msgspec

from promint.domain.damage import damage_of, may_hold_damage
from promint.domain.errors import BadValue
from promint.domain.model import ID_MAX
from promint.wire.rows.chunks import Reject, RejectKind, Row, RowChunk, TextsByLine
from promint.wire.rows.columns import CUSTOM, Layout
from promint.wire.rows.dates import LocalDates

_CACHE_MAX = 65_536
_TEXT_BYTES_MAX = 64 << 10

_encode = msgspec.json.Encoder().encode


class Number(NamedTuple):
    """A cell that a spreadsheet holds as a number: its text, and whether it is shown as a date."""

    text: str
    is_date: bool = False


class Wrong(NamedTuple):
    """A cell that cannot be used, and why. `is_damage`: a spreadsheet did it."""

    reason: str
    is_damage: bool = False


Cell = str | Number | Wrong

LOST_DIGITS = "a spreadsheet made a number of it, which keeps 15 digits; format the column as text"
NO_NUMBER = "not a number, though the file says so"
MADE_A_DATE = Wrong("a spreadsheet made a date of it; format the column as text", is_damage=True)
_SAFE_DIGITS = 15


def text_of(cell: Cell) -> str | Wrong:
    """Return a cell as the text that stood there before a spreadsheet made a number of it."""
    if isinstance(cell, (str, Wrong)):
        return cell
    if cell.is_date:
        return MADE_A_DATE
    text = cell.text.removesuffix(".0")
    digits = text.removeprefix("-")
    if digits.isdecimal():
        return Wrong(LOST_DIGITS, is_damage=True) if len(digits) > _SAFE_DIGITS else text
    try:
        number = float(text)
    except ValueError:
        number = nan
    if isnan(number):
        return Wrong(NO_NUMBER, is_damage=True)
    if abs(number) >= 10**_SAFE_DIGITS:
        return Wrong(LOST_DIGITS, is_damage=True)
    return str(int(number)) if number == int(number) else repr(number)


class _Cached(dict[Cell, int | Wrong | None]):
    """Values by the cells that they were read from: columns of dates and ids repeat themselves."""

    def __init__(self, read: Callable[[Cell], int | None]) -> None:
        super().__init__()
        self._read = read
        self.has_wrong = False

    def __missing__(self, cell: Cell) -> int | Wrong | None:
        try:
            value: int | Wrong | None = self._read(cell)
        except BadValue as bad:
            value = Wrong(bad.what)
        if isinstance(value, Wrong):
            self.has_wrong = True
        self[cell] = value
        return value

    def column(self, cells: Sequence[Cell]) -> list[int | Wrong | None]:
        """Return the values of a column."""
        if len(self) > _CACHE_MAX:
            self.clear()
            self.has_wrong = False
        return list(map(self.__getitem__, cells))


class Assembler:
    """Makes chunks of tables with one layout."""

    def __init__(
        self, layout: Layout, dates: LocalDates, fields: Sequence[str], *, accept_damaged: bool
    ) -> None:
        self._layout = layout
        self._accept_damaged = accept_damaged
        self._dates = dates
        self._readers = {
            "expire_date": _Cached(self._date("expire_date", to_the_end=True)),
            "attached": _Cached(self._date("attached", to_the_end=False)),
            "activated": _Cached(self._date("activated", to_the_end=False)),
            "database_id": _Cached(_database_id),
        }
        self._fields = [name for name in fields if name in layout.places]
        self._customs = [
            name for name in layout.places if name.startswith(CUSTOM) and name not in fields
        ]

    @property
    def width(self) -> int:
        """How many cells a row has."""
        return self._layout.width

    def _date(self, name: str, *, to_the_end: bool) -> Callable[[Cell], int | None]:
        def read(cell: Cell) -> int | None:
            if isinstance(cell, Wrong):
                raise BadValue(cell.reason, name)
            if isinstance(cell, Number):
                try:
                    number = float(cell.text)
                except ValueError:
                    raise BadValue(NO_NUMBER, name) from None
                return self._dates.serial(number, name, to_the_end=to_the_end)
            return self._dates.moment(cell, name, to_the_end=to_the_end) if cell.strip() else None

        return read

    def chunk(
        self,
        lines: Sequence[int],
        table: Sequence[Sequence[Cell]],
        rejects: list[Reject],
        originals: TextsByLine,
        *,
        is_text: bool = False,
    ) -> RowChunk:
        """Return the rows of a table; `lines[i]` is where `table[i]` starts.

        Blank rows are passed over; those that cannot be used are added to `rejects`. `is_text`:
        every cell is a text, which need not be looked for.
        """
        squared, rows = self._square(lines, table, rejects, originals)
        columns = list(zip(*rows, strict=True))
        return self.chunk_of_columns(squared, columns, rejects, originals, is_text=is_text)

    def chunk_of_columns(
        self,
        lines: Sequence[int],
        columns: Sequence[Sequence[Cell]],
        rejects: list[Reject],
        originals: TextsByLine,
        *,
        is_text: bool = False,
    ) -> RowChunk:
        """Return the rows of a table that comes column by column, each as long as `lines`."""
        rows: list[Row] = []
        if lines:
            work = _Table(self._layout, self._dates, lines, columns, is_text=is_text)
            codes = self._codes(work)
            rows = self._rows(work, codes)
            for index, wrong in work.bad.items():
                if wrong is not None:
                    rejects.append(_rejected(lines[index], wrong, originals))
        rejects.sort(key=_line)
        return RowChunk(rows, rejects, originals)

    def _square(
        self,
        lines: Sequence[int],
        table: Sequence[Sequence[Cell]],
        rejects: list[Reject],
        originals: TextsByLine,
    ) -> tuple[Sequence[int], Sequence[Sequence[Cell]]]:
        """Give every row the width of the table, or reject it."""
        width = self._layout.width
        if not set(map(len, table)) - {width}:
            return lines, table
        squared: list[int] = []
        rows: list[Sequence[Cell]] = []
        for line, row in zip(lines, table, strict=True):
            cells = row
            if len(cells) < width:
                if not any(cells):
                    continue
                cells = [*cells, *repeat("", width - len(cells))]
            elif len(cells) > width:
                if any(cells[width:]):
                    wrong = Wrong(_too_many(len(cells), width))
                    rejects.append(_rejected(line, wrong, originals))
                    continue
                cells = cells[:width]
            squared.append(line)
            rows.append(cells)
        return squared, rows

    def _codes(self, work: "_Table") -> list[str]:
        """Return the codes, once the rows without a usable one are gone."""
        if not self._layout.needs_code:
            return self._codes_if_any(work)
        codes = work.texts("code")
        if not all(map(str.strip, codes)):
            for index, code in enumerate(codes):
                if code.strip() or index in work.bad:
                    continue
                row = (column[index] for column in work.columns)
                is_blank = all(isinstance(cell, str) and not cell.strip() for cell in row)
                if is_blank:
                    work.bad[index] = None
                else:
                    work.note(index, Wrong("no code"), "code")
        if not self._accept_damaged and may_hold_damage("\n".join(codes)):
            for index, code in enumerate(codes):
                if damage := damage_of(code):
                    work.note(index, Wrong(damage, is_damage=True), "code")
        return codes

    def _codes_if_any(self, work: "_Table") -> list[str]:
        """Return the codes, empty where a row has none, once blank rows are gone."""
        for index, row in enumerate(zip(*work.columns, strict=True)):
            if all(isinstance(cell, str) and not cell.strip() for cell in row):
                work.bad[index] = None
        return work.texts("code") if "code" in self._layout.places else [""] * len(work.lines)

    def _rows(self, work: "_Table", codes: list[str]) -> list[Row]:
        places = self._layout.places
        nothing = repeat(None)
        typed = {
            name: work.values(name, reader) if name in places else nothing
            for name, reader in self._readers.items()
        }
        texts = {
            name: work.optional(name) if name in places else nothing
            for name in ("profile_id", "email", "phone")
        }
        customs = self._custom_fields(work)
        fields = self._additional(work)
        values = zip(
            work.lines,
            codes,
            typed["expire_date"],
            typed["attached"],
            typed["activated"],
            typed["database_id"],
            texts["profile_id"],
            texts["email"],
            texts["phone"],
            customs,
            fields,
            strict=False,
        )
        # Without a step in Python for each: half the time of calling Row.
        rows: list[Row] = list(map(tuple.__new__, repeat(Row), values))
        if work.bad:
            return [row for index, row in enumerate(rows) if index not in work.bad]
        return rows

    def _custom_fields(self, work: "_Table") -> Iterable[tuple[str, str] | None]:
        places = self._layout.places
        found: list[tuple[Sequence[str | None], Sequence[str | None]]] = []
        if "field_name" in places and "field_value" in places:
            found.append((work.optional("field_name"), work.optional("field_value")))
        for name in self._customs:
            every: list[str | None] = [name.removeprefix(CUSTOM)] * len(work.lines)
            found.append((every, work.optional(name)))
        if not found:
            return repeat(None)
        customs: list[tuple[str, str] | None] = [None] * len(work.lines)
        for names, values in found:
            for index, custom in enumerate(zip(names, values, strict=True)):
                named, value = custom
                if named is None or value is None:
                    continue
                if customs[index] is not None:
                    work.bad.setdefault(index, Wrong("two custom fields; leave one"))
                customs[index] = (named, value)
        return customs

    def _additional(self, work: "_Table") -> Iterable[str | None]:
        """Return the additional data fields of every row as the text of a JSON object."""
        if not self._fields:
            return repeat(None)
        fields = self._fields
        columns = map(work.texts, fields)
        return [
            _encode({name: text for name, text in zip(fields, texts, strict=True) if text}).decode()
            if any(texts)
            else None
            for texts in zip(*columns, strict=True)
        ]


class _Table:
    """Columns on their way to rows, and what is bad about some of them."""

    def __init__(
        self,
        layout: Layout,
        dates: LocalDates,
        lines: Sequence[int],
        columns: Sequence[Sequence[Cell]],
        *,
        is_text: bool,
    ) -> None:
        self._layout = layout
        self._dates = dates
        self._is_text = is_text
        self.lines = lines
        self.columns = columns
        self.bad: dict[int, Wrong | None] = {}
        """What is wrong with a row, by its index; None: it is blank."""

    def note(self, index: int, wrong: Wrong, name: str) -> None:
        """Note what is wrong with a cell, unless something is already with its row."""
        reason = self._layout.reason(wrong.reason, name)
        self.bad.setdefault(index, Wrong(reason, wrong.is_damage))

    def _column(self, name: str) -> Sequence[Cell]:
        return self.columns[self._layout.places[name]]

    def values(self, name: str, reader: _Cached) -> list[int | None]:
        """Return a column of moments or ids."""
        column = reader.column(self._column(name))
        values: list[int | None] = column  # type: ignore[assignment] # what is wrong goes below
        if reader.has_wrong:
            for index, value in enumerate(column):
                if isinstance(value, Wrong):
                    self.note(index, value, name)
                    values[index] = None
        return values

    def texts(self, name: str) -> list[str]:
        """Return a column of texts, as they stand."""
        cells = self._column(name)
        if self._is_text or set(map(type, cells)) == {str}:
            texts: list[str] = cells  # type: ignore[assignment] # all of them, as was just seen
        else:
            texts = [self._text(index, cell, name) for index, cell in enumerate(cells)]
        joined = "".join(texts)
        if "\0" in joined:
            for index, text in enumerate(texts):
                if "\0" in text:
                    self.note(index, Wrong("holds a NUL character"), name)
        if len(joined) > _TEXT_BYTES_MAX:
            for index, text in enumerate(texts):
                if len(text) > _TEXT_BYTES_MAX:
                    self.note(index, Wrong(f"over {_TEXT_BYTES_MAX:,} characters"), name)
        return texts

    def _text(self, index: int, cell: Cell, name: str) -> str:
        if isinstance(cell, Number) and cell.is_date and name != "code":
            text: str | Wrong = self._dates.serial_text(cell.text)
        else:
            text = text_of(cell)
        if isinstance(text, Wrong):
            self.note(index, text, name)
            return ""
        return text

    def optional(self, name: str) -> list[str | None]:
        """Return a column of trimmed texts, None where there is none."""
        return [text.strip() or None for text in self.texts(name)]


def _rejected(line: int, wrong: Wrong, originals: TextsByLine) -> Reject:
    kind = RejectKind.DAMAGED if wrong.is_damage else RejectKind.UNUSABLE
    return Reject(line, wrong.reason, (originals.get(line) or "").rstrip("\r\n"), kind)


def _too_many(count: int, width: int) -> str:
    return f"{count} cells where the first row has {width}; a cell with the delimiter needs quotes"


def _database_id(cell: Cell) -> int | None:
    text = text_of(cell)
    if isinstance(text, Wrong):
        raise BadValue(text.reason, "database_id")
    text = text.strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 11 and 0 < int(text) <= ID_MAX):
        raise BadValue(f"not a number from 1 to {ID_MAX}", "database_id")
    return int(text)


def _line(reject: Reject) -> int:
    return reject.line
