"""A connection to PostgreSQL that breaks costs a 503 at most, never a wrong answer."""

import asyncio
from functools import partial

import asyncpg

from tests.conftest import Stores
from tests.promises.proof import Proof, control, promise
from tests.races.builds import build_with
from tests.races.customers import Crowd, Moment
from tests.races.proxy import Line
from tests.running import Running

KILLS = 40
CUTS = 80

KILL_ONE = """
SELECT pg_terminate_backend(pid) FROM (
    SELECT pid FROM pg_stat_activity
    WHERE datname = current_database() AND application_name LIKE 'promint%'
    ORDER BY state = $1 DESC, random() LIMIT 1) one"""


@promise(6, store="postgres")
def test_no_answer_is_wrong_while_backends_of_the_service_are_killed(
    stores: Stores, proof: Proof
) -> None:
    times = proof.size(quick=1, night=3)
    for seed in proof.rounds(quick=1, night=5, release=50):
        with Running(stores.new("postgres"), processes=3) as service:
            crowd = Crowd(service, seed)
            endure(crowd, partial(killed, crowd), times)
        proof.trials(times * KILLS, "killed backends")


@promise(6, store="postgres")
def test_no_answer_is_wrong_while_answers_of_the_database_are_lost(
    stores: Stores, proof: Proof
) -> None:
    times = proof.size(quick=1, night=3)
    for seed in proof.rounds(quick=1, night=5, release=50):
        with Line(stores.new("postgres")) as line, Running(line.url, processes=2) as service:
            crowd = Crowd(service, seed)
            endure(crowd, partial(cut, crowd, line), times)
        proof.trials(times * CUTS, "lost answers")


@promise(6, store="postgres")
def test_no_answer_is_wrong_while_answers_to_commits_are_lost(stores: Stores, proof: Proof) -> None:
    cuts = proof.size(quick=20, night=100)
    for seed in proof.rounds(quick=1, night=5, release=50):
        lose_commits(stores.new("postgres"), seed, cuts)
        proof.trials(cuts, "lost answers to commits")


@control(6, fault="call_what_was_lost_used", store="postgres")
def test_lost_commits_find_a_build_that_calls_what_was_lost_used(
    stores: Stores, proof: Proof
) -> None:
    fault = "tests.promises.faults.answers:call_what_was_lost_used"
    proof.control(lambda seed: lose_commits(stores.new("postgres"), seed, 10, fault))


@control(6, fault="retry_blindly", store="postgres")
def test_lost_answers_find_a_build_that_repeats_what_may_be_committed(
    stores: Stores, proof: Proof
) -> None:
    def attempt(seed: int) -> None:
        with (
            Line(stores.new("postgres")) as line,
            build_with("retry_blindly", line.url, processes=2) as blind,
        ):
            crowd = Crowd(blind, seed)
            endure(crowd, partial(cut, crowd, line), times=3)

    proof.control(attempt)


def lose_commits(url: str, seed: int, cuts: int, fault: str = "") -> None:
    """Lose answers to commits while everybody works, and ask what is true."""
    with Line(url) as line:
        build = build_with(fault, line.url, 2) if fault else Running(line.url, processes=2)
        with build as service:
            crowd = Crowd(service, seed)
            endure(crowd, partial(cut_commits, crowd, line, cuts))


def endure(crowd: Crowd, trouble: Moment, times: int = 1) -> None:
    """Let everybody work through the trouble, and ask what is true; and again."""
    for _ in range(times):
        crowd.storm(until=trouble)
        crowd.repeat()
        crowd.check()
        crowd.check_recovered()
    crowd.check_told()


async def killed(crowd: Crowd) -> None:
    """End backends of the service at random moments, busy ones or any."""
    connection = await asyncpg.connect(crowd.service.url)
    try:
        kills = 0
        while kills < KILLS:
            await asyncio.sleep(crowd.rng.random() * 0.03)
            state = crowd.rng.choice(["active", "idle"])
            kills += bool(await connection.fetchval(KILL_ONE, state))
    finally:
        await connection.close()


async def cut(crowd: Crowd, line: Line) -> None:
    """Lose answers of the database, every few answers of the service."""
    for _ in range(CUTS):
        await crowd.answers(crowd.rng.randrange(1, 16))
        line.cut()


async def cut_commits(crowd: Crowd, line: Line, cuts: int) -> None:
    """Lose so many answers to commits, every few answers of the service."""
    for _ in range(cuts):
        await crowd.answers(crowd.rng.randrange(1, 16))
        before = line.lost_commits
        line.cut_commit()
        while line.lost_commits == before:
            await crowd.answers(1)
