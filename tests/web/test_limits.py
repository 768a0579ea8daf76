"""How much a client may send and how long it may take; what is under way is answered."""

import asyncio
import http.client
import select
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager

import apsw
import asyncpg
import pytest

from promint.bootstrap import is_sqlite, sqlite_path
from tests.conftest import STORES, Stores
from tests.running import Reply, Running
from tests.web.callers import (
    FORMS,
    MEBIBYTE,
    as_json,
    connected,
    head,
    read,
    receive,
    send,
    speak,
    written,
)
from tests.web.conftest import Shop, make_shop

GIVE_UP_S = 60.0
CALLS = [
    "promocodes/get", "promocodes/activate", "promocodes/update", "promocodes/attach",
    "promocodes/detach", "promocodes/export_all", "databases/list", "databases/get",
    "profiles/import", "profiles/update", "profiles/get", "profiles/delete",
]  # fmt: skip
BULK_CALLS = ["promocodes/import", "profiles/import_batch"]


def padded(body: bytes, size: int) -> bytes:
    """Return the same request with blanks at its end, so that it has this many bytes."""
    return body.ljust(size)


def send_chunked(service: Running, call: str, body: bytes) -> Reply:
    """Send a body without saying beforehand how long it is, all of it before reading."""
    connection = http.client.HTTPConnection("127.0.0.1", service.ports[0], timeout=GIVE_UP_S)
    headers = {"authorization": f"Bearer {service.token}", "content-type": "application/json"}
    pieces = (body[start : start + 65_536] for start in range(0, len(body), 65_536))
    try:
        connection.request("POST", f"/api/v1.1/{call}", pieces, headers, encode_chunked=True)
        response = connection.getresponse()
        answered = {name.lower(): value for name, value in response.getheaders()}
        return Reply(response.status, answered, response.read())
    finally:
        connection.close()


# -- how much ------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_a_body_of_a_mebibyte_is_taken(shop: Shop, form: str) -> None:
    body = written(shop.fields(code=shop.free_code()), form)

    reply = send(
        shop.service,
        "promocodes/get",
        padded(body, MEBIBYTE),
        content_type=f"application/{form}",
    )

    assert read(reply).error == 0


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("call", CALLS)
def test_a_byte_more_is_refused_with_an_answer_that_can_be_read(
    shop: Shop, call: str, form: str
) -> None:
    body = padded(written(shop.fields(code="A"), form), MEBIBYTE + 1)

    answer = read(send(shop.service, call, body, content_type=f"application/{form}"))

    assert (answer.status, answer.error, answer.form) == (413, 413, form)
    assert (answer.text, answer.reason) == ("Request is too large", "too_large")


def test_a_body_of_unknown_length_is_taken_up_to_the_same_bound(shop: Shop) -> None:
    body = as_json(shop.fields(code=shop.free_code()))

    assert send_chunked(shop.service, "promocodes/get", padded(body, MEBIBYTE)).error == 0
    refused = read(send_chunked(shop.service, "promocodes/get", padded(body, MEBIBYTE + 1)))
    assert (refused.status, refused.reason) == (413, "too_large")


@pytest.mark.parametrize("call", BULK_CALLS)
def test_bulk_calls_take_64_mebibytes_and_not_a_byte_more(shop: Shop, call: str) -> None:
    fields = {"codes": [shop.new_code()], "data": [{"email": "bulk@example.com"}]}
    body = as_json(shop.fields(db_id=shop.db_id, **fields))

    assert send(shop.service, call, padded(body, 64 * MEBIBYTE)).error == 0
    for refused in (
        send(shop.service, call, padded(body, 64 * MEBIBYTE + 1)),
        send_chunked(shop.service, call, padded(body, 64 * MEBIBYTE + 1)),
    ):
        assert (refused.status, read(refused).reason) == (413, "too_large")


@pytest.mark.parametrize("form", FORMS)
def test_100_001_codes_are_too_many_for_one_request(shop: Shop, form: str) -> None:
    codes = [f"MANY-{number}" for number in range(100_001)]

    refused = speak(shop.service, form, "promocodes/import", shop.fields(codes=codes))

    assert (refused.status, refused.error, refused.reason) == (413, 413, "too_large")
    assert shop.service.call("promocodes/get", shop.fields(code="MANY-0")).error == 404


