"""One run of the bench: the store, the shape of the run, and what is known so far."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median

import apsw
import asyncpg

from promint.bench import preparing
from promint.bench.load import Order
from promint.bench.preparing import PROFILES, Prepared
from promint.bench.report import Report
from promint.bootstrap import is_sqlite

Note = Callable[[str], None]

LASTING_CODES_MAX = 200_000
LASTING_CODES_PER_S = 100_000
"""Codes that are not used up: as many as are met anew within a measurement, and a bound."""


class Run:
    """What every measurement of a run shares. `note` is told what is being done."""

    def __init__(
        self,
        url: str,
        *,
        connections: int,
        seconds: float,
        rounds: int,
        note: Note,
        is_throw_away: bool = False,
    ) -> None:
        """Take the store and the shape of the run; a store to throw away is not cleaned up."""
        self.url = url
        self.is_throw_away = is_throw_away
        self.is_sqlite = is_sqlite(url)
        self.connections = connections
        self.seconds = seconds
        self.rounds = rounds
        self.note = note
        store = "sqlite" if self.is_sqlite else "postgresql"
        self.report = Report(store, connections, seconds, rounds)

    @property
    def lasting_codes(self) -> int:
        """How many codes a program has whose codes are not used up."""
        return min(LASTING_CODES_MAX, int(self.seconds * LASTING_CODES_PER_S))

    @contextmanager
    def prepared(self) -> Iterator[Prepared]:
        """Make a database and a token in the store; all that is made there is gone afterwards."""
        self.note("preparing profiles")
        prepared = preparing.prepare(self.url)
        self.report.store_version = store_version(self.url)
        try:
            yield prepared
        finally:
            if not self.is_throw_away:
                self.note("cleaning up")
                preparing.remove(prepared)

    def order(
        self,
        port: int,
        text: str,
        seconds: float,
        *,
        rate: float = 0.0,
        first: int = 1,
        count: int = 0,
        drawn: int = 0,
    ) -> Order:
        """Return an order for the load."""
        return Order(
            port=port,
            text=text,
            seconds=seconds,
            connections=self.connections,
            profiles=PROFILES,
            rate=rate,
            first=first,
            count=count,
            drawn=drawn,
        )


def median_ratio(rates: Sequence[float], floors: Sequence[float]) -> float:
    """Return the median of the ratios of each round: the machine changes between rounds."""
    return median(rate / floor for rate, floor in zip(rates, floors, strict=True))


def store_version(url: str) -> str:
    """Return name and version of the database behind a store."""
    if is_sqlite(url):
        return f"SQLite {apsw.sqlite_lib_version()}"

    async def ask() -> str:
        connection = await asyncpg.connect(url)
        try:
            return str(await connection.fetchval("SHOW server_version"))
        finally:
            await connection.close()

    return f"PostgreSQL {asyncio.run(ask())}"
