"""How long the queue before the store may become, on a store that is held."""

import asyncio
from typing import Any

import pytest

from promint.domain.errors import StoreBusy
from tests.conftest import Stores
from tests.world import World

BATCH_MAX = 2
HUGE_S = 1e6
TINY_S = 1e-9


class Held:
    """A world whose store begins no batch before it is let go."""

    def __init__(self, url: str, **settings: Any) -> None:
        self.world = World(url, batch_max=BATCH_MAX, cache_s=HUGE_S, **settings)
        self.program = self.world.program(multiple_usage=True)
        self.holder = self.world.profile(self.world.database(), "ann@example.com")
        self.world.import_codes(self.program, "A")
        self.world.attach(self.program, self.holder, "A")
        self.gate = asyncio.Event()
        self.sizes: list[int] = []
        transact = self.world.store.transact

        async def wait(batch: Any, *, locked: bool) -> None:
            await self.gate.wait()
            self.sizes.append(len(batch.operations))
            await transact(batch, locked=locked)

        self.world.store.transact = wait  # type: ignore[method-assign]  # the store's own, held

    async def ask(self, count: int) -> list[asyncio.Task[Any]]:
        """Send requests, one after the other, and let each come as far as it does."""
        sent = []
        for _ in range(count):
            use = self.world.service.activate(self.world.call(), self.program.id, "A")
            sent.append(asyncio.create_task(use))
            await asyncio.sleep(0.001)
        return sent

    async def answers(self, sent: list[asyncio.Task[Any]]) -> list[Any]:
        self.gate.set()
        return await asyncio.gather(*sent, return_exceptions=True)


def outcomes(url: str, count: int, **settings: Any) -> tuple[list[bool], Held]:
    """Send so many requests to a held store; return which were accepted."""
    held = Held(url, **settings)

    async def work() -> list[Any]:
        return await held.answers(await held.ask(count))

    try:
        answers = held.world.run(work())
        code = held.world.get(held.program, "A")
    finally:
        held.world.close()
    assert all(answer is None or isinstance(answer, StoreBusy) for answer in answers)
    accepted = [answer is None for answer in answers]
    assert code.activation_count == sum(accepted)
    return accepted, held


def test_requests_wait_while_their_turn_is_expected_soon_enough(stores: Stores) -> None:
    accepted, held = outcomes(stores.new("sqlite"), 9, queue_wait_s=HUGE_S)

    assert accepted == [True] * 9
    assert held.sizes == [1, 2, 2, 2, 2]


def test_what_goes_with_the_next_batch_is_never_refused(stores: Stores) -> None:
    accepted, held = outcomes(stores.new("sqlite"), 9, queue_wait_s=TINY_S)

    assert accepted == [True, True, True, *[False] * 6]
    assert held.sizes == [1, 2]


def test_the_queue_is_never_longer_than_its_bound(stores: Stores) -> None:
    accepted, _ = outcomes(stores.new("sqlite"), 9, queue_wait_s=HUGE_S, queue_max=5)

    assert accepted == [True] * 6 + [False] * 3


def test_a_refusal_says_that_nothing_has_changed(stores: Stores) -> None:
    with pytest.raises(StoreBusy, match="the queue is full"):
        raise_first(stores.new("sqlite"))


def raise_first(url: str) -> None:
    held = Held(url, queue_wait_s=TINY_S)

    async def work() -> None:
        answers = await held.answers(await held.ask(4))
        raise next(answer for answer in answers if answer is not None)

    try:
        held.world.run(work())
    finally:
        held.world.close()


def test_after_a_stall_the_queue_opens_again(stores: Stores) -> None:
    held = Held(stores.new("sqlite"), queue_wait_s=0.05)

    async def work() -> list[Any]:
        stalled = await held.ask(1)
        await asyncio.sleep(0.2)
        during = await held.ask(3)
        await held.answers(stalled + during)
        for _ in range(8):
            await held.answers(await held.ask(1))
        held.gate.clear()
        return await held.answers(during + await held.ask(5))

    try:
        answers = held.world.run(work())
    finally:
        held.world.close()
    assert [answer is None for answer in answers] == [True, True, False, *[True] * 5]
