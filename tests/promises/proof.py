"""How a test proves a promise: `@promise(1)` says which, `proof` says how much and keeps it."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

import promint
from tests.promises import results
from tests.promises.results import Result, State, Tier
from tests.races.ledger import Broken


class Missed(AssertionError):
    """A test did not find the fault that it is there for."""


def promise(*rows: int, store: str = "") -> pytest.MarkDecorator:
    """Mark a test as one of these rows of `rows.py`.

    `store` names the store where the test is not parametrised by one.
    """
    return pytest.mark.promise(*rows, store=store)


def control(*rows: int, fault: str, store: str = "") -> pytest.MarkDecorator:
    """Mark a test that demands of a promise's test to find a planted fault."""
    return pytest.mark.promise(*rows, store=store, fault=fault)


class Proof:
    """One test of a promise: how much it has to try, and what it has shown.

    What is kept already is gone on with, if it is of the same program and test.
    """

    def __init__(
        self, begun: Result, folder: Path | None = None, until: float | None = None
    ) -> None:
        self.tier = begun.tier
        self._folder = folder
        self._until = until
        self._result = begun
        self._started = time.monotonic()
        self._seed = begun.seed
        self._is_cut = False
        kept = results.load(folder, begun.test, begun.tier) if folder else None
        if kept and kept.state is State.PART and kept.source == begun.source:
            self._result = kept

    @property
    def seed(self) -> int:
        """The seed of this round, the first one outside of rounds; shown if the test fails."""
        return self._seed

    def size(self, *, quick: int, night: int, release: int | None = None) -> int:
        """Return the number for this tier; a release takes the night's, unless it has its own."""
        return {Tier.QUICK: quick, Tier.NIGHT: night, Tier.RELEASE: release or night}[self.tier]

    def rounds(self, *, quick: int, night: int, release: int | None = None) -> Iterator[int]:
        """Yield a seed for each round that is still to do, and keep what each has shown.

        Rounds are where a long run can stop, because its time is over, and be resumed.
        """
        wanted = self.size(quick=quick, night=night, release=release)
        while self._result.rounds < wanted and self.has_time():
            self._seed = self._result.seed + self._result.rounds
            yield self._seed
            self._result.rounds += 1
            self._save(State.PART)
        self._is_cut = self._result.rounds < wanted

    def has_time(self) -> bool:
        """Say whether this run's time is not over yet."""
        return self._until is None or time.time() < self._until

    def trials(self, count: int, unit: str) -> None:
        """Count so many more trials. The unit is said in the plural: kills, keyed requests."""
        self._result.trials += count
        self._result.unit = unit

    def figure(self, name: str, value: float | str) -> None:
        """Report a figure; it is published, and nothing is asserted of it."""
        self._result.figures[name] = value if isinstance(value, str) else f"{value:,.4g}"

    def control(self, attempt: Callable[[int], object], *, runs: int = 1) -> None:
        """Demand that an attempt, given a seed, finds the planted fault: that it raises `Broken`.

        It is tried once in quick, 20 times for a release. What depends on luck, as a race on a
        busy machine does, may be run several times in each try.

        Raises:
            Missed: it was not found in one of the tries.
        """
        for seed in self.rounds(quick=1, night=5, release=20):
            if not any(_is_broken(attempt, seed) for _ in range(runs)):
                raise Missed(f"{self._result.fault} was not found in {runs} runs")
            self.trials(1, "tries")

    def finish(self, *, passed: bool) -> Result:
        """Keep how it ended."""
        if not passed:
            self._result.failures += 1
        done = State.PART if self._is_cut else State.DONE
        return self._save(done if passed else State.FAILED)

    def _save(self, state: State) -> Result:
        now = time.monotonic()
        self._result.seconds += now - self._started
        self._started = now
        self._result.state = state
        self._result.at = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._result.version = promint.__version__
        self._result.commit = results.commit()
        self._result.machine = results.machine()
        if self._folder:
            results.save(self._folder, self._result)
        return self._result


def _is_broken(attempt: Callable[[int], object], seed: int) -> bool:
    try:
        attempt(seed)
    except Broken:
        return True
    return False
