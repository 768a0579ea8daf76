"""Every field of every call, spoiled in every way, in JSON and in XML, on both stores.

What is expected is the contract's answer in the caller's format: number, reason and status,
with the field named. Nothing here may reach a promo code, and nothing may be our mistake.
"""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from promint.domain.errors import public_errors
from tests.running import Reply, Running
from tests.web.callers import FORMS, Answer, as_json, as_xml, read, send, speak
from tests.web.conftest import Shop, make_shop

Refusal = tuple[int, str]
DONE: Refusal = (0, "")
MALFORMED: Refusal = (400, "malformed")
MISSING: Refusal = (400, "missing_field")
BAD: Refusal = (400, "bad_value")
NO_PROGRAM: Refusal = (404, "program_not_found")
NO_DATABASE: Refusal = (404, "database_not_found")


class Spoiled(NamedTuple):
    """A value as it stands in a body; None where the form has no such value.

    A surrogate U+DC80 to U+DCFF stands for the byte 80 to FF, which is no UTF-8.
    """

    json: str | None
    xml: str | None
    answer: Refusal = BAD
    xml_answer: Refusal | None = None


# -- what a field can hold -----------------------------------------------------------------

ANYWHERE = [
    Spoiled('"\udcff"', "\udcff", MALFORMED),
    Spoiled('"\udced\udca0\udc80"', "\udced\udca0\udc80", MALFORMED),
    Spoiled(r'"\ud800"', "&#xD800;", MALFORMED),
    Spoiled('"\x00"', "\x00", MALFORMED),
    Spoiled('"\x07"', "\x07", MALFORMED),
    Spoiled(None, "&#0;", MALFORMED),
    Spoiled(None, "&#7;", MALFORMED),
    Spoiled("NaN", None, MALFORMED),
    Spoiled("-Infinity", None, MALFORMED),
    Spoiled("1e999", None, MALFORMED),
    Spoiled("18446744073709551616", None, MALFORMED),
    Spoiled("-9223372036854775809", None, MALFORMED),
    Spoiled("1" * 5000, None, MALFORMED),
    Spoiled("[" * 32 + "]" * 32, "<a>" * 31 + "</a>" * 31, MALFORMED),
    Spoiled("{'a':1}", "<a>", MALFORMED),
    Spoiled("", "&unknown;", MALFORMED),
]
NO_WHOLE = [
    Spoiled('""', ""),
    Spoiled('" "', " "),
    Spoiled('"x"', "x"),
    Spoiled("true", "true"),
    Spoiled("1.0", "1.0"),
    Spoiled('"1.0"', None),
    Spoiled("1e2", "1e2"),
    Spoiled('"1e2"', None),
    Spoiled('"\u0665"', "\u0665"),
    Spoiled('"\uff15"', "\uff15"),
    Spoiled('"+5"', "+5"),
    Spoiled('"-5"', "--5"),
    Spoiled('" 5"', "5 5"),
    Spoiled('"0x5"', "0x5"),
    Spoiled('"5\\u0000"', None),
    Spoiled("[5]", None),
    Spoiled("{}", "<a>5</a>"),
    Spoiled('"18446744073709551616"', "18446744073709551616"),
    Spoiled('"' + "9" * 5000 + '"', "-" + "9" * 5000),
]


def beyond(refusal: Refusal) -> list[Spoiled]:
    """Return whole numbers that are no id."""
    numbers = ["0", "-1", "2147483648", "9223372036854775808", "18446744073709551615"]
    lowest = "-9223372036854775808"
    as_text = [Spoiled(f'"{number}"', None, refusal) for number in ("2147483648", "0", "00")]
    return [Spoiled(number, number, refusal) for number in [*numbers, lowest]] + as_text


