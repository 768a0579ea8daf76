"""The HTTP server: uvicorn, with the deadlines that it lacks.

Uvicorn waits for a slow client for ever. Here a sweep looks at every connection once a second
and cuts those that take too long over headers, body, or reading our answer. It costs nothing
per request; what is counted as bytes come in is only the size of headers that are not complete.
"""

import asyncio
import socket
from dataclasses import dataclass
from typing import Any

from uvicorn import Config, Server
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState
from uvicorn.supervisors import Multiprocess

from promint.config import Settings

SWEEP_INTERVAL_S = 1.0

_TOO_LARGE = (
    b"HTTP/1.1 413 Request Entity Too Large\r\ncontent-type: application/json; charset=utf-8\r\n"
    b"x-promint-reason: too_large\r\nconnection: close\r\ncontent-length: 49\r\n\r\n"
    b'{"error":413,"error_text":"Request is too large"}'
)


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long a client may take, in seconds, and how long its headers may be, in bytes."""

    headers_s: float
    body_s: float
    header_bytes_max: int

    def seconds_for(self, waits_for: str) -> float:
        """Return how long a connection may wait for one thing."""
        if waits_for == "headers":
            return self.headers_s
        return self.body_s if waits_for in ("body", "reader") else float("inf")


class DeadlineConfig(Config):
    """Uvicorn's configuration with our deadlines; it travels to every worker."""

    deadlines: Deadlines


class DeadlineProtocol(HttpToolsProtocol):
    """A connection that knows what it is waiting for."""

    _header_bytes = 0
    waits_for: tuple[str, int] | None = None
    waits_since = 0.0

    def __init__(self, config: DeadlineConfig, *arguments: Any, **named: Any) -> None:
        """Take the deadlines with the configuration."""
        super().__init__(config, *arguments, **named)
        self._deadlines = config.deadlines

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn
        """Start to watch, with the first connection of the process."""
        super().connection_made(transport)
        _watch(self.server_state, self._deadlines, self.loop)

    def data_received(self, data: bytes) -> None:
        """Feed the parser, and refuse headers that never end."""
        super().data_received(data)
        if not self._reads_headers():
            self._header_bytes = 0
            return
        self._header_bytes += len(data)
        if self._header_bytes > self._deadlines.header_bytes_max:
            if not self.transport.is_closing():
                self.transport.write(_TOO_LARGE)
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
            return "idle", 0
        if cycle.more_body:
            return "body", id(cycle)
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


def run(app: str, settings: Settings, listener: socket.socket, *, workers: int = 1) -> None:
    """Serve the application factory `app` (`module:function`) until told to stop."""
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
        timeout_keep_alive=int(settings.idle_timeout_s),
        timeout_graceful_shutdown=settings.drain_timeout_s,
        workers=workers,
    )
    config.deadlines = Deadlines(
        settings.header_timeout_s, settings.body_timeout_s, settings.header_bytes_max
    )
    if workers > 1:
        Multiprocess(config, sockets=[listener]).run()
    else:
        Server(config).run(sockets=[listener])
