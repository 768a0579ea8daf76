"""An error helps its caller, by a request id that is in the log, and tells nothing else."""

from pathlib import Path

from tests.conftest import Stores
from tests.promises.proof import Proof, control, promise
from tests.promises.secrets_sent import PLACES, break_everywhere, watched_build


@promise(52)
def test_a_fault_tells_nothing_and_is_one_line_of_the_log(
    stores: Stores, kind: str, tmp_path: Path, proof: Proof
) -> None:
    forced = proof.size(quick=7 * len(PLACES), night=72 * len(PLACES))
    with watched_build("breaks_where_asked", stores.new(kind), tmp_path / "log") as watched:
        break_everywhere(watched, forced)
        watched.hold()
    proof.trials(forced, "faults forced")


@control(52, fault="answers show the exception", store="sqlite")
def test_the_search_finds_a_build_that_shows_its_exceptions(
    stores: Stores, tmp_path: Path, proof: Proof
) -> None:
    def attempt(_: int) -> None:
        build = "answers_with_the_exception", stores.new("sqlite"), tmp_path / "log"
        with watched_build(*build) as watched:
            break_everywhere(watched, 1)

    proof.control(attempt)
