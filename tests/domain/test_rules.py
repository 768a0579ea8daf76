"""The rules, edge by edge: contract sections 3, 4 and 7 without a store or a clock."""

from collections.abc import Callable

import pytest

from promint.domain import rules
from promint.domain.errors import (
    ActivationLimitReached,
    AlreadyActivated,
    AlreadyAttached,
    AttachedToOther,
    AttachedToSeveral,
    AttachLimitReached,
    CodeExpired,
    CodeLimitReached,
    CodeNotFound,
    NotAttached,
    ProfileLimitReached,
    ProgramInactive,
    ProgramOutOfRange,
    PromintError,
)
from promint.domain.model import ExpirySource, Holder, LoyaltyProgram, PromoCode
from tests.domain.builders import ANN, ANN_ELSEWHERE, BOB, make_code, make_program
from tests.world import HOUR, NOON, SECOND

# -- the program ---------------------------------------------------------------------------


def test_a_program_that_is_switched_off_issues_nothing() -> None:
    with pytest.raises(ProgramInactive):
        rules.check_issuing(make_program(active=False), NOON)


def test_the_validity_range_starts_at_its_first_microsecond() -> None:
    program = make_program(issue_from=NOON)

    rules.check_issuing(program, NOON)
    with pytest.raises(ProgramOutOfRange):
        rules.check_issuing(program, NOON - 1)


def test_the_validity_range_ends_before_its_last_microsecond() -> None:
    program = make_program(issue_until=NOON)

    rules.check_issuing(program, NOON - 1)
    with pytest.raises(ProgramOutOfRange):
        rules.check_issuing(program, NOON)


def test_switched_off_is_said_before_out_of_range() -> None:
    with pytest.raises(ProgramInactive):
        rules.check_issuing(make_program(active=False, issue_until=NOON), NOON)


def test_a_program_may_leave_unknown_codes_unknown() -> None:
    rules.check_creating(make_program())
    with pytest.raises(CodeNotFound):
        rules.check_creating(make_program(creates_on_attach=False))


def test_the_code_limit_is_the_number_of_codes_that_fit() -> None:
    program = make_program(code_limit=10)

    rules.check_code_limit(program, 9)
    with pytest.raises(CodeLimitReached):
        rules.check_code_limit(program, 10)
    rules.check_code_limit(make_program(), 10**12)


def test_the_profile_limit_is_the_number_of_codes_that_a_profile_may_hold() -> None:
    program = make_program(profile_limit=2)

    rules.check_profile_limit(program, 1)
    with pytest.raises(ProfileLimitReached):
        rules.check_profile_limit(program, 2)
    rules.check_profile_limit(make_program(), 10**12)


# -- create --------------------------------------------------------------------------------


def test_a_new_code_is_what_it_was_asked_to_be() -> None:
    code = rules.create(make_program(first_version=3), 20_481, "a", "A", 7, NOON, batch_id=9)

    assert code[:4] == (20_481, "a", "A", 7)
    assert (code.created_at, code.batch_id, code.version) == (NOON, 9, 3)


def test_a_new_code_is_free_and_has_no_expiry() -> None:
    code = rules.create(make_program(), 20480, "a", "A", seq=3, now=NOON)

    assert code.is_free(NOON)
    assert (code.code, code.seq, code.created_at) == ("A", 3, NOON)
    assert (code.expires_at, code.expiry_source) == (None, ExpirySource.GIVEN)


def test_a_new_code_has_the_default_expiry_of_its_program() -> None:
    code = rules.create(make_program(default_expire_date=NOON), 20480, "a", "A", seq=3, now=0)

    assert (code.expires_at, code.expiry_source) == (NOON, ExpirySource.DEFAULT)


# -- expiry --------------------------------------------------------------------------------


def test_a_code_is_expired_from_its_expiry_on() -> None:
    code = make_code(expires_at=NOON)

    assert not code.is_expired(NOON - 1)
    assert code.is_expired(NOON)
    assert code.is_expired(NOON + 1)


@pytest.mark.parametrize(
    ("code", "is_free"),
    [
        (make_code(), True),
        (make_code(expires_at=NOON + 1), True),
        (make_code(expires_at=NOON), False),
        (make_code(ANN), False),
        (make_code(ANN, activated_at=NOON, activation_count=1), False),
    ],
    ids=["new", "expires next", "expires now", "attached", "activated"],
)
def test_free_is_not_attached_not_activated_not_expired(code: PromoCode, is_free: bool) -> None:
    assert code.is_free(NOON) is is_free


