"""Every statement, once, and how a row becomes a value.

`$1`, `$2`, … are the parameters, in order of first appearance, a form that both databases
take. Statements whose name starts with POSTGRES_ carry a whole batch in arrays; the others
run row by row on SQLite and, where a single row is meant, on both.

A statement on the code tables names `shard_key` first in its condition, so that one shard
answers it. The few that cannot are in `EXEMPT`, each with its reason; `tests/store` reads
this file and holds it to that.
"""

import json
from dataclasses import asdict, fields
from hmac import compare_digest
from typing import Any

from promint.domain.guessing import Counted, WrongCodes
from promint.domain.model import (
    ID_MAX,
    Batch,
    BatchKind,
    BatchState,
    CodeMatching,
    Database,
    LoyaltyProgram,
    Profile,
    PromoCode,
    Scope,
    Token,
)

CODE_TABLES = ("promo_code", "attachment", "event", "idempotency", "tally")

EXEMPT = {
    "HELD_CODES": "a profile's codes are in every program; used when a profile is deleted",
    "FORGET_IDEMPOTENCY": "housekeeping over all shards, off the hot path",
    "POSTGRES_HELD_CODES": "the same, with the codes locked for the deletion",
}
"""Statements on the code tables that may leave `shard_key` out, with the reason."""

NEVER = 9_223_372_036_854_775_807
"""What an expiry of NULL counts as in the index of free codes."""

# -- codes ---------------------------------------------------------------------------------

CODE_COLUMNS = (
    "shard_key, code_key, code, seq, created_at, expires_at, expiry_source, attached_at, "
    "activated_at, attach_count, activation_count, database_id, profile_id, batch_id, version, "
    "fields"
)

CODE = f"SELECT {CODE_COLUMNS} FROM promo_code WHERE shard_key = $1 AND code_key = $2"

INSERT_CODE = f"""
INSERT INTO promo_code ({CODE_COLUMNS})
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)"""

INSERT_NEW_CODE = INSERT_CODE + " ON CONFLICT (shard_key, code_key) DO NOTHING"

UPDATE_CODE = """
UPDATE promo_code SET expires_at = $1, expiry_source = $2, attached_at = $3, activated_at = $4,
    attach_count = $5, activation_count = $6, database_id = $7, profile_id = $8, version = $9
WHERE shard_key = $10 AND code_key = $11 AND version = $12"""

DELETE_CODE = "DELETE FROM promo_code WHERE shard_key = $1 AND code_key = $2"

# The index of free codes is (shard_key, expiry, code_key): what expires first goes first, and
# what has expired is never looked at.
_FREE = "attach_count = 0"
_EXPIRY = f"coalesce(expires_at, {NEVER})"

FREE_ANYWHERE = f"""
SELECT {CODE_COLUMNS} FROM promo_code
WHERE shard_key BETWEEN $1 AND $2 AND {_FREE} AND {_EXPIRY} > $3
ORDER BY shard_key, {_EXPIRY}, code_key LIMIT $4"""

# The oldest universal codes of a shard that can be given to one profile: alive, uses left, with
# room, and not its own.
ROOM = f"""
SELECT {CODE_COLUMNS} FROM promo_code p
WHERE p.shard_key = $1 AND (p.expires_at IS NULL OR p.expires_at > $2)
    AND p.activation_count < $3 AND p.attach_count < $4
    AND NOT EXISTS (SELECT 1 FROM attachment a WHERE a.shard_key = p.shard_key
        AND a.code_key = p.code_key AND a.database_id = $5 AND a.profile_id = $6)
ORDER BY p.shard_key, p.seq LIMIT $7"""

EXPORT = """
SELECT code, attached_at, activated_at, seq, code_key FROM promo_code
WHERE shard_key = $1 AND (seq, code_key) > ($2, $3)
ORDER BY shard_key, seq, code_key LIMIT $4"""

# -- attachments ---------------------------------------------------------------------------

ATTACHMENT = """
SELECT shard_key, code_key, database_id, profile_id FROM attachment
WHERE shard_key = $1 AND code_key = $2 AND database_id = $3 AND profile_id = $4"""

INSERT_ATTACHMENT = """
INSERT INTO attachment (shard_key, code_key, database_id, profile_id, attached_at, personal)
VALUES ($1, $2, $3, $4, $5, $6)"""

DELETE_ATTACHMENT = """
DELETE FROM attachment
WHERE shard_key = $1 AND code_key = $2 AND database_id = $3 AND profile_id = $4"""

# Counted anew each time and only as far as the limit, so that there is no counter to drift.
HELD = """
SELECT count(*) FROM (SELECT 1 FROM attachment WHERE shard_key BETWEEN $1 AND $2
    AND database_id = $3 AND profile_id = $4 LIMIT $5) held"""

LATEST_HOLDER = """
SELECT database_id, profile_id, attached_at FROM attachment
WHERE shard_key = $1 AND code_key = $2 AND NOT (database_id = $3 AND profile_id = $4)
ORDER BY attached_at DESC, database_id, profile_id LIMIT 1"""

