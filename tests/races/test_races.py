"""Nothing is given out twice, however many ask for it at the same moment."""

import pytest

from tests.races import racing
from tests.running import Running


def test_each_of_two_thousand_single_use_codes_is_activated_once(service: Running) -> None:
    racing.race_for_single_uses(service, codes=2_000, racers=8)


def test_one_of_ten_thousand_requests_on_one_code_succeeds(service: Running) -> None:
    racing.race_for_single_uses(service, codes=1, racers=10_000)


def test_universal_codes_are_activated_exactly_as_often_as_their_limit(service: Running) -> None:
    racing.race_for_limited_uses(service, range(1, 51))


@pytest.mark.parametrize("buckets", [1, 16])
def test_clients_who_take_any_code_get_every_code_once(service: Running, buckets: int) -> None:
    racing.race_for_any_code(service, codes=1_500, clients=64, buckets=buckets)


def test_profiles_who_take_any_universal_code_get_every_place_once(service: Running) -> None:
    racing.race_for_any_place(service, codes=20, clients=256)


def test_a_code_that_several_profiles_name_first_gets_one_holder(service: Running) -> None:
    racing.race_for_unknown_codes(service, codes=200, racers=16)


def test_a_new_email_becomes_one_profile_however_often_it_comes(service: Running) -> None:
    racing.race_of_unknown_profiles(service, emails=60, racers=16)


def test_codes_that_are_imported_and_attached_at_once_are_made_once(service: Running) -> None:
    racing.race_of_imports(service, programs=30)


def test_a_deleted_profile_holds_nothing_but_what_it_has_used(service: Running) -> None:
    racing.race_with_deletions(service, customers=100)


def test_the_last_ten_places_of_code_limit_go_to_ten(service: Running) -> None:
    racing.race_for_the_last_codes(service, programs=60)


def test_the_last_ten_places_of_profile_limit_go_to_ten(service: Running) -> None:
    racing.race_for_the_last_of_a_profile(service, customers=100)


def test_the_last_ten_places_of_attach_limit_go_to_ten(service: Running) -> None:
    racing.race_for_the_last_places(service, codes=100)


def test_requests_with_one_idempotency_key_happen_once_and_are_answered_alike(
    service: Running,
) -> None:
    racing.race_of_one_key(service, keys=50, racers=16)


def test_a_personal_code_changes_only_from_what_it_is(service: Running, seed: int) -> None:
    racing.race_of_everything(
        service, codes=1_000, racers=8, waves=2, seed=seed, multiple_usage=False
    )


def test_a_universal_code_changes_only_from_what_it_is(service: Running, seed: int) -> None:
    racing.race_of_everything(service, codes=200, racers=8, waves=4, seed=seed, multiple_usage=True)
