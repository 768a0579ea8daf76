"""A transaction on SQLite that is not on the hot path."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import apsw

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


def insert_profile(writer: apsw.Connection, new: NewProfile) -> None:
    """Add a profile and the identities that lead to it."""
    writer.execute(sql.INSERT_PROFILE, sql.profile_row(new.profile))
    writer.executemany(sql.INSERT_IDENTITY, [(*i, new.profile.id) for i in new.identities])


def remember(writer: apsw.Connection, keyed: Keyed, answer: Answer) -> None:
    """Keep the answer of an idempotency key, in the place of one whose time is over."""
    writer.execute(sql.DROP_STALE_IDEMPOTENCY, (*keyed.id, keyed.now))
    writer.execute(sql.INSERT_IDEMPOTENCY, (*keyed.id, keyed.digest, *answer, keyed.keep_until))


class SqliteTransaction:
    """A transaction that is not on the hot path."""

    def __init__(
        self,
        writer: apsw.Connection,
        read: Callable[[apsw.Connection, Reads], Found],
        write: Callable[[apsw.Connection, Writes], None],
    ) -> None:
        """Wrap the connection, which is inside BEGIN IMMEDIATE, and the ways of a batch."""
        self._writer = writer
        self._read = read
        self._write = write

    def _row(self, statement: str, *parameters: Any) -> Any:
        return self._writer.execute(statement, parameters).fetchone()

    async def recall(self, key: IdempotencyId, now: int) -> IdempotencyRecord | None:
        """Return what a key was used for."""
        row = self._row(sql.IDEMPOTENCY, *key, now)
        return IdempotencyRecord(row[0], Answer._make(row[1:])) if row else None

    async def remember(self, keyed: Keyed, answer: Answer) -> None:
        """Keep an answer for its key."""
        remember(self._writer, keyed, answer)

    async def record(self, events: Sequence[Event]) -> None:
        """Append events."""
        self._writer.executemany(sql.INSERT_EVENT, events)

    async def find(self, identity: Identity) -> list[str]:
        """Return the profiles behind an identity."""
        return [row[0] for row in self._writer.execute(sql.IDENTITY, identity)]

    async def profile(self, holder: Holder) -> Profile | None:
        """Return a profile."""
        row = self._row(sql.PROFILE, *holder)
        return sql.profile_value(row) if row else None

    async def insert_profile(self, new: NewProfile) -> None:
        """Add a profile."""
        insert_profile(self._writer, new)

    async def update_profile(self, new: NewProfile) -> None:
        """Replace a profile."""
        _, _, data, _, updated_at, version = sql.profile_row(new.profile)
        holder = Holder(new.profile.database_id, new.profile.id)
        self._writer.execute(sql.UPDATE_PROFILE, (data, updated_at, version + 1, *holder, version))
        self._writer.execute(sql.DELETE_IDENTITIES, holder)
        self._writer.executemany(sql.INSERT_IDENTITY, [(*i, holder[1]) for i in new.identities])

    async def delete_profile(self, holder: Holder) -> None:
        """Remove a profile."""
        self._writer.execute(sql.DELETE_PROFILE, holder)
        self._writer.execute(sql.DELETE_IDENTITIES, holder)

    async def held_codes(self, holder: Holder) -> list[PromoCode]:
        """Return what a profile holds."""
        return [PromoCode._make(row) for row in self._writer.execute(sql.HELD_CODES, holder)]

    async def latest_holder(self, code: PromoCode, but: Holder) -> tuple[Holder, int] | None:
        """Return who else holds a code."""
        row = self._row(sql.LATEST_HOLDER, code.shard_key, code.code_key, *but)
        return (Holder(row[0], row[1]), row[2]) if row else None

    async def release(self, holder: Holder, codes: Sequence[PromoCode]) -> None:
        """Write released codes."""
        self._writer.executemany(
            sql.UPDATE_CODE, [sql.update_code_row(code, code.version - 1) for code in codes]
        )
        self._writer.executemany(
            sql.DELETE_ATTACHMENT, [(code.shard_key, code.code_key, *holder) for code in codes]
        )

    async def program(self, loyalty_id: int) -> LoyaltyProgram | None:
        """Return a program."""
        row = self._row(sql.PROGRAM, loyalty_id)
        return sql.program_value(row) if row else None

    async def insert_program(self, program: LoyaltyProgram) -> LoyaltyProgram:
        """Add a program."""
        if not program.id:
            program = replace(program, id=self._row(sql.NEXT_PROGRAM_ID)[0])
        self._writer.execute(sql.INSERT_PROGRAM, sql.program_row(program))
        self._writer.execute(sql.INSERT_TALLY, (program.first_shard, sql.CODES, "", 0, 1, 1))
        return program

    async def update_program(self, program: LoyaltyProgram) -> None:
        """Write settings."""
        before = self._writer.total_changes()
        self._writer.execute(sql.UPDATE_PROGRAM, sql.program_update_row(program))
        if self._writer.total_changes() == before:
            raise Lost(f"program {program.id}")

    async def database(self, database_id: int) -> Database | None:
        """Return a database."""
        row = self._row(sql.DATABASE, database_id)
        return sql.database_value(row) if row else None

    async def insert_database(self, database: Database) -> Database:
        """Add a database."""
        if not database.id:
            database = replace(database, id=self._row(sql.NEXT_DATABASE_ID)[0])
        self._writer.execute(sql.INSERT_DATABASE, sql.database_row(database))
        return database

    async def update_database(self, database: Database) -> None:
        """Write settings."""
        self._writer.execute(sql.UPDATE_DATABASE, (sql.database_settings(database), database.id))

    async def insert_token(self, token: Token, digest: bytes) -> Token:
        """Add a token."""
        token = replace(token, id=self._row(sql.NEXT_TOKEN_ID)[0])
        self._writer.execute(sql.INSERT_TOKEN, sql.token_row(token, digest))
        return token

    async def revoke_token(self, name: str, now: int) -> list[int]:
        """Revoke tokens."""
        return [row[0] for row in self._writer.execute(sql.REVOKE_TOKEN, (now, name))]

    async def rotate_token(self, token: Token, digest: bytes, now: int) -> bool:
        """Replace a secret."""
        row = self._row(sql.ROTATE_TOKEN, digest, now, token.id, token.rotated_at or 0)
        return row is not None

    async def wrong_codes(self, wanted: Sequence[Counted]) -> list[WrongCodes]:
        """Return counts."""
        self._writer.executemany(sql.ADD_WRONG_CODES, wanted)
        return [sql.wrong_codes_value(self._row(sql.WRONG_CODES, *one)) for one in sorted(wanted)]

    async def save_wrong_codes(self, changed: Sequence[WrongCodes]) -> None:
        """Write counts."""
        self._writer.executemany(
            sql.SAVE_WRONG_CODES, [sql.wrong_codes_row(one) for one in changed]
        )

    async def insert_batch(self, batch: Batch) -> Batch:
        """Add a batch."""
        return replace(batch, id=self._row(sql.INSERT_BATCH, *sql.batch_row(batch))[0])

    async def batch(self, batch_id: int) -> Batch | None:
        """Return a batch."""
        row = self._row(sql.BATCH, batch_id)
        return sql.batch_value(row) if row else None

    async def update_batch(self, batch: Batch) -> None:
        """Write a batch."""
        self._writer.execute(sql.UPDATE_BATCH, (*sql.batch_row(batch), batch.id))

    async def insert_job(self, job: Job) -> Job:
        """Add a job."""
        return replace(job, id=self._row(jobs_sql.INSERT_JOB, *jobs_sql.job_row(job))[0])

    async def read(self, reads: Reads, *, holds: bool = True) -> Found:
        """Read for operations; nobody else can write meanwhile."""
        return self._read(self._writer, reads)

    async def write(self, writes: Writes) -> None:
        """Write what was decided."""
        self._write(self._writer, writes)

    async def hold_imports(self, loyalty_id: int) -> None:
        """Nobody else can write meanwhile."""

    async def delete_codes(self, codes: Sequence[PromoCode]) -> None:
        """Remove codes."""
        before = self._writer.total_changes()
        self._writer.executemany(
            batch_sql.DELETE_UNCHANGED,
            [(code.shard_key, code.code_key, code.version) for code in codes],
        )
        if self._writer.total_changes() - before != len(codes):
            raise Lost("a code to delete has changed")

    async def count_codes(self, program: LoyaltyProgram, more: int) -> None:
        """Raise or lower the count."""
        self._writer.execute(sql.ADD_CODES, (more, program.first_shard))

    async def save_changes(self, changes: Sequence[BatchChange]) -> None:
        """Keep changes."""
        self._writer.executemany(batch_sql.INSERT_CHANGE, changes)

    async def delete_changes(self, changes: Sequence[BatchChange]) -> None:
        """Forget changes."""
        self._writer.executemany(batch_sql.DELETE_CHANGE, [change[:3] for change in changes])

    async def forget_changes(self, shard_key: int, batch_id: int, most: int) -> int:
        """Remove changes."""
        self._writer.execute(batch_sql.FORGET_CHANGES, (shard_key, batch_id, most))
        return self._writer.changes()

    async def changes(
        self, batch_id: int, program: LoyaltyProgram, after: WalkKey, most: int
    ) -> list[ListedChange]:
        """Return changes, shard after shard."""
        found: list[ListedChange] = []
        code_key = after.code_key
        for shard in range(max(after.shard_key, program.first_shard), program.last_shard + 1):
            rows = self._writer.execute(
                batch_sql.CHANGES, (shard, batch_id, code_key, most - len(found))
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
        found: list[MadeCode] = []
        if batch.first_seq is None or batch.last_seq is None:
            return found
        seq = max(after.seq, batch.first_seq - 1)
        for shard in range(max(after.shard_key, program.first_shard), program.last_shard + 1):
            rows = self._writer.execute(
                batch_sql.MADE, (shard, seq, batch.last_seq, batch.id, most - len(found))
            )
            found += [MadeCode(PromoCode._make(row[:-1]), row[-1]) for row in rows]
            if len(found) == most:
                break
            seq = batch.first_seq - 1
        return found

    async def code_history(self, shard_key: int, code_key: str) -> list[Event]:
        """Return a code's events."""
        return [
            Event._make(r) for r in self._writer.execute(sql.CODE_HISTORY, (shard_key, code_key))
        ]

    async def attached_at(self, attachments: Sequence[AttachmentId]) -> dict[AttachmentId, int]:
        """Return dates of attachment."""
        found = {}
        for attachment in attachments:
            row = self._row(batch_sql.ATTACHED_AT, *attachment)
            if row:
                found[attachment] = row[0]
        return found
