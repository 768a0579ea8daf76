"""Processes can be restarted in turn, and a migration be killed anywhere, and nothing is lost."""

import asyncio
import itertools
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import apsw
import asyncpg

from tests.conftest import Stores
from tests.promises.proof import Proof, control, promise
from tests.races.builds import ROOT, build_with
from tests.races.gate import Gate
from tests.races.ledger import SQLITE, Ledger, demand, rows
from tests.races.requests import Answer, Request, activate, attach, exchange
from tests.running import Running

CLIENTS = 16
CODES = 12_000
PAUSE_S = 0.05
"""What a client waits between two requests: all of them send about 200 a second."""

WAIT_S_MAX = 60
KILL_AT = "PROMINT_TEST_KILL_AT"

# -- restarts ------------------------------------------------------------------------------


@promise(47, store="postgres")
def test_processes_that_are_restarted_in_turn_lose_no_request(stores: Stores, proof: Proof) -> None:
    for seed in proof.rounds(quick=1, night=10, release=25):
        restart_in_turn(Running(stores.new("postgres"), processes=2), seed)
        proof.trials(2, "restarts under load")


@control(47, fault="no_drain", store="postgres")
def test_processes_that_end_without_draining_are_found_out(stores: Stores, proof: Proof) -> None:
    def attempt(seed: int) -> None:
        build = build_with(f"{__name__}:no_drain", stores.new("postgres"), processes=2)
        restart_in_turn(build, seed)

    proof.control(attempt, runs=3)


def no_drain() -> None:
    """End at once when told to stop, whatever is under way."""
    from uvicorn import Server

    assert hasattr(Server, "handle_exit")
    Server.handle_exit = lambda *_: os._exit(0)  # type: ignore[method-assign]  # the fault


@dataclass
class Travellers:
    """Callers who keep a connection to one process, and go to the next when it sends them away.

    A connection that is refused costs nothing: nothing was sent. One that breaks behind a request
    has lost it.
    """

    service: Running
    ports: list[int]
    requests: list[Request]
    answers: list[Answer] = field(default_factory=list)
    lost: list[Request] = field(default_factory=list)
    is_over: bool = False

    async def travel(self, rng: random.Random, start: int) -> None:
        for port in itertools.islice(itertools.cycle(self.ports), start, None):
            if self.is_over:
                return
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(PAUSE_S / 5)
                continue
            is_open = True
            while is_open and not self.is_over:
                is_open = await self.ask(reader, writer)
                await asyncio.sleep(PAUSE_S * 2 * rng.random())
            writer.close()

    async def ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Send one request; return whether another may follow on this connection."""
        request = self.requests.pop()
        try:
            answer, head = await exchange(request, self.service.token, reader, writer)
        except (OSError, EOFError):
            self.lost.append(request)
            return False
        self.answers.append(answer)
        return b"\r\nconnection: close\r\n" not in head


def restart_in_turn(service: Running, seed: int) -> None:
    """Restart every process of a service while everybody asks."""
    rng = random.Random(seed)
    with service:
        program = service.program(names := [f"R{number}" for number in range(CODES)])
        database = service.database()
        (profile,) = service.profiles(database, 1)
        with Gate(service, 64) as gate:
            gate.release([attach(program, database, profile, name) for name in names[:CLIENTS]])
        requests = [
            *(attach(program, database, profile, name) for name in names[CLIENTS:]),
            *(activate(program, name) for name in names[:CLIENTS]),
        ]
        crowd = Travellers(service, list(service.ports), requests)

        async def run() -> None:
            async with asyncio.TaskGroup() as group:
                for number in range(CLIENTS):
                    group.create_task(crowd.travel(rng, number % 2))
                for _ in service.ports[:]:
                    await asyncio.sleep(0.2 + rng.random() * 0.2)
                    # The one that was started first stands first.
                    service.running[0].send_signal(signal.SIGTERM)
                    await asyncio.to_thread(service.running[0].wait, WAIT_S_MAX)
                    await asyncio.to_thread(service.restart, 0)
                await asyncio.sleep(0.2)
                crowd.is_over = True

        asyncio.run(run())

    assert crowd.requests, "the codes were used up before the restarts were over"
    assert len(crowd.answers) > 2 * CLIENTS
    demand(not crowd.lost, len(crowd.lost), "requests were lost:", crowd.lost[:3])
    demand(all(answer.is_success for answer in crowd.answers), "a request was refused")
    ledger = Ledger.read(service.url, program)
    ledger.check()
    ledger.check_answers(crowd.answers)


# -- migrations ----------------------------------------------------------------------------


@promise(47)
def test_a_migration_that_is_killed_is_whole_or_not_at_all(
    stores: Stores, kind: str, proof: Proof
) -> None:
    for seed in proof.rounds(quick=1, night=2, release=3):
        points = kill_points(seed, proof.size(quick=1, night=10, release=50))
        for point in points:
            migrate_and_kill("die_in_migration", new_store(stores, kind), point)
        proof.trials(len(points), "killed migrations")


@control(47, fault="migrate_in_pieces", store="sqlite")
def test_a_build_that_migrates_in_pieces_is_found_out(stores: Stores, proof: Proof) -> None:
    def attempt(seed: int) -> None:
        url = new_store(stores, "sqlite")
        migrate_and_kill("migrate_in_pieces", url, random.Random(seed).randrange(4, 12))

    proof.control(attempt)


def migrate_in_pieces() -> None:
    """Commit each statement of a migration by itself."""
    from promint.store import migrations
    from promint.store.sqlite import SqliteStore

    assert "_migrate" in vars(SqliteStore)

    def migrate(self: SqliteStore, connection: apsw.Connection) -> int:
        self._step_forward(connection)
        return migrations.latest()

    SqliteStore._migrate = migrate  # type: ignore[method-assign]  # the fault
    die_in_migration()


def die_in_migration() -> None:
    """Kill the process before a statement of the migration: no fault, but a bad moment."""
    from promint.store import migrations

    steps, left = migrations.steps, itertools.count(int(os.environ[KILL_AT]), -1)

    def counted(statements: Iterable[str]) -> Iterator[str]:
        for statement in statements:
            if next(left) == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            yield statement

    def mortal(dialect: Any) -> Iterator[tuple[int, Iterable[str]]]:
        for number, statements in steps(dialect):
            is_new = number > first_step()
            yield number, counted(statements) if is_new else statements

    latest = migrations.latest()
    migrations.latest = lambda: latest
    migrations.steps = mortal  # type: ignore[assignment]  # statements that count themselves


def only_first_step() -> None:
    """Be the first version of Promint, as far as the schema goes."""
    from promint.store import migrations

    first = [min(migrations.steps(migrations.SQLITE))], [min(migrations.steps(migrations.POSTGRES))]
    migrations.latest = first_step
    migrations.steps = lambda dialect: iter(first[dialect is migrations.POSTGRES])


def first_step() -> int:
    return 1


OLD_CODES = """
INSERT INTO promo_code (shard_key, code_key, code, seq, created_at, expiry_source, attach_count,
                        activation_count, version)
