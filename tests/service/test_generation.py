"""Generating codes: exactly as many as were asked for, on both stores, whatever is there."""

import asyncio
import json
import os
from collections.abc import Callable
from typing import Any

import pytest

from promint.bootstrap import make_store
from promint.domain.errors import BadValue, BatchNotFound, CodeLimitReached, ProgramNotFound
from promint.domain.model import (
    Batch,
    BatchKind,
    BatchState,
    CodeMatching,
    EventKind,
    ExpirySource,
    LoyaltyProgram,
)
from promint.domain.rude import NO_WORDS, RudeWords
from promint.domain.templates import Template
from promint.service.drawing import CodeSource
from promint.service.generation import BLOCK_CODES, Generation
from promint.service.means import Cancelled, Means, Progress
from promint.store import Store
from tests.world import DAY, NOON, World

pytestmark = pytest.mark.usefixtures("ledger_holds")

TEMPLATE = "SPRING-{12}"


def generation(world: World, words: RudeWords = NO_WORDS, store: Store | None = None) -> Generation:
    means = Means(
        store or world.store, world.ids, lambda: world.now, os.urandom, author="Ann", token_id=7
    )
    return Generation(means, CodeSource(os.urandom, words))


def generate(world: World, program: LoyaltyProgram, count: int | None, **options: Any) -> Batch:
    return world.run(generation(world).generate(program.id, count, **options))


def template_of(text: str) -> Template:
    return Template.parse(text, CodeMatching.FORGIVING)


def test_exactly_as_many_new_codes_are_stored(world: World) -> None:
    program = world.program(template=TEMPLATE, default_expire_date=NOON + DAY)

    batch = generate(world, program, 1_000)

    codes = world.exported(program)
    assert len(codes) == 1_000
    assert all(map(template_of(TEMPLATE).matches, codes))
    assert (batch.kind, batch.state) == (BatchKind.GENERATE, BatchState.DONE)
    assert (batch.total, batch.inserted, batch.source) == (1_000, 1_000, TEMPLATE)
    assert (batch.author, batch.created_at, batch.finished_at) == ("Ann", NOON, NOON)
    assert world.run(world.store.batch(batch.id)) == batch
    code = world.get(program, codes[0].lower())
    assert (code.batch_id, code.created_at, code.is_free(NOON)) == (batch.id, NOON, True)
    assert (code.expires_at, code.expiry_source) == (NOON + DAY, ExpirySource.DEFAULT)


@pytest.mark.parametrize("buckets", [1, 64])
def test_more_than_a_block_is_stored_whole(world: World, buckets: int) -> None:
    program = world.program(buckets=buckets)
    seen: list[tuple[int, int | None, str]] = []

    async def progress(done: int, total: int | None, phase: str) -> None:
        seen.append((done, total, phase))

    generate(world, program, BLOCK_CODES + 1, template="{6}-{6}{check}", progress=progress)

    codes = world.exported(program)
    assert len(set(codes)) == BLOCK_CODES + 1
    assert all(map(template_of("{6}-{6}{check}").check, codes))
    assert (BLOCK_CODES + 1, BLOCK_CODES + 1, "drawing") in seen
    assert seen[-1] == (BLOCK_CODES + 1, BLOCK_CODES + 1, "storing")


def test_codes_that_exist_are_drawn_again(world: World) -> None:
    program = world.program()
    taken = [f"{number:03}" for number in range(0, 800, 2)]
    world.import_codes(program, *taken)

    batch = generate(world, program, 100, template="{3:digits}", accept_guessable=True)

    assert batch.inserted == 100
    codes = world.exported(program)
    assert len(codes) == len(set(codes)) == 500
    assert set(taken) < set(codes)


def test_codes_have_the_date_and_the_data_that_were_named(world: World) -> None:
    program = world.program(template=TEMPLATE, fields=("shop",), default_expire_date=NOON + DAY)

    generate(world, program, 3, expires_at=NOON + 2 * DAY, fields={"shop": "Алматы"})

    for code in world.exported(program):
        stored = world.get(program, code)
        assert (stored.expires_at, stored.expiry_source) == (NOON + 2 * DAY, ExpirySource.GIVEN)
        assert json.loads(stored.fields or "") == {"shop": "Алматы"}


