"""A personal code has one holder, a profile is one profile, and nobody uses another's code."""

from collections.abc import Callable
from functools import partial

import pytest

from tests.conftest import Stores
from tests.promises.proof import Proof, control, promise
from tests.races import racing
from tests.races.builds import build_with
from tests.running import Running

everything = partial(racing.race_of_everything, racers=8, waves=2)

SMALL: dict[str, Callable[[Running], None]] = {
    "any code": partial(racing.race_for_any_code, codes=80, clients=64),
    "any code of several buckets": partial(
        racing.race_for_any_code, codes=80, clients=64, buckets=4
    ),
    "unknown codes": partial(racing.race_for_unknown_codes, codes=16, racers=16),
    "unknown profiles": partial(racing.race_of_unknown_profiles, emails=16, racers=16),
    "deletions": partial(racing.race_with_deletions, customers=24),
    "everything, personal": partial(everything, codes=32, seed=1, multiple_usage=False),
    "everything, universal": partial(everything, codes=32, seed=1, multiple_usage=True),
}


@promise(20)
def test_a_personal_code_changes_only_from_what_it_is(service: Running, proof: Proof) -> None:
    codes = proof.size(quick=1_000, night=2_000)
    for seed in proof.rounds(quick=1, night=3, release=50):
        everything(service, codes, seed=seed, multiple_usage=False)
        proof.trials(codes, "codes, 16 requests each")


@promise(20)
def test_a_universal_code_changes_only_from_what_it_is(service: Running, proof: Proof) -> None:
    for seed in proof.rounds(quick=1, night=10, release=100):
        racing.race_of_everything(
            service, codes=200, racers=8, waves=4, seed=seed, multiple_usage=True
        )
        proof.trials(200, "codes, 32 requests each")


@promise(20)
@pytest.mark.parametrize("buckets", [1, 16])
def test_clients_who_take_any_code_get_every_code_once(
    service: Running, proof: Proof, buckets: int
) -> None:
    for _ in proof.rounds(quick=1, night=5, release=50):
        racing.race_for_any_code(service, codes=1_500, clients=64, buckets=buckets)
        proof.trials(1_500, "codes, 64 clients")


@promise(20)
def test_a_code_that_several_profiles_name_first_gets_one_holder(
    service: Running, proof: Proof
) -> None:
    for _ in proof.rounds(quick=1, night=10, release=100):
        racing.race_for_unknown_codes(service, codes=200, racers=16)
        proof.trials(200, "codes, 16 profiles each")


@promise(20)
def test_a_new_email_becomes_one_profile_however_often_it_comes(
    service: Running, proof: Proof
) -> None:
    for _ in proof.rounds(quick=1, night=10, release=100):
        racing.race_of_unknown_profiles(service, emails=60, racers=16)
        proof.trials(60, "e-mails, 16 requests each")


@promise(20)
def test_a_deleted_profile_holds_nothing_but_what_it_has_used(
    service: Running, proof: Proof
) -> None:
    for _ in proof.rounds(quick=1, night=10, release=100):
        racing.race_with_deletions(service, customers=100)
        proof.trials(100, "profiles")


@control(20, fault="check_first_write_later")
@pytest.mark.parametrize("race", SMALL)
def test_the_race_finds_a_build_that_checks_first_and_writes_later(
    careless: Running, proof: Proof, race: str
) -> None:
    proof.control(lambda _: SMALL[race](careless), runs=20)


@control(20, fault="emails_unguarded", store="postgres")
def test_the_race_finds_a_build_whose_emails_are_not_guarded(stores: Stores, proof: Proof) -> None:
    with build_with("emails_unguarded", stores.new("postgres"), processes=2) as unguarded:
        proof.control(lambda _: SMALL["unknown profiles"](unguarded), runs=20)