# -- attach --------------------------------------------------------------------------------


def test_attaching_names_the_holder_and_the_moment() -> None:
    attached = rules.attach(make_program(), make_code(), ANN, NOON + 1)

    assert (attached.database_id, attached.profile_id) == ANN
    assert (attached.attached_at, attached.attach_count) == (NOON + 1, 1)
    assert attached.version == 2


@pytest.mark.parametrize("holder", [ANN, BOB], ids=["its holder", "somebody else"])
def test_a_personal_code_is_attached_once_whoever_asks(holder: Holder) -> None:
    with pytest.raises(AlreadyAttached):
        rules.attach(make_program(), make_code(ANN), holder, NOON)


def test_an_expired_code_is_refused_even_if_multiple_usage_is_allowed() -> None:
    program = make_program(multiple_usage=True)

    with pytest.raises(CodeExpired):
        rules.attach(program, make_code(ANN, expires_at=NOON), ANN, NOON, holds_it=True)
    rules.attach(program, make_code(ANN, expires_at=NOON + 1), BOB, NOON)


def test_a_universal_code_goes_to_several_and_shows_the_latest() -> None:
    attached = rules.attach(make_program(multiple_usage=True), make_code(ANN), BOB, NOON + 1)

    assert attached.attach_count == 2
    assert (attached.database_id, attached.profile_id) == BOB
    assert attached.attached_at == NOON + 1


def test_a_universal_code_that_the_profile_holds_stays_as_it_is() -> None:
    program = make_program(multiple_usage=True, attach_limit=1, profile_limit=1)
    code = make_code(ANN)

    assert rules.attach(program, code, ANN, NOON + 1, holds_it=True, held=1) is code


def test_the_attach_limit_is_the_number_of_profiles() -> None:
    program = make_program(multiple_usage=True, attach_limit=2)

    rules.attach(program, make_code(ANN), BOB, NOON)
    with pytest.raises(AttachLimitReached):
        rules.attach(program, make_code(ANN, attach_count=2), BOB, NOON)


def test_the_attach_limit_is_said_before_the_profile_limit() -> None:
    program = make_program(multiple_usage=True, attach_limit=1, profile_limit=1)

    with pytest.raises(AttachLimitReached):
        rules.attach(program, make_code(ANN), BOB, NOON, held=1)


def test_the_profile_limit_counts_what_the_profile_holds() -> None:
    program = make_program(profile_limit=1)

    rules.attach(program, make_code(), ANN, NOON, held=0)
    with pytest.raises(ProfileLimitReached):
        rules.attach(program, make_code(), ANN, NOON, held=1)


# -- lifetime ------------------------------------------------------------------------------


def attached_expiry(program: LoyaltyProgram, code: PromoCode) -> tuple[int | None, int]:
    attached = rules.attach(program, code, ANN, NOON)
    return attached.expires_at, attached.expiry_source


def test_a_lifetime_starts_when_the_code_is_attached() -> None:
    program = make_program(lifetime_s=60)

    assert attached_expiry(program, make_code()) == (NOON + 60 * SECOND, ExpirySource.LIFETIME)


def test_a_date_that_was_given_stands_against_a_lifetime() -> None:
    program = make_program(lifetime_s=60)

    given = make_code(expires_at=NOON + HOUR)

    assert attached_expiry(program, given) == (NOON + HOUR, ExpirySource.GIVEN)


def test_of_lifetime_and_default_date_the_earlier_wins() -> None:
    program = make_program(lifetime_s=60)
    late = make_code(expires_at=NOON + 61 * SECOND, expiry_source=ExpirySource.DEFAULT)
    same = make_code(expires_at=NOON + 60 * SECOND, expiry_source=ExpirySource.DEFAULT)
    early = make_code(expires_at=NOON + 59 * SECOND, expiry_source=ExpirySource.DEFAULT)

    assert attached_expiry(program, late)[0] == NOON + 60 * SECOND
    assert attached_expiry(program, late)[1] == ExpirySource.LIFETIME_OVER_DEFAULT
    assert attached_expiry(program, same)[1] == ExpirySource.DEFAULT
    assert attached_expiry(program, early) == (NOON + 59 * SECOND, ExpirySource.DEFAULT)


