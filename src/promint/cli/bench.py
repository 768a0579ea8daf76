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
from rich.console import Console
from rich.table import Table

from promint.bench.endurance import measure_memory, measure_size
from promint.bench.jobs import JOB_NAMES
from promint.bench.processes import BenchFailed
from promint.bench.report import HALF_LOAD_P99_MS_MAX, JobResult, MemoryResult, Report, SizeResult
from promint.bench.rounds import measure_jobs
from promint.bench.run import Run
from promint.cli.output import Target, answer, command_options, console, fail

LASTING_TEMPORARY = Path("/var/tmp")  # noqa: S108  # a folder of our own is made in it

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


@click.command()
@click.option(
    "--seconds",
    type=click.FloatRange(min=0.1),
    default=2.0,
    show_default=True,
    help="Length of each measurement.",
)
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="How often each is repeated, in turn; medians count.",
)
@click.option(
    "--connections",
    type=click.IntRange(1, 1000),
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
    type=click.IntRange(1, 200_000_000),
    help="Instead: look-ups and export of a program with so many codes.",
)
@click.option("--memory", is_flag=True, help="Instead: one worker's memory over many requests.")
@click.option(
    "--requests",
    type=click.IntRange(min=1000),
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
    signal.signal(signal.SIGTERM, _stop)
    with _store(target.database) as url, _noting(target) as note:
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


def _stop(number: int, frame: FrameType | None) -> None:
    """Leave every block on the way out, so that what was started is ended."""
    sys.exit(128 + number)


@contextmanager
def _store(url: str | None) -> Iterator[str]:
    """Yield the store's URL; without one, of a file on a disk, for /tmp may be memory."""
    if url is not None:
        yield url
        return
    place = os.environ.get("TMPDIR") or (LASTING_TEMPORARY if LASTING_TEMPORARY.is_dir() else None)
    with tempfile.TemporaryDirectory(prefix="promint-bench-", dir=place) as folder:
        yield f"sqlite:///{Path(folder) / 'bench.db'}"


@contextmanager
def _noting(target: Target) -> Iterator[Callable[[str], None]]:
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
        _print(f"\n{note}")


def _number(value: float | None, digits: int = 0) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


def _word(is_reached: bool | None) -> str:
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
    floor = "the same server answering fixed bytes" if report.store == "sqlite" else "pgbench"
    resident = report.jobs[-1].resident_mb
    _print(
        f"\n{report.store_version}, {report.connections} connections, medians of {report.rounds} "
        f"rounds of {report.seconds:g} s; the floor is {floor}."
    )
    _print(
        f"At half load the 99th percentile is to stay under {HALF_LOAD_P99_MS_MAX:g} ms: "
        f"{_word(all(job.is_half_load_reached for job in report.jobs))}."
    )
    _print(f"The service held {_number(resident)} MB at the end.")


def _job_row(job: JobResult) -> list[str]:
    floor_rate = job.fixed_rate if job.floor == "fixed bytes" else job.pgbench_rate
    return [
        job.title,
        _number(job.rate),
        _number(job.p50_ms, 1),
        _number(job.p99_ms, 1),
        _number(floor_rate),
        _number(job.ratio, 2),
        _number(job.target, 2),
        _word(job.is_reached),
        _number(job.half_load_rate),
        _number(job.half_load_p99_ms, 1),
        _number(job.cpu_us),
    ]


def _show_size(size: SizeResult) -> None:
    _print(f"{size.codes:,} codes, loaded straight into the store in {size.load_s:,.0f} s")
    _print(
        f"look-ups  {size.rate:,.0f}/s, beside {size.small_rate:,.0f}/s at "
        f"{size.small_codes:,} codes: {size.ratio:.2f}, target {size.target:.2f}, "
        f"reached: {_word(size.is_reached)}"
    )
    _print(
        f"export    first byte {size.export_first_byte_s * 1000:,.0f} ms, whole "
        f"{size.export_total_s:,.1f} s, {size.export_codes:,} codes, "
        f"{size.export_bytes / 1e6:,.0f} MB; the service grew by "
        f"{_number(size.export_growth_mb, 1)} MB, reached: {_word(size.is_export_reached)}"
    )


def _show_memory(memory: MemoryResult) -> None:
    quarters = ", ".join(f"{value:,.1f}" for value in memory.quarters_mb) or "–"
    _print(f"{memory.requests:,} requests in {memory.seconds:,.0f} s")
    _print(
        f"memory    {_number(memory.start_mb, 1)} MB at the start, "
        f"{_number(memory.end_mb, 1)} MB at the end, {_number(memory.largest_mb, 1)} MB at most"
    )
    _print(f"quarters  {quarters} MB, reached: {_word(memory.is_reached)}")


def _print(text: str) -> None:
    console.print(text, markup=False)
