"""One code from event to event: what may follow what, and what the code must be in the end.

Written from the description of the rules (docs/explanation, docs/reference), not from their code.
A code that was imported or generated has no event of its own before something happens to it; what
it was by then is unknown as far as its batch does not tell.
"""

from array import array
from collections.abc import Callable
from typing import Any, NamedTuple

from promint.ledger.accounts import ProgramAccount, details_of
from promint.ledger.kinds import (
    DEFAULT,
    GIVEN,
    LIFETIME,
    LIFETIME_OVER_DEFAULT,
    UNKNOWN,
    Kind,
    Known,
    Unknown,
)

SECOND_US = 1_000_000
MOMENT_MAX = 253_402_300_799_999_999

ONLY = tuple(1 << source for source in range(4))
"""The sets of one source each; a set of sources is a number with a bit for each."""

NOT_BY_ATTACHING = ONLY[GIVEN] | ONLY[DEFAULT]
ANY_SOURCE = 0b1111

Holder = tuple[int, str]


class State(NamedTuple):
    """What a code was at one version."""

    begun: int
    made_by: int | Unknown | None
    born_at: Known
    code: str | None
    seq: int | None
    attach_count: int
    latest: Holder | None
    attached_at: Known
    activation_count: int
    activated_at: int | None
    expires_at: Known
    sources: int

    def has_source(self, source: int) -> bool:
        """Say whether its expiry may have been set by this source."""
        return source in range(4) and bool(self.sources & ONLY[source])


