"""What the settings of a program and a database can be."""

import unicodedata
from dataclasses import fields, replace
from typing import Any

from promint.domain.codetext import canonical
from promint.domain.errors import BadValue
from promint.domain.model import (
    BUCKETS_MAX,
    ID_MAX,
    MOMENT_MAX,
    MOMENT_MIN,
    CodeMatching,
    Database,
    LoyaltyProgram,
)
from promint.domain.templates import Template

NAME_CHARACTERS_MAX = 255
FIXED = (
    "id",
    "multiple_usage",
    "code_matching",
    "buckets",
    "first_version",
    "created_at",
    "version",
)
"""What no update can change: the codes that are there were made under it."""

FIELDS_MAX = 50
FIELD_CHARACTERS_MAX = 64
RESERVED_FIELDS = frozenset(
    {
        "activated",
        "activation_count",
        "attach_count",
        "attached",
        "batch_id",
        "code",
        "created",
        "database_id",
        "db_id",
        "email",
        "expire_date",
        "phone",
        "profile_id",
        "state",
    }
)
"""What files call a code's own columns; no additional data field can be named so."""

_LIMITS = ("code_limit", "profile_limit", "attach_limit", "activation_limit", "lifetime_s")
_MOMENTS = ("issue_from", "issue_until", "default_expire_date")
NUMBER_MAX = 2**53
"""The largest limit: what every reader of JSON keeps exactly."""


def checked(program: LoyaltyProgram) -> LoyaltyProgram:
    """Return a program whose settings can all be so.

    Raises:
        BadValue: one cannot; it names the setting.
    """
    check_name(program.name)
    for name in ("short_name", "access_group"):
        if len(getattr(program, name)) > NAME_CHARACTERS_MAX:
            raise BadValue(f"longer than {NAME_CHARACTERS_MAX} characters", name)
    _check_line(program.access_group, "access_group")
    if program.archived and program.active:
        raise BadValue("not while the program is archived", "active")
    if program.short_name and not program.short_name.isidentifier():
        raise BadValue("not one word of letters, digits and underscores", "short_name")
    if type(program.id) is not int or not 0 <= program.id <= ID_MAX:
        raise BadValue(f"not 1 to {ID_MAX}", "id")
    for name in _LIMITS:
        _check_whole(program, name, 1, NUMBER_MAX)
    _check_whole(program, "low_stock", 0, NUMBER_MAX)
    for name in _MOMENTS:
        _check_whole(program, name, MOMENT_MIN, MOMENT_MAX)
    issue_from, issue_until = program.issue_from, program.issue_until
    if issue_from is not None and issue_until is not None and issue_from >= issue_until:
        raise BadValue("not before issue_until", "issue_from")
    _check_whole(program, "buckets", 1, BUCKETS_MAX)
    if program.buckets & (program.buckets - 1) or not 1 <= program.buckets <= BUCKETS_MAX:
        raise BadValue(f"not a power of two from 1 to {BUCKETS_MAX}", "buckets")
    if program.code_matching not in list(CodeMatching):
        raise BadValue(f"not one of {', '.join(CodeMatching)}", "code_matching")
    if program.template:
        Template.parse(program.template, CodeMatching(program.code_matching))
    _check_fields(program.fields)
    return program


def _check_whole(program: LoyaltyProgram, name: str, least: int, most: int) -> None:
    value = getattr(program, name)
    if value is None:
        return
    if type(value) is not int:  # true is 1, and 1.5 lies between 1 and 2
        raise BadValue("not a whole number", name)
    if not least <= value <= most:
        raise BadValue(f"less than {least}, or absurdly large", name)


def check_name(name: str) -> None:
    """Refuse a name that lists could not show.

    Raises:
        BadValue: it is empty, too long, or more than one line.
    """
    if not name.strip():
        raise BadValue("empty", "name")
    if len(name) > NAME_CHARACTERS_MAX:
        raise BadValue(f"longer than {NAME_CHARACTERS_MAX} characters", "name")
    _check_line(name, "name")


def _check_line(text: str, where: str) -> None:
    """Refuse what would break a line of a list, or could not be stored."""
    if any(unicodedata.category(character) in {"Cc", "Cs"} for character in text):
        raise BadValue("holds a control character", where)


def _check_fields(names: tuple[str, ...]) -> None:
    """Refuse names that a file's header could not tell apart, or not hold."""
    if len(names) > FIELDS_MAX:
        raise BadValue(f"more than {FIELDS_MAX}", "fields")
    known = set[str]()
    for name in names:
        if not 1 <= len(name) <= FIELD_CHARACTERS_MAX or name != name.strip():
            raise BadValue(
                f"{name!r} is not 1 to {FIELD_CHARACTERS_MAX} characters without outer blanks",
                "fields",
            )
        if any(unicodedata.category(character) in {"Cc", "Cs"} for character in name):
            raise BadValue(f"{name!r} holds a control character", "fields")
        compared = canonical(name, CodeMatching.FORGIVING)
        if compared in RESERVED_FIELDS:
            raise BadValue(f"{name!r} is the name of a column of its own", "fields")
        if compared in known:
            raise BadValue(f"{name!r} twice", "fields")
        known.add(compared)


def changed(program: LoyaltyProgram, settings: dict[str, Any]) -> LoyaltyProgram:
    """Return a program with the named settings changed.

    Raises:
        BadValue: one is unknown, fixed when the program was made, or cannot be so.
    """
    known = {field.name for field in fields(program)}
    for name, value in settings.items():
        if name not in known:
            raise BadValue("unknown", name)
        if name in FIXED and value != getattr(program, name):
            raise BadValue("fixed when the program was made", name)
    return checked(replace(program, **settings))


def check_database(database: Database) -> None:
    """Refuse a database that cannot be so.

    Raises:
        BadValue: it has no name or one that is no line of text, or its id is out of bounds.
    """
    check_name(database.name)
    if not 0 <= database.id <= ID_MAX:
        raise BadValue(f"not 1 to {ID_MAX}", "id")
