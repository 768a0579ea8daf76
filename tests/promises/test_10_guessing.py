"""Guessing is stopped, exactly, and who does not guess notices nothing (row 10)."""

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from promint.domain.model import EventKind, Scope
from tests.conftest import STORES, Stores
from tests.promises.proof import Proof, control, promise
from tests.races.builds import build_with
from tests.races.gate import Gate
from tests.races.ledger import demand, rows
from tests.races.requests import Answer, Request, activate
from tests.running import Running

GUARD = "tests.promises.faults.guard:"

CLIENTS = 50
PROCESSES = {"sqlite": 1, "postgres": 3}

LIMITS = {"TOKEN": 150, "NETWORK": 60, "PROGRAM": 240}
GUESSER, NEIGHBOUR, ELSEWHERE = "127.0.0.1", "127.0.0.9", "127.7.0.1"


@dataclass
class Guessing:
    """A service over whose program guessers and customers come, from different networks."""

    service: Running
    log: Path
    program: int

    def caller(self) -> Running:
        """Return the service with a token of its own."""
        name = f"caller-{os.urandom(4).hex()}"
        secret, _ = self.service.administer(lambda a: a.create_token(name, frozenset(Scope)))
        return replace(self.service, token=secret)


def settings() -> dict[str, str]:
    return {f"PROMINT_WRONG_CODES_PER_{name}": str(limit) for name, limit in LIMITS.items()}


def begin(service: Running, log: Path) -> Guessing:
    service.environment = {**service.environment, **settings()}
    service.log = log
    service.start()
    return Guessing(service, log, service.program(["RIGHT"]))


@pytest.fixture(params=STORES)
def guessing(request: pytest.FixtureRequest, stores: Stores, tmp_path: Path) -> Iterator[Guessing]:
    kind = request.param
    service = Running(stores.new(kind), PROCESSES[kind])
    try:
        yield begin(service, tmp_path / "log")
    finally:
        service.stop()


def look_up(program: int, code: str) -> Request:
    return Request("promocodes/get", {"loyalty_id": program, "code": code})


def guesses(program: int, count: int) -> list[Request]:
    """Return wrong codes, looked up and activated in turn."""
    return [
        (look_up if number % 2 else activate)(program, f"WRONG-{number}") for number in range(count)
    ]


def told(answers: list[Answer]) -> Counter[str]:
    return Counter(answer.reason for answer in answers)


def guess_from(caller: Running, address: str, requests: list[Request]) -> list[Answer]:
    with Gate(caller, CLIENTS, address=address) as gate:
        return gate.release(requests)


def is_exact(answers: list[Answer], limit: int) -> None:
    found = told(answers)
    demand(found.keys() <= {"code_not_found", "throttled"}, found)
    demand(
        found["code_not_found"] == limit, found["code_not_found"], "answers where", limit, "may be"
    )


def guess_in_a_burst(guessing: Guessing) -> None:
    """Send many wrong codes together, and the right one last: nobody may be told that it is."""
    caller = guessing.caller()
    codes = [*(f"WRONG-{number}" for number in range(200)), "RIGHT"]
    with Gate(caller, len(codes)) as gate:
        answers = gate.release([look_up(guessing.program, code) for code in codes])
    is_exact(answers[:-1], LIMITS["NETWORK"])
    demand(answers[-1].reason == "throttled", "the right code was told after", told(answers))


@promise(10)
def test_no_wrong_code_is_answered_beyond_the_limit_of_the_network(
    guessing: Guessing, proof: Proof
) -> None:
    started = time.time()
    count = proof.size(quick=3_000, night=100_000)
    answers = guess_from(guessing.caller(), GUESSER, guesses(guessing.program, count))
    proof.trials(count, "wrong codes")

    is_exact(answers, LIMITS["NETWORK"])
    assert {answer.status for answer in answers if answer.reason == "throttled"} == {429}
    (events,) = rows(
        guessing.service.url,
        "SELECT count(*), min(at) FROM event WHERE kind = $1 AND shard_key BETWEEN 0 AND 4095",
        int(EventKind.GUESSING_STOPPED),
    )
    assert events[0] == 1
    assert events[1] / 1e6 - started < 60
    written = guessing.log.read_text()
    assert written.count("guessing is stopped: network 127.0.0.0/24 sent 60 wrong codes") == 1
    assert "WRONG-" not in written


@promise(10)
def test_no_wrong_code_is_answered_beyond_the_limit_of_a_token_or_of_a_program(
    guessing: Guessing, proof: Proof
) -> None:
    """One token from four networks; then a second and a third, until the program is full."""
    one, second, third = (guessing.caller() for _ in range(3))

    def guess(caller: Running, first: int) -> list[Answer]:
        networks = [f"127.{first}.{number}.1" for number in range(4)]
        with ThreadPoolExecutor(4) as pool:
            waves = pool.map(
                lambda network: guess_from(caller, network, guesses(guessing.program, 300)),
                networks,
            )
            return [answer for wave in waves for answer in wave]

    is_exact(guess(one, 20), LIMITS["TOKEN"])
    more = guess(second, 30) + guess(third, 40)
    is_exact(more, LIMITS["PROGRAM"] - LIMITS["TOKEN"])
    proof.trials(3 * 4 * 300, "wrong codes")


