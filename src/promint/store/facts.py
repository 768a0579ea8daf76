"""What a store looks like from outside: the facts that `promint doctor` decides on.

Stores gather them, `promint.safety` judges them. Nothing here is an opinion.
"""

from collections.abc import Mapping
from dataclasses import dataclass

EVENTS_OF_PROGRAMS = 64
"""Of so many programs, the newest, the last event is looked for."""


@dataclass(frozen=True, slots=True)
class FileFacts:
    """A file or folder: its permission bits with the sticky bit, and how many names it has."""

    path: str
    mode: int
    links: int


@dataclass(frozen=True, slots=True)
class SqliteFacts:
    """An SQLite file as the service's own connection finds it.

    Without a file yet `schema` is 0, the mode is empty and `synchronous` is 0. `file_system` is
    None where the system does not tell.
    """

    path: str
    library: tuple[int, ...]
    schema: int
    latest_schema: int
    journal_mode: str
    synchronous: int
    files: tuple[FileFacts, ...]
    folder: FileFacts
    file_system: str | None
    free_bytes: int
    newest_event_at: int | None


@dataclass(frozen=True, slots=True)
class PostgresFacts:
    """A PostgreSQL database as the engine's own session finds it.

    `hosts` are those of the URL; `password` is the one that was sent, None where there was
    none. `clock_ahead_us` is its clock minus ours.
    """

    hosts: tuple[str, ...]
    password: str | None
    is_authenticated: bool
    version: int
    is_replica: bool
    settings: Mapping[str, str]
    encoding: str
    schema: int
    latest_schema: int
    unlogged: tuple[str, ...]
    clock_ahead_us: int
    is_encrypted: bool
    is_superuser: bool
    newest_event_at: int | None


StoreFacts = SqliteFacts | PostgresFacts


def schema_refusal(schema: int, latest: int, *, migrates_itself: bool) -> tuple[str, str] | None:
    """Say why a schema cannot be served and what to do, or None if it can.

    `migrates_itself`: an older one is brought up to date when it is opened.
    """
    if schema > latest:
        return (
            (
                f"The database was written by a newer Promint (schema {schema}, this one knows "
                f"{latest})."
            ),
            "Use that version, or restore a backup.",
        )
    if schema == latest or migrates_itself:
        return None
    if schema == 0:
        return "The database is empty.", "Run: promint migrate"
    return (
        f"The database has schema {schema}, this Promint needs {latest}.",
        "Run: promint migrate",
    )
