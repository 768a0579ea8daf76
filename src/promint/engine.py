"""Requests that arrive together travel together: read, decide, write if unchanged.

The engine collects what came in while the batch before was out, at most 256 requests, and
hands it to the store as one: everything is read, each request is decided in order on what the
ones before it left, all changes are written all or nothing, and only after the commit does
each caller get an answer. Nothing here knows a rule or a statement; an `Operation` says what
it has to see and what it makes of it. What went wrong on the way, and what is done about it:

=================  ======================================================================
`Lost`             another process was faster: the batch goes again with its rows held,
                   and so does, for a second, every batch that needs one of its rows
`TryAgain`         deadlock, or a row that another holds: the batch again, with jitter; then
                   halved; the one that waits for the row leaves the queue for a while
`Poisoned`         the database refuses a value: halve the batch until it is alone
`ConnectionLost`   the commit may have happened: look the events up, repeat the rest
`DiskFailed`       the commit may have happened, and nobody can look: 503, and no more writes
`Busy`             503, nothing changed
=================  ======================================================================
"""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Hashable
from typing import Any

from promint.domain.errors import (
    IdempotencyMismatch,
    InternalError,
    NotFound,
    OutcomeUnknown,
    PromintError,
    Refused,
    StoreBusy,
)
from promint.domain.model import Event, Holder, Identity, LoyaltyProgram, PromoCode
from promint.store import (
    Answer,
    AttachmentId,
    Busy,
    CodeId,
    ConnectionLost,
    DiskFailed,
    Found,
    Keyed,
    Lost,
    NewProfile,
    Poisoned,
    Reads,
    Shards,
    Store,
    Tally,
    TallyId,
    TryAgain,
    Writes,
)

log = logging.getLogger(__name__)

HOT_S = 1.0
TRIES_MAX = 8
WAITS_MAX = 2
POSTPONE_S = 0.5
POSTPONED_MAX = 20
SEEN_AGAIN_MAX = 200
RETRY_PAUSE_S = 0.05

Render = Callable[[Any], Answer]
"""Makes the answer from an outcome: a value, or the `PromintError` that was met."""


class NotSeen(Exception):
    """The operation needs something that was not read for it; it goes again in the next batch."""


class Operation(ABC):
    """One request that changes codes.

    `event_id` is made once, when the request enters, and kept through every retry: it is how a
    change whose commit was cut off is found again. `outcome` is what `decide` made of it.
    """

    __slots__ = (
        "event_id",
        "future",
        "in_doubt",
        "keyed",
        "now",
        "outcome",
        "postponed",
        "render",
        "request_id",
        "seen_again",
        "token_id",
    )

    def __init__(
        self,
        *,
        now: int,
        token_id: int,
        request_id: str,
        event_id: bytes,
        keyed: Keyed | None = None,
        render: Render | None = None,
    ) -> None:
        """Keep what every operation has. `keyed` and `render` come together."""
        self.now = now
        self.token_id = token_id
        self.request_id = request_id
        self.event_id = event_id
        self.keyed = keyed
        self.render = render
        self.in_doubt = False
        self.seen_again = 0
        self.postponed = 0
        self.outcome: Any = None
        self.future: asyncio.Future[Any] | None = None

    @abstractmethod
    def read(self, reads: Reads) -> None:
        """Add what the operation has to see."""

    @abstractmethod
    def decide(self, work: "Workspace") -> Any:
        """Read `work`, decide, write to `work`; return the value of the answer.

        Everything that can be refused is refused before the first write to `work`.

        Raises:
            PromintError: the request is refused; nothing of it is written.
            NotSeen: it must be read for again.
        """

    def landed(self, code: str | None) -> Any:
        """Return the answer's value for a change that turned out to be committed."""
        return None

    def doubtful_event(self) -> tuple[Shards, bytes] | None:
        """Return in which shards the event would stand, had it been written, and its id."""
        return None


