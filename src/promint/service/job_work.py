"""Doing a job, in the process that was started for it."""

import asyncio
import logging
import tempfile
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, BinaryIO, NoReturn, cast

from promint.domain.errors import PromintError, Unavailable
from promint.domain.model import Job, JobState
from promint.service.drawing import CodeSource
from promint.service.jobs import DATABASES, ClaimLost, keep_file, stop_batch
from promint.service.means import Cancelled, Means
from promint.store import StoreError
from promint.store.jobs import INPUT, Claim, HowFar

log = logging.getLogger(__name__)

RETRY_PAUSE_S = 0.5
INTERNAL = "Something is wrong in Promint itself; the log of the service says what"


@dataclass(frozen=True, slots=True)
class JobContext:
    """What the work of a job is given."""

    means: Means
    codes: CodeSource
    job: Job
    claim: "HeldClaim"

    async def progress(self, done: int, total: int | None, phase: str) -> None:
        """Take note how far the work is; the `Progress` of its use case.

        Raises:
            Cancelled: the work shall stop here.
            ClaimLost: another worker has the job.
        """
        await self.claim.progress(done, total, phase)

    @asynccontextmanager
    async def input_file(self) -> AsyncIterator[BinaryIO]:
        """Open the file that came with the job, as a temporary one on disk."""
        with tempfile.TemporaryFile(prefix="promint-job-") as file:
            async for part in self.means.store.jobs.parts(self.job.id, INPUT):
                file.write(part)
            file.seek(0)
            yield cast(BinaryIO, file)

    async def keep_file(self, kind: str, content: AsyncIterable[bytes]) -> int:
        """Keep a file for whoever asks for it later, and return its bytes.

        Raises:
            ClaimLost: another worker has the job.
        """
        try:
            return await keep_file(self.means.store.jobs, self.job, self.means.now, kind, content)
        except ClaimLost:
            self.claim.lose()

    async def made_batch(self, batch_id: int) -> None:
        """Note the batch by which the work is resumed.

        Raises:
            ClaimLost: another worker has the job.
        """
        assert self.job.worker is not None
        if not await self.means.store.jobs.set_batch(self.job.id, self.job.worker, batch_id):
            self.claim.lose()


Work = Callable[[JobContext], Awaitable[dict[str, Any]]]
"""What a kind of job does. It returns the job's result, of what JSON can hold; begun again after
an interruption, it goes on with `context.job.batch_id`."""

Kinds = Mapping[str, Work]
"""The work of each kind of job."""


class HeldClaim:
    """A worker's hold on its job: says that it lives, hears when it shall stop."""

    def __init__(
        self,
        means: Means,
        job: Job,
        *,
        monotonic: Callable[[], float],
        heartbeat_s: float,
        stale_s: float,
        on_lost: Callable[[], None],
    ) -> None:
        """Take the job as it was claimed."""
        assert job.worker is not None
        self._jobs = means.store.jobs
        self._now = means.now
        self._id, self._worker = job.id, job.worker
        self._monotonic = monotonic
        self._heartbeat_s = heartbeat_s
        self._stale_s = stale_s
        self._on_lost = on_lost
        self._how_far = HowFar(job.done, job.total, job.phase)
        self._told = Claim.HELD
        self._lock = asyncio.Lock()
        self._held_at = monotonic()
        self.is_stopping = False

    @property
    def is_cancelled(self) -> bool:
        """Say whether somebody wants the job to end for good."""
        return self._told is Claim.CANCEL

    async def progress(self, done: int, total: int | None, phase: str) -> None:
        """Take note how far the work is, and stop it if it shall not go on."""
        before = self._how_far
        since = (before.phase_at, before.phase_from)
        if before.phase_at is None or before.phase != phase:
            since = (self._now(), done)
        self._how_far = HowFar(done, total, phase, *since)
        # A process that was held for long may have been given up meanwhile: it asks first.
        if self._monotonic() - self._held_at > 2 * self._heartbeat_s:
            await self.say()
        if self._told is Claim.LOST:
            self.lose()
        if self.is_stopping or self._told is Claim.CANCEL:
            raise Cancelled

    def lose(self) -> NoReturn:
        """End everything that is done for the job here.

        Raises:
            ClaimLost: nothing was given that ends it by itself.
        """
        self._told = Claim.LOST
        log.warning("job %s has another worker now", self._id)
        self._on_lost()
        raise ClaimLost(f"job {self._id}")

    async def beat_forever(self) -> None:
        """Say every few seconds that the worker lives."""
        while True:
            await self.say()
            await asyncio.sleep(self._heartbeat_s)

    async def say(self) -> None:
        """Say at once that the worker lives and how far the work is, and hear what is wanted."""
        async with self._lock:
            while self._told is not Claim.LOST:
                sent_at = self._monotonic()
                try:
                    self._told = await self._jobs.heartbeat(
                        self._id, self._worker, self._now(), self._how_far
                    )
                except StoreError as error:
                    log.warning("job %s could not say how far it is: %s", self._id, error)
                    if self._monotonic() - self._held_at < self._stale_s:
                        return
                    # Perhaps given up by now. Nothing goes on before the store has answered.
                    await asyncio.sleep(RETRY_PAUSE_S)
                else:
                    self._held_at = sent_at
                    break
            if self._told is Claim.LOST:
                self.lose()


