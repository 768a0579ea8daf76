"""Ctrl-C in the middle of the long commands: one sentence, and they go on where they were."""

import asyncio
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from promint.bootstrap import make_store
from promint.config import read_settings
from promint.domain.model import Batch, BatchState
from tests.commands.running_commands import PROMINT, Promint, Said

WAIT_S = 60.0
INTERRUPTED = 130
LARGER = 3
"""A command that is done before it could be interrupted gets so many times more to do."""


class Watch:
    """Looks on from outside while a command works."""

    def __init__(self, url: str) -> None:
        self._runner = asyncio.Runner()
        self._store = make_store(read_settings({}, database_url=url))
        self._runner.run(self._store.open())

    def last_batch(self) -> Batch | None:
        batches = self._runner.run(self._store.batches(None, most=1))
        return batches[0] if batches else None

    def close(self) -> None:
        self._runner.run(self._store.close())
        self._runner.close()


@contextmanager
def watching(url: str) -> Iterator[Watch]:
    watch = Watch(url)
    try:
        yield watch
    finally:
        watch.close()


def interrupt(url: str, arguments: list[object], is_at_work: Callable[[Watch], bool]) -> Said:
    """Run a command in a process and send it SIGINT once it is at work."""
    command = [*PROMINT, "--database", url, *map(str, arguments)]
    with (
        watching(url) as watch,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process,
    ):
        try:
            until = time.monotonic() + WAIT_S
            while process.poll() is None and not is_at_work(watch):
                assert time.monotonic() < until, "it never began"
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=WAIT_S)
        finally:
            process.kill()
    return Said(process.returncode, out, err)


def interrupted(
    url: str, first: int, begin: Callable[[int], list[object]], is_at_work: Callable[[Watch], bool]
) -> tuple[int, Said]:
    """Give a command more and more to do until it is interrupted in the middle of it."""
    for power in range(4):
        size = first * LARGER**power
        said = interrupt(url, begin(size), is_at_work)
        if said.code:
            return size, said
    raise AssertionError("it was always done before")


def resumed(promint: Promint, said: Said) -> Said:
    """Type the command that the sentence names."""
    words = shlex.split(said.err.partition(" goes on with: ")[2])
    assert words[0] == "promint"
    return Promint("")(*words[1:])


def new_program(promint: Promint, *options: object) -> int:
    return int(promint.json("program", "create", "--name", "Spring", *options)["loyalty_id"])


def count_of(promint: Promint, program: int) -> int:
    rows = promint("codes", "export", "--program", program, "--raw", "--format", "jsonl").out
    codes = rows.splitlines()
    assert len(set(codes)) == len(codes)
    return len(codes)


def last_batch(promint: Promint) -> Batch:
    with watching(promint.url) as watch:
        batch = watch.last_batch()
    assert batch is not None
    return batch


def test_an_import_says_how_it_goes_on(promint: Promint, tmp_path: Path) -> None:
    file, programs = tmp_path / "codes.txt", list[int]()

    def begin(size: int) -> list[object]:
        file.write_text("".join(f"CODE-{number:07}\n" for number in range(size)))
        programs.append(new_program(promint))
        return ["codes", "import", file, "--program", programs[-1]]

    def is_at_work(watch: Watch) -> bool:
        batch = watch.last_batch()
        return batch is not None and batch.loyalty_id == programs[-1] and batch.inserted > 0

    size, said = interrupted(promint.url, 150_000, begin, is_at_work)

    left, program = last_batch(promint), programs[-1]
    assert said == Said(
        INTERRUPTED,
        "",
        f"Stopped. Batch {left.id} goes on with the same command and --resume {left.id}.\n",
    )
    assert left.state is BatchState.STOPPED
    assert count_of(promint, program) == left.inserted > 0
    arguments = ("codes", "import", file, "--program", program, "--resume", left.id)
    assert promint.json(*arguments)["new"] == size
    assert count_of(promint, program) == size
    assert last_batch(promint).state is BatchState.DONE


