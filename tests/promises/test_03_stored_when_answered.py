"""What a caller was told stays true when the service is killed in the middle of its work."""

import asyncio

from tests.conftest import Stores
from tests.promises.proof import Proof, control, promise
from tests.races.builds import build_with
from tests.races.customers import Crowd
from tests.races.ledger import Ledger, demand, used_keys
from tests.running import Running

PROCESSES = {"sqlite": 1, "postgres": 2}
KILLS = 20


@promise(3)
def test_every_answer_stays_true_through_kills_of_the_service(
    stores: Stores, kind: str, proof: Proof
) -> None:
    for seed in proof.rounds(quick=1, night=10, release=500):
        with Running(stores.new(kind), PROCESSES[kind]) as service:
            crash(Crowd(service, seed), KILLS)
        proof.trials(KILLS, "kills")


@control(3, fault="answer_before_commit")
def test_the_kills_find_a_build_that_answers_before_it_commits(
    stores: Stores, kind: str, proof: Proof
) -> None:
    def attempt(seed: int) -> None:
        with build_with("answer_before_commit", stores.new(kind), PROCESSES[kind]) as hasty:
            crash(Crowd(hasty, seed), KILLS)

    proof.control(attempt)


def crash(crowd: Crowd, kills: int) -> None:
    """Kill the service while everybody works, start it again and ask what is true; and again."""
    for _ in range(kills):
        crowd.storm(until=lambda: killed(crowd))
        crowd.service.restart()
        check_keys(crowd, crowd.check())
        crowd.repeat()
        crowd.repeat_answered(newest=32)
    crowd.check()
    others = {(t.answer.status, t.answer.reason) for t in crowd.told if t.answer is not None}
    assert others <= {(200, ""), (200, "already_activated")}, others


async def killed(crowd: Crowd) -> None:
    """Wait for a random number of answers and a random moment more, then kill one process."""
    await crowd.answers(crowd.rng.randrange(20, 300))
    await asyncio.sleep(crowd.rng.random() * 0.01)
    crowd.service.kill()
    await asyncio.sleep(0.02)


def check_keys(crowd: Crowd, ledger: Ledger) -> None:
    """Hold the record of a key to the effect of its request: one transaction, so both or none."""
    used = used_keys(crowd.service.url)
    for told in crowd.told:
        if told.request.key:
            happened = ledger.has_happened(told.request, told.ids)
            is_used = told.request.key in used
            demand(happened == is_used, told, "happened:", happened, "; key used:", is_used)
