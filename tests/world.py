"""A store, the use cases over it, and a clock that a test sets: the domain without HTTP."""

import asyncio
import io
import os
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any, TypeVar

from promint.bootstrap import make_service, make_store, new_ids
from promint.config import read_settings
from promint.domain import identities
from promint.domain.ids import IdMaker
from promint.domain.model import (
    Database,
    Event,
    Holder,
    LoyaltyProgram,
    ProfileKey,
    PromoCode,
    Scope,
    Token,
)
from promint.service import Call, Idempotency, Service
from promint.service.administration import Administration
from promint.service.exporting import Exporting
from promint.service.importing import Importing, ImportOptions, ImportReport
from promint.service.means import Means
from promint.store import Answer, Store
from promint.store.searching import CodeFilter
from promint.wire.rows import FileFormat, ReadOptions

Result = TypeVar("Result")

NOON = 1_712_000_000_000_000
"""A moment in 2024, in UTC microseconds."""
SECOND = 1_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR


def everything() -> Token:
    return Token(7, "test", frozenset(Scope))


class World:
    """Opens one store; every method waits for its outcome, so tests read from top to bottom.

    With `ids`, two worlds that do the same make the same ids.
    """

    def __init__(self, url: str, ids: IdMaker | None = None, **settings: Any) -> None:
        self.runner = asyncio.Runner()
        self.now = NOON
        self.token = everything()
        self.settings = read_settings({}, **{"database_url": url, "cache_s": 1e-9, **settings})
        self.store: Store = make_store(self.settings)
        self.run(self.store.open())
        self.ids = ids or new_ids()
        self.service: Service
        self.service, self.engine = make_service(
            self.store, self.settings, self.ids, now=lambda: self.now
        )
        self.administration = Administration(
            self.store, ids=self.ids, now=lambda: self.now, random_bytes=os.urandom
        )

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return self.runner.run(work)

    def close(self) -> None:
        self.run(self.engine.drain())
        self.run(self.store.close())
        self.runner.close()

    def call(
        self, key: str | None = None, digest: bytes = b"same", network: str | None = None
    ) -> Call:
        """Return a call at this moment, with an idempotency key if one is named.

        Wrong codes are counted where it comes from a network.
        """

        def render(outcome: Any) -> Answer:
            return Answer(200, getattr(outcome, "reason", ""), "text", repr(outcome).encode())

        idempotency = Idempotency(key, digest, render) if key else None
        return Call(self.token, "request-1", self.now, idempotency, network)

    # -- what there is ---------------------------------------------------------------------

    def program(self, **settings: Any) -> LoyaltyProgram:
        wanted = LoyaltyProgram(**{"id": 0, "name": "Spring", **settings})
        return self.run(self.administration.create_program(wanted))

    def change(self, program: LoyaltyProgram, **settings: Any) -> LoyaltyProgram:
        return self.run(self.administration.update_program(program.id, settings))

    def database(self, **settings: Any) -> Database:
        wanted = Database(**{"id": 0, "name": "Customers", **settings})
        return self.run(self.administration.create_database(wanted))

    def profile(self, database: Database, email: str) -> Holder:
        key = ProfileKey(database.id, identities=(identities.email_identity(database.id, email),))
        saved = self.run(self.service.profiles.save(self.call(), key, {}, creates=True))
        return Holder(database.id, saved)

    # -- the calls -------------------------------------------------------------------------

    def import_codes(self, program: LoyaltyProgram, *codes: str, key: str | None = None) -> Any:
        return self.run(self.service.import_codes(self.call(key), program.id, codes))

    def get(self, program: LoyaltyProgram, code: str) -> PromoCode:
        return self.run(self.service.get(self.call(), program.id, code))

    def activate(self, program: LoyaltyProgram, code: str, key: str | None = None) -> Any:
        return self.run(self.service.activate(self.call(key), program.id, code))

    def update(self, program: LoyaltyProgram, code: str, **changes: Any) -> Any:
        asked = {"activated": None, "changes_expiry": "expires_at" in changes, "expires_at": None}
        return self.run(self.service.update(self.call(), program.id, code, **asked | changes))

    def attach(
        self, program: LoyaltyProgram, holder: Holder, code: str | None = None, **named: Any
    ) -> Any:
        key = ProfileKey(holder.database_id, profile_id=holder.profile_id)
        return self.run(self.service.attach(self.call(**named), program.id, key, code))

    def attach_by_email(
        self, program: LoyaltyProgram, database: Database, email: str, code: str | None = None
    ) -> Any:
        key = ProfileKey(database.id, identities=(identities.email_identity(database.id, email),))
        return self.run(self.service.attach(self.call(), program.id, key, code))

    def detach(self, program: LoyaltyProgram, holder: Holder, code: str) -> Any:
        key = ProfileKey(holder.database_id, profile_id=holder.profile_id)
        return self.run(self.service.detach(self.call(), program.id, key, code))

    def delete_profile(self, holder: Holder) -> Any:
        key = ProfileKey(holder.database_id, profile_id=holder.profile_id)
        return self.run(self.service.profiles.delete(self.call(), key))

    def history(self, program: LoyaltyProgram, code: str) -> list[Event]:
        return self.run(self.service.history(program, code))

    def exported(self, program: LoyaltyProgram) -> list[str]:
        async def collect() -> list[str]:
            chunks = await self.service.export_all(self.call(), program.id)
            return [code.code async for chunk in chunks for code in chunk]

        return self.run(collect())

    def codes(self, program: LoyaltyProgram) -> list[PromoCode]:
        """Return the codes of a program in order of creation."""

        async def collect() -> list[PromoCode]:
            walk = self.store.searching.walk(program, CodeFilter(), now=self.now)
            return [code async for codes in walk for code in codes]

        return self.run(collect())

    # -- files -----------------------------------------------------------------------------

    def means(self) -> Means:
        return Means(self.store, self.ids, lambda: self.now, os.urandom)

    def export_file(
        self,
        program: LoyaltyProgram,
        form: FileFormat,
        *,
        raw: bool = False,
        wanted: CodeFilter = CodeFilter(),  # noqa: B008  # frozen
    ) -> bytes:
        async def collect() -> bytes:
            pieces = Exporting(self.means()).export(program, wanted, form, raw=raw)
            return b"".join([piece async for piece in pieces])

        return self.run(collect())

    def import_file(self, program: LoyaltyProgram, file: bytes, form: FileFormat) -> ImportReport:
        importing = Importing(self.means())
        name = f"codes.{form}"
        # No spreadsheet was at it: a code that looks damaged was made like that.
        options = ImportOptions(ReadOptions(accept_damaged=True))
        return self.run(importing.run(program.id, io.BytesIO(file), name=name, options=options))

    def with_token(self, **changes: Any) -> None:
        self.token = replace(self.token, **changes)
