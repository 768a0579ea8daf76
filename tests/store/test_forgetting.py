"""What bulk changes did is forgotten after its time, and then nobody believes it is still there."""

import asyncio

import pytest

from promint import bootstrap
from promint.domain.errors import AlreadyUndone, BadValue, BatchForgotten
from promint.domain.model import Batch, LoyaltyProgram
from promint.service import forgetting
from promint.service.forgetting import forget_changes
from promint.store.batching import WalkKey
from tests.store.bulk import Changing, expire, rows
from tests.world import DAY, NOON, World

CODES = [f"C{number}" for number in range(8)]


@pytest.fixture
def changing(world: World) -> Changing:
    return Changing(world)


@pytest.fixture(autouse=True)
def few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forgetting, "MOST", 3)


def forget(world: World, ended_before: int) -> bool:
    return world.run(forget_changes(world.store, world.now, ended_before))


def forget_all(world: World, ended_before: int) -> int:
    """Forget part by part; return how many parts it took."""
    parts = 0
    while forget(world, ended_before):
        parts += 1
        assert parts < 100
    return parts


def kept(world: World, program: LoyaltyProgram, batch: Batch) -> int:
    async def count() -> int:
        async with world.store.transaction() as transaction:
            start = WalkKey(program.first_shard)
            return len(await transaction.changes(batch.id, program, start, 100))

    return world.run(count())


@pytest.mark.parametrize("buckets", [1, 4])
def test_what_a_bulk_change_did_is_forgotten_part_by_part(
    world: World, changing: Changing, buckets: int
) -> None:
    program = world.program(buckets=buckets)
    world.import_codes(program, *CODES)
    old = changing.apply(program, expire(NOON + DAY))
    world.now += DAY
    young = changing.apply(program, expire(NOON + 2 * DAY))

    assert not forget(world, NOON)
    assert forget(world, NOON + 1)
    # From the first part on, though most of it is still there.
    assert 0 < kept(world, program, old) < 8
    with pytest.raises(BatchForgotten):
        changing.undo(old)
    with pytest.raises(BatchForgotten):
        world.run(changing.batches.preview_undo(old.id))
    with pytest.raises(BatchForgotten):
        changing.touched(old)
    forget_all(world, NOON + 1)

    assert (kept(world, program, old), kept(world, program, young)) == (0, 8)
    shown = world.run(changing.batches.batch(old.id))
    assert (shown.forgotten_at, shown.state, shown.changed) == (world.now, old.state, 8)
    assert {code.expires_at for code in rows(world, program).values()} == {NOON + 2 * DAY}
    assert changing.undo(young).undone == 8
    assert changing.run(old) == shown


def test_what_was_left_when_a_batch_was_taken_back_is_forgotten_too(
    world: World, changing: Changing
) -> None:
    program = world.program()
    world.import_codes(program, *CODES)
    batch = changing.apply(program, expire(NOON + DAY))
    world.update(program, "C1", expires_at=None)
    changing.undo(batch)

    assert [one.code for one in changing.touched(batch)] == ["C1"]
    assert forget_all(world, NOON + 1) == 1

    assert kept(world, program, batch) == 0
    with pytest.raises(AlreadyUndone):
        changing.undo(batch)
    with pytest.raises(BatchForgotten):
        changing.touched(batch)


def test_imports_and_what_has_not_ended_are_kept(world: World, changing: Changing) -> None:
    program = world.program()
    world.import_codes(program, *CODES)
    imported = changing.last_batch()
    begun = changing.begin(program, expire(NOON + DAY))

    assert not forget(world, NOON + 1000 * DAY)

    assert changing.run(begun).changed == 8
    assert changing.undo(begun).undone == 8
    assert changing.undo(imported).undone == 8
    with pytest.raises(BadValue, match="undone"):
        changing.run(begun)


def test_the_service_forgets_by_its_setting(
    world: World, changing: Changing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap, "FORGET_INTERVAL_S", 0.01)
    program = world.program()
    world.import_codes(program, *CODES)
    old = changing.apply(program, expire(NOON + DAY))
    world.now = bootstrap.utc_now()
    young = changing.apply(program, expire(NOON + 2 * DAY))

    async def serve() -> None:
        task = asyncio.create_task(bootstrap._forget_forever(world.store, undo_s=86_400.0))
        for _ in range(6_000):
            await asyncio.sleep(0.01)
            if await world.store.unforgotten_batch(NOON + 1) is None:
                break
        task.cancel()

    world.run(serve())

    assert (kept(world, program, old), kept(world, program, young)) == (0, 8)
