"""A stolen database holds no token."""

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from promint.domain.model import Scope
from promint.service import administration
from tests.promises.proof import Proof, control, promise
from tests.races.ledger import demand, rows
from tests.world import World

TABLES = (
    "loyalty_program", "promo_code", "attachment", "event", "idempotency", "tally", "batch",
    "profile_database", "profile", "profile_identity", "token", "job", "job_file", "batch_change",
    "wrong_codes",
)  # fmt: skip


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


@promise(27)
def test_a_stolen_database_holds_no_token(world: World, proof: Proof) -> None:
    secrets = make_tokens(world, proof.size(quick=100, night=1_000))
    token = world.run(world.administration.living_token("till-0"))
    secrets.append(world.run(world.administration.rotate_token(token)))

    hold_no_token(world.settings.database_url, secrets)
    proof.trials(len(secrets), "tokens looked for")


@promise(27)
def test_every_table_is_looked_through(world: World) -> None:
    url = world.settings.database_url
    names = (
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        if url.startswith("sqlite")
        else "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
    )

    assert {name for (name,) in rows(url, names)} - {"promint_schema"} == set(TABLES)


@control(27, fault="tokens are kept as they are")
def test_the_search_finds_a_build_that_keeps_tokens_as_they_are(
    url: str, make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch, proof: Proof
) -> None:
    monkeypatch.setattr(administration, "token_digest", lambda text: text.encode())
    world = make_world(url)
    secrets = make_tokens(world, 5)

    proof.control(lambda _: hold_no_token(url, secrets))
