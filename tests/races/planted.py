"""Builds of the service with a planted fault: `python -m tests.races.planted FAULT serve …`.

A fault is a function of this module, or `MODULE:FUNCTION` of another. Modules of faults import the
service inside of their functions: much of it is put together, once and for all, at its import.

A test that finds nothing says something only if it would have found a fault. Each fault here
takes one mechanism away, and the race or the crash that is about it has to notice. What is
replaced is looked for by name and text, so that a fault which no longer fits the service ends
the build at once instead of planting nothing.
"""

import asyncio
import itertools
import re
import sys
from collections.abc import Callable
from functools import lru_cache
from pkgutil import resolve_name
from typing import Any

from promint.store import sql

WINDOW_S = 0.02
"""How long a planted build waits where the real one is safe."""

SLOW_WINDOW_S = 0.2
"""How long it waits each fifth time: others commit meanwhile on a slow disk too."""


def check_first_write_later() -> None:
    """Decide on what was read a moment ago, and write that without another look."""
    _replace("POSTGRES_WRITE_CODES", "WHERE p.version = v.read_version ", "")
    _replace("POSTGRES_WRITE_CODES_DO", "AND p.version = v.read_version", "")
    _replace("POSTGRES_WRITE_HOLD_OK", "=", "<=")
    _replace("UPDATE_CODE", "AND version = $12", "AND $12 > 0")
    _write_tallies_unchecked()
    if any(argument.startswith("sqlite:") for argument in sys.argv):
        _ignore_conflicts_on_sqlite(
            "INSERT_CODE",
            "INSERT_TALLY",
            "INSERT_PROFILE",
            "INSERT_IDENTITY",
            "INSERT_ATTACHMENT",
            "INSERT_IDEMPOTENCY",
            "INSERT_EVENT",
        )
        _sqlite_reads_outside()
    else:
        _ignore_conflicts_on_postgres(
            "promo_code",
            "tally",
            "profile",
            "profile_identity",
            "attachment",
            "idempotency",
            "event",
        )
        _postgres_waits_unlocked()


def tallies_unguarded() -> None:
    """Count what a limit allows, and add to it whatever others have added meanwhile."""
    _write_tallies_unchecked()
    _ignore_conflicts_on_postgres("tally")
    _postgres_waits_unlocked()


def emails_unguarded() -> None:
    """Make a profile for an e-mail that was unknown a moment ago."""
    _ignore_conflicts_on_postgres("profile_identity")
    _postgres_waits_unlocked()


def keys_unguarded() -> None:
    """Do what an idempotency key was not yet used for a moment ago."""
    _ignore_conflicts_on_postgres("idempotency")
    _postgres_waits_unlocked()


def answer_before_commit() -> None:
    """Answer as soon as it is decided; write and commit a moment later."""
    from promint.engine import Engine, NotSeen
    from promint.store.postgres import PostgresStore
    from promint.store.sqlite import SqliteStore

    def answer(batch: Any) -> None:
        for operation in batch.operations:
            if not isinstance(operation.outcome, NotSeen):
                Engine._resolve(operation, operation.outcome)

    async def on_sqlite(self: SqliteStore, batch: Any, *, locked: bool) -> None:
        async with self._write_transaction() as writer:
            writes = batch.decide(self._read(writer, batch.reads))
            answer(batch)
            await asyncio.sleep(WINDOW_S)
            if writes:
                self._write(writer, writes)

    async def on_postgres(self: PostgresStore, connection: Any, batch: Any, sent: Any) -> None:
        writes = batch.decide(await self._read(connection, batch.reads, None))
        answer(batch)
        await asyncio.sleep(WINDOW_S)
        if writes:
            await self._write(connection, writes)

    _patch(SqliteStore, transact=on_sqlite)
    _patch(PostgresStore, _transact_quickly=on_postgres)


def events_after_commit() -> None:
    """Commit what changes, answer, and write its events a moment later."""
    from promint.store.postgres import PostgresStore
    from promint.store.sqlite import SqliteStore

    under_way: set[asyncio.Task[None]] = set()

    async def record(store: Any, events: list[Any]) -> None:
        await asyncio.sleep(100 * WINDOW_S)
        async with store.transaction() as transaction:
            await transaction.record(events)

    def late(transact: Callable[..., Any]) -> Callable[..., Any]:
        async def transact_without(self: Any, batch: Any, *, locked: bool) -> None:
            decide, events = type(batch).decide, list[Any]()

            def decide_without(found: Any) -> Any:
                writes = decide(batch, found)
                events[:] = writes.events
                writes.events = []
                return writes

            batch.decide = decide_without
            await transact(self, batch, locked=locked)
            if events:
                task = asyncio.create_task(record(self, events))
                under_way.add(task)
                task.add_done_callback(under_way.discard)

        return transact_without

    for store in (SqliteStore, PostgresStore):
        _patch(store, transact=late(store.transact))


