"""Programs, databases and tokens: made and changed by the people who run them."""

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from promint.domain import programs
from promint.domain.errors import (
    BadValue,
    DatabaseNotFound,
    Duplicate,
    ProgramNotFound,
    TokenNotFound,
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
from promint.domain.templates import has_check
from promint.service.access import new_token, token_digest
from promint.service.transactions import Once, in_transaction, once_in_transaction
from promint.store import Store, Transaction
from promint.store.searching import CodeFilter

PERSONAL, UNIVERSAL = "personal", "universal"
"""The two kinds of program: a code belongs to one profile at a time, or to many."""


def kind_of(program: LoyaltyProgram) -> str:
    """Return the word for a program's kind."""
    return UNIVERSAL if program.multiple_usage else PERSONAL


@dataclass(frozen=True, slots=True)
class ProgramFilter:
    """Which programs a list shows; None does not narrow. Archived ones only when asked for."""

    active: bool | None = None
    archived: bool = False
    kind: str | None = None
    name: str = ""
    access_group: str | None = None

    def chosen(self, listed: Iterable[LoyaltyProgram]) -> list[LoyaltyProgram]:
        """Return those that match; `name` is a part of theirs, in any case."""
        part = self.name.casefold()
        return [
            program
            for program in listed
            if program.archived == self.archived
            and self.active in (None, program.active)
            and self.kind in (None, kind_of(program))
            and self.access_group in (None, program.access_group)
            and part in program.name.casefold()
        ]


def program_details(after: LoyaltyProgram, before: LoyaltyProgram | None = None) -> str:
    """Return what the event of a program says: its settings, or those that are others now.

    The version is the one that the change gives it.
    """
    settings = {
        name: value
        for name, value in asdict(after).items()
        if name not in ("id", "created_at", "version")
        and (before is None or value != getattr(before, name))
    }
    version = after.version if before is None else before.version + 1
    return json.dumps({"version": version, "settings": settings}, ensure_ascii=False)


class Administration:
    """What an operator changes. Every change leaves an event; `token_id` 0 is a command.

    With an idempotency key, `once`, what is made is made once; the methods that take it then
    raise `Answered` where the key was used before.
    """

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

    async def create_program(
        self, program: LoyaltyProgram, once: Once | None = None
    ) -> LoyaltyProgram:
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
            event = self._event(
                EventKind.PROGRAM_CREATED,
                made.first_shard,
                at=made.created_at,
                details=program_details(made),
            )
            await transaction.record([event])
            return made

        return await once_in_transaction(self._store, once, work)

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
            if after.template != before.template and has_check(after.template):
                await self._check_empty(before)
            await transaction.update_program(after)
            details = program_details(after, before)
            await transaction.record(
                [self._event(EventKind.PROGRAM_UPDATED, before.first_shard, details=details)]
            )
            return replace(after, version=before.version + 1)

        return await in_transaction(self._store, work)

    async def archive_program(self, loyalty_id: int) -> LoyaltyProgram:
        """Switch a program off and hide it from lists. Its codes and their history stay.

        Raises:
            ProgramNotFound: there is no such program.
        """
        return await self.update_program(loyalty_id, {"archived": True, "active": False})

    async def unarchive_program(self, loyalty_id: int) -> LoyaltyProgram:
        """Show an archived program in lists again. It stays off until it is activated.

        Raises:
            ProgramNotFound: there is no such program.
        """
        return await self.update_program(loyalty_id, {"archived": False})

    async def _check_empty(self, program: LoyaltyProgram) -> None:
        """Refuse a check symbol for a program that may have codes without it.

        Raises:
            BadValue: it has codes.
        """
        everything = CodeFilter()
        if await self._store.searching.count(program, everything, now=self._now(), most=1):
            raise BadValue(
                "has a check symbol, and the program has codes without; make a new one", "template"
            )

    async def clone_program(
        self, loyalty_id: int, settings: dict[str, Any], once: Once | None = None
    ) -> LoyaltyProgram:
        """Create a program with another's settings, none of its codes or past, and a new id.

        Raises:
            ProgramNotFound, BadValue, Duplicate: as above.
        """
        before = await self._store.program(loyalty_id)
        if before is None:
            raise ProgramNotFound(str(loyalty_id))
        name = f"{before.name} (copy)"
        given = {"id": 0, "name": name, "archived": False, "first_version": 1, **settings}
        return await self.create_program(replace(before, **given), once)

    async def create_database(self, database: Database, once: Once | None = None) -> Database:
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
            event = self._database_event(EventKind.DATABASE_CREATED, made.id, at=made.created_at)
            await transaction.record([event])
            return made

        return await once_in_transaction(self._store, once, work)

    async def update_database(self, database_id: int, settings: dict[str, Any]) -> Database:
        """Change the named settings of a database and no others.

        Raises:
            DatabaseNotFound: there is no such database.
            BadValue: a setting is unknown, or cannot be so.
        """
        known = {field.name for field in fields(Database)} - {"id", "created_at"}
        for name in settings:
            if name not in known:
                raise BadValue("unknown", name)

        async def work(transaction: Transaction) -> Database:
            before = await transaction.database(database_id)
            if before is None:
                raise DatabaseNotFound(str(database_id))
            after = replace(before, **settings)
            programs.check_database(after)
            if after != before:
                await transaction.update_database(after)
                event = self._database_event(EventKind.DATABASE_UPDATED, database_id)
                await transaction.record([event])
            return after

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
        programs.check_name(name)
        if not scopes:
            raise BadValue("empty", "scope")
        if any(token.name == name and not token.revoked_at for token in await self._store.tokens()):
            raise Duplicate(name)
        secret = new_token(self._random_bytes(20))
        token = Token(0, name, scopes, programs_, databases, self._now())

        async def work(transaction: Transaction) -> Token:
            made = await transaction.insert_token(token, token_digest(secret))
            event = self._token_event(EventKind.TOKEN_CREATED, made.id, at=made.created_at)
            await transaction.record([event])
            return made

        return secret, await in_transaction(self._store, work)

    async def revoke_token(self, name: str) -> list[int]:
        """Revoke the living tokens of that name; return their ids."""

        async def work(transaction: Transaction) -> list[int]:
            revoked = await transaction.revoke_token(name, self._now())
            await transaction.record(
                [self._token_event(EventKind.TOKEN_REVOKED, number) for number in revoked]
            )
            return revoked

        return await in_transaction(self._store, work)

    async def living_token(self, name: str) -> Token:
        """Return the living token of that name.

        Raises:
            TokenNotFound: there is none.
        """
        for token in await self._store.tokens():
            if token.name == name and token.revoked_at is None:
                return token
        raise TokenNotFound(name)

    async def rotate_token(self, token: Token) -> str:
        """Give a token a new secret and return it; the one before is dead.

        Id, rights and idempotency keys stay. Of those who saw the same token, one rotates it.

        Raises:
            TokenNotFound: it was rotated or revoked since it was read.
        """
        secret = new_token(self._random_bytes(20))

        async def work(transaction: Transaction) -> None:
            at = self._now()
            if not await transaction.rotate_token(token, token_digest(secret), at):
                raise TokenNotFound(f"{token.name}: rotated or revoked meanwhile")
            await transaction.record([self._token_event(EventKind.TOKEN_ROTATED, token.id, at)])

        await in_transaction(self._store, work)
        return secret

    def _database_event(self, kind: EventKind, database_id: int, at: int | None = None) -> Event:
        return self._event(kind, database_id % BUCKETS_MAX, at=at, database_id=database_id)

    def _token_event(self, kind: EventKind, token_id: int, at: int | None = None) -> Event:
        details = json.dumps({"token_id": token_id})
        return self._event(kind, token_id % BUCKETS_MAX, at=at, details=details)

    def _event(
        self, kind: EventKind, shard_key: int, *, at: int | None = None, **more: Any
    ) -> Event:
        """Return an event of the moment that the row has, or of this one."""
        at = self._now() if at is None else at
        return Event(
            shard_key, self._ids.new(at), kind, at, self._token_id, self._request_id, **more
        )
