"""`promint backup` and `restore`: what they refuse, and what they leave behind."""

import os
import shutil
import stat
from pathlib import Path

import apsw
import pytest

from tests.commands.running_commands import Promint, Said
from tests.conftest import STORES, Stores
from tests.running import Running

HAS_TOOLS = shutil.which("pg_dump") is not None


def assert_refused(said: Said, *words: str) -> None:
    assert said.code == 2, said
    assert len(said.err.splitlines()) == 1, said.err
    for word in words:
        assert word in said.err


@pytest.fixture
def sqlite(stores: Stores) -> Promint:
    """The commands on a file with a program and two codes."""
    promint = Promint(stores.new("sqlite"))
    promint("program", "create", "--name", "Spring")
    promint.import_codes(1, "A\nB\n")
    return promint


@pytest.fixture
def backup(sqlite: Promint, tmp_path: Path) -> Path:
    file = tmp_path / "backup"
    sqlite("backup", file)
    return file


@pytest.mark.parametrize("kind", STORES)
def test_a_restored_store_is_the_same_and_only_its_owner_reads_the_backup(
    stores: Stores, kind: str, tmp_path: Path
) -> None:
    promint = Promint(stores.new(kind))
    promint("program", "create", "--name", "Spring")
    promint.import_codes(1, "A\nB\n")
    file = tmp_path / "backup"
    if kind == "postgres" and not HAS_TOOLS:
        assert_refused(promint.run("backup", file), "pg_dump is not installed")
        return

    saved = promint.json("backup", file)

    assert saved == {"file": str(file), "bytes": file.stat().st_size}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [file]
    empty = stores.server.create_database()
    other = Promint(f"sqlite:///{tmp_path / 'other.db'}" if kind == "sqlite" else empty)
    assert other.json("restore", file, "--verify") == {"file": str(file), "verified": True}
    assert other.json("program", "list") == promint.json("program", "list")
    assert other.json("codes", "show", "A", "--program", 1) == promint.json(
        "codes", "show", "A", "--program", 1
    )
    assert other.run("doctor").code == 0


def test_a_file_that_is_there_is_only_replaced_when_asked(sqlite: Promint, backup: Path) -> None:
    before = backup.read_bytes()
    sqlite.import_codes(1, "C\n")

    assert_refused(sqlite.run("backup", backup), str(backup), "--replace")
    assert backup.read_bytes() == before
    sqlite("backup", backup, "--replace")
    assert backup.read_bytes() != before
    assert list(backup.parent.iterdir()) == [backup]


def test_a_store_that_is_there_is_put_aside_when_asked_and_never_lost(
    sqlite: Promint, backup: Path, tmp_path: Path
) -> None:
    sqlite.import_codes(1, "C\n")

    assert_refused(sqlite.run("restore", backup), "stays as it is")
    assert sqlite.run("codes", "show", "C", "--program", 1).code == 0
    sqlite("restore", backup, "--replace")
    assert sqlite.run("codes", "show", "C", "--program", 1).code == 1
    aside = Promint(f"{sqlite.url}.replaced")
    assert aside.run("codes", "show", "C", "--program", 1).code == 0
    assert_refused(sqlite.run("restore", backup, "--replace"), ".replaced is in the way")


def test_a_log_without_its_file_is_not_put_into_a_restored_one(
    sqlite: Promint, backup: Path
) -> None:
    file = Path(sqlite.url.removeprefix("sqlite:///"))
    file.unlink()
    Path(f"{file}-wal").write_bytes(b"left behind")

    assert_refused(sqlite.run("restore", backup), "stays as it is")
    sqlite("restore", backup, "--replace", "--verify")


def test_a_store_that_is_served_is_not_replaced(stores: Stores, backup: Path) -> None:
    with Running(stores.new("sqlite")) as service:
        said = Promint(service.url).run("restore", backup, "--replace")

        assert_refused(said, "Another promint serves")
        assert service.get("/health/ready").status == 200


def test_a_database_that_is_not_empty_is_not_filled(stores: Stores, backup: Path) -> None:
    for options in ([], ["--replace"]):
        said = Promint(stores.new("postgres")).run("restore", backup, *options)

        assert_refused(said, "not empty", "createdb")


