"""`promint doctor --ledger`: what it prints, and how it ends."""

import asyncio
from contextlib import closing

import apsw
import asyncpg

from tests.commands.running_commands import Promint

SPOILT = """
UPDATE promo_code SET activation_count = 2, attach_count = 1, attached_at = 1, profile_id = 'x'"""


def spoil(url: str) -> None:
    """Change a code past the service."""
    if url.startswith("sqlite:///"):
        with closing(apsw.Connection(url.removeprefix("sqlite:///"))) as connection:
            connection.execute(SPOILT)
        return

    async def work() -> None:
        connection = await asyncpg.connect(url)
        await connection.execute(SPOILT)
        await connection.close()

    asyncio.run(work())


def test_a_right_store_ends_with_ok(promint: Promint) -> None:
    promint("program", "create", "--name", "Spring")
    promint.import_codes(1, "A\nB\n")

    said = promint("doctor", "--ledger")

    assert said.out.startswith("ledger ok programs=1 codes=2 ")
    assert said.out.endswith(" differences=0\n")
    assert said.out.count("\n") == 1
    assert promint.json("doctor", "--ledger")["ok"] is True


def test_what_differs_is_named_and_the_command_ends_with_1(promint: Promint) -> None:
    promint("program", "create", "--name", "Spring")
    promint.import_codes(1, "A\n")
    spoil(promint.url)

    said = promint.run("doctor", "--ledger")
    as_json = promint.run("doctor", "--ledger", "--json")

    assert (said.code, as_json.code) == (1, 1)
    *lines, last = said.out.splitlines()
    assert all(line.startswith("promo_code 1/a: ") for line in lines)
    assert lines
    assert last.startswith("ledger DIFFERS programs=1 ")
    assert as_json.json["differences"] == len(as_json.json["findings"]) == len(lines)


def test_a_store_that_cannot_be_read_ends_with_2() -> None:
    said = Promint("sqlite:////nowhere/at/all.db").run("doctor", "--ledger")

    assert said.code == 2
    assert said.out == ""
    assert "does not exist" in said.err
