"""Clients that are slow or send too much are cut or refused, and nobody else notices."""

import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPException
from statistics import quantiles
from threading import Event

import pytest

from tests.conftest import Stores
from tests.promises.proof import Proof, control, promise
from tests.promises.watching import open_sockets, resident_mb
from tests.races.builds import build_with
from tests.races.ledger import Broken, demand
from tests.running import Running
from tests.web.callers import MEBIBYTE, as_json, connected, head, receive

IMPATIENT = {
    "PROMINT_HEADER_TIMEOUT_S": "1",
    "PROMINT_BODY_TIMEOUT_S": "1",
    "PROMINT_IDLE_TIMEOUT_S": "1",
}
NO_DRAIN = {"PROMINT_DRAIN_TIMEOUT_S": "1"}
STEP_S = 0.1
GIVE_UP_S = 60.0
EXPORTED = 40_000
"""Codes of 255 characters: more than the system keeps for a client that does not read."""


@promise(38, store="sqlite")
def test_many_slow_clients_are_cut_while_others_are_served(stores: Stores, proof: Proof) -> None:
    count = proof.size(quick=50, night=300, release=1_000)
    for _ in proof.rounds(quick=1, night=3, release=10):
        with Running(stores.new("sqlite"), environment=IMPATIENT) as service:
            besieged = besiege(service, count, GIVE_UP_S)
        proof.trials(3 * count, "slow clients")
        proof.figure("p99 of the others, ms", 1000 * quantiles(besieged.others_s, n=100)[98])
        proof.figure("memory for each who does not read, MB", besieged.growth_mb / count)


@promise(38, store="sqlite")
@pytest.mark.parametrize("call", ["promocodes/get", "promocodes/import"])
def test_a_body_of_unknown_length_is_refused_before_it_is_a_tenth_over_its_bound(
    stores: Stores, proof: Proof, call: str
) -> None:
    most = MEBIBYTE if call == "promocodes/get" else 64 * MEBIBYTE
    with Running(stores.new("sqlite")) as service:
        refuse_endless(service, call, most)
    proof.trials(1, "endless bodies")


@promise(38, store="sqlite")
def test_bodies_that_say_that_they_are_huge_are_refused_unread(
    stores: Stores, proof: Proof
) -> None:
    count = proof.size(quick=20, night=1_000)
    with Running(stores.new("sqlite")) as service:
        before = resident_mb(service)
        for _ in range(count):
            with connected(service) as connection:
                connection.sendall(head(service, "promocodes/import", 1_000_000_000))
                answer = receive(connection.makefile("rb"))
                demand(answer.status == 413, "a gigabyte was not refused unread:", answer)
        proof.trials(count, "bodies of a gigabyte")
        proof.figure("memory, MB more", resident_mb(service) - before)


@control(38, fault="no_deadlines", store="sqlite")
def test_a_build_without_deadlines_is_found_out(stores: Stores, proof: Proof) -> None:
    def attempt(_: int) -> None:
        build = build_with(
            f"{__name__}:no_deadlines", stores.new("sqlite"), 1, **IMPATIENT, **NO_DRAIN
        )
        with build as patient:
            besiege(patient, 5, give_up_s=3)

    proof.control(attempt)


@control(38, fault="no_bound", store="sqlite")
def test_a_build_that_reads_whatever_comes_is_found_out(stores: Stores, proof: Proof) -> None:
    def attempt(_: int) -> None:
        build = build_with(f"{__name__}:no_bound", stores.new("sqlite"), 1, **NO_DRAIN)
        with build as endless:
            refuse_endless(endless, "promocodes/get", MEBIBYTE, give_up_s=1)

    proof.control(attempt)


def no_deadlines() -> None:
    """Wait for every client for as long as it likes, as the HTTP server does by itself."""
    from promint.web import server

    assert hasattr(server, "sweep")
    server.sweep = lambda *_: None


def no_bound() -> None:
    """Read a body to its end, however long it is."""
    from promint.web.api import Api

    make = Api.__init__

    def without_bound(self: Api, *arguments: object, **named: object) -> None:
        assert "body_bytes_max" in named
        make(self, *arguments, **{**named, "body_bytes_max": 10**12})  # type: ignore[arg-type]  # passed on

    Api.__init__ = without_bound  # type: ignore[method-assign]  # the fault


