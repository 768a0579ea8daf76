"""The calls of the vendor API: what is looked up first, and which operation follows."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from promint.domain import codetext, identities, rules
from promint.domain.errors import (
    BadValue,
    CodeLimitReached,
    CodeNotFound,
    DatabaseNotFound,
    Duplicate,
    NotFound,
    OutcomeUnknown,
    ProfileNotFound,
    ProgramNotFound,
    PromintError,
    Refused,
    StoreBusy,
    TokenInvalid,
)
from promint.domain.ids import IdMaker
from promint.domain.model import (
    ID_MAX,
    Database,
    Event,
    Holder,
    LoyaltyProgram,
    ProfileKey,
    PromoCode,
    Token,
)
from promint.domain.templates import MISTYPED, is_mistyped
from promint.engine import Engine, Operation
from promint.service import operations
from promint.service.access import Call, Remembered, is_damaged, token_digest
from promint.service.drawing import CodeSource
from promint.service.guessing import Guard, Guess
from promint.service.profiles import ProfileCalls
from promint.store import (
    Answer,
    Busy,
    CodeImport,
    CodeImported,
    ConnectionLost,
    ExportedCode,
    Store,
)

THREAD_CODES = 2_000
"""An import of more codes than this is prepared in a thread."""


@dataclass(frozen=True, slots=True)
class ImportedCode:
    """What became of one item of an import; `error` is None for a code that is in now."""

    code: str
    error: PromintError | None


@dataclass(frozen=True, slots=True)
class ImportOutcome:
    """What became of an import, item by item, and the three counts."""

    items: Sequence[ImportedCode]
    inserted: int
    duplicated: int
    discarded_by_limit: int


Prepared = Callable[[Guess | None], Awaitable[Any]]
"""What is done for a request, with what follows its guess at a code."""


class Service:
    """Everything that a caller can ask for."""

    def __init__(
        self,
        store: Store,
        engine: Engine,
        *,
        ids: IdMaker,
        codes: CodeSource,
        guard: Guard,
        monotonic: Callable[[], float],
        cache_s: float = 0.5,
        idempotency_s: int = 24 * 3600,
    ) -> None:
        """Take the store, the engine, the makers of ids and new codes, and who stops guessing.

        `monotonic` returns seconds.
        """
        self.store = store
        self.engine = engine
        self.codes = codes
        self._guard = guard
        self._ids = ids
        self._idempotency_s = idempotency_s
        self._tokens = Remembered(store.token, fresh_s=cache_s, clock=monotonic)
        self._programs = Remembered(store.program, fresh_s=cache_s, clock=monotonic)
        self._databases = Remembered(store.database, fresh_s=cache_s, clock=monotonic)
        self.profiles = ProfileCalls(
            store, ids=ids, database=self.database, idempotency_s=idempotency_s
        )

    # -- who and where ---------------------------------------------------------------------

    def known_token(self, token: str) -> Token | None:
        """Return the living token behind a secret if it is at hand, without asking the store."""
        known = self._tokens.at_hand(token_digest(token))
        return known if known is not None and known.revoked_at is None else None

    async def authenticate(self, token: str) -> Token:
        """Return the token behind a secret.

        A damaged token of ours, by its checksum, is not asked for: anybody can tell that without
        us, so that refusing it sooner says nothing.

        Raises:
            TokenInvalid: it is unknown or revoked.
        """
        if is_damaged(token):
            raise TokenInvalid
        digest = token_digest(token)
        known = self._tokens.at_hand(digest) or await self._looked_up(self._tokens, digest)
        if known is None or known.revoked_at is not None:
            raise TokenInvalid
        return known

    async def program(self, call: Call, loyalty_id: int) -> LoyaltyProgram:
        """Return a program.

        Raises:
            ProgramNotFound: it does not exist, or not for this token.
        """
        if not call.token.opens_program(loyalty_id) or not 1 <= loyalty_id <= ID_MAX:
            raise ProgramNotFound(str(loyalty_id))
        program = self._programs.at_hand(loyalty_id) or await self._looked_up(
            self._programs, loyalty_id
        )
        if program is None:
            raise ProgramNotFound(str(loyalty_id))
        return program

    async def database(self, call: Call, database_id: int) -> Database:
        """Return a database.

        Raises:
            DatabaseNotFound: it does not exist, or not for this token.
        """
        if not call.token.opens_database(database_id) or not 1 <= database_id <= ID_MAX:
            raise DatabaseNotFound(str(database_id))
        database = self._databases.at_hand(database_id) or await self._looked_up(
            self._databases, database_id
        )
        if database is None:
            raise DatabaseNotFound(str(database_id))
        return database

    @staticmethod
    async def _looked_up(remembered: Remembered[Any, Any], key: Any) -> Any:
        try:
            return await remembered.get(key)
        except (Busy, ConnectionLost) as error:
            raise StoreBusy(str(error)) from error

    # -- the seven calls -------------------------------------------------------------------

    async def get(self, call: Call, loyalty_id: int, code: str) -> PromoCode:
        """Return a code as it is now."""

        async def look(guess: Guess | None) -> PromoCode:
            program = await self.program(call, loyalty_id)
            shard_key, code_key = _code_id(program, code)
            try:
                found = await self.store.code(shard_key, code_key)
            except (Busy, ConnectionLost) as error:
                raise StoreBusy(str(error)) from error
            if found is None:
                raise CodeNotFound(code)
            if guess is not None:
                guess.right()
            return found

        return await self._tried(call, loyalty_id, look)  # type: ignore[no-any-return]  # a code

    async def activate(self, call: Call, loyalty_id: int, code: str) -> Any:
        """Use a code once; return None, or the recorded answer of the idempotency key."""

        async def prepare(guess: Guess | None) -> Operation:
            program = await self.program(call, loyalty_id)
            common = self._common(call, guess)
            return operations.Activate(program, code, _code_id(program, code), **common)

        return await self._change_named(call, loyalty_id, prepare)

    async def update(
        self,
        call: Call,
        loyalty_id: int,
        code: str,
        *,
        activated: bool | None,
        changes_expiry: bool,
        expires_at: int | None,
    ) -> Any:
        """Change a code's expiry or uses; return None, or the recorded answer."""

        async def prepare(guess: Guess | None) -> Operation:
            program = await self.program(call, loyalty_id)
            return operations.Update(
                program,
                code,
                _code_id(program, code),
                activated=activated,
                changes_expiry=changes_expiry,
                expires_at=expires_at,
                **self._common(call, guess),
            )

        return await self._change_named(call, loyalty_id, prepare)

    async def attach(
        self, call: Call, loyalty_id: int, profile: ProfileKey, code: str | None
    ) -> Any:
        """Attach a code, or any free one; return it as stored, or the recorded answer."""

        async def prepare(guess: Guess | None) -> Operation:
            program = await self.program(call, loyalty_id)
            database = await self.database(call, profile.database_id)
            common = self._common(call, guess)
            common["holder"] = await self._holder(profile)
            if common["holder"] is None:
                if not database.creates_profiles:
                    raise ProfileNotFound
                common["identities"] = profile.identities
                common["profile_data"] = identities.data_of(profile.identities)
            if code is None:
                return operations.AttachAny(program, self.codes.draw, **common)
            if is_mistyped(program, code):
                rules.check_issuing(program, call.now)
            return operations.Attach(program, code, _code_id(program, code), **common)

        if code is None:
            return await self._change(call, None, prepare)
        return await self._change_named(call, loyalty_id, prepare)

    async def detach(self, call: Call, loyalty_id: int, profile: ProfileKey, code: str) -> Any:
        """Take a code back from a profile; return None, or the recorded answer."""

        async def prepare(guess: Guess | None) -> Operation:
            program = await self.program(call, loyalty_id)
            await self.database(call, profile.database_id)
            holder = await self._holder(profile)
            if holder is None:
                raise ProfileNotFound
            code_id = _code_id(program, code)
            return operations.Detach(program, code, code_id, holder, **self._common(call, guess))

        return await self._change_named(call, loyalty_id, prepare)

    async def import_codes(
        self, call: Call, loyalty_id: int, codes: Sequence[str], source: str = "api"
    ) -> ImportOutcome | Answer:
        """Add codes, one transaction for all; return each one's lot, or the recorded answer."""
        try:
            program = await self.program(call, loyalty_id)
        except NotFound as refusal:
            return await self._refuse(call, refusal)  # type: ignore[no-any-return]  # or raises

        if len(codes) > THREAD_CODES:
            keys, usable = await asyncio.to_thread(_keys_of, codes, program)
        else:
            keys, usable = _keys_of(codes, program)

        def outcome(imported: CodeImported) -> ImportOutcome:
            return _import_outcome(codes, keys, imported)

        def render(imported: CodeImported) -> Answer:
            assert call.idempotency is not None
            return call.idempotency.render(outcome(imported))

        job = CodeImport(
            program,
            list(usable.items()),
            call.now,
            self._ids.new(call.now),
            call.token.id,
            call.request_id,
            source,
            call.token.name,
            call.keyed(self._idempotency_s),
        )
        try:
            imported = await self.store.import_codes(job, render)
        except Busy as error:
            raise StoreBusy(str(error)) from error
        except ConnectionLost as error:
            unknown = OutcomeUnknown if error.may_have_written else StoreBusy
            raise unknown(str(error)) from error
        return outcome(imported) if isinstance(imported, CodeImported) else imported

    async def export_all(
        self, call: Call, loyalty_id: int
    ) -> AsyncGenerator[Sequence[ExportedCode]]:
        """Return the program's codes in order of creation, in chunks, as of one moment."""
        program = await self.program(call, loyalty_id)
        return self.store.export(program)

    async def history(self, program: LoyaltyProgram, code: str) -> list[Event]:
        """Return what happened to a code, oldest first."""
        return await self.store.code_history(*_code_id(program, codetext.clean_code(code)))

    async def databases(self, call: Call) -> list[Database]:
        """Return the databases that the token opens, by id."""
        try:
            databases = await self.store.databases()
        except (Busy, ConnectionLost) as error:
            raise StoreBusy(str(error)) from error
        return [database for database in databases if call.token.opens_database(database.id)]

    # -- on the way ------------------------------------------------------------------------

    def _common(self, call: Call, guess: Guess | None = None) -> dict[str, Any]:
        return {
            "guess": guess,
            "now": call.now,
            "token_id": call.token.id,
            "request_id": call.request_id,
            "event_id": self._ids.new(call.now),
            "keyed": call.keyed(self._idempotency_s),
            "render": call.idempotency.render if call.idempotency else None,
        }

    async def _tried(self, call: Call, loyalty_id: int, work: Prepared) -> Any:
        """Do what names a code. Each answer that there is none such takes a slot, repeated or not.

        Raises:
            Throttled: there is none left.
        """
        guess = self._guard.guess(call, loyalty_id)
        if guess is None:
            return await work(None)
        try:
            try:
                outcome = await work(guess)
            except CodeNotFound:
                await guess.answered()
                raise
            if isinstance(outcome, Answer) and outcome.reason == CodeNotFound.reason:
                await guess.answered()
            return outcome
        finally:
            guess.drop()

    async def _change_named(self, call: Call, loyalty_id: int, prepare: Prepared) -> Any:
        async def change(guess: Guess | None) -> Any:
            return await self._change(call, guess, prepare)

        return await self._tried(call, loyalty_id, change)

    async def _change(self, call: Call, guess: Guess | None, prepare: Prepared) -> Any:
        try:
            operation = await prepare(guess)
        except (NotFound, Refused) as refusal:
            return await self._refuse(call, refusal)
        return await self.engine.submit(operation)

    async def _refuse(self, call: Call, refusal: PromintError) -> Any:
        """Raise a refusal; with an idempotency key the store has the first word."""
        if call.idempotency is None:
            raise refusal
        operation = operations.AlreadyRefused(refusal, **self._common(call))
        return await self.engine.submit(operation)

    async def _holder(self, profile: ProfileKey) -> Holder | None:
        """Return the profile that a key leads to; None when there is none by its identities.

        Raises:
            ProfileAmbiguous: the key leads to more than one.
        """
        if profile.profile_id is not None:
            return Holder(profile.database_id, profile.profile_id)
        try:
            found = await self.store.find_profiles(profile.identities)
        except (Busy, ConnectionLost) as error:
            raise StoreBusy(str(error)) from error
        profile_id = identities.profile_of(found)
        return Holder(profile.database_id, profile_id) if profile_id else None


