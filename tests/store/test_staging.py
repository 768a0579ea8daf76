"""Bulk: what waits in a stage, what would happen, and how it goes in, on both stores."""

import asyncio
from collections import Counter
from collections.abc import Sequence

import pytest

from promint.domain.model import (
    Batch,
    BatchKind,
    EventKind,
    ExpirySource,
    LoyaltyProgram,
    ProfileKey,
)
from promint.store.staging import (
    FILE_ORDER_MAX,
    Inserted,
    Insertion,
    Refusal,
    RefusedRow,
    Review,
    Stage,
    StagedCode,
)
from tests.world import DAY, NOON, World


def staged(line: int, code: str, **more: object) -> StagedCode:
    return StagedCode(line, code.casefold(), code, **more)  # type: ignore[arg-type]


class Bulk:
    """One batch and what goes in under it."""

    def __init__(self, world: World, program: LoyaltyProgram, **insertion: object) -> None:
        self.world, self.program = world, program
        self.batch = world.run(self._insert_batch())
        self.insertion = Insertion(
            self.batch.id,
            EventKind.IMPORTED,
            world.now,
            0,
            "bulk",
            world.ids.new,
            **insertion,  # type: ignore[arg-type]
        )
        self.reports: list[int] = []
        self.stop_after: int | None = None

    async def _insert_batch(self) -> Batch:
        async with self.world.store.transaction() as transaction:
            return await transaction.insert_batch(Batch(0, self.program.id, BatchKind.IMPORT))

    async def report(self, done: int) -> None:
        self.reports.append(done)
        if self.stop_after is not None and len(self.reports) >= self.stop_after:
            raise asyncio.CancelledError

    async def fill(self, stage: Stage, rows: Sequence[StagedCode]) -> None:
        await stage.add(rows)
        await stage.seal()

    def insert(self, *rows: StagedCode) -> Inserted:
        async def work() -> Inserted:
            program = await self.world.store.program(self.program.id)
            assert program is not None
            async with self.world.store.staging.stage(program) as stage:
                await self.fill(stage, rows)
                return await stage.insert(self.insertion, self.report)

        return self.world.run(work())

    def look(self, *rows: StagedCode) -> tuple[Review, list[RefusedRow]]:
        async def work() -> tuple[Review, list[RefusedRow]]:
            program = await self.world.store.program(self.program.id)
            assert program is not None
            async with self.world.store.staging.stage(program) as stage:
                await self.fill(stage, rows)
                review = await stage.review()
                return review, [row async for rows in stage.refused() for row in rows]

        return self.world.run(work())

    def kept(self) -> Batch:
        batch = self.world.run(self.world.store.batch(self.batch.id))
        assert batch is not None
        return batch


def test_a_small_file_is_created_in_its_own_order(world: World) -> None:
    program = world.program()
    bulk = Bulk(world, program)

    inserted = bulk.insert(staged(1, "C"), staged(2, "A"), staged(3, "B"))

    assert inserted == Inserted(3, 0, 0)
    assert world.exported(program) == ["C", "A", "B"]
    assert bulk.kept().inserted == 3
    assert bulk.reports[-1] == 3


def test_plain_codes_go_the_same_way(world: World) -> None:
    program = world.program(buckets=4)
    bulk = Bulk(world, program)
    codes = [f"PLAIN\\{n}" for n in range(500)]

    async def work() -> Inserted:
        async with world.store.staging.stage(program) as stage:
            await stage.add_plain(1, [code.casefold() for code in codes], codes)
            await stage.add_plain(501, [], [])
            await stage.seal()
            return await stage.insert(bulk.insertion, bulk.report)

    assert world.run(work()) == Inserted(500, 0, 0)
    assert world.exported(program) == codes
    assert world.get(program, "plain\\7").batch_id == bulk.batch.id


def test_the_default_expiry_is_for_codes_without_one(world: World) -> None:
    program = world.program(default_expire_date=NOON + DAY)
    Bulk(world, program).insert(staged(1, "A"), staged(2, "B", expires_at=NOON + 2 * DAY))

    first, second = world.get(program, "A"), world.get(program, "B")
    assert (first.expires_at, first.expiry_source) == (NOON + DAY, ExpirySource.DEFAULT)
    assert (second.expires_at, second.expiry_source) == (NOON + 2 * DAY, ExpirySource.GIVEN)


def test_additional_fields_are_kept(world: World) -> None:
    program = world.program()
    Bulk(world, program).insert(staged(1, "A", fields='{"shop": "Kazan"}'))

    assert world.get(program, "A").fields == '{"shop": "Kazan"}'


def test_what_would_happen_is_counted_and_changes_nothing(world: World) -> None:
    program = world.program(code_limit=4)
    world.import_codes(program, "OLD", "OLDER")

    review, refused = Bulk(world, program).look(
        staged(1, "N1"),
        staged(2, "old"),
        staged(3, "N2"),
        staged(5, "n1"),
        staged(6, "N3"),
        staged(7, "N1"),
        staged(9, "A4"),
    )

    assert review == Review(2, 2, 1, 2)
    assert refused == [
        RefusedRow(2, "old", Refusal.DUPLICATE_IN_PROGRAM),
        RefusedRow(5, "n1", Refusal.DUPLICATE_IN_FILE, 1),
        RefusedRow(6, "N3", Refusal.OVER_LIMIT),
        RefusedRow(7, "N1", Refusal.DUPLICATE_IN_FILE, 1),
        RefusedRow(9, "A4", Refusal.OVER_LIMIT),
    ]
    assert world.exported(program) == ["OLD", "OLDER"]


