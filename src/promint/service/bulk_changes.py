"""Many codes changed at once: previewed, then a batch that goes in chunks and can be resumed.

Each chunk is one transaction: it holds the codes, lets the operations of single requests decide
on them, and writes codes, events, what the codes were before, and the batch's counts and position.
So a run that was killed goes on exactly where it was, and nothing is changed twice.
"""

import asyncio
import json
import tempfile
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from itertools import islice
from typing import IO, Any, BinaryIO, NamedTuple

from promint.domain import codetext, identities, rules
from promint.domain.errors import (
    AlreadyAttached,
    BadValue,
    CodeNotFound,
    DatabaseNotFound,
    InternalError,
    NoFreeCode,
    NotAttached,
    NotFound,
    ProfileNotFound,
    PromintError,
    Refused,
    StoreBusy,
)
from promint.domain.model import (
    Batch,
    BatchKind,
    BatchState,
    CodeState,
    Database,
    EventKind,
    Holder,
    LoyaltyProgram,
    ProfileKey,
    PromoCode,
)
from promint.engine import NotSeen, Operation, OperationBatch, Workspace
from promint.service.administration import program_details
from promint.service.chunks import CHUNK, held_batch, known_batch, persistently, program_of
from promint.service.drawing import CodeSource
from promint.service.means import Cancelled, Means, Progress, unwatched
from promint.service.operations import (
    Attach,
    AttachAny,
    CodeOperation,
    Update,
    expiry_details,
)
from promint.service.transactions import in_transaction
from promint.store import CodeId, Found, Transaction, Writes
from promint.store.batching import BatchChange
from promint.store.searching import CodeFilter, Span
from promint.wire.profile_lists import read_profiles

PREVIEW_MOST = 100_000
PREVIEW_PROFILES_MOST = 10_000
PREVIEW_AT_ONCE = 250
SAMPLE = 10
NAMED_MOST = 100_000
UNCHANGED = "unchanged"
"""Why a preview says that a code is left alone which is already as it would become."""
ROUNDS_MAX = 200

SIMPLE_KINDS = (BatchKind.EXPIRE, BatchKind.DETACH, BatchKind.DEACTIVATE, BatchKind.DELETE)
"""Bulk changes over the codes that a filter matches; attaching goes over a list of profiles."""


@dataclass(frozen=True, slots=True)
class Change:
    """What shall happen to each code. `expires_at` None removes the expiry; it is for `expire`."""

    kind: BatchKind
    expires_at: int | None = None

    def __post_init__(self) -> None:
        """Hold it to what can be done to any code."""
        assert self.kind in SIMPLE_KINDS


class Target(NamedTuple):
    """One profile of a list that codes shall be attached to; without a code, any free one.

    `line` is its line in the file. A row that names no profile has the reason in its place.
    """

    line: int
    profile: ProfileKey | BadValue
    code: str | None = None


Targets = Callable[[], AsyncIterable[Sequence[Target]]]
"""Opens the list anew, in chunks of any size; a resumed batch passes over what is done."""


def targets_of(file: BinaryIO, *, name: str, database_id: int | None) -> Targets:
    """Return the targets of a file that can be read from its start again.

    `database_id` is where profiles are looked for in rows that name no database.
    """

    async def chunks() -> AsyncIterator[Sequence[Target]]:
        rows = read_profiles(file, name=name, database_id=database_id)
        while (some := await asyncio.to_thread(next, rows, None)) is not None:
            yield [Target(*row) for row in some]

    return chunks


class Reject(NamedTuple):
    """A code or profile that a bulk change left alone; `reason` is as in the table of errors.

    `changed`: the code was changed by others after it was found, and does not match any more.
    """

    line: int | None
    code: str
    profile: str
    reason: str
    message: str


Rejected = Callable[[Sequence[Reject]], Awaitable[None]]
"""Told of what was left alone, after each chunk's commit."""


