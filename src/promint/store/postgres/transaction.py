"""A transaction on PostgreSQL that is not on the hot path."""

from collections.abc import Sequence
from dataclasses import replace

from promint.domain.model import (
    Batch,
    Database,
    Event,
    Holder,
    Identity,
    LoyaltyProgram,
    Profile,
    PromoCode,
    Token,
)
from promint.store import Answer, IdempotencyId, IdempotencyRecord, Keyed, Lost, NewProfile, sql
from promint.store.postgres.sessions import Connection


class PostgresTransaction:
    """A transaction that is not on the hot path."""

    def __init__(self, connection: Connection) -> None:
        """Wrap the connection, which is inside BEGIN."""
        self.connection = connection

    async def recall(self, key: IdempotencyId, now: int) -> IdempotencyRecord | None:
        """Return what a key was used for."""
        row = await self.connection.fetchrow(sql.IDEMPOTENCY, *key, now)
        return IdempotencyRecord(row[0], Answer._make(row[1:])) if row else None

    async def remember(self, keyed: Keyed, answer: Answer) -> None:
        """Keep an answer for its key."""
        await self.connection.execute(sql.DROP_STALE_IDEMPOTENCY, *keyed.id, keyed.now)
        await self.connection.execute(
            sql.INSERT_IDEMPOTENCY, *keyed.id, keyed.digest, *answer, keyed.keep_until
        )

    async def record(self, events: Sequence[Event]) -> None:
        """Append events."""
        await self.connection.executemany(sql.INSERT_EVENT, events)

    async def find(self, identity: Identity) -> list[str]:
        """Return the profiles behind an identity."""
        return [row[0] for row in await self.connection.fetch(sql.IDENTITY, *identity)]

    async def profile(self, holder: Holder) -> Profile | None:
        """Return a profile, locked."""
        row = await self.connection.fetchrow(sql.POSTGRES_LOCK_PROFILE, *holder)
        return sql.profile_value(row) if row else None

    async def insert_profile(self, new: NewProfile) -> None:
        """Add a profile."""
        await self.connection.execute(sql.INSERT_PROFILE, *sql.profile_row(new.profile))
        await self.connection.executemany(
            sql.INSERT_IDENTITY, sorted((*i, new.profile.id) for i in new.identities)
        )

    async def update_profile(self, new: NewProfile) -> None:
        """Replace a profile."""
        _, _, data, _, updated_at, version = sql.profile_row(new.profile)
        holder = Holder(new.profile.database_id, new.profile.id)
        status = await self.connection.execute(
            sql.UPDATE_PROFILE, data, updated_at, version + 1, *holder, version
        )
        if status != "UPDATE 1":
            raise Lost(f"profile {holder}")
        await self.connection.execute(sql.DELETE_IDENTITIES, *holder)
        await self.connection.executemany(
            sql.INSERT_IDENTITY, sorted((*i, holder.profile_id) for i in new.identities)
        )

    async def delete_profile(self, holder: Holder) -> None:
        """Remove a profile."""
        await self.connection.execute(sql.DELETE_PROFILE, *holder)
        await self.connection.execute(sql.DELETE_IDENTITIES, *holder)

    async def held_codes(self, holder: Holder) -> list[PromoCode]:
        """Return what a profile holds, locked in key order."""
        rows = await self.connection.fetch(sql.POSTGRES_HELD_CODES, *holder)
        return [PromoCode._make(row) for row in rows]

    async def latest_holder(self, code: PromoCode, but: Holder) -> tuple[Holder, int] | None:
        """Return who else holds a code."""
        row = await self.connection.fetchrow(sql.LATEST_HOLDER, code.shard_key, code.code_key, *but)
        return (Holder(row[0], row[1]), row[2]) if row else None

    async def release(self, holder: Holder, codes: Sequence[PromoCode]) -> None:
        """Write released codes."""
        for code in codes:
            status = await self.connection.execute(
                sql.UPDATE_CODE, *sql.update_code_row(code, code.version - 1)
            )
            if status != "UPDATE 1":
                raise Lost(code.code_key)
        await self.connection.executemany(
            sql.DELETE_ATTACHMENT, [(code.shard_key, code.code_key, *holder) for code in codes]
        )

    async def program(self, loyalty_id: int) -> LoyaltyProgram | None:
        """Return a program."""
        row = await self.connection.fetchrow(sql.PROGRAM, loyalty_id)
        return sql.program_value(row) if row else None

    async def insert_program(self, program: LoyaltyProgram) -> LoyaltyProgram:
        """Add a program."""
        if not program.id:
            program = replace(program, id=await self.connection.fetchval(sql.NEXT_PROGRAM_ID))
        await self.connection.execute(sql.INSERT_PROGRAM, *sql.program_row(program))
        await self.connection.execute(sql.INSERT_TALLY, program.first_shard, sql.CODES, "", 0, 1, 1)
        return program

    async def update_program(self, program: LoyaltyProgram) -> None:
        """Write settings."""
        status = await self.connection.execute(sql.UPDATE_PROGRAM, *sql.program_update_row(program))
        if status != "UPDATE 1":
            raise Lost(f"program {program.id}")

    async def database(self, database_id: int) -> Database | None:
        """Return a database."""
        row = await self.connection.fetchrow(sql.DATABASE, database_id)
        return sql.database_value(row) if row else None

    async def insert_database(self, database: Database) -> Database:
        """Add a database."""
        if not database.id:
            database = replace(database, id=await self.connection.fetchval(sql.NEXT_DATABASE_ID))
        await self.connection.execute(sql.INSERT_DATABASE, *sql.database_row(database))
        return database

    async def insert_token(self, token: Token, digest: bytes) -> Token:
        """Add a token."""
        token = replace(token, id=await self.connection.fetchval(sql.NEXT_TOKEN_ID))
        await self.connection.execute(sql.INSERT_TOKEN, *sql.token_row(token, digest))
        return token

    async def revoke_token(self, name: str, now: int) -> list[int]:
        """Revoke tokens."""
        return [row[0] for row in await self.connection.fetch(sql.REVOKE_TOKEN, now, name)]

    async def insert_batch(self, batch: Batch) -> Batch:
        """Add a batch."""
        number = await self.connection.fetchval(sql.INSERT_BATCH, *sql.batch_row(batch))
        return replace(batch, id=number)

    async def batch(self, batch_id: int) -> Batch | None:
        """Return a batch, locked."""
        row = await self.connection.fetchrow(sql.POSTGRES_LOCK_BATCH, batch_id)
        return sql.batch_value(row) if row else None

    async def update_batch(self, batch: Batch) -> None:
        """Write a batch."""
        await self.connection.execute(sql.UPDATE_BATCH, *sql.batch_row(batch), batch.id)
