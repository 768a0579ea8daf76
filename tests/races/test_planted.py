"""Each race finds the fault that it is there for."""

from collections.abc import Callable, Iterator
from functools import partial

import pytest

from tests.conftest import STORES, Stores
from tests.races import racing
from tests.races.conftest import PROCESSES, planted
from tests.races.ledger import Broken
from tests.running import Running

Race = Callable[[Running], None]

RACES: dict[str, Race] = {
    "single uses": partial(racing.race_for_single_uses, codes=64, racers=8),
    "one code": partial(racing.race_for_single_uses, codes=1, racers=500),
    "limited uses": partial(racing.race_for_limited_uses, limits=(1, 2, 5, 10, 20, 50)),
    "any code": partial(racing.race_for_any_code, codes=80, clients=64),
    "any code of several buckets": partial(
        racing.race_for_any_code, codes=80, clients=64, buckets=4
    ),
    "any place": partial(racing.race_for_any_place, codes=4, clients=64),
    "unknown codes": partial(racing.race_for_unknown_codes, codes=16, racers=16),
    "unknown profiles": partial(racing.race_of_unknown_profiles, emails=16, racers=16),
    "imports": partial(racing.race_of_imports, programs=32),
    "deletions": partial(racing.race_with_deletions, customers=24),
    "last codes": partial(racing.race_for_the_last_codes, programs=8),
    "last of a profile": partial(racing.race_for_the_last_of_a_profile, customers=8),
    "last places": partial(racing.race_for_the_last_places, codes=8),
    "one key": partial(racing.race_of_one_key, keys=16, racers=16),
    "everything, personal": partial(
        racing.race_of_everything, codes=32, racers=8, waves=2, seed=1, multiple_usage=False
    ),
    "everything, universal": partial(
        racing.race_of_everything, codes=32, racers=8, waves=2, seed=1, multiple_usage=True
    ),
}

ON_ONE_MECHANISM = [
    ("tallies_unguarded", "last codes"),
    ("tallies_unguarded", "last of a profile"),
    ("emails_unguarded", "unknown profiles"),
    ("keys_unguarded", "one key"),
]
"""On PostgreSQL each of these is guarded by something of its own."""

TRIES = 20
"""On a busy machine one process may be done before the next one begins, and nothing collides."""


@pytest.fixture(scope="module", params=STORES)
def careless(request: pytest.FixtureRequest, stores: Stores) -> Iterator[Running]:
    """A service that checks first and writes later."""
    kind = request.param
    with planted("check_first_write_later", stores.new(kind), PROCESSES[kind]) as running:
        yield running


@pytest.mark.parametrize("race", RACES)
def test_a_race_finds_a_build_that_checks_first_and_writes_later(
    careless: Running, race: str
) -> None:
    with pytest.raises(Broken):
        run(race, careless)


def test_the_same_build_makes_no_mistake_while_nobody_races(careless: Running) -> None:
    racing.race_for_single_uses(careless, codes=32, racers=1)
    racing.race_for_unknown_codes(careless, codes=1, racers=1)
    racing.race_of_everything(careless, codes=32, racers=1, waves=3, seed=1, multiple_usage=False)


@pytest.mark.parametrize(("fault", "race"), ON_ONE_MECHANISM)
def test_a_race_finds_a_build_in_which_one_mechanism_is_missing(
    stores: Stores, fault: str, race: str
) -> None:
    with planted(fault, stores.new("postgres"), processes=2) as unguarded, pytest.raises(Broken):
        run(race, unguarded)


def run(race: str, service: Running) -> None:
    for _ in range(TRIES):
        RACES[race](service)
