"""Makes what a bench works on, in bulk and straight in the store, and takes it away again.

A program, a database and a token are made as an operator makes them. Codes and profiles come
by the hundred thousand and are of no interest in themselves, so statements make them from
numbers, whole in the database; that is the one reason for SQL outside the store.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from string import Template
from typing import Any

import apsw
import asyncpg

from promint.bench import numbering
from promint.bootstrap import is_sqlite, make_store, new_ids, os_random, sqlite_path, utc_now
from promint.config import read_settings
from promint.domain.model import Batch, Database, LoyaltyProgram, Scope
from promint.service.administration import Administration
from promint.store import sql

PROFILES = 10_000
CHUNK = 2_000_000
DAY_US = 86_400_000_000
NAME = "promint bench"

_PARTS = {
    "sqlite": {
        "key": "printf('%09x', i * $step % $modulus)",
        "holder": "printf('%024x', i % $profiles + 1)",
        "numbers": """(WITH RECURSIVE n(i) AS (VALUES($first) UNION ALL SELECT i + 1 FROM n
            WHERE i < $last) SELECT i FROM n) n""",
    },
    "postgres": {
        "key": "lpad(to_hex(i * $step % $modulus), 9, '0')",
        "holder": "lpad(to_hex(i % $profiles + 1), 24, '0')",
        "numbers": "generate_series($first::bigint, $last::bigint) n(i)",
    },
}

_FREE_CODES = """
INSERT INTO promo_code ($code_columns)
SELECT $shard, k, upper(k), i, $now, NULL, 0, NULL, NULL, 0, 0, NULL, NULL, NULL, 1, NULL
FROM (SELECT i, $key AS k FROM $numbers) c ORDER BY k"""

_HELD_CODES = """
INSERT INTO promo_code ($code_columns)
SELECT $shard, k, upper(k), i, $now, NULL, 0, $now, NULL, 1, 0, $database, h, NULL, 2, NULL
FROM (SELECT i, $key AS k, $holder AS h FROM $numbers) c ORDER BY k"""

_ATTACHMENTS = """
INSERT INTO attachment (shard_key, code_key, database_id, profile_id, attached_at, personal)
SELECT $shard, k, $database, h, $now, 1
FROM (SELECT $key AS k, $holder AS h FROM $numbers) c ORDER BY k"""

# Four codes in turn are free, attached, activated and expired; half of the free ones expire some
# day. All codes of a batch have one date of creation, as those of an import do.
_MIXED_CODES = """
INSERT INTO promo_code ($code_columns)
SELECT $shard, k, upper(k), i, $created,
    CASE WHEN i % 8 = 4 THEN $now + i % 1000 * $day + $day WHEN i % 4 = 3 THEN $now - $day END,
    0, CASE WHEN i % 4 IN (1, 2) THEN $created + i END, CASE WHEN i % 4 = 2 THEN $now END,
    CASE WHEN i % 4 IN (1, 2) THEN 1 ELSE 0 END, CASE WHEN i % 4 = 2 THEN 1 ELSE 0 END,
    CASE WHEN i % 4 IN (1, 2) THEN $database END, CASE WHEN i % 4 IN (1, 2) THEN h END,
    $batch, 1, NULL
