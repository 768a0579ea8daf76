"""A disk that is full, or that fails, whenever a test says so: `tests.promises.sick_disk:attach`.

The service of a test runs on it as on any other; what the disk does stands in a folder that the
setting PROMINT_TEST_DISK names:

- a file `full`: as long as it is there, no file grows;
- a file `failing` with a suffix and a number, `-wal 3`: the third write or sync of a file with
  that suffix, counted from now on, fails. The one after it works again, as after a failed sync.

Beside it stand builds that do with such a disk what they must not.
"""

import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import apsw

SETTING = "PROMINT_TEST_DISK"
FULL, FAILING = "full", "failing"


class Disk(apsw.VFS):
    """The system's files, unless the folder says otherwise."""

    def __init__(self, folder: Path) -> None:
        self._system = apsw.vfs_names()[0]
        super().__init__("sick", self._system, makedefault=True)
        self._folder = folder
        self._lock = threading.Lock()
        self._counted = 0

    def xOpen(self, name: Any, flags: list[int]) -> "DiskFile":  # noqa: N802  # SQLite's name
        return DiskFile(self, self._system, name, flags)

    def demand_room(self, size: int, end: int) -> None:
        """Refuse to let a file grow while the disk is full."""
        if end > size and (self._folder / FULL).exists():
            raise apsw.exception_for(apsw.SQLITE_FULL)

    def demand_health(self, name: str, code: int) -> None:
        """Count one write or sync, and fail it if it is the one."""
        failing = self._folder / FAILING
        with self._lock:
            if not failing.exists():
                self._counted = 0
                return
            suffix, number = failing.read_text().split()
            if name.endswith(suffix):
                self._counted += 1
                if self._counted == int(number):
                    raise apsw.exception_for(code)


class DiskFile(apsw.VFSFile):
    """A file of the system with a disk above it."""

    def __init__(self, disk: Disk, system: str, name: Any, flags: list[int]) -> None:
        super().__init__(system, name, flags)
        self._disk = disk
        self._name = name.filename() if isinstance(name, apsw.URIFilename) else str(name)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802  # SQLite's name
        self._disk.demand_room(self.xFileSize(), offset + len(data))
        self._disk.demand_health(self._name, apsw.SQLITE_IOERR_WRITE)
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802  # SQLite's name
        self._disk.demand_health(self._name, apsw.SQLITE_IOERR_FSYNC)
        super().xSync(flags)


_attached: list[Disk] = []


def attach() -> None:
    """Put the disk under every file of SQLite in this process."""
    _attached.append(Disk(Path(os.environ[SETTING])))


def attach_and_go_on() -> None:
    """Take an error of the disk for one that passes, and try again with the next request."""
    from promint.store import sqlite

    attach()
    assert hasattr(sqlite, "is_disk_failure")
    sqlite.is_disk_failure = lambda error: False


def answer_what_is_not_written() -> None:
    """Pass over the error of a write, and answer as if it had been written."""
    from promint.store import Busy
    from promint.store.sqlite import SqliteStore

    if SETTING in os.environ:
        attach()
    transaction = SqliteStore._write_transaction

    @asynccontextmanager
    async def ignoring(self: SqliteStore) -> AsyncIterator[apsw.Connection]:
        try:
            async with transaction(self) as writer:
                yield writer
        except Busy:
            return

    SqliteStore._write_transaction = ignoring  # type: ignore[method-assign]  # the fault


def demand_whole(url: str) -> None:
    """Ask SQLite whether a file is whole."""
    from tests.races.ledger import demand

    with closing(
        apsw.Connection(url.removeprefix("sqlite:///"), flags=apsw.SQLITE_OPEN_READONLY)
    ) as connection:
        (answer,) = next(connection.execute("PRAGMA integrity_check"))
    demand(answer == "ok", "the file is damaged:", answer)