HELD_CODES = f"""
SELECT {", ".join("p." + column for column in CODE_COLUMNS.split(", "))}
FROM attachment a
JOIN promo_code p ON p.shard_key = a.shard_key AND p.code_key = a.code_key
WHERE a.database_id = $1 AND a.profile_id = $2
ORDER BY p.shard_key, p.code_key"""

POSTGRES_HELD_CODES = HELD_CODES + " FOR UPDATE OF p"

# -- events, idempotency, tallies ----------------------------------------------------------

EVENT_COLUMNS = (
    "shard_key, event_id, kind, at, token_id, request_id, code_key, version, database_id, "
    "profile_id, attach_count, activation_count, activated_at, expires_at, details"
)

INSERT_EVENT = f"""
INSERT INTO event ({EVENT_COLUMNS})
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)"""

CODE_HISTORY = f"""
SELECT {EVENT_COLUMNS} FROM event WHERE shard_key = $1 AND code_key = $2 ORDER BY version"""

NEWEST_EVENT = """
SELECT at FROM event WHERE shard_key = $1 ORDER BY event_id DESC LIMIT 1"""

# An event carries the code's state as it became. The last one in which the code had n uses
# knows when the n-th of them was.
EARLIER_USE = """
SELECT activated_at FROM event
WHERE shard_key = $1 AND code_key = $2 AND activation_count = $3
ORDER BY version DESC LIMIT 1"""

IDEMPOTENCY_COLUMNS = (
    "shard_key, token_id, key, digest, status, reason, content_type, body, keep_until"
)

IDEMPOTENCY = """
SELECT digest, status, reason, content_type, body FROM idempotency
WHERE shard_key = $1 AND token_id = $2 AND key = $3 AND keep_until > $4"""

# A record whose time is over gives way; a living one refuses the row, and the batch goes again.
DROP_STALE_IDEMPOTENCY = """
DELETE FROM idempotency
WHERE shard_key = $1 AND token_id = $2 AND key = $3 AND keep_until <= $4"""

INSERT_IDEMPOTENCY = f"""
INSERT INTO idempotency ({IDEMPOTENCY_COLUMNS})
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"""

FORGET_IDEMPOTENCY = """
DELETE FROM idempotency WHERE (shard_key, token_id, key) IN
    (SELECT shard_key, token_id, key FROM idempotency WHERE keep_until <= $1
    ORDER BY keep_until LIMIT $2)"""

CODES = "codes"
"""The kind of tally that counts a program's codes and numbers the next one."""

HOLDINGS = "holdings"
"""The kind of tally that only stands guard over what one profile holds of a program."""

TALLY = """
SELECT count, next_seq, version FROM tally WHERE shard_key = $1 AND kind = $2 AND subject = $3"""

POSTGRES_CODE_COUNTS = """
SELECT shard_key, count FROM tally WHERE shard_key = ANY($1) AND kind = 'codes' AND subject = ''"""

INSERT_TALLY = """
INSERT INTO tally (shard_key, kind, subject, count, next_seq, version)
VALUES ($1, $2, $3, $4, $5, $6)"""

UPDATE_TALLY = """
UPDATE tally SET count = $1, next_seq = $2, version = $3
WHERE shard_key = $4 AND kind = $5 AND subject = $6 AND version = $7"""

RESERVE_SEQ = """
UPDATE tally SET next_seq = next_seq + $1, version = version + 1
WHERE shard_key = $2 AND kind = 'codes' AND subject = '' RETURNING next_seq"""

LOCK_CODES_TALLY = """
SELECT count FROM tally WHERE shard_key = $1 AND kind = 'codes' AND subject = '' FOR UPDATE"""

ADD_CODES = """
UPDATE tally SET count = count + $1, version = version + 1
WHERE shard_key = $2 AND kind = 'codes' AND subject = ''"""

# -- batches -------------------------------------------------------------------------------

_BATCH_FIELDS = (
    "loyalty_id",
    "kind",
    "state",
    "source",
    "author",
    "token_id",
    "created_at",
    "finished_at",
    "parameters",
    "total",
    "inserted",
    "duplicated",
    "discarded",
    "rejected",
    "changed",
    "undone",
    "touched",
    "first_seq",
    "last_seq",
    "position",
    "forgotten_at",
)
BATCH_COLUMNS = "id, " + ", ".join(_BATCH_FIELDS)
INSERT_BATCH = f"""
INSERT INTO batch ({", ".join(_BATCH_FIELDS)})
VALUES ({", ".join(f"${n}" for n, _ in enumerate(_BATCH_FIELDS, 1))}) RETURNING id"""
UPDATE_BATCH = f"""
UPDATE batch SET {", ".join(f"{name} = ${n}" for n, name in enumerate(_BATCH_FIELDS, 1))}
WHERE id = ${len(_BATCH_FIELDS) + 1}"""
BATCH = f"SELECT {BATCH_COLUMNS} FROM batch WHERE id = $1"
POSTGRES_LOCK_BATCH = BATCH + " FOR UPDATE"
# The bulk change that ended longest ago, of those whose changes are kept: see the index.
UNFORGOTTEN = """
SELECT id FROM batch
WHERE kind IN ('attach', 'deactivate', 'delete', 'detach', 'expire')
    AND (forgotten_at IS NULL OR position <> '')
    AND finished_at < $1 AND state IN ('done', 'undone')
ORDER BY finished_at LIMIT 1"""
BATCHES = f"SELECT {BATCH_COLUMNS} FROM batch WHERE id < $1 ORDER BY id DESC LIMIT $2"
BATCHES_OF_PROGRAM = f"""
SELECT {BATCH_COLUMNS} FROM batch WHERE loyalty_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3"""

