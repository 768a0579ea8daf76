"""Bulk changes and undoing beside customers: whatever happens first, the books agree."""

import random
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from promint.domain.errors import AlreadyUndone, NotFound, Refused
from promint.domain.model import EventKind, Holder, LoyaltyProgram
from promint.service import batches, bulk_changes, chunks
from promint.service.bulk_changes import Change
from tests.conftest import STORES, Stores
from tests.store.bulk import (
    DEACTIVATE,
    DELETE,
    DETACH,
    EVERYTHING,
    Changing,
    count_of,
    expire,
    listed,
)
from tests.world import DAY, NOON, World

pytestmark = pytest.mark.usefixtures("ledger_holds")

CODES = [f"C{number}" for number in range(24)]
REQUEST = "request-1"
"""The request id of customers; bulk changes have another."""


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (chunks, bulk_changes, batches):
        monkeypatch.setattr(module, "CHUNK", 5)


class Customers(threading.Thread):
    """Attach, activate and detach codes by name and without, in a world of their own."""

    def __init__(
        self, url: str, program: LoyaltyProgram, holders: list[Holder], seed: int, calls: int
    ) -> None:
        super().__init__()
        self.url, self.program, self.holders = url, program, holders
        self.chance = random.Random(seed)
        self.calls = calls
        self.succeeded: Counter[str] = Counter()
        self.failure: BaseException | None = None

    def run(self) -> None:
        world = World(self.url)
        try:
            for _ in range(self.calls):
                self._call(world)
        except BaseException as failure:  # noqa: BLE001  # told by the test
            self.failure = failure
        finally:
            world.close()

    def _call(self, world: World) -> None:
        what = self.chance.choice(["attach", "attach any", "activate", "detach", "detach"])
        code, holder = self.chance.choice(CODES), self.chance.choice(self.holders)
        calls: dict[str, Callable[[], Any]] = {
            "attach": lambda: world.attach(self.program, holder, code),
            "attach any": lambda: world.attach(self.program, holder),
            "activate": lambda: world.activate(self.program, code),
            "detach": lambda: world.detach(self.program, holder, code),
        }
        try:
            calls[what]()
        except (NotFound, Refused):
            return
        self.succeeded[what.partition(" ")[0]] += 1


def beside_customers(
    world: World,
    url: str,
    program: LoyaltyProgram,
    holders: list[Holder],
    work: Callable[[], None],
    *,
    calls: int = 60,
) -> Counter[str]:
    """Do work while customers come and go; return how often they succeeded at what."""
    customers = [Customers(url, program, holders, seed, calls) for seed in range(2)]
    for customer in customers:
        customer.start()
    try:
        work()
    finally:
        for customer in customers:
            customer.join()
    assert [customer.failure for customer in customers] == [None, None]
    return sum((customer.succeeded for customer in customers), Counter())


def check_books(
    world: World, program: LoyaltyProgram, holders: list[Holder], succeeded: Counter[str]
) -> None:
    """Rows, events, attachments and the count say the same, and so do the customers."""

    async def walk() -> list[Any]:
        chunks = world.store.searching.walk(program, EVERYTHING, now=world.now)
        return [code async for chunk in chunks for code in chunk]

    codes = world.run(walk())
    assert count_of(world, program) == len(codes)
    held: Counter[str] = Counter()
    for holder in holders:
        page = world.run(
            world.store.searching.wallet(holder, programs={program.id}, after=None, most=500)
        )
        held.update(one.code.code_key for one in page.codes)
    assert held == {code.code_key: code.attach_count for code in codes if code.attach_count}
    happened: Counter[str] = Counter()
    for text in {*CODES, *(code.code for code in codes)}:
        history = world.history(program, text)
        happened.update(
            EventKind(event.kind).name for event in history if event.request_id == REQUEST
        )
        code = next((code for code in codes if code.code_key == text.casefold()), None)
        last = history[-1] if history else None
        if code is None:
            assert last is None or last.kind == EventKind.DELETED
        elif last is not None and last.version == code.version:
            assert (last.attach_count, last.activation_count, last.expires_at) == (
                code.attach_count,
                code.activation_count,
                code.expires_at,
            )
        else:
            assert last is None or (last.version or 0) < code.version
            assert not code.attach_count
    assert (happened["ACTIVATED"], happened["DETACHED"]) == (
        succeeded["activate"],
        succeeded["detach"],
    )
    # To attach a universal code to whom holds it is a success, and changes nothing.
    attached = succeeded["attach"]
    assert happened["ATTACHED"] == attached or (
        program.multiple_usage and happened["ATTACHED"] < attached
    )


@pytest.mark.parametrize("kind", STORES)
@pytest.mark.parametrize(
    "changes",
    [(DETACH, expire(NOON + DAY)), (DEACTIVATE, expire(None)), (DELETE, DELETE)],
    ids=["detach", "deactivate", "delete"],
)
def test_changes_and_their_undoing_beside_customers_keep_the_books(
    stores: Stores, make_world: Callable[..., World], kind: str, changes: tuple[Change, Change]
) -> None:
    url = stores.new(kind)
    world = make_world(url)
    changing = Changing(world)
    database = world.database()
    holders = [world.profile(database, f"p{number}@example.com") for number in range(5)]
    program = world.program(buckets=2, profile_limit=12)
    world.import_codes(program, *CODES)

    def work() -> None:
        for _ in range(3):
            for change in changes:
                changing.undo(changing.apply(program, change))
            changing.apply(program, changes[0])

    succeeded = beside_customers(world, url, program, holders, work)

    check_books(world, program, holders, succeeded)


@pytest.mark.parametrize("kind", STORES)
@pytest.mark.parametrize("universal", [False, True], ids=["personal", "universal"])
def test_attaching_to_lists_beside_customers_keeps_the_books(
    stores: Stores, make_world: Callable[..., World], kind: str, *, universal: bool
) -> None:
    url = stores.new(kind)
    world = make_world(url)
    changing = Changing(world)
    database = world.database()
    holders = [world.profile(database, f"p{number}@example.com") for number in range(8)]
    program = world.program(multiple_usage=universal, profile_limit=9)
    world.import_codes(program, *CODES)

    def work() -> None:
        for _ in range(3):
            changing.undo(changing.attach(program, listed(holders)))
            named = listed(holders, [f"N{number % 3}" for number in range(8)])
            changing.undo(changing.attach(program, named))

    succeeded = beside_customers(world, url, program, holders, work)

    check_books(world, program, holders, succeeded)


@pytest.mark.parametrize("kind", STORES)
def test_an_import_taken_back_beside_customers_keeps_the_books(
    stores: Stores, make_world: Callable[..., World], kind: str
) -> None:
    url = stores.new(kind)
    world = make_world(url)
    changing = Changing(world)
    database = world.database()
    holders = [world.profile(database, f"p{number}@example.com") for number in range(5)]
    program = world.program(buckets=2)

    def work() -> None:
        for _ in range(6):
            world.import_codes(program, *CODES)
            last = changing.last_batch()
            try:
                changing.undo(last)
            except AlreadyUndone:
                # Nothing was new, so there is no other batch.
                continue

    succeeded = beside_customers(world, url, program, holders, work)

    check_books(world, program, holders, succeeded)
