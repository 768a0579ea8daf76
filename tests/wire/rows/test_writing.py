"""CSV, XLSX and JSON Lines as written, read back by readers that are not ours."""

import csv
import gc
import io
import json
from collections.abc import Sequence
from typing import Any

import openpyxl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from openpyxl.utils.escape import unescape

from promint.domain.errors import BadValue
from promint.wire.rows import FileFormat, Value, open_rows, open_writer, write_rows, writing
from promint.wire.rows.guarding import FORMULA_STARTS, guarded, unguarded
from tests.wire.rows.hostile import HOSTILE

COLUMNS = ("code", "expire_date", "attach_count", "shop")
SECOND = 1_000_000
MOMENT = 1_798_761_599 * SECOND
"""2026-12-31T23:59:59Z"""

Rows = Sequence[Sequence[Value]]


def write(form: FileFormat, *chunks: Rows, raw: bool = False) -> bytes:
    return b"".join(write_rows(open_writer(form, COLUMNS, raw=raw), chunks))


def read_csv(file: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(file.decode("utf-8-sig"), newline=""), strict=True))


def read_xlsx(file: bytes) -> list[list[Any]]:
    """Return the cells of all sheets; a formula among them fails."""
    rows = []
    for sheet in openpyxl.load_workbook(io.BytesIO(file)).worksheets:
        for row in sheet.iter_rows(max_col=len(COLUMNS)):
            assert all(cell.data_type != "f" for cell in row)
            rows.append([_value(cell.value) for cell in row])
    return rows


def _value(value: Any) -> Any:
    return unescape(value) if isinstance(value, str) else value


def codes_with(*texts: str) -> Rows:
    return [(text, None, 0, text) for text in texts]


# XML knows no lone surrogate, and no code holds one.
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
rows = st.lists(
    st.tuples(
        texts,
        st.none() | st.integers(0, 4_000_000_000 * SECOND),
        st.integers(0, 2**31),
        st.none() | texts,
    ),
    max_size=6,
)


@given(rows=rows, raw=st.booleans())
@example(rows=[('a"b,c\r\nd', None, 0, "'=1"), ("=1", None, 0, "x,y")], raw=False)
@settings(deadline=None)
def test_a_csv_holds_what_was_written(rows: Rows, raw: bool) -> None:
    file = write(FileFormat.CSV, rows, raw=raw)

    header, *found = read_csv(file)
    back = str if raw else unguarded
    assert header == list(COLUMNS)
    assert file.startswith(b"\xef\xbb\xbf") is not raw
    assert [(back(code), int(count), back(shop)) for code, _, count, shop in found] == [
        (code, count, shop or "") for code, _, count, shop in rows
    ]


@given(rows=rows, raw=st.booleans())
@example(rows=[("\x00\x0b\ufffe\uffff\r\n\t", None, 0, "_x0041_&<>]]>")], raw=False)
@settings(deadline=None)
def test_a_workbook_holds_what_was_written(rows: Rows, raw: bool) -> None:
    header, *found = read_xlsx(write(FileFormat.XLSX, rows, raw=raw))

    assert header == list(COLUMNS)
    assert [(code, count, shop) for code, _, count, shop in found] == [
        (code, count, shop) for code, _, count, shop in rows
    ]


@given(rows=rows, raw=st.booleans())
@settings(deadline=None)
def test_json_lines_hold_what_was_written(rows: Rows, raw: bool) -> None:
    found = [json.loads(line) for line in write(FileFormat.JSONL, rows, raw=raw).splitlines()]

    assert [(one["code"], one["attach_count"], one.get("shop")) for one in found] == [
        (code, count, shop) for code, _, count, shop in rows
    ]


def test_ten_thousand_hostile_texts_start_no_formula_and_come_back() -> None:
    assert len(HOSTILE) == 10_000
    hostile = codes_with(*HOSTILE)

    cells = [row[0] for row in read_csv(write(FileFormat.CSV, hostile))[1:]]
    assert not [cell for cell in cells if cell[0] in FORMULA_STARTS]
    assert [unguarded(cell) for cell in cells] == HOSTILE
    assert [row[0] for row in read_xlsx(write(FileFormat.XLSX, hostile))[1:]] == HOSTILE


def test_raw_leaves_out_the_guard() -> None:
    cells = [row[0] for row in read_csv(write(FileFormat.CSV, codes_with(*HOSTILE), raw=True))[1:]]

    assert cells == HOSTILE
    assert len([cell for cell in cells if cell[0] in FORMULA_STARTS]) > 4_000


def test_in_a_workbook_the_apostrophe_is_a_style() -> None:
    file = write(FileFormat.XLSX, codes_with("=1+1", "plain"))
    raw = write(FileFormat.XLSX, codes_with("=1+1", "plain"), raw=True)

    def quoted(content: bytes) -> list[bool]:
        sheet = openpyxl.load_workbook(io.BytesIO(content)).worksheets[0]
        return [bool(sheet.cell(row, 1).quotePrefix) for row in (2, 3)]

    assert quoted(file) == [True, False]
    assert quoted(raw) == [False, False]