NO_CODE = [
    Spoiled('""', ""),
    Spoiled('" \\t "', "  "),
    Spoiled("5", None),
    Spoiled("1.5", None),
    Spoiled("true", None),
    Spoiled('["A"]', None),
    Spoiled("{}", "<a>A</a>"),
    Spoiled('"' + "x" * 256 + '"', "x" * 256),
    Spoiled('"' + "x" * 100_000 + '"', "x" * 100_000),
    Spoiled('"' + "\ufdfa" * 255 + '"', "\ufdfa" * 255),
    Spoiled(r'"A\u0000B"', None),
    Spoiled(r'"A\u0007B"', None),
    Spoiled(r'"A\nB"', "A\nB"),
    Spoiled('"A\u007fB"', "A\u007fB"),
    Spoiled('"A\u200bB"', "A\u200bB"),
    Spoiled('"A\u202eB"', "A\u202eB"),
    Spoiled('"A\ufeffB"', "A\ufeffB"),
]
NO_TEXT = [
    Spoiled("5", None),
    Spoiled("true", None),
    Spoiled('["a"]', None),
    Spoiled("{}", "<a>a</a>"),
    Spoiled('"' + "9" * 2000 + '"', "9" * 2000),
    Spoiled(r'"a\u0000b"', None),
    Spoiled(r'"a\u001bb"', None),
]
NO_FLAG = [
    Spoiled('""', " x"),
    Spoiled('"true"', "yes"),
    Spoiled('"1"', "2"),
    Spoiled("1", "TRUE"),
    Spoiled("0", "null"),
    Spoiled("1.0", "1.0"),
    Spoiled("[]", None),
    Spoiled("{}", "<a/>"),
]
NO_MOMENT = [
    Spoiled("5", "5"),
    Spoiled("true", "true"),
    Spoiled("[]", None),
    Spoiled("{}", "<a/>"),
    *[
        Spoiled(f'"{text}"', text)
        for text in (
            "tomorrow", "2030-01-01", "2030-01-01T00:00:00", "2030-01-01 00:00:00Z",
            "2030-02-30T00:00:00Z", "2030-01-01T24:00:00Z", "0000-01-01T00:00:00Z",
            "2030-01-01T00:00:00+0300", "1893456000", "x" * 1000,
        )
    ],
]  # fmt: skip
NO_TEXTS = [
    Spoiled('"A"', None),
    Spoiled('""', None),
    Spoiled("5", None),
    Spoiled("true", None),
    Spoiled("{}", "<a>A</a>"),
    Spoiled("[1]", None),
    Spoiled('["A",1.5]', None),
    Spoiled("[true]", None),
    Spoiled("[null]", None),
    Spoiled('[["A"]]', None),
    Spoiled('["A",{}]', None),
]
NO_WHOLES = [
    Spoiled("1", None),
    Spoiled('["x"]', "x"),
    Spoiled("[1.0]", "1.0"),
    Spoiled("[true]", "true"),
    Spoiled("[[1]]", "<a>1</a>"),
]
NO_OBJECT = [
    Spoiled('"x"', "x"),
    Spoiled("5", None),
    Spoiled("true", None),
    Spoiled("[]", None),
    Spoiled('[{"a":1}]', None),
    Spoiled('{"email":5}', "<email><a>5</a></email>"),
    Spoiled('{"email":"%s"}' % ("x" * 256), f"<email>{'x' * 256}</email>"),
    Spoiled('{"email":["a@b.c"]}', None),
    Spoiled('{"phones":5}', "<phones>none</phones>"),
    Spoiled('{"phones":[5]}', "<phones>none</phones><phones>7</phones>"),
    Spoiled('{"phones":["none"]}', "<phones array='true'>none</phones>"),
    Spoiled('{"subscriptions":[{"email":{}}]}', None),
    Spoiled(r'{"a":"\u0000"}', None),
    Spoiled(r'{"a\u0000b":1}', None),
    Spoiled(r'{"a":[{"b":["\u0000"]}]}', None),
]
NO_OBJECTS = [
    Spoiled('"x"', "x"),
    Spoiled("5", None),
    Spoiled("{}", None),
    Spoiled('["x"]', None),
    Spoiled("[1]", None),
    Spoiled("[null]", None),
    Spoiled('[{"email":"a@b.c"},[]]', None),
]
TOO_FEW = [Spoiled("0", "0"), Spoiled("-1", "-1")]

