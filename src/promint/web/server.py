"""The HTTP server: uvicorn, with the deadlines that it lacks.

Uvicorn waits for a slow client for ever. Here a sweep looks at every connection once a second
and cuts those that take too long over headers, body, or reading our answer. It costs nothing
per request; what is counted as bytes come in is only the size of headers that are not complete.
"""

import asyncio
import os
import socket
from dataclasses import dataclass
from typing import Any

from uvicorn import Config, Server
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState
from uvicorn.supervisors import Multiprocess

from promint.config import Settings

SWEEP_INTERVAL_S = 1.0
JOINED_BYTES_MAX = 16 * 1024
LAST_REQUEST_S = 0.5
"""How long an idle connection may still bring a request once the service is told to stop."""

_TOO_LARGE = """\
HTTP/1.1 {status}\r
content-type: application/json; charset=utf-8\r
x-request-id: {request_id}\r
x-promint-reason: too_large\r
connection: close\r
content-length: 49\r
\r
{{"error":413,"error_text":"Request is too large"}}"""


class HeadersTooLarge(Exception):
    """A request's line and headers are over their bound."""


class AmbiguousRequest(Exception):
    """Where a request ends could be read in another way by a proxy before us."""


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long a client may take, in seconds, and how long its headers may be, in bytes."""

    headers_s: float
    body_s: float
    idle_s: float
    header_bytes_max: int
    always_200: bool = False

    def seconds_for(self, waits_for: str) -> float:
        """Return how long a connection may wait for one thing."""
        if waits_for == "headers":
            return self.headers_s
        if waits_for == "idle":
            return self.idle_s
        return self.body_s if waits_for in ("body", "reader") else float("inf")


class DeadlineConfig(Config):
    """Uvicorn's configuration with our deadlines; it travels to every worker."""

    deadlines: Deadlines


class JoinedWrites:
    """The end of a connection that joins what is written to it during one turn of the loop.

    Uvicorn writes head and body of an answer apart, and each answer as soon as it is ready. Two
    system calls an answer, and a caller that is woken for every one of them, cost more than
    anything that we do for it. Here the answers of a turn leave together at its end, each in one
    piece; whatever closes the connection first writes what is still here.
    """

    __slots__ = (
        "_pieces",
        "_transport",
        "_turn",
        "abort",
        "get_extra_info",
        "is_closing",
        "pause_reading",
        "resume_reading",
    )

    def __init__(self, transport: asyncio.Transport, turn: "Turn") -> None:
        self._transport = transport
        self._turn = turn
        self._pieces: list[bytes] = []
        self.abort = transport.abort
        self.get_extra_info = transport.get_extra_info
        self.is_closing = transport.is_closing
        self.pause_reading = transport.pause_reading
        self.resume_reading = transport.resume_reading

    def write(self, data: bytes) -> None:
        """Keep a small piece until the turn ends; write a large one now, with what came before."""
        pieces = self._pieces
        if not pieces:
            self._turn.add(self)
        pieces.append(data)
        if len(data) > JOINED_BYTES_MAX:
            self.flush()

    def flush(self) -> None:
        """Write what is here; it is dropped where the caller has gone meanwhile."""
        pieces = self._pieces
        if pieces:
            if not self.is_closing():
                self._transport.write(b"".join(pieces))
            pieces.clear()

    def close(self) -> None:
        """Write what is here, then close."""
        self.flush()
        self._transport.close()


