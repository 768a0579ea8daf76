"""Batches are taken back while nobody has touched their codes; what was touched is listed."""

import asyncio
import io
import json
import re
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from promint.domain.errors import AlreadyUndone, BatchNotFound, Refused
from promint.domain.model import Batch, BatchState, EventKind, Holder, LoyaltyProgram
from promint.service import batches, bulk_changes, chunks
from promint.service.batches import batch_view
from promint.service.bulk_changes import Change
from promint.service.importing import Importing, ImportOptions
from promint.store import batch_sql
from promint.store.postgres.sessions import BY_KEY
from promint.store.searching import CodeFilter
from tests.conftest import STORES, Stores
from tests.store.bulk import (
    DEACTIVATE,
    DELETE,
    DETACH,
    Changing,
    count_of,
    expire,
    listed,
    means_of,
    rows,
    stopped_at_each_chunk,
)
from tests.world import DAY, HOUR, NOON, SECOND, World

pytestmark = pytest.mark.usefixtures("ledger_holds")

CODES = [f"C{number}" for number in range(8)]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (chunks, bulk_changes, batches):
        monkeypatch.setattr(module, "CHUNK", 3)


@pytest.fixture
def changing(world: World) -> Changing:
    return Changing(world)


@pytest.fixture
def holders(world: World) -> list[Holder]:
    database = world.database()
    return [world.profile(database, f"{name}@example.com") for name in ("ann", "bob", "cid", "dee")]


def attachments(world: World, program: LoyaltyProgram, holders: list[Holder]) -> dict[Holder, Any]:
    """What each profile holds, and since when."""

    async def collect() -> dict[Holder, Any]:
        held = {}
        for holder in holders:
            page = await world.store.searching.wallet(
                holder, programs={program.id}, after=None, most=100
            )
            held[holder] = {(one.code.code_key, one.attached_at) for one in page.codes}
        return held

    return world.run(collect())


# -- imports -------------------------------------------------------------------------------


def test_an_import_is_taken_back_but_for_what_was_touched(
    world: World, changing: Changing, holders: list[Holder]
) -> None:
    program = world.program(buckets=4, code_limit=9)
    world.import_codes(program, "OTHER")
    world.import_codes(program, *CODES)
    batch = changing.last_batch()
    world.attach(program, holders[0], "C1")
    world.update(program, "C2", expires_at=NOON + DAY)
    world.attach(program, holders[0], "C3")
    world.detach(program, holders[0], "C3")

    preview = world.run(changing.batches.preview_undo(batch.id))
    undone = changing.undo(batch)

    assert (preview.undoing, preview.touched, preview.is_all) == (5, 3, True)
    assert (undone.state, undone.undone, undone.touched) == (BatchState.UNDONE, 5, 3)
    assert set(rows(world, program)) == {"other", "c1", "c2", "c3"}
    assert count_of(world, program) == 4
    assert sorted(changing.touched(batch)) == [
        ("C1", "attached"),
        ("C2", "updated"),
        ("C3", "detached"),
    ]
    assert sorted(preview.sample) == sorted(changing.touched(batch))
    assert world.history(program, "C0") == []
    assert world.import_codes(program, *CODES).inserted == 5


def test_an_import_with_holders_is_taken_back_with_its_attachments(
    world: World, changing: Changing, holders: list[Holder]
) -> None:
    program = world.program(buckets=2)
    database_id = holders[0].database_id
    rows_of_file = [
        "code,db_id,profile_id,attached,activated",
        "FREE,,,,",
        *(
            f"HELD{n},{database_id},{holder.profile_id},2024-01-01T00:00:00Z,"
            + ("2024-02-01T00:00:00Z" if n == 1 else "")
            for n, holder in enumerate(holders)
        ),
    ]
    file = io.BytesIO("\n".join(rows_of_file).encode())
    importing = Importing(means_of(world))
    report = world.run(importing.run(program.id, file, name="old.csv", options=ImportOptions()))
    world.activate(program, "HELD0")

    undone = changing.undo(world.run(changing.batches.batch(report.batch_id or 0)))

    assert (report.new, undone.undone, undone.touched) == (5, 4, 1)
    assert set(rows(world, program)) == {"held0"}
    held = attachments(world, program, holders)
    assert [len(held[holder]) for holder in holders] == [1, 0, 0, 0]
    world.attach(program, holders[1], "HELD1")
    kinds = [EventKind(event.kind).name for event in world.history(program, "HELD1")]
    assert kinds == ["IMPORTED", "DELETED", "CREATED", "ATTACHED"]


