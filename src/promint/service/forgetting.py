"""What bulk changes did is forgotten some time after they ended; then they stay as they are."""

from dataclasses import replace

from promint.domain.model import BatchState
from promint.service.chunks import held_batch
from promint.service.transactions import in_transaction
from promint.store import Store, Transaction

MOST = 1_000
"""So many changes, or shards, are looked at in one transaction."""


async def forget_changes(store: Store, now: int, ended_before: int) -> bool:
    """Forget a part of what one bulk change did that ended before a moment; say whether any did.

    From the first part on its batch cannot be taken back.

    Raises:
        StoreBusy, OutcomeUnknown: the store cannot work now; the rest is for another time.
    """
    batch_id = await store.unforgotten_batch(ended_before)
    if batch_id is None:
        return False

    async def forget(transaction: Transaction) -> None:
        batch = await held_batch(transaction, batch_id)
        if batch.state not in (BatchState.DONE, BatchState.UNDONE):
            return
        program = await transaction.program(batch.loyalty_id)
        assert program is not None, "a batch without a program"
        began = batch.forgotten_at is not None
        shard, left = int(batch.position) if began else program.first_shard, MOST
        while left > 0 and shard <= program.last_shard:
            removed = await transaction.forget_changes(shard, batch.id, left)
            if removed < left:
                shard += 1
            left -= max(1, removed)
        await transaction.update_batch(
            replace(
                batch,
                forgotten_at=batch.forgotten_at if began else now,
                position="" if shard > program.last_shard else str(shard),
            )
        )

    await in_transaction(store, forget)
    return True
