"""Of three times what the service can do, as much is done as ever; the rest is told 503 early."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from statistics import quantiles
from typing import Any

from tests.conftest import Stores
from tests.promises.proof import Proof, control, promise
from tests.races.builds import build_with
from tests.races.gate import Gate
from tests.races.ledger import Ledger, demand
from tests.races.requests import Answer, Request, activate, attach, head_of
from tests.running import Running

BATCH_MAX = 8
BATCH_S = 0.05
"""What the slow store takes for a batch, so that its capacity is known on every machine."""

CAPACITY = BATCH_MAX / BATCH_S
QUEUE_WAIT_S = 0.5
WAITING_MAX = int(CAPACITY * QUEUE_WAIT_S) + 6 * BATCH_MAX
"""How many others may be answered between a request and its answer: those that may wait before
it, the batch that is out, its own, and some that are answered but not yet counted here."""

TIMES = 3
CLIENTS_AT_PEAK = 32
SETTINGS = {"PROMINT_BATCH_MAX": str(BATCH_MAX), "PROMINT_QUEUE_WAIT_S": str(QUEUE_WAIT_S)}


@promise(45)
def test_overload_is_refused_early_and_what_is_accepted_is_done(
    stores: Stores, kind: str, proof: Proof
) -> None:
    for _ in proof.rounds(quick=1, night=3, release=10):
        seconds = proof.size(quick=3, night=60, release=600)
        with build_with(f"{__name__}:slow_store", stores.new(kind), 1, **SETTINGS) as service:
            load = overload(service, seconds)
        proof.trials(len(load.accepted) + load.refused, "requests")
        proof.figure("requests/s at 3 times the load, % of the peak", 100 * load.rate / load.peak)
        proof.figure("refused, %", 100 * load.refused / (len(load.accepted) + load.refused))
        proof.figure("p99 of the accepted, ms", 1000 * p99(load.waits_s))
        proof.figure("p99 of a 503, ms", 1000 * p99(load.refused_s))
        proof.figure("until the first success afterwards, ms", 1000 * load.recovered_s)


@control(45, fault="unbounded_queue", store="sqlite")
def test_a_build_with_an_unbounded_queue_is_found_out(stores: Stores, proof: Proof) -> None:
    def attempt(_: int) -> None:
        build = build_with(f"{__name__}:unbounded_queue", stores.new("sqlite"), 1, **SETTINGS)
        with build as endless:
            overload(endless, 2)

    proof.control(attempt)


def slow_store() -> None:
    """Take as long for each batch as a slow disk would: no fault, but a capacity that is known."""
    from promint.store.postgres import PostgresStore
    from promint.store.sqlite import SqliteStore

    kinds: tuple[Any, ...] = (PostgresStore, SqliteStore)
    for store in kinds:
        store.transact = _slowly(store.transact)


def _slowly(transact: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    async def transact_slowly(*arguments: Any, **named: Any) -> None:
        await asyncio.sleep(BATCH_S)
        await transact(*arguments, **named)

    return transact_slowly


def unbounded_queue() -> None:
    """Let everything wait, however long it will take."""
    from promint.engine import Engine

    assert "_is_full" in vars(Engine)
    slow_store()
    Engine._is_full = lambda *_: False  # type: ignore[method-assign]  # the fault


@dataclass
class Load:
    """Requests at a fixed rate, whatever comes back, on as many connections as that needs."""

    service: Running
    requests: list[Request]
    accepted: list[Answer] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    waits_s: list[float] = field(default_factory=list)
    refused_s: list[float] = field(default_factory=list)
    overtaken: list[int] = field(default_factory=list)
    without_retry_after: int = 0
    peak: float = 0.0
    rate: float = 0.0
    recovered_s: float = 0.0
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = field(default_factory=list)

    @property
    def refused(self) -> int:
        return len(self.refused_s)

    async def ask(self) -> Answer:
        """Send the next request, on a connection that is idle or new."""
        request = self.requests.pop()
        reader, writer = (
            self.idle.pop()
            if self.idle
            else await asyncio.open_connection("127.0.0.1", self.service.ports[0])
        )
        before, started = len(self.accepted), time.monotonic()
        writer.write(request.encoded(self.service.token))
        text = await reader.readuntil(b"\r\n\r\n")
        head = head_of(text)
        assert head is not None
        _, status, reason, length = head
        answer = Answer(request, status, reason, await reader.readexactly(length))
        took_s = time.monotonic() - started
        self.idle.append((reader, writer))
        self.answers.append(answer)
        if status == 503:
            self.refused_s.append(took_s)
            self.without_retry_after += b"\r\nretry-after: 1\r\n" not in text.lower()
        else:
            self.accepted.append(answer)
            self.waits_s.append(took_s)
            self.overtaken.append(len(self.accepted) - before)
        return answer

    async def find_peak(self, seconds: float) -> None:
        """Keep the service busy and no more."""

        async def one() -> None:
            while time.monotonic() < until:
                await self.ask()

        started = time.monotonic()
        until = started + seconds
        async with asyncio.TaskGroup() as group:
            for _ in range(CLIENTS_AT_PEAK):
                group.create_task(one())
        self.peak = len(self.accepted) / (time.monotonic() - started)

    async def send(self, rate: float, seconds: float) -> None:
        """Send at this rate, then wait for every answer."""
        started, before = time.monotonic(), len(self.accepted)
        async with asyncio.TaskGroup() as group:
            for number in range(int(rate * seconds)):
                delay_s = started + number / rate - time.monotonic()
                if delay_s > 0 or number % 8 == 0:
                    await asyncio.sleep(delay_s)
                group.create_task(self.ask())
            self.rate = (len(self.accepted) - before) / (time.monotonic() - started)

    async def recover(self) -> None:
        """Ask one after the other until one succeeds."""
        started = time.monotonic()
        is_over = False
        while not is_over:
            await asyncio.sleep(BATCH_S / 10)
            is_over = (await self.ask()).is_success
        self.recovered_s = time.monotonic() - started
        for _, writer in self.idle:
            writer.close()


def overload(service: Running, seconds: float) -> Load:
    """Send three times what the service can do, and hold it to what it answered."""
    names = [f"O{number}" for number in range(int(CAPACITY * (TIMES + 2) * (seconds + 2)))]
    program = service.program(names)
    database = service.database()
    (profile,) = service.profiles(database, 1)
    with Gate(service, 1) as gate:
        gate.release([attach(program, database, profile, names[0])])
    requests = [attach(program, database, profile, name) for name in names[1:]]
    load = Load(service, [activate(program, names[0]), *requests])

    async def run() -> None:
        await load.find_peak(1.0)
        await load.send(TIMES * CAPACITY, seconds)
        await load.recover()

    asyncio.run(run())
    ledger = Ledger.read(service.url, program)
    ledger.check()
    ledger.check_answers(load.answers)
    told = {(answer.status, answer.reason) for answer in load.answers}
    demand(told <= {(200, ""), (503, "unavailable")}, "others were told", told)
    demand(load.refused > 0, "nobody was refused, everybody waited")
    demand(not load.without_retry_after, "a 503 without Retry-After")
    demand(max(load.overtaken) <= WAITING_MAX, "one waited for", max(load.overtaken), "others")
    return load


def p99(values: list[float]) -> float:
    return quantiles(values, n=100)[98]
