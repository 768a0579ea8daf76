"""The production store: PostgreSQL 15 or newer, held connections, one statement a batch.

Two ways with one decision. While codes are cold: one statement reads without locks, one
writes if every row is still as it was. What lost a race goes the locked way: BEGIN, lock in key
order, read, decide, write, COMMIT. Drivers' errors become ours by their SQLSTATE.
"""

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import asyncpg

from promint.domain import codetext, rules
from promint.domain.errors import IdempotencyMismatch
from promint.domain.model import (
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
    Batch,
    Busy,
    CodeImport,
    CodeImported,
    ConnectionLost,
    ExportedCode,
    Found,
    IdempotencyId,
    IdempotencyRecord,
    Keyed,
    Lost,
    NewProfile,
    Poisoned,
    Reads,
    StoreError,
    Tally,
    TallyId,
    TryAgain,
    Unusable,
    Writes,
    migrations,
    sql,
)
from promint.store.importing import import_event, sort_out
from promint.store.ordering import in_creation_order

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
    Pool = asyncpg.Pool[asyncpg.Record]
else:
    Connection, Pool = asyncpg.Connection, asyncpg.Pool

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 5.0
STATEMENT_TIMEOUT_S = 15.0
POOL_MAX = 8
READS_MAX = 256
IMPORT_CHUNK = 20_000
IMPORT_TRIES = 5
MIGRATION_LOCK = 0x50524D54
IMPORT_LOCK = 0x50524D55

SESSION = {
    "application_name": "promint",
    # The planner takes a parameter for a LIMIT to be large and compiles for 15 ms.
    "jit": "off",
    # It never leaves custom plans for arrays by itself, and planning costs more than running.
    "plan_cache_mode": "force_generic_plan",
    # A plan is made once, perhaps while a table is still empty, and kept. Every statement here
    # finds rows by key, so the plan that is right at a hundred million rows is the only one.
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    # A batch carries its neighbours along; what waits longer goes again without them.
    "lock_timeout": "250ms",
    # A process that was stopped in the middle gives its rows up.
    "idle_in_transaction_session_timeout": "1s",
    "statement_timeout": "10s",
}
POOL_SESSION = {
    "application_name": "promint-bulk",
    "jit": "off",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "60s",
}

BROKEN = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
    AttributeError,
)
"""What asyncpg raises; a connection that dies mid-statement has shown each of these."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def _translated(error: BaseException, *, may_have_written: bool) -> StoreError:
    """Make a driver's error ours, by its SQLSTATE."""
    state = getattr(error, "sqlstate", None) or ""
    detail = f"{type(error).__name__} {state}".strip()
    if state == "23505":
        return Lost(detail)
    if state[:2] in ("22", "23"):
        return Poisoned(f"{detail}: {error}")
    if state[:2] == "40" or state in ("55P03", "57014"):
        return TryAgain(detail)
    if state[:2] in ("53", "54") or state in ("25006", "58030"):
        return Busy(f"{detail}: {error}")
    return ConnectionLost(f"{detail}: {error}", may_have_written=may_have_written)


def _unreachable(error: BaseException) -> Unusable:
    return Unusable(
        f"PostgreSQL cannot be reached ({str(error) or type(error).__name__}). "
        "Check that it runs, and host, user, password and database name in the URL."
    )


def _keeps_connection(error: StoreError) -> bool:
    return isinstance(error, (Lost, Poisoned, TryAgain))


class _Batcher(Generic[Item, Result]):
    """Look-ups that arrive together travel together: one statement, one batch out at a time."""

    def __init__(self, run: Callable[[list[Item]], Awaitable[list[Result]]]) -> None:
        self._run = run
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._task: asyncio.Task[None] | None = None

    async def get(self, item: Item) -> Result:
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._task is None:
            self._task = asyncio.create_task(self._work())
        return await future

    async def _work(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:READS_MAX], self._waiting[READS_MAX:]
                try:
                    results = await self._run([item for item, _ in batch])
                except Exception as error:  # noqa: BLE001  # each caller gets it
                    for _, future in batch:
                        if not future.done():
                            future.set_exception(error)
                    continue
                for (_, future), result in zip(batch, results, strict=True):
                    if not future.done():
                        future.set_result(result)
        finally:
            self._task = None


class _Held:
    """One connection, held for as long as it works."""

    def __init__(self, connect: Callable[[], Awaitable[Connection]]) -> None:
        self._connect = connect
        self._connection: Connection | None = None
        self.lock = asyncio.Lock()

    async def get(self) -> Connection:
        if self._connection is None or self._connection.is_closed():
            try:
                self._connection = await self._connect()
            except BROKEN as error:
                raise ConnectionLost(
                    f"{type(error).__name__}: {error}", may_have_written=False
                ) from error
        return self._connection

    def terminate(self) -> None:
        """Let go of a connection that may look open and is not."""
        if self._connection is not None:
            with suppress(Exception):
                self._connection.terminate()
            self._connection = None

    async def close(self) -> None:
        if self._connection is not None:
            with suppress(*BROKEN):
                await self._connection.close(timeout=2)
            self.terminate()


