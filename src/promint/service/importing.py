"""Bringing a file of codes in: rehearsed, then whole or row by row, with a list of what stays out.

A file is read twice. The first reading checks each row and puts the good ones into a stage,
where duplicates and the room that is left show; the second one, only where a list of rejects or
a search for look-alikes is wanted, has each row's own text at hand. Reading the same file again
under its batch adds what is missing: that is how an import goes on after an interruption.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import islice
from typing import IO, Any, BinaryIO, NamedTuple

from promint.domain import codetext, identities, lookalikes
from promint.domain.damage import Suspicions
from promint.domain.errors import (
    BadValue,
    BatchNotFound,
    DatabaseNotFound,
    ProfileNotFound,
    ProgramNotFound,
    PromintError,
)
from promint.domain.model import (
    Batch,
    BatchKind,
    BatchState,
    CodeMatching,
    Database,
    EventKind,
    Holder,
    LoyaltyProgram,
    ProfileKey,
    Scope,
    Token,
)
from promint.domain.templates import MISTYPED, has_check, is_mistyped
from promint.service.access import Call
from promint.service.means import Means, Progress, unwatched
from promint.service.profiles import ProfileCalls
from promint.service.transactions import in_transaction
from promint.store import Transaction
from promint.store.staging import (
    BatchFull,
    Insertion,
    Refusal,
    RefusedRow,
    Review,
    Stage,
    StagedCode,
)
from promint.wire.profile_lists import profile_key
from promint.wire.rows import (
    Chunk,
    PlainChunk,
    ReadOptions,
    Recognised,
    Reject,
    RejectKind,
    RejectsWriter,
    Row,
    RowChunk,
    RowReader,
    open_rows,
)

SAMPLES_MAX = 10
LOOK_ALIKES_CHUNK = 5_000
UNFINISHED = (BatchState.RUNNING, BatchState.STOPPED)


class ImportMode(StrEnum):
    """What happens to a file in which some rows cannot be used."""

    ROWS = "rows"
    ALL_OR_NOTHING = "all-or-nothing"


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """How a file is read, and what is done with it.

    `database_id` is where holders are looked for in rows that name no database.
    """

    read: ReadOptions = field(default_factory=ReadOptions)
    mode: ImportMode = ImportMode.ROWS
    database_id: int | None = None


class Sample(NamedTuple):
    """One row of a kind: its line in the file, its code or text, and what there is to say."""

    line: int
    text: str
    reason: str


@dataclass(slots=True)
class ImportReport:
    """What a file holds, and what became of it: counts, and the first rows of each kind.

    `new` are codes that went in, or would. `look_alikes` are looked for in a rehearsal only.
    `samples` has up to ten rows of each kind, by the name of its count. `suspicions` are sentences
    about the file as a whole. `batch_id` is None for a rehearsal, and for a file of which nothing
    went in because not all of it could.
    """

    recognised: Recognised
    rows: int = 0
    new: int = 0
    duplicates_in_file: int = 0
    duplicates_in_program: int = 0
    over_limit: int = 0
    unusable: int = 0
    damaged: int = 0
    look_alikes: int | None = None
    held: int = 0
    batch_id: int | None = None
    is_refused: bool = False
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    suspicions: list[str] = field(default_factory=list)

    def note(self, kind: str, sample: Sample) -> None:
        """Keep a sample of a kind, if there are not enough of them."""
        samples = self.samples.setdefault(kind, [])
        if len(samples) < SAMPLES_MAX:
            samples.append(sample)

    @property
    def rejected(self) -> int:
        """How many rows stay out, or would."""
        return (
            self.duplicates_in_file
            + self.duplicates_in_program
            + self.over_limit
            + self.unusable
            + self.damaged
        )

    def values(self) -> dict[str, Any]:
        """Return the report as plain values, for JSON."""
        return {
            "batch_id": self.batch_id,
            "refused": self.is_refused,
            "rows": self.rows,
            "new": self.new,
            "duplicates_in_file": self.duplicates_in_file,
            "duplicates_in_program": self.duplicates_in_program,
            "over_limit": self.over_limit,
            "unusable": self.unusable,
            "damaged": self.damaged,
            "look_alikes": self.look_alikes,
            "held": self.held,
            "samples": {
                kind: [sample._asdict() for sample in samples]
                for kind, samples in self.samples.items()
            },
            "suspicions": self.suspicions,
            "file": self.recognised.values(),
        }


class Importing:
    """Imports of files into one store."""

    def __init__(self, means: Means) -> None:
        """Take what use cases need."""
        self._means = means
        self._databases: dict[int, Database | None] = {}
        self._profiles = ProfileCalls(
            means.store, ids=means.ids, database=self._database, idempotency_s=1
        )

    async def rehearse(
        self,
        loyalty_id: int,
        file: BinaryIO,
        *,
        name: str,
        options: ImportOptions,
        rejects: IO[bytes] | None = None,
        progress: Progress = unwatched,
    ) -> ImportReport:
        """Say what an import of this file would do now; nothing is changed.

        Raises:
            ProgramNotFound: there is no such program.
            BadFile: the file cannot be read; it says where and why.
        """
        program = await self._program(loyalty_id)
        with self._open(program, file, name, options) as reader:
            async with self._means.store.staging.stage(program) as stage:
                work = _Work(self, program, stage, reader, name, options, progress)
                await work.fill(creates_profiles=False)
                await work.review()
                await work.find_look_alikes()
                await work.list_refused(rejects, None)
                return work.report

    async def run(
        self,
        loyalty_id: int,
        file: BinaryIO,
        *,
        name: str,
        options: ImportOptions,
        rejects: IO[bytes] | None = None,
        progress: Progress = unwatched,
        resume_batch: int | None = None,
        on_batch: Callable[[int], Any] | None = None,
    ) -> ImportReport:
        """Bring the file in; `on_batch` is awaited with the id of its batch once there is one.

        With `resume_batch` an import that was interrupted goes on: the
        same file, and what is in already counts as new.

        Raises:
            ProgramNotFound, BatchNotFound: there is no such program, or no such batch in it.
            BadFile: the file cannot be read; it says where and why. Nothing is changed.
            AlreadyUndone: the batch was taken back meanwhile.
            StoreBusy: the store cannot work now. The batch is `stopped` and can be resumed.
            Cancelled: `progress` stopped it. The batch likewise.
        """
        program = await self._program(loyalty_id)
        batch = None if resume_batch is None else await self._resumed(loyalty_id, resume_batch)
        with self._open(program, file, name, options) as reader:
            async with self._means.store.staging.stage(program) as stage:
                work = _Work(self, program, stage, reader, name, options, progress)
                await work.fill(creates_profiles=True)
                if options.mode is ImportMode.ALL_OR_NOTHING:
                    await work.review(resume_batch)
                    if work.report.rejected:
                        work.report.is_refused = True
                        await work.list_refused(rejects, resume_batch)
                        return work.report
                if batch is None:
                    batch = await self._begin(program, work, options)
                if on_batch is not None:
                    await on_batch(batch.id)
                try:
                    await work.insert(
                        batch,
                        is_atomic=options.mode is ImportMode.ALL_OR_NOTHING,
                        is_resumed=resume_batch is not None,
                    )
                except BatchFull:
                    raise BadValue("was brought to its end by another process", "batch") from None
                except BaseException:
                    await asyncio.shield(self._end(batch.id, work.report, BatchState.STOPPED))
                    raise
                await work.list_refused(rejects, batch.id)
                await self._end(batch.id, work.report, BatchState.DONE)
                return work.report

    @staticmethod
    def _open(
        program: LoyaltyProgram, file: BinaryIO, name: str, options: ImportOptions
    ) -> RowReader:
        read = replace(options.read, fields=program.fields, time_zone=program.time_zone)
        return open_rows(file, name=name, options=read)

    async def _begin(self, program: LoyaltyProgram, work: "_Work", options: ImportOptions) -> Batch:
        means = self._means
        wanted = Batch(
            0,
            program.id,
            BatchKind.IMPORT,
            BatchState.RUNNING,
            work.name,
            means.author,
            means.token_id,
            means.now(),
            parameters={"mode": options.mode.value, "file": work.report.recognised.values()},
            total=work.report.rows,
        )

        async def insert(transaction: Transaction) -> Batch:
            return await transaction.insert_batch(wanted)

        return await in_transaction(means.store, insert)

    async def _resumed(self, loyalty_id: int, batch_id: int) -> Batch:
        batch = await self._means.store.batch(batch_id)
        if batch is None or batch.loyalty_id != loyalty_id or batch.kind is not BatchKind.IMPORT:
            raise BatchNotFound(str(batch_id))
        if batch.state not in UNFINISHED:
            raise BadValue(f"is {batch.state.value}, there is nothing to resume", "batch")
        return batch

    async def _end(self, batch_id: int, report: ImportReport, state: BatchState) -> None:
        now = self._means.now()

        async def update(transaction: Transaction) -> None:
            batch = await transaction.batch(batch_id)
            assert batch is not None
            if batch.state not in UNFINISHED:
                return
            await transaction.update_batch(
                replace(
                    batch,
                    state=state,
                    total=report.rows,
                    duplicated=report.duplicates_in_file + report.duplicates_in_program,
                    discarded=report.over_limit,
                    rejected=report.unusable + report.damaged,
                    finished_at=now if state is BatchState.DONE else None,
                )
            )

        report.batch_id = batch_id
        await in_transaction(self._means.store, update)

    # -- who and where ---------------------------------------------------------------------

    async def _program(self, loyalty_id: int) -> LoyaltyProgram:
        program = await self._means.store.program(loyalty_id)
        if program is None:
            raise ProgramNotFound(str(loyalty_id))
        return program

    async def _database(self, call: Call, database_id: int) -> Database:
        if database_id not in self._databases:
            self._databases[database_id] = await self._means.database(database_id)
        database = self._databases[database_id]
        if database is None:
            raise DatabaseNotFound(str(database_id))
        return database

    def insertion(self, batch: Batch, *, is_atomic: bool) -> Insertion:
        """Return under which batch a stage goes in."""
        means = self._means
        return Insertion(
            batch.id,
            EventKind.IMPORTED,
            means.now(),
            means.token_id,
            means.request_id,
            means.ids.new,
            is_atomic=is_atomic,
        )

    def insertion_moment(self) -> int:
        """Return this moment."""
        return self._means.now()

    async def holders(
        self, rows: Sequence[Row], default_database: int | None, *, creates_profiles: bool
    ) -> list[Holder | PromintError | None]:
        """Return for each row the profile that holds its code, or why there is none to be had."""
        keys = [_profile_key(row, default_database) for row in rows]
        return await asyncio.gather(
            *(self._holder(key, creates_profiles=creates_profiles) for key in keys)
        )

    async def _holder(
        self, key: ProfileKey | PromintError | None, *, creates_profiles: bool
    ) -> Holder | PromintError | None:
        if key is None or isinstance(key, PromintError):
            return key
        store, means = self._means.store, self._means
        call = Call(_OPERATOR, means.request_id, means.now())
        try:
            database = await self._database(call, key.database_id)
            if key.profile_id is not None:
                holder = Holder(database.id, key.profile_id)
                known = await store.profile(holder)
                return holder if known else ProfileNotFound(key.profile_id)
            found = identities.profile_of(await store.find_profiles(key.identities))
            if found is not None:
                return Holder(database.id, found)
            if not database.creates_profiles:
                return ProfileNotFound(key.identities[0].value)
            if not creates_profiles:
                return Holder(database.id, _NOT_YET)
            saved = await self._profiles.save(
                call, key, identities.data_of(key.identities), creates=True
            )
            return Holder(database.id, saved)
        except PromintError as refusal:
            return refusal


_OPERATOR = Token(0, "command", frozenset(Scope))
_NOT_YET = "0" * 24
"""The holder of a rehearsal who would be created."""


class _Work:
    """One file on its way in."""

    def __init__(
        self,
        importing: Importing,
        program: LoyaltyProgram,
        stage: Stage,
        reader: RowReader,
        name: str,
        options: ImportOptions,
        progress: Progress,
    ) -> None:
        self.importing = importing
        self.program = program
        self.stage = stage
        self.name = name
        self.options = options
        self.progress = progress
        self._reader = reader
        self.report = ImportReport(reader.recognised)
        self._suspicions = Suspicions()
        self._is_ascii = True

    async def _chunks(self, phase: str) -> AsyncGenerator[Chunk]:
        """Read the file from its beginning, in a thread."""
        reader = self._reader
        chunks = iter(reader)
        while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
            yield chunk
            await self.progress(reader.bytes_done, reader.bytes_total, phase)

    # -- the first reading -----------------------------------------------------------------

    async def fill(self, *, creates_profiles: bool) -> None:
        """Read the file into the stage; count what cannot be used."""
        async for chunk in self._chunks("reading"):
            for reject in chunk.rejects:
                self._reject(reject)
            if isinstance(chunk, PlainChunk):
                await self._add_plain(chunk)
            else:
                await self._add_rows(chunk, creates_profiles=creates_profiles)
        await self.progress(0, None, "sorting")
        await self.stage.seal()
        self.report.suspicions = self._suspicions.sentences()

    def _reject(self, reject: Reject) -> None:
        kind = "damaged" if reject.kind is RejectKind.DAMAGED else "unusable"
        self.report.rows += 1
        setattr(self.report, kind, getattr(self.report, kind) + 1)
        self.report.note(kind, Sample(reject.line, reject.original, reject.reason))

    async def _add_plain(self, chunk: PlainChunk) -> None:
        cleaned = await asyncio.to_thread(_cleaned, chunk.texts, self.program, chunk.first_line)
        self._is_ascii = self._is_ascii and cleaned.is_ascii
        for first_line, keys, codes in cleaned.runs:
            self.report.rows += len(codes)
            self._suspicions.add(range(first_line, first_line + len(codes)), codes)
            await self.stage.add_plain(first_line, keys, codes)
        for reject in cleaned.rejects:
            self._reject(reject)

    async def _add_rows(self, chunk: RowChunk, *, creates_profiles: bool) -> None:
        rows = chunk.rows
        holders: Sequence[Holder | PromintError | None] = [None] * len(rows)
        if any(map(_names_holder, rows)):
            holders = await self.importing.holders(
                rows, self.options.database_id, creates_profiles=creates_profiles
            )
        now = self.importing.insertion_moment()
        staged: list[StagedCode] = []
        for row, holder in zip(rows, holders, strict=True):
            made = _staged(row, holder, self.program, now)
            if isinstance(made, StagedCode):
                staged.append(made)
                self.report.held += made.profile_id is not None
                self._is_ascii = self._is_ascii and made.code_key.isascii()
                self._suspicions.add([made.line], [made.code])
            else:
                self._reject(self._unusable(row, made, chunk))
        self.report.rows += len(staged)
        await self.stage.add(staged)

    # -- what would happen, and what happens -----------------------------------------------

    async def review(self, batch_id: int | None = None) -> None:
        """Count what is new, there already, and without room."""
        await self.progress(0, None, "checking")
        self._take(await self.stage.review(batch_id))

    def _take(self, review: Review) -> None:
        self.report.new = review.new
        self.report.duplicates_in_file = review.duplicates_in_file
        self.report.duplicates_in_program = review.duplicates_in_program
        self.report.over_limit = review.over_limit

    async def insert(self, batch: Batch, *, is_atomic: bool, is_resumed: bool) -> None:
        """Put the stage in."""
        total = self.report.rows - self.report.unusable - self.report.damaged

        async def note(done: int) -> None:
            await self.progress(done, total, "importing")

        insertion = self.importing.insertion(batch, is_atomic=is_atomic)
        inserted = await self.stage.insert(insertion, note)
        if is_resumed or inserted.duplicates or inserted.over_limit:
            self._take(await self.stage.review(batch.id))
        self.report.new = inserted.inserted
        self.report.over_limit = inserted.over_limit

    # -- the second reading ----------------------------------------------------------------

    async def list_refused(self, rejects: IO[bytes] | None, batch_id: int | None) -> None:
        """Take samples of what stays out, and write all of it to `rejects` if there is one."""
        refused = self.stage.refused(batch_id)
        if rejects is None:
            if not any(count for _, count in self._refusal_counts()):
                return
            # The first ones of each kind are enough.
            async for rows in refused:
                for row in rows:
                    self._sample(row)
                if all(
                    len(self.report.samples.get(name, ())) >= min(SAMPLES_MAX, count)
                    for name, count in self._refusal_counts()
                ):
                    break
            await refused.aclose()
            return
        writer = RejectsWriter(self.report.recognised)
        rejects.write(writer.begin())
        ahead = _Ahead(refused)
        async for chunk in self._chunks("writing rejects"):
            lines: list[Reject] = list(chunk.rejects)
            last = _last_line(chunk)
            async for row in ahead.until(last):
                self._sample(row)
                lines.append(Reject(row.line, _reason(row), chunk.original(row.line) or row.code))
            if isinstance(chunk, PlainChunk):
                cleaned = _cleaned(chunk.texts, self.program, chunk.first_line)
                lines.extend(cleaned.rejects)
            else:
                lines.extend(await self._unusable_rows(chunk))
            lines.sort(key=lambda reject: reject.line)
            rejects.write(writer.rows((one.line, one.reason, one.original) for one in lines))

    async def _unusable_rows(self, chunk: RowChunk) -> list[Reject]:
        rows = chunk.rows
        holders: Sequence[Holder | PromintError | None] = [None] * len(rows)
        if any(map(_names_holder, rows)):
            holders = await self.importing.holders(
                rows, self.options.database_id, creates_profiles=False
            )
        now = self.importing.insertion_moment()
        made = [
            _staged(row, holder, self.program, now)
            for row, holder in zip(rows, holders, strict=True)
        ]
        return [
            self._unusable(row, one, chunk)
            for row, one in zip(rows, made, strict=True)
            if isinstance(one, PromintError)
        ]

    def _unusable(self, row: Row, error: PromintError, chunk: RowChunk) -> Reject:
        if isinstance(error, BadValue):
            reason = self._reader.reason(error)
        else:
            reason = f"holder: {error.message}" + (f" ({error.detail})" if error.detail else "")
        return Reject(row.line, reason, chunk.original(row.line) or row.code)

    def _refusal_counts(self) -> Iterator[tuple[str, int]]:
        for name in ("duplicates_in_file", "duplicates_in_program", "over_limit"):
            yield name, getattr(self.report, name)

    def _sample(self, row: RefusedRow) -> None:
        self.report.note(_KINDS[row.refusal], Sample(row.line, row.code, _reason(row)))

    async def find_look_alikes(self) -> None:
        """Count the codes that look like another one of the file or the program, and are not it."""
        program = self.program
        self.report.look_alikes = 0
        if self._is_ascii and not await self.stage.has_other_scripts():
            return
        async for chunk in self._chunks("comparing"):
            keyed = (
                _keyed_plain(chunk, program)
                if isinstance(chunk, PlainChunk)
                else _keyed_rows(chunk, program)
            )
            while part := list(islice(keyed, LOOK_ALIKES_CHUNK)):
                spellings = {
                    spelling for _, key, _ in part for spelling in lookalikes.variants(key)
                }
                known = await self.stage.known(sorted(spellings))
                for line, key, code in part:
                    twins = [known[v] for v in lookalikes.variants(key) if v in known]
                    if twins:
                        self.report.look_alikes += 1
                        self.report.note(
                            "look_alikes", Sample(line, code, f"looks like {twins[0]}")
                        )


_KINDS = {
    Refusal.DUPLICATE_IN_FILE: "duplicates_in_file",
    Refusal.DUPLICATE_IN_PROGRAM: "duplicates_in_program",
    Refusal.OVER_LIMIT: "over_limit",
}


def _reason(row: RefusedRow) -> str:
    if row.refusal is Refusal.DUPLICATE_IN_FILE:
        return f"repeats line {row.first_line}"
    if row.refusal is Refusal.DUPLICATE_IN_PROGRAM:
        return "the program has it already"
    return "no room left under code_limit"


class _Ahead:
    """The refused rows, by line, read only as far as the file is."""

    def __init__(self, refused: AsyncGenerator[Sequence[RefusedRow]]) -> None:
        self._refused = refused
        self._rows: list[RefusedRow] = []

    async def until(self, line: int) -> AsyncGenerator[RefusedRow]:
        """Yield the rows up to a line."""
        while True:
            while self._rows and self._rows[-1].line <= line:
                yield self._rows.pop()
            if self._rows:
                return
            more = await anext(self._refused, None)
            if more is None:
                return
            self._rows = list(reversed(more))


def _last_line(chunk: Chunk) -> int:
    if isinstance(chunk, PlainChunk):
        return chunk.first_line + len(chunk.texts) - 1
    return chunk.rows[-1].line if chunk.rows else 0


class _Cleaned(NamedTuple):
    """A chunk's usable codes in runs of lines that follow each other, and what cannot be used."""

    runs: list[tuple[int, list[str], list[str]]]
    rejects: list[Reject]
    is_ascii: bool


