"""Whatever is changed past the service, the ledger names it."""

import asyncio
import os
import shutil
from collections.abc import Callable
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import apsw
import asyncpg
import pytest

from promint.domain.model import Holder, ProfileKey, Scope
from promint.ledger import check
from promint.service.stock import Stock
from tests.conftest import Stores
from tests.ledger.histories import History
from tests.store.bulk import DEACTIVATE, DELETE, DETACH, expire, listed, means_of
from tests.world import DAY, HOUR, World

CODE, EVENT = "shard_key, code_key", "shard_key, event_id"
HELD = "attach_count = 1 AND activation_count = 1 AND version > 2"
UNTOUCHED = (
    "attach_count = 0 AND version = 1 AND batch_id IN (SELECT id FROM batch WHERE source = 'api')"
)
OF_CODE = "code_key IS NOT NULL AND kind = {}"


class Plant(NamedTuple):
    """What is done to the first row of a table that fits; the ledger has to name that row.

    Where it cannot, because the row is gone or has another key, it says `named`.
    """

    table: str
    change: str
    where: str = "1 = 1"
    named: str = ""


def changed(table: str, where: str, **columns: str) -> list[Plant]:
    return [
        Plant(table, f"UPDATE {table} SET {column} = {value}", where)
        for column, value in columns.items()
    ]


def gone(table: str, *wheres: str) -> list[Plant]:
    return [Plant(table, f"DELETE FROM {table}", where) for where in wheres]


