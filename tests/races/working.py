"""A build with kinds of jobs for tests: `python -m tests.races.working serve …`.

`count` does `steps` steps, each one transaction that moves its batch's position and leaves an
event; so every step that was done twice, or not at all, is seen. It goes on where its batch is,
as the real kinds do.
"""

import asyncio
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from promint import bootstrap
from promint.domain.model import Batch, BatchKind, BatchState, EventKind
from promint.service import job_processes
from promint.service.job_kinds import KINDS
from promint.service.job_work import JobContext
from promint.service.means import Cancelled
from promint.store import Transaction


async def count(context: JobContext) -> dict[str, Any]:
    """Do the steps, with `pause_s` between them; after step `dies_at` or `stops_at`, do that.

    After step `waits_at` it waits until there is a file `waits_for`.
    """
    wanted = context.job.parameters
    go = Path(wanted.get("waits_for", ""))
    batch_id = context.job.batch_id or await _batch(context)
    if wanted.get("dies_each_time") and context.job.attempts > 1:
        os.kill(os.getpid(), signal.SIGKILL)
    while True:
        async with context.means.store.transaction() as transaction:
            done = await _step(context, transaction, batch_id)
        if done == wanted.get("dies_at"):
            os.kill(os.getpid(), signal.SIGKILL)
        if done == wanted.get("stops_at"):
            # Where the next step may begin: nothing has asked yet whether the claim holds.
            os.kill(os.getpid(), signal.SIGSTOP)
        try:
            await context.progress(done, wanted["steps"], "counting")
            while done == wanted.get("waits_at") and not await asyncio.to_thread(go.exists):
                await asyncio.sleep(0.02)
                await context.progress(done, wanted["steps"], "counting")
        except Cancelled:
            await _set_state(context, batch_id, BatchState.STOPPED)
            raise
        if done == wanted["steps"]:
            break
        await asyncio.sleep(wanted.get("pause_s", 0))
    await _set_state(context, batch_id, BatchState.DONE)
    async with context.input_file() as file:
        read = file.read()

    async def content() -> Any:
        yield read[::-1]

    await context.keep_file("export", content())
    return {"steps": done, "nice": os.nice(0)}


async def _batch(context: JobContext) -> int:
    async with context.means.store.transaction() as transaction:
        made = await transaction.insert_batch(
            Batch(0, context.job.loyalty_id, BatchKind.EXPIRE, author=context.means.author)
        )
    await context.made_batch(made.id)
    return made.id


async def _step(context: JobContext, transaction: Transaction, batch_id: int) -> int:
    batch = await transaction.batch(batch_id)
    assert batch is not None
    if batch.changed == context.job.parameters["steps"]:
        return batch.changed
    batch = replace(batch, changed=batch.changed + 1, state=BatchState.RUNNING)
    await transaction.update_batch(batch)
    program = await transaction.program(context.job.loyalty_id)
    assert program is not None
    await transaction.record([context.means.event(EventKind.UPDATED, program.first_shard)])
    return batch.changed


async def _set_state(context: JobContext, batch_id: int, state: BatchState) -> None:
    async with context.means.store.transaction() as transaction:
        batch = await transaction.batch(batch_id)
        assert batch is not None
        await transaction.update_batch(replace(batch, state=state))


async def fail(context: JobContext) -> dict[str, Any]:
    """Fail in a way that nobody has thought of."""
    raise RuntimeError("by design")


def main() -> None:
    """Plant the kinds and run the command."""
    from promint.cli import main as promint

    KINDS.update(count=count, fail=fail)
    # Nobody gains by waiting: a job is looked for, and begun again, at once.
    job_processes.POLL_S = job_processes.RESTART_PAUSE_S = 0.05
    bootstrap.JOB_COMMAND = (sys.executable, "-m", "tests.races.working")
    promint()


if __name__ == "__main__":
    main()
