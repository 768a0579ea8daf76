"""Bringing codes in by the million, on SQLite.

The stage is a file of its own beside the database, filled and sorted without a lock on anything.
Chunks go in by `INSERT … SELECT`, which runs without the interpreter, each as long as `HOLD_S`
holds the one write lock; between two of them the lock is free, so that activations pass.
"""

import asyncio
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import apsw

from promint.domain import codetext
from promint.domain.model import Batch, BatchState, LoyaltyProgram
from promint.store import sql, staging_sql
from promint.store.importing import (
    chunk_event,
    chunk_parameters,
    closed,
    counted,
    first_seq_of,
    held_rows,
    number_column,
    refused_row,
)
from promint.store.sqlite.reading import off_loop, translating
from promint.store.staging import (
    FILE_ORDER_MAX,
    Inserted,
    Insertion,
    RefusedRow,
    Report,
    Review,
    StagedCode,
)

BUSY_TIMEOUT_MS = 5_000
HOLD_S = 0.010
HOLD_ALONE_S = 0.200
CHUNK_FIRST = 1_000
CHUNK_MIN, CHUNK_MAX = 200, 50_000
GAP_SHARE = 0.25
GAP_MIN_S = 0.002
LOG_PAGES_MAX = 16_000
LOG_PAUSE_S = 0.05
REFUSED_CHUNK = 5_000
LOOK_BACK = 1_000
STAGE_CACHE_KIB = 65_536

Result = TypeVar("Result")


class Writing(Protocol):
    """What the stage needs of its store."""

    path: str

    async def on_writer(self, work: Callable[[apsw.Connection], Result]) -> Result:
        """Run work on the writing connection, in its thread, outside any transaction."""

    async def bulk(self, work: Callable[[apsw.Connection], Result]) -> Result:
        """Run work in one write transaction, in the thread of the writing connection."""

    def log_pages(self) -> int:
        """Return how many pages of the write-ahead log wait to be moved."""

    def is_alone(self) -> bool:
        """Say whether no service serves the file."""


class SqliteStaging:
    """Opens stages."""

    def __init__(self, writing: Writing) -> None:
        """Take the store."""
        self._writing = writing

    @asynccontextmanager
    async def stage(self, program: LoyaltyProgram) -> AsyncIterator["SqliteStage"]:
        """Open a stage: a file in the folder for temporary files, removed in the end."""
        with tempfile.TemporaryDirectory(prefix="promint-") as folder:
            stage = SqliteStage(self._writing, program, Path(folder) / "stage.db")
            try:
                await stage.open()
                yield stage
            finally:
                await stage.close()


