"""Builds that die between a commit and its answers, and one that writes two transactions."""

import os
import signal
from pathlib import Path
from typing import Any

from promint.store.postgres import PostgresStore
from promint.store.sqlite import SqliteStore

ARMED = "PROMINT_TEST_ARMED"
"""The setting that names a file; while it exists, the next commit with a key is the last."""


def die_after_commit() -> None:
    """No fault: be killed once, after a commit and before anybody is answered."""
    armed = Path(os.environ[ARMED])
    for store in (SqliteStore, PostgresStore):
        _die(store, armed)


def record_after_commit() -> None:
    """Remember the answers of keys once their effects are committed."""
    die_after_commit()
    for store in (SqliteStore, PostgresStore):
        _record_later(store)


def _die(store: Any, armed: Path) -> None:
    transact = store.transact

    async def transact_and_die(self: Any, batch: Any, *, locked: bool) -> None:
        await transact(self, batch, locked=locked)
        if any(operation.keyed for operation in batch.operations):
            _die_if(armed)

    store.transact = transact_and_die


def _die_if(armed: Path) -> None:
    """Be killed if the file is there, which then it is no more."""
    if armed.exists():
        armed.unlink()
        os.kill(os.getpid(), signal.SIGKILL)


def _record_later(store: Any) -> None:
    transact = store.transact

    async def transact_twice(self: Any, batch: Any, *, locked: bool) -> None:
        decide = batch.decide
        kept: list[Any] = []

        def decide_without(found: Any) -> Any:
            writes = decide(found)
            kept[:] = writes.idempotency
            writes.idempotency = []
            return writes

        batch.decide = decide_without
        await transact(self, batch, locked=locked)
        if kept:
            async with self.transaction() as transaction:
                for keyed, answer in kept:
                    await transaction.remember(keyed, answer)

    store.transact = transact_twice
