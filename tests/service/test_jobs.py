"""How a job is shown, and how the one who does it hears that it shall stop."""

import asyncio
from typing import Any

import pytest

from promint.bootstrap import code_source
from promint.domain.errors import BadValue, StoreBusy
from promint.domain.model import Batch, BatchKind, BatchState, Job, JobState
from promint.service.job_kinds import KINDS
from promint.service.job_work import INTERNAL, JobContext, JobRunner, Work
from promint.service.jobs import ClaimLost, job_view
from promint.service.means import Cancelled, Means
from promint.store.jobs import HowFar
from tests.world import HOUR, NOON, SECOND, World


def running(**more: Any) -> Job:
    known: dict[str, Any] = {
        "state": JobState.RUNNING,
        "done": 3_000,
        "total": 10_000,
        "started_at": NOON - HOUR,
        "phase_at": NOON,
        "phase_from": 1_000,
    }
    return Job(7, "import", 1, **known | more)


def test_the_rate_of_a_job_is_that_of_its_phase_since_it_was_begun_again() -> None:
    view = job_view(running(), NOON + 4 * SECOND)

    assert (view["rate_per_s"], view["left_s"]) == (500, 14)


@pytest.mark.parametrize(
    "unknown",
    [
        {"phase_at": None},
        {"done": 1_000},
        {"phase_at": NOON + HOUR},
        {"state": JobState.WAITING},
    ],
)
def test_nobody_guesses_a_rate(unknown: dict[str, Any]) -> None:
    view = job_view(running(**unknown), NOON + 4 * SECOND)

    assert (view["rate_per_s"], view["left_s"]) == (None, None)


def test_without_a_total_there_is_a_rate_and_no_time_left() -> None:
    view = job_view(running(total=None), NOON + 4 * SECOND)

    assert (view["rate_per_s"], view["left_s"]) == (500, None)


def test_more_than_the_total_is_no_time_left() -> None:
    assert job_view(running(done=12_000), NOON + 4 * SECOND)["left_s"] == 0


def test_a_job_that_has_ended_keeps_its_rate_and_has_no_time_left() -> None:
    done = running(state=JobState.DONE, finished_at=NOON + 2 * SECOND)

    view = job_view(done, NOON + HOUR)

    assert (view["rate_per_s"], view["left_s"]) == (1_000, None)
    assert view["finished"] == "2024-04-01T19:33:22Z"


# -- doing one -----------------------------------------------------------------------------


class Worker:
    """One job that is claimed, and its runner in this process."""

    def __init__(self, world: World, work: Work, **job: Any) -> None:
        self.world = world
        self.seconds = 0.0
        self.lost = 0
        means = Means(world.store, world.ids, lambda: world.now, bytes)
        self.jobs = world.store.jobs
        self.job = world.run(self.jobs.add(Job(0, "work", 1, **job)))
        world.run(self.jobs.claim("a", world.now))
        self.runner = JobRunner(
            means,
            {"work": work},
            code_source(world.settings),
            monotonic=lambda: self.seconds,
            heartbeat_s=1_000,
            stale_s=10_000,
            on_lost=self.lose,
        )

    def lose(self) -> None:
        self.lost += 1

    async def lose_claim(self) -> None:
        """Let another take the job over, once the first heartbeat is through."""
        taken = None
        while taken is None:
            found = await self.jobs.get(self.job.id)
            assert found is not None
            taken = await self.jobs.take_over(found, "b", self.world.now)

    def run(self, worker: str = "a") -> JobState | None:
        return self.world.run(self.runner.run(self.job.id, worker))

    @property
    def found(self) -> Job:
        job = self.world.run(self.jobs.get(self.job.id))
        assert job is not None
        return job


async def fine(context: JobContext) -> dict[str, Any]:
    await context.progress(3, 4, "working")
    return {"sum": 3}


def test_a_job_that_is_done_has_its_result_and_says_how_far_it_came(world: World) -> None:
    worker = Worker(world, fine)

    assert worker.run() is JobState.DONE

    job = worker.found
    assert (job.result, job.done, job.total, job.phase) == ({"sum": 3}, 3, 4, "working")


def test_nobody_but_its_worker_does_a_job(world: World) -> None:
    worker = Worker(world, fine)

    assert worker.run("b") is None
    assert worker.found.state is JobState.RUNNING


def test_what_a_use_case_refuses_is_the_sentence_of_the_job(world: World) -> None:
    async def refuse(context: JobContext) -> dict[str, Any]:
        raise BadValue("no such column", "line 1")

    worker = Worker(world, refuse)

    assert worker.run() is JobState.FAILED
    assert worker.found.error == "Incorrect request: no such column, line 1"


