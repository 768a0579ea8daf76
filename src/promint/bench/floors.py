"""The floors of bulk: what the databases' own commands, psql and sqlite3, take for the same.

They bring the same codes, as whole rows, into an empty table with the columns, keys, checks and
indexes of the code table, and write the same columns of the same codes to a file.
"""

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Protocol

import apsw

from promint.bench import preparing
from promint.bench.pgbench import without_password
from promint.bench.processes import BenchFailed, run_command
from promint.bench.samples import Sample
from promint.bootstrap import is_sqlite, sqlite_path
from promint.store import sql
from promint.store.migrations import POSTGRES

CACHE_KIB = 262_144
"""The cache that sqlite3 is given: with its own 2 MB it would be half as fast."""

EXPORTED = (
    "code, created_at, expires_at, attached_at, activated_at, attach_count, activation_count, "
    "database_id, profile_id, batch_id, fields"
)

_EXPORT = Template("SELECT $columns FROM promo_code WHERE shard_key = $shard")
_TABLE = "promint_bench_floor"
_COUNT = "SELECT count(*) FROM promint_bench_floor"


class Floor(Protocol):
    """The commands of one database. Each returns its wall-clock seconds."""

    command: str
    """The program that has to be installed."""

    imports: str
    exports: str
    """What it does, in its own words."""

    separator: str
    null: str
    """How it reads rows."""

    def import_rows(self, sample: Sample, *, is_indexed: bool) -> float:
        """Bring rows into an empty table; with the primary key only unless `is_indexed`.

        Raises:
            BenchFailed: it failed, or some are missing afterwards.
        """

    def export(self, shard: int, path: Path) -> float:
        """Write the codes of a shard to a file.

        Raises:
            BenchFailed: it failed.
        """

    def close(self) -> None:
        """Take away what it made."""


def floor_of(url: str, folder: Path) -> Floor:
    """Return the floor of a store; what it writes is in `folder`."""
    return _Sqlite(sqlite_path(url), folder) if is_sqlite(url) else _Postgres(url)


def is_installed(floor: Floor) -> bool:
    """Say whether the machine has the floor's command."""
    return shutil.which(floor.command) is not None


def _run(command: str, arguments: list[str], environment: Mapping[str, str]) -> float:
    found = shutil.which(command)
    if found is None:
        raise BenchFailed(f"{command} is not installed.")
    return run_command([found, *arguments], environment).seconds


class _Sqlite:
    """sqlite3, over a new file for each import."""

    command = "sqlite3"
    imports = "sqlite3 .import"
    exports = "sqlite3 .mode csv"
    separator = ","
    null = ""

    def __init__(self, path: str, folder: Path) -> None:
        self._path = path
        self._file = folder / "floor.db"

    def import_rows(self, sample: Sample, *, is_indexed: bool) -> float:
        self.close()
        connection = apsw.Connection(str(self._file))
        for statement in self._schema():
            if is_indexed or statement.startswith("CREATE TABLE"):
                connection.execute(statement)
        connection.close()
        seconds = _run(
            self.command,
            [
                *("-cmd", f"PRAGMA cache_size = -{CACHE_KIB}"),
                str(self._file),
                ".mode csv",
                f".import '{sample.rows}' promo_code",
            ],
            {},
        )
        connection = apsw.Connection(str(self._file))
        ((count,),) = connection.execute("SELECT count(*) FROM promo_code")
        connection.close()
        _check(count, sample)
        return seconds

    def _schema(self) -> list[str]:
        """Return the code table and its indexes as this store has them.

        `.import` knows no NULL. An empty text takes as much room in a row, so it stands for NULL,
        in checks and indexes too; a STRICT table would not have it.
        """
        connection = apsw.Connection(self._path, flags=apsw.SQLITE_OPEN_READWRITE)
        rows = connection.execute(
            "SELECT sql FROM sqlite_schema WHERE tbl_name = 'promo_code' AND sql IS NOT NULL "
            "AND type IN ('table', 'index') ORDER BY type DESC"
        ).fetchall()
        connection.close()
        return [
            re.sub(r"\(([a-z_]+) BETWEEN", r"(nullif(\1, '') BETWEEN", str(text))
            .replace("STRICT, ", "")
            .replace(" IS NULL)", " = '')")
            .replace("coalesce(expires_at,", "coalesce(nullif(expires_at, ''),")
            for (text,) in rows
        ]

    def export(self, shard: int, path: Path) -> float:
        select = _EXPORT.substitute(columns=EXPORTED, shard=shard)
        return _run(
            self.command,
            ["-readonly", "-csv", "-header", self._path, f".output '{path}'", f"{select};"],
            {},
        )

    def close(self) -> None:
        for path in self._file.parent.glob(f"{self._file.name}*"):
            path.unlink()


class _Postgres:
    """psql, over a new table for each import."""

    command = "psql"
    imports = r"psql \copy"
    exports = r"psql \copy … to"
    separator = "\t"
    null = r"\N"

    def __init__(self, url: str) -> None:
        self._url = url

    def import_rows(self, sample: Sample, *, is_indexed: bool) -> float:
        self.close()
        like = (
            "INCLUDING ALL"
            if is_indexed
            else "INCLUDING DEFAULTS INCLUDING CONSTRAINTS, PRIMARY KEY (shard_key, code_key)"
        )
        create = f"CREATE TABLE {_TABLE} (LIKE promo_code {like}) {POSTGRES['HOT_TABLE_END']}"
        preparing.execute(self._url, [create], lambda: None)
        seconds = self._psql(rf"\copy {_TABLE} ({sql.CODE_COLUMNS}) from '{sample.rows}'")
        _check(preparing.query(self._url, _COUNT)[0][0], sample)
        return seconds

    def export(self, shard: int, path: Path) -> float:
        select = _EXPORT.substitute(columns=EXPORTED, shard=shard)
        return self._psql(rf"\copy ({select}) to '{path}' with (format csv, header)")

    def _psql(self, command: str) -> float:
        url, environment = without_password(self._url)
        options = ("--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1")
        return _run(self.command, [*options, f"--command={command}", url], environment)

    def close(self) -> None:
        preparing.execute(self._url, [f"DROP TABLE IF EXISTS {_TABLE}"], lambda: None)


def _check(count: int, sample: Sample) -> None:
    if count != sample.count:
        raise BenchFailed(f"The floor has {count:,} codes of {sample.count:,}.")
