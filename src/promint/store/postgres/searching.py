"""Looking for codes, on PostgreSQL."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeVar

from promint.domain.model import Event, Holder, LoyaltyProgram, PromoCode
from promint.store import search_steps as steps
from promint.store.postgres.sessions import Connection
from promint.store.search_sql import POSTGRES
from promint.store.searching import CodeFilter, CodePage, WalletPage

Result = TypeVar("Result")

CHUNK = 2_000

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

    def __init__(self, pooled: Callable[[], AbstractAsyncContextManager[Connection]]) -> None:
        """Take the lender of connections."""
        self._pooled = pooled

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


async def _taken(connection: Connection, search: steps.Steps[Result]) -> Result:
    """Run a search's steps to its result."""
    try:
        query = next(search)
        while True:
            query = search.send(await connection.fetch(query.text, *query.values))
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]  # what the generator returns
