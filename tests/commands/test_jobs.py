"""`promint job`: long work looked at, cancelled and watched."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from promint.bootstrap import make_store
from promint.config import read_settings
from promint.domain.model import Job, JobState
from promint.store import Store
from promint.store.jobs import HowFar
from tests.commands.running_commands import Promint
from tests.world import NOON


def in_store(promint: Promint, work: Any) -> Any:
    """Run `work(store)` on the store, as the service would."""

    async def opened() -> Any:
        store: Store = make_store(read_settings({}, database_url=promint.url))
        await store.open()
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(opened())


def added(promint: Promint, loyalty_id: int = 1, **more: Any) -> int:
    def add(store: Store) -> Coroutine[Any, Any, Job]:
        job = Job(0, "import", loyalty_id, author="Ann", created_at=NOON, **more)
        return store.jobs.add(job)

    return int(in_store(promint, add).id)


def claimed(promint: Promint, how_far: HowFar) -> None:
    async def claim(store: Store) -> None:
        job = await store.jobs.claim("a", NOON)
        assert job is not None
        await store.jobs.heartbeat(job.id, "a", NOON, how_far)

    in_store(promint, claim)


def finished(promint: Promint, job_id: int, state: JobState, **more: Any) -> None:
    async def finish(store: Store) -> None:
        job = await store.jobs.claim("a", NOON)
        assert job is not None
        await store.jobs.finish(job_id, "a", NOON, state, **more)

    in_store(promint, finish)


def test_without_jobs_the_list_says_so(promint: Promint) -> None:
    assert promint("job", "list").out == "No jobs yet.\n"


def test_the_list_shows_what_waits_for_what(promint: Promint) -> None:
    first, second = added(promint), added(promint)
    claimed(promint, HowFar(1_000, 5_000, "importing"))

    lines = promint("job", "list").out.splitlines()

    assert lines[0].split() == [
        "job_id", "kind", "loyalty_id", "state", "done", "left", "waits_for", "author", "created",
    ]  # fmt: skip
    assert lines[1].split()[:5] == [str(second), "import", "1", "waiting", "0"]
    assert f" {first} " in lines[1][20:]
    assert "1,000 of 5,000" in lines[2]


def test_the_list_can_be_narrowed_and_paged(promint: Promint) -> None:
    one, two, three = added(promint, 1), added(promint, 2), added(promint, 1)

    def listed(*options: object) -> list[int]:
        return [job["job_id"] for job in promint.json("job", "list", *options)["jobs"]]

    assert listed("--program", 1) == [three, one]
    assert listed("--state", "done") == []
    assert listed("--limit", 1) == [three]
    assert listed("--before", three, "--limit", 1) == [two]


def test_a_job_is_shown_with_what_came_of_it(promint: Promint) -> None:
    job = added(promint)
    finished(promint, job, JobState.DONE, result={"new": 3})

    said = promint("job", "show", job).out
    shown = promint.json("job", "show", job)

    assert "result new" in said
    assert (shown["state"], shown["result"], shown["author"]) == ("done", {"new": 3}, "Ann")


def test_a_waiting_job_is_cancelled(promint: Promint) -> None:
    job = added(promint)

    assert promint("job", "cancel", job).out == f"Job {job} is cancelled.\n"
    assert promint.json("job", "show", job)["state"] == "cancelled"


def test_a_running_job_is_told_to_stop(promint: Promint) -> None:
    job = added(promint)
    claimed(promint, HowFar())

    assert promint("job", "cancel", job).out == f"Job {job} is told to stop.\n"
    assert promint.json("job", "show", job)["cancel_requested"] is True


@pytest.mark.parametrize("command", ["show", "cancel", "watch"])
def test_a_job_that_does_not_exist_is_not_found(promint: Promint, command: str) -> None:
    said = promint.run("job", command, 99)

    assert (said.code, said.err) == (1, "Job not found (99).\n")


def test_watching_a_job_ends_with_it(promint: Promint) -> None:
    job = added(promint)
    finished(promint, job, JobState.DONE, result={"new": 3})

    assert promint.json("job", "watch", job)["result"] == {"new": 3}


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.CANCELLED])
def test_watching_a_job_that_is_not_done_in_the_end_fails(
    promint: Promint, state: JobState
) -> None:
    job = added(promint)
    finished(promint, job, state, error="The file is empty")

    said = promint.run("job", "watch", job)

    assert said.code == 1
    assert "The file is empty" in said.out


def test_the_command_of_a_jobs_process_is_not_for_people(promint: Promint) -> None:
    assert "run" not in promint("job", "--help").out.split()


def test_settings_that_take_living_workers_for_dead_are_refused(promint: Promint) -> None:
    said = promint.run("job", "list", PROMINT_JOB_STALE_S="5", PROMINT_JOB_HEARTBEAT_S="2")

    assert said.code == 2
    assert said.err.startswith("PROMINT_JOB_STALE_S must be at least 3 times")
