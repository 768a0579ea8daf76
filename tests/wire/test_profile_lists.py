"""Lists of profiles: the same rows in every form that files of codes may have."""

import gzip
import io
import json
from typing import BinaryIO

import pytest

from promint.domain.errors import BadValue
from promint.domain.identities import email_identity, phone_identity
from promint.domain.model import ProfileKey
from promint.wire.profile_lists import ListedProfile, read_profiles
from tests.wire.rows.workbook import number, row, sheet, text, workbook

DB = 7
ID = "5f0c1d2e3a4b5c6d7e8f9a0b"


def read(content: bytes, name: str = "list", database_id: int | None = DB) -> list[ListedProfile]:
    file: BinaryIO = io.BytesIO(content)
    return [one for some in read_profiles(file, name=name, database_id=database_id) for one in some]


def by_email(email: str, database_id: int = DB) -> ProfileKey:
    return ProfileKey(database_id, identities=(email_identity(database_id, email),))


ANN, BOB = by_email("ann@example.com"), by_email("bob@example.com")
CID = ProfileKey(DB, identities=(phone_identity(DB, "+49 170 1234567"),))
DEE = ProfileKey(DB, profile_id=ID)

CSV = f"""E-mail;phone;profile_id;Promo code
ann@example.com;;;A-1
Bob@Example.com;;;
;+49 170 1234567;;
;;{ID.upper()};A-2
"""
OBJECTS: list[dict[str, object]] = [
    {"email": "ann@example.com", "code": "A-1"},
    {"Почта": "Bob@Example.com"},
    {"phone": "+49 170 1234567", "code": None},
    {"profile_id": ID, "code": "A-2"},
]
SHEET = workbook(
    sheet(
        row(
            1, text("A1", "email"), text("B1", "Телефон"), text("C1", "profile"), text("D1", "код")
        ),
        row(2, text("A2", "ann@example.com"), text("D2", "A-1")),
        row(3, text("A3", "Bob@Example.com")),
        row(4, number("B4", 491701234567)),
        row(5, text("C5", ID), text("D5", "A-2")),
    )
)
JSONL = "".join(f"{json.dumps(one, ensure_ascii=False)}\n" for one in OBJECTS)


@pytest.mark.parametrize(
    ("content", "first_line"),
    [
        (CSV.encode(), 2),
        (CSV.encode("utf-16"), 2),
        (gzip.compress(CSV.replace(";", "\t").encode()), 2),
        (SHEET, 2),
        (JSONL.encode(), 1),
        (gzip.compress(JSONL.encode()), 1),
    ],
    ids=["csv", "utf-16", "tsv.gz", "xlsx", "jsonl", "jsonl.gz"],
)
def test_every_form_says_the_same(content: bytes, first_line: int) -> None:
    expected = [(ANN, "A-1"), (BOB, None), (CID, None), (DEE, "A-2")]

    assert read(content) == [
        ListedProfile(line, profile, code)
        for line, (profile, code) in enumerate(expected, first_line)
    ]


@pytest.mark.parametrize(
    "content",
    [
        f"ann@example.com\n\n+49 (170) 123-45-67\n{ID}\n".encode(),
        workbook(
            sheet(
                row(1, text("A1", "ann@example.com")),
                row(3, number("A3", 491701234567)),
                row(4, text("A4", ID)),
            )
        ),
    ],
    ids=["txt", "xlsx"],
)
def test_without_a_header_a_row_is_what_names_the_profile(content: bytes) -> None:
    listed = [(one.line, one.profile, one.code) for one in read(content)]

    assert listed == [(1, ANN, None), (3, CID, None), (4, DEE, None)]


def test_a_header_over_one_column_is_no_profile() -> None:
    for header in ("email", "E-Mail", "почта"):
        assert read(f"{header}\nann@example.com\n".encode()) == [ListedProfile(2, ANN, None)]


def test_a_row_names_its_database_or_has_none() -> None:
    table = b"email,db_id\nann@example.com,8\nann@example.com,\nann@example.com,-1\n"
    found = read(table, database_id=None)

    assert found[0].profile == by_email("ann@example.com", 8)
    said = [str(one.profile) for one in found[1:]]
    assert said[0] == "missing, the holder needs one, database_id"
    assert said[1].startswith("column 'db_id': not a number from 1 to 2147483647")


def test_what_cannot_be_read_stands_in_its_place() -> None:
    found = read(b'{"email": "ann@example.com"}\n{"email": \n{"code": "A"}\n{"phone": [1]}\n')

    assert [one.line for one in found] == [1, 2, 3, 4]
    assert found[0].profile == ANN
    assert [isinstance(one.profile, BadValue) for one in found[1:]] == [True] * 3
    assert found[2] == found[2]._replace(code="A")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"code,expire_date\nA,\n", "no column names the profile; call one email"),
        (b"A,B\nC,D\n", "no column names the profile"),
        (b"", "the file is empty"),
        (b"email\n", "the file has a header, but no row"),
        (b'email,code\n"ann@example.com,A\nbob@example.com,B\n', "is never closed"),
        (b"%PDF-1.7", "a PDF"),
    ],
)
def test_what_is_no_list_is_said(content: bytes, sentence: str) -> None:
    with pytest.raises(BadValue, match=sentence):
        read(content)
