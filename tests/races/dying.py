"""Commands that kill themselves at a chosen step of their own work, so on any machine alike.

A step is whatever the database is asked for: on SQLite each statement, each so many instructions
inside one and each commit, on PostgreSQL each statement just before it is sent, while the server
works on it, and once it is answered. One run that is left alive says how many steps there are.
"""

import contextlib
import io
import itertools
import json
import multiprocessing
import os
import signal
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, NamedTuple

import apsw
import asyncpg

INSTRUCTIONS = 2_000
TIMEOUT_S = 240.0

# A new interpreter for each command would take most of the time of hundreds of kills.
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["tests.races.dying", "promint.cli", "promint.bootstrap"])


class Course(NamedTuple):
    """What a command that ended by itself did: its steps, and the JSON that it printed."""

    steps: int
    report: dict[str, Any]


def run(
    arguments: Sequence[str],
    folder: Path,
    *,
    dies_at: int | None = None,
    plants: Sequence[str] = (),
) -> Course | None:
    """Run `promint` with these arguments; return None if it killed itself at that step.

    `folder` is for the temporary files that a kill leaves behind. `plants` name functions that
    change the build first, as `tests.races.planted` has them.
    """
    receiver, sender = _processes.Pipe(duplex=False)
    command = _processes.Process(target=_command, args=(arguments, folder, dies_at, plants, sender))
    command.start()
    sender.close()
    with receiver:
        try:
            course = Course(*receiver.recv())
        except EOFError:
            course = None
    command.join(TIMEOUT_S)
    expected = -signal.SIGKILL if course is None else 0
    assert command.exitcode == expected, f"the command ended with {command.exitcode}"
    return course


def _command(
    arguments: Sequence[str],
    folder: Path,
    dies_at: int | None,
    plants: Sequence[str],
    sender: Connection,
) -> None:
    from promint.cli import main as promint

    tempfile.tempdir = str(folder)
    for plant in plants:
        resolve_name(plant)()
    steps = itertools.count(1)
    taken = 0

    def step() -> None:
        nonlocal taken
        taken = next(steps)
        if taken == dies_at:
            os.kill(os.getpid(), signal.SIGKILL)

    _watch_sqlite(step)
    _watch_postgres(step)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        promint(["--json", *arguments], standalone_mode=False)
    sender.send((taken, json.loads(printed.getvalue())))


def _watch_sqlite(step: Callable[[], None]) -> None:
    def watch(connection: apsw.Connection) -> None:
        if connection.db_filename("main").endswith("stage.db"):
            return

        def trace(*_: object) -> bool:
            step()
            return True

        def go_on() -> bool:
            step()
            return False

        connection.set_exec_trace(trace)
        connection.set_progress_handler(go_on, INSTRUCTIONS)
        connection.set_commit_hook(go_on)

    apsw.connection_hooks.append(watch)


def _watch_postgres(step: Callable[[], None]) -> None:
    for name in ("execute", "_do_execute", "_copy_in"):
        setattr(asyncpg.Connection, name, _stepping(getattr(asyncpg.Connection, name), step))


def _stepping(
    method: Callable[..., Awaitable[Any]], step: Callable[[], None]
) -> Callable[..., Awaitable[Any]]:
    async def stepping(self: Any, *arguments: Any, **named: Any) -> Any:
        step()
        # It comes to its turn while the answer is waited for.
        self._loop.call_soon(step)
        result = await method(self, *arguments, **named)
        step()
        return result

    return stepping
