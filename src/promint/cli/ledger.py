"""`promint doctor --ledger`: every code, attachment and count against the events."""

import json
import sys

import click

from promint.cli.output import EXIT_FAILED, EXIT_UNUSABLE, Target, fail, settings_of
from promint.ledger import CannotCheck, check


def check_ledger(target: Target) -> None:
    """Check the ledger of the store and print what differs; the last line is for a monitor.

    Ends with 1 if something differs, with 2 if the store cannot be read.
    """
    try:
        report = check(settings_of(target).database_url)
    except CannotCheck as error:
        fail(str(error), EXIT_UNUSABLE)
    if target.as_json:
        click.echo(json.dumps(report.values(), ensure_ascii=False))
    else:
        for finding in report.findings:
            click.echo(str(finding))
        click.echo(report.line())
    if not report.is_right:
        sys.exit(EXIT_FAILED)