def test_a_command_that_waits_for_a_pipe_is_stopped_too(promint: Promint, tmp_path: Path) -> None:
    pipe = tmp_path / "codes.txt"
    os.mkfifo(pipe)
    program = new_program(promint)
    writer: list[int] = []

    def is_at_work(watch: Watch) -> bool:
        # The command opens the pipe once this does not fail.
        try:
            writer.append(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
        except OSError:
            return False
        return True

    said = interrupt(promint.url, ["codes", "import", pipe, "--program", program], is_at_work)

    os.close(writer[0])
    assert (said.code, said.out) == (INTERRUPTED, "")
    # By chance it is stopped before it knows what it shall do.
    assert said.err in ("Stopped.\n", "Stopped; nothing was imported.\n")
    assert (promint.json("batch", "list")["batches"], count_of(promint, program)) == ([], 0)


def test_a_generation_says_how_it_goes_on(promint: Promint) -> None:
    programs = list[int]()

    def begin(size: int) -> list[object]:
        programs.append(new_program(promint, "--template", "{12}"))
        return ["codes", "generate", size, "--program", programs[-1]]

    def is_at_work(watch: Watch) -> bool:
        batch = watch.last_batch()
        return batch is not None and batch.loyalty_id == programs[-1] and batch.inserted > 0

    size, said = interrupted(promint.url, 150_000, begin, is_at_work)

    left, program = last_batch(promint), programs[-1]
    again = f"promint codes generate --program {program} --resume {left.id}"
    assert (said.code, said.out) == (INTERRUPTED, "")
    sentence = f"Stopped. Batch {left.id} goes on with: {again} --database {promint.url}\n"
    assert said.err == sentence
    assert left.state is BatchState.STOPPED
    assert count_of(promint, program) == left.inserted > 0
    resumed(promint, said)
    assert count_of(promint, program) == size
    assert last_batch(promint).state is BatchState.DONE


def test_a_bulk_change_says_how_it_goes_on(promint: Promint) -> None:
    programs = list[int]()

    def begin(size: int) -> list[object]:
        programs.append(new_program(promint, "--template", "{12}"))
        promint("codes", "generate", size, "--program", programs[-1])
        return ["codes", "change", "--program", programs[-1], "--all", "--expire-date",
                "2030-01-31", "--yes"]  # fmt: skip

    def is_at_work(watch: Watch) -> bool:
        batch = watch.last_batch()
        return batch is not None and batch.loyalty_id == programs[-1] and batch.changed > 0

    size, said = interrupted(promint.url, 3_000, begin, is_at_work)

    left, program = last_batch(promint), programs[-1]
    assert (said.code, said.out) == (INTERRUPTED, "")
    again = f"promint codes change --program {program} --resume {left.id}"
    assert said.err.startswith(f"Stopped. Batch {left.id} goes on with: {again}")
    assert said.err.count("\n") == 1
    assert left.state is BatchState.STOPPED
    search = ("codes", "search", "--program", program, "--expires-from", "2030-01-01")
    changed = promint.json(*search, "--limit", size)["codes"]
    assert len(changed) == left.changed
    assert 0 < left.changed < size
    resumed(promint, said)
    done = last_batch(promint)
    assert (done.state, done.changed) == (BatchState.DONE, size)


def test_an_export_leaves_no_file(promint: Promint, tmp_path: Path) -> None:
    program = new_program(promint, "--template", "{12}")
    file, part = tmp_path / "codes.csv", tmp_path / "codes.csv.part"

    def begin(size: int) -> list[object]:
        promint("codes", "generate", size, "--program", program)
        file.unlink(missing_ok=True)
        return ["codes", "export", "--program", program, "--output", file]

    _, said = interrupted(
        promint.url, 60_000, begin, lambda _: part.exists() and part.stat().st_size > 0
    )

    sentence = f"Stopped; {file} was not written. The same command begins anew.\n"
    assert said == Said(INTERRUPTED, "", sentence)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("is_secret", [True, False])
def test_a_password_is_not_shown_in_the_command_that_goes_on(*, is_secret: bool) -> None:
    from promint.cli.output import Target, same_store

    url = "postgresql://shop:hush@db/promint" if is_secret else "postgresql://shop@db/promint"

    assert same_store(Target(url)) == " --database " + ("URL" if is_secret else url)
