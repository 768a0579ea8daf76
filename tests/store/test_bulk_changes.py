"""Many codes changed at once: counted before, whole chunks, resumed, exact beside traffic."""

import json
import re

import pytest

from promint.domain.errors import BadValue, BatchNotFound, StoreBusy
from promint.domain.model import BatchState, CodeState, EventKind, Holder, ProfileKey
from promint.service import bulk_changes, chunks
from promint.service.bulk_changes import filter_of, filter_parameters, holder_key
from promint.store import batch_sql
from promint.store.searching import CodeFilter, Span
from tests.store.bulk import (
    DEACTIVATE,
    DELETE,
    DETACH,
    Changing,
    count_of,
    expire,
    listed,
    rows,
    stopped_at_each_chunk,
)
from tests.world import DAY, HOUR, NOON, World

pytestmark = pytest.mark.usefixtures("ledger_holds")


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (chunks, bulk_changes):
        monkeypatch.setattr(module, "CHUNK", 3)


@pytest.fixture
def changing(world: World) -> Changing:
    return Changing(world)


@pytest.fixture
def holders(world: World) -> list[Holder]:
    database = world.database()
    return [world.profile(database, f"{name}@example.com") for name in ("ann", "bob", "cid", "dee")]


CODES = [f"C{number}" for number in range(8)]

# -- over the codes that match -------------------------------------------------------------


def test_a_preview_counts_what_matches_and_what_would_change(
    world: World, changing: Changing, holders: list[Holder]
) -> None:
    program = world.program()
    world.import_codes(program, *CODES)
    world.attach(program, holders[0], "C0")
    world.attach(program, holders[0], "C1")
    world.activate(program, "C1")

    preview = changing.preview(program, DETACH)

    assert (preview.matching, preview.is_all, preview.changing) == (8, True, 1)
    assert [(one.code, one.state, one.refused) for one in preview.sample[:3]] == [
        ("C0", "attached", ""),
        ("C1", "activated", "already_activated"),
        ("C2", "free", "unchanged"),
    ]
    assert changing.preview(program, DELETE).changing == 6
    assert changing.preview(program, DEACTIVATE).changing == 1
    assert changing.preview(program, expire(None)).changing == 0
    assert changing.preview(program, expire(NOON), CodeFilter(prefix="c0")).matching == 1


def test_a_preview_looks_at_so_many_and_says_so(
    world: World, changing: Changing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_changes, "PREVIEW_MOST", 5)
    program = world.program()
    world.import_codes(program, *CODES)

    preview = changing.preview(program, expire(NOON))

    assert (preview.matching, preview.is_all, preview.changing) == (5, False, 5)


def test_an_expiry_is_set_on_all_that_match_and_nothing_else_changes(
    world: World, changing: Changing, holders: list[Holder]
) -> None:
    program = world.program(buckets=4)
    world.import_codes(program, *CODES)
    world.attach(program, holders[0], "C3")
    before = rows(world, program)

    batch = changing.apply(program, expire(NOON + DAY))

    assert (batch.state, batch.total, batch.changed) == (BatchState.DONE, 8, 8)
    assert (batch.author, batch.source, batch.finished_at) == ("Olga", "test", NOON)
    after = rows(world, program)
    assert all(code.expires_at == NOON + DAY for code in after.values())
    assert {key: code._replace(expires_at=None) for key, code in after.items()} == before
    event = world.history(program, "C3")[-1]
    assert event.kind == EventKind.UPDATED
    assert json.loads(event.details or "")["batch_id"] == batch.id


def test_an_expiry_is_removed_and_what_has_none_is_left_alone(
    world: World, changing: Changing
) -> None:
    program = world.program()
    world.import_codes(program, *CODES)
    world.update(program, "C1", expires_at=NOON + DAY)

    batch = changing.apply(program, expire(None))

    assert (batch.total, batch.changed) == (8, 1)
    assert world.get(program, "C1").expires_at is None
    assert world.history(program, "C2") == []


