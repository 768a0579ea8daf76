"""It will not run unsafe: each unsafe setting, one by one, is refused with what to do about it."""

import asyncio
import stat
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit

import apsw
import asyncpg
import pytest

from promint import bootstrap, safety
from promint.bootstrap import make_store, sqlite_path
from promint.config import read_settings
from promint.store.sqlite import SqliteStore, facts
from promint.wire import codecs
from tests.commands.running_commands import Promint, Said, in_a_process
from tests.conftest import STORES, Stores
from tests.postgres import PostgresServer
from tests.promises.proof import Proof, control, promise
from tests.races.ledger import Broken, demand

UNSAFE_SERVER = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "data_sync_retry": "on",
}
WARNING_ONLY = {
    *("user", "settings", "space"),
    *("encryption", "standby", "role", "vacuum", "logged"),
}
YEAR_US = 365 * 86_400 * 1_000_000


@dataclass
class Lab:
    """Where an unsafe setting is set up, and what `promint` is then run with."""

    stores: Stores
    folder: Path
    patch: pytest.MonkeyPatch
    unsafe_server: Callable[[], "UnsafeServer"]
    url: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    needs_process: bool = False

    def sqlite(self) -> Path:
        """Name a new, migrated file in a folder of its own."""
        self.url = f"sqlite:///{self.folder / 'promint.db'}"
        Promint(self.url)("migrate")
        return Path(sqlite_path(self.url))

    def postgres(self, *statements: str) -> None:
        """Name a new, migrated database after these statements in it."""
        self.url = self.stores.new("postgres")
        name = urlsplit(self.url).path.lstrip("/")
        asyncio.run(executed(self.url, *(text.replace("THIS_ONE", name) for text in statements)))

    def elsewhere(self, password: str | None) -> None:
        """Name a database by an address that is not known to be this machine."""
        self.postgres()
        parts = urlsplit(self.url)
        login = "postgres" if password is None else f"postgres:{password}"
        self.url = parts._replace(netloc=f"{login}@0.0.0.0:{parts.port}").geturl()

    def mounted(self, kind: str) -> None:
        """Let the kernel's table say that the folder is a mount of this kind."""
        self.sqlite()
        table = self.folder / "mountinfo"
        table.write_text(
            f"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n40 22 0:40 / {self.folder} rw - {kind} a rw\n"
        )
        self.patch.setattr(facts, "MOUNTS", table)

    def doctor(self) -> Said:
        arguments = ("doctor", "--json", "--database", self.url)
        if self.needs_process:
            return in_a_process(*arguments, **self.environment)
        return Promint("").run(*arguments, **self.environment)


class UnsafeServer:
    """A PostgreSQL that is as unsafe as its settings can make it; once asked, a replica too."""

    def __init__(self) -> None:
        self.server = PostgresServer.start(settings=UNSAFE_SERVER)
        self.url = self.server.create_database()
        asyncio.run(make_store(read_settings({}, database_url=self.url)).migrate())

    @cached_property
    def replica(self) -> str:
        self.server.become_replica()
        return self.url


