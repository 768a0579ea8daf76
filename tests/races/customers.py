"""Customers who keep a service busy over many connections, and remember what they were told."""

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from tests.races.gate import Gate
from tests.races.ledger import Broken, Ledger, demand, used_keys
from tests.races.requests import (
    ATTACH,
    UPDATE,
    Answer,
    Request,
    activate,
    attach,
    detach,
    exchange,
    import_codes,
    update,
)
from tests.running import Running

CUSTOMERS = 16
KEYED = 0.4
RETRIES_MAX = 200

Moment = Callable[[], Awaitable[None]]


@dataclass
class Told:
    """A request under every id that it was sent with, and the last answer, if one came."""

    request: Request
    ids: set[str]
    answer: Answer | None = None

    @property
    def is_open(self) -> bool:
        """Say whether the caller knows no more than before."""
        return self.answer is None or self.answer.status == 503


@dataclass
class Crowd:
    """A shop's program and its customers, from storm to storm."""

    service: Running
    seed: int
    program: int = 0
    database: int = 0
    told: list[Told] = field(default_factory=list)
    customers: list["Customer"] = field(default_factory=list)
    expiries: Iterator[int] = field(default_factory=itertools.count)
    _awaited: int = 0
    _enough: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        service, self.rng = self.service, random.Random(self.seed)
        self.program = service.program([f"C{number}" for number in range(8_000)])
        self.database = service.database()
        self.profiles = service.profiles(self.database, CUSTOMERS)
        fought_over = [f"C{number}" for number in range(500)]
        with Gate(service) as gate:
            gate.release(
                [attach(self.program, self.database, self.profiles[0], c) for c in fought_over]
            )
        self.customers = [Customer(self, profile, fought_over) for profile in self.profiles]

    def storm(self, until: Moment) -> None:
        """Let everybody work over all processes until a moment has passed."""

        async def run() -> None:
            stop = asyncio.Event()
            ports = itertools.cycle(self.service.ports)
            async with asyncio.TaskGroup() as group:
                for customer in self.customers:
                    group.create_task(customer.work(next(ports), stop))
                await until()
                stop.set()

        asyncio.run(run())

    async def answers(self, count: int) -> None:
        """Wait for this many more answers."""
        self._awaited = count
        self._enough = asyncio.Event()
        await self._enough.wait()

    def answered(self) -> None:
        self._awaited -= 1
        if self._awaited <= 0:
            self._enough.set()

    def check(self) -> Ledger:
        """Hold everything that anybody was ever told to the store, and return what that says.

        Raises:
            Broken: an answer is not true, or a change is there in part.
        """
        ledger = Ledger.read(self.service.url, self.program)
        ledger.check()
        for told in self.told:
            ledger.check_effect(told.request, told.answer, told.ids)
            if told.answer is not None:
                ledger.check_reason(told.answer, told.ids)
        return ledger

    def check_keys(self, ledger: Ledger) -> None:
        """Hold the record of each key to the effect of its request: one transaction, both or none.

        Raises:
            Broken: there is one without the other.
        """
        used = used_keys(self.service.url)
        for told in self.told:
            if told.request.key:
                happened = ledger.has_happened(told.request, told.ids)
                is_used = told.request.key in used
                demand(happened == is_used, told, "happened:", happened, "; key used:", is_used)

    def check_recovered(self) -> None:
        """Ask until every process answers as if nothing had been; nobody starts it again."""
        request = attach(self.program, self.database, self.profiles[0])
        ports = self.service.ports
        with Gate(self.service, len(ports)) as gate:
            for _ in range(RETRIES_MAX):
                answers = gate.release([request.again() for _ in ports])
                if all(answer.is_success for answer in answers):
                    return
        raise AssertionError("the service did not recover")

    def check_told(self) -> None:
        """Everybody was told of success, of a refusal that fits, or to try again."""
        answers = {(told.answer.status, told.answer.reason) for told in self.told if told.answer}
        expected = {(200, ""), (200, "already_activated"), (503, "unavailable")}
        demand(answers <= expected | {(503, "outcome_unknown")}, "answers", answers)
        demand(all(told.answer is not None for told in self.told), "a request without an answer")

    async def kill_service(self) -> None:
        """Wait for a random number of answers and a random moment more, then kill one process."""
        await self.moment()
        self.service.kill()
        await asyncio.sleep(0.02)

    async def moment(self) -> None:
        """Wait for a random number of answers and a random moment more."""
        await self.answers(self.rng.randrange(20, 300))
        await asyncio.sleep(self.rng.random() * 0.01)

    def repeat(self) -> None:
        """Send again what carried a key and was left open, until it succeeds, which it must."""
        with Gate(self.service, 64) as gate:
            for _ in range(RETRIES_MAX):
                keyed = [told for told in self.told if told.is_open and told.request.key]
                if not keyed:
                    return
                answers = gate.release([told.request.again() for told in keyed])
                for told, answer in zip(keyed, answers, strict=True):
                    told.ids.add(answer.request.id)
                    told.answer = answer
                    settled = answer.is_success or told.is_open
                    demand(settled, "a repeated request was told", answer)
        raise Broken("a request with a key was never settled")

    def repeat_answered(self, newest: int) -> None:
        """Send again the newest that carried a key and were answered: the answer is the same."""
        keyed = [told for told in self.told if told.request.key and not told.is_open][-newest:]
        with Gate(self.service, 64) as gate:
            answers = gate.release([told.request.again() for told in keyed])
        for told, answer in zip(keyed, answers, strict=True):
            told.ids.add(answer.request.id)
            assert told.answer is not None
            demand(answer.body == told.answer.body, told, "was repeated and told", answer)


