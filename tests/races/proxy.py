"""A line to PostgreSQL that is slow, or breaks on demand: the statement got through, no answer."""

import asyncio
import re
import threading
from collections.abc import Coroutine
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

Result = TypeVar("Result")

_PARSED = re.compile(rb"P.{4}([^\0]+)\0([^\0]+)\0", re.DOTALL)
_BOUND = re.compile(rb"B.{4}[^\0]*\0([^\0]+)\0", re.DOTALL)
_COMMITTED = b"COMMIT\0"
_WRITES = b"INSERT INTO event"


class Line:
    """Forwards connections to the database of a URL; `url` is the same one over this line.

    Whatever passes is held back for `delay_s` seconds, in either direction. `lost_commits` counts
    the answers to commits that were dropped.
    """

    def __init__(self, url: str, delay_s: float = 0.0) -> None:
        self._delay_s = delay_s
        parts = urlsplit(url)
        self._host, self._port = parts.hostname, parts.port or 5432
        self._wanted = 0
        self._wanted_commits = 0
        self.lost_commits = 0
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

    def cut_commit(self) -> None:
        """Drop the next answer to a statement that writes events, or to a COMMIT."""
        self._loop.call_soon_threadsafe(self._want_commit)

    def _want_one(self) -> None:
        self._wanted += 1

    def _want_commit(self) -> None:
        self._wanted_commits += 1

    def _loses(self, commits: "_Commits") -> bool:
        """Say whether an answer is to be dropped, and note that it was."""
        if self._wanted:
            self._wanted -= 1
            return True
        if self._wanted_commits and commits.is_awaited:
            self._wanted_commits -= 1
            self.lost_commits += 1
            return True
        commits.is_awaited = False
        return False

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
                    commits = _Commits()
                    group.create_task(self._ask(reader, to_database, commits))
                    group.create_task(self._answer(from_database, writer, commits))
            except* (OSError, EOFError):
                pass
            finally:
                to_database.transport.abort()
                writer.transport.abort()

    async def _ask(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, commits: "_Commits"
    ) -> None:
        while data := await reader.read(65536):
            commits.note(data)
            await self._pass(data, writer)
        raise EOFError

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, commits: "_Commits"
    ) -> None:
        while data := await reader.read(65536):
            if self._loses(commits):
                break
            await self._pass(data, writer)
        raise EOFError

    async def _pass(self, data: bytes, writer: asyncio.StreamWriter) -> None:
        if self._delay_s:
            await asyncio.sleep(self._delay_s)
        writer.write(data)
        await writer.drain()


class _Commits:
    """Of one connection: its statements that write events, and whether a commit is under way.

    A message that came in two parts is overlooked.
    """

    def __init__(self) -> None:
        self._names: set[bytes] = set()
        self.is_awaited = False

    def note(self, data: bytes) -> None:
        """Look at what the service sends."""
        self._names.update(name for name, text in _PARSED.findall(data) if _WRITES in text)
        bound = any(name in self._names for name in _BOUND.findall(data))
        self.is_awaited = self.is_awaited or bound or _COMMITTED in data
