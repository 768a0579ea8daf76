"""The HTTP server: uvicorn, with the deadlines that it lacks.

Uvicorn waits for a slow client for ever. Here a sweep looks at every connection once a second
and cuts those that take too long over headers, body, or reading our answer. It costs nothing
per request; what is counted per request is only the size of headers that are not complete.
"""

import asyncio
import socket
from typing import Any

from uvicorn import Config, Server
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.supervisors import Multiprocess

from promint.config import Settings

_TOO_LARGE = (
    b"HTTP/1.1 413 Request Entity Too Large\r\ncontent-type: application/json; charset=utf-8\r\n"
    b"x-promint-reason: too_large\r\nconnection: close\r\ncontent-length: 49\r\n\r\n"
    b'{"error":413,"error_text":"Request is too large"}'
)


class DeadlineProtocol(HttpToolsProtocol):
    """A connection that knows what it is waiting for."""

    header_bytes_max = 65_536
    _header_bytes = 0
    waits_for: Any = None
    waits_since = 0.0

    def data_received(self, data: bytes) -> None:
        """Feed the parser, and refuse headers that never end."""
        super().data_received(data)
        if self.scope is not None and (self.cycle is None or self.cycle.scope is not self.scope):
            self._header_bytes += len(data)
            if self._header_bytes > self.header_bytes_max and not self.transport.is_closing():
                self.transport.write(_TOO_LARGE)
                self.transport.close()
        else:
            self._header_bytes = 0

    def waiting_for(self) -> tuple[str, int]:
        """Return what the connection waits for, and which one of its kind."""
        if self.scope is None:
            return "headers", 0
        if self.cycle is None or self.cycle.scope is not self.scope:
            return "headers", id(self.scope)
        if self.cycle.response_complete:
            return "idle", 0
        if self.cycle.more_body:
            return "body", id(self.cycle)
        if self.flow.write_paused:
            chunks = self.scope.get("state", {}).get("chunks_sent", 0)
            return "reader", id(self.cycle) + chunks
        return "us", id(self.cycle)


class DeadlineServer(Server):
    """A server that cuts clients that are too slow."""

    def __init__(self, config: Config, settings: Settings) -> None:
        """Take how long a client may take, and how long its headers may be."""
        super().__init__(config)
        self.header_bytes_max = settings.header_bytes_max
        self.limits_s = {
            "headers": settings.header_timeout_s,
            "body": settings.body_timeout_s,
            "reader": settings.body_timeout_s,
        }

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen."""
        DeadlineProtocol.header_bytes_max = self.header_bytes_max
        await super().startup(sockets)

    async def on_tick(self, counter: int) -> bool:
        """Look at every connection once a second."""
        if counter % 10 == 0:
            self.sweep(asyncio.get_running_loop().time())
        return await super().on_tick(counter)

    def sweep(self, now: float) -> None:
        """Cut the connections that have waited for one thing too long; `now` is monotonic."""
        for connection in list(self.server_state.connections):
            assert isinstance(connection, DeadlineProtocol)
            waits_for = connection.waiting_for()
            if waits_for != connection.waits_for:
                connection.waits_for = waits_for
                connection.waits_since = now
            elif now - connection.waits_since >= self.limits_s.get(waits_for[0], float("inf")):
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
    config = Config(
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
    server = DeadlineServer(config, settings)
    if workers > 1:
        Multiprocess(config, target=server.run, sockets=[listener]).run()
    else:
        server.run(sockets=[listener])
