"""What a caller was told stays true when the service or its database is killed in its work."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from promint.bootstrap import make_store
from promint.config import read_settings
from tests.conftest import Stores
from tests.postgres import PostgresServer, find_binaries
from tests.promises.proof import Proof, control, promise
from tests.races.builds import build_with
from tests.races.customers import Crowd
from tests.running import Running

PROCESSES = {"sqlite": 1, "postgres": 2}
KILLS = 20


@pytest.fixture(scope="module")
def mortal() -> Iterator[PostgresServer]:
    """A PostgreSQL of these tests alone, to be killed."""
    with PostgresServer.start(find_binaries()) as server:
        yield server


@promise(3)
def test_every_answer_stays_true_through_kills_of_the_service(
    stores: Stores, kind: str, proof: Proof
) -> None:
    for seed in proof.rounds(quick=1, night=10, release=500):
        with Running(stores.new(kind), PROCESSES[kind]) as service:
            crash(Crowd(service, seed), KILLS)
        proof.trials(KILLS, "kills")


@promise(3, store="postgres")
def test_every_answer_stays_true_through_kills_of_the_database(
    mortal: PostgresServer, proof: Proof
) -> None:
    kills = proof.size(quick=3, night=20)
    for seed in proof.rounds(quick=1, night=10, release=500):
        with Running(new_store(mortal), processes=2) as service:
            crash_database(Crowd(service, seed), mortal, kills)
        proof.trials(kills, "kills of the whole server")


@promise(3)
def test_the_service_is_back_within_seconds(
    stores: Stores, kind: str, mortal: PostgresServer, proof: Proof
) -> None:
    size = proof.size(quick=5_000, night=1_000_000)
    url = stores.new(kind) if kind == "sqlite" else new_store(mortal)
    with Running(url) as service:
        program = service.program(template="{12}")
        codes = "codes", "generate", str(size), "--program", str(program)
        command = [sys.executable, "-m", "promint", "--database", url, *codes]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        crowd = Crowd(service, proof.seed)
        crowd.storm(until=crowd.kill_service)

        begun = time.monotonic()
        if kind == "postgres":
            mortal.restart("kill")
            proof.figure("database back after, s", time.monotonic() - begun)
        service.restart()
        crowd.check_recovered()

        proof.figure(f"back with {size:,} codes after, s", time.monotonic() - begun)
        crowd.check()
    proof.trials(1, "kills")


@control(3, fault="answer_before_commit")
def test_the_kills_find_a_build_that_answers_before_it_commits(
    stores: Stores, kind: str, proof: Proof
) -> None:
    def attempt(seed: int) -> None:
        with build_with("answer_before_commit", stores.new(kind), PROCESSES[kind]) as hasty:
            crash(Crowd(hasty, seed), KILLS)

    proof.control(attempt)


@control(3, fault="answer_before_commit", store="postgres")
def test_kills_of_the_database_find_a_build_that_answers_before_it_commits(
    mortal: PostgresServer, proof: Proof
) -> None:
    def attempt(seed: int) -> None:
        with build_with("answer_before_commit", new_store(mortal), processes=2) as hasty:
            crash_database(Crowd(hasty, seed), mortal, kills=20)

    proof.control(attempt)


def new_store(server: PostgresServer) -> str:
    """Return the URL of a new store on a server."""
    url = server.create_database()
    asyncio.run(make_store(read_settings({}, database_url=url)).migrate())
    return url


def crash(crowd: Crowd, kills: int) -> None:
    """Kill the service while everybody works, start it again and ask what is true; and again."""
    for _ in range(kills):
        crowd.storm(until=crowd.kill_service)
        crowd.service.restart()
        crowd.check_keys(crowd.check())
        crowd.repeat()
        crowd.repeat_answered(newest=32)
    crowd.check()
    others = {(t.answer.status, t.answer.reason) for t in crowd.told if t.answer is not None}
    assert others <= {(200, ""), (200, "already_activated")}, others


def crash_database(crowd: Crowd, server: PostgresServer, kills: int) -> None:
    """Kill the database while everybody works, start it alone, ask what is true; and again."""

    async def kill_database() -> None:
        await crowd.moment()
        await asyncio.to_thread(server.restart, "kill")
        await crowd.answers(50)

    for _ in range(kills):
        crowd.storm(until=kill_database)
        crowd.check_recovered()
        crowd.check_keys(crowd.check())
        crowd.repeat()
        crowd.repeat_answered(newest=32)
    crowd.check()
    crowd.check_told()