def test_a_template_in_cyrillic_and_an_exact_program_work(world: World) -> None:
    program = world.program(code_matching=CodeMatching.EXACT)

    generate(world, program, 50, template="Лето-{16:cyrillic}")

    for code in world.exported(program):
        assert world.get(program, code).code_key == code


def test_what_is_generated_is_on_record(world: World) -> None:
    program = world.program(template=TEMPLATE)

    batch = generate(world, program, 10)

    async def events() -> list[Any]:
        found, _ = await world.store.searching.events(program, after=None, most=10)
        return found

    made = [event for event in world.run(events()) if event.kind == EventKind.GENERATED]
    assert [json.loads(event.details or "")["batch_id"] for event in made] == [batch.id]
    assert made[0].token_id == 7


def test_rude_words_are_left_out(world: World) -> None:
    program = world.program()

    work = generation(world, RudeWords(["aa", "bb"])).generate(
        program.id, 2, template="{2:[ABC]}", accept_guessable=True
    )
    world.run(work)

    assert not {"AA", "BB"} & set(world.exported(program))


# -- what is refused -----------------------------------------------------------------------


def test_what_the_plan_refuses_is_not_begun(world: World) -> None:
    program = world.program()

    with pytest.raises(BadValue, match=r"use \{\d+\} instead of \{8\}, template"):
        generate(world, program, 1_000, template="{8}")
    with pytest.raises(BadValue, match=r"more than half .* use \{3:digits\} instead"):
        generate(world, program, 60, template="{2:digits}", accept_guessable=True)

    assert world.exported(program) == []
    assert world.run(world.store.batches(program.id)) == []


def test_the_limit_refuses_before_anything_starts(world: World) -> None:
    program = world.program(template=TEMPLATE, code_limit=10)
    world.import_codes(program, "A")

    with pytest.raises(CodeLimitReached):
        generate(world, program, 10)
    assert world.run(world.store.batches(program.id))[0].kind is BatchKind.IMPORT

    assert generate(world, program, 9).inserted == 9


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"template": TEMPLATE, "count": 0}, "count"),
        ({"template": TEMPLATE, "count": 2_000_000_000}, "count"),
        ({"template": TEMPLATE, "count": None}, "count"),
        ({"template": "{8"}, "template"),
        ({"template": ""}, "template"),
        ({"template": TEMPLATE, "fields": {"colour": "red"}}, "colour"),
        ({"template": TEMPLATE, "fields": {"shop": "x" * 10_001}}, "shop"),
        ({"template": TEMPLATE, "expires_at": 2**62}, "expire_date"),
    ],
    ids=str,
)
def test_what_cannot_be_is_named(world: World, options: dict[str, Any], named: str) -> None:
    program = world.program(fields=("shop",))

    with pytest.raises(BadValue, match=f", {named}$"):
        generate(world, program, **{"count": 1, **options})


def test_a_program_or_batch_that_is_not_there_is_not_found(world: World) -> None:
    program, other = world.program(template=TEMPLATE), world.program(template=TEMPLATE)
    batch = generate(world, program, 1)

    with pytest.raises(ProgramNotFound):
        world.run(generation(world).generate(99, 1))
    for wrong in (99, batch.id):
        with pytest.raises(BatchNotFound):
            generate(world, other, None, resume_batch=wrong)
    with pytest.raises(BadValue, match="the batch is done, resume"):
        generate(world, program, None, resume_batch=batch.id)


def test_a_plan_counts_what_begins_like_the_template(world: World) -> None:
    program = world.program()
    world.import_codes(program, "A-1", "A-2", "B-1", "B-2", "B-3")

    async def plan(text: str) -> tuple[int, int]:
        made = await generation(world).plan(program.id, 3, text, accept_guessable=True)
        return made.used, len(made.refusals)

    assert world.run(plan("A-{1:digits}")) == (2, 0)
    assert world.run(plan("B-{1:digits}")) == (3, 1)
    assert world.run(plan("{1:digits}")) == (5, 1)


# -- interrupted ---------------------------------------------------------------------------


