"""Long work in the store, on PostgreSQL."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any

from promint.domain.model import Job, JobState
from promint.store import Lost
from promint.store import jobs_sql as sql
from promint.store.jobs import Claim, HowFar, JobFile
from promint.store.postgres.sessions import Connection
from promint.store.postgres.transaction import PostgresTransaction


class PostgresJobs:
    """Jobs and their files, on connections of the pool."""

    def __init__(
        self,
        pooled: Callable[[], AbstractAsyncContextManager[Connection]],
        transaction: Callable[[], AbstractAsyncContextManager[PostgresTransaction]],
    ) -> None:
        """Take the lender of connections, and the store's transaction."""
        self._pooled = pooled
        self._transaction = transaction

    async def _rows(self, statement: str, *parameters: Any) -> list[Any]:
        async with self._pooled() as connection:
            return list(await connection.fetch(statement, *parameters))

    async def add(self, job: Job) -> Job:
        """Add a job."""
        ((number,),) = await self._rows(sql.INSERT_JOB, *sql.job_row(job))
        return replace(job, id=number)

    async def ready(self, job_id: int, worker: str) -> bool:
        """Let a job run."""
        return bool(await self._rows(sql.JOB_READY, job_id, worker))

    async def get(self, job_id: int) -> Job | None:
        """Return a job."""
        return _one(await self._rows(sql.JOB, job_id))

    async def newest(
        self,
        *,
        loyalty_id: int | None = None,
        state: JobState | None = None,
        before_id: int | None = None,
        most: int = 100,
    ) -> list[Job]:
        """Return jobs."""
        page = sql.jobs_page(loyalty_id, state, before_id, most)
        return [sql.job_value(row) for row in await self._rows(sql.JOBS, *page)]

    async def ahead(self, job: Job) -> int | None:
        """Return the job that comes first."""
        rows = await self._rows(sql.JOB_AHEAD, job.loyalty_id, job.id)
        return rows[0][0] if rows else None

    async def running(self) -> list[Job]:
        """Return the jobs that have a worker."""
        return [sql.job_value(row) for row in await self._rows(sql.JOBS_RUNNING)]

    async def claim(self, worker: str, now: int) -> Job | None:
        """Begin the oldest job that can."""
        try:
            return _one(await self._rows(sql.CLAIM_JOB, worker, now))
        except Lost:
            # Another claimed a job of the same program at this moment.
            return None

    async def take_over(self, job: Job, worker: str, now: int) -> Job | None:
        """Take a job from its worker."""
        rows = await self._rows(sql.TAKE_JOB_OVER, worker, now, job.id, job.heartbeat_at)
        return _one(rows)

    async def heartbeat(self, job_id: int, worker: str, now: int, how_far: HowFar) -> Claim:
        """Say that the worker lives."""
        rows = await self._rows(sql.JOB_HEARTBEAT, now, *how_far, job_id, worker)
        return sql.claim_value(rows)

    async def set_batch(self, job_id: int, worker: str, batch_id: int) -> bool:
        """Note the batch."""
        return bool(await self._rows(sql.SET_JOB_BATCH, batch_id, job_id, worker))

    async def finish(
        self,
        job_id: int,
        worker: str,
        now: int,
        state: JobState,
        *,
        result: dict[str, Any] | None = None,
        error: str | None = None,
    ) -> bool:
        """End a job."""
        came_to = (state, sql.result_text(result), error, now)
        return bool(await self._rows(sql.FINISH_JOB, *came_to, job_id, worker))

    async def give_back(self, job_id: int, worker: str, now: int, *, counted: bool) -> Job | None:
        """Let a job wait again."""
        forgiven = 0 if counted else 1
        return _one(await self._rows(sql.GIVE_JOB_BACK, now, forgiven, job_id, worker))

    async def request_cancel(self, job_id: int, now: int) -> Job | None:
        """End a waiting job, tell the worker of a running one."""
        await self._rows(sql.CANCEL_JOB, now, job_id)
        return await self.get(job_id)

    async def put_part(
        self, job_id: int, worker: str, now: int, kind: str, part: int, content: bytes
    ) -> bool:
        """Keep a part of a file."""
        async with self._transaction() as transaction:
            connection = transaction.connection
            if not await connection.fetch(sql.HOLD_JOB, now, job_id, worker):
                return False
            if part == 0:
                await connection.execute(sql.DELETE_JOB_FILE, job_id, kind)
            await connection.execute(sql.INSERT_JOB_PART, job_id, kind, part, content)
            return True

    async def parts(self, job_id: int, kind: str) -> AsyncGenerator[bytes]:
        """Yield a file."""
        part = 0
        while rows := await self._rows(sql.JOB_PART, job_id, kind, part):
            yield rows[0][0]
            part += 1

    async def files(self, job_id: int) -> list[JobFile]:
        """Return which files there are."""
        return [JobFile(kind, int(size)) for kind, size in await self._rows(sql.JOB_FILES, job_id)]

    async def fail_uploads(self, silent_since: int, now: int, error: str) -> int:
        """Fail the jobs whose file stopped coming in."""
        return len(await self._rows(sql.FAIL_UPLOADS, error, now, silent_since))

    async def forget_files(self, finished_before: int, most: int) -> int:
        """Remove parts of files."""
        return len(await self._rows(sql.FORGET_JOB_FILES, finished_before, most))


def _one(rows: list[Any]) -> Job | None:
    return sql.job_value(rows[0]) if rows else None