def test_detaching_frees_what_is_held_and_lists_what_was_used(
    world: World, changing: Changing, holders: list[Holder]
) -> None:
    program = world.program()
    world.import_codes(program, *CODES)
    for code, holder in zip(CODES, holders, strict=False):
        world.attach(program, holder, code)
    world.activate(program, "C2")

    batch = changing.apply(program, DETACH)

    assert (batch.total, batch.changed, batch.rejected) == (8, 3, 1)
    assert [(one.code, one.reason) for one in changing.rejects] == [("C2", "already_activated")]
    assert world.get(program, "C0").is_free(NOON)
    assert world.get(program, "C2").profile_id == holders[2].profile_id
    world.attach(program, holders[3], "C0")


def test_deactivating_takes_the_latest_use_back(
    world: World, changing: Changing, holders: list[Holder]
) -> None:
    program = world.program(multiple_usage=True)
    world.attach(program, holders[0], "A")
    world.activate(program, "A")
    world.now += HOUR
    world.activate(program, "A")
    world.attach(program, holders[0], "B")

    batch = changing.apply(program, DEACTIVATE)

    assert (batch.total, batch.changed) == (2, 1)
    code = world.get(program, "A")
    assert (code.activation_count, code.activated_at) == (1, NOON)


def test_deleting_leaves_what_is_held_and_lowers_the_count(
    world: World, changing: Changing, holders: list[Holder]
) -> None:
    program = world.program(code_limit=8)
    world.import_codes(program, *CODES)
    world.attach(program, holders[0], "C0")
    world.detach(program, holders[0], "C0")
    world.attach(program, holders[0], "C1")

    batch = changing.apply(program, DELETE)

    assert (batch.total, batch.changed, batch.touched) == (8, 7, 1)
    assert list(rows(world, program)) == ["c1"]
    assert count_of(world, program) == 1
    assert world.import_codes(program, *CODES).inserted == 7


def test_a_deleted_code_that_comes_back_starts_above_its_old_events(
    world: World, changing: Changing, holders: list[Holder]
) -> None:
    program = world.program()
    world.import_codes(program, "A", "B")
    for code in ("A", "B"):
        world.attach(program, holders[0], code)
        world.detach(program, holders[0], code)
    changing.apply(program, DELETE)

    world.attach(program, holders[1], "A")
    world.import_codes(program, "B")
    world.attach(program, holders[1], "B")

    kinds = [EventKind(event.kind).name for event in world.history(program, "A")]
    assert kinds == ["ATTACHED", "DETACHED", "DELETED", "CREATED", "ATTACHED"]
    versions = [event.version or 0 for event in world.history(program, "B")]
    assert versions == sorted(set(versions))


def test_a_filter_chooses_and_single_codes_too(
    world: World, changing: Changing, holders: list[Holder]
) -> None:
    program = world.program()
    world.import_codes(program, *CODES)
    for code in CODES[:3]:
        world.attach(program, holders[0], code)
    world.attach(program, holders[1], "C4")

    held = changing.apply(program, expire(NOON + DAY), CodeFilter(holder=holders[0]))
    named = changing.apply(program, expire(NOON + HOUR), CodeFilter(codes=frozenset({"c1", "c7"})))
    changed = changing.apply(program, DETACH, CodeFilter(batch_id=held.id))

    assert (held.changed, named.changed, changed.changed) == (3, 2, 3)
    assert world.get(program, "C1").expires_at == NOON + HOUR
    assert world.get(program, "C4").attach_count == 1


def test_a_filter_is_kept_with_its_batch_to_the_microsecond() -> None:
    wanted = CodeFilter(
        CodeState.FREE,
        "spring",
        7,
        Holder(1, "ab"),
        frozenset({"x", "y"}),
        Span(1, None),
        Span(None, 2),
        expires=Span(3, 4),
    )

    assert filter_of(json.loads(json.dumps(filter_parameters(wanted)))) == wanted
    assert filter_parameters(CodeFilter()) == {}


