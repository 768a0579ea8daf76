"""Where programs, codes and profiles are kept: the interface that every store fills.

Two stores exist, `sqlite` and `postgres`; `tests/store` holds both to this page. A store
selects candidates and keeps facts. It decides nothing: a batch is read, handed to `decide`,
and what comes back is written whole or not at all.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

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
from promint.store.batching import BatchChange, ListedChange, MadeCode, WalkKey
from promint.store.facts import StoreFacts
from promint.store.jobs import Jobs
from promint.store.searching import Searching
from promint.store.staging import Staging

CodeId = tuple[int, str]
"""`(shard_key, code_key)`: a promo code's primary key."""

AttachmentId = tuple[int, str, int, str]
"""`(shard_key, code_key, database_id, profile_id)`: an attachment's primary key."""

Shards = tuple[int, int]
"""First and last of a run of shard keys."""


class StoreError(Exception):
    """A store could not do what it was asked."""


class Lost(StoreError):
    """Another writer changed a row between read and write. Nothing was written; go again."""


class TryAgain(StoreError):
    """The database gave the transaction up (deadlock, serialization). Nothing was written."""


class Poisoned(StoreError):
    """The database refuses something in the batch (SQLSTATE 22, 23). Nothing was written."""


class Busy(StoreError):
    """The store cannot work now: locked, full, out of reach. Nothing was written."""


class ConnectionLost(StoreError):
    """The connection broke; `may_have_written` says whether a write was already sent."""

    def __init__(self, detail: str, *, may_have_written: bool) -> None:
        super().__init__(detail)
        self.may_have_written = may_have_written


class DiskFailed(ConnectionLost):
    """The disk failed under a write. It may be there or not; this process must write no more."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail, may_have_written=True)


class Unusable(StoreError):
    """The store cannot be opened at all; the sentence says what to do."""


class Answer(NamedTuple):
    """An answer as the caller got it, kept for the life of its idempotency key."""

    status: int
    reason: str
    content_type: str
    body: bytes


class IdempotencyId(NamedTuple):
    """`(shard_key, token_id, key)`: an idempotency record's primary key."""

    shard_key: int
    token_id: int
    key: str


class IdempotencyRecord(NamedTuple):
    """What a key was used for, and the answer it got."""

    digest: bytes
    answer: Answer


@dataclass(frozen=True, slots=True)
class Keyed:
    """An idempotency key as a request brings it: where its record is, and for what request."""

    id: IdempotencyId
    digest: bytes
    now: int
    keep_until: int


class TallyId(NamedTuple):
    """`(shard_key, kind, subject)`: a tally's primary key."""

    shard_key: int
    kind: str
    subject: str


class Tally(NamedTuple):
    """A guarded count. `next_seq` is the creation sequence of the program's next code."""

    total: int
    next_seq: int
    version: int


class FreeRequest(NamedTuple):
    """How many free codes a batch wants of a personal program, from which of its shards."""

    first_shard: int
    last_shard: int
    wanted: int
    now: int


class RoomRequest(NamedTuple):
    """Which universal codes one profile could be given: the `wanted` oldest with room."""

    program: LoyaltyProgram
    holder: Holder
    wanted: int
    now: int


@dataclass(slots=True)
class Reads:
    """Everything that a batch has to see, by key. The store sorts and de-duplicates."""

    codes: set[CodeId] = field(default_factory=set)
    attachments: set[AttachmentId] = field(default_factory=set)
    idempotency: dict[IdempotencyId, int] = field(default_factory=dict)
    profiles: set[Holder] = field(default_factory=set)
    identities: set[Identity] = field(default_factory=set)
    tallies: set[TallyId] = field(default_factory=set)
    programs: dict[int, LoyaltyProgram] = field(default_factory=dict)
    held: dict[tuple[int, Holder], LoyaltyProgram] = field(default_factory=dict)
    earlier_uses: set[CodeId] = field(default_factory=set)
    free: dict[Shards, FreeRequest] = field(default_factory=dict)
    room: dict[tuple[int, Holder], RoomRequest] = field(default_factory=dict)
    doubtful_events: set[tuple[Shards, bytes]] = field(default_factory=set)


