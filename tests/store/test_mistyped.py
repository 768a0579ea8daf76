"""A program whose template has a check symbol refuses mistyped codes before the store is asked."""

import pytest

from promint.domain.errors import BadValue, CodeNotFound, ProgramInactive
from promint.domain.templates import Template
from tests.world import World

TEMPLATE = "GIFT-{6}{check}"


def drawn(world: World, count: int) -> list[str]:
    program = world.program()
    template = Template.parse(TEMPLATE, program.code_matching)
    return template.draw_many(count, lambda size: bytes(range(256)) * (size // 256 + 1))


def mistyped(code: str) -> str:
    last = "3" if code[-1] != "3" else "4"
    return code[:-1] + last


def test_a_mistyped_code_is_neither_found_nor_made(world: World) -> None:
    program = world.program(template=TEMPLATE)
    holder = world.profile(world.database(), "a@b.ru")
    code = drawn(world, 1)[0]
    world.import_codes(program, code)

    assert world.get(program, code.lower()).code == code
    for work in (
        lambda: world.get(program, mistyped(code)),
        lambda: world.activate(program, mistyped(code)),
        lambda: world.attach(program, holder, mistyped(code)),
    ):
        with pytest.raises(CodeNotFound):
            work()
    world.attach(program, holder, "OTHER-ORIGIN")

    assert world.exported(program) == [code, "OTHER-ORIGIN"]


def test_the_state_of_the_program_goes_first(world: World) -> None:
    program = world.program(template=TEMPLATE, active=False)
    holder = world.profile(world.database(), "a@b.ru")

    with pytest.raises(ProgramInactive):
        world.attach(program, holder, mistyped(drawn(world, 1)[0]))


def test_an_import_takes_no_mistyped_code_in(world: World) -> None:
    program = world.program(template=TEMPLATE)
    code = drawn(world, 1)[0]

    outcome = world.import_codes(program, code, mistyped(code))

    assert outcome.inserted == 1
    assert "mistyped" in outcome.items[1].error.message


def test_a_check_symbol_is_for_programs_without_codes(world: World) -> None:
    program, empty = world.program(), world.program()
    world.import_codes(program, "A")

    with pytest.raises(BadValue, match="check symbol"):
        world.change(program, template=TEMPLATE)

    assert world.change(empty, template=TEMPLATE).template == TEMPLATE
    assert world.change(program, template="PLAIN-{8}").template == "PLAIN-{8}"
