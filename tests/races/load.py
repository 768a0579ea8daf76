"""Requests at a fixed rate or as fast as they are answered, and how long each had to wait."""

import asyncio
import time
from dataclasses import dataclass, field

from tests.races.requests import Answer, Request, exchange
from tests.running import Running

PAUSE_S = 0.005


@dataclass
class Load:
    """Requests to all processes in turn, on as many connections as are needed.

    `overtaken` says of each accepted request how many were answered from its sending on, itself
    among them: how long it waited, by a clock that is the same on every machine.
    """

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
    opened: int = 0
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = field(default_factory=list)

    @property
    def refused(self) -> int:
        return len(self.refused_s)

    async def ask(self) -> Answer:
        """Send the next request, on a connection that is idle or new."""
        request = self.requests.pop()
        reader, writer = self.idle.pop() if self.idle else await self.connect()
        before, started = len(self.accepted), time.monotonic()
        answer, head = await exchange(request, self.service.token, reader, writer)
        took_s = time.monotonic() - started
        self.idle.append((reader, writer))
        self.answers.append(answer)
        if answer.status == 503:
            self.refused_s.append(took_s)
            self.without_retry_after += b"\r\nretry-after: 1\r\n" not in head
        else:
            self.accepted.append(answer)
            self.waits_s.append(took_s)
            self.overtaken.append(len(self.accepted) - before)
        return answer

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection to the next process."""
        self.opened += 1
        ports = self.service.ports
        return await asyncio.open_connection("127.0.0.1", ports[self.opened % len(ports)])

    async def keep_busy(self, seconds: float, clients: int) -> None:
        """Let so many clients ask, each again as soon as it is answered."""

        async def one() -> None:
            while time.monotonic() < until:
                await self.ask()

        started = time.monotonic()
        until = started + seconds
        async with asyncio.TaskGroup() as group:
            for _ in range(clients):
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
            await asyncio.sleep(PAUSE_S)
            is_over = (await self.ask()).is_success
        self.recovered_s = time.monotonic() - started

    def close(self) -> None:
        """Close the connections."""
        for _, writer in self.idle:
            writer.close()
