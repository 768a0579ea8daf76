"""Guessing is stopped: an answer "Promo code not found" takes a slot, and slots run out.

Every such answer is counted for the token, the network and the program, in the store, so that
all processes share the slots (docs/decisions/0011-guessing-is-stopped.md). A right code costs
nothing: what this process knows of wrong codes is kept at hand, and decides without the store
who is refused.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from promint.domain import guessing
from promint.domain.errors import Throttled
from promint.domain.guessing import (
    NETWORK,
    PROGRAM,
    SECOND,
    TOKEN,
    WINDOW_S,
    Counted,
    Limits,
    Tries,
    WrongCodes,
)
from promint.domain.ids import IdMaker
from promint.domain.model import BUCKETS_MAX, Event, EventKind
from promint.service.access import Call
from promint.service.transactions import in_transaction
from promint.store import Store, Transaction

log = logging.getLogger(__name__)

TAKEN_AT_ONCE = 256
FORGET_EVERY = 1_000
"""After how many wrong codes those of long ago are let go of."""


class _Waiting(NamedTuple):
    """A wrong code that waits for its slot; the future tells what had none left, if any."""

    guess: "Guess"
    taken: asyncio.Future[Counted | None]


class Guard:
    """Counts wrong codes, and says who may try another."""

    def __init__(
        self, store: Store, *, ids: IdMaker, now: Callable[[], int], limits: Limits
    ) -> None:
        """Take the store, the clock in UTC microseconds, and how many are answered."""
        self._store = store
        self._ids = ids
        self._now = now
        self._limits = limits
        self._tries: dict[Counted, Tries] = {}
        self._pending: Counter[Counted] = Counter()
        self._wrong_at: dict[int, dict[Counted, int]] = {}
        self._noted = 0
        self._waiting: list[_Waiting] = []
        self._taking: asyncio.Task[None] | None = None

    def guess(self, call: Call, loyalty_id: int) -> "Guess | None":
        """Return what a request that names a code is followed by; None where nobody counts.

        Raises:
            Throttled: it may not try.
        """
        if call.network is None:
            return None
        guess = Guess(self, call, loyalty_id)
        self.check(guess)
        return guess

    def check(self, guess: "Guess") -> None:
        """Refuse a token that sent a wrong code where the last minute's slots are all taken.

        Raises:
            Throttled: it did.
        """
        wrong_at = self._wrong_at.get(guess.call.token.id)
        if not wrong_at:
            return
        now = self._now()
        for counted in guess.counted:
            at = wrong_at.get(counted)
            if at is not None and now - at <= WINDOW_S * SECOND:
                self._check_room(counted, now)

    def wrong(self, guess: "Guess") -> None:
        """Note a wrong code that is about to be answered.

        Raises:
            Throttled: as far as this process knows, no slot is left for it.
        """
        now = self._now()
        wrong_at = self._wrong_at.setdefault(guess.call.token.id, {})
        for counted in guess.counted:
            wrong_at[counted] = now
        for counted in guess.counted:
            self._check_room(counted, now)
        self._pending.update(guess.counted)
        self._noted += 1
        if self._noted % FORGET_EVERY == 0:
            self._forget(now)

    def drop(self, guess: "Guess") -> None:
        """Take a note back."""
        for counted in guess.counted:
            self._pending[counted] -= 1
            if not self._pending[counted]:
                del self._pending[counted]

    async def take(self, guess: "Guess") -> None:
        """Take the slots of an answer, in every process's sight.

        Raises:
            Throttled: there is none left.
            StoreBusy, OutcomeUnknown: it cannot be told.
        """
        waiting = _Waiting(guess, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._taking is None:
            self._taking = asyncio.create_task(self._take_all())
        full = await waiting.taken
        if full is not None:
            raise self._throttled(full, self._now())

    # -- what is known here ----------------------------------------------------------------

    def _check_room(self, counted: Counted, now: int) -> None:
        known = guessing.count(self._tries.get(counted, ()), now)
        if known + self._pending[counted] >= self._limits.of(counted):
            raise self._throttled(counted, now)

    def _throttled(self, counted: Counted, now: int) -> Throttled:
        tries = self._tries.get(counted, ())
        return Throttled(
            f"wrong codes of one {counted.kind}",
            guessing.wait_s(tries, now, self._limits.of(counted)),
        )

    def _forget(self, now: int) -> None:
        """Let go of what is older than a minute."""
        self._tries = {
            counted: tries for counted, tries in self._tries.items() if guessing.recent(tries, now)
        }
        self._wrong_at = {
            token_id: living
            for token_id, wrong_at in self._wrong_at.items()
            if (living := {c: at for c, at in wrong_at.items() if now - at <= WINDOW_S * SECOND})
        }

    # -- what all processes know -----------------------------------------------------------

    async def _take_all(self) -> None:
        """See to everything that waits, one transaction at a time."""
        try:
            while self._waiting:
                batch = self._waiting[:TAKEN_AT_ONCE]
                del self._waiting[:TAKEN_AT_ONCE]
                try:
                    full = await self._take_batch([waiting.guess for waiting in batch])
                except Exception as error:  # noqa: BLE001  # each caller gets it
                    for waiting in batch:
                        _settle(waiting.taken, error=error)
                else:
                    for waiting, counted in zip(batch, full, strict=True):
                        _settle(waiting.taken, counted)
        finally:
            self._taking = None

    async def _take_batch(self, guesses: list["Guess"]) -> list[Counted | None]:
        """Count each guess where all its limits have room; return what was full, else None."""
        wanted = sorted({counted for guess in guesses for counted in guess.counted})

        async def work(
            transaction: Transaction,
        ) -> tuple[list[Counted | None], dict[Counted, WrongCodes], list[WrongCodes]]:
            now = self._now()
            rows = {row.counted: row for row in await transaction.wrong_codes(wanted)}
            before = dict(rows)
            stopped: list[WrongCodes] = []
            events: list[Event] = []
            full = []
            for guess in guesses:
                full.append(self._first_full(guess, rows, now))
                if full[-1] is not None:
                    continue
                for counted in guess.counted:
                    row = rows[counted].with_one(now, self._limits.of(counted))
                    if row.stops > rows[counted].stops:
                        stopped.append(row)
                        events.append(self._event(guess, row, now))
                    rows[counted] = row
            changed = [row for row in rows.values() if row is not before[row.counted]]
            if changed:
                await transaction.save_wrong_codes(changed)
            if events:
                await transaction.record(events)
            return full, rows, stopped

        full, rows, stopped = await in_transaction(self._store, work)
        # From here to the end nothing waits: what was pending becomes what is known.
        for row in rows.values():
            self._tries[row.counted] = row.tries
        for guess in guesses:
            guess.settled()
        for row in stopped:
            log.warning(
                "guessing is stopped: %s %s sent %d wrong codes within a minute",
                *row.counted,
                self._limits.of(row.counted),
            )
        return full

    def _first_full(
        self, guess: "Guess", rows: dict[Counted, WrongCodes], now: int
    ) -> Counted | None:
        for counted in guess.counted:
            if rows[counted].count(now) >= self._limits.of(counted):
                return counted
        return None

    def _event(self, guess: "Guess", row: WrongCodes, now: int) -> Event:
        call = guess.call
        shard_key = call.token.id % BUCKETS_MAX
        if row.counted.kind == PROGRAM:
            shard_key = guess.loyalty_id * BUCKETS_MAX
        details = guessing.stop_details(row.counted, self._limits.of(row.counted))
        return Event(
            shard_key,
            self._ids.new(now),
            EventKind.GUESSING_STOPPED,
            now,
            call.token.id,
            call.request_id,
            details=details,
        )


class Guess:
    """One request that names a code, from before the store is asked to its answer."""

    __slots__ = ("_counted", "_guard", "_is_pending", "call", "loyalty_id")

    def __init__(self, guard: Guard, call: Call, loyalty_id: int) -> None:
        """Keep who asks about which program."""
        self._guard = guard
        self._counted: tuple[Counted, ...] = ()
        self._is_pending = False
        self.call = call
        self.loyalty_id = loyalty_id

    @property
    def counted(self) -> tuple[Counted, ...]:
        """What a wrong code would count for."""
        if not self._counted:
            self._counted = (
                Counted(TOKEN, str(self.call.token.id)),
                Counted(NETWORK, self.call.network or ""),
                Counted(PROGRAM, str(self.loyalty_id)),
            )
        return self._counted

    def right(self) -> None:
        """The code exists. Whoever guesses must not be told so once it is one guess too many.

        Raises:
            Throttled: guesses that were decided since this one came in have taken all slots.
        """
        self.drop()
        self._guard.check(self)

    def wrong(self) -> None:
        """The code does not exist; as far as this process knows there is room to say so.

        Raises:
            Throttled: there is none.
        """
        if not self._is_pending:
            self._guard.wrong(self)
            self._is_pending = True

    async def answered(self) -> None:
        """Count the answer that there is no such code, before it leaves.

        Raises:
            Throttled, StoreBusy, OutcomeUnknown: it must not leave.
        """
        self.wrong()
        await self._guard.take(self)

    def settled(self) -> None:
        """The store has counted it, or had no room."""
        self.drop()

    def drop(self) -> None:
        """Whatever was noted has come to nothing."""
        if self._is_pending:
            self._is_pending = False
            self._guard.drop(self)


def _settle(
    future: asyncio.Future[Counted | None],
    value: Counted | None = None,
    error: Exception | None = None,
) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(value)