def test_a_second_holder_does_not_restart_the_lifetime() -> None:
    program = make_program(multiple_usage=True, lifetime_s=60)
    first = rules.attach(program, make_code(), ANN, NOON)

    second = rules.attach(program, first, BOB, NOON + 30 * SECOND)

    assert second.expires_at == NOON + 60 * SECOND


@pytest.mark.parametrize("default", [None, NOON + HOUR], ids=["no default date", "default date"])
def test_detaching_removes_the_expiry_that_attaching_had_set(default: int | None) -> None:
    program = make_program(lifetime_s=60, default_expire_date=default)
    code = rules.create(program, 20480, "a", "A", seq=1, now=NOON)

    freed = rules.detach(program, rules.attach(program, code, ANN, NOON), ANN)

    assert (freed.expires_at, freed.expiry_source) == (code.expires_at, code.expiry_source)


def test_detaching_keeps_an_expiry_that_was_given() -> None:
    program = make_program(lifetime_s=60)
    code = make_code(expires_at=NOON + HOUR)

    freed = rules.detach(program, rules.attach(program, code, ANN, NOON), ANN)

    assert freed.expires_at == NOON + HOUR


# -- room ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "code", "has_room"),
    [
        ({}, make_code(ANN, attach_count=10**6), True),
        ({}, make_code(expires_at=NOON), False),
        ({"attach_limit": 2}, make_code(ANN), True),
        ({"attach_limit": 2}, make_code(ANN, attach_count=2), False),
        ({"activation_limit": 2}, make_code(ANN, activation_count=1), True),
        ({"activation_limit": 2}, make_code(ANN, activation_count=2), False),
    ],
    ids=["no limit", "expired", "one place left", "full", "one use left", "used up"],
)
def test_a_universal_code_has_room_while_it_lives_and_no_limit_is_reached(
    settings: dict[str, int], code: PromoCode, has_room: bool
) -> None:
    assert rules.has_room(make_program(multiple_usage=True, **settings), code, NOON) is has_room


# -- activate ------------------------------------------------------------------------------


def test_activating_counts_a_use_and_keeps_its_moment() -> None:
    activated = rules.activate(make_program(), make_code(ANN), NOON + 1)

    assert (activated.activated_at, activated.activation_count) == (NOON + 1, 1)
    assert activated.version == 2


def test_a_code_that_nobody_holds_cannot_be_used() -> None:
    with pytest.raises(NotAttached):
        rules.activate(make_program(), make_code(expires_at=NOON), NOON)


def test_a_code_can_be_used_until_the_microsecond_before_its_expiry() -> None:
    code = make_code(ANN, expires_at=NOON)

    rules.activate(make_program(), code, NOON - 1)
    with pytest.raises(CodeExpired):
        rules.activate(make_program(), code, NOON)


@pytest.mark.parametrize(
    ("settings", "used", "refusal"),
    [
        ({}, 0, None),
        ({}, 1, AlreadyActivated),
        ({"activation_limit": 3}, 2, None),
        ({"activation_limit": 3}, 3, ActivationLimitReached),
        ({"activation_limit": 3}, 4, ActivationLimitReached),
        ({"multiple_usage": True}, 10**6, None),
        ({"multiple_usage": True, "activation_limit": 1}, 0, None),
        ({"multiple_usage": True, "activation_limit": 1}, 1, AlreadyActivated),
    ],
)
def test_uses_are_one_if_personal_unlimited_if_universal_unless_set(
    settings: dict[str, int], used: int, refusal: type[PromintError] | None
) -> None:
    program = make_program(**settings)
    code = make_code(ANN, activation_count=used, activated_at=NOON if used else None)

    if refusal is None:
        assert rules.activate(program, code, NOON).activation_count == used + 1
    else:
        with pytest.raises(refusal):
            rules.activate(program, code, NOON)


def test_a_switched_off_program_still_honours_its_codes() -> None:
    rules.activate(make_program(active=False, issue_until=NOON), make_code(ANN), NOON)


def test_expired_is_said_before_used_up() -> None:
    code = make_code(ANN, expires_at=NOON, activation_count=1, activated_at=NOON - 1)

    with pytest.raises(CodeExpired):
        rules.activate(make_program(), code, NOON)


