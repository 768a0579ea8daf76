"""A reader at a shell: types a page's commands one by one and notes what they print."""

import contextlib
import datetime
import os
import re
import select
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.docs.pages import DAY, ROOT, Step, steps
from tests.ports import free_port

POSTGRES_URL = "postgresql://promint:secret@localhost/promint"
"""The database that pages name; a test puts a real one in its place."""

START_TIMEOUT_S = 120.0
SILENCE_MAX_S = 120.0
END = "\x1e"
_SERVES = re.compile(r"(make run|(\w+=\S+ )*promint( --\w+ \S+)* (demo|serve))\b")
_SAYS_SO = re.compile(r"http://[\w.:]+|\"url\"")
_TOKEN = re.compile(r"promint_[0-9A-Za-z]{33}")


class Terminal:
    """One shell in a folder of its own; what it serves runs beside it and ends with it."""

    def __init__(self, folder: Path, postgres: str = "", *, has_curl: bool = True) -> None:
        self.folder = folder
        self.port = free_port()
        self._postgres = postgres
        self._token = ""
        self._servers = 0
        self._days = {_today()}
        path = [str(Path(sys.executable).parent), os.environ["PATH"]]
        if not (has_curl and shutil.which("curl")):
            path.insert(0, str(self._own_curl()))
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PROMINT_")}
        environment |= {"PATH": ":".join(path), "COLUMNS": "100", "LC_ALL": "C.UTF-8"}
        self._shell = subprocess.Popen(
            ["bash", "--norc"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def _own_curl(self) -> Path:
        folder = self.folder / ".bin"
        folder.mkdir()
        program = folder / "curl"
        script = shlex.quote(str(ROOT / "tests/docs/curl.py"))
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {script} "$@"\n')
        program.chmod(0o755)
        return folder

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        self._end_server()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._shell.pid, signal.SIGKILL)
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.stdin.close()
        self._shell.stdout.close()
        self._shell.wait()

    def type(self, command: str) -> str:
        """Run a command; return what it prints, with the port and the day that pages name."""
        command = command.replace(":8000", f":{self.port}").replace("promint_…", self._token)
        command = command.replace(POSTGRES_URL, self._postgres or POSTGRES_URL)
        printed = self._serve(command) if _SERVES.match(command) else self._run(command)
        if tokens := _TOKEN.findall(printed):
            self._token = tokens[-1]
        self._days.add(_today())
        for day in self._days:
            printed = printed.replace(day, DAY)
        return printed.replace(f":{self.port}", ":8000")

    def _run(self, command: str) -> str:
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.stdin.write(f"{{ {command}\n}} </dev/null\nprintf '{END}'\n".encode())
        self._shell.stdin.flush()
        printed = b""
        while not printed.endswith(END.encode()):
            readable, _, _ = select.select([self._shell.stdout], [], [], SILENCE_MAX_S)
            more = os.read(self._shell.stdout.fileno(), 65_536) if readable else b""
            assert more, f"no end of: {command}"
            printed += more
        return printed[:-1].decode().replace("\r", "")

    def _serve(self, command: str) -> str:
        """Start a service in place of the one before; return what it says once it listens."""
        self._end_server()
        command = command.replace("make run", "promint demo")
        self._servers += 1
        log = self.folder / f".server-{self._servers}"
        log.touch()
        self._run(f"{command} --port {self.port} >{log} 2>&1 &")
        give_up_at = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < give_up_at:
            if self._run("jobs -r") == "":
                break
            if _SAYS_SO.search(log.read_text()):
                time.sleep(0.1)  # it says the rest in one go
                break
            time.sleep(0.02)
        return log.read_text()

    def _end_server(self) -> None:
        if self._servers:
            self._run("kill %% 2>/dev/null; wait")


def _today() -> str:
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def play(text: str, terminal: Terminal) -> Iterator[tuple[Step, str]]:
    """Type every command of a page; yield each with what it printed.

    A page may start with `<!-- in the terminal: COMMAND -->`, for what it takes as given.
    """
    for command in re.findall(r"^<!-- in the terminal: (.+) -->$", text, re.MULTILINE):
        terminal.type(command)
    for step in steps(text):
        yield step, terminal.type(step.command)
