"""An import that is killed leaves nothing, everything, or exactly what its batch counts."""

import json
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from promint.domain.model import Batch, LoyaltyProgram
from tests.conftest import STORES, Stores
from tests.world import World

KILLS = 20
CODES = 20_000
WAIT_S_MAX = 60.0


@pytest.fixture(params=STORES)
def url(request: pytest.FixtureRequest, stores: Stores) -> str:
    return stores.new(str(request.param))


class File:
    """A file of codes, and the command that imports it."""

    def __init__(self, world: World, url: str, path: Path, codes: Sequence[str]) -> None:
        self.world, self.url, self.path = world, url, path
        self.codes = codes
        path.write_text("".join(f"{code}\n" for code in codes))

    def command(self, program: LoyaltyProgram, *options: str) -> list[str]:
        return [
            sys.executable, "-m", "promint", "--database", self.url, "--json", "codes", "import",
            str(self.path), "--program", str(program.id), *options,
        ]  # fmt: skip

    def import_and_kill(self, program: LoyaltyProgram, after_s: float, *options: str) -> bool:
        """Import, and kill the command; return whether it was killed before its end."""
        command = subprocess.Popen(self.command(program, *options), stdout=subprocess.DEVNULL)
        try:
            command.wait(after_s)
        except subprocess.TimeoutExpired:
            command.kill()
            command.wait(WAIT_S_MAX)
            return True
        return False

    def import_whole(self, program: LoyaltyProgram, *options: str) -> dict[str, int]:
        done = subprocess.run(
            self.command(program, *options), capture_output=True, check=True, timeout=WAIT_S_MAX
        )
        report: dict[str, int] = json.loads(done.stdout)
        return report

    def batches(self, program: LoyaltyProgram) -> list[Batch]:
        return self.world.run(self.world.store.batches(program.id))


def test_twenty_killed_imports_left_what_their_batches_count(
    url: str, make_world: type[World], tmp_path: Path, seed: int
) -> None:
    world = make_world(url)
    rng = random.Random(seed)
    codes = [f"CODE-{rng.getrandbits(60):015x}" for _ in range(CODES)]
    file = File(world, url, tmp_path / "codes.txt", codes)
    full = world.program(name="whole")
    begun = time.monotonic()
    file.import_whole(full)
    whole_s = time.monotonic() - begun

    outcomes = set()
    for number in range(KILLS):
        is_atomic = number % 4 == 3
        program = world.program(name=f"killed {number}")
        # Most of the time goes into starting up; the rest is where something can be half done.
        file.import_and_kill(
            program,
            whole_s * (0.4 + 0.65 * rng.random()),
            *(["--all-or-nothing"] if is_atomic else []),
        )
        outcomes.add(check_what_is_there(file, program, is_atomic=is_atomic))

        resumable = [batch.id for batch in file.batches(program) if batch.state != "done"]
        options = ["--resume", str(resumable[0])] if resumable else []
        again = file.import_whole(program, *options)

        assert sorted(world.exported(program)) == sorted(codes)
        if resumable:
            assert again["new"] == CODES
        batches = file.batches(program)
        assert sum(batch.inserted for batch in batches) == CODES
    # Otherwise nothing was killed where it matters.
    assert "some" in outcomes or "everything" in outcomes, outcomes


def check_what_is_there(file: File, program: LoyaltyProgram, *, is_atomic: bool) -> str:
    """Hold the codes to the batch's count, to the program's tally and to the events."""
    there = file.world.exported(program)
    assert len(there) == len(set(there))
    assert set(there) <= set(file.codes)
    counted = sum(batch.inserted for batch in file.batches(program))
    assert len(there) == counted
    if is_atomic:
        assert len(there) in (0, CODES)
    if not there:
        return "nothing"
    return "everything" if len(there) == CODES else "some"
