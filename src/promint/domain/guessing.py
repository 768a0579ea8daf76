"""Wrong codes in the last minute: how many came, whether one more may be answered.

Every second keeps its count for as long as any moment of it may lie within the last minute. So
in no 60 seconds, wherever they begin, are more wrong codes answered than the limit says.
"""

import json
from dataclasses import dataclass, replace
from typing import NamedTuple

WINDOW_S = 60
SECOND = 1_000_000
"""Microseconds."""

TOKEN, NETWORK, PROGRAM = "token", "network", "program"

Tries = tuple[tuple[int, int], ...]
"""`(second, how many)`, the oldest first; seconds since 1970."""


class Counted(NamedTuple):
    """What wrong codes are counted for: a token or program by its id, a network by its address."""

    kind: str
    subject: str


@dataclass(frozen=True, slots=True)
class WrongCodes:
    """The wrong codes that came for one `Counted`. A row of `wrong_codes`.

    `stops` is how often its limit was reached, the last time at `stopped_at`. Moments are UTC
    microseconds.
    """

    counted: Counted
    tries: Tries = ()
    stops: int = 0
    stopped_at: int | None = None
    updated_at: int = 0

    def count(self, now: int) -> int:
        """Return how many came in the minute before `now`."""
        return count(self.tries, now)

    def with_one(self, now: int, limit: int) -> "WrongCodes":
        """Return it with one wrong code more; a stop is noted once a minute."""
        tries = one_more(self.tries, now)
        before = self.stopped_at
        stops = count(tries, now) >= limit and (
            before is None or not 0 <= now - before < WINDOW_S * SECOND
        )
        return replace(
            self,
            tries=tries,
            stops=self.stops + stops,
            stopped_at=now if stops else before,
            updated_at=now,
        )


@dataclass(frozen=True, slots=True)
class Limits:
    """How many wrong codes a minute are answered; beyond, nothing is."""

    per_token: int
    per_network: int
    per_program: int

    def of(self, counted: Counted) -> int:
        """Return the limit of a token, a network or a program."""
        if counted.kind == TOKEN:
            return self.per_token
        return self.per_network if counted.kind == NETWORK else self.per_program


def recent(tries: Tries, now: int) -> Tries:
    """Return those of the last minute.

    A process whose clock is ahead may have written seconds that have not come yet; they count.
    More than a minute ahead they are of a clock that was wrong, and do not.
    """
    second = now // SECOND
    return tuple(one for one in tries if second - WINDOW_S <= one[0] <= second + WINDOW_S)


def count(tries: Tries, now: int) -> int:
    """Return how many came in the minute before `now`."""
    return sum(many for _, many in recent(tries, now))


def one_more(tries: Tries, now: int) -> Tries:
    """Return the last minute's with one more."""
    tries = recent(tries, now)
    second = now // SECOND
    if tries and tries[-1][0] >= second:
        return (*tries[:-1], (tries[-1][0], tries[-1][1] + 1))
    return (*tries, (second, 1))


def wait_s(tries: Tries, now: int, limit: int) -> int:
    """Return after how many seconds one more may be answered, at least 1."""
    tries = recent(tries, now)
    left = sum(many for _, many in tries)
    for second, many in tries:
        left -= many
        if left < limit:
            return max(1, second + WINDOW_S + 1 - now // SECOND)
    return 1


def stop_details(counted: Counted, limit: int) -> str:
    """Return the details of the event that says so, as JSON."""
    return json.dumps({"kind": counted.kind, "subject": counted.subject, "wrong_codes": limit})
