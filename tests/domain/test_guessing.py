"""Wrong codes of the last minute."""

from hypothesis import given
from hypothesis import strategies as st

from promint.domain import guessing
from promint.domain.guessing import SECOND, Counted, Limits, Tries, WrongCodes

NOON = 1_712_000_000 * SECOND
MINUTE = 60 * SECOND


def test_what_came_within_the_minute_counts_and_no_longer() -> None:
    tries = guessing.one_more((), NOON)

    assert guessing.count(tries, NOON + MINUTE) == 1
    assert guessing.count(tries, NOON + MINUTE + SECOND) == 0


@given(
    st.lists(st.integers(0, 20 * SECOND), min_size=1, max_size=120),
    st.integers(1, 8),
)
def test_no_sixty_seconds_hold_more_than_the_limit_wherever_they_begin(
    pauses: list[int], limit: int
) -> None:
    now = NOON
    tries: Tries = ()
    answered: list[int] = []
    for pause in pauses:
        now += pause
        if guessing.count(tries, now) < limit:
            tries = guessing.one_more(tries, now)
            answered.append(now)

    for at in answered:
        assert sum(at <= other < at + MINUTE for other in answered) <= limit


@given(st.lists(st.integers(0, 9 * SECOND), min_size=1, max_size=60), st.integers(1, 5))
def test_one_more_fits_after_the_wait_that_is_told_and_not_before(
    pauses: list[int], limit: int
) -> None:
    now = NOON
    tries: Tries = ()
    for pause in pauses:
        now += pause
        tries = guessing.one_more(tries, now)
    if guessing.count(tries, now) < limit:
        return

    wait = guessing.wait_s(tries, now, limit)

    assert 1 <= wait <= 61
    assert guessing.count(tries, now + wait * SECOND) < limit
    assert wait == 1 or guessing.count(tries, now + (wait - 1) * SECOND) >= limit


def test_a_clock_that_is_a_little_ahead_counts_and_one_that_is_far_ahead_does_not() -> None:
    ahead = guessing.one_more((), NOON + 30 * SECOND)
    far_ahead = guessing.one_more((), NOON + 3600 * SECOND)

    assert guessing.count(ahead, NOON) == 1
    assert guessing.count(guessing.one_more(ahead, NOON), NOON) == 2
    assert guessing.count(far_ahead, NOON) == 0
    assert guessing.one_more(far_ahead, NOON) == ((NOON // SECOND, 1),)


def test_a_stop_is_noted_when_the_limit_is_reached_and_once_a_minute() -> None:
    wrong = WrongCodes(Counted(guessing.TOKEN, "1"))
    noted = []
    for second in (0, 1, 2, 3, 70, 71, 72, 90):
        wrong = wrong.with_one(NOON + second * SECOND, limit=2)
        noted.append(wrong.stops)

    assert noted == [0, 1, 1, 1, 1, 2, 2, 2]
    assert wrong.stopped_at == NOON + 71 * SECOND


def test_each_kind_has_a_limit_of_its_own() -> None:
    limits = Limits(per_token=1, per_network=2, per_program=3)
    kinds = (guessing.TOKEN, guessing.NETWORK, guessing.PROGRAM)

    assert [limits.of(Counted(kind, "x")) for kind in kinds] == [1, 2, 3]