def test_what_changed_since_it_was_found_is_left_alone(
    world: World, changing: Changing, holders: list[Holder]
) -> None:
    program = world.program()
    world.import_codes(program, *CODES)
    batch = changing.begin(program, expire(NOON + DAY), CodeFilter(state=CodeState.FREE))

    async def attach_meanwhile(done: int, total: int | None, phase: str) -> None:
        if phase == "changing" and done == 0:
            key = ProfileKey(holders[0].database_id, profile_id=holders[0].profile_id)
            await world.service.attach(world.call(), program.id, key, "C5")

    batch = changing.run(batch, attach_meanwhile)

    assert (batch.total, batch.changed, batch.rejected) == (8, 7, 1)
    assert [(one.code, one.reason) for one in changing.rejects] == [("C5", "changed")]
    assert world.get(program, "C5").expires_at is None


# -- over a list of profiles ---------------------------------------------------------------


def test_each_profile_of_a_list_gets_a_free_code(
    world: World, changing: Changing, holders: list[Holder]
) -> None:
    program = world.program(lifetime_s=60)
    world.import_codes(program, *CODES)

    batch = changing.attach(program, listed(holders))

    assert (batch.total, batch.changed, batch.inserted, batch.rejected) == (4, 4, 0, 0)
    codes = rows(world, program).values()
    assert {code.profile_id for code in codes if code.attach_count} == {
        holder.profile_id for holder in holders
    }
    assert all((code.expires_at is None) == (not code.attach_count) for code in codes)


def test_each_profile_gets_the_code_that_the_list_names(
    world: World, changing: Changing, holders: list[Holder]
) -> None:
    program = world.program(code_limit=9)
    world.import_codes(program, *CODES)

    batch = changing.attach(program, listed(holders, ["C3", "NEW", "c3", "NEWER"]))

    assert (batch.total, batch.changed, batch.inserted, batch.rejected) == (4, 2, 1, 2)
    assert world.get(program, "C3").profile_id == holders[0].profile_id
    assert world.get(program, "NEW").profile_id == holders[1].profile_id
    assert [(one.line, one.code, one.reason) for one in changing.rejects] == [
        (3, "c3", "already_attached"),
        (4, "NEWER", "code_limit"),
    ]


def test_attaching_many_obeys_every_rule(
    world: World, changing: Changing, holders: list[Holder]
) -> None:
    limited = world.program(profile_limit=1, creates_on_attach=False)
    world.import_codes(limited, "A", "B", "C")
    gone = Holder(holders[0].database_id, "0" * 24)
    other = Holder(999, holders[0].profile_id)

    batch = changing.attach(
        limited, listed([holders[0], holders[0], gone, other, holders[1], holders[2], holders[3]])
    )

    assert (batch.total, batch.changed, batch.rejected) == (7, 3, 4)
    assert [(one.line, one.reason) for one in changing.rejects] == [
        (2, "profile_limit"),
        (3, "profile_not_found"),
        (4, "database_not_found"),
        (7, "none_free"),
    ]
    off = world.program(active=False)
    assert changing.attach(off, listed(holders[:1])).rejected == 1
    assert changing.rejects[0].reason == "program_inactive"


def test_a_universal_code_goes_to_a_whole_list_and_nobody_twice(
    world: World, changing: Changing, holders: list[Holder]
) -> None:
    program = world.program(multiple_usage=True)
    world.attach(program, holders[1], "ALL")

    batch = changing.attach(program, listed([*holders, holders[0]], ["ALL"] * 5))

    assert (batch.total, batch.changed, batch.rejected) == (5, 3, 0)
    assert world.get(program, "ALL").attach_count == 4
    assert changing.preview(program, DELETE, CodeFilter(batch_id=batch.id)).matching == 1


def test_places_of_universal_codes_are_filled_one_after_the_other(
    world: World, changing: Changing, holders: list[Holder]
) -> None:
    program = world.program(multiple_usage=True, attach_limit=1, creates_on_attach=False)
    world.import_codes(program, "A", "B", "C")

    batch = changing.attach(program, listed(holders))

    assert (batch.changed, batch.rejected) == (3, 1)
    assert {code.attach_count for code in rows(world, program).values()} == {1}