@dataclass(slots=True)
class Found:
    """What was there. A key that is absent here has no row."""

    codes: dict[CodeId, PromoCode] = field(default_factory=dict)
    attachments: set[AttachmentId] = field(default_factory=set)
    idempotency: dict[IdempotencyId, IdempotencyRecord] = field(default_factory=dict)
    profiles: set[Holder] = field(default_factory=set)
    identities: dict[Identity, list[str]] = field(default_factory=dict)
    tallies: dict[TallyId, Tally] = field(default_factory=dict)
    programs: dict[int, LoyaltyProgram] = field(default_factory=dict)
    held: dict[tuple[int, Holder], int] = field(default_factory=dict)
    earlier_uses: dict[CodeId, int | None] = field(default_factory=dict)
    free: dict[Shards, list[PromoCode]] = field(default_factory=dict)
    room: dict[tuple[int, Holder], list[PromoCode]] = field(default_factory=dict)
    landed_events: dict[bytes, str | None] = field(default_factory=dict)


class NewProfile(NamedTuple):
    """A profile to insert, with the identities that lead to it."""

    profile: Profile
    identities: tuple[Identity, ...]


@dataclass(slots=True)
class Writes:
    """Everything that a batch changes. Rows come with the version they must still have.

    `codes` and `tallies` map a key to (value to write, version that was read); a version of
    None means a new row, and a key that exists by then loses the batch. `guards` are tallies
    whose version only moves, so that two writers who rely on one count cannot both win.
    """

    codes: dict[CodeId, tuple[PromoCode, int | None]] = field(default_factory=dict)
    tallies: dict[TallyId, tuple[Tally, int | None]] = field(default_factory=dict)
    attached: list[tuple[int, str, int, str, int, int]] = field(default_factory=list)
    detached: list[AttachmentId] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    idempotency: list[tuple[Keyed, Answer]] = field(default_factory=list)
    profiles: list[NewProfile] = field(default_factory=list)
    holders: set[Holder] = field(default_factory=set)

    def __bool__(self) -> bool:
        """Say whether there is anything to write."""
        return bool(self.events or self.idempotency or self.codes)


class RequestBatch(Protocol):
    """What the engine hands over: what to read, and how to decide once it is read."""

    reads: Reads

    def decide(self, found: Found) -> Writes:
        """Decide every request on `found`. Pure, and may be called again on a later reading."""


@dataclass(frozen=True, slots=True)
class CodeImport:
    """Codes to add to one program in one transaction.

    `codes` holds (code key, code as given), each key once, in the order of creation.
    """

    program: LoyaltyProgram
    codes: Sequence[tuple[str, str]]
    now: int
    event_id: bytes
    token_id: int
    request_id: str
    source: str
    author: str = ""
    keyed: Keyed | None = None


class CodeImported(NamedTuple):
    """What became of an import: how many are in, which were not new, which had no room."""

    inserted: int
    duplicates: frozenset[str]
    over_limit: frozenset[str]


class ExportedCode(NamedTuple):
    """One code of an export."""

    code: str
    attached_at: int | None
    activated_at: int | None