# -- update --------------------------------------------------------------------------------

USED = make_code(ANN, activated_at=NOON - 1, activation_count=1)


def test_updating_to_activated_uses_an_unused_code() -> None:
    updated = rules.update(make_program(), make_code(ANN), NOON, activated=True)

    assert (updated.activated_at, updated.activation_count) == (NOON, 1)


def test_updating_to_activated_leaves_a_used_code_as_it_is_even_once_expired() -> None:
    expired = USED._replace(expires_at=NOON)

    assert rules.update(make_program(), expired, NOON, activated=True) is expired


def test_updating_to_activated_needs_a_holder() -> None:
    with pytest.raises(NotAttached):
        rules.update(make_program(), make_code(), NOON, activated=True)


def test_taking_back_the_only_use_leaves_none() -> None:
    updated = rules.update(make_program(), USED, NOON, activated=False)

    assert (updated.activated_at, updated.activation_count) == (None, 0)


def test_taking_back_one_of_several_uses_shows_the_one_before() -> None:
    program = make_program(multiple_usage=True)
    code = USED._replace(activation_count=2)

    updated = rules.update(program, code, NOON, activated=False, earlier_use_at=NOON - HOUR)

    assert (updated.activated_at, updated.activation_count) == (NOON - HOUR, 1)


def test_taking_back_what_was_not_used_changes_nothing() -> None:
    code = make_code(ANN)

    assert rules.update(make_program(), code, NOON, activated=False) is code


def test_an_expiry_is_set_removed_or_left() -> None:
    code = make_code(expires_at=NOON, expiry_source=ExpirySource.DEFAULT)

    moved = rules.update(make_program(), code, NOON, changes_expiry=True, expires_at=NOON + 1)
    removed = rules.update(make_program(), code, NOON, changes_expiry=True, expires_at=None)
    left = rules.update(make_program(), code, NOON, expires_at=NOON + 1)

    assert (moved.expires_at, moved.expiry_source) == (NOON + 1, ExpirySource.GIVEN)
    assert (removed.expires_at, removed.expiry_source) == (None, ExpirySource.GIVEN)
    assert left is code


@pytest.mark.parametrize(
    ("before", "after", "is_refused"),
    [
        (NOON, NOON, True),
        (NOON, NOON + 1, False),
        (NOON + 1, NOON, False),
        (None, NOON, False),
        (NOON, None, False),
    ],
)
def test_with_both_the_use_is_refused_only_if_expired_under_the_old_and_the_new_date(
    before: int | None, after: int | None, is_refused: bool
) -> None:
    code = make_code(ANN, expires_at=before)

    def updated() -> PromoCode:
        return rules.update(
            make_program(), code, NOON, activated=True, changes_expiry=True, expires_at=after
        )

    if is_refused:
        with pytest.raises(CodeExpired):
            updated()
    else:
        assert (updated().activation_count, updated().expires_at) == (1, after)


def test_one_update_is_one_version_whatever_it_changes() -> None:
    updated = rules.update(
        make_program(), make_code(ANN), NOON, activated=True, changes_expiry=True, expires_at=NOON
    )

    assert updated.version == 2


# -- detach --------------------------------------------------------------------------------


def test_a_detached_code_is_free_again() -> None:
    freed = rules.detach(make_program(), make_code(ANN), ANN)

    assert freed.is_free(NOON)
    assert (freed.attach_count, freed.database_id, freed.profile_id) == (0, None, None)
    assert freed.version == 2


def test_an_expired_code_can_be_taken_back() -> None:
    assert rules.detach(make_program(), make_code(ANN, expires_at=NOON - 1), ANN).attach_count == 0


@pytest.mark.parametrize(
    ("code", "refusal"),
    [
        (make_code(), NotAttached),
        (make_code(ANN, attach_count=2), AttachedToSeveral),
        (make_code(BOB), AttachedToOther),
        (make_code(ANN_ELSEWHERE), AttachedToOther),
        (make_code(BOB, activation_count=1, activated_at=NOON), AttachedToOther),
        (make_code(ANN, activation_count=1, activated_at=NOON), AlreadyActivated),
    ],
    ids=["nobody's", "several", "another's", "same id elsewhere", "another's, used", "used"],
)
def test_a_code_is_taken_back_only_from_its_one_holder_and_unused(
    code: PromoCode, refusal: type[PromintError]
) -> None:
    with pytest.raises(refusal):
        rules.detach(make_program(), code, ANN)