# -- programs, databases, profiles, tokens -------------------------------------------------

PROGRAM = "SELECT id, settings, created_at, version FROM loyalty_program WHERE id = $1"
PROGRAMS = "SELECT id, settings, created_at, version FROM loyalty_program ORDER BY id"
PROGRAM_IF_CHANGED = PROGRAM + " AND version <> $2"
NEXT_PROGRAM_ID = "SELECT coalesce(max(id), 0) + 1 FROM loyalty_program"
INSERT_PROGRAM = """
INSERT INTO loyalty_program
    (id, name, active, multiple_usage, buckets, settings, created_at, version)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"""
UPDATE_PROGRAM = """
UPDATE loyalty_program SET name = $1, active = $2, settings = $3, version = $4
WHERE id = $5 AND version = $6"""

DATABASE = "SELECT id, settings, created_at FROM profile_database WHERE id = $1"
DATABASES = "SELECT id, settings, created_at FROM profile_database ORDER BY id"
NEXT_DATABASE_ID = "SELECT coalesce(max(id), 0) + 1 FROM profile_database"
INSERT_DATABASE = "INSERT INTO profile_database (id, settings, created_at) VALUES ($1, $2, $3)"
POSTGRES_LOCK_DATABASE = DATABASE + " FOR UPDATE"
UPDATE_DATABASE = "UPDATE profile_database SET settings = $1 WHERE id = $2"

PROFILE_COLUMNS = "database_id, profile_id, data, created_at, updated_at, version"
PROFILE = f"SELECT {PROFILE_COLUMNS} FROM profile WHERE database_id = $1 AND profile_id = $2"
POSTGRES_LOCK_PROFILE = PROFILE + " FOR UPDATE"
HAS_PROFILE = "SELECT 1 FROM profile WHERE database_id = $1 AND profile_id = $2"
INSERT_PROFILE = f"INSERT INTO profile ({PROFILE_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6)"
UPDATE_PROFILE = """
UPDATE profile SET data = $1, updated_at = $2, version = $3
WHERE database_id = $4 AND profile_id = $5 AND version = $6"""
DELETE_PROFILE = "DELETE FROM profile WHERE database_id = $1 AND profile_id = $2"

IDENTITY = """
SELECT profile_id FROM profile_identity
WHERE database_id = $1 AND kind = $2 AND field_name = $3 AND value = $4 ORDER BY profile_id"""
INSERT_IDENTITY = """
INSERT INTO profile_identity (database_id, kind, field_name, value, profile_id)
VALUES ($1, $2, $3, $4, $5)"""
DELETE_IDENTITIES = "DELETE FROM profile_identity WHERE database_id = $1 AND profile_id = $2"

TOKEN_COLUMNS = "id, name, scopes, programs, databases, created_at, revoked_at, rotated_at"
TOKEN = f"SELECT {TOKEN_COLUMNS}, digest FROM token WHERE digest = $1"
TOKENS = f"SELECT {TOKEN_COLUMNS} FROM token ORDER BY id"
NEXT_TOKEN_ID = "SELECT coalesce(max(id), 0) + 1 FROM token"
INSERT_TOKEN = """
INSERT INTO token (id, name, digest, scopes, programs, databases, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7)"""
REVOKE_TOKEN = (
    "UPDATE token SET revoked_at = $1 WHERE name = $2 AND revoked_at IS NULL RETURNING id"
)
# Of those who saw the same secret, one replaces it.
ROTATE_TOKEN = """
UPDATE token SET digest = $1, rotated_at = $2
WHERE id = $3 AND coalesce(rotated_at, 0) = $4 AND revoked_at IS NULL RETURNING id"""

