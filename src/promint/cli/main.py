"""`promint`: the group of all commands."""

import logging

import click

from promint import __version__
from promint.cli import admin, batches, bench, bench_bulk, codes, jobs, profiles, programs, serving
from promint.cli.output import Target


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="promint")
@click.option("--database", metavar="URL", help="The store: sqlite:///FILE or postgresql://…")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def main(context: click.Context, database: str | None, as_json: bool) -> None:
    """Loyalty programs and their promo codes: exact, fast, and your own.

    Start with: promint demo
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    context.obj = Target(database, as_json)


for command in (
    serving.demo,
    serving.serve,
    serving.migrate,
    serving.settings,
    serving.openapi,
    admin.token,
    admin.database_group,
    programs.program,
    profiles.profile,
    codes.codes,
    batches.batch,
    jobs.job_group,
    bench.bench,
):
    main.add_command(command)
bench.bench.add_command(bench_bulk.bulk)