def _code_id(program: LoyaltyProgram, code: str) -> tuple[int, str]:
    """Return a code's primary key.

    Raises:
        CodeNotFound: its check symbol does not fit, so that the store need not be asked.
    """
    if is_mistyped(program, code):
        raise CodeNotFound(code)
    key = codetext.code_key(code, program.code_matching)
    return codetext.shard_key(program.id, key, program.buckets), key


def _keys_of(
    codes: Sequence[str], program: LoyaltyProgram
) -> tuple[list[str | PromintError], dict[str, str]]:
    """Return each item's key, or why it has none; and the clean code of each key, once."""
    keys: list[str | PromintError] = []
    usable: dict[str, str] = {}
    for code in codes:
        try:
            clean = codetext.clean_code(code)
            key = codetext.code_key(clean, program.code_matching)
        except BadValue as unusable:
            keys.append(unusable)
            continue
        if is_mistyped(program, clean):
            keys.append(BadValue(MISTYPED, "code"))
        else:
            keys.append(Duplicate(clean) if key in usable else key)
            usable.setdefault(key, clean)
    return keys, usable


def _import_outcome(
    codes: Sequence[str], keys: Sequence[str | PromintError], imported: CodeImported
) -> ImportOutcome:
    items = []
    duplicated = discarded = 0
    for code, key in zip(codes, keys, strict=True):
        error: PromintError | None
        if isinstance(key, PromintError):
            error = key
        elif key in imported.duplicates:
            error = Duplicate(key)
        elif key in imported.over_limit:
            error = CodeLimitReached(key)
        else:
            error = None
        duplicated += isinstance(error, Duplicate)
        discarded += isinstance(error, CodeLimitReached)
        items.append(ImportedCode(code, error))
    return ImportOutcome(items, imported.inserted, duplicated, discarded)