class Life:
    """A code, through all its lives: deleted ones may come back."""

    __slots__ = (
        "_kept",
        "_program",
        "_say",
        "attached_at",
        "begun",
        "born_at",
        "code",
        "created_by",
        "expires_at",
        "has_own_event",
        "holders",
        "is_alive",
        "latest",
        "made_by",
        "seq",
        "sources",
        "uses",
        "version",
    )

    def __init__(self, program: ProgramAccount, say: Callable[[str], None]) -> None:
        """Begin before everything; `say` is told what cannot be."""
        self._program = program
        self._say = say
        self._kept: dict[int, State] = {}
        self.version = 0
        self.is_alive = False
        self._begin(0, None)

    def _begin(self, version: int, made_by: int | Unknown | None) -> None:
        self.is_alive = version > 0
        self.begun = version
        self.made_by = made_by
        self.has_own_event = False
        self.created_by: int | None = None
        self.born_at: Known = UNKNOWN
        self.code: str | None = None
        self.seq: int | None = None
        self.holders: dict[Holder, Known] = {}
        self.latest: Holder | None = None
        self.attached_at: Known = None
        self.uses = array("q")
        self.expires_at: Known = UNKNOWN
        self.sources = NOT_BY_ATTACHING

    # -- what is known of it ---------------------------------------------------------------

    @property
    def activated_at(self) -> int | None:
        """When it was used last."""
        return self.uses[-1] if self.uses else None

    def before(self, version: int) -> State | None:
        """Return what it was at a version that a batch changed."""
        return self._kept.get(version)

    def state(self) -> State:
        """Return what it is now."""
        return State(
            self.begun,
            self.made_by,
            self.born_at,
            self.code,
            self.seq,
            len(self.holders),
            self.latest,
            self.attached_at,
            len(self.uses),
            self.activated_at,
            self.expires_at,
            self.sources,
        )

    # -- one event -------------------------------------------------------------------------

    def follow(self, event: tuple[Any, ...]) -> dict[str, Any]:
        """Take the next event; return its details."""
        version, kind, at = event[2:5]
        profile_id = event[9]
        holder = None if profile_id is None else (event[8], profile_id)
        details = details_of(event[14])
        if details is None:
            self._say(f"event {version} has details that are no JSON object")
            details = {}
        expires_at = event[13]
        begins = kind in (Kind.CREATED, Kind.IMPORTED, Kind.GENERATED) or (
            kind == Kind.RESTORED and not self.is_alive
        )
        self._count_version(version, begins=begins)
        if "batch_id" in details and self.is_alive and not begins:
            self._kept[self.version] = self.state()
        self.version = version

        if kind == Kind.ACTIVATED:
            self._activated(at, holder)
            self._same_expiry(expires_at)
        elif kind == Kind.ATTACHED:
            self._attached(at, holder, expires_at, details)
        elif kind == Kind.UPDATED:
            self._updated(at, event, details)
        elif kind in (Kind.DETACHED, Kind.RELEASED):
            self._let_go(Kind(kind), holder, expires_at, at)
        elif kind == Kind.RESTORED:
            self._restored(holder, expires_at, at, details)
        elif kind == Kind.DELETED:
            self._deleted(details)
        elif kind == Kind.CREATED:
            self._created(version, at, expires_at, details)
        elif kind in (Kind.IMPORTED, Kind.GENERATED):
            self._came_held(version, at, event, details)
        else:
            self._say(f"event {version} is of kind {kind}, which no code has")
        self._compare(event, holder)
        return details

    def _count_version(self, version: int, *, begins: bool) -> None:
        if begins:
            if self.is_alive:
                self._say(f"event {version} begins a code that is there")
            elif version <= self.version:
                self._say(f"event {version} begins below the code's earlier life")
        elif not self.is_alive:
            if version - 1 <= self.version:
                self._say(f"event {version} happens to a code that is not there")
            self._begin(max(1, version - 1), UNKNOWN)
            self.version = version - 1
        elif version != self.version + 1:
            missing = f"{self.version + 1}" + (
                f" to {version - 1}" if version > self.version + 2 else ""
            )
            self._say(f"event {missing} is missing")

    def _compare(self, event: tuple[Any, ...], holder: Holder | None) -> None:
        """Hold what the event says of the code to what came out."""
        version, kind = event[2:4]
        attach_count, activation_count, activated_at = event[10:13]
        if attach_count != len(self.holders):
            self._say(f"event {version} says attach_count {attach_count}, not {len(self.holders)}")
        if activation_count != len(self.uses) and kind != Kind.DELETED:
            self._say(
                f"event {version} says activation_count {activation_count}, not {len(self.uses)}"
            )
        if activated_at != self.activated_at and kind != Kind.DELETED:
            self._say(f"event {version} says activated_at {activated_at}, not {self.activated_at}")
        if kind in (Kind.CREATED, Kind.UPDATED) and holder != self.latest:
            self._say(f"event {version} names {_named(holder)}, not {_named(self.latest)}")

    # -- attaching and letting go ----------------------------------------------------------

    def _attached(
        self, at: int, holder: Holder | None, expires_at: int | None, details: dict[str, Any]
    ) -> None:
        program = self._program
        if holder is None:
            self._say(f"event {self.version} attaches to nobody")
            return
        if holder in self.holders:
            self._say(f"event {self.version} attaches to {_named(holder)}, who holds it")
        if self.holders and not program.is_universal:
            self._say(f"event {self.version} attaches a personal code that is held")
        if isinstance(self.expires_at, int) and at >= self.expires_at:
            self._say(f"event {self.version} attaches a code that is expired")
        self.holders[holder] = at
        if not program.timeline.allows("attach_limit", len(self.holders), at):
            self._say(f"event {self.version} attaches over attach_limit")
        self.latest = holder
        self.attached_at = at
        self._expiry_once_attached(at, expires_at, details.get("expiry_source"))

    def _expiry_once_attached(self, at: int, expires_at: int | None, source: int | None) -> None:
        before = self.expires_at
        if source is None:
            if before is UNKNOWN:
                if not self._program.is_told and expires_at is not None:
                    self.sources |= ONLY[LIFETIME] | ONLY[LIFETIME_OVER_DEFAULT]
            elif expires_at != before:
                if self._program.is_told:
                    self._say(f"event {self.version} moves the expiry without a reason")
                self.sources = ONLY[LIFETIME if before is None else LIFETIME_OVER_DEFAULT]
        elif source in (LIFETIME, LIFETIME_OVER_DEFAULT) and expires_at is not None:
            self._check_lifetime(at, expires_at)
            had_none = before is None or before is UNKNOWN
            had_later = before is UNKNOWN or (isinstance(before, int) and before > expires_at)
            if not (had_none if source == LIFETIME else had_later):
                self._say(f"event {self.version} sets an expiry over another")
            self.sources = ONLY[source]
        else:
            self._say(f"event {self.version} says expiry_source {source}")
        self.expires_at = expires_at

    def _check_lifetime(self, at: int, expires_at: int) -> None:
        lifetimes = self._program.timeline.possible("lifetime_s", at)
        if lifetimes is not None and expires_at not in {
            min(at + seconds * SECOND_US, MOMENT_MAX) for seconds in lifetimes if seconds
        }:
            self._say(f"event {self.version} sets an expiry that is no lifetime's end")

    def _let_go(self, kind: Kind, holder: Holder | None, expires_at: int | None, at: int) -> None:
        what = kind.name.lower()
        if holder is None or holder not in self.holders:
            self._say(f"event {self.version} says {what}: {_named(holder)}, who does not hold it")
        else:
            del self.holders[holder]
        if self.uses and kind != Kind.RESTORED:
            self._say(f"event {self.version} says {what}: a code that was used")
        if kind == Kind.DETACHED and self.holders:
            self._say(f"event {self.version} says detached: a code that others hold too")
        if self.holders:
            self._find_latest()
            self._same_expiry(expires_at)
            return
        if self.uses:
            self._say(f"event {self.version} leaves a code that was used without a holder")
        self.latest = self.attached_at = None
        self._expiry_once_free(expires_at, at)

    def _find_latest(self) -> None:
        """The one that was attached last; of several the first by database and profile."""

        def order(held: tuple[Holder, Known]) -> tuple[int, int, str]:
            (database_id, profile_id), at = held
            return -(at if isinstance(at, int) else 0), database_id, profile_id

        self.latest, self.attached_at = min(self.holders.items(), key=order)

    def _expiry_once_free(self, expires_at: int | None, at: int) -> None:
        if not self.sources & ~NOT_BY_ATTACHING:
            self._same_expiry(expires_at)
            return
        if self.sources == ONLY[LIFETIME]:
            if expires_at is not None:
                self._say(f"event {self.version} leaves the end of a lifetime as expiry")
            self.sources = ONLY[GIVEN]
        elif self.sources == ONLY[LIFETIME_OVER_DEFAULT]:
            defaults = self._program.timeline.possible("default_expire_date", at)
            if defaults is not None and expires_at not in defaults:
                self._say(f"event {self.version} gives another expiry than the default")
            self.sources = ONLY[DEFAULT]
        else:
            self.sources = NOT_BY_ATTACHING
        self.expires_at = expires_at

    # -- uses and dates --------------------------------------------------------------------

    def _activated(self, at: int, holder: Holder | None) -> None:
        if not self.holders:
            self._say(f"event {self.version} activates a code that nobody holds")
        if holder != self.latest:
            self._say(f"event {self.version} activates for {_named(holder)}, who is not its holder")
        if isinstance(self.expires_at, int) and at >= self.expires_at:
            self._say(f"event {self.version} activates a code that is expired")
        self._use(at)

    def _use(self, at: int) -> None:
        self.uses.append(at)
        one = None if self._program.is_universal else 1
        if not self._program.timeline.allows("activation_limit", len(self.uses), at, one):
            self._say(f"event {self.version} activates over activation_limit")

    def _updated(self, at: int, event: tuple[Any, ...], details: dict[str, Any]) -> None:
        expires_at = event[13]
        before = details.get("before")
        if not isinstance(before, dict):
            before = {}
        if before.get("activated", UNKNOWN) != self.activated_at:
            self._say(f"event {self.version} says it was activated {before.get('activated')}")
        if self.expires_at is UNKNOWN:
            self.expires_at = before.get("expire_date", UNKNOWN)
        elif before.get("expire_date", UNKNOWN) != self.expires_at:
            self._say(f"event {self.version} says its expiry was {before.get('expire_date')}")

        more = event[11] - len(self.uses) if event[11] is not None else 0
        if more == 1 and not self.uses:
            if not self.holders:
                self._say(f"event {self.version} activates a code that nobody holds")
            ends = self.expires_at
            if (
                isinstance(ends, int)
                and at >= ends
                and (expires_at is not None and at >= expires_at)
            ):
                self._say(f"event {self.version} activates a code that is expired")
            self._use(at)
        elif more == -1 and self.uses:
            self.uses.pop()
        elif more:
            self._say(f"event {self.version} changes the uses by {more}")

        is_moved = expires_at != self.expires_at
        source = details.get("expiry_source")
        if source is None:
            if self._program.is_told:
                self._say(f"event {self.version} does not say who set the expiry")
            self.sources = ONLY[GIVEN] if is_moved or not more else self.sources | ONLY[GIVEN]
        elif source == GIVEN:
            self.sources = ONLY[GIVEN]
        elif is_moved or source not in range(4) or not self.sources & ONLY[source]:
            self._say(f"event {self.version} says expiry_source {source}")
        else:
            self.sources = ONLY[source]
        self.expires_at = expires_at

    def _same_expiry(self, expires_at: int | None) -> None:
        if self.expires_at is UNKNOWN:
            self.expires_at = expires_at
        elif expires_at != self.expires_at:
            self._say(f"event {self.version} says expires_at {expires_at}, not {self.expires_at}")

    # -- where it comes from and goes ------------------------------------------------------

    def _created(
        self, version: int, at: int, expires_at: int | None, details: dict[str, Any]
    ) -> None:
        self._begin(version, None)
        self.has_own_event = True
        self.born_at = at
        self.created_by = details.get("batch_id")
        self.code = details.get("code")
        self.seq = details.get("seq")
        if self._program.is_told and (self.code is None or self.seq is None):
            self._say(f"event {version} does not say which code was created")
        self.expires_at = expires_at
        self.sources = ONLY[GIVEN if expires_at is None else DEFAULT]
        defaults = self._program.timeline.possible("default_expire_date", at)
        if defaults is not None and expires_at not in defaults:
            self._say(f"event {version} gives another expiry than the default")

    def _came_held(
        self, version: int, at: int, event: tuple[Any, ...], details: dict[str, Any]
    ) -> None:
        self._begin(version, details.get("batch_id", UNKNOWN))
        self.has_own_event = True
        self.born_at = at
        self.code = details.get("code")
        self.seq = details.get("seq")
        if self._program.is_told and "attached" not in details:
            self._say(f"event {version} does not say since when it is held")
        if event[9] is None:
            self._say(f"event {version} brings a code that nobody holds")
        else:
            self.attached_at = details.get("attached", UNKNOWN)
            self.latest = event[8], event[9]
            self.holders[self.latest] = self.attached_at
        if event[12] is not None:
            self.uses.append(event[12])
        self.expires_at = event[13]
        source = details.get("expiry_source")
        if source in (GIVEN, DEFAULT):
            self.sources = ONLY[source]

    def _deleted(self, details: dict[str, Any]) -> None:
        maker = self.created_by if self.made_by is None else self.made_by
        by = details.get("batch_id")
        if self.holders and maker is not UNKNOWN and maker != by:
            self._say(f"event {self.version} deletes a code that is held")
        made_by = details.get("made_by", UNKNOWN)
        if self.made_by is UNKNOWN:
            self.made_by = made_by
            if made_by is UNKNOWN and self._program.is_told:
                self._say(f"event {self.version} does not say which batch had made the code")
        elif made_by is not UNKNOWN and made_by != self.made_by:
            self._say(f"event {self.version} says that batch {made_by} had made the code")
        if self._kept:
            # Until here its maker may have been unknown.
            last = self._kept[max(self._kept)]
            self._kept[max(self._kept)] = last._replace(made_by=self.made_by)
        self.is_alive = False
        self.holders.clear()
        self.latest = self.attached_at = None

    def _restored(
        self, holder: Holder | None, expires_at: int | None, at: int, details: dict[str, Any]
    ) -> None:
        restores = details.get("restores")
        if restores is None:
            if not self.is_alive:
                self._say(f"event {self.version} restores a code that is not there")
                self._begin(self.version, UNKNOWN)
            self._let_go(Kind.RESTORED, holder, expires_at, at)
            return
        before = self._kept.get(restores)
        if before is None:
            self._say(f"event {self.version} restores version {restores}, which no batch changed")
            before = self.state()
        if not self.is_alive:
            self._begin(before.begun, before.made_by)
            self.is_alive = True
            self.born_at, self.code, self.seq = before.born_at, before.code, before.seq
        if before.attach_count != len(self.holders):
            if before.attach_count > 1 or len(self.holders) > 1:
                self._say(f"event {self.version} restores several holders at once")
            self.holders.clear()
            if before.latest is not None:
                self.holders[before.latest] = before.attached_at
        self.latest, self.attached_at = before.latest, before.attached_at
        if before.activation_count == len(self.uses) + 1 and before.activated_at is not None:
            self.uses.append(before.activated_at)
        elif before.activation_count != len(self.uses):
            self._say(f"event {self.version} restores {before.activation_count} uses")
        if holder != self.latest:
            self._say(f"event {self.version} names {_named(holder)}, not {_named(self.latest)}")
        self.expires_at, self.sources = before.expires_at, before.sources
        self._same_expiry(expires_at)


def _named(holder: Holder | None) -> str:
    return "nobody" if holder is None else f"profile {holder[1]} of database {holder[0]}"
