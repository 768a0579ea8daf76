"""The embedded store: one file, one writing connection, group commit.

Statements run on the event loop itself: a look-up takes five microseconds, a thread hop costs
more than the whole of it, and two threads would fight over the interpreter. Only what waits for
the disk leaves the loop: COMMIT, and BEGIN when another process holds the file
(docs/decisions/0004-sqlite-statements-on-the-loop.md). Bulk work runs whole in a thread.
"""

import asyncio
import contextlib
import fcntl
import itertools
import logging
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import apsw

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
    DiskFailed,
    ExportedCode,
    Found,
    IdempotencyRecord,
    Reads,
    RequestBatch,
    RoomRequest,
    StoreError,
    Tally,
    Unusable,
    Writes,
    batch_sql,
    migrations,
    sql,
)
from promint.store.facts import SqliteFacts, schema_refusal
from promint.store.importing import import_batch, import_event, sort_out
from promint.store.ordering import in_creation_order
from promint.store.sqlite import backups
from promint.store.sqlite.facts import sqlite_facts
from promint.store.sqlite.jobs import SqliteJobs
from promint.store.sqlite.reading import (
    Readers,
    is_disk_failure,
    off_loop,
    translated,
    translating,
)
from promint.store.sqlite.searching import SqliteSearching
from promint.store.sqlite.staging import SqliteStaging
from promint.store.sqlite.transaction import SqliteTransaction, insert_profile, remember

APPLICATION_ID = 0x50524D54  # "PRMT"
BUSY_TIMEOUT_MS = 5_000
BUSY_LOOK_S = 0.001
CHECKPOINT_INTERVAL_S = 0.02
CHECKPOINT_TICKS = 100
CHECKPOINT_PAGES = 500
LOG_PAGES = 20_000
CHECKPOINT_TAIL_PAGES = 250
CHECKPOINT_PASSES = 5
LOG_BYTES_KEPT = 128 * 1024 * 1024
WRITER_CACHE_KIB = 32_768
READER_CACHE_KIB = 32_768

log = logging.getLogger(__name__)

Result = TypeVar("Result")


def _wait_patiently(tries: int) -> bool:
    """Wait for another process's write lock without SQLite's growing pauses.

    A bulk job leaves the lock free for a few milliseconds between two chunks; whoever looks
    every 100 ms would not get it for seconds.
    """
    time.sleep(BUSY_LOOK_S)
    return tries * BUSY_LOOK_S * 1000 < BUSY_TIMEOUT_MS