@lru_cache(maxsize=256)
def _read_statement(parts: tuple[str, ...]) -> str:
    return " UNION ALL ".join(f"(SELECT {number}, {part})" for number, part in _renumbered(parts))


_READ_PARTS = (
    sql.POSTGRES_READ_CODES,
    sql.POSTGRES_READ_PROGRAMS,
    sql.POSTGRES_READ_ATTACHMENTS,
    sql.POSTGRES_READ_IDEMPOTENCY,
    sql.POSTGRES_READ_PROFILES,
    sql.POSTGRES_READ_IDENTITIES,
    sql.POSTGRES_READ_TALLIES,
    sql.POSTGRES_READ_HELD,
    sql.POSTGRES_READ_EARLIER_USES,
    sql.POSTGRES_READ_EVENTS,
    sql.POSTGRES_READ_FREE,
    sql.POSTGRES_READ_ROOM,
)
(
    _CODES,
    _PROGRAMS,
    _ATTACHMENTS,
    _IDEMPOTENCY,
    _PROFILES,
    _IDENTITIES,
    _TALLIES,
    _HELD,
    _EARLIER,
    _EVENTS,
    _FREE,
    _ROOM,
) = range(len(_READ_PARTS))

_PARAMETER = re.compile(r"\$(\d+)")


def _shifted(text: str, by: int) -> str:
    return _PARAMETER.sub(lambda match: f"${int(match[1]) + by}", text)


def _arity(text: str) -> int:
    return max((int(number) for number in _PARAMETER.findall(text)), default=0)


def _renumbered(parts: tuple[str, ...]) -> list[tuple[int, str]]:
    """Return each part's number, and its text with parameters that follow the part before."""
    shifted, by = [], 0
    for part in parts:
        shifted.append((_READ_PARTS.index(part), _shifted(part, by)))
        by += _arity(part)
    return shifted


@lru_cache(maxsize=1024)
def _write_statement(parts: tuple[str, ...]) -> str:
    """Put a write together: what is locked, `ok`, and what is done if it is."""
    locking, conditions, doing = [], [], []
    by = 0
    for part in parts:
        if part in _GUARDED:
            condition, action = _GUARDED[part]
            locking.append(_shifted(part, by))
            conditions.append(_shifted(condition, by))
            if action:
                doing.append(action)
        elif part == sql.POSTGRES_WRITE_ATTACHED and sql.POSTGRES_WRITE_DETACHED in parts:
            waiting = part.removesuffix(")") + sql.POSTGRES_AFTER_DETACHED + ")"
            doing.append(_shifted(waiting, by))
        else:
            doing.append(_shifted(part, by))
        by += _arity(part)
    ok = f"ok AS MATERIALIZED (SELECT {' AND '.join(conditions) or 'true'} AS yes)"
    return f"WITH {', '.join([*locking, ok, *doing])} SELECT yes FROM ok"


_GUARDED = {
    sql.POSTGRES_WRITE_HOLD: (sql.POSTGRES_WRITE_HOLD_OK, ""),
    sql.POSTGRES_WRITE_CODES: (sql.POSTGRES_WRITE_CODES_OK, sql.POSTGRES_WRITE_CODES_DO),
    sql.POSTGRES_WRITE_TALLIES: (sql.POSTGRES_WRITE_TALLIES_OK, sql.POSTGRES_WRITE_TALLIES_DO),
}


def _columns(rows: Sequence[Sequence[Any]]) -> list[Sequence[Any]]:
    return list(zip(*rows, strict=True))


