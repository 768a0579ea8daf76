"""What a check of the ledger takes: python -m tests.ledger.measure sqlite|postgres [CODES].

Every code is attached and activated. Time and memory of `promint doctor --ledger`, first alone,
then beside a writer; the writer's rate without the check and with it.
"""

import asyncio
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import apsw
import asyncpg

from promint.bootstrap import make_store
from promint.config import read_settings
from promint.domain.model import Holder, LoyaltyProgram, ProfileKey, Scope
from promint.domain.rude import NO_WORDS
from promint.service.drawing import CodeSource
from promint.service.generation import Generation
from tests.postgres import PostgresServer
from tests.store.bulk import means_of
from tests.world import SECOND, World

CALLERS = 16
WARM_S = 8.0

FILL = """
UPDATE promo_code SET attached_at = created_at + 1000000, activated_at = created_at + 2000000,
    attach_count = 1, activation_count = 1, database_id = {database}, profile_id = '{profile}',
    version = 3;
INSERT INTO attachment SELECT shard_key, code_key, database_id, profile_id, attached_at, 1
FROM promo_code;
INSERT INTO event SELECT shard_key, {id3}, 3, attached_at, 1, 'fill', code_key, 2, database_id,
    profile_id, 1, 0, NULL, expires_at, NULL FROM promo_code;
INSERT INTO event SELECT shard_key, {id4}, 4, activated_at, 1, 'fill', code_key, 3, database_id,
    profile_id, 1, 1, activated_at, expires_at, NULL FROM promo_code
"""
SQLITE_ID = "unhex(printf('%08x%016x', {at} / 1000000, seq * 2 + {n}))"
POSTGRES_ID = (
    "decode(lpad(to_hex({at} / 1000000), 8, '0') || lpad(to_hex(seq * 2 + {n}), 16, '0'), 'hex')"
)


def made(url: str, codes: int) -> None:
    world = World(url)
    _, token = world.run(world.administration.create_token("measure", frozenset(Scope)))
    world.with_token(id=token.id)
    program = world.program()
    database = world.database()
    holder = world.profile(database, "a@example.com")
    generation = Generation(means_of(world), CodeSource(os.urandom, NO_WORDS))
    world.run(generation.generate(program.id, codes, template="G-{14}"))
    world.close()
    form = SQLITE_ID if url.startswith("sqlite") else POSTGRES_ID
    fill = FILL.format(
        database=database.id,
        profile=holder.profile_id,
        id3=form.format(at="attached_at", n=0),
        id4=form.format(at="activated_at", n=1),
    )
    if url.startswith("sqlite"):
        with closing(apsw.Connection(url.removeprefix("sqlite:///"))) as connection:
            connection.execute(f"BEGIN; {fill}; COMMIT")
        return

    async def filled() -> None:
        connection = await asyncpg.connect(url)
        await connection.execute(fill)
        await connection.execute("VACUUM ANALYZE")
        await connection.close()

    asyncio.run(filled())


async def written(
    world: World, program: LoyaltyProgram, holder: Holder, until: Callable[[], bool]
) -> int:
    """Attach and activate new codes, several at a time, until told; return how many requests."""
    key = ProfileKey(holder.database_id, profile_id=holder.profile_id)
    count = 0

    async def one(caller: int) -> None:
        nonlocal count
        while not until():
            code = f"W-{caller}-{count}-{os.urandom(4).hex()}"
            world.now += 1
            await world.service.attach(world.call(), program.id, key, code)
            await world.service.activate(world.call(), program.id, code)
            count += 2

    await asyncio.gather(*map(one, range(CALLERS)))
    return count


def checked(url: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "promint", "doctor", "--ledger", "--database", url],
        stdout=subprocess.PIPE,
        text=True,
    )


def measured(url: str, codes: int) -> None:
    made(url, codes)
    begun = time.monotonic()
    out, _ = checked(url).communicate()
    alone_s = time.monotonic() - begun
    peak_kib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    say(f"{out.strip()}\n  alone: {alone_s:.1f} s, {peak_kib / 1024:.0f} MiB")

    world = World(url)
    world.now += 10**9 * SECOND // 1000
    world.with_token(id=1)
    program = world.program(code_matching="exact")
    holder = world.profile(world.database(), "writer@example.com")
    end = time.monotonic() + WARM_S
    before = world.run(written(world, program, holder, lambda: time.monotonic() > end)) / WARM_S
    process = checked(url)
    begun = time.monotonic()
    count = world.run(written(world, program, holder, lambda: process.poll() is not None))
    beside_s = time.monotonic() - begun
    line = process.communicate()[0].strip()
    say(f"{line}\n  beside a writer: {beside_s:.1f} s")
    say(f"  the writer: {before:.0f} requests/s without, {count / beside_s:.0f} with the check")
    if url.startswith("sqlite"):
        log = Path(url.removeprefix("sqlite:///") + "-wal")
        say(f"  the write-ahead log: {log.stat().st_size / 2**20:.0f} MiB")
    world.close()


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    kind, codes = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000
    if kind == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            measured(f"sqlite:///{folder}/measure.db", codes)
        return
    server = PostgresServer.start()
    try:
        url = server.create_database()
        asyncio.run(make_store(read_settings({}, database_url=url)).migrate())
        measured(url, codes)
    finally:
        server.stop()


if __name__ == "__main__":
    main()
