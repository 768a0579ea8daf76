"""The commands on an empty store of each kind."""

import asyncio

import asyncpg
import pytest

from tests.commands.running_commands import Promint
from tests.conftest import STORES, Stores

EMPTIED = """
DO $$
BEGIN
    EXECUTE (
        SELECT 'TRUNCATE ' || string_agg(quote_ident(tablename), ', ') || ' RESTART IDENTITY'
        FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'promint_schema'
    );
END $$
"""


@pytest.fixture(scope="session")
def postgres_url(stores: Stores) -> str:
    """One database for all commands: emptying it is quicker than making another."""
    return stores.new("postgres")


@pytest.fixture(params=STORES)
def promint(request: pytest.FixtureRequest, stores: Stores) -> Promint:
    """The commands on an empty, migrated store of each kind."""
    if request.param == "sqlite":
        return Promint(stores.new("sqlite"))
    url = str(request.getfixturevalue("postgres_url"))
    asyncio.run(emptied(url))
    return Promint(url)


async def emptied(url: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(EMPTIED)
    await connection.close()