@promise(10)
def test_who_sends_right_codes_loses_nothing_while_others_guess(
    guessing: Guessing, proof: Proof
) -> None:
    count = proof.size(quick=3_000, night=30_000)
    guesser = guessing.caller()
    customers = [
        (guessing.caller(), address) for address in (GUESSER, NEIGHBOUR, ELSEWHERE, ELSEWHERE)
    ]
    right = [look_up(guessing.program, "RIGHT")] * 400

    with ThreadPoolExecutor(len(customers) + 1) as pool:
        guessed = pool.submit(guess_from, guesser, GUESSER, guesses(guessing.program, count))
        served = [pool.submit(guess_from, caller, address, right) for caller, address in customers]

    for wave in served:
        assert told(wave.result()) == {"": len(right)}
    is_exact(guessed.result(), LIMITS["NETWORK"])
    proof.trials(len(customers) * len(right), "right codes beside a guesser")


@promise(10)
def test_whoever_is_over_the_limit_is_told_nothing_of_right_codes_either(
    guessing: Guessing,
) -> None:
    caller = guessing.caller()
    guess_from(caller, GUESSER, guesses(guessing.program, 200))

    reply = caller.call("promocodes/get", {"loyalty_id": guessing.program, "code": "RIGHT"})

    assert (reply.status, reply.error, reply.reason) == (429, 429, "throttled")
    assert reply.json["error_text"] == "Too many requests"
    assert 1 <= int(reply.headers["retry-after"]) <= 61


@promise(10, store="sqlite")
def test_of_a_burst_nothing_is_told_beyond_the_limit(
    stores: Stores, tmp_path: Path, proof: Proof
) -> None:
    service = build_with(GUARD + "look_ups_take_long", stores.new("sqlite"))
    try:
        guess_in_a_burst(begin(service, tmp_path / "log"))
        proof.trials(200, "wrong codes at once")
    finally:
        service.stop()


@control(10, fault="guesses_counted_carelessly", store="postgres")
def test_the_count_finds_a_build_that_counts_carelessly(
    stores: Stores, tmp_path: Path, proof: Proof
) -> None:
    def attempt(_: int) -> None:
        service = build_with(GUARD + "guesses_counted_carelessly", stores.new("postgres"), 3)
        try:
            guessing = begin(service, tmp_path / "log")
            answers = guess_from(guessing.caller(), GUESSER, guesses(guessing.program, 1_000))
            is_exact(answers, LIMITS["NETWORK"])
        finally:
            service.stop()

    proof.control(attempt, runs=5)


@control(10, fault="guesses_told_late", store="sqlite")
def test_the_burst_finds_a_build_that_tells_late(
    stores: Stores, tmp_path: Path, proof: Proof
) -> None:
    def attempt(_: int) -> None:
        service = build_with(GUARD + "guesses_told_late", stores.new("sqlite"))
        try:
            guess_in_a_burst(begin(service, tmp_path / "log"))
        finally:
            service.stop()

    proof.control(attempt)


@promise(10, store="sqlite")
def test_the_address_that_a_trusted_proxy_reports_counts(stores: Stores, tmp_path: Path) -> None:
    service = Running(stores.new("sqlite"), environment={"PROMINT_TRUSTED_PROXIES": "127.0.0.1"})
    try:
        guessing = begin(service, tmp_path / "log")

        def guess(customer: str, count: int) -> Counter[str]:
            caller = guessing.caller()
            header = {"x-forwarded-for": f"1.2.3.4, {customer}"}
            fields = {"loyalty_id": guessing.program, "code": "WRONG"}
            replies = [caller.call("promocodes/get", fields, headers=header) for _ in range(count)]
            return Counter(reply.reason for reply in replies)

        assert guess("198.51.100.1", 61) == {"code_not_found": 60, "throttled": 1}
        assert guess("198.51.100.200", 2) == {"throttled": 2}
        assert guess("203.0.113.1", 2) == {"code_not_found": 2}
    finally:
        service.stop()


@promise(10)
def test_a_trusted_proxy_that_is_no_address_is_said_at_the_start(tmp_path: Path) -> None:
    started = subprocess.run(
        [sys.executable, "-m", "promint", "serve", "--database", f"sqlite:///{tmp_path}/a.db"],
        env={**os.environ, "PROMINT_TRUSTED_PROXIES": "proxy.example.com"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert started.returncode != 0
    assert "PROMINT_TRUSTED_PROXIES" in started.stderr + started.stdout
