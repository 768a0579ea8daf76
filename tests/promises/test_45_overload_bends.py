"""Of three times what the service can do, as much is done as ever; the rest is told 503 early."""

import asyncio
from statistics import quantiles

from tests.conftest import Stores
from tests.promises.faults import slow
from tests.promises.faults.slow import BATCH_MAX, BATCH_S, BATCHES
from tests.promises.proof import Proof, control, promise
from tests.races.builds import build_with
from tests.races.gate import Gate
from tests.races.ledger import Ledger, demand
from tests.races.load import Load
from tests.races.requests import activate, attach
from tests.running import Running

SLOW = slow.__name__
CAPACITY = BATCH_MAX / BATCH_S
QUEUE_WAIT_S = 0.5
WAITING_MAX = int(CAPACITY * QUEUE_WAIT_S) + 6 * BATCH_MAX
"""How many others may be answered between a request and its answer: those that may wait before
it, the batch that is out, its own, and some that are answered but not yet counted here."""

TIMES = 3
CLIENTS_AT_PEAK = 32
SETTINGS = {**BATCHES, "PROMINT_QUEUE_WAIT_S": str(QUEUE_WAIT_S)}


@promise(45)
def test_overload_is_refused_early_and_what_is_accepted_is_done(
    stores: Stores, kind: str, proof: Proof
) -> None:
    for _ in proof.rounds(quick=1, night=3, release=10):
        seconds = proof.size(quick=2, night=60, release=600)
        with build_with(f"{SLOW}:slow_store", stores.new(kind), 1, **SETTINGS) as service:
            load = overload(service, seconds)
        proof.trials(len(load.accepted) + load.refused, "requests")
        proof.figure("requests/s at 3 times the load, % of the peak", 100 * load.rate / load.peak)
        proof.figure("refused, %", 100 * load.refused / (len(load.accepted) + load.refused))
        proof.figure("p99 of the accepted, ms", 1000 * p99(load.waits_s))
        proof.figure("p99 of a 503, ms", 1000 * p99(load.refused_s))
        proof.figure("until the first success afterwards, ms", 1000 * load.recovered_s)


@control(45, fault="unbounded_queue", store="sqlite")
def test_a_build_with_an_unbounded_queue_is_found_out(stores: Stores, proof: Proof) -> None:
    def attempt(_: int) -> None:
        build = build_with(f"{__name__}:unbounded_queue", stores.new("sqlite"), 1, **SETTINGS)
        with build as endless:
            overload(endless, 1)

    proof.control(attempt)


def unbounded_queue() -> None:
    """Let everything wait, however long it will take."""
    from promint.engine import Engine

    assert "_is_full" in vars(Engine)
    slow.slow_store()
    Engine._is_full = lambda *_: False  # type: ignore[method-assign]  # the fault


def overload(service: Running, seconds: float) -> Load:
    """Send three times what the service can do, and hold it to what it answered."""
    names = [f"O{number}" for number in range(int(CAPACITY * (TIMES + 2) * (seconds + 2)))]
    program = service.program(names)
    database = service.database()
    (profile,) = service.profiles(database, 1)
    with Gate(service, 1) as gate:
        gate.release([attach(program, database, profile, names[0])])
    requests = [attach(program, database, profile, name) for name in names[1:]]
    load = Load(service, [activate(program, names[0]), *requests])

    async def run() -> None:
        await load.keep_busy(0.5, CLIENTS_AT_PEAK)
        await load.send(TIMES * CAPACITY, seconds)
        await load.recover()
        load.close()

    asyncio.run(run())
    ledger = Ledger.read(service.url, program)
    ledger.check()
    ledger.check_answers(load.answers)
    told = {(answer.status, answer.reason) for answer in load.answers}
    demand(told <= {(200, ""), (503, "unavailable")}, "others were told", told)
    demand(load.refused > 0, "nobody was refused, everybody waited")
    demand(not load.without_retry_after, "a 503 without Retry-After")
    demand(max(load.overtaken) <= WAITING_MAX, "one waited for", max(load.overtaken), "others")
    return load


def p99(values: list[float]) -> float:
    return quantiles(values, n=100)[98]