def test_the_first_of_the_file_find_room(world: World) -> None:
    program = world.program(code_limit=3)
    world.import_codes(program, "OLD")

    inserted = Bulk(world, program).insert(
        staged(1, "Z"), staged(2, "OLD"), staged(3, "Y"), staged(4, "Z"), staged(5, "A")
    )

    assert inserted == Inserted(2, 2, 1)
    assert world.exported(program) == ["OLD", "Z", "Y"]


def test_a_held_code_comes_with_its_history(world: World) -> None:
    program = world.program()
    holder = world.profile(world.database(), "a@b.ru")
    bulk = Bulk(world, program)

    bulk.insert(
        staged(1, "USED", **holder._asdict(), attached_at=NOON - DAY, activated_at=NOON - 5),
        staged(2, "HELD", **holder._asdict(), attached_at=NOON - DAY),
        staged(3, "FREE"),
    )

    used = world.get(program, "USED")
    assert (used.attach_count, used.activation_count, used.activated_at) == (1, 1, NOON - 5)
    (event,) = world.history(program, "USED")
    assert (event.kind, event.version, event.activated_at) == (1, used.version, NOON - 5)
    world.activate(program, "HELD")
    assert [event.kind for event in world.history(program, "HELD")] == [1, EventKind.ACTIVATED]
    world.delete_profile(holder)
    assert world.get(program, "HELD").activation_count == 1


def test_an_interrupted_import_goes_on_and_adds_nothing_twice(world: World) -> None:
    program = world.program()
    rows = [staged(n, f"CODE-{n:05}") for n in range(1, 60_001)]
    bulk = Bulk(world, program)
    bulk.stop_after = 1
    with pytest.raises(asyncio.CancelledError):
        bulk.insert(*rows)
    some = bulk.kept().inserted
    assert 0 < some < 60_000

    bulk.stop_after = None
    inserted = bulk.insert(*rows)

    assert inserted == Inserted(60_000, 0, 0)
    assert bulk.kept().inserted == 60_000
    assert world.exported(program) == [row.code for row in rows]


def test_a_large_file_is_created_in_the_order_of_its_codes(world: World) -> None:
    program = world.program()
    count = FILE_ORDER_MAX + 1
    rows = [staged(n, f"{(n * 7919) % count:07}") for n in range(count)]

    Bulk(world, program).insert(*rows)

    assert world.exported(program) == [f"{n:07}" for n in range(count)]


def test_all_or_nothing_is_one_transaction(world: World) -> None:
    program = world.program()
    bulk = Bulk(world, program, is_atomic=True)
    rows = [staged(n, f"CODE-{n:05}") for n in range(1, 30_001)]

    assert bulk.insert(*rows) == Inserted(30_000, 0, 0)

    assert bulk.reports == [30_000]
    assert len(world.exported(program)) == 30_000


def test_the_tally_and_the_events_say_the_same(world: World) -> None:
    program = world.program(code_limit=25_000)
    bulk = Bulk(world, program)
    bulk.insert(*(staged(n, f"C{n}") for n in range(20_000)))

    room = Bulk(world, program).insert(*(staged(n, f"D{n:05}") for n in range(6_000)))

    assert room == Inserted(5_000, 0, 1_000)
    assert Counter(code[0] for code in world.exported(program)) == {"C": 20_000, "D": 5_000}
    assert "D05000" not in world.exported(program)


def test_what_is_known_is_found_in_program_and_stage(world: World) -> None:
    program = world.program(buckets=2)
    world.import_codes(program, "Stored")

    async def work() -> dict[str, str]:
        async with world.store.staging.stage(program) as stage:
            await stage.add([staged(1, "Staged")])
            await stage.seal()
            return await stage.known(["stored", "staged", "neither"])

    assert world.run(work()) == {"stored": "Stored", "staged": "Staged"}


def test_codes_that_others_create_meanwhile_are_duplicates(world: World) -> None:
    program = world.program()
    holder = world.profile(world.database(), "a@b.ru")
    rows = [staged(n, f"CODE-{n:05}") for n in range(1, 40_001)]
    bulk = Bulk(world, program)

    async def work() -> Inserted:
        async with world.store.staging.stage(program) as stage:
            await bulk.fill(stage, rows)
            key = ProfileKey(holder.database_id, profile_id=holder.profile_id)
            call = world.service.attach(world.call(), program.id, key, "CODE-39999")
            attached = asyncio.ensure_future(call)
            inserted = await stage.insert(bulk.insertion, bulk.report)
            await attached
            return inserted

    inserted = world.run(work())

    assert inserted.inserted + inserted.duplicates == 40_000
    assert world.get(program, "CODE-39999").attach_count == 1