class Sampled(NamedTuple):
    """One line of a preview: a code or profile, its state, and why it would be left alone."""

    code: str
    profile: str
    state: str
    refused: str


@dataclass(frozen=True, slots=True)
class Preview:
    """What a bulk change would do now. `is_all` False: only the first `matching` were counted."""

    matching: int
    is_all: bool
    changing: int
    sample: tuple[Sampled, ...]


async def unheard(rejects: Sequence[Reject]) -> None:
    """The listener that nobody is."""


# -- filters as parameters of a batch or a job ---------------------------------------------

_SPANS = ("created", "attached", "activated", "expires")


def filter_parameters(wanted: CodeFilter) -> dict[str, Any]:
    """Return a filter as values that JSON can hold; moments are microseconds."""
    values: dict[str, Any] = {}
    if wanted.state is not None:
        values["state"] = wanted.state.value
    if wanted.prefix:
        values["prefix"] = wanted.prefix
    if wanted.batch_id is not None:
        values["batch_id"] = wanted.batch_id
    if wanted.holder is not None:
        values["holder"] = list(wanted.holder)
    if wanted.codes:
        values["codes"] = sorted(wanted.codes)
    for name in _SPANS:
        span: Span = getattr(wanted, name)
        if span:
            values[name] = [span.first, span.end]
    return values


def filter_of(parameters: dict[str, Any]) -> CodeFilter:
    """Return the filter that `filter_parameters` wrote."""
    state, holder = parameters.get("state"), parameters.get("holder")
    spans = {name: Span(*parameters[name]) for name in _SPANS if name in parameters}
    return CodeFilter(
        state=None if state is None else CodeState(state),
        prefix=parameters.get("prefix", ""),
        batch_id=parameters.get("batch_id"),
        holder=None if holder is None else Holder(*holder),
        codes=frozenset(parameters.get("codes", ())),
        **spans,
    )


def still_matches(program: LoyaltyProgram, wanted: CodeFilter, code: PromoCode, now: int) -> bool:
    """Say whether a code that was found is still meant, as far as its own row can tell.

    Its text, creation and batch do not change; who else holds a universal code is not in it.
    """

    def lies(moment: int | None, span: Span) -> bool:
        if not span:
            return True
        return (
            moment is not None
            and (span.first is None or moment >= span.first)
            and (span.end is None or moment < span.end)
        )

    if wanted.state is not None and code.state(now) is not wanted.state:
        return False
    is_personal = not program.multiple_usage
    if wanted.holder and is_personal and (code.database_id, code.profile_id) != wanted.holder:
        return False
    return (
        lies(code.attached_at, wanted.attached)
        and lies(code.activated_at, wanted.activated)
        and lies(code.expires_at, wanted.expires)
    )


# -- the operations ------------------------------------------------------------------------


class DetachHolder(CodeOperation):
    """Take a code back from whoever holds it."""

    __slots__ = ()

    def decide(self, work: Workspace) -> None:
        """Free it."""
        code = self._code(work)
        program = work.program(self.program)
        holder = Holder(code.database_id or 0, code.profile_id or "")

        freed = rules.detach(program, code, holder)

        work.save_code(freed)
        work.detach(program, code, holder)
        details = expiry_details(code, freed)
        self._record(work, EventKind.DETACHED, freed, holder, details=details)


class Delete(CodeOperation):
    """Delete a code that nobody holds."""

    __slots__ = ()

    def decide(self, work: Workspace) -> PromoCode:
        """Return the code, which is the caller's to remove."""
        code = self._code(work)

        rules.check_deleting(code)

        deleted = code._replace(version=code.version + 1)
        self._record(work, EventKind.DELETED, deleted, details=deletion_details(code))
        return code


