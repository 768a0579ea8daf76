"""`promint profile`: customers found, made, changed, deleted."""

import json
from typing import Any

import click

from promint.bootstrap import make_service, new_ids
from promint.cli.filters import Options, profile_of, profile_options
from promint.cli.output import (
    ID,
    Target,
    answer,
    command_options,
    listing,
    operator_call,
    run,
    settings_of,
)
from promint.cli.searching import profile_wallet
from promint.domain import identities
from promint.domain.model import Profile, ProfileKey
from promint.service import Service
from promint.service.administration import Administration
from promint.store import Store
from promint.wire.moments import write_moment

DATABASE = click.option("--db", "database_id", type=ID, required=True, help="Its database (db_id).")


class Data(click.ParamType[dict[str, Any]]):
    """The fields of a profile as one JSON object."""

    name = "JSON"

    def convert(self, value: Any, param: Any, context: Any) -> Any:
        """Read it."""
        if isinstance(value, dict):
            return value
        try:
            data = json.loads(value)
        except ValueError as error:
            self.fail(f"no JSON ({error})", param, context)
        if not isinstance(data, dict):
            self.fail("no JSON object", param, context)
        return data


@click.group()
def profile() -> None:
    """Find and change profiles."""


@profile.command("create")
@profile_options
@click.option("--data", type=Data(), default="{}", help="Its fields, one JSON object.")
@command_options
def profile_create(target: Target, data: dict[str, Any], **options: Any) -> None:
    """Create a profile; change the one that is named so if it is there already."""
    key = _named(options)
    identities.identities_of(key.database_id, data)
    saved = _save(target, key, data, creates=True)
    answer(target, saved, f"Saved profile {saved['profile_id']}")


@profile.command("find")
@profile_options
@command_options
def profile_find(target: Target, **options: Any) -> None:
    """Show the profile with this e-mail, phone, custom field, or id."""
    _show(target, _named(options))


@profile.command("show")
@click.argument("profile_id")
@DATABASE
@command_options
def profile_show(target: Target, profile_id: str, database_id: int) -> None:
    """Show a profile."""
    _show(target, _by_id(database_id, profile_id))


@profile.command("update")
@click.argument("profile_id")
@DATABASE
@click.option("--data", type=Data(), required=True, help="Fields to change; null removes one.")
@command_options
def profile_update(target: Target, profile_id: str, database_id: int, data: dict[str, Any]) -> None:
    """Change the named fields, and no others."""
    identities.identities_of(database_id, data)
    saved = _save(target, _by_id(database_id, profile_id), data, creates=False)
    answer(target, saved, f"Updated profile {saved['profile_id']}")


@profile.command("delete")
@click.argument("profile_id")
@DATABASE
@command_options
def profile_delete(target: Target, profile_id: str, database_id: int) -> None:
    """Delete a profile. Its codes that are not activated are free again."""
    key = _by_id(database_id, profile_id)

    async def work(store: Store, administration: Administration) -> str:
        return str(await _service(target, store).profiles.delete(operator_call(), key))

    deleted = run(target, work)
    values = {"db_id": database_id, "profile_id": deleted}
    answer(target, values, f"Deleted profile {deleted}")


def _named(options: Options) -> ProfileKey:
    key = profile_of(options)
    if key is None:
        raise click.UsageError("Name the profile by --db and one of the others.")
    return key


def _by_id(database_id: int, profile_id: str) -> ProfileKey:
    return ProfileKey(database_id, profile_id=profile_id.strip().lower())


def _service(target: Target, store: Store) -> Service:
    return make_service(store, settings_of(target), new_ids())[0]


def _save(
    target: Target, key: ProfileKey, data: dict[str, Any], *, creates: bool
) -> dict[str, Any]:
    async def work(store: Store, administration: Administration) -> str:
        profiles = _service(target, store).profiles
        return str(await profiles.save(operator_call(), key, data, creates=creates))

    return {"db_id": key.database_id, "profile_id": run(target, work)}


def _show(target: Target, key: ProfileKey) -> None:
    async def work(store: Store, administration: Administration) -> Profile:
        return await _service(target, store).profiles.get(operator_call(), key)

    found = run(target, work)
    values = {
        "db_id": found.database_id,
        "profile_id": found.id,
        "data": found.data,
        "created": write_moment(found.created_at),
        "updated": write_moment(found.updated_at),
    }
    fields = {f"  {name}": value for name, value in found.data.items()}
    people = {**values, "data": ""}
    answer(target, values, listing({**people, **fields}))


profile.add_command(profile_wallet)