def _code_and_key(text: str, program: LoyaltyProgram) -> tuple[str, str]:
    """Return a code as it is stored, and its compared form.

    Raises:
        BadValue: it cannot be a code of the program.
    """
    code = codetext.clean_code(text)
    key = codetext.code_key(code, program.code_matching)
    if is_mistyped(program, code):
        raise BadValue(MISTYPED, "code")
    return code, key


def _cleaned(texts: list[str], program: LoyaltyProgram, first_line: int) -> _Cleaned:
    """Clean a chunk of codes and make their keys.

    A chunk of plain ASCII, which nearly all are, is looked at as one text.
    """
    codes = [text.strip() for text in texts]
    joined = "".join(codes)
    if joined.isascii() and joined.isprintable() and codes and not has_check(program.template):
        longest = max(map(len, codes))
        if all(codes) and longest <= codetext.CODE_CHARACTERS_MAX:
            keys = codes
            if program.code_matching is CodeMatching.FORGIVING:
                keys = "\n".join(codes).casefold().split("\n")
            return _Cleaned([(first_line, keys, codes)], [], is_ascii=True)
    return _cleaned_one_by_one(codes, program, first_line)


def _cleaned_one_by_one(codes: list[str], program: LoyaltyProgram, first_line: int) -> _Cleaned:
    runs: list[tuple[int, list[str], list[str]]] = []
    rejects: list[Reject] = []
    is_ascii = True
    following = -1
    for line, text in enumerate(codes, first_line):
        if not text:
            continue
        try:
            code, key = _code_and_key(text, program)
        except BadValue as error:
            rejects.append(Reject(line, error.what, text))
            continue
        is_ascii = is_ascii and key.isascii()
        if line != following:
            runs.append((line, [], []))
        runs[-1][1].append(key)
        runs[-1][2].append(code)
        following = line + 1
    return _Cleaned(runs, rejects, is_ascii)


