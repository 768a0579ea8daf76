"""An import that is killed leaves nothing, everything, or exactly what its batch counts."""

import os
import random
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from promint.domain.model import Batch, LoyaltyProgram
from tests.commands.running_commands import PROMINT, Promint
from tests.conftest import STORES, Stores
from tests.world import SECOND, World

KILLS = 20
TRIES_MAX = 100
CODES = 20_000


@pytest.fixture(params=STORES)
def url(request: pytest.FixtureRequest, stores: Stores) -> str:
    return stores.new(str(request.param))


class File:
    """A file of codes, and the command that imports it."""

    def __init__(self, world: World, url: str, path: Path, codes: Sequence[str]) -> None:
        self.world, self.url, self.path = world, url, path
        self.codes = codes
        path.write_text("".join(f"{code}\n" for code in codes))

    def arguments(self, program: LoyaltyProgram, *options: str) -> list[str]:
        return ["codes", "import", str(self.path), "--program", str(program.id), *options]

    def import_and_kill(self, program: LoyaltyProgram, after_s: float, *options: str) -> None:
        """Import, and kill the command so long after its batch began."""
        with subprocess.Popen(
            [*PROMINT, "--database", self.url, *self.arguments(program, *options)],
            env={**os.environ, "TMPDIR": str(self.path.parent)},  # a kill leaves something there
            stdout=subprocess.DEVNULL,
        ) as command:
            while command.poll() is None and not self.batches(program):
                time.sleep(0.002)
            time.sleep(after_s)
            command.kill()

    def import_whole(self, program: LoyaltyProgram, *options: str) -> dict[str, Any]:
        return Promint(self.url).json(*self.arguments(program, *options))

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
    file.import_whole(full)
    whole_s = seconds_of_the_batch(file, full)

    kills = 0
    for number in range(TRIES_MAX):
        is_atomic = number % 4 == 3
        program = world.program(name=f"killed {number}")
        file.import_and_kill(
            program, whole_s * rng.random(), *(["--all-or-nothing"] if is_atomic else [])
        )
        check_what_is_there(file, program, is_atomic=is_atomic)

        resumable = [batch.id for batch in file.batches(program) if batch.state != "done"]
        if not resumable:
            # Too late, as the machine is quicker now.
            whole_s *= 0.8
            continue
        again = file.import_whole(program, "--resume", str(resumable[0]))
        assert again["new"] == CODES
        assert sorted(world.exported(program)) == sorted(codes)
        (batch,) = file.batches(program)
        assert batch.inserted == CODES
        kills += 1
        if kills == KILLS:
            break
    assert kills == KILLS


def seconds_of_the_batch(file: File, program: LoyaltyProgram) -> float:
    """Return how long the codes took to go in, without the start of the command."""
    (batch,) = file.batches(program)
    assert batch.finished_at is not None
    return (batch.finished_at - batch.created_at) / SECOND


def check_what_is_there(file: File, program: LoyaltyProgram, *, is_atomic: bool) -> None:
    """Hold the codes to the batch's count, to the program's tally and to the events."""
    there, batches = at_one_moment(file, program)
    assert len(there) == len(set(there))
    assert set(there) <= set(file.codes)
    assert len(there) == sum(batch.inserted for batch in batches)
    if is_atomic:
        assert len(there) in (0, CODES)


def at_one_moment(file: File, program: LoyaltyProgram) -> tuple[list[str], list[Batch]]:
    """Return the codes and the batches; a server may still commit for a client that is killed."""
    while True:
        batches = file.batches(program)
        there = file.world.exported(program)
        if file.batches(program) == batches:
            return there, batches