FROM (SELECT i, $key AS k, $holder AS h FROM $numbers) c ORDER BY k"""

_PROFILES = """
INSERT INTO profile ($profile_columns)
SELECT $database, h, '{}', $now, $now, 1 FROM (SELECT $holder AS h FROM $numbers) c"""

_COUNT_CODES = """
UPDATE tally SET count = count + $count, next_seq = next_seq + $count
WHERE shard_key = $shard AND kind = 'codes' AND subject = ''"""

_CODES_OF = """
SELECT count(*) FROM promo_code WHERE shard_key = $shard"""

_CODES_AWAY = "DELETE FROM $table WHERE shard_key IN ($shards)"
_AWAY = (
    "DELETE FROM idempotency WHERE token_id = $token_id",
    "DELETE FROM profile WHERE database_id = $database",
    "DELETE FROM profile_database WHERE id = $database",
    "DELETE FROM batch WHERE loyalty_id IN ($programs)",
    "DELETE FROM loyalty_program WHERE id IN ($programs)",
)


@dataclass(slots=True)
class Prepared:
    """What was made: codes 1 to `codes[name]` in each program, profiles 1 to `PROFILES`."""

    url: str
    token: str = ""
    token_name: str = ""
    token_id: int = 0
    database_id: int = 0
    programs: dict[str, int] = field(default_factory=dict)
    codes: dict[str, int] = field(default_factory=dict)

    def shard(self, name: str) -> int:
        """Return the one shard key of a program."""
        return LoyaltyProgram(self.programs[name], name).first_shard


def execute(url: str, statements: Sequence[str], note: Callable[[], None]) -> None:
    """Run statements in order, each its own transaction."""
    if is_sqlite(url):
        connection = apsw.Connection(sqlite_path(url))
        try:
            connection.set_busy_timeout(5_000)
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA cache_size = -262144")
            for statement in statements:
                connection.execute(statement)
                note()
        finally:
            connection.close()
        return

    async def work() -> None:
        connection = await asyncpg.connect(url, command_timeout=None)
        try:
            await connection.execute("SET jit = off")
            for statement in statements:
                await connection.execute(statement)
                note()
        finally:
            await connection.close()

    asyncio.run(work())


def _execute_noted(
    url: str, statements: Sequence[str], note: Callable[[str], None], what: str
) -> None:
    done = 0

    def progress() -> None:
        nonlocal done
        done += 1
        note(f"{what}: {done * 100 // len(statements)} %")

    execute(url, statements, progress)


def query(url: str, statement: str) -> list[Any]:
    """Return the rows of a statement."""
    if is_sqlite(url):
        connection = apsw.Connection(sqlite_path(url), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            return list(connection.execute(statement))
        finally:
            connection.close()

    async def ask() -> list[Any]:
        connection = await asyncpg.connect(url, command_timeout=None)
        try:
            return list(await connection.fetch(statement))
        finally:
            await connection.close()

    return asyncio.run(ask())


def _filled(url: str, statement: str, **values: int | str) -> str:
    """Put a statement together; every value is a number of ours, or a list of such."""
    parts = {
        **_PARTS["sqlite" if is_sqlite(url) else "postgres"],
        "code_columns": sql.CODE_COLUMNS,
        "profile_columns": sql.PROFILE_COLUMNS,
    }
    known = {"step": numbering.STEP, "modulus": numbering.MODULUS, "profiles": PROFILES}
    whole = Template(statement).safe_substitute(parts)
    return Template(whole).substitute({**known, **values})


def prepare(url: str) -> Prepared:
    """Make a database with its profiles, and a token; codes come with `add_program`."""
    prepared = Prepared(url)

    async def work() -> None:
        store = make_store(read_settings(database_url=url))
        try:
            await store.open()
            administration = Administration(
                store, ids=new_ids(), now=utc_now, random_bytes=os_random
            )
            database = await administration.create_database(Database(0, NAME))
            prepared.database_id = database.id
            prepared.token_name = f"{NAME} {database.id}"
            prepared.token, token = await administration.create_token(
                prepared.token_name, frozenset(Scope)
            )
            prepared.token_id = token.id
        finally:
            await store.close()

    asyncio.run(work())
    values = {"database": prepared.database_id, "now": utc_now(), "first": 1, "last": PROFILES}
    execute(url, [_filled(url, _PROFILES, **values)], lambda: None)
    return prepared


def new_program(prepared: Prepared, name: str) -> int:
    """Make a program without codes, and return its id."""
    url = prepared.url

    async def create() -> int:
        store = make_store(read_settings(database_url=url))
        try:
            await store.open()
            administration = Administration(
                store, ids=new_ids(), now=utc_now, random_bytes=os_random
            )
            made = await administration.create_program(LoyaltyProgram(0, f"{NAME}: {name}"))
            return made.id
        finally:
            await store.close()

    prepared.programs[name] = asyncio.run(create())
    prepared.codes[name] = 0
    return prepared.programs[name]


def add_program(
    prepared: Prepared, name: str, count: int, note: Callable[[str], None], *, held: bool
) -> None:
    """Make a program with `count` codes, free ones or each attached to a profile."""
    url = prepared.url
    new_program(prepared, name)
    statements = []
    for first in range(1, count + 1, CHUNK):
        values = {
            "shard": prepared.shard(name),
            "database": prepared.database_id,
            "now": utc_now(),
            "first": first,
            "last": min(first + CHUNK - 1, count),
        }
        kinds = (_HELD_CODES, _ATTACHMENTS) if held else (_FREE_CODES,)
        statements += [_filled(url, statement, **values) for statement in kinds]
    statements.append(_filled(url, _COUNT_CODES, shard=prepared.shard(name), count=count))
    _execute_noted(url, statements, note, f"preparing {count:,} codes to {name}")
    prepared.codes[name] = count


def add_mixed(
    prepared: Prepared, name: str, count: int, batches: Sequence[Batch], note: Callable[[str], None]
) -> None:
    """Make a program with codes of every state, of these batches, which the store has."""
    url = prepared.url
    statements = []
    for batch in batches:
        assert batch.first_seq is not None
        assert batch.last_seq is not None
        values = {
            "shard": prepared.shard(name),
            "database": prepared.database_id,
            "now": utc_now(),
            "day": DAY_US,
            "created": batch.created_at,
            "batch": batch.id,
            "first": batch.first_seq,
            "last": batch.last_seq,
        }
        statements.append(_filled(url, _MIXED_CODES, **values))
    statements.append(_filled(url, _COUNT_CODES, shard=prepared.shard(name), count=count))
    _execute_noted(url, statements, note, f"preparing {count:,} codes")
    prepared.codes[name] = count


def count_codes(prepared: Prepared, name: str) -> int:
    """Return how many codes a program of one shard has, counted one by one."""
    statement = _filled(prepared.url, _CODES_OF, shard=prepared.shard(name))
    return int(query(prepared.url, statement)[0][0])


def settle(prepared: Prepared) -> None:
    """Let the database look at what came in, as it would have by and by."""
    if is_sqlite(prepared.url):
        execute(prepared.url, ["PRAGMA wal_checkpoint(TRUNCATE)"], lambda: None)
    else:
        tables = ", ".join([*sql.CODE_TABLES, "profile"])
        execute(prepared.url, [f"VACUUM (ANALYZE) {tables}"], lambda: None)


def remove(prepared: Prepared) -> None:
    """Take everything away again, and revoke the token; its events stay, as all such do."""
    shards = ", ".join(str(prepared.shard(name)) for name in prepared.programs) or "0"
    programs = ", ".join(str(number) for number in prepared.programs.values()) or "0"
    values: dict[str, int | str] = {
        "programs": programs,
        "token_id": prepared.token_id,
        "database": prepared.database_id,
    }
    statements = [
        *(_filled(prepared.url, _CODES_AWAY, table=t, shards=shards) for t in sql.CODE_TABLES),
        *(_filled(prepared.url, text, **values) for text in _AWAY),
    ]
    execute(prepared.url, statements, lambda: None)

    async def revoke() -> None:
        store = make_store(read_settings(database_url=prepared.url))
        try:
            await store.open()
            administration = Administration(
                store, ids=new_ids(), now=utc_now, random_bytes=os_random
            )
            await administration.revoke_token(prepared.token_name)
        finally:
            await store.close()

    asyncio.run(revoke())
