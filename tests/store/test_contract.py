"""What the calls do, on both stores: the rules of the contract, section 3, 4 and 7."""

import pytest

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
    IdempotencyMismatch,
    NoFreeCode,
    NotAttached,
    ProfileLimitReached,
    ProfileNotFound,
    ProgramInactive,
    ProgramNotFound,
    ProgramOutOfRange,
)
from promint.domain.model import EventKind, Holder
from promint.service.calls import ImportOutcome
from promint.store import Answer
from tests.world import DAY, HOUR, NOON, SECOND, World

pytestmark = pytest.mark.usefixtures("ledger_holds")


@pytest.fixture
def ann(world: World) -> Holder:
    return world.profile(world.database(), "ann@example.com")


@pytest.fixture
def bob(world: World, ann: Holder) -> Holder:
    database = world.run(world.store.database(ann.database_id))
    assert database is not None
    return world.profile(database, "bob@example.com")


# -- import and get ------------------------------------------------------------------------


def test_imported_codes_are_free_and_shown_as_they_were_given(world: World) -> None:
    program = world.program()

    outcome = world.import_codes(program, " Spring-1 ", "SPRING-2")

    assert outcome.inserted == 2
    code = world.get(program, "spring-1")
    assert code.code == "Spring-1"
    assert code.is_free(world.now)
    assert code.created_at == NOON


def test_a_duplicate_is_named_and_the_others_are_stored(world: World) -> None:
    program = world.program()
    world.import_codes(program, "A")

    outcome = world.import_codes(program, "a", "B", "b", "C")

    assert [item.error and item.error.number for item in outcome.items] == [409, None, 409, None]
    assert (outcome.inserted, outcome.duplicated) == (2, 2)


def test_an_exact_program_tells_cases_apart(world: World) -> None:
    program = world.program(code_matching="exact")

    assert world.import_codes(program, "a", "A").inserted == 2


def test_an_unusable_text_is_refused_and_the_others_are_stored(world: World) -> None:
    program = world.program()

    outcome = world.import_codes(program, "", "A\x00B", "x" * 256, "A\u200bB", "good")

    assert [item.error.number if item.error else 0 for item in outcome.items] == [
        400, 400, 400, 400, 0,
    ]  # fmt: skip


def test_past_the_code_limit_the_first_ones_get_the_room(world: World) -> None:
    program = world.program(code_limit=3)
    world.import_codes(program, "A", "B")

    outcome = world.import_codes(program, "C", "D", "A")

    assert [item.error and item.error.reason for item in outcome.items] == [
        None,
        "code_limit",
        "duplicate",
    ]
    assert outcome.discarded_by_limit == 1


def test_the_same_text_may_stand_in_two_programs(world: World) -> None:
    first, second = world.program(), world.program()
    world.import_codes(first, "A")

    assert world.import_codes(second, "A").inserted == 1


def test_an_unknown_code_or_program_is_not_found(world: World) -> None:
    program = world.program()

    with pytest.raises(CodeNotFound):
        world.get(program, "nothing")
    world.with_token(programs=frozenset({99}))
    with pytest.raises(ProgramNotFound):
        world.get(program, "nothing")


# -- attach --------------------------------------------------------------------------------


def test_a_named_code_is_attached(world: World, ann: Holder) -> None:
    program = world.program()
    world.import_codes(program, "A")
    world.now += HOUR

    assert world.attach(program, ann, "a") == "A"

    code = world.get(program, "A")
    assert (code.database_id, code.profile_id) == ann
    assert code.attached_at == NOON + HOUR


def test_an_attached_personal_code_is_refused_whoever_holds_it(
    world: World, ann: Holder, bob: Holder
) -> None:
    program = world.program()
    world.attach(program, ann, "A")

    for holder in (ann, bob):
        with pytest.raises(AlreadyAttached):
            world.attach(program, holder, "A")


def test_an_unknown_code_is_created_on_attach(world: World, ann: Holder) -> None:
    program = world.program()

    world.attach(program, ann, "New")

    assert world.get(program, "new").attached_at == NOON
    kinds = [event.kind for event in world.history(program, "new")]
    assert kinds == [EventKind.CREATED, EventKind.ATTACHED]


def test_an_unknown_code_is_refused_where_the_program_makes_none(world: World, ann: Holder) -> None:
    program = world.program(creates_on_attach=False)

    with pytest.raises(CodeNotFound):
        world.attach(program, ann, "New")


