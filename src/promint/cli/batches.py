"""`promint batch`: what was imported, generated and changed at once; and taking it back."""

from typing import Any

import click

from promint.bootstrap import make_means
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
    stopped,
    table,
)
from promint.cli.progress import progress_bar
from promint.domain.model import Batch
from promint.service.administration import Administration
from promint.service.batches import Batches, Touched, UndoPreview, batch_view
from promint.store import Store

BATCHES_SHOWN = 50
TOUCHED_SHOWN = 1_000


@click.group()
def batch() -> None:
    """Look at batches and take them back."""


def batch_rows(view: dict[str, Any]) -> dict[str, Any]:
    """Return a batch as one listing: without its parameters, counts in line, zeros left out."""
    shown = {name: value for name, value in view.items() if name not in ("counts", "parameters")}
    if not view["forgotten"]:
        del shown["forgotten"]
    return {**shown, **{name: count for name, count in view["counts"].items() if count}}


@batch.command("list")
@click.option("--program", "loyalty_id", type=ID, help="Only those of this loyalty_id.")
@click.option("--before", "before_id", type=ID, help="Only batches older than this one.")
@click.option("--limit", type=Whole(1, 1000), default=BATCHES_SHOWN, show_default=True)
@command_options
def batch_list(target: Target, loyalty_id: int | None, before_id: int | None, limit: int) -> None:
    """List batches, the newest first."""

    async def work(store: Store, administration: Administration) -> list[Batch]:
        batches = Batches(make_means(store))
        return await batches.batches(loyalty_id, before_id=before_id, most=limit)

    views = [batch_view(one) for one in run(target, work)]
    if not target.as_json:
        views = [_row(view) for view in views]
    table(target, "batches", views)


def _row(view: dict[str, Any]) -> dict[str, Any]:
    counts = view["counts"]
    return {
        **{name: view[name] for name in ("batch_id", "loyalty_id", "kind", "state")},
        "codes": f"{counts['changed'] or counts['inserted']:,}",
        "undone": f"{counts['undone']:,}",
        **{name: view[name] for name in ("author", "created", "source")},
    }


@batch.command("show")
@click.argument("batch_id", type=ID)
@command_options
def batch_show(target: Target, batch_id: int) -> None:
    """Show a batch: what it was for, and what became of it."""

    async def work(store: Store, administration: Administration) -> Batch:
        return await Batches(make_means(store)).batch(batch_id)

    view = batch_view(run(target, work))
    answer(target, view, listing({**batch_rows(view), **view["parameters"]}))


@batch.command("undo")
@click.argument("batch_id", type=ID)
@click.option("--dry-run", is_flag=True, help="Say what would be taken back, change nothing.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@command_options
def batch_undo(target: Target, batch_id: int, *, dry_run: bool, yes: bool) -> None:
    """Take a batch back, as far as nobody has touched its codes since.

    What was touched stays, and 'promint batch touched' lists it. An undo that was interrupted
    goes on when it is begun again.
    """
    if target.as_json and not (yes or dry_run):
        raise click.UsageError("With --json nobody is asked: add --yes or --dry-run.")

    async def look(store: Store, administration: Administration) -> UndoPreview:
        return await Batches(make_means(store)).preview_undo(batch_id)

    if dry_run or not yes:
        preview = run(target, look)
        if dry_run:
            answer(target, _preview_values(batch_id, preview), _preview_text(preview))
            return
        click.echo(_preview_text(preview))
        if not click.confirm(f"Take batch {batch_id} back?"):
            fail("Nothing was changed.")

    with progress_bar(target) as progress:

        async def work(store: Store, administration: Administration) -> Batch:
            return await Batches(make_means(store)).undo(batch_id, progress=progress)

        try:
            undone = run(target, work)
        except KeyboardInterrupt:
            again = f"promint batch undo {batch_id}{same_store(target)}"
            stopped(f"Stopped. The same command goes on: {again}")
    lines = [f"Taken back: {undone.undone:,}. Touched since, and left: {undone.touched:,}."]
    if undone.touched:
        lines.append(f"See them with: promint batch touched {batch_id}")
    answer(target, batch_view(undone), "\n".join(lines))


def _preview_values(batch_id: int, preview: UndoPreview) -> dict[str, Any]:
    return {
        "batch_id": batch_id,
        "undoing": preview.undoing,
        "touched": preview.touched,
        "is_all": preview.is_all,
        "sample": [one._asdict() for one in preview.sample],
    }


def _preview_text(preview: UndoPreview) -> str:
    more = "" if preview.is_all else "More than "
    lines = [
        f"{more}{preview.undoing:,} can be taken back, {preview.touched:,} were touched since."
    ]
    lines += [f"  {one.code}  {one.why}" for one in preview.sample]
    return "\n".join(lines)


@batch.command("touched")
@click.argument("batch_id", type=ID)
@click.option("--limit", type=Whole(1), default=TOUCHED_SHOWN, show_default=True)
@command_options
def batch_touched(target: Target, batch_id: int, limit: int) -> None:
    """List what of a batch cannot be taken back, and what happened to it."""

    async def work(store: Store, administration: Administration) -> list[Touched]:
        found: list[Touched] = []
        async for one in Batches(make_means(store)).touched(batch_id):
            found.append(one)
            if len(found) > limit:
                break
        return found

    found = run(target, work)
    rows = [one._asdict() for one in found[:limit]]
    if target.as_json:
        answer(target, {"touched": rows, "is_all": len(found) <= limit}, "")
        return
    if not rows:
        click.echo("Nothing of this batch was touched.")
        return
    table(target, "touched", rows)
    if len(found) > limit:
        click.echo(f"These are the first {limit:,}; --limit shows more.")
