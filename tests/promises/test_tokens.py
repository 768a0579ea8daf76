"""Tokens: kept as hashes, dead when revoked, replaced by one (rows 27 and 29)."""

import asyncio
import base64
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

from promint.domain.errors import TokenInvalid, TokenNotFound
from promint.domain.model import Scope, Token
from promint.service import administration
from promint.service.access import is_token, new_token
from tests.conftest import STORES, Stores
from tests.races.ledger import Broken, demand, rows
from tests.running import Running
from tests.world import World

TOKENS = 100
"""Row 27 asks for 1,000."""
RACERS = 64
PROCESSES = {"sqlite": 1, "postgres": 3}
CLIENTS = 6
TABLES = (
    "loyalty_program", "promo_code", "attachment", "event", "idempotency", "tally", "batch",
    "profile_database", "profile", "profile_identity", "token", "job", "job_file", "batch_change",
    "wrong_codes",
)  # fmt: skip


# -- at rest -------------------------------------------------------------------------------


def forms(secret: str) -> Iterator[bytes]:
    """Yield a token as it could stand somewhere: whole or its secret part, in every encoding."""
    for text in (secret, secret.removeprefix("promint_")):
        raw = text.encode()
        yield from (raw, raw.hex().encode(), raw.hex().upper().encode())
        yield from (base64.b64encode(raw).rstrip(b"="), base64.b32encode(raw).rstrip(b"="))
        yield quote(text).encode()
        # Inside a longer text base64 begins at another of three places.
        yield base64.b64encode(b"x" + raw)[4:-4]
        yield base64.b64encode(b"xx" + raw)[4:-4]


def dump(url: str) -> bytes:
    """Return everything that a store holds, as its database writes it out."""
    if url.startswith("sqlite:///"):
        path = Path(url.removeprefix("sqlite:///"))
        return b"".join(
            file.read_bytes() for file in path.parent.glob(f"{path.name}*") if file.is_file()
        )
    return "\n".join(
        row for table in TABLES for (row,) in rows(url, f"SELECT t::text FROM {table} t")
    ).encode()


def hold_no_token(url: str, secrets: list[str]) -> None:
    kept = dump(url)
    assert b"till-0" in kept
    found = [secret for secret in secrets if any(form in kept for form in forms(secret))]
    demand(not found, len(found), "of", len(secrets), "tokens are in the store")


def make_tokens(world: World, count: int) -> list[str]:
    async def make() -> list[str]:
        return [
            (await world.administration.create_token(f"till-{number}", frozenset(Scope)))[0]
            for number in range(count)
        ]

    return world.run(make())


def test_a_stolen_database_holds_no_token(world: World) -> None:
    secrets = make_tokens(world, TOKENS)
    token = world.run(world.administration.living_token("till-0"))
    secrets.append(world.run(world.administration.rotate_token(token)))

    hold_no_token(world.settings.database_url, secrets)


def test_every_table_is_looked_through(world: World) -> None:
    url = world.settings.database_url
    names = (
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        if url.startswith("sqlite")
        else "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
    )

    assert {name for (name,) in rows(url, names)} - {"promint_schema"} == set(TABLES)


def test_the_search_finds_a_build_that_keeps_tokens_as_they_are(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(administration, "token_digest", lambda text: text.encode())

    with pytest.raises(Broken, match="5 of 5"):
        hold_no_token(world.settings.database_url, make_tokens(world, 5))


# -- what is no token ----------------------------------------------------------------------


def test_what_cannot_be_a_token_is_refused_without_the_store(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    (secret,) = make_tokens(world, 1)
    stranger = new_token(b"x" * 20)
    asked = []

    async def token(digest: bytes) -> Token | None:
        asked.append(digest)
        return None

    monkeypatch.setattr(world.service._tokens, "_load", token)
    for number in range(len("promint_"), len(secret)):
        wrong = secret[:number] + ("a" if secret[number] != "a" else "b") + secret[number + 1 :]
        assert not is_token(wrong)
        with pytest.raises(TokenInvalid):
            world.run(world.service.authenticate(wrong))

    assert asked == []
    monkeypatch.undo()
    with pytest.raises(TokenInvalid):
        world.run(world.service.authenticate(stranger))
    assert world.run(world.service.authenticate(secret)).name == "till-0"


# -- revoked and rotated -------------------------------------------------------------------


def test_of_many_who_rotate_a_token_one_gets_a_new_one(world: World) -> None:
    (old,) = make_tokens(world, 1)
    seen = world.run(world.administration.living_token("till-0"))

    async def race() -> list[str | BaseException]:
        racers = (world.administration.rotate_token(seen) for _ in range(RACERS))
        return await asyncio.gather(*racers, return_exceptions=True)

    told = world.run(race())

    (new,) = [one for one in told if isinstance(one, str)]
    assert sum(isinstance(one, TokenNotFound) for one in told) == RACERS - 1
    token = world.run(world.service.authenticate(new))
    assert (token.id, token.name, token.scopes) == (seen.id, "till-0", seen.scopes)
    with pytest.raises(TokenInvalid):
        world.run(world.service.authenticate(old))


@contextmanager
def calling(service: Running, token: str, program: int) -> Iterator[list[tuple[float, str]]]:
    """Call from several clients, over all processes; collect when each asked and what it heard."""
    told: list[tuple[float, str]] = []
    is_over = threading.Event()

    def call(number: int) -> None:
        while not is_over.is_set():
            asked_at = time.monotonic()
            fields = {"loyalty_id": program, "code": "A"}
            place = number % len(service.ports)
            reply = service.call("promocodes/get", fields, place=place, token=token)
            told.append((asked_at, reply.reason))

    threads = [threading.Thread(target=call, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        yield told
    finally:
        is_over.set()
        for thread in threads:
            thread.join()


def end_under_load(service: Running, how: str) -> None:
    """Revoke or rotate a token that is in use; a second later it is refused everywhere."""
    secret, token = service.administer(lambda a: a.create_token(f"used-{how}", frozenset(Scope)))
    program = service.program(["A"])
    with calling(service, secret, program) as told:
        time.sleep(0.5)
        if how == "revoked":
            service.administer(lambda a: a.revoke_token(token.name))
        else:
            service.administer(lambda a: a.rotate_token(token))
        ended_at = time.monotonic()
        time.sleep(2)
    before = [reason for asked_at, reason in told if asked_at < ended_at - 1]
    after = [reason for asked_at, reason in told if asked_at > ended_at + 1]
    assert after
    assert set(before) <= {"", "token_invalid"}
    demand(set(after) == {"token_invalid"}, "a second later it was told", set(after))


@pytest.mark.parametrize("how", ["revoked", "rotated"])
@pytest.mark.parametrize("kind", STORES)
def test_a_token_is_dead_everywhere_within_a_second(stores: Stores, kind: str, how: str) -> None:
    with Running(stores.new(kind), processes=PROCESSES[kind]) as service:
        end_under_load(service, how)


def test_the_load_finds_a_build_that_believes_for_a_minute(stores: Stores) -> None:
    with (
        Running(stores.new("sqlite"), environment={"PROMINT_CACHE_S": "60"}) as service,
        pytest.raises(Broken),
    ):
        end_under_load(service, "revoked")
