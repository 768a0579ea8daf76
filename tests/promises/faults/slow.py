"""A store that is slow: no fault, but a capacity that is the same on every machine."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

BATCH_MAX = 8
BATCH_S = 0.05
"""What the slow store takes for a batch."""

BATCHES = {"PROMINT_BATCH_MAX": str(BATCH_MAX)}


def slow_store() -> None:
    """Take as long for each batch as a slow disk would."""
    from promint.store.postgres import PostgresStore
    from promint.store.sqlite import SqliteStore

    kinds: tuple[Any, ...] = (PostgresStore, SqliteStore)
    for store in kinds:
        store.transact = _slowly(store.transact)


def _slowly(transact: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    async def transact_slowly(*arguments: Any, **named: Any) -> None:
        await asyncio.sleep(BATCH_S)
        await transact(*arguments, **named)

    return transact_slowly