# -- which field holds what ----------------------------------------------------------------

LOYALTY_ID = NO_WHOLE + beyond(NO_PROGRAM)
DB_ID = NO_WHOLE + beyond(NO_DATABASE)
MATCHING = [*NO_TEXT, Spoiled('"push_sub"', "push_sub"), Spoiled('"EMAIL"', "EMAIL")]
COMMON = {
    "token": NO_TEXT,
    "format": [*NO_TEXT, Spoiled('"yaml"', "yaml"), Spoiled('"js on"', "js on")],
}
FIELDS: dict[str, dict[str, list[Spoiled]]] = {
    "promocodes/import": {"loyalty_id": LOYALTY_ID, "codes": NO_TEXTS},
    "promocodes/get": {"loyalty_id": LOYALTY_ID, "code": NO_CODE},
    "promocodes/activate": {"loyalty_id": LOYALTY_ID, "code": NO_CODE},
    "promocodes/update": {
        "loyalty_id": LOYALTY_ID, "code": NO_CODE, "activated": NO_FLAG, "expire_date": NO_MOMENT,
    },
    "promocodes/attach": {
        "loyalty_id": LOYALTY_ID, "code": NO_CODE, "db_id": DB_ID, "matching": MATCHING,
        "profile_id": NO_TEXT, "return_code": NO_FLAG,
    },
    "promocodes/detach": {
        "loyalty_id": LOYALTY_ID, "code": NO_CODE, "db_id": DB_ID, "matching": MATCHING,
        "profile_id": NO_TEXT,
    },
    "promocodes/export_all": {"loyalty_id": LOYALTY_ID},
    "databases/list": {
        "from_id": NO_WHOLE, "limit": NO_WHOLE + TOO_FEW, "ui_tags": NO_TEXTS, "groups": NO_TEXTS,
        "groups_id": NO_WHOLES,
    },
    "databases/get": {"id": DB_ID},
    "profiles/import": {
        "db_id": DB_ID, "matching": MATCHING, "profile_id": NO_TEXT, "data": NO_OBJECT,
    },
    "profiles/import_batch": {"db_id": DB_ID, "data": NO_OBJECTS},
    "profiles/update": {
        "db_id": DB_ID, "matching": MATCHING, "profile_id": NO_TEXT, "data": NO_OBJECT,
    },
    "profiles/get": {"db_id": DB_ID, "matching": MATCHING, "profile_id": NO_TEXT},
    "profiles/delete": {"db_id": DB_ID, "matching": MATCHING, "profile_id": NO_TEXT},
}  # fmt: skip
OPTIONAL = {
    "token", "format", "matching", "return_code", "from_id", "limit", "ui_tags", "groups",
    "groups_id",
}  # fmt: skip
EITHER = {"activated", "expire_date"}
"""Fields of which one has to be there; the good request has both."""


def good(shop: Shop, call: str) -> dict[str, Any]:
    """Return a request that would do no harm: nobody has this code, nobody this id."""
    known = {
        "loyalty_id": shop.loyalty_id,
        "code": "NOBODYS",
        "codes": ["NOBODYS"],
        "activated": False,
        "expire_date": "2030-01-01T00:00:00Z",
        "db_id": shop.db_id,
        "id": shop.db_id,
        "matching": "profile_id",
        "profile_id": "0" * 24,
        "return_code": True,
        "data": [{"email": 5}] if call.endswith("batch") else {"vip": True},
    }
    return {name: known[name] for name in FIELDS[call] if name in known}


def body_with(fields: dict[str, Any], name: str, value: str, form: str) -> bytes:
    """Return a request in which one field stands as it is given here."""
    others = {other: value for other, value in fields.items() if other != name}
    if form == "json":
        start = as_json(others).decode().removesuffix("}")
        text = f'{start}{", " if others else ""}"{name}": {value}}}'
    else:
        start = as_xml(others).decode().removesuffix("</xml>")
        text = f"{start}<{name}>{value}</{name}></xml>"
    return text.encode("utf-8", "surrogateescape")


