"""Bringing codes in by the million, on PostgreSQL.

The stage is a temporary table, filled by COPY on a connection of its own. Chunks of two imports
into one program never go in at once: each takes a lock with the program's number, as the imports
of the API do.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Protocol

from promint.domain import codetext
from promint.domain.model import BatchState, LoyaltyProgram
from promint.store import Busy, Lost, sql, staging_sql
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
from promint.store.postgres.sessions import BROKEN, Connection, translated
from promint.store.staging import (
    FILE_ORDER_MAX,
    Inserted,
    Insertion,
    RefusedRow,
    Report,
    Review,
    StagedCode,
)

IMPORT_LOCK = 0x50524D55
CHUNK = 20_000
CHUNK_LIMITED = 5_000
TRIES_MAX = 8
REFUSED_CHUNK = 5_000
LOOK_BACK = 1_000
COLUMNS = staging_sql.STAGED_COLUMNS.split(", ")
PLAIN_COLUMNS = ("shard_key", "line", "code_key", "code")
SESSION = (
    "SET work_mem = '128MB'",
    "SET maintenance_work_mem = '128MB'",
    "SET temp_buffers = '32MB'",
)


class Connecting(Protocol):
    """What the stage needs of its store."""

    async def connect_for_bulk(self) -> Connection:
        """Return a new connection for long statements."""


class PostgresStaging:
    """Opens stages."""

    def __init__(self, store: Connecting) -> None:
        """Take the store."""
        self._store = store

    @asynccontextmanager
    async def stage(self, program: LoyaltyProgram) -> AsyncIterator["PostgresStage"]:
        """Open a stage on a connection of its own, which is closed in the end."""
        try:
            connection = await self._store.connect_for_bulk()
        except BROKEN as error:
            raise translated(error, may_have_written=False) from error
        try:
            stage = PostgresStage(connection, program)
            await stage.open()
            yield stage
        except BROKEN as error:
            raise translated(error, may_have_written=True) from error
        finally:
            connection.terminate()


def _copied(text: str) -> str:
    """Return a text as the text format of COPY has it; codes hold no control characters."""
    return text.replace("\\", "\\\\") if "\\" in text else text


class PostgresStage:
    """A stage in temporary tables."""

    def __init__(self, connection: Connection, program: LoyaltyProgram) -> None:
        """Take a connection that belongs to the stage alone."""
        self._connection = connection
        self._program = program
        self._is_keyed = False
        self._has_met_codes = False

    async def open(self) -> None:
        """Make the table."""
        for setting in SESSION:
            await self._connection.execute(setting)
        await self._connection.execute(staging_sql.POSTGRES_CREATE)

    # -- filling ---------------------------------------------------------------------------

    async def add(self, codes: Sequence[StagedCode]) -> None:
        """Add rows."""
        program = self._program
        await self._connection.copy_records_to_table(
            "staged",
            records=(
                (
                    codetext.shard_key(program.id, code.code_key, program.buckets),
                    code.line,
                    *code[1:],
                )
                for code in codes
            ),
            columns=COLUMNS,
        )

    async def add_plain(self, first_line: int, keys: Sequence[str], codes: Sequence[str]) -> None:
        """Add codes without anything else."""
        first_shard, buckets = self._program.first_shard, self._program.buckets
        if buckets == 1:
            shards: Sequence[int] = [first_shard] * len(keys)
        else:
            shards = [first_shard + codetext.bucket(key, buckets) for key in keys]
        text = _copied(
            "\n".join(
                f"{shard}\t{line}\t{key}\t{code}"
                for line, (shard, key, code) in enumerate(
                    zip(shards, keys, codes, strict=True), first_line
                )
            )
        )

        async def source() -> AsyncIterator[bytes]:
            yield text.encode()
            yield b"\n"

        if keys:
            await self._connection.copy_to_table(
                "staged", source=source(), columns=PLAIN_COLUMNS, format="text"
            )

    async def seal(self) -> None:
        """Sort by key, and forget the unsorted rows."""
        connection = self._connection
        total = await connection.fetchval("SELECT count(*) FROM staged")
        is_small = total <= FILE_ORDER_MAX
        sort = staging_sql.POSTGRES_SORT_SMALL if is_small else staging_sql.POSTGRES_SORT
        order = staging_sql.ORDER_OF_KEYS
        if self._program.buckets == 1:
            order = staging_sql.ORDER_WITHIN_SHARD
        await connection.execute(sort.format(order=order))
        await connection.execute("DROP TABLE staged")
        await connection.execute(staging_sql.POSTGRES_SORTED_KEY)
        await connection.execute("ANALYZE sorted")
        self._total: int = total
        self._has_held = bool(await connection.fetchval(staging_sql.HAS_HELD))

    # -- looking ---------------------------------------------------------------------------

    @staticmethod
    def _of_store(statement: str) -> str:
        return statement.format(codes="promo_code", look_back=LOOK_BACK)

    async def review(self, batch_id: int | None = None) -> Review:
        """Count what would happen."""
        fetchval = self._connection.fetchval
        repeated = await fetchval(staging_sql.COUNT_REPEATED)
        stored = await fetchval(self._of_store(staging_sql.COUNT_STORED), batch_id or 0)
        new = self._total - repeated - stored
        room = await self._room()
        over = 0 if room is None else max(0, new - room)
        return Review(new - over, repeated, stored, over)

    async def _room(self) -> int | None:
        limit = self._program.code_limit
        if limit is None:
            return None
        row = await self._connection.fetchrow(sql.TALLY, self._program.first_shard, sql.CODES, "")
        assert row is not None
        return max(0, limit - int(row[0]))

    async def _line_without_room(self) -> int:
        room = await self._room()
        if room is None:
            return sql.NEVER
        line = await self._connection.fetchval(self._of_store(staging_sql.LINE_WITHOUT_ROOM), room)
        return sql.NEVER if line is None else int(line)

    async def refused(self, batch_id: int | None = None) -> AsyncGenerator[Sequence[RefusedRow]]:
        """Yield the rows that would not go in, by line."""
        no_room = await self._line_without_room() if batch_id is None else 0
        async with self._connection.transaction(readonly=True):
            cursor = await self._connection.cursor(
                self._of_store(staging_sql.REFUSED), batch_id or 0, no_room
            )
            while rows := await cursor.fetch(REFUSED_CHUNK):
                yield [refused_row(row) for row in rows]

    async def known(self, keys: Sequence[str]) -> dict[str, str]:
        """Return which keys are in the program or the stage."""
        if not self._is_keyed:
            await self._connection.execute(staging_sql.SORTED_BY_KEY)
            self._is_keyed = True
        program = self._program
        shards = [codetext.shard_key(program.id, key, program.buckets) for key in keys]
        rows = await self._connection.fetch(staging_sql.POSTGRES_KNOWN, shards, list(keys))
        return {row[0]: row[1] for row in rows}

    async def has_other_scripts(self) -> bool:
        """Look beyond ASCII in each shard."""
        statement = self._of_store(staging_sql.OTHER_SCRIPTS)
        for shard in range(self._program.first_shard, self._program.last_shard + 1):
            if await self._connection.fetchval(statement, shard, staging_sql.BEYOND_ASCII):
                return True
        return False

    # -- the way in ------------------------------------------------------------------------

    async def insert(self, insertion: Insertion, report: Report) -> Inserted:
        """Put the codes in, chunk by chunk."""
        no_room = await self._line_without_room()
        first_seq = await self._reserve(insertion)
        size = CHUNK if self._program.code_limit is None else CHUNK_LIMITED
        if insertion.is_atomic:
            size = max(1, self._total)
        for after in range(0, self._total, size):
            until = min(after + size, self._total)
            await self._chunk_until_in(insertion, (after, until), no_room, first_seq)
            await report(until)
        row = await self._connection.fetchrow(sql.BATCH, insertion.batch_id)
        inserted = sql.batch_value(row).inserted
        over = 0
        if self._program.code_limit is not None:
            left = await self.review()
            over = left.new + left.over_limit
        return Inserted(inserted, self._total - inserted - over, over)

    async def _reserve(self, insertion: Insertion) -> int:
        """Return where the stage's creation sequence begins; a resumed batch has one already."""
        async with self._connection.transaction():
            row = await self._connection.fetchrow(sql.POSTGRES_LOCK_BATCH, insertion.batch_id)
            batch = sql.batch_value(row)
            if batch.state not in (BatchState.RUNNING, BatchState.STOPPED):
                raise closed(batch)
            reserved = first_seq_of(batch, insertion, self._total)
            if reserved is not None:
                return reserved
            following: int = await self._connection.fetchval(
                sql.RESERVE_SEQ, self._total, self._program.first_shard
            )
            first = following - self._total
            known_first = first if batch.first_seq is None else batch.first_seq
            numbered = replace(batch, first_seq=known_first, last_seq=following - 1)
            await self._connection.execute(sql.UPDATE_BATCH, *sql.batch_row(numbered), batch.id)
            return first

    async def _chunk_until_in(
        self, insertion: Insertion, span: tuple[int, int], no_room: int, first_seq: int
    ) -> None:
        """Repeat a chunk while others create one of its codes in the same moment."""
        for _ in range(TRIES_MAX):
            try:
                async with self._connection.transaction():
                    await self._chunk(insertion, span, no_room, first_seq)
            except BROKEN as error:
                failure = translated(error, may_have_written=True)
                if not isinstance(failure, Lost) or insertion.is_atomic:
                    raise failure from error
                # From here on it is looked which codes are there.
                self._has_met_codes = True
            else:
                return
        raise Busy("an import lost to other writers each time")

    async def _chunk(
        self, insertion: Insertion, span: tuple[int, int], no_room: int, first_seq: int
    ) -> None:
        connection = self._connection
        await connection.execute(
            "SELECT pg_advisory_xact_lock($1, $2)", IMPORT_LOCK, self._program.id
        )
        row = await connection.fetchrow(sql.PROGRAM, self._program.id)
        program = sql.program_value(row)
        room = None
        statement = staging_sql.POSTGRES_INSERT_NEW
        if self._has_met_codes or insertion.is_atomic:
            statement = staging_sql.POSTGRES_INSERT
        if program.code_limit is not None:
            held = await connection.fetchval(sql.LOCK_CODES_TALLY, program.first_shard)
            room = max(0, program.code_limit - held)
            statement = staging_sql.POSTGRES_INSERT_WITHIN
        status = await connection.execute(
            statement.format(seq=f"{first_seq - 1} + {number_column(self._total)}"),
            *chunk_parameters(program, insertion, span, no_room, room),
        )
        count = int(status.split()[-1])
        if not count:
            return
        if self._has_held:
            rows = await connection.fetch(
                staging_sql.HELD_OF_CHUNK.format(source="sorted"), insertion.batch_id, *span
            )
            attached, events = held_rows(program, insertion, rows)
            await connection.executemany(sql.INSERT_ATTACHMENT, attached)
            await connection.executemany(sql.INSERT_EVENT, events)
        await connection.execute(sql.INSERT_EVENT, *chunk_event(insertion, program, count))
        await connection.execute(staging_sql.COUNT_CODES, count, program.first_shard)
        if not await connection.fetch(staging_sql.COUNT_IN_BATCH, *counted(insertion, count)):
            raise closed(sql.batch_value(await connection.fetchrow(sql.BATCH, insertion.batch_id)))
