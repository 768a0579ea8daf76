"""The nouns: frozen values that every room passes around.

Moments are UTC microseconds since 1970 as whole numbers, in the rules as in both stores:
a datetime costs a microsecond each way and the hot path has eight of them
(docs/decisions/0003-moments-are-integers.md).
"""

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any, NamedTuple

ID_MAX = 2_147_483_647
"""The largest `loyalty_id` and `db_id`."""

MOMENT_MIN = -62_135_596_800_000_000
"""0001-01-01T00:00:00Z: no earlier moment can be written."""

MOMENT_MAX = 253_402_300_799_999_999
"""The last microsecond of 9999-12-31."""

BUCKETS_MAX = 4096
"""A shard key is `loyalty_id * BUCKETS_MAX + bucket`."""


class CodeMatching(StrEnum):
    """How a program compares codes; fixed when the program is made."""

    FORGIVING = "forgiving"
    EXACT = "exact"


class Scope(StrEnum):
    """What a token may do."""

    CODES_READ = "codes:read"
    CODES_ISSUE = "codes:issue"
    CODES_REDEEM = "codes:redeem"
    CODES_MANAGE = "codes:manage"
    PROFILES = "profiles"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Token:
    """An API token as the store knows it: never the secret, only what it opens.

    `programs` and `databases` narrow it; None means all of them. `rotated_at` is when its secret
    was last replaced by another.
    """

    id: int
    name: str
    scopes: frozenset[Scope]
    programs: frozenset[int] | None = None
    databases: frozenset[int] | None = None
    created_at: int = 0
    revoked_at: int | None = None
    rotated_at: int | None = None

    def allows(self, scope: Scope) -> bool:
        """Say whether the token has this scope, by itself or by `admin`."""
        return scope in self.scopes or Scope.ADMIN in self.scopes

    def opens_program(self, loyalty_id: int) -> bool:
        """Say whether the program is within the token's rights."""
        return self.programs is None or loyalty_id in self.programs

    def opens_database(self, database_id: int) -> bool:
        """Say whether the database is within the token's rights."""
        return self.databases is None or database_id in self.databases


@dataclass(frozen=True, slots=True)
class LoyaltyProgram:
    """Promo codes under one set of rules. A limit of None is no limit.

    `first_version` is what a new code's version begins with: above that of every code that was
    deleted, so that the events of a code that comes back never meet those of its earlier life.
    """

    id: int
    name: str
    short_name: str = ""
    description: str = ""
    access_group: str = ""
    active: bool = True
    issue_from: int | None = None
    issue_until: int | None = None
    multiple_usage: bool = False
    code_limit: int | None = None
    profile_limit: int | None = None
    attach_limit: int | None = None
    activation_limit: int | None = None
    creates_on_attach: bool = True
    template: str = ""
    lifetime_s: int | None = None
    default_expire_date: int | None = None
    code_matching: CodeMatching = CodeMatching.FORGIVING
    low_stock: int | None = None
    time_zone: str = "UTC"
    fields: tuple[str, ...] = ()
    buckets: int = 1
    archived: bool = False
    first_version: int = 1
    created_at: int = 0
    version: int = 1

    @property
    def uses_per_code(self) -> int | None:
        """How often one code may be activated; None is as often as one likes."""
        if self.activation_limit is not None:
            return self.activation_limit
        return None if self.multiple_usage else 1

    @property
    def first_shard(self) -> int:
        """The shard key of the program's bucket 0; its tallies of the whole stand there."""
        return self.id * BUCKETS_MAX

    @property
    def last_shard(self) -> int:
        """The shard key of the program's last bucket."""
        return self.first_shard + self.buckets - 1


class ExpirySource(IntEnum):
    """Who set a code's expiry, so that detaching removes only what attaching had set."""

    GIVEN = 0
    DEFAULT = 1
    LIFETIME = 2
    LIFETIME_OVER_DEFAULT = 3


class PromoCode(NamedTuple):
    """A promo code and its life so far. A row of `promo_code`, column by column.

    A named tuple and not a dataclass: it is built from a row, replaced and written back for
    each request, which costs a dataclass 5 µs and this 2. `fields` are the additional data as
    the text of a JSON object, None where there are none.
    """

    shard_key: int
    code_key: str
    code: str
    seq: int
    created_at: int
    expires_at: int | None = None
    expiry_source: int = ExpirySource.GIVEN
    attached_at: int | None = None
    activated_at: int | None = None
    attach_count: int = 0
    activation_count: int = 0
    database_id: int | None = None
    profile_id: str | None = None
    batch_id: int | None = None
    version: int = 1
    fields: str | None = None

    @property
    def loyalty_id(self) -> int:
        """The program that holds the code."""
        return self.shard_key // BUCKETS_MAX

    def is_expired(self, now: int) -> bool:
        """Say whether the code can be neither attached nor activated any more."""
        return self.expires_at is not None and now >= self.expires_at

    def is_free(self, now: int) -> bool:
        """Say whether the code is not attached, not activated and not expired."""
        return self.attached_at is None and self.activated_at is None and not self.is_expired(now)

    def state(self, now: int) -> "CodeState":
        """Return the one state in which the code is."""
        if self.activated_at is not None:
            return CodeState.ACTIVATED
        if self.is_expired(now):
            return CodeState.EXPIRED
        return CodeState.FREE if self.attached_at is None else CodeState.ATTACHED


class Holder(NamedTuple):
    """A profile by its id: what a code is attached to."""

    database_id: int
    profile_id: str


class IdentityKind(IntEnum):
    """What an identity is. E-mail and phone belong to one profile of a database each."""

    EMAIL = 1
    PHONE = 2
    CUSTOM = 3