def changed(program: LoyaltyProgram, change: Change, code: PromoCode, now: int) -> bool:
    """Say whether a change would change a code.

    Raises:
        Refused: a rule says no.
    """
    if change.kind is BatchKind.DELETE:
        rules.check_deleting(code)
        return True
    if change.kind is BatchKind.DETACH:
        if not code.attach_count:
            return False
        holder = Holder(code.database_id or 0, code.profile_id or "")
        return rules.detach(program, code, holder) is not code
    if change.kind is BatchKind.DEACTIVATE:
        return rules.update(program, code, now, activated=False) is not code
    after = rules.update(program, code, now, changes_expiry=True, expires_at=change.expires_at)
    return after is not code


def deletion_details(code: PromoCode) -> dict[str, Any]:
    """Return what an event says of a code that goes: which batch had made it, if one had."""
    return {} if code.batch_id is None else {"made_by": code.batch_id}


def before_text(code: PromoCode | None) -> str:
    """Return a code's row as it is kept in `batch_change`."""
    return json.dumps(None if code is None else code._asdict(), ensure_ascii=False)


def holder_key(code_key: str, holder: Holder) -> str:
    """Return under which key the attachment of a universal code is kept in `batch_change`.

    No code holds a line feed, and every code sorts behind it.
    """
    return f"\n{code_key}\n{holder.database_id}:{holder.profile_id}"


def first_versions(program: LoyaltyProgram, codes: Sequence[PromoCode]) -> LoyaltyProgram:
    """Return a program whose new codes begin above the versions of codes that were deleted.

    The deletion's own event has the version after the code's.
    """
    least = max((code.version + 2 for code in codes), default=0)
    return replace(program, first_version=max(program.first_version, least))


class _Chunk(NamedTuple):
    """What a chunk's commit left."""

    batch: Batch
    rejects: list[Reject]


