"""Looking for codes, on PostgreSQL."""

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Sequence,
)
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import TypeVar

from promint.domain.model import Event, Holder, LoyaltyProgram, PromoCode
from promint.store import lines_sql
from promint.store import search_steps as steps
from promint.store.postgres.sessions import BROKEN, Connection, translated
from promint.store.search_sql import POSTGRES, Query
from promint.store.searching import CodeFilter, CodePage, Notation, WalletPage

Result = TypeVar("Result")

CHUNK = 2_000
LINES_BYTES = 262_144
LINES_AHEAD = 2
LINES_AT_ONCE = 8
"""How many connections beside the pool's give out lines; who reads them may be slow."""
QUOTE = "\x1d"
"""What COPY would put around a text with a mark in it; there is none."""

# A page finds its rows by an index whatever the planner believes of a table that it has not
# looked at yet, and its custom plan costs little beside the rows.
BY_INDEX = """
SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off;
SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off;
SET LOCAL max_parallel_workers_per_gather = 0; SET LOCAL jit = off"""

# A walk over everything is the planner's choice: sorting a table beats ten million look-ups.
WHOLE = """
SET LOCAL work_mem = '64MB';
SET LOCAL max_parallel_workers_per_gather = 0; SET LOCAL jit = off"""


class PostgresSearching:
    """Looking for codes, on connections of the pool."""

    def __init__(
        self,
        pooled: Callable[[], AbstractAsyncContextManager[Connection]],
        connect: Callable[[], Awaitable[Connection]],
    ) -> None:
        """Take the lender of connections, and the maker of those for long statements."""
        self._pooled = pooled
        self._connect = connect
        self._lines = asyncio.Semaphore(LINES_AT_ONCE)

    @asynccontextmanager
    async def _reading(self, session: str) -> AsyncIterator[Connection]:
        """Hold a connection in a transaction that sees one moment."""
        async with (
            self._pooled() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            await connection.execute(session)
            yield connection

    async def _run(self, search: steps.Steps[Result], session: str = BY_INDEX) -> Result:
        async with self._reading(session) as connection:
            return await _taken(connection, search)

    async def page(
        self, program: LoyaltyProgram, wanted: CodeFilter, *, now: int, after: str | None, most: int
    ) -> CodePage:
        """Return a page of codes."""
        return await self._run(
            steps.page(POSTGRES, program, wanted, now=now, after=after, most=most)
        )

    async def walk(
        self, program: LoyaltyProgram, wanted: CodeFilter, *, now: int
    ) -> AsyncGenerator[Sequence[PromoCode]]:
        """Yield everything that matches, from one snapshot."""
        async with self._reading(WHOLE) as connection:
            query = await _taken(connection, steps.walk(POSTGRES, program, wanted, now))
            if query is not None:
                cursor = await connection.cursor(query.text, *query.values)
                while rows := await cursor.fetch(CHUNK):
                    yield [PromoCode._make(row) for row in rows]

    async def lines(
        self, program: LoyaltyProgram, wanted: CodeFilter, notation: Notation, *, now: int
    ) -> AsyncGenerator[bytes]:
        """Yield a line of text for everything that matches, by COPY from one snapshot.

        COPY is one statement of any length, so it has a connection of its own.
        """
        async with self._lines:
            try:
                connection = await self._connect()
            except BROKEN as error:
                raise translated(error, may_have_written=False) from error
            try:
                await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                await connection.execute(f"{WHOLE}; SET LOCAL statement_timeout = 0")
                query = await _taken(
                    connection, steps.lines(POSTGRES, program, wanted, notation, now)
                )
                if query is not None:
                    async with aclosing(_copied(connection, query, notation)) as pieces:
                        async for piece in pieces:
                            yield piece
            except BROKEN as error:
                raise translated(error, may_have_written=False) from error
            finally:
                connection.terminate()

    async def count(
        self, program: LoyaltyProgram, wanted: CodeFilter, *, now: int, most: int
    ) -> int:
        """Count what matches, up to `most`."""
        return await self._run(steps.count(POSTGRES, program, wanted, now, most), WHOLE)

    async def wallet(
        self, holder: Holder, *, programs: Collection[int] | None, after: str | None, most: int
    ) -> WalletPage:
        """Return a page of what a profile holds."""
        return await self._run(
            steps.wallet(POSTGRES, holder, programs=programs, after=after, most=most)
        )

    async def events(
        self, program: LoyaltyProgram, *, after: str | None, most: int
    ) -> tuple[list[Event], str | None]:
        """Return a page of what happened."""
        return await self._run(steps.events(POSTGRES, program, after=after, most=most))


async def _copied(
    connection: Connection, query: Query, notation: Notation
) -> AsyncGenerator[bytes]:
    """Yield the lines of a query's COPY; the server goes on while they are worked with."""
    ready: asyncio.Queue[bytes | Exception] = asyncio.Queue(LINES_AHEAD)
    waiting: list[bytes] = []
    size = 0

    # The server sends each row as a message of its own, so a piece has whole lines:
    # https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-COPY
    async def take(rows: bytes) -> None:
        nonlocal size
        waiting.append(rows)
        size += len(rows)
        if size >= LINES_BYTES:
            await ready.put(b"".join(waiting))
            waiting.clear()
            size = 0

    async def copy() -> None:
        try:
            await connection.copy_from_query(
                query.text,
                *query.values,
                output=take,
                format="csv",
                delimiter=notation.cell,
                quote=QUOTE,
            )
        except Exception as error:  # noqa: BLE001  # whoever takes the pieces gets it
            await ready.put(error)
        else:
            await ready.put(b"".join(waiting))
            await ready.put(b"")

    copying = asyncio.create_task(copy())
    try:
        while rows := await ready.get():
            if isinstance(rows, Exception):
                raise rows
            yield lines_sql.written_out(rows, notation) if notation.is_json else rows
    finally:
        copying.cancel()
        await asyncio.gather(copying, return_exceptions=True)


async def _taken(connection: Connection, search: steps.Steps[Result]) -> Result:
    """Run a search's steps to its result."""
    try:
        query = next(search)
        while True:
            query = search.send(await connection.fetch(query.text, *query.values))
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]  # what the generator returns
