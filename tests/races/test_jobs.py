"""A job is done to its end exactly once, whatever happens to the processes that work on it."""

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from promint.bootstrap import make_store, new_ids, os_random, utc_now
from promint.config import read_settings
from promint.domain.model import BatchState, EventKind, Job, JobState
from promint.service.job_processes import DIED
from promint.service.jobs import ENDED, JobQueue
from promint.service.means import Means
from promint.store import Store
from tests.conftest import STORES, Stores
from tests.races.builds import ROOT
from tests.running import Running

WORKING = (sys.executable, "-m", "tests.races.working")
QUICK = {
    "PYTHONPATH": str(ROOT),
    "PROMINT_JOB_HEARTBEAT_S": "0.2",
    "PROMINT_JOB_STALE_S": "20",
    "PROMINT_DRAIN_TIMEOUT_S": "10",
}
PATIENCE_S = 120.0


class Office:
    """A running service with jobs to do, and a store beside it to look."""

    def __init__(self, url: str, log: Path, **environment: str) -> None:
        self.service = Running(
            url, command=(*WORKING, "serve"), environment=QUICK | environment, log=log
        )
        self.log = log
        self.runner = asyncio.Runner()
        self.store: Store = make_store(read_settings({}, database_url=url))
        self.service.start()
        self.run(self.store.open())
        self.queue = JobQueue(Means(self.store, new_ids(), utc_now, os_random, author="Ann"))

    def run(self, work: Any) -> Any:
        return self.runner.run(work)

    def close(self) -> None:
        self.service.stop()
        for pid in self.job_processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.run(self.store.close())
        self.runner.close()

    def submit(self, program: int, kind: str = "count", **parameters: Any) -> Job:
        async def content() -> AsyncIterator[bytes]:
            yield b"abc"

        job: Job = self.run(self.queue.submit(kind, program, parameters, content()))
        return job

    def get(self, job: Job) -> Job:
        found: Job = self.run(self.queue.get(job.id))
        return found

    def until(self, job: Job, is_so: Callable[[Job], bool]) -> Job:
        """Wait until something holds of a job."""
        give_up_at = time.monotonic() + PATIENCE_S
        while time.monotonic() < give_up_at:
            found = self.get(job)
            if is_so(found):
                return found
            time.sleep(0.02)
        raise AssertionError(f"{self.get(job)}\n{self.log.read_text()}")

    def ended(self, job: Job) -> Job:
        return self.until(job, lambda found: found.state in ENDED)

    def begun_again(self, job: Job, attempts: int) -> Job:
        return self.until(job, lambda found: found.attempts > attempts or found.state in ENDED)

    def job_processes(self) -> list[int]:
        """Return the processes that work on jobs of this store."""
        found = []
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                with contextlib.suppress(OSError):
                    command = (folder / "cmdline").read_bytes().split(b"\0")
                    environment = (folder / "environ").read_bytes().split(b"\0")
                    url = f"PROMINT_DATABASE_URL={self.service.url}".encode()
                    if b"job" in command and b"run" in command and url in environment:
                        found.append(int(folder.name))
        return found

    def kill_job_process(self) -> None:
        """Kill what works on a job, once there is something."""
        give_up_at = time.monotonic() + PATIENCE_S
        while not (found := self.job_processes()):
            assert time.monotonic() < give_up_at, self.log.read_text()
            time.sleep(0.02)
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def steps(self, program: int) -> int:
        """Return how many steps have left an event."""

        async def count() -> int:
            found, after = 0, None
            wanted = await self.store.program(program)
            assert wanted is not None
            while True:
                events, after = await self.store.searching.events(wanted, after=after, most=500)
                found += sum(event.kind == EventKind.UPDATED for event in events)
                if after is None:
                    return found

        return int(self.run(count()))

    def batch_state(self, job: Job) -> BatchState:
        assert job.batch_id is not None
        batch = self.run(self.store.batch(job.batch_id))
        return BatchState(batch.state)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def go(tmp_path: Path) -> Path:
    """What a job waits for."""
    return tmp_path / "go"


@pytest.fixture(params=STORES)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def office(stores: Stores, kind: str, log: Path) -> Iterator[Office]:
    made = Office(stores.new(kind), log)
    yield made
    made.close()


@pytest.fixture
def wide_office(stores: Stores, kind: str, log: Path) -> Iterator[Office]:
    made = Office(stores.new(kind), log, PROMINT_JOBS_AT_ONCE="3")
    yield made
    made.close()


@pytest.fixture
def hasty_office(stores: Stores, kind: str, log: Path) -> Iterator[Office]:
    """It gives a silent worker up soon."""
    made = Office(stores.new(kind), log, PROMINT_JOB_STALE_S="3")
    yield made
    made.close()


def test_a_job_is_done_in_a_process_of_its_own_at_a_low_priority(office: Office) -> None:
    program = office.service.program()

    job = office.ended(office.submit(program, steps=5))

    assert (job.state, job.error) == (JobState.DONE, None)
    assert job.result == {"steps": 5, "nice": 10}
    assert (job.done, job.total, job.phase, job.attempts) == (5, 5, "counting", 1)
    assert office.steps(program) == 5
    assert office.batch_state(job) is BatchState.DONE


