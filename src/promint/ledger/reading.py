"""One moment of a store, read past everything that writes it."""

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Protocol

import apsw
import asyncpg

from promint.ledger import statements

SCHEMA_LEAST = 4
"""The first schema that this check understands."""

ROWS = 2_000
CACHE_KIB = 65_536
CONNECT_TIMEOUT_S = 10.0
SESSION = (
    "SET LOCAL work_mem = '64MB'",
    "SET LOCAL jit = off",
    "SET LOCAL max_parallel_workers_per_gather = 0",
    # Every cursor is read to its end: what is cheapest as a whole is what is wanted.
    "SET LOCAL cursor_tuple_fraction = 1.0",
    "SET LOCAL statement_timeout = 0",
    "SET LOCAL idle_in_transaction_session_timeout = '10min'",
)

Row = tuple[Any, ...]


class CannotCheck(Exception):
    """The store cannot be read; the text says why and what to do."""


class Moment(Protocol):
    """A store as it was at one moment."""

    def rows(self, statement: str) -> Iterator[Row]:
        """Yield what a statement of `statements` finds; several may be under way at once.

        Raises:
            CannotCheck: the store broke off.
        """


@contextmanager
def moment_of(url: str) -> Iterator[Moment]:
    """Open a store for reading, at the moment of opening.

    Blocks while it reads, so it is not for an event loop; and holds no lock that a writer meets.

    Raises:
        CannotCheck: it cannot be read, or its schema is none that this check understands.
    """
    if url.startswith("sqlite:///"):
        with _sqlite(Path(url.removeprefix("sqlite:///")).expanduser()) as moment:
            yield moment
    else:
        with _postgres(url) as other:
            yield other


def _check_schema(version: int) -> None:
    if version < SCHEMA_LEAST:
        raise CannotCheck(
            f"The store has schema {version}; the ledger is checked from {SCHEMA_LEAST} on. "
            "Run: promint migrate"
        )


def _in_dialect(statement: str, dialect: dict[str, str]) -> str:
    for mark, text in dialect.items():
        statement = statement.replace(mark, text)
    return statement


class _Sqlite:
    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    def rows(self, statement: str) -> Iterator[Row]:
        try:
            yield from self._connection.cursor().execute(_in_dialect(statement, statements.SQLITE))
        except apsw.Error as error:
            raise CannotCheck(f"The store cannot be read on ({error}).") from error


@contextmanager
def _sqlite(path: Path) -> Iterator[Moment]:
    """Copy the file at one moment, and read the copy.

    A reader keeps the log from starting anew, and what writers add to it meanwhile is gigabytes in
    the minutes of a check. Copying takes seconds.
    """
    if not path.is_file():
        raise CannotCheck(f"{path} does not exist.")
    with tempfile.TemporaryDirectory(prefix="promint-") as folder:
        copy = Path(folder) / "moment.db"
        try:
            _copy(path, copy)
            flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
            connection = apsw.Connection(f"{copy.as_uri()}?immutable=1", flags=flags)
        except apsw.FullError:
            raise CannotCheck(
                f"The folder {folder} has no room for a copy of {path}; set TMPDIR to another."
            ) from None
        except apsw.Error as error:
            raise CannotCheck(f"{path} cannot be read ({error}).") from error
        try:
            connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
            ((version,),) = connection.execute("PRAGMA user_version")
            _check_schema(int(version))
            yield _Sqlite(connection)
        finally:
            connection.close(force=True)


def _copy(path: Path, copy: Path) -> None:
    """Copy a live database in one step, which holds one read transaction."""
    with (
        closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as source,
        closing(apsw.Connection(str(copy))) as target,
    ):
        source.set_busy_timeout(5_000)
        target.execute("PRAGMA synchronous = OFF; PRAGMA journal_mode = OFF")
        with target.backup("main", source, "main") as backup:
            backup.step(-1)


class _Postgres:
    def __init__(self, runner: asyncio.Runner, connection: Any) -> None:
        self._runner = runner
        self._connection = connection

    def rows(self, statement: str) -> Iterator[Row]:
        run = self._runner.run
        try:
            cursor = run(self._opened(_in_dialect(statement, statements.POSTGRES)))
            while rows := run(cursor.fetch(ROWS)):
                yield from map(tuple, rows)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            raise CannotCheck(f"The store cannot be read on ({error}).") from error

    async def _opened(self, statement: str) -> Any:
        return await self._connection.cursor(statement)


@contextmanager
def _postgres(url: str) -> Iterator[Moment]:
    connections: list[Any] = []

    async def connected() -> Any:
        connection = await asyncpg.connect(
            url, timeout=CONNECT_TIMEOUT_S, statement_cache_size=0, command_timeout=None
        )
        connections.append(connection)
        exists = await connection.fetchval("SELECT to_regclass('promint_schema') IS NOT NULL")
        version = (
            await connection.fetchval("SELECT max(version) FROM promint_schema") if exists else 0
        )
        _check_schema(version or 0)
        transaction = connection.transaction(isolation="repeatable_read", readonly=True)
        await transaction.start()
        for setting in SESSION:
            await connection.execute(setting)
        return connection

    with asyncio.Runner() as runner:
        try:
            try:
                opened = runner.run(connected())
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, ValueError) as error:
                detail = str(error) or type(error).__name__
                raise CannotCheck(f"PostgreSQL cannot be reached ({detail}).") from error
            yield _Postgres(runner, opened)
        finally:
            for connection in connections:
                connection.terminate()