def test_creating_on_attach_keeps_to_the_code_limit(world: World, ann: Holder) -> None:
    program = world.program(code_limit=2)
    world.import_codes(program, "A")
    world.attach(program, ann, "B")

    with pytest.raises(CodeLimitReached):
        world.attach(program, ann, "C")
    with pytest.raises(CodeNotFound):
        world.get(program, "C")


def test_a_profile_that_is_not_there_is_not_found(world: World, ann: Holder) -> None:
    program = world.program()

    with pytest.raises(ProfileNotFound):
        world.attach(program, Holder(ann.database_id, "0" * 24), "A")
    with pytest.raises(CodeNotFound):
        world.get(program, "A")


def test_attach_creates_the_profile_only_together_with_success(world: World) -> None:
    program = world.program(creates_on_attach=False)
    database = world.database(creates_profiles=True)
    world.import_codes(program, "A")

    with pytest.raises(CodeNotFound):
        world.attach_by_email(program, database, "New@Example.com", "B")
    world.attach_by_email(program, database, "New@Example.com", "A")

    holder = world.profile(database, "new@example.com")
    assert world.get(program, "A").profile_id == holder.profile_id


def test_attach_without_a_code_takes_each_free_code_once(world: World, ann: Holder) -> None:
    program = world.program(creates_on_attach=False)
    world.import_codes(program, *(f"C{number}" for number in range(20)))

    taken = [world.attach(program, ann) for _ in range(20)]

    assert len(set(taken)) == 20
    with pytest.raises(NoFreeCode):
        world.attach(program, ann)


def test_attach_without_a_code_passes_over_expired_ones(world: World, ann: Holder) -> None:
    program = world.program()
    world.import_codes(program, "OLD", "NEW")
    world.update(program, "OLD", expires_at=NOON)

    assert world.attach(program, ann) == "NEW"
    with pytest.raises(NoFreeCode):
        world.attach(program, ann)


def test_attach_without_a_code_finds_the_last_one_in_any_bucket(world: World, ann: Holder) -> None:
    program = world.program(buckets=8)
    world.import_codes(program, *(f"C{number}" for number in range(30)))

    assert len({world.attach(program, ann) for _ in range(30)}) == 30
    with pytest.raises(NoFreeCode):
        world.attach(program, ann)


def test_what_expires_first_is_given_out_first(world: World, ann: Holder) -> None:
    program = world.program()
    world.import_codes(program, "NEVER", "LATE", "SOON")
    world.update(program, "LATE", expires_at=NOON + 2 * DAY)
    world.update(program, "SOON", expires_at=NOON + DAY)

    assert [world.attach(program, ann) for _ in range(3)] == ["SOON", "LATE", "NEVER"]


def test_an_expired_code_is_refused_even_if_multiple_usage_is_allowed(
    world: World, ann: Holder
) -> None:
    program = world.program(multiple_usage=True)
    world.import_codes(program, "A")
    world.update(program, "A", expires_at=NOON)

    with pytest.raises(CodeExpired):
        world.attach(program, ann, "A")


def test_a_program_that_is_off_or_out_of_range_attaches_nothing(world: World, ann: Holder) -> None:
    program = world.program(issue_from=NOON + HOUR, issue_until=NOON + 2 * HOUR)
    world.import_codes(program, "A")

    with pytest.raises(ProgramOutOfRange):
        world.attach(program, ann, "A")
    world.now = NOON + 2 * HOUR
    with pytest.raises(ProgramOutOfRange):
        world.attach(program, ann)
    world.now = NOON + HOUR
    world.attach(program, ann, "A")

    world.change(program, active=False)
    with pytest.raises(ProgramInactive):
        world.attach(program, ann, "B")
    world.activate(program, "A")


def test_a_profile_holds_at_most_the_profile_limit_used_ones_included(
    world: World, ann: Holder, bob: Holder
) -> None:
    program = world.program(profile_limit=2)
    world.attach(program, ann, "A")
    world.attach(program, ann, "B")
    world.activate(program, "A")

    with pytest.raises(ProfileLimitReached):
        world.attach(program, ann, "C")
    world.attach(program, bob, "C")
    world.detach(program, ann, "B")
    world.attach(program, ann, "D")


