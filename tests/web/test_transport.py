"""How a request comes in and an answer goes out: contract sections 1, 2 and 7."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import Stores
from tests.running import Running
from tests.web.callers import (
    FORMS,
    Answer,
    as_json,
    as_xml,
    connected,
    head,
    read,
    receive,
    send,
    speak,
    written,
)
from tests.web.conftest import Shop, make_shop

JSON, XML = "application/json", "application/xml"

# -- paths and methods ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1.1/promocodes/get",
        "/api/v1.1/promocodes/get/",
        "/api/v1.1/promocodes/get///",
        "/api/v1.1//promocodes/get",
        "//api/v1.1/promocodes//get",
        "///api//v1.1///promocodes///get//",
        "/api/v1.1/promocodes/get/?format=json",
    ],
)
def test_trailing_and_repeated_slashes_are_the_same_path_without_a_redirect(
    shop: Shop, path: str
) -> None:
    headers = {"authorization": f"Bearer {shop.service.token}", "content-type": JSON}
    body = as_json(shop.fields(code=shop.free_code()))

    reply = shop.service.request("POST", path, body, headers)

    assert (reply.status, reply.error) == (200, 0)


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("call", ["promocodes/get", "databases/list/", "profiles/import"])
def test_a_call_is_for_post_only(running: Running, method: str, call: str) -> None:
    reply = running.request(method, f"/api/v1.1/{call}")

    answer = read(reply)
    assert (answer.status, answer.error, answer.text) == (405, 405, "Use POST")
    assert answer.reason == "use_post"
    assert reply.headers["allow"] == "POST"


def test_a_head_request_is_told_so_without_a_body(running: Running) -> None:
    reply = running.request("HEAD", "/api/v1.1/promocodes/get")

    assert (reply.status, reply.reason, reply.body) == (405, "use_post", b"")


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/api",
        "/api/v1.1/",
        "/api/v1.1/promocodes",
        "/api/v1.1/promocodes/refund",
        "/api/v1.1/promocodes/get/CODE-1",
        "/api/v1.1/Promocodes/Get",
        "/api/v1.2/promocodes/get",
        "/api/v1.1/promocodes/../promocodes/get",
        "/api/v1.1/promocodes/%00",
        "/health",
    ],
)
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_a_path_of_no_call_is_an_unknown_method(running: Running, method: str, path: str) -> None:
    answer = read(running.request(method, path, b"{}", {"content-type": JSON}))

    assert (answer.status, answer.error, answer.text) == (404, 404, "Unknown method")
    assert answer.reason == "unknown_method"


# -- the form of the request ---------------------------------------------------------------

UNHELPFUL = [
    None,
    "",
    "text/plain",
    "application/x-www-form-urlencoded",
    "application/octet-stream",
]


@pytest.mark.parametrize(
    ("content_type", "form"),
    [
        (JSON, "json"),
        ("application/json; charset=utf-8", "json"),
        ('application/json;charset="UTF-8"', "json"),
        ("APPLICATION/JSON; Charset=UTF8", "json"),
        (XML, "xml"),
        ("text/xml", "xml"),
        ("text/xml; charset=utf-8", "xml"),
        ("application/xml;charset=UTF-8", "xml"),
        *[(content_type, form) for content_type in UNHELPFUL for form in FORMS],
        ("text/plain; charset=utf-8", "xml"),
    ],
)
def test_a_body_is_read_as_declared_or_by_its_first_character_and_answered_alike(
    shop: Shop, content_type: str | None, form: str
) -> None:
    body = written(shop.fields(code=shop.free_code()), form)

    answer = read(send(shop.service, "promocodes/get", body, content_type=content_type))

    assert (answer.error, answer.form) == (0, form)


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json; charset=utf-16",
        "application/json; charset=iso-8859-1",
        "application/xml; charset=windows-1251",
        "text/xml; charset=koi8-r",
        "text/plain; charset=utf-7",
    ],
)
def test_another_charset_is_refused(shop: Shop, content_type: str) -> None:
    body = as_xml(shop.fields(code="A")) if "xml" in content_type else as_json({"code": "A"})

    answer = read(send(shop.service, "promocodes/get", body, content_type=content_type))

    assert (answer.status, answer.error) == (415, 415)
    assert (answer.text, answer.reason) == ("Use JSON or XML in UTF-8", "unsupported_format")
    assert answer.form == ("xml" if "xml" in content_type else "json")


@pytest.mark.parametrize("content_type", [None, JSON, XML])
@pytest.mark.parametrize("form", FORMS)
def test_utf_16_is_refused_however_it_is_declared(
    shop: Shop, content_type: str | None, form: str
) -> None:
    body = written(shop.fields(code="A"), form).decode().encode("utf-16")

    answer = read(send(shop.service, "promocodes/get", body, content_type=content_type))

    assert (answer.status, answer.reason) == (415, "unsupported_format")


@pytest.mark.parametrize("body", [b"[1]", b"code=A&loyalty_id=1", b'"A"', b"5", b"%PDF-1.7"])
def test_what_starts_neither_as_json_nor_as_xml_is_refused(running: Running, body: bytes) -> None:
    answer = read(send(running, "promocodes/get", body, content_type=None))

    assert (answer.status, answer.reason) == (415, "unsupported_format")


@pytest.mark.parametrize(("content_type", "form"), [(JSON, "xml"), (XML, "json")])
def test_a_body_that_is_not_what_it_is_declared_is_malformed(
    shop: Shop, content_type: str, form: str
) -> None:
    body = written(shop.fields(code="A"), form)

    answer = read(send(shop.service, "promocodes/get", body, content_type=content_type))

    assert (answer.status, answer.error, answer.reason) == (400, 400, "malformed")
    assert answer.form != form


@pytest.mark.parametrize("content_type", [None, JSON, XML])
@pytest.mark.parametrize("body", [b"", b" \r\n\t"])
def test_a_body_without_anything_is_malformed(
    running: Running, content_type: str | None, body: bytes
) -> None:
    answer = read(send(running, "promocodes/get", body, content_type=content_type))

    assert (answer.status, answer.reason) == (400, "malformed")


@pytest.mark.parametrize("start", ["\ufeff", "\ufeff \n", " " * 1000, "\n"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("declares", [True, False], ids=["declared", "undeclared"])
def test_a_bom_and_blanks_before_a_body_are_passed_over(
    shop: Shop, start: str, form: str, declares: bool
) -> None:
    body = start.encode() + written(shop.fields(code=shop.free_code()), form)
    content_type = f"application/{form}" if declares else None

    answer = read(send(shop.service, "promocodes/get", body, content_type=content_type))

    assert (answer.error, answer.form) == (0, form)


def test_an_xml_declaration_is_accepted(shop: Shop) -> None:
    declared = b'<?xml version="1.0" encoding="UTF-8" ?>\n'
    body = declared + as_xml(shop.fields(code=shop.free_code()))

    assert read(send(shop.service, "promocodes/get", body, content_type=XML)).error == 0


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("<?xml version='1.0' encoding='koi8-r'?><xml><code>A</code></xml>", "unsupported_format"),
        ("<!DOCTYPE xml><xml><code>A</code></xml>", "malformed"),
        ("<!DOCTYPE xml [<!ENTITY a 'A'>]><xml><code>&a;</code></xml>", "malformed"),
        ("<!DOCTYPE x [<!ENTITY a SYSTEM 'file:///x'>]><xml><code>&a;</code></xml>", "malformed"),
    ],
    ids=["charset", "DOCTYPE", "entity", "external entity"],
)  # fmt: skip
def test_xml_that_asks_for_more_is_refused(running: Running, body: str, reason: str) -> None:
    answer = read(send(running, "promocodes/get", body.encode(), content_type=XML))

    assert (answer.reason, answer.form) == (reason, "xml")


def test_unknown_fields_are_ignored(shop: Shop) -> None:
    fields = shop.fields(code=shop.free_code(), colour="red", nested={"a": [1]}, detect_geo=True)

    for form in FORMS:
        assert speak(shop.service, form, "promocodes/get", fields).error == 0


# -- the form of the answer ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "body", "url", "accept", "expected"),
    [
        ("json", None, None, None, "json"),
        ("xml", None, None, None, "xml"),
        ("json", None, None, XML, "xml"),
        ("xml", None, None, JSON, "json"),
        ("json", None, None, "text/xml", "xml"),
        ("json", None, "xml", JSON, "xml"),
        ("xml", None, "json", XML, "json"),
        ("json", "xml", None, JSON, "xml"),
        ("xml", "json", None, XML, "json"),
        ("json", "XML", None, None, "xml"),
        ("json", "xml", "xml", None, "xml"),
        ("xml", "", "", None, "xml"),
        ("xml", None, None, "*/*", "xml"),
        ("xml", None, None, "text/html", "xml"),
        ("xml", None, None, "", "xml"),
        ("json", None, None, "*/*", "json"),
        ("xml", None, None, "application/*", "xml"),
        ("json", None, None, f"{JSON};q=0.5, {XML}", "xml"),
        ("xml", None, None, f"{XML};q=0.1, {JSON};q=0.2, */*", "json"),
        ("json", None, None, f"text/html, {XML};q=0.9, */*;q=0.8", "xml"),
        ("json", None, None, f"{XML};q=0", "json"),
    ],
)
@pytest.mark.parametrize("declares", [True, False], ids=["declared", "undeclared"])
def test_the_answer_comes_as_format_says_else_accept_else_the_request(
    shop: Shop, own: str, body: str | None, url: str | None, accept: str | None, expected: str,
    declares: bool,
) -> None:  # fmt: skip
    fields = shop.fields(code=shop.free_code()) | ({} if body is None else {"format": body})
    call = "promocodes/get" + ("" if url is None else f"?format={url}")
    headers = {} if accept is None else {"accept": accept}
    content_type = f"application/{own}" if declares else None

    answer = read(
        send(shop.service, call, written(fields, own), content_type=content_type, **headers)
    )

    assert (answer.error, answer.form) == (0, expected)


@pytest.mark.parametrize("form", FORMS)
def test_what_curl_sends_by_itself_is_no_opinion(shop: Shop, form: str) -> None:
    """Curl says `Accept: */*` and, with -d, that the body is a form."""
    body = written(shop.fields(code=shop.free_code()), form)
    content_type = "application/x-www-form-urlencoded"

    answer = read(
        send(shop.service, "promocodes/get", body, content_type=content_type, accept="*/*")
    )

    assert (answer.error, answer.form) == (0, form)


@pytest.mark.parametrize("form", FORMS)
def test_a_refusal_comes_in_the_form_that_was_asked_for(shop: Shop, form: str) -> None:
    def refused(path: str, body: bytes = b"{}", **headers: Any) -> Answer:
        answer = read(send(shop.service, path, body, **headers))
        assert answer.form == form
        return answer

    accept = f"application/{form}"
    body = as_json({"loyalty_id": 1, "code": "A"})

    assert refused(f"promocodes/refund?format={form}").error == 404
    assert refused("promocodes/refund", accept=accept).error == 404
    assert refused("promocodes/get", b"{", accept=accept).error == 400
    assert refused(f"promocodes/get?format={form}", body, token="wrong").error == 401
    assert refused("promocodes/get", as_json({"format": form}), token=None).error == 401
    assert refused("promocodes/get", as_json({"format": form})).error == 400


@pytest.mark.parametrize(
    ("body", "url"), [("yaml", None), (5, None), (["xml"], None), (None, "yaml"), ("json", "xml")]
)
def test_a_format_that_cannot_be_is_refused_by_name(
    shop: Shop, body: object, url: str | None
) -> None:
    fields = shop.fields(code="A") | ({} if body is None else {"format": body})
    call = "promocodes/get" + ("" if url is None else f"?format={url}")

    answer = read(send(shop.service, call, as_json(fields)))

    assert (answer.status, answer.reason) == (400, "bad_value")
    assert answer.text.endswith(", format")


# -- the token -----------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("ways", ["header", "body", "url", "header body", "header body url"])
def test_a_token_comes_by_header_body_or_url(shop: Shop, form: str, ways: str) -> None:
    secret = shop.service.token
    fields = shop.fields(code=shop.free_code()) | ({"token": secret} if "body" in ways else {})
    call = "promocodes/get" + (f"?token={secret}" if "url" in ways else "")
    token = secret if "header" in ways else None

    assert speak(shop.service, form, call, fields, token=token).error == 0


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "Bearer "])
def test_the_scheme_of_the_header_has_no_case(shop: Shop, scheme: str) -> None:
    reply = shop.service.request(
        "POST",
        "/api/v1.1/promocodes/get",
        as_json(shop.fields(code=shop.free_code())),
        {"authorization": f"{scheme} {shop.service.token}", "content-type": JSON},
    )

    assert reply.error == 0


@pytest.mark.parametrize(
    ("header", "body", "url"),
    [
        ("mine", "other", None),
        ("other", "mine", None),
        ("mine", None, "other"),
        (None, "mine", "other"),
        ("mine", "mine", "other"),
        (None, None, "mine&token=other"),
    ],
)
def test_two_tokens_that_differ_are_refused(
    shop: Shop, header: str | None, body: str | None, url: str | None
) -> None:
    def told(which: str) -> str:
        return which.replace("mine", shop.service.token)

    fields = shop.fields(code="A") | ({"token": told(body)} if body else {})
    call = "promocodes/get" + (f"?token={told(url)}" if url else "")

    answer = read(send(shop.service, call, as_json(fields), token=told(header) if header else None))

    assert (answer.status, answer.error, answer.reason) == (400, 400, "bad_value")
    assert answer.text.endswith(", token")


def test_two_headers_with_tokens_that_differ_are_refused(shop: Shop) -> None:
    body = as_json(shop.fields(code="A"))
    with connected(shop.service) as connection:
        lines = head(shop.service, "promocodes/get", len(body), "Authorization: Bearer other")
        connection.sendall(lines + body)
        answer = read(receive(connection.makefile("rb")))

    assert (answer.status, answer.reason) == (400, "bad_value")
    assert answer.text.endswith(", token")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("empty", [{}, {"token": ""}, {"token": None}], ids=str)
def test_no_token_is_said(shop: Shop, form: str, empty: dict[str, None]) -> None:
    answer = speak(shop.service, form, "promocodes/get", shop.fields(**empty), token=None)

    assert (answer.status, answer.error) == (401, 401)
    assert (answer.text, answer.reason) == ("API token required", "token_required")


def test_another_scheme_than_bearer_is_no_token(shop: Shop) -> None:
    reply = shop.service.request(
        "POST",
        "/api/v1.1/promocodes/get",
        b"{}",
        {"authorization": "Basic YW5uOnB3", "content-type": JSON},
    )

    assert read(reply).reason == "token_required"


@pytest.mark.parametrize(
    "secret", ["wrong", "promint_" + "0" * 33, "Ümlaut", "' OR 1=1 --", "x" * 1000]
)
def test_an_unknown_token_is_said(shop: Shop, secret: str) -> None:
    for answer in (
        speak(shop.service, "json", "promocodes/get", shop.fields(token=secret), token=None),
        speak(shop.service, "xml", "promocodes/get", shop.fields(), token=secret),
    ):
        assert (answer.status, answer.error) == (401, 401)
        assert (answer.text, answer.reason) == ("API token is not valid", "token_invalid")


# -- headers of the answer -----------------------------------------------------------------


@pytest.mark.parametrize("sent", ["order-17", "x", "x" * 64, "!\"#$%&'()*+,-./:;<=>?@[]^_`{|}~"])
def test_a_request_id_is_kept(shop: Shop, sent: str) -> None:
    for fields in (shop.fields(code="A"), {}):
        reply = send(shop.service, "promocodes/get", as_json(fields), x_request_id=sent)

        assert reply.headers["x-request-id"] == sent


@pytest.mark.parametrize("sent", [None, "", "x" * 65, "two words", "ümlaut", "tab\tstop"])
def test_a_request_id_is_made_where_none_can_be_kept(shop: Shop, sent: str | None) -> None:
    headers = {} if sent is None else {"x_request_id": sent}

    made = {
        send(shop.service, "promocodes/get", b"{}", **headers).headers["x-request-id"]
        for _ in range(2)
    }

    assert len(made) == 2
    for request_id in made:
        assert re.fullmatch(r"[!-~]{1,64}", request_id)


def test_a_reason_stands_in_the_header_and_not_in_the_body(shop: Shop) -> None:
    refused = send(shop.service, "promocodes/get", as_json(shop.fields(code="nobody's")))
    done = send(shop.service, "promocodes/get", as_json(shop.fields(code=shop.free_code())))

    assert refused.headers["x-promint-reason"] == "code_not_found"
    assert refused.body == b'{"error":404,"error_text":"Promo code not found"}'
    assert "x-promint-reason" not in done.headers


def test_an_answer_about_a_promo_code_has_status_200_refusals_included(shop: Shop) -> None:
    used = shop.attached_code()
    shop.service.call("promocodes/activate", shop.fields(code=used))

    replies = [
        shop.service.call("promocodes/get", {"loyalty_id": 2_000_000_000, "code": "A"}),
        shop.service.call("promocodes/get", shop.fields(code="nobody's")),
        shop.service.call("promocodes/activate", shop.fields(code=used)),
        shop.service.call("promocodes/attach", shop.fields(code="A", db_id=0, email="a@b.c")),
    ]

    assert [reply.status for reply in replies] == [200] * 4
    assert [reply.error for reply in replies] == [404, 404, 409, 404]


# -- health --------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
def test_the_probes_answer_without_a_token(running: Running, path: str) -> None:
    assert running.get(path).status == 200


def test_an_unknown_probe_is_not_found(running: Running) -> None:
    assert running.get("/health/other").status == 404


# -- always_200 ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lenient(stores: Stores) -> Iterator[Shop]:
    with Running(stores.new("sqlite"), environment={"PROMINT_ALWAYS_200": "true"}) as service:
        yield make_shop(service)


def test_always_200_sends_200_whatever_error_says(lenient: Shop) -> None:
    service = lenient.service
    replies = {
        400: send(service, "promocodes/get", b"{"),
        401: send(service, "promocodes/get", b"{}", token="wrong"),
        404: send(service, "promocodes/refund", b"{}"),
        405: service.get("/api/v1.1/promocodes/get"),
        413: send(service, "promocodes/get", b" " * (1024 * 1024 + 1)),
        415: send(service, "promocodes/get", b"[]", content_type=None),
    }

    assert {number: read(reply).error for number, reply in replies.items()} == {
        number: number for number in replies
    }
    assert {reply.status for reply in replies.values()} == {200}


def test_always_200_holds_for_headers_that_are_too_large(lenient: Shop) -> None:
    reply = send(lenient.service, "promocodes/get", b"{}", x_padding="x" * 70_000)

    assert (reply.status, read(reply).error) == (200, 413)