class BulkChanges:
    """Previews, begins and runs bulk changes. Running again what was begun resumes it."""

    def __init__(self, means: Means, codes: CodeSource) -> None:
        """Take the means, and the maker of codes for attaching from an empty program."""
        self._means = means
        self._codes = codes
        self._databases: dict[int, Database | None] = {}

    # -- over the codes that a filter matches ----------------------------------------------

    async def preview(self, program: LoyaltyProgram, wanted: CodeFilter, change: Change) -> Preview:
        """Count what a change would do; the first 100,000 codes that match are looked at."""
        now = self._means.now()
        matching = changing = 0
        sample: list[Sampled] = []
        searching = self._means.store.searching
        async with aclosing(searching.walk(program, wanted, now=now)) as chunks:
            async for codes in chunks:
                for code in codes:
                    if matching == PREVIEW_MOST:
                        return Preview(matching, False, changing, tuple(sample))
                    matching += 1
                    refused = ""
                    try:
                        if changed(program, change, code, now):
                            changing += 1
                        else:
                            refused = UNCHANGED
                    except Refused as refusal:
                        refused = refusal.reason
                    if len(sample) < SAMPLE:
                        sample.append(Sampled(code.code, "", code.state(now).value, refused))
        return Preview(matching, True, changing, tuple(sample))

    async def begin(
        self, program: LoyaltyProgram, wanted: CodeFilter, change: Change, *, source: str = ""
    ) -> Batch:
        """Make the batch of a change; `run` does it.

        Raises:
            BadValue: too many single codes are named; import them from a file as a batch.
        """
        if len(wanted.codes) > NAMED_MOST:
            raise BadValue(f"more than {NAMED_MOST}", "codes")
        parameters: dict[str, Any] = {"filter": filter_parameters(wanted)}
        if change.kind is BatchKind.EXPIRE:
            parameters["expires_at"] = change.expires_at
        return await self._insert(program, change.kind, source, parameters)

    # -- over a list of profiles -----------------------------------------------------------

    async def preview_attach(self, program: LoyaltyProgram, targets: Targets) -> Preview:
        """Count what attaching to a list would do; the first 10,000 profiles are looked at."""
        now = self._means.now()
        free = await self._means.store.free_codes(program, now, PREVIEW_PROFILES_MOST)
        given: set[CodeId] = set()
        matching = changing = 0
        sample: list[Sampled] = []
        async for some in targets():
            for start in range(0, len(some), PREVIEW_AT_ONCE):
                for seen in await self._seen(program, some[start : start + PREVIEW_AT_ONCE]):
                    if matching == PREVIEW_PROFILES_MOST:
                        return Preview(matching, False, changing, tuple(sample))
                    matching += 1
                    refused = ""
                    try:
                        rules.check_issuing(program, now)
                        free = _would_attach(program, seen, now, free, given)
                        changing += 1
                    except (BadValue, NotFound, Refused) as refusal:
                        refused = refusal.reason
                    if len(sample) < SAMPLE:
                        target = seen.target
                        sample.append(Sampled(target.code or "", _named(target), "", refused))
        return Preview(matching, True, changing, tuple(sample))

    async def _seen(self, program: LoyaltyProgram, targets: Sequence[Target]) -> list["_Seen"]:
        """Return what is known of rows of a list."""

        async def see(target: Target) -> _Seen:
            try:
                holder = await self._resolved(target)
                code_id = None if target.code is None else _code_id(program, target.code)
            except (BadValue, NotFound, Refused) as refusal:
                return _Seen(target, refusal)
            code = None if code_id is None else await self._means.store.code(*code_id)
            return _Seen(target, holder, code_id, code)

        return await asyncio.gather(*map(see, targets))

    async def begin_attach(
        self,
        program: LoyaltyProgram,
        targets: Targets,
        *,
        source: str,
        parameters: dict[str, Any] | None = None,
    ) -> Batch:
        """Make the batch of attaching to a list, which is read once; `run` with it does it.

        `parameters` are kept with it: where the list is from, and its digest.

        Raises:
            BadValue: the list cannot be read to its end; nothing is begun.
        """
        rows = 0
        async for some in targets():
            rows += len(some)
        return await self._insert(
            program, BatchKind.ATTACH, source, {**(parameters or {}), "rows": rows}
        )

    # -- running ---------------------------------------------------------------------------

    async def run(
        self,
        batch_id: int,
        *,
        targets: Targets | None = None,
        progress: Progress = unwatched,
        rejected: Rejected = unheard,
    ) -> Batch:
        """Do what a batch is for, from where it stands; return it as it became.

        Raises:
            BatchNotFound: there is no such batch.
            BadValue: it is no bulk change that can go on, or its list is missing.
            StoreBusy: the store cannot work now, or another process is at the same batch. What
                is done stays, and the batch can be resumed.
            Cancelled: `progress` said so; the same.
        """
        store = self._means.store
        batch = await known_batch(store, batch_id)
        program = await program_of(store, batch)
        if batch.kind not in (*SIMPLE_KINDS, BatchKind.ATTACH):
            raise BadValue(f"is of kind {batch.kind}", "batch")
        if batch.state is BatchState.DONE:
            return batch
        if batch.state not in (BatchState.RUNNING, BatchState.STOPPED):
            raise BadValue(f"is {batch.state}", "batch")
        if (batch.kind is BatchKind.ATTACH) is (targets is None):
            raise BadValue("needs its list of profiles" if targets is None else "unused", "list")
        if batch.state is BatchState.STOPPED:
            batch = await self._moved(batch_id, BatchState.RUNNING)
        try:
            if targets is None:
                batch = await self._run_over_codes(batch, program, progress, rejected)
            else:
                batch = await self._run_over_profiles(batch, program, targets, progress, rejected)
        except StoreBusy:
            # Maybe another process is at it, for which it runs.
            raise
        except (Cancelled, asyncio.CancelledError, PromintError):
            await self._moved(batch_id, BatchState.STOPPED)
            raise
        return await self._moved(batch_id, BatchState.DONE)

    async def _run_over_codes(
        self, batch: Batch, program: LoyaltyProgram, progress: Progress, rejected: Rejected
    ) -> Batch:
        wanted = filter_of(batch.parameters["filter"])
        change = Change(batch.kind, batch.parameters.get("expires_at"))
        phase = _PHASES[batch.kind]
        with tempfile.TemporaryFile("w+", encoding="utf-8", newline="\n") as file:
            spool = _Spool(file)
            found_at = batch.created_at
            searching = self._means.store.searching
            async with aclosing(searching.walk(program, wanted, now=found_at)) as chunks:
                async for codes in chunks:
                    spool.add(codes, behind=batch.position)
                    await progress(batch.total, None, "finding")
            total = batch.total + spool.count
            await progress(batch.total, total, phase)
            for position, ids in spool.chunks():

                async def work(
                    transaction: Transaction, batch: Batch, ids: list[CodeId] = ids
                ) -> _Chunk:
                    return await self._change_chunk(
                        transaction, batch, program, wanted, change, ids
                    )

                batch = await self._committed(batch, position, work, rejected)
                await progress(batch.total, total, phase)
        return batch

    async def _change_chunk(
        self,
        transaction: Transaction,
        batch: Batch,
        program: LoyaltyProgram,
        wanted: CodeFilter,
        change: Change,
        ids: list[CodeId],
    ) -> _Chunk:
        operations = [self._operation(program, change, code_id) for code_id in ids]
        deciding = OperationBatch(list(operations), self._means.ids.new)
        found = await transaction.read(deciding.reads)
        rejects, due = [], []
        for operation in operations:
            code = found.codes.get(operation.code_id)
            if code is not None and still_matches(program, wanted, code, batch.created_at):
                due.append(operation)
            else:
                rejects.append(_gone(code, operation.code_id))
        deciding.operations = list(due)
        writes = deciding.decide(found)

        deleted, touched = [], 0
        for operation in due:
            outcome = operation.outcome
            if isinstance(outcome, PromoCode):
                deleted.append(outcome)
            elif isinstance(outcome, (NotAttached, AlreadyAttached)):
                # Nothing to detach; or, for a deletion, somebody holds it.
                touched += isinstance(outcome, AlreadyAttached)
            elif isinstance(outcome, PromintError):
                rejects.append(_refused(operation.code, outcome, found, operation.code_id))
        changes = _changes(batch, found, writes, deleted)
        _mark(writes, batch)
        await transaction.write(writes)
        await self._delete(transaction, program, deleted)
        await transaction.save_changes(changes)
        return _Chunk(
            replace(
                batch,
                total=batch.total + len(ids),
                changed=batch.changed + len(changes),
                rejected=batch.rejected + len(rejects),
                touched=batch.touched + touched,
            ),
            rejects,
        )

    def _operation(self, program: LoyaltyProgram, change: Change, code_id: CodeId) -> CodeOperation:
        common = self._common()
        if change.kind is BatchKind.DELETE:
            return Delete(program, code_id[1], code_id, **common)
        if change.kind is BatchKind.DETACH:
            return DetachHolder(program, code_id[1], code_id, **common)
        return Update(
            program,
            code_id[1],
            code_id,
            activated=False if change.kind is BatchKind.DEACTIVATE else None,
            changes_expiry=change.kind is BatchKind.EXPIRE,
            expires_at=change.expires_at,
            **common,
        )

    async def _delete(
        self, transaction: Transaction, program: LoyaltyProgram, codes: list[PromoCode]
    ) -> None:
        if not codes:
            return
        await transaction.delete_codes(codes)
        await raise_first_version(transaction, self._means, program.id, codes)
        await transaction.count_codes(program, -len(codes))

    async def _run_over_profiles(
        self,
        batch: Batch,
        program: LoyaltyProgram,
        targets: Targets,
        progress: Progress,
        rejected: Rejected,
    ) -> Batch:
        ahead = int(batch.position or 0)
        waiting: list[Target] = []

        async def attach(batch: Batch, chunk: list[Target]) -> Batch:
            operations = await self._attaching(program, chunk)

            async def work(transaction: Transaction, batch: Batch) -> _Chunk:
                return await self._attach_chunk(transaction, batch, program, operations)

            position = str(int(batch.position or 0) + len(chunk))
            batch = await self._committed(batch, position, work, rejected)
            await progress(batch.total, batch.parameters.get("rows"), "attaching")
            return batch

        async for some in targets():
            due = some[ahead:]
            ahead = max(0, ahead - len(some))
            waiting.extend(due)
            while len(waiting) >= CHUNK:
                batch = await attach(batch, waiting[:CHUNK])
                del waiting[:CHUNK]
        if waiting:
            batch = await attach(batch, waiting)
        return batch

    async def _attaching(
        self, program: LoyaltyProgram, targets: Sequence[Target]
    ) -> list[tuple[Target, Attach | AttachAny | PromintError]]:
        """Return each target's operation, or why there can be none."""

        async def prepare(target: Target) -> Attach | AttachAny | PromintError:
            try:
                holder = await self._resolved(target)
                common: dict[str, Any] = {**self._common(), "holder": holder}
                if holder is None and isinstance(target.profile, ProfileKey):
                    common["identities"] = target.profile.identities
                    common["profile_data"] = identities.data_of(target.profile.identities)
                if target.code is None:
                    return AttachAny(program, self._codes.draw, **common)
                code = codetext.clean_code(target.code)
                return Attach(program, code, _code_id(program, code), **common)
            except (BadValue, NotFound, Refused) as refusal:
                return refusal

        prepared = await asyncio.gather(*map(prepare, targets))
        return list(zip(targets, prepared, strict=True))

    async def _attach_chunk(
        self,
        transaction: Transaction,
        batch: Batch,
        program: LoyaltyProgram,
        prepared: Sequence[tuple[Target, Attach | AttachAny | PromintError]],
    ) -> _Chunk:
        waiting: list[Operation] = [one for _, one in prepared if not isinstance(one, PromintError)]
        attached = made = 0
        for _ in range(ROUNDS_MAX):
            deciding = OperationBatch(waiting, self._means.ids.new)
            found = await transaction.read(deciding.reads)
            writes = deciding.decide(found)
            if writes:
                attached += len(writes.attached)
                made += sum(read is None for _, read in writes.codes.values())
                _mark(writes, batch)
                changes = _changes(batch, found, writes, [])
                if program.multiple_usage:
                    changes += _holders(batch, writes)
                await transaction.write(writes)
                await transaction.save_changes(changes)
            waiting = [one for one in waiting if isinstance(one.outcome, NotSeen)]
            if not waiting:
                break
        else:
            raise StoreBusy("the candidates go to others each time")

        rejects = []
        for target, operation in prepared:
            refusal = operation if isinstance(operation, PromintError) else operation.outcome
            if isinstance(refusal, InternalError):
                raise refusal
            if isinstance(refusal, PromintError):
                rejects.append(
                    Reject(
                        target.line,
                        target.code or "",
                        _named(target),
                        refusal.reason,
                        refusal.message,
                    )
                )
        return _Chunk(
            replace(
                batch,
                total=batch.total + len(prepared),
                changed=batch.changed + attached,
                inserted=batch.inserted + made,
                rejected=batch.rejected + len(rejects),
            ),
            rejects,
        )

    async def _resolved(self, target: Target) -> Holder | None:
        """Return the profile, or None where success shall create it.

        A database is asked for once; it is not one that changes while a list is worked through.

        Raises:
            DatabaseNotFound, ProfileNotFound, ProfileAmbiguous: as attaching does.
        """
        key, store = target.profile, self._means.store
        if isinstance(key, BadValue):
            raise key
        if key.database_id not in self._databases:
            self._databases[key.database_id] = await self._means.database(key.database_id)
        database = self._databases[key.database_id]
        if database is None:
            raise DatabaseNotFound(str(key.database_id))
        if key.profile_id is not None:
            return Holder(database.id, key.profile_id)
        profile_id = identities.profile_of(await store.find_profiles(key.identities))
        if profile_id:
            return Holder(database.id, profile_id)
        if not database.creates_profiles:
            raise ProfileNotFound
        return None

    # -- what all of them share ------------------------------------------------------------

    def _common(self) -> dict[str, Any]:
        means = self._means
        now = means.now()
        return {
            "now": now,
            "token_id": means.token_id,
            "request_id": means.request_id,
            "event_id": means.ids.new(now),
        }

    async def _insert(
        self, program: LoyaltyProgram, kind: BatchKind, source: str, parameters: dict[str, Any]
    ) -> Batch:
        means = self._means
        batch = Batch(
            0,
            program.id,
            kind,
            source=source,
            author=means.author,
            token_id=means.token_id,
            created_at=means.now(),
            parameters=parameters,
        )
        return await in_transaction(
            means.store, lambda transaction: transaction.insert_batch(batch)
        )

    async def _moved(self, batch_id: int, state: BatchState) -> Batch:
        """Write a batch's state, unless somebody takes it back meanwhile."""
        finished_at = self._means.now() if state is BatchState.DONE else None

        async def work(transaction: Transaction) -> Batch:
            batch = await held_batch(transaction, batch_id)
            if batch.state not in (BatchState.RUNNING, BatchState.STOPPED):
                return batch
            batch = replace(batch, state=state, finished_at=finished_at)
            await transaction.update_batch(batch)
            return batch

        return await persistently(self._means.store, work)

    async def _committed(
        self,
        expected: Batch,
        position: str,
        work: Callable[[Transaction, Batch], Awaitable[_Chunk]],
        rejected: Rejected,
    ) -> Batch:
        """Do one chunk, which moves the batch from where we left it to `position`."""
        done: list[_Chunk] = []

        async def chunk(transaction: Transaction) -> _Chunk | None:
            if expected.kind is BatchKind.DELETE:
                await transaction.hold_imports(expected.loyalty_id)
            batch = await held_batch(transaction, expected.id)
            if done and batch.position == position:
                # The connection broke during COMMIT, and it was committed.
                return done[-1]
            if batch.state is not BatchState.RUNNING or batch.position != expected.position:
                return None
            outcome = await work(transaction, batch)
            outcome = outcome._replace(batch=replace(outcome.batch, position=position))
            await transaction.update_batch(outcome.batch)
            done.append(outcome)
            return outcome

        outcome = await persistently(self._means.store, chunk)
        if outcome is None:
            raise StoreBusy(f"batch {expected.id} is in other hands")
        if outcome.rejects:
            await rejected(outcome.rejects)
        return outcome.batch