class Transaction(Protocol):
    """One transaction for everything that is not on the hot path. Commits when it is left well.

    Raises `Lost` where another writer was first, wherever that shows, COMMIT included. Inside it
    nothing may ask the store itself: that would take a second connection while one is held.
    """

    async def recall(self, key: IdempotencyId, now: int) -> IdempotencyRecord | None:
        """Return what an idempotency key was used for, if its record still lives at `now`."""

    async def remember(self, keyed: Keyed, answer: Answer) -> None:
        """Keep an answer for its idempotency key."""

    async def record(self, events: Sequence[Event]) -> None:
        """Append events."""

    async def find(self, identity: Identity) -> list[str]:
        """Return the ids of the profiles that an identity leads to, sorted."""

    async def profile(self, holder: Holder) -> Profile | None:
        """Return a profile, held against other writers until the end."""

    async def insert_profile(self, new: NewProfile) -> None:
        """Add a profile and the identities that lead to it."""

    async def update_profile(self, new: NewProfile) -> None:
        """Replace a profile's data and the identities that lead to it."""

    async def delete_profile(self, holder: Holder) -> None:
        """Remove a profile and its identities. What it holds is the caller's to release."""

    async def held_codes(self, holder: Holder) -> list[PromoCode]:
        """Return the codes attached to a profile, held until the end, in key order."""

    async def latest_holder(self, code: PromoCode, but: Holder) -> tuple[Holder, int] | None:
        """Return who else was attached to a code last, and when."""

    async def release(self, holder: Holder, codes: Sequence[PromoCode]) -> None:
        """Write codes as they became and remove the profile's attachments to them."""

    async def program(self, loyalty_id: int) -> LoyaltyProgram | None:
        """Return a program."""

    async def insert_program(self, program: LoyaltyProgram) -> LoyaltyProgram:
        """Add a program, with the next free id where its id is 0, and its tally of codes."""

    async def update_program(self, program: LoyaltyProgram) -> None:
        """Write a program's settings; `version` is the one it was read with, and rises."""

    async def database(self, database_id: int) -> Database | None:
        """Return a database, held against other writers until the end."""

    async def insert_database(self, database: Database) -> Database:
        """Add a database, with the next free id where its id is 0."""

    async def update_database(self, database: Database) -> None:
        """Write a database's settings."""

    async def insert_token(self, token: Token, digest: bytes) -> Token:
        """Add a token by the digest of its secret, with the next free id."""

    async def revoke_token(self, name: str, now: int) -> list[int]:
        """Revoke the living tokens of that name and return their ids."""

    async def rotate_token(self, token: Token, digest: bytes, now: int) -> bool:
        """Replace the secret of a living token; False where it is not as it was read."""

    async def wrong_codes(self, wanted: Sequence[Counted]) -> list[WrongCodes]:
        """Return counted wrong codes in sorted order, held against other writers until the end."""

    async def save_wrong_codes(self, changed: Sequence[WrongCodes]) -> None:
        """Write counted wrong codes as they became."""

    async def insert_batch(self, batch: Batch) -> Batch:
        """Add a batch, with the next free id."""

    async def batch(self, batch_id: int) -> Batch | None:
        """Return a batch, held against other writers until the end."""

    async def update_batch(self, batch: Batch) -> None:
        """Write a batch as it became."""

    async def insert_job(self, job: Job) -> Job:
        """Add a job, with the next free id."""

    # -- bulk changes: what an operation reads and writes, and what can be taken back ------

    async def read(self, reads: Reads, *, holds: bool = True) -> Found:
        """Return what operations have to see, held against other writers unless `holds` is off.

        May be called again; it sees what was written since.
        """

    async def write(self, writes: Writes) -> None:
        """Write what was decided on what was read."""

    async def hold_imports(self, loyalty_id: int) -> None:
        """Let no import of a program run beside the rest of this transaction.

        Codes that are deleted raise the program's `first_version`, which an import reads once.
        Ask for it first.
        """

    async def delete_codes(self, codes: Sequence[PromoCode]) -> None:
        """Remove codes that are as they were read. The tally is the caller's to lower."""

    async def count_codes(self, program: LoyaltyProgram, more: int) -> None:
        """Raise the count of a program's codes, or lower it."""

    async def save_changes(self, changes: Sequence[BatchChange]) -> None:
        """Keep what a bulk change did; a code that it changes again has one row all the same."""

    async def delete_changes(self, changes: Sequence[BatchChange]) -> None:
        """Forget changes that have been taken back."""

    async def forget_changes(self, shard_key: int, batch_id: int, most: int) -> int:
        """Remove at most so many changes of a batch in one shard; return how many."""

    async def changes(
        self, batch_id: int, program: LoyaltyProgram, after: WalkKey, most: int
    ) -> list[ListedChange]:
        """Return what a bulk change did and was not taken back, by key, behind `after`."""

    async def made_codes(
        self, batch: Batch, program: LoyaltyProgram, after: WalkKey, most: int
    ) -> list[MadeCode]:
        """Return codes that a batch made, in order of creation in each shard, behind `after`."""

    async def code_history(self, shard_key: int, code_key: str) -> list[Event]:
        """Return what happened to a code, oldest first."""

    async def attached_at(self, attachments: Sequence[AttachmentId]) -> dict[AttachmentId, int]:
        """Return since when profiles hold codes; what is not attached is absent."""