def test_an_undone_import_leaves_one_event_a_chunk(world: World, changing: Changing) -> None:
    program = world.program()
    world.import_codes(program, *CODES)
    batch = changing.undo(changing.last_batch())

    events, _ = world.run(world.store.searching.events(program, after=None, most=100))

    counts = [
        json.loads(event.details or "{}")
        for event in events
        if event.kind == EventKind.BATCH_UNDONE
    ]
    assert [one["batch_id"] for one in counts] == [batch.id] * 3
    assert sum(one["count"] for one in counts) == 8


def test_a_batch_is_taken_back_once(world: World, changing: Changing) -> None:
    program = world.program()
    world.import_codes(program, "A")
    batch = changing.last_batch()
    changing.undo(batch)

    with pytest.raises(AlreadyUndone):
        changing.undo(batch)
    with pytest.raises(AlreadyUndone):
        world.run(changing.batches.preview_undo(batch.id))
    with pytest.raises(BatchNotFound):
        world.run(changing.batches.undo(99))
    assert changing.touched(batch) == []


def test_a_code_that_came_back_has_its_old_events_below(
    world: World, changing: Changing, holders: list[Holder]
) -> None:
    program = world.program()
    world.import_codes(program, "A")
    changing.undo(changing.last_batch())
    world.import_codes(program, "A")
    world.attach(program, holders[0], "A")
    changing.undo(changing.last_batch())

    assert world.get(program, "A").profile_id == holders[0].profile_id
    versions = [event.version or 0 for event in world.history(program, "A")]
    assert versions == sorted(set(versions))


# -- bulk changes --------------------------------------------------------------------------


def test_a_detachment_gives_back_holder_and_dates(
    world: World, changing: Changing, holders: list[Holder]
) -> None:
    program = world.program(lifetime_s=3600)
    for number, code in enumerate(CODES):
        world.attach(program, holders[number % 4], code)
        world.now += SECOND
    before, held = rows(world, program), attachments(world, program, holders)
    batch = changing.apply(program, DETACH)
    assert all(not held for held in attachments(world, program, holders).values())

    undone = changing.undo(batch)

    assert (undone.state, undone.undone, undone.touched) == (BatchState.UNDONE, 8, 0)
    assert rows(world, program) == before
    assert attachments(world, program, holders) == held
    last = world.history(program, "C0")[-1]
    assert last.kind == EventKind.RESTORED
    assert json.loads(last.details or "") == {"batch_id": batch.id, "restores": 2}
    world.activate(program, "C0")


def test_a_detachment_stays_where_somebody_else_has_the_code_or_the_profile_is_full_or_gone(
    world: World, changing: Changing, holders: list[Holder]
) -> None:
    program = world.program(profile_limit=1)
    for code, holder in zip(CODES, holders, strict=False):
        world.attach(program, holder, code)
    batch = changing.apply(program, DETACH)
    world.attach(program, holders[1], "C0")
    world.delete_profile(holders[2])

    undone = changing.undo(batch)

    assert (undone.undone, undone.touched) == (1, 3)
    assert dict(changing.touched(batch)) == {
        "C0": "attached",
        "C1": "profile_limit",
        "C2": "profile_not_found",
    }
    assert world.get(program, "C3").profile_id == holders[3].profile_id