CODES = [
    *changed(
        "promo_code",
        HELD,
        shard_key="shard_key + 1",
        code_key="code_key || 'x'",
        code="code || 'x'",
        seq="seq + 1000",
        created_at="created_at + 1",
        expires_at="coalesce(expires_at, 0) + 1",
        expiry_source="CASE expiry_source WHEN 2 THEN 3 ELSE 2 END",
        attached_at="attached_at + 1",
        activated_at="activated_at + 1",
        attach_count="attach_count + 1",
        activation_count="activation_count + 1",
        database_id="database_id + 1",
        profile_id="profile_id || '0'",
        batch_id="coalesce(batch_id, 0) + 1",
        version="version + 1",
    ),
    *changed(
        "promo_code",
        UNTOUCHED,
        seq="1",
        created_at="created_at - 1",
        expires_at="coalesce(expires_at, 0) + 1",
        expiry_source="1 - expiry_source",
        batch_id="NULL",
        version="7",
    ),
    Plant("promo_code", "UPDATE promo_code SET batch_id = batch_id + 1", UNTOUCHED),
    *gone("promo_code", HELD, "batch_id IS NULL"),
    # It had no event of its own: its batch lacks one.
    Plant("promo_code", "DELETE FROM promo_code", UNTOUCHED, "events leave it"),
]
ATTACHMENTS = [
    *changed(
        "attachment",
        "personal = 1",
        shard_key="shard_key + 1",
        code_key="code_key || 'x'",
        database_id="database_id + 1",
        profile_id="profile_id || '0'",
        attached_at="attached_at - 1",
        personal="0",
    ),
    *gone("attachment", "personal = 1", "personal = 0"),
    Plant(
        "attachment",
        "INSERT INTO attachment SELECT shard_key, code_key, database_id, profile_id || '1', "
        "attached_at, 0 FROM attachment",
    ),
]
EVENTS = [
    *changed(
        "event",
        OF_CODE.format(4),
        shard_key="shard_key + 1",
        event_id="{flipped}",
        kind="3",
        at="at + 1000000",
        token_id="999",
        request_id="''",
        code_key="code_key || 'x'",
        version="version + 1000",
        database_id="database_id + 1",
        profile_id="profile_id || '0'",
        attach_count="attach_count + 1",
        activation_count="activation_count + 1",
        activated_at="activated_at + 1",
        expires_at="coalesce(expires_at, 0) + 1",
    ),
    Plant("event", "UPDATE event SET at = at + 1", OF_CODE.format(3)),
    Plant("event", "UPDATE event SET details = NULL", OF_CODE.format(2)),
    Plant("event", "UPDATE event SET details = NULL", OF_CODE.format(5)),
    Plant("event", "UPDATE event SET details = NULL", OF_CODE.format(18)),
    Plant("event", "UPDATE event SET details = '[]'", OF_CODE.format(4)),
    Plant("event", "UPDATE event SET kind = 99", "code_key IS NULL AND kind = 1"),
    Plant("event", "UPDATE event SET shard_key = shard_key + 1", "code_key IS NULL AND kind = 1"),
    Plant("event", "UPDATE event SET database_id = database_id + 1", "kind = 7"),
    *gone("event", *(OF_CODE.format(kind) for kind in (1, 2, 3, 4, 5, 6, 10, 17, 18))),
    *gone("event", *(f"code_key IS NULL AND kind = {n}" for n in (1, 7, 8, 9, 11, 12, 13, 14))),
    *gone("event", *(f"code_key IS NULL AND kind = {n}" for n in (15, 16, 19, 20))),
    Plant(
        "event",
        "INSERT INTO event SELECT shard_key, {flipped}, kind, at, token_id, request_id, code_key, "
        "version + 1, database_id, profile_id, attach_count, activation_count, activated_at, "
        "expires_at, details FROM event",
        f"{OF_CODE.format(4)} AND NOT EXISTS (SELECT 1 FROM event e WHERE e.shard_key = "
        "event.shard_key AND e.code_key = event.code_key AND e.version > event.version)",
    ),
    Plant(
        "event",
        "UPDATE event SET version = 2000 - version",
        "code_key = (SELECT code_key FROM event WHERE kind = 4 GROUP BY code_key LIMIT 1)",
    ),
]
API = "kind = 'import' AND source = 'api' AND undone = 0 AND inserted > 0 AND loyalty_id = 1"
BATCHES = [
    *changed(
        "batch",
        API,
        id="id + 1000",
        loyalty_id="loyalty_id + 1",
        kind="'generate'",
        total="total + 1",
        inserted="inserted + 1",
        duplicated="duplicated + 1",
        discarded="discarded + 1",
        rejected="rejected + 1",
        changed="changed + 1",
        undone="undone + 1",
        first_seq="first_seq + 1000",
        last_seq="first_seq - 1",
    ),
    Plant("batch", "UPDATE batch SET changed = changed + 1", "kind = 'expire' AND changed > 0"),
    Plant("batch", "UPDATE batch SET undone = undone - 1", "kind = 'expire' AND undone > 0"),
    Plant("batch", "UPDATE batch SET state = 'done'", "undone > 0"),
    Plant("batch", "UPDATE batch SET kind = 'deactivate'", "kind = 'attach' AND changed > 0"),
    *gone("batch", API, "kind = 'expire' AND changed > 0"),
    *changed(
        "batch_change",
        "batch_id IN (SELECT id FROM batch WHERE kind = 'expire' AND changed - undone > 1)",
        shard_key="shard_key + 1",
        batch_id="batch_id + 1",
        code_key="code_key || 'x'",
        before="replace(before, '\"attach_count\": ', '\"attach_count\": 9')",
        version_after="version_after + 1",
    ),
    Plant("batch_change", "UPDATE batch_change SET before = 'null'", "before <> 'null'"),
    Plant(
        "batch_change",
        "UPDATE batch_change SET before = "
        "replace(before, '\"attached_at\": ', '\"attached_at\": 9')",
        "substr(code_key, 1, 1) = '\n'",
        "keeps attached_at 9",
    ),
    Plant(
        "batch_change",
        "DELETE FROM batch_change",
        "batch_id IN (SELECT id FROM batch WHERE kind = 'expire' AND changed - undone > 1)",
        "changes to take back",
    ),
]
TALLIES = [
    *changed(
        "tally",
        "kind = 'codes' AND shard_key = 4096",
        shard_key="shard_key + 1",
        kind="'others'",
        subject="'x'",
        count="count + 1",
        next_seq="next_seq - 1",
        version="0",
    ),
    *changed(
        "tally",
        "kind = 'holdings'",
        shard_key="shard_key + 1",
        count="1",
        next_seq="1",
        version="0",
    ),
    *changed("tally", "kind = 'low_stock'", count="1 - count", version="version + 1"),
    *gone("tally", "kind = 'codes'", "kind = 'low_stock'"),
]
REST = [
    *changed(
        "loyalty_program",
        "id = 1",
        id="id + 100",
        name="name || 'x'",
        active="1 - active",
        multiple_usage="1 - multiple_usage",
        buckets="buckets * 2",
        settings="replace(settings, '\"code_limit\": 400', '\"code_limit\": 500')",
        created_at="created_at + 1",
        version="version + 1",
    ),
    *gone("loyalty_program", "id = 1"),
    *changed(
        "profile",
        "version > 1",
        database_id="database_id + 1",
        profile_id="profile_id || '0'",
        created_at="created_at + 1",
        updated_at="updated_at + 1",
        version="version + 1",
    ),
    *gone("profile", "1 = 1"),
    *changed("profile_identity", "1 = 1", database_id="9"),
    Plant("profile_identity", "UPDATE profile_identity SET profile_id = 'nobody'", named="nobody"),
    *changed("profile_database", "1 = 1", id="id + 1", created_at="created_at + 1"),
    *gone("profile_database", "1 = 1"),
    *changed(
        "token",
        "revoked_at IS NULL",
        id="99",
        created_at="created_at + 1",
        revoked_at="1",
        rotated_at="1",
    ),
    *gone("token", "1 = 1"),
    *changed(
        "idempotency",
        "1 = 1",
        shard_key="(shard_key + 1) % 4096",
        token_id="99",
        key="key || 'x'",
        digest="{nothing}",
        status="0",
        keep_until="0",
    ),
]
PLANTED = [*CODES, *ATTACHMENTS, *EVENTS, *BATCHES, *TALLIES, *REST]

