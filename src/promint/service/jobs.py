"""Long work as its callers see it: handed in, looked at, cancelled, its files fetched."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Sequence
from dataclasses import replace
from typing import Any

from promint.domain.errors import JobNotFound
from promint.domain.model import BatchState, Job, JobState
from promint.service.means import Means
from promint.service.transactions import in_transaction
from promint.store import Transaction
from promint.store.jobs import INPUT, PART_BYTES, JobFile, Jobs
from promint.wire.moments import write_moment

RECEIVING = "receiving the file"
"""The phase of a job that is not ready."""

DATABASES = "databases"
"""The parameter that says which databases a job may see; without it, all."""

SECOND = 1_000_000
ENDED = (JobState.DONE, JobState.FAILED, JobState.CANCELLED)


class ClaimLost(Exception):
    """Another worker has the job now. Nothing more may be done for it here."""


def job_view(
    job: Job, now: int, *, waits_for: int | None = None, files: Sequence[JobFile] = ()
) -> dict[str, Any]:
    """Return a job as the API and the commands show it.

    `rate_per_s` and `left_s` are of its phase; None where nobody can say. `waits_for` is the job
    that comes first.
    """
    rate = _rate_per_s(job, now)
    left = None
    if job.state is JobState.RUNNING and rate and job.total is not None:
        left = round(max(0, job.total - job.done) / rate)
    return {
        "job_id": job.id,
        "kind": job.kind,
        "loyalty_id": job.loyalty_id,
        "state": str(job.state),
        "phase": job.phase,
        "done": job.done,
        "total": job.total,
        "rate_per_s": None if rate is None else round(rate),
        "left_s": left,
        "waits_for": waits_for,
        "cancel_requested": job.cancel_requested,
        "batch_id": job.batch_id,
        "error": job.error,
        "result": job.result,
        "files": {file.kind: file.size for file in files},
        "author": job.author,
        "created": write_moment(job.created_at),
        "started": None if job.started_at is None else write_moment(job.started_at),
        "finished": None if job.finished_at is None else write_moment(job.finished_at),
    }


def _rate_per_s(job: Job, now: int) -> float | None:
    since = job.phase_at
    if since is None or job.state is JobState.WAITING:
        return None
    until = now if job.finished_at is None else job.finished_at
    if until <= since or job.done <= job.phase_from:
        return None
    return (job.done - job.phase_from) * SECOND / (until - since)


async def keep_file(
    jobs: Jobs,
    job: Job,
    now: Callable[[], int],
    kind: str,
    content: AsyncIterable[bytes],
) -> int:
    """Keep a file of a job for its worker, in the place of one of that kind; return its bytes.

    Raises:
        ClaimLost: the worker has the job no more.
    """
    assert job.worker is not None
    worker, part, size = job.worker, 0, 0
    waiting = bytearray()

    async def put(most: int) -> None:
        nonlocal part
        if not await jobs.put_part(job.id, worker, now(), kind, part, bytes(waiting[:most])):
            raise ClaimLost(f"job {job.id}")
        del waiting[:most]
        part += 1

    async for chunk in content:
        waiting += chunk
        size += len(chunk)
        while len(waiting) >= PART_BYTES:
            await put(PART_BYTES)
    if waiting or not part:
        await put(PART_BYTES)
    return size


async def stop_batch(means: Means, job: Job) -> None:
    """Let nobody think that the batch of an ended job still runs; it can be resumed."""
    if job.batch_id is None:
        return
    batch_id = job.batch_id

    async def work(transaction: Transaction) -> None:
        batch = await transaction.batch(batch_id)
        if batch is not None and batch.state is BatchState.RUNNING:
            await transaction.update_batch(replace(batch, state=BatchState.STOPPED))

    await in_transaction(means.store, work)


class JobQueue:
    """Long work for the service to do, one job at a time for each program."""

    def __init__(self, means: Means) -> None:
        """Take the means of whoever asks."""
        self._means = means
        self._jobs = means.store.jobs

    def new(self, kind: str, loyalty_id: int, parameters: dict[str, Any]) -> Job:
        """Return a job of whoever asks, not in the store yet: see `Transaction.insert_job`.

        Where they may see some databases only, so does the job.
        """
        databases = self._means.databases
        if databases is not None:
            parameters = {**parameters, DATABASES: sorted(databases)}
        return Job(
            0,
            kind,
            loyalty_id,
            parameters=parameters,
            author=self._means.author,
            token_id=self._means.token_id,
            created_at=self._means.now(),
        )

    async def submit(
        self,
        kind: str,
        loyalty_id: int,
        parameters: dict[str, Any],
        content: AsyncIterable[bytes] | None = None,
    ) -> Job:
        """Hand work in, with its file if it has one; it runs once the file is here as a whole.

        `parameters` hold what JSON can. A file that breaks off takes the job with it.

        Raises:
            ClaimLost: the job was cancelled while its file came in.
        """
        job = self.new(kind, loyalty_id, parameters)
        if content is None:
            return await self._jobs.add(job)
        worker = f"upload-{self._means.random_bytes(8).hex()}"
        job = await self._jobs.add(
            replace(job, worker=worker, heartbeat_at=job.created_at, phase=RECEIVING)
        )
        try:
            await keep_file(self._jobs, job, self._means.now, INPUT, content)
            if not await self._jobs.ready(job.id, worker):
                raise ClaimLost(f"job {job.id}")
        except BaseException:
            await asyncio.shield(self._jobs.request_cancel(job.id, self._means.now()))
            raise
        return replace(job, worker=None, heartbeat_at=None, phase="")

    async def get(self, job_id: int) -> Job:
        """Return a job.

        Raises:
            JobNotFound: there is none.
        """
        job = await self._jobs.get(job_id)
        if job is None:
            raise JobNotFound(str(job_id))
        return job

    async def show(self, job: Job) -> dict[str, Any]:
        """Return a job as `job_view` has it, with what it waits for and its files."""
        files = await self._jobs.files(job.id)
        return job_view(job, self._means.now(), waits_for=await self._waits_for(job), files=files)

    async def listed(
        self,
        *,
        loyalty_id: int | None = None,
        state: JobState | None = None,
        before_id: int | None = None,
        most: int = 100,
    ) -> list[dict[str, Any]]:
        """Return jobs, the newest first, as `job_view` has them, without their files."""
        jobs = await self._jobs.newest(
            loyalty_id=loyalty_id, state=state, before_id=before_id, most=most
        )
        now = self._means.now()
        return [job_view(job, now, waits_for=await self._waits_for(job)) for job in jobs]

    async def _waits_for(self, job: Job) -> int | None:
        return await self._jobs.ahead(job) if job.state is JobState.WAITING else None

    async def cancel(self, job_id: int) -> Job:
        """End a job that waits; tell one that runs to stop, which it does within seconds.

        What it has done stays, and its batch can be resumed or undone. A job that has ended
        stays as it is.

        Raises:
            JobNotFound: there is none.
        """
        job = await self._jobs.request_cancel(job_id, self._means.now())
        if job is None:
            raise JobNotFound(str(job_id))
        if job.state is JobState.CANCELLED:
            await stop_batch(self._means, job)
        return job

    def file(self, job_id: int, kind: str) -> AsyncGenerator[bytes]:
        """Yield a file of a job; nothing if there is none, or no more."""
        return self._jobs.parts(job_id, kind)
