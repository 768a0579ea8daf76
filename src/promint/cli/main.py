"""`promint`: the group of all commands."""

import logging
from typing import Any

import click

from promint import __version__, logs
from promint.cli import (
    admin,
    backups,
    batches,
    bench,
    bench_bulk,
    codes,
    doctor,
    jobs,
    profiles,
    programs,
    searching,
    serving,
)
from promint.cli.output import Target, stopped


class _Commands(click.Group):
    """Every command. Where one is interrupted and has nothing to say of it, this is said."""

    def invoke(self, context: click.Context) -> Any:
        """Read a command's options and run it."""
        try:
            return super().invoke(context)
        except (KeyboardInterrupt, click.Abort):
            stopped("Stopped.")


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="promint")
@click.option("--database", metavar="URL", help="The store: sqlite:///FILE or postgresql://…")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def main(context: click.Context, database: str | None, as_json: bool) -> None:
    """Loyalty programs and their promo codes: exact, fast, and your own.

    Start with: promint demo
    """
    logs.configure(logging.WARNING, "%(levelname)s %(name)s: %(message)s")
    context.obj = Target(database, as_json)


for command in (
    serving.demo,
    serving.serve,
    serving.migrate,
    serving.settings,
    serving.openapi,
    admin.token,
    admin.guesses,
    admin.database_group,
    programs.program,
    profiles.profile,
    codes.codes,
    batches.batch,
    jobs.job_group,
    bench.bench,
    doctor.doctor,
    backups.backup,
    backups.restore,
):
    main.add_command(command)
programs.program.add_command(searching.program_events)
bench.bench.add_command(bench_bulk.bulk)
