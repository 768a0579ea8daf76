"""Looking for codes, on SQLite."""

from collections.abc import AsyncGenerator, Collection, Sequence
from typing import Any, TypeVar

import apsw

from promint.domain.model import Event, Holder, LoyaltyProgram, PromoCode
from promint.store import search_steps as steps
from promint.store.search_sql import SQLITE, Query
from promint.store.searching import CodeFilter, CodePage, Notation, WalletPage
from promint.store.sqlite.reading import Readers, Snapshot

Result = TypeVar("Result")

CHUNK = 2_000
CHUNK_LINES = 5_000


class SqliteSearching:
    """Looking for codes, in threads beside the loop."""

    def __init__(self, readers: Readers) -> None:
        """Take the threads that read."""
        self._readers = readers

    async def _run(self, search: steps.Steps[Result]) -> Result:
        return await self._readers.run(lambda connection: _taken(connection, search))

    async def page(
        self, program: LoyaltyProgram, wanted: CodeFilter, *, now: int, after: str | None, most: int
    ) -> CodePage:
        """Return a page of codes."""
        return await self._run(steps.page(SQLITE, program, wanted, now=now, after=after, most=most))

    async def walk(
        self, program: LoyaltyProgram, wanted: CodeFilter, *, now: int
    ) -> AsyncGenerator[Sequence[PromoCode]]:
        """Yield everything that matches, from a read transaction of its own."""
        async with self._readers.snapshot() as snapshot:
            query = await _planned(snapshot, steps.walk(SQLITE, program, wanted, now))
            if query is not None:
                async for rows in snapshot.stream(query.text, _named(query), CHUNK):
                    yield [PromoCode._make(row) for row in rows]

    async def lines(
        self, program: LoyaltyProgram, wanted: CodeFilter, notation: Notation, *, now: int
    ) -> AsyncGenerator[bytes]:
        """Yield a line of text for everything that matches, from a read transaction of its own."""
        async with self._readers.snapshot() as snapshot:
            query = await _planned(snapshot, steps.lines(SQLITE, program, wanted, notation, now))
            if query is not None:
                async for lines in snapshot.lines(query.text, _named(query), CHUNK_LINES):
                    yield lines

    async def count(
        self, program: LoyaltyProgram, wanted: CodeFilter, *, now: int, most: int
    ) -> int:
        """Count what matches, up to `most`."""
        return await self._run(steps.count(SQLITE, program, wanted, now, most))

    async def wallet(
        self, holder: Holder, *, programs: Collection[int] | None, after: str | None, most: int
    ) -> WalletPage:
        """Return a page of what a profile holds."""
        return await self._run(
            steps.wallet(SQLITE, holder, programs=programs, after=after, most=most)
        )

    async def events(
        self, program: LoyaltyProgram, *, after: str | None, most: int
    ) -> tuple[list[Event], str | None]:
        """Return a page of what happened."""
        return await self._run(steps.events(SQLITE, program, after=after, most=most))


def _named(query: Query) -> dict[str, Any]:
    """Return the parameters by name: SQLite numbers `$2` by where it first stands."""
    return {str(number): value for number, value in enumerate(query.values, 1)}


def _taken(connection: apsw.Connection, search: steps.Steps[Result]) -> Result:
    """Run a search's steps to its result."""
    try:
        query = next(search)
        while True:
            query = search.send(connection.execute(query.text, _named(query)).fetchall())
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]  # what the generator returns


async def _planned(snapshot: Snapshot, search: steps.Steps[Query | None]) -> Query | None:
    return await snapshot.run(lambda connection: _taken(connection, search))