UNPROVEN = {
    "promo_code": {"fields"},
    "event": set[str](),
    "attachment": set[str](),
    "batch": {
        *("state", "source", "author", "token_id", "created_at", "finished_at", "parameters"),
        *("touched", "position", "forgotten_at"),
    },
    "batch_change": set[str](),
    "tally": set[str](),
    "loyalty_program": set[str](),
    "profile": {"data"},
    "profile_identity": {"kind", "field_name", "value"},
    "profile_database": {"settings"},
    "token": {"name", "digest", "scopes", "programs", "databases"},
    "idempotency": {"reason", "content_type", "body"},
}
"""What no event tells: docs/explanation/ledger.md says so too."""


def full(world: World) -> None:
    """A history in which every kind of row and of event is left."""
    history = History(world, seed=4)
    history.run(150)
    first, second, third, _ = history.programs
    ann, bob, *_ = history.profiles
    world.run(world.administration.create_token("gone", frozenset({Scope.ADMIN})))
    world.run(world.administration.revoke_token("gone"))
    world.run(world.administration.create_token("renewed", frozenset({Scope.ADMIN})))
    renewed = world.run(world.administration.living_token("renewed"))
    world.run(world.administration.rotate_token(renewed))
    world.change(first, description="changed")
    world.import_codes(first, *(f"Z{number}" for number in range(12)), "Z1")
    world.import_codes(second, "Y1", "Y2", "Y3", "Y4")
    world.run(Stock(means_of(world)).look())
    for number in range(4):
        world.attach(first, ann, f"Z{number}", key=f"key-{number}")
        world.activate(first, f"Z{number}")
    world.update(first, "Z0", activated=False)
    world.update(first, "Z0", expires_at=world.now + DAY)
    world.attach(first, bob, "made-here")
    world.now += HOUR
    world.attach(first, ann, "Z5")
    world.detach(first, ann, "Z5")
    changing = history.changing
    changing.attach(third, listed(history.profiles, ["ALL"] * len(history.profiles)))
    for change in (expire(world.now + 2 * DAY), DETACH, DEACTIVATE, DELETE):
        world.now += HOUR
        batch = changing.apply(first, change)
        if change is not DEACTIVATE:
            world.now += HOUR
            changing.undo(batch)
    world.import_codes(first, "TAKEN", "BACK")
    changing.undo(changing.last_batch())
    changing.apply(first, expire(world.now + 3 * DAY))
    world.attach(second, bob, "Y1")
    key = history.profiles[1]
    world.delete_profile(key)
    world.run(
        world.service.profiles.save(world.call(), _key(ann), {"first_name": "A"}, creates=False)
    )
    world.import_codes(first, *(f"X{number}" for number in range(3)))
    history.import_held(second, ann)


def _key(holder: Holder) -> ProfileKey:
    return ProfileKey(holder.database_id, profile_id=holder.profile_id)


@pytest.fixture(scope="module")
def original_of(stores: Stores) -> Callable[[str], str]:
    """Return a store of a kind with a long history, at rest; made once."""

    @cache
    def made(kind: str) -> str:
        url = stores.new(kind)
        world = World(url)
        full(world)
        world.close()
        report = check(url)
        assert [str(one) for one in report.findings] == []
        return url

    return made


