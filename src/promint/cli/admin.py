"""`promint token` and `promint database`."""

from typing import Any

import click

from promint.bootstrap import utc_now, wrong_code_limits
from promint.cli.output import (
    ID,
    NEW_ID,
    Target,
    Whole,
    answer,
    command_options,
    listing,
    run,
    settings_of,
    table,
)
from promint.domain.errors import DatabaseNotFound
from promint.domain.model import Database, Scope
from promint.service.administration import Administration
from promint.store import Store
from promint.wire.moments import write_moment


@click.group()
def token() -> None:
    """Create, list, rotate and revoke API tokens."""


@token.command("create")
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice([scope.value for scope in Scope]),
    help="What it may do; more than one, or none for everything.",
)
@click.option(
    "--program",
    "programs",
    multiple=True,
    type=ID,
    help="Only this program (id).",
)
@click.option(
    "--db",
    "databases",
    multiple=True,
    type=ID,
    help="Only this database (id).",
)
@command_options
def token_create(
    target: Target,
    name: str,
    scopes: tuple[str, ...],
    programs: tuple[int, ...],
    databases: tuple[int, ...],
) -> None:
    """Create a token. It is shown this once and kept as a hash only."""

    async def work(store: Store, administration: Administration) -> str:
        secret, _ = await administration.create_token(
            name,
            frozenset(Scope(scope) for scope in scopes) or frozenset(Scope),
            frozenset(programs) or None,
            frozenset(databases) or None,
        )
        return secret

    secret = run(target, work)
    answer(target, {"token": secret}, f"{secret}\n\nKeep it: it is not shown again.")


@token.command("list")
@command_options
def token_list(target: Target) -> None:
    """List the tokens, without their secrets."""

    async def work(store: Store, administration: Administration) -> list[dict[str, Any]]:
        return [
            {
                "id": token.id,
                "name": token.name,
                "scopes": " ".join(sorted(token.scopes)),
                "programs": sorted(token.programs) if token.programs is not None else "all",
                "databases": sorted(token.databases) if token.databases is not None else "all",
                "created": write_moment(token.created_at),
                "rotated": write_moment(token.rotated_at),
                "revoked": write_moment(token.revoked_at),
            }
            for token in await store.tokens()
        ]

    table(target, "tokens", run(target, work))


@token.command("rotate")
@click.argument("name")
@command_options
def token_rotate(target: Target, name: str) -> None:
    """Give a token a new secret, shown this once. The old one is dead within a second."""

    async def work(store: Store, administration: Administration) -> str:
        return await administration.rotate_token(await administration.living_token(name))

    secret = run(target, work)
    answer(target, {"token": secret}, f"{secret}\n\nKeep it: it is not shown again.")


@token.command("revoke")
@click.argument("name")
@command_options
def token_revoke(target: Target, name: str) -> None:
    """Revoke a token by its name. It is dead everywhere within a second."""

    async def work(store: Store, administration: Administration) -> list[int]:
        return await administration.revoke_token(name)

    revoked = run(target, work)
    if not revoked:
        raise click.ClickException(f"There is no living token named {name!r}.")
    answer(target, {"revoked": revoked}, f"Revoked: {name}")


@click.command("guesses")
@click.option("--limit", "most", type=Whole(1, 10_000), default=100, help="The most lines.")
@command_options
def guesses(target: Target, most: int) -> None:
    """Show where wrong codes come from, and where guessing was stopped.

    One line for each token, network and program that sent one, the latest first. What was silent
    for 30 days is forgotten; each stop stays as an event.
    """
    limits = wrong_code_limits(settings_of(target))

    async def work(store: Store, administration: Administration) -> list[dict[str, Any]]:
        now = utc_now()
        return [
            {
                "kind": wrong.counted.kind,
                "subject": wrong.counted.subject,
                "last_minute": wrong.count(now),
                "limit": limits.of(wrong.counted),
                "stops": wrong.stops,
                "stopped": write_moment(wrong.stopped_at),
                "latest": write_moment(wrong.updated_at),
            }
            for wrong in await store.wrong_codes(most)
        ]

    table(target, "guesses", run(target, work))


