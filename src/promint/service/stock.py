"""Low stock: an event when free codes fall under `low_stock`, and one when they recover.

Whether a program is low stands in a tally, written together with the event. So of several
processes that look, one raises it, and once.
"""

import json

from promint.domain.model import EventKind, LoyaltyProgram
from promint.service.means import Means
from promint.service.transactions import in_transaction
from promint.store import Reads, Tally, TallyId, Transaction, Writes

LOW_STOCK = "low_stock"
"""The kind of tally that says whether a program is low: its count is 1 or 0."""


def low_stock_tally(program: LoyaltyProgram) -> TallyId:
    """Return the tally that says whether a program is low."""
    return TallyId(program.first_shard, LOW_STOCK, "")


class Stock:
    """Watches the free codes of programs."""

    def __init__(self, means: Means) -> None:
        """Take the means."""
        self._means = means
        self._known: dict[int, bool] = {}

    async def look(self) -> list[EventKind]:
        """Look at every program that has `low_stock` set; return what was raised.

        A program is counted only up to `low_stock`, by the index of free codes. What this process
        has found before is not asked for again.

        Raises:
            StoreError, StoreBusy: the store cannot work now; the next look finds it.
        """
        raised = []
        for program in await self._means.store.programs():
            if program.low_stock is None or program.archived:
                continue
            is_low, free = await self._is_low(program)
            if self._known.get(program.id) is is_low:
                continue
            kind = await self._note(program, is_low=is_low, free=free)
            self._known[program.id] = is_low
            if kind is not None:
                raised.append(kind)
        return raised

    async def _is_low(self, program: LoyaltyProgram) -> tuple[bool, int]:
        low_stock = program.low_stock or 0
        if not low_stock:
            return False, 0
        free = await self._means.store.free_codes(program, self._means.now(), low_stock)
        return free < low_stock, free

    async def _note(self, program: LoyaltyProgram, *, is_low: bool, free: int) -> EventKind | None:
        """Write that a program is low or has recovered, unless that is known; return the event."""
        tally_id = low_stock_tally(program)
        kind = EventKind.LOW_STOCK if is_low else EventKind.STOCK_RECOVERED

        async def work(transaction: Transaction) -> EventKind | None:
            found = await transaction.read(Reads(tallies={tally_id}))
            before = found.tallies.get(tally_id)
            if bool(before is not None and before.total) is is_low:
                return None
            details = json.dumps({"free": free, "low_stock": program.low_stock})
            writes = Writes()
            writes.tallies[tally_id] = (
                Tally(int(is_low), 0, before.version + 1 if before else 1),
                before.version if before else None,
            )
            writes.events.append(self._means.event(kind, program.first_shard, details=details))
            await transaction.write(writes)
            return kind

        return await in_transaction(self._means.store, work)
