"""The production store: PostgreSQL 15 or newer, held connections, one statement a batch.

Two ways with one decision. While codes are cold: one statement reads without locks, one
writes if every row is still as it was. What lost a race goes the locked way: BEGIN, lock in key
order, read, decide, write, COMMIT. Drivers' errors become ours by their SQLSTATE.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg

from promint.domain import codetext, rules
from promint.domain.errors import IdempotencyMismatch
from promint.domain.guessing import WrongCodes
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
from promint.store import (
    Answer,
    Busy,
    CodeImport,
    CodeImported,
    ExportedCode,
    Found,
    IdempotencyId,
    IdempotencyRecord,
    Lost,
    Reads,
    RequestBatch,
    Tally,
    TallyId,
    TryAgain,
    Unusable,
    Writes,
    batch_sql,
    migrations,
    sql,
)
from promint.store.facts import PostgresFacts, schema_refusal
from promint.store.importing import import_batch, import_event, sort_out
from promint.store.ordering import in_creation_order
from promint.store.postgres import backups, composing
from promint.store.postgres.facts import postgres_facts
from promint.store.postgres.jobs import PostgresJobs
from promint.store.postgres.searching import PostgresSearching
from promint.store.postgres.sessions import (
    BROKEN,
    BY_KEY,
    CONNECT_TIMEOUT_S,
    POOL_SESSION,
    SESSION,
    STATEMENT_TIMEOUT_S,
    Batcher,
    Connection,
    HeldConnection,
    Pool,
    keeps_connection,
    translated,
    unreachable,
)
from promint.store.postgres.staging import IMPORT_LOCK, PostgresStaging
from promint.store.postgres.transaction import PostgresTransaction

log = logging.getLogger(__name__)

POOL_MAX = 8
IMPORT_CHUNK = 20_000
IMPORT_TRIES = 5
MIGRATION_LOCK = 0x50524D54
TABLES = """
SELECT c.oid::regclass::text FROM pg_class c
JOIN pg_class ours ON ours.oid = to_regclass('promint_schema')
WHERE c.relnamespace = ours.relnamespace AND c.relkind = 'r' ORDER BY 1"""


class PostgresStore:
    """Everything in one PostgreSQL database."""

    def __init__(
        self,
        dsn: str,
        *,
        randbelow: Callable[[int], int],
        now: Callable[[], int],
        statement_cache: bool = True,
    ) -> None:
        """Keep the DSN; nothing is connected before `open`. `now` is in UTC microseconds."""
        self._dsn = dsn
        self._now = now
        self._randbelow = randbelow
        self._statement_cache = statement_cache
        self._engine = HeldConnection(lambda: self._connect(SESSION))
        self._reads = HeldConnection(lambda: self._connect(SESSION))
        self._pool: Pool | None = None
        # A server whose disk fails ends by itself, and is out of reach until it has recovered.
        self.failure = ""
        self.searching = PostgresSearching(self._pooled, self.connect_for_bulk)
        self.staging = PostgresStaging(self)
        self.jobs = PostgresJobs(self._pooled, self.transaction)
        self._codes = Batcher(self._get_codes)
        self._profiles = Batcher(self._find_profiles)

    # -- life ------------------------------------------------------------------------------

    async def _connect(self, session: dict[str, str]) -> Connection:
        return await asyncpg.connect(self._dsn, **self._options(session))

    def _options(self, session: dict[str, str]) -> dict[str, Any]:
        options: dict[str, Any] = {
            "timeout": CONNECT_TIMEOUT_S,
            "command_timeout": STATEMENT_TIMEOUT_S,
            # Never decide on a replica.
            "target_session_attrs": "read-write",
        }
        if self._statement_cache:
            options["server_settings"] = session
        else:
            # PgBouncer hands a session's settings to whoever comes next, and refuses most.
            options["statement_cache_size"] = 0
        return options

    async def connect_for_bulk(self) -> Connection:
        """Return a new connection for long statements, the caller's to close."""
        options = self._options(POOL_SESSION) | {"command_timeout": None}
        return await asyncpg.connect(self._dsn, **options)

    async def _first_connection(
        self, session: dict[str, str], *, is_for_writing: bool = True
    ) -> Connection:
        try:
            if is_for_writing:
                return await self._connect(session)
            options = self._options(session) | {"target_session_attrs": "any"}
            return await asyncpg.connect(self._dsn, **options)
        except asyncpg.TargetServerAttributeNotMatched:
            raise Unusable(
                "That PostgreSQL is a read-only replica. Name the primary in the database URL."
            ) from None
        except BROKEN as error:
            raise unreachable(error) from None
        except (ValueError, OverflowError) as error:
            raise Unusable(
                f"The database URL is not one that PostgreSQL takes ({error})."
            ) from None

    async def open(self) -> None:
        """Connect and check the schema."""
        connection = await self._first_connection(POOL_SESSION)
        try:
            version = await self._version(connection)
        finally:
            await connection.close()
        refusal = schema_refusal(version, migrations.latest(), migrates_itself=False)
        if refusal:
            raise Unusable(" ".join(refusal))
        self._pool = await asyncpg.create_pool(
            self._dsn,
            min_size=0,
            max_size=POOL_MAX,
            **self._options(POOL_SESSION) | {"command_timeout": None},
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._engine.close()
        await self._reads.close()
        if self._pool is not None:
            try:
                await asyncio.wait_for(self._pool.close(), 5)
            except (TimeoutError, *BROKEN):
                self._pool.terminate()

    @staticmethod
    async def _version(connection: Connection) -> int:
        exists = await connection.fetchval("SELECT to_regclass('promint_schema') IS NOT NULL")
        if not exists:
            return 0
        return int(await connection.fetchval("SELECT max(version) FROM promint_schema") or 0)

    async def migrate(self) -> int:
        """Bring the schema up to date, one process at a time."""
        connection = await self._first_connection({"application_name": "promint-migrate"})
        try:
            async with connection.transaction():
                await connection.execute("SELECT pg_advisory_xact_lock($1)", MIGRATION_LOCK)
                version = await self._version(connection)
                refusal = schema_refusal(version, migrations.latest(), migrates_itself=True)
                if refusal:
                    raise Unusable(" ".join(refusal))
                if version == 0:
                    await connection.execute(
                        "CREATE TABLE IF NOT EXISTS promint_schema (version INTEGER PRIMARY KEY)"
                    )
                for number, statements in migrations.steps(migrations.POSTGRES):
                    if number > version:
                        for statement in statements:
                            await connection.execute(statement)
                        await connection.execute(
                            "INSERT INTO promint_schema (version) VALUES ($1)", number
                        )
        except asyncpg.PostgresError as error:
            raise Unusable(f"The database cannot be migrated ({error}).") from None
        finally:
            await connection.close()
        return migrations.latest()

    async def back_up(self, file: Path, *, replace: bool) -> None:
        """Dump the database; writers go on, the dump sees none of them."""
        async with self._looking() as connection:
            major = connection.get_server_version().major
        await backups.back_up(self._dsn, major, file, replace=replace)

    async def restore(self, file: Path, *, replace: bool) -> None:
        """Fill a database that is empty. What is there is never replaced: make a new database."""
        async with self._looking() as connection:
            major = connection.get_server_version().major
            if await self._version(connection):
                raise Unusable(
                    "The database is not empty, and stays as it is. Make a new one with createdb, "
                    "and name it with --database."
                )
        await backups.put_back(self._dsn, major, file)

    async def damage(self) -> list[str]:
        """Read every row of every table whole; a page that cannot be read is said."""
        async with self._looking() as connection:
            found = []
            for (table,) in await connection.fetch(TABLES):
                try:
                    await connection.fetchval(f"SELECT count(t::text) FROM {table} t")
                except asyncpg.PostgresError as error:
                    found.append(f"{table}: {error}")
            return found

    @asynccontextmanager
    async def _looking(self) -> AsyncIterator[Connection]:
        """Connect without being opened, for long statements."""
        connection = await self._first_connection({"application_name": "promint-bulk"})
        try:
            yield connection
        except BROKEN as error:
            raise unreachable(error) from None
        finally:
            await connection.close()

    async def facts(self) -> PostgresFacts:
        """Return facts about the server as the engine's session meets it."""
        connection = await self._first_connection(SESSION, is_for_writing=False)
        try:
            version = await self._version(connection)
            return await postgres_facts(self._dsn, connection, version, self._now)
        except BROKEN as error:
            raise unreachable(error) from None
        finally:
            await connection.close()

    # -- reads -----------------------------------------------------------------------------

    @asynccontextmanager
    async def _pooled(self) -> AsyncIterator[Connection]:
        assert self._pool is not None
        try:
            async with self._pool.acquire(timeout=CONNECT_TIMEOUT_S) as connection:
                yield connection  # type: ignore[misc]  # the pool's proxy is a connection
        except BROKEN as error:
            raise translated(error, may_have_written=False) from error

    async def _row(self, statement: str, *parameters: Any) -> Any:
        async with self._pooled() as connection:
            return await connection.fetchrow(statement, *parameters)

    async def _rows(self, statement: str, *parameters: Any) -> list[Any]:
        async with self._pooled() as connection:
            return list(await connection.fetch(statement, *parameters))

    async def ping(self) -> None:
        """Ask for an answer."""
        await self._row("SELECT 1")

    async def token(self, digest: bytes) -> Token | None:
        """Return a token by the digest of its secret."""
        row = await self._row(sql.TOKEN, digest)
        return sql.token_if_same(row, digest)

    async def tokens(self) -> list[Token]:
        """Return every token."""
        return [sql.token_value(row) for row in await self._rows(sql.TOKENS)]

    async def wrong_codes(self, most: int) -> list[WrongCodes]:
        """Return counted wrong codes, the latest first."""
        return [sql.wrong_codes_value(row) for row in await self._rows(sql.ALL_WRONG_CODES, most)]

    async def program(self, loyalty_id: int) -> LoyaltyProgram | None:
        """Return a program."""
        row = await self._row(sql.PROGRAM, loyalty_id)
        return sql.program_value(row) if row else None

    async def programs(self) -> list[LoyaltyProgram]:
        """Return every program."""
        return [sql.program_value(row) for row in await self._rows(sql.PROGRAMS)]

    async def code_counts(self, programs: Sequence[LoyaltyProgram]) -> dict[int, int]:
        """Return how many codes programs hold."""
        shards = [program.first_shard for program in programs]
        found = {row[0]: row[1] for row in await self._rows(sql.POSTGRES_CODE_COUNTS, shards)}
        return {program.id: found.get(program.first_shard, 0) for program in programs}

    async def database(self, database_id: int) -> Database | None:
        """Return a database."""
        row = await self._row(sql.DATABASE, database_id)
        return sql.database_value(row) if row else None

    async def databases(self) -> list[Database]:
        """Return every database."""
        return [sql.database_value(row) for row in await self._rows(sql.DATABASES)]

    async def batch(self, batch_id: int) -> Batch | None:
        """Return a batch."""
        row = await self._row(sql.BATCH, batch_id)
        return sql.batch_value(row) if row else None

    async def batches(
        self, loyalty_id: int | None, *, before_id: int | None = None, most: int = 100
    ) -> list[Batch]:
        """Return batches, the newest first."""
        statement, parameters = sql.batches(loyalty_id, before_id, most)
        return [sql.batch_value(row) for row in await self._rows(statement, *parameters)]

    async def unforgotten_batch(self, ended_before: int) -> int | None:
        """Return a batch."""
        rows = await self._rows(sql.UNFORGOTTEN, ended_before)
        return rows[0][0] if rows else None

    async def free_codes(self, program: LoyaltyProgram, now: int, most: int) -> int:
        """Count free codes by their index."""
        async with self._pooled() as connection, connection.transaction(readonly=True):
            await connection.execute(BY_KEY)
            shards = program.first_shard, program.last_shard
            free = await connection.fetchval(batch_sql.POSTGRES_COUNT_FREE, *shards, now, most)
        return int(free)

    async def code(self, shard_key: int, code_key: str) -> PromoCode | None:
        """Return a code, read together with what else is asked for at this moment."""
        return await self._codes.get((shard_key, code_key))

    async def _read_held(self, statement: str, *parameters: Any) -> list[Any]:
        try:
            connection = await self._reads.get()
            return list(await connection.fetch(statement, *parameters))
        except BROKEN as error:
            self._reads.terminate()
            raise translated(error, may_have_written=False) from error

    async def _get_codes(self, code_ids: list[tuple[int, str]]) -> list[PromoCode | None]:
        codes: list[PromoCode | None] = [None] * len(code_ids)
        async with self._reads.lock:
            for row in await self._read_held(sql.POSTGRES_GET_CODES, *composing.columns(code_ids)):
                codes[row[0] - 1] = PromoCode._make(row[1:])
        return codes

    async def code_history(self, shard_key: int, code_key: str) -> list[Event]:
        """Return a code's events."""
        rows = await self._rows(sql.CODE_HISTORY, shard_key, code_key)
        return [Event._make(row) for row in rows]

    async def find_profiles(self, identities: Sequence[Identity]) -> list[list[str]]:
        """Return the profiles behind identities."""
        return [await self._profiles.get(identity) for identity in identities]

    async def _find_profiles(self, identities: list[Identity]) -> list[list[str]]:
        found: list[list[str]] = [[] for _ in identities]
        async with self._reads.lock:
            rows = await self._read_held(sql.POSTGRES_FIND_PROFILES, *composing.columns(identities))
            for ordinal, profile_id in rows:
                found[ordinal - 1].append(profile_id)
        return found

    async def profile(self, holder: Holder) -> Profile | None:
        """Return a profile."""
        row = await self._row(sql.PROFILE, *holder)
        return sql.profile_value(row) if row else None

    async def export(self, program: LoyaltyProgram) -> AsyncGenerator[Sequence[ExportedCode]]:
        """Yield a program's codes from one snapshot."""
        async with (
            self._pooled() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            statement = await connection.prepare(sql.EXPORT)
            async with aclosing(in_creation_order(program, statement.fetch)) as chunks:
                async for codes in chunks:
                    yield codes

    # -- the batch -------------------------------------------------------------------------

    async def transact(self, batch: RequestBatch, *, locked: bool) -> None:
        """Read, decide and write, one of the two ways."""
        async with self._engine.lock:
            connection = await self._engine.get()
            sent = _Sent()
            try:
                if locked:
                    await self._transact_locked(connection, batch, sent)
                else:
                    await self._transact_quickly(connection, batch, sent)
            except BROKEN as error:
                failure = translated(error, may_have_written=sent.write)
                if not keeps_connection(failure):
                    self._engine.terminate()
                elif locked:
                    await self._rollback(connection)
                raise failure from error
            except BaseException:
                # Decided nothing, or lost: what was begun must not stay open.
                if locked:
                    await self._rollback(connection)
                raise

    async def _rollback(self, connection: Connection) -> None:
        try:
            if connection.is_in_transaction():
                await connection.execute("ROLLBACK")
        except BROKEN:
            self._engine.terminate()

    async def _transact_quickly(
        self, connection: Connection, batch: RequestBatch, sent: "_Sent"
    ) -> None:
        found = await self._read(connection, batch.reads, None)
        writes = batch.decide(found)
        if writes:
            sent.write = True
            await self._write(connection, writes)

    async def _transact_locked(
        self, connection: Connection, batch: RequestBatch, sent: "_Sent"
    ) -> None:
        await connection.execute("BEGIN")
        found = await self._read_holding(connection, batch.reads)
        writes = batch.decide(found)
        if writes:
            await self._write(connection, writes)
        sent.write = bool(writes)
        await connection.execute("COMMIT")

    async def _read_holding(
        self, connection: Connection, reads: Reads, holds: bool = True
    ) -> Found:
        """Read for a batch; unless `holds` is off, lock what it will write first."""
        if not holds:
            return await self._read(connection, reads, None)
        if reads.profiles:
            profiles = composing.columns(sorted(reads.profiles))
            await connection.fetch(sql.POSTGRES_LOCK_PROFILES, *profiles)
        codes = set(reads.codes)
        if reads.room:
            # Which codes have room is known only by looking; look, hold them, look again.
            before = await self._read(connection, Reads(room=reads.room), None)
            codes.update(
                (code.shard_key, code.code_key) for room in before.room.values() for code in room
            )
        if codes:
            await connection.fetch(sql.POSTGRES_LOCK_CODES, *composing.columns(sorted(codes)))
        free = {
            shards: await self._lock_free(connection, *shards, request.now, request.wanted)
            for shards, request in sorted(reads.free.items())
        }
        if reads.idempotency:
            stale = sorted((*key, now) for key, now in reads.idempotency.items())
            await connection.execute(sql.POSTGRES_DROP_STALE_IDEMPOTENCY, *composing.columns(stale))
        if reads.tallies:
            await connection.fetch(
                sql.POSTGRES_LOCK_TALLIES, *composing.columns(sorted(reads.tallies))
            )
        return await self._read(connection, reads, free)

    @staticmethod
    async def _lock_free(
        connection: Connection, first: int, last: int, now: int, wanted: int
    ) -> list[PromoCode]:
        rows = await connection.fetch(sql.POSTGRES_LOCK_FREE, first, last, now, wanted)
        if not rows and await connection.fetch(sql.FREE_ANYWHERE, first, last, now, 1):
            # Another is taking it, and may yet give it back.
            raise TryAgain("free codes are held by others")
        return [PromoCode._make(row) for row in rows]

    async def _read(
        self,
        connection: Connection,
        reads: Reads,
        free: dict[tuple[int, int], list[PromoCode]] | None,
    ) -> Found:
        """Read everything in one statement; `free` holds candidates that are locked already."""
        parts: list[str] = []
        parameters: list[Any] = []

        def add(part: int, rows: Sequence[Sequence[Any]]) -> None:
            parts.append(composing.READ_PARTS[part])
            parameters.extend(composing.columns(rows))

        programs = reads.programs
        if reads.codes:
            add(composing.CODES, sorted(reads.codes))
        if programs:
            add(composing.PROGRAMS, [(number, known.version) for number, known in programs.items()])
        if reads.attachments:
            add(composing.ATTACHMENTS, sorted(reads.attachments))
        if reads.idempotency:
            add(composing.IDEMPOTENCY, [(*key, now) for key, now in reads.idempotency.items()])
        if reads.profiles:
            add(composing.PROFILES, list(reads.profiles))
        identities = list(reads.identities)
        if identities:
            add(composing.IDENTITIES, identities)
        if reads.tallies:
            add(composing.TALLIES, list(reads.tallies))
        held = list(reads.held.items())
        if held:
            add(
                composing.HELD,
                [
                    (p.first_shard, p.last_shard, *holder, p.profile_limit or 0)
                    for (_, holder), p in held
                ],
            )
        if reads.earlier_uses:
            add(composing.EARLIER, list(reads.earlier_uses))
        if reads.doubtful_events:
            add(composing.EVENTS, [(*shards, event) for shards, event in reads.doubtful_events])
        wanted = [] if free is not None else list(reads.free.items())
        if wanted:
            add(
                composing.FREE,
                [
                    (
                        request.first_shard
                        + self._randbelow(request.last_shard - request.first_shard + 1),
                        self._randbelow(1 << 30) / (1 << 30),
                        request.wanted,
                        request.now,
                    )
                    for _, request in wanted
                ],
            )
        room = list(reads.room.items())
        if room:
            add(composing.ROOM, [_room_row(request) for _, request in room])

        found = Found(free=free or {})
        if not parts:
            return found
        for row in await connection.fetch(composing.read_statement(tuple(parts)), *parameters):
            part = row[0]
            if part == composing.CODES:
                found.codes[row[2], row[3]] = PromoCode._make(row[2:18])
            elif part == composing.PROGRAMS:
                found.programs[row[5]] = sql.program_value((row[5], row[4], row[6], row[16]))
            elif part == composing.ATTACHMENTS:
                found.attachments.add((row[2], row[3], row[13], row[14]))
            elif part == composing.IDEMPOTENCY:
                found.idempotency[IdempotencyId(row[2], row[5], row[3])] = IdempotencyRecord(
                    row[18], Answer(row[16], row[4], row[14], row[19])
                )
            elif part == composing.PROFILES:
                found.profiles.add(Holder(row[13], row[14]))
            elif part == composing.IDENTITIES:
                found.identities.setdefault(identities[row[1] - 1], []).append(row[14])
            elif part == composing.TALLIES:
                found.tallies[TallyId(row[2], row[3], row[4])] = Tally(row[11], row[5], row[16])
            elif part == composing.HELD:
                found.held[held[row[1] - 1][0]] = row[11]
            elif part == composing.EARLIER:
                found.earlier_uses[row[2], row[3]] = row[10]
            elif part == composing.EVENTS:
                found.landed_events[row[18]] = row[4]
            elif part == composing.FREE:
                found.free.setdefault(wanted[row[1] - 1][0], []).append(PromoCode._make(row[2:18]))
            else:
                found.room.setdefault(room[row[1] - 1][0], []).append(PromoCode._make(row[2:18]))
        for shards, request in wanted:
            if shards[0] != shards[1]:
                await self._fill_up(connection, found, shards, request.now, request.wanted)
        return found

    @staticmethod
    async def _fill_up(
        connection: Connection,
        found: Found,
        shards: tuple[int, int],
        now: int,
        wanted: int,
    ) -> None:
        """The bucket that was drawn is short of free codes: look in all of them."""
        candidates = found.free.setdefault(shards, [])
        if len(candidates) < wanted:
            known = {code.code_key for code in candidates}
            rows = await connection.fetch(sql.FREE_ANYWHERE, *shards, now, wanted)
            more = (PromoCode._make(row) for row in rows)
            candidates.extend(code for code in more if code.code_key not in known)

    async def _write(self, connection: Connection, writes: Writes) -> None:
        """Write everything in one statement, or nothing.

        Raises:
            Lost: a row is not as it was read, or a holder is gone.
        """
        parts: list[str] = []
        parameters: list[Any] = []

        def add(part: str, rows: Sequence[Sequence[Any]]) -> None:
            if rows:
                parts.append(part)
                parameters.extend(composing.columns(rows))

        new_holders = {Holder(new.profile.database_id, new.profile.id) for new in writes.profiles}
        codes = sorted(writes.codes.items())
        tallies = sorted(writes.tallies.items())
        add(sql.POSTGRES_WRITE_HOLD, sorted(writes.holders - new_holders))
        add(
            sql.POSTGRES_WRITE_CODES,
            [sql.update_code_row(code, read) for _, (code, read) in codes if read is not None],
        )
        add(
            sql.POSTGRES_WRITE_TALLIES,
            [(*tally, *key, read) for key, (tally, read) in tallies if read is not None],
        )
        add(sql.POSTGRES_WRITE_PROFILES, [sql.profile_row(new.profile) for new in writes.profiles])
        add(
            sql.POSTGRES_WRITE_IDENTITIES,
            sorted((*i, new.profile.id) for new in writes.profiles for i in new.identities),
        )
        add(sql.POSTGRES_WRITE_NEW_CODES, [code for _, (code, read) in codes if read is None])
        add(sql.POSTGRES_WRITE_DETACHED, sorted(writes.detached))
        add(sql.POSTGRES_WRITE_ATTACHED, sorted(writes.attached))
        add(
            sql.POSTGRES_WRITE_IDEMPOTENCY,
            sorted(
                (*keyed.id, keyed.digest, *answer, keyed.keep_until)
                for keyed, answer in writes.idempotency
            ),
        )
        add(sql.POSTGRES_WRITE_EVENTS, writes.events)
        add(
            sql.POSTGRES_WRITE_NEW_TALLIES,
            [(*key, *tally) for key, (tally, read) in tallies if read is None],
        )
        if not await connection.fetchval(composing.write_statement(tuple(parts)), *parameters):
            raise Lost("a row has changed")

    # -- everything else -------------------------------------------------------------------

    async def import_codes(
        self, job: CodeImport, render: Callable[[CodeImported], Answer]
    ) -> CodeImported | Answer:
        """Add codes in one transaction.

        The limit's tally is locked last, for a moment. Only when the limit then turns out to
        be overrun by others does the import start over with the tally held from the start.
        """
        for attempt in range(IMPORT_TRIES):
            try:
                async with self.transaction() as transaction:
                    connection = transaction.connection
                    if job.keyed is not None:
                        record = await transaction.recall(job.keyed.id, job.now)
                        if record is not None:
                            if record.digest != job.keyed.digest:
                                raise IdempotencyMismatch
                            return record.answer
                    imported = await self._import(connection, job, holds_tally=attempt > 0)
                    if job.keyed is None:
                        return imported
                    answer = render(imported)
                    await transaction.remember(job.keyed, answer)
                    return answer
            except (Lost, TryAgain) as error:
                log.info("an import goes again: %s", error)
        raise Busy("an import lost to other writers each time")

    async def _import(
        self, connection: Connection, job: CodeImport, *, holds_tally: bool
    ) -> CodeImported:
        await connection.execute(
            "SELECT pg_advisory_xact_lock($1, $2)", IMPORT_LOCK, job.program.id
        )
        program = sql.program_value(await connection.fetchrow(sql.PROGRAM, job.program.id))
        keys = [
            (codetext.shard_key(program.id, code_key, program.buckets), code_key)
            for code_key, _ in job.codes
        ]
        if holds_tally:
            total = await connection.fetchval(sql.LOCK_CODES_TALLY, program.first_shard)
        else:
            tally = sql.TALLY, program.first_shard, sql.CODES, ""
            total = await connection.fetchval(*tally)
        known: set[str] = set()
        for start in range(0, len(keys), IMPORT_CHUNK):
            chunk = keys[start : start + IMPORT_CHUNK]
            rows = await connection.fetch(sql.POSTGRES_KNOWN_KEYS, *composing.columns(chunk))
            known.update(row[0] for row in rows)
        room = None if program.code_limit is None else max(0, program.code_limit - total)
        imported, accepted = sort_out(job, keys, known, room)
        if not accepted:
            return imported

        following = await self._reserve(connection if holds_tally else None, program, len(accepted))
        batch = import_batch(job, imported, following)
        batch_id = await connection.fetchval(sql.INSERT_BATCH, *sql.batch_row(batch))
        codes = sorted(
            rules.create(program, shard, key, code, following + n, job.now, batch_id)
            for n, (shard, key, code) in enumerate(accepted)
        )
        for start in range(0, len(codes), IMPORT_CHUNK):
            chunk_of_codes = codes[start : start + IMPORT_CHUNK]
            status = await connection.execute(
                sql.POSTGRES_INSERT_CODES, *composing.columns(chunk_of_codes)
            )
            if status != f"INSERT 0 {len(chunk_of_codes)}":
                raise Lost("a code was created on attach meanwhile")
        await connection.execute(sql.INSERT_EVENT, *import_event(job, program, batch_id, imported))
        total = await connection.fetchval(sql.LOCK_CODES_TALLY, program.first_shard)
        if program.code_limit is not None and total + len(codes) > program.code_limit:
            raise Lost("the limit was reached by others meanwhile")
        await connection.execute(sql.ADD_CODES, len(codes), program.first_shard)
        return imported

    async def _reserve(
        self, connection: Connection | None, program: LoyaltyProgram, count: int
    ) -> int:
        """Take a run of the creation sequence, committed at once: a gap harms nobody, a lock would.

        A `connection` that holds the tally itself has to take it there.
        """
        if connection is not None:
            following = await connection.fetchval(sql.RESERVE_SEQ, count, program.first_shard)
            return int(following) - count
        async with self._reads.lock:
            rows = await self._read_held(sql.RESERVE_SEQ, count, program.first_shard)
        return int(rows[0][0]) - count

    async def forget_idempotency(self, now: int, most: int) -> int:
        """Remove records whose time is over."""
        async with self._pooled() as connection:
            status = await connection.execute(sql.FORGET_IDEMPOTENCY, now, most)
        return int(status.split()[-1])

    async def forget_wrong_codes(self, before: int) -> None:
        """Remove old counts."""
        async with self._pooled() as connection:
            await connection.execute(sql.FORGET_WRONG_CODES, before)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["PostgresTransaction"]:
        """Open a transaction on a connection of the pool."""
        assert self._pool is not None
        sent = _Sent()
        try:
            async with self._pool.acquire(timeout=CONNECT_TIMEOUT_S) as connection:
                await connection.execute("BEGIN")
                try:
                    yield PostgresTransaction(
                        connection,  # type: ignore[arg-type]  # a proxy
                        self._read_holding,
                        self._write,
                    )
                except BaseException:
                    if not connection.is_closed():
                        await connection.execute("ROLLBACK")
                    raise
                sent.write = True
                await connection.execute("COMMIT")
        except BROKEN as error:
            raise translated(error, may_have_written=sent.write) from error


class _Sent:
    """Whether a write has been sent that may be committed though nobody said so."""

    write = False


def _room_row(request: Any) -> tuple[Any, ...]:
    program = request.program
    return (
        program.first_shard,
        program.last_shard,
        request.now,
        sql.NEVER if program.uses_per_code is None else program.uses_per_code,
        sql.NEVER if program.attach_limit is None else program.attach_limit,
        *request.holder,
        request.wanted,
    )
