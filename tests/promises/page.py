"""Writes docs/promises.md from the rows and from what is on record."""

from collections.abc import Iterable, Iterator, Sequence

import promint
from tests.promises.results import ROOT, Record, Result, State, Tier
from tests.promises.rows import ROWS, Row

PAGE = ROOT / "docs" / "promises.md"
TIERS = list(Tier)
STORES = {"sqlite": "SQLite", "postgres": "PostgreSQL", "both": "both", "": ""}
UNPROVED = "unproved"

INTRODUCTION = f"""\
# What Promint promises, and the proof

*For everybody who wants to rely on it. This page is written by `make prove`; nobody edits it.*

Each promise below is tested against the real service, from outside, on SQLite and on PostgreSQL.
Beside each test stands a *planted fault*: a build of the service with one mechanism taken away, in
which the same test has to find something. A test that would not notice says nothing. Where nothing
was run for version {promint.__version__}, the row says {UNPROVED}.

**What zero failures mean.** 0 failures in n trials do not say “never”. They say, with 95 %
confidence, that fewer than about 3 in n fail: after 200 trials less than 1.5 %, after 10,000 less
than 0.03 %. That bound stands beside each count. It is about trials like these, on a machine like
this one.

**Check it yourself.** `make prove` takes five minutes, `make prove TIER=night` up to ninety,
`make prove TIER=release` up to twelve hours. The long ones run in the background, can be stopped,
and go on where they were. A failure prints its seed and the command that repeats it. [How a promise
is proved](../CONTRIBUTING.md#how-to-prove-a-promise) says how the tests are written."""


def page(record: Record) -> str:
    """Return the page as the record has it."""
    shown = [_shown(found.values()) for found in record.results.values()]
    results = [result for result in shown if result is not None]
    by_row = {number: [result for result in results if number in result.rows] for number in ROWS}
    parts = [
        INTRODUCTION,
        "\n".join(_summary(by_row)),
        *("\n\n".join(_section(row, by_row[number], record)) for number, row in ROWS.items()),
    ]
    return "\n\n".join(parts) + "\n"


def _shown(runs: Iterable[Result]) -> Result | None:
    """Return what counts of a test: a failure, else the run of the longest tier."""
    of_this_version = [run for run in runs if run.version == promint.__version__]
    return max(
        of_this_version,
        key=lambda run: (run.state is State.FAILED, TIERS.index(run.tier)),
        default=None,
    )


def _summary(by_row: dict[int, list[Result]]) -> Iterator[str]:
    yield "| # | promise | trials | failures | planted fault found | last run | version |"
    yield "|---|---|---|---|---|---|---|"
    for number, results in by_row.items():
        row = ROWS[number]
        tests = [result for result in results if not result.fault]
        controls = [result for result in results if result.fault]
        cells = [
            f"[{number}](#{_anchor(row)})",
            row.promise,
            f"{_trials(tests):,}" if tests else f"{UNPROVED}{' here' if row.instead else ''}",
            f"{_failures(tests):,}" if tests else "",
            f"{_trials(controls):,} of {_tries(controls):,}" if controls else "",
            max((result.at[:10] for result in results), default=""),
            _version(max(results, key=lambda result: result.at)) if results else "",
        ]
        yield f"| {' | '.join(cells)} |"


def _section(row: Row, results: Sequence[Result], record: Record) -> Iterator[str]:
    yield f"## {row.number}. {row.promise}"
    yield f"*How:* {row.mechanism}\n*What is tried:* {row.shows}\n*Planted fault:* {row.fault}"
    if row.instead:
        yield row.instead
    tests = [result for result in results if not result.fault]
    if not tests:
        yield f"**{UNPROVED.capitalize()}.**"
    else:
        yield "\n".join(_tests(tests, record))
    controls = [result for result in results if result.fault]
    if controls:
        yield "\n".join(_controls(controls))


def _tests(results: Sequence[Result], record: Record) -> Iterator[str]:
    yield (
        "| test | store | trials | failures | fails in less than | all runs so far | tier | seed"
        " | last run | version |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for result in _sorted(results):
        total = record.totals[result.test]
        figures = "".join(f"; {name}: {value}" for name, value in sorted(result.figures.items()))
        cells = [
            f"{result.sentence}{figures}",
            STORES[result.store],
            f"{result.trials:,} {result.unit}",
            f"**{result.failures:,}**" if result.failures else "0",
            _bound(result),
            f"{total.failures:,} of {total.trials:,} since {total.since}",
            f"{result.tier}{', in part' if result.state is State.PART else ''}",
            str(result.seed),
            result.at[:10],
            _version(result),
        ]
        yield f"| {' | '.join(cells)} |"


def _controls(results: Sequence[Result]) -> Iterator[str]:
    yield "| planted fault | store | found | tier | last run | version |"
    yield "|---|---|---|---|---|---|"
    for result in _sorted(results):
        cells = [
            f"`{result.fault}`. {result.sentence}",
            STORES[result.store],
            f"{result.trials:,} of {_tries([result]):,}",
            result.tier,
            result.at[:10],
            _version(result),
        ]
        yield f"| {' | '.join(cells)} |"


def _sorted(results: Sequence[Result]) -> list[Result]:
    return sorted(results, key=lambda result: (result.test.partition("[")[0], result.test))


def _trials(results: Sequence[Result]) -> int:
    return sum(result.trials for result in results)


def _failures(results: Sequence[Result]) -> int:
    return sum(result.failures for result in results)


def _tries(controls: Sequence[Result]) -> int:
    """Return how often a fault was looked for: a miss is a failure and no trial."""
    return _trials(controls) + _failures(controls)


def _bound(result: Result) -> str:
    """Return the rule of three: what zero failures say about the true rate."""
    return f"{300 / result.trials:.2g} %" if result.trials > 3 and not result.failures else ""


def _version(result: Result) -> str:
    return f"{result.version} ({result.commit})" if result.commit else result.version


def _anchor(row: Row) -> str:
    heading = f"{row.number}. {row.promise}".lower()
    kept = "".join(sign for sign in heading if sign.isalnum() or sign in "_- ")
    return kept.strip().replace(" ", "-")