def cases(spoiled: list[Spoiled]) -> Iterator[tuple[str, str, Refusal]]:
    """Yield form, value and expected refusal."""
    for one in spoiled:
        if one.json is not None:
            yield "json", one.json, one.answer
        if one.xml is not None:
            yield "xml", one.xml, one.xml_answer or one.answer


def fields_of_calls() -> Iterator[Any]:
    for call, own in FIELDS.items():
        for name, spoiled in {**own, **COMMON}.items():
            yield pytest.param(call, name, spoiled, id=f"{call}-{name}")


@pytest.mark.parametrize(("call", "name", "spoiled"), list(fields_of_calls()))
def test_a_field_that_cannot_be_so_is_refused_by_name_in_the_caller_s_format(
    shop: Shop, call: str, name: str, spoiled: list[Spoiled]
) -> None:
    wrong = []
    for form, value, expected in cases(ANYWHERE + spoiled):
        body = body_with(good(shop, call), name, value, form)
        token = None if name == "token" else ""
        reply = send(shop.service, call, body, content_type=f"application/{form}", token=token)
        answer = read(reply)
        said = (answer.error, answer.reason)
        status = 200 if expected[0] == 404 else expected[0]
        named = [name, "email", "phones"] if name == "data" else [name]
        is_named = expected != BAD or any(f", {one}" in answer.text for one in named)
        if (said, answer.status, answer.form) != (expected, status, form) or not is_named:
            wrong.append((form, value[:40], expected, said, answer.status, answer.text[:80]))
    assert wrong == []


@pytest.mark.parametrize(
    ("call", "name"),
    [
        pytest.param(call, name, id=f"{call}-{name}")
        for call, own in FIELDS.items()
        for name in own
        if name not in OPTIONAL | EITHER and (call, name) != ("promocodes/attach", "code")
    ],
)
@pytest.mark.parametrize("form", FORMS)
def test_a_field_that_is_needed_is_missed_by_name(
    shop: Shop, call: str, name: str, form: str
) -> None:
    fields = good(shop, call)
    del fields[name]

    absent = speak(shop.service, form, call, fields)
    null = read(send(shop.service, call, as_json({**fields, name: None})))

    for answer in (absent, null):
        assert (answer.error, answer.reason, answer.status) == (*MISSING, 400)
        assert name in answer.text


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("call", "own"), FIELDS.items(), ids=list(FIELDS))
def test_a_request_without_any_field_misses_one(
    running: Running, call: str, own: dict[str, Any], form: str
) -> None:
    answer = speak(running, form, call, {})

    expected = DONE if set(own) <= OPTIONAL else MISSING
    assert (answer.error, answer.reason) == expected


@pytest.mark.parametrize("form", FORMS)
def test_an_update_needs_something_to_change(shop: Shop, form: str) -> None:
    code = shop.free_code()
    absent = speak(shop.service, form, "promocodes/update", shop.fields(code=code))
    null = read(
        send(shop.service, "promocodes/update", as_json(shop.fields(code=code, activated=None)))
    )

    for answer in (absent, null):
        assert (answer.error, answer.reason) == MISSING
        assert answer.text.endswith("activated or expire_date")


# -- how a profile is named ----------------------------------------------------------------

