"""While half of all requests want one code, everybody is served in turn."""

import asyncio
import random
from statistics import quantiles

from tests.conftest import Stores
from tests.promises.faults import slow
from tests.promises.faults.slow import BATCHES
from tests.promises.proof import Proof, control, promise
from tests.races.builds import build_with
from tests.races.gate import Gate
from tests.races.ledger import Ledger, demand
from tests.races.load import Load
from tests.races.requests import activate, attach
from tests.running import Running

RATE = 300
CLIENTS = 64
CODES = 200
SLOW = slow.__name__
PATIENT = {**BATCHES, "PROMINT_QUEUE_WAIT_S": "1000"}
PASSED_MAX = 2 * CLIENTS
PROCESSES = {"sqlite": 1, "postgres": 3}


@promise(44)
def test_half_of_all_requests_on_one_code_hold_up_nobody(
    stores: Stores, kind: str, proof: Proof
) -> None:
    seconds = proof.size(quick=1, night=300)
    for seed in proof.rounds(quick=1, night=1, release=3):
        with Running(stores.new(kind), PROCESSES[kind]) as service:
            load = half_on_one_code(service, RATE * seconds, seed)
            asyncio.run(send(load, seconds))
            check(load)
        proof.trials(len(load.accepted), f"activations, {RATE} a second")
        tails = quantiles(load.waits_s, n=1000)
        proof.figure("p99, ms", 1000 * tails[989])
        proof.figure("p99.9, ms", 1000 * tails[998])
        proof.figure("max, ms", 1000 * max(load.waits_s))


@promise(44)
def test_a_request_is_passed_by_no_more_than_are_in_the_queue(
    stores: Stores, kind: str, proof: Proof
) -> None:
    seconds = proof.size(quick=1, night=30)
    for seed in proof.rounds(quick=1, night=1, release=3):
        with build_with(f"{SLOW}:slow_store", stores.new(kind), 1, **PATIENT) as service:
            load = in_turn(service, seconds, seed)
        proof.trials(len(load.accepted), f"activations by {CLIENTS} clients")


@control(44, fault="newest_first", store="sqlite")
def test_a_build_that_serves_the_newest_first_is_found_out(stores: Stores, proof: Proof) -> None:
    def attempt(seed: int) -> None:
        build = build_with(f"{__name__}:newest_first", stores.new("sqlite"), 1, **PATIENT)
        with build as unfair:
            in_turn(unfair, 2, seed)

    proof.control(attempt)


def newest_first() -> None:
    """Let the newest request go first."""
    from promint.engine import Engine

    enqueue = Engine._enqueue

    def first(self: Engine, operation: object) -> None:
        enqueue(self, operation)  # type: ignore[arg-type]  # passed on
        self._queue.rotate(1)

    Engine._enqueue = first  # type: ignore[method-assign]  # the fault
    slow.slow_store()


def half_on_one_code(service: Running, count: int, seed: int) -> Load:
    """Make a program of universal codes, all held by one profile, and requests to use them."""
    names = [f"H{number}" for number in range(CODES)]
    program = service.program(names, multiple_usage=True)
    database = service.database()
    (profile,) = service.profiles(database, 1)
    with Gate(service, 32) as gate:
        gate.release([attach(program, database, profile, name) for name in names])
    rng = random.Random(seed)
    wanted = (names[0] if rng.random() < 0.5 else rng.choice(names) for _ in range(count))
    return Load(service, [activate(program, name) for name in wanted])


async def send(load: Load, seconds: float) -> None:
    await load.send(RATE, seconds)
    load.close()


def in_turn(service: Running, seconds: float, seed: int) -> Load:
    """Keep a slow store busy, and hold it to the order in which the requests came."""
    load = half_on_one_code(service, int(seconds * 4_000), seed)

    async def run() -> None:
        await load.keep_busy(seconds, CLIENTS)
        load.close()

    asyncio.run(run())
    check(load)
    demand(max(load.overtaken) <= PASSED_MAX, "one was passed by", max(load.overtaken))
    return load


def check(load: Load) -> None:
    refused = [answer for answer in load.answers if not answer.is_success]
    demand(not refused, len(refused), "were not served:", refused[:1])
    ledger = Ledger.read(load.service.url, load.answers[0].request.fields["loyalty_id"])
    ledger.check()
    ledger.check_answers(load.answers)
