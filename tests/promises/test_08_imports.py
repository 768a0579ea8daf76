"""An import is there whole or as its batch counts it, and makes each code once."""

import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from promint.domain.model import Batch, BatchState, LoyaltyProgram
from tests.conftest import Stores
from tests.promises.proof import Proof, control, promise
from tests.races import racing
from tests.races.dying import Course, run
from tests.races.ledger import SQLITE, demand, rows
from tests.running import Running
from tests.world import World

FAULTS = "tests.promises.faults.imports"
SMALL_CHUNKS = f"{FAULTS}:in_small_chunks"
LAST_STEPS = 12
SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
ROWS, WHOLE = "row by row", "all or nothing"


@promise(8)
@pytest.mark.parametrize("mode", [ROWS, WHOLE])
def test_a_killed_import_leaves_what_its_batch_counts_and_is_completed(
    stores: Stores,
    kind: str,
    make_world: Callable[[str], World],
    tmp_path: Path,
    mode: str,
    proof: Proof,
) -> None:
    size = proof.size(quick=3_000, night=20_000, release=100_000)
    kills = 10
    outcomes: Counter[str] = Counter()
    for seed in proof.rounds(quick=1, night=5):
        importing = Imports(make_world, stores.new(kind), tmp_path / "codes.txt", size, seed)
        outcomes += kill_imports(importing, kills, is_atomic=mode == WHOLE, plant=SMALL_CHUNKS)
        proof.trials(kills, "kills")
    proof.figure("left behind", ", ".join(f"{kind} {n}" for kind, n in sorted(outcomes.items())))


@control(8, fault="store_each_row_on_its_own")
def test_the_kills_find_a_build_that_stores_each_row_on_its_own(
    stores: Stores, kind: str, make_world: Callable[[str], World], tmp_path: Path, proof: Proof
) -> None:
    def attempt(seed: int) -> None:
        importing = Imports(make_world, stores.new(kind), tmp_path / "codes.txt", 60, seed)
        plant = f"{FAULTS}:store_each_row_on_its_own"
        kill_imports(importing, kills=5, is_atomic=True, plant=plant)

    proof.control(attempt)


@promise(8)
def test_a_large_file_is_imported_whole(
    stores: Stores, kind: str, make_world: Callable[[str], World], tmp_path: Path, proof: Proof
) -> None:
    size = proof.size(quick=10_000, night=1_000_000)
    importing = Imports(make_world, stores.new(kind), tmp_path / "codes.txt", size, proof.seed)
    program = importing.world.program()

    begun = time.monotonic()
    command = [sys.executable, "-m", "promint", "--json", *importing.arguments(program)]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)

    demand(child.returncode == 0, "the command ended with", child.returncode)
    demand(importing.counted(program) == size, importing.counted(program), "of", size)
    proof.figure(f"{size:,} rows, s", time.monotonic() - begun)
    proof.figure("memory, MB", used.ru_maxrss / 1024)
    proof.trials(size, "rows")


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


class Imports:
    """A file of codes, and the command that imports it into one store."""

    def __init__(
        self, make_world: Callable[[str], World], url: str, path: Path, size: int, seed: int
    ) -> None:
        self.rng = random.Random(seed)
        self.world = make_world(url)
        self.folder = path.parent
        self._url, self._path = url, path
        self.codes = sorted({f"CODE-{self.rng.getrandbits(60):015x}" for _ in range(size)})
        self.rng.shuffle(self.codes)
        path.write_text("".join(f"{code}\n" for code in self.codes))

    def arguments(self, program: LoyaltyProgram, *options: str) -> list[str]:
        named = "--program", str(program.id)
        return ["--database", self._url, "codes", "import", str(self._path), *named, *options]

    def batches(self, program: LoyaltyProgram) -> list[Batch]:
        return self.world.run(self.world.store.batches(program.id))

    def sessions(self) -> int:
        """Return how many sessions the database has; SQLite has none."""
        if self._url.startswith(SQLITE):
            return 0
        return int(rows(self._url, SESSIONS)[0][0])

    def counted(self, program: LoyaltyProgram) -> int:
        return sum(batch.inserted for batch in self.batches(program))


def kill_imports(imports: Imports, kills: int, *, is_atomic: bool, plant: str) -> Counter[str]:
    """Kill imports at steps from every part of their course, the last around its last commits.

    Returns how often each kind of remains was left behind.
    """
    options = ["--all-or-nothing"] if is_atomic else []

    def run_import(
        program: LoyaltyProgram, *more: str, dies_at: int | None = None
    ) -> Course | None:
        arguments = imports.arguments(program, *options, *more)
        return run(arguments, imports.folder, dies_at=dies_at, plants=[plant])

    whole = run_import(imports.world.program())
    assert whole is not None
    outcomes: Counter[str] = Counter()
    for number in range(kills):
        program = imports.world.program()
        dies_at = 1 + int((number + imports.rng.random()) / kills * whole.steps)
        if number == kills - 1:
            dies_at = whole.steps - imports.rng.randrange(LAST_STEPS)
        sessions = imports.sessions()
        run_import(program, dies_at=dies_at)
        while imports.sessions() > sessions:
            # The server still works on what the dead command has sent last.
            time.sleep(0.01)
        outcomes[check_left(imports, program, is_atomic=is_atomic)] += 1
        check_completed(imports, program, run_import)
    return outcomes


def check_left(imports: Imports, program: LoyaltyProgram, *, is_atomic: bool) -> str:
    """Hold the codes that a killed import left behind to what its batch counts."""
    world, total = imports.world, len(imports.codes)
    there = world.exported(program)
    demand(len(there) == len(set(there)), "a code is there twice")
    demand(set(there) <= set(imports.codes), "a code is there that no file has")
    counted = imports.counted(program)
    demand(len(there) == counted, len(there), "codes are there, the batch counts", counted)
    tally = world.run(world.store.code_counts([program]))[program.id]
    demand(tally == len(there), len(there), "codes are there, the program counts", tally)
    demand(not is_atomic or len(there) in (0, total), len(there), "of", total, "are there")
    return "nothing" if not there else "everything" if len(there) == total else "some"


def check_completed(
    imports: Imports, program: LoyaltyProgram, run_import: Callable[..., Course | None]
) -> None:
    """Resume what was killed, or import again; then once more, which must add nothing."""
    total = len(imports.codes)
    batches = imports.batches(program)
    if not batches or batches[0].state is not BatchState.DONE:
        completed = run_import(program, *(["--resume", str(batches[0].id)] if batches else []))
        assert completed is not None
        demand(completed.report["new"] == total, "completed, the report says", completed.report)
    demand(imports.counted(program) == total, "the batches count", imports.counted(program))

    again = run(imports.arguments(program), imports.folder)
    assert again is not None
    demand(again.report["duplicates_in_program"] == total, "again, the report says", again.report)
    there = imports.world.exported(program)
    demand(sorted(there) == sorted(imports.codes), len(there), "codes are there, not", total)
