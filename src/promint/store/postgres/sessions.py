"""Connections to PostgreSQL: how a session is set, kept, shared and given up."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Generic, TypeVar

import asyncpg

from promint.store import Busy, ConnectionLost, Lost, Poisoned, StoreError, TryAgain, Unusable

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
    Pool = asyncpg.Pool[asyncpg.Record]
else:
    Connection, Pool = asyncpg.Connection, asyncpg.Pool

CONNECT_TIMEOUT_S = 5.0
STATEMENT_TIMEOUT_S = 15.0
READS_MAX = 256

SESSION = {
    "application_name": "promint",
    # The planner takes a parameter for a LIMIT to be large and compiles for 15 ms.
    "jit": "off",
    # It never leaves custom plans for arrays by itself, and planning costs more than running.
    "plan_cache_mode": "force_generic_plan",
    # Every statement here finds rows by key, so the plan that is right at a hundred million rows
    # is the only one. What these leave to an empty table, PLANS_KEPT_S mends.
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    # A batch carries its neighbours along; what waits longer goes again without them.
    "lock_timeout": "250ms",
    # A process that was stopped in the middle gives its rows up.
    "idle_in_transaction_session_timeout": "1s",
    "statement_timeout": "10s",
}
POOL_SESSION = {
    "application_name": "promint-bulk",
    "jit": "off",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "60s",
}

PLANS_KEPT_S = 1.0
"""For how long a session keeps its plans. One that was made while a table was empty reads all of
it, as a whole index that no setting forbids; it would be kept until PostgreSQL counts the table,
which it does once a minute. A new plan goes by the size that the table has by then."""

BY_KEY = "; ".join(
    f"SET LOCAL {name} = {SESSION[name]}"
    for name in SESSION
    if name.startswith(("enable_", "plan_"))
)
"""Makes a transaction of the pool find its rows by key, as the engine's session does."""

BROKEN = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
    AttributeError,
)
"""What asyncpg raises; a connection that dies mid-statement has shown each of these."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def translated(error: BaseException, *, may_have_written: bool) -> StoreError:
    """Make a driver's error ours, by its SQLSTATE.

    Its text may name the row that it is about, so where it can, it is left out.
    """
    state = getattr(error, "sqlstate", None) or ""
    detail = f"{type(error).__name__} {state}".strip()
    said = str(error.args[0]).partition("\n")[0] if error.args else ""
    if state == "23505":
        return Lost(detail)
    if state[:2] in ("22", "23"):
        constraint = getattr(error, "constraint_name", None) or ""
        return Poisoned(f"{detail} {constraint}".strip())
    if state[:2] == "40" or state in ("55P03", "57014"):
        return TryAgain(detail)
    if state[:2] in ("53", "54") or state in ("25006", "58030"):
        return Busy(f"{detail}: {said}")
    return ConnectionLost(f"{detail}: {said}", may_have_written=may_have_written)


def unreachable(error: BaseException) -> Unusable:
    """Say that there is no connection to be had, and what to check."""
    return Unusable(
        f"PostgreSQL cannot be reached ({str(error) or type(error).__name__}). "
        "Check that it runs, and host, user, password and database name in the URL."
    )


def keeps_connection(error: StoreError) -> bool:
    """Say whether a connection still works after an error; after most it cannot be trusted."""
    return isinstance(error, (Lost, Poisoned, TryAgain))


class Batcher(Generic[Item, Result]):
    """Look-ups that arrive together travel together: one statement, one batch out at a time."""

    def __init__(self, run: Callable[[list[Item]], Awaitable[list[Result]]]) -> None:
        self._run = run
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._task: asyncio.Task[None] | None = None

    async def get(self, item: Item) -> Result:
        """Return what is found for one item."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._task is None:
            self._task = asyncio.create_task(self._work())
        return await future

    async def _work(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:READS_MAX], self._waiting[READS_MAX:]
                try:
                    results = await self._run([item for item, _ in batch])
                except Exception as error:  # noqa: BLE001  # each caller gets it
                    for _, future in batch:
                        if not future.done():
                            future.set_exception(error)
                    continue
                for (_, future), result in zip(batch, results, strict=True):
                    if not future.done():
                        future.set_result(result)
        finally:
            self._task = None


class HeldConnection:
    """One connection, held for as long as it works. Its plans are made anew once a second."""

    def __init__(
        self, connect: Callable[[], Awaitable[Connection]], *, plans_kept_s: float = PLANS_KEPT_S
    ) -> None:
        self._connect = connect
        self._plans_kept_s = plans_kept_s
        self._planned_at = 0.0
        self._connection: Connection | None = None
        self.lock = asyncio.Lock()

    async def get(self) -> Connection:
        """Return the connection, a new one if there is none.

        Raises:
            ConnectionLost: there is none to be had.
        """
        now = asyncio.get_running_loop().time()
        try:
            if self._connection is None or self._connection.is_closed():
                self._connection = await self._connect()
                self._planned_at = now
            elif now - self._planned_at >= self._plans_kept_s:
                self._planned_at = now
                await self._connection.execute("DISCARD PLANS")
        except BROKEN as error:
            self.terminate()
            raise ConnectionLost(
                f"{type(error).__name__}: {error}", may_have_written=False
            ) from error
        return self._connection

    def terminate(self) -> None:
        """Let go of a connection that may look open and is not."""
        if self._connection is not None:
            with suppress(Exception):
                self._connection.terminate()
            self._connection = None

    async def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            with suppress(*BROKEN):
                await self._connection.close(timeout=2)
            self.terminate()
