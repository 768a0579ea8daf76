"""What each changing call has to see, and what it makes of it: read, decide, write."""

import json
from collections.abc import Callable, Hashable
from typing import Any

from promint.domain import codetext, identities, rules
from promint.domain.errors import (
    CodeNotFound,
    NoFreeCode,
    OutcomeUnknown,
    ProfileNotFound,
    PromintError,
)
from promint.domain.model import (
    Event,
    EventKind,
    Holder,
    Identity,
    LoyaltyProgram,
    Profile,
    PromoCode,
)
from promint.engine import NotSeen, Operation, Workspace
from promint.service.drawing import Draw, NewCode
from promint.service.guessing import Guess
from promint.store import (
    CodeId,
    FreeRequest,
    NewProfile,
    Reads,
    RoomRequest,
    Shards,
    Tally,
    TallyId,
)

ROOM_CANDIDATES_MAX = 32
DRAWN_AT_ONCE = 4
DRAWN_TIMES_MAX = 8

CODES = "codes"
HOLDINGS = "holdings"


def holdings_tally(program: LoyaltyProgram, holder: Holder) -> TallyId:
    """Return the tally that stands guard over what a profile holds of a program."""
    subject = f"{holder.database_id}:{holder.profile_id}"
    return TallyId(codetext.shard_key(program.id, subject, program.buckets), HOLDINGS, subject)


def codes_tally(program: LoyaltyProgram) -> TallyId:
    """Return the tally that counts a program's codes."""
    return TallyId(program.first_shard, CODES, "")


def expiry_details(before: PromoCode, after: PromoCode) -> dict[str, Any] | None:
    """Return what an event says where it is another who has set the code's expiry now."""
    if after.expiry_source == before.expiry_source:
        return None
    return {"expiry_source": int(after.expiry_source)}


class AlreadyRefused(Operation):
    """A request that was refused before any code was looked at, kept for its idempotency key."""

    __slots__ = ("refusal",)

    def __init__(self, refusal: PromintError, *, guess: Guess | None, **common: Any) -> None:
        """Keep the refusal. It was none of a code that was looked for, so no guess matters."""
        super().__init__(**common)
        self.refusal = refusal

    def read(self, reads: Reads) -> None:
        """Nothing but the record of the key, which the engine reads."""

    def decide(self, work: Workspace) -> Any:
        """Refuse."""
        raise self.refusal


class CodeOperation(Operation):
    """An operation on one named code."""

    __slots__ = ("code", "code_id", "guess", "program")

    def __init__(
        self,
        program: LoyaltyProgram,
        code: str,
        code_id: CodeId,
        *,
        guess: Guess | None = None,
        **common: Any,
    ) -> None:
        """Keep the program as the request saw it, the code as it was sent, and its key."""
        super().__init__(**common)
        self.guess = guess
        self.program = program
        self.code = code
        self.code_id = code_id

    def read(self, reads: Reads) -> None:
        """The program's settings and the code."""
        reads.programs[self.program.id] = self.program
        reads.codes.add(self.code_id)

    def doubtful_event(self) -> tuple[Shards, bytes] | None:
        """The event stands in the code's shard."""
        return (self.code_id[0], self.code_id[0]), self.event_id

    def _code(self, work: Workspace) -> PromoCode:
        code = self._found(work)
        if code is None:
            self._wrong()
            raise CodeNotFound(self.code)
        return code

    def _found(self, work: Workspace) -> PromoCode | None:
        """Return the code, if it exists and whoever asks may still be told so."""
        code = work.code(self.code_id)
        if code is not None and self.guess is not None:
            self.guess.right()
        return code

    def _wrong(self) -> None:
        if self.guess is not None:
            self.guess.wrong()

    def _record(
        self,
        work: Workspace,
        kind: EventKind,
        code: PromoCode,
        holder: Holder | None = None,
        *,
        event_id: bytes | None = None,
        details: dict[str, Any] | None = None,
    ) -> None:
        work.record(
            Event(
                code.shard_key,
                event_id or self.event_id,
                kind,
                self.now,
                self.token_id,
                self.request_id,
                code.code_key,
                code.version,
                holder.database_id if holder else code.database_id,
                holder.profile_id if holder else code.profile_id,
                code.attach_count,
                code.activation_count,
                code.activated_at,
                code.expires_at,
                json.dumps(details) if details else None,
            )
        )