class Spoilt:
    """A store in which anything may be done, past the service."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.is_sqlite = url.startswith("sqlite:///")

    @classmethod
    def copy(cls, original: str, stores: Stores, folder: Path) -> "Spoilt":
        if not original.startswith("sqlite:///"):
            return cls(stores.server.create_database(template=original))
        file = folder / "copy.db"
        shutil.copy(original.removeprefix("sqlite:///"), file)
        return cls(f"sqlite:///{file}")

    def do(self, *statements: str) -> None:
        if self.is_sqlite:
            with closing(apsw.Connection(self.url.removeprefix("sqlite:///"))) as connection:
                connection.execute("PRAGMA ignore_check_constraints = ON")
                for statement in statements:
                    connection.execute(statement)
            return

        async def work() -> None:
            connection = await asyncpg.connect(self.url)
            for statement in statements:
                await connection.execute(statement)
            await connection.close()

        asyncio.run(work())

    def rows(self, statement: str) -> list[Any]:
        if self.is_sqlite:
            with closing(apsw.Connection(self.url.removeprefix("sqlite:///"))) as connection:
                return list(connection.execute(statement))

        async def work() -> list[Any]:
            connection = await asyncpg.connect(self.url)
            try:
                return [tuple(row) for row in await connection.fetch(statement)]
            finally:
                await connection.close()

        return asyncio.run(work())


KEYS = {
    "promo_code": "shard_key, code_key",
    "attachment": "shard_key, code_key, database_id, profile_id",
    "event": "shard_key, event_id",
    "batch": "id",
    "batch_change": "shard_key, batch_id, code_key",
    "tally": "shard_key, kind, subject",
    "loyalty_program": "id",
    "profile": "database_id, profile_id",
    "profile_identity": "database_id, kind, field_name, value, profile_id",
    "profile_database": "id",
    "token": "id",
    "idempotency": "shard_key, token_id, key",
}
WITHOUT_CHECKS = (
    "ALTER TABLE promo_code DROP CONSTRAINT IF EXISTS promo_code_check",
    "ALTER TABLE promo_code DROP CONSTRAINT IF EXISTS promo_code_check1",
    "ALTER TABLE promo_code DROP CONSTRAINT IF EXISTS promo_code_check2",
)
SUBJECT = {
    "promo_code": "code_key",
    "attachment": "code_key",
    "event": "code_key",
    "batch": "id",
    "batch_change": "code_key",
    "tally": "kind",
    "loyalty_program": "id",
    "profile": "profile_id",
    "profile_identity": "profile_id",
    "profile_database": "id",
    "token": "id",
    "idempotency": "key",
}


def plant(copy: Spoilt, planted: Plant) -> str:
    """Do it to one row; return what names that row."""
    table, change, where, named = planted
    keys = KEYS[table]
    subject = SUBJECT[table]
    found = copy.rows(f"SELECT {subject} FROM {table} WHERE {where} ORDER BY {keys} LIMIT 1")
    assert found, f"no {table} with {where}"
    flipped = (
        "unhex('ff' || substr(hex(event_id), 3))"
        if copy.is_sqlite
        else "set_byte(event_id, 0, 255)"
    )
    change = change.replace("{flipped}", flipped)
    change = change.replace("{nothing}", "x''" if copy.is_sqlite else "''::bytea")
    one = f"WHERE ({keys}) = (SELECT {keys} FROM {table} WHERE {where} ORDER BY {keys} LIMIT 1)"
    copy.do(f"{change} {one}")
    return named or str(found[0][0] or "")


# A copy on PostgreSQL takes half a second: quickly it gets every fourth, else all.
STEPS = {
    "sqlite": 1,
    "postgres": 4 if os.environ.get("PROMINT_PROVE_TIER", "quick") == "quick" else 1,
}
CASES = [
    pytest.param(store, one, id=f"{store}-{one.table}-{number}")
    for store, step in STEPS.items()
    for number, one in list(enumerate(PLANTED))[::step]
]


@pytest.mark.parametrize(("kind", "planted"), CASES)
def test_what_is_changed_past_the_service_is_named(
    original_of: Callable[[str], str], stores: Stores, tmp_path: Path, kind: str, planted: Plant
) -> None:
    copy = Spoilt.copy(original_of(kind), stores, tmp_path)
    if not copy.is_sqlite:
        copy.do(*WITHOUT_CHECKS, "DROP INDEX attachment_personal", "DROP INDEX event_version")

    subject = plant(copy, planted)

    report = check(copy.url)
    assert report.differences > 0
    assert any(subject in str(one) for one in report.findings), [*map(str, report.findings)]


@pytest.mark.parametrize("kind", STEPS)
def test_every_column_is_planted_or_said_to_be_unproven(
    original_of: Callable[[str], str], kind: str
) -> None:
    store = Spoilt(original_of(kind))
    columns = (
        "SELECT name FROM pragma_table_info('{0}')"
        if store.is_sqlite
        else "SELECT column_name FROM information_schema.columns WHERE table_name = '{0}'"
    )
    for table, unproven in UNPROVEN.items():
        named = {name for (name,) in store.rows(columns.format(table))}
        tried = {
            column
            for one in PLANTED
            if one.table == table
            for column in named
            if f"SET {column} =" in one.change
        }
        assert tried | unproven == named, table