class JobRunner:
    """Does one job that was claimed for this process."""

    def __init__(
        self,
        means: Means,
        kinds: Kinds,
        codes: CodeSource,
        *,
        monotonic: Callable[[], float],
        heartbeat_s: float,
        stale_s: float,
        on_lost: Callable[[], None],
    ) -> None:
        """Take what the work needs; `means` become those of the job's author.

        `on_lost` is called at the moment when another worker turns out to have the job. Best it
        ends the process: then no part of the work can tidy up behind the other's back.
        """
        self._means = means
        self._kinds = kinds
        self._codes = codes
        self._timing: dict[str, Any] = {
            "monotonic": monotonic,
            "heartbeat_s": heartbeat_s,
            "stale_s": stale_s,
            "on_lost": on_lost,
        }
        self._claim: HeldClaim | None = None
        self._is_stopping = False

    def stop(self) -> None:
        """Let the work stop where it can, and the job wait for another process."""
        self._is_stopping = True
        if self._claim is not None:
            self._claim.is_stopping = True

    async def run(self, job_id: int, worker: str) -> JobState | None:
        """Do a job to its end and return its state; None if `worker` does not hold it (any more).

        Raises:
            Unavailable, StoreError: the store does not work; the job is for others to give back.
        """
        job = await self._means.store.jobs.get(job_id)
        if job is None or job.state is not JobState.RUNNING or job.worker != worker:
            return None
        databases = job.parameters.get(DATABASES)
        means = replace(
            self._means,
            author=job.author,
            token_id=job.token_id,
            request_id=f"job-{job.id}",
            databases=None if databases is None else frozenset(databases),
        )
        claim = self._claim = HeldClaim(means, job, **self._timing)
        claim.is_stopping = self._is_stopping
        try:
            return await self._end(means, job, claim)
        except ClaimLost:
            return None

    async def _work(self, context: JobContext) -> dict[str, Any]:
        """Do the work, and say meanwhile that it is done."""
        claim, job = context.claim, context.job
        # A job that was cancelled, or a service that stops, begins nothing.
        await claim.progress(job.done, job.total, job.phase)
        beating = asyncio.create_task(claim.beat_forever())
        try:
            return await self._kinds[job.kind](context)
        finally:
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)

    async def _end(self, means: Means, job: Job, claim: HeldClaim) -> JobState:
        """Write down what came of the work."""
        jobs, worker = means.store.jobs, job.worker
        assert worker is not None
        state, result, error = JobState.DONE, None, None
        try:
            result = await self._work(JobContext(means, self._codes, job, claim))
        except Cancelled:
            if not claim.is_cancelled:
                given = await jobs.give_back(job.id, worker, means.now(), counted=False)
                if given is None:
                    claim.lose()
                return given.state
            state = JobState.CANCELLED
        except (Unavailable, StoreError, ClaimLost):
            raise
        except PromintError as refusal:
            state, error = JobState.FAILED, sentence(refusal)
        except Exception:
            log.exception("job %s failed", job.id)
            state, error = JobState.FAILED, INTERNAL
        await claim.say()
        if not await jobs.finish(job.id, worker, means.now(), state, result=result, error=error):
            raise ClaimLost(f"job {job.id}")
        ended = await jobs.get(job.id)
        if state is not JobState.DONE and ended is not None:
            await stop_batch(means, ended)
        return state


def sentence(error: PromintError) -> str:
    """Return what went wrong as people read it, with the detail that the error brings."""
    if error.detail and error.detail not in error.message:
        return f"{error.message} ({error.detail})"
    return error.message
