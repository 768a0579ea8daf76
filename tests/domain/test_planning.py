"""Plans: whether a template can make so many codes, and what would."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promint.domain.model import CodeMatching
from promint.domain.planning import Plan, RefusalReason, plan
from promint.domain.templates import Template


def make_plan(text: str, count: int, used: int = 0, live: int = 0, **options: Any) -> Plan:
    template = Template.parse(text, CodeMatching.FORGIVING)
    return plan(template, count=count, used=used, live=live, **options)


def reasons(made: Plan) -> list[str]:
    return [refusal.reason.value for refusal in made.refusals]


def test_a_plan_says_how_large_the_space_is_and_how_hard_a_guess() -> None:
    made = make_plan("{12}", 1_000_000, used=500_000, live=250_000)

    assert made.refusals == ()
    assert (made.space, made.bits) == (32**12, 60.0)
    assert (made.used, made.live) == (500_000, 1_250_000)
    assert made.guesses_to_hit == 32**12 // 1_250_001
    assert made.sentence == (
        "{12} makes about 1,152,921,504,606,846,976 codes (60.0 bits); 500,000 are there "
        "(less than 0.1 %). With 1,000,000 more, one of the 1,250,000 live codes is hit after "
        "about 922,336,465,816 guesses."
    )


def test_codes_that_can_be_guessed_are_refused_and_what_would_do_is_said() -> None:
    made = make_plan("SPRING-{8}", 1_000_000)

    assert reasons(made) == ["guessable"]
    assert made.refusals[0].advice == "use SPRING-{11} instead of SPRING-{8}"
    assert make_plan("SPRING-{8}", 256).refusals == ()
    assert reasons(make_plan("SPRING-{8}", 257)) == ["guessable"]
    assert reasons(make_plan("SPRING-{8}", 1, live=256)) == ["guessable"]
    assert make_plan("SPRING-{8}", 1_000_000, accept_guessable=True).refusals == ()


def test_more_than_half_of_the_space_is_refused_even_where_guessing_is_accepted() -> None:
    assert make_plan("{4:digits}", 5_000, accept_guessable=True).refusals == ()
    made = make_plan("{4:digits}", 5_000, used=1, accept_guessable=True)

    assert reasons(made) == ["space_too_small"]
    assert made.refusals[0].advice == "use {5:digits} instead of {4:digits}"
    assert made.refusals[0].sentence.startswith("{4:digits} makes about 10,000 codes; 5,000 beside")
    assert reasons(make_plan("{4:digits}", 5_001)) == ["space_too_small", "guessable"]


def test_what_no_length_can_mend_needs_another_alphabet() -> None:
    made = make_plan("x" * 250 + "{4:digits}", 10_000)

    assert made.refusals[0].advice == "use an alphabet of more symbols, or less fixed text"


@given(
    st.sampled_from(["{N}", "{4}-{N:digits}", "A{N:[ABC]}", "{N:letters}{check}"]),
    st.integers(1, 9),
    st.integers(1, 10**9),
    st.integers(0, 10**7),
    st.booleans(),
)
def test_what_is_advised_is_accepted_and_no_shorter_one(
    form: str, length: int, count: int, used: int, accept_guessable: bool
) -> None:
    text = form.replace("N", str(length))
    options: dict[str, Any] = {"used": used, "live": used, "accept_guessable": accept_guessable}

    for refusal in make_plan(text, count, **options).refusals:
        found = re.fullmatch(r"use (.+) instead of (.+)", refusal.advice)
        assert found is not None
        assert found[2] == text
        assert make_plan(found[1], count, **options).refusals == ()
        numbers = re.findall(r"\{(\d+)", found[1])
        shorter = form.replace("N", str(int(numbers[-1]) - 1))
        assert make_plan(shorter, count, **options).refusals


def test_reasons_are_words_for_machines() -> None:
    assert list(RefusalReason) == ["space_too_small", "guessable"]


@pytest.mark.parametrize(
    ("used", "share"),
    [(0, "0.0 %"), (1, "less than 0.1 %"), (2_500, "25.0 %"), (20_000, "100.0 %")],
)
def test_a_share_is_shown_as_people_read_it(used: int, share: str) -> None:
    assert f"are there ({share})" in make_plan("{4:digits}", 1, used=used).sentence
