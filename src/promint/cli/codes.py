"""`promint codes`: files of codes in, one code looked at."""

import json
from typing import Any

import click

from promint.bootstrap import make_service, new_ids
from promint.cli.changes import codes_change
from promint.cli.generation import codes_generate
from promint.cli.importing import codes_import
from promint.cli.output import (
    ID,
    Target,
    answer,
    command_options,
    listing,
    operator_call,
    run,
    settings_of,
    table,
)
from promint.cli.searching import codes_export, codes_search
from promint.domain import codetext
from promint.domain.errors import CodeNotFound
from promint.domain.model import EventKind, PromoCode
from promint.service import Service
from promint.service.administration import Administration
from promint.store import Store
from promint.wire import shapes
from promint.wire.moments import write_moment


@click.group()
def codes() -> None:
    """Bring codes in and look at them."""


codes.add_command(codes_change)
codes.add_command(codes_generate)
codes.add_command(codes_import)
codes.add_command(codes_search)
codes.add_command(codes_export)


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
    state = {name: values[name] for name in values if name not in ("history", "fields")}
    state |= values["fields"]
    lines = [listing(state), "", "history"]
    lines += [
        f"  {event['at']}  {event['what']:<10} {event['who']}  {event['about']}".rstrip()
        for event in values["history"]
    ]
    answer(target, values, "\n".join(lines))


@codes.command("history")
@click.argument("code")
@click.option("--program", "loyalty_id", type=ID, required=True, help="Its loyalty_id.")
@command_options
def codes_history(target: Target, code: str, loyalty_id: int) -> None:
    """List what happened to a code, oldest first."""

    async def work(store: Store, administration: Administration) -> dict[str, Any]:
        service, _ = make_service(store, settings_of(target), new_ids())
        return await _show(service, loyalty_id, code)

    table(target, "history", run(target, work)["history"])


async def _show(service: Service, loyalty_id: int, code: str) -> dict[str, Any]:
    call = operator_call()
    program = await service.program(call, loyalty_id)
    found = await service.get(call, loyalty_id, codetext.clean_code(code))
    if found is None:
        raise CodeNotFound(code)
    values = shapes.code_answer(found, call.now)
    values["attach_count"] = found.attach_count
    values["activation_count"] = found.activation_count
    values["batch_id"] = found.batch_id
    values["fields"] = json.loads(found.fields or "{}")
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
