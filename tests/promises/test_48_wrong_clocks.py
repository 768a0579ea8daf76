"""Wrong clocks do no harm: what has expired stays so, nothing is stuck, nothing fails."""

import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from promint.bootstrap import never_back
from promint.domain.model import Job, JobState
from promint.wire.moments import write_moment
from tests.conftest import Stores
from tests.promises.proof import Proof, control, promise
from tests.races.builds import build_with
from tests.races.ledger import demand
from tests.running import Running
from tests.web.manage.callers import Manager
from tests.world import SECOND

CLOCKS = "tests.promises.faults.clocks:"
HOUR_S, DAY_S = 3600, 86_400
EPOCH_S = -int(datetime.now(UTC).timestamp())
JUMPS_S = (1, -1, HOUR_S, -HOUR_S, DAY_S, -DAY_S, 7 * DAY_S, EPOCH_S)
TAKEN_OVER_S = 90.0


@dataclass
class Clocked:
    """A service and the clock that it sees."""

    service: Running
    file: Path

    def jump(self, seconds: int) -> None:
        """Set the clock off by so many seconds of what it really is."""
        part = self.file.with_suffix(".part")
        part.write_text(str(seconds))
        part.replace(self.file)


def clocked(fault: str, url: str, folder: Path) -> Clocked:
    """Return a service, not yet started, whose clock can be set."""
    file = folder / f"clock-{time.monotonic_ns()}"
    settings = {
        "PROMINT_CLOCK_FILE": str(file),
        "PROMINT_JOB_HEARTBEAT_S": "0.3",
        "PROMINT_JOB_STALE_S": "1.5",
    }
    one = Clocked(build_with(f"{CLOCKS}{fault}", url, 1, **settings), file)
    one.jump(0)
    return one


def expire_and_jump(clock: Clocked) -> int:
    """Demand that codes which have expired stay expired, wherever the clock goes; count jumps."""
    service = clock.service
    clock.jump(0)
    program, database = service.program(multiple_usage=True), service.database()
    (profile,) = service.profiles(database, 1)
    wanted: dict[str, Any] = {"loyalty_id": program, "db_id": database, "profile_id": profile}
    code = {"loyalty_id": program, "code": "A"}
    soon = write_moment(int(time.time() + 12 * DAY_S) * SECOND)
    demand(service.call("promocodes/attach", {**wanted, "code": "A"}).error == 0, "attached")
    demand(service.call("promocodes/update", {**code, "expire_date": soon}).error == 0, "dated")
    first = service.call("promocodes/activate", code, headers={"idempotency-key": "first"})
    demand(first.error == 0, first)

    clock.jump(13 * DAY_S)
    refused = service.call("promocodes/activate", code)
    demand(refused.reason == "expired", refused)
    for seconds in JUMPS_S:
        clock.jump(seconds)
        again = service.call("promocodes/activate", code)
        demand(again.reason == "expired", "after a jump by", seconds, "s it was", again)
        shown = service.call("promocodes/get", code)
        demand(shown.json["data"]["is_expired"], "after a jump by", seconds, "s:", shown)
        other = service.call(
            "promocodes/attach",
            {**wanted, "code": f"B{seconds}"},
            headers={"idempotency-key": f"b{seconds}"},
        )
        demand(other.status == 200 and other.error == 0, seconds, other)
        replay = service.call(
            "promocodes/attach",
            {**wanted, "code": f"B{seconds}"},
            headers={"idempotency-key": f"b{seconds}"},
        )
        demand(replay.body == other.body, seconds, replay)
    return len(JUMPS_S)


def abandon_and_jump(clock: Clocked, seconds: int, patience_s: float) -> None:
    """Demand that the job of a dead worker is taken over although the clock jumps meanwhile."""
    service, manager = clock.service, Manager(clock.service)
    clock.jump(0)
    program = service.program()
    submitted = manager.ask("POST", f"/programs/{program}/imports", b"code\nA\nB\n")
    done = manager.ended(submitted["job_id"])
    demand(done["state"] == "done", done)

    async def leave(store: Any) -> int:
        job: Job = await store.jobs.get(done["job_id"])
        ghost = replace(
            job, state=JobState.RUNNING, worker="ghost", attempts=1, finished_at=None,
            heartbeat_at=time.time_ns() // 1000, batch_id=None, result=None, done=0,
        )  # fmt: skip
        return int((await store.jobs.add(ghost)).id)

    left = service.in_store(leave)
    # By now and then the service looks; the jump comes while it waits for a sign of life.
    time.sleep(1.0)
    clock.jump(seconds)
    give_up_at = time.monotonic() + patience_s
    while (state := manager.ask("GET", f"/jobs/{left}")["state"]) == "running":
        demand(time.monotonic() < give_up_at, "after a jump by", seconds, "s the job is stuck")
        time.sleep(0.1)
    demand(state in ("waiting", "done", "failed"), state)


@promise(48)
def test_expired_codes_stay_expired_and_nothing_fails(
    stores: Stores, kind: str, proof: Proof, tmp_path: Path
) -> None:
    for _ in proof.rounds(quick=1, night=10):
        # A service does not start where its store has events of days that are still to come.
        clock = clocked("settable", stores.new(kind), tmp_path)
        with clock.service:
            proof.trials(expire_and_jump(clock), "jumps")


@promise(48)
def test_a_dead_workers_job_is_taken_over_although_the_clock_jumps(
    stores: Stores, kind: str, proof: Proof, tmp_path: Path
) -> None:
    clock = clocked("settable", stores.new(kind), tmp_path)
    jumps = JUMPS_S if proof.size(quick=0, night=1) else (-DAY_S,)
    with clock.service:
        for _ in proof.rounds(quick=1, night=2):
            for seconds in jumps:
                abandon_and_jump(clock, seconds, TAKEN_OVER_S)
            proof.trials(len(jumps), "jumps")


@promise(48)
def test_the_time_of_a_process_never_goes_back_and_never_stops(proof: Proof) -> None:
    wall, elapsed = 5_000 * 10**9, 0
    now = never_back(lambda: wall, lambda: elapsed)
    told = now()
    for seconds in JUMPS_S * 2:
        wall += seconds * 10**9
        elapsed += 10**9
        demand(now() >= told + SECOND, "a second later it is", now(), "and was", told)
        told = now()
    wall = (told + SECOND) * 1000
    demand(now() == told + SECOND, "it does not follow a clock that is put forward")
    proof.trials(2 * len(JUMPS_S), "jumps")


@control(48, fault=f"{CLOCKS}goes_back", store="sqlite")
def test_a_build_whose_time_goes_back_is_found_out(
    stores: Stores, proof: Proof, tmp_path: Path
) -> None:
    clock = clocked("goes_back", stores.new("sqlite"), tmp_path)
    with clock.service:
        proof.control(lambda _: expire_and_jump(clock))


@control(48, fault=f"{CLOCKS}leases_by_the_wall_clock", store="sqlite")
def test_leases_by_the_wall_clock_are_found_out(
    stores: Stores, proof: Proof, tmp_path: Path
) -> None:
    clock = clocked("leases_by_the_wall_clock", stores.new("sqlite"), tmp_path)
    with clock.service:
        proof.control(lambda _: abandon_and_jump(clock, -DAY_S, patience_s=8))
