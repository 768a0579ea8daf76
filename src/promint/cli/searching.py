"""`promint codes search` and `export`, `promint profile wallet`: looking codes up."""

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import click

from promint.bootstrap import make_means, utc_now
from promint.cli.filters import Options, filter_of, filter_options, profile_of, profile_options
from promint.cli.output import ID, Target, Whole, answer, command_options, run, stopped, table
from promint.cli.progress import progress_bar
from promint.domain.errors import ProgramNotFound
from promint.domain.model import Event, EventKind, LoyaltyProgram, PromoCode
from promint.service.administration import Administration
from promint.service.exporting import Exporting
from promint.service.searching import Search
from promint.store import Store
from promint.store.searching import CodeFilter
from promint.wire.moments import write_moment
from promint.wire.rows import FileFormat

FORMATS = [FileFormat.CSV.value, FileFormat.XLSX.value, FileFormat.JSONL.value]


async def _program(store: Store, loyalty_id: int) -> LoyaltyProgram:
    program = await store.program(loyalty_id)
    if program is None:
        raise ProgramNotFound(str(loyalty_id))
    return program


def _shown(code: PromoCode) -> dict[str, Any]:
    return {
        "code": code.code,
        "state": code.state(utc_now()).value,
        "created": write_moment(code.created_at),
        "expire_date": write_moment(code.expires_at),
        "attached": write_moment(code.attached_at),
        "activated": write_moment(code.activated_at),
        "database_id": code.database_id,
        "profile_id": code.profile_id,
        "batch_id": code.batch_id,
        "attach_count": code.attach_count,
        "activation_count": code.activation_count,
        "fields": json.loads(code.fields or "{}"),
    }


@click.command("search")
@click.option("--program", "loyalty_id", type=ID, required=True, help="Its loyalty_id.")
@click.option("--limit", type=Whole(1, 100_000), default=50, help="How many at most.")
@click.option("--after", help="Go on after the page that said this.")
@filter_options
@command_options
def codes_search(
    target: Target, loyalty_id: int, *, limit: int, after: str | None, **options: Any
) -> None:
    """Search a program's codes, by state, prefix, batch, holder or date."""

    async def work(store: Store, administration: Administration) -> dict[str, Any]:
        program = await _program(store, loyalty_id)
        search = Search(make_means(store))
        wanted = await filter_of(search, program, options)
        page = await search.full_page(program, wanted, after=after, most=limit)
        return {"codes": [_shown(code) for code in page.codes], "next": page.next}

    page = run(target, work)
    if not target.as_json:
        hidden = ("attach_count", "activation_count", "fields")
        page["codes"] = [
            {name: row[name] for name in row if name not in hidden} for row in page["codes"]
        ]
    _print(target, page)


@click.command("wallet")
@click.option("--limit", type=Whole(1, 100_000), default=50, help="How many at most.")
@click.option("--after", help="Go on after the page that said this.")
@profile_options
@command_options
def profile_wallet(target: Target, *, limit: int, after: str | None, **options: Any) -> None:
    """List the codes that a profile holds, in all programs, the newest first."""

    async def work(store: Store, administration: Administration) -> dict[str, Any]:
        key = profile_of(options)
        if key is None:
            raise click.UsageError("Name the profile by --db and --profile-id, --email or --phone.")
        page = await Search(make_means(store)).wallet(key, after=after, most=limit)
        rows = [
            {
                "loyalty_id": held.code.loyalty_id,
                "code": held.code.code,
                "state": held.code.state(utc_now()).value,
                "attached": write_moment(held.attached_at),
                "activated": write_moment(held.code.activated_at),
                "expire_date": write_moment(held.code.expires_at),
            }
            for held in page.codes
        ]
        return {"codes": rows, "next": page.next}

    _print(target, run(target, work))


@click.command("events")
@click.argument("loyalty_id", type=ID)
@click.option("--limit", type=Whole(1, 1000), default=50, help="How many at most.")
@click.option("--after", help="Go on after the page that said this.")
@command_options
def program_events(target: Target, loyalty_id: int, *, limit: int, after: str | None) -> None:
    """List what happened in a program, the newest first: to its codes, its settings, its stock."""

    async def work(store: Store, administration: Administration) -> dict[str, Any]:
        program = await _program(store, loyalty_id)
        search = Search(make_means(store))
        events, following = await search.events(program, after=after, most=limit)
        return {"events": [_happened(event) for event in events], "next": following}

    page = run(target, work)
    if not target.as_json:
        page["events"] = [
            {**row, "details": ", ".join(f"{name} {value}" for name, value in details.items())}
            for row in page["events"]
            for details in [row["details"] or {}]
        ]
    _print(target, page, "events")


def _happened(event: Event) -> dict[str, Any]:
    return {
        "at": write_moment(event.at),
        "what": EventKind(event.kind).name.lower(),
        "who": f"token {event.token_id}" if event.token_id else event.request_id,
        "code_key": event.code_key,
        "database_id": event.database_id,
        "profile_id": event.profile_id,
        "details": None if event.details is None else json.loads(event.details),
    }


def _print(target: Target, page: dict[str, Any], name: str = "codes") -> None:
    if target.as_json:
        answer(target, page, "")
        return
    table(target, name, page[name])
    if page["next"]:
        click.echo(f"\nMore with --after {page['next']}")


@click.command("export")
@click.option("--program", "loyalty_id", type=ID, required=True, help="Its loyalty_id.")
@click.option("--format", "form", type=click.Choice(FORMATS), default="csv", help="Of the file.")
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), help="The file; else it is shown."
)
@click.option("--raw", is_flag=True, help="For machines: no guard against formulas, no mark.")
@filter_options
@command_options
def codes_export(
    target: Target,
    loyalty_id: int,
    *,
    form: str,
    output: Path | None,
    raw: bool,
    **options: Options,
) -> None:
    """Export codes with state, dates, holder and fields, as of one moment.

    Codes come in order of creation. The file is there once it is whole. Unless --raw, no cell of
    it starts a formula in a spreadsheet.
    """
    if output is None and target.as_json:
        raise click.UsageError("Name an --output with --json.")
    counts = {"codes": 0}

    with progress_bar(target) as progress, contextlib.ExitStack() as stack:

        async def note(done: int, total: int | None, phase: str) -> None:
            counts["codes"] = done
            if output is not None:
                await progress(done, counts.get("total"), phase)

        async def work(store: Store, administration: Administration) -> None:
            program = await _program(store, loyalty_id)
            means = make_means(store)
            wanted = await filter_of(Search(means), program, options)
            if wanted == CodeFilter():
                counts["total"] = (await store.code_counts([program]))[program.id]
            pieces = Exporting(means).export(
                program, wanted, FileFormat(form), raw=raw, progress=note
            )
            if output is None:
                async for piece in pieces:
                    sys.stdout.buffer.write(piece)
                return
            part = output.with_name(f"{output.name}.part")
            stack.callback(part.unlink, missing_ok=True)
            with part.open("wb") as file:
                async for piece in pieces:
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
            part.replace(output)

        try:
            run(target, work)
        except KeyboardInterrupt:
            if output is None:
                stopped("Stopped; what was shown is not the whole.")
            stopped(f"Stopped; {output} was not written. The same command begins anew.")
    if output is not None:
        said = f"Exported {counts['codes']:,} codes to {output}"
        answer(target, {"codes": counts["codes"], "file": str(output), "format": form}, said)