class Activate(CodeOperation):
    """Use a code once."""

    __slots__ = ()

    def decide(self, work: Workspace) -> None:
        """Activate it."""
        code = self._code(work)

        activated = rules.activate(work.program(self.program), code, self.now)

        work.save_code(activated)
        self._record(work, EventKind.ACTIVATED, activated)


class Update(CodeOperation):
    """Change a code's expiry, activate it or take its last use back."""

    __slots__ = ("activated", "changes_expiry", "expires_at")

    def __init__(
        self,
        program: LoyaltyProgram,
        code: str,
        code_id: CodeId,
        *,
        activated: bool | None,
        changes_expiry: bool,
        expires_at: int | None,
        **common: Any,
    ) -> None:
        """Keep what shall change."""
        super().__init__(program, code, code_id, **common)
        self.activated = activated
        self.changes_expiry = changes_expiry
        self.expires_at = expires_at

    def read(self, reads: Reads) -> None:
        """For taking a use back, the date of the use before as well."""
        super().read(reads)
        if self.activated is False:
            reads.earlier_uses.add(self.code_id)

    def decide(self, work: Workspace) -> None:
        """Change it, both in one."""
        code = self._code(work)
        if self.activated is False and work.is_changed(self.code_id):
            # The date of the use before was read for the code as it stood before this batch.
            raise NotSeen

        changed = rules.update(
            work.program(self.program),
            code,
            self.now,
            activated=self.activated,
            changes_expiry=self.changes_expiry,
            expires_at=self.expires_at,
            earlier_use_at=work.found.earlier_uses.get(self.code_id),
        )

        if changed is not code:
            work.save_code(changed)
            before = {"activated": code.activated_at, "expire_date": code.expires_at}
            details = {"before": before, "expiry_source": int(changed.expiry_source)}
            self._record(work, EventKind.UPDATED, changed, details=details)


class Detach(CodeOperation):
    """Take a code back from the profile that holds it."""

    __slots__ = ("holder",)

    def __init__(
        self, program: LoyaltyProgram, code: str, code_id: CodeId, holder: Holder, **common: Any
    ) -> None:
        """Keep the profile."""
        super().__init__(program, code, code_id, **common)
        self.holder = holder

    def read(self, reads: Reads) -> None:
        """The code and the profile."""
        super().read(reads)
        reads.profiles.add(self.holder)

    def decide(self, work: Workspace) -> None:
        """Free it."""
        if not work.has_profile(self.holder):
            raise ProfileNotFound(self.holder.profile_id)
        code = self._code(work)
        program = work.program(self.program)

        freed = rules.detach(program, code, self.holder)

        work.save_code(freed)
        work.detach(program, code, self.holder)
        details = expiry_details(code, freed)
        self._record(work, EventKind.DETACHED, freed, self.holder, details=details)


class _Attaching(CodeOperation):
    """What the two ways of attaching share: the profile, and writing what was decided."""

    __slots__ = ("holder", "identities", "profile_data")

    def __init__(
        self,
        program: LoyaltyProgram,
        code: str,
        code_id: CodeId,
        *,
        holder: Holder | None,
        identities: tuple[Identity, ...] = (),
        profile_data: dict[str, Any] | None = None,
        **common: Any,
    ) -> None:
        """Keep the profile, or the identities of the one to create together with success."""
        super().__init__(program, code, code_id, **common)
        self.holder = holder
        self.identities = identities
        self.profile_data = profile_data

    def _read_holder(self, reads: Reads) -> None:
        if self.holder is None:
            reads.identities.update(self.identities)
            return
        reads.profiles.add(self.holder)
        if self.program.profile_limit is not None:
            reads.held[self.program.id, self.holder] = self.program
            reads.tallies.add(holdings_tally(self.program, self.holder))

    def _resolve_holder(self, work: Workspace) -> Holder:
        """Return the profile, or the id of the one that success will create."""
        if self.holder is not None:
            if not work.has_profile(self.holder):
                raise ProfileNotFound(self.holder.profile_id)
            return self.holder
        database_id = self.identities[0].database_id
        found = identities.profile_of([work.profile_ids(one) for one in self.identities])
        if found:
            # It was created since the request came in, and what it holds has not been read. One
            # that this very batch creates exists only once the batch is written.
            holder = Holder(database_id, found)
            if not work.creates(holder):
                self.holder = holder
            raise NotSeen
        return Holder(database_id, work.new_id(self.now).hex())

    def _check_seen(self, work: Workspace, program: LoyaltyProgram) -> None:
        """Settings that changed since the request came in ask for other rows."""
        if program.version != self.program.version:
            self.program = program
            raise NotSeen

    def _count(
        self, work: Workspace, program: LoyaltyProgram, tally: Tally, code: PromoCode
    ) -> None:
        """Write that the program has this code more."""
        more = tally._replace(total=tally.total + 1, next_seq=tally.next_seq + 1)
        work.save_tally(codes_tally(program), more)
        details = {"code": code.code, "seq": code.seq}
        self._record(work, EventKind.CREATED, code, event_id=work.new_id(self.now), details=details)

    def _write(
        self,
        work: Workspace,
        program: LoyaltyProgram,
        code: PromoCode,
        attached: PromoCode,
        holder: Holder,
    ) -> None:
        if self.holder is None:
            assert self.profile_data is not None
            profile = Profile(
                holder.database_id, holder.profile_id, self.profile_data, self.now, self.now
            )
            work.create_profile(NewProfile(profile, self.identities))
            work.record(
                Event(
                    profile_shard(holder),
                    work.new_id(self.now),
                    EventKind.PROFILE_CREATED,
                    self.now,
                    self.token_id,
                    self.request_id,
                    database_id=holder.database_id,
                    profile_id=holder.profile_id,
                )
            )
        work.save_code(attached)
        work.attach(program, code, holder, self.now)
        if program.profile_limit is not None:
            guard = holdings_tally(program, holder)
            work.save_tally(guard, work.tally(guard) or Tally(0, 0, 0))
        details = expiry_details(code, attached)
        self._record(work, EventKind.ATTACHED, attached, holder, details=details)


