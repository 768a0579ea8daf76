"""Judges whether a history of operations on one object has one order that explains it.

The search of Wing and Gong, made lazy as Lowe does it: an operation takes effect no earlier than
an answer demands it, and what has been reached once, a state together with the set of operations
under way that have taken effect, is not reached for again. No kept checker exists for Python; the
one for Go, Porcupine, does the same.

An operation without an answer may take effect at any moment after its call, or never. Of two
ways to one state the one that has used up fewer of these can do whatever the other can, so the
other is dropped; without that their number would be the exponent of the time.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

WAYS_MAX = 200_000
"""After so many ways at one answer the search is given up."""


class Operation(NamedTuple):
    """What somebody asked, when, and what was told when. Without `told_at` nobody knows."""

    asked: Any
    asked_at: int
    told: Any = None
    told_at: int | None = None


Model = Callable[[Any, Any], tuple[Any, Any]]
"""Takes a state and what is asked; returns the state that follows and the right answer."""


class Verdict(StrEnum):
    OK = "ok"
    BROKEN = "broken"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Judgement:
    """The verdict; if broken, the first operation whose answer no order explains."""

    verdict: Verdict
    at: Operation | None = None
    states: tuple[Any, ...] = ()
    """What the states could be before that answer."""


Done = int
"""A set of operations that have taken effect, one bit each."""


def judge(
    history: Sequence[Operation], model: Model, start: Any, *, ways_max: int = WAYS_MAX
) -> Judgement:
    """Look for an order that keeps to the times, from a state on, in which each answer is right."""
    open_ones: dict[Done, Operation] = {}
    unanswered: Done = 0
    ways = _Ways()
    ways.add(start, 0, 0)

    for bit, operation, is_answer in _moments(history):
        if not is_answer:
            open_ones[bit] = operation
            if operation.told_at is None:
                unanswered |= bit
            continue
        after = _answered(ways, bit, open_ones, unanswered, model, ways_max)
        if after is None:
            return Judgement(Verdict.UNKNOWN, operation)
        if not after:
            before = tuple({state: None for state, _ in ways})
            return Judgement(Verdict.BROKEN, operation, before)
        ways = after
        del open_ones[bit]
    return Judgement(Verdict.OK)


def _moments(history: Sequence[Operation]) -> Iterator[tuple[Done, Operation, bool]]:
    """Yield each call and each answer, in order; of one moment the calls come first."""
    moments = []
    for number, operation in enumerate(history):
        moments.append((operation.asked_at, False, number))
        if operation.told_at is not None:
            moments.append((operation.told_at, True, number))
    for _, is_answer, number in sorted(moments):
        yield 1 << number, history[number], is_answer


class _Ways:
    """Ways through a history: states, with what has taken effect for each."""

    def __init__(self) -> None:
        # By the state and what has to have taken effect; each with its least sets of what may.
        self._least: dict[tuple[Any, Done], list[Done]] = defaultdict(list)

    def __bool__(self) -> bool:
        return bool(self._least)

    def __iter__(self) -> Iterator[tuple[Any, Done]]:
        for (state, answered), sets in self._least.items():
            for used in sets:
                yield state, answered | used

    def add(self, state: Any, done: Done, unanswered: Done) -> bool:
        """Add a way unless there is a better one; say whether it was added."""
        used = done & unanswered
        sets = self._least[state, done & ~unanswered]
        if any(known & used == known for known in sets):
            return False
        sets[:] = [known for known in sets if used & known != used]
        sets.append(used)
        return True

    def has(self, state: Any, done: Done, unanswered: Done) -> bool:
        """Say whether a way was not replaced by a better one."""
        return (done & unanswered) in self._least.get((state, done & ~unanswered), ())


def _answered(
    ways: _Ways,
    bit: Done,
    open_ones: dict[Done, Operation],
    unanswered: Done,
    model: Model,
    ways_max: int,
) -> _Ways | None:
    """Return the ways on which an operation has taken effect as it was told; None if too many."""
    after, seen = _Ways(), _Ways()
    # Those with fewer effects first, so that the better way comes before the worse.
    layer = [way for way in ways if seen.add(*way, unanswered)]
    tried = 0
    while layer:
        following: list[tuple[Any, Done]] = []
        for state, done in layer:
            if done & bit:
                after.add(state, done & ~bit, unanswered)
                continue
            if not seen.has(state, done, unanswered):
                continue
            # Of equal ones without an answer it is always the oldest that takes effect.
            equal = set()
            for other, operation in open_ones.items():
                if done & other or (operation.told_at is None and operation.asked in equal):
                    continue
                if operation.told_at is None:
                    equal.add(operation.asked)
                tried += 1
                becomes, answer = model(state, operation.asked)
                if operation.told_at is not None and answer != operation.told:
                    continue
                way = becomes, done | other
                if seen.add(*way, unanswered):
                    following.append(way)
        if tried > ways_max:
            return None
        layer = following
    return after


def in_order(history: Iterable[Operation]) -> str:
    """Return a history as lines, for people, in the order of the calls."""
    ordered = sorted(history, key=lambda operation: operation.asked_at)
    return "\n".join(
        f"{operation.asked_at:>6} to {operation.told_at or '':>6}: {operation.asked}"
        f" -> {'?' if operation.told_at is None else operation.told}"
        for operation in ordered
    )