WRONG_CODES_COLUMNS = "kind, subject, tries, stops, stopped_at, updated_at"
ADD_WRONG_CODES = f"""
INSERT INTO wrong_codes ({WRONG_CODES_COLUMNS}) VALUES ($1, $2, '[]', 0, NULL, 0)
ON CONFLICT (kind, subject) DO NOTHING"""
WRONG_CODES = f"SELECT {WRONG_CODES_COLUMNS} FROM wrong_codes WHERE kind = $1 AND subject = $2"
LOCK_WRONG_CODES = WRONG_CODES + " FOR UPDATE"
ALL_WRONG_CODES = f"""
SELECT {WRONG_CODES_COLUMNS} FROM wrong_codes ORDER BY updated_at DESC, kind, subject LIMIT $1"""
SAVE_WRONG_CODES = """
UPDATE wrong_codes SET tries = $1, stops = $2, stopped_at = $3, updated_at = $4
WHERE kind = $5 AND subject = $6"""
FORGET_WRONG_CODES = "DELETE FROM wrong_codes WHERE updated_at < $1"


# -- rows and values -----------------------------------------------------------------------


def update_code_row(code: PromoCode, read_version: int | None) -> tuple[Any, ...]:
    """Return the parameters of UPDATE_CODE."""
    return (
        code.expires_at,
        code.expiry_source,
        code.attached_at,
        code.activated_at,
        code.attach_count,
        code.activation_count,
        code.database_id,
        code.profile_id,
        code.version,
        code.shard_key,
        code.code_key,
        read_version,
    )


_PROGRAM_COLUMNS = ("id", "created_at", "version")


def program_settings(program: LoyaltyProgram) -> str:
    """Return a program's settings as the JSON text that is stored."""
    settings = {k: v for k, v in asdict(program).items() if k not in _PROGRAM_COLUMNS}
    return json.dumps(settings, ensure_ascii=False)


def program_row(program: LoyaltyProgram) -> tuple[Any, ...]:
    """Return the parameters of INSERT_PROGRAM."""
    return (
        program.id,
        program.name,
        int(program.active),
        int(program.multiple_usage),
        program.buckets,
        program_settings(program),
        program.created_at,
        program.version,
    )


def program_update_row(program: LoyaltyProgram) -> tuple[Any, ...]:
    """Return the parameters of UPDATE_PROGRAM; the version rises by one."""
    return (
        program.name,
        int(program.active),
        program_settings(program),
        program.version + 1,
        program.id,
        program.version,
    )


_PROGRAM_FIELDS = {field.name for field in fields(LoyaltyProgram)}


def program_value(row: Any) -> LoyaltyProgram:
    """Make a program of its row `(id, settings, created_at, version)`."""
    number, settings, created_at, version = row
    values = {k: v for k, v in json.loads(settings).items() if k in _PROGRAM_FIELDS}
    values["fields"] = tuple(values.get("fields", ()))
    values["code_matching"] = CodeMatching(values.get("code_matching", CodeMatching.FORGIVING))
    return LoyaltyProgram(id=number, created_at=created_at, version=version, **values)


def batches(
    loyalty_id: int | None, before_id: int | None, most: int
) -> tuple[str, tuple[int, ...]]:
    """Return the statement that lists batches of a program or of all, and its parameters."""
    before = ID_MAX if before_id is None else min(before_id, ID_MAX)
    if loyalty_id is None:
        return BATCHES, (before, most)
    return BATCHES_OF_PROGRAM, (loyalty_id, before, most)


def batch_row(batch: Batch) -> tuple[Any, ...]:
    """Return the parameters of INSERT_BATCH; those of UPDATE_BATCH have the id behind them."""
    row = {name: getattr(batch, name) for name in _BATCH_FIELDS}
    row["parameters"] = json.dumps(batch.parameters, ensure_ascii=False)
    return tuple(row.values())


def batch_value(row: Any) -> Batch:
    """Make a batch of its row, BATCH_COLUMNS."""
    values = dict(zip(_BATCH_FIELDS, tuple(row)[1:], strict=True))
    values["kind"] = BatchKind(values["kind"])
    values["state"] = BatchState(values["state"])
    values["parameters"] = json.loads(values["parameters"])
    return Batch(row[0], **values)


def database_settings(database: Database) -> str:
    """Return a database's settings as the JSON text that is stored."""
    settings = {k: v for k, v in asdict(database).items() if k not in ("id", "created_at")}
    return json.dumps(settings, ensure_ascii=False)


def database_row(database: Database) -> tuple[Any, ...]:
    """Return the parameters of INSERT_DATABASE."""
    return database.id, database_settings(database), database.created_at


def database_value(row: Any) -> Database:
    """Make a database of its row `(id, settings, created_at)`."""
    number, settings, created_at = row
    values = json.loads(settings)
    values["ui_tags"] = tuple(values["ui_tags"])
    values["groups"] = tuple((group_id, name) for group_id, name in values["groups"])
    return Database(id=number, created_at=created_at, **values)


def profile_row(profile: Profile) -> tuple[Any, ...]:
    """Return the parameters of INSERT_PROFILE."""
    data = json.dumps(profile.data, ensure_ascii=False)
    return (
        profile.database_id,
        profile.id,
        data,
        profile.created_at,
        profile.updated_at,
        profile.version,
    )


