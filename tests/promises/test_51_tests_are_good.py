"""The planted faults are what they say: wrong in a race, right without one."""

from tests.promises.proof import Proof, promise
from tests.races import racing
from tests.running import Running


@promise(51)
def test_a_build_that_checks_first_makes_no_mistake_while_nobody_races(
    careless: Running, proof: Proof
) -> None:
    racing.race_for_single_uses(careless, codes=32, racers=1)
    racing.race_for_unknown_codes(careless, codes=1, racers=1)
    racing.race_of_everything(careless, codes=32, racers=1, waves=3, seed=1, multiple_usage=False)
    proof.trials(3, "races with one client")
