"""Backups are made while everybody writes; each restores, with all that was answered before it."""

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import apsw

from promint.bootstrap import sqlite_path
from tests.commands.running_commands import PROMINT, Promint
from tests.conftest import Stores
from tests.promises.proof import Proof, control, promise
from tests.races.customers import Crowd, Told
from tests.races.ledger import Broken, Ledger, demand
from tests.running import Running

BACKUPS = 4
ANSWERS_BETWEEN = 300
PROCESSES = {"sqlite": 1, "postgres": 2}

Copy = Callable[[str, Path], Awaitable[None]]


@dataclass(frozen=True)
class Kept:
    """A backup, and what had been answered when it began and when it was done."""

    file: Path
    before: Sequence[Told]
    after: Sequence[Told]


@promise(19)
def test_a_backup_under_load_has_every_answered_change_and_is_consistent(
    stores: Stores, kind: str, tmp_path: Path, proof: Proof
) -> None:
    for seed in proof.rounds(quick=1, night=5, release=20):
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        kept = taken(stores, kind, folder, seed, by_command)
        if kind == "postgres" and shutil.which("pg_dump") is None:
            # What the command said instead was checked where it was run.
            assert kept == []
            continue
        assert len(kept) == BACKUPS
        for one in kept:
            url = empty(stores, kind, folder / f"{one.file.name}.db")
            Promint(url)("restore", one.file, "--verify")
            demand_answered(url, one.before)
        proof.trials(BACKUPS, "backups under load")


@control(19, fault="a_copy_without_its_log", store="sqlite")
def test_a_copy_of_the_file_without_its_log_is_found_out(
    stores: Stores, tmp_path: Path, proof: Proof
) -> None:
    def attempt(seed: int) -> None:
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        (*_, last) = taken(stores, "sqlite", folder, seed, by_copying)
        said = Promint(f"sqlite:///{folder / 'restored.db'}").run("restore", last.file)
        assert said.code == 2
        assert "without its log" in said.err
        demand_answered(f"sqlite:///{last.file}", last.before)

    proof.control(attempt, runs=3)


@control(19, fault="a_backup_of_too_early_a_moment", store="sqlite")
def test_what_was_answered_after_the_backup_is_looked_for_and_found_missing(
    stores: Stores, tmp_path: Path, proof: Proof
) -> None:
    def attempt(seed: int) -> None:
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        (*_, last) = taken(stores, "sqlite", folder, seed, by_command)
        url = f"sqlite:///{folder / 'restored.db'}"
        Promint(url)("restore", last.file)
        demand_answered(url, last.after)

    proof.control(attempt)


def taken(stores: Stores, kind: str, folder: Path, seed: int, copy: Copy) -> list[Kept]:
    """Take backups of a service that everybody works with."""
    kept: list[Kept] = []
    with Running(stores.new(kind), PROCESSES[kind]) as service:
        crowd = Crowd(service, seed)

        async def work() -> None:
            for number in range(BACKUPS):
                await crowd.answers(ANSWERS_BETWEEN)
                before = answered(crowd)
                file = folder / f"backup-{number}"
                await copy(service.url, file)
                await crowd.answers(ANSWERS_BETWEEN)
                if file.exists():
                    kept.append(Kept(file, before, answered(crowd)))

        crowd.storm(until=work)
        crowd.repeat()
        crowd.check()
    return kept


async def by_command(url: str, file: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *PROMINT, "backup", str(file), "--database", url, stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()
    if url.startswith("postgres") and shutil.which("pg_dump") is None:
        assert b"pg_dump is not installed" in said
    else:
        assert process.returncode == 0, said


async def by_copying(url: str, file: Path) -> None:
    await asyncio.to_thread(shutil.copyfile, sqlite_path(url), file)


def answered(crowd: Crowd) -> list[Told]:
    """Return what has been told by now, as it stands now."""
    return [replace(told, ids=set(told.ids)) for told in crowd.told if not told.is_open]


def empty(stores: Stores, kind: str, file: Path) -> str:
    return f"sqlite:///{file}" if kind == "sqlite" else stores.server.create_database()


def demand_answered(url: str, told: Sequence[Told]) -> None:
    """Hold a restored store to itself and to what was answered.

    Raises:
        Broken: it is not right, or an answered change is missing.
    """
    assert told
    programs = {one.request.fields["loyalty_id"] for one in told}
    try:
        ledger = Ledger.read(url, *programs)
    except apsw.Error as error:
        raise Broken(f"the copy cannot be read: {error}") from error
    ledger.check()
    for one in told:
        if one.answer is not None and one.answer.is_success:
            demand(ledger.has_happened(one.request, one.ids), one.request, "was answered and lost")
            ledger.check_effect(one.request, one.answer, one.ids)
