"""A revoked or rotated token is dead everywhere within a second."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from promint.domain.errors import TokenInvalid, TokenNotFound
from promint.domain.model import Scope, Token
from promint.service.access import is_token, new_token
from tests.conftest import STORES, Stores
from tests.promises.proof import Proof, control, promise
from tests.promises.test_27_no_token_in_the_store import make_tokens
from tests.races.ledger import demand
from tests.running import Running
from tests.world import World

RACERS = 64
PROCESSES = {"sqlite": 1, "postgres": 3}
CLIENTS = 6


@promise(29)
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


@promise(29)
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


def end_under_load(service: Running, how: str) -> int:
    """Revoke or rotate a token that is in use; a second later it is refused everywhere.

    Returns how many requests came a second later.
    """
    name = f"used-{how}-{time.monotonic_ns()}"
    secret, token = service.administer(lambda a: a.create_token(name, frozenset(Scope)))
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
    return len(after)


@promise(29)
@pytest.mark.parametrize("how", ["revoked", "rotated"])
@pytest.mark.parametrize("kind", STORES)
def test_a_token_is_dead_everywhere_within_a_second(
    stores: Stores, kind: str, how: str, proof: Proof
) -> None:
    with Running(stores.new(kind), processes=PROCESSES[kind]) as service:
        proof.trials(end_under_load(service, how), "requests a second later")


@control(29, fault="tokens are believed for a minute", store="sqlite")
def test_the_load_finds_a_build_that_believes_for_a_minute(stores: Stores, proof: Proof) -> None:
    with Running(stores.new("sqlite"), environment={"PROMINT_CACHE_S": "60"}) as service:
        proof.control(lambda _: end_under_load(service, "revoked"))
