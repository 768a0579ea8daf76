"""Attaching without a code where none is free: the program's template makes one."""

import asyncio
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from promint.domain.errors import (
    CodeExpired,
    CodeLimitReached,
    NoFreeCode,
    ProfileLimitReached,
    ProgramInactive,
)
from promint.domain.model import EventKind, Holder, LoyaltyProgram, ProfileKey
from promint.domain.templates import Template
from promint.service.drawing import CodeSource, NewCode
from promint.store import Answer, ConnectionLost, RequestBatch
from tests.conftest import Stores
from tests.world import DAY, NOON, SECOND, World

pytestmark = pytest.mark.usefixtures("ledger_holds")

TEMPLATE = "SPRING-{12}"


@pytest.fixture
def ann(world: World) -> Holder:
    return world.profile(world.database(), "ann@example.com")


@pytest.fixture
def bob(world: World, ann: Holder) -> Holder:
    database = world.run(world.store.database(ann.database_id))
    assert database is not None
    return world.profile(database, "bob@example.com")


def is_of_template(program: LoyaltyProgram, code: str) -> bool:
    return Template.parse(program.template, program.code_matching).matches(code)


@pytest.mark.parametrize("buckets", [1, 64])
def test_a_code_is_made_where_none_is_free(world: World, ann: Holder, buckets: int) -> None:
    program = world.program(template=TEMPLATE, buckets=buckets, default_expire_date=NOON + DAY)
    world.import_codes(program, "FREE-1")

    first = world.attach(program, ann)
    made = world.attach(program, ann)

    assert first == "FREE-1"
    assert is_of_template(program, made)
    code = world.get(program, made)
    assert (code.database_id, code.profile_id) == ann
    assert (code.code, code.attach_count, code.expires_at) == (made, 1, NOON + DAY)
    assert world.exported(program) == ["FREE-1", made]
    kinds = [EventKind(event.kind).name for event in world.history(program, made)]
    assert sorted(kinds) == ["ATTACHED", "CREATED"]


def test_a_code_that_comes_free_is_given_before_another_is_made(world: World, ann: Holder) -> None:
    program = world.program(template=TEMPLATE)
    made = world.attach(program, ann)
    world.detach(program, ann, made)

    assert world.attach(program, ann) == made


def test_a_universal_program_makes_a_code_for_who_holds_all_that_there_are(
    world: World, ann: Holder, bob: Holder
) -> None:
    program = world.program(template=TEMPLATE, multiple_usage=True, attach_limit=2)

    first = world.attach(program, ann)
    second = world.attach(program, ann)

    assert first != second
    assert {world.attach(program, bob) for _ in range(2)} == {first, second}
    assert world.attach(program, bob) not in {first, second}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"template": TEMPLATE, "creates_on_attach": False},
        {"template": TEMPLATE, "creates_on_attach": False, "multiple_usage": True},
        {"multiple_usage": True},
    ],
    ids=str,
)
def test_a_program_that_makes_no_codes_has_none_free(
    world: World, ann: Holder, settings: dict[str, Any]
) -> None:
    program = world.program(**settings)

    with pytest.raises(NoFreeCode):
        world.attach(program, ann)
    assert world.exported(program) == []


def test_settings_that_change_meanwhile_count(url: str, make_world: Callable[..., World]) -> None:
    world = make_world(url, cache_s=3600)
    program = world.program(template=TEMPLATE)
    ann = world.profile(world.database(), "ann@example.com")
    world.attach(program, ann)

    other = make_world(url)
    other.change(program, template="SUMMER-{12}")
    assert world.attach(program, ann).startswith("SUMMER-")

    other.change(program, creates_on_attach=False)
    with pytest.raises(NoFreeCode):
        world.attach(program, ann)


def test_the_code_limit_holds(world: World, ann: Holder) -> None:
    program = world.program(template=TEMPLATE, code_limit=2)
    world.import_codes(program, "A")

    world.attach(program, ann)
    world.attach(program, ann)

    with pytest.raises(CodeLimitReached):
        world.attach(program, ann)
    assert len(world.exported(program)) == 2


def test_what_is_refused_makes_no_code(world: World, ann: Holder) -> None:
    full = world.program(template=TEMPLATE, profile_limit=1, code_limit=1)
    world.attach(full, ann)
    off = world.program(template=TEMPLATE, active=False)
    past = world.program(template=TEMPLATE, default_expire_date=NOON - SECOND)

    for program, refusal in (
        (full, ProfileLimitReached),
        (off, ProgramInactive),
        (past, CodeExpired),
    ):
        with pytest.raises(refusal):
            world.attach(program, ann)
    assert len(world.exported(full)) == 1
    assert world.exported(off) == world.exported(past) == []


def test_a_lifetime_begins_with_the_attachment(world: World, ann: Holder) -> None:
    program = world.program(template=TEMPLATE, lifetime_s=60)

    assert world.get(program, world.attach(program, ann)).expires_at == NOON + 60 * SECOND


