"""Programs, databases and tokens: made and changed by the people who run them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from promint.domain import programs
from promint.domain.errors import (
    BadValue,
    Duplicate,
    ProgramNotFound,
)
from promint.domain.ids import IdMaker
from promint.domain.model import (
    BUCKETS_MAX,
    Database,
    Event,
    EventKind,
    LoyaltyProgram,
    Scope,
    Token,
)
from promint.service.access import new_token, token_digest
from promint.service.transactions import in_transaction
from promint.store import Store, Transaction


class Administration:
    """What an operator changes. Every change leaves an event; `token_id` 0 is a command."""

    def __init__(
        self,
        store: Store,
        *,
        ids: IdMaker,
        now: Callable[[], int],
        random_bytes: Callable[[int], bytes],
        token_id: int = 0,
        request_id: str = "command",
    ) -> None:
        """Take the store, and who asks."""
        self._store = store
        self._ids = ids
        self._now = now
        self._random_bytes = random_bytes
        self._token_id = token_id
        self._request_id = request_id

    async def create_program(self, program: LoyaltyProgram) -> LoyaltyProgram:
        """Create a program; an id of 0 takes the next free one.

        Raises:
            BadValue: a setting cannot be so.
            Duplicate: the id is taken.
        """
        program = programs.checked(replace(program, created_at=self._now(), version=1))

        async def work(transaction: Transaction) -> LoyaltyProgram:
            if program.id and await transaction.program(program.id):
                raise Duplicate(str(program.id))
            made = await transaction.insert_program(program)
            await transaction.record([self._event(EventKind.PROGRAM_CREATED, made.first_shard)])
            return made

        return await in_transaction(self._store, work)

    async def update_program(self, loyalty_id: int, settings: dict[str, Any]) -> LoyaltyProgram:
        """Change the named settings and no others.

        Raises:
            ProgramNotFound: there is no such program.
            BadValue: a setting cannot be so, or is fixed when the program is made.
        """

        async def work(transaction: Transaction) -> LoyaltyProgram:
            before = await transaction.program(loyalty_id)
            if before is None:
                raise ProgramNotFound(str(loyalty_id))
            after = programs.changed(before, settings)
            if after == before:
                return before
            await transaction.update_program(after)
            await transaction.record([self._event(EventKind.PROGRAM_UPDATED, before.first_shard)])
            return replace(after, version=before.version + 1)

        return await in_transaction(self._store, work)

    async def clone_program(self, loyalty_id: int, settings: dict[str, Any]) -> LoyaltyProgram:
        """Create a program with another's settings, none of its codes, and a new id.

        Raises:
            ProgramNotFound, BadValue, Duplicate: as above.
        """
        before = await self._store.program(loyalty_id)
        if before is None:
            raise ProgramNotFound(str(loyalty_id))
        given = {"id": 0, "name": f"{before.name} (copy)", **settings}
        return await self.create_program(replace(before, **given))

    async def create_database(self, database: Database) -> Database:
        """Create a database; an id of 0 takes the next free one.

        Raises:
            BadValue: it has no name, or an id out of bounds.
            Duplicate: the id is taken.
        """
        programs.check_database(database)
        database = replace(database, created_at=self._now())

        async def work(transaction: Transaction) -> Database:
            if database.id and await transaction.database(database.id):
                raise Duplicate(str(database.id))
            made = await transaction.insert_database(database)
            await transaction.record([self._event(EventKind.DATABASE_CREATED, made.id % 4096)])
            return made

        return await in_transaction(self._store, work)

    async def create_token(
        self,
        name: str,
        scopes: frozenset[Scope],
        programs_: frozenset[int] | None = None,
        databases: frozenset[int] | None = None,
    ) -> tuple[str, Token]:
        """Create a token; return its secret, which is kept nowhere, and what is kept.

        Raises:
            BadValue: the name is empty, or there is no scope.
            Duplicate: a living token has that name.
        """
        if not name.strip():
            raise BadValue("empty", "name")
        if not scopes:
            raise BadValue("empty", "scope")
        if any(token.name == name and not token.revoked_at for token in await self._store.tokens()):
            raise Duplicate(name)
        secret = new_token(self._random_bytes(20))
        token = Token(0, name, scopes, programs_, databases, self._now())

        async def work(transaction: Transaction) -> Token:
            made = await transaction.insert_token(token, token_digest(secret))
            await transaction.record([self._event(EventKind.TOKEN_CREATED, made.id % BUCKETS_MAX)])
            return made

        return secret, await in_transaction(self._store, work)

    async def revoke_token(self, name: str) -> list[int]:
        """Revoke the living tokens of that name; return their ids."""

        async def work(transaction: Transaction) -> list[int]:
            revoked = await transaction.revoke_token(name, self._now())
            await transaction.record(
                [self._event(EventKind.TOKEN_REVOKED, number % BUCKETS_MAX) for number in revoked]
            )
            return revoked

        return await in_transaction(self._store, work)

    def _event(self, kind: EventKind, shard_key: int) -> Event:
        now = self._now()
        return Event(shard_key, self._ids.new(now), kind, now, self._token_id, self._request_id)
