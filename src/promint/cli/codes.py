"""`promint codes`: files of codes in, one code looked at."""

from collections.abc import Callable, Iterator
from typing import IO, Any

import click
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from promint.bootstrap import make_service, new_ids, utc_now
from promint.cli.output import (
    ID,
    Target,
    answer,
    command_options,
    console,
    listing,
    run,
    settings_of,
)
from promint.domain import codetext
from promint.domain.errors import CodeNotFound
from promint.domain.model import EventKind, PromoCode, Scope, Token
from promint.service import Call, Service
from promint.service.administration import Administration
from promint.service.calls import ImportOutcome
from promint.store import Store
from promint.wire import shapes
from promint.wire.moments import write_moment

CHUNK = 50_000
BOM = b"\xef\xbb\xbf"
REJECTS_SHOWN = 10
COMMAND = Token(0, "command", frozenset(Scope))
"""The operator at the keyboard: every right, and no token of the store."""


def operator_call() -> Call:
    """Return a call by the operator, at this moment."""
    return Call(COMMAND, "command", utc_now())


@click.group()
def codes() -> None:
    """Bring codes in and look at them."""


def _chunks(file: IO[bytes], unreadable: Callable[[int], None]) -> Iterator[tuple[list[str], int]]:
    """Yield codes, one a line, and how many bytes they took; blank lines are passed over.

    `unreadable` is told the number of each line that is not UTF-8.
    """
    lines: list[str] = []
    size = 0
    for number, line in enumerate(file, 1):
        size += len(line)
        try:
            text = (line.removeprefix(BOM) if number == 1 else line).decode()
        except UnicodeDecodeError:
            unreadable(number)
            continue
        if text.strip():
            lines.append(text.rstrip("\r\n"))
        if len(lines) == CHUNK:
            yield lines, size
            lines, size = [], 0
    yield lines, size


@codes.command("import")
@click.argument("file", type=click.File("rb"))
@click.option("--program", "loyalty_id", type=ID, required=True, help="Its loyalty_id.")
@command_options
def codes_import(target: Target, file: IO[bytes], loyalty_id: int) -> None:
    """Import a text FILE of codes, one a line ('-' reads standard input).

    Each chunk of 50,000 is one transaction, so a second run of a file that was interrupted
    adds only what is missing.
    """
    counts = {"inserted": 0, "duplicated": 0, "discarded_by_limit": 0, "unusable": 0}
    rejects: list[str] = []
    size = None
    if file.seekable():
        size = file.seek(0, 2)
        file.seek(0)
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[codes]:,} codes"),
        console=console,
        disable=target.as_json or not console.is_terminal,
    )

    def reject(what: str) -> None:
        counts["unusable"] += 1
        if len(rejects) < REJECTS_SHOWN:
            rejects.append(what)

    def unreadable(number: int) -> None:
        reject(f"line {number}: not UTF-8")

    def note(outcome: ImportOutcome) -> None:
        counts["inserted"] += outcome.inserted
        counts["duplicated"] += outcome.duplicated
        counts["discarded_by_limit"] += outcome.discarded_by_limit
        for item in outcome.items:
            if item.error is not None and item.error.number == 400:
                reject(f"{item.code!r}: {item.error.message}")

    async def work(store: Store, administration: Administration) -> None:
        service, _ = make_service(store, settings_of(target), new_ids())
        with progress:
            task = progress.add_task("Importing", total=size, codes=0)
            for chunk, read_bytes in _chunks(file, unreadable):
                if chunk:
                    outcome = await service.import_codes(
                        operator_call(), loyalty_id, chunk, source=file.name
                    )
                    assert isinstance(outcome, ImportOutcome)
                    note(outcome)
                progress.update(task, advance=read_bytes, codes=counts["inserted"])

    run(target, work)
    lines = [f"{name:<20} {count:>12,}" for name, count in counts.items()]
    if rejects:
        lines += ["", "The first codes that cannot be used:", *rejects]
    answer(target, {**counts, "rejects": rejects}, "\n".join(lines))


@codes.command("show")
@click.argument("code")
@click.option("--program", "loyalty_id", type=ID, required=True, help="Its loyalty_id.")
@command_options
def codes_show(target: Target, code: str, loyalty_id: int) -> None:
    """Show a code's state and what happened to it."""

    async def work(store: Store, administration: Administration) -> dict[str, Any]:
        service, _ = make_service(store, settings_of(target), new_ids())
        return await _show(service, loyalty_id, code)

    values = run(target, work)
    state = {name: value for name, value in values.items() if name != "history"}
    lines = [listing(state), "", "history"]
    lines += [
        f"  {event['at']}  {event['what']:<10} {event['who']}  {event['about']}".rstrip()
        for event in values["history"]
    ]
    answer(target, values, "\n".join(lines))


async def _show(service: Service, loyalty_id: int, code: str) -> dict[str, Any]:
    call = operator_call()
    program = await service.program(call, loyalty_id)
    found = await service.get(call, loyalty_id, codetext.clean_code(code))
    if found is None:
        raise CodeNotFound(code)
    values = shapes.code_answer(found, call.now)
    values["attach_count"] = found.attach_count
    values["activation_count"] = found.activation_count
    values["history"] = [] if found.batch_id is None else [_imported(found)]
    values["history"] += [
        {
            "at": write_moment(event.at),
            "what": EventKind(event.kind).name.lower(),
            "who": f"token {event.token_id}" if event.token_id else "command",
            "request_id": event.request_id,
            "about": f"profile {event.profile_id} of database {event.database_id}"
            if event.profile_id
            else "",
        }
        for event in await service.history(program, code)
    ]
    return values


def _imported(code: PromoCode) -> dict[str, str]:
    """An import is one event of its program; what is known of it here is the code's batch."""
    return {
        "at": write_moment(code.created_at),
        "what": "imported",
        "who": f"batch {code.batch_id}",
        "request_id": "",
        "about": "",
    }