@click.group("database")
def database_group() -> None:
    """Create and change databases of profiles."""


GROUP_HELP = "ID:NAME of a group; 0:main if none."
CREATES_HELP = "Whether attach makes a profile that it does not find."


def _group(text: str) -> tuple[int, str]:
    number, _, name = text.partition(":")
    if not number.isdecimal() or not name:
        raise click.BadParameter("write ID:NAME, like 0:main", param_hint="--group")
    return int(number), name


@database_group.command("create")
@click.option("--name", required=True, help="Its name.")
@click.option(
    "--id",
    "number",
    type=NEW_ID,
    default=0,
    help="Its db_id, or the next free.",
)
@click.option("--description", default="", help="A line about it.")
@click.option("--ui-tag", "ui_tags", multiple=True, help="A tag; more than one.")
@click.option("--group", "groups", multiple=True, help=GROUP_HELP)
@click.option("--creates-profiles/--no-creates-profiles", default=False, help=CREATES_HELP)
@command_options
def database_create(
    target: Target,
    name: str,
    number: int,
    description: str,
    ui_tags: tuple[str, ...],
    groups: tuple[str, ...],
    *,
    creates_profiles: bool,
) -> None:
    """Create a database."""
    wanted = Database(
        id=number,
        name=name,
        description=description,
        ui_tags=ui_tags,
        groups=tuple(_group(group) for group in groups) or ((0, "main"),),
        creates_profiles=creates_profiles,
    )

    async def work(store: Store, administration: Administration) -> Database:
        return await administration.create_database(wanted)

    made = run(target, work)
    answer(target, {"db_id": made.id}, f"Created database {made.id}: {made.name}")


@database_group.command("list")
@command_options
def database_list(target: Target) -> None:
    """List the databases."""

    async def work(store: Store, administration: Administration) -> list[dict[str, Any]]:
        return [
            {
                "db_id": database.id,
                "name": database.name,
                "creates_profiles": database.creates_profiles,
                "ui_tags": " ".join(database.ui_tags),
                "created": write_moment(database.created_at),
            }
            for database in await store.databases()
        ]

    table(target, "databases", run(target, work))


@database_group.command("show")
@click.argument("db_id", type=ID)
@command_options
def database_show(target: Target, db_id: int) -> None:
    """Show a database's settings."""

    async def work(store: Store, administration: Administration) -> Database:
        found = await store.database(db_id)
        if found is None:
            raise DatabaseNotFound(str(db_id))
        return found

    values = _database_shown(run(target, work))
    answer(target, values, listing(values))


@database_group.command("update")
@click.argument("db_id", type=ID)
@click.option("--name", help="Its name.")
@click.option("--description", help="A line about it.")
@click.option("--ui-tag", "ui_tags", multiple=True, help="A tag; more than one.")
@click.option("--group", "groups", multiple=True, help=GROUP_HELP)
@click.option("--creates-profiles/--no-creates-profiles", default=None, help=CREATES_HELP)
@command_options
def database_update(target: Target, db_id: int, groups: tuple[str, ...], **settings: Any) -> None:
    """Change the named settings, and no others."""
    named = {name: value for name, value in settings.items() if value not in (None, ())}
    if groups:
        named["groups"] = tuple(_group(group) for group in groups)

    async def work(store: Store, administration: Administration) -> Database:
        return await administration.update_database(db_id, named)

    changed = run(target, work)
    answer(target, _database_shown(changed), f"Updated database {changed.id}: {changed.name}")


def _database_shown(database: Database) -> dict[str, Any]:
    return {
        "db_id": database.id,
        "name": database.name,
        "description": database.description,
        "ui_tags": list(database.ui_tags),
        "groups": [f"{number}:{name}" for number, name in database.groups],
        "creates_profiles": database.creates_profiles,
        "created": write_moment(database.created_at),
    }
