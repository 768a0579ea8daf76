"""The processes of a bench: the service, its floor and the load, each ended with the bench."""

import http.client
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from promint.bench.load import Export, Order, Phase
from promint.config import PREFIX

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 20.0
PROC = Path("/proc")


class BenchFailed(Exception):
    """The bench cannot go on; the sentence says why."""


class Process:
    """A child process that is ended when its block is left, however it is left."""

    def __init__(self, arguments: list[str], environment: dict[str, str] | None = None) -> None:
        """Keep what to start."""
        self._arguments = arguments
        self._environment = environment or {}

    def __enter__(self) -> Self:
        """Start it."""
        self.process = subprocess.Popen(  # noqa: S603  # this Python, and our own modules
            [sys.executable, "-m", *self._arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **self._environment},
            text=True,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End it."""
        self.process.terminate()
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()

    def read_line(self) -> Any:
        """Return the next line of its output, which is JSON.

        Raises:
            BenchFailed: it ended instead.
        """
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            code = self.process.wait(STOP_TIMEOUT_S)
            raise BenchFailed(f"`{' '.join(self._arguments)}` ended with {code}.")
        return json.loads(line)

    def cpu_s(self) -> float | None:
        """Return the processor seconds it has used so far; None where that cannot be read."""
        try:
            text = (PROC / str(self.process.pid) / "stat").read_text()
        except OSError:
            return None
        fields = text.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_mb(self) -> float | None:
        """Return its resident memory in megabytes; None where that cannot be read."""
        try:
            text = (PROC / str(self.process.pid) / "statm").read_text()
        except OSError:
            return None
        return int(text.split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


class Serving(Process):
    """A process that serves HTTP on a free loopback port, and says which."""

    port = 0

    def __enter__(self) -> Self:
        """Start it and wait until it answers."""
        super().__enter__()
        try:
            self.port = int(urlsplit(self.read_line()["url"]).port or 0)
            self._wait_ready()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _wait_ready(self) -> None:
        give_up_at = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < give_up_at:
            if self.process.poll() is not None:
                raise BenchFailed(f"`{' '.join(self._arguments)}` ended before it answered.")
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
            try:
                connection.request("GET", "/health/ready")
                if connection.getresponse().status == 200:
                    return
            except OSError:
                pass
            finally:
                connection.close()
            time.sleep(0.05)
        raise BenchFailed(f"`{' '.join(self._arguments)}` did not answer in time.")


def serving_service(url: str) -> Serving:
    """Return the service, one worker, over a store.

    The URL, which may hold a password, is not among its arguments, where everyone on the
    machine could read it.
    """
    return Serving(["promint", "--json", "serve", "--port", "0"], {f"{PREFIX}DATABASE_URL": url})


def serving_fixed() -> Serving:
    """Return the server that answers fixed bytes."""
    return Serving(["promint.bench.fixed"])


class Load(Process):
    """The process that sends requests."""

    def __init__(self) -> None:
        """Take our own module."""
        super().__init__(["promint.bench.load"])

    def run(self, order: Order) -> Phase:
        """Send what the order says and return what came back."""
        return Phase(**self._ask(asdict(order)))

    def export(self, port: int, text: str) -> Export:
        """Read one export."""
        return Export(**self._ask({"exports": True, "port": port, "text": text}))

    def _ask(self, order: dict[str, Any]) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return self.read_line()