def test_a_use_taken_back_is_given_back_with_its_date(
    world: World, changing: Changing, holders: list[Holder]
) -> None:
    program = world.program(multiple_usage=True)
    world.attach(program, holders[0], "A")
    for _ in range(3):
        world.now += HOUR
        world.activate(program, "A")
    before = rows(world, program)
    batch = changing.apply(program, DEACTIVATE)
    assert world.get(program, "A").activation_count == 2

    changing.undo(batch)

    assert rows(world, program) == before
    world.update(program, "A", activated=False)
    assert world.get(program, "A").activated_at == NOON + 2 * HOUR


def test_deleted_codes_come_back_as_they_were(
    world: World, changing: Changing, holders: list[Holder]
) -> None:
    program = world.program(code_limit=9)
    world.import_codes(program, *CODES)
    world.attach(program, holders[0], "C0")
    world.detach(program, holders[0], "C0")
    before = rows(world, program)
    batch = changing.apply(program, DELETE)
    world.import_codes(program, "C5")

    undone = changing.undo(batch)

    assert (undone.undone, undone.touched) == (7, 1)
    assert changing.touched(batch) == [("C5", "imported")]
    after = rows(world, program)
    assert {k: v for k, v in after.items() if k != "c5"} == {
        k: v for k, v in before.items() if k != "c5"
    }
    assert count_of(world, program) == 8
    world.attach(program, holders[1], "C0")
    versions = [event.version or 0 for event in world.history(program, "C0")]
    assert versions == sorted(set(versions))


def test_deleted_codes_come_back_only_as_far_as_there_is_room(
    world: World, changing: Changing
) -> None:
    program = world.program(code_limit=8)
    world.import_codes(program, *CODES)
    batch = changing.apply(program, DELETE)
    world.import_codes(program, "X1", "X2")

    undone = changing.undo(batch)

    assert (undone.undone, undone.touched) == (6, 2)
    assert {why for _, why in changing.touched(batch)} == {"code_limit"}
    assert count_of(world, program) == 8


def test_a_code_deleted_twice_is_given_back_by_the_later_batch_only(
    world: World, changing: Changing
) -> None:
    program = world.program()
    world.import_codes(program, "A")
    first = changing.apply(program, DELETE)
    world.import_codes(program, "A")
    second = changing.apply(program, DELETE)

    assert changing.undo(first).touched == 1
    assert changing.touched(first) == [("A", "deleted")]
    assert changing.undo(second).undone == 1
    assert count_of(world, program) == 1


def test_attachments_are_taken_back_and_codes_made_for_them_go(
    world: World, changing: Changing, holders: list[Holder]
) -> None:
    program = world.program(lifetime_s=60)
    world.import_codes(program, *CODES[:3])
    before = rows(world, program)
    batch = changing.attach(program, listed(holders, ["C0", "NEW", "NEWER", "C1"]))
    world.activate(program, "NEWER")

    undone = changing.undo(batch)

    assert (undone.undone, undone.touched) == (3, 1)
    assert changing.touched(batch) == [("NEWER", "activated")]
    assert {k: v for k, v in rows(world, program).items() if k != "newer"} == before
    assert count_of(world, program) == 4
    world.attach(program, holders[0], "NEW")


def test_holders_of_a_universal_code_are_taken_back_one_by_one(
    world: World, changing: Changing, holders: list[Holder]
) -> None:
    program = world.program(multiple_usage=True)
    world.attach(program, holders[0], "ALL")
    before = world.get(program, "ALL")
    world.now += HOUR
    batch = changing.attach(program, listed(holders[:3], ["ALL"] * 3))
    world.now += HOUR
    world.attach(program, holders[3], "ALL")

    undone = changing.undo(batch)

    assert (batch.changed, undone.undone, undone.touched) == (2, 2, 0)
    code = world.get(program, "ALL")
    assert (code.attach_count, code.profile_id) == (2, holders[3].profile_id)
    held = attachments(world, program, holders)
    assert held[holders[0]] == {("all", NOON)}
    assert not held[holders[1]]
    assert before.attach_count == 1