def profile_value(row: Any) -> Profile:
    """Make a profile of its row, PROFILE_COLUMNS."""
    database_id, profile_id, data, created_at, updated_at, version = row
    return Profile(database_id, profile_id, json.loads(data), created_at, updated_at, version)


def token_row(token: Token, digest: bytes) -> tuple[Any, ...]:
    """Return the parameters of INSERT_TOKEN."""

    def text(ids: frozenset[int] | None) -> str | None:
        return None if ids is None else json.dumps(sorted(ids))

    return (
        token.id,
        token.name,
        digest,
        " ".join(sorted(token.scopes)),
        text(token.programs),
        text(token.databases),
        token.created_at,
    )


def token_value(row: Any) -> Token:
    """Make a token of its row, TOKEN_COLUMNS."""
    number, name, scopes, programs, databases, created_at, revoked_at, rotated_at = row

    def ids(text: str | None) -> frozenset[int] | None:
        return None if text is None else frozenset(json.loads(text))

    return Token(
        number,
        name,
        frozenset(Scope(scope) for scope in scopes.split()),
        ids(programs),
        ids(databases),
        created_at,
        revoked_at,
        rotated_at,
    )


def token_if_same(row: Any, digest: bytes) -> Token | None:
    """Make a token of its row, TOKEN_COLUMNS and the digest, if that is the one asked for."""
    is_same = row is not None and compare_digest(row[-1], digest)
    return token_value(row[:-1]) if is_same else None


def wrong_codes_value(row: Any) -> WrongCodes:
    """Make counted wrong codes of their row, WRONG_CODES_COLUMNS."""
    kind, subject, tries, stops, stopped_at, updated_at = row
    counted = tuple((second, many) for second, many in json.loads(tries))
    return WrongCodes(Counted(kind, subject), counted, stops, stopped_at, updated_at)


def wrong_codes_row(wrong: WrongCodes) -> tuple[Any, ...]:
    """Return the parameters of SAVE_WRONG_CODES."""
    tries = json.dumps(wrong.tries, separators=(",", ":"))
    return tries, wrong.stops, wrong.stopped_at, wrong.updated_at, *wrong.counted


# -- PostgreSQL: a whole batch in one statement --------------------------------------------
#
# A batch is read by one statement and written by one, put together from the parts that the
# batch needs, each with its own parameters. Every part of the read has the same columns: a
# number, the request it is for, a code's columns and two of bytes.

_READ_TYPES = {
    "request": "bigint",
    "shard_key": "bigint",
    "code_key": "text",
    "code": "text",
    "seq": "bigint",
    "created_at": "bigint",
    "expires_at": "bigint",
    "expiry_source": "bigint",
    "attached_at": "bigint",
    "activated_at": "bigint",
    "attach_count": "bigint",
    "activation_count": "bigint",
    "database_id": "bigint",
    "profile_id": "text",
    "batch_id": "bigint",
    "version": "bigint",
    "fields": "text",
    "bytes_1": "bytea",
    "bytes_2": "bytea",
}
_CODE_OF_P = {name: f"p.{name}" for name in CODE_COLUMNS.split(", ")}
_CODE_OF_C = {name: f"c.{name}" for name in CODE_COLUMNS.split(", ")}


def _part(source: str, **columns: str) -> str:
    chosen = (
        f"{columns[name]} AS {name}" if name in columns else f"NULL::{kind} AS {name}"
        for name, kind in _READ_TYPES.items()
    )
    return f"{', '.join(chosen)} FROM {source}"


