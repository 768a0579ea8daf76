"""The judge of histories: held to histories known to be right and wrong, and to brute force."""

from collections.abc import Sequence
from itertools import combinations, permutations
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.races.linearizability import Operation, Verdict, judge

READ = "read"


def register(state: Any, asked: Any) -> tuple[Any, Any]:
    """A cell that is read, written, or set where it has a certain value."""
    if asked == READ:
        return state, state
    if isinstance(asked, tuple):
        expected, wanted = asked
        return (wanted, True) if state == expected else (state, False)
    return asked, None


def verdict(*history: Operation, start: Any = 0) -> Verdict:
    return judge(history, register, start).verdict


def test_nothing_happened() -> None:
    assert verdict() is Verdict.OK


def test_a_read_after_a_write_sees_it() -> None:
    write = Operation(1, 0, None, 1)

    assert verdict(write, Operation(READ, 2, 1, 3)) is Verdict.OK
    assert verdict(write, Operation(READ, 2, 0, 3)) is Verdict.BROKEN


def test_a_read_beside_a_write_sees_either() -> None:
    write = Operation(1, 0, None, 10)

    assert verdict(write, Operation(READ, 2, 0, 3)) is Verdict.OK
    assert verdict(write, Operation(READ, 2, 1, 3)) is Verdict.OK
    assert verdict(write, Operation(READ, 2, 2, 3)) is Verdict.BROKEN


def test_what_was_seen_once_is_not_unseen_while_the_write_still_runs() -> None:
    write = Operation(1, 0, None, 10)
    seen = Operation(READ, 1, 1, 2)

    assert verdict(write, seen, Operation(READ, 3, 1, 4)) is Verdict.OK
    assert verdict(write, seen, Operation(READ, 3, 0, 4)) is Verdict.BROKEN


def test_two_readers_do_not_see_two_writes_in_two_orders() -> None:
    writes = Operation(1, 0, None, 20), Operation(2, 0, None, 20)
    one = Operation(READ, 1, 1, 2), Operation(READ, 5, 2, 6)

    assert verdict(*writes, *one, Operation(READ, 7, 2, 8)) is Verdict.OK
    assert verdict(*writes, *one, Operation(READ, 7, 1, 8)) is Verdict.BROKEN


def test_of_two_who_set_from_the_same_value_one_does() -> None:
    first, second = Operation((0, 1), 0, True, 5), Operation((0, 2), 1, True, 6)

    assert verdict(first, second) is Verdict.BROKEN
    assert verdict(first, second._replace(told=False)) is Verdict.OK


def test_what_was_not_answered_may_have_happened_or_not_and_late() -> None:
    lost = Operation(1, 0)

    assert verdict(lost, Operation(READ, 5, 0, 6)) is Verdict.OK
    assert verdict(lost, Operation(READ, 5, 1, 6)) is Verdict.OK
    assert verdict(lost, Operation(READ, 5, 0, 6), Operation(READ, 7, 1, 8)) is Verdict.OK
    assert verdict(lost, Operation(READ, 5, 1, 6), Operation(READ, 7, 0, 8)) is Verdict.BROKEN


def test_what_was_not_answered_happens_once() -> None:
    history = [
        Operation(1, 0),
        Operation(READ, 1, 1, 2),
        Operation(0, 3, None, 4),
        Operation(READ, 5, 1, 6),
    ]

    assert verdict(*history) is Verdict.BROKEN
    assert verdict(*history, Operation(1, 0)) is Verdict.OK


def test_what_was_not_answered_does_not_happen_before_it_was_asked() -> None:
    assert verdict(Operation(READ, 0, 1, 1), Operation(1, 2)) is Verdict.BROKEN


def test_the_first_answer_that_no_order_explains_is_named() -> None:
    wrong = Operation(READ, 4, 7, 5)
    judged = judge([Operation(1, 0, None, 1), wrong, Operation(READ, 6, 9, 7)], register, 0)

    assert (judged.at, judged.states) == (wrong, (1,))


def test_hundreds_of_lost_writes_do_not_take_forever() -> None:
    lost = [Operation(number % 7, number) for number in range(300)]
    reads = [Operation(READ, 400 + 2 * n, n % 7, 401 + 2 * n) for n in range(200)]

    assert verdict(*lost, *reads) is Verdict.OK
    assert verdict(*lost, *reads, Operation(READ, 900, 9, 901)) is Verdict.BROKEN


def test_a_search_that_becomes_too_long_is_given_up_and_says_so() -> None:
    writes = [Operation(number, 0, None, 100) for number in range(12)]

    assert judge(writes, register, 0, ways_max=1_000).verdict is Verdict.UNKNOWN


# -- held to brute force ---------------------------------------------------------------------


def has_an_order(history: Sequence[Operation], start: Any) -> bool:
    """Try every order of what was answered, with every choice of what was not."""
    answered = [operation for operation in history if operation.told_at is not None]
    lost = [operation for operation in history if operation.told_at is None]
    return any(
        explains(order, start)
        for count in range(len(lost) + 1)
        for happened in combinations(lost, count)
        for order in permutations([*answered, *happened])
    )


def explains(order: Sequence[Operation], start: Any) -> bool:
    state = start
    for place, operation in enumerate(order):
        for later in order[place + 1 :]:
            if later.told_at is not None and later.told_at < operation.asked_at:
                return False
        state, answer = register(state, operation.asked)
        if operation.told_at is not None and answer != operation.told:
            return False
    return True


values = st.integers(0, 2)
questions = st.one_of(st.just(READ), values, st.tuples(values, values))


@st.composite
def right_histories(draw: st.DrawFn) -> list[Operation]:
    """Draw operations that take effect one after the other, each at some time of its own."""
    state: Any = 0
    history = []
    for turn in range(draw(st.integers(1, 6))):
        asked = draw(questions)
        state, told = register(state, asked)
        begun = 10 * turn - draw(st.integers(0, 25))
        is_lost = asked != READ and draw(st.integers(0, 3)) == 0
        ended = None if is_lost else 10 * turn + 1 + draw(st.integers(0, 25))
        history.append(Operation(asked, begun, None if is_lost else told, ended))
    return history


@st.composite
def mutated_histories(draw: st.DrawFn) -> list[Operation]:
    """Change a right history in one place: an answer, a time, or what was asked."""
    history = draw(right_histories())
    place = draw(st.integers(0, len(history) - 1))
    one = history[place]
    kind = draw(st.sampled_from(["told", "asked", "later", "earlier"]))
    if kind == "told" and one.told_at is not None:
        one = one._replace(told=(not one.told) if isinstance(one.asked, tuple) else draw(values))
    elif kind == "asked":
        one = one._replace(asked=draw(questions))
    elif kind == "later":
        shift = draw(st.integers(1, 40))
        told_at = None if one.told_at is None else one.told_at + shift
        one = one._replace(asked_at=one.asked_at + shift, told_at=told_at)
    elif one.told_at is not None:
        one = one._replace(told_at=max(one.asked_at + 1, one.told_at - draw(st.integers(1, 40))))
    return [*history[:place], one, *history[place + 1 :]]


@given(right_histories())
@settings(max_examples=300, deadline=None)
def test_every_right_history_is_found_right(history: list[Operation]) -> None:
    assert verdict(*history) is Verdict.OK


@given(mutated_histories())
@settings(max_examples=1_000, deadline=None)
def test_a_changed_history_is_judged_as_brute_force_judges_it(history: list[Operation]) -> None:
    assert (verdict(*history) is Verdict.OK) == has_an_order(history, 0)