def test_100_000_codes_are_not(shop: Shop) -> None:
    program = shop.service.program()
    codes = [f"MANY-{number}" for number in range(100_000)]

    done = shop.service.call("promocodes/import", {"loyalty_id": program, "codes": codes})

    assert done.json["inserted"] == 100_000


def test_100_001_profiles_are_too_many_for_one_request(shop: Shop) -> None:
    fields = {"db_id": shop.db_id, "data": [{"email": "x@example.com"}] * 100_001}

    refused = read(shop.service.call("profiles/import_batch", fields))

    assert (refused.status, refused.reason) == (413, "too_large")


def test_headers_of_60_kibibytes_are_taken(shop: Shop) -> None:
    fields = shop.fields(code=shop.free_code())

    reply = send(shop.service, "promocodes/get", as_json(fields), x_padding="x" * 60 * 1024)

    assert reply.error == 0


@pytest.mark.parametrize("pieces", [1, 7])
def test_headers_over_64_kibibytes_are_refused_however_they_arrive(shop: Shop, pieces: int) -> None:
    body = as_json(shop.fields(code="A"))
    request = head(shop.service, "promocodes/get", len(body), f"X-Padding: {'x' * 70_000}") + body
    with connected(shop.service) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        size = -(-len(request) // pieces)
        for start in range(0, len(request), size):
            connection.sendall(request[start : start + size])
            time.sleep(0.02 if pieces > 1 else 0)
        answer = receive(connection.makefile("rb"))

    assert (answer.status, read(answer).reason) == (413, "too_large")
    assert answer.headers["x-request-id"]


# -- how slowly ----------------------------------------------------------------------------


@pytest.fixture(scope="module", params=STORES)
def impatient(request: pytest.FixtureRequest, stores: Stores) -> Iterator[Shop]:
    """A service that gives a client a second for headers, body, and until its next request."""
    settings = {
        "PROMINT_HEADER_TIMEOUT_S": "1",
        "PROMINT_BODY_TIMEOUT_S": "1",
        "PROMINT_IDLE_TIMEOUT_S": "1",
        "PROMINT_QUEUE_MAX": "1",
    }
    with Running(stores.new(request.param), environment=settings) as service:
        yield make_shop(service)


# Deadlines are kept before anything is asked of a store: one kind is enough.
on_one_store = pytest.mark.parametrize("impatient", ["sqlite"], indirect=True)


def drip_until_cut(connection: socket.socket, data: bytes) -> bool:
    """Send byte by byte; say whether the other side ended it before everything was sent."""
    for byte in data:
        readable, _, _ = select.select([connection], [], [], 0.02)
        try:
            if readable and connection.recv(1000) == b"":
                return True
            connection.sendall(bytes([byte]))
        except OSError:
            return True
    return False


def assert_served(shop: Shop) -> None:
    assert shop.service.call("promocodes/get", shop.fields(code="A")).error == 404


@on_one_store
def test_a_client_that_drips_its_headers_is_cut_and_others_are_served(impatient: Shop) -> None:
    slow = head(impatient.service, "promocodes/get", 2, "X-Slow: " + "x" * 3000)

    with connected(impatient.service) as connection, ThreadPoolExecutor(1) as thread:
        cut = thread.submit(drip_until_cut, connection, slow)
        assert_served(impatient)
        assert cut.result()
    assert_served(impatient)


@on_one_store
def test_a_client_that_says_nothing_is_cut(impatient: Shop) -> None:
    with connected(impatient.service) as connection:
        assert connection.recv(1000) == b""


@on_one_store
def test_a_client_that_drips_its_second_request_is_cut(impatient: Shop) -> None:
    body = as_json(impatient.fields(code="A"))
    request = head(impatient.service, "promocodes/get", len(body)) + body
    with connected(impatient.service) as connection:
        connection.sendall(request)
        assert receive(connection.makefile("rb")).error == 404

        assert drip_until_cut(
            connection, request.replace(b"\r\n\r\n", b"\r\nX-Slow: " + b"x" * 3000)
        )


@on_one_store
def test_a_connection_is_closed_when_no_request_follows(impatient: Shop) -> None:
    body = as_json(impatient.fields(code="A"))
    with connected(impatient.service) as connection:
        connection.sendall(head(impatient.service, "promocodes/get", len(body)) + body)
        stream = connection.makefile("rb")
        assert receive(stream).error == 404

        assert stream.read() == b""


@on_one_store
def test_a_client_that_drips_its_body_is_cut_and_others_are_served(impatient: Shop) -> None:
    body = as_json(impatient.fields(code="x" * 3000))

    with connected(impatient.service) as connection, ThreadPoolExecutor(1) as thread:
        connection.sendall(head(impatient.service, "promocodes/get", len(body)))
        cut = thread.submit(drip_until_cut, connection, body)
        assert_served(impatient)
        assert cut.result()
    assert_served(impatient)


def test_a_client_that_does_not_read_its_export_is_cut_and_others_are_served(
    impatient: Shop,
) -> None:
    program = impatient.service.program([f"{number:0>255}" for number in range(40_000)])

    def exported_after(seconds: float) -> bytes:
        body = as_json({"loyalty_id": program})
        with connected(impatient.service, receive_bytes=4096) as connection:
            connection.sendall(head(impatient.service, "promocodes/export_all", len(body)) + body)
            assert_served(impatient)
            time.sleep(seconds)
            return received_until_the_end(connection)

    # A reader that cannot see it from outside: the longer it waits, the surer it is cut.
    exported = next(
        (it for seconds in (3, 6, 12, 24) if b"error_text" not in (it := exported_after(seconds))),
        b"complete",
    )

    assert exported.startswith(b"HTTP/1.1 200 ")
    assert_served(impatient)


def received_until_the_end(connection: socket.socket) -> bytes:
    """Read up to the last chunk of an answer, or to where it breaks off."""
    received = bytearray()
    try:
        while not received.endswith(b"0\r\n\r\n") and (piece := connection.recv(MEBIBYTE)):
            received += piece
    except ConnectionResetError:
        pass
    return bytes(received)


def test_a_client_that_pauses_within_its_time_is_answered(shop: Shop) -> None:
    body = as_json(shop.fields(code=shop.free_code()))
    request = head(shop.service, "promocodes/get", len(body)) + body
    with connected(shop.service) as connection:
        for start in range(0, len(request), 40):
            connection.sendall(request[start : start + 40])
            time.sleep(0.02)

        assert receive(connection.makefile("rb")).error == 0


# -- what breaks off, and what waits -------------------------------------------------------


@pytest.mark.parametrize("end", ["close", "shutdown", "reset"])
def test_a_body_that_breaks_off_changes_nothing(shop: Shop, end: str) -> None:
    code = shop.attached_code()
    body = as_json(shop.fields(code=code))
    with connected(shop.service) as connection:
        connection.sendall(head(shop.service, "promocodes/activate", len(body) + 1) + body)
        if end == "shutdown":
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(1000) == b""
        elif end == "reset":
            linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    assert not shop.state(code)["is_activated"]


def test_requests_that_are_sent_ahead_are_answered_in_order(shop: Shop) -> None:
    codes = [shop.free_code() for _ in range(20)]
    requests = b""
    for code in codes:
        body = as_json(shop.fields(code=code))
        requests += head(shop.service, "promocodes/get", len(body)) + body

    with connected(shop.service) as connection:
        connection.sendall(requests)
        stream = connection.makefile("rb")
        answers = [receive(stream).json["data"]["code"] for _ in codes]

    assert answers == codes


def test_one_connection_serves_many_requests_refusals_included(shop: Shop) -> None:
    good = as_json(shop.fields(code=shop.free_code()))
    bodies = [good, b"{", as_json(shop.fields(code="nobody's")), good]

    with connected(shop.service) as connection:
        stream = connection.makefile("rb")
        errors = []
        for body in bodies:
            connection.sendall(head(shop.service, "promocodes/get", len(body)) + body)
            errors.append(receive(stream).error)

    assert errors == [0, 400, 404, 0]


def test_a_client_that_asks_first_is_told_to_go_on_or_not(shop: Shop) -> None:
    body = as_json(shop.fields(code=shop.free_code()))
    with connected(shop.service) as connection:
        connection.sendall(head(shop.service, "promocodes/get", len(body), "Expect: 100-continue"))
        stream = connection.makefile("rb")
        assert stream.readline().startswith(b"HTTP/1.1 100 ")
        assert stream.readline() == b"\r\n"
        connection.sendall(body)
        assert receive(stream).error == 0

    with connected(shop.service) as connection:
        connection.sendall(
            head(shop.service, "promocodes/get", MEBIBYTE + 1, "Expect: 100-continue")
        )
        assert receive(connection.makefile("rb")).error == 413


@contextmanager
def held(url: str) -> Iterator[None]:
    """Keep everybody else from writing, as a long transaction of another process would."""
    if is_sqlite(url):
        connection = apsw.Connection(sqlite_path(url))
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")
        connection.close()
        return
    with asyncio.Runner() as runner:
        holder = runner.run(asyncpg.connect(url))
        runner.run(holder.execute("BEGIN; LOCK TABLE promo_code IN EXCLUSIVE MODE"))
        yield
        runner.run(holder.execute("ROLLBACK"))
        runner.run(holder.close())


def test_a_store_that_cannot_take_more_now_asks_to_come_again(impatient: Shop) -> None:
    code = impatient.attached_code()

    def update(year: int) -> Reply:
        fields = impatient.fields(code=code, expire_date=f"{year}-01-01T00:00:00Z")
        return impatient.service.call("promocodes/update", fields)

    with ThreadPoolExecutor(5) as threads:
        with held(impatient.service.url):
            waiting = as_completed([threads.submit(update, 2100 + n) for n in range(5)])
            refused = next(waiting).result()
        later = [one.result() for one in waiting]

    answer = read(refused)
    assert (answer.status, answer.error, answer.reason) == (503, 503, "unavailable")
    assert answer.text == f"Try again, request {refused.headers['x-request-id']}"
    assert int(refused.headers["retry-after"]) >= 1
    assert {reply.error for reply in later} <= {0, 503}
    assert update(2200).error == 0


def test_a_database_that_is_gone_breaks_exports_off_and_makes_the_service_unready(
    stores: Stores,
) -> None:
    url = stores.new("postgres")
    with Running(url, environment={"PROMINT_DOUBT_TIMEOUT_S": "1"}) as service:
        shop = make_shop(service)
        assert_served(shop)
        large = service.program([f"{number:0>255}" for number in range(40_000)])
        with connected(service, receive_bytes=4096) as reader:
            body = as_json({"loyalty_id": large})
            reader.sendall(head(service, "promocodes/export_all", len(body)) + body)
            assert reader.recv(100).startswith(b"HTTP/1.1 200 ")

            stores.server.drop_database(url)

            assert b"error_text" not in received_until_the_end(reader)
        for call, fields in (
            ("promocodes/get", shop.fields(code="A")),
            ("promocodes/activate", shop.fields(code="A")),
            ("profiles/get", shop.profile()),
            ("promocodes/export_all", shop.fields()),
        ):
            answer = read(service.call(call, fields))
            assert (answer.status, answer.error, answer.reason) == (503, 503, "unavailable"), call
        assert service.get("/health/ready").status == 503
        assert service.get("/health/live").status == 200


# -- the end -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", STORES)
def test_requests_under_way_are_answered_when_the_service_is_told_to_stop(
    stores: Stores, kind: str
) -> None:
    with Running(stores.new(kind)) as service:
        shop = make_shop(service)
        codes = [shop.attached_code() for _ in range(5)]
        bodies = [as_json(shop.fields(code=code)) for code in codes]
        opened = [connected(service) for _ in bodies]
        connections = [one.__enter__() for one in opened]
        for connection, body in zip(connections, bodies, strict=True):
            connection.sendall(head(service, "promocodes/activate", len(body)) + body[:-1])
        wait_until_read(service)

        service.running[0].send_signal(signal.SIGTERM)
        wait_until_refused(service)
        errors = []
        for connection, body in zip(connections, bodies, strict=True):
            connection.sendall(body[-1:])
            errors.append(receive(connection.makefile("rb")).error)

        assert errors == [0] * 5
        assert service.running[0].wait(GIVE_UP_S) == 0
        for one in opened:
            one.__exit__(None, None, None)
        service.restart()
        assert [shop.state(code)["is_activated"] for code in codes] == [True] * 5


def wait_until_read(service: Running) -> None:
    """The service reads connections in the order of their bytes: these came before this one."""
    assert service.get("/health/live").status == 200


def wait_until_refused(service: Running) -> None:
    give_up_at = time.monotonic() + GIVE_UP_S
    while time.monotonic() < give_up_at:
        try:
            socket.create_connection(("127.0.0.1", service.ports[0]), 1).close()
        except ConnectionRefusedError:
            return
        time.sleep(0.02)
    raise AssertionError("the service still accepts connections")
