"""The tools that build, check and test the project do what they promise."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.postgres import Mode, PostgresServer, embedded_binaries, find_binaries

ROOT = Path(__file__).parent.parent
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer.start(find_binaries()) as started:
        yield started


def fetch(dsn: str, query: str) -> object:
    async def answer() -> object:
        connection = await asyncpg.connect(dsn)
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    return asyncio.run(answer())


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_every_make_target_has_a_sentence_and_help_lists_it() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^\.PHONY: (\w+)$", makefile, re.MULTILINE)

    listed = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert len(targets) == len(re.findall(r"^\w+:", makefile, re.MULTILINE)) > 0
    for target in targets:
        assert re.search(rf"^  make {target} +[A-Z].*\.$", listed, re.MULTILINE), target


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_a_lock_holds_pinned_names_and_their_hashes_and_nothing_else(lock: Path) -> None:
    text = re.sub(r"^#.*\n", "", lock.read_text(), flags=re.MULTILINE)
    requirements = re.sub(r" *\\\n +", " ", text).splitlines()

    assert requirements
    for requirement in requirements:
        assert re.fullmatch(
            r"[a-z0-9-]+==[\w.]+( ; [^:/@]+)?( --hash=sha256:[0-9a-f]{64})+", requirement
        )


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_a_lock_names_no_address_and_no_folder(lock: Path) -> None:
    assert not re.search(r"://|^ *-(?!-hash=)|(^|\s)/", lock.read_text(), re.MULTILINE)


def test_the_development_lock_has_the_versions_that_users_run() -> None:
    pins = re.compile(r"^[a-z0-9-]+==\S+", re.MULTILINE)
    runtime = set(pins.findall((ROOT / "requirements/runtime.txt").read_text()))
    development = set(pins.findall((ROOT / "requirements/dev.txt").read_text()))

    assert runtime
    assert runtime <= development


def unlisted(sbom: dict[str, Any]) -> set[str]:
    """Return what is installed and does not stand in a bill of materials with its version."""
    listed = {(one["name"].lower(), one["version"]) for one in sbom["components"]}
    return {
        found.name
        for found in distributions()
        if found.name != "promint" and (found.name.lower(), found.version) not in listed
    }


def test_the_bill_of_materials_lists_everything_that_is_installed() -> None:
    subprocess.run(["make", "sbom"], cwd=ROOT, capture_output=True, check=True)

    sbom = json.loads((ROOT / "build/sbom.json").read_text())

    assert sbom["bomFormat"] == "CycloneDX"
    assert sbom["metadata"]["component"]["name"] == "promint"
    assert len(sbom["components"]) > 50
    assert unlisted(sbom) == set()
    dropped = sbom["components"].pop()
    assert {name.lower() for name in unlisted(sbom)} == {dropped["name"].lower()}


@pytest.mark.parametrize("binaries", [None, embedded_binaries()], ids=["found", "embedded"])
def test_a_postgres_starts_answers_and_leaves_nothing(
    binaries: Path | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PROMINT_TEST_POSTGRES", raising=False)

    with PostgresServer.start(binaries) as server:
        dsn = server.create_database()
        assert fetch(dsn, "SELECT 1") == 1
        assert fetch(dsn, "SHOW fsync") == "on"
        assert fetch(server.socket_dsn("postgres"), "SELECT 2") == 2
        folder = Path(str(fetch(dsn, "SHOW unix_socket_directories")))
        pid = server.pid
        assert pid is not None
        assert is_running(pid)

    assert not is_running(pid)
    assert not folder.exists()


def test_a_database_can_be_copied_and_dropped(server: PostgresServer) -> None:
    template = server.create_database()
    fetch(template, "CREATE TABLE kept AS SELECT 7 AS number")

    copy = server.create_database(template=template)
    assert fetch(copy, "SELECT number FROM kept") == 7

    server.drop_database(copy)
    with pytest.raises(asyncpg.InvalidCatalogNameError):
        fetch(copy, "SELECT 1")


def test_databases_can_be_made_while_an_event_loop_runs(server: PostgresServer) -> None:
    async def make() -> str:
        return server.create_database()

    assert fetch(asyncio.run(make()), "SELECT 1") == 1


@pytest.mark.parametrize("mode", ["fast", "immediate", "kill"])
def test_a_restart_keeps_what_was_committed(server: PostgresServer, mode: Mode) -> None:
    dsn = server.create_database()
    fetch(dsn, "CREATE TABLE kept AS SELECT 7 AS number")
    first_pid = server.pid

    server.restart(mode)

    assert server.pid != first_pid
    assert fetch(dsn, "SELECT number FROM kept") == 7


def test_a_named_server_is_used_and_left_as_it_was(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMINT_TEST_POSTGRES", server.socket_dsn("postgres"))

    with PostgresServer.start() as named:
        dsn = named.create_database()
        assert fetch(dsn, "SELECT 1") == 1
        with pytest.raises(RuntimeError, match="not started here"):
            named.restart()

    assert fetch(server.dsn("postgres"), "SELECT 1") == 1
    with pytest.raises(asyncpg.InvalidCatalogNameError):
        fetch(dsn, "SELECT 1")


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_server_goes_with_the_run_that_started_it(
    end: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PROMINT_TEST_POSTGRES", raising=False)
    command = [sys.executable, "-m", "tests.postgres"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        dsn = run.stdout.readline().strip()
        folder = Path(str(fetch(dsn, "SHOW unix_socket_directories")))
        run.send_signal(end)

    deadline = time.monotonic() + 60
    while folder.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    with pytest.raises(OSError):  # noqa: PT011 - every way to find nobody listening will do
        fetch(dsn, "SELECT 1")
