"""What the tables say, read past the service, and whether they agree with each other.

Nothing of the service is used here: the statements, the numbers of the kinds and the order of
what may follow what are written down a second time, so that a mistake would have to be made
twice to stay unseen.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

import apsw
import asyncpg

from tests.races.requests import ACTIVATE, ATTACH, DETACH, IMPORT, UPDATE, Answer, Request

SHARDS = 4096
SQLITE = "sqlite:///"


class Broken(AssertionError):
    """A promise of the service does not hold."""


class Kind(IntEnum):
    CREATED = 2
    ATTACHED = 3
    ACTIVATED = 4
    UPDATED = 5
    DETACHED = 6
    RELEASED = 10


EFFECT = {
    ATTACH: Kind.ATTACHED,
    ACTIVATE: Kind.ACTIVATED,
    UPDATE: Kind.UPDATED,
    DETACH: Kind.DETACHED,
}

CodeId = tuple[int, str]
Holder = tuple[int, str]


class Code(NamedTuple):
    shard_key: int
    code_key: str
    code: str
    seq: int
    attach_count: int
    activation_count: int
    activated_at: int | None
    expires_at: int | None
    database_id: int | None
    profile_id: str | None
    version: int


class Event(NamedTuple):
    shard_key: int
    code_key: str
    version: int
    kind: int
    request_id: str
    database_id: int
    profile_id: str
    attach_count: int
    activation_count: int
    activated_at: int | None
    expires_at: int | None


_CODES = f"SELECT {', '.join(Code._fields)} FROM promo_code WHERE shard_key BETWEEN $1 AND $2"
_EVENTS = f"""
SELECT {", ".join(Event._fields)} FROM event
WHERE shard_key BETWEEN $1 AND $2 AND code_key IS NOT NULL
ORDER BY shard_key, code_key, version"""
_ATTACHMENTS = """
SELECT shard_key, code_key, database_id, profile_id FROM attachment
WHERE shard_key BETWEEN $1 AND $2"""
_TALLIES = """
SELECT shard_key, count, next_seq FROM tally
WHERE shard_key BETWEEN $1 AND $2 AND kind = 'codes'"""
_UNIVERSAL = "SELECT id FROM loyalty_program WHERE multiple_usage = 1 AND id BETWEEN $1 AND $2"
_KEYS = "SELECT key FROM idempotency"
_PROFILES = "SELECT profile_id FROM profile WHERE database_id = $1"
_IDENTITIES = "SELECT value, profile_id FROM profile_identity WHERE database_id = $1"


def rows(url: str, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
    """Ask the database itself."""
    if url.startswith(SQLITE):
        path, flags = url.removeprefix(SQLITE), apsw.SQLITE_OPEN_READONLY
        with closing(apsw.Connection(path, flags=flags)) as connection:
            connection.set_busy_timeout(5_000)
            return list(connection.execute(statement, parameters))

    async def fetch() -> list[tuple[Any, ...]]:
        connection = await asyncpg.connect(url)
        try:
            return [tuple(row) for row in await connection.fetch(statement, *parameters)]
        finally:
            await connection.close()

    return asyncio.run(fetch())


def profiles(url: str, database: int) -> set[str]:
    return {profile_id for (profile_id,) in rows(url, _PROFILES, database)}


def identities(url: str, database: int) -> list[tuple[str, str]]:
    return [(value, profile_id) for value, profile_id in rows(url, _IDENTITIES, database)]


def used_keys(url: str) -> set[str]:
    """Return the idempotency keys that the store remembers."""
    return {key for (key,) in rows(url, _KEYS)}


def demand(holds: bool, *what: object) -> None:
    """Raise `Broken` unless a promise holds."""
    if not holds:
        raise Broken(" ".join(str(part) for part in what))


@dataclass
class Ledger:
    """The codes of some programs, who holds them, and everything that happened to them."""

    codes: dict[CodeId, Code]
    holders: dict[CodeId, set[Holder]]
    history: dict[CodeId, list[Event]]
    totals: dict[int, tuple[int, int]]
    universal: set[int]
    by_request: dict[str, list[Event]]
    by_code: dict[tuple[int, str], list[Event]]
    names: set[tuple[int, str]]

    @classmethod
    def read(cls, url: str, *programs: int) -> "Ledger":
        """Read what the programs from the first to the last id hold."""
        shards = min(programs) * SHARDS, (max(programs) + 1) * SHARDS - 1
        codes = {row[:2]: Code._make(row) for row in rows(url, _CODES, *shards)}
        holders: dict[CodeId, set[Holder]] = defaultdict(set)
        for shard_key, code_key, database_id, profile_id in rows(url, _ATTACHMENTS, *shards):
            holders[shard_key, code_key].add((database_id, profile_id))
        history: dict[CodeId, list[Event]] = defaultdict(list)
        for row in rows(url, _EVENTS, *shards):
            history[row[0], row[1]].append(Event._make(row))
        totals = {
            shard_key // SHARDS: (count, next_seq)
            for shard_key, count, next_seq in rows(url, _TALLIES, *shards)
        }
        universal = {number for (number,) in rows(url, _UNIVERSAL, min(programs), max(programs))}
        by_request: dict[str, list[Event]] = defaultdict(list)
        by_code: dict[tuple[int, str], list[Event]] = {}
        for (shard_key, code_key), events in history.items():
            by_code[shard_key // SHARDS, code_key] = events
            for event in events:
                by_request[event.request_id].append(event)
        names = {(shard_key // SHARDS, code_key) for shard_key, code_key in codes}
        return cls(codes, holders, history, totals, universal, by_request, by_code, names)

    def check(self) -> None:
        """Hold rows, attachments, events and tallies to each other.

        Raises:
            Broken: they differ, or something happened that may not follow what was before.
        """
        demand(self.holders.keys() <= self.codes.keys(), "an attachment without its code")
        demand(self.history.keys() <= self.codes.keys(), "an event without its code")
        for code_id, code in self.codes.items():
            self._check_code(code, self.history.get(code_id, []), self.holders.get(code_id, set()))
        self._check_totals()

    def _check_code(self, code: Code, events: list[Event], holders: set[Holder]) -> None:
        life = Life(code, is_personal=code.shard_key // SHARDS not in self.universal)
        for event in events:
            life.follow(event)
        demand(life.version == code.version, code, "and its last event differ in version")
        demand(life.holders == holders, code, "has other attachments than its events say", holders)
        demand(len(holders) == code.attach_count, code, "has attachments", holders)
        demand(life.uses == code.activation_count, code, "was activated", life.uses, "times")
        demand(
            (code.database_id, code.profile_id) == (life.latest or (None, None)),
            *(code, "was attached last to", life.latest),
        )
        if events:
            last = events[-1]
            demand(
                (last.activated_at, last.expires_at) == (code.activated_at, code.expires_at),
                *(code, "and its last event differ in a date", last),
            )

    def _check_totals(self) -> None:
        sequences: dict[int, list[int]] = defaultdict(list)
        for code in self.codes.values():
            sequences[code.shard_key // SHARDS].append(code.seq)
        for program, (count, next_seq) in self.totals.items():
            seqs = sequences.get(program, [])
            demand(len(seqs) == count, f"program {program} counts {count}, holds {len(seqs)}")
            demand(len(set(seqs)) == count, f"program {program} has a sequence number twice")
            demand(max(seqs, default=0) < next_seq, f"program {program} will number one twice")

    # -- answers -----------------------------------------------------------------------------

    def check_answers(self, answers: Iterable[Answer]) -> None:
        """Hold answers without a key to the events: a success has one, anything else none."""
        for answer in answers:
            self.check_effect(answer.request, answer, {answer.request.id})

    def check_effect(self, request: Request, answer: Answer | None, ids: set[str]) -> None:
        """Hold the last answer, if any, to the events of a request sent under these ids.

        Raises:
            Broken: a success without its one effect, an effect without success, or two of them.
        """
        if request.name == IMPORT:
            self._check_import(request, answer)
            return
        if request.name not in EFFECT:
            return
        events = [event for request_id in ids for event in self.by_request.get(request_id, [])]
        effects = [event for event in events if event.kind == EFFECT[request.name]]
        is_open = answer is None or answer.reason == "outcome_unknown" or self._may_idle(request)
        whole = (0, 1) if is_open else (1,)
        if answer is not None and answer.reason and answer.reason != "outcome_unknown":
            demand(not events, request, "was told", answer.reason, "and had the effect", events)
            return
        demand(len(effects) in whole, request, "was told", answer, "and had the effects", effects)
        if not effects:
            demand(not events, request, "had half of its effect", events)
            return
        (effect,) = effects
        if "code" in request.fields:
            demand(effect.code_key == request.fields["code"].casefold(), request, "hit", effect)
        if "profile_id" in request.fields:
            demand(effect.profile_id == request.fields["profile_id"], request, "hit", effect)
        if answer is not None and request.name == ATTACH:
            demand(effect.code_key == answer.code.casefold(), answer, "names another than", effect)

    def has_happened(self, request: Request, ids: set[str]) -> bool:
        """Say whether a request, sent under these ids, has left anything behind."""
        if request.name == IMPORT:
            return self._stored(request) > 0
        return any(self.by_request.get(request_id) for request_id in ids)

    def _stored(self, request: Request) -> int:
        program = request.fields["loyalty_id"]
        return sum((program, code.casefold()) in self.names for code in request.fields["codes"])

    def _check_import(self, request: Request, answer: Answer | None) -> None:
        """An import is there whole or not at all, as it was told."""
        stored = self._stored(request)
        demand(stored in (0, len(request.fields["codes"])), request, "stored only", stored)
        if answer is None or answer.reason == "outcome_unknown":
            return
        inserted = answer.json["inserted"] if answer.is_success else 0
        demand(stored == inserted, request, "was told", answer, "and stored", stored)

    def _may_idle(self, request: Request) -> bool:
        """Say whether a request succeeds without a change where things are already so."""
        if request.name == UPDATE:
            return "activated" in request.fields
        is_named = request.name == ATTACH and {"code", "profile_id"} <= request.fields.keys()
        if not is_named or request.fields["loyalty_id"] not in self.universal:
            return False
        code_key, profile = request.fields["code"].casefold(), request.fields["profile_id"]
        return any(
            event.kind == Kind.ATTACHED and event.profile_id == profile
            for event in self.events_of(request.fields["loyalty_id"], code_key)
        )

    def check_reason(self, answer: Answer, ids: set[str]) -> None:
        """Hold a refusal to what others did: nobody is refused for what only it did itself."""
        if answer.reason not in ("already_activated", "already_attached"):
            return
        fields = answer.request.fields
        events = self.events_of(fields["loyalty_id"], fields["code"].casefold())
        others = [event for event in events if event.request_id not in ids]
        if answer.reason == "already_activated":
            because = any(event.activation_count for event in others)
        else:
            because = any(event.kind == Kind.ATTACHED for event in others)
        demand(because, answer.request, "was wrongly told", answer.reason)

    def events_of(self, program: int, code_key: str) -> list[Event]:
        """Return what happened to a code, wherever its shard is."""
        return self.by_code.get((program, code_key), [])


class Life:
    """One code from event to event."""

    def __init__(self, code: Code, *, is_personal: bool) -> None:
        self._code = code
        self._is_personal = is_personal
        self.version = 1
        self.uses = 0
        self.holders: set[Holder] = set()
        self.latest: Holder | None = None

    def follow(self, event: Event) -> None:
        """Take the next event.

        Raises:
            Broken: it may not happen to a code as this one is.
        """
        holder = (event.database_id, event.profile_id)
        if event.kind == Kind.CREATED:
            demand(event.version == self.version == 1, "created late", event)
            return
        self.version += 1
        demand(event.version == self.version, "a version is missing before", event)

        if event.kind == Kind.ATTACHED:
            demand(holder not in self.holders, "attached twice", event)
            demand(not (self._is_personal and self.holders), "a second holder", event)
            self.holders.add(holder)
            self.latest = holder
        elif event.kind == Kind.DETACHED:
            demand(self.holders == {holder}, "detached from who does not hold it", event)
            demand(self.uses == 0, "detached though used", event)
            self.holders.clear()
            self.latest = None
        elif event.kind == Kind.RELEASED:
            demand(self._is_personal and self.holders == {holder}, "released from no one", event)
            demand(self.uses == 0, "released though used", event)
            self.holders.clear()
            self.latest = None
        elif event.kind == Kind.ACTIVATED:
            demand(self.latest == holder, "activated by who does not hold it", event)
            self.uses += 1
        else:
            demand(event.kind == Kind.UPDATED, "nothing that happens here", event)
            demand(abs(event.activation_count - self.uses) <= 1, "several uses at once", event)
            self.uses = event.activation_count
        demand(event.attach_count == len(self.holders), "counts other holders", event)
        demand(event.activation_count == self.uses, "counts other uses", event)