class Turn:
    """The connections of a process that have something to write when the loop's turn ends."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: list[JoinedWrites] = []

    def add(self, connection: JoinedWrites) -> None:
        """Have a connection flushed after everything that is ready now has run."""
        if not self._waiting:
            self._loop.call_soon(self._end)
        self._waiting.append(connection)

    def _end(self) -> None:
        waiting, self._waiting = self._waiting, []
        for connection in waiting:
            connection.flush()


class DeadlineProtocol(HttpToolsProtocol):
    """A connection that knows what it is waiting for."""

    _header_bytes = 0
    _answers = 0
    _is_last = False
    waits_for: tuple[str, int] | None = None
    waits_since = 0.0

    def __init__(self, config: DeadlineConfig, *arguments: Any, **named: Any) -> None:
        """Take the deadlines with the configuration."""
        super().__init__(config, *arguments, **named)
        self._deadlines = config.deadlines

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn
        """Start to watch, with the first connection of the process."""
        state: Any = self.server_state
        if not hasattr(state, "turn"):
            state.turn = Turn(self.loop)
        joined: Any = JoinedWrites(transport, state.turn)
        super().connection_made(joined)
        _watch(self.server_state, self._deadlines, self.loop)

    def data_received(self, data: bytes) -> None:
        """Feed the parser, and refuse headers that never end."""
        self._header_bytes += len(data)
        super().data_received(data)
        if not self._reads_headers():
            self._header_bytes = 0
        elif self._header_bytes > self._deadlines.header_bytes_max:
            self._refuse_headers()

    def on_headers_complete(self) -> None:
        """Refuse headers that are too long or ambiguous before anything is done about them."""
        # The parser takes a request without a version for one, and any coding before "chunked".
        if self.parser.get_http_version() not in ("1.1", "1.0"):
            raise AmbiguousRequest
        codings = [value for name, value in self.headers if name == b"transfer-encoding"]
        if codings and [coding.lower() for coding in codings] != [b"chunked"]:
            raise AmbiguousRequest
        most = self._deadlines.header_bytes_max
        if self._header_bytes > most:
            size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
            if size > most:
                raise HeadersTooLarge
        super().on_headers_complete()
        if self._is_last:
            self.cycle.keep_alive = False

    def shutdown(self) -> None:
        """Answer what is under way, or on its way, and say with it that it was the last.

        Closing an idle connection at once would lose the request that its client is sending
        just now.
        """
        self._is_last = True
        cycle: Any = self.cycle
        if cycle is not None and not cycle.response_started:
            cycle.keep_alive = False
        else:
            self.loop.call_later(LAST_REQUEST_S, self._close_when_idle)

    def _close_when_idle(self) -> None:
        waits_for, _ = self.waiting_for()
        if waits_for == "idle" or (waits_for == "headers" and not self._header_bytes):
            self.transport.close()
        elif not self.transport.is_closing():
            self.loop.call_later(LAST_REQUEST_S, self._close_when_idle)

    def on_response_complete(self) -> None:
        """Go on with the next request. The sweep ends what stays idle, not a timer for each."""
        self._answers += 1
        self.server_state.total_requests += 1
        if not self.transport.is_closing():
            self.flow.resume_reading()
            if self.pipeline:
                self._start_asgi_task(*self.pipeline.pop())

    def send_400_response(self, msg: str) -> None:
        """Answer what the parser refuses; headers that are too long in their own way."""
        if self._header_bytes > self._deadlines.header_bytes_max and self._reads_headers():
            self._refuse_headers()
        else:
            super().send_400_response(msg)

    def _refuse_headers(self) -> None:
        if not self.transport.is_closing():
            status = "200 OK" if self._deadlines.always_200 else "413 Request Entity Too Large"
            answer = _TOO_LARGE.format(status=status, request_id=os.urandom(12).hex())
            self.transport.write(answer.encode("ascii"))
        self.transport.close()

    def _reads_headers(self) -> bool:
        scope: Any = self.scope
        cycle: Any = self.cycle
        return scope is not None and (cycle is None or cycle.scope is not scope)

    def waiting_for(self) -> tuple[str, int]:
        """Return what the connection waits for, and which one of its kind."""
        scope: Any = self.scope
        if scope is None or self._reads_headers():
            return "headers", id(scope)
        cycle = self.cycle
        if cycle.response_complete:
            return "idle", self._answers
        if cycle.more_body:
            return "body", id(cycle) + int(scope["state"].get("parts_received", 0))
        if self.flow.write_paused:
            return "reader", id(cycle) + int(scope["state"].get("chunks_sent", 0))
        return "us", id(cycle)


def _watch(state: ServerState, deadlines: Deadlines, loop: asyncio.AbstractEventLoop) -> None:
    """Sweep this server's connections once a second, as long as there are any."""
    if getattr(state, "is_watched", False):
        return

    def look() -> None:
        sweep(state, deadlines, loop.time())
        if state.connections:
            loop.call_later(SWEEP_INTERVAL_S, look)
        else:
            state.is_watched = False  # type: ignore[attr-defined]  # ours, on uvicorn's state

    state.is_watched = True  # type: ignore[attr-defined]  # ours, on uvicorn's state
    loop.call_later(SWEEP_INTERVAL_S, look)


def sweep(state: ServerState, deadlines: Deadlines, now: float) -> None:
    """Cut the connections that have waited for one thing too long; `now` is monotonic."""
    for connection in list(state.connections):
        assert isinstance(connection, DeadlineProtocol)
        waits_for = connection.waiting_for()
        if waits_for != connection.waits_for:
            connection.waits_for = waits_for
            connection.waits_since = now
        elif now - connection.waits_since >= deadlines.seconds_for(waits_for[0]):
            connection.transport.abort()


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Raises:
        OSError: the address is in use or cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(2048)
    except OSError:
        listener.close()
        raise
    listener.set_inheritable(True)
    return listener


class FailStopServer(Server):
    """Uvicorn's server, which also ends when the application says that it has to."""

    @property
    def failure(self) -> str:
        """Why the application cannot go on, "" while it can."""
        return str(getattr(self.config.loaded_app, "failure", ""))

    async def on_tick(self, counter: int) -> bool:
        """Look ten times a second."""
        return await super().on_tick(counter) or bool(self.failure)


def run(app: str, settings: Settings, listener: socket.socket, *, workers: int = 1) -> str:
    """Serve the application factory `app` (`module:function`) until told to stop.

    Returns why the application could not go on, "" if it was told to stop.
    """
    config = DeadlineConfig(
        app,
        factory=True,
        http=DeadlineProtocol,
        loop="uvloop",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=settings.drain_timeout_s,
        workers=workers,
    )
    config.deadlines = Deadlines(
        settings.header_timeout_s,
        settings.body_timeout_s,
        settings.idle_timeout_s,
        settings.header_bytes_max,
        settings.always_200,
    )
    if workers > 1:
        Multiprocess(config, sockets=[listener]).run()
        return ""
    one = FailStopServer(config)
    one.run(sockets=[listener])
    return one.failure
