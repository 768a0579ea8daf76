"""`promint backup` and `restore`."""

import asyncio
from pathlib import Path

import click

from promint import ledger
from promint.bootstrap import make_store
from promint.cli.output import EXIT_FAILED, Target, answer, command_options, fail, settings_of

FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("file", type=FILE)
@click.option("--replace", is_flag=True, help="Take the place of a file that is there.")
@command_options
def backup(target: Target, file: Path, *, replace: bool) -> None:
    """Copy the store into FILE while the service runs, as of this moment.

    The file has its name only once it is whole, checked and on the disk.
    """
    asyncio.run(make_store(settings_of(target)).back_up(file, replace=replace))
    size = file.stat().st_size
    answer(target, {"file": str(file), "bytes": size}, f"The store is in {file}.")


@click.command()
@click.argument("file", type=FILE)
@click.option("--verify", is_flag=True, help="Check afterwards that everything is right.")
@click.option(
    "--replace", is_flag=True, help="SQLite: put the database that is there aside, and keep it."
)
@command_options
def restore(target: Target, file: Path, *, verify: bool, replace: bool) -> None:
    """Make a new store of a backup.

    It is whole afterwards, or not there. Run `promint migrate` if the backup is of an older
    version.
    """
    settings = settings_of(target)
    store = make_store(settings)

    async def work() -> list[str]:
        await store.restore(file, replace=replace)
        return await store.damage() if verify else []

    wrong = asyncio.run(work())
    if verify and not wrong:
        wrong = [str(finding) for finding in ledger.check(settings.database_url).findings]
    if wrong:
        fail("\n".join(["The store was restored, and is not right:", *wrong]), EXIT_FAILED)
    checked = " and checked" if verify else ""
    answer(target, {"file": str(file), "verified": verify}, f"{file} is restored{checked}.")
