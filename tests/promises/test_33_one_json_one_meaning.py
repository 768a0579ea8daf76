"""A JSON text has one meaning or is refused."""

from collections.abc import Iterator

import pytest

from tests.conftest import Stores
from tests.promises.proof import Proof, control, promise
from tests.races.builds import build_with
from tests.races.ledger import demand
from tests.running import Running
from tests.web.callers import send

GUARD = "tests.promises.faults.guard:"
CALL = "promocodes/get"


@pytest.fixture(scope="module")
def host(stores: Stores) -> Iterator[Running]:
    """A service of one process on SQLite: what is refused here never reaches a store."""
    with Running(stores.new("sqlite")) as running:
        yield running


NO_WORDS = (
    "NaN Infinity -Infinity +1 -01 01 00 1. .5 -.5 1.e1 1e 1e+ 1E- 0x10 0b1 1_000 - -a 1a "
    "++1 --1 1e400 -1e400 18446744073709551616 -9223372036854775809 nan inf INF \u221e "
    "\uff11 \u0665 1e1.5 0e 2.e-3 True TRUE False None nil NULL undefined tru nul fals "
    "truth yes void "
)
"""Numbers that are none or too large, and words that JSON does not have."""

NO_VALUES = [
    *NO_WORDS.split(),
    "9" * 400, "-" + "9" * 5000, "1" + "0" * 309,
    # Texts.
    "'a'", '"a', 'a"', '"\\x41"', '"\\u12"', '"\\u123g"', '"\\U00000041"', '"\\"', '"\\a"',
    '"\\\'"',
    '"\t"', '"\n"', '"\r"', '"\x00"', '"\x1f"', '"\x08"', '"a" "b"', '"a"b', "`a`", "“a”",
    '"\\ud800"', '"\\udc00"', '"\\ud800\\ud800"', '"\\ud800x"', '"\\udfff\\ud800"', '"\\uD83D"',
    '"\\ud800\\u0041"', '"\\u00"', '"\\u"', '"\\ "', '"a\\',
    # Lists.
    "[", "]", "[1", "[1,", "[1,]", "[,1]", "[,]", "[1,,2]", "[1 2]", "[1;2]", "(1)", "[1}",
    "[\"a\"",
    "[[]", "[]]", "[1]x", "[...]", "[NaN]", "[-]", "[1:2]", "[\x0c1]", "[\u00a01]", "[\u2028]",
    # Objects.
    "{", "}", '{"a"', '{"a":', '{"a":1', '{"a":1,', '{"a":1,}', "{,}", '{"a" 1}', '{"a"=1}',
    "{a:1}",
    "{'a':1}", "{1:1}", '{"a":1 "b":2}', '{"a":1;"b":2}', '{"a":1]', '{:1}', '{"a"::1}', "{null:1}",
    '{"a":1}}', '{"a":1}{}', '{"a":/**/1}', '{"a":1}//', '{"a":1}#', '{"a":,"b":1}', '{[1]:1}',
    # Keys that come twice and differ.
    '{"a":1,"a":2}', '{"a":1,"\\u0061":2}', '{"a":null,"a":0}', '{"a":"1","a":1}',
    '{"a":[],"a":{}}',
    '{"b":{"a":1,"a":2}}', '{"":1,"":2}', '{"a":true,"a":1}', '{"a":1,"b":2,"a":3}',
    # Depth.
    "[" * 33 + "]" * 33, '{"a":' * 33 + "1" + "}" * 33, "[" * 100_000, '{"a":' * 50_000,
    # Other than JSON.
    "", "<a/>", "a: 1", "--- 1", "a=1", "\ufeff1", "/**/1", "1//x", "1#x", "!!1", "@1", "$1",
]  # fmt: skip
"""What stands where a JSON value has to stand."""

NO_DOCUMENTS = [
    b'{"a":"\xff"}', b'{"a":"\xc0\xaf"}',
    b'{"a":"\xed\xa0\x80"}', b'{"\xff":1}', b'{"a":1}\x00', b"\x00{}", b'{"a":1}\xef\xbb\xbf',
    b"\xef\xbb\xbf\xef\xbb\xbf{}", b'{"a":"\xf4\x90\x80\x80"}', b'{"a":"\xf8\x88\x80\x80\x80"}',
    b"[]", b"[{}]", b'"a"', b"1", b"null", b"true", b"{}{}", b"{},{}", b"{}\n{}", b"{}x", b"{]",
]  # fmt: skip

FINE_VALUES = [
    "0", "-0", "1", "-1", "1.5", "1e3", "1E+2", "-1.5e-3", "18446744073709551615", "true", "false",
    "null", '""', '"a"', '"\\u0041"', '"\\ud83d\\ude00"', '"\\/\\b\\f\\n\\r\\t\\\\\\""', '"😀"',
    "[]", "[1,[2,[3]]]", "{}", '{"a":{"b":1}}', '{"a":1,"a":1}', " 1 ", "\t1\n", "[ ]", "{ }",
    '"\u2028"', '"\x7f"', "[" * 31 + "]" * 31,
]  # fmt: skip


def documents() -> dict[str, bytes]:
    """Return texts that have no meaning, or two."""
    places = {
        "a field": '{"loyalty_id": 1, "code": "A", "x": %s}',
        "a list": '{"loyalty_id": 1, "code": "A", "x": [1, %s]}',
    }
    found = {
        f"{value[:40]!r} in {place} ({number})": (form % value).encode()
        for place, form in places.items()
        for number, value in enumerate(NO_VALUES)
    }
    return found | {f"{body[:40]!r} as a whole": body for body in NO_DOCUMENTS}


DOCUMENTS = documents()


def hold_one_meaning(host: Running) -> None:
    for name, body in DOCUMENTS.items():
        reply = send(host, CALL, body)
        demand(reply.status == 400, name, "is answered", reply.status, reply.body)
        demand(reply.reason == "malformed", name, "is", reply.reason)


@promise(33, store="sqlite")
def test_a_text_without_one_meaning_is_refused(host: Running, proof: Proof) -> None:
    assert len(DOCUMENTS) >= 200

    hold_one_meaning(host)
    proof.trials(len(DOCUMENTS), "texts")


@promise(33, store="sqlite")
@pytest.mark.parametrize("value", FINE_VALUES)
def test_a_text_with_one_meaning_is_read(host: Running, value: str) -> None:
    body = f'{{"loyalty_id": 2000000000, "code": "A", "x": {value}}}'

    assert send(host, CALL, body.encode()).reason == "program_not_found"


@control(33, fault="JSON is read as the standard library does", store="sqlite")
def test_the_texts_find_a_build_that_reads_json_as_the_library_does(
    stores: Stores, proof: Proof
) -> None:
    with build_with(GUARD + "json_read_leniently", stores.new("sqlite")) as host:
        proof.control(lambda _: hold_one_meaning(host))
