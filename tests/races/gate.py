"""Requests that start at the same moment, over every process of a service.

All but the last byte of each request is sent first, so that all of them wait in the service
for one byte; then the last bytes go out together. What is left between the first and the last
of them is the time that a few hundred short writes take.
"""

import socket
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self

from tests.races.requests import Answer, Request, head_of
from tests.running import Running

CONNECTIONS = 256
TIMEOUT_S = 120.0


class Gate:
    """Connections to the processes of a service, in turn; leaving it closes them."""

    def __init__(
        self, service: Running, connections: int = CONNECTIONS, *, address: str | None = None
    ) -> None:
        """Connect, from `address` if it is named: one of this machine.

        Naming it takes a port for good, not only towards one server, so that they may run out.
        """
        self._service = service
        self._connections = [
            _Connection(service.ports[number % len(service.ports)], address)
            for number in range(connections)
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for connection in self._connections:
            connection.close()

    def release(self, requests: Sequence[Request]) -> list[Answer]:
        """Send the requests, as many together as there are connections; return the answers.

        Neighbours in the list go to different processes.
        """
        wave = len(self._connections)
        return [
            answer
            for start in range(0, len(requests), wave)
            for answer in self._release(requests[start : start + wave])
        ]

    def _release(self, requests: Sequence[Request]) -> Iterator[Answer]:
        runners = list(zip(self._connections, requests, strict=False))
        for connection, request in runners:
            connection.hold(request.encoded(self._service.token))
        for connection, _ in runners:
            connection.go()
        for connection, request in runners:
            yield connection.answer(request)


class _Connection:
    def __init__(self, port: int, address: str | None) -> None:
        source = (address, 0) if address else None
        self._socket = socket.create_connection(
            ("127.0.0.1", port), timeout=TIMEOUT_S, source_address=source
        )
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._last = b""

    def close(self) -> None:
        self._socket.close()

    def hold(self, request: bytes) -> None:
        self._socket.sendall(request[:-1])
        self._last = request[-1:]

    def go(self) -> None:
        self._socket.sendall(self._last)

    def answer(self, request: Request) -> Answer:
        received = bytearray()
        while (head := head_of(received)) is None:
            received += self._receive()
        start, status, reason, length = head
        while len(received) < start + length:
            received += self._receive()
        return Answer(request, status, reason, bytes(received[start:]))

    def _receive(self) -> bytes:
        received = self._socket.recv(65536)
        if not received:
            raise ConnectionError("the service closed the connection")
        return received