POSTGRES_READ_CODES = _part(
    """unnest($1::bigint[], $2::text[]) v(s, c)
    JOIN promo_code p ON p.shard_key = v.s AND p.code_key = v.c""",
    **_CODE_OF_P,
)
POSTGRES_READ_PROGRAMS = _part(
    """unnest($1::bigint[], $2::bigint[]) v(i, ver)
    JOIN loyalty_program g ON g.id = v.i AND g.version <> v.ver""",
    seq="g.id",
    code="g.settings",
    created_at="g.created_at",
    version="g.version",
)
POSTGRES_READ_ATTACHMENTS = _part(
    """unnest($1::bigint[], $2::text[], $3::bigint[], $4::text[]) v(s, c, d, h)
    JOIN attachment a ON a.shard_key = v.s AND a.code_key = v.c
        AND a.database_id = v.d AND a.profile_id = v.h""",
    shard_key="a.shard_key",
    code_key="a.code_key",
    database_id="a.database_id",
    profile_id="a.profile_id",
)
POSTGRES_READ_IDEMPOTENCY = _part(
    """unnest($1::bigint[], $2::bigint[], $3::text[], $4::bigint[]) v(s, t, k, n)
    JOIN idempotency i ON i.shard_key = v.s AND i.token_id = v.t AND i.key = v.k
        AND i.keep_until > v.n""",
    shard_key="i.shard_key",
    seq="i.token_id",
    code_key="i.key",
    bytes_1="i.digest",
    version="i.status",
    code="i.reason",
    profile_id="i.content_type",
    bytes_2="i.body",
)
POSTGRES_READ_PROFILES = _part(
    """unnest($1::bigint[], $2::text[]) v(d, h)
    JOIN profile f ON f.database_id = v.d AND f.profile_id = v.h""",
    database_id="f.database_id",
    profile_id="f.profile_id",
)
POSTGRES_READ_IDENTITIES = _part(
    """unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[]) WITH ORDINALITY v(d, k, n, x, o)
    JOIN profile_identity f ON f.database_id = v.d AND f.kind = v.k
        AND f.field_name = v.n AND f.value = v.x""",
    request="v.o",
    profile_id="f.profile_id",
)
POSTGRES_READ_TALLIES = _part(
    """unnest($1::bigint[], $2::text[], $3::text[]) v(s, k, x)
    JOIN tally t ON t.shard_key = v.s AND t.kind = v.k AND t.subject = v.x""",
    shard_key="t.shard_key",
    code_key="t.kind",
    code="t.subject",
    seq="t.next_seq",
    attach_count="t.count",
    version="t.version",
)
POSTGRES_READ_HELD = _part(
    """unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::bigint[])
        WITH ORDINALITY v(first, last, d, h, most, o)
    CROSS JOIN LATERAL (SELECT count(*) AS n FROM (SELECT 1 FROM attachment a
        WHERE a.shard_key BETWEEN v.first AND v.last AND a.database_id = v.d
            AND a.profile_id = v.h LIMIT v.most) x) h""",
    request="v.o",
    attach_count="h.n",
)
POSTGRES_READ_EARLIER_USES = _part(
    """unnest($1::bigint[], $2::text[]) v(s, c)
    JOIN promo_code p ON p.shard_key = v.s AND p.code_key = v.c
    CROSS JOIN LATERAL (SELECT e.activated_at FROM event e
        WHERE e.shard_key = v.s AND e.code_key = v.c
            AND e.activation_count = p.activation_count - 1
        ORDER BY e.version DESC LIMIT 1) e""",
    shard_key="p.shard_key",
    code_key="p.code_key",
    activated_at="e.activated_at",
)
POSTGRES_READ_EVENTS = _part(
    """unnest($1::bigint[], $2::bigint[], $3::bytea[]) v(first, last, i)
    JOIN event e ON e.shard_key BETWEEN v.first AND v.last AND e.event_id = v.i
    LEFT JOIN promo_code p ON p.shard_key = e.shard_key AND p.code_key = e.code_key""",
    bytes_1="e.event_id",
    code="p.code",
)

# Within the first live expiry from a random code on, wrapped once. The random code is drawn by
# its place in the order of creation, so it is one of the program's own whatever they look like.
_FREE_OF_P = "p.attach_count = 0"
_EXPIRY_OF_P = f"coalesce(p.expires_at, {NEVER})"
POSTGRES_READ_FREE = _part(
    f"""unnest($1::bigint[], $2::float8[], $3::bigint[], $4::bigint[])
        WITH ORDINALITY v(s, chance, wanted, now, o)
    CROSS JOIN LATERAL (SELECT {_EXPIRY_OF_P} AS expiry FROM promo_code p
        WHERE p.shard_key = v.s AND {_FREE_OF_P} AND {_EXPIRY_OF_P} > v.now
        ORDER BY p.shard_key, {_EXPIRY_OF_P}, p.code_key LIMIT 1) f
    CROSS JOIN LATERAL (SELECT p.seq FROM promo_code p WHERE p.shard_key = v.s
        ORDER BY p.shard_key DESC, p.seq DESC LIMIT 1) m
    CROSS JOIN LATERAL (SELECT p.code_key FROM promo_code p
        WHERE p.shard_key = v.s AND p.seq >= (v.chance * m.seq)::bigint
        ORDER BY p.shard_key, p.seq LIMIT 1) r
    CROSS JOIN LATERAL (
        (SELECT p.* FROM promo_code p WHERE p.shard_key = v.s AND {_FREE_OF_P}
            AND {_EXPIRY_OF_P} = f.expiry AND p.code_key >= r.code_key
        ORDER BY p.shard_key, {_EXPIRY_OF_P}, p.code_key LIMIT v.wanted)
        UNION ALL
        (SELECT p.* FROM promo_code p WHERE p.shard_key = v.s AND {_FREE_OF_P}
            AND {_EXPIRY_OF_P} = f.expiry AND p.code_key < r.code_key
        ORDER BY p.shard_key, {_EXPIRY_OF_P}, p.code_key LIMIT v.wanted)
        UNION ALL
        (SELECT p.* FROM promo_code p WHERE p.shard_key = v.s AND {_FREE_OF_P}
            AND {_EXPIRY_OF_P} > f.expiry
        ORDER BY p.shard_key, {_EXPIRY_OF_P}, p.code_key LIMIT v.wanted)
        LIMIT v.wanted) c""",
    request="v.o",
    **_CODE_OF_C,
)
POSTGRES_READ_ROOM = _part(
    f"""unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[],
        $6::bigint[], $7::text[], $8::bigint[])
        WITH ORDINALITY v(first, last, now, uses, holders, d, h, wanted, o)
    CROSS JOIN LATERAL (SELECT c.* FROM generate_series(v.first, v.last) s
        CROSS JOIN LATERAL (SELECT {CODE_COLUMNS} FROM promo_code p
        WHERE p.shard_key = s AND (p.expires_at IS NULL OR p.expires_at > v.now)
            AND p.activation_count < v.uses AND p.attach_count < v.holders
            AND NOT EXISTS (SELECT 1 FROM attachment a WHERE a.shard_key = p.shard_key
                AND a.code_key = p.code_key AND a.database_id = v.d AND a.profile_id = v.h)
        ORDER BY p.shard_key, p.seq LIMIT v.wanted) c ORDER BY c.seq LIMIT v.wanted) c""",
    request="v.o",
    **_CODE_OF_C,
)