def _keyed_plain(chunk: PlainChunk, program: LoyaltyProgram) -> Iterator[tuple[int, str, str]]:
    for first_line, keys, codes in _cleaned(chunk.texts, program, chunk.first_line).runs:
        for number, (key, code) in enumerate(zip(keys, codes, strict=True)):
            yield first_line + number, key, code


def _keyed_rows(chunk: RowChunk, program: LoyaltyProgram) -> Iterator[tuple[int, str, str]]:
    for row in chunk.rows:
        try:
            code, key = _code_and_key(row.code, program)
            yield row.line, key, code
        except BadValue:
            continue


def _names_holder(row: Row) -> bool:
    return not (
        row.profile_id is None
        and row.email is None
        and row.phone is None
        and row.custom is None
        and row.database_id is None
    )


def _profile_key(row: Row, default_database: int | None) -> ProfileKey | PromintError | None:
    """Return how a row names its holder; None if it names none."""
    try:
        return profile_key(row, default_database)
    except BadValue as error:
        return error


def _staged(
    row: Row, holder: Holder | PromintError | None, program: LoyaltyProgram, now: int
) -> StagedCode | PromintError:
    """Return a row as it is staged, or why it cannot be used.

    A code that is held since nobody knows when is so since its activation, or since now.
    """
    try:
        code, key = _code_and_key(row.code, program)
    except BadValue as error:
        return error
    if isinstance(holder, PromintError):
        return holder
    attached_at, activated_at = row.attached_at, row.activated_at
    if holder is None:
        if attached_at is not None or activated_at is not None:
            name = "attached" if attached_at is not None else "activated"
            return BadValue("needs a holder, and the row names none", name)
        return StagedCode(row.line, key, code, row.expires_at, row.fields)
    if attached_at is None:
        attached_at = now if activated_at is None else activated_at
    if activated_at is not None and activated_at < attached_at:
        return BadValue("before attached", "activated")
    if max(attached_at, activated_at or 0) > now:
        name = "attached" if attached_at > now else "activated"
        return BadValue("lies in the future", name)
    return StagedCode(
        row.line, key, code, row.expires_at, row.fields, *holder, attached_at, activated_at
    )
