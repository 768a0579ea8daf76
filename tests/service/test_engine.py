"""What the engine does when the store loses a race, is busy, or breaks: `Trouble` says when."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from promint.domain.errors import InternalError, OutcomeUnknown, PromintError, StoreBusy
from promint.domain.model import LoyaltyProgram
from promint.store import Busy, ConnectionLost, DiskFailed, Lost, Poisoned, TryAgain
from tests.conftest import Stores
from tests.world import World


class Trouble:
    """A real SQLite store whose transactions meet what a test says, one after the other.

    An error of `before` is met instead of the transaction, and one of `poison` each time that the
    code is in it. What a lost commit does is for PostgreSQL: tests/promises/test_06 loses them.
    """

    def __init__(self, url: str, **settings: Any) -> None:
        self.world = World(url, **settings)
        self.program: LoyaltyProgram = self.world.program(multiple_usage=True)
        self.world.import_codes(self.program, "A", "B", "C", "D")
        holder = self.world.profile(self.world.database(), "ann@example.com")
        for code in "ABCD":
            self.world.attach(self.program, holder, code)
        self.before: list[Exception] = []
        self.poison: dict[str, Exception] = {}
        self.batches: list[tuple[str, bool]] = []
        self._transact = self.world.store.transact
        self.world.store.transact = self.transact  # type: ignore[method-assign]  # with trouble

    async def transact(self, batch: Any, *, locked: bool) -> None:
        codes = "".join(operation.code for operation in batch.operations)
        self.batches.append((codes, locked))
        for code, error in self.poison.items():
            if code in codes:
                raise error
        if self.before:
            raise self.before.pop(0)
        await self._transact(batch, locked=locked)

    def use(self, codes: str, key: str | None = None) -> list[Any]:
        """Use codes all at once; return what each was told."""

        async def work() -> list[Any]:
            service, call = self.world.service, self.world.call(key)
            uses = [service.activate(call, self.program.id, code) for code in codes]
            return list(await asyncio.gather(*uses, return_exceptions=True))

        return self.world.run(work())

    def uses(self, code: str) -> int:
        return self.world.get(self.program, code).activation_count


@pytest.fixture
def trouble(stores: Stores) -> Iterator[Trouble]:
    made = Trouble(stores.new("sqlite"), cache_s=1e6)
    yield made
    made.world.close()


def reasons(told: list[Any]) -> list[type[PromintError] | None]:
    return [None if answer is None else type(answer) for answer in told]


def test_what_lost_a_race_goes_again_with_its_rows_held(trouble: Trouble) -> None:
    trouble.before = [Lost(), Lost()]

    assert reasons(trouble.use("A")) == [None]
    assert trouble.batches == [("A", False), ("A", True), ("A", True)]
    assert trouble.uses("A") == 1


def test_for_a_while_what_was_fought_over_is_held_from_the_start(trouble: Trouble) -> None:
    trouble.before = [Lost()]
    trouble.use("A")
    trouble.batches.clear()

    trouble.use("A")
    trouble.use("B")

    assert trouble.batches == [("A", True), ("B", False)]


def test_what_loses_every_time_is_halved_and_told_to_come_later(trouble: Trouble) -> None:
    trouble.poison = {"B": Lost()}

    assert reasons(trouble.use("AB")) == [None, StoreBusy]
    assert [trouble.uses(code) for code in "AB"] == [1, 0]
    assert trouble.batches.count(("B", True)) == 9


def test_a_deadlock_is_tried_twice_more_and_then_halved(trouble: Trouble) -> None:
    trouble.before = [TryAgain() for _ in range(3)]

    assert reasons(trouble.use("AB")) == [None, None]
    assert [codes for codes, _ in trouble.batches] == ["AB", "AB", "AB", "A", "B"]


def test_what_waits_for_a_row_lets_others_pass_and_comes_back(trouble: Trouble) -> None:
    trouble.poison = {"A": TryAgain()}

    async def work() -> list[Any]:
        service, call = trouble.world.service, trouble.world.call()
        first = asyncio.create_task(service.activate(call, trouble.program.id, "A"))
        while trouble.world.engine._postponed == 0:  # noqa: ASYNC110  # nobody tells of it
            await asyncio.sleep(0.01)
        second = await service.activate(call, trouble.program.id, "B")
        trouble.poison.clear()
        return [second, await first]

    assert trouble.world.run(work()) == [None, None]
    assert [trouble.uses(code) for code in "AB"] == [1, 1]


def test_a_value_that_the_store_refuses_is_found_and_costs_the_others_nothing(
    trouble: Trouble, caplog: pytest.LogCaptureFixture
) -> None:
    trouble.poison = {"C": Poisoned("no such value")}

    assert reasons(trouble.use("ABCD")) == [None, None, InternalError, None]
    assert [codes for codes, _ in trouble.batches] == ["ABCD", "AB", "CD", "C", "D"]
    assert "request request-1: the store refuses it: no such value" in caplog.messages


def test_a_mistake_of_ours_is_taken_for_a_refused_value(trouble: Trouble) -> None:
    trouble.poison = {"B": KeyError("ours")}

    assert reasons(trouble.use("AB")) == [None, InternalError]
    assert trouble.uses("A") == 1


def test_a_busy_store_is_said_so_and_nothing_has_changed(
    trouble: Trouble, caplog: pytest.LogCaptureFixture
) -> None:
    trouble.before = [Busy("locked")]

    assert reasons(trouble.use("AB")) == [StoreBusy, StoreBusy]
    assert "the store is busy: locked" in caplog.messages
    assert reasons(trouble.use("AB")) == [None, None]


def test_after_a_failed_disk_nobody_knows(trouble: Trouble) -> None:
    trouble.before = [DiskFailed("gone")]

    assert reasons(trouble.use("A")) == [OutcomeUnknown]
    assert len(trouble.batches) == 1


def test_a_change_that_was_not_sent_when_the_connection_broke_is_sent_again(
    trouble: Trouble,
) -> None:
    trouble.before = [ConnectionLost("cut", may_have_written=False)]

    assert reasons(trouble.use("A")) == [None]
    assert trouble.uses("A") == 1
    assert trouble.batches == [("A", False), ("A", True)]


@pytest.mark.parametrize(("may_have_written", "told"), [(False, StoreBusy), (True, OutcomeUnknown)])
def test_a_store_that_stays_away_is_given_up_in_time(
    stores: Stores, may_have_written: bool, told: type[PromintError]
) -> None:
    trouble = Trouble(stores.new("sqlite"), doubt_timeout_s=0.05)
    lost = ConnectionLost("away", may_have_written=may_have_written)
    trouble.poison = {"A": lost}
    try:
        assert reasons(trouble.use("A")) == [told]
        assert trouble.uses("A") == 0
    finally:
        trouble.world.close()


def test_a_key_that_comes_twice_in_one_batch_happens_once(trouble: Trouble) -> None:
    first, second = trouble.use("AA", key="order-1")

    assert first == second
    assert trouble.uses("A") == 1
