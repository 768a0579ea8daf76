"""Everybody sees one order of events, also while processes, sessions and lines break."""

import asyncio
from functools import partial

import asyncpg

from tests.conftest import Stores
from tests.promises.proof import Proof, control, promise
from tests.races.builds import build_with
from tests.races.histories import CLIENTS, History
from tests.races.proxy import Line
from tests.running import Running

OPERATIONS = 2_000
UNIT = f"histories, {OPERATIONS:,} operations by {CLIENTS} clients each"

END_ONE = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND application_name LIKE 'promint%'
ORDER BY state = 'active' DESC, random() LIMIT 1"""


@promise(7)
def test_histories_have_one_order_while_processes_are_killed(
    stores: Stores, kind: str, proof: Proof
) -> None:
    with Running(stores.new(kind), {"sqlite": 1, "postgres": 2}[kind]) as service:
        for seed in proof.rounds(quick=1, night=8, release=70):
            history = History(service, seed, OPERATIONS, is_universal=bool(seed % 2))
            history.write(kill, kill)
            history.check()
            proof.trials(1, UNIT)


@promise(7, store="postgres")
def test_histories_have_one_order_while_the_database_breaks_off(
    stores: Stores, proof: Proof
) -> None:
    for seed in proof.rounds(quick=1, night=8, release=70):
        url = stores.new("postgres")
        with Line(url) as line, Running(line.url, processes=2) as service:
            history = History(service, seed, OPERATIONS, is_universal=bool(seed % 2))
            breaks = [partial(end_a_session, url), partial(lose_an_answer, line)]
            history.write(*breaks * 5, kill, *breaks * 5)
        history.check()
        proof.trials(1, UNIT)


@control(7, fault="cache_lookups_for_a_second")
def test_a_history_finds_a_build_that_answers_look_ups_from_a_cache(
    stores: Stores, kind: str, proof: Proof
) -> None:
    fault = "tests.promises.faults.stale:cache_lookups_for_a_second"
    with build_with(fault, stores.new(kind)) as forgetful:

        def attempt(seed: int) -> None:
            history = History(forgetful, seed, OPERATIONS, is_universal=bool(seed % 2))
            history.write()
            history.check()

        proof.control(attempt)


async def kill(history: History) -> None:
    """Kill a process of the service, and start it again."""
    await asyncio.to_thread(history.service.kill)
    await asyncio.to_thread(history.service.restart)


async def end_a_session(url: str, _: History) -> None:
    """End a session of the service in the database, a busy one if there is one."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(END_ONE)
    finally:
        await connection.close()


async def lose_an_answer(line: Line, _: History) -> None:
    """Lose the next answer of the database."""
    line.cut()
