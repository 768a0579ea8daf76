"""An import makes each code once, whoever else makes it at the same moment."""

from tests.promises.proof import Proof, control, promise
from tests.races import racing
from tests.running import Running


@promise(8)
def test_codes_that_are_imported_and_attached_at_once_are_made_once(
    service: Running, proof: Proof
) -> None:
    for _ in proof.rounds(quick=1, night=10, release=100):
        racing.race_of_imports(service, programs=30)
        proof.trials(30 * 20, "codes, 16 clients each")


@control(8, fault="check_first_write_later")
def test_the_race_finds_a_build_that_checks_first_and_writes_later(
    careless: Running, proof: Proof
) -> None:
    proof.control(lambda _: racing.race_of_imports(careless, programs=32), runs=20)
