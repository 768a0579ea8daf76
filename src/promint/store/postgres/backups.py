"""Copies of a PostgreSQL database, by the server's own tools."""

import asyncio
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from promint.store import Unusable
from promint.store.postgres.facts import hosts_of, password_of
from promint.store.whole_files import whole_file

HEADER = b"PGDMP"
PASSED_ON = {
    "sslmode": "PGSSLMODE",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "sslrootcert": "PGSSLROOTCERT",
    "passfile": "PGPASSFILE",
    "user": "PGUSER",
}


async def back_up(dsn: str, server_major: int, file: Path, *, replace: bool) -> None:
    """Dump a database into `file` in the custom format, as of this moment.

    Raises:
        Unusable: the tool is missing, older than the server, or failed.
    """
    await _demand_tool("pg_dump", server_major)
    with whole_file(file, replace=replace) as part:
        options = ("--format=custom", "--no-password", f"--file={part}")
        await _run("pg_dump", *options, environment=libpq_environment(dsn))
        listed = await _run("pg_restore", "--list", str(part), environment=os.environ)
        if "promint_schema" not in listed:
            raise Unusable("The database has no tables of Promint. Name another with --database.")


async def put_back(dsn: str, server_major: int, file: Path) -> None:
    """Restore a dump into an empty database, whole or not at all.

    Raises:
        Unusable: it is no dump of Promint, the tool is missing, or it failed.
    """
    try:
        with file.open("rb") as opened:
            is_dump = opened.read(len(HEADER)) == HEADER
    except OSError as error:
        raise Unusable(f"{file} cannot be read ({error.strerror}).") from None
    if not is_dump:
        raise Unusable(f"{file} is no backup of a PostgreSQL database.")
    await _demand_tool("pg_restore", server_major)
    environment = libpq_environment(dsn)
    options = ("--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges")
    database = f"--dbname={environment['PGDATABASE']}"
    await _run(
        "pg_restore", *options, "--no-password", database, str(file), environment=environment
    )


def libpq_environment(dsn: str) -> dict[str, str]:
    """Return an environment in which the tools find the database of a URL.

    Not on the command line: everybody on the machine can read that, the password too.
    """
    parts = urlsplit(dsn)
    environment = dict(os.environ)
    hosts = hosts_of(dsn, environment)
    ports = re.findall(r":(\d+)(?=,|$)", parts.netloc.rpartition("@")[2])
    password = password_of(dsn, {"PGPASSFILE": os.devnull})
    query = dict(parse_qsl(parts.query))
    known = {
        "PGHOST": ",".join(hosts),
        "PGPORT": ",".join(ports) or query.get("port", ""),
        "PGUSER": unquote(parts.username or ""),
        "PGDATABASE": unquote(parts.path.lstrip("/")) or query.get("database", ""),
        "PGTARGETSESSIONATTRS": "read-write",
    }
    known |= {PASSED_ON[name]: value for name, value in query.items() if name in PASSED_ON}
    environment |= {name: value for name, value in known.items() if value}
    if password is not None and (parts.password is not None or "password" in query):
        environment["PGPASSWORD"] = password
    environment.setdefault("PGDATABASE", environment.get("PGUSER", "postgres"))
    return environment


async def _demand_tool(name: str, server_major: int) -> None:
    if shutil.which(name) is None:
        raise Unusable(
            f"{name} is not installed. Install the client programs of PostgreSQL "
            f"{server_major} or newer."
        )
    found = re.search(
        r"\(PostgreSQL\) (\d+)", await _run(name, "--version", environment=os.environ)
    )
    major = int(found[1]) if found else 0
    if major < server_major:
        raise Unusable(
            f"{name} is version {major} and the server is version {server_major}. Install the "
            f"client programs of PostgreSQL {server_major} or newer."
        )


async def _run(name: str, *arguments: str, environment: Mapping[str, str]) -> str:
    process = await asyncio.create_subprocess_exec(
        name,
        *arguments,
        env=dict(environment),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        said, complaint = await process.communicate()
    except BaseException:
        process.kill()
        raise
    if process.returncode:
        lines = complaint.decode(errors="replace").strip().splitlines() or ["no reason given"]
        raise Unusable(f"{name} failed: {lines[0].removeprefix(f'{name}: error: ')}.")
    return said.decode(errors="replace")
