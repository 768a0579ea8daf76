"""What cannot work is said in one plain sentence, with exit code 2 and without a traceback."""

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import apsw
import asyncpg
import pytest

from promint.bootstrap import sqlite_path
from tests.commands.running_commands import Promint, Said, in_a_process
from tests.conftest import Stores
from tests.ports import free_port
from tests.running import Running

Store = Callable[[Stores, Path], str]


def execute(url: str, statement: str) -> None:
    async def on_postgres() -> None:
        connection = await asyncpg.connect(url)
        await connection.execute(statement)
        await connection.close()

    if url.startswith("sqlite"):
        connection = apsw.Connection(sqlite_path(url))
        connection.execute(statement)
        connection.close()
    else:
        asyncio.run(on_postgres())


def newer_sqlite(stores: Stores, folder: Path) -> str:
    url = stores.new("sqlite")
    Promint(url)("migrate")
    execute(url, "PRAGMA user_version = 999")
    return url


def newer_postgres(stores: Stores, folder: Path) -> str:
    url = stores.new("postgres")
    execute(url, "INSERT INTO promint_schema (version) VALUES (999)")
    return url


def older_postgres(stores: Stores, folder: Path) -> str:
    url = stores.new("postgres")
    execute(url, "DELETE FROM promint_schema WHERE version > 1")
    return url


def other_port(stores: Stores, folder: Path) -> str:
    return f"postgresql://postgres@127.0.0.1:{free_port()}/promint"


def other_database(stores: Stores, folder: Path) -> str:
    parts = urlsplit(stores.template)
    return urlunsplit(parts._replace(path="/no_such_database"))


def no_database(stores: Stores, folder: Path) -> str:
    (folder / "notes.db").write_text("These are notes, and a good deal of them. " * 100)
    return f"sqlite:///{folder / 'notes.db'}"


def database_of_another_program(stores: Stores, folder: Path) -> str:
    url = f"sqlite:///{folder / 'other.db'}"
    execute(url, "CREATE TABLE bookmark (url TEXT)")
    return url


STORES_THAT_CANNOT_BE: dict[str, tuple[Store, str]] = {
    "nothing listens": (other_port, "PostgreSQL cannot be reached"),
    "host that cannot be": (lambda s, f: f"postgresql://{'x' * 64}/promint", "URL"),
    "no such database": (other_database, "no_such_database"),
    "port that cannot be": (lambda s, f: "postgresql://127.0.0.1:99999/promint", "port"),
    "URL that cannot be": (lambda s, f: "postgresql://[promint", "URL"),
    "not migrated": (lambda s, f: s.server.create_database(), "Run: promint migrate"),
    "older schema": (older_postgres, "Run: promint migrate"),
    "newer schema on PostgreSQL": (newer_postgres, "newer Promint"),
    "newer schema on SQLite": (newer_sqlite, "newer Promint"),
    "file that is no database": (no_database, "is not an SQLite database"),
    "database of another program": (database_of_another_program, "another program"),
    "folder that is not there": (lambda s, f: f"sqlite:///{f}/none/promint.db", "does not exist"),
    "folder for a file": (lambda s, f: f"sqlite:///{f}", "cannot be opened"),
    "device for a file": (lambda s, f: "sqlite:////dev/null", "/dev/null"),
    "no file": (lambda s, f: "sqlite:///", "names no file"),
    "unknown scheme": (lambda s, f: "mysql://localhost/promint", "mysql"),
    "no scheme": (lambda s, f: "promint.db", "promint.db"),
}  # fmt: skip


def assert_one_sentence(said: Said) -> None:
    assert said.code == 2, said
    assert said.out == ""
    assert "Traceback" not in said.err
    assert len(said.err.strip().splitlines()) == 1, said.err
    assert said.err.endswith(".\n") or said.err.endswith("promint migrate\n"), said.err