PROFILE_CALLS = [
    "promocodes/attach", "promocodes/detach",
    "profiles/import", "profiles/update", "profiles/get", "profiles/delete",
]  # fmt: skip
NO_VALUE = [
    Spoiled("true", None),
    Spoiled("1.5", None),
    Spoiled('["a"]', None),
    Spoiled("{}", "<a>a</a>"),
    Spoiled('"' + "x" * 256 + '"', "x" * 256),
    Spoiled(r'"a\u0000b"', None),
]
NAMINGS: list[tuple[dict[str, Any], str, list[Spoiled]]] = [
    ({"matching": "email", "email": "a@b.c"}, "email", NO_TEXT),
    ({"matching": "email_profile", "email": "a@b.c"}, "email", NO_TEXT),
    ({"matching": "email_sub", "email": "a@b.c"}, "email", NO_TEXT),
    ({"email": "a@b.c"}, "email", [*NO_TEXT, Spoiled('"' + "ß" * 200 + '"', "ß" * 200)]),
    ({"matching": "phone", "phone": "7"}, "phone", [*NO_TEXT, Spoiled('"none"', "none")]),
    ({"matching": "phone_sub", "phone": "7"}, "phone", [*NO_TEXT, Spoiled('"\u0665"', "\u0665")]),
    ({"matching": "email_phone", "phone": "7"}, "phone", NO_TEXT),
    ({"matching": "profile_id", "profile_id": "0" * 24}, "profile_id", NO_TEXT),
    (
        {"matching": "custom", "field_name": "card", "field_value": "1"}, "field_value", NO_VALUE,
    ),
    ({"matching": "custom", "field_value": "1", "field_name": "card"}, "field_name", NO_TEXT),
]  # fmt: skip


@pytest.mark.parametrize("call", PROFILE_CALLS)
@pytest.mark.parametrize(
    ("naming", "name", "spoiled"),
    NAMINGS,
    ids=[f"{naming.get('matching', 'none')}-{name}" for naming, name, _ in NAMINGS],
)
def test_what_names_a_profile_is_missed_or_refused_by_name(
    shop: Shop, call: str, naming: dict[str, Any], name: str, spoiled: list[Spoiled]
) -> None:
    fields = {**good(shop, call), **naming}
    for other in {"matching", "profile_id"} - set(naming):
        fields.pop(other, None)

    for form, value, expected in cases(ANYWHERE + spoiled):
        body = body_with(fields, name, value, form)
        answer = read(send(shop.service, call, body, content_type=f"application/{form}"))
        assert (answer.error, answer.reason, answer.form) == (*expected, form), value[:40]
        assert expected == MALFORMED or f", {name}" in answer.text
    for value, form in (("null", "json"), ('""', "json"), ('" "', "json"), ("", "xml")):
        body = body_with(fields, name, value, form)
        answer = read(send(shop.service, call, body, content_type=f"application/{form}"))
        assert (answer.error, answer.reason) == MISSING, value
        assert name in answer.text


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("call", PROFILE_CALLS)
def test_without_matching_and_email_there_is_one_identifier(
    shop: Shop, call: str, form: str
) -> None:
    fields = {**good(shop, call), "phone": "7"}
    del fields["matching"]

    answer = speak(shop.service, form, call, fields)

    assert (answer.error, answer.reason) == BAD
    assert answer.text.endswith(", matching")


# -- the whole body ------------------------------------------------------------------------