def profile_shard(holder: Holder) -> int:
    """Return the shard key of a profile's own events; program 0 is nobody's."""
    return codetext.bucket(f"{holder.database_id}:{holder.profile_id}", 4096)


class Attach(_Attaching):
    """Attach a named code, made if the program makes codes on attach."""

    __slots__ = ("reads_tally",)

    def __init__(self, *arguments: Any, **common: Any) -> None:
        """Start without the tally: it is read only once the code is known to be new."""
        super().__init__(*arguments, **common)
        self.reads_tally = False

    def read(self, reads: Reads) -> None:
        """The code, the profile, whether it holds the code, and how many it holds."""
        super().read(reads)
        self._read_holder(reads)
        if self.holder is not None and self.program.multiple_usage:
            reads.attachments.add((*self.code_id, *self.holder))
        if self.reads_tally:
            reads.tallies.add(codes_tally(self.program))

    def decide(self, work: Workspace) -> str:
        """Attach it; return the code as it is stored."""
        program = work.program(self.program)
        self._check_seen(work, program)
        holder = self._resolve_holder(work)
        rules.check_issuing(program, self.now)
        code = self._found(work)
        tally = None
        if code is None:
            if not program.creates_on_attach:
                self._wrong()
            rules.check_creating(program)
            tally = work.tally(codes_tally(program))
            if tally is None:
                self.reads_tally = True
                raise NotSeen
            code = rules.create(program, *self.code_id, self.code, tally.next_seq, self.now)

        attached = rules.attach(
            program,
            code,
            holder,
            self.now,
            holds_it=program.multiple_usage and work.holds(code, holder),
            held=work.held(program, holder),
        )
        if tally is not None:
            rules.check_code_limit(program, tally.total)

        if attached is code:
            return code.code
        if tally is not None:
            self._count(work, program, tally, code)
        self._write(work, program, code, attached, holder)
        return code.code

    def landed(self, code: str | None) -> Any:
        """Return the code as it is stored."""
        return code or self.code