def test_a_lowered_limit_refuses_more_and_takes_nothing_back(world: World, ann: Holder) -> None:
    program = world.program(profile_limit=5)
    for code in "ABC":
        world.attach(program, ann, code)

    world.change(program, profile_limit=2)

    with pytest.raises(ProfileLimitReached):
        world.attach(program, ann, "D")
    assert world.get(program, "C").attach_count == 1


def test_a_lifetime_sets_the_expiry_at_attach_and_detach_removes_it(
    world: World, ann: Holder
) -> None:
    program = world.program(lifetime_s=60)
    world.import_codes(program, "A")

    world.attach(program, ann, "A")
    assert world.get(program, "A").expires_at == NOON + 60 * SECOND
    world.detach(program, ann, "A")

    assert world.get(program, "A").expires_at is None


def test_of_lifetime_and_default_date_the_earlier_wins(world: World, ann: Holder) -> None:
    program = world.program(lifetime_s=3600, default_expire_date=NOON + DAY)
    world.attach(program, ann, "A")
    world.now = NOON + DAY - 60 * SECOND
    world.attach(program, ann, "B")

    assert world.get(program, "A").expires_at == NOON + HOUR
    assert world.get(program, "B").expires_at == NOON + DAY

    world.now = NOON
    world.detach(program, ann, "A")
    assert world.get(program, "A").expires_at == NOON + DAY


def test_an_expiry_of_its_own_outlives_a_lifetime(world: World, ann: Holder) -> None:
    program = world.program(lifetime_s=60)
    world.import_codes(program, "A")
    world.update(program, "A", expires_at=NOON + DAY)

    world.attach(program, ann, "A")
    world.detach(program, ann, "A")

    assert world.get(program, "A").expires_at == NOON + DAY


# -- universal -----------------------------------------------------------------------------


def test_a_universal_code_goes_to_many_and_the_same_profile_changes_nothing(
    world: World, ann: Holder, bob: Holder
) -> None:
    program = world.program(multiple_usage=True)
    world.attach(program, ann, "A")
    world.now += HOUR
    world.attach(program, bob, "A")
    before = world.get(program, "A")

    world.now += HOUR
    world.attach(program, ann, "A")

    assert world.get(program, "A") == before
    assert (before.attach_count, before.profile_id) == (2, bob.profile_id)
    assert before.attached_at == NOON + HOUR


def test_a_universal_code_stops_at_the_attach_limit(world: World, ann: Holder, bob: Holder) -> None:
    program = world.program(multiple_usage=True, attach_limit=1)
    world.attach(program, ann, "A")

    with pytest.raises(AttachLimitReached):
        world.attach(program, bob, "A")
    world.attach(program, ann, "A")


def test_attach_without_a_code_gives_the_oldest_universal_code_with_room(
    world: World, ann: Holder, bob: Holder
) -> None:
    program = world.program(multiple_usage=True, attach_limit=1, activation_limit=1)
    world.import_codes(program, "B-EXPIRED", "A-OLDEST", "C-NEXT")
    world.update(program, "B-EXPIRED", expires_at=NOON)

    assert world.attach(program, ann) == "A-OLDEST"
    assert world.attach(program, bob) == "C-NEXT"
    with pytest.raises(NoFreeCode):
        world.attach(program, ann)


def test_a_profile_is_not_given_a_universal_code_that_it_holds(
    world: World, ann: Holder, bob: Holder
) -> None:
    program = world.program(multiple_usage=True)
    world.import_codes(program, "A", "B")

    assert [world.attach(program, ann), world.attach(program, ann)] == ["A", "B"]
    assert world.attach(program, bob) == "A"
    with pytest.raises(NoFreeCode):
        world.attach(program, ann)


def test_uses_of_a_universal_code_are_counted_to_the_limit(world: World, ann: Holder) -> None:
    program = world.program(multiple_usage=True, activation_limit=2)
    world.attach(program, ann, "A")
    world.activate(program, "A")
    world.activate(program, "A")

    with pytest.raises(ActivationLimitReached):
        world.activate(program, "A")


def test_a_universal_code_without_a_limit_is_used_as_often_as_one_likes(
    world: World, ann: Holder
) -> None:
    program = world.program(multiple_usage=True)
    world.attach(program, ann, "A")

    for _ in range(5):
        world.activate(program, "A")

    assert world.get(program, "A").activation_count == 5


# -- activate, update, detach --------------------------------------------------------------