BODIES = {
    "truncated": ('{"loyalty_id": 1, "code": "A', "<xml><loyalty_id>1</loyalty_id><code>A"),
    "one byte short": ('{"loyalty_id": 1', "<xml><loyalty_id>1</loyalty_id></xml"),
    "something after it": ('{"loyalty_id": 1}}', "<xml><loyalty_id>1</loyalty_id></xml><a/>"),
    "two": ('{"loyalty_id": 1}{"loyalty_id": 1}', "<xml/><xml/>"),
    "no object": ('["loyalty_id", 1]', "<request><loyalty_id>1</loyalty_id></request>"),
    "a text": ('"loyalty_id"', "<xml>loyalty_id</xml>"),
    "null": ("null", "null"),
    "depth 33": (
        '{"a":' + "[" * 32 + "]" * 32 + "}", "<xml>" + "<a>" * 32 + "</a>" * 32 + "</xml>",
    ),
    "depth 100000": ('{"a":' * 100_000, "<xml>" + "<a>" * 100_000),
    "not UTF-8": ('{"a": "\udcff"}', "<xml><a>\udcff</a></xml>"),
    "not UTF-8 name": ('{"\udcff": 1}', "<xml><\udcff/></xml>"),
    "NUL between": ('{"a": \x001}', "<xml>\x00<a/></xml>"),
    "NUL after": ('{"a": 1}\x00', "<xml><a/></xml>\x00"),
    "lone surrogate": (r'{"a": "\ud800"}', "<xml><a>&#xDC00;</a></xml>"),
    "comment": ('{"a": 1} // one', "<xml><a>1</a></xml><!--"),
    "single quotes": ("{'a': 1}", "<xml a=1/>"),
    "DOCTYPE": ("<!DOCTYPE a>", "<!DOCTYPE xml><xml/>"),
    "entities": (
        "&a;",
        "<!DOCTYPE xml [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;'>]><xml><code>&b;</code></xml>",
    ),
    "two values": ('{"token": "a", "token": "b"}', "<xml><a></b></xml>"),
    "binary": ("\x89PNG\r\n\x1a\n\x00", "\x1f\udc8b\x08\x00"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BODIES)
@pytest.mark.parametrize("call", FIELDS)
def test_a_body_that_cannot_be_read_is_malformed(running: Running, call: str, kind: str) -> None:
    for form, body in zip(FORMS, BODIES[kind], strict=True):
        reply = send(
            running,
            call,
            body.encode("utf-8", "surrogateescape"),
            content_type=f"application/{form}",
        )
        answer = read(reply)
        assert (answer.error, answer.reason, answer.status) == (*MALFORMED, 400)
        assert answer.form == form
        assert answer.text.startswith("Incorrect request: ")


@pytest.mark.parametrize("call", FIELDS)
def test_a_field_may_come_twice_with_one_value_and_not_with_two(shop: Shop, call: str) -> None:
    token = shop.service.token

    def said(body: str, form: str) -> Refusal:
        content_type = f"application/{form}"
        sent = send(shop.service, call, body.encode(), content_type=content_type, token=None)
        return read(sent).error, read(sent).reason

    once = said(f'{{"token": "{token}"}}', "json")

    assert once[0] in (0, 400)
    assert said(f'{{"token": "{token}", "token": "{token}"}}', "json") == once
    assert said(f"<xml><token>{token}</token><token>{token}</token></xml>", "xml") == once
    assert said(f'{{"token": "{token}", "token": "x"}}', "json") == MALFORMED
    assert said(f"<xml><token>{token}</token><token>x</token></xml>", "xml") == BAD


# -- anything ------------------------------------------------------------------------------

NUMBERS = {error.reason: error.number for error in public_errors()}
NAMES = sorted({name for own in FIELDS.values() for name in own} | {
    "token", "format", "email", "phone", "field_name", "field_value", "phones", "subscriptions",
})  # fmt: skip
MATCHINGS = ["email", "phone", "profile_id", "custom", "email_phone", "email_profile", "push_sub"]
texts = st.text(st.characters(codec="utf-8"), max_size=20) | st.sampled_from(
    ["", "5", "A", "true", "json", "xml", "a@b.c", "+7 900", "2030-01-01T00:00:00Z", "0" * 24]
)
scalars = st.none() | st.booleans() | st.integers(-(2**65), 2**65) | st.floats(width=32) | texts
anything = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(NAMES) | texts, inner, max_size=3)
    ),
    max_leaves=6,
)
requests = st.dictionaries(st.sampled_from(NAMES), anything, max_size=8)
calls = st.sampled_from(sorted(FIELDS))
thorough = settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def assert_answered_as_promised(reply: Reply) -> Answer:
    """No mistake of ours, an envelope that parses as declared, a known number and reason."""
    assert reply.status < 500, reply.body
    answer = read(reply)
    if answer.error:
        assert NUMBERS[answer.reason] == answer.error
        assert answer.text
    return answer


@pytest.fixture(scope="session")
def playground(running: Running) -> Shop:
    """A shop of its own, for requests that may do anything."""
    return make_shop(running)


def pinned(shop: Shop, call: str, fields: dict[str, Any]) -> dict[str, Any]:
    """Lead a request past the first checks: to a program, a database, a profile that exist."""
    pins = shop.profile(id=shop.db_id)
    if call == "profiles/delete":
        del pins["profile_id"]
    return {**fields, **pins}