class SqliteStore:
    """Everything in one SQLite file.

    `is_service` says that this process serves the file: only one may, and it refuses a second.
    Whoever holds the checkpoint lock of the file, the service or a lone command, moves the
    write-ahead log into the database; never two at a time, which SQLite once had a bug with.
    """

    def __init__(self, path: str, *, is_service: bool = False) -> None:
        """Keep the path; nothing is touched before `open`."""
        self.path = path
        self.is_service = is_service
        self._writing = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, "promint-sqlite")
        self._readers = Readers(lambda: self._connect(read_only=True))
        self.searching = SqliteSearching(self._readers)
        self.staging = SqliteStaging(self)
        self.jobs = SqliteJobs(self._write_transaction, self.bulk, self._readers)
        self._checkpoints = ThreadPoolExecutor(1, "promint-checkpoint")
        self._checkpointing: asyncio.Task[None] | None = None
        self._moves_log = False
        self._is_reading = False
        self._locks: int | None = None
        self.failure = ""

    # -- life ------------------------------------------------------------------------------

    async def open(self) -> None:
        """Open the file, made and migrated if need be."""
        await self.migrate()
        if self.is_service:
            self._lock_service()
        else:
            self._open_locks()
        self._writer = self._connect(cache_kib=WRITER_CACHE_KIB)
        self._reader = self._connect(cache_kib=READER_CACHE_KIB)
        self._checkpointer = self._connect()
        self._checkpointing = asyncio.create_task(self._checkpoint_forever())

    async def close(self) -> None:
        """Close the connections; the one that may checkpoint does so a last time."""
        if self._checkpointing is not None:
            self._checkpointing.cancel()
            await asyncio.gather(self._checkpointing, return_exceptions=True)
            if not self.failure and self._try_lock(self._CHECKPOINT):
                with contextlib.suppress(apsw.Error):
                    self._checkpointer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
            for connection in (self._checkpointer, self._writer, self._reader):
                with contextlib.suppress(apsw.Error):
                    connection.close()
        self._readers.close()
        for executor in (self._thread, self._checkpoints):
            executor.shutdown()
        self._unlock()

    async def migrate(self) -> int:
        """Create or bring forward the schema."""
        with self._opening():
            with contextlib.suppress(OSError):
                # Before SQLite makes it readable for all: it holds who has which code.
                os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
            with contextlib.closing(self._connect()) as connection:
                return self._migrate(connection)

    async def facts(self) -> SqliteFacts:
        """Return facts about the file, which is not made if there is none."""

        def connect() -> apsw.Connection:
            connection = self._connect()
            self._check_owner(connection)
            return connection

        with self._opening():
            return sqlite_facts(self.path, connect)

    async def back_up(self, file: Path, *, replace: bool) -> None:
        """Copy the file through SQLite, so that the log is in the copy."""
        with self._opening():
            self._check_there()
            backups.back_up(lambda: self._connect(read_only=True), file, replace=replace)

    async def restore(self, file: Path, *, replace: bool) -> None:
        """Copy a backup to where the store is to be; nobody may serve it."""
        self._check_folder()
        backups.check_backup(file, APPLICATION_ID)
        self._lock_service()
        try:
            backups.put_back(file, Path(self.path), replace=replace)
        finally:
            self._unlock()

    async def damage(self) -> list[str]:
        """Return what SQLite finds wrong in its own file."""
        with self._opening():
            self._check_there()
            with contextlib.closing(self._connect(read_only=True)) as connection:
                return list(backups.damage(connection))

    @contextlib.contextmanager
    def _opening(self) -> Iterator[None]:
        """Say in a sentence why the file cannot be opened; one that is not ours stays as it is.

        Raises:
            Unusable: it cannot.
        """
        try:
            self._check_file()
            yield
        except apsw.NotADBError:
            raise Unusable(
                f"{self.path} is not an SQLite database. Name another file with --database."
            ) from None
        except (apsw.CantOpenError, apsw.ReadOnlyError, apsw.PermissionsError) as error:
            raise Unusable(
                f"{self.path} cannot be opened for writing ({error}). "
                "Check the path and its permissions."
            ) from None
        except apsw.Error as error:
            raise Unusable(f"{self.path} cannot be used ({error}).") from None

    def _check_file(self) -> None:
        """Refuse a file that is not ours before anything is changed in it."""
        file = Path(self.path).resolve()
        self._check_folder()
        if file.exists() and not file.is_file():
            raise Unusable(
                f"{self.path} is no file and cannot be opened. Name another with --database."
            )
        if not file.is_file() or not file.stat().st_size or Path(f"{file}-wal").exists():
            return
        look = apsw.Connection(
            f"{file.as_uri()}?immutable=1", flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
        )
        with contextlib.closing(look):
            self._check_owner(look)

    def _check_folder(self) -> None:
        folder = Path(self.path).resolve().parent
        if not folder.is_dir():
            raise Unusable(f"The folder {folder} does not exist. Make it, or name another file.")

    def _check_there(self) -> None:
        if not Path(self.path).is_file():
            raise Unusable(f"{self.path} does not exist. Name the store with --database.")

    def _check_owner(self, connection: apsw.Connection) -> None:
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema")
        if tables[0] and _pragma(connection, "application_id") != APPLICATION_ID:
            raise Unusable(
                f"{self.path} is a database of another program. Name another file with --database."
            )

    def _migrate(self, connection: apsw.Connection) -> int:
        version = _pragma(connection, "user_version")
        if version == migrations.latest():
            return version
        connection.execute("BEGIN IMMEDIATE")
        try:
            self._step_forward(connection)
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        return migrations.latest()

    def _step_forward(self, connection: apsw.Connection) -> None:
        version = _pragma(connection, "user_version")
        self._check_owner(connection)
        refusal = schema_refusal(version, migrations.latest(), migrates_itself=True)
        if refusal:
            raise Unusable(" ".join(refusal))
        for number, statements in migrations.steps(migrations.SQLITE):
            if number > version:
                for statement in statements:
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {number}")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")

    def _connect(self, *, read_only: bool = False, cache_kib: int = 2048) -> apsw.Connection:
        flags = (
            apsw.SQLITE_OPEN_READONLY
            if read_only
            else (apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE)
        )
        connection = apsw.Connection(self.path, flags=flags)
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        if not read_only:
            connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute(f"PRAGMA journal_size_limit = {LOG_BYTES_KEPT}")
        connection.execute(f"PRAGMA cache_size = -{cache_kib}")
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        return connection

    # -- who may do what with the file -----------------------------------------------------

    _SERVICE, _CHECKPOINT = 0, 1

    def _open_locks(self) -> None:
        self._locks = os.open(f"{self.path}-lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def _lock_service(self) -> None:
        self._open_locks()
        if not self._try_lock(self._SERVICE):
            raise Unusable(
                f"Another promint serves {self.path} already. An SQLite file has one service; "
                "stop the other one, or use PostgreSQL for several."
            )

    def _unlock(self) -> None:
        if self._locks is not None:
            os.close(self._locks)
            self._locks = None

    def _try_lock(self, which: int) -> bool:
        assert self._locks is not None
        try:
            fcntl.lockf(self._locks, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, which)
        except OSError:
            return False
        return True

    async def _checkpoint_forever(self) -> None:
        """Move the log into the database, from time to time, if no other process does."""
        trouble = ""
        for tick in itertools.count(1):
            await asyncio.sleep(CHECKPOINT_INTERVAL_S)
            self._moves_log = self._moves_log or self._try_lock(self._CHECKPOINT)
            if not self._moves_log or self.failure:
                continue
            try:
                pages, moved = self._log()
                is_due = pages - moved >= CHECKPOINT_PAGES or (
                    tick % CHECKPOINT_TICKS == 0 and pages > moved
                )
                if is_due:
                    await self._checkpoint()
                    trouble = ""
            except apsw.Error as error:
                self._write_error(error)
                if trouble != str(error):
                    trouble = str(error)
                    log.warning("the write-ahead log could not be moved: %s", error)

    async def _checkpoint(self) -> None:
        """Move what can be moved while others write, then the rest while they wait.

        A pass that runs beside writers never reaches the end of the log, which then grows
        without bound. So the last pass, over the few pages that came in during the one before,
        holds the writers for some milliseconds; after it the log starts anew in its own place.

        Passes are small, because a commit waits behind what a pass has the disk write at once:
        of passes of 16 MB the slowest hundredth of attachments took 66 ms, of 2 MB 10 ms. The
        log starts anew only after 80 MB: doing so more often cost 20 ms of them.
        """
        pages = 0
        for _ in range(CHECKPOINT_PASSES):
            await off_loop(self._checkpoints, self._move_log)
            pages, moved = self._log()
            if pages - moved < CHECKPOINT_TAIL_PAGES:
                break
        if pages >= LOG_PAGES:
            async with self._writing:
                await off_loop(self._checkpoints, self._move_log)

    def _move_log(self) -> None:
        self._checkpointer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)

    def _log(self) -> tuple[int, int]:
        """Return how many pages the log has, whoever wrote them, and how many have been moved."""
        return self._reader.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)

    # -- reads -----------------------------------------------------------------------------

    def _begin_reading(self) -> None:
        """Let the look-ups of one turn of the loop share a read transaction.

        Each would otherwise lock and unlock the file, two system calls. The transaction ends
        before the loop can hand out the answer of any later commit, so nobody reads what is
        older than an answer that was given.
        """
        if not self._is_reading:
            self._reader.execute("BEGIN")
            self._is_reading = True
            asyncio.get_running_loop().call_soon(self._end_reading)

    def _end_reading(self) -> None:
        self._is_reading = False
        with contextlib.suppress(apsw.Error):
            self._reader.execute("COMMIT")

    def _row(self, statement: str, *parameters: Any) -> Any:
        # Not `with translating()`: a context manager costs half of the look-up.
        try:
            self._begin_reading()
            return self._reader.execute(statement, parameters).fetchone()
        except apsw.Error as error:
            raise translated(error) from error

    def _rows(self, statement: str, *parameters: Any) -> list[Any]:
        with translating():
            self._begin_reading()
            return self._reader.execute(statement, parameters).fetchall()

    async def ping(self) -> None:
        """Read one page, if what was written can be trusted."""
        self._demand_disk()
        self._row("SELECT 1")

    async def token(self, digest: bytes) -> Token | None:
        """Return a token by the digest of its secret."""
        row = self._row(sql.TOKEN, digest)
        return sql.token_if_same(row, digest)

    async def tokens(self) -> list[Token]:
        """Return every token."""
        return [sql.token_value(row) for row in self._rows(sql.TOKENS)]

    async def wrong_codes(self, most: int) -> list[WrongCodes]:
        """Return counted wrong codes, the latest first."""
        return [sql.wrong_codes_value(row) for row in self._rows(sql.ALL_WRONG_CODES, most)]

    async def program(self, loyalty_id: int) -> LoyaltyProgram | None:
        """Return a program."""
        row = self._row(sql.PROGRAM, loyalty_id)
        return sql.program_value(row) if row else None

    async def programs(self) -> list[LoyaltyProgram]:
        """Return every program."""
        return [sql.program_value(row) for row in self._rows(sql.PROGRAMS)]

    async def code_counts(self, programs: Sequence[LoyaltyProgram]) -> dict[int, int]:
        """Return how many codes programs hold."""
        found = {p.id: self._row(sql.TALLY, p.first_shard, sql.CODES, "") for p in programs}
        return {loyalty_id: row[0] if row else 0 for loyalty_id, row in found.items()}

    async def database(self, database_id: int) -> Database | None:
        """Return a database."""
        row = self._row(sql.DATABASE, database_id)
        return sql.database_value(row) if row else None

    async def databases(self) -> list[Database]:
        """Return every database."""
        return [sql.database_value(row) for row in self._rows(sql.DATABASES)]

    async def batch(self, batch_id: int) -> Batch | None:
        """Return a batch."""
        row = self._row(sql.BATCH, batch_id)
        return sql.batch_value(row) if row else None

    async def batches(
        self, loyalty_id: int | None, *, before_id: int | None = None, most: int = 100
    ) -> list[Batch]:
        """Return batches, the newest first."""
        statement, parameters = sql.batches(loyalty_id, before_id, most)
        return [sql.batch_value(row) for row in self._rows(statement, *parameters)]

    async def unforgotten_batch(self, ended_before: int) -> int | None:
        """Return a batch."""
        rows = self._rows(sql.UNFORGOTTEN, ended_before)
        return rows[0][0] if rows else None

    async def free_codes(self, program: LoyaltyProgram, now: int, most: int) -> int:
        """Count free codes in a thread, shard after shard, until there are enough."""

        def count(reader: apsw.Connection) -> int:
            free = 0
            for shard in range(program.first_shard, program.last_shard + 1):
                free += next(reader.execute(batch_sql.COUNT_FREE, (shard, now, most - free)))[0]
                if free >= most:
                    break
            return free

        return await self._readers.run(count)

    async def code(self, shard_key: int, code_key: str) -> PromoCode | None:
        """Return a code."""
        row = self._row(sql.CODE, shard_key, code_key)
        return PromoCode._make(row) if row else None

    async def code_history(self, shard_key: int, code_key: str) -> list[Event]:
        """Return a code's events."""
        return [Event._make(row) for row in self._rows(sql.CODE_HISTORY, shard_key, code_key)]

    async def find_profiles(self, identities: Sequence[Identity]) -> list[list[str]]:
        """Return the profiles behind identities."""
        return [[row[0] for row in self._rows(sql.IDENTITY, *one)] for one in identities]

    async def profile(self, holder: Holder) -> Profile | None:
        """Return a profile."""
        row = self._row(sql.PROFILE, *holder)
        return sql.profile_value(row) if row else None

    async def export(self, program: LoyaltyProgram) -> AsyncGenerator[Sequence[ExportedCode]]:
        """Yield a program's codes from a read transaction of their own."""
        async with self._readers.snapshot() as snapshot:

            async def fetch(*key: Any) -> list[Any]:
                return await snapshot.rows(sql.EXPORT, *key)

            async with aclosing(in_creation_order(program, fetch)) as chunks:
                async for codes in chunks:
                    yield codes

    # -- writes ----------------------------------------------------------------------------

    def _write_error(self, error: apsw.Error) -> StoreError:
        """Make an error under a write ours; after one of the disk nothing is written any more."""
        if not is_disk_failure(error):
            return translated(error)
        if not self.failure:
            self.failure = (
                f"The disk failed under {self.path} ({error}). Nothing is written any more, so "
                "that nothing is answered which is not kept; start the service again once the "
                "disk is in order."
            )
            log.critical("%s", self.failure)
        return DiskFailed(str(error))

    def _demand_disk(self) -> None:
        if self.failure:
            raise Busy(self.failure)

    @asynccontextmanager
    async def _write_transaction(self) -> AsyncIterator[apsw.Connection]:
        """Hold the one writing connection in a transaction; COMMIT waits off the loop."""
        writer = self._writer
        async with self._writing:
            self._demand_disk()
            try:
                writer.set_busy_timeout(0)
                try:
                    writer.execute("BEGIN IMMEDIATE")
                except apsw.BusyError:
                    # Another process, a command, is writing: wait for it off the loop.
                    writer.set_busy_handler(_wait_patiently)
                    await off_loop(self._thread, writer.execute, "BEGIN IMMEDIATE")
                yield writer
                await off_loop(self._thread, writer.execute, "COMMIT")
            except apsw.Error as error:
                raise self._write_error(error) from error
            finally:
                if writer.in_transaction:
                    with contextlib.suppress(apsw.Error):
                        writer.execute("ROLLBACK")

    async def transact(self, batch: RequestBatch, *, locked: bool) -> None:
        """Read, decide and write under the file's one write lock, so nothing can be lost."""
        async with self._write_transaction() as writer:
            writes = batch.decide(self._read(writer, batch.reads))
            if writes:
                self._write(writer, writes)

    def _read(self, writer: apsw.Connection, reads: Reads) -> Found:
        found = Found()
        one = writer.execute
        for loyalty_id, known in reads.programs.items():
            row = one(sql.PROGRAM_IF_CHANGED, (loyalty_id, known.version)).fetchone()
            if row:
                found.programs[loyalty_id] = sql.program_value(row)
        for code_id in reads.codes:
            row = one(sql.CODE, code_id).fetchone()
            if row:
                found.codes[code_id] = PromoCode._make(row)
        for attachment in reads.attachments:
            if one(sql.ATTACHMENT, attachment).fetchone():
                found.attachments.add(attachment)
        for key, now in reads.idempotency.items():
            row = one(sql.IDEMPOTENCY, (*key, now)).fetchone()
            if row:
                found.idempotency[key] = IdempotencyRecord(row[0], Answer._make(row[1:]))
        for holder in reads.profiles:
            if one(sql.HAS_PROFILE, holder).fetchone():
                found.profiles.add(holder)
        for identity in reads.identities:
            found.identities[identity] = [row[0] for row in one(sql.IDENTITY, identity)]
        for tally_id in reads.tallies:
            row = one(sql.TALLY, tally_id).fetchone()
            if row:
                found.tallies[tally_id] = Tally._make(row)
        for (loyalty_id, holder), known in reads.held.items():
            program = found.programs.get(loyalty_id, known)
            limit = program.profile_limit or 0
            (row,) = one(sql.HELD, (program.first_shard, program.last_shard, *holder, limit))
            found.held[loyalty_id, holder] = row[0]
        for code_id in reads.earlier_uses:
            code = found.codes.get(code_id)
            if code is not None:
                row = one(sql.EARLIER_USE, (*code_id, code.activation_count - 1)).fetchone()
                found.earlier_uses[code_id] = row[0] if row else None
        for shards, request in reads.free.items():
            rows = one(sql.FREE_ANYWHERE, (*shards, request.now, request.wanted))
            found.free[shards] = [PromoCode._make(row) for row in rows]
        for profile, wanted in reads.room.items():
            program = found.programs.get(wanted.program.id, wanted.program)
            found.room[profile] = self._room(writer, program, wanted)
        return found

    @staticmethod
    def _room(
        writer: apsw.Connection, program: LoyaltyProgram, request: RoomRequest
    ) -> list[PromoCode]:
        limits = (
            request.now,
            sql.NEVER if program.uses_per_code is None else program.uses_per_code,
            sql.NEVER if program.attach_limit is None else program.attach_limit,
        )
        codes = [
            PromoCode._make(row)
            for shard in range(program.first_shard, program.last_shard + 1)
            for row in writer.execute(sql.ROOM, (shard, *limits, *request.holder, request.wanted))
        ]
        return sorted(codes, key=lambda code: code.seq)[: request.wanted]

    def _write(self, writer: apsw.Connection, writes: Writes) -> None:
        updated, inserted = [], []
        for code, read_version in writes.codes.values():
            if read_version is None:
                inserted.append(code)
            else:
                updated.append(sql.update_code_row(code, read_version))
        many = writer.executemany
        for new in writes.profiles:
            insert_profile(writer, new)
        if inserted:
            many(sql.INSERT_CODE, inserted)
        if updated:
            before = writer.total_changes()
            many(sql.UPDATE_CODE, updated)
            assert writer.total_changes() - before == len(updated), "a row moved under the lock"
        if writes.detached:
            many(sql.DELETE_ATTACHMENT, writes.detached)
        if writes.attached:
            many(sql.INSERT_ATTACHMENT, writes.attached)
        for keyed, answer in writes.idempotency:
            remember(writer, keyed, answer)
        if writes.events:
            many(sql.INSERT_EVENT, writes.events)
        for tally_id, (tally, read_version) in writes.tallies.items():
            if read_version is None:
                writer.execute(sql.INSERT_TALLY, (*tally_id, *tally))
            else:
                writer.execute(sql.UPDATE_TALLY, (*tally, *tally_id, read_version))

    async def import_codes(
        self, job: CodeImport, render: Callable[[CodeImported], Answer]
    ) -> CodeImported | Answer:
        """Add codes in one transaction, whole in a thread."""

        def work(writer: apsw.Connection) -> CodeImported | Answer:
            if job.keyed is not None:
                row = writer.execute(sql.IDEMPOTENCY, (*job.keyed.id, job.keyed.now)).fetchone()
                if row:
                    if row[0] != job.keyed.digest:
                        raise IdempotencyMismatch
                    return Answer._make(row[1:])
            imported = self._import(writer, job)
            if job.keyed is None:
                return imported
            answer = render(imported)
            remember(writer, job.keyed, answer)
            return answer

        return await self.bulk(work)

    async def on_writer(self, work: Callable[[apsw.Connection], Result]) -> Result:
        """Run work in the thread that also commits, with the lock held, in no transaction."""
        async with self._writing:
            self._demand_disk()
            try:
                return await off_loop(self._thread, work, self._writer)
            except apsw.Error as error:
                raise self._write_error(error) from error

    def log_pages(self) -> int:
        """Return how many pages of the write-ahead log wait to be moved."""
        pages, moved = self._log()
        return pages - moved

    def is_alone(self) -> bool:
        """Say whether this process moves the log, which a service would otherwise."""
        return self._moves_log

    async def bulk(self, work: Callable[[apsw.Connection], Result]) -> Result:
        """Run a long transaction in the thread that also commits, with the lock held."""

        def transaction(writer: apsw.Connection) -> Result:
            writer.set_busy_timeout(BUSY_TIMEOUT_MS)
            try:
                writer.execute("BEGIN IMMEDIATE")
                result = work(writer)
                writer.execute("COMMIT")
            finally:
                if writer.in_transaction:
                    writer.execute("ROLLBACK")
            return result

        return await self.on_writer(transaction)

    def _import(self, writer: apsw.Connection, job: CodeImport) -> CodeImported:
        program = sql.program_value(next(writer.execute(sql.PROGRAM, (job.program.id,))))
        keys = [
            (codetext.shard_key(program.id, code_key, program.buckets), code_key)
            for code_key, _ in job.codes
        ]
        known = {row[1] for row in writer.executemany(sql.CODE, keys)}
        (row,) = writer.execute(sql.TALLY, (program.first_shard, sql.CODES, ""))
        tally = Tally._make(row)
        room = None if program.code_limit is None else max(0, program.code_limit - tally.total)
        imported, accepted = sort_out(job, keys, known, room)

        if accepted:
            batch = import_batch(job, imported, tally.next_seq)
            ((batch_id,),) = writer.execute(sql.INSERT_BATCH, sql.batch_row(batch))
            codes = [
                rules.create(program, shard, key, code, tally.next_seq + n, job.now, batch_id)
                for n, (shard, key, code) in enumerate(accepted)
            ]
            writer.executemany(sql.INSERT_CODE, sorted(codes))
            writer.execute(sql.INSERT_EVENT, import_event(job, program, batch_id, imported))
            writer.execute(
                sql.UPDATE_TALLY,
                (
                    tally.total + len(accepted),
                    tally.next_seq + len(accepted),
                    tally.version + 1,
                    program.first_shard,
                    sql.CODES,
                    "",
                    tally.version,
                ),
            )
        return imported

    async def forget_idempotency(self, now: int, most: int) -> int:
        """Remove records whose time is over."""
        async with self._write_transaction() as writer:
            before = writer.total_changes()
            writer.execute(sql.FORGET_IDEMPOTENCY, (now, most))
            return writer.total_changes() - before

    async def forget_wrong_codes(self, before: int) -> None:
        """Remove old counts."""
        async with self._write_transaction() as writer:
            writer.execute(sql.FORGET_WRONG_CODES, (before,))

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[SqliteTransaction]:
        """Open a transaction on the writing connection."""
        async with self._write_transaction() as writer:
            yield SqliteTransaction(writer, self._read, self._write)


def _pragma(connection: apsw.Connection, name: str) -> int:
    row = connection.execute(f"PRAGMA {name}").fetchone()
    assert row is not None
    return int(row[0])
