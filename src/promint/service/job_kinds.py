"""What each kind of job does: thin adapters from a job's parameters to the use case.

Parameters hold what JSON can, moments as UTC microseconds:

- `import`: name, mode (`rows`, `all-or-nothing`), dry_run, db_id, read (fields of `ReadOptions`)
- `generate`: count, template, expire_date, fields, accept_guessable
- `change`: change (a `BatchKind`), filter (see `filter_parameters`), expires_at for `expire`;
  for `attach` name and db_id, and the list of profiles as the job's file
- `undo`: batch_id
"""

import csv
import io
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from typing import IO, Any

from promint.domain.errors import ProgramNotFound
from promint.domain.model import Batch, BatchKind, BatchState
from promint.service.batches import Batches, batch_view
from promint.service.bulk_changes import (
    BulkChanges,
    Change,
    Reject,
    Targets,
    filter_of,
    targets_of,
)
from promint.service.generation import Generation
from promint.service.importing import Importing, ImportMode, ImportOptions
from promint.service.job_work import JobContext, Work
from promint.store.jobs import PART_BYTES
from promint.wire.rows import Encoding, FileFormat, ReadOptions

REJECTS = "rejects"
"""The kind of a job's file that lists what stayed out, each with its reason."""


async def _import(context: JobContext) -> dict[str, Any]:
    """Bring the job's file in, or rehearse it."""
    done = await _done_before(context)
    if done is not None:
        return done
    wanted, importing = context.job.parameters, Importing(context.means)
    with tempfile.TemporaryFile() as rejects:
        async with context.input_file() as file:
            common: dict[str, Any] = {
                "name": wanted["name"],
                "options": ImportOptions(
                    _read_options(wanted["read"]), ImportMode(wanted["mode"]), wanted["db_id"]
                ),
                "rejects": rejects,
                "progress": context.progress,
            }
            if wanted["dry_run"]:
                report = await importing.rehearse(context.job.loyalty_id, file, **common)
            else:
                report = await importing.run(
                    context.job.loyalty_id,
                    file,
                    resume_batch=context.job.batch_id,
                    on_batch=context.made_batch,
                    **common,
                )
        if report.rejected:
            await context.keep_file(REJECTS, _content(rejects))
    return report.values()


def _read_options(given: dict[str, Any]) -> ReadOptions:
    values = dict(given)
    for name, kind in (("format", FileFormat), ("encoding", Encoding)):
        if values.get(name) is not None:
            values[name] = kind(values[name])
    return ReadOptions(**values)


async def _generate(context: JobContext) -> dict[str, Any]:
    """Make codes up."""
    done = await _done_before(context)
    if done is not None:
        return done
    wanted = context.job.parameters
    batch = await Generation(context.means, context.codes).generate(
        context.job.loyalty_id,
        wanted["count"],
        template=wanted["template"],
        expires_at=wanted["expire_date"],
        fields=wanted["fields"],
        accept_guessable=wanted["accept_guessable"],
        progress=context.progress,
        resume_batch=context.job.batch_id,
        on_batch=context.made_batch,
    )
    return batch_view(batch)


async def _change(context: JobContext) -> dict[str, Any]:
    """Change what a filter matches, or attach to the profiles of the job's file."""
    wanted, changes = context.job.parameters, BulkChanges(context.means, context.codes)
    kind = BatchKind(wanted["change"])
    async with AsyncExitStack() as opened:
        run: dict[str, Any] = {"progress": context.progress}
        if kind is BatchKind.ATTACH:
            profiles = await opened.enter_async_context(context.input_file())
            run["targets"] = targets_of(profiles, name=wanted["name"], database_id=wanted["db_id"])
        batch_id = context.job.batch_id
        if batch_id is None:
            batch_id = (await _begin(context, changes, kind, run.get("targets"))).id
            await context.made_batch(batch_id)
        file = tempfile.TemporaryFile()  # noqa: SIM115  # the stack closes it
        opened.enter_context(file)
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        lines = csv.writer(text)
        lines.writerow(Reject._fields)

        async def rejected(rejects: Sequence[Reject]) -> None:
            lines.writerows(rejects)

        batch = await changes.run(batch_id, rejected=rejected, **run)
        text.flush()
        if batch.rejected:
            await context.keep_file(REJECTS, _content(file))
    return batch_view(batch)


async def _begin(
    context: JobContext, changes: BulkChanges, kind: BatchKind, targets: Targets | None
) -> Batch:
    wanted, loyalty_id = context.job.parameters, context.job.loyalty_id
    program = await context.means.store.program(loyalty_id)
    if program is None:
        raise ProgramNotFound(str(loyalty_id))
    if targets is not None:
        return await changes.begin_attach(program, targets, source=wanted["name"])
    change = Change(kind, wanted.get("expires_at"))
    return await changes.begin(program, filter_of(wanted["filter"]), change)


async def _undo(context: JobContext) -> dict[str, Any]:
    """Take a batch back."""
    batches, batch_id = Batches(context.means), context.job.parameters["batch_id"]
    batch = await batches.batch(batch_id)
    if context.job.batch_id is None:
        await context.made_batch(batch_id)
    elif batch.state is BatchState.UNDONE:
        # It was this job, which died before it could say so.
        return batch_view(batch)
    return batch_view(await batches.undo(batch_id, progress=context.progress))


KINDS: dict[str, Work] = {
    "import": _import,
    "generate": _generate,
    "change": _change,
    "undo": _undo,
}
"""The work of each kind of job, by its name."""


async def _done_before(context: JobContext) -> dict[str, Any] | None:
    """Return what came of a batch that an earlier process ended, and then died."""
    if context.job.batch_id is None:
        return None
    batch = await Batches(context.means).batch(context.job.batch_id)
    is_resumable = batch.state in (BatchState.RUNNING, BatchState.STOPPED)
    return None if is_resumable else batch_view(batch)


async def _content(file: IO[bytes]) -> AsyncIterator[bytes]:
    """Yield a file from its start."""
    file.seek(0)
    while part := file.read(PART_BYTES):
        yield part