@thorough
@given(call=calls, fields=requests, pins=st.booleans())
def test_any_json_object_is_answered_as_promised(
    playground: Shop, call: str, fields: dict[str, Any], pins: bool
) -> None:
    fields = pinned(playground, call, fields) if pins else fields
    fields.pop("format", None)

    reply = send(playground.service, call, json.dumps(fields).encode())

    assert assert_answered_as_promised(reply).form == "json"


@thorough
@given(call=calls, fields=requests, pins=st.booleans())
def test_any_xml_document_is_answered_as_promised(
    playground: Shop, call: str, fields: dict[str, Any], pins: bool
) -> None:
    fields = pinned(playground, call, fields) if pins else fields
    fields.pop("format", None)

    reply = send(playground.service, call, as_xml(fields), content_type="application/xml")

    assert assert_answered_as_promised(reply).form == "xml"


@thorough
@given(
    call=calls,
    body=st.binary(max_size=200)
    | st.lists(
        st.sampled_from(
            [*(f'"{name}":' for name in NAMES), *(f"<{name}>" for name in NAMES),
             *(f"</{name}>" for name in NAMES), "{", "}", "[", "]", ",", "<xml>", "</xml>", "1",
             '"A"', "A", "&amp;", "<![CDATA[", "]]>", "<!DOCTYPE xml>", "\ufeff", "\x00", "\\u"]
        ),
        max_size=20,
    ).map(lambda parts: "".join(parts).encode()),
    content_type=st.sampled_from([None, "application/json", "application/xml", "text/plain"]),
    accept=st.sampled_from([None, "application/json", "application/xml", "*/*"]),
)  # fmt: skip
def test_any_bytes_are_answered_as_promised(
    running: Running, call: str, body: bytes, content_type: str | None, accept: str | None
) -> None:
    headers = {} if accept is None else {"accept": accept}

    reply = send(running, call, body, content_type=content_type, **headers)

    answer = assert_answered_as_promised(reply)
    if accept and accept != "*/*":
        assert accept.endswith(answer.form)


# -- one request in two forms --------------------------------------------------------------

xml_texts = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc"], exclude_characters="\ufffe\uffff"),
    min_size=1,
    max_size=300,
)  # fmt: skip
ids = st.integers(-(2**63), 2**64 - 1) | st.integers(0, 5)
moments = st.sampled_from(["2030-01-01T00:00:00Z", "2030-01-01", "9999-12-31T23:59:59Z", "soon"])
readable = st.fixed_dictionaries(
    {},
    optional={
        "loyalty_id": ids,
        "db_id": ids,
        "id": ids,
        "from_id": ids,
        "limit": ids,
        "code": xml_texts,
        "codes": st.lists(xml_texts, max_size=3),
        "activated": st.booleans(),
        "return_code": st.booleans(),
        "expire_date": moments,
        "matching": st.sampled_from(MATCHINGS),
        "email": xml_texts,
        "phone": xml_texts,
        "profile_id": xml_texts,
        "field_name": xml_texts,
        "field_value": xml_texts | st.integers(0, 9),
        "ui_tags": st.lists(xml_texts, max_size=2),
        "groups": st.lists(xml_texts, max_size=2),
        "groups_id": st.lists(ids, max_size=2),
    },
)


@thorough
@given(call=calls, fields=readable, pins=st.booleans())
def test_a_request_means_the_same_in_both_forms(
    playground: Shop, call: str, fields: dict[str, Any], pins: bool
) -> None:
    if pins:
        # A program that is switched off: everything is read and checked, nothing is changed.
        fields = {**pinned(playground, call, fields), "loyalty_id": playground.closed_id}
        fields.pop("codes", None)

    in_json, in_xml = (speak(playground.service, form, call, fields) for form in FORMS)

    assert (in_xml.error, in_xml.reason, in_xml.text) == (
        in_json.error,
        in_json.reason,
        in_json.text,
    )
    assert in_xml.status == in_json.status
