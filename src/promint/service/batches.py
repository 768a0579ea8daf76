"""Batches: what they did, what of it is still untouched, and taking that back.

A code is untouched while nothing has happened to it since the batch: it has the version that the
batch gave it, or one that gave that state back. So batches are taken back one after the other, the
latest first. An attachment to a universal code, which others attach meanwhile, is untouched while
it stands and the code was not used since. What is taken back is forgotten by the batch; what it
still knows afterwards is what was touched.
"""

import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from promint.domain import rules
from promint.domain.errors import (
    AlreadyUndone,
    BatchForgotten,
    ProfileNotFound,
    Refused,
)
from promint.domain.model import (
    Batch,
    BatchKind,
    BatchState,
    Event,
    EventKind,
    Holder,
    LoyaltyProgram,
    PromoCode,
)
from promint.engine import Workspace
from promint.service.bulk_changes import deletion_details, raise_first_version
from promint.service.chunks import CHUNK, held_batch, known_batch, persistently, program_of
from promint.service.means import Cancelled, Means, Progress, unwatched
from promint.service.operations import codes_tally, holdings_tally
from promint.service.transactions import in_transaction
from promint.store import CodeId, Reads, Tally, Transaction, Writes
from promint.store.batching import BatchChange, ListedChange, MadeCode, WalkKey
from promint.wire.moments import write_moment

PREVIEW_MOST = 100_000
SAMPLE = 10
CODES_SHOWN = 100
MAKING = (BatchKind.IMPORT, BatchKind.GENERATE)
MADE_BY = (None, EventKind.IMPORTED, EventKind.GENERATED)
"""The last events of a code that only its import or generation has touched."""


class Touched(NamedTuple):
    """A code that cannot be taken back, and why: what happened to it, or the reason of a rule."""

    code: str
    why: str


@dataclass(frozen=True, slots=True)
class UndoPreview:
    """What taking a batch back would do now. `is_all` False: only so many were looked at."""

    undoing: int
    touched: int
    is_all: bool
    sample: tuple[Touched, ...]


@dataclass(slots=True)
class _Due:
    """A part of a batch: what can be taken back, what was touched, and where the next begins."""

    after: WalkKey
    is_last: bool
    touched: list[Touched] = field(default_factory=list)
    made: list[MadeCode] = field(default_factory=list)
    changes: list[BatchChange] = field(default_factory=list)
    count: int = 0