def test_releasing_one_of_several_shows_the_latest_of_the_others() -> None:
    code = make_code(BOB, attach_count=2, attached_at=NOON + 1)

    released = rules.released(code, ANN, NOON)

    assert (released.attach_count, released.attached_at) == (1, NOON)
    assert (released.database_id, released.profile_id) == ANN


@pytest.mark.parametrize(
    "verb",
    [
        lambda code: rules.attach(make_program(), code, ANN, NOON),
        lambda code: rules.activate(make_program(), code._replace(attach_count=1), NOON),
        lambda code: rules.update(make_program(), code, NOON, changes_expiry=True, expires_at=NOON),
        lambda code: rules.detach(
            make_program(), code._replace(attach_count=1, **ANN._asdict()), ANN
        ),
        lambda code: rules.released(code, ANN, NOON),
        lambda code: rules.restored(make_code(ANN, version=7), code),
    ],
    ids=["attach", "activate", "update", "detach", "released", "restored"],
)
def test_every_change_is_one_version_more(verb: object) -> None:
    assert callable(verb)
    assert verb(make_code(version=41)).version == 42


# -- what a refusal is about ---------------------------------------------------------------


@pytest.mark.parametrize(
    "verb",
    [
        lambda: rules.check_issuing(make_program(active=False), NOON),
        lambda: rules.check_issuing(make_program(issue_from=NOON + 1), NOON),
        lambda: rules.check_issuing(make_program(issue_until=NOON), NOON),
        lambda: rules.check_creating(make_program(creates_on_attach=False)),
        lambda: rules.check_code_limit(make_program(code_limit=1), 1),
        lambda: rules.check_profile_limit(make_program(profile_limit=1), 1),
    ],
    ids=["inactive", "too early", "too late", "unknown code", "code limit", "profile limit"],
)
def test_a_refusal_by_the_program_names_it(verb: Callable[[], object]) -> None:
    with pytest.raises(PromintError) as refused:
        verb()

    assert refused.value.detail == "5"


@pytest.mark.parametrize(
    "verb",
    [
        lambda: rules.attach(make_program(), make_code(expires_at=NOON), ANN, NOON),
        lambda: rules.attach(make_program(), make_code(BOB), ANN, NOON),
        lambda: rules.attach(
            make_program(multiple_usage=True, attach_limit=1), make_code(BOB), ANN, NOON
        ),
        lambda: rules.activate(make_program(), make_code(), NOON),
        lambda: rules.activate(make_program(), make_code(ANN, expires_at=NOON), NOON),
        lambda: rules.activate(make_program(), USED, NOON),
        lambda: rules.activate(
            make_program(multiple_usage=True, activation_limit=2),
            make_code(ANN, activation_count=2, activated_at=NOON),
            NOON,
        ),
        lambda: rules.detach(make_program(), make_code(), ANN),
        lambda: rules.detach(make_program(), make_code(ANN, attach_count=2), ANN),
        lambda: rules.detach(make_program(), make_code(BOB), ANN),
        lambda: rules.detach(make_program(), USED, ANN),
        lambda: rules.check_deleting(make_code(ANN)),
    ],
    ids=range(12),
)
def test_a_refusal_of_a_code_names_it(verb: Callable[[], object]) -> None:
    with pytest.raises(PromintError) as refused:
        verb()

    assert refused.value.detail == "SPRING-7"


def test_a_profile_that_is_not_said_to_hold_any_codes_holds_none() -> None:
    program = make_program(profile_limit=1)

    assert rules.attach(program, make_code(), ANN, NOON).attach_count == 1


def test_the_use_before_the_only_one_is_none_whatever_date_is_named() -> None:
    updated = rules.update(make_program(), USED, NOON, activated=False, earlier_use_at=NOON - 1)

    assert (updated.activated_at, updated.activation_count) == (None, 0)


def test_releasing_names_the_database_of_the_latest_other() -> None:
    released = rules.released(make_code(ANN_ELSEWHERE, attach_count=2), BOB, NOON)

    assert (released.database_id, released.profile_id) == BOB


def test_a_code_is_restored_as_it_was() -> None:
    before = make_code(ANN, version=7)

    assert rules.restored(before, make_code(version=41)) == before._replace(version=42)