_PHASES = {
    BatchKind.EXPIRE: "changing",
    BatchKind.DETACH: "detaching",
    BatchKind.DEACTIVATE: "taking uses back",
    BatchKind.DELETE: "deleting",
}


async def raise_first_version(
    transaction: Transaction, means: Means, loyalty_id: int, codes: Sequence[PromoCode]
) -> None:
    """Write that a code that comes back begins above the events of its earlier life."""
    program = await transaction.program(loyalty_id)
    assert program is not None, "a code without a program"
    raised = first_versions(program, codes)
    if raised != program:
        await transaction.update_program(raised)
        details = program_details(raised, program)
        event = means.event(EventKind.PROGRAM_UPDATED, program.first_shard, details=details)
        await transaction.record([event])


class _Seen(NamedTuple):
    """A row of a list: its holder, None for one that success shall create, or the refusal."""

    target: Target
    holder: Holder | PromintError | None
    code_id: CodeId | None = None
    code: PromoCode | None = None


def _would_attach(
    program: LoyaltyProgram, seen: _Seen, now: int, free: int, given: set[CodeId]
) -> int:
    """Return how many codes are free after one more; raise as attaching would.

    `given` are the personal codes that went to rows before.
    """
    target, holder, code_id, code = seen
    if isinstance(holder, PromintError):
        raise holder
    makes = program.creates_on_attach
    if code_id is not None:
        if code_id in given:
            raise AlreadyAttached(target.code or "")
        if code is not None:
            rules.attach(program, code, holder or Holder(0, ""), now)
        elif not makes:
            raise CodeNotFound(target.code or "")
        if not program.multiple_usage:
            given.add(code_id)
    elif not program.multiple_usage:
        if not free and not (makes and program.template):
            raise NoFreeCode(str(program.id))
        return max(0, free - 1)
    return free


