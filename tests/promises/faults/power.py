"""Builds whose power can be cut: what SQLite wrote but did not sync is kept apart.

A layer under SQLite lets everything through to the file and keeps, beside it, what a disk would
still have without power: FILE.durable is as it was at the last sync, FILE.pending what was written
since. `cut_power` puts a file together that such a cut could leave: of what was not synced any part
may be on the disk, in any order, and a write may be torn in its middle.
"""

# ruff: noqa: N802  # SQLite gives these methods their names

import os
import random
import shutil
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw

SYSTEM = "unix"
SECTOR = 512
_HEADER = struct.Struct("<qq")
_TRUNCATED = -1


def power_can_be_cut() -> None:
    """No fault: keep apart what is not synced."""
    from promint.store import sqlite

    # Kept alive by the name; SQLite knows it as the default from now on.
    sqlite.power = _Layer()  # type: ignore[attr-defined]


def synced_now_and_then() -> None:
    """Do not sync at a commit: `synchronous = NORMAL`."""
    from promint.store.sqlite import SqliteStore

    power_can_be_cut()
    begin = SqliteStore.open

    async def open_carelessly(self: SqliteStore) -> None:
        await begin(self)
        self._writer.execute("PRAGMA synchronous = NORMAL")

    SqliteStore.open = open_carelessly  # type: ignore[method-assign]  # the fault


class _Disk:
    """What is known of one file: under which lock, and what of it is not synced."""

    def __init__(self, path: str) -> None:
        self.lock = threading.RLock()
        self._durable, self._pending = Path(f"{path}.durable"), Path(f"{path}.pending")
        if not self._durable.exists():
            shutil.copy(path, self._durable)
            self._pending.unlink(missing_ok=True)
        self._log = self._pending.open("ab", buffering=0)

    def write(self, offset: int, data: bytes) -> None:
        self._log.write(_HEADER.pack(offset, len(data)) + data)

    def truncate(self, size: int) -> None:
        self._log.write(_HEADER.pack(_TRUNCATED, size))

    def sync(self) -> None:
        # From the mark on everything counts as synced: a kill here must not undo a part.
        mark = self._pending.with_suffix(".synced")
        mark.touch()
        _apply(self._durable, _pending_writes(self._pending))
        os.ftruncate(self._log.fileno(), 0)
        mark.unlink()

    def forget(self) -> None:
        self._log.close()
        for file in (self._durable, self._pending):
            file.unlink(missing_ok=True)


class _Layer(apsw.VFS):
    """The file system of the machine, with files that remember what was synced."""

    def __init__(self) -> None:
        self.disks: dict[str, _Disk] = {}
        self._lock = threading.Lock()
        super().__init__("power", SYSTEM, makedefault=True)

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        kinds = apsw.SQLITE_OPEN_MAIN_DB | apsw.SQLITE_OPEN_WAL
        if path is None or not flags[0] & kinds or path.removesuffix("-wal").endswith("stage.db"):
            return apsw.VFSFile(SYSTEM, name, flags)
        return _File(self, path, name, flags)

    def xDelete(self, name: str, sync_folder: bool) -> None:
        super().xDelete(name, sync_folder)
        with self._lock:
            disk = self.disks.pop(name, None)
        if disk is not None:
            disk.forget()

    def disk(self, path: str) -> _Disk:
        with self._lock:
            if path not in self.disks:
                self.disks[path] = _Disk(path)
            return self.disks[path]


class _File(apsw.VFSFile):
    def __init__(self, layer: _Layer, path: str, name: Any, flags: list[int]) -> None:
        super().__init__(SYSTEM, name, flags)
        self._layer, self._path = layer, path
        layer.disk(path)

    @property
    def _disk(self) -> _Disk:
        return self._layer.disk(self._path)

    def xWrite(self, data: bytes, offset: int) -> None:
        with self._disk.lock:
            self._disk.write(offset, data)
            super().xWrite(data, offset)

    def xTruncate(self, size: int) -> None:
        with self._disk.lock:
            self._disk.truncate(size)
            super().xTruncate(size)

    def xSync(self, flags: int) -> None:
        # Not with the machine's own sync: nobody cuts its power.
        with self._disk.lock:
            self._disk.sync()


# -- after the cut ---------------------------------------------------------------------------

Write = tuple[int, bytes | int]
"""Where and what was written; _TRUNCATED and a size where the file was cut off."""


def cut_power(path: str, rng: random.Random) -> None:
    """Leave of a database, whose processes are dead, what a power cut could leave."""
    for file in (path, f"{path}-wal"):
        durable, pending = Path(f"{file}.durable"), Path(f"{file}.pending")
        if not durable.exists():
            continue
        writes = list(_pending_writes(pending))
        if not pending.with_suffix(".synced").exists():
            writes = list(_survivors(writes, rng))
        _apply(durable, writes)
        pending.with_suffix(".synced").unlink(missing_ok=True)
        pending.unlink(missing_ok=True)
        durable.replace(file)
    # Memory that processes share; after a cut there is none.
    Path(f"{path}-shm").unlink(missing_ok=True)


def _survivors(writes: list[Write], rng: random.Random) -> Iterator[Write]:
    """Yield none, the first ones, any or all of the writes; some of them torn."""
    share, in_order = rng.choice([(0.0, True), (rng.random(), True), (rng.random(), False)])
    for number, (offset, data) in enumerate(writes):
        if number >= share * len(writes) if in_order else rng.random() >= share:
            continue
        if isinstance(data, bytes) and rng.random() < 0.2:
            yield offset, data[: rng.randrange(0, len(data) + 1, SECTOR)]
        else:
            yield offset, data


def _pending_writes(pending: Path) -> Iterator[Write]:
    log = pending.read_bytes()
    start = 0
    while start + _HEADER.size <= len(log):
        offset, size = _HEADER.unpack_from(log, start)
        start += _HEADER.size
        if offset == _TRUNCATED:
            yield offset, size
            continue
        # The last one may be there in part.
        yield offset, log[start : start + size]
        start += size


def _apply(durable: Path, writes: Any) -> None:
    with durable.open("r+b") as file:
        for offset, data in writes:
            if offset == _TRUNCATED:
                file.truncate(data)
            else:
                file.seek(offset)
                file.write(data)