class Batches:
    """Lists batches, and takes them back."""

    def __init__(self, means: Means) -> None:
        """Take the means."""
        self._means = means
        self._store = means.store

    async def batches(
        self, loyalty_id: int | None = None, *, before_id: int | None = None, most: int = 100
    ) -> list[Batch]:
        """Return batches of one program or of all, the newest first."""
        return await self._store.batches(loyalty_id, before_id=before_id, most=most)

    async def batch(self, batch_id: int) -> Batch:
        """Return a batch.

        Raises:
            BatchNotFound: there is none.
        """
        return await known_batch(self._store, batch_id)

    # -- taking back -----------------------------------------------------------------------

    async def preview_undo(self, batch_id: int) -> UndoPreview:
        """Count what can be taken back; the first 100,000 codes are looked at.

        Raises:
            BatchNotFound: there is no such batch.
            AlreadyUndone: it is taken back.
            BatchForgotten: it ended too long ago.
        """
        batch = await known_batch(self._store, batch_id)
        check_undoing(batch)
        undoing, sample, touched = 0, list[Touched](), 0
        async for due in self._parts(batch):
            undoing += due.count
            touched += len(due.touched)
            sample += due.touched[: SAMPLE - len(sample)]
            if undoing + touched >= PREVIEW_MOST:
                return UndoPreview(undoing, touched, due.is_last, tuple(sample))
        return UndoPreview(undoing, touched, True, tuple(sample))

    async def touched(self, batch_id: int) -> AsyncGenerator[Touched]:
        """Yield what cannot be taken back, or was left when the batch was taken back.

        Raises:
            BatchNotFound: there is no such batch.
            BatchForgotten: it ended too long ago.
        """
        batch = await known_batch(self._store, batch_id)
        check_kept(batch)
        async for due in self._parts(batch):
            for one in due.touched:
                yield one

    async def _parts(self, batch: Batch) -> AsyncGenerator[_Due]:
        """Look through a batch without changing anything."""
        program = await program_of(self._store, batch)
        after = WalkKey(program.first_shard)
        while True:
            here = after

            async def look(transaction: Transaction, here: WalkKey = here) -> _Due:
                return await self._part(transaction, batch, program, here, None)

            due = await persistently(self._store, look)
            yield due
            if due.is_last:
                return
            after = due.after

    async def undo(self, batch_id: int, *, progress: Progress = unwatched) -> Batch:
        """Take back what is untouched; return the batch as it became.

        What an earlier run began and did not end is gone on with.

        Raises:
            BatchNotFound: there is no such batch.
            AlreadyUndone: it is taken back.
            BatchForgotten: it ended too long ago.
            StoreBusy: the store cannot work now; what is done stays, and can be gone on with.
            Cancelled: `progress` said so; the same.
        """

        async def begin(transaction: Transaction) -> Batch:
            batch = await held_batch(transaction, batch_id)
            check_undoing(batch)
            if batch.state is not BatchState.UNDOING:
                batch = replace(batch, state=BatchState.UNDOING, position="", undone=0, touched=0)
                await transaction.update_batch(batch)
            return batch

        batch = await in_transaction(self._store, begin)
        program = await program_of(self._store, batch)
        total = batch.inserted if batch.kind in MAKING else batch.changed

        async def chunk(transaction: Transaction) -> Batch:
            if batch.kind in (*MAKING, BatchKind.DELETE, BatchKind.ATTACH):
                await transaction.hold_imports(program.id)
            held = await held_batch(transaction, batch_id)
            if held.state is not BatchState.UNDOING:
                return held
            return await self._undo_chunk(transaction, held, program)

        while batch.state is BatchState.UNDOING:
            await progress(batch.undone + batch.touched, total, "taking back")
            batch = await persistently(self._store, chunk)
        with suppress(Cancelled):
            await progress(batch.undone + batch.touched, total, "taking back")
        return batch

    async def _undo_chunk(
        self, transaction: Transaction, batch: Batch, program: LoyaltyProgram
    ) -> Batch:
        """Take one part back, in a transaction that holds the batch; return it as written."""
        place = json.loads(batch.position) if batch.position else (program.first_shard,)
        undoing = _Undoing(self._means, batch)
        due = await self._part(transaction, batch, program, WalkKey(*place), undoing)
        undoing.delete_made(due.made, program)
        if due.count:
            undoing.record(
                self._means.event(
                    EventKind.BATCH_UNDONE,
                    program.first_shard,
                    details=json.dumps({"batch_id": batch.id, "count": due.count}),
                )
            )
        await undoing.write(transaction, program, due)
        after = replace(
            batch,
            undone=batch.undone + due.count,
            touched=batch.touched + len(due.touched),
            position=json.dumps(due.after),
        )
        if due.is_last:
            after = replace(after, state=BatchState.UNDONE, finished_at=self._means.now())
        await transaction.update_batch(after)
        return after

    async def _part(
        self,
        transaction: Transaction,
        batch: Batch,
        program: LoyaltyProgram,
        after: WalkKey,
        undoing: "_Undoing | None",
    ) -> _Due:
        """Sort out the next part of a batch; with `undoing`, decide and hold what it needs."""
        holds = undoing is not None
        undoing = undoing or _Undoing(self._means, batch)
        # What others do between listing and holding shows in the versions that are read last.
        if batch.kind in MAKING:
            made = await transaction.made_codes(batch, program, after, CHUNK)
            kinds = [await _state_kind(transaction, one) for one in made]
            await undoing.read_codes(transaction, made, holds=holds)
            due = _Due(after, len(made) < CHUNK)
            for one, kind in zip(made, kinds, strict=True):
                due.after = WalkKey(one.code.shard_key, one.code.seq)
                why = _why_touched(one, kind, undoing.work.code(_id_of(one.code)))
                if why:
                    due.touched.append(Touched(one.code.code, why))
                else:
                    due.made.append(one)
            due.count = len(due.made)
            return due

        changes = [
            await _as_changed(transaction, listed)
            for listed in await transaction.changes(batch.id, program, after, CHUNK)
        ]
        due = _Due(after, len(changes) < CHUNK)
        await undoing.read(
            transaction, program, [one.listed.change for one in changes], holds=holds
        )
        for changed in changes:
            due.after = WalkKey(changed.listed.change.shard_key, -1, changed.listed.change.code_key)
            undoing.decide(changed, due)
        return due


def check_undoing(batch: Batch) -> None:
    """Refuse to take back what cannot be.

    Raises:
        AlreadyUndone: it is taken back.
        BatchForgotten: it ended too long ago.
    """
    if batch.state is BatchState.UNDONE:
        raise AlreadyUndone(str(batch.id))
    check_kept(batch)


