"""What the events of a program say of its settings, its batches and its counts."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from promint.ledger.kinds import CHANGING, MAKING, Kind

SLACK_US = 60_000_000
"""Settings and codes have no common order. What held within a minute of an event may have held."""

CODES_MAX = 1 << 33


class Arrival(NamedTuple):
    """With what codes of a batch came in at one moment; an old event has no `first_version`.

    `is_whole`: an import of the API, whose codes bring nothing along but their text.
    """

    first_version: int | None
    default_expires_at: int | None
    is_whole: bool


@dataclass(slots=True)
class BatchAccount:
    """A batch, and what the events say that it did."""

    id: int
    kind: str
    state: str
    counts: dict[str, int]
    first_seq: int | None
    last_seq: int | None
    expires_at: int | None
    arrivals: dict[int, list[Arrival]] = field(default_factory=dict)
    inserted: int = 0
    undone: int = 0
    created: int = 0
    changed: int = 0
    restored: int = 0
    deleted: int = 0
    lost: int = 0
    back: int = 0
    alive: int = 0
    changes_kept: int = 0
    whole: dict[str, int] | None = None

    @property
    def makes(self) -> bool:
        """Say whether the codes that have its id were made by it."""
        return self.kind in MAKING

    def expected(self) -> dict[str, int]:
        """Return the counts of its row that events tell."""
        told = {"undone": self.undone}
        if self.makes:
            told["inserted"] = self.inserted
            told["changed"] = 0
        else:
            told["inserted"] = self.created
            told["changed"] = self.changed
        if self.kind == "generate":
            told |= {"duplicated": 0, "discarded": 0, "rejected": 0}
            if self.state == "done":
                told["total"] = self.inserted
        if self.whole is not None:
            told |= self.whole
        return told


class Timeline:
    """A program's settings from change to change; None where an old event does not tell them."""

    def __init__(self, steps: list[tuple[int, dict[str, Any]]] | None) -> None:
        """Take the moments and the settings from each on, oldest first."""
        self._steps = steps
        names = set().union(*(settings for _, settings in steps)) if steps else set()
        self._constant = {
            name: (steps[0][1].get(name),)
            for name in names
            if steps and len({json.dumps(s.get(name)) for _, s in steps}) == 1
        }

    def __len__(self) -> int:
        """Return the version to which the changes lead."""
        return len(self._steps or ())

    @property
    def last(self) -> dict[str, Any]:
        """Return the settings that the changes lead to."""
        return self._steps[-1][1] if self._steps else {}

    def possible(self, name: str, at: int) -> tuple[Any, ...] | None:
        """Return the values that a setting may have had at a moment; None: nobody knows."""
        constant = self._constant.get(name)
        if constant is not None or self._steps is None:
            return constant
        values: list[Any] = []
        for number, (_, settings) in enumerate(self._steps):
            following = self._steps[number + 1][0] if number + 1 < len(self._steps) else None
            begun = number == 0 or self._steps[number][0] <= at + SLACK_US
            if begun and (following is None or following >= at - SLACK_US):
                values.append(settings.get(name))
        return tuple(values)

    def allows(self, name: str, count: int, at: int, otherwise: int | None = None) -> bool:
        """Say whether a limit let this count be; without the setting, `otherwise` is the limit."""
        limits = self.possible(name, at)
        if limits is None:
            return True
        for value in limits:
            limit = otherwise if value is None else value
            if limit is None or count <= limit:
                return True
        return False

    def ever_allowed(self, name: str, count: int) -> bool:
        """Say whether a limit has let this count be at any time."""
        if self._steps is None:
            return True
        limits = [settings.get(name) for _, settings in self._steps]
        return any(limit is None or count <= limit for limit in limits)


class Numbers:
    """Creation sequences that were seen: one bit each."""

    def __init__(self) -> None:
        """Begin with none."""
        self._bits = bytearray()
        self.largest = 0

    def add(self, number: int) -> bool:
        """Note a number; say whether it is new."""
        self.largest = max(self.largest, number)
        place, bit = number >> 3, 1 << (number & 7)
        if not 0 <= number < CODES_MAX:
            return True
        if place >= len(self._bits):
            self._bits.extend(bytes(max(place + 1 - len(self._bits), len(self._bits))))
        if self._bits[place] & bit:
            return False
        self._bits[place] |= bit
        return True


@dataclass(slots=True)
class ProgramAccount:
    """A program, and what its events say of it.

    `is_told`: its creation has its settings on record, and so every event says all that it should.
    """

    id: int
    is_universal: bool = False
    is_forgiving: bool = True
    buckets: int = 1
    is_there: bool = False
    is_told: bool = False
    timeline: Timeline = field(default_factory=lambda: Timeline(None))
    batches: dict[int, BatchAccount] = field(default_factory=dict)
    numbers: Numbers = field(default_factory=Numbers)
    codes: int = 0
    inserted: int = 0
    created: int = 0
    deleted: int = 0
    back: int = 0
    undone: int = 0
    unknown_deletions: int = 0
    stock_low: int = 0
    stock_recovered: int = 0

    @property
    def first_shard(self) -> int:
        """The shard of what concerns the program as a whole."""
        return self.id * 4096

    @property
    def expected_codes(self) -> int:
        """How many codes the events leave it."""
        return self.inserted + self.created + self.back - self.deleted - self.undone


def batch_account(row: tuple[Any, ...]) -> BatchAccount:
    """Return the account of a row of `statements.BATCHES`."""
    _, number, kind, state, *_ = row
    names = ("total", "inserted", "duplicated", "discarded", "rejected", "changed", "undone")
    parameters = _object(row[7])
    expires_at = parameters.get("expire_date") if kind == "generate" else None
    return BatchAccount(
        number,
        kind,
        state,
        dict(zip(names, row[8:15], strict=True)),
        row[15],
        row[16],
        expires_at if isinstance(expires_at, int) else None,
    )


def _object(text: str | None) -> dict[str, Any]:
    try:
        value = json.loads(text or "{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def details_of(text: str | None) -> dict[str, Any] | None:
    """Return an event's details; None if they are no JSON object."""
    if text is None:
        return {}
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def number_of(details: dict[str, Any], name: str) -> int:
    """Return a number of an event's details; 0 where there is none."""
    value = details.get(name)
    return value if isinstance(value, int) else 0


def settled(events: Iterable[tuple[int, int, dict[str, Any]]]) -> Timeline | None:
    """Return what creation and changes `(at, version, settings)` say; None if one is missing."""
    steps: list[tuple[int, dict[str, Any]]] = []
    settings: dict[str, Any] = {}
    for number, (at, version, changed) in enumerate(sorted(events, key=lambda one: one[1]), 1):
        if version != number:
            return None
        settings = {**settings, **changed}
        steps.append((at, settings))
    return Timeline(steps) if steps else None


def allowed_kinds(batch: BatchAccount) -> set[Kind]:
    """Return which events of codes can name a batch as theirs."""
    if batch.makes:
        return {MAKING[batch.kind], Kind.DELETED}
    kinds = {CHANGING[batch.kind], Kind.RESTORED} if batch.kind in CHANGING else set[Kind]()
    if batch.kind == "attach":
        kinds |= {Kind.CREATED, Kind.DELETED}
    return kinds
