"""A build that jumps to a conclusion."""

from typing import Any


def call_what_was_lost_used() -> None:
    """Refuse what was under way when a connection broke as already activated."""
    from promint.domain.errors import AlreadyActivated
    from promint.store import ConnectionLost
    from promint.store.postgres import PostgresStore

    transact = PostgresStore.transact

    async def transact_or_refuse(self: PostgresStore, batch: Any, *, locked: bool) -> None:
        try:
            await transact(self, batch, locked=locked)
        except ConnectionLost:
            for operation in batch.operations:
                operation.outcome = AlreadyActivated()

    PostgresStore.transact = transact_or_refuse  # type: ignore[method-assign]  # the fault
