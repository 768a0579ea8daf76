"""A line to PostgreSQL that is slow, or breaks on demand: the statement got through, no answer."""

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

Result = TypeVar("Result")


class Line:
    """Forwards connections to the database of a URL; `url` is the same one over this line.

    Whatever passes is held back for `delay_s` seconds, in either direction.
    """

    def __init__(self, url: str, delay_s: float = 0.0) -> None:
        self._delay_s = delay_s
        parts = urlsplit(url)
        self._host, self._port = parts.hostname, parts.port or 5432
        self._wanted = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="line")
        self._thread.start()
        self._server = self._run(asyncio.start_server(self._serve, "127.0.0.1", 0))
        account = parts.netloc.rpartition("@")[0]
        port = self._server.sockets[0].getsockname()[1]
        self.url = parts._replace(netloc=f"{account}@127.0.0.1:{port}").geturl()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cut(self) -> None:
        """Drop the next answer of the database, whoever waits for it, and that connection."""
        self._loop.call_soon_threadsafe(self._want_one)

    def _want_one(self) -> None:
        self._wanted += 1

    def _run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _close(self) -> None:
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.CancelledError):
            from_database, to_database = await asyncio.open_connection(self._host, self._port)
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._forward(reader, to_database, may_break=False))
                    group.create_task(self._forward(from_database, writer, may_break=True))
            except* (OSError, EOFError):
                pass
            finally:
                to_database.transport.abort()
                writer.transport.abort()

    async def _forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, may_break: bool
    ) -> None:
        while data := await reader.read(65536):
            if may_break and self._wanted:
                self._wanted -= 1
                break
            if self._delay_s:
                await asyncio.sleep(self._delay_s)
            writer.write(data)
            await writer.drain()
        raise EOFError