def test_a_personal_code_is_activated_once(world: World, ann: Holder) -> None:
    program = world.program()
    world.attach(program, ann, "A")
    world.now += HOUR
    world.activate(program, "A")

    with pytest.raises(AlreadyActivated):
        world.activate(program, "A")
    assert world.get(program, "A").activated_at == NOON + HOUR


def test_a_code_is_activated_only_while_attached_and_not_expired(world: World, ann: Holder) -> None:
    program = world.program()
    world.import_codes(program, "A")

    with pytest.raises(NotAttached):
        world.activate(program, "A")
    world.attach(program, ann, "A")
    world.update(program, "A", expires_at=NOON + HOUR)
    world.now = NOON + HOUR
    with pytest.raises(CodeExpired):
        world.activate(program, "A")
    world.now -= 1
    world.activate(program, "A")


def test_update_activates_and_an_activated_code_stays_so(world: World, ann: Holder) -> None:
    program = world.program()
    world.attach(program, ann, "A")
    world.update(program, "A", activated=True)
    before = world.get(program, "A")
    world.now += HOUR

    world.update(program, "A", activated=True)

    assert world.get(program, "A") == before
    assert before.activated_at == NOON


def test_update_takes_the_latest_use_back_to_the_date_of_the_one_before(
    world: World, ann: Holder
) -> None:
    program = world.program(multiple_usage=True)
    world.attach(program, ann, "A")
    for hour in range(3):
        world.now = NOON + hour * HOUR
        world.activate(program, "A")
    world.update(program, "A", activated=False)
    world.now = NOON + 9 * HOUR
    world.activate(program, "A")

    dates = []
    for _ in range(4):
        dates.append(world.get(program, "A").activated_at)
        world.update(program, "A", activated=False)

    assert dates == [NOON + 9 * HOUR, NOON + HOUR, NOON, None]


def test_update_refuses_activation_only_when_expired_before_and_after(
    world: World, ann: Holder
) -> None:
    program = world.program()
    for code in "AB":
        world.attach(program, ann, code)
        world.update(program, code, expires_at=NOON)

    world.update(program, "A", activated=True, expires_at=NOON + HOUR)
    with pytest.raises(CodeExpired):
        world.update(program, "B", activated=True, expires_at=NOON - HOUR)

    assert world.get(program, "B").expires_at == NOON


def test_update_of_the_expiry_changes_nothing_else(world: World, ann: Holder) -> None:
    program = world.program()
    world.attach(program, ann, "A")
    before = world.get(program, "A")

    world.update(program, "A", expires_at=NOON + DAY)
    changed = world.get(program, "A")
    world.update(program, "A", expires_at=None)

    assert changed == before._replace(expires_at=NOON + DAY, version=before.version + 1)
    assert world.get(program, "A").expires_at is None


def test_detach_frees_a_code(world: World, ann: Holder, bob: Holder) -> None:
    program = world.program()
    world.attach(program, ann, "A")

    with pytest.raises(AttachedToOther):
        world.detach(program, bob, "A")
    world.detach(program, ann, "A")
    assert world.get(program, "A").is_free(NOON)
    with pytest.raises(NotAttached):
        world.detach(program, ann, "A")
    world.attach(program, bob, "A")
    world.activate(program, "A")
    with pytest.raises(AlreadyActivated):
        world.detach(program, bob, "A")


def test_a_code_of_several_profiles_cannot_be_detached(
    world: World, ann: Holder, bob: Holder
) -> None:
    program = world.program(multiple_usage=True)
    world.attach(program, ann, "A")
    world.attach(program, bob, "A")

    with pytest.raises(AttachedToSeveral):
        world.detach(program, ann, "A")


# -- deletion of profiles ------------------------------------------------------------------


def test_deleting_a_profile_frees_its_unused_codes_and_keeps_the_used(
    world: World, ann: Holder
) -> None:
    program = world.program(lifetime_s=60)
    world.attach(program, ann, "FREE")
    world.attach(program, ann, "USED")
    world.activate(program, "USED")

    world.delete_profile(ann)

    assert world.get(program, "FREE").is_free(NOON + DAY)
    assert world.get(program, "USED").profile_id == ann.profile_id
    assert world.history(program, "FREE")[-1].kind == EventKind.RELEASED
    with pytest.raises(ProfileNotFound):
        world.attach(program, ann, "FREE")


