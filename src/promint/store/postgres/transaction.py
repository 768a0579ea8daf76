"""A transaction on PostgreSQL that is not on the hot path."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from promint.domain.guessing import Counted, WrongCodes
from promint.domain.model import (
    Batch,
    Database,
    Event,
    Holder,
    Identity,
    Job,
    LoyaltyProgram,
    Profile,
    PromoCode,
    Token,
)
from promint.store import (
    Answer,
    AttachmentId,
    Found,
    IdempotencyId,
    IdempotencyRecord,
    Keyed,
    Lost,
    NewProfile,
    Reads,
    Writes,
    batch_sql,
    jobs_sql,
    sql,
)
from promint.store.batching import BatchChange, ListedChange, MadeCode, WalkKey
from promint.store.postgres.composing import columns
from promint.store.postgres.sessions import BY_KEY, Connection
from promint.store.postgres.staging import IMPORT_LOCK


class PostgresTransaction:
    """A transaction that is not on the hot path."""

    def __init__(
        self,
        connection: Connection,
        read: Callable[[Connection, Reads, bool], Awaitable[Found]],
        write: Callable[[Connection, Writes], Awaitable[None]],
    ) -> None:
        """Wrap the connection, which is inside BEGIN, and the ways of a batch."""
        self.connection = connection
        self._read = read
        self._write = write
        self._is_by_key = False

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
        row = await self.connection.fetchrow(sql.POSTGRES_LOCK_DATABASE, database_id)
        return sql.database_value(row) if row else None

    async def insert_database(self, database: Database) -> Database:
        """Add a database."""
        if not database.id:
            database = replace(database, id=await self.connection.fetchval(sql.NEXT_DATABASE_ID))
        await self.connection.execute(sql.INSERT_DATABASE, *sql.database_row(database))
        return database

    async def update_database(self, database: Database) -> None:
        """Write settings."""
        settings = sql.database_settings(database)
        await self.connection.execute(sql.UPDATE_DATABASE, settings, database.id)

    async def insert_token(self, token: Token, digest: bytes) -> Token:
        """Add a token."""
        token = replace(token, id=await self.connection.fetchval(sql.NEXT_TOKEN_ID))
        await self.connection.execute(sql.INSERT_TOKEN, *sql.token_row(token, digest))
        return token

    async def revoke_token(self, name: str, now: int) -> list[int]:
        """Revoke tokens."""
        return [row[0] for row in await self.connection.fetch(sql.REVOKE_TOKEN, now, name)]

    async def rotate_token(self, token: Token, digest: bytes, now: int) -> bool:
        """Replace a secret."""
        known = token.id, token.rotated_at or 0
        return bool(await self.connection.fetchval(sql.ROTATE_TOKEN, digest, now, *known))

    async def wrong_codes(self, wanted: Sequence[Counted]) -> list[WrongCodes]:
        """Return counts, locked in order."""
        return [await self._wrong_codes(one) for one in sorted(wanted)]

    async def _wrong_codes(self, counted: Counted) -> WrongCodes:
        row = await self.connection.fetchrow(sql.LOCK_WRONG_CODES, *counted)
        if row is None:
            await self.connection.execute(sql.ADD_WRONG_CODES, *counted)
            row = await self.connection.fetchrow(sql.LOCK_WRONG_CODES, *counted)
        return sql.wrong_codes_value(row)

    async def save_wrong_codes(self, changed: Sequence[WrongCodes]) -> None:
        """Write counts."""
        await self.connection.executemany(
            sql.SAVE_WRONG_CODES, [sql.wrong_codes_row(one) for one in changed]
        )

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

    async def insert_job(self, job: Job) -> Job:
        """Add a job."""
        return replace(
            job, id=await self.connection.fetchval(jobs_sql.INSERT_JOB, *jobs_sql.job_row(job))
        )

    async def _by_key(self) -> None:
        if not self._is_by_key:
            await self.connection.execute(BY_KEY)
            self._is_by_key = True

    async def read(self, reads: Reads, *, holds: bool = True) -> Found:
        """Read for operations, the rows locked in key order."""
        await self._by_key()
        return await self._read(self.connection, reads, holds)

    async def write(self, writes: Writes) -> None:
        """Write what was decided."""
        await self._write(self.connection, writes)

    async def hold_imports(self, loyalty_id: int) -> None:
        """Take the lock that an import holds."""
        await self.connection.execute(
            "SELECT pg_advisory_xact_lock($1, $2)", IMPORT_LOCK, loyalty_id
        )

    async def delete_codes(self, codes: Sequence[PromoCode]) -> None:
        """Remove codes."""
        if not codes:
            return
        rows = sorted((code.shard_key, code.code_key, code.version) for code in codes)
        status = await self.connection.execute(batch_sql.POSTGRES_DELETE_UNCHANGED, *columns(rows))
        if status != f"DELETE {len(codes)}":
            raise Lost("a code to delete has changed")

    async def count_codes(self, program: LoyaltyProgram, more: int) -> None:
        """Raise or lower the count."""
        await self.connection.execute(sql.ADD_CODES, more, program.first_shard)

    async def save_changes(self, changes: Sequence[BatchChange]) -> None:
        """Keep changes."""
        if changes:
            await self.connection.execute(
                batch_sql.POSTGRES_INSERT_CHANGES, *columns(sorted(changes))
            )

    async def delete_changes(self, changes: Sequence[BatchChange]) -> None:
        """Forget changes."""
        if changes:
            rows = sorted(change[:3] for change in changes)
            await self.connection.execute(batch_sql.POSTGRES_DELETE_CHANGES, *columns(rows))

    async def forget_changes(self, shard_key: int, batch_id: int, most: int) -> int:
        """Remove changes."""
        await self._by_key()
        status = await self.connection.execute(batch_sql.FORGET_CHANGES, shard_key, batch_id, most)
        return int(status.split()[-1])

    async def changes(
        self, batch_id: int, program: LoyaltyProgram, after: WalkKey, most: int
    ) -> list[ListedChange]:
        """Return changes, shard after shard."""
        await self._by_key()
        found: list[ListedChange] = []
        code_key = after.code_key
        for shard in range(max(after.shard_key, program.first_shard), program.last_shard + 1):
            rows = await self.connection.fetch(
                batch_sql.CHANGES, shard, batch_id, code_key, most - len(found)
            )
            found += [ListedChange(BatchChange(*row[:5]), *row[5:]) for row in rows]
            if len(found) == most:
                break
            code_key = ""
        return found

    async def made_codes(
        self, batch: Batch, program: LoyaltyProgram, after: WalkKey, most: int
    ) -> list[MadeCode]:
        """Return codes of a batch, shard after shard."""
        await self._by_key()
        found: list[MadeCode] = []
        if batch.first_seq is None or batch.last_seq is None:
            return found
        seq = max(after.seq, batch.first_seq - 1)
        for shard in range(max(after.shard_key, program.first_shard), program.last_shard + 1):
            rows = await self.connection.fetch(
                batch_sql.MADE, shard, seq, batch.last_seq, batch.id, most - len(found)
            )
            found += [MadeCode(PromoCode._make(row[:-1]), row[-1]) for row in rows]
            if len(found) == most:
                break
            seq = batch.first_seq - 1
        return found

    async def code_history(self, shard_key: int, code_key: str) -> list[Event]:
        """Return a code's events."""
        rows = await self.connection.fetch(sql.CODE_HISTORY, shard_key, code_key)
        return [Event._make(row) for row in rows]

    async def attached_at(self, attachments: Sequence[AttachmentId]) -> dict[AttachmentId, int]:
        """Return dates of attachment."""
        if not attachments:
            return {}
        rows = await self.connection.fetch(batch_sql.POSTGRES_ATTACHED_AT, *columns(attachments))
        return {(row[0], row[1], row[2], row[3]): row[4] for row in rows}