class AttachAny(_Attaching):
    """Attach one free code: of a universal program the oldest with room for this profile.

    Where none is free, the program's template makes one. It is drawn by `read`, once it is known
    to be needed, and kept: so a commit that was cut off is looked for where it would be.
    """

    __slots__ = ("_draw", "candidates", "drawn", "drawn_times", "generates")

    def __init__(self, program: LoyaltyProgram, draw: Draw, **common: Any) -> None:
        """No code is named; any shard of the program will do. `draw` makes codes up."""
        super().__init__(program, "", (program.first_shard, ""), **common)
        self._draw = draw
        self.candidates: list[NewCode] = []
        self.drawn: Shards | None = None
        self.drawn_times = 0
        self.generates = False

    @property
    def shards(self) -> Shards:
        """Where to look: in the whole program.

        Once the commit may have been cut off, only in the shard that was drawn: there the retry
        meets the event of the first try, and cannot attach a second code beside it.
        """
        if self.in_doubt and self.drawn is not None:
            return self.drawn
        return self.program.first_shard, self.program.last_shard

    def read(self, reads: Reads) -> None:
        """Candidates: one for each such request, or the oldest ones with room; and drawn ones."""
        program = self.program
        reads.programs[program.id] = program
        self._read_holder(reads)
        if program.multiple_usage:
            # Without a limit the oldest never fills; with one, the batch may need several.
            wanted = 1 if program.attach_limit is None else ROOM_CANDIDATES_MAX
            holder = self._room_holder()
            reads.room[program.id, holder] = RoomRequest(program, holder, wanted, self.now)
        else:
            before = reads.free.get(self.shards)
            wanted = before.wanted + 1 if before else 1
            now = min(before.now, self.now) if before else self.now
            reads.free[self.shards] = FreeRequest(*self.shards, wanted, now)
        if self.generates:
            if not self.candidates:
                self.candidates = self._draw(program, DRAWN_AT_ONCE)
                self.drawn_times += 1
            reads.codes.update(code_id for code_id, _ in self.candidates)
            reads.tallies.add(codes_tally(program))

    def _room_holder(self) -> Holder:
        """A profile that does not exist yet holds nothing, like this one."""
        return self.holder or Holder(self.identities[0].database_id, "")

    def doubtful_event(self) -> tuple[Shards, bytes] | None:
        """The event stands in the shard that was drawn."""
        return self.shards, self.event_id

    def decide(self, work: Workspace) -> str:
        """Attach one; return it as it is stored."""
        program = work.program(self.program)
        self._check_seen(work, program)
        holder = self._resolve_holder(work)
        rules.check_issuing(program, self.now)
        code = self._room(work, program) if program.multiple_usage else self._free(work)
        tally = None
        if code is None:
            code, tally = self._generated(work, program)

        attached = rules.attach(program, code, holder, self.now, held=work.held(program, holder))
        if tally is not None:
            rules.check_code_limit(program, tally.total)

        self.drawn = code.shard_key, code.shard_key
        if tally is None:
            work.found_code(code)
        else:
            self._count(work, program, tally, code)
        self._write(work, program, code, attached, holder)
        return code.code

    def _check_seen(self, work: Workspace, program: LoyaltyProgram) -> None:
        """Another template draws other codes, if any."""
        if program.version != self.program.version:
            self.generates = False
            self.candidates = []
        super()._check_seen(work, program)

    def _generated(self, work: Workspace, program: LoyaltyProgram) -> tuple[PromoCode, Tally]:
        """Return a new code, and the tally that it will be counted in."""
        tally = work.tally(codes_tally(program))
        if not self.generates or tally is None:
            if not (program.creates_on_attach and program.template):
                raise self._none_free()
            self.generates = True
            raise NotSeen
        first, last = self.shards
        for code_id, text in self.candidates:
            if first <= code_id[0] <= last and work.code(code_id) is None:
                return rules.create(program, *code_id, text, tally.next_seq, self.now), tally
        if not self.candidates or self.drawn_times >= DRAWN_TIMES_MAX:
            raise self._none_free()
        self.candidates = []
        raise NotSeen

    def _none_free(self) -> PromintError:
        return OutcomeUnknown() if self.in_doubt else NoFreeCode(str(self.program.id))

    def _free(self, work: Workspace) -> PromoCode | None:
        candidates = work.found.free.get(self.shards, [])
        return self._first(work, self.shards, candidates, lambda code: code.is_free(self.now))

    def _room(self, work: Workspace, program: LoyaltyProgram) -> PromoCode | None:
        holder = self._room_holder()

        def fits(code: PromoCode) -> bool:
            return rules.has_room(program, code, self.now) and not work.holds(code, holder)

        key = program.id, holder
        return self._first(work, key, work.found.room.get(key, []), fits)

    def _first(
        self,
        work: Workspace,
        key: Hashable,
        candidates: list[PromoCode],
        fits: Callable[[PromoCode], bool],
    ) -> PromoCode | None:
        while candidates:
            code_id = candidates[0].shard_key, candidates[0].code_key
            code = work.code(code_id) or candidates[0]
            if fits(code):
                return code
            del candidates[0]
            work.exhausted.add(key)
        if key in work.exhausted:
            # All that were read have gone to others of this batch; there may be more.
            raise NotSeen
        return None

    def landed(self, code: str | None) -> Any:
        """Return the code that it was."""
        return code