def test_the_same_key_gets_the_same_code_and_another_its_own(world: World, ann: Holder) -> None:
    program = world.program(template=TEMPLATE)

    first = world.attach(program, ann, key="one")
    again = world.attach(program, ann, key="one")
    other = world.attach(program, ann, key="two")

    assert isinstance(first, Answer)
    assert again == first
    assert other != first
    assert len(world.exported(program)) == 2


def test_the_profile_is_made_together_with_the_code(world: World) -> None:
    program = world.program(template=TEMPLATE, code_limit=1)
    database = world.database(creates_profiles=True)

    made = world.attach_by_email(program, database, "new@example.com")
    with pytest.raises(CodeLimitReached):
        world.attach_by_email(program, database, "late@example.com")

    assert world.get(program, made).database_id == database.id


# -- when drawing meets what is there ------------------------------------------------------


def drawing(world: World, *draws: Sequence[str]) -> list[Sequence[str]]:
    """Let the world draw these codes, one list at a time; return what is still to draw."""
    left = list(draws)

    class Planned(CodeSource):
        def draw(self, program: LoyaltyProgram, count: int) -> list[NewCode]:
            codes = left.pop(0)
            return [((program.first_shard, code.casefold()), code) for code in codes]

    world.service.codes = Planned(os.urandom, world.service.codes.rude)
    return left


def test_a_code_that_exists_is_drawn_again(world: World, ann: Holder, bob: Holder) -> None:
    program = world.program(template=TEMPLATE)
    for code in ("A", "B", "C"):
        world.attach(program, bob, code)
    left = drawing(world, ["A", "B"], ["C", "D"])

    assert world.attach(program, ann) == "D"
    assert left == []


def test_two_of_one_batch_that_draw_the_same_code_get_two(world: World, ann: Holder) -> None:
    program = world.program(template=TEMPLATE)
    key = ProfileKey(ann.database_id, profile_id=ann.profile_id)
    drawing(world, ["A"], ["A"], ["B"])

    async def at_once() -> list[str]:
        attach = world.service.attach
        return list(
            await asyncio.gather(*(attach(world.call(), program.id, key, None) for _ in range(2)))
        )

    assert sorted(world.run(at_once())) == ["A", "B"]


def test_a_space_that_is_used_up_has_none_free(world: World, ann: Holder) -> None:
    program = world.program(template="{1:[AB]}")
    world.attach(program, ann, "A")
    world.attach(program, ann, "B")

    with pytest.raises(NoFreeCode):
        world.attach(program, ann)


def test_a_template_that_cannot_be_read_makes_no_code(world: World, ann: Holder) -> None:
    program = world.program(template=TEMPLATE)
    world.service.codes.template = broken_template  # type: ignore[assignment]  # as an old row's

    with pytest.raises(NoFreeCode):
        world.attach(program, ann)


def broken_template(text: str, matching: object) -> Template:
    return Template.parse("{", None)  # type: ignore[arg-type]  # never looked at


# -- others at the same moment -------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"multiple_usage": True, "attach_limit": 1}], ids=str)
def test_racers_over_two_stores_get_a_code_each_up_to_the_limit(
    url: str, make_world: Callable[..., World], settings: dict[str, Any]
) -> None:
    worlds = [make_world(url), make_world(url)]
    program = worlds[0].program(template=TEMPLATE, code_limit=30, **settings)
    database = worlds[0].database()
    holders = [worlds[0].profile(database, f"p{number}@example.com") for number in range(40)]

    def race(world: World, part: Sequence[Holder]) -> list[Any]:
        async def at_once() -> list[Any]:
            keys = [ProfileKey(one.database_id, profile_id=one.profile_id) for one in part]
            attach, call = world.service.attach, world.call
            return await asyncio.gather(
                *(attach(call(), program.id, key, None) for key in keys), return_exceptions=True
            )

        return world.run(at_once())

    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(race, worlds, (holders[:20], holders[20:]))

    codes = [outcome for outcome in (*first, *second) if isinstance(outcome, str)]
    refused = [outcome for outcome in (*first, *second) if not isinstance(outcome, str)]
    assert len(codes) == len(set(codes)) == 30
    assert {type(refusal) for refusal in refused} == {CodeLimitReached}
    assert sorted(worlds[0].exported(program)) == sorted(codes)


@pytest.mark.parametrize("buckets", [1, 64])
def test_a_commit_that_was_cut_off_is_found_and_gives_one_code(
    stores: Stores, make_world: Callable[..., World], buckets: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world(stores.new("postgres"))
    ann = world.profile(world.database(), "ann@example.com")
    program = world.program(template=TEMPLATE, buckets=buckets)
    transact = world.store.transact
    commits = 0

    async def cut_off(batch: RequestBatch, *, locked: bool) -> None:
        nonlocal commits
        await transact(batch, locked=locked)
        commits += 1
        # The first reading finds that none is free, the second makes one.
        if commits == 2:
            raise ConnectionLost("cut off", may_have_written=True)

    monkeypatch.setattr(world.store, "transact", cut_off)

    made = world.attach(program, ann)

    assert commits == 3
    assert world.exported(program) == [made]
    assert is_of_template(program, made)
