"""`promint codes change`: many codes at once, counted before, taken back later if need be."""

import asyncio
import csv
import hashlib
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import IO, Any, BinaryIO

import click

from promint.bootstrap import code_source, make_means
from promint.cli.batches import batch_rows
from promint.cli.filters import filter_of, filter_options
from promint.cli.output import (
    ID,
    Target,
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
from promint.cli.reading import rereadable
from promint.domain.errors import BadValue, BatchNotFound, ProgramNotFound
from promint.domain.model import Batch, BatchKind, LoyaltyProgram
from promint.service.administration import Administration
from promint.service.batches import batch_view
from promint.service.bulk_changes import (
    BulkChanges,
    Change,
    Preview,
    Reject,
    Targets,
    targets_of,
)
from promint.service.chunks import known_batch
from promint.service.means import Progress
from promint.service.searching import Search
from promint.store import Store
from promint.wire.rows.dates import LocalDates
from promint.wire.rows.guarding import guarded

SIMPLE = {
    "detach": BatchKind.DETACH,
    "deactivate": BatchKind.DEACTIVATE,
    "delete": BatchKind.DELETE,
}


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the options say shall happen."""

    loyalty_id: int
    expire_date: str | None
    simple: BatchKind | None
    list_file: BinaryIO | None
    source: str
    batch_id: int | None
    options: dict[str, Any]


@click.command("change")
@click.option("--program", "loyalty_id", type=ID, required=True, help="Its loyalty_id.")
@click.option("--expire-date", metavar="DATE", help="Let the codes expire then.")
@click.option("--no-expire-date", is_flag=True, help="Let the codes never expire.")
@click.option("--detach", is_flag=True, help="Take them back from their holders.")
@click.option("--deactivate", is_flag=True, help="Take their latest use back.")
@click.option("--delete", is_flag=True, help="Delete those that nobody holds.")
@click.option(
    "--attach-to",
    "list_file",
    type=click.File("rb"),
    metavar="FILE",
    help="Attach a free code, or the one that it names, to each profile of this list.",
)
@click.option("--all", "everything", is_flag=True, help="Every code of the program.")
@filter_options
@click.option("--dry-run", is_flag=True, help="Say what would change, change nothing.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.option(
    "--rejects",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write what was left alone to this CSV file, each with its reason.",
)
@click.option("--resume", "batch_id", type=ID, metavar="BATCH", help="Go on with a batch.")
@command_options
def codes_change(
    target: Target,
    loyalty_id: int,
    *,
    expire_date: str | None,
    no_expire_date: bool,
    list_file: IO[bytes] | None,
    everything: bool,
    dry_run: bool,
    yes: bool,
    rejects: Path | None,
    batch_id: int | None,
    **options: Any,
) -> None:
    """Change many codes at once, or attach codes to a list of profiles.

    First it says how many match and how many would change, and asks. What it does is a batch: one
    that was interrupted goes on with --resume, and 'promint batch undo' takes it back.
    """
    simple = [kind for name, kind in SIMPLE.items() if options.pop(name)]
    actions = len(simple) + bool(expire_date) + no_expire_date + (list_file is not None)
    is_filtered = any(
        value not in (None, "", ())
        for name, value in options.items()
        if name != "database_id" or list_file is None
    )
    if batch_id is None and actions != 1:
        raise click.UsageError(
            "Say one thing to do: --expire-date, --no-expire-date, --detach, --deactivate, "
            "--delete or --attach-to."
        )
    if batch_id is not None and (actions > (list_file is not None) or is_filtered):
        raise click.UsageError("--resume goes on with what the batch was for; say nothing more.")
    if list_file is not None and (is_filtered or everything):
        raise click.UsageError("With --attach-to the list says which codes, if any.")
    if batch_id is None and list_file is None and is_filtered is everything:
        raise click.UsageError("Say which codes, by --state and the like; or --all.")
    if target.as_json and not (yes or dry_run):
        raise click.UsageError("With --json nobody is asked: add --yes or --dry-run.")

    with ExitStack() as opened:
        file = opened.enter_context(rereadable(list_file)) if list_file else None
        asked = _Asked(
            loyalty_id,
            expire_date,
            simple[0] if simple else None,
            file,
            list_file.name if list_file else "command",
            batch_id,
            options,
        )
        done = _changed(target, asked, rejects, dry_run=dry_run, yes=yes)
    if done is None:
        return
    view = batch_view(done)
    lines = [listing(batch_rows(view))]
    if done.rejected and rejects is None:
        lines.append("With --rejects FILE what was left alone is listed.")
    answer(target, view, "\n".join(lines))


def _changed(
    target: Target, asked: _Asked, rejects: Path | None, *, dry_run: bool, yes: bool
) -> Batch | None:
    """Show what would change, ask, and do it; None if it was to be shown only."""
    begun: list[int] = [] if asked.batch_id is None else [asked.batch_id]

    def work_of(store: Store) -> "_Work":
        codes = code_source(settings_of(target))
        return _Work(store, BulkChanges(make_means(store), codes), asked)

    if asked.batch_id is None and (dry_run or not yes):

        async def look(store: Store, administration: Administration) -> Preview:
            return await work_of(store).preview()

        preview = run(target, look)
        if dry_run:
            answer(target, _preview_values(preview), _preview_text(preview))
            return None
        click.echo(_preview_text(preview))
        if not preview.changing or not click.confirm("Go on?"):
            fail("Nothing was changed.")

    async def work(store: Store, administration: Administration) -> Batch:
        return await work_of(store).run(begun, progress, rejects)

    try:
        with progress_bar(target) as progress:
            return run(target, work)
    except KeyboardInterrupt:
        stopped(_how_to_go_on(target, asked, begun))


def _how_to_go_on(target: Target, asked: _Asked, begun: list[int]) -> str:
    if not begun:
        return "Stopped; nothing was changed."
    again = f"promint codes change --program {asked.loyalty_id} --resume {begun[0]}"
    if asked.list_file is not None:
        again += f" --attach-to {quote(asked.source)}"
        database_id = asked.options.get("database_id")
        again += f" --db {database_id}" if database_id else ""
    return f"Stopped. Batch {begun[0]} goes on with: {again}{same_store(target)}"


class _Work:
    """One command's work on the open store."""

    def __init__(self, store: Store, changes: BulkChanges, asked: _Asked) -> None:
        self._store = store
        self._changes = changes
        self._asked = asked

    async def _program(self) -> LoyaltyProgram:
        program = await self._store.program(self._asked.loyalty_id)
        if program is None:
            raise ProgramNotFound(str(self._asked.loyalty_id))
        return program

    async def preview(self) -> Preview:
        """Count what would happen."""
        program, asked = await self._program(), self._asked
        if asked.list_file is not None:
            return await self._changes.preview_attach(program, self._targets(asked.list_file))
        wanted = await filter_of(Search(make_means(self._store)), program, asked.options)
        return await self._changes.preview(program, wanted, self._change(program))

    async def run(self, begun: list[int], progress: Progress, rejects: Path | None) -> Batch:
        """Do it, or go on with it; `begun` is told the batch."""
        program, asked = await self._program(), self._asked
        before = None
        if asked.batch_id is not None:
            before = await known_batch(self._store, asked.batch_id)
            if before.loyalty_id != program.id:
                raise BatchNotFound(str(before.id))
        targets = None
        if asked.list_file is not None:
            targets = self._targets(asked.list_file)
            digest = await asyncio.to_thread(_digest, asked.list_file)
            if before is not None:
                if before.parameters.get("sha256") != digest:
                    raise BadValue("not the list that the batch began with", "list")
            else:
                batch = await self._changes.begin_attach(
                    program, targets, source=asked.source, parameters={"sha256": digest}
                )
                begun.append(batch.id)
        elif before is None:
            wanted = await filter_of(Search(make_means(self._store)), program, asked.options)
            change = self._change(program)
            batch = await self._changes.begin(program, wanted, change, source="command")
            begun.append(batch.id)
        with _Rejects(rejects, is_resumed=before is not None) as writer:
            return await self._changes.run(
                begun[0], targets=targets, progress=progress, rejected=writer.write
            )

    def _change(self, program: LoyaltyProgram) -> Change:
        asked = self._asked
        if asked.simple is not None:
            return Change(asked.simple)
        expires_at = None
        if asked.expire_date is not None:
            dates = LocalDates(program.time_zone)
            expires_at = dates.moment(asked.expire_date, "--expire-date", to_the_end=True)
        return Change(BatchKind.EXPIRE, expires_at)

    def _targets(self, file: BinaryIO) -> Targets:
        database_id = self._asked.options.get("database_id")
        return targets_of(file, name=self._asked.source, database_id=database_id)


def _digest(file: BinaryIO) -> str:
    file.seek(0)
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


class _Rejects:
    """The file of what was left alone: made when there is something, added to when resumed."""

    COLUMNS = ("line", "code", "profile", "reason", "message")

    def __init__(self, path: Path | None, *, is_resumed: bool) -> None:
        self._path = path
        self._is_resumed = is_resumed
        self._file: IO[str] | None = None
        self._row: Callable[[Sequence[Any]], Any]

    def __enter__(self) -> "_Rejects":
        return self

    def __exit__(self, *exception: object) -> None:
        if self._file is not None:
            self._file.close()

    async def write(self, rejects: Sequence[Reject]) -> None:
        """Write rejects, so that no spreadsheet takes a code for a formula."""
        if self._path is None:
            return
        if self._file is None:
            is_new = not self._is_resumed or not self._path.exists()
            mode = "w" if is_new else "a"
            self._file = self._path.open(mode, encoding="utf-8", newline="")
            self._row = csv.writer(self._file).writerow
            if is_new:
                self._row(self.COLUMNS)
        for line, *texts in rejects:
            self._row(["" if line is None else line, *map(guarded, texts)])
        self._file.flush()


def _preview_values(preview: Preview) -> dict[str, Any]:
    return {
        "matching": preview.matching,
        "is_all": preview.is_all,
        "changing": preview.changing,
        "sample": [one._asdict() for one in preview.sample],
    }


def _preview_text(preview: Preview) -> str:
    more = "" if preview.is_all else "More than "
    first = "" if preview.is_all else " of the first ones"
    lines = [f"{more}{preview.matching:,} match; {preview.changing:,}{first} would change."]
    for one in preview.sample:
        parts = [one.code, one.profile, one.state]
        left = f"left alone: {one.refused}" if one.refused else ""
        lines.append("  " + "  ".join(part for part in (*parts, left) if part))
    return "\n".join(lines)