def check_kept(batch: Batch) -> None:
    """Refuse to look at what is kept of a batch no more.

    Raises:
        BatchForgotten: it is so.
    """
    if batch.forgotten_at is not None:
        raise BatchForgotten(str(batch.id))


def _id_of(code: PromoCode) -> CodeId:
    return code.shard_key, code.code_key


class _Change(NamedTuple):
    """A change, and the version whose state its code has: its last, or what was given back."""

    listed: ListedChange
    state_version: int | None


async def _as_changed(transaction: Transaction, listed: ListedChange) -> _Change:
    if listed.last_kind != EventKind.RESTORED or listed.last_version is None:
        return _Change(listed, listed.last_version)
    history = await transaction.code_history(listed.change.shard_key, listed.change.code_key)
    return _Change(listed, _state_version(history, listed.last_version))


async def _state_kind(transaction: Transaction, one: MadeCode) -> int | None:
    """Return the kind of the event that made a code's state, which may have been given back."""
    if one.last_kind != EventKind.RESTORED:
        return one.last_kind
    history = await transaction.code_history(one.code.shard_key, one.code.code_key)
    version = _state_version(history, one.code.version)
    kinds = {event.version: event.kind for event in history}
    return kinds.get(version)


def _state_version(history: Sequence[Event], version: int) -> int:
    """Return the version whose state a code has again at `version`."""
    details = {event.version: event.details for event in history}
    while (restores := json.loads(details.get(version) or "{}").get("restores")) is not None:
        version = restores
    return version


def _why_touched(one: MadeCode, kind: int | None, now: PromoCode | None) -> str:
    if now is None:
        return "deleted"
    if now.version != one.code.version:
        return "changed"
    return "" if kind in MADE_BY else _kind_name(kind)


def _kind_name(kind: int | None) -> str:
    return "changed" if kind is None else EventKind(kind).name.lower()


