"""Facts about an SQLite file and where it lies."""

import re
import shutil
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw

from promint.store import migrations, sql
from promint.store.facts import EVENTS_OF_PROGRAMS, FileFacts, SqliteFacts

MOUNTS = Path("/proc/self/mountinfo")
SUFFIXES = ("", "-wal", "-shm", "-lock")


def sqlite_facts(path: str, connect: Callable[[], apsw.Connection]) -> SqliteFacts:
    """Return the facts. `connect` opens the file as the service does; its folder exists."""
    file = Path(path).resolve()
    schema, journal_mode, synchronous, newest = 0, "", 0, None
    if file.exists() and file.stat().st_size:
        with closing(connect()) as connection:
            schema, journal_mode, synchronous = (
                _pragma(connection, name)
                for name in ("user_version", "journal_mode", "synchronous")
            )
            if schema == migrations.latest():
                newest = _newest_event_at(connection)
    named = (f"{path}{suffix}" for suffix in SUFFIXES)
    return SqliteFacts(
        path=path,
        library=tuple(int(part) for part in apsw.sqlite_lib_version().split(".")),
        schema=schema,
        latest_schema=migrations.latest(),
        journal_mode=journal_mode,
        synchronous=synchronous,
        files=tuple(_file_facts(one) for one in named if Path(one).exists()),
        folder=_file_facts(str(file.parent)),
        file_system=file_system_of(file, MOUNTS.read_text()) if MOUNTS.exists() else None,
        free_bytes=shutil.disk_usage(file.parent).free,
        newest_event_at=newest,
    )


def file_system_of(file: Path, mounts: str) -> str | None:
    """Return the type of the file system that a file is on, by the kernel's table of mounts."""
    found, depth = None, -1
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        # Of mounts on the same place the last one covers the others.
        point = Path(re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), before.split()[4]))
        if file.is_relative_to(point) and len(point.parts) >= depth:
            found, depth = after.split()[0], len(point.parts)
    return found


def _pragma(connection: apsw.Connection, name: str) -> Any:
    (value,) = next(connection.execute(f"PRAGMA {name}"))
    return value


def _file_facts(path: str) -> FileFacts:
    status = Path(path).stat()
    return FileFacts(path, stat.S_IMODE(status.st_mode), status.st_nlink)


def _newest_event_at(connection: apsw.Connection) -> int | None:
    programs = [sql.program_value(row) for row in connection.execute(sql.PROGRAMS)]
    found = [
        at
        for program in programs[-EVENTS_OF_PROGRAMS:]
        for (at,) in connection.execute(sql.NEWEST_EVENT, (program.first_shard,))
    ]
    return max(found, default=None)
