"""Reads that take longer than a look-up: in threads, on read-only connections of their own."""

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from itertools import islice
from typing import Any, TypeVar

import apsw

from promint.store import Busy, Lost, Poisoned, StoreError

THREADS = 4
Result = TypeVar("Result")


NOT_OF_THE_DISK = {
    apsw.SQLITE_IOERR_BLOCKED,
    apsw.SQLITE_IOERR_CHECKRESERVEDLOCK,
    apsw.SQLITE_IOERR_LOCK,
    apsw.SQLITE_IOERR_NOMEM,
    apsw.SQLITE_IOERR_RDLOCK,
    apsw.SQLITE_IOERR_SHMLOCK,
    apsw.SQLITE_IOERR_SHMMAP,
    apsw.SQLITE_IOERR_SHMOPEN,
    apsw.SQLITE_IOERR_SHMSIZE,
}
"""Errors of input and output that say nothing about the disk: locks, memory, and room for the
shared memory, which is what a full disk runs out of first."""


def is_disk_failure(error: apsw.Error) -> bool:
    """Say whether an error under a write means that the file cannot be trusted from here on.

    A sync that failed is not tried again: the system may have thrown away what it could not
    write, and call the second try a success.
    """
    if isinstance(error, apsw.IOError):
        return getattr(error, "extendedresult", apsw.SQLITE_IOERR) not in NOT_OF_THE_DISK
    return isinstance(error, (apsw.CorruptError, apsw.NotADBError))


def translated(error: apsw.Error) -> StoreError:
    """Make a driver's error ours, by its code."""
    if isinstance(error, apsw.ConstraintError):
        return Lost(str(error))
    if isinstance(error, (apsw.MismatchError, apsw.TooBigError, apsw.RangeError)):
        return Poisoned(str(error))
    return Busy(str(error))


@contextmanager
def translating() -> Iterator[None]:
    """Raise a driver's errors as ours."""
    try:
        yield
    except apsw.Error as error:
        raise translated(error) from error


async def off_loop(
    thread: ThreadPoolExecutor, work: Callable[..., Result], *arguments: Any
) -> Result:
    """Run something that waits for the disk in a thread, to its end.

    A caller that is cancelled still waits: nobody else may touch the connection before.
    """
    work_done = asyncio.get_running_loop().run_in_executor(thread, work, *arguments)
    try:
        return await asyncio.shield(work_done)
    except asyncio.CancelledError:
        await _end_of(work_done)
        raise


async def _end_of(working: asyncio.Future[Any]) -> None:
    """Wait for work that nobody wants any more; what became of it is of no interest."""
    await asyncio.wait([working])
    working.exception()


class Readers:
    """Threads that read. Each keeps a connection; a snapshot gets one of its own."""

    def __init__(self, connect: Callable[[], apsw.Connection]) -> None:
        """Take the maker of read-only connections."""
        self._connect = connect
        self._threads = ThreadPoolExecutor(THREADS, "promint-read")
        self._kept = threading.local()
        self._connections: list[apsw.Connection] = []

    async def run(self, work: Callable[[apsw.Connection], Result]) -> Result:
        """Run `work` on a thread's kept connection, inside one read transaction."""

        def reading() -> Result:
            connection = getattr(self._kept, "connection", None)
            if connection is None:
                connection = self._kept.connection = self._connect()
                self._connections.append(connection)
            connection.execute("BEGIN")
            try:
                return work(connection)
            finally:
                connection.execute("COMMIT")

        with translating():
            return await off_loop(self._threads, reading)

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator["Snapshot"]:
        """Open a read transaction that stays at its moment until it is left."""
        connection = self._connect()
        thread = ThreadPoolExecutor(1, "promint-snapshot")
        try:
            connection.execute("BEGIN")
            yield Snapshot(thread, connection)
        finally:
            thread.shutdown()
            connection.close()

    def close(self) -> None:
        """Let go of threads and connections."""
        self._threads.shutdown()
        for connection in self._connections:
            connection.close()


class Snapshot:
    """A read transaction in a thread of its own, so that a long sort holds up nobody's page."""

    def __init__(self, thread: ThreadPoolExecutor, connection: apsw.Connection) -> None:
        """Take the thread, and the connection inside BEGIN."""
        self._thread = thread
        self._connection = connection

    async def run(self, work: Callable[[apsw.Connection], Result]) -> Result:
        """Run `work` in the thread. A caller that is cancelled interrupts it."""
        with translating():
            working = asyncio.get_running_loop().run_in_executor(
                self._thread, work, self._connection
            )
            try:
                return await asyncio.shield(working)
            except asyncio.CancelledError:
                self._connection.interrupt()
                await _end_of(working)
                raise

    async def rows(self, statement: str, *parameters: Any) -> list[Any]:
        """Return all rows of a statement."""
        return await self.run(
            lambda connection: connection.execute(statement, parameters).fetchall()
        )

    async def stream(
        self, statement: str, parameters: dict[str, Any], chunk: int
    ) -> AsyncGenerator[list[Any]]:
        """Yield the rows of a statement, so many at a time. Parameters are by name."""
        cursor = await self.run(lambda connection: connection.execute(statement, parameters))
        while rows := await self.run(lambda _: list(islice(cursor, chunk))):
            yield rows

    async def lines(
        self, statement: str, parameters: dict[str, Any], chunk: int
    ) -> AsyncGenerator[bytes]:
        """Yield the rows of a statement of one text column as lines, so many at a time."""
        cursor = await self.run(lambda connection: connection.execute(statement, parameters))

        def joined(_: apsw.Connection) -> bytes:
            rows = [text for (text,) in islice(cursor, chunk)]
            return "\n".join([*rows, ""]).encode()

        while lines := await self.run(joined):
            yield lines
