"""`promint program`: every setting is an option of the same name with dashes."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any
from zoneinfo import available_timezones

import click

from promint.cli.output import (
    ID,
    NEW_ID,
    Target,
    Whole,
    answer,
    command_options,
    listing,
    run,
    table,
)
from promint.domain.errors import BadValue, ProgramNotFound
from promint.domain.model import CodeMatching, LoyaltyProgram
from promint.domain.sentences import limits_sentence
from promint.service.administration import (
    PERSONAL,
    UNIVERSAL,
    Administration,
    ProgramFilter,
    kind_of,
)
from promint.store import Store
from promint.wire.moments import read_moment, write_moment

NONE = "none"
REMOVED = object()
"""What `none` means where a setting can be removed."""


class Moment(click.ParamType[int]):
    """A moment of RFC 3339, or `none`."""

    name = "MOMENT"

    def convert(self, value: Any, param: Any, context: Any) -> Any:
        """Read it."""
        if isinstance(value, int) or value is REMOVED:
            return value
        if value == NONE:
            return REMOVED
        try:
            return read_moment(value, "")
        except BadValue as error:
            self.fail(error.detail.rstrip(", "), param, context)


class Limit(click.ParamType[int]):
    """A whole number, or `none`."""

    name = "NUMBER"

    def convert(self, value: Any, param: Any, context: Any) -> Any:
        """Read it."""
        if isinstance(value, int) or value is REMOVED:
            return value
        if value == NONE:
            return REMOVED
        if not (value.isascii() and value.isdigit()):
            self.fail(f"{value!r} is not a whole number or 'none'", param, context)
        return int(value)


class Zone(click.ParamType[str]):
    """A time zone by its name."""

    name = "ZONE"

    def convert(self, value: Any, param: Any, context: Any) -> Any:
        """Check that it exists."""
        if value not in available_timezones():
            self.fail(f"{value!r} is no time zone, write one like Europe/Moscow", param, context)
        return value


_OPTIONS = [
    click.option("--short-name", help="Name of the template variable."),
    click.option("--description", help="A line about it."),
    click.option("--access-group", help="Who may see it on the pages."),
    click.option("--active/--no-active", default=None, help="Whether codes are attached from it."),
    click.option("--issue-from", type=Moment(), help="Attaching starts here; 'none' removes it."),
    click.option("--issue-until", type=Moment(), help="Attaching ends here; 'none' removes it."),
    click.option("--code-limit", type=Limit(), help="Most codes it may hold."),
    click.option("--profile-limit", type=Limit(), help="Most codes of it one profile may hold."),
    click.option("--attach-limit", type=Limit(), help="Most profiles of one universal code."),
    click.option(
        "--activation-limit",
        type=Limit(),
        help="Uses of one code: 1 if personal, unlimited if universal unless set.",
    ),
    click.option(
        "--creates-on-attach/--no-creates-on-attach",
        default=None,
        help="Whether attaching an unknown code makes it (it does unless set).",
    ),
    click.option("--template", help="Pattern of generated codes."),
    click.option("--lifetime-s", type=Limit(), help="Seconds from attach to expiry."),
    click.option("--default-expire-date", type=Moment(), help="Expiry of codes without one."),
    click.option("--low-stock", type=Limit(), help="Say so when fewer codes are free."),
    click.option("--time-zone", type=Zone(), help="Zone of dates on pages."),
    click.option("--fields", multiple=True, help="An additional data field; more than one."),
]
_FIXED_OPTIONS = [
    click.option(
        "--multiple-usage/--no-multiple-usage",
        default=None,
        help="Universal: a code may be attached to many profiles.",
    ),
    click.option(
        "--code-matching",
        type=click.Choice([matching.value for matching in CodeMatching]),
        help="How codes are compared (forgiving unless set).",
    ),
    click.option("--buckets", type=Whole(1), help="Shards of a program of hundreds of millions."),
]


def _with(options: list[Any]) -> Callable[[Any], Any]:
    def decorate(function: Any) -> Any:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def _given(settings: dict[str, Any]) -> dict[str, Any]:
    given = {name: value for name, value in settings.items() if value not in (None, ())}
    return {name: None if value is REMOVED else value for name, value in given.items()}


def shown(program: LoyaltyProgram) -> dict[str, Any]:
    """Return a program as commands show it: moments as text, limits as a sentence too."""
    values = {"loyalty_id": program.id, **asdict(program), "limits": limits_sentence(program)}
    del values["id"], values["first_version"]
    values["created"] = values.pop("created_at")
    for name in ("issue_from", "issue_until", "default_expire_date", "created"):
        values[name] = write_moment(values[name]) or None
    return values


@click.group()
def program() -> None:
    """Create and change loyalty programs."""


@program.command("create")
@click.option("--name", required=True, help="Its name.")
@click.option("--id", "number", type=NEW_ID, default=0, help="Its loyalty_id, or the next free.")
@_with(_FIXED_OPTIONS + _OPTIONS)
@command_options
def program_create(target: Target, name: str, number: int, **settings: Any) -> None:
    """Create a program."""

    async def work(store: Store, administration: Administration) -> LoyaltyProgram:
        wanted = LoyaltyProgram(id=number, name=name, **_given(settings))
        return await administration.create_program(wanted)

    made = run(target, work)
    answer(target, {"loyalty_id": made.id}, f"Created program {made.id}: {made.name}")


@program.command("list")
@click.option("--active/--no-active", default=None, help="Only those that are on, or off.")
@click.option("--archived", is_flag=True, help="Only archived ones; they are hidden else.")
@click.option("--kind", type=click.Choice([PERSONAL, UNIVERSAL]), help="Only of this kind.")
@click.option("--name", default="", help="Only those with this in their name.")
@click.option("--access-group", help="Only those of this group.")
@command_options
def program_list(target: Target, **wanted: Any) -> None:
    """List the programs."""

    async def work(store: Store, administration: Administration) -> list[dict[str, Any]]:
        return [
            {
                "loyalty_id": program.id,
                "name": program.name,
                "kind": kind_of(program),
                "active": program.active,
                "issue_from": write_moment(program.issue_from),
                "issue_until": write_moment(program.issue_until),
            }
            for program in ProgramFilter(**wanted).chosen(await store.programs())
        ]

    table(target, "programs", run(target, work))


@program.command("show")
@click.argument("loyalty_id", type=ID)
@command_options
def program_show(target: Target, loyalty_id: int) -> None:
    """Show a program's settings, and its limits as a sentence."""

    async def work(store: Store, administration: Administration) -> LoyaltyProgram:
        found = await store.program(loyalty_id)
        if found is None:
            raise ProgramNotFound(str(loyalty_id))
        return found

    values = shown(run(target, work))
    answer(target, values, listing(values))