def _code_id(program: LoyaltyProgram, code: str) -> CodeId:
    key = codetext.code_key(codetext.clean_code(code), program.code_matching)
    return codetext.shard_key(program.id, key, program.buckets), key


def _named(target: Target) -> str:
    key = target.profile
    if isinstance(key, BadValue):
        return ""
    return key.profile_id or ", ".join(identity.value for identity in key.identities)


def _gone(code: PromoCode | None, code_id: CodeId) -> Reject:
    if code is None:
        return Reject(None, code_id[1], "", CodeNotFound.reason, CodeNotFound.text)
    return Reject(None, code.code, "", "changed", "It was changed meanwhile")


def _refused(text: str, refusal: PromintError, found: Found, code_id: CodeId) -> Reject:
    if isinstance(refusal, InternalError):
        raise refusal
    code = found.codes.get(code_id)
    return Reject(None, code.code if code else text, "", refusal.reason, refusal.message)


def _mark(writes: Writes, batch: Batch) -> None:
    """Say in each code's event which batch it was."""
    writes.events = [
        event
        if event.code_key is None
        else event._replace(
            details=json.dumps({**json.loads(event.details or "{}"), "batch_id": batch.id})
        )
        for event in writes.events
    ]


def _changes(
    batch: Batch, found: Found, writes: Writes, deleted: Sequence[PromoCode]
) -> list[BatchChange]:
    changes = [
        BatchChange(
            code_id[0],
            batch.id,
            code_id[1],
            before_text(None if read is None else found.codes[code_id]),
            after.version,
        )
        for code_id, (after, read) in writes.codes.items()
    ]
    changes += [
        BatchChange(code.shard_key, batch.id, code.code_key, before_text(code), code.version + 1)
        for code in deleted
    ]
    return changes


