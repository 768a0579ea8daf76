"""A plan that PostgreSQL made while a table was empty is not kept when the table has grown."""

import asyncio
from math import inf

import asyncpg

from promint.store import sql
from promint.store.postgres.sessions import SESSION, HeldConnection
from tests.conftest import Stores

KEYS = 20_000
LOOK_UP = f"PREPARE look_up AS SELECT {sql.POSTGRES_READ_IDEMPOTENCY}"
FILL = f"""
INSERT INTO idempotency (shard_key, token_id, key, digest, status, reason, content_type, body,
    keep_until)
SELECT n % 4096, 1, n::text, '', 200, '', '', '', 1 FROM generate_series(1, {KEYS}) n"""


async def reads_all(url: str, plans_kept_s: float) -> tuple[bool, bool]:
    """Say whether the look-up of keys reads all of them, in an empty table and in a full one."""

    async def connect() -> asyncpg.Connection:
        return await asyncpg.connect(url, server_settings=SESSION)

    held = HeldConnection(connect, plans_kept_s=plans_kept_s)
    try:
        connection = await held.get()
        await connection.execute("VACUUM ANALYZE idempotency")
        await connection.execute(LOOK_UP)
        empty = await plan(connection)
        await connection.execute(FILL)
        full = await plan(await held.get())
    finally:
        await held.close()
    return "Index Cond" not in empty, "Index Cond" not in full


async def plan(connection: asyncpg.Connection) -> str:
    await connection.execute("EXECUTE look_up(NULL, NULL, NULL, NULL)")
    rows = await connection.fetch("EXPLAIN EXECUTE look_up(NULL, NULL, NULL, NULL)")
    return "\n".join(row[0] for row in rows)


def test_keys_are_looked_up_one_by_one_as_soon_as_there_are_many(stores: Stores) -> None:
    was_small, is_kept = asyncio.run(reads_all(stores.new("postgres"), plans_kept_s=0))

    assert was_small
    assert not is_kept


def test_a_session_that_keeps_its_plans_would_read_all_of_them(stores: Stores) -> None:
    assert asyncio.run(reads_all(stores.new("postgres"), plans_kept_s=inf)) == (True, True)
