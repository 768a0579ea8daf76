"""What every command shares: which store, how it answers, how it fails."""

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import wraps
from shlex import quote
from typing import Any, NoReturn, TypeVar
from urllib.parse import urlsplit

import click
from rich.console import Console

from promint.bootstrap import make_store, new_ids, os_random, utc_now
from promint.config import BadSetting, Settings, read_settings
from promint.domain.errors import PromintError
from promint.domain.model import ID_MAX, Scope, Token
from promint.service import Call
from promint.service.administration import Administration
from promint.store import Store, StoreError, Unusable

Result = TypeVar("Result")


class Whole(click.IntRange):
    """A whole number in decimal digits. Python reads `1_000` and digits of other scripts too."""

    def convert(self, value: Any, param: Any, context: Any) -> Any:
        """Read it."""
        if isinstance(value, str) and not _WHOLE.fullmatch(value):
            self.fail(f"{value!r} is not a whole number", param, context)
        return super().convert(value, param, context)


_WHOLE = re.compile(r"-?[0-9]{1,20}", re.ASCII)
ID = Whole(1, ID_MAX)
NEW_ID = Whole(0, ID_MAX)
"""An id of 0 is the next free one."""

EXIT_FAILED = 1
EXIT_UNUSABLE = 2
EXIT_INTERRUPTED = 130
"""As a shell has it for what Ctrl-C ended: 128 and the number of the signal."""

console = Console(highlight=False, soft_wrap=True)


@dataclass
class Target:
    """What the options before and after the command say together."""

    database: str | None = None
    as_json: bool = False


COMMAND = Token(0, "command", frozenset(Scope))
"""The operator at the keyboard: every right, and no token of the store."""


def operator_call() -> Call:
    """Return a call by the operator, at this moment."""
    return Call(COMMAND, "command", utc_now())


def fail(sentence: str, code: int = EXIT_FAILED) -> NoReturn:
    """Say what is wrong and end."""
    click.echo(sentence, err=True)
    sys.exit(code)


def stopped(sentence: str) -> NoReturn:
    """Say how an interrupted command goes on, and end."""
    fail(sentence, EXIT_INTERRUPTED)


def same_store(target: Target) -> str:
    """Return the option that names the store, for a command that is shown; never a password."""
    if not target.database:
        return ""
    has_password = urlsplit(target.database).password is not None
    return " --database URL" if has_password else f" --database {quote(target.database)}"


def command_options(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command `--database` and `--json`, after the command as well as before it."""
    store = click.option(
        "--database", metavar="URL", help="The store: sqlite:///FILE or postgresql://…"
    )
    return store(storeless_options(function))


def storeless_options(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command that names no store `--json`."""

    @click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
    @click.pass_context
    @wraps(function)
    def wrapped(
        context: click.Context,
        /,
        *args: Any,
        as_json: bool,
        database: str | None = None,
        **options: Any,
    ) -> None:
        before = context.find_object(Target) or Target()
        target = Target(database or before.database, as_json or before.as_json)
        try:
            function(target, *args, **options)
        except Unusable as error:
            fail(str(error), EXIT_UNUSABLE)
        except BadSetting as error:
            fail(f"{error}.", EXIT_UNUSABLE)
        except PromintError as error:
            detail = (
                f" ({error.detail})" if error.detail and error.detail not in error.message else ""
            )
            fail(f"{error.message}{detail}.")
        except StoreError as error:
            fail(f"The store cannot do this now ({error}).")

    return wrapped


def settings_of(target: Target) -> Settings:
    """Return the settings of the environment and the command's options."""
    return read_settings(database_url=target.database)


@asynccontextmanager
async def open_store(settings: Settings) -> AsyncIterator[Store]:
    """Open the store that the settings name; an SQLite file is migrated by the way."""
    store = make_store(settings)
    try:
        await store.open()
        yield store
    finally:
        await store.close()


def run(target: Target, work: Callable[[Store, Administration], Awaitable[Result]]) -> Result:
    """Run one command's work on the open store."""
    settings = settings_of(target)

    async def opened() -> Result:
        async with open_store(settings) as store:
            administration = Administration(
                store, ids=new_ids(), now=utc_now, random_bytes=os_random
            )
            return await work(store, administration)

    return asyncio.run(opened())


def answer(target: Target, value: dict[str, Any], sentence: str) -> None:
    """Print one JSON object, or a sentence for people."""
    if target.as_json:
        click.echo(json.dumps(value, ensure_ascii=False))
    else:
        console.print(sentence, markup=False)


def table(target: Target, name: str, rows: list[dict[str, Any]]) -> None:
    """Print rows as one JSON object, or as a table that is never cut."""
    if target.as_json:
        click.echo(json.dumps({name: rows}, ensure_ascii=False))
        return
    if not rows:
        console.print(f"No {name} yet.", markup=False)
        return
    lines = [[text_of(value) for value in row.values()] for row in rows]
    widths = [max(map(len, column)) for column in zip(rows[0], *lines, strict=True)]
    for line in ([*rows[0]], *lines):
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo("  ".join(padded).rstrip())


def text_of(value: Any) -> str:
    """Return a value as people read it, spelled as the API spells it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple, set, frozenset)):
        return ", ".join(map(text_of, value))
    return str(value)


def listing(values: dict[str, Any]) -> str:
    """Return names and values, one a line."""
    width = max(map(len, values))
    return "\n".join(
        f"{name:<{width}}  {text_of(value)}".rstrip() for name, value in values.items()
    )