class Customer:
    """One profile with one connection. It knows which codes it holds, and what it may do."""

    def __init__(self, crowd: Crowd, profile: str, fought_over: Sequence[str]) -> None:
        self._crowd = crowd
        self._profile = profile
        self._fought_over = fought_over
        self._held: list[str] = []
        self._numbers = itertools.count()

    async def work(self, port: int, stop: asyncio.Event) -> None:
        """Send one request after the other, until told to stop or the service is gone."""
        with suppress(OSError, EOFError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                while not stop.is_set():
                    await self._ask(self._next(), reader, writer)
            finally:
                writer.close()

    async def _ask(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        told = Told(request, {request.id})
        self._crowd.told.append(told)
        told.answer = await self._exchange(request, reader, writer)
        for _ in range(RETRIES_MAX if request.key else 0):
            if not told.is_open:
                break
            await asyncio.sleep(0.01)
            again = request.again()
            told.ids.add(again.id)
            told.answer = await self._exchange(again, reader, writer)
        self._remember(told.answer)

    async def _exchange(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> Answer:
        answer, _ = await exchange(request, self._crowd.service.token, reader, writer)
        self._crowd.answered()
        return answer

    def _next(self) -> Request:
        rng, program, number = self._crowd.rng, self._crowd.program, next(self._numbers)
        profile = self._crowd.database, self._profile
        key = f"{self._profile}-{number}" if rng.random() < KEYED else None
        kind = rng.random()
        if kind < 0.1:
            return activate(program, rng.choice(self._fought_over))
        if kind < 0.15:
            names = (f"I-{self._profile}-{number}-{part}" for part in range(3))
            return import_codes(program, *names, key=key)
        if kind < 0.4 or not self._held:
            return attach(program, *profile, key=key)
        if kind < 0.55:
            return attach(program, *profile, f"NEW-{self._profile}-{number}", key=key)
        # A code of one's own is only known again once an answer has come.
        code = self._held.pop(rng.randrange(len(self._held)))
        if kind < 0.8:
            return activate(program, code, key=key)
        if kind < 0.9:
            minutes, seconds = divmod(next(self._crowd.expiries), 60)
            expiry = f"{2030 + minutes}-01-01T00:00:{seconds:02}Z"
            return update(program, code, key=key, expire_date=expiry)
        return detach(program, *profile, code, key=key)

    def _remember(self, answer: Answer) -> None:
        if not answer.is_success:
            return
        if answer.request.name == ATTACH:
            self._held.append(answer.code)
        elif answer.request.name == UPDATE:
            self._held.append(answer.request.fields["code"])
