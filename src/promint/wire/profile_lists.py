"""Lists of profiles that codes shall be attached to, read as files of codes are."""

import re
from collections.abc import Iterator
from contextlib import closing
from typing import BinaryIO, NamedTuple

from promint.domain import identities
from promint.domain.errors import BadValue
from promint.domain.model import ProfileKey
from promint.wire.rows import Chunk, FileFormat, PlainChunk, ReadOptions, Row, RowReader, open_rows
from promint.wire.rows.columns import CUSTOM

OPTIONS = ReadOptions(needs_code=False)
NAMING = ("profile_id", "email", "phone", "field_name")
"""Columns that name a profile; so does a custom field."""

_PROFILE_ID = re.compile(r"[0-9a-fA-F]{24}", re.ASCII)
_PHONE = re.compile(r"[+(]?\d[\d\s()\-.]{4,}", re.ASCII)


class ListedProfile(NamedTuple):
    """One row: the profile, or why it names none, and the code that it shall get, if one is named.

    `line` is the line of the file where the row starts; in XLSX the number of the row.
    """

    line: int
    profile: ProfileKey | BadValue
    code: str | None


def read_profiles(
    file: BinaryIO, *, name: str, database_id: int | None
) -> Iterator[list[ListedProfile]]:
    """Yield the rows of a list, in chunks. `database_id` counts where a row names none.

    A header, or the keys of an object, name the columns in English or Russian as in files of
    codes. Without one, each row is an e-mail, a phone number or the id of a profile.

    Raises:
        BadValue: the file cannot be read, or no column of it names a profile; it says where.
    """
    with closing(open_rows(file, name=name, options=OPTIONS)) as reader:
        is_bare = _is_bare(reader, name)
        for chunk in reader:
            found = [
                ListedProfile(reject.line, BadValue(reject.reason, "row"), None)
                for reject in chunk.rejects
            ]
            found += _listed(chunk, database_id, is_bare=is_bare)
            found.sort(key=lambda listed: listed.line)
            yield found


def _is_bare(reader: RowReader, name: str) -> bool:
    """Say whether a row is nothing but what names the profile, in one column without a header.

    Raises:
        BadValue: it has columns, and none of them does.
    """
    known = reader.recognised
    named = [ours for ours, _ in known.columns]
    if known.format is FileFormat.JSONL or any(
        ours in NAMING or ours.startswith(CUSTOM) for ours in named
    ):
        return False
    if known.has_header or named != ["code"]:
        raise BadValue(
            "no column names the profile; call one email, phone or profile_id in the first row",
            name,
        )
    return True


def _listed(chunk: Chunk, database_id: int | None, *, is_bare: bool) -> Iterator[ListedProfile]:
    if isinstance(chunk, PlainChunk):
        for line, text in enumerate(chunk.texts, chunk.first_line):
            if text.strip():
                yield _row(_recognised(line, text.strip()), database_id)
        return
    for row in chunk.rows:
        yield _row(_recognised(row.line, row.code.strip()) if is_bare else row, database_id)


def _row(row: Row, database_id: int | None) -> ListedProfile:
    code = row.code.strip() or None
    try:
        key = profile_key(row, database_id)
    except BadValue as unusable:
        return ListedProfile(row.line, unusable, code)
    nobody = BadValue("names no profile by e-mail, phone or id", "profile")
    return ListedProfile(row.line, key or nobody, code)


def _recognised(line: int, text: str) -> Row:
    if "@" in text:
        return Row(line, "", email=text)
    if _PROFILE_ID.fullmatch(text):
        return Row(line, "", profile_id=text)
    return Row(line, "", phone=text if _PHONE.fullmatch(text) else None)


def profile_key(row: Row, default_database: int | None) -> ProfileKey | None:
    """Return how a row names a profile; None if it names none.

    Raises:
        BadValue: it names no database, and there is none for rows that do not; or the e-mail,
            phone number or field cannot be one.
    """
    if not (row.profile_id or row.email or row.phone or row.custom):
        return None
    database_id = row.database_id or default_database
    if database_id is None:
        raise BadValue("missing, the holder needs one", "database_id")
    if row.profile_id is not None:
        return ProfileKey(database_id, profile_id=row.profile_id.lower())
    found = []
    if row.email is not None:
        found.append(identities.email_identity(database_id, row.email))
    if row.phone is not None:
        found.append(identities.phone_identity(database_id, row.phone))
    if row.custom is not None:
        found.append(identities.custom_identity(database_id, *row.custom, "custom"))
    return ProfileKey(database_id, identities=tuple(found))