class _Undoing:
    """Takes changes back, one after the other, on what was read of their codes."""

    def __init__(self, means: Means, batch: Batch) -> None:
        self._means = means
        self._batch = batch
        self._codes = 0
        self._attached_at: dict[tuple[int, str, int, str], int] = {}
        self._let_go_of: dict[CodeId, Holder] = {}
        self._deleted: list[PromoCode] = []
        self._inserted = 0
        self._events: list[Event] = []
        self._program: LoyaltyProgram
        self.work: Workspace

    def record(self, event: Event) -> None:
        """Append an event."""
        self._events.append(event)

    # -- reading ---------------------------------------------------------------------------

    async def read_codes(
        self, transaction: Transaction, made: Sequence[MadeCode], *, holds: bool
    ) -> None:
        """Read codes that a batch made."""
        reads = Reads(codes={_id_of(one.code) for one in made})
        self.work = Workspace(await transaction.read(reads, holds=holds), self._means.ids.new)

    async def read(
        self,
        transaction: Transaction,
        program: LoyaltyProgram,
        changes: Sequence[BatchChange],
        *,
        holds: bool,
    ) -> None:
        """Read the codes of changes, and what a rule has to see to take them back."""
        self._program = await transaction.program(program.id) or program
        program = self._program
        reads = Reads()
        pairs = []
        for change in changes:
            holder = _holder_of(change)
            if holder is not None:
                reads.codes.add((change.shard_key, holder[0]))
                pairs.append((change.shard_key, holder[0], *holder[1]))
                continue
            reads.codes.add((change.shard_key, change.code_key))
            before = _before(change)
            if self._batch.kind is BatchKind.DETACH and before is not None:
                holder_before = _holder(before)
                reads.profiles.add(holder_before)
                if program.profile_limit is not None:
                    reads.held[program.id, holder_before] = program
                    reads.tallies.add(holdings_tally(program, holder_before))
        if self._batch.kind is BatchKind.DELETE and program.code_limit is not None:
            reads.tallies.add(codes_tally(program))
        found = await transaction.read(reads, holds=holds)
        self.work = Workspace(found, self._means.ids.new)
        self._attached_at = await transaction.attached_at(pairs)
        tally = found.tallies.get(codes_tally(program))
        self._codes = tally.total if tally is not None else 0

    # -- deciding --------------------------------------------------------------------------

    def decide(self, one: _Change, due: _Due) -> None:
        """Take one change back, or say why it stays."""
        program, change = self._program, one.listed.change
        pair = _holder_of(change)
        if pair is not None:
            code_key, holder = pair
            code = self.work.code((change.shard_key, code_key))
            why = self._why_held(change, code, holder)
            if why or code is None:
                due.touched.append(Touched(code.code if code else code_key, why))
                return
            self._let_go(program, code, holder)
            due.changes.append(change)
            due.count += 1
            return

        before = _before(change)
        code = self.work.code((change.shard_key, change.code_key))
        if program.multiple_usage and self._batch.kind is BatchKind.ATTACH:
            # Its holders came before it; a code that the batch made goes with the last of them.
            if before is None and code is not None and not code.attach_count:
                self._delete(code)
            due.changes.append(change)
            return
        try:
            why = self._restored(program, one, before, code)
        except (Refused, ProfileNotFound) as refusal:
            why = refusal.reason
        if why:
            shown = code or before
            due.touched.append(Touched(shown.code if shown else change.code_key, why))
            return
        due.changes.append(change)
        due.count += 1

    def _why_held(self, change: BatchChange, code: PromoCode | None, holder: Holder) -> str:
        """Say why an attachment to a universal code is not as the batch left it."""
        if code is None:
            return "deleted"
        then = json.loads(change.before)
        at = self._attached_at.get((code.shard_key, code.code_key, *holder))
        if at != then["attached_at"]:
            return "detached" if at is None else "attached"
        used = code.activation_count > then["activation_count"]
        # The last holder of a code that was used stays on record.
        return "activated" if used or (code.activation_count and code.attach_count == 1) else ""

    def _let_go(self, program: LoyaltyProgram, code: PromoCode, holder: Holder) -> None:
        """Take a universal code from one of its holders."""
        if code.attach_count == 1:
            after = rules.freed(program, code)
        else:
            # Who holds it last is looked up once all holders of the chunk have let go.
            self._let_go_of[_id_of(code)] = holder
            after = code._replace(attach_count=code.attach_count - 1, version=code.version + 1)
        self.work.save_code(after)
        self.work.detach(program, code, holder)
        self._note(EventKind.RESTORED, after, holder)

    def _restored(
        self,
        program: LoyaltyProgram,
        one: _Change,
        before: PromoCode | None,
        code: PromoCode | None,
    ) -> str:
        """Give a code back the state it had, or return why not.

        Raises:
            Refused, ProfileNotFound: a rule says no.
        """
        listed, version = one.listed, one.listed.change.version_after
        if self._batch.kind is BatchKind.DELETE:
            if code is not None:
                return "imported" if code.batch_id else "created"
            if listed.last_version != version:
                return _kind_name(listed.last_kind)
            assert before is not None
            self._insert(program, before, version)
            return ""
        if code is None:
            return "deleted"
        if code.version != listed.last_version:
            return "changed"
        if one.state_version != version:
            return _kind_name(listed.last_kind)
        if before is None:
            self.work.detach(program, code, _holder(code))
            self._delete(code)
            return ""
        after = rules.restored(before, code)
        if after.attach_count > code.attach_count:
            holder = _holder(after)
            self._attach_again(program, after, holder)
        elif after.attach_count < code.attach_count:
            holder = _holder(code)
            self.work.detach(program, code, holder)
        self.work.save_code(after)
        self._note(EventKind.RESTORED, after, restores=before.version)
        return ""

    def _attach_again(self, program: LoyaltyProgram, code: PromoCode, holder: Holder) -> None:
        if not self.work.has_profile(holder):
            raise ProfileNotFound(holder.profile_id)
        if program.profile_limit is not None:
            rules.check_profile_limit(program, self.work.held(program, holder))
            guard = holdings_tally(program, holder)
            self.work.save_tally(guard, self.work.tally(guard) or Tally(0, 0, 0))
        assert code.attached_at is not None
        self.work.attach(program, code, holder, code.attached_at)

    def _insert(self, program: LoyaltyProgram, before: PromoCode, version_after: int) -> None:
        rules.check_code_limit(program, self._codes + self._inserted)
        after = before._replace(version=max(program.first_version, version_after + 1))
        self.work.save_code(after)
        self._inserted += 1
        self._note(EventKind.RESTORED, after, restores=before.version)

    def _delete(self, code: PromoCode, *, leaves_event: bool = True) -> None:
        """Delete a code that the batch made; what would have been written of it before is moot."""
        self.work.writes.codes.pop(_id_of(code), None)
        self._deleted.append(code)
        if leaves_event:
            self._note(EventKind.DELETED, code._replace(attach_count=0, version=code.version + 1))

    def _note(
        self,
        kind: EventKind,
        code: PromoCode,
        holder: Holder | None = None,
        *,
        restores: int | None = None,
    ) -> None:
        """Record what becomes of a code; `restores` is the version whose state it has again."""
        details = {"batch_id": self._batch.id}
        if restores is not None:
            details["restores"] = restores
        if kind is EventKind.DELETED:
            details |= deletion_details(code)
        self.record(
            self._means.event(
                kind,
                code.shard_key,
                code_key=code.code_key,
                version=code.version,
                database_id=holder.database_id if holder else code.database_id,
                profile_id=holder.profile_id if holder else code.profile_id,
                attach_count=code.attach_count,
                activation_count=code.activation_count,
                activated_at=code.activated_at,
                expires_at=code.expires_at,
                details=json.dumps(details),
            )
        )

    # -- writing ---------------------------------------------------------------------------

    def delete_made(self, made: Sequence[MadeCode], program: LoyaltyProgram) -> None:
        """Delete codes that an import or generation made; one with events gets a last one."""
        for code, last_kind in made:
            if code.attach_count:
                self.work.detach(program, code, _holder(code))
            self._delete(code, leaves_event=last_kind is not None)

    async def write(self, transaction: Transaction, program: LoyaltyProgram, due: _Due) -> None:
        """Write what was decided: first who lets go, for then it shows who holds a code last."""
        writes = self.work.writes
        await transaction.write(Writes(detached=writes.detached))
        for code_id, holder in self._let_go_of.items():
            changed = writes.codes.get(code_id)
            if changed is not None and changed[0].attach_count:
                code, read_version = changed
                latest = await transaction.latest_holder(code, holder)
                assert latest is not None, "a code attached to several has another holder"
                (database_id, profile_id), attached_at = latest
                code = code._replace(
                    database_id=database_id, profile_id=profile_id, attached_at=attached_at
                )
                writes.codes[code_id] = code, read_version
        writes.detached = []
        writes.events = self._events
        await transaction.write(writes)
        if self._deleted:
            await transaction.delete_codes(
                [self.work.found.codes[_id_of(c)] for c in self._deleted]
            )
            await raise_first_version(transaction, self._means, program.id, self._deleted)
        if self._inserted != len(self._deleted):
            await transaction.count_codes(program, self._inserted - len(self._deleted))
        await transaction.delete_changes(due.changes)


