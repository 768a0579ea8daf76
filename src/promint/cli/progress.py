"""The progress bar of everything that takes long: how far, how fast, how long still."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars
from rich.text import Text

from promint.cli.output import Target, console
from promint.service.means import Progress

SIZED = ("reading", "comparing", "writing rejects")
"""Phases whose numbers are bytes of a file; those of the others are rows or codes."""


class Done(ProgressColumn):
    """How many of how many, and how many a second."""

    def render(self, task: Task) -> Text:
        """Write it in the phase's unit."""
        if task.total is None and not task.completed:
            return Text("")
        scale, unit = (1e6, " MB") if task.description.strip().lower() in SIZED else (1, "")
        decimals = 1 if unit else 0
        done = f"{task.completed / scale:,.{decimals}f}"
        total = "" if task.total is None else f" of {task.total / scale:,.{decimals}f}"
        rate = f", {task.speed / scale:,.{decimals}f}{unit}/s" if task.speed else ""
        return Text(f"{done}{total}{unit}{rate}")


@contextmanager
def progress_bar(target: Target) -> Iterator[Progress]:
    """Show a bar while the block runs, if a person looks on; yield what tells it how far it is.

    Each phase has a line of its own.
    """
    bars = Bars(
        SpinnerColumn(),
        TextColumn("{task.description:<16}"),
        BarColumn(),
        Done(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=target.as_json or not console.is_terminal,
    )
    tasks: dict[str, TaskID] = {}

    async def show(done: int, total: int | None, phase: str) -> None:
        if phase not in tasks:
            for earlier in tasks.values():
                bars.stop_task(earlier)
            tasks[phase] = bars.add_task(phase.capitalize(), total=total)
        bars.update(tasks[phase], completed=done, total=total)

    with bars:
        yield show