class Workspace:
    """What a batch has read, and what its operations have made of it so far."""

    def __init__(self, found: Found, new_id: Callable[[int], bytes]) -> None:
        """Start from what was found."""
        self.found = found
        self.new_id = new_id
        self.writes = Writes()
        self.created_profiles: dict[Identity, Holder] = {}
        self.exhausted: set[Hashable] = set()
        self._held: dict[tuple[int, Holder], int] = {}
        self._attached: dict[AttachmentId, bool] = {}

    # -- what is there now -----------------------------------------------------------------

    def program(self, program: LoyaltyProgram) -> LoyaltyProgram:
        """Return a program as this batch read it; it may have changed since the request came."""
        return self.found.programs.get(program.id, program)

    def code(self, code_id: CodeId) -> PromoCode | None:
        """Return a code as it is now."""
        changed = self.writes.codes.get(code_id)
        return changed[0] if changed is not None else self.found.codes.get(code_id)

    def is_changed(self, code_id: CodeId) -> bool:
        """Say whether an operation of this batch has changed the code."""
        return code_id in self.writes.codes

    def has_profile(self, holder: Holder) -> bool:
        """Say whether a profile exists, or will with this batch."""
        return holder in self.found.profiles or self.creates(holder)

    def creates(self, holder: Holder) -> bool:
        """Say whether an operation of this batch creates the profile."""
        return holder in self.created_profiles.values()

    def profile_ids(self, identity: Identity) -> list[str]:
        """Return the profiles that an identity leads to now."""
        created = self.created_profiles.get(identity)
        return [created.profile_id] if created else self.found.identities.get(identity, [])

    def holds(self, code: PromoCode, holder: Holder) -> bool:
        """Say whether a profile holds a code now."""
        key = (code.shard_key, code.code_key, *holder)
        changed = self._attached.get(key)
        return key in self.found.attachments if changed is None else changed

    def held(self, program: LoyaltyProgram, holder: Holder) -> int:
        """Return how many codes of a program a profile holds now, counted up to its limit."""
        key = (program.id, holder)
        return self.found.held.get(key, 0) + self._held.get(key, 0)

    def tally(self, tally_id: TallyId) -> Tally | None:
        """Return a tally as it is now."""
        changed = self.writes.tallies.get(tally_id)
        return changed[0] if changed is not None else self.found.tallies.get(tally_id)

    # -- what becomes of it ----------------------------------------------------------------

    def save_code(self, code: PromoCode) -> None:
        """Write a code as it became."""
        code_id = (code.shard_key, code.code_key)
        changed = self.writes.codes.get(code_id)
        if changed is not None:
            read_version = changed[1]
        else:
            before = self.found.codes.get(code_id)
            read_version = before.version if before is not None else None
        self.writes.codes[code_id] = (code, read_version)

    def found_code(self, code: PromoCode) -> None:
        """Make a code that was read as a candidate known by its key."""
        self.found.codes.setdefault((code.shard_key, code.code_key), code)

    def save_tally(self, tally_id: TallyId, tally: Tally) -> None:
        """Write a tally as it became; its version rises by one for the batch."""
        before = self.found.tallies.get(tally_id)
        read_version = None if before is None else before.version
        version = 1 if read_version is None else read_version + 1
        self.writes.tallies[tally_id] = (tally._replace(version=version), read_version)

    def attach(self, program: LoyaltyProgram, code: PromoCode, holder: Holder, at: int) -> None:
        """Write that a profile holds a code."""
        key = (code.shard_key, code.code_key, *holder)
        row = (*key, at, 0 if program.multiple_usage else 1)
        if key in self.writes.detached:
            # Deletions are written first, so the pair may stand in both lists.
            self.writes.attached = [r for r in self.writes.attached if r[:4] != key]
        self.writes.attached.append(row)
        self.writes.holders.add(holder)
        self._attached[key] = True
        self._held[program.id, holder] = self._held.get((program.id, holder), 0) + 1

    def detach(self, program: LoyaltyProgram, code: PromoCode, holder: Holder) -> None:
        """Write that a profile holds a code no more."""
        key = (code.shard_key, code.code_key, *holder)
        before = len(self.writes.attached)
        self.writes.attached = [row for row in self.writes.attached if row[:4] != key]
        if len(self.writes.attached) == before:
            self.writes.detached.append(key)
        self._attached[key] = False
        self._held[program.id, holder] = self._held.get((program.id, holder), 0) - 1

    def create_profile(self, new: NewProfile) -> None:
        """Write a profile that the batch creates."""
        self.writes.profiles.append(new)
        holder = Holder(new.profile.database_id, new.profile.id)
        for identity in new.identities:
            self.created_profiles[identity] = holder

    def record(self, event: Event) -> None:
        """Append an event."""
        self.writes.events.append(event)


