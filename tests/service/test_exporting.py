"""What is exported can be imported again, and gives the same program; in every format."""

import json
import os
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from promint.domain import codetext
from promint.domain.errors import BadValue
from promint.domain.model import (
    Batch,
    BatchKind,
    CodeMatching,
    CodeState,
    EventKind,
    LoyaltyProgram,
    PromoCode,
)
from promint.service.exporting import Exporting
from promint.store.searching import CodeFilter
from promint.store.staging import Insertion, StagedCode
from promint.wire.rows import CODE_COLUMNS, FileFormat, open_writer, write_rows
from tests.world import DAY, NOON, World

FORMS = [FileFormat.CSV, FileFormat.XLSX, FileFormat.JSONL]
EXAMPLES = int(os.environ.get("PROMINT_TEST_EXAMPLES") or 60)
"""The figure of 10,000 is reached with PROMINT_TEST_EXAMPLES=10000."""


def codes_of(
    world: World,
    program: LoyaltyProgram,
    wanted: CodeFilter = CodeFilter(),  # noqa: B008  # frozen
) -> list[PromoCode]:
    async def collect() -> list[PromoCode]:
        walk = world.store.searching.walk(program, wanted, now=world.now)
        return [code async for codes in walk for code in codes]

    return world.run(collect())


def essence(code: PromoCode) -> tuple[Any, ...]:
    """What of a code survives a move to another program."""
    return (
        code.code,
        code.expires_at,
        code.attached_at,
        code.activated_at,
        code.attach_count,
        code.activation_count,
        code.database_id,
        code.profile_id,
        {name: value for name, value in json.loads(code.fields or "{}").items() if value != ""},
    )


texts = st.text(st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=20)
moments = st.none() | st.integers(NOON - 900 * DAY, NOON - 1)


# -- lines that the database makes ---------------------------------------------------------

LINE_FORMS = [FileFormat.CSV, FileFormat.JSONL]
EVERYTHING = CodeFilter()
STATES = st.sampled_from([EVERYTHING, *(CodeFilter(state=state) for state in CodeState)])


def written(
    world: World, program: LoyaltyProgram, form: FileFormat, *, raw: bool, wanted: CodeFilter
) -> bytes:
    """Return the file as the writer makes it of values, without the database's help."""
    rows = [
        [code.code, code.state(world.now).value, code.created_at, code.expires_at, *code[7:14]]
        for code in codes_of(world, program, wanted)
    ]
    return b"".join(write_rows(open_writer(form, CODE_COLUMNS, raw=raw), [rows]))


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    rows=st.lists(st.tuples(texts, moments, moments, st.booleans()), max_size=8),
    form=st.sampled_from(LINE_FORMS),
    raw=st.booleans(),
    wanted=STATES,
    buckets=st.sampled_from([1, 4]),
)
@example([("A-1", NOON + 1, None, False)], FileFormat.CSV, False, EVERYTHING, 1)
@example([("-1", None, NOON - DAY, True)], FileFormat.CSV, False, EVERYTHING, 1)
@example([("''＝1", NOON, None, False)], FileFormat.CSV, False, EVERYTHING, 1)  # noqa: RUF001
@example([('a "b", c', None, None, False)], FileFormat.CSV, True, EVERYTHING, 1)
@example([('"\\/\x7f\u2028é', None, NOON - 1, True)], FileFormat.JSONL, False, EVERYTHING, 1)
def test_lines_of_the_database_are_the_bytes_of_the_writer(
    world: World,
    rows: list[Any],
    form: FileFormat,
    raw: bool,
    wanted: CodeFilter,
    buckets: int,
) -> None:
    holder = world.profile(world.database(), "a@b.ru")
    program = world.program(code_matching=CodeMatching.EXACT, buckets=buckets)
    staged: dict[str, StagedCode] = {}
    for line, (text, expires_at, attached_at, is_used) in enumerate(rows):
        try:
            code = codetext.clean_code(text)
            key = codetext.code_key(code, program.code_matching)
        except BadValue:
            continue
        held: tuple[Any, ...] = ()
        if attached_at is not None:
            held = (*holder, attached_at, attached_at + 1 if is_used else None)
        staged.setdefault(key, StagedCode(line, key, code, expires_at, None, *held))
    fill(world, program, list(staged.values()))

    file = world.export_file(program, form, raw=raw, wanted=wanted)

    assert file == written(world, program, form, raw=raw, wanted=wanted)


def many_codes(world: World) -> LoyaltyProgram:
    """Return a program of more codes than a piece has, each with moments of its own."""
    holder = world.profile(world.database(), "a@b.ru")
    program = world.program(buckets=2)
    fill(
        world,
        program,
        [
            StagedCode(n, f"c{n:04}", f"C{n:04}", NOON + n, None, *holder, NOON - n * 7, None)
            for n in range(6_000)
        ],
    )
    return program


@pytest.mark.parametrize("form", LINE_FORMS)
def test_lines_of_thousands_of_codes_and_moments_are_whole(world: World, form: FileFormat) -> None:
    program = many_codes(world)

    file = world.export_file(program, form)

    assert file == written(world, program, form, raw=False, wanted=EVERYTHING)


def test_an_export_is_of_one_moment_and_may_be_left_in_the_middle(world: World) -> None:
    program = many_codes(world)
    before = world.export_file(program, FileFormat.CSV)
    exporting = Exporting(world.means()).export(program, EVERYTHING, FileFormat.CSV)
    begun = [world.run(anext(exporting)), world.run(anext(exporting))]

    world.activate(program, "C5999")
    world.import_codes(program, "LATER")

    async def rest() -> list[bytes]:
        return [piece async for piece in exporting]

    assert b"".join(begun + world.run(rest())) == before
    left = Exporting(world.means()).export(program, EVERYTHING, FileFormat.CSV)
    world.run(anext(left))
    world.run(anext(left))
    world.run(left.aclose())
    after = world.export_file(program, FileFormat.CSV)
    assert b"activated" in after
    assert b"LATER" in after


def fill(world: World, program: LoyaltyProgram, rows: list[StagedCode]) -> None:
    async def report(done: int) -> None:
        pass

    async def work() -> None:
        async with world.store.transaction() as transaction:
            batch = await transaction.insert_batch(Batch(0, program.id, BatchKind.IMPORT))
        async with world.store.staging.stage(program) as stage:
            await stage.add(rows)
            await stage.seal()
            new_id = world.ids.new
            insertion = Insertion(batch.id, EventKind.IMPORTED, world.now, 0, "x", new_id)
            await stage.insert(insertion, report)

    world.run(work())


@pytest.mark.parametrize("form", FORMS)
def test_an_export_has_states_dates_holders_and_filters(world: World, form: FileFormat) -> None:
    program = world.program()
    holder = world.profile(world.database(), "a@b.ru")
    world.import_codes(program, "A", "B", "C")
    world.attach(program, holder, "B")
    world.activate(program, "B")

    everything = world.export_file(program, form)
    used = world.export_file(
        program, FileFormat.JSONL, wanted=CodeFilter(state=CodeState.ACTIVATED)
    )

    (row,) = map(json.loads, used.decode().splitlines())
    assert (row["code"], row["state"], row["profile_id"]) == ("B", "activated", holder.profile_id)
    other = world.program()
    assert world.import_file(other, everything, form).rejected == 0
    assert [essence(code)[:8] for code in codes_of(world, other)] == [
        essence(code)[:8] for code in codes_of(world, program)
    ]
