"""Long work in the store: what waits, who works on it, how far it is, and its files.

A job belongs to a program, and a program has one running job at a time; the database itself holds
that. A worker claims a job under a name that nobody had before, and every change of the job names
it. So whoever lost its claim changes nothing any more and is told so.
"""

from collections.abc import AsyncGenerator
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

from promint.domain.model import Job, JobState

INPUT = "input"
"""The kind of a job's file that came with it."""

PART_BYTES = 1024 * 1024
"""How large the parts of a file are, the last one aside."""


class Claim(StrEnum):
    """What a worker hears when it says that it lives."""

    HELD = "held"
    CANCEL = "cancel"
    LOST = "lost"


class HowFar(NamedTuple):
    """How far a job is: the fields of `Job` of the same names."""

    done: int = 0
    total: int | None = None
    phase: str = ""
    phase_at: int | None = None
    phase_from: int = 0


class JobFile(NamedTuple):
    """A file of a job: its kind, and its size in bytes."""

    kind: str
    size: int


class Jobs(Protocol):
    """What a store offers for jobs. Every method raises `Busy` when it cannot work now."""

    async def add(self, job: Job) -> Job:
        """Add a job, with the next free id.

        A waiting job with a `worker` is not ready: that worker still brings its file.
        """

    async def ready(self, job_id: int, worker: str) -> bool:
        """Let a waiting job run, whose worker brought its file; say whether it still waited."""

    async def get(self, job_id: int) -> Job | None:
        """Return a job."""

    async def newest(
        self,
        *,
        loyalty_id: int | None = None,
        state: JobState | None = None,
        before_id: int | None = None,
        most: int = 100,
    ) -> list[Job]:
        """Return jobs, the newest first, with ids below `before_id`: of a program, in a state."""

    async def ahead(self, job: Job) -> int | None:
        """Return the job of the same program that a waiting one comes after, if there is one."""

    async def running(self) -> list[Job]:
        """Return the jobs that have a worker, dead or alive."""

    async def claim(self, worker: str, now: int) -> Job | None:
        """Begin the oldest job that is ready and whose program has none running."""

    async def take_over(self, job: Job, worker: str, now: int) -> Job | None:
        """Take a running job from its worker, unless that has said a word since `job` was read."""

    async def heartbeat(self, job_id: int, worker: str, now: int, how_far: HowFar) -> Claim:
        """Say that the worker lives, and how far it is.

        The moment that is kept rises with each call, whatever the clock does, so that others see
        whether it moves.
        """

    async def set_batch(self, job_id: int, worker: str, batch_id: int) -> bool:
        """Note the batch by which the job is resumed; say whether the claim still holds."""

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
        """End a job; say whether the claim still held, else nothing has changed."""

    async def give_back(self, job_id: int, worker: str, now: int, *, counted: bool) -> Job | None:
        """Let a running job wait again, or end it if it shall be cancelled.

        `counted`: the attempt counts, for it ended in disorder. Returns None if the claim was lost.
        """

    async def request_cancel(self, job_id: int, now: int) -> Job | None:
        """End a waiting job at once, tell the worker of a running one; return it as it is then."""

    async def put_part(
        self, job_id: int, worker: str, now: int, kind: str, part: int, content: bytes
    ) -> bool:
        """Keep part 0, 1, … of a file; part 0 replaces the file. Say whether the claim holds.

        While a file comes in, each part is a heartbeat.
        """

    def parts(self, job_id: int, kind: str) -> AsyncGenerator[bytes]:
        """Yield a file, part by part; nothing if there is none."""

    async def files(self, job_id: int) -> list[JobFile]:
        """Return which files a job has, by kind."""

    async def fail_uploads(self, silent_since: int, now: int, error: str) -> int:
        """Fail the jobs whose file has stopped coming in before that moment; return how many."""

    async def forget_files(self, finished_before: int, most: int) -> int:
        """Remove at most so many parts of jobs that ended before; return how many."""
