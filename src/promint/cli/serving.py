"""`promint serve`, `demo`, `migrate`, `settings`."""

import asyncio
import errno
import json
import os
import signal
import socket
import sys
import tempfile
from dataclasses import MISSING
from pathlib import Path
from typing import Any

import click

from promint.bootstrap import (
    check_up,
    is_sqlite,
    make_service,
    make_store,
    new_ids,
    os_random,
    utc_now,
)
from promint.cli.output import (
    EXIT_UNUSABLE,
    Target,
    Whole,
    answer,
    command_options,
    console,
    fail,
    open_store,
    operator_call,
    settings_of,
    storeless_options,
    table,
)
from promint.config import PREFIX, Settings, settings_fields
from promint.domain.model import Database, LoyaltyProgram, Scope
from promint.service.administration import Administration
from promint.web import server

PORT = Whole(0, 65535)
APPLICATION = "promint.bootstrap:app_of_environment"


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8000, type=PORT, show_default=True, help="Port to listen on.")
@click.option(
    "--workers",
    default=1,
    type=Whole(1, 256),
    show_default=True,
    help="Processes (PostgreSQL only).",
)
@command_options
def serve(target: Target, host: str, port: int, workers: int) -> None:
    """Serve the API."""
    settings = settings_of(target)
    if workers > 1 and is_sqlite(settings.database_url):
        fail(
            "An SQLite file has one service with one worker. "
            "Leave --workers out, or use PostgreSQL.",
            EXIT_UNUSABLE,
        )
    listener = _listen(host, port)
    _check_store(settings)
    address = _address(host, listener)
    if target.as_json:
        answer(target, {"url": address, "workers": workers}, "")
    else:
        console.print(f"Promint listens on {address}  (Ctrl-C stops it)", markup=False)
    _serve(settings, listener, workers)


def _listen(host: str, port: int) -> socket.socket:
    if not host.strip():
        # To the system an empty name means every address; nobody should get that by accident.
        fail("--host is empty. Write 127.0.0.1, or 0.0.0.0 for every address.", EXIT_UNUSABLE)
    try:
        return server.bind(host, port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            fail(
                f"Port {port} is in use on {host}. Stop what listens there, or choose another "
                "with --port.",
                EXIT_UNUSABLE,
            )
        fail(f"{host}:{port} cannot be listened on ({error.strerror}).", EXIT_UNUSABLE)


def _address(host: str, listener: socket.socket) -> str:
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{listener.getsockname()[1]}"


def _check_store(settings: Settings) -> None:
    """Refuse what would break a promise, and open the store once, so that it is said here."""
    refused = [finding.text for finding in asyncio.run(check_up(settings)) if finding.is_refused]
    if refused:
        fail("\n".join(refused), EXIT_UNUSABLE)

    async def check() -> None:
        store = make_store(settings, is_service=True)
        try:
            await store.open()
        finally:
            await store.close()

    asyncio.run(check())


def _serve(settings: Settings, listener: socket.socket, workers: int) -> None:
    # Each worker reads its settings from the environment, as it would on its own.
    os.environ[f"{PREFIX}DATABASE_URL"] = settings.database_url
    # The server drains, and raises the signal again when it is done: then leave in order.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(0))
    failure = server.run(APPLICATION, settings, listener, workers=workers)
    if failure:
        fail(failure)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8000, type=PORT, show_default=True, help="Port to listen on.")
@storeless_options
def demo(target: Target, host: str, port: int) -> None:
    """Serve a throw-away database with a sample program: the quickest way to try the API."""
    if target.database:
        raise click.UsageError("the demo makes a store of its own; use: promint serve")
    listener = _listen(host, port)
    with tempfile.TemporaryDirectory(prefix="promint-demo-") as folder:
        settings = settings_of(Target(f"sqlite:///{Path(folder) / 'demo.db'}"))
        _check_store(settings)
        sample = asyncio.run(_sample(settings))
        sample["url"] = _address(host, listener)
        if target.as_json:
            answer(target, sample, "")
        else:
            console.print(_welcome(sample), markup=False)
        _serve(settings, listener, 1)


SAMPLE_CODES = [f"SPRING-{number:03}" for number in range(1, 101)]


async def _sample(settings: Settings) -> dict[str, Any]:
    async with open_store(settings) as store:
        ids = new_ids()
        administration = Administration(store, ids=ids, now=utc_now, random_bytes=os_random)
        program = await administration.create_program(
            LoyaltyProgram(id=0, name="Spring sale", short_name="spring")
        )
        database = await administration.create_database(
            Database(id=0, name="Customers", creates_profiles=True)
        )
        secret, _ = await administration.create_token("demo", frozenset(Scope))
        service, _ = make_service(store, settings, ids)
        await service.import_codes(operator_call(), program.id, SAMPLE_CODES, source="demo")
        return {
            "loyalty_id": program.id,
            "db_id": database.id,
            "token": secret,
            "database": settings.database_url,
        }


def _welcome(sample: dict[str, Any]) -> str:
    url, token = sample["url"], sample["token"]
    loyalty_id, db_id = sample["loyalty_id"], sample["db_id"]
    body = (
        f'{{"loyalty_id": {loyalty_id}, "db_id": {db_id}, "email": "ann@example.com", '
        '"return_code": true}'
    )
    codes = f"{SAMPLE_CODES[0]} to {SAMPLE_CODES[-1]}"
    return f"""Promint demo on {url}   (Ctrl-C stops it and removes its data)

  program   {loyalty_id}  Spring sale, {len(SAMPLE_CODES)} codes, {codes}
  database  {db_id}  Customers; unknown profiles are created on attach
  token     {token}

Give a customer a code (paste this into another terminal):

curl -s {url}/api/v1.1/promocodes/attach -H 'Authorization: Bearer {token}' \\
  -d '{body}'
"""


@click.command()
@command_options
def migrate(target: Target) -> None:
    """Bring the store's schema up to date."""
    settings = settings_of(target)

    async def work() -> int:
        store = make_store(settings)
        return await store.migrate()

    version = asyncio.run(work())
    answer(target, {"schema": version}, f"The schema is at version {version}.")


@click.command()
@storeless_options
def settings(target: Target) -> None:
    """List every setting with its default, unit and meaning."""
    rows = [
        {
            "setting": PREFIX + setting.name.upper(),
            "default": "" if setting.default is MISSING else setting.default,
            "unit": setting.metadata["unit"],
            "meaning": setting.metadata["meaning"],
        }
        for setting in settings_fields()
    ]
    table(target, "settings", rows)


@click.command()
@storeless_options
def openapi(target: Target) -> None:
    """Print the OpenAPI document of the management API."""
    from promint.web.manage.openapi import document

    click.echo(json.dumps(document(), ensure_ascii=False, indent=None if target.as_json else 2))