class Identity(NamedTuple):
    """One value by which a profile can be found, in its compared form.

    `field_name` is the custom field's name and empty for e-mail and phone.
    """

    database_id: int
    kind: int
    field_name: str
    value: str


@dataclass(frozen=True, slots=True)
class ProfileKey:
    """How a request names a profile: by its id, or by identities that must all lead to it."""

    database_id: int
    profile_id: str | None = None
    identities: tuple[Identity, ...] = ()

    def __post_init__(self) -> None:
        """Hold it to exactly one way of naming."""
        assert (self.profile_id is None) == bool(self.identities)


@dataclass(frozen=True, slots=True)
class Profile:
    """A customer. `data` is what the integrator stored: e-mail, phones, custom fields."""

    database_id: int
    id: str
    data: dict[str, Any]
    created_at: int
    updated_at: int
    version: int = 1


@dataclass(frozen=True, slots=True)
class Database:
    """A set of profiles with ids of its own."""

    id: int
    name: str
    description: str = ""
    ui_tags: tuple[str, ...] = ()
    groups: tuple[tuple[int, str], ...] = field(default=((0, "main"),))
    suppress_id: int = 0
    creates_profiles: bool = False
    created_at: int = 0


class BatchKind(StrEnum):
    """What a batch did: made codes, or changed many at once."""

    IMPORT = "import"
    GENERATE = "generate"
    ATTACH = "attach"
    EXPIRE = "expire"
    DETACH = "detach"
    DEACTIVATE = "deactivate"
    DELETE = "delete"


class BatchState(StrEnum):
    """How far a batch is. What is `running` or `stopped` can be resumed."""

    RUNNING = "running"
    STOPPED = "stopped"
    DONE = "done"
    FAILED = "failed"
    UNDOING = "undoing"
    UNDONE = "undone"


@dataclass(frozen=True, slots=True)
class Batch:
    """The codes that one import, generation or bulk change touched, and what became of them.

    `total` rows or codes were looked at: `inserted` are new codes, `duplicated` were there
    already, `discarded` found no room under `code_limit`, `rejected` could not be used,
    `changed` were changed. Once it is taken back, `undone` were, and `touched` were not because
    something else had happened to them since. The codes that a batch made have its id and a
    creation sequence from `first_seq` to `last_seq`; others may lie between. `position` is where
    a bulk change goes on after an interruption. At `forgotten_at` began to go what it would take
    to take it back.
    """

    id: int
    loyalty_id: int
    kind: BatchKind
    state: BatchState = BatchState.RUNNING
    source: str = ""
    author: str = ""
    token_id: int = 0
    created_at: int = 0
    finished_at: int | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    total: int = 0
    inserted: int = 0
    duplicated: int = 0
    discarded: int = 0
    rejected: int = 0
    changed: int = 0
    undone: int = 0
    touched: int = 0
    first_seq: int | None = None
    last_seq: int | None = None
    position: str = ""
    forgotten_at: int | None = None


class CodeState(StrEnum):
    """The one state in which a code is, the first that holds of: activated, expired, attached."""

    ACTIVATED = "activated"
    EXPIRED = "expired"
    ATTACHED = "attached"
    FREE = "free"


class JobState(StrEnum):
    """How far a job is. `waiting`: it has not begun, or its program is busy with another."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Job:
    """Long work that the service does. `done` of `total` are rows, or codes, as `phase` says.

    `total` is None while nobody knows. `result` is what the work returned, `error` the sentence
    that ended it. A worker whose `heartbeat_at` stands still is given up, and another one resumes.
    `attempts` is how often the job was begun. The phase began at `phase_at` with `phase_from` of
    `total` done, which is what a rate is counted from.
    """

    id: int
    kind: str
    loyalty_id: int
    state: JobState = JobState.WAITING
    parameters: dict[str, Any] = field(default_factory=dict)
    batch_id: int | None = None
    done: int = 0
    total: int | None = None
    phase: str = ""
    result: dict[str, Any] | None = None
    error: str | None = None
    author: str = ""
    token_id: int = 0
    worker: str | None = None
    cancel_requested: bool = False
    created_at: int = 0
    started_at: int | None = None
    heartbeat_at: int | None = None
    finished_at: int | None = None
    attempts: int = 0
    phase_at: int | None = None
    phase_from: int = 0


class EventKind(IntEnum):
    """What happened. Stored as a number; never renumbered."""

    IMPORTED = 1
    CREATED = 2
    ATTACHED = 3
    ACTIVATED = 4
    UPDATED = 5
    DETACHED = 6
    PROFILE_CREATED = 7
    PROFILE_UPDATED = 8
    PROFILE_DELETED = 9
    RELEASED = 10
    PROGRAM_CREATED = 11
    PROGRAM_UPDATED = 12
    DATABASE_CREATED = 13
    TOKEN_CREATED = 14
    TOKEN_REVOKED = 15
    GENERATED = 16
    DELETED = 17
    RESTORED = 18
    BATCH_UNDONE = 19
    LOW_STOCK = 20
    STOCK_RECOVERED = 21
    DATABASE_UPDATED = 22
    GUESSING_STOPPED = 23
    TOKEN_ROTATED = 24


class Event(NamedTuple):
    """One change, written in its own transaction and never altered. A row of `event`.

    The counts and dates are the code's as they became, so that the ledger can be replayed and
    the date of an earlier use found again. `token_id` 0 is a command of the operator.
    """

    shard_key: int
    event_id: bytes
    kind: int
    at: int
    token_id: int
    request_id: str
    code_key: str | None = None
    version: int | None = None
    database_id: int | None = None
    profile_id: str | None = None
    attach_count: int | None = None
    activation_count: int | None = None
    activated_at: int | None = None
    expires_at: int | None = None
    details: str | None = None