def _holders(batch: Batch, writes: Writes) -> list[BatchChange]:
    """What is kept of attaching universal codes: each holder, and how often it was used by then."""
    changes = []
    for shard_key, code_key, database_id, profile_id, at, _ in writes.attached:
        code, _ = writes.codes[shard_key, code_key]
        before = {"attached_at": at, "activation_count": code.activation_count}
        key = holder_key(code_key, Holder(database_id, profile_id))
        changes.append(BatchChange(shard_key, batch.id, key, json.dumps(before), code.version))
    return changes


class _Spool:
    """The codes that were found, in a temporary file: so no snapshot stays open while they change.

    A line is creation sequence, shard and key; no key holds a line feed.
    """

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self.count = 0

    def add(self, codes: Sequence[PromoCode], *, behind: str) -> None:
        """Add the codes that come after a position."""
        least = _place(behind) if behind else (-1, "")
        for code in codes:
            if (code.seq, code.code_key) > least:
                self._file.write(f"{code.seq} {code.shard_key} {code.code_key}\n")
                self.count += 1

    def chunks(self) -> Iterator[tuple[str, list[CodeId]]]:
        """Yield chunks, each with the position of its last code."""
        self._file.seek(0)
        while lines := list(islice(self._file, CHUNK)):
            split = [line.rstrip("\n").split(" ", 2) for line in lines]
            seq, _, code_key = split[-1]
            yield f"{seq} {code_key}", [(int(shard), key) for _, shard, key in split]


def _place(position: str) -> tuple[int, str]:
    seq, _, code_key = position.partition(" ")
    return int(seq), code_key
