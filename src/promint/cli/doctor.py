"""`promint doctor`: is everything as the promises need it?"""

import asyncio
import json
import sys
from collections import Counter
from dataclasses import asdict

import click

from promint.bootstrap import check_up
from promint.cli.ledger import check_ledger
from promint.cli.output import EXIT_FAILED, Target, command_options, console, settings_of
from promint.safety import Finding, Outcome


@click.command()
@click.option(
    "--ledger",
    is_flag=True,
    help="Instead: recompute every code, attachment and count from the events; name what differs.",
)
@command_options
def doctor(target: Target, *, ledger: bool) -> None:
    """Check settings, store and machine for what would break a promise.

    One line a check: ok, a warning, or refused, which `promint serve` would not start on. The
    exit code is 1 if anything is refused, else 0; the last line is for monitors.

    With --ledger one moment of the live store is read while writers go on; the exit code is 1 if
    anything differs, 2 if the store cannot be read.
    """
    if ledger:
        check_ledger(target)
        return
    found = asyncio.run(check_up(settings_of(target)))
    worst = max((finding.outcome for finding in found), key=[*Outcome].index)
    counts = Counter(finding.outcome for finding in found)
    if target.as_json:
        value = {
            "outcome": worst,
            "counts": {outcome: counts[outcome] for outcome in Outcome},
            "findings": [asdict(finding) for finding in found],
        }
        click.echo(json.dumps(value, ensure_ascii=False))
    else:
        for finding in found:
            console.print(_line(finding), markup=False)
        summary = ", ".join(f"{counts[outcome]} {outcome}" for outcome in Outcome)
        console.print(f"promint doctor: {worst} ({summary})", markup=False)
    sys.exit(EXIT_FAILED if worst is Outcome.REFUSED else 0)


def _line(finding: Finding) -> str:
    return f"{finding.outcome:<8} {finding.check:<24} {finding.text}"