def retry_blindly() -> None:
    """Take a broken connection to mean that nothing was written, and do it again."""
    from promint.engine import OperationBatch

    collect = OperationBatch.__init__

    def forget_the_doubt(self: OperationBatch, operations: Any, new_id: Any) -> None:
        for operation in operations:
            if operation.in_doubt:
                operation.in_doubt = False
                operation.event_id = new_id(operation.now)
        collect(self, operations, new_id)

    _patch(OperationBatch, __init__=forget_the_doubt)


# -- what takes a mechanism away -----------------------------------------------------------


def _replace(name: str, old: str, new: str) -> None:
    statement: str = getattr(sql, name)
    assert old in statement, f"{name} has no {old!r}"
    setattr(sql, name, statement.replace(old, new))


def _write_tallies_unchecked() -> None:
    _replace("POSTGRES_WRITE_TALLIES", "WHERE t.version = tv.read_version ", "")
    _replace("POSTGRES_WRITE_TALLIES_DO", "AND t.version = tv.read_version", "")
    _replace("UPDATE_TALLY", "AND version = $7", "AND $7 > 0")


def _ignore_conflicts_on_sqlite(*names: str) -> None:
    """Let inserts pass over rows that are there already, as if they had stored their own."""
    for name in names:
        setattr(sql, name, f"{getattr(sql, name)} ON CONFLICT DO NOTHING")


def _ignore_conflicts_on_postgres(*tables: str) -> None:
    """The same in the one statement of a batch, for the inserts into these tables."""
    from promint.store.postgres import composing

    compose = composing.write_statement
    last_of_all = rf"WHERE ok\.yes(?:{re.escape(sql.POSTGRES_AFTER_DETACHED)})?"
    inserts = re.compile(rf"(INSERT INTO (?:{'|'.join(tables)})\b.*?{last_of_all})\)", re.DOTALL)
    for table in tables:
        assert any(
            re.search(rf"INSERT INTO {table}\b", text) and inserts.search(text)
            for name, text in vars(sql).items()
            if name.startswith("POSTGRES_WRITE_")
        ), f"nothing is inserted into {table}"

    @lru_cache(maxsize=1024)
    def compose_carelessly(parts: tuple[str, ...]) -> str:
        return inserts.sub(r"\1 ON CONFLICT DO NOTHING)", compose(parts))

    composing.write_statement = compose_carelessly


def _postgres_waits_unlocked() -> None:
    """Never hold a row from read to write, and leave the other processes time in between."""
    from promint.store.postgres import PostgresStore

    transact, read = PostgresStore.transact, PostgresStore._read
    windows = itertools.cycle([*[WINDOW_S] * 4, SLOW_WINDOW_S])

    async def transact_quickly(self: PostgresStore, batch: Any, *, locked: bool) -> None:
        await transact(self, batch, locked=False)

    async def read_and_wait(self: PostgresStore, *arguments: Any) -> Any:
        found = await read(self, *arguments)
        await asyncio.sleep(next(windows))
        return found

    _patch(PostgresStore, transact=transact_quickly, _read=read_and_wait)


def _sqlite_reads_outside() -> None:
    """Read and decide outside the write transaction, each request on its own, all at once."""
    from promint.engine import Engine, Operation
    from promint.store.sqlite import SqliteStore

    under_way: set[asyncio.Task[None]] = set()

    async def run(self: Engine) -> None:
        while self._queue:
            task = asyncio.create_task(settle(self, self._queue.popleft()))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        self._running = None

    async def settle(self: Engine, operation: Operation) -> None:
        await self._settle([operation])
        if self._queue and self._running is None:
            self._running = asyncio.create_task(self._run())

    async def transact(self: SqliteStore, batch: Any, *, locked: bool) -> None:
        writes = batch.decide(self._read(self._reader, batch.reads))
        if writes:
            await asyncio.sleep(WINDOW_S)
            async with self._write_transaction() as writer:
                self._write(writer, writes)

    _patch(Engine, _run=run)
    _patch(SqliteStore, transact=transact)


def _patch(owner: type, **replacements: Callable[..., Any]) -> None:
    for name, replacement in replacements.items():
        assert hasattr(owner, name), f"{owner.__name__} has no {name}"
        setattr(owner, name, replacement)


def main() -> None:
    """Plant the named fault, then do what `promint` does."""
    fault = sys.argv.pop(1)
    resolve_name(fault if ":" in fault else f"{__name__}:{fault}")()

    from promint.cli import main as promint

    promint()


if __name__ == "__main__":
    main()