def test_a_universal_code_made_for_a_list_goes_with_its_last_holder(
    world: World, changing: Changing, holders: list[Holder]
) -> None:
    program = world.program(multiple_usage=True)
    batch = changing.attach(program, listed([*holders, holders[0]], ["ONE"] * 4 + ["TWO"]))
    world.now += HOUR
    world.activate(program, "TWO")

    undone = changing.undo(batch)

    assert (undone.undone, undone.touched) == (4, 1)
    assert changing.touched(batch) == [("TWO", "activated")]
    assert set(rows(world, program)) == {"two"}
    assert count_of(world, program) == 1


def test_batches_are_taken_back_one_after_the_other_down_to_the_import(
    world: World, changing: Changing, holders: list[Holder]
) -> None:
    program = world.program(buckets=2)
    world.import_codes(program, *CODES)
    imported, before = changing.last_batch(), rows(world, program)
    attached = changing.attach(program, listed(holders * 2))
    expired = changing.apply(program, expire(NOON + DAY))
    detached = changing.apply(program, DETACH)
    deleted = changing.apply(program, DELETE)

    for batch in (deleted, detached, expired, attached):
        undone = changing.undo(batch)
        assert (undone.undone, undone.touched) == (8, 0), batch.kind
    assert rows(world, program) == before
    twice = changing.undo(changing.apply(program, expire(NOON)))
    assert twice.undone == 8

    assert changing.undo(imported).undone == 8
    assert count_of(world, program) == 0
    assert {world.history(program, code)[-1].kind for code in CODES} == {EventKind.DELETED}


def test_a_batch_below_another_waits_for_it(world: World, changing: Changing) -> None:
    program = world.program()
    world.import_codes(program, *CODES)
    below = changing.apply(program, expire(NOON + DAY))
    changing.apply(program, expire(NOON + HOUR))

    assert changing.undo(below).touched == 8
    assert {why for _, why in changing.touched(below)} == {"updated"}


# -- interrupted ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["import", "delete", "detach", "attach"])
def test_an_undo_stopped_at_every_chunk_ends_as_if_it_never_was(
    world: World, changing: Changing, holders: list[Holder], kind: str
) -> None:
    program = world.program(buckets=2)
    world.import_codes(program, *CODES)
    batch = changing.last_batch()
    if kind == "delete":
        batch = changing.apply(program, DELETE)
    elif kind == "attach":
        batch = changing.attach(program, listed(holders * 2))
    elif kind == "detach":
        for code, holder in zip(CODES, holders * 2, strict=True):
            world.attach(program, holder, code)
        batch = changing.apply(program, DETACH)

    undone = stopped_at_each_chunk(lambda progress: changing.undo(batch, progress))

    assert (undone.state, undone.undone, undone.touched) == (BatchState.UNDONE, 8, 0)
    assert count_of(world, program) == (0 if kind == "import" else 8)
    held = sum(map(len, attachments(world, program, holders).values()))
    assert held == (8 if kind == "detach" else 0)


def test_a_change_that_was_stopped_is_taken_back_as_far_as_it_came(
    world: World, changing: Changing
) -> None:
    program = world.program()
    world.import_codes(program, *CODES)
    before = rows(world, program)
    batch = changing.begin(program, expire(NOON + DAY))

    async def undo_meanwhile(done: int, total: int | None, phase: str) -> None:
        if done == 6:
            await changing.batches.undo(batch.id)

    with pytest.raises(Exception, match="other hands"):
        changing.run(batch, undo_meanwhile)

    assert rows(world, program) == before
    undone = world.run(changing.batches.batch(batch.id))
    assert (undone.state, undone.undone) == (BatchState.UNDONE, 6)


def test_a_batch_is_shown_with_its_counts_and_moments(world: World, changing: Changing) -> None:
    program = world.program()
    world.import_codes(program, "A", "B")
    batch = changing.begin(program, expire(NOON + DAY), CodeFilter(codes=frozenset({"a"})))

    shown = batch_view(changing.run(batch))

    assert shown["created"] == "2024-04-01T19:33:20Z"
    assert shown["parameters"] == {
        "filter": {"codes": ["a"]},
        "expire_date": "2024-04-02T19:33:20Z",
    }
    assert (shown["kind"], shown["state"], shown["counts"]["changed"]) == ("expire", "done", 1)
    assert [one.id for one in world.run(changing.batches.batches(program.id))] == [2, 1]