class Store(Protocol):
    """A store, open from `open` to `close`. Every method raises `Busy` when it cannot work now."""

    @property
    def searching(self) -> Searching:
        """Looking for codes."""

    @property
    def staging(self) -> Staging:
        """Bringing codes in by the million."""

    @property
    def jobs(self) -> Jobs:
        """Long work: what waits, runs and is done."""

    @property
    def failure(self) -> str:
        """Why nothing is written any more and the process has to end, "" while all is well."""

    async def open(self) -> None:
        """Connect and check the schema.

        Raises:
            Unusable: it cannot be reached, is not migrated, too new, or no store of ours.
        """

    async def close(self) -> None:
        """Let go of every connection, file and thread."""

    async def migrate(self) -> int:
        """Bring the schema up to date, from nothing if need be; return its version."""

    async def back_up(self, file: Path, *, replace: bool) -> None:
        """Copy everything that is committed by now into a file, while others write.

        The store need not be open, here and in the next two.

        Raises:
            Unusable: it cannot be read, the file not written, or the copy is not right.
        """

    async def restore(self, file: Path, *, replace: bool) -> None:
        """Make an empty or new store what a backup says, whole or not at all.

        Raises:
            Unusable: the store is not empty, or the file is no backup for it.
        """

    async def damage(self) -> list[str]:
        """Return what the database itself finds damaged; reads everything.

        Raises:
            Unusable: it cannot be read.
        """

    async def facts(self) -> StoreFacts:
        """Return what `promint doctor` judges. The store need not be open.

        Raises:
            Unusable: it cannot be looked at; the sentence says what to do.
        """

    async def ping(self) -> None:
        """Ask the database for an answer, for the readiness probe."""

    async def token(self, digest: bytes) -> Token | None:
        """Return the token, revoked or not, whose secret has this SHA-256."""

    async def tokens(self) -> list[Token]:
        """Return every token, by id."""

    async def wrong_codes(self, most: int) -> list[WrongCodes]:
        """Return at most so many counted wrong codes, the latest first."""

    async def program(self, loyalty_id: int) -> LoyaltyProgram | None:
        """Return a program."""

    async def programs(self) -> list[LoyaltyProgram]:
        """Return every program, by id."""

    async def code_counts(self, programs: Sequence[LoyaltyProgram]) -> dict[int, int]:
        """Return how many codes each of these programs holds, by its id."""

    async def database(self, database_id: int) -> Database | None:
        """Return a database."""

    async def databases(self) -> list[Database]:
        """Return every database, by id."""

    async def batch(self, batch_id: int) -> Batch | None:
        """Return a batch."""

    async def batches(
        self, loyalty_id: int | None, *, before_id: int | None = None, most: int = 100
    ) -> list[Batch]:
        """Return batches of one program or of all, the newest first, with ids below `before_id`."""

    async def unforgotten_batch(self, ended_before: int) -> int | None:
        """Return the bulk change that ended longest ago, before a moment, and is not forgotten."""

    async def free_codes(self, program: LoyaltyProgram, now: int, most: int) -> int:
        """Return how many codes of a program are free at `now`, counted up to `most`."""

    async def code(self, shard_key: int, code_key: str) -> PromoCode | None:
        """Return a code."""

    async def code_history(self, shard_key: int, code_key: str) -> list[Event]:
        """Return what happened to a code, oldest first."""

    async def find_profiles(self, identities: Sequence[Identity]) -> list[list[str]]:
        """Return for each identity the ids of the profiles that it leads to, sorted."""

    async def profile(self, holder: Holder) -> Profile | None:
        """Return a profile."""

    async def transact(self, batch: RequestBatch, *, locked: bool) -> None:
        """Read, decide and write a batch, all or nothing; it is committed on return.

        `locked` holds the rows between read and write, where the store has another way.

        Raises:
            Lost, TryAgain, Poisoned, Busy: nothing was written.
            ConnectionLost: nobody knows yet.
        """

    async def import_codes(
        self, job: CodeImport, render: Callable[[CodeImported], Answer]
    ) -> CodeImported | Answer:
        """Add codes in one transaction with their event and the record of the key.

        Returns the recorded answer when the key was used before for the same request.

        Raises:
            IdempotencyMismatch: the key was used for another request.
        """

    async def forget_idempotency(self, now: int, most: int) -> int:
        """Remove at most so many records whose time is over at `now`; return how many."""

    async def forget_wrong_codes(self, before: int) -> None:
        """Remove the counts that nothing was added to since `before`."""

    def export(self, program: LoyaltyProgram) -> AsyncGenerator[Sequence[ExportedCode]]:
        """Yield the program's codes in order of creation, in chunks, as of one moment."""

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Open a transaction."""
