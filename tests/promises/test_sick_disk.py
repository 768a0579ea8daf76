"""A full disk costs a 503 and nothing else; a disk that fails stops the service."""

import asyncio
import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import apsw
import pytest

from promint.bootstrap import sqlite_path
from tests.races.builds import build_with
from tests.races.customers import Crowd
from tests.races.gate import Gate
from tests.races.ledger import Broken, Ledger, demand
from tests.races.requests import Answer, Request, activate, attach
from tests.running import Running

FILLS = 3
ANSWERS_WHILE_FULL = 400
TRIES = 400
STEPS_MAX = 40
GIVE_UP_S = 60.0
SIZE_MIB = 24


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
def small_disk(folder: Path, *, in_memory: bool) -> Iterator[PretendedDisk | MemoryDisk]:
    """Open a disk. In memory where one may be mounted, else both are of the other kind."""
    mount = ("mount", "-t", "tmpfs", "-o", f"size={SIZE_MIB}m,mode=700", "tmpfs", str(folder))
    if in_memory and subprocess.run(mount, check=False, capture_output=True).returncode == 0:
        try:
            yield MemoryDisk(folder)
        finally:
            subprocess.run(("umount", str(folder)), check=True)
    else:
        yield PretendedDisk(folder)


# -- full ----------------------------------------------------------------------------------


@pytest.mark.parametrize("in_memory", [False, True], ids=["pretended", "in memory"])
def test_a_full_disk_loses_nothing_reads_go_on_and_writes_come_back(
    tmp_path: Path, seed: int, *, in_memory: bool
) -> None:
    with small_disk(tmp_path, in_memory=in_memory) as disk:
        fill_up(disk, disk.plain, seed)


@pytest.mark.parametrize("in_memory", [False, True], ids=["pretended", "in memory"])
def test_a_build_that_answers_what_it_could_not_write_is_found_out(
    tmp_path: Path, seed: int, *, in_memory: bool
) -> None:
    fault = "tests.promises.sick_disk:answer_what_is_not_written"
    with small_disk(tmp_path, in_memory=in_memory) as disk, pytest.raises(Broken):
        fill_up(disk, fault, seed)


def fill_up(disk: PretendedDisk | MemoryDisk, build: str, seed: int) -> None:
    """Fill the disk while everybody works, free it, and ask what is true."""
    url = f"sqlite:///{disk.folder / 'promint.db'}"
    with build_with(build, url, **disk.setting) as service:
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


# -- failing -------------------------------------------------------------------------------


def test_whichever_write_of_a_redemption_fails_nothing_false_is_answered_and_the_service_ends(
    tmp_path: Path,
) -> None:
    steps = walk(tmp_path, "tests.promises.sick_disk:attach")

    assert steps >= 3, "a commit writes to the log and syncs it"


def test_a_build_that_tries_again_after_the_disk_has_failed_is_found_out(tmp_path: Path) -> None:
    with pytest.raises(Broken):
        walk(tmp_path, "tests.promises.sick_disk:attach_and_go_on")


def test_a_sync_that_fails_while_the_log_is_moved_ends_the_service(tmp_path: Path) -> None:
    with failing(tmp_path, "tests.promises.sick_disk:attach", codes=2) as (service, program):
        (tmp_path / "failing").write_text(".db 1")
        ask(service, activate(program, "F0"))

        demand_ended(service, tmp_path)
        (tmp_path / "failing").unlink()
        service.restart()
        assert ask(service, activate(program, "F1")).is_success


def walk(folder: Path, build: str) -> int:
    """Let the n-th write or sync of a redemption fail, for each n; return how many there are."""
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


def demand_whole(url: str) -> None:
    with closing(apsw.Connection(sqlite_path(url), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
        (answer,) = next(connection.execute("PRAGMA integrity_check"))
    demand(answer == "ok", "the file is damaged:", answer)