class PostgresStore:
    """Everything in one PostgreSQL database."""

    def __init__(
        self, dsn: str, *, randbelow: Callable[[int], int], statement_cache: bool = True
    ) -> None:
        """Keep the DSN; nothing is connected before `open`."""
        self._dsn = dsn
        self._randbelow = randbelow
        self._statement_cache = statement_cache
        self._engine = _Held(lambda: self._connect(SESSION))
        self._reads = _Held(lambda: self._connect(SESSION))
        self._pool: Pool | None = None
        self._codes = _Batcher(self._get_codes)
        self._profiles = _Batcher(self._find_profiles)

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

    async def _first_connection(self, session: dict[str, str]) -> Connection:
        try:
            return await self._connect(session)
        except asyncpg.TargetServerAttributeNotMatched:
            raise Unusable(
                "That PostgreSQL is a read-only replica. Name the primary in the database URL."
            ) from None
        except BROKEN as error:
            raise _unreachable(error) from None
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
        if version == 0:
            raise Unusable("The database is empty. Run: promint migrate")
        if version < migrations.latest():
            raise Unusable(
                f"The database has schema {version}, this Promint needs "
                f"{migrations.latest()}. Run: promint migrate"
            )
        if version > migrations.latest():
            raise Unusable(
                f"The database was written by a newer Promint (schema {version}, this one knows "
                f"{migrations.latest()}). Use that version."
            )
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
                if version > migrations.latest():
                    raise Unusable(
                        f"The database was written by a newer Promint (schema {version}, this "
                        f"one knows {migrations.latest()}). Use that version."
                    )
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

    # -- reads -----------------------------------------------------------------------------

    @asynccontextmanager
    async def _pooled(self) -> AsyncIterator[Connection]:
        assert self._pool is not None
        try:
            async with self._pool.acquire(timeout=CONNECT_TIMEOUT_S) as connection:
                yield connection  # type: ignore[misc]  # the pool's proxy is a connection
        except BROKEN as error:
            raise _translated(error, may_have_written=False) from error

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
        return sql.token_value(row) if row else None

    async def tokens(self) -> list[Token]:
        """Return every token."""
        return [sql.token_value(row) for row in await self._rows(sql.TOKENS)]

    async def program(self, loyalty_id: int) -> LoyaltyProgram | None:
        """Return a program."""
        row = await self._row(sql.PROGRAM, loyalty_id)
        return sql.program_value(row) if row else None

    async def programs(self) -> list[LoyaltyProgram]:
        """Return every program."""
        return [sql.program_value(row) for row in await self._rows(sql.PROGRAMS)]

    async def database(self, database_id: int) -> Database | None:
        """Return a database."""
        row = await self._row(sql.DATABASE, database_id)
        return sql.database_value(row) if row else None

    async def databases(self) -> list[Database]:
        """Return every database."""
        return [sql.database_value(row) for row in await self._rows(sql.DATABASES)]

    async def code(self, shard_key: int, code_key: str) -> PromoCode | None:
        """Return a code, read together with what else is asked for at this moment."""
        return await self._codes.get((shard_key, code_key))

    async def _read_held(self, statement: str, *parameters: Any) -> list[Any]:
        try:
            connection = await self._reads.get()
            return list(await connection.fetch(statement, *parameters))
        except BROKEN as error:
            self._reads.terminate()
            raise _translated(error, may_have_written=False) from error

    async def _get_codes(self, code_ids: list[tuple[int, str]]) -> list[PromoCode | None]:
        codes: list[PromoCode | None] = [None] * len(code_ids)
        async with self._reads.lock:
            for row in await self._read_held(sql.POSTGRES_GET_CODES, *_columns(code_ids)):
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
            rows = await self._read_held(sql.POSTGRES_FIND_PROFILES, *_columns(identities))
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

    async def transact(self, batch: Batch, *, locked: bool) -> None:
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
                translated = _translated(error, may_have_written=sent.write)
                if not _keeps_connection(translated):
                    self._engine.terminate()
                elif locked:
                    await self._rollback(connection)
                raise translated from error
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

    async def _transact_quickly(self, connection: Connection, batch: Batch, sent: "_Sent") -> None:
        found = await self._read(connection, batch.reads, None)
        writes = batch.decide(found)
        if writes:
            sent.write = True
            await self._write(connection, writes)

    async def _transact_locked(self, connection: Connection, batch: Batch, sent: "_Sent") -> None:
        reads = batch.reads
        await connection.execute("BEGIN")
        codes = set(reads.codes)
        if reads.room:
            # Which codes have room is known only by looking; look, hold them, look again.
            before = await self._read(connection, Reads(room=reads.room), None)
            codes.update(
                (code.shard_key, code.code_key) for room in before.room.values() for code in room
            )
        if codes:
            await connection.fetch(sql.POSTGRES_LOCK_CODES, *_columns(sorted(codes)))
        free = {
            shards: await self._lock_free(connection, *shards, request.now, request.wanted)
            for shards, request in sorted(reads.free.items())
        }
        if reads.idempotency:
            stale = sorted((*key, now) for key, now in reads.idempotency.items())
            await connection.execute(sql.POSTGRES_DROP_STALE_IDEMPOTENCY, *_columns(stale))
        if reads.tallies:
            await connection.fetch(sql.POSTGRES_LOCK_TALLIES, *_columns(sorted(reads.tallies)))
        found = await self._read(connection, reads, free)
        writes = batch.decide(found)
        if writes:
            await self._write(connection, writes)
        sent.write = bool(writes)
        await connection.execute("COMMIT")

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
            parts.append(_READ_PARTS[part])
            parameters.extend(_columns(rows))

        programs = reads.programs
        if reads.codes:
            add(_CODES, sorted(reads.codes))
        if programs:
            add(_PROGRAMS, [(number, known.version) for number, known in programs.items()])
        if reads.attachments:
            add(_ATTACHMENTS, sorted(reads.attachments))
        if reads.idempotency:
            add(_IDEMPOTENCY, [(*key, now) for key, now in reads.idempotency.items()])
        if reads.profiles:
            add(_PROFILES, list(reads.profiles))
        identities = list(reads.identities)
        if identities:
            add(_IDENTITIES, identities)
        if reads.tallies:
            add(_TALLIES, list(reads.tallies))
        held = list(reads.held.items())
        if held:
            add(
                _HELD,
                [
                    (p.first_shard, p.last_shard, *holder, p.profile_limit or 0)
                    for (_, holder), p in held
                ],
            )
        if reads.earlier_uses:
            add(_EARLIER, list(reads.earlier_uses))
        if reads.doubtful_events:
            add(_EVENTS, [(*shards, event) for shards, event in reads.doubtful_events])
        wanted = [] if free is not None else list(reads.free.items())
        if wanted:
            add(
                _FREE,
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
            add(_ROOM, [_room_row(request) for _, request in room])

        found = Found(free=free or {})
        if not parts:
            return found
        for row in await connection.fetch(_read_statement(tuple(parts)), *parameters):
            part = row[0]
            if part == _CODES:
                found.codes[row[2], row[3]] = PromoCode._make(row[2:17])
            elif part == _PROGRAMS:
                found.programs[row[5]] = sql.program_value((row[5], row[4], row[6], row[16]))
            elif part == _ATTACHMENTS:
                found.attachments.add((row[2], row[3], row[13], row[14]))
            elif part == _IDEMPOTENCY:
                found.idempotency[IdempotencyId(row[2], row[5], row[3])] = IdempotencyRecord(
                    row[17], Answer(row[16], row[4], row[14], row[18])
                )
            elif part == _PROFILES:
                found.profiles.add(Holder(row[13], row[14]))
            elif part == _IDENTITIES:
                found.identities.setdefault(identities[row[1] - 1], []).append(row[14])
            elif part == _TALLIES:
                found.tallies[TallyId(row[2], row[3], row[4])] = Tally(row[11], row[5], row[16])
            elif part == _HELD:
                found.held[held[row[1] - 1][0]] = row[11]
            elif part == _EARLIER:
                found.earlier_uses[row[2], row[3]] = row[10]
            elif part == _EVENTS:
                found.landed_events[row[17]] = row[4]
            elif part == _FREE:
                found.free.setdefault(wanted[row[1] - 1][0], []).append(PromoCode._make(row[2:17]))
            else:
                found.room.setdefault(room[row[1] - 1][0], []).append(PromoCode._make(row[2:17]))
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
                parameters.extend(_columns(rows))

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
        if not await connection.fetchval(_write_statement(tuple(parts)), *parameters):
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
            rows = await connection.fetch(sql.POSTGRES_KNOWN_KEYS, *_columns(chunk))
            known.update(row[0] for row in rows)
        room = None if program.code_limit is None else max(0, program.code_limit - total)
        imported, accepted = sort_out(job, keys, known, room)
        if not accepted:
            return imported

        following = await self._reserve(connection if holds_tally else None, program, len(accepted))
        batch_id = await connection.fetchval(
            sql.INSERT_BATCH, program.id, "import", job.source, job.now, job.token_id
        )
        codes = sorted(
            rules.create(program, shard, key, code, following + n, job.now, batch_id)
            for n, (shard, key, code) in enumerate(accepted)
        )
        for start in range(0, len(codes), IMPORT_CHUNK):
            chunk_of_codes = codes[start : start + IMPORT_CHUNK]
            status = await connection.execute(sql.POSTGRES_INSERT_CODES, *_columns(chunk_of_codes))
            if status != f"INSERT 0 {len(chunk_of_codes)}":
                raise Lost("a code was created on attach meanwhile")
        counts = (imported.inserted, len(imported.duplicates), len(imported.over_limit))
        await connection.execute(sql.FINISH_BATCH, *counts, batch_id)
        await connection.execute(sql.INSERT_EVENT, *import_event(job, batch_id, imported))
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

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["PostgresTransaction"]:
        """Open a transaction on a connection of the pool."""
        assert self._pool is not None
        sent = _Sent()
        try:
            async with self._pool.acquire(timeout=CONNECT_TIMEOUT_S) as connection:
                await connection.execute("BEGIN")
                try:
                    yield PostgresTransaction(connection)  # type: ignore[arg-type]  # a proxy
                except BaseException:
                    if not connection.is_closed():
                        await connection.execute("ROLLBACK")
                    raise
                sent.write = True
                await connection.execute("COMMIT")
        except BROKEN as error:
            raise _translated(error, may_have_written=sent.write) from error


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