async def executed(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture(scope="module")
def unsafe_server() -> Iterator[Callable[[], UnsafeServer]]:
    """Start the unsafe server for the first test that needs it."""
    started: list[UnsafeServer] = []

    def start() -> UnsafeServer:
        if not started:
            started.append(UnsafeServer())
        return started[0]

    yield start
    for one in started:
        one.server.stop()


Labs = Callable[[], AbstractContextManager[Lab]]


@pytest.fixture
def labs(stores: Stores, tmp_path: Path, unsafe_server: Callable[[], UnsafeServer]) -> Labs:
    """Open as many labs as a test needs; what was set up in one is taken back."""

    @contextmanager
    def opened() -> Iterator[Lab]:
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv("PGPASSWORD", raising=False)
            patch.setenv("PGPASSFILE", f"{tmp_path}/none")
            yield Lab(stores, Path(tempfile.mkdtemp(dir=tmp_path)), patch, unsafe_server)

    return opened


@pytest.fixture
def lab(labs: Labs) -> Iterator[Lab]:
    with labs() as opened:
        yield opened


# -- the unsafe settings -------------------------------------------------------------------

Setup = Callable[[Lab], object]


def server_setting(lab: Lab) -> None:
    lab.url = lab.unsafe_server().url


def replica(lab: Lab) -> None:
    lab.url = lab.unsafe_server().replica


def role_setting(lab: Lab) -> None:
    role = "promint_unsafe_role"
    lab.postgres(
        f"DROP ROLE IF EXISTS {role}",
        f"CREATE ROLE {role} LOGIN IN ROLE pg_read_all_data",
        f"ALTER ROLE {role} SET synchronous_commit = off",
    )
    lab.url = lab.url.replace("//postgres@", f"//{role}@")


def url_setting(lab: Lab) -> None:
    lab.postgres()
    lab.url += "?synchronous_commit=off"


def too_old_a_server(lab: Lab) -> None:
    lab.postgres()
    lab.patch.setattr(safety, "POSTGRES_OLDEST", 990_000)


def other_encoding(lab: Lab) -> None:
    lab.stores.server  # noqa: B018  # starts it
    name = "promint_unsafe_encoding"
    asyncio.run(
        executed(
            lab.stores.template.replace(urlsplit(lab.stores.template).path, "/postgres"),
            f"DROP DATABASE IF EXISTS {name}",
            f"CREATE DATABASE {name} ENCODING 'LATIN1' TEMPLATE template0",
        )
    )
    lab.url = lab.stores.server.dsn(name)


def with_environment(setup: Setup, environment: dict[str, str]) -> Setup:
    def made(lab: Lab) -> None:
        setup(lab)
        lab.environment = environment

    return made


def started_with(**environment: str) -> Setup:
    def made(lab: Lab) -> None:
        lab.sqlite()
        lab.environment, lab.needs_process = environment, True

    return made


def with_variable(name: str, value: str) -> Setup:
    def made(lab: Lab) -> None:
        lab.sqlite()
        lab.environment = {name: value}

    return made


def permissions(suffix: str, more: int) -> Setup:
    def made(lab: Lab) -> None:
        file = Path(f"{lab.sqlite()}{suffix}")
        assert file.exists()
        file.chmod(stat.S_IMODE(file.stat().st_mode) | more)

    return made


def open_folder(lab: Lab) -> None:
    lab.sqlite()
    lab.folder.chmod(0o777)


def hard_link(lab: Lab) -> None:
    (lab.folder / "copy.db").hardlink_to(lab.sqlite())


def newer_sqlite(lab: Lab) -> None:
    connection = apsw.Connection(str(lab.sqlite()))
    connection.execute("PRAGMA user_version = 999")
    connection.close()


def other_program(lab: Lab) -> None:
    connection = apsw.Connection(str(lab.folder / "other.db"))
    connection.execute("CREATE TABLE bookmark (url TEXT)")
    connection.close()
    lab.url = f"sqlite:///{lab.folder / 'other.db'}"


def library(version: str) -> Setup:
    def made(lab: Lab) -> None:
        lab.sqlite()
        lab.patch.setattr(apsw, "sqlite_lib_version", lambda: version)

    return made


def without_pragma(text: str, instead: str) -> Setup:
    """Plant a build whose connections have another pragma than they must."""

    def made(lab: Lab) -> None:
        lab.sqlite()
        connect = SqliteStore._connect

        def connect_otherwise(self: SqliteStore, **options: bool | int) -> apsw.Connection:
            connection = connect(self, **options)  # type: ignore[arg-type]  # passed on
            connection.execute(instead)
            return connection

        assert text in Path(sys.modules[SqliteStore.__module__].__file__ or "").read_text()
        lab.patch.setattr(SqliteStore, "_connect", connect_otherwise)

    return made


def takes_doctype(lab: Lab) -> None:
    lab.sqlite()
    lab.patch.setattr(codecs, "read", lambda body, form: {"code": "aaaa"})


def clock(offset_us: int, setup: Setup) -> Setup:
    def made(lab: Lab) -> None:
        setup(lab)
        now = bootstrap.utc_now
        lab.patch.setattr(bootstrap, "utc_now", lambda: now() + offset_us)

    return made


def with_history(kind: str) -> Setup:
    """Make a store whose newest event is of now."""

    def made(lab: Lab) -> None:
        if kind == "sqlite":
            lab.sqlite()
        else:
            lab.postgres()
        promint = Promint(lab.url)
        promint("program", "create", "--name", "Spring")
        promint.import_codes(1, "A\n")

    return made


PLAIN: Setup = Lab.sqlite

UNSAFE: dict[str, tuple[str, Setup]] = {
    # PostgreSQL: the server, the database, the role, the URL
    "fsync off": ("fsync", server_setting),
    "full_page_writes off": ("full_page_writes", server_setting),
    "synchronous_commit off in the server": ("synchronous_commit", server_setting),
    "synchronous_commit off for the database": (
        "synchronous_commit",
        lambda lab: lab.postgres('ALTER DATABASE "THIS_ONE" SET synchronous_commit = off'),
    ),
    "synchronous_commit off for the role": ("synchronous_commit", role_setting),
    "synchronous_commit off in the URL": ("synchronous_commit", url_setting),
    "data_sync_retry on": ("data_sync_retry", server_setting),
    "zero_damaged_pages on": (
        "zero_damaged_pages",
        lambda lab: lab.postgres('ALTER DATABASE "THIS_ONE" SET zero_damaged_pages = on'),
    ),
    "ignore_checksum_failure on": (
        "ignore_checksum_failure",
        lambda lab: lab.postgres('ALTER DATABASE "THIS_ONE" SET ignore_checksum_failure = on'),
    ),
    "transactions that only read": (
        "read only",
        lambda lab: lab.postgres(
            'ALTER DATABASE "THIS_ONE" SET default_transaction_read_only = on'
        ),
    ),
    "replica": ("primary", replica),
    "unlogged table": ("unlogged", lambda lab: lab.postgres("ALTER TABLE tally SET UNLOGGED")),
    "other encoding": ("encoding", other_encoding),
    "not migrated": ("schema", other_encoding),
    "older schema": (
        "schema",
        lambda lab: lab.postgres("DELETE FROM promint_schema WHERE version > 1"),
    ),
    "newer schema": (
        "schema",
        lambda lab: lab.postgres("INSERT INTO promint_schema VALUES (999)"),
    ),
    "too old a server": ("version", too_old_a_server),
    "server without a password": ("password", lambda lab: lab.elsewhere(None)),
    "empty password": ("password", lambda lab: lab.elsewhere("")),
    "default password": ("password", lambda lab: lab.elsewhere("postgres")),
    "default password of the environment": (
        "password",
        with_environment(lambda lab: lab.elsewhere(None), {"PGPASSWORD": "Changeme"}),
    ),
    "clocks that differ": ("server clock", clock(120_000_000, lambda lab: lab.postgres())),
    # SQLite: the file, where it lies, how it is opened
    "database readable by all": ("permissions", permissions("", stat.S_IROTH)),
    "database writable by the group": ("permissions", permissions("", stat.S_IWGRP)),
    "log readable by all": ("permissions", permissions("-wal", stat.S_IROTH)),
    "shared memory readable by all": ("permissions", permissions("-shm", stat.S_IROTH)),
    "folder writable by all": ("folder", open_folder),
    "second name": ("names", hard_link),
    "NFS": ("file system", lambda lab: lab.mounted("nfs4")),
    "SMB": ("file system", lambda lab: lab.mounted("cifs")),
    "sshfs": ("file system", lambda lab: lab.mounted("fuse.sshfs")),
    "9p": ("file system", lambda lab: lab.mounted("9p")),
    "newer schema of a file": ("schema", newer_sqlite),
    "file of another program": ("store", other_program),
    "library with the WAL-reset bug": ("library", library("3.40.1")),
    "last library with the WAL-reset bug": ("library", library("3.51.2")),
    "no WAL": (
        "journal",
        without_pragma("PRAGMA journal_mode = WAL", "PRAGMA journal_mode = DELETE"),
    ),
    "no waiting for the disk": (
        "synchronous",
        without_pragma("PRAGMA synchronous = FULL", "PRAGMA synchronous = NORMAL"),
    ),
    # the process and its clock
    "asserts taken away": ("asserts", started_with(PYTHONOPTIMIZE="1")),
    "development mode": ("debug", started_with(PYTHONDEVMODE="1")),
    "debug mode of the loop": ("debug", with_variable("PYTHONASYNCIODEBUG", "1")),
    "known hashes": ("hashes", started_with(PYTHONHASHSEED="0")),
    "placeholder": ("secrets", with_variable("PROMINT_RUDE_WORDS_FILE", "<change me>")),
    "DOCTYPE taken": ("xml", takes_doctype),
    "clock of long ago": ("clock", clock(-56 * YEAR_US, PLAIN)),
    "clock behind the events of a file": ("history", clock(-120_000_000, with_history("sqlite"))),
    "clock behind the events of a server": (
        "history",
        clock(-120_000_000, with_history("postgres")),
    ),
}
ONE_OF_EACH_CHECK = {
    check: name
    for name, (check, _) in reversed(UNSAFE.items())
    # What needs a process of its own cannot be patched, and a store that is none has no check.
    if check not in ("asserts", "hashes", "store") and name != "development mode"
}


def refuse(lab: Lab, check: str) -> None:
    """Hold the doctor to one check that has to be refused.

    Raises:
        Broken: it was not, or not with a sentence and what to do.
    """
    said = lab.doctor()
    assert said.out, said
    refused = {
        finding["check"]: finding
        for finding in said.json["findings"]
        if finding["outcome"] == "refused"
    }
    demand(check in refused and said.code == 1, "it would run unsafe:", said)
    finding = refused[check]
    text = f"{finding['sentence']} {finding['remedy']}"
    demand(len(finding["sentence"]) > 20 and "Traceback" not in text, "no sentence:", finding)
    demand(bool(finding["remedy"]) or text.count(". ") > 0, "nothing to do about:", finding)


def refuse_each(labs: Labs, names: Iterable[str], *, skipped: bool = False) -> None:
    """Set each up and hold the doctor to it, with its check taken away if that is asked for.

    Raises:
        Broken: a doctor refuses less than it must; or more, where the check was taken away.
    """
    for name in names:
        check, setup = UNSAFE[name]
        with labs() as lab:
            setup(lab)
            if skipped:
                skip(lab, check)
            try:
                refuse(lab, check)
            except Broken as broken:
                broken.add_note(name)
                if not skipped:
                    raise
            else:
                assert not skipped, f"{name} is refused by a doctor that does not look"


def skip(lab: Lab, check: str) -> None:
    """Plant a doctor that leaves out one check."""
    for table in (safety.PROCESS_CHECKS, safety.SQLITE_CHECKS, safety.POSTGRES_CHECKS):
        if check in table:
            lab.patch.delitem(table, check)
    if check == "history":
        lab.patch.setattr(safety, "_history", lambda newest, now: (safety.OK, "skipped"))


@promise(49)
def test_every_unsafe_setting_is_refused_with_what_to_do(labs: Labs, proof: Proof) -> None:
    for _ in proof.rounds(quick=1, night=1):
        refuse_each(labs, UNSAFE)
        proof.trials(len(UNSAFE), "unsafe settings")


@control(49, fault="doctors_that_skip_one_check")
def test_each_check_that_is_skipped_is_found_out(labs: Labs, proof: Proof) -> None:
    def attempt(_: int) -> None:
        refuse_each(labs, ONE_OF_EACH_CHECK.values(), skipped=True)
        raise Broken("each was found")

    proof.control(attempt)


@promise(49)
def test_every_check_that_refuses_has_an_unsafe_setting() -> None:
    checks = {*safety.PROCESS_CHECKS, *safety.SQLITE_CHECKS, *safety.POSTGRES_CHECKS}

    assert checks - {check for check, _ in UNSAFE.values()} == WARNING_ONLY
    assert len(UNSAFE) >= 25


@promise(49)
@pytest.mark.parametrize("version", ["3.44.6", "3.50.7", "3.51.3", "3.54.1"])
def test_a_library_with_the_correction_is_not_refused(lab: Lab, version: str) -> None:
    library(version)(lab)

    assert lab.doctor().code == 0


@promise(49)
def test_what_only_costs_something_is_a_warning(lab: Lab) -> None:
    lab.postgres("ALTER DATABASE \"THIS_ONE\" SET log_statement = 'all'")
    lab.environment = {"PROMINT_QUEU_MAX": "9"}

    said = lab.doctor()

    assert said.code == 0
    warnings = {f["check"] for f in said.json["findings"] if f["outcome"] == "warning"}
    assert {"settings", "logged"} <= warnings


@promise(49)
@pytest.mark.parametrize("kind", STORES)
def test_a_safe_store_is_not_refused_and_a_monitor_reads_the_last_line(
    stores: Stores, kind: str
) -> None:
    promint = Promint(stores.new(kind))

    said = promint("doctor")
    value = promint.json("doctor")

    counts = value["counts"]
    assert counts["refused"] == 0
    assert sum(counts.values()) == len(value["findings"])
    lines = said.out.splitlines()
    summary = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
    assert lines[-1] == f"promint doctor: {value['outcome']} ({summary})"
    assert len(lines) == len(value["findings"]) + 1


@promise(49)
def test_a_store_that_is_not_there_yet_is_not_made(tmp_path: Path) -> None:
    promint = Promint(f"sqlite:///{tmp_path / 'promint.db'}")

    said = promint("doctor")

    assert "There is no database yet" in said.out
    assert list(tmp_path.iterdir()) == []


@promise(49)
@pytest.mark.parametrize(
    "name", ["database readable by all", "synchronous_commit off for the database"]
)
def test_the_service_does_not_start_on_an_unsafe_store(lab: Lab, name: str) -> None:
    UNSAFE[name][1](lab)

    said = in_a_process("serve", "--port", 0, "--database", lab.url)

    assert said.code == 2
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert "Run" in said.err


@promise(49)
def test_the_demo_does_not_start_in_an_unsafe_process() -> None:
    said = in_a_process("demo", "--port", 0, PYTHONOPTIMIZE="1")

    assert said.code == 2
    assert said.err.startswith("Python runs optimized")