def test_what_a_batch_did_is_found_by_key_on_tables_without_statistics(stores: Stores) -> None:
    async def plan(connection: Any, statement: str, *parameters: Any) -> str:
        rows = await connection.fetch(f"EXPLAIN {statement}", *parameters)
        return "\n".join(row[0] for row in rows)

    async def plans() -> tuple[str, str]:
        connection = await asyncpg.connect(stores.new("postgres"))
        async with connection.transaction():
            await connection.execute(BY_KEY)
            made = await plan(connection, batch_sql.MADE, 4096, 1, 1_000, 1, 250)
            changes = await plan(connection, batch_sql.CHANGES, 4096, 1, "", 250)
        await connection.close()
        return made, changes

    made, changes = asyncio.run(plans())

    assert "promo_code_seq" in made
    assert "batch_change_pkey" in changes
    for text in (made, changes):
        assert "event_version" in text
        assert "Sort" not in text
        assert "Seq Scan" not in text
        assert not re.search(r"Index Cond: \(shard_key = [^)]*\)$", text, re.MULTILINE)


# -- any change, taken back ----------------------------------------------------------------

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["attach", "activate", "detach", "expire", "wait"]),
        st.integers(0, 5),
        st.integers(0, 2),
    ),
    max_size=12,
)
BULK = st.sampled_from(["expire", "unexpire", "detach", "deactivate", "delete", "attach", "named"])


@pytest.mark.parametrize("kind", STORES)
def test_a_change_that_is_taken_back_leaves_everything_as_it_was(
    stores: Stores, make_world: Callable[..., World], kind: str
) -> None:
    world = make_world(stores.new(kind))
    changing = Changing(world)
    database = world.database()
    holders = [world.profile(database, f"p{number}@example.com") for number in range(3)]

    @settings(
        max_examples=25,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(steps=STEPS, bulk=BULK, universal=st.booleans(), buckets=st.sampled_from([1, 4]))
    def taken_back(
        steps: list[tuple[str, int, int]], bulk: str, universal: bool, buckets: int
    ) -> None:
        program = world.program(multiple_usage=universal, buckets=buckets, lifetime_s=3600)
        world.import_codes(program, *(f"C{number}" for number in range(6)))
        for step in steps:
            live(world, program, holders, *step)
        world.now += SECOND
        before = rows(world, program), attachments(world, program, holders)
        count = count_of(world, program)

        batch = in_bulk(changing, program, holders, bulk)
        undone = changing.undo(batch)

        assert (undone.undone, undone.touched) == (batch.changed, 0)
        assert (rows(world, program), attachments(world, program, holders)) == before
        assert count_of(world, program) == count
        for code in before[0].values():
            assert world.get(program, code.code).version >= 1

    taken_back()


def live(
    world: World, program: LoyaltyProgram, holders: list[Holder], what: str, n: int, who: int
) -> None:
    """Do one thing that a customer or operator may do; what is refused is no matter."""
    world.now += SECOND
    code = f"C{n}"
    try:
        if what == "attach":
            world.attach(program, holders[who], code)
        elif what == "activate":
            world.activate(program, code)
        elif what == "detach":
            world.detach(program, holders[who], code)
        elif what == "expire":
            world.update(program, code, expires_at=world.now + who * HOUR)
        else:
            world.now += HOUR
    except Refused:
        pass


def in_bulk(changing: Changing, program: LoyaltyProgram, holders: list[Holder], bulk: str) -> Batch:
    simple: dict[str, Change] = {
        "expire": expire(changing.world.now + DAY),
        "unexpire": expire(None),
        "detach": DETACH,
        "deactivate": DEACTIVATE,
        "delete": DELETE,
    }
    if bulk in simple:
        return changing.apply(program, simple[bulk])
    codes = None if bulk == "attach" else ["C0", "NEW", "C5"]
    return changing.attach(program, listed(holders, codes))
