"""Whatever was asked before, the service needs no more memory and no more descriptors for it."""

import time

from tests.conftest import Stores
from tests.promises.proof import Proof, control, promise
from tests.promises.watching import open_sockets, resident_mb
from tests.races.builds import build_with
from tests.races.gate import Gate
from tests.races.ledger import demand, rows
from tests.races.requests import activate, attach
from tests.running import Running

CLIENTS = 64
LEAK_KB = 1.0
WAVE = 1_000


@promise(46)
def test_memory_and_descriptors_stay_as_they_are(stores: Stores, kind: str, proof: Proof) -> None:
    count = proof.size(quick=8_000, night=400_000, release=4_000_000)
    for _ in proof.rounds(quick=1, night=1, release=1):
        with Running(stores.new(kind)) as service:
            grown_mb = soak(service, count)
        proof.trials(count, "activations")
        proof.figure("memory, MB more in the second half", grown_mb)


@control(46, fault="leak", store="sqlite")
def test_a_build_that_leaks_a_kilobyte_per_request_is_found_out(
    stores: Stores, proof: Proof
) -> None:
    def attempt(_: int) -> None:
        with build_with(f"{__name__}:leak", stores.new("sqlite")) as leaking:
            soak(leaking, 8_000)

    proof.control(attempt)


def leak() -> None:
    """Keep a kilobyte of every request."""
    from promint.engine import Engine

    kept: list[bytearray] = []
    submit = Engine.submit

    async def submit_and_keep(self: Engine, operation: object) -> object:
        kept.append(bytearray(b"x" * 1024))
        return await submit(self, operation)  # type: ignore[arg-type]  # passed on

    Engine.submit = submit_and_keep  # type: ignore[method-assign]  # the fault


CLOSED_S_MAX = 60.0


def soak(service: Running, count: int) -> float:
    """Use a code so many times; return how much more memory the second half took, in megabytes.

    Raises:
        Broken: it took as much as a leak would, or left connections behind.
    """
    program = service.program(["ONE"], multiple_usage=True)
    database = service.database()
    (profile,) = service.profiles(database, 1)
    sockets = open_sockets(service)
    at_half_mb = 0.0
    with Gate(service, CLIENTS) as gate:
        gate.release([attach(program, database, profile, "ONE")])
        for done in range(0, count, WAVE):
            if done == count // 2:
                at_half_mb = resident_mb(service)
            answers = gate.release([activate(program, "ONE") for _ in range(WAVE)])
            demand(all(answer.is_success for answer in answers), "a use was refused")
        grown_mb = resident_mb(service) - at_half_mb
    most_mb = LEAK_KB * 0.7 * (count / 2) / 1000
    demand(grown_mb < most_mb, "the second half took", grown_mb, "MB")
    used = rows(service.url, "SELECT activation_count FROM promo_code WHERE code_key = 'one'")
    demand(used == [(count,)], "used", count, "times, counted", used)
    until = time.monotonic() + CLOSED_S_MAX
    while (left := open_sockets(service) - sockets) > CLIENTS // 2 and time.monotonic() < until:
        # The service hears of a closed connection only when its turn comes.
        time.sleep(0.1)
    demand(left <= CLIENTS // 2, left, "connections were left open")
    return grown_mb
