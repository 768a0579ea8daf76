"""Bodies, headers and paths of the management API."""

import json
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from promint.domain.codetext import clean_code
from promint.domain.errors import BadValue
from tests.running import Running
from tests.web.callers import connected
from tests.web.manage.callers import Manager, refusal

MEBIBYTE = 1024 * 1024


def test_the_request_id_is_kept_or_made(manager: Manager) -> None:
    mine = manager.send("GET", "/programs", x_request_id="mine-1")
    made = manager.send("GET", "/programs", x_request_id="a b")

    assert mine.headers["x-request-id"] == "mine-1"
    assert len(made.headers["x-request-id"]) == 24


def test_answers_are_not_kept_by_anyone_on_the_way(manager: Manager) -> None:
    assert manager.send("GET", "/programs").headers["cache-control"] == "no-store"


def test_an_unknown_path_is_said_with_and_without_a_token(
    running: Running, manager: Manager
) -> None:
    assert manager.refused("GET", "/nothing")["reason"] == "unknown_method"
    assert refusal(running.get("/manage/v2/programs"))["reason"] == "unknown_method"


def test_another_method_is_refused_with_those_that_there_are(manager: Manager) -> None:
    reply = manager.send("PUT", "/programs")

    assert refusal(reply)["reason"] == "method_not_allowed"
    assert reply.headers["allow"] == "GET, POST"


def test_slashes_too_many_change_nothing(manager: Manager) -> None:
    assert manager.ask("GET", "//programs///") == manager.ask("GET", "/programs")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{", "malformed"),
        (b"[]", "malformed"),
        (b"null", "malformed"),
        (b'{"name": "A", "name": "B"}', "malformed"),
        (b'{"name": "\xff"}', "malformed"),
        (b'{"name": "\\ud800"}', "malformed"),
        (b"\xff\xfe{\x00}\x00", "unsupported_format"),
        (b'{"name": "a\\u0000b"}', "bad_value"),
        (b'{"name": "a\\nb"}', "bad_value"),
        (b"{}", "missing_field"),
        (b"", "missing_field"),
        (b'{"name": 1}', "bad_value"),
        (b'{"name": null}', "bad_value"),
        (b'{"name": " "}', "bad_value"),
        (b'{"name": "N", "code_limit": 1.0}', "bad_value"),
        (b'{"name": "N", "code_limit": true}', "bad_value"),
        (b'{"name": "N", "code_limit": "5"}', "bad_value"),
        (b'{"name": "N", "code_limit": 0}', "bad_value"),
        (b'{"name": "N", "code_limit": 1e400}', "malformed"),
        (b"[" * 100_000, "malformed"),
    ],
)
def test_a_body_that_is_wrong_is_refused(manager: Manager, body: bytes, reason: str) -> None:
    found = manager.refused("POST", "/programs", body)

    assert found["reason"] == reason
    assert found["field"] or found["number"] == 415


def test_other_forms_than_json_are_refused(manager: Manager) -> None:
    body = b'{"name": "N"}'
    for kind in ("application/xml", "text/plain", "application/json; charset=cp1251"):
        reply = manager.send("POST", "/programs", body, content_type=kind)
        assert refusal(reply)["reason"] == "use_json", kind
    for kind in ("application/json", "application/json; charset=UTF-8", "Application/JSON"):
        assert manager.send("POST", "/programs", body, content_type=kind).status == 201, kind


def test_a_body_is_refused_where_none_is_taken(running: Running, manager: Manager) -> None:
    path = f"/programs/{running.program()}/deactivate"

    assert manager.refused("POST", path, {"active": True})["field"] == "body"
    assert manager.ask("POST", path, {})["active"] is False


def test_a_body_over_the_limit_is_refused_and_the_answer_arrives(manager: Manager) -> None:
    body = json.dumps({"name": "x" * 2 * MEBIBYTE}).encode()

    assert manager.refused("POST", "/programs", body)["reason"] == "too_large"


def test_two_authorizations_that_differ_are_refused(running: Running) -> None:
    lines = [
        "GET /manage/v1/programs HTTP/1.1",
        "Host: localhost",
        f"Authorization: Bearer {running.token}",
        "Authorization: Bearer other",
        "Connection: close",
    ]
    with connected(running) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk

    assert b'"field":"Authorization"' in answer


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(min_size=1, max_size=40))
def test_any_code_can_be_named_in_a_path(running: Running, manager: Manager, code: str) -> None:
    loyalty_id = _PROGRAMS.setdefault(running.url, running.program(code_matching="exact"))
    try:
        clean = clean_code(code)
    except (BadValue, UnicodeError):
        clean = ""
    named = quote(code.encode("utf-8", "surrogatepass"), safe="")
    path = f"/programs/{loyalty_id}/codes/{named}"

    reply = manager.send("GET", path)

    expected = "code_not_found" if clean else "bad_value"
    assert reply.status in (400, 404)
    assert refusal(reply)["reason"] in (expected, "unknown_method")


_PROGRAMS: dict[str, int] = {}


@pytest.mark.parametrize("code", ["A/B", "ПРИВЕТ", "100%", "a?b#c", "%2F", "..", "a b", "é&=+"])
def test_a_code_is_shown_by_its_encoded_text(running: Running, manager: Manager, code: str) -> None:
    loyalty_id = running.program([code])

    shown = manager.ask("GET", f"/programs/{loyalty_id}/codes/{quote(code, safe='')}")
    searched = manager.ask("GET", f"/programs/{loyalty_id}/codes?code={quote(code, safe='')}")

    assert shown["code"] == code
    assert searched["items"] == [shown]
