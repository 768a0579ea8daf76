"""A body that is refused is refused with what is wrong and where, in words."""

from collections.abc import Callable
from typing import Any

import pytest

from promint.domain.errors import Malformed, PromintError, UnsupportedFormat
from promint.wire import codecs
from promint.wire.codecs import Format

DEEP = b'{"a":' * 33 + b"1" + b"}" * 33
ENDLESS = b'{"a":' * 5_000 + b"1" + b"}" * 5_000
LATIN = b'<?xml version="1.0" encoding="ISO-8859-1"?><xml>\xe9</xml>'


def refused(read: Callable[[bytes], Any], body: bytes) -> PromintError:
    with pytest.raises(PromintError) as met:
        read(body)
    return met.value


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"[]", "not a JSON object, body"),
        (b"", "no complete JSON, body"),
        (b'{"a":', "no complete JSON, body"),
        (b'{"a":tru}', "no JSON from byte 9 on, body"),
        (b'{"a":1} x', "no JSON from byte 9 on, body"),
        (b'{"a":"\xff"}', "not UTF-8, body"),
        (b'{"a":18446744073709551616}', "a number over 64 bits, body"),
        (b'{"a":[-9223372036854775809]}', "a number over 64 bits, body"),
        (b'{"a":1e999}', "a number over 64 bits, body"),
        (rb'{"a":"\ud800"}', "half a character (a lone surrogate), body"),
        (rb'{"a":"\ud800x"}', "half a character (a lone surrogate), body"),
        (rb'{"a":"\udc00"}', "half a character (a lone surrogate), body"),
        (DEEP, "nested deeper than 32, body"),
        (ENDLESS, "nested deeper than 32, body"),
        (b'{"a":1,"a":2}', "given twice with two values, a"),
        (b'{"%s":1,"%s":2}' % (b"k" * 65, b"k" * 65), f"given twice with two values, {'k' * 64}"),
    ],
    ids=range(16),
)
def test_json_is_refused_with_what_is_wrong_and_where(body: bytes, detail: str) -> None:
    error = refused(codecs.read_json, body)

    assert (type(error), error.detail) == (Malformed, detail)


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"", "no XML: no element found, line 1, column 0"),
        (b"<xml>\n<a></xml>", "no XML: mismatched tag, line 2, column 5"),
        (b"<xml/><xml/>", "no XML: junk after document element, line 1, column 6"),
        (b"<xml>", "no XML: no element found, line 1, column 5"),
        (b"<xml>\xff</xml>", "not UTF-8, body"),
        (b"<!DOCTYPE xml><xml/>", "a DOCTYPE, body"),
        (b"<xml><a>x<b/></a></xml>", "text between elements, body"),
        (b"<xml>" + b"<a>" * 32 + b"</a>" * 32 + b"</xml>", "nested deeper than 32, body"),
        (b"<data/>", "the root is not <xml>, body"),
        (b"<xml>x</xml>", "no fields, body"),
    ],
    ids=range(10),
)
def test_xml_is_refused_with_what_is_wrong_and_where(body: bytes, detail: str) -> None:
    error = refused(codecs.read_xml, body)

    assert (type(error), error.detail) == (Malformed, detail)


@pytest.mark.parametrize(
    ("read", "body", "charset"),
    [
        (codecs.read_json, b'\xff\xfe{"a":1}', "UTF-16"),
        (codecs.read_json, b'\xfe\xff{"a":1}', "UTF-16"),
        (codecs.read_xml, b"\xff\xfe<xml/>", "UTF-16"),
        (codecs.read_xml, LATIN, "iso-8859-1"),
        (codecs.read_xml, b" \n" + LATIN, "iso-8859-1"),
        (codecs.read_xml, LATIN.replace(b"\xe9", b"e"), "iso-8859-1"),
    ],
)
def test_another_charset_is_named(read: Callable[[bytes], Any], body: bytes, charset: str) -> None:
    error = refused(read, body)

    assert (type(error), error.detail) == (UnsupportedFormat, charset)


def test_a_declared_utf_8_that_is_damaged_is_damaged_however_it_is_written() -> None:
    for name in (b"UTF-8", b"utf8", b"US-ASCII"):
        body = b'<?xml version="1.0" encoding="%s"?><xml>\xff</xml>' % name
        assert refused(codecs.read_xml, body).detail == "not UTF-8, body"


def test_a_form_is_read_as_what_it_is() -> None:
    assert codecs.read(b'{"a":1}', Format.JSON) == {"a": 1}
    assert codecs.read(b"<xml><a>1</a></xml>", Format.XML) == {"a": "1"}


def test_a_bom_before_xml_is_passed_over_and_behind_it_is_no_xml() -> None:
    assert codecs.read_xml(codecs.BOM + b" <xml><a>1</a></xml>") == {"a": "1"}
    assert "line 1, column 6" in refused(codecs.read_xml, b"<xml/>" + codecs.BOM).detail


def test_an_element_that_came_more_than_once_is_known_as_such() -> None:
    fields = codecs.read_xml(b"<xml><a>1</a><a>2</a><b>1</b><c array='true'>1</c></xml>")

    assert [codecs.is_repeated(fields[name]) for name in "abc"] == [True, False, True]


def test_colons_in_texts_and_deep_keys_are_told_from_keys_that_come_twice() -> None:
    assert codecs.read_json(b'{"a:b":"c:d"}') == {"a:b": "c:d"}
    with pytest.raises(Malformed, match="twice"):
        codecs.read_json(b'{"a":[{"b":1,"c":2},{"d":{"e":1,"e":2}}]}')


def test_keys_are_counted_at_every_depth_so_that_no_body_is_read_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A second, slower reading is for bodies with colons that are no key's."""
    monkeypatch.setattr(codecs, "_refuse_repeated_keys", lambda _: pytest.fail("read twice"))

    codecs.read_json(b'{"a":{"b":[{"c":1.5,"d":null},{"e":true,"f":[7,"g"]}]},"h":"i"}')


def test_the_order_holds_at_every_depth() -> None:
    answer = {"b": {"z": 1, "y": {"x": 1, "w": 2}}, "a": [{"d": 1, "c": 2}]}

    assert codecs.xml_elements(answer, in_order=True) == (
        "<b><z>1</z><y><x>1</x><w>2</w></y></b><a><d>1</d><c>2</c></a>"
    )
    assert codecs.xml_elements(answer) == (
        "<a><c>2</c><d>1</d></a><b><y><w>2</w><x>1</x></y><z>1</z></b>"
    )


@pytest.mark.parametrize(
    ("name", "element"),
    [("two words", "two_words"), ("1st", "_1st"), ("a&b<c", "a_b_c"), ("", "_"), ("é", "é")],
)
def test_a_name_that_no_element_can_have_is_fitted(name: str, element: str) -> None:
    assert codecs.xml_elements({name: 1}) == f"<{element}>1</{element}>"
