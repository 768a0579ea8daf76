"""What the settings of a program and a database can be."""

from dataclasses import fields, replace
from typing import Any

from promint.domain.errors import BadValue
from promint.domain.model import BUCKETS_MAX, ID_MAX, CodeMatching, Database, LoyaltyProgram

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

_LIMITS = ("code_limit", "profile_limit", "attach_limit", "activation_limit", "lifetime_s")


def checked(program: LoyaltyProgram) -> LoyaltyProgram:
    """Return a program whose settings can all be so.

    Raises:
        BadValue: one cannot; it names the setting.
    """
    if not program.name.strip():
        raise BadValue("empty", "name")
    for name in ("name", "short_name", "access_group"):
        if len(getattr(program, name)) > NAME_CHARACTERS_MAX:
            raise BadValue(f"longer than {NAME_CHARACTERS_MAX} characters", name)
    if program.short_name and not program.short_name.isidentifier():
        raise BadValue("not one word of letters, digits and underscores", "short_name")
    if not 0 <= program.id <= ID_MAX:
        raise BadValue(f"not 1 to {ID_MAX}", "id")
    for name in _LIMITS:
        limit = getattr(program, name)
        if limit is not None and not 1 <= limit <= 2**53:
            raise BadValue("less than 1, or absurdly large", name)
    if program.low_stock is not None and program.low_stock < 0:
        raise BadValue("less than 0", "low_stock")
    issue_from, issue_until = program.issue_from, program.issue_until
    if issue_from is not None and issue_until is not None and issue_from >= issue_until:
        raise BadValue("not before issue_until", "issue_from")
    if program.buckets & (program.buckets - 1) or not 1 <= program.buckets <= BUCKETS_MAX:
        raise BadValue(f"not a power of two from 1 to {BUCKETS_MAX}", "buckets")
    if program.code_matching not in list(CodeMatching):
        raise BadValue(f"not one of {', '.join(CodeMatching)}", "code_matching")
    return program


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
        BadValue: it has no name, or its id is out of bounds.
    """
    if not database.name.strip():
        raise BadValue("empty", "name")
    if not 0 <= database.id <= ID_MAX:
        raise BadValue(f"not 1 to {ID_MAX}", "id")
