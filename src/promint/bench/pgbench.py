"""The floor of PostgreSQL: pgbench with the same statements, without any service.

Sixteen clients, prepared statements, the settings of the service's own sessions. Each script
works on a program of its own, so that it neither helps nor hinders the service.
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template
from urllib.parse import unquote, urlsplit, urlunsplit

from promint.bench import numbering
from promint.bench.processes import BenchFailed
from promint.domain.model import EventKind
from promint.store import sql

CLIENTS = 16
SPREAD = 1.5
"""How much further than the average one client may come."""

OPTIONS = "-c jit=off -c plan_cache_mode=force_generic_plan"

_EVERY = {
    "step": str(numbering.STEP),
    "modulus": str(numbering.MODULUS),
    "clients": str(CLIENTS),
    "columns": sql.CODE_COLUMNS,
    "never": str(sql.NEVER),
    "key": "lpad(to_hex(:number::bigint), 9, '0')",
    # Ids that rise with time, as the service's do: a random one would be a dearer insert.
    "event_id": "int8send((extract(epoch from clock_timestamp()) * 1000000)::bigint) "
    "|| int4send(:client_id::integer)",
}

_DRAW = """\\set place random(1, $codes)
\\set number :place * $step % $modulus
"""
_RECORD = """
INSERT INTO event (shard_key, event_id, kind, at, token_id, request_id, code_key, version,
    database_id, profile_id, attach_count, activation_count, activated_at)
SELECT shard_key, $event_id, $kind, $now, 1, '0123456789abcdef01234567', code_key, version,
    database_id, profile_id, attach_count, activation_count, activated_at FROM u;
"""
_ATTACH = """
u AS (
    UPDATE promo_code p SET attached_at = $now, attach_count = 1, database_id = $database,
        profile_id = lpad(to_hex(:profile::bigint), 24, '0'), version = version + 1
    FROM f WHERE p.shard_key = $shard AND p.code_key = f.code_key AND p.attach_count = 0
    RETURNING p.*),
a AS (
    INSERT INTO attachment (shard_key, code_key, database_id, profile_id, attached_at, personal)
    SELECT shard_key, code_key, database_id, profile_id, $now, 1 FROM u)"""

_GET = """
SELECT $columns FROM promo_code WHERE shard_key = $shard AND code_key = $key;
"""

# Codes are used over and over: each transaction changes a row and writes an event, always.
_ACTIVATE = """
WITH u AS (
    UPDATE promo_code SET activated_at = $now, activation_count = activation_count + 1,
        version = version + 1
    WHERE shard_key = $shard AND code_key = $key AND attach_count > 0 RETURNING *)"""

# Each client counts on by itself, so that every code is named once.
_NAME = """\\set turn :turn + 1
\\set number ($first + :turn * $clients + :client_id) * $step % $modulus
\\set profile random(1, $profiles)
WITH f AS (SELECT $key COLLATE "C" AS code_key),"""

_PICK = """\\set number random(0, $modulus)
\\set profile random(1, $profiles)
WITH f AS (
    SELECT code_key FROM promo_code
    WHERE shard_key = $shard AND attach_count = 0 AND activation_count = 0
        AND (coalesce(expires_at, $never), code_key) >= ($never, $key)
    ORDER BY shard_key, coalesce(expires_at, $never), code_key LIMIT 1 FOR UPDATE SKIP LOCKED),"""

SCRIPTS = {
    "get": (_DRAW, _GET),
    "activate": (_DRAW, _ACTIVATE, _RECORD),
    "attach_named": (_NAME, _ATTACH, _RECORD),
    "attach_any": (_PICK, _ATTACH, _RECORD),
}
_KINDS = {"activate": EventKind.ACTIVATED}
_DONE = re.compile(r"^number of transactions actually processed: ([0-9]+)", re.MULTILINE)
_TPS = re.compile(r"^tps = ([0-9.]+)", re.MULTILINE)
_FAILED = re.compile(r"failed transactions: ([1-9][0-9]*)|aborted")


def is_installed() -> bool:
    """Say whether the machine has pgbench."""
    return shutil.which("pgbench") is not None


@dataclass(frozen=True, slots=True)
class Floor:
    """Transactions a second, and how many numbers from `first` on may have been used up."""

    rate: float
    numbers: int


def whole_seconds(seconds: float) -> int:
    """Return for how long pgbench runs instead: at least one second."""
    return max(1, round(seconds))


def without_password(url: str) -> tuple[str, dict[str, str]]:
    """Return a URL to be an argument, and what else the environment has to say.

    An argument can be read by everyone on the machine.
    """
    parts = urlsplit(url)
    if parts.password is None:
        return url, {}
    login, _, place = parts.netloc.rpartition("@")
    parts = parts._replace(netloc=f"{login.partition(':')[0]}@{place}")
    return urlunsplit(parts), {"PGPASSWORD": unquote(urlsplit(url).password or "")}


def run(url: str, script: str, seconds: float, values: Mapping[str, int]) -> Floor:
    """Run one of `SCRIPTS`; `values` are what it works on.

    Raises:
        BenchFailed: pgbench cannot run, or some transactions failed.
    """
    kind = _KINDS.get(script, EventKind.ATTACHED)
    text = Template("".join(SCRIPTS[script])).substitute(
        _EVERY, **{name: str(value) for name, value in values.items()}, kind=str(int(kind))
    )
    command = shutil.which("pgbench")
    if command is None:
        raise BenchFailed("pgbench is not installed.")
    login, environment = without_password(url)
    with tempfile.TemporaryDirectory(prefix="promint-bench-") as folder:
        path = Path(folder) / f"{script}.sql"
        path.write_text(text)
        done = subprocess.run(  # noqa: S603  # found on the PATH, arguments of our own
            [
                command,
                *("--no-vacuum", "--protocol=prepared", f"--client={CLIENTS}", "--jobs=2"),
                f"--time={whole_seconds(seconds)}",
                f"--file={path}",
                "--define=turn=0",
                login,
            ],
            env={**os.environ, **environment, "PGOPTIONS": OPTIONS},
            capture_output=True,
            text=True,
            check=False,
        )
    found, count = _TPS.search(done.stdout), _DONE.search(done.stdout)
    if (
        done.returncode
        or found is None
        or count is None
        or _FAILED.search(done.stdout + done.stderr)
    ):
        raise BenchFailed(f"pgbench failed: {(done.stderr or done.stdout).strip()[-500:]}")
    # Some clients come further than others.
    return Floor(float(found[1]), int(int(count[1]) * SPREAD) + CLIENTS)