def test_a_preview_of_a_list_says_who_would_be_refused(
    world: World, changing: Changing, holders: list[Holder]
) -> None:
    program = world.program(creates_on_attach=False)
    world.import_codes(program, "A", "B")
    gone = listed([*holders, holders[0]], [None, None, None, "B", "X"])

    preview = world.run(changing.changes.preview_attach(program, gone))

    assert (preview.matching, preview.changing) == (5, 3)
    assert [one.refused for one in preview.sample] == ["", "", "none_free", "", "code_not_found"]


# -- interrupted ---------------------------------------------------------------------------


@pytest.mark.parametrize("change", [expire(NOON + DAY), DELETE], ids=["expire", "delete"])
def test_a_change_stopped_at_every_chunk_ends_as_if_it_never_was(
    world: World, changing: Changing, holders: list[Holder], change: bulk_changes.Change
) -> None:
    program = world.program(buckets=2)
    world.import_codes(program, *CODES)
    world.attach(program, holders[0], "C2")
    batch = changing.begin(program, change)

    done = stopped_at_each_chunk(lambda progress: changing.run(batch, progress))

    kept = change is DELETE
    assert (done.state, done.total, done.changed) == (BatchState.DONE, 8, 7 if kept else 8)
    assert done.touched == int(kept)
    for code in CODES:
        assert len(world.history(program, code)) == 1 + (code == "C2" and not kept)
    assert count_of(world, program) == (1 if kept else 8)


def test_attaching_stopped_at_every_chunk_serves_each_profile_once(
    world: World, changing: Changing, holders: list[Holder]
) -> None:
    program = world.program()
    world.import_codes(program, *CODES)
    targets = listed(holders * 2)
    batch = world.run(changing.changes.begin_attach(program, targets, source="list"))

    done = stopped_at_each_chunk(lambda progress: changing.run(batch, progress, targets=targets))

    assert (done.total, done.changed, done.state) == (8, 8, BatchState.DONE)
    assert all(code.attach_count == 1 for code in rows(world, program).values())


def test_a_batch_that_is_done_stays_so_and_others_are_told(
    world: World, changing: Changing
) -> None:
    program = world.program()
    world.import_codes(program, "A")
    batch = changing.apply(program, expire(NOON))

    assert changing.run(batch) == batch
    with pytest.raises(BatchNotFound):
        world.run(changing.changes.run(99))
    with pytest.raises(BadValue, match="import"):
        changing.run(changing.world.run(changing.batches.batches())[-1])
    attaching = world.run(changing.changes.begin_attach(program, listed([]), source="list"))
    with pytest.raises(BadValue, match="list"):
        changing.run(attaching)


def test_two_runs_of_one_batch_do_not_meddle(world: World, changing: Changing) -> None:
    program = world.program()
    world.import_codes(program, *CODES)
    batch = changing.begin(program, expire(NOON + DAY))

    async def run_it_elsewhere(done: int, total: int | None, phase: str) -> None:
        if done == 3:
            await changing.changes.run(batch.id)

    with pytest.raises(StoreBusy):
        changing.run(batch, run_it_elsewhere)

    done = world.run(changing.batches.batch(batch.id))
    assert (done.state, done.total, done.changed) == (BatchState.DONE, 8, 8)


def test_what_is_kept_of_a_universal_attachment_cannot_be_a_code() -> None:
    assert holder_key("spring", Holder(1, "ab")) == "\nspring\n1:ab"


# -- statements ----------------------------------------------------------------------------


STATEMENTS = {
    name: text
    for name, text in vars(batch_sql).items()
    if isinstance(text, str) and re.search(r"\b(SELECT|INSERT|DELETE)\b", text)
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_statement_of_bulk_changes_names_its_shard(name: str) -> None:
    text = STATEMENTS[name]
    aliases = re.findall(r"(?:FROM|JOIN) (?:promo_code|event|attachment) (\w)\b", text)

    assert "shard_key" in text
    assert all(re.search(rf"\b{alias}\.shard_key = ", text) for alias in aliases)
    if not name.startswith("POSTGRES_"):
        numbers = [int(number) for number in re.findall(r"\$(\d+)", text)]
        assert list(dict.fromkeys(numbers)) == sorted(set(numbers))
