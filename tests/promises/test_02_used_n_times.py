"""A limit of N is met N times, and never more often."""

import random
from collections.abc import Callable
from functools import partial

import pytest

from tests.conftest import Stores
from tests.promises.proof import Proof, control, promise
from tests.races import racing
from tests.races.builds import build_with
from tests.running import Running

LIMITS = ("attach_limit", "profile_limit", "code_limit")

SMALL: dict[str, Callable[[Running], None]] = {
    "uses": partial(racing.race_for_limited_uses, limits=(1, 2, 5, 10, 20, 50)),
    "any place": partial(racing.race_for_any_place, codes=4, clients=64),
    "codes of a program": partial(racing.race_for_the_last_codes, programs=8),
    "codes of a profile": partial(racing.race_for_the_last_of_a_profile, customers=8),
    "holders of a code": partial(racing.race_for_the_last_places, codes=8),
    **{
        f"three at once, {limit}": partial(
            racing.race_for_three_limits, codes=12, profiles=12, tightest=limit
        )
        for limit in LIMITS
    },
}


@promise(2)
def test_universal_codes_are_activated_exactly_as_often_as_their_limit(
    service: Running, proof: Proof
) -> None:
    codes = proof.size(quick=50, night=100, release=500)
    most = proof.size(quick=50, night=1_000)
    for seed in proof.rounds(quick=1, night=1, release=2):
        rng = random.Random(seed)
        limits = [rng.randint(1, most) for _ in range(codes)]
        racing.race_for_limited_uses(service, limits)
        proof.trials(codes, "codes, three times as many clients as uses")


@promise(2)
def test_profiles_who_take_any_universal_code_get_every_place_once(
    service: Running, proof: Proof
) -> None:
    for _ in proof.rounds(quick=1, night=10, release=100):
        racing.race_for_any_place(service, codes=20, clients=256)
        proof.trials(20 * racing.PLACES, "places")


@promise(2)
def test_the_last_ten_places_of_code_limit_go_to_ten(service: Running, proof: Proof) -> None:
    for _ in proof.rounds(quick=1, night=10, release=100):
        racing.race_for_the_last_codes(service, programs=60)
        proof.trials(60, "programs, 16 clients each")


@promise(2)
def test_the_last_ten_places_of_profile_limit_go_to_ten(service: Running, proof: Proof) -> None:
    for _ in proof.rounds(quick=1, night=10, release=100):
        racing.race_for_the_last_of_a_profile(service, customers=100)
        proof.trials(100, "profiles, 16 requests each")


@promise(2)
def test_the_last_ten_places_of_attach_limit_go_to_ten(service: Running, proof: Proof) -> None:
    for _ in proof.rounds(quick=1, night=10, release=100):
        racing.race_for_the_last_places(service, codes=100)
        proof.trials(100, "codes, 16 profiles each")


@promise(2)
@pytest.mark.parametrize("tightest", LIMITS)
def test_of_three_limits_at_once_the_tightest_is_met_exactly(
    service: Running, proof: Proof, tightest: str
) -> None:
    for seed in proof.rounds(quick=2, night=20, release=170):
        rng = random.Random(seed)
        codes, profiles = 3 * rng.randint(1, 10), 3 * rng.randint(1, 10)
        racing.race_for_three_limits(service, codes, profiles, tightest)
        proof.trials(1, "programs with three limits, three times as many requests as places")


@control(2, fault="check_first_write_later")
@pytest.mark.parametrize("limit", SMALL)
def test_the_race_finds_a_build_that_checks_first_and_writes_later(
    careless: Running, proof: Proof, limit: str
) -> None:
    proof.control(lambda _: SMALL[limit](careless), runs=20)


@control(2, fault="tallies_unguarded", store="postgres")
@pytest.mark.parametrize("limit", ["codes of a program", "codes of a profile"])
def test_the_race_finds_a_build_whose_counts_are_not_guarded(
    stores: Stores, proof: Proof, limit: str
) -> None:
    build = build_with("tallies_unguarded", stores.new("postgres"), processes=2)
    with build as unguarded:
        proof.control(lambda _: SMALL[limit](unguarded), runs=20)
