"""Customers: found by matching, created, changed, deleted; and what deleting does to codes."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

from promint.domain import identities, rules
from promint.domain.errors import (
    BadRequest,
    Duplicate,
    IdempotencyMismatch,
    NotFound,
    ProfileNotFound,
    PromintError,
    Refused,
    StoreBusy,
)
from promint.domain.ids import IdMaker
from promint.domain.model import (
    Database,
    Event,
    EventKind,
    Holder,
    IdentityKind,
    Profile,
    ProfileKey,
    PromoCode,
)
from promint.service.access import Call
from promint.service.operations import profile_shard
from promint.service.transactions import in_transaction
from promint.store import Answer, Busy, ConnectionLost, NewProfile, Store, Transaction

BREATH = 20
"""After so many profiles of a batch, others have their turn on the loop."""

BatchItem = tuple[ProfileKey | PromintError, dict[str, Any]]
"""How one item of an import names its profile, or why it cannot be read; and its data."""


class ProfileCalls:
    """The profile calls. Each is one transaction, with its event and the record of its key."""

    def __init__(
        self,
        store: Store,
        *,
        ids: IdMaker,
        database: Callable[[Call, int], Awaitable[Database]],
        idempotency_s: int,
    ) -> None:
        """Take the store and the look-up of databases."""
        self._store = store
        self._ids = ids
        self._database = database
        self._idempotency_s = idempotency_s

    async def get(self, call: Call, key: ProfileKey) -> Profile:
        """Return a profile.

        Raises:
            DatabaseNotFound, ProfileNotFound, ProfileAmbiguous: it cannot be found.
        """
        await self._database(call, key.database_id)
        try:
            profile_id = key.profile_id
            if profile_id is None:
                found = await self._store.find_profiles(key.identities)
                profile_id = identities.profile_of(found)
            profile = profile_id and await self._store.profile(Holder(key.database_id, profile_id))
        except (Busy, ConnectionLost) as error:
            raise StoreBusy(str(error)) from error
        if not profile:
            raise ProfileNotFound
        return profile

    async def save(
        self, call: Call, key: ProfileKey, data: dict[str, Any], *, creates: bool
    ) -> Any:
        """Change the named fields of a profile, made first if `creates`; return its id.

        Raises:
            DatabaseNotFound, ProfileNotFound, ProfileAmbiguous: it cannot be found.
            Duplicate: an e-mail or phone belongs to another profile.
        """

        async def work(transaction: Transaction) -> str:
            return await self._save(transaction, call, key, data, creates=creates)

        return await self._once(call, key.database_id, work)

    async def save_batch(self, call: Call, database_id: int, items: Sequence[BatchItem]) -> Any:
        """Save many profiles in one transaction; return for each its id or its refusal."""

        async def work(transaction: Transaction) -> list[str | PromintError]:
            outcomes: list[str | PromintError] = []
            for number, (key, data) in enumerate(items):
                if number % BREATH == 0:
                    await asyncio.sleep(0)
                if isinstance(key, PromintError):
                    outcomes.append(key)
                    continue
                try:
                    saved = await self._save(transaction, call, key, data, creates=True)
                except (NotFound, Refused, BadRequest) as refusal:
                    outcomes.append(refusal)
                else:
                    outcomes.append(saved)
            return outcomes

        return await self._once(call, database_id, work)

    async def delete(self, call: Call, key: ProfileKey) -> Any:
        """Delete a profile; return its id. Its unactivated codes are free again.

        Activated codes keep the bare id, and so do the events: the person goes, the ledger stays.

        Raises:
            DatabaseNotFound, ProfileNotFound, ProfileAmbiguous: it cannot be found.
        """

        async def work(transaction: Transaction) -> str:
            profile = await self._find(transaction, key)
            if profile is None:
                raise ProfileNotFound
            holder = Holder(profile.database_id, profile.id)
            await transaction.delete_profile(holder)
            await self._release(transaction, call, holder)
            await transaction.record([self._event(call, EventKind.PROFILE_DELETED, holder)])
            return profile.id

        return await self._once(call, key.database_id, work)

    # -- inside a transaction --------------------------------------------------------------

    async def _find(self, transaction: Transaction, key: ProfileKey) -> Profile | None:
        profile_id = key.profile_id
        if profile_id is None:
            found = [await transaction.find(identity) for identity in key.identities]
            profile_id = identities.profile_of(found)
        if profile_id is None:
            return None
        return await transaction.profile(Holder(key.database_id, profile_id))

    async def _save(
        self,
        transaction: Transaction,
        call: Call,
        key: ProfileKey,
        data: dict[str, Any],
        *,
        creates: bool,
    ) -> str:
        profile = await self._find(transaction, key)
        if profile is None and (not creates or key.profile_id is not None):
            raise ProfileNotFound
        if profile is None:
            kind = EventKind.PROFILE_CREATED
            named = identities.data_of(key.identities)
            new = Profile(
                key.database_id,
                self._ids.new(call.now).hex(),
                identities.merged(named, data),
                call.now,
                call.now,
            )
        else:
            kind = EventKind.PROFILE_UPDATED
            merged = identities.merged(profile.data, data)
            if merged == profile.data:
                return profile.id
            new = replace(profile, data=merged, updated_at=call.now)
        leading = identities.identities_of(new.database_id, new.data)
        for identity in leading:
            if identity.kind != IdentityKind.CUSTOM:
                owners = await transaction.find(identity)
                if any(owner != new.id for owner in owners):
                    raise Duplicate(identity.value)

        if profile is None:
            await transaction.insert_profile(NewProfile(new, leading))
        else:
            await transaction.update_profile(NewProfile(new, leading))
        event = self._event(call, kind, Holder(new.database_id, new.id))
        await transaction.record([event])
        return new.id

    async def _release(self, transaction: Transaction, call: Call, holder: Holder) -> None:
        released: list[PromoCode] = []
        for code in await transaction.held_codes(holder):
            if code.activation_count:
                continue
            if code.attach_count > 1:
                before = await transaction.latest_holder(code, holder)
                assert before is not None, "a code attached to several has another holder"
                released.append(rules.released(code, *before))
            else:
                program = await transaction.program(code.loyalty_id)
                assert program is not None, "a code without a program"
                released.append(rules.freed(program, code))
        await transaction.release(holder, released)
        await transaction.record(
            [
                Event(
                    code.shard_key,
                    self._ids.new(call.now),
                    EventKind.RELEASED,
                    call.now,
                    call.token.id,
                    call.request_id,
                    code.code_key,
                    code.version,
                    holder.database_id,
                    holder.profile_id,
                    code.attach_count,
                    code.activation_count,
                    code.activated_at,
                    code.expires_at,
                )
                for code in released
            ]
        )

    def _event(self, call: Call, kind: EventKind, holder: Holder) -> Event:
        return Event(
            profile_shard(holder),
            self._ids.new(call.now),
            kind,
            call.now,
            call.token.id,
            call.request_id,
            database_id=holder.database_id,
            profile_id=holder.profile_id,
        )

    async def _once(
        self, call: Call, database_id: int, work: Callable[[Transaction], Awaitable[Any]]
    ) -> Any:
        """Run one transaction; with an idempotency key, at most once for all time.

        The database is looked up before it begins: inside, a look-up would want a second
        connection, and as many transactions as there are connections would wait for each other.

        Returns what `work` returns, or the recorded answer of the key.
        """
        idempotency, keyed = call.idempotency, call.keyed(self._idempotency_s)
        not_found: NotFound | None = None
        try:
            await self._database(call, database_id)
        except NotFound as error:
            not_found = error
        if idempotency is None or keyed is None:
            if not_found is not None:
                raise not_found
            return await in_transaction(self._store, work)

        async def remembered(transaction: Transaction) -> Answer:
            record = await transaction.recall(keyed.id, call.now)
            if record is not None:
                if record.digest != keyed.digest:
                    raise IdempotencyMismatch
                return record.answer
            try:
                if not_found is not None:
                    raise not_found
                outcome = await work(transaction)
            except (NotFound, Refused) as refusal:
                outcome = refusal
            answer = idempotency.render(outcome)
            await transaction.remember(keyed, answer)
            return answer

        return await in_transaction(self._store, remembered)
