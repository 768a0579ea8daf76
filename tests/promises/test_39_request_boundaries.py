"""Where a request ends is never in doubt: what is ambiguous is refused, or ends the connection."""

import re
from collections.abc import Iterator
from typing import Any

from tests.conftest import Stores
from tests.promises.proof import Proof, control, promise
from tests.races.builds import build_with
from tests.races.ledger import demand
from tests.running import Running
from tests.web.callers import connected

IMPATIENT = {
    "PROMINT_HEADER_TIMEOUT_S": "1",
    "PROMINT_BODY_TIMEOUT_S": "1",
    "PROMINT_IDLE_TIMEOUT_S": "1",
    "PROMINT_DRAIN_TIMEOUT_S": "1",
}
START = "POST /api/v1.1/promocodes/get HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
SECOND = "GET /health/live HTTP/1.1\r\nHost: b\r\n\r\n"
"""What would be answered 200 if the service took the rest of a body for a request."""

CHUNKED = "Transfer-Encoding: chunked\r\n"
LAST_CHUNK = "0\r\n\r\n"

LENGTHS = [
    "+2", "-2", "0x2", "2 2", "2,3", "2;", "2e0", "2.0", "", " ", "two", "\x0b2", "2\x00", "_2",
    "99999999999999999999", "18446744073709551618", "2, 2", "\xd9\xa2", "'2'", "2\t2",
]  # fmt: skip
ENCODINGS = [
    "identity", "gzip", "chunked, gzip", "chunked, identity", "xchunked", "chunkedx",
    "chunked;q=1", '"chunked"', "chunked\x00", "\x0bchunked", "chu nked", "", "deflate, gzip",
    "chunked, xchunked",
]  # fmt: skip
BOTH = ["chunked", "Chunked", "CHUNKED", "gzip, chunked", " chunked", "chunked ", "\tchunked"]
SIZES = [
    "0x2", "+2", "-2", "g", "", " ", "2 2", "2,2", "_2", "2\x00", "2 \x0b",
    "10000000000000002", "fffffffffffffffff", "2.0", "\xd9\xa2",
]  # fmt: skip
CHUNKS = [
    "2\n{}\r\n", "2\r\n{}\n", "2\r\n{}", "2\r\n{}xx", "2\r\n{}\rx", "2;a\nb\r\n{}\r\n",
]  # fmt: skip
NAMES = [
    "Content-Length : 2", " Content-Length: 2", "\tContent-Length: 2", ": 2",
    "Content-Length\x00: 2", "Content Length: 2", "Content-Length", "Content-Length\x0b: 2",
    "(Content-Length): 2",
    "Content-Length\xa0: 2", "[x]: 2", "X@Y: 2",
]  # fmt: skip
FOLDED = [
    "Content-Length: 2\r\n 0", "Content-Length:\r\n 2", "Content-Length: 0\r\n\t2",
    "Transfer-Encoding:\r\n chunked", "Transfer-Encoding: chunked\r\n , gzip",
    "X-Note: a\r\n b\r\nContent-Length: 2", "X-Note: a\r\n\tContent-Length: 2",
    "X-Note: \r\n Content-Length: 2",
]  # fmt: skip
REQUEST_LINES = [
    "POST /health/live HTTP/1.1 x", "POST  /health/live", "POST /health/live HTTP/9.1",
    "POST /health/live HTTP/1.10", "POST /health/live HTTP/11", "POST /health/live HTP/1.1",
    "POST /health/live HTTP/-1.1", "PO ST /health/live HTTP/1.1", "\x00POST /health/live HTTP/1.1",
    "POST /health/\x00live HTTP/1.1", "POST\x0b/health/live HTTP/1.1", "/health/live HTTP/1.1",
    "P\xd6ST /health/live HTTP/1.1",
]  # fmt: skip


@promise(39, store="sqlite")
def test_an_ambiguous_request_is_refused_or_cut_and_nothing_behind_it_is_answered(
    stores: Stores, proof: Proof
) -> None:
    with Running(stores.new("sqlite"), environment=IMPATIENT) as service:
        proof.trials(try_all(service), "raw requests")


@control(39, fault="lenient_parser", store="sqlite")
def test_a_build_with_a_lenient_parser_is_found_out(stores: Stores, proof: Proof) -> None:
    def attempt(_: int) -> None:
        build = build_with(f"{__name__}:lenient_parser", stores.new("sqlite"), 1, **IMPATIENT)
        with build as lenient:
            try_all(lenient)

    proof.control(attempt)