@pytest.mark.parametrize("form", [FileFormat.CSV, FileFormat.XLSX])
def test_headers_are_guarded_too(form: FileFormat) -> None:
    columns = ("code", "=cmd|x")

    file = b"".join(write_rows(open_writer(form, columns), [[("A", "b")]]))

    if form is FileFormat.CSV:
        assert read_csv(file)[0] == ["code", "'=cmd|x"]
    else:
        cell = openpyxl.load_workbook(io.BytesIO(file)).worksheets[0]["B1"]
        assert (cell.value, cell.data_type, cell.quotePrefix) == ("=cmd|x", "s", True)


@given(texts)
@example("''=")
@example("'x")
def test_a_guard_is_taken_away_again(text: str) -> None:
    assert guarded(text)[0] not in FORMULA_STARTS
    assert unguarded(guarded(text)) == text


def test_digits_stay_text_and_counts_are_numbers() -> None:
    rows: Rows = [("00123", None, 7, "1E5"), ("12345678901234567890", None, 0, "TRUE")]

    assert read_csv(write(FileFormat.CSV, rows))[1] == ["00123", "", "7", "1E5"]
    assert read_xlsx(write(FileFormat.XLSX, rows))[1:] == [
        ["00123", None, 7, "1E5"],
        ["12345678901234567890", None, 0, "TRUE"],
    ]
    assert json.loads(write(FileFormat.JSONL, rows).splitlines()[0]) == {
        "code": "00123",
        "attach_count": 7,
        "shop": "1E5",
    }


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (MOMENT, "2026-12-31T23:59:59Z"),
        (MOMENT + 250_000, "2026-12-31T23:59:59.25Z"),
        (MOMENT + 1, "2026-12-31T23:59:59.000001Z"),
        (-1, "1969-12-31T23:59:59.999999Z"),
    ],
)
def test_moments_are_utc_to_the_microsecond(moment: int, text: str) -> None:
    rows: Rows = [("A", moment, 0, None)]

    assert read_csv(write(FileFormat.CSV, rows))[1][1] == text
    assert read_xlsx(write(FileFormat.XLSX, rows))[1][1] == text
    assert json.loads(write(FileFormat.JSONL, rows))["expire_date"] == text


def test_a_full_sheet_goes_on_in_the_next_and_is_read_as_one_table(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert writing.SHEET_ROWS_MAX == 1_048_576
    monkeypatch.setattr(writing, "SHEET_ROWS_MAX", 4)
    names = [f"C{n}" for n in range(8)]

    file = write(FileFormat.XLSX, codes_with(*names[:2]), codes_with(*names[2:]))

    book = openpyxl.load_workbook(io.BytesIO(file))
    assert book.sheetnames == ["codes", "codes 2", "codes 3"]
    assert [sheet.max_row for sheet in book] == [4, 4, 3]
    assert [[sheet.cell(1, n).value for n in range(1, 5)] for sheet in book] == [[*COLUMNS]] * 3
    with open_rows(io.BytesIO(file), name="f.xlsx") as reader:
        found = [row.code for chunk in reader for row in chunk.rows]  # type: ignore[union-attr] # rows, as XLSX gives
        assert reader.recognised.other_sheets == ()
    assert found == names


def test_a_sheet_of_too_many_bytes_goes_on_in_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "SHEET_BYTES_MAX", 1000)

    file = write(FileFormat.XLSX, codes_with("A" * 900), codes_with("B"))

    assert openpyxl.load_workbook(io.BytesIO(file)).sheetnames == ["codes", "codes 2"]


@pytest.mark.parametrize("text", ["x" * 32_768, "\U0001f600" * 16_384])
def test_a_text_that_no_cell_holds_is_refused_with_its_place(text: str) -> None:
    with pytest.raises(BadValue) as refused:
        write(FileFormat.XLSX, [("A", None, 0, "short"), ("B", None, 0, text)])

    assert refused.value.detail == (
        f"a text of {len(text):,} characters, more than a cell of XLSX holds (32,767); "
        "export as CSV, row 3, column D"
    )
    assert read_csv(write(FileFormat.CSV, codes_with(text)))[1][0] == text


def test_the_longest_text_of_a_cell_is_written() -> None:
    longest = "x" * 32_767

    assert read_xlsx(write(FileFormat.XLSX, codes_with(longest)))[1][0] == longest


@pytest.mark.parametrize("form", [FileFormat.CSV, FileFormat.XLSX, FileFormat.JSONL])
def test_no_rows_are_a_file_all_the_same(form: FileFormat) -> None:
    file = write(form)

    if form is FileFormat.CSV:
        assert read_csv(file) == [list(COLUMNS)]
    elif form is FileFormat.XLSX:
        assert read_xlsx(file) == [list(COLUMNS)]
    else:
        assert file == b""


def test_a_workbook_that_is_given_up_makes_no_noise(capfd: pytest.CaptureFixture[str]) -> None:
    writer = open_writer(FileFormat.XLSX, COLUMNS)
    writer.begin()
    del writer
    gc.collect()

    assert capfd.readouterr().err == ""


def test_the_same_rows_make_the_same_bytes() -> None:
    assert write(FileFormat.XLSX, codes_with("A")) == write(FileFormat.XLSX, codes_with("A"))


def test_tables_are_not_written_as_plain_text() -> None:
    with pytest.raises(BadValue, match="not one of csv, xlsx, jsonl"):
        open_writer(FileFormat.TXT, COLUMNS)
