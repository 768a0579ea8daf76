"""`promint bench bulk`: codes by the million, beside what psql and sqlite3 take for the same."""

import os
import signal

import click
from rich.console import Console
from rich.table import Table

from promint.bench.beside import measure_beside
from promint.bench.bulk import measure_bulk
from promint.bench.pages import measure_pages
from promint.bench.processes import BenchFailed
from promint.bench.report import BesideResult, Report
from promint.bench.run import Run
from promint.cli.bench import TABLE_WIDTH, noting, number, place, say, stop, word
from promint.cli.output import Target, Whole, answer, command_options, console, fail

CONNECTIONS = 48
CODES_MIN, CODES_MAX = 1_000, 100_000_000


@click.command()
@click.option(
    "--codes",
    type=Whole(CODES_MIN, CODES_MAX),
    default=1_000_000,
    show_default=True,
    help="How many are imported, generated and exported at once.",
)
@click.option(
    "--rounds",
    type=Whole(min=1),
    default=3,
    show_default=True,
    help="How often each is repeated, in turn; medians count.",
)
@click.option("--xlsx", is_flag=True, help="Also: export and import of a workbook, once.")
@click.option("--beside", is_flag=True, help="Instead: activations while codes are imported.")
@click.option("--pages", is_flag=True, help="Instead: pages of searches among so many codes.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0.1),
    default=2.0,
    show_default=True,
    help="Length of a stretch of activations.",
)
@command_options
def bulk(
    target: Target,
    codes: int,
    rounds: int,
    xlsx: bool,
    beside: bool,
    pages: bool,
    seconds: float,
) -> None:
    """Measure import, generation and export, beside psql and sqlite3.

    Works in a throw-away SQLite file, or in the store that --database names (never that of the
    environment), where its programs and a table `promint_bench_floor` are made and removed at the
    end. On PostgreSQL use a database made for it. Large files are written to TMPDIR meanwhile.
    """
    signal.signal(signal.SIGTERM, stop)
    with place(target.database) as (url, folder), noting(target) as note:
        run = Run(
            url,
            connections=CONNECTIONS,
            seconds=seconds,
            rounds=rounds,
            note=note,
            is_throw_away=target.database is None,
        )
        run.report.note_load(os.getloadavg()[0])
        try:
            if beside:
                measure_beside(run, codes, folder)
            if pages:
                measure_pages(run, codes)
            if xlsx or not (beside or pages):
                measure_bulk(run, codes, folder, with_workbooks=xlsx)
        except BenchFailed as error:
            fail(str(error))
    report = run.report
    if target.as_json:
        answer(target, report.values(), "")
    else:
        _show(report)
    if report.failed:
        fail(f"{report.failed:,} answers or codes were not right; the figures mean nothing.")


# -- for people ------------------------------------------------------------------------------


def _show(report: Report) -> None:
    if report.bulk:
        _show_bulk(report)
    if report.beside is not None:
        _show_beside(report.beside)
    if report.pages:
        _show_pages(report)
    for note in report.notes:
        say(f"\n{note}")


def _table(first: str, *columns: str) -> Table:
    made = Table(box=None, pad_edge=False, header_style="bold")
    made.add_column(first)
    for column in columns:
        made.add_column(column, justify="right")
    return made


def _print_table(shown: Table) -> None:
    Console(highlight=False, width=max(console.width, TABLE_WIDTH)).print(shown)


def _show_bulk(report: Report) -> None:
    shown = _table(
        "job", "codes/s", "seconds", "floor", "floor/s", "ratio", "target", "reached",
        "peak MB", "at most", "reached",
    )  # fmt: skip
    for one in report.bulk:
        shown.add_row(
            one.title,
            number(one.rate),
            number(one.seconds, 1),
            one.floor or "–",
            number(one.floor_rate),
            number(one.ratio, 2),
            number(one.target, 2),
            word(one.is_reached),
            number(one.peak_mb),
            number(one.peak_mb_max),
            word(one.is_peak_reached),
        )
    _print_table(shown)
    imports = report.bulk[0]
    say(
        f"\n{report.store_version}, {imports.codes:,} codes, medians of {report.rounds} rounds. "
        f"Times are those of whole commands; one that does next to nothing takes "
        f"{number(report.command_s, 2)} s."
    )
    if imports.bare_rate is not None:
        say(
            f"With the primary key alone, {imports.floor} takes in {imports.bare_rate:,.0f} codes "
            "a second."
        )


def _show_beside(beside: BesideResult) -> None:
    say(
        f"{beside.activations:,} activations, {beside.wanted_rate:,.0f} a second, beside an import "
        f"of {beside.codes:,} codes at {beside.import_rate:,.0f} a second, which took "
        f"{number(beside.import_peak_mb)} MB at most"
    )
    say(
        f"p50 {beside.p50_ms:,.1f} ms, p99 {beside.p99_ms:,.1f} ms, worst {beside.max_ms:,.1f} ms; "
        f"p99 of the worst {beside.stretch_s:g} s {beside.worst_p99_ms:,.1f} ms"
    )
    say(
        f"without the import p99 {beside.alone_p99_ms:,.1f} ms, worst {beside.alone_max_ms:,.1f} ms"
    )
    say(f"p99 is to stay under {beside.p99_ms_max:g} ms: {word(beside.is_reached)}")
    if beside.first_failure:
        say(f"the first failure: {beside.first_failure}")


def _show_pages(report: Report) -> None:
    shown = _table("search", "codes", "pages", "p50 ms", "p99 ms", "worst ms", "target", "reached")
    for one in report.pages:
        shown.add_row(
            one.name,
            number(one.codes),
            number(one.pages),
            number(one.p50_ms, 1),
            number(one.p99_ms, 1),
            number(one.max_ms, 1),
            number(one.p99_ms_max),
            word(one.is_reached),
        )
    _print_table(shown)
    say(f"\n{report.store_version}; reached is that of the 99th percentile.")