def test_deleting_a_profile_leaves_a_universal_code_with_its_other_holders(
    world: World, ann: Holder, bob: Holder
) -> None:
    program = world.program(multiple_usage=True)
    world.attach(program, ann, "A")
    world.now += HOUR
    world.attach(program, bob, "A")

    world.delete_profile(bob)

    code = world.get(program, "A")
    assert (code.attach_count, code.profile_id, code.attached_at) == (1, ann.profile_id, NOON)
    world.detach(program, ann, "A")


# -- idempotency and events ----------------------------------------------------------------


def test_the_same_key_gets_the_first_answer_and_happens_once(world: World, ann: Holder) -> None:
    program = world.program(multiple_usage=True)
    world.attach(program, ann, "A")

    answers = [world.activate(program, "A", key="order-1") for _ in range(3)]

    assert len(set(answers)) == 1
    assert world.get(program, "A").activation_count == 1


def test_a_refusal_is_remembered_too(world: World, ann: Holder) -> None:
    program = world.program()
    first = world.activate(program, "A", key="order-1")
    world.attach(program, ann, "A")

    assert world.activate(program, "A", key="order-1") == first
    assert first.reason == "code_not_found"


def test_a_key_of_another_request_is_refused(world: World, ann: Holder) -> None:
    program = world.program()
    world.attach(program, ann, "A", key="order-1")

    with pytest.raises(IdempotencyMismatch):
        world.run(world.service.activate(world.call("order-1", b"other"), program.id, "A"))


def test_a_key_is_forgotten_after_a_day_and_not_before(world: World, ann: Holder) -> None:
    program = world.program(multiple_usage=True)
    world.attach(program, ann, "A")
    world.activate(program, "A", key="order-1")

    world.now = NOON + DAY - 60 * SECOND
    world.activate(program, "A", key="order-1")
    assert world.get(program, "A").activation_count == 1
    world.now = NOON + DAY
    world.activate(program, "A", key="order-1")
    assert world.get(program, "A").activation_count == 2


def test_records_whose_time_is_over_are_removed(world: World, ann: Holder) -> None:
    program = world.program(multiple_usage=True)
    world.attach(program, ann, "A")
    for number in range(3):
        world.activate(program, "A", key=f"order-{number}")

    assert world.run(world.store.forget_idempotency(NOON + DAY - 1, 10)) == 0
    assert world.run(world.store.forget_idempotency(NOON + DAY, 2)) == 2
    assert world.run(world.store.forget_idempotency(NOON + DAY, 2)) == 1


def test_an_import_with_a_key_happens_once(world: World) -> None:
    program = world.program()

    first = world.import_codes(program, "A", "B", key="file-1")
    again = world.import_codes(program, "A", "B", key="file-1")

    assert isinstance(first, Answer)
    assert again == first
    assert world.exported(program) == ["A", "B"]


def test_every_change_leaves_one_event_with_the_code_as_it_became(
    world: World, ann: Holder
) -> None:
    program = world.program()
    world.import_codes(program, "A")
    world.attach(program, ann, "A")
    world.update(program, "A", expires_at=NOON + DAY)
    world.activate(program, "A")

    history = world.history(program, "A")

    assert [event.kind for event in history] == [
        EventKind.ATTACHED,
        EventKind.UPDATED,
        EventKind.ACTIVATED,
    ]
    assert [event.version for event in history] == [2, 3, 4]
    assert {(event.token_id, event.request_id) for event in history} == {(7, "request-1")}
    assert (history[-1].activation_count, history[-1].expires_at) == (1, NOON + DAY)


# -- export --------------------------------------------------------------------------------


@pytest.mark.parametrize("buckets", [1, 16])
def test_an_export_is_in_order_of_creation(world: World, ann: Holder, buckets: int) -> None:
    program = world.program(buckets=buckets)
    first = [f"Z{number}" for number in range(300)]
    world.import_codes(program, *first)
    world.attach(program, ann, "M")
    world.import_codes(program, "A")

    assert world.exported(program) == [*first, "M", "A"]


def test_an_empty_program_exports_nothing(world: World) -> None:
    assert world.exported(world.program()) == []


def test_an_import_outcome_has_every_item_in_order(world: World) -> None:
    outcome = world.import_codes(world.program(), "B", "A", "b")

    assert isinstance(outcome, ImportOutcome)
    assert [item.code for item in outcome.items] == ["B", "A", "b"]
