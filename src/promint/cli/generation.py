"""`promint codes generate`: the plan, and the codes."""

from dataclasses import asdict
from typing import Any

import click

from promint.bootstrap import code_source, make_means
from promint.cli.output import (
    ID,
    Target,
    Whole,
    answer,
    command_options,
    fail,
    listing,
    run,
    same_store,
    settings_of,
    stopped,
)
from promint.cli.progress import progress_bar
from promint.domain.model import Batch
from promint.domain.planning import Plan
from promint.service.administration import Administration
from promint.service.generation import COUNT_MAX, Generation
from promint.store import Store
from promint.wire.rows.dates import LocalDates


@click.command("generate")
@click.argument("count", type=Whole(1, COUNT_MAX), required=False)
@click.option("--program", "loyalty_id", type=ID, required=True, help="Its loyalty_id.")
@click.option("--template", help="Pattern of the codes; the program's, if none is named.")
@click.option("--expire-date", metavar="DATE", help="Expiry of these codes.")
@click.option(
    "--field", "fields", multiple=True, metavar="NAME=VALUE", help="Additional data of each code."
)
@click.option(
    "--accept-guessable", is_flag=True, help="Generate codes that an attacker could guess."
)
@click.option("--dry-run", is_flag=True, help="Only say what generating would mean.")
@click.option(
    "--resume",
    "batch_id",
    type=Whole(1),
    metavar="BATCH",
    help="Go on with a batch that was interrupted.",
)
@command_options
def codes_generate(
    target: Target,
    count: int | None,
    loyalty_id: int,
    template: str | None,
    expire_date: str | None,
    fields: tuple[str, ...],
    accept_guessable: bool,
    dry_run: bool,
    batch_id: int | None,
) -> None:
    """Generate COUNT new codes of a template.

    They are drawn from the operating system's chance. The plan says how large the template's
    space is and how hard a code is to guess, and refuses what cannot work. An interrupted run
    leaves a batch, with which --resume goes on.
    """
    if batch_id is None and count is None:
        raise click.UsageError("Say how many codes, or which batch to --resume.")
    if batch_id is not None and (template or expire_date or fields or dry_run):
        raise click.UsageError("A batch that is resumed has its template, date and fields.")
    data = dict(map(_named_value, fields))
    codes = code_source(settings_of(target))
    begun: list[int] = [] if batch_id is None else [batch_id]

    async def note_batch(number: int) -> None:
        begun.append(number)

    async def work(store: Store, administration: Administration) -> Plan | Batch:
        generation = Generation(make_means(store), codes)
        if dry_run:
            assert count is not None
            return await generation.plan(
                loyalty_id, count, template, accept_guessable=accept_guessable
            )
        return await generation.generate(
            loyalty_id,
            count,
            template=template,
            expires_at=await _expiry(store, loyalty_id, expire_date),
            fields=data,
            accept_guessable=accept_guessable,
            progress=progress,
            resume_batch=batch_id,
            on_batch=note_batch,
        )

    with progress_bar(target) as progress:
        try:
            done = run(target, work)
        except KeyboardInterrupt:
            stopped(_how_to_go_on(target, loyalty_id, begun))
    if isinstance(done, Plan):
        _show_plan(target, done)
    else:
        values = {"batch_id": done.id, "generated": done.inserted, "template": done.source}
        answer(target, values, listing(values))


async def _expiry(store: Store, loyalty_id: int, text: str | None) -> int | None:
    """Return the moment of a date, which without a zone is of the program's time zone."""
    program = await store.program(loyalty_id)
    if text is None or program is None:
        return None
    dates = LocalDates(program.time_zone)
    return dates.moment(text, "--expire-date", to_the_end=True)


def _how_to_go_on(target: Target, loyalty_id: int, begun: list[int]) -> str:
    if not begun:
        return "Stopped; nothing was generated."
    again = f"promint codes generate --program {loyalty_id} --resume {begun[0]}"
    return f"Stopped. Batch {begun[0]} goes on with: {again}{same_store(target)}"


def _named_value(text: str) -> tuple[str, str]:
    name, is_named, value = text.partition("=")
    if not is_named:
        raise click.UsageError(f"{text!r} is not NAME=VALUE.")
    return name, value


def _show_plan(target: Target, plan: Plan) -> None:
    """Print a plan; one that is refused ends the command as a refusal would."""
    refused = [f"Refused: {one.sentence}: {one.advice}." for one in plan.refusals]
    values: dict[str, Any] = {**asdict(plan), "bits": round(plan.bits, 1)}
    values["used_share"] = round(plan.used_share, 6)
    answer(target, {**values, "sentence": plan.sentence}, "\n".join([plan.sentence, *refused]))
    if plan.refusals:
        fail("These codes cannot be generated so.")
