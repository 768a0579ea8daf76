"""One client's connection: opened again wherever it breaks, and cut on purpose."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress

from tests.races.requests import Answer, Request, exchange

PAUSE_S = 0.01
TRIES_MAX = 3_000


class ClientLine:
    """One client's connection, to one process after another whenever it breaks."""

    def __init__(self, ports: Iterator[int], token: str) -> None:
        self._ports = ports
        self._token = token
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def open(self) -> None:
        for _ in range(TRIES_MAX):
            if self._streams is not None:
                return
            try:
                self._streams = await asyncio.open_connection("127.0.0.1", next(self._ports))
            except OSError:
                await asyncio.sleep(PAUSE_S)
        raise AssertionError("no process of the service can be reached")

    async def cut(self, request: Request, after_s: float) -> None:
        """Send a request and hang up, whatever becomes of it."""
        await self.open()
        assert self._streams is not None
        with suppress(OSError):
            self._streams[1].write(request.encoded(self._token))
            await self._streams[1].drain()
            await asyncio.sleep(after_s)
        self.close()

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
        self._streams = None

    async def exchange(self, request: Request) -> Answer | None:
        """Send a request and return its answer, None if the connection broke."""
        assert self._streams is not None
        reader, writer = self._streams
        try:
            answer, _ = await exchange(request, self._token, reader, writer)
            return answer
        except (OSError, EOFError):
            self.close()
            return None
