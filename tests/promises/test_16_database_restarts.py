"""A restart of the database is a hiccup: 503 for a moment, and nobody restarts the service."""

import asyncio
import time
from collections.abc import Iterator

import pytest

from promint.bootstrap import make_store
from promint.config import read_settings
from tests.postgres import PostgresServer, find_binaries
from tests.promises.proof import Proof, control, promise
from tests.races.builds import build_with
from tests.races.customers import Crowd
from tests.races.gate import Gate
from tests.races.ledger import Broken
from tests.races.requests import attach
from tests.running import Running

STOPS = 3
PROCESSES = 2
TRIES = 600


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server of its own, for it is stopped."""
    with PostgresServer.start(find_binaries()) as started:
        yield started


def migrated(server: PostgresServer) -> str:
    url = server.create_database()
    asyncio.run(make_store(read_settings({}, database_url=url)).migrate())
    return url


@promise(16, store="postgres")
def test_stops_of_the_database_lose_nothing_and_double_nothing(
    server: PostgresServer, proof: Proof
) -> None:
    for seed in proof.rounds(quick=1, night=7, release=35):
        with Running(migrated(server), PROCESSES) as service:
            endure(Crowd(service, seed), server, STOPS)
        proof.trials(STOPS, "stops of the database")


@control(16, fault="keep_broken_connections", store="postgres")
def test_a_build_that_keeps_its_broken_connections_is_found_out(
    server: PostgresServer, proof: Proof
) -> None:
    fault = f"{__name__}:{keep_broken_connections.__name__}"

    def attempt(seed: int) -> None:
        # Without a storm: its customers would be told to try again for ever.
        url = migrated(server)
        with build_with(fault, url, PROCESSES, PROMINT_DOUBT_TIMEOUT_S="0.1") as service:
            crowd = Crowd(service, seed)
            server.restart("immediate")
            recovered(crowd, tries=5)

    proof.control(attempt)


def keep_broken_connections() -> None:
    """Go on with a connection that was made once, whatever has become of it."""
    from promint.store.postgres.sessions import Connection, HeldConnection

    get = HeldConnection.get

    async def get_once(self: HeldConnection) -> Connection:
        return self._connection or await get(self)

    HeldConnection.get = get_once  # type: ignore[method-assign]  # the fault
    HeldConnection.terminate = lambda self: None  # type: ignore[method-assign]  # the fault


def endure(crowd: Crowd, server: PostgresServer, stops: int) -> None:
    """Stop the database as a crash would while everybody works, and ask what is true."""
    processes = list(crowd.service.running)
    for _ in range(stops):
        crowd.storm(until=lambda: stopped(crowd, server))
        recovered(crowd)
        crowd.repeat()
        crowd.check()
    assert crowd.service.running == processes
    assert all(process.poll() is None for process in processes)
    told = {(t.answer.status, t.answer.reason) for t in crowd.told if t.answer is not None}
    expected = {(200, ""), (200, "already_activated"), (503, "unavailable")}
    assert told <= expected | {(503, "outcome_unknown")}, told
    assert all(t.answer is not None for t in crowd.told)


async def stopped(crowd: Crowd, server: PostgresServer) -> None:
    await crowd.answers(crowd.rng.randrange(100, 300))
    await asyncio.to_thread(server.restart, "immediate")


def recovered(crowd: Crowd, tries: int = TRIES) -> None:
    """Ask until every process answers as if nothing had been."""
    request = attach(crowd.program, crowd.database, crowd.profiles[0])
    ports = crowd.service.ports
    with Gate(crowd.service, len(ports)) as gate:
        for _ in range(tries):
            if all(answer.is_success for answer in gate.release([request.again() for _ in ports])):
                return
            time.sleep(0.01)
    raise Broken("the service did not come back")