# What the locked way holds before it reads. Keys come sorted, and the lock is taken in that
# order, everywhere: two processes with one order never wait for each other in a circle.
POSTGRES_LOCK_PROFILES = """
SELECT 1 FROM unnest($1::bigint[], $2::text[]) v(d, h)
JOIN profile f ON f.database_id = v.d AND f.profile_id = v.h
ORDER BY f.database_id, f.profile_id FOR KEY SHARE OF f"""

POSTGRES_LOCK_CODES = """
SELECT 1 FROM unnest($1::bigint[], $2::text[]) v(s, c)
JOIN promo_code p ON p.shard_key = v.s AND p.code_key = v.c
ORDER BY p.shard_key, p.code_key FOR UPDATE OF p"""

POSTGRES_LOCK_TALLIES = """
SELECT 1 FROM unnest($1::bigint[], $2::text[], $3::text[]) v(s, k, x)
JOIN tally t ON t.shard_key = v.s AND t.kind = v.k AND t.subject = v.x
ORDER BY t.shard_key, t.kind, t.subject FOR UPDATE OF t"""

POSTGRES_LOCK_FREE = f"""
SELECT {CODE_COLUMNS} FROM promo_code
WHERE shard_key BETWEEN $1 AND $2 AND {_FREE} AND {_EXPIRY} > $3
ORDER BY shard_key, {_EXPIRY}, code_key LIMIT $4 FOR UPDATE SKIP LOCKED"""

POSTGRES_DROP_STALE_IDEMPOTENCY = """
DELETE FROM idempotency i
USING unnest($1::bigint[], $2::bigint[], $3::text[], $4::bigint[]) v(s, t, k, n)
WHERE i.shard_key = v.s AND i.token_id = v.t AND i.key = v.k AND i.keep_until <= v.n"""

# The write: rows are locked in key order if they are still as they were read, and `ok` says
# whether all of them are. All or nothing: a request may change a code and a limit's tally.
# Letting one row win and the other lose would count a use that did not happen.
POSTGRES_WRITE_HOLD = """
hold AS MATERIALIZED (SELECT 1 FROM unnest($1::bigint[], $2::text[]) v(d, h)
    JOIN profile f ON f.database_id = v.d AND f.profile_id = v.h
    ORDER BY f.database_id, f.profile_id FOR KEY SHARE OF f)"""
POSTGRES_WRITE_HOLD_OK = "(SELECT count(*) FROM hold) = cardinality($1::bigint[])"

POSTGRES_WRITE_CODES = """
v AS MATERIALIZED (SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[],
    $5::bigint[], $6::bigint[], $7::bigint[], $8::text[], $9::bigint[], $10::bigint[],
    $11::text[], $12::bigint[])
    v(expires_at, expiry_source, attached_at, activated_at, attach_count, activation_count,
        database_id, profile_id, version, s, c, read_version)),
l AS MATERIALIZED (SELECT 1 FROM v JOIN promo_code p ON p.shard_key = v.s AND p.code_key = v.c
    WHERE p.version = v.read_version ORDER BY p.shard_key, p.code_key FOR UPDATE OF p)"""
POSTGRES_WRITE_CODES_OK = "(SELECT count(*) FROM l) = cardinality($1::bigint[])"
POSTGRES_WRITE_CODES_DO = """
won AS (UPDATE promo_code p SET expires_at = v.expires_at, expiry_source = v.expiry_source,
        attached_at = v.attached_at, activated_at = v.activated_at,
        attach_count = v.attach_count, activation_count = v.activation_count,
        database_id = v.database_id, profile_id = v.profile_id, version = v.version
    FROM v, ok WHERE ok.yes AND p.shard_key = v.s AND p.code_key = v.c
        AND p.version = v.read_version)"""

