"""Facts about a PostgreSQL database and how one gets into it."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from promint.store import migrations, sql
from promint.store.facts import EVENTS_OF_PROGRAMS, PostgresFacts
from promint.store.postgres.sessions import Connection

SETTINGS = (
    *("fsync", "synchronous_commit", "full_page_writes", "data_sync_retry"),
    *("zero_damaged_pages", "ignore_checksum_failure", "default_transaction_read_only"),
    *("synchronous_standby_names", "autovacuum", "log_statement", "log_parameter_max_length"),
)

_SETTINGS = "SELECT name, setting FROM pg_settings WHERE name = ANY($1)"
_SESSION = """
SELECT current_setting('server_version_num')::int,
       pg_is_in_recovery(),
       pg_encoding_to_char(encoding),
       (SELECT rolsuper FROM pg_roles WHERE rolname = current_user),
       coalesce(ssl, false),
       client_dn IS NOT NULL OR coalesce(gss_authenticated, false)
FROM pg_database
LEFT JOIN pg_stat_ssl s ON s.pid = pg_backend_pid()
LEFT JOIN pg_stat_gssapi g ON g.pid = pg_backend_pid()
WHERE datname = current_database()"""
_CLOCK = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
_UNLOGGED = """
SELECT c.relname FROM pg_class c
JOIN pg_class ours ON ours.oid = to_regclass('promint_schema')
WHERE c.relnamespace = ours.relnamespace AND c.relkind = 'r' AND c.relpersistence = 'u'
ORDER BY c.relname"""


async def postgres_facts(
    dsn: str, connection: Connection, schema: int, now: Callable[[], int]
) -> PostgresFacts:
    """Return the facts of a session; `now` is in UTC microseconds."""
    session = await connection.fetchrow(_SESSION)
    assert session is not None
    version, is_replica, encoding, is_superuser, is_encrypted, is_authenticated = session
    before = now()
    clock = await connection.fetchval(_CLOCK)
    ours = (before + now()) // 2
    newest = None
    if schema == migrations.latest():
        newest = await _newest_event_at(connection)
    return PostgresFacts(
        hosts=hosts_of(dsn, os.environ),
        password=password_of(dsn, os.environ),
        is_authenticated=is_authenticated,
        version=version,
        is_replica=is_replica,
        settings={row[0]: row[1] for row in await connection.fetch(_SETTINGS, SETTINGS)},
        encoding=encoding,
        schema=schema,
        latest_schema=migrations.latest(),
        unlogged=tuple(name for (name,) in await connection.fetch(_UNLOGGED)),
        clock_ahead_us=clock - ours,
        is_encrypted=is_encrypted,
        is_superuser=is_superuser,
        newest_event_at=newest,
    )


def hosts_of(dsn: str, environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the hosts that a URL names, without ports; the socket is an empty one."""
    parts = urlsplit(dsn)
    named = parts.netloc.rpartition("@")[2] or ",".join(parse_qs(parts.query).get("host", []))
    hosts = (named or environment.get("PGHOST", "")).split(",")
    return tuple(unquote(_without_port(host)) for host in hosts)


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def password_of(dsn: str, environment: Mapping[str, str]) -> str | None:
    """Return the password that goes with a URL, None where there is none.

    One that a file of passwords may hold is not looked up; it counts as a good one.
    """
    parts = urlsplit(dsn)
    if parts.password is not None:
        return unquote(parts.password)
    given = parse_qs(parts.query, keep_blank_values=True).get("password")
    if given:
        return given[0]
    if "PGPASSWORD" in environment:
        return environment["PGPASSWORD"]
    kept = Path(environment.get("PGPASSFILE", "~/.pgpass")).expanduser()
    return "(in a file)" if kept.is_file() else None


async def _newest_event_at(connection: Connection) -> int | None:
    programs = [sql.program_value(row) for row in await connection.fetch(sql.PROGRAMS)]
    newest = [
        await connection.fetchval(sql.NEWEST_EVENT, program.first_shard)
        for program in programs[-EVENTS_OF_PROGRAMS:]
    ]
    return max((at for at in newest if at is not None), default=None)
