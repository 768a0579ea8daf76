"""Sends requests and times the answers: `python -m promint.bench.load`, a process of its own.

It reads one order a line and writes one result a line, both JSON. A closed loop sends the next
request of a connection when its answer is there; an open loop sends at a fixed rate, whatever
comes back, and counts the time from the moment at which a request was due, so that a stall of
the service is seen by everyone who would have met it. Only answers that say `"error":0` count.
"""

import asyncio
import http.client
import json
import os
import sys
import time
from array import array
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

import uvloop

from promint.bench import requests

clock = time.perf_counter
ANSWER_TIMEOUT_S = 30.0
TICK_S = 0.001
SUCCESS = b'"error":0,'
READ_BYTES = 256 * 1024
READY_MAX = 500_000


@dataclass(frozen=True, slots=True)
class Order:
    """What to send: requests for `count` numbers from `first` on, or drawn from 1 to `drawn`.

    Of drawn ones there is no end unless `count` says one. `keeps_latencies` brings each of them.
    """

    port: int
    text: str
    seconds: float
    connections: int
    profiles: int
    first: int = 1
    count: int = 0
    drawn: int = 0
    rate: float = 0.0
    keeps_latencies: bool = False


@dataclass(frozen=True, slots=True)
class Phase:
    """What came back. Latencies are in milliseconds; `failed` are answers that say no success.

    `sent` counts the numbers that were used up, `rate` the successes within the time.
    `latencies_ms` are sorted, and there if they were asked for.
    """

    sent: int
    rate: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    failed: int
    first_failure: str
    seconds: float
    load_cpu_us: float
    latencies_ms: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Export:
    """How one export went; seconds."""

    first_byte_s: float
    total_s: float
    size: int
    codes: int


class _Load:
    """One phase: its requests, its clock, its counts."""

    def __init__(self, order: Order) -> None:
        self.order = order
        # More than a fast machine would send, ready before the clock runs.
        self.ready = list(islice(_filled(order), self._most(order)))
        self.waiting = iter(self.ready)
        self.latencies = array("d")
        self.sent = 0
        self.in_time = 0
        self.failed = 0
        self.first_failure = ""
        self.end = 0.0
        self.last = 0.0
        self.idle: list[_Connection] = []
        self.due: deque[float] = deque()
        self.under_way = 0
        self.finished: asyncio.Future[None] | None = None

    @staticmethod
    def _most(order: Order) -> int:
        if order.rate:
            return int(order.rate * order.seconds) + 1
        most = min(int(order.seconds * 60_000) + order.connections, READY_MAX)
        return min(most, order.count) if order.count else most

    def next_request(self) -> bytes | None:
        """Return the next request, or None when there are no more."""
        request = next(self.waiting, None)
        if request is None and self.order.drawn and not self.order.count:
            self.waiting = iter(self.ready)
            request = next(self.waiting)
        if request is not None:
            self.sent += 1
        return request

    def fail(self, answer: bytes) -> None:
        """Count an answer that is no success."""
        self.failed += 1
        if not self.first_failure:
            self.first_failure = answer[:600].decode("utf-8", "replace")

    def count(self, started: float, now: float, answer: bytes, *, is_success: bool) -> None:
        """Count an answer."""
        self.last = now
        if not is_success:
            self.fail(answer)
            return
        self.latencies.append(now - started)
        if now <= self.end:
            self.in_time += 1

    def gone(self) -> None:
        """Note that one request is under way no more, and end with the last."""
        self.under_way -= 1
        if not self.under_way and self.finished is not None and not self.finished.done():
            self.finished.set_result(None)


class _Connection(asyncio.Protocol):
    """One kept connection, one request at a time."""

    def __init__(self, load: _Load) -> None:
        self._load = load
        self._partial = b""
        self._started = 0.0
        self._waits = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvloop's is one
        self._transport = transport
        self._write = transport.write

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waits:
            self._waits = False
            self._load.fail(b"the connection was cut before the answer")
            self._load.gone()

    def send(self, started: float) -> bool:
        """Send the next request; say whether there was one."""
        request = self._load.next_request()
        if request is None:
            return False
        self._waits = True
        self._started = started
        self._write(request)
        return True

    def data_received(self, data: bytes) -> None:
        if self._partial:
            data = self._partial + data
        head = data.find(b"\r\n\r\n")
        place = data.find(b"content-length: ")
        if head < 0 or place < 0:
            self._partial = data
            return
        length = int(data[place + 16 : data.index(b"\r\n", place)])
        if len(data) < head + 4 + length:
            self._partial = data
            return
        self._partial = b""
        self._waits = False
        now = clock()
        load = self._load
        is_success = data[9:12] == b"200" and data.find(SUCCESS, head) > 0
        load.count(self._started, now, data, is_success=is_success)
        if load.order.rate:
            if load.due:
                self.send(load.due.popleft())
            else:
                load.idle.append(self)
                load.gone()
        elif now >= load.end or not self.send(now):
            load.gone()

    def close(self) -> None:
        self._transport.abort()


