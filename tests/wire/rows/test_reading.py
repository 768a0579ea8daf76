"""Damaged and strange files: what comes out, how it is said, and how much memory it takes."""

import io
import json
import re
import subprocess
import sys
from typing import Any, BinaryIO, cast

import pytest

from promint.domain.errors import BadFile, BadValue
from promint.wire.rows import ReadOptions, open_rows
from tests.wire.rows.bombs import BOMBS
from tests.wire.rows.cases import CASES, Case, outcome
from tests.wire.rows.workbook import codes, row, sheet, text, workbook

# What is wrong with a file as a whole stands on no line of it.
_OF_THE_WHOLE_FILE = re.compile(
    r"this is |the file is empty|the file holds nothing but|the file has a header, but no row"
    r"|the gzip file|gzip within gzip|the XLSX file is|the workbook |a part of the workbook"
    r"|a ZIP archive|no sheet is called|sheet .* is empty|the delimiter is not one"
    r"|JSON Lines have keys"
)
# What is wrong with a row as a whole stands in no column of it; a byte has its character.
_OF_THE_WHOLE_ROW = re.compile(
    r"\d+ cells where|text after a closing quote|two custom fields|not a JSON object"
    r"|no JSON from byte \d|no complete JSON|nested deeper|a number over 64 bits"
    r"|half a character \(a lone|not [A-Z0-9-]+: .* as character \d"
)
OPTIONS_ARE_WRONG = (
    "column of an unknown field",
    "no such time zone",
    "a time zone that is a path",
)


class Pipe(io.RawIOBase):
    """A stream that cannot seek."""

    def __init__(self, content: bytes) -> None:
        self._rest = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._rest.readinto(buffer)


def error_of(case: Case) -> BadValue | None:
    try:
        with open_rows(
            io.BytesIO(case.content), name=case.file, options=ReadOptions(**case.options)
        ) as reader:
            for _ in reader:
                pass
    except BadValue as error:
        return error
    return None


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_strange_file_is_read_or_refused_in_plain_words(case: Case) -> None:
    assert outcome(case) == case.expected


def test_there_are_hundreds_of_strange_files() -> None:
    assert len({case.content + repr(case.options).encode() for case in CASES}) >= 290
    assert len({case.name for case in CASES}) == len(CASES)


def test_a_pipe_gives_what_a_file_gives() -> None:
    for case in CASES[::4]:
        assert outcome(case, cast(BinaryIO, Pipe(case.content))) == case.expected, case.name


def test_a_refused_file_names_the_line_unless_the_whole_file_is_wrong() -> None:
    errors = {case.name: error for case in CASES if (error := error_of(case))}
    refused = {name: error for name, error in errors.items() if name not in OPTIONS_ARE_WRONG}

    assert len(refused) > 90
    for name, error in refused.items():
        assert isinstance(error, BadFile), name
        assert error.message == f"The file cannot be read: {error.where}: {error.what}"
        has_line = re.fullmatch(r"f\.[a-z.]+, line [1-9]\d*(, column \w+)?", error.where)
        assert bool(has_line) or _OF_THE_WHOLE_FILE.match(error.what), name


def test_a_rejected_row_names_its_line_and_column() -> None:
    count = 0
    for case in CASES:
        for chunk in _chunks(case):
            for reject in chunk.rejects:
                count += 1
                assert reject.line > 0
                is_named = re.match(r"(column|key) ('.+'|\d+): .", reject.reason)
                is_plain = case.expected.count(",") == 0 or _columns(case) == 1
                assert is_named or is_plain or _OF_THE_WHOLE_ROW.match(reject.reason), case.name
    assert count > 100


def _chunks(case: Case) -> list[Any]:
    found: list[Any] = []
    try:
        with open_rows(
            io.BytesIO(case.content), name=case.file, options=ReadOptions(**case.options)
        ) as reader:
            found.extend(reader)
    except BadValue:
        pass
    return found


def _columns(case: Case) -> int:
    with open_rows(
        io.BytesIO(case.content), name=case.file, options=ReadOptions(**case.options)
    ) as reader:
        return len(reader.recognised.columns) + len(reader.recognised.ignored)


def test_sheets_that_are_not_read_are_named() -> None:
    file = workbook(
        ("Spring", codes("A1")),
        ("Empty", sheet()),
        ("Autumn", codes("B1")),
        ("Secret", codes("C")),
        hidden=(4,),
    )

    with open_rows(io.BytesIO(file), name="f.xlsx") as reader:
        assert reader.recognised.other_sheets == ("Autumn",)
        assert reader.recognised.sentence() == (
            "XLSX, sheet Spring, with a header; columns: code from code; sheets not read: Autumn"
        )


def test_what_a_file_is_taken_for_is_one_sentence() -> None:
    content = b"\xef\xbb\xbfPromo code;Ends;Note\r\nA1;;x\r\n"

    options = ReadOptions(columns={"expire_date": "ends"})
    with open_rows(io.BytesIO(content), name="f.csv", options=options) as reader:
        assert reader.recognised.sentence() == (
            "CSV, UTF-8 with BOM, delimiter semicolon, with a header; columns: "
            "code from Promo code, expire_date from Ends; ignored: Note"
        )


def test_a_shared_text_of_a_cell_keeps_its_blanks_and_signs() -> None:
    file = workbook(sheet(row(1, text("A1", "code")), row(2, text("A2", " a&amp;b "))))

    with open_rows(io.BytesIO(file), name="f.xlsx") as reader:
        (chunk,) = reader
        assert [code for _, code, *_ in chunk.rows] == [" a&b "]  # type: ignore[union-attr] # rows, as XLSX gives


# -- memory --------------------------------------------------------------------------------

KIB_MAX = 192 << 10
"""How many KiB more a process may hold for a bomb: a mebibyte of lines, and copies of it."""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_in_bounded_memory(name: str) -> None:
    found = _explode(name)

    assert "! f, line " in found["outcome"] or "! f: " in found["outcome"]
    assert found["grown_kib"] < KIB_MAX, found


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
def test_without_its_bound_a_line_would_take_the_memory_that_it_holds() -> None:
    found = _explode("1 GB on the second line", "--unbounded")

    assert found["grown_kib"] > KIB_MAX, found


def _explode(name: str, *options: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.wire.rows.bombs", name, *options]
    done = subprocess.run(command, capture_output=True, check=True, timeout=300)
    found: dict[str, Any] = json.loads(done.stdout)
    return found