class OperationBatch:
    """Operations that travel together."""

    def __init__(self, operations: list[Operation], new_id: Callable[[int], bytes]) -> None:
        """Collect what they have to see."""
        self.operations = operations
        self._new_id = new_id
        self.reads = reads = Reads()
        for operation in operations:
            if operation.keyed is not None:
                reads.idempotency[operation.keyed.id] = operation.keyed.now
            if operation.in_doubt:
                event = operation.doubtful_event()
                if event is not None:
                    reads.doubtful_events.add(event)
            operation.read(reads)

    def decide(self, found: Found) -> Writes:
        """Decide every operation in order; the outcomes stay with the operations."""
        work = Workspace(found, self._new_id)
        answered: dict[Any, tuple[bytes, Answer]] = {
            key: (record.digest, record.answer) for key, record in found.idempotency.items()
        }
        for operation in self.operations:
            keyed = operation.keyed
            if keyed is not None and (before := answered.get(keyed.id)) is not None:
                same = before[0] == keyed.digest
                operation.outcome = before[1] if same else IdempotencyMismatch()
                continue
            try:
                if operation.in_doubt and operation.event_id in found.landed_events:
                    outcome = operation.landed(found.landed_events[operation.event_id])
                else:
                    outcome = operation.decide(work)
            except PromintError as refusal:
                outcome = refusal
            except NotSeen as again:
                operation.outcome = again
                continue
            except Exception:
                log.exception("request %s cannot be decided", operation.request_id)
                outcome = InternalError()
            if keyed is not None and _is_decided(outcome):
                assert operation.render is not None
                outcome = operation.render(outcome)
                answered[keyed.id] = (keyed.digest, outcome)
                work.writes.idempotency.append((keyed, outcome))
            operation.outcome = outcome
        return work.writes

    def fought_over(self) -> list[Hashable]:
        """Return everything that another process could fight over."""
        reads = self.reads
        return [*reads.codes, *reads.tallies, *reads.free, *(key for key in reads.room)]


def _is_decided(outcome: Any) -> bool:
    """Answers about the request's subject are kept for its key; a mistake in it is not."""
    return not isinstance(outcome, PromintError) or isinstance(outcome, (NotFound, Refused))


