"""The numbers and words that are stored, written down a second time."""

from enum import Enum, IntEnum


class Kind(IntEnum):
    """What an event says has happened."""

    IMPORTED = 1
    CREATED = 2
    ATTACHED = 3
    ACTIVATED = 4
    UPDATED = 5
    DETACHED = 6
    PROFILE_CREATED = 7
    PROFILE_UPDATED = 8
    PROFILE_DELETED = 9
    RELEASED = 10
    PROGRAM_CREATED = 11
    PROGRAM_UPDATED = 12
    DATABASE_CREATED = 13
    TOKEN_CREATED = 14
    TOKEN_REVOKED = 15
    GENERATED = 16
    DELETED = 17
    RESTORED = 18
    BATCH_UNDONE = 19
    LOW_STOCK = 20
    STOCK_RECOVERED = 21
    DATABASE_UPDATED = 22
    GUESSING_STOPPED = 23
    TOKEN_ROTATED = 24


_NAMES = {kind.value: kind.name.lower() for kind in Kind}


def name_of(kind: int) -> str:
    """Return the word for a kind of event, or its number where there is none."""
    return _NAMES.get(kind, str(kind))


GIVEN, DEFAULT, LIFETIME, LIFETIME_OVER_DEFAULT = range(4)
"""Who has set a code's expiry."""

MAKING = {"import": Kind.IMPORTED, "generate": Kind.GENERATED}
"""The kinds of batch that make codes, and the event that they leave."""

CHANGING = {
    "attach": Kind.ATTACHED,
    "expire": Kind.UPDATED,
    "deactivate": Kind.UPDATED,
    "detach": Kind.DETACHED,
    "delete": Kind.DELETED,
}
"""The kinds of batch that change codes, and the event that each of their changes leaves."""


class Unknown(Enum):
    """The value of what no event tells."""

    VALUE = "unknown"


UNKNOWN = Unknown.VALUE
Known = int | None | Unknown
"""A number or its absence; or nobody knows."""