def _holder(code: PromoCode) -> Holder:
    return Holder(code.database_id or 0, code.profile_id or "")


def _before(change: BatchChange) -> PromoCode | None:
    values = json.loads(change.before)
    return None if values is None else PromoCode(**values)


def _holder_of(change: BatchChange) -> tuple[str, Holder] | None:
    """Return the code and holder of a universal code's attachment, None for any other change."""
    if not change.code_key.startswith("\n"):
        return None
    _, code_key, named = change.code_key.split("\n")
    database_id, _, profile_id = named.partition(":")
    return code_key, Holder(int(database_id), profile_id)


# -- how a batch looks to people and programs ----------------------------------------------

_COUNTS = (
    "total",
    "inserted",
    "duplicated",
    "discarded",
    "rejected",
    "changed",
    "undone",
    "touched",
)


def batch_view(batch: Batch) -> dict[str, Any]:
    """Return a batch as the API and the commands show it."""
    return {
        "batch_id": batch.id,
        "loyalty_id": batch.loyalty_id,
        "kind": batch.kind.value,
        "state": batch.state.value,
        "source": batch.source,
        "author": batch.author,
        "created": write_moment(batch.created_at),
        "finished": write_moment(batch.finished_at),
        "forgotten": write_moment(batch.forgotten_at),
        "counts": {name: getattr(batch, name) for name in _COUNTS},
        "parameters": _shown(batch.parameters),
    }


def _shown(parameters: dict[str, Any]) -> dict[str, Any]:
    """Return parameters with moments as text, and a long list of codes as its length."""
    shown = dict(parameters)
    if "expires_at" in shown:
        shown["expire_date"] = write_moment(shown.pop("expires_at"))
    if "filter" in shown:
        wanted = dict(shown["filter"])
        for name in ("created", "attached", "activated", "expires"):
            if name in wanted:
                wanted[name] = [write_moment(moment) for moment in wanted[name]]
        if len(wanted.get("codes", ())) > CODES_SHOWN:
            wanted["codes"] = f"{len(wanted['codes']):,} codes"
        shown["filter"] = wanted
    return shown
