"""A disk that fails stops the service: nothing false is answered, and the file stays whole."""

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.promises.proof import Proof, control, promise
from tests.promises.sick_disk import demand_whole
from tests.races.builds import build_with
from tests.races.gate import Gate
from tests.races.ledger import Broken, Ledger, demand
from tests.races.requests import Answer, Request, activate, attach
from tests.running import Running

STEPS_MAX = 40
GIVE_UP_S = 60.0


@promise(18, store="sqlite")
def test_whichever_write_of_a_redemption_fails_nothing_false_is_answered_and_the_service_ends(
    tmp_path: Path, proof: Proof
) -> None:
    for _ in proof.rounds(quick=1, night=1, release=5):
        steps = walk(tmp_path, "tests.promises.sick_disk:attach")
        assert steps >= 3, "a commit writes to the log and syncs it"
        proof.trials(steps, "failed writes and syncs")


@control(18, fault="attach_and_go_on", store="sqlite")
def test_a_build_that_tries_again_after_the_disk_has_failed_is_found_out(
    tmp_path: Path, proof: Proof
) -> None:
    proof.control(lambda _: walk(tmp_path, "tests.promises.sick_disk:attach_and_go_on"))


@promise(18, store="sqlite")
def test_a_write_that_fails_while_the_log_is_moved_ends_the_service(
    tmp_path: Path, proof: Proof
) -> None:
    with failing(tmp_path, "tests.promises.sick_disk:attach", codes=2) as (service, program):
        (tmp_path / "failing").write_text(".db 1")
        ask(service, activate(program, "F0"))

        demand_ended(service, tmp_path)
        (tmp_path / "failing").unlink()
        service.restart()
        assert ask(service, activate(program, "F1")).is_success
    proof.trials(1, "failed writes and syncs")


def walk(parent: Path, build: str) -> int:
    """Let the n-th write or sync of a redemption fail, for each n; return how many there are."""
    folder = Path(tempfile.mkdtemp(dir=parent))
    with failing(folder, build, codes=STEPS_MAX) as (service, program):
        for step in range(STEPS_MAX):
            (folder / "failing").write_text(f"-wal {step + 1}")
            requests = [activate(program, f"F{step}"), activate(program, f"F{STEPS_MAX}")]
            first = ask(service, requests[0])
            if first.is_success:
                (folder / "failing").unlink()
                return step
            demand(first.status == 503, "a write failed, and the caller was told", first)
            with contextlib.suppress(OSError, AssertionError):
                second = ask(service, requests[1])
                demand(not second.is_success, "the disk had failed, and", second)
            demand_ended(service, folder)

            (folder / "failing").unlink()
            service.restart()
            ledger = Ledger.read(service.url, program)
            ledger.check()
            ledger.check_effect(requests[0], first, {requests[0].id})
            demand_whole(service.url)
    raise AssertionError("a redemption has no end")


@contextmanager
def failing(folder: Path, build: str, *, codes: int) -> Iterator[tuple[Running, int]]:
    """Serve codes F0 and on, all attached, on a disk that can be told to fail."""
    url = f"sqlite:///{folder / 'promint.db'}"
    service = build_with(build, url, PROMINT_TEST_DISK=str(folder))
    service.log = folder / "log"
    with service:
        names = [f"F{number}" for number in range(codes + 1)]
        program, database = service.program(names), service.database()
        (profile,) = service.profiles(database, 1)
        with Gate(service, 16) as gate:
            answers = gate.release([attach(program, database, profile, name) for name in names])
        assert all(answer.is_success for answer in answers)
        yield service, program


def ask(service: Running, request: Request) -> Answer:
    with Gate(service, 1) as gate:
        return gate.release([request])[0]


def demand_ended(service: Running, folder: Path) -> None:
    """Wait for the service's end: by itself, with a sentence, and not as if all were well."""
    (process,) = service.running
    try:
        code = process.wait(GIVE_UP_S if "go_on" not in str(service.command) else 3)
    except subprocess.TimeoutExpired:
        raise Broken("the service goes on after its disk has failed") from None
    demand(code == 1, "the service ended with", code)
    said = (folder / "log").read_text().splitlines()[-1]
    demand(said.startswith("The disk failed under "), "the service ended with", said)
