"""`promint bench`: measures the service over HTTP beside what the machine can give."""

import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import click
from click.core import ParameterSource
from rich.console import Console
from rich.table import Table

from promint.bench.endurance import measure_memory, measure_size
from promint.bench.jobs import JOB_NAMES
from promint.bench.processes import BenchFailed
from promint.bench.report import HALF_LOAD_P99_MS_MAX, JobResult, MemoryResult, Report, SizeResult
from promint.bench.rounds import measure_jobs
from promint.bench.run import Run
from promint.cli.output import Target, Whole, answer, command_options, console, fail

LASTING_TEMPORARY = Path("/var/tmp")  # noqa: S108  # a folder of our own is made in it

SHARED = ("database", "as_json")
"""Options of a group that hold for its commands as well."""

TABLE_WIDTH = 120
"""A table of figures that is folded cannot be read, wherever it is written to."""


class Names(click.ParamType[tuple[str, ...]]):
    """Names of jobs, separated by commas."""

    name = "JOBS"

    def convert(self, value: Any, param: Any, context: Any) -> Any:
        """Read them."""
        if isinstance(value, tuple):
            return value
        names = tuple(name.strip() for name in value.split(",") if name.strip())
        for name in names:
            if name not in JOB_NAMES:
                self.fail(f"{name!r} is none of {', '.join(JOB_NAMES)}", param, context)
        return names or JOB_NAMES


@click.group(invoke_without_command=True)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0.1),
    default=2.0,
    show_default=True,
    help="Length of each measurement.",
)
@click.option(
    "--rounds",
    type=Whole(min=1),
    default=5,
    show_default=True,
    help="How often each is repeated, in turn; medians count.",
)
@click.option(
    "--connections",
    type=Whole(1, 1000),
    default=48,
    show_default=True,
    help="Kept connections that send at once.",
)
@click.option(
    "--only", type=Names(), default=JOB_NAMES, help=f"Only these of {', '.join(JOB_NAMES)}."
)
@click.option(
    "--size",
    "codes",
    type=Whole(1, 200_000_000),
    help="Instead: look-ups and export of a program with so many codes.",
)
@click.option("--memory", is_flag=True, help="Instead: one worker's memory over many requests.")
@click.option(
    "--requests",
    type=Whole(min=1000),
    default=1_000_000,
    show_default=True,
    help="How many requests --memory sends.",
)
@command_options
def bench(
    target: Target,
    seconds: float,
    rounds: int,
    connections: int,
    only: tuple[str, ...],
    codes: int | None,
    memory: bool,
    requests: int,
) -> None:
    """Measure the service over HTTP, beside what this machine can give.

    Starts a service of its own over a throw-away SQLite file, or over the store that
    --database names (never that of the environment): programs of its own are made there and
    removed at the end. On PostgreSQL use a database made for it.
    """
    context = click.get_current_context()
    if context.invoked_subcommand is not None:
        context.obj = target
        _refuse_lost_options(context)
        return
    signal.signal(signal.SIGTERM, stop)
    with place(target.database) as (url, _), noting(target) as note:
        run = Run(
            url,
            connections=connections,
            seconds=seconds,
            rounds=rounds,
            note=note,
            is_throw_away=target.database is None,
        )
        run.report.note_load(os.getloadavg()[0])
        try:
            if codes is not None:
                measure_size(run, codes)
            if memory:
                measure_memory(run, requests)
            if codes is None and not memory:
                measure_jobs(run, only)
        except BenchFailed as error:
            fail(str(error))
    report = run.report
    if target.as_json:
        answer(target, report.values(), "")
    else:
        _show(report)
    if report.failed:
        fail(f"{report.failed:,} answers were no success; the figures mean nothing.")


def _refuse_lost_options(context: click.Context) -> None:
    """Refuse options before the name of a command that has its own."""
    for option in context.command.params:
        name = option.name or ""
        if name not in SHARED and context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(
                f"Write {option.opts[0]} behind {context.invoked_subcommand}, if it has it."
            )


def stop(number: int, frame: FrameType | None) -> None:
    """Leave every block on the way out, so that what was started is ended."""
    sys.exit(128 + number)