def broken(text: bytes) -> bytes:
    return text[:8192] + b"\xff" * 4096 + text[12288:]


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        (lambda text: b"", "no backup of an SQLite"),
        (lambda text: b"PGDMP" + text, "no backup of an SQLite"),
        (broken, "damaged"),
        (lambda text: text[:20_000], "damaged"),
    ],
    ids=["empty", "of PostgreSQL", "overwritten", "cut off"],
)
def test_a_backup_that_is_not_whole_is_refused(
    backup: Path, tmp_path: Path, changed: object, word: str
) -> None:
    assert callable(changed)
    backup.write_bytes(changed(backup.read_bytes()))

    said = Promint(f"sqlite:///{tmp_path / 'new.db'}").run("restore", backup)

    assert_refused(said, word)
    assert not (tmp_path / "new.db").exists()


@pytest.mark.parametrize(
    ("pragma", "word"),
    [("application_id = 1", "another program"), ("user_version = 999", "newer Promint")],
)
def test_a_backup_that_is_not_for_us_is_refused(
    backup: Path, tmp_path: Path, pragma: str, word: str
) -> None:
    connection = apsw.Connection(str(backup))
    connection.execute(f"PRAGMA {pragma}")
    connection.close()

    assert_refused(Promint(f"sqlite:///{tmp_path / 'new.db'}").run("restore", backup), word)


def test_a_backup_of_another_database_is_refused_by_postgresql(
    stores: Stores, backup: Path
) -> None:
    said = Promint(stores.server.create_database()).run("restore", backup)

    assert_refused(said, "no backup of a PostgreSQL")


@pytest.mark.parametrize(
    ("script", "word"),
    [("echo 'pg_dump (PostgreSQL) 9.6.1'", "pg_dump is version 9"), (None, "not installed")],
)
def test_tools_that_cannot_do_it_are_said(
    stores: Stores, tmp_path: Path, script: str | None, word: str
) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    if script:
        tool = folder / "pg_dump"
        tool.write_text(f"#!/bin/sh\n{script}\n")
        tool.chmod(0o755)
    path = f"{folder}{os.pathsep}{os.environ['PATH']}" if script else str(folder)

    said = Promint(stores.new("postgres")).run("backup", tmp_path / "backup", PATH=path)

    assert_refused(said, word, "client programs of PostgreSQL")
    assert list(tmp_path.iterdir()) == [folder]


def test_a_tool_that_fails_leaves_no_file(stores: Stores, tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    tool = folder / "pg_dump"
    tool.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && { echo "pg_dump (PostgreSQL) 99"; exit; }\n'
        "echo 'pg_dump: error: the disk is on fire' >&2; exit 1\n"
    )
    tool.chmod(0o755)
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"

    said = Promint(stores.new("postgres")).run("backup", tmp_path / "backup", PATH=path)

    assert_refused(said, "pg_dump failed: the disk is on fire.")
    assert list(tmp_path.iterdir()) == [folder]


def test_the_password_is_on_no_command_line(stores: Stores, tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    tool = folder / "pg_dump"
    tool.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && { echo "pg_dump (PostgreSQL) 99"; exit; }\n'
        f'echo "$@" >{folder}/line; echo "$PGPASSWORD" >{folder}/password; exit 1\n'
    )
    tool.chmod(0o755)
    url = stores.new("postgres").replace("//postgres@", "//postgres:hunter2%2F@")

    Promint(url).run("backup", tmp_path / "b", PATH=f"{folder}{os.pathsep}{os.environ['PATH']}")

    assert "hunter2" not in (folder / "line").read_text()
    assert (folder / "password").read_text() == "hunter2/\n"


def test_a_file_that_cannot_be_written_is_said(sqlite: Promint, tmp_path: Path) -> None:
    assert_refused(sqlite.run("backup", tmp_path / "none" / "backup"), "cannot be written")
    assert_refused(sqlite.run("restore", tmp_path / "none"), "cannot be read")


def test_there_is_no_backup_of_nothing(stores: Stores, tmp_path: Path) -> None:
    nothing = Promint(f"sqlite:///{tmp_path / 'none.db'}")

    assert_refused(nothing.run("backup", tmp_path / "b"), "does not exist")
    assert list(tmp_path.iterdir()) == []
    if HAS_TOOLS:
        said = Promint(stores.server.create_database()).run("backup", tmp_path / "b")
        assert_refused(said, "no tables of Promint")
        assert list(tmp_path.iterdir()) == []