def lenient_parser() -> None:
    """Let two ways of saying how long a body is stand beside each other."""
    from promint.web.server import DeadlineProtocol

    make = DeadlineProtocol.__init__

    def lenient(self: DeadlineProtocol, *arguments: Any, **named: Any) -> None:
        make(self, *arguments, **named)
        self.parser.set_dangerous_leniencies(lenient_chunked_length=True)

    DeadlineProtocol.__init__ = lenient  # type: ignore[method-assign]  # the fault


def try_all(service: Running) -> int:
    """Send every case; return how many there were.

    Raises:
        Broken: one was taken for a whole request, or what was behind it was answered.
    """
    tried = list(cases())
    assert len(tried) >= 120
    for what, request in tried:
        answered = ask(service, request)
        demand(answered in ([], [400]), what, "was answered", answered, repr(request))
    demand(service.get("/health/live").status == 200, "the service does not answer any more")
    return len(tried)


def cases() -> Iterator[tuple[str, str]]:
    """Yield each ambiguous request with what is ambiguous; a second one is on its tail."""
    yield from (("length", f"{START}Content-Length: {n}\r\n\r\n{{}}") for n in LENGTHS)
    for first, second in (("2", "3"), ("3", "2"), ("0", "2"), ("2", "02"), ("2", "2")):
        yield "lengths", f"{START}Content-Length: {first}\r\nContent-Length: {second}\r\n\r\n{{}}"
    for encoding in ENCODINGS:
        yield "encoding", f"{START}Transfer-Encoding: {encoding}\r\n\r\n{LAST_CHUNK}"
    for encoding in BOTH:
        te, length = f"Transfer-Encoding: {encoding}\r\n", "Content-Length: 5\r\n"
        yield "both", f"{START}{length}{te}\r\n{LAST_CHUNK}"
        yield "both", f"{START}{te}{length}\r\n{LAST_CHUNK}"
    yield "encodings", f"{START}Transfer-Encoding: gzip, chunked\r\n\r\n{LAST_CHUNK}"
    yield "encodings", f"{START}{CHUNKED}{CHUNKED}\r\n{LAST_CHUNK}"
    yield "encodings", f"{START}{CHUNKED}Transfer-Encoding: identity\r\n\r\n{LAST_CHUNK}"
    yield "encodings", f"{START}Transfer-Encoding: identity\r\n{CHUNKED}\r\n{LAST_CHUNK}"
    yield (
        "old",
        f"{START.replace('HTTP/1.1', 'HTTP/1.0')}{CHUNKED}Content-Length: 5\r\n\r\n0\r\n\r\n",
    )
    yield from (("chunk", f"{START}{CHUNKED}\r\n{n}\r\n{{}}\r\n{LAST_CHUNK}") for n in SIZES)
    for chunk in (
        "2\n{}\r\n",
        "2\r\n{}\n",
        "2\r\n{}",
        "2\r\n{}xx",
        "2\r\n{}\rx",
        "2;a\nb\r\n{}\r\n",
    ):
        yield "chunk", f"{START}{CHUNKED}\r\n{chunk}{LAST_CHUNK}"
    for trailer in (
        "0\r\nno colon\r\n\r\n",
        "0\r\n: x\r\n\r\n",
        "0\r\n x: y\r\n\r\n",
        "0\r\nx : y\r\n\r\n",
    ):
        yield "trailer", f"{START}{CHUNKED}\r\n2\r\n{{}}\r\n{trailer}"
    yield from (("name", f"{START}{name}\r\n\r\n{{}}") for name in NAMES)
    yield from (("folded", f"{START}{lines}\r\n\r\n{{}}") for lines in FOLDED)
    yield "bare CR", f"{START}X: a\rContent-Length: 2\r\n\r\n{{}}"
    yield "bare CR", f"{START}Content-Length: 2\r\r\n\r\n{{}}"
    yield "bare CR", f"{START}Content-Length: 2\r\n\r{{}}"
    yield "bare LF", f"{START}X: a\nContent-Length: 2\r\n\r\n{{}}"
    yield "bare LF", f"{START}Content-Length: 2\n\n{{}}"
    yield "bare LF", START.replace("\r\n", "\n") + "Content-Length: 2\n\n{}"
    yield "bare LF", f"{START}Content-Length: 2\r\n\n{{}}"
    yield from (("request line", f"{line}\r\nHost: a\r\n\r\n") for line in REQUEST_LINES)


def ask(service: Running, request: str) -> list[int]:
    """Send these characters as bytes, with a second request behind; return what was answered."""
    received = b""
    with connected(service) as connection:
        try:
            connection.sendall((request + SECOND).encode("latin-1"))
            while piece := connection.recv(65_536):
                received += piece
        except ConnectionError:
            pass
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d\d\d) ", received)]