def _filled(order: Order) -> Iterator[bytes]:
    numbers: Iterator[int]
    if order.drawn:
        most = _Load._most(order)
        chances = array("Q", os.urandom(8 * most))
        numbers = (1 + chance % order.drawn for chance in chances)
    else:
        numbers = iter(range(order.first, order.first + order.count))
    return requests.fill(order.text, numbers, order.profiles)


async def _closed(load: _Load, connections: list[_Connection]) -> None:
    load.under_way = len(connections)
    for connection in connections:
        if not connection.send(clock()):
            load.gone()


async def _open(load: _Load, connections: list[_Connection]) -> None:
    """Send at a fixed rate until the time is over."""
    load.idle = list(connections)
    load.under_way = 1
    interval = 1 / load.order.rate
    due_at = load.end - load.order.seconds
    while due_at < load.end:
        now = clock()
        while due_at <= now and due_at < load.end:
            if load.idle:
                load.under_way += 1
                if not load.idle.pop().send(due_at):
                    load.gone()
            else:
                load.due.append(due_at)
            due_at += interval
        await asyncio.sleep(TICK_S)
    load.gone()


async def _phase(order: Order) -> Phase:
    load = _Load(order)
    loop = asyncio.get_running_loop()
    connections = []
    for _ in range(order.connections):
        _, connection = await loop.create_connection(
            lambda: _Connection(load), "127.0.0.1", order.port
        )
        connections.append(connection)
    load.finished = loop.create_future()
    cpu = time.process_time()
    started = clock()
    load.end = started + order.seconds
    await (_open if order.rate else _closed)(load, connections)
    try:
        await asyncio.wait_for(load.finished, order.seconds + ANSWER_TIMEOUT_S)
    except TimeoutError:
        load.fail(b"some answers never came")
    cpu = time.process_time() - cpu
    for connection in connections:
        connection.close()
    # Codes may run out before the time does; then the time ends with them.
    seconds = min(order.seconds, max(load.last - started, 1e-9))
    answered = len(load.latencies)
    latencies = sorted(load.latencies) or [0.0]
    return Phase(
        sent=load.sent,
        rate=load.in_time / seconds,
        p50_ms=latencies[len(latencies) // 2] * 1000,
        p99_ms=latencies[len(latencies) * 99 // 100] * 1000,
        max_ms=latencies[-1] * 1000,
        failed=load.failed,
        first_failure=load.first_failure,
        seconds=seconds,
        load_cpu_us=cpu / max(answered, 1) * 1e6,
        latencies_ms=[value * 1000 for value in latencies] if order.keeps_latencies else [],
    )


def _export(port: int, text: str) -> Export:
    """Read one export to its end; count codes by their field, which comes once for each."""
    head, _, body = text.partition("\r\n\r\n")
    first, *lines = head.split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    started = clock()
    connection.request("POST", first.split(" ")[1], body, headers)
    response = connection.getresponse()
    mark = b'"code":'
    data = response.read1(READ_BYTES)
    first_byte_s = clock() - started
    size = codes = 0
    tail = b""
    while data:
        size += len(data)
        data = tail + data
        codes += data.count(mark) - tail.count(mark)
        tail = data[-len(SUCCESS) - 100 :]
        data = response.read1(READ_BYTES)
    total_s = clock() - started
    connection.close()
    assert SUCCESS in tail, "the export did not end with success"
    return Export(first_byte_s, total_s, size, codes)


def main() -> None:
    """Take orders until the input ends."""
    for line in sys.stdin:
        order: dict[str, Any] = json.loads(line)
        result: Any
        if order.pop("exports", False):
            result = _export(**order)
        else:
            result = uvloop.run(_phase(Order(**order)))
        sys.stdout.write(json.dumps(asdict(result)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