VALUES (4096, 'a', 'A', 1, 1, 0, 0, 0, 1), (4096, 'b', 'B', 2, 1, 0, 0, 0, 1)"""

TABLES = {
    "sqlite": "SELECT sql FROM sqlite_schema ORDER BY name",
    "postgres": """
SELECT table_name, column_name, data_type, column_default, is_nullable
FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 2""",
}
VERSION = {
    "sqlite": "PRAGMA user_version",
    "postgres": "SELECT max(version) FROM promint_schema",
}


def new_store(stores: Stores, kind: str) -> str:
    """Return the URL of a store of the first version, with two codes in it."""
    url = stores.new("sqlite") if kind == "sqlite" else stores.server.create_database()
    assert migrate(f"{__name__}:only_first_step", url) == 0
    if kind == "sqlite":
        connection = apsw.Connection(url.removeprefix(SQLITE))
        connection.execute(OLD_CODES)
        connection.close()
    else:
        asyncio.run(add_codes(url))
    return url


async def add_codes(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(OLD_CODES)
    finally:
        await connection.close()


def migrate(fault: str, url: str, kill_at: int = 0) -> int:
    """Run `promint migrate`, and return how it ended."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.races.planted", fault, "migrate", "--database", url],
        env={**os.environ, "PYTHONPATH": str(ROOT), KILL_AT: str(kill_at)},
        capture_output=True,
        timeout=WAIT_S_MAX,
        check=False,
    )
    return done.returncode


def kill_points(seed: int, count: int) -> list[int]:
    """Return before which statements to kill; as many as there are if that is less."""
    from promint.store import migrations

    statements = sum(len(s) for n, s in migrations.steps(migrations.SQLITE) if n > first_step())
    return sorted(random.Random(seed).sample(range(statements), min(count, statements)))


def migrate_and_kill(fault: str, url: str, point: int) -> None:
    """Kill a migration, look at what is there, and migrate again."""
    kind = "sqlite" if url.startswith(SQLITE) else "postgres"
    before = rows(url, TABLES[kind])

    assert migrate(f"{__name__}:{fault}", url, point) == -signal.SIGKILL

    demand(rows(url, VERSION[kind]) == [(1,)], "a killed migration has changed the version")
    demand(rows(url, TABLES[kind]) == before, "a migration killed at", point, "left a part")
    ended = migrate(f"{__name__}:{fault}", url, 1_000_000)
    demand(ended == 0, "a migration killed at", point, "cannot be repeated")
    codes = rows(url, "SELECT code_key, code, version FROM promo_code ORDER BY code_key")
    demand(codes == [("a", "A", 1), ("b", "B", 1)], "a migration has changed", codes)
    demand(len(rows(url, TABLES[kind])) > len(before), "nothing was migrated")
