"""`promint job`: long work that the service does, looked at, cancelled, watched; and done."""

import asyncio
import contextlib
import os
import signal
import sys
import threading
import time
from typing import Any

import click

from promint.bootstrap import code_source, make_means
from promint.cli.output import (
    EXIT_FAILED,
    ID,
    Target,
    Whole,
    answer,
    command_options,
    listing,
    open_store,
    run,
    settings_of,
    stopped,
    table,
)
from promint.cli.progress import progress_bar
from promint.config import Settings
from promint.domain.model import JobState
from promint.service.administration import Administration
from promint.service.job_kinds import KINDS
from promint.service.job_work import JobRunner
from promint.service.jobs import ENDED, JobQueue
from promint.store import Store

WATCH_INTERVAL_S = 0.5
NICE = 10
JOBS_SHOWN = 50


@click.group("job")
def job_group() -> None:
    """Look at long work that the service does."""


@job_group.command("list")
@click.option("--program", "loyalty_id", type=ID, help="Only those of this loyalty_id.")
@click.option("--state", type=click.Choice([str(state) for state in JobState]), help="Only these.")
@click.option("--before", "before_id", type=ID, help="Only jobs older than this one.")
@click.option("--limit", type=Whole(1, 1000), default=JOBS_SHOWN, show_default=True)
@command_options
def job_list(
    target: Target, loyalty_id: int | None, state: str | None, before_id: int | None, limit: int
) -> None:
    """List jobs, the newest first."""

    async def work(store: Store, administration: Administration) -> list[dict[str, Any]]:
        return await JobQueue(make_means(store)).listed(
            loyalty_id=loyalty_id,
            state=None if state is None else JobState(state),
            before_id=before_id,
            most=limit,
        )

    jobs = run(target, work)
    if not target.as_json:
        jobs = [_row(view) for view in jobs]
    table(target, "jobs", jobs)


def _row(view: dict[str, Any]) -> dict[str, Any]:
    return {
        "job_id": view["job_id"],
        "kind": view["kind"],
        "loyalty_id": view["loyalty_id"],
        "state": view["state"],
        "done": how_far(view),
        "left": time_left(view),
        "waits_for": view["waits_for"],
        "author": view["author"],
        "created": view["created"],
    }


def how_far(view: dict[str, Any]) -> str:
    """Return how much of a job is done, as people read it: `1,000 of 5,000`."""
    total = "" if view["total"] is None else f" of {view['total']:,}"
    return f"{view['done']:,}{total}"


def time_left(view: dict[str, Any]) -> str:
    """Return how long a job will yet take, as people read it: `1:05:00`; empty if unknown."""
    if view["left_s"] is None:
        return ""
    minutes, seconds = divmod(view["left_s"], 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"


@job_group.command("show")
@click.argument("job_id", type=ID)
@command_options
def job_show(target: Target, job_id: int) -> None:
    """Show a job: how far it is, at what rate, and what came of it."""

    async def work(store: Store, administration: Administration) -> dict[str, Any]:
        queue = JobQueue(make_means(store))
        return await queue.show(await queue.get(job_id))

    view = run(target, work)
    answer(target, view, _shown(view))


def _shown(view: dict[str, Any]) -> str:
    values = {name: value for name, value in view.items() if name not in ("result", "files")}
    values |= {f"result {name}": value for name, value in (view["result"] or {}).items()}
    values |= {f"file {kind}": f"{size:,} bytes" for kind, size in view["files"].items()}
    return listing(values)


@job_group.command("cancel")
@click.argument("job_id", type=ID)
@command_options
def job_cancel(target: Target, job_id: int) -> None:
    """Cancel a job. What it has done stays: its batch can be resumed, or undone."""

    async def work(store: Store, administration: Administration) -> dict[str, Any]:
        queue = JobQueue(make_means(store))
        return await queue.show(await queue.cancel(job_id))

    view = run(target, work)
    told = "is told to stop" if view["state"] == JobState.RUNNING else f"is {view['state']}"
    answer(target, view, f"Job {job_id} {told}.")


@job_group.command("watch")
@click.argument("job_id", type=ID)
@command_options
def job_watch(target: Target, job_id: int) -> None:
    """Watch a job until it ends. Fails if the job does.

    Ctrl-C ends the watching, not the job.
    """
    with progress_bar(target) as progress:

        async def work(store: Store, administration: Administration) -> dict[str, Any]:
            queue = JobQueue(make_means(store))
            while True:
                job = await queue.get(job_id)
                view = await queue.show(job)
                if job.state in ENDED:
                    return view
                await progress(job.done, job.total, _doing(view))
                await asyncio.sleep(WATCH_INTERVAL_S)

        try:
            view = run(target, work)
        except KeyboardInterrupt:
            stopped(f"Watched no more; job {job_id} goes on.")
    answer(target, view, _shown(view))
    if view["state"] != JobState.DONE:
        sys.exit(EXIT_FAILED)


def _doing(view: dict[str, Any]) -> str:
    if view["waits_for"] is not None:
        return f"waiting for job {view['waits_for']}"
    return str(view["phase"] or view["state"])


# -- the process of a job ------------------------------------------------------------------


@job_group.command("run", hidden=True)
@click.argument("job_id", type=ID)
@click.option("--worker", required=True, help="The name under which the job was claimed.")
@command_options
def job_run(target: Target, job_id: int, worker: str) -> None:
    """Do a job that the service has claimed; it ends when standard input does."""
    settings = settings_of(target)
    os.nice(NICE)
    asyncio.run(_do(settings, job_id, worker))


async def _do(settings: Settings, job_id: int, worker: str) -> None:
    async with open_store(settings) as store:
        runner = JobRunner(
            make_means(store),
            KINDS,
            code_source(settings),
            monotonic=time.monotonic,
            heartbeat_s=settings.job_heartbeat_s,
            stale_s=settings.job_stale_s,
            on_lost=lambda: os._exit(EXIT_FAILED),
        )
        living = asyncio.create_task(_show_life(settings.job_heartbeat_s))
        _stop_when_told(runner, settings.drain_timeout_s)
        await runner.run(job_id, worker)
        living.cancel()


async def _show_life(interval_s: float) -> None:
    """Write a byte to the service from time to time; whoever is stopped or stuck does not."""
    while True:
        try:
            os.write(1, b".")
        except OSError:
            return
        await asyncio.sleep(interval_s)


def _stop_when_told(runner: JobRunner, stop_s: int) -> None:
    """Stop on a signal, and when the service is gone, which is when standard input ends."""
    loop = asyncio.get_running_loop()

    def stop() -> None:
        # What does not stop in order by then is ended; whatever was not committed is undone.
        signal.alarm(stop_s)
        runner.stop()

    def wait_for_end() -> None:
        while os.read(0, 1024):
            pass
        with contextlib.suppress(RuntimeError):  # the loop is closed: the job is done
            loop.call_soon_threadsafe(stop)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    threading.Thread(target=wait_for_end, daemon=True).start()