@contextmanager
def place(url: str | None) -> Iterator[tuple[str, Path]]:
    """Yield the store's URL, and a folder for files; without a URL the store is a file there.

    The folder is on a disk, for /tmp may be memory.
    """
    parent = os.environ.get("TMPDIR") or (LASTING_TEMPORARY if LASTING_TEMPORARY.is_dir() else None)
    with tempfile.TemporaryDirectory(prefix="promint-bench-", dir=parent) as name:
        folder = Path(name)
        yield url or f"sqlite:///{folder / 'bench.db'}", folder


@contextmanager
def noting(target: Target) -> Iterator[Callable[[str], None]]:
    """Show what is being done, for people and on standard error."""
    if target.as_json:
        yield lambda text: None
        return
    with Console(stderr=True).status("starting") as status:
        yield status.update


# -- for people ------------------------------------------------------------------------------


def _show(report: Report) -> None:
    if report.jobs:
        _show_jobs(report)
    if report.size is not None:
        _show_size(report.size)
    if report.memory is not None:
        _show_memory(report.memory)
    for note in report.notes:
        say(f"\n{note}")


def number(value: float | None, digits: int = 0) -> str:
    """Return a figure for the table."""
    return "–" if value is None else f"{value:,.{digits}f}"


def word(is_reached: bool | None) -> str:
    """Return whether a target was reached."""
    return "–" if is_reached is None else "yes" if is_reached else "NO"


def _show_jobs(report: Report) -> None:
    shown = Table(box=None, pad_edge=False, header_style="bold")
    shown.add_column("job")
    for column in (
        "requests/s", "p50 ms", "p99 ms", "floor/s", "ratio", "target", "reached",
        "half load/s", "its p99 ms", "CPU µs",
    ):  # fmt: skip
        shown.add_column(column, justify="right")
    for job in report.jobs:
        shown.add_row(*_job_row(job))
    Console(highlight=False, width=max(console.width, TABLE_WIDTH)).print(shown)
    floor = "uvicorn answering fixed bytes" if report.store == "sqlite" else "pgbench"
    resident = report.jobs[-1].resident_mb
    say(
        f"\n{report.store_version}, {report.connections} connections, medians of {report.rounds} "
        f"rounds of {report.seconds:g} s; the floor is {floor}."
    )
    say(
        f"At half load the 99th percentile is to stay under {HALF_LOAD_P99_MS_MAX:g} ms: "
        f"{word(all(job.is_half_load_reached for job in report.jobs))}."
    )
    say(f"The service held {number(resident)} MB at the end.")


def _job_row(job: JobResult) -> list[str]:
    floor_rate = job.fixed_rate if job.floor == "fixed bytes" else job.pgbench_rate
    return [
        job.title,
        number(job.rate),
        number(job.p50_ms, 1),
        number(job.p99_ms, 1),
        number(floor_rate),
        number(job.ratio, 2),
        number(job.target, 2),
        word(job.is_reached),
        number(job.half_load_rate),
        number(job.half_load_p99_ms, 1),
        number(job.cpu_us),
    ]


def _show_size(size: SizeResult) -> None:
    say(f"{size.codes:,} codes, loaded straight into the store in {size.load_s:,.0f} s")
    say(
        f"look-ups  {size.rate:,.0f}/s, beside {size.small_rate:,.0f}/s at "
        f"{size.small_codes:,} codes: {size.ratio:.2f}, target {size.target:.2f}, "
        f"reached: {word(size.is_reached)}"
    )
    say(
        f"export    first byte {size.export_first_byte_s * 1000:,.0f} ms, whole "
        f"{size.export_total_s:,.1f} s, {size.export_codes:,} codes, "
        f"{size.export_bytes / 1e6:,.0f} MB; the service grew by "
        f"{number(size.export_growth_mb, 1)} MB, reached: {word(size.is_export_reached)}"
    )


def _show_memory(memory: MemoryResult) -> None:
    quarters = ", ".join(f"{value:,.1f}" for value in memory.quarters_mb) or "–"
    say(f"{memory.requests:,} requests in {memory.seconds:,.0f} s")
    say(
        f"memory    {number(memory.start_mb, 1)} MB at the start, "
        f"{number(memory.end_mb, 1)} MB at the end, {number(memory.largest_mb, 1)} MB at most"
    )
    say(f"quarters  {quarters} MB, reached: {word(memory.is_reached)}")


def say(text: str) -> None:
    """Print a line of the report."""
    console.print(text, markup=False)
