"""How long a refusal takes says nothing of what is there.

Quick, which may run on a busy machine, reports the figure; night and release assert it.
"""

import secrets
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from promint.service.access import TOKEN_PREFIX, _base62, new_token
from tests.conftest import STORES, Stores
from tests.promises import timing
from tests.promises.proof import Proof, control, promise
from tests.promises.results import Tier
from tests.promises.timing import T_MAX, Asked
from tests.promises.walls import EVERYTHING, Tenant, two_tenants
from tests.races.builds import build_with
from tests.races.ledger import demand
from tests.running import Running

GUARD = "tests.promises.faults.guard:"

ABSENT = 2_000_000_000


@dataclass
class Timed:
    """A service with two tenants."""

    service: Running
    alpha: Tenant
    bravo: Tenant

    def vendor(self, call: str, token: str, **fields: object) -> Asked:
        body = ", ".join(f'"{name}": "{value}"' for name, value in fields.items())
        headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        return "POST", f"/api/v1.1/{call}", f"{{{body}}}".encode(), headers

    def code_of(self, loyalty_id: int, code: str) -> Asked:
        token = self.alpha.tokens[EVERYTHING]
        return self.vendor("promocodes/get", token, loyalty_id=loyalty_id, code=code)

    def managed(self, path: str) -> Asked:
        return (
            "GET",
            f"/manage/v1{path}",
            b"",
            {"authorization": f"Bearer {self.alpha.tokens[EVERYTHING]}"},
        )

    def with_token(self, token: str) -> Asked:
        return self.vendor("promocodes/get", token, loyalty_id=ABSENT, code="A")


def other_tokens(timed: Timed, place: int) -> Callable[[], Asked]:
    """Return requests with a living token's secret, one character of it changed, well summed."""
    secret = timed.alpha.tokens[EVERYTHING].removeprefix("promint_")[:27]

    def ask() -> Asked:
        changed = secret[:place] + secrets.choice("abcdefgh") + secret[place + 1 :]
        return timed.with_token(summed(changed))

    return ask


def summed(secret: str) -> str:
    """Return the token that has this secret part."""
    return f"{TOKEN_PREFIX}{secret}{_base62(zlib.crc32(secret.encode()), 6)}"


Pair = Callable[[Timed], tuple[Callable[[], Asked], Callable[[], Asked]]]
PAIRS: dict[str, Pair] = {
    "a program of another and none": lambda t: (
        lambda: t.code_of(t.bravo.ids["loyalty_id"], t.bravo.code("HELD")),
        lambda: t.code_of(ABSENT, t.bravo.code("HELD")),
    ),
    "an expired code of another and none": lambda t: (
        lambda: t.code_of(t.bravo.ids["loyalty_id"], t.bravo.code("PAST")),
        lambda: t.code_of(t.bravo.ids["loyalty_id"], "NOBODYS-1"),
    ),
    "a database of another and none": lambda t: (
        lambda: t.vendor("databases/get", t.alpha.tokens[EVERYTHING], id=t.bravo.ids["db_id"]),
        lambda: t.vendor("databases/get", t.alpha.tokens[EVERYTHING], id=ABSENT),
    ),
    "a managed program of another and none": lambda t: (
        lambda: t.managed(f"/programs/{t.bravo.ids['loyalty_id']}"),
        lambda: t.managed(f"/programs/{ABSENT}"),
    ),
    "a token wrong at its first and at its last": lambda t: (
        other_tokens(t, 0),
        other_tokens(t, 26),
    ),
    "a token nearly right and any": lambda t: (
        other_tokens(t, 26),
        lambda: t.with_token(new_token(secrets.token_bytes(20))),
    ),
}


@pytest.fixture(scope="module", params=STORES)
def timed(request: pytest.FixtureRequest, stores: Stores) -> Iterator[Timed]:
    with Running(stores.new(request.param)) as service:
        yield Timed(service, *two_tenants(service))


@promise(11, 30)
@pytest.mark.parametrize("pair", PAIRS)
def test_two_refusals_take_the_same_time(timed: Timed, pair: str, proof: Proof) -> None:
    first, second = PAIRS[pair](timed)
    samples = proof.size(quick=200, night=20_000)

    t = timing.compare(timed.service, first, second, samples, proof.seed)

    proof.figure(f"t, {pair}", t)
    proof.trials(2 * samples, "timed refusals")
    demand(proof.tier is Tier.QUICK or abs(t) < T_MAX, pair, "differ, t =", t)


@control(11, 30, fault="a program is looked for before its rights", store="sqlite")
def test_the_measure_finds_a_build_that_looks_first(stores: Stores, proof: Proof) -> None:
    with build_with(GUARD + "foreign_looked_up_first", stores.new("sqlite")) as service:
        timed = Timed(service, *two_tenants(service))
        first, second = PAIRS["a program of another and none"](timed)

        def attempt(seed: int) -> None:
            t = timing.compare(service, first, second, 200, seed)
            demand(abs(t) < T_MAX, "t =", t)

        proof.control(attempt)


@promise(11)
def test_the_measure_is_welch_s() -> None:
    assert timing.welch([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]) == 0
    assert timing.welch([2.0, 4.0, 6.0, 8.0], [1.0, 2.0, 3.0]) == pytest.approx(2.1, abs=0.1)
