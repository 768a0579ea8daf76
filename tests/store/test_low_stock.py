"""Low stock is said once, when free codes fall under the mark, and once when they recover."""

import asyncio
import json
from collections.abc import Callable

import apsw
import asyncpg
import pytest

from promint.domain.model import Event, EventKind, LoyaltyProgram
from promint.service.stock import Stock
from promint.store import batch_sql
from promint.store.postgres.sessions import BY_KEY
from tests.conftest import Stores
from tests.store.bulk import means_of
from tests.world import DAY, NOON, World

pytestmark = pytest.mark.usefixtures("ledger_holds")

SAID = (EventKind.LOW_STOCK, EventKind.STOCK_RECOVERED)


@pytest.fixture
def stock(world: World) -> Stock:
    return Stock(means_of(world))


def said(world: World, program: LoyaltyProgram) -> list[Event]:
    """What was said about a program's stock, oldest first."""
    events, _ = world.run(world.store.searching.events(program, after=None, most=100))
    return [event for event in reversed(events) if event.kind in SAID]


def test_it_is_said_when_free_codes_fall_under_the_mark_and_when_they_recover(
    world: World, stock: Stock
) -> None:
    program = world.program(low_stock=3, buckets=4)
    world.program()
    world.import_codes(program, *"ABCD")
    ann = world.profile(world.database(), "ann@example.com")
    assert world.run(stock.look()) == []

    world.attach(program, ann)
    assert world.run(stock.look()) == []
    world.attach(program, ann)
    assert world.run(stock.look()) == [EventKind.LOW_STOCK]
    world.attach(program, ann)
    assert world.run(stock.look()) == []
    world.import_codes(program, "E", "F")
    assert world.run(stock.look()) == [EventKind.STOCK_RECOVERED]

    low, recovered = said(world, program)
    assert json.loads(low.details or "") == {"free": 2, "low_stock": 3}
    assert json.loads(recovered.details or "") == {"free": 3, "low_stock": 3}
    assert (low.shard_key, low.code_key, low.token_id) == (program.first_shard, None, 0)


def test_expired_codes_are_no_stock(world: World, stock: Stock) -> None:
    program = world.program(low_stock=2)
    world.import_codes(program, "A", "B", "C")
    for code in "AB":
        world.update(program, code, expires_at=NOON + DAY)
    assert world.run(stock.look()) == []

    world.now += DAY

    assert world.run(stock.look()) == [EventKind.LOW_STOCK]


def test_a_mark_of_nothing_is_never_reached_and_none_is_not_watched(
    world: World, stock: Stock
) -> None:
    program = world.program(low_stock=0)
    empty = world.program(low_stock=1)

    assert world.run(stock.look()) == [EventKind.LOW_STOCK]
    assert said(world, program) == []
    world.change(empty, low_stock=None)
    assert world.run(stock.look()) == []


def test_free_codes_are_counted_no_further_than_asked(world: World) -> None:
    program = world.program(buckets=8)
    world.import_codes(program, *(f"C{number}" for number in range(50)))

    counts = [world.run(world.store.free_codes(program, NOON, most)) for most in (1, 20, 100)]

    assert counts == [1, 20, 50]


def test_free_codes_are_counted_by_their_index(stores: Stores) -> None:
    async def plan_of_postgres() -> str:
        connection = await asyncpg.connect(stores.new("postgres"))
        async with connection.transaction():
            await connection.execute(BY_KEY)
            statement = f"EXPLAIN {batch_sql.POSTGRES_COUNT_FREE}"
            rows = await connection.fetch(statement, 4096, 4097, NOON, 100)
        await connection.close()
        return "\n".join(row[0] for row in rows)

    url = stores.new("sqlite")
    World(url).close()
    reader = apsw.Connection(url.removeprefix("sqlite:///"))
    rows = reader.execute(f"EXPLAIN QUERY PLAN {batch_sql.COUNT_FREE}", (4096, NOON, 100))
    plans = [asyncio.run(plan_of_postgres()), str(rows.fetchall())]
    reader.close()

    assert all("promo_code_free" in plan for plan in plans), plans


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_of_many_that_look_at_once_one_says_it(
    stores: Stores, make_world: Callable[..., World], kind: str
) -> None:
    world = make_world(stores.new(kind))
    program = world.program(low_stock=5)
    lookers = [Stock(means_of(world)) for _ in range(6)]

    async def look_at_once() -> list[list[EventKind]]:
        return await asyncio.gather(*(looker.look() for looker in lookers))

    raised = world.run(look_at_once())
    restarted = world.run(Stock(means_of(world)).look())

    assert sorted(map(len, raised)) == [0, 0, 0, 0, 0, 1]
    assert restarted == []
    assert len(said(world, program)) == 1