class SqliteStage:
    """A stage in a file."""

    def __init__(self, writing: Writing, program: LoyaltyProgram, path: Path) -> None:
        """Keep where it is; nothing is made before `open`."""
        self._writing = writing
        self._program = program
        self._path = path
        self._thread = ThreadPoolExecutor(1, "promint-stage")
        self._is_attached = False

    async def open(self) -> None:
        """Make the file."""
        await self._run(self._open)

    def _open(self) -> None:
        flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_URI
        self._stage = apsw.Connection(str(self._path), flags=flags)
        self._stage.set_busy_timeout(BUSY_TIMEOUT_MS)
        for pragma in (
            "journal_mode = OFF",
            "synchronous = OFF",
            "temp_store = FILE",
            f"cache_size = -{STAGE_CACHE_KIB}",
        ):
            self._stage.execute(f"PRAGMA {pragma}")
        self._stage.execute(staging_sql.SQLITE_CREATE)
        # Read only, and not through the writing connection: a review takes its time.
        self._stage.execute(
            "ATTACH ? AS store", (f"{Path(self._writing.path).resolve().as_uri()}?mode=ro",)
        )
        self._stage.execute("BEGIN")

    async def close(self) -> None:
        """Let go of the file."""
        try:
            if self._is_attached:
                await self._writing.on_writer(lambda writer: writer.execute("DETACH stage"))
        finally:
            await self._run(self._stage.close)
            self._thread.shutdown()

    async def _run(self, work: Callable[[], Result]) -> Result:
        with translating():
            return await off_loop(self._thread, work)

    # -- filling ---------------------------------------------------------------------------

    async def add(self, codes: Sequence[StagedCode]) -> None:
        """Add rows."""
        program = self._program
        rows = [
            (
                codetext.shard_key(program.id, code.code_key, program.buckets),
                code.line,
                *code[1:],
            )
            for code in codes
        ]
        await self._run(lambda: self._many(staging_sql.SQLITE_ADD, rows))

    async def add_plain(self, first_line: int, keys: Sequence[str], codes: Sequence[str]) -> None:
        """Add codes without anything else."""
        first_shard, buckets = self._program.first_shard, self._program.buckets
        lines = range(first_line, first_line + len(keys))
        rows: Any
        if buckets == 1:
            rows = zip([first_shard] * len(keys), lines, keys, codes, strict=True)
        else:
            shards = [first_shard + codetext.bucket(key, buckets) for key in keys]
            rows = zip(shards, lines, keys, codes, strict=True)
        await self._run(lambda: self._many(staging_sql.SQLITE_ADD_PLAIN, rows))

    def _many(self, statement: str, rows: Any) -> None:
        self._stage.executemany(statement, rows)

    async def seal(self) -> None:
        """Sort by key, and forget the unsorted rows."""

        def work() -> None:
            ((total,),) = self._stage.execute(staging_sql.SQLITE_COUNT)
            is_small = total <= FILE_ORDER_MAX
            self._stage.execute(
                staging_sql.SQLITE_SORT_SMALL if is_small else staging_sql.SQLITE_SORT
            )
            self._stage.execute("DROP TABLE staged")
            self._stage.execute("COMMIT")

        await self._run(work)
        self._total = await self._one(staging_sql.COUNT_STAGED)
        self._has_held = bool(await self._one(staging_sql.HAS_HELD))

    # -- looking ---------------------------------------------------------------------------

    async def _one(self, statement: str, *parameters: Any) -> Any:
        def work() -> Any:
            row = self._stage.execute(statement, parameters).fetchone()
            return row[0] if row else None

        return await self._run(work)

    def _of_store(self, statement: str) -> str:
        return statement.format(codes="store.promo_code", look_back=LOOK_BACK)

    async def review(self, batch_id: int | None = None) -> Review:
        """Count what would happen."""
        repeated = await self._one(staging_sql.COUNT_REPEATED)
        stored = await self._one(self._of_store(staging_sql.COUNT_STORED), batch_id or 0)
        new = self._total - repeated - stored
        room = await self._room()
        over = 0 if room is None else max(0, new - room)
        return Review(new - over, repeated, stored, over)

    async def _room(self) -> int | None:
        limit = self._program.code_limit
        if limit is None:
            return None
        tally = self._program.first_shard, sql.CODES, ""
        return max(0, limit - int(await self._one(sql.TALLY, *tally)))

    async def _line_without_room(self) -> int:
        room = await self._room()
        if room is None:
            return sql.NEVER
        line = await self._one(self._of_store(staging_sql.LINE_WITHOUT_ROOM), room)
        return sql.NEVER if line is None else int(line)

    async def refused(self, batch_id: int | None = None) -> AsyncGenerator[Sequence[RefusedRow]]:
        """Yield the rows that would not go in, by line."""
        no_room = await self._line_without_room() if batch_id is None else 0
        statement = self._of_store(staging_sql.REFUSED)

        def look() -> apsw.Cursor:
            # Kept in the stage: an open look at the store would keep its log from being moved.
            self._stage.execute("DROP TABLE IF EXISTS refused")
            self._stage.execute(f"CREATE TABLE refused AS {statement}", (batch_id or 0, no_room))
            return self._stage.cursor().execute("SELECT * FROM refused ORDER BY rowid")

        cursor = await self._run(look)

        def chunk() -> list[RefusedRow]:
            rows = []
            for row in cursor:
                rows.append(refused_row(row))
                if len(rows) == REFUSED_CHUNK:
                    break
            return rows

        try:
            while rows := await self._run(chunk):
                yield rows
        finally:
            await self._run(lambda: cursor.close(force=True))

    async def known(self, keys: Sequence[str]) -> dict[str, str]:
        """Return which keys are in the program or the stage."""
        program = self._program

        def work() -> dict[str, str]:
            self._stage.execute(staging_sql.SORTED_BY_KEY.replace("INDEX", "INDEX IF NOT EXISTS"))
            found = {}
            for key in keys:
                shard = codetext.shard_key(program.id, key, program.buckets)
                row = self._stage.execute(
                    "SELECT code FROM store.promo_code WHERE shard_key = ? AND code_key = ?",
                    (shard, key),
                ).fetchone()
                row = row or self._stage.execute(staging_sql.KNOWN_STAGED, (key,)).fetchone()
                if row:
                    found[key] = row[0]
            return found

        return await self._run(work)

    async def has_other_scripts(self) -> bool:
        """Look beyond ASCII in each shard."""
        statement = self._of_store(staging_sql.OTHER_SCRIPTS)
        for shard in range(self._program.first_shard, self._program.last_shard + 1):
            if await self._one(statement, shard, staging_sql.BEYOND_ASCII):
                return True
        return False

    # -- the way in ------------------------------------------------------------------------

    async def insert(self, insertion: Insertion, report: Report) -> Inserted:
        """Put the codes in, chunk by chunk."""
        if not self._is_attached:
            path = str(self._path)
            await self._writing.on_writer(
                lambda writer: writer.execute("ATTACH ? AS stage", (path,))
            )
            self._is_attached = True
        no_room = await self._line_without_room()
        first_seq = await self._writing.bulk(lambda writer: self._reserve(writer, insertion))
        if insertion.is_atomic:
            await self._writing.bulk(
                lambda writer: self._chunk(writer, insertion, 0, self._total, no_room, first_seq)
            )
            await report(self._total)
        else:
            await self._insert_chunks(insertion, report, no_room, first_seq)
        inserted = await self._writing.bulk(lambda writer: _batch(writer, insertion).inserted)
        over = await self._over_limit()
        return Inserted(inserted, self._total - inserted - over, over)

    async def _over_limit(self) -> int:
        if self._program.code_limit is None:
            return 0
        left = await self.review()
        return left.new + left.over_limit

    def _reserve(self, writer: apsw.Connection, insertion: Insertion) -> int:
        """Return where the stage's creation sequence begins; a resumed batch has one already."""
        batch = _batch(writer, insertion)
        if batch.state not in (BatchState.RUNNING, BatchState.STOPPED):
            raise closed(batch)
        reserved = first_seq_of(batch, insertion, self._total)
        if reserved is not None:
            return reserved
        ((following,),) = writer.execute(sql.RESERVE_SEQ, (self._total, self._program.first_shard))
        first: int = following - self._total
        known_first = first if batch.first_seq is None else batch.first_seq
        writer.execute(
            sql.UPDATE_BATCH,
            (
                *sql.batch_row(replace(batch, first_seq=known_first, last_seq=following - 1)),
                batch.id,
            ),
        )
        return first

    async def _insert_chunks(
        self, insertion: Insertion, report: Report, no_room: int, first_seq: int
    ) -> None:
        size, done = CHUNK_FIRST, 0
        while done < self._total:
            until = min(done + size, self._total)
            after = done
            seconds = await self._writing.bulk(
                lambda writer, after=after, until=until: self._timed(  # type: ignore[misc]
                    writer, insertion, after, until, no_room, first_seq
                )
            )
            done = until
            is_alone = self._writing.is_alone()
            hold_s = HOLD_ALONE_S if is_alone else HOLD_S
            size = int(min(max(size * hold_s / max(seconds, 1e-4), size / 4), size * 2))
            size = min(max(size, CHUNK_MIN), CHUNK_MAX)
            await report(done)
            if not is_alone:
                await asyncio.sleep(max(GAP_MIN_S, seconds * GAP_SHARE))
            pages = self._writing.log_pages()
            if pages > LOG_PAGES_MAX:
                # Whoever moves the log needs a pause of ours to come to its end.
                await asyncio.sleep(LOG_PAUSE_S * pages / LOG_PAGES_MAX)

    def _timed(self, *arguments: Any) -> float:
        start = time.monotonic()
        self._chunk(*arguments)
        return time.monotonic() - start

    def _chunk(
        self,
        writer: apsw.Connection,
        insertion: Insertion,
        after: int,
        until: int,
        no_room: int,
        first_seq: int,
    ) -> None:
        (row,) = writer.execute(sql.PROGRAM, (self._program.id,))
        program = sql.program_value(row)
        room = None
        statement = staging_sql.SQLITE_INSERT
        if program.code_limit is not None:
            (tally,) = writer.execute(sql.TALLY, (program.first_shard, sql.CODES, ""))
            room = max(0, program.code_limit - tally[0])
            statement = staging_sql.SQLITE_INSERT_WITHIN
        before = writer.total_changes()
        writer.execute(
            statement.format(seq=f"{first_seq - 1} + {number_column(self._total)}"),
            chunk_parameters(program, insertion, (after, until), no_room, room),
        )
        count = writer.total_changes() - before
        if not count:
            return
        if self._has_held:
            rows = writer.execute(
                staging_sql.HELD_OF_CHUNK.format(source="stage.sorted"),
                (insertion.batch_id, after, until),
            ).fetchall()
            attached, events = held_rows(program, insertion, rows)
            writer.executemany(sql.INSERT_ATTACHMENT, attached)
            writer.executemany(sql.INSERT_EVENT, events)
        writer.execute(staging_sql.COUNT_CODES, (count, program.first_shard))
        if not writer.execute(staging_sql.COUNT_IN_BATCH, counted(insertion, count)).fetchall():
            raise closed(_batch(writer, insertion))
        writer.execute(sql.INSERT_EVENT, chunk_event(insertion, program, count))


def _batch(writer: apsw.Connection, insertion: Insertion) -> Batch:
    return sql.batch_value(writer.execute(sql.BATCH, (insertion.batch_id,)).fetchone())