def stopped(world: World, program: LoyaltyProgram, count: int, phase: str) -> Batch:
    """Stop a generation at the first report of a phase, and return what it left."""

    async def stop(done: int, total: int | None, reported: str) -> None:
        if reported == phase:
            raise Cancelled

    with pytest.raises(Cancelled):
        generate(world, program, count, progress=stop, expires_at=NOON + DAY)
    (batch,) = world.run(world.store.batches(program.id))
    return batch


@pytest.mark.parametrize("phase", ["drawing", "storing"])
def test_a_batch_that_was_stopped_is_resumed(world: World, phase: str) -> None:
    program = world.program(template=TEMPLATE)
    batch = stopped(world, program, 3_000, phase)
    before = world.exported(program)
    assert (batch.state, batch.inserted) == (BatchState.STOPPED, len(before))

    with pytest.raises(BadValue, match="the batch is of 3000 codes, count"):
        generate(world, program, 5, resume_batch=batch.id)
    done = generate(world, world.change(program, template=""), None, resume_batch=batch.id)

    codes = world.exported(program)
    assert (done.id, done.state, done.inserted) == (batch.id, BatchState.DONE, 3_000)
    assert len(set(codes)) == 3_000
    assert set(before) <= set(codes)
    assert {world.get(program, code).expires_at for code in codes[:5]} == {NOON + DAY}


def test_a_command_that_is_interrupted_leaves_a_batch_to_resume(
    world: World,
) -> None:
    program = world.program(template=TEMPLATE)

    async def interrupted() -> None:
        started = asyncio.Event()

        async def wait(done: int, total: int | None, phase: str) -> None:
            started.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(generation(world).generate(program.id, 10, progress=wait))
        await started.wait()
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        world.run(interrupted())

    (batch,) = world.run(world.store.batches(program.id))
    assert batch.state is BatchState.STOPPED
    assert generate(world, program, 10, resume_batch=batch.id).inserted == 10


def test_two_that_resume_one_batch_at_once_make_no_code_too_many(world: World) -> None:
    program = world.program(template=TEMPLATE)
    batch = stopped(world, program, 3_000, "drawing")

    async def both() -> list[asyncio.Task[Batch]]:
        second = make_store(world.settings)
        await second.open()
        runs: list[asyncio.Task[Batch]] = []
        drawn, stored = (asyncio.Event(), asyncio.Event()), (asyncio.Event(), asyncio.Event())

        def watching(me: int) -> Progress:
            async def progress(done: int, total: int | None, phase: str) -> None:
                mine, other = (drawn if phase == "drawing" else stored)[:: -1 if me else 1]
                if phase == "storing" or done == total:
                    mine.set()
                    waits = asyncio.create_task(other.wait())
                    await asyncio.wait((waits, runs[1 - me]), return_when="FIRST_COMPLETED")
                    waits.cancel()

            return progress

        for me, store in enumerate((world.store, second)):
            work = generation(world, store=store).generate(
                program.id, resume_batch=batch.id, progress=watching(me)
            )
            runs.append(asyncio.create_task(work))
        try:
            await asyncio.wait(runs)
        finally:
            await second.close()
        return runs

    runs = world.run(both())

    codes = world.exported(program)
    assert len(codes) == len(set(codes)) == 3_000
    assert len({world.get(program, code).seq for code in codes}) == 3_000
    done = [run.result() for run in runs]
    assert [(one.state, one.inserted) for one in done] == [(BatchState.DONE, 3_000)] * 2


def test_a_limit_that_others_use_up_meanwhile_stops_the_batch(
    url: str, make_world: Callable[..., World]
) -> None:
    world = make_world(url)
    program = world.program(template=TEMPLATE, code_limit=100)
    key = world.call()

    async def meddle(done: int, total: int | None, phase: str) -> None:
        if phase == "drawing":
            await world.service.import_codes(key, program.id, ["A", "B", "C"])

    with pytest.raises(CodeLimitReached):
        generate(world, program, 99, progress=meddle)

    batch = world.run(world.store.batches(program.id))[-1]
    assert (batch.state, len(world.exported(program))) == (BatchState.STOPPED, 100)

    world.change(program, code_limit=102)
    assert generate(world, program, None, resume_batch=batch.id).inserted == 99