@pytest.mark.parametrize("name", STORES_THAT_CANNOT_BE)
def test_a_store_that_cannot_be_used_is_said_and_left_as_it_is(
    stores: Stores, tmp_path: Path, name: str
) -> None:
    make, sentence = STORES_THAT_CANNOT_BE[name]
    url = make(stores, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}

    for said in (
        in_a_process("serve", "--port", 0, "--database", url),
        Promint(url).run("program", "list"),
    ):
        assert_one_sentence(said)
        assert sentence in said.err
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_migrate_says_what_it_cannot_do(stores: Stores, tmp_path: Path) -> None:
    for make in (other_port, newer_sqlite, newer_postgres, no_database):
        assert_one_sentence(Promint(make(stores, tmp_path)).run("migrate"))


def test_migrating_is_what_an_empty_database_needs(stores: Stores) -> None:
    url = stores.server.create_database()

    assert Promint(url).run("program", "list").code == 2
    assert Promint(url).json("migrate")["schema"] >= 1
    assert Promint(url).json("program", "list") == {"programs": []}


@pytest.mark.parametrize("command", ["serve", "demo"])
def test_a_port_in_use_is_said(stores: Stores, command: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        store = [] if command == "demo" else ["--database", stores.new("sqlite")]

        said = in_a_process(command, "--port", port, *store)

    assert_one_sentence(said)
    assert said.err.startswith(f"Port {port} is in use on 127.0.0.1.")
    assert "--port" in said.err


def test_an_address_of_another_machine_is_said(stores: Stores) -> None:
    said = in_a_process("serve", "--host", "192.0.2.1", "--database", stores.new("sqlite"))

    assert_one_sentence(said)
    assert "192.0.2.1" in said.err


def test_a_second_service_on_one_sqlite_file_is_refused(stores: Stores) -> None:
    url = stores.new("sqlite")
    with Running(url) as service:
        said = in_a_process("serve", "--port", 0, "--database", url)

        assert_one_sentence(said)
        assert "Another promint serves" in said.err
        assert service.get("/health/ready").status == 200


def test_two_workers_on_sqlite_are_refused(stores: Stores) -> None:
    said = Promint(stores.new("sqlite")).run("serve", "--workers", 2)

    assert_one_sentence(said)
    assert "PostgreSQL" in said.err


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("BODY_TIMEOUT_S", "soon"),
        ("BODY_TIMEOUT_S", "nan"),
        ("IDLE_TIMEOUT_S", "inf"),
        ("BODY_BYTES_MAX", "1 MiB"),
        ("BODY_BYTES_MAX", "0"),
        ("QUEUE_MAX", "-1"),
        ("ALWAYS_200", "perhaps"),
        ("CACHE_S", ""),
        ("DATABASE_URL", ""),
    ],
)
def test_a_setting_that_cannot_be_is_said_by_name(setting: str, value: str) -> None:
    said = Promint("").run("program", "list", **{f"PROMINT_{setting}": value})

    assert_one_sentence(said)
    assert f"PROMINT_{setting}" in said.err or "sqlite:///FILE" in said.err


@pytest.mark.parametrize(
    "options",
    [
        ["--port", "99999"],
        ["--port", "-1"],
        ["--port", "http"],
        ["--workers", "0"],
        ["--workers", "many"],
        ["--colour", "red"],
    ],
    ids=" ".join,
)
def test_an_option_that_cannot_be_is_a_usage_error(options: list[str]) -> None:
    said = Promint("sqlite:///unused.db").run("serve", *options)

    assert said.code == 2
    assert "Traceback" not in said.err
    assert options[0] in said.err.splitlines()[-1]


def test_an_empty_host_is_refused_and_not_taken_for_every_address(tmp_path: Path) -> None:
    said = in_a_process("serve", "--host", "", "--database", f"sqlite:///{tmp_path / 'a.db'}")

    assert said.code == 2
    assert said.err.startswith("--host is empty")
