"""A request with an idempotency key happens once, however often it is sent."""

from tests.conftest import Stores
from tests.promises.proof import Proof, control, promise
from tests.races import racing
from tests.races.builds import build_with
from tests.running import Running


@promise(5)
def test_requests_with_one_key_happen_once_and_are_answered_alike(
    service: Running, proof: Proof
) -> None:
    for _ in proof.rounds(quick=1, night=10, release=100):
        racing.race_of_one_key(service, keys=50, racers=16)
        proof.trials(4 * 50, "keys, 16 clients each")


@control(5, fault="check_first_write_later")
def test_the_race_finds_a_build_that_checks_first_and_writes_later(
    careless: Running, proof: Proof
) -> None:
    proof.control(lambda _: racing.race_of_one_key(careless, keys=16, racers=16), runs=20)


@control(5, fault="keys_unguarded", store="postgres")
def test_the_race_finds_a_build_whose_keys_are_not_guarded(stores: Stores, proof: Proof) -> None:
    with build_with("keys_unguarded", stores.new("postgres"), processes=2) as unguarded:
        proof.control(lambda _: racing.race_of_one_key(unguarded, keys=16, racers=16), runs=20)
