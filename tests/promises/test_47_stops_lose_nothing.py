"""A service that is told to stop answers every request that it was sent, and ends in order."""

import asyncio
import random
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from tests.conftest import Stores
from tests.promises.proof import Proof, control, promise
from tests.races.builds import build_with
from tests.races.gate import Gate
from tests.races.ledger import Ledger, demand
from tests.races.requests import Answer, Request, activate, attach, exchange
from tests.running import Running

CLIENTS = 24
CODES = 6_000
PAUSE_MAX_S = 0.004
WORKERS = (sys.executable, "-m", "promint", "serve", "--workers", "2")


@promise(47)
def test_a_service_that_is_told_to_stop_loses_no_request(
    stores: Stores, kind: str, proof: Proof
) -> None:
    for seed in proof.rounds(quick=2, night=25, release=50):
        stop_under_load(Running(stores.new(kind)), seed)
        proof.trials(1, "stops under load")


@promise(47, store="postgres")
def test_a_service_of_two_workers_that_is_told_to_stop_loses_no_request(
    stores: Stores, proof: Proof
) -> None:
    for seed in proof.rounds(quick=1, night=25, release=50):
        stop_under_load(Running(stores.new("postgres"), command=WORKERS), seed)
        proof.trials(1, "stops under load")


@control(47, fault="close_at_once", store="sqlite")
def test_a_build_that_closes_connections_at_once_is_found_out(stores: Stores, proof: Proof) -> None:
    def attempt(seed: int) -> None:
        stop_under_load(build_with(f"{__name__}:close_at_once", stores.new("sqlite")), seed)

    proof.control(attempt, runs=5)


def close_at_once() -> None:
    """Close what is idle as soon as the service is told to stop, whatever is on its way."""
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    from promint.web.server import DeadlineProtocol

    assert "shutdown" in vars(DeadlineProtocol)
    DeadlineProtocol.shutdown = HttpToolsProtocol.shutdown  # type: ignore[method-assign]  # the fault


@dataclass
class Clients:
    """Callers who keep their connections and go on until they are told that it was the last."""

    service: Running
    requests: list[Request]
    answers: list[Answer] = field(default_factory=list)
    lost: list[Request] = field(default_factory=list)

    async def work(self, rng: random.Random) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.service.ports[0])
        try:
            is_open = True
            while is_open and self.requests:
                is_open = await self.ask(self.requests.pop(), reader, writer)
                await asyncio.sleep(rng.random() * PAUSE_MAX_S)
        finally:
            writer.close()

    async def ask(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Send one request; return whether another may follow."""
        try:
            answer, head = await exchange(request, self.service.token, reader, writer)
        except (OSError, EOFError):
            self.lost.append(request)
            return False
        self.answers.append(answer)
        return b"\r\nconnection: close\r\n" not in head


def stop_under_load(service: Running, seed: int) -> None:
    """Tell a service to stop while everybody asks, and hold it to what it answered."""
    rng = random.Random(seed)
    with service:
        program = service.program(names := [f"D{number}" for number in range(CODES)])
        database = service.database()
        (profile,) = service.profiles(database, 1)
        with Gate(service, 64) as gate:
            gate.release([attach(program, database, profile, name) for name in names[:CLIENTS]])
        clients = Clients(service, requests_for(program, database, profile, names))
        (process,) = service.running

        async def run() -> None:
            async with asyncio.TaskGroup() as group:
                for _ in range(CLIENTS):
                    group.create_task(clients.work(rng))
                await asyncio.sleep(0.2 + rng.random() * 0.2)
                process.send_signal(signal.SIGTERM)

        asyncio.run(run())
        code = process.wait(30)
        with pytest.raises(ConnectionRefusedError):
            service.get("/health/live")

    assert clients.requests, "the clients were done before the service was told to stop"
    assert len(clients.answers) > CLIENTS
    demand(not clients.lost, "requests were lost:", clients.lost)
    demand(code == 0, "the service ended with", code)
    demand(all(a.is_success for a in clients.answers), "a request was refused")
    ledger = Ledger.read(service.url, program)
    ledger.check()
    ledger.check_answers(clients.answers)


def requests_for(program: int, database: int, profile: str, names: Sequence[str]) -> list[Request]:
    """Return requests that all can succeed."""
    used = [activate(program, name) for name in names[:CLIENTS]]
    return [*(attach(program, database, profile, name) for name in names[CLIENTS:]), *used]