def test_a_job_reads_its_file_and_leaves_one(office: Office) -> None:
    job = office.ended(office.submit(office.service.program(), steps=1))

    async def collect() -> bytes:
        return b"".join([part async for part in office.queue.file(job.id, "export")])

    assert office.run(collect()) == b"cba"
    shown = office.run(office.queue.show(job))
    assert shown["files"] == {"export": 3, "input": 3}


def test_a_mistake_of_ours_fails_the_job_and_is_in_the_log(office: Office) -> None:
    job = office.ended(office.submit(office.service.program(), kind="fail"))

    assert job.state is JobState.FAILED
    assert job.error is not None
    assert "by design" not in job.error
    assert "by design" in office.log.read_text()


def test_jobs_of_one_program_run_one_after_the_other(wide_office: Office, go: Path) -> None:
    office = wide_office
    program, other = office.service.program(), office.service.program()
    first = office.submit(program, steps=3, waits_at=1, waits_for=str(go))
    second = office.submit(program, steps=3)
    third = office.submit(other, steps=3)

    beside = office.ended(third)
    go.touch()
    first, second = office.ended(first), office.ended(second)

    assert first.finished_at is not None
    assert second.started_at is not None
    assert beside.finished_at is not None
    assert second.started_at >= first.finished_at > beside.finished_at


def test_a_cancelled_job_stops_and_its_batch_can_be_resumed(office: Office) -> None:
    program = office.service.program()
    job = office.submit(program, steps=1_000_000, pause_s=0.01)
    office.until(job, lambda found: found.done > 0)

    office.run(office.queue.cancel(job.id))
    job = office.ended(job)

    assert job.state is JobState.CANCELLED
    assert office.batch_state(job) is BatchState.STOPPED
    assert office.steps(program) == job.done


def test_a_service_that_is_stopped_lets_its_job_go_on_after_the_restart(
    office: Office, go: Path
) -> None:
    program = office.service.program()
    job = office.submit(program, steps=100, waits_at=50, waits_for=str(go))
    office.until(job, lambda found: found.done > 0)

    office.service.stop()
    waiting = office.get(job)
    assert office.job_processes() == []
    go.touch()
    office.service.start()
    job = office.ended(job)

    assert (waiting.state, waiting.attempts) == (JobState.WAITING, 0)
    assert (job.state, job.attempts) == (JobState.DONE, 1)
    assert office.steps(program) == 100


def test_a_job_whose_process_dies_is_begun_again_and_goes_on(office: Office) -> None:
    program = office.service.program()

    job = office.ended(office.submit(program, steps=20, dies_at=10))

    assert (job.state, job.attempts) == (JobState.DONE, 2)
    assert office.steps(program) == 20


def test_a_job_whose_process_dies_each_time_fails_with_a_sentence(office: Office) -> None:
    program = office.service.program()

    job = office.ended(office.submit(program, steps=20, dies_at=10, dies_each_time=True))

    assert (job.state, job.error) == (JobState.FAILED, DIED)
    assert office.steps(program) == 10
    assert office.batch_state(job) is BatchState.STOPPED


def test_a_job_is_done_once_through_kills_of_service_and_process(
    office: Office, go: Path, seed: int
) -> None:
    """The job's own process is killed three times, as often as it is begun again."""
    rng = random.Random(seed)
    program = office.service.program()
    job = office.submit(program, steps=300, pause_s=0.01, waits_at=299, waits_for=str(go))

    for victim in ["service", "job"] * 3:
        attempts = office.get(job).attempts
        office.until(job, lambda found: found.state is JobState.RUNNING)
        time.sleep(rng.random() * 0.8)
        if victim == "service":
            office.service.kill()
            office.service.restart()
        else:
            office.kill_job_process()
            office.begun_again(job, attempts)
    go.touch()
    job = office.ended(job)

    assert (job.state, job.error) == (JobState.DONE, None)
    assert office.steps(program) == 300
    assert job.result is not None


def test_a_process_that_hangs_is_killed_and_its_job_begun_again(hasty_office: Office) -> None:
    office = hasty_office
    program = office.service.program()

    job = office.ended(office.submit(program, steps=20, stops_at=10))

    assert job.state is JobState.DONE
    assert job.attempts >= 2
    assert office.steps(program) == 20
    assert "no sign of life" in office.log.read_text()


def test_a_worker_that_was_held_and_given_up_does_no_harm_when_it_goes_on(
    hasty_office: Office,
) -> None:
    """Nobody looks after it, as if its machine had been cut off from the others."""
    office = hasty_office
    program = office.service.program()
    office.service.stop()
    job = office.submit(program, steps=20, stops_at=10)
    office.run(office.store.jobs.claim("held", utc_now()))
    held = subprocess.Popen(
        [*WORKING, "job", "run", str(job.id), "--worker", "held"],
        env={**os.environ, **QUICK, "PROMINT_DATABASE_URL": office.service.url},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        os.waitid(os.P_PID, held.pid, os.WSTOPPED)

        office.service.start()
        job = office.ended(job)
        assert job.state is JobState.DONE
        assert job.attempts >= 2
        held.send_signal(signal.SIGCONT)
        held.communicate(timeout=PATIENCE_S)

        assert office.get(job) == job
        assert office.steps(program) == 20
        assert office.batch_state(job) is BatchState.DONE
    finally:
        held.kill()
        held.communicate()
