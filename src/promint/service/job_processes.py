"""A process for each job: started, watched, stopped, and started again if it died.

The service keeps to requests. What parses a million rows is beside it, at a lower priority, and
its memory goes with it (docs/decisions/0010-jobs-are-processes.md).
"""

import asyncio
import logging
import subprocess
from collections.abc import Callable, Mapping, Sequence

from promint.domain.model import Job, JobState
from promint.service.jobs import SECOND, stop_batch
from promint.service.means import Means
from promint.store import StoreError

Process = subprocess.Popen[bytes]

log = logging.getLogger(__name__)

POLL_S = 0.5
ATTEMPTS_MAX = 4
"""The first and three more."""
RESTART_PAUSE_S = 1.0
START_S = 60.0
"""How long a process may take to its first sign of life, on a machine that is busy."""
UPLOAD_SILENCE_S = 3600.0
TIDY_INTERVAL_S = 60.0
TIDY_PARTS = 64
DIED = f"Its process ended {ATTEMPTS_MAX} times before it was done; the log of the service says why"
NEVER_CAME = "Its file stopped coming in before it was here as a whole"


class JobProcesses:
    """The jobs of one service process: claims them and looks after their processes."""

    def __init__(
        self,
        means: Means,
        *,
        command: Sequence[str],
        environment: Mapping[str, str],
        monotonic: Callable[[], float],
        at_once: int,
        stale_s: float,
        stop_s: float,
        files_s: float,
    ) -> None:
        """Take the command to which `job run ID --worker NAME` is added, and its environment.

        `at_once` processes run at most. One that gives no sign of life for `stale_s`, or takes
        more than `stop_s` to stop, is killed. Files of jobs are kept for `files_s`.
        """
        self._means = means
        self._jobs = means.store.jobs
        self._command = command
        self._environment = environment
        self._monotonic = monotonic
        self._at_once = at_once
        self._stale_s = stale_s
        self._stop_s = stop_s
        self._files_s = files_s
        self._attending: dict[int, asyncio.Task[None]] = {}
        self._seen: dict[tuple[int, int | None], float] = {}
        self._tidy_at = monotonic()
        self._stopping = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look for jobs."""
        self._running = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop the processes. Their jobs wait for the next start and go on where they were."""
        self._stopping.set()
        if self._running is not None:
            await self._running
        await asyncio.gather(*self._attending.values())

    async def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                await self._fill()
                await self._tidy()
            except StoreError as error:
                log.warning("jobs wait for the store: %s", error)
            except Exception:
                # Nobody would notice that jobs are looked after no more.
                log.exception("jobs are not looked after for now")
            await self._stopped_within(POLL_S)

    async def _stopped_within(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return False
        return True

    # -- which job -------------------------------------------------------------------------

    async def _fill(self) -> None:
        """Claim jobs while there is room for their processes."""
        while len(self._attending) < self._at_once and not self._stopping.is_set():
            job = await self._claim()
            if job is None:
                break
            if job.attempts > ATTEMPTS_MAX:
                await self._give_up(job)
            else:
                self._attending[job.id] = asyncio.create_task(self._attend(job))

    async def _claim(self) -> Job | None:
        worker = self._means.random_bytes(12).hex()
        silent = await self._silent()
        if silent is not None:
            log.warning("job %s is taken over: its worker is silent", silent.id)
            return await self._jobs.take_over(silent, worker, self._means.now())
        return await self._jobs.claim(worker, self._means.now())

    async def _silent(self) -> Job | None:
        """Return a job whose heartbeat stands still, by this process's own measure of time.

        Clocks are not compared: one that jumps, or another machine's, would take living workers
        for dead.
        """
        now = self._monotonic()
        running = {
            (job.id, job.heartbeat_at): job
            for job in await self._jobs.running()
            if job.id not in self._attending
        }
        self._seen = {sign: self._seen.get(sign, now) for sign in running}
        silent = (sign for sign, since in self._seen.items() if now - since >= self._stale_s)
        return next((running[sign] for sign in silent), None)

    async def _give_up(self, job: Job) -> None:
        assert job.worker is not None
        now = self._means.now()
        if await self._jobs.finish(job.id, job.worker, now, JobState.FAILED, error=DIED):
            await stop_batch(self._means, job)

    # -- its process -----------------------------------------------------------------------

    async def _attend(self, job: Job) -> None:
        """Run a job's process to its end, and let the job wait again if it was not done then."""
        assert job.worker is not None
        try:
            try:
                await self._run_process(job.id, job.worker)
            except OSError as error:
                log.warning("job %s has no process: %s", job.id, error)
            left = await self._jobs.get(job.id)
            if left is None or left.worker != job.worker:
                return
            counted = not self._stopping.is_set()
            if counted:
                log.warning("job %s: its process ended before it was done", job.id)
                counted = not await self._stopped_within(RESTART_PAUSE_S * job.attempts)
            given = await self._jobs.give_back(
                job.id, job.worker, self._means.now(), counted=counted
            )
            if given is not None and given.state is JobState.CANCELLED:
                await stop_batch(self._means, given)
        except StoreError as error:
            # It goes on looking as if it ran; then it is silent, and taken over.
            log.warning("job %s could not be given back: %s", job.id, error)
        except Exception:
            log.exception("job %s is not looked after any more", job.id)
        finally:
            del self._attending[job.id]

    async def _run_process(self, job_id: int, worker: str) -> None:
        process = await asyncio.to_thread(self._start_process, job_id, worker)
        assert process.stdin is not None
        stopping = asyncio.create_task(self._stop_process(process))
        signs = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(signs), process.stdout
        )
        try:
            # Each sign of life is a byte. On SQLite the store cannot be asked for one: a
            # process that writes for minutes in one transaction could not write it.
            patience_s = max(START_S, self._stale_s)
            while await asyncio.wait_for(signs.read(1024), patience_s):
                patience_s = self._stale_s
        except TimeoutError:
            log.warning("job %s: its process gives no sign of life and is killed", job_id)
        finally:
            stopping.cancel()
            process.kill()
            transport.close()
            process.stdin.close()
            await asyncio.to_thread(process.wait)

    def _start_process(self, job_id: int, worker: str) -> Process:
        # Not by the event loop: uvloop lets a child inherit the socket that the service listens
        # on, which would then be in use after the service has died.
        return subprocess.Popen(  # noqa: S603  # our own command, with a number and a name of ours
            [*self._command, "job", "run", str(job_id), "--worker", worker],
            # It ends when its standard input does, so it never outlives the service.
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=dict(self._environment),
        )

    async def _stop_process(self, process: Process) -> None:
        await self._stopping.wait()
        process.terminate()
        await asyncio.sleep(self._stop_s)
        process.kill()

    # -- what is over ----------------------------------------------------------------------

    async def _tidy(self) -> None:
        """Fail jobs whose file never came, and remove the files of those that ended long ago."""
        if self._monotonic() < self._tidy_at:
            return
        now = self._means.now()
        await self._jobs.fail_uploads(now - int(UPLOAD_SILENCE_S * SECOND), now, NEVER_CAME)
        removed = await self._jobs.forget_files(now - int(self._files_s * SECOND), TIDY_PARTS)
        if removed < TIDY_PARTS:
            self._tidy_at = self._monotonic() + TIDY_INTERVAL_S
