"""Lists of profiles that codes shall be attached to: CSV with a header, or one profile a line."""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from typing import BinaryIO, NamedTuple

from promint.domain import identities
from promint.domain.errors import BadValue
from promint.domain.model import ID_MAX, Identity, ProfileKey
from promint.wire.rows.columns import SYNONYMS

CHUNK = 1_000
COLUMNS = ("database_id", "profile_id", "email", "phone", "code")
DELIMITERS = ",;\t"

_NAMES = {
    " ".join(re.split(r"[\s_\-.]+", name.casefold())): ours
    for ours in COLUMNS
    for name in (ours, *SYNONYMS[ours])
}
_PROFILE_ID = re.compile(r"[0-9a-fA-F]{24}", re.ASCII)
_PHONE = re.compile(r"[+(]?\d[\d\s()\-.]{4,}", re.ASCII)


class ListedProfile(NamedTuple):
    """One row: the profile, or why it names none, and the code that it shall get, if one is named.

    `line` is the line of the file where the row starts.
    """

    line: int
    profile: ProfileKey | BadValue
    code: str | None


def read_profiles(
    file: BinaryIO, *, name: str, database_id: int | None
) -> Iterator[list[ListedProfile]]:
    """Yield the rows of a list, in chunks. `database_id` counts where a row names none.

    A header names the columns, in English or Russian as in files of codes. Without one, each line
    is an e-mail, a phone number or the id of a profile.

    Raises:
        BadValue: the file is not UTF-8, or its quotes are never closed; it says where.
    """
    text = io.TextIOWrapper(file, "utf-8-sig", newline="")
    chunk: list[ListedProfile] = []
    line = 0
    try:
        first = text.readline()
        delimiter = max(DELIMITERS, key=first.count)
        names = [_column(cell) for cell in next(csv.reader([first], delimiter=delimiter), [])]
        if any(names):
            line = 1
        else:
            names = []
        rows = csv.reader(_with(first, text, keeps_first=not names), delimiter=delimiter)
        for cells in rows:
            if any(map(str.strip, cells)):
                chunk.append(_row(line + 1, names, cells, database_id))
            line = rows.line_num + bool(names)
            if len(chunk) == CHUNK:
                yield chunk
                chunk = []
    except UnicodeDecodeError:
        raise BadValue("not UTF-8", f"{name}, behind line {line}") from None
    except csv.Error as error:
        raise BadValue(str(error), f"{name}, line {line + 1}") from None
    finally:
        text.detach()
    if chunk:
        yield chunk


def _with(first: str, rest: Iterator[str], *, keeps_first: bool) -> Iterator[str]:
    if keeps_first:
        yield first
    yield from rest


def _column(cell: str) -> str | None:
    return _NAMES.get(" ".join(re.split(r"[\s_\-.]+", cell.strip().casefold())))


def _row(
    line: int, names: Sequence[str | None], cells: Sequence[str], database_id: int | None
) -> ListedProfile:
    if names:
        values = {name: cell.strip() for name, cell in zip(names, cells, strict=False) if name}
    else:
        values = _recognised(cells[0].strip())
    code = values.get("code") or None
    try:
        return ListedProfile(line, _profile(values, database_id), code)
    except BadValue as unusable:
        return ListedProfile(line, unusable, code)


def _recognised(text: str) -> dict[str, str]:
    if "@" in text:
        return {"email": text}
    if _PROFILE_ID.fullmatch(text):
        return {"profile_id": text}
    return {"phone": text} if _PHONE.fullmatch(text) else {}


def _profile(values: dict[str, str], database_id: int | None) -> ProfileKey:
    named = values.get("database_id")
    if named:
        if not named.isascii() or not named.isdigit() or not 1 <= int(named) <= ID_MAX:
            raise BadValue("not a whole number from 1 on", "database_id")
        database_id = int(named)
    if database_id is None:
        raise BadValue("missing", "database_id")
    if values.get("profile_id"):
        return ProfileKey(database_id, profile_id=values["profile_id"].lower())
    found: list[Identity] = []
    if values.get("email"):
        found.append(identities.email_identity(database_id, values["email"]))
    if values.get("phone"):
        found.append(identities.phone_identity(database_id, values["phone"]))
    if not found:
        raise BadValue("names no profile by e-mail, phone or id", "profile")
    return ProfileKey(database_id, identities=tuple(found))
