"""The processes of a bench: the service, its floor and the load, each ended with the bench."""

import http.client
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from promint.bench.load import Export, Order, Phase
from promint.config import PREFIX

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 20.0
COMMAND_S_MAX = 4 * 3600.0
PEAK_INTERVAL_S = 0.02
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
        _end(self.process)

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


def _end(process: subprocess.Popen[str]) -> None:
    """End a process, whether it wants to or not, and close what leads to it."""
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


@dataclass(frozen=True, slots=True)
class Ended:
    """A command that came to its end: wall-clock seconds from start to exit, and its output.

    `peak_mb` is the most memory that it had resident; None where that cannot be read.
    """

    seconds: float
    peak_mb: float | None
    output: str


class Command:
    """A command that runs beside the bench; it is ended when its block is left before its end."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        """Keep what to run, and what to add to the environment."""
        self._arguments = list(arguments)
        self._environment = environment
        self._peak_mb: float | None = None

    def __enter__(self) -> Self:
        """Start it."""
        self._started = time.monotonic()
        self._process = subprocess.Popen(  # noqa: S603  # found by us, arguments of our own
            self._arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **self._environment},
            text=True,
        )
        self._watching = threading.Event()
        self._watch = threading.Thread(target=self._watch_memory, name="promint-bench-peak")
        self._watch.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End it, if it has not ended."""
        _end(self._process)
        self._watching.set()
        self._watch.join()

    @property
    def is_running(self) -> bool:
        """Say whether it has not ended yet."""
        return self._process.poll() is None

    def wait(self) -> Ended:
        """Return what came of it, once it has ended.

        Raises:
            BenchFailed: it failed, or runs for hours.
        """
        try:
            output, errors = self._process.communicate(timeout=COMMAND_S_MAX)
        except subprocess.TimeoutExpired:
            raise BenchFailed(f"`{self._name}` took more than {COMMAND_S_MAX:,.0f} s.") from None
        seconds = time.monotonic() - self._started
        if self._process.returncode:
            said = (errors or output).strip()[-500:]
            raise BenchFailed(f"`{self._name}` ended with {self._process.returncode}: {said}")
        return Ended(seconds, self._peak_mb, output)

    @property
    def _name(self) -> str:
        return " ".join([Path(self._arguments[0]).name, *self._arguments[1:]])

    def _watch_memory(self) -> None:
        """Read the high-water mark now and then; it only rises, so hardly anything is missed.

        What the system says after the end would count the bench's own memory at the fork.
        """
        path = PROC / str(self._process.pid) / "status"
        while not self._watching.wait(PEAK_INTERVAL_S):
            try:
                text = path.read_text()
            except OSError:
                return
            _, found, rest = text.partition("VmHWM:")
            if found:
                self._peak_mb = int(rest.split()[0]) * 1024 / 1e6


def run_command(arguments: Sequence[str], environment: Mapping[str, str]) -> Ended:
    """Run a command to its end.

    Raises:
        BenchFailed: it failed.
    """
    with Command(arguments, environment) as command:
        return command.wait()


def promint_command(*arguments: str) -> list[str]:
    """Return the arguments of one of our own commands, which answers in JSON."""
    return [sys.executable, "-m", "promint", "--json", *arguments]


def store_environment(url: str) -> dict[str, str]:
    """Return which store a command works on.

    The URL, which may hold a password, is not among its arguments, where everyone on the
    machine could read it.
    """
    return {f"{PREFIX}DATABASE_URL": url}


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
    """Return the service, one worker, over a store."""
    return Serving(["promint", "--json", "serve", "--port", "0"], store_environment(url))


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