@program.command("update")
@click.argument("loyalty_id", type=ID)
@click.option("--name", help="Its name.")
@_with(_OPTIONS)
@command_options
def program_update(target: Target, loyalty_id: int, **settings: Any) -> None:
    """Change the named settings, and no others."""
    if not _given(settings):
        raise click.UsageError("Name a setting to change.")
    _change(target, loyalty_id, _given(settings), "Updated")


@program.command("activate")
@click.argument("loyalty_id", type=ID)
@command_options
def program_activate(target: Target, loyalty_id: int) -> None:
    """Let codes be attached from a program."""
    _change(target, loyalty_id, {"active": True}, "Activated")


@program.command("deactivate")
@click.argument("loyalty_id", type=ID)
@command_options
def program_deactivate(target: Target, loyalty_id: int) -> None:
    """Attach no more codes from a program. Those attached already stay good."""
    _change(target, loyalty_id, {"active": False}, "Deactivated")


@program.command("archive")
@click.argument("loyalty_id", type=ID)
@command_options
def program_archive(target: Target, loyalty_id: int) -> None:
    """Switch a program off and hide it from lists. Its codes and their history stay."""

    async def work(store: Store, administration: Administration) -> LoyaltyProgram:
        return await administration.archive_program(loyalty_id)

    _say(target, run(target, work), "Archived")


@program.command("unarchive")
@click.argument("loyalty_id", type=ID)
@command_options
def program_unarchive(target: Target, loyalty_id: int) -> None:
    """Show an archived program in lists again. It stays off until it is activated."""

    async def work(store: Store, administration: Administration) -> LoyaltyProgram:
        return await administration.unarchive_program(loyalty_id)

    _say(target, run(target, work), "Unarchived")


def _change(target: Target, loyalty_id: int, settings: dict[str, Any], done: str) -> None:
    async def work(store: Store, administration: Administration) -> LoyaltyProgram:
        return await administration.update_program(loyalty_id, settings)

    _say(target, run(target, work), done)


def _say(target: Target, changed: LoyaltyProgram, done: str) -> None:
    answer(target, shown(changed), f"{done} program {changed.id}: {changed.name}")


@program.command("clone")
@click.argument("loyalty_id", type=ID)
@click.option("--name", help="Its name; the old one with (copy) if none.")
@click.option("--id", "number", type=NEW_ID, default=0, help="Its loyalty_id, or the next free.")
@_with(_FIXED_OPTIONS + _OPTIONS)
@command_options
def program_clone(target: Target, loyalty_id: int, number: int, **settings: Any) -> None:
    """Create a program with the settings of another and none of its codes."""

    async def work(store: Store, administration: Administration) -> LoyaltyProgram:
        return await administration.clone_program(loyalty_id, {"id": number, **_given(settings)})

    made = run(target, work)
    answer(target, {"loyalty_id": made.id}, f"Created program {made.id}: {made.name}")