class Engine:
    """The queue, and the one batch that is out."""

    def __init__(
        self,
        store: Store,
        *,
        new_id: Callable[[int], bytes],
        jitter: Callable[[], float],
        batch_max: int = 256,
        queue_max: int = 4096,
        queue_wait_s: float = 0.5,
        doubt_timeout_s: float = 8.0,
    ) -> None:
        """Take the store and bounds. `jitter` returns a random number in [0, 1)."""
        self._store = store
        self._new_id = new_id
        self._jitter = jitter
        self._batch_max = batch_max
        self._queue_max = queue_max
        self._queue_wait_s = queue_wait_s
        self._doubt_timeout_s = doubt_timeout_s
        self._queue: deque[Operation] = deque()
        self._hot: dict[Hashable, float] = {}
        self._running: asyncio.Task[None] | None = None
        self._batch_s = 0.0
        self._sent_at = float("inf")
        self._postponed = 0

    async def submit(self, operation: Operation) -> Any:
        """Return the operation's value, or the recorded `Answer` of its idempotency key.

        Raises:
            PromintError: it was refused, or the store cannot take it now.
        """
        loop = asyncio.get_running_loop()
        if self._is_full(loop.time()):
            raise StoreBusy("the queue is full")
        operation.future = loop.create_future()
        self._enqueue(operation)
        outcome = await operation.future
        if isinstance(outcome, PromintError):
            raise outcome
        return outcome

    async def drain(self) -> None:
        """Wait until nothing is queued or under way."""
        while self._running is not None or self._postponed:
            await asyncio.wait([self._running or asyncio.create_task(asyncio.sleep(POSTPONE_S))])

    def _is_full(self, now: float) -> bool:
        """Say whether a request that came now would wait for too long.

        How long depends on the batches before it. They are expected to take as long as the last
        ones did, or as the one that is out has taken already. What would go with the next batch
        is never too late, so the first request after a stall finds out that it is over.
        """
        waiting = len(self._queue)
        batch_s = max(self._batch_s, now - self._sent_at)
        wait_s = waiting // self._batch_max * batch_s
        return waiting >= self._queue_max or wait_s > self._queue_wait_s

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._queue:
                count = min(self._batch_max, len(self._queue))
                self._sent_at = loop.time()
                await self._settle([self._queue.popleft() for _ in range(count)])
                self._batch_s = (self._batch_s + loop.time() - self._sent_at) / 2
        finally:
            self._sent_at = float("inf")
            self._running = None

    async def _settle(self, operations: list[Operation]) -> None:
        """See a batch through to an answer for each of its operations."""
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + self._doubt_timeout_s
        locked = False
        tries = 0
        while True:
            batch = OperationBatch(operations, self._new_id)
            locked = locked or self._is_hot(batch, loop.time())
            try:
                await self._store.transact(batch, locked=locked)
            except Lost as lost:
                self._remember_hot(batch, loop.time())
                locked = True
                if tries >= TRIES_MAX:
                    return await self._halve(operations, lost)
            except TryAgain as again:
                if tries >= WAITS_MAX:
                    return await self._halve(operations, again)
            except Poisoned as poison:
                return await self._halve(operations, poison)
            except Busy as busy:
                log.warning("the store is busy: %s", busy)
                return self._fail(operations, StoreBusy)
            except DiskFailed as failed:
                log.error("the disk failed under a batch: %s", failed)
                return self._fail(operations, OutcomeUnknown)
            except ConnectionLost as lost:
                locked = True
                if lost.may_have_written:
                    for operation in operations:
                        operation.in_doubt = True
                if loop.time() >= give_up_at:
                    log.error("the store stays out of reach: %s", lost)
                    for operation in operations:
                        self._fail([operation], OutcomeUnknown if operation.in_doubt else StoreBusy)
                    return None
                tries = max(tries, 1)
            except Exception as error:
                log.exception("a batch failed in a way that no rule foresees")
                for operation in operations:
                    operation.in_doubt = True
                return await self._halve(operations, Poisoned(type(error).__name__))
            else:
                return self._answer(operations)
            tries += 1
            if tries > 1:
                await asyncio.sleep(RETRY_PAUSE_S * (self._jitter() + 0.1))

    async def _halve(self, operations: list[Operation], error: Exception) -> None:
        if len(operations) == 1:
            if isinstance(error, Poisoned):
                log.error("request %s: the store refuses it: %s", operations[0].request_id, error)
                self._fail(operations, InternalError)
            elif isinstance(error, TryAgain):
                self._postpone(operations[0])
            else:
                self._fail(operations, StoreBusy)
            return
        middle = len(operations) // 2
        await self._settle(operations[:middle])
        await self._settle(operations[middle:])

    def _postpone(self, operation: Operation) -> None:
        """Let others pass while a row is held for long, by an import that has the same code."""
        operation.postponed += 1
        if operation.postponed > POSTPONED_MAX:
            self._fail([operation], StoreBusy)
            return
        self._postponed += 1

        def again() -> None:
            self._postponed -= 1
            self._enqueue(operation)

        asyncio.get_running_loop().call_later(POSTPONE_S, again)

    def _enqueue(self, operation: Operation) -> None:
        self._queue.append(operation)
        if self._running is None:
            self._running = asyncio.create_task(self._run())

    def _answer(self, operations: list[Operation]) -> None:
        again = []
        for operation in operations:
            if isinstance(operation.outcome, NotSeen):
                operation.seen_again += 1
                if operation.seen_again > SEEN_AGAIN_MAX:
                    self._fail([operation], StoreBusy)
                else:
                    again.append(operation)
            else:
                self._resolve(operation, operation.outcome)
        self._queue.extendleft(reversed(again))

    def _fail(self, operations: list[Operation], error: type[PromintError]) -> None:
        for operation in operations:
            self._resolve(operation, error())

    @staticmethod
    def _resolve(operation: Operation, outcome: Any) -> None:
        # A caller that went away has cancelled its future; its change stands all the same.
        if operation.future is not None and not operation.future.done():
            operation.future.set_result(outcome)

    def _is_hot(self, batch: OperationBatch, now: float) -> bool:
        if not self._hot:
            return False
        if any(self._hot.get(key, 0.0) > now for key in batch.fought_over()):
            return True
        if len(self._hot) > 10_000:
            self._hot = {key: until for key, until in self._hot.items() if until > now}
        return False

    def _remember_hot(self, batch: OperationBatch, now: float) -> None:
        for key in batch.fought_over():
            self._hot[key] = now + HOT_S