# -- slow ----------------------------------------------------------------------------------


class Slow(ABC):
    """A client that takes its time, and looks whether it is still connected."""

    def __init__(self, service: Running, program: int) -> None:
        self.connection = socket.socket()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.connection.connect(("127.0.0.1", service.ports[0]))
        self.start(service, program)
        self.connection.setblocking(False)

    @abstractmethod
    def start(self, service: Running, program: int) -> None:
        """Send what comes first."""

    def is_cut(self) -> bool:
        """Go on by a byte; say whether the other side has ended it."""
        try:
            self.connection.send(b"x")
            return self.connection.recv(1000) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True


class SlowHead(Slow):
    def start(self, service: Running, program: int) -> None:
        self.connection.sendall(head(service, "promocodes/get", 2, "X-Slow: ")[:-4])


class SlowBody(Slow):
    def start(self, service: Running, program: int) -> None:
        self.connection.sendall(head(service, "promocodes/get", 500_000) + b'{"code":"')


class SlowReader(Slow):
    def start(self, service: Running, program: int) -> None:
        body = as_json({"loyalty_id": program})
        self.connection.sendall(head(service, "promocodes/export_all", len(body)) + body)

    def is_cut(self) -> bool:
        """Say that it is. It cannot see that; the service's own open sockets are counted."""
        return True


KINDS: Sequence[Callable[[Running, int], Slow]] = (SlowHead, SlowBody, SlowReader)


@dataclass
class Besieged:
    """How it went for everybody else: seconds per request, and the service's memory."""

    others_s: list[float]
    growth_mb: float


def besiege(service: Running, count: int, give_up_s: float) -> Besieged:
    """Let so many clients of each kind be slow, until all are cut; others ask all the while.

    Raises:
        Broken: one was not cut, or somebody else was not served.
    """
    program = service.program([f"{number:0>255}" for number in range(EXPORTED)])
    before, sockets = resident_mb(service), open_sockets(service)
    over = Event()

    def ask() -> list[float]:
        took: list[float] = []
        while not over.is_set() or len(took) < 2:
            started = time.monotonic()
            try:
                answer = service.call("promocodes/get", {"loyalty_id": program, "code": "A"})
            except (OSError, HTTPException) as error:
                raise Broken(f"somebody else was not served: {error!r}") from None
            demand(answer.error == 404, "somebody else was told", answer)
            took.append(time.monotonic() - started)
        return took

    with ThreadPoolExecutor(1) as thread:
        others = thread.submit(ask)
        slow: list[Slow] = []
        try:
            slow += [kind(service, program) for _ in range(count) for kind in KINDS]
            left = slow
            give_up_at = time.monotonic() + give_up_s
            is_besieged = True
            while is_besieged and time.monotonic() < give_up_at:
                time.sleep(STEP_S)
                left = [one for one in left if not one.is_cut()]
                is_besieged = bool(left) or open_sockets(service) > sockets + count // 2
            growth_mb = resident_mb(service) - before
        finally:
            over.set()
            for one in slow:
                one.connection.close()
        others_s = others.result()
    kinds = sorted({type(one).__name__ for one in left})
    demand(not left, len(left), "clients were not cut:", kinds)
    demand(not is_besieged, "those who do not read were not cut")
    return Besieged(others_s, growth_mb)


# -- large ---------------------------------------------------------------------------------


def refuse_endless(service: Running, call: str, most: int, give_up_s: float = GIVE_UP_S) -> None:
    """Send a tenth more than may be sent, without an end, and wait for the refusal."""
    piece = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    with connected(service) as connection:
        connection.settimeout(give_up_s)
        connection.sendall(head(service, call, None, "Transfer-Encoding: chunked"))
        for _ in range(most * 11 // 10 // 0x10000):
            connection.sendall(piece)
        try:
            answer = receive(connection.makefile("rb"))
        except TimeoutError:
            raise Broken("a body over its bound was not refused") from None
    demand(answer.status == 413, "a body over its bound was told", answer)
