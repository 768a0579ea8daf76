"""Jobs in the store: who may work on which, who has lost its claim, and their files."""

import asyncio
import multiprocessing
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from promint.bootstrap import make_store, utc_now
from promint.config import read_settings
from promint.domain.errors import JobNotFound
from promint.domain.model import Batch, BatchKind, BatchState, Job, JobState
from promint.service.jobs import ClaimLost, JobQueue
from promint.service.means import Means
from promint.store import jobs_sql
from promint.store.jobs import INPUT, PART_BYTES, Claim, HowFar, JobFile
from tests.conftest import Stores
from tests.world import DAY, NOON, SECOND, World

NOTHING = HowFar()


class Office:
    """The jobs of a world, told in words."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.jobs = world.store.jobs
        self.means = Means(
            world.store, world.ids, lambda: world.now, bytes, author="Ann", token_id=7
        )
        self.queue = JobQueue(self.means)

    def add(self, loyalty_id: int = 1, **more: Any) -> Job:
        wanted = Job(0, "import", loyalty_id, created_at=self.world.now, **more)
        return self.world.run(self.jobs.add(wanted))

    def claim(self, worker: str = "a") -> Job | None:
        return self.world.run(self.jobs.claim(worker, self.world.now))

    def claimed(self, worker: str = "a") -> Job:
        job = self.claim(worker)
        assert job is not None
        return job

    def get(self, job: Job) -> Job:
        found = self.world.run(self.jobs.get(job.id))
        assert found is not None
        return found

    def beat(self, job: Job, worker: str = "a", how_far: HowFar = NOTHING) -> Claim:
        return self.world.run(self.jobs.heartbeat(job.id, worker, self.world.now, how_far))

    def finish(self, job: Job, worker: str = "a", state: JobState = JobState.DONE) -> bool:
        return self.world.run(self.jobs.finish(job.id, worker, self.world.now, state))

    def give_back(self, job: Job, worker: str = "a", *, counted: bool = False) -> Job | None:
        back = self.jobs.give_back(job.id, worker, self.world.now, counted=counted)
        return self.world.run(back)

    def put(self, job: Job, kind: str, *parts: bytes, worker: str = "a") -> list[bool]:
        return [
            self.world.run(self.jobs.put_part(job.id, worker, self.world.now, kind, n, part))
            for n, part in enumerate(parts)
        ]

    def file(self, job: Job, kind: str) -> list[bytes]:
        async def collect() -> list[bytes]:
            return [part async for part in self.jobs.parts(job.id, kind)]

        return self.world.run(collect())


@pytest.fixture
def office(world: World) -> Office:
    return Office(world)


def ids(jobs: list[Job]) -> list[int]:
    return [job.id for job in jobs]


def test_a_job_is_kept_as_it_was_handed_in(office: Office) -> None:
    job = office.add(parameters={"name": "коды.csv", "deep": [1, None]}, author="Ann", token_id=7)

    assert office.get(job) == job
    assert office.world.run(office.jobs.get(job.id + 1)) is None


def test_a_job_can_be_added_in_a_transaction(office: Office) -> None:
    async def work() -> Job:
        async with office.world.store.transaction() as transaction:
            return await transaction.insert_job(office.queue.new("export", 3, {"format": "csv"}))

    job = office.world.run(work())

    assert job.id
    assert office.get(job) == job
    assert (job.author, job.token_id, job.created_at) == ("Ann", 7, NOON)


def test_the_oldest_job_is_claimed_first_and_only_once(office: Office) -> None:
    first, second = office.add(1), office.add(2)

    assert office.claimed("a").id == first.id
    assert office.claimed("b").id == second.id
    assert office.claim("c") is None


def test_a_claimed_job_has_its_worker_and_the_moments_of_its_beginning(office: Office) -> None:
    office.add()

    job = office.claimed()

    assert (job.state, job.worker, job.attempts) == (JobState.RUNNING, "a", 1)
    assert job.started_at == job.heartbeat_at == NOON


def test_a_program_has_one_job_at_a_time_and_the_others_wait_for_it(office: Office) -> None:
    first, second, third = office.add(1), office.add(1), office.add(1)
    other = office.add(2)
    ahead = office.jobs.ahead

    assert office.claimed("a").id == first.id
    assert office.claimed("b").id == other.id
    assert office.claim("c") is None
    assert office.world.run(ahead(second)) == first.id
    assert office.world.run(ahead(third)) == second.id

    office.finish(first)
    assert office.claimed("c").id == second.id
    assert office.world.run(ahead(third)) == second.id


def test_only_the_worker_of_a_job_can_change_it(office: Office) -> None:
    job = office.add()
    office.claim("a")
    run = office.world.run

    assert office.beat(job, "b", HowFar(5)) is Claim.LOST
    assert not office.finish(job, "b")
    assert office.give_back(job, "b") is None
    assert not run(office.jobs.set_batch(job.id, "b", 9))
    assert office.put(job, "rejects", b"x", worker="b") == [False]
    assert office.get(job).done == 0
    assert office.file(job, "rejects") == []


def test_a_heartbeat_says_how_far_the_job_is(office: Office) -> None:
    job = office.add()
    office.claim()
    office.world.now += SECOND

    assert office.beat(job, how_far=HowFar(10, 40, "reading", NOON, 2)) is Claim.HELD

    found = office.get(job)
    assert (found.done, found.total, found.phase) == (10, 40, "reading")
    assert (found.phase_at, found.phase_from) == (NOON, 2)
    assert found.heartbeat_at == NOON + SECOND


def test_heartbeats_rise_even_if_the_clock_is_put_back(office: Office) -> None:
    job = office.add()
    office.claim()
    before = office.get(job).heartbeat_at
    office.world.now -= DAY

    office.beat(job)

    assert before is not None
    assert office.get(job).heartbeat_at == before + 1


def test_a_silent_job_is_taken_over_and_its_worker_is_told(office: Office) -> None:
    job = office.add()
    seen = office.claimed("a")

    taken = office.world.run(office.jobs.take_over(seen, "b", office.world.now))

    assert taken is not None
    assert (taken.id, taken.worker, taken.attempts) == (job.id, "b", 2)
    assert office.beat(job, "a") is Claim.LOST
    assert office.beat(job, "b") is Claim.HELD


def test_a_job_whose_worker_has_spoken_since_is_not_taken_over(office: Office) -> None:
    job = office.add()
    seen = office.claimed("a")
    office.beat(job, "a")

    assert office.world.run(office.jobs.take_over(seen, "b", office.world.now)) is None
    assert office.beat(job, "a") is Claim.HELD


def test_of_two_who_take_a_silent_job_over_one_gets_it(office: Office) -> None:
    office.add()
    seen = office.claimed("a")
    take_over = office.jobs.take_over

    taken = [office.world.run(take_over(seen, worker, office.world.now)) for worker in "bc"]

    assert [job.worker if job else None for job in taken] == ["b", None]


def test_a_job_that_is_given_back_waits_and_goes_on(office: Office) -> None:
    job = office.add()
    office.claim("a")
    office.world.run(office.jobs.set_batch(job.id, "a", 9))

    assert office.give_back(job) is not None

    assert office.get(job).state is JobState.WAITING
    again = office.claimed("b")
    assert (again.id, again.batch_id, again.started_at) == (job.id, 9, NOON)


def test_only_an_attempt_that_ended_in_disorder_counts(office: Office) -> None:
    job = office.add()
    office.claim()
    office.give_back(job, counted=False)
    assert office.claimed().attempts == 1

    office.give_back(job, counted=True)
    assert office.claimed().attempts == 2


def test_a_finished_job_says_what_came_of_it(office: Office) -> None:
    job = office.add()
    office.claim()
    came_to = {"inserted": 3, "sample": ["Ж"]}
    finish = office.jobs.finish

    assert office.world.run(finish(job.id, "a", NOON, JobState.DONE, result=came_to))
    assert not office.world.run(finish(job.id, "a", NOON, JobState.FAILED, error="no"))

    found = office.get(job)
    assert (found.state, found.result, found.error) == (JobState.DONE, came_to, None)
    assert (found.finished_at, found.worker) == (NOON, None)


def test_a_waiting_job_is_cancelled_at_once(office: Office) -> None:
    job = office.add()

    assert office.world.run(office.queue.cancel(job.id)).state is JobState.CANCELLED
    assert office.claim() is None


def test_the_worker_of_a_running_job_hears_that_it_is_cancelled(office: Office) -> None:
    job = office.add()
    office.claim()

    assert office.world.run(office.queue.cancel(job.id)).state is JobState.RUNNING
    assert office.beat(job) is Claim.CANCEL


def test_a_cancelled_job_that_is_given_back_has_ended(office: Office) -> None:
    job = office.add()
    office.claim()
    office.world.run(office.queue.cancel(job.id))

    given = office.give_back(job, counted=True)

    assert given is not None
    assert given.state is JobState.CANCELLED
    assert given.finished_at == NOON


def test_what_has_ended_cannot_be_cancelled(office: Office) -> None:
    job = office.add()
    office.claim()
    office.finish(job)

    assert office.world.run(office.queue.cancel(job.id)).state is JobState.DONE
    with pytest.raises(JobNotFound):
        office.world.run(office.queue.cancel(99))


def test_cancelling_a_job_that_was_interrupted_stops_its_batch(office: Office) -> None:
    async def batch() -> int:
        async with office.world.store.transaction() as transaction:
            return (await transaction.insert_batch(Batch(0, 1, BatchKind.IMPORT))).id

    number = office.world.run(batch())
    job = office.add(batch_id=number)

    office.world.run(office.queue.cancel(job.id))

    stopped = office.world.run(office.world.store.batch(number))
    assert stopped is not None
    assert stopped.state is BatchState.STOPPED


def test_jobs_are_listed_by_program_and_state_page_by_page(office: Office) -> None:
    one, two, three = office.add(1), office.add(2), office.add(1)
    office.claim()
    newest, run = office.jobs.newest, office.world.run

    assert ids(run(newest())) == [three.id, two.id, one.id]
    assert ids(run(newest(loyalty_id=1))) == [three.id, one.id]
    assert ids(run(newest(state=JobState.RUNNING))) == [one.id]
    assert ids(run(newest(loyalty_id=1, state=JobState.WAITING))) == [three.id]
    assert ids(run(newest(most=2))) == [three.id, two.id]
    assert ids(run(newest(before_id=two.id))) == [one.id]


# -- files ---------------------------------------------------------------------------------


def test_a_file_comes_back_as_it_was_kept(office: Office) -> None:
    job = office.add()
    office.claim()

    assert office.put(job, "rejects", b"\x00one", b"", b"two") == [True] * 3

    assert office.file(job, "rejects") == [b"\x00one", b"", b"two"]
    assert office.file(job, "export") == []
    assert office.world.run(office.jobs.files(job.id)) == [JobFile("rejects", 7)]


def test_a_file_that_is_written_again_replaces_the_former(office: Office) -> None:
    job = office.add()
    office.claim()
    office.put(job, "export", b"old", b"older", b"oldest")

    office.put(job, "export", b"new")

    assert office.file(job, "export") == [b"new"]


async def chunks(*sizes: int) -> AsyncIterator[bytes]:
    for number, size in enumerate(sizes):
        yield bytes([number]) * size


def test_a_job_with_a_file_runs_only_once_the_file_is_here_as_a_whole(office: Office) -> None:
    async def slowly() -> AsyncIterator[bytes]:
        yield b"half"
        assert await office.jobs.claim("early", NOON) is None
        yield b" and half"

    job = office.world.run(office.queue.submit("import", 1, {}, slowly()))

    assert office.claimed().id == job.id
    assert office.file(job, INPUT) == [b"half and half"]


def test_a_file_is_cut_into_parts_of_one_size(office: Office) -> None:
    sizes = (10, 3 * PART_BYTES, PART_BYTES - 11, 7)
    submit = office.queue.submit

    job = office.world.run(submit("import", 1, {}, chunks(*sizes)))
    empty = office.world.run(submit("import", 1, {}, chunks()))

    parts = office.file(job, INPUT)
    assert [len(part) for part in parts] == [PART_BYTES] * 4 + [6]
    assert b"".join(parts) == b"".join(bytes([n]) * size for n, size in enumerate(sizes))
    assert office.file(empty, INPUT) == [b""]


def test_a_file_that_breaks_off_takes_the_job_with_it(office: Office) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"half"
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        office.world.run(office.queue.submit("import", 1, {}, broken()))

    (job,) = office.world.run(office.jobs.newest())
    assert job.state is JobState.CANCELLED


def test_a_job_that_is_cancelled_while_its_file_comes_in_never_runs(office: Office) -> None:
    async def cancelled() -> AsyncIterator[bytes]:
        yield b"x" * PART_BYTES
        (job,) = await office.jobs.newest()
        await office.queue.cancel(job.id)
        yield b"x" * PART_BYTES

    with pytest.raises(ClaimLost):
        office.world.run(office.queue.submit("import", 1, {}, cancelled()))

    assert office.claim() is None


def test_a_job_whose_file_never_came_fails_after_a_while(office: Office) -> None:
    lost = office.add(worker="upload-1", heartbeat_at=NOON - DAY)
    alive = office.add(worker="upload-2", heartbeat_at=NOON)
    waiting = office.add()

    assert office.world.run(office.jobs.fail_uploads(NOON - SECOND, NOON, "gone")) == 1

    assert office.get(lost).state is JobState.FAILED
    assert office.get(lost).error == "gone"
    assert office.get(alive).state is office.get(waiting).state is JobState.WAITING


def test_each_part_of_a_file_that_comes_in_says_that_it_does(office: Office) -> None:
    job = office.add(worker="upload-1", heartbeat_at=NOON - DAY)

    office.put(job, INPUT, b"x", worker="upload-1")

    assert office.get(job).heartbeat_at == NOON


def test_files_of_jobs_that_ended_long_ago_are_forgotten(office: Office) -> None:
    old, new = office.add(1), office.add(2)
    for job, worker in ((old, "a"), (new, "b")):
        office.claim(worker)
        office.put(job, INPUT, b"1", b"2", b"3", worker=worker)
    office.finish(old, "a")
    office.world.now += DAY
    office.finish(new, "b")
    forget = office.jobs.forget_files

    removed = [office.world.run(forget(NOON + SECOND, 2)) for _ in range(3)]

    assert removed == [2, 1, 0]
    assert office.file(old, INPUT) == []
    assert office.file(new, INPUT) == [b"1", b"2", b"3"]
    assert office.get(old).state is JobState.DONE


# -- many who claim ------------------------------------------------------------------------

PROGRAMS, JOBS, WORKERS, TRIES = 4, 40, 4, 20


def claim_until_none_is_left(url: str, name: str, told: Any) -> None:
    """Claim jobs and end them, in a process of its own; tell each claim and each end."""

    async def work() -> None:
        store = make_store(read_settings({}, database_url=url))
        await store.open()
        try:
            while await store.jobs.newest(state=JobState.WAITING, most=1):
                job = await store.jobs.claim(name, utc_now())
                if job is None:
                    continue
                others = [
                    other.id
                    for other in await store.jobs.running()
                    if other.loyalty_id == job.loyalty_id
                ]
                told.put((job.id, others))
                assert await store.jobs.heartbeat(job.id, name, utc_now(), HowFar()) is Claim.HELD
                assert await store.jobs.finish(job.id, name, utc_now(), JobState.DONE)
        finally:
            await store.close()

    asyncio.run(work())


def test_no_job_is_ever_claimed_twice_by_several_processes(stores: Stores) -> None:
    url = stores.new("postgres")

    async def fill() -> None:
        store = make_store(read_settings({}, database_url=url))
        await store.open()
        for number in range(JOBS):
            await store.jobs.add(Job(0, "import", 1 + number % PROGRAMS))
        await store.close()

    asyncio.run(fill())
    context = multiprocessing.get_context("spawn")
    told = context.Queue()
    workers = [
        context.Process(target=claim_until_none_is_left, args=(url, f"worker-{n}", told))
        for n in range(WORKERS)
    ]
    for worker in workers:
        worker.start()
    claims = [told.get(timeout=240) for _ in range(JOBS)]
    for worker in workers:
        worker.join(240)

    assert [worker.exitcode for worker in workers] == [0] * WORKERS
    assert told.empty()
    assert sorted(job for job, _ in claims) == list(range(1, JOBS + 1))
    assert all(running == [job] for job, running in claims)


def claim_at_once(office: Office) -> list[Job]:
    """Claim as many jobs as there are, all at the same moment; return which were had."""

    async def claim_all() -> list[Job | None]:
        claims = (office.jobs.claim(f"worker-{n}", NOON) for n in range(JOBS))
        return await asyncio.gather(*claims)

    return [job for job in office.world.run(claim_all()) if job is not None]


def test_jobs_that_are_claimed_at_the_same_moment_are_different_ones(
    office: Office,
) -> None:
    made = [office.add(1 + number % PROGRAMS) for number in range(JOBS)]

    claimed = claim_at_once(office)

    assert claimed
    assert len({job.loyalty_id for job in claimed}) == len(claimed) <= PROGRAMS
    assert {job.id for job in claimed} <= set(ids(made[:PROGRAMS]))


def test_that_race_finds_a_claim_that_does_not_look_again(
    stores: Stores, make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    careless = jobs_sql.CLAIM_JOB.replace(") AND state = 'waiting'", ")")
    assert careless != jobs_sql.CLAIM_JOB
    monkeypatch.setattr(jobs_sql, "CLAIM_JOB", careless)
    office = Office(make_world(stores.new("postgres")))

    for program in range(1, 1 + TRIES):
        office.add(program)
        if len(claim_at_once(office)) > 1:
            return
    pytest.fail("no job was claimed twice")