POSTGRES_WRITE_TALLIES = """
tv AS MATERIALIZED (SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[],
    $5::text[], $6::text[], $7::bigint[]) tv(n, q, version, s, k, x, read_version)),
tl AS MATERIALIZED (SELECT 1 FROM tv
    JOIN tally t ON t.shard_key = tv.s AND t.kind = tv.k AND t.subject = tv.x
    WHERE t.version = tv.read_version ORDER BY t.shard_key, t.kind, t.subject FOR UPDATE OF t)"""
POSTGRES_WRITE_TALLIES_OK = "(SELECT count(*) FROM tl) = cardinality($1::bigint[])"
POSTGRES_WRITE_TALLIES_DO = """
twon AS (UPDATE tally t SET count = tv.n, next_seq = tv.q, version = tv.version
    FROM tv, ok WHERE ok.yes AND t.shard_key = tv.s AND t.kind = tv.k AND t.subject = tv.x
        AND t.version = tv.read_version)"""

POSTGRES_WRITE_NEW_CODES = f"""
new_codes AS (INSERT INTO promo_code ({CODE_COLUMNS})
    SELECT n.* FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::bigint[],
        $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[],
        $12::bigint[], $13::text[], $14::bigint[], $15::bigint[], $16::text[]) n, ok
    WHERE ok.yes)"""
POSTGRES_WRITE_NEW_TALLIES = """
new_tallies AS (INSERT INTO tally (shard_key, kind, subject, count, next_seq, version)
    SELECT n.* FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::bigint[],
        $6::bigint[]) n, ok WHERE ok.yes)"""
POSTGRES_WRITE_PROFILES = f"""
new_profiles AS (INSERT INTO profile ({PROFILE_COLUMNS})
    SELECT n.* FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::bigint[],
        $6::bigint[]) n, ok WHERE ok.yes)"""
POSTGRES_WRITE_IDENTITIES = """
new_identities AS (INSERT INTO profile_identity
        (database_id, kind, field_name, value, profile_id)
    SELECT n.* FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[]) n, ok
    WHERE ok.yes)"""
POSTGRES_WRITE_DETACHED = """
gone AS (DELETE FROM attachment a
    USING unnest($1::bigint[], $2::text[], $3::bigint[], $4::text[]) n(s, c, d, h), ok
    WHERE ok.yes AND a.shard_key = n.s AND a.code_key = n.c
        AND a.database_id = n.d AND a.profile_id = n.h RETURNING 1)"""
# Detached and attached again in one batch: the new holder's row waits until the old one is gone.
POSTGRES_AFTER_DETACHED = " AND (SELECT count(*) FROM gone) >= 0"
POSTGRES_WRITE_ATTACHED = """
held AS (INSERT INTO attachment
        (shard_key, code_key, database_id, profile_id, attached_at, personal)
    SELECT n.* FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::text[], $5::bigint[],
        $6::bigint[]) n, ok WHERE ok.yes)"""
POSTGRES_WRITE_IDEMPOTENCY = f"""
remembered AS (INSERT INTO idempotency ({IDEMPOTENCY_COLUMNS})
    SELECT n.* FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::bytea[], $5::bigint[],
        $6::text[], $7::text[], $8::bytea[], $9::bigint[]) n, ok WHERE ok.yes)"""
POSTGRES_WRITE_EVENTS = f"""
happened AS (INSERT INTO event ({EVENT_COLUMNS})
    SELECT n.* FROM unnest($1::bigint[], $2::bytea[], $3::bigint[], $4::bigint[], $5::bigint[],
        $6::text[], $7::text[], $8::bigint[], $9::bigint[], $10::text[], $11::bigint[],
        $12::bigint[], $13::bigint[], $14::bigint[], $15::text[]) n, ok WHERE ok.yes)"""

POSTGRES_FIND_PROFILES = """
SELECT v.o, f.profile_id
FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[]) WITH ORDINALITY v(d, k, n, x, o)
JOIN profile_identity f ON f.database_id = v.d AND f.kind = v.k
    AND f.field_name = v.n AND f.value = v.x
ORDER BY v.o, f.profile_id"""

POSTGRES_GET_CODES = f"""
SELECT v.o, {", ".join(_CODE_OF_P.values())}
FROM unnest($1::bigint[], $2::text[]) WITH ORDINALITY v(s, c, o)
JOIN promo_code p ON p.shard_key = v.s AND p.code_key = v.c"""

POSTGRES_KNOWN_KEYS = """
SELECT p.code_key FROM unnest($1::bigint[], $2::text[]) v(s, c)
JOIN promo_code p ON p.shard_key = v.s AND p.code_key = v.c"""

POSTGRES_INSERT_CODES = f"""
INSERT INTO promo_code ({CODE_COLUMNS})
SELECT n.* FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::bigint[],
    $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[],
    $12::bigint[], $13::text[], $14::bigint[], $15::bigint[], $16::text[]) n
ON CONFLICT (shard_key, code_key) DO NOTHING"""
