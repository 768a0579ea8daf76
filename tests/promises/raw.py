"""The database itself, asked without the service."""

import asyncio
from contextlib import closing
from typing import Any

import apsw
import asyncpg

from tests.races.ledger import SQLITE


class Raw:
    """The database itself, asked without the service."""

    def __init__(self, url: str, *, constrained: bool = True) -> None:
        self._url = url
        self._constrained = constrained

    def try_to(self, statement: str) -> bool:
        """Run a statement by itself; say whether the database took it."""
        try:
            self.ask(statement)
        except (apsw.Error, asyncpg.PostgresError):
            return False
        return True

    def ask(self, statement: str) -> list[Any]:
        if self._url.startswith(SQLITE):
            with closing(apsw.Connection(self._url.removeprefix(SQLITE))) as connection:
                if not self._constrained:
                    connection.execute("PRAGMA ignore_check_constraints = ON")
                return connection.execute(statement).fetchall()
        return asyncio.run(self._ask_postgres(statement))

    def counts(self) -> dict[str, int]:
        """Return how many rows each table has."""
        known = (
            "SELECT name FROM sqlite_master WHERE type = 'table'"
            if self._url.startswith(SQLITE)
            else "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        )
        return {name: self.ask(f"SELECT count(*) FROM {name}")[0][0] for (name,) in self.ask(known)}

    async def _ask_postgres(self, statement: str) -> list[Any]:
        connection = await asyncpg.connect(self._url)
        try:
            return [tuple(row) for row in await connection.fetch(statement)]
        finally:
            await connection.close()
