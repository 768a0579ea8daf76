"""Bulk work in chunks: each one transaction with its share of the batch's row."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from promint.domain.errors import BatchNotFound, OutcomeUnknown, ProgramNotFound, StoreBusy
from promint.domain.model import Batch, LoyaltyProgram
from promint.service.transactions import in_transaction
from promint.store import Store, Transaction

CHUNK = 250
"""Codes of one transaction: so many are held, for some 20 ms, while others wait for them."""

GAP_SHARE = 0.25
GAP_MIN_S = 0.002
PAUSES_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 5.0, 5.0)

Outcome = TypeVar("Outcome")


async def known_batch(store: Store, batch_id: int) -> Batch:
    """Return a batch.

    Raises:
        BatchNotFound: there is none.
    """
    batch = await store.batch(batch_id)
    if batch is None:
        raise BatchNotFound(str(batch_id))
    return batch


async def program_of(store: Store, batch: Batch) -> LoyaltyProgram:
    """Return the program of a batch.

    Raises:
        ProgramNotFound: it is gone.
    """
    program = await store.program(batch.loyalty_id)
    if program is None:
        raise ProgramNotFound(str(batch.loyalty_id))
    return program


async def held_batch(transaction: Transaction, batch_id: int) -> Batch:
    """Return a batch, held until the end of the transaction.

    Raises:
        BatchNotFound: there is none.
    """
    batch = await transaction.batch(batch_id)
    if batch is None:
        raise BatchNotFound(str(batch_id))
    return batch


async def persistently(store: Store, work: Callable[[Transaction], Awaitable[Outcome]]) -> Outcome:
    """Run a chunk in a transaction, again and again while the store is busy or in doubt.

    `work` finds out by the batch's row, which it holds, whether an earlier try was committed.
    Leaves the store alone for a moment afterwards: on SQLite there is one lock for everybody.

    Raises:
        StoreBusy: after some twenty seconds.
    """
    clock = asyncio.get_running_loop().time
    for pause_s in (*PAUSES_S, None):
        begun_at = clock()
        try:
            outcome = await in_transaction(store, work)
        except (StoreBusy, OutcomeUnknown):
            if pause_s is None:
                raise
            await asyncio.sleep(pause_s)
        else:
            await asyncio.sleep(max(GAP_MIN_S, (clock() - begun_at) * GAP_SHARE))
            return outcome
    raise AssertionError("the last try returns or raises")