def test_a_mistake_of_ours_tells_the_caller_nothing_of_the_inside(world: World) -> None:
    async def stumble(context: JobContext) -> dict[str, Any]:
        raise KeyError("secret")

    worker = Worker(world, stumble)

    assert worker.run() is JobState.FAILED
    assert worker.found.error == INTERNAL


def test_a_store_that_does_not_work_does_not_fail_the_job(world: World) -> None:
    async def wait(context: JobContext) -> dict[str, Any]:
        raise StoreBusy("full")

    worker = Worker(world, wait)

    with pytest.raises(StoreBusy):
        worker.run()
    assert worker.found.state is JobState.RUNNING


def test_a_runner_that_is_told_to_stop_gives_the_job_back(world: World) -> None:
    async def work(context: JobContext) -> dict[str, Any]:
        worker.runner.stop()
        await context.progress(1, 2, "working")
        raise AssertionError("went on")

    worker = Worker(world, work)

    assert worker.run() is JobState.WAITING
    assert (worker.found.attempts, worker.found.done) == (0, 0)


def test_a_runner_that_was_told_to_stop_begins_nothing(world: World) -> None:
    async def work(context: JobContext) -> dict[str, Any]:
        raise AssertionError("began")

    worker = Worker(world, work)
    worker.runner.stop()

    assert worker.run() is JobState.WAITING


def test_work_hears_of_its_cancellation_with_a_heartbeat(world: World) -> None:
    async def work(context: JobContext) -> dict[str, Any]:
        await worker.jobs.request_cancel(context.job.id, world.now)
        await context.progress(1, 2, "working")
        worker.seconds = 2_001
        with pytest.raises(Cancelled):
            await context.progress(2, 2, "working")
        raise Cancelled

    worker = Worker(world, work)

    assert worker.run() is JobState.CANCELLED
    assert worker.lost == 0


def test_work_that_was_held_for_long_asks_before_it_goes_on(world: World) -> None:
    async def work(context: JobContext) -> dict[str, Any]:
        await worker.lose_claim()
        worker.seconds = 2_001
        with pytest.raises(ClaimLost):
            await context.progress(1, 2, "working")
        assert worker.lost
        raise ClaimLost

    worker = Worker(world, work)

    assert worker.run() is None
    assert (worker.found.worker, worker.found.done) == ("b", 0)


@pytest.mark.parametrize("what", ["batch", "file", "result"])
def test_a_worker_that_lost_its_job_writes_nothing_to_it(world: World, what: str) -> None:
    async def content() -> Any:
        yield b"x"

    async def work(context: JobContext) -> dict[str, Any]:
        await worker.lose_claim()
        if what == "batch":
            await context.made_batch(5)
        elif what == "file":
            await context.keep_file("export", content())
        return {"by": "a"}

    worker = Worker(world, work)

    assert worker.run() is None
    assert (worker.found.worker, worker.found.batch_id) == ("b", None)
    assert (worker.found.result, worker.found.state) == (None, JobState.RUNNING)
    assert worker.lost
    assert world.run(worker.jobs.files(worker.job.id)) == []


def test_heartbeats_go_on_while_the_work_is_silent(world: World) -> None:
    async def work(context: JobContext) -> dict[str, Any]:
        first = await worker.jobs.get(context.job.id)
        assert first is not None
        while True:
            found = await worker.jobs.get(context.job.id)
            assert found is not None
            if found.heartbeat_at != first.heartbeat_at:
                return {}
            await asyncio.sleep(0)

    worker = Worker(world, work)

    assert worker.run() is JobState.DONE


def test_the_first_phase_counts_from_where_the_work_goes_on(world: World) -> None:
    async def work(context: JobContext) -> dict[str, Any]:
        world.now += SECOND
        await context.progress(500, 1_000, "importing")
        world.now += SECOND
        await context.progress(700, 1_000, "importing")
        return {}

    worker = Worker(world, work)
    worker.run()

    job = worker.found
    assert HowFar(job.done, job.total, job.phase, job.phase_at, job.phase_from) == HowFar(
        700, 1_000, "importing", NOON + SECOND, 500
    )


@pytest.mark.parametrize(
    ("kind", "state"),
    [
        ("import", BatchState.DONE),
        ("generate", BatchState.DONE),
        ("undo", BatchState.UNDONE),
    ],
)
def test_work_whose_process_died_after_its_last_commit_says_what_its_batch_says(
    world: World, kind: str, state: BatchState
) -> None:
    async def made() -> int:
        async with world.store.transaction() as transaction:
            batch = Batch(0, 1, BatchKind.IMPORT, state, inserted=5)
            return (await transaction.insert_batch(batch)).id

    batch_id = world.run(made())
    worker = Worker(world, KINDS[kind], batch_id=batch_id, parameters={"batch_id": batch_id})

    assert worker.run() is JobState.DONE
    assert worker.found.result is not None
    assert worker.found.result["counts"]["inserted"] == 5
