"""A full disk costs a 503 and nothing else: nothing is lost, reads go on, writes come back."""

import asyncio
import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.promises.proof import Proof, control, promise
from tests.promises.sick_disk import demand_whole
from tests.races.builds import build_with
from tests.races.customers import Crowd
from tests.races.gate import Gate
from tests.races.ledger import Broken, demand
from tests.races.requests import attach

FILLS = 3
ANSWERS_WHILE_FULL = 400
TRIES = 400
SIZE_MIB = 24
KINDS = pytest.mark.parametrize("in_memory", [False, True], ids=["pretended", "in memory"])


class PretendedDisk:
    """A folder on whose files the disk of `sick_disk.py` stands still."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.setting = {"PROMINT_TEST_DISK": str(folder)}
        self.plain = "tests.promises.sick_disk:attach"

    def fill(self) -> None:
        (self.folder / "full").touch()

    def free(self) -> None:
        (self.folder / "full").unlink()


class MemoryDisk:
    """A file system of a few MiB in memory, mounted for the test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.setting: dict[str, str] = {}
        self.plain = "builtins:bool"

    def fill(self) -> None:
        filler = os.open(self.folder / "filler", os.O_WRONLY | os.O_CREAT, 0o600)
        with contextlib.suppress(OSError):
            for size in (65_536, 512):
                while os.write(filler, bytes(size)) == size:
                    pass
        os.close(filler)

    def free(self) -> None:
        (self.folder / "filler").unlink()


@contextmanager
def small_disk(parent: Path, *, in_memory: bool) -> Iterator[PretendedDisk | MemoryDisk]:
    """Open a disk. In memory where one may be mounted, else both are of the other kind."""
    folder = Path(tempfile.mkdtemp(dir=parent))
    mount = ("mount", "-t", "tmpfs", "-o", f"size={SIZE_MIB}m,mode=700", "tmpfs", str(folder))
    if in_memory and subprocess.run(mount, check=False, capture_output=True).returncode == 0:
        try:
            yield MemoryDisk(folder)
        finally:
            subprocess.run(("umount", str(folder)), check=True)
    else:
        yield PretendedDisk(folder)


@promise(17, store="sqlite")
@KINDS
def test_a_full_disk_loses_nothing_reads_go_on_and_writes_come_back(
    tmp_path: Path, proof: Proof, *, in_memory: bool
) -> None:
    for seed in proof.rounds(quick=1, night=7, release=35):
        with small_disk(tmp_path, in_memory=in_memory) as disk:
            fill_up(disk, disk.plain, seed)
        proof.trials(FILLS, "full disks")


@control(17, fault="answer_what_is_not_written", store="sqlite")
@KINDS
def test_a_build_that_answers_what_it_could_not_write_is_found_out(
    tmp_path: Path, proof: Proof, *, in_memory: bool
) -> None:
    def attempt(seed: int) -> None:
        with small_disk(tmp_path, in_memory=in_memory) as disk:
            fill_up(disk, "tests.promises.sick_disk:answer_what_is_not_written", seed)

    proof.control(attempt)


def fill_up(disk: PretendedDisk | MemoryDisk, build: str, seed: int) -> None:
    """Fill the disk while everybody works, free it, and ask what is true."""
    url = f"sqlite:///{disk.folder / 'promint.db'}"
    with build_with(build, url, 1, **disk.setting) as service:
        crowd = Crowd(service, seed)
        (process,) = service.running
        for _ in range(FILLS):
            crowd.storm(until=lambda: filled_and_freed(crowd, disk))
            recovered(crowd)
        crowd.repeat()
        crowd.check()
        assert service.running == [process]
        assert process.poll() is None
    told = {(t.answer.status, t.answer.reason) for t in crowd.told if t.answer is not None}
    assert told <= {(200, ""), (200, "already_activated"), (503, "unavailable")}, told
    demand((503, "unavailable") in told, "nobody met the full disk")
    assert all(t.answer is not None for t in crowd.told)
    demand_whole(url)


async def filled_and_freed(crowd: Crowd, disk: PretendedDisk | MemoryDisk) -> None:
    await crowd.answers(100)
    await asyncio.to_thread(disk.fill)
    await crowd.answers(ANSWERS_WHILE_FULL)
    reply = await asyncio.to_thread(
        crowd.service.call, "promocodes/get", {"loyalty_id": crowd.program, "code": "C0"}
    )
    demand(reply.status == 200, "a look-up was told", reply.status, reply.reason)
    await asyncio.to_thread(disk.free)
    await crowd.answers(100)


def recovered(crowd: Crowd) -> None:
    """Ask until a write is answered; nobody starts the service again."""
    request = attach(crowd.program, crowd.database, crowd.profiles[0])
    with Gate(crowd.service, 1) as gate:
        for _ in range(TRIES):
            if gate.release([request.again()])[0].is_success:
                return
            time.sleep(0.01)
    raise Broken("writes did not come back")
