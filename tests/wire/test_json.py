"""JSON in and out, strictly: one text has one meaning (contract section 1)."""

import json
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promint.domain.errors import Malformed, PromintError, UnsupportedFormat
from promint.wire import codecs
from promint.wire.codecs import Format

texts = st.text(st.characters(codec="utf-8"))
integers = st.integers(-(2**63), 2**64 - 1)
values = st.recursive(
    st.none() | st.booleans() | integers | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
objects = st.dictionaries(texts, values, max_size=5)


def nested(depth: int) -> bytes:
    """Return an object of this depth: it counts as the first."""
    return b'{"a":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


@given(fields=objects)
def test_any_object_is_read_as_it_was_written(fields: dict[str, Any]) -> None:
    assert codecs.read_json(json.dumps(fields).encode()) == fields
    assert codecs.read_json(json.dumps(fields, ensure_ascii=False).encode()) == fields
    assert codecs.read_json(codecs.write_json(fields)) == fields


@given(
    body=st.binary()
    | texts.map(str.encode)
    | st.text('{}[]":,0123456789.eE+-\\utrfnlaNI ').map(str.encode)
)
def test_any_bytes_are_an_object_or_refused(body: bytes) -> None:
    try:
        fields = codecs.read_json(body)
    except PromintError as refusal:
        assert refusal.number in (400, 415)  # noqa: PT017  # both outcomes are right
        return
    assert fields == json.loads(body.removeprefix(codecs.BOM))


@pytest.mark.parametrize(
    "body",
    [b'{"a":1}', b' \r\n\t{"a":1}\n', codecs.BOM + b'{"a":1}', codecs.BOM + b' {"a":1}'],
    ids=["plain", "blanks", "BOM", "BOM and blank"],
)
def test_blanks_and_a_bom_around_an_object_are_passed_over(body: bytes) -> None:
    assert codecs.read_json(body) == {"a": 1}


@pytest.mark.parametrize(
    "body",
    [
        b"", b" ", b"null", b"true", b"1", b'"a"', b"[]", b'[{"a":1}]',
        b"{", b'{"a"}', b'{"a":}', b'{"a":1', b'{"a":1,}', b'{a:1}', b"{'a':1}",
        b'{"a":1}{"b":2}', b'{"a":1} x', b'{"a":1}\0',
        b'{"a":01}', b'{"a":+1}', b'{"a":.5}', b'{"a":1.}', b'{"a":0x1}', b'{"a":1_000}',
        b'{"a":NaN}', b'{"a":Infinity}', b'{"a":-Infinity}', b'{"a":nan}',
        b'{"a":True}', b'{"a":None}', b'{"a":undefined}', b'{"a":1/*one*/}',
        b'{"a":"\n"}', b'{"a":"\x00"}', b'{"a":"\\x41"}', b'{"a":"\\u12"}', b'{"a":"b}',
    ],
    ids=count(),
)  # fmt: skip
def test_what_is_not_one_object_is_refused(body: bytes) -> None:
    with pytest.raises(Malformed):
        codecs.read_json(body)


@pytest.mark.parametrize(
    "body",
    [b'{"a":"\xff"}', b'{"a":"\xc0\xaf"}', b'{"a":"\xed\xa0\x80"}', b'{"\xff":1}', b'{"a":"\xc3"}'],
    ids=["no lead byte", "overlong", "surrogate", "key", "cut"],
)
def test_bytes_that_are_not_utf_8_are_refused(body: bytes) -> None:
    with pytest.raises(Malformed):
        codecs.read_json(body)


@pytest.mark.parametrize("charset", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_refused(charset: str) -> None:
    body = '{"a":1}'.encode(charset)

    with pytest.raises(UnsupportedFormat if body[:2] in (b"\xff\xfe", b"\xfe\xff") else Malformed):
        codecs.read_json(body)


@pytest.mark.parametrize(
    "text", [r"\ud800", r"\udfff", r"\ud800x", r"\udc00\ud800", r"\ud800\ud800"]
)
def test_a_lone_surrogate_is_refused_wherever_it_stands(text: str) -> None:
    for body in (f'{{"a":"{text}"}}', f'{{"{text}":1}}', f'{{"a":[["{text}"]]}}'):
        with pytest.raises(Malformed):
            codecs.read_json(body.encode())


def test_a_pair_of_surrogates_is_one_character() -> None:
    assert codecs.read_json(rb'{"a":"\ud83d\ude00"}') == {"a": "\U0001f600"}


@pytest.mark.parametrize("number", [2**64 - 1, -(2**63), 2**63, 0, -1])
def test_a_number_has_64_bits(number: int) -> None:
    assert codecs.read_json(b'{"a":%d}' % number) == {"a": number}


@pytest.mark.parametrize(
    "number",
    [b"18446744073709551616", b"-9223372036854775809", b"1" * 30, b"-" + b"1" * 30, b"1" * 5000],
    ids=["one more", "one less", "30 digits", "negative", "5000 digits"],
)
def test_a_number_over_64_bits_is_refused_wherever_it_stands(number: bytes) -> None:
    for body in (b'{"a":%b}', b'{"a":[{"b":%b}]}', b'{"unknown":%b,"a":1}'):
        with pytest.raises(Malformed, match="64 bits"):
            codecs.read_json(body % number)


@pytest.mark.parametrize("number", [b"1e309", b"-1e309", b"1e999999999"])
def test_a_number_that_would_be_infinite_is_refused(number: bytes) -> None:
    with pytest.raises(Malformed):
        codecs.read_json(b'{"a":' + number + b"}")


def test_a_fraction_is_no_whole_number() -> None:
    fields = codecs.read_json(b'{"a":1.0,"b":1e2,"c":1}')

    assert [type(value) for value in fields.values()] == [float, float, int]


def test_an_object_is_32_deep_at_most() -> None:
    codecs.read_json(nested(32))
    for depth in (33, 34, 1000, 200_000):
        with pytest.raises(Malformed, match="nested deeper than 32"):
            codecs.read_json(nested(depth))


def test_depth_counts_objects_and_lists_alike() -> None:
    with pytest.raises(Malformed, match="nested deeper than 32"):
        codecs.read_json(b'{"a":' * 33 + b"1" + b"}" * 33)
    assert codecs.read_json(b'{"a":' * 32 + b"1" + b"}" * 32)


@pytest.mark.parametrize(
    "body",
    [
        '{"a":1,"a":1}',
        '{"a":1,"b":2,"a":1,"a":1}',
        '{"a":1,"\\u0061":1}',
        '{"a":"x","a":"\\u0078"}',
        '{"a":[1,{"b":null}],"a":[1,{"b":null}]}',
        '{"a":{"b":1,"c":2},"a":{"c":2,"b":1}}',
        '{"d":{"a":"x","a":"x"}}',
        '{"a":"k:v","a":"k:v"}',
    ],
)
def test_a_key_may_come_twice_with_the_same_value(body: str) -> None:
    assert codecs.read_json(body.encode()) == json.loads(body)


@pytest.mark.parametrize(
    ("body", "key"),
    [
        ('{"a":1,"a":2}', "a"),
        ('{"a":1,"a":"1"}', "a"),
        ('{"a":1,"a":1.0}', "a"),
        ('{"a":1,"a":true}', "a"),
        ('{"a":null,"a":false}', "a"),
        ('{"a":1,"\\u0061":2}', "a"),
        ('{"a":"x:","b":1,"a":"y"}', "a"),
        ('{"a":[true],"a":[1]}', "a"),
        ('{"a":{"b":[0]},"a":{"b":[false]}}', "a"),
        ('{"a":1,"a":2,"a":1}', "a"),
        ('{"d":[{"inner":1,"inner":2}]}', "inner"),
    ],
)
def test_a_key_that_comes_twice_with_two_values_is_refused_by_name(body: str, key: str) -> None:
    with pytest.raises(Malformed, match=f"given twice with two values, {key}$"):
        codecs.read_json(body.encode())


def test_an_answer_keeps_the_order_of_its_keys() -> None:
    answer = {"data": None, "error": 0, "error_text": "ok", "a": True}

    assert codecs.write_json(answer) == b'{"data":null,"error":0,"error_text":"ok","a":true}'


# -- which of the two ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "form"),
    [
        (b'{"a":1}', Format.JSON),
        (b"<xml/>", Format.XML),
        (b" \t\r\n{", Format.JSON),
        (b" " * 10_000 + b"<xml/>", Format.XML),
        (codecs.BOM + b"<?xml version='1.0'?><xml/>", Format.XML),
        (codecs.BOM + b" {", Format.JSON),
        (b"[1]", None),
        (b"token=x", None),
        (b"", None),
        (b"   ", None),
        ("{".encode("utf-16"), None),
    ],
    ids=[
        "json", "xml", "blanks", "many blanks", "BOM", "BOM, blank",
        "list", "form", "empty", "blank", "utf-16",
    ],
)  # fmt: skip
def test_the_first_non_blank_character_tells_the_form(body: bytes, form: Format | None) -> None:
    assert codecs.guess_format(body) == form
