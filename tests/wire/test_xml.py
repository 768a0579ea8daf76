"""XML in and out: texts, repetition, escaping, and what is refused (contract section 1)."""

import re
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promint.domain.errors import Malformed, PromintError, UnsupportedFormat
from promint.wire import codecs

texts = st.text(st.characters(codec="utf-8") | st.sampled_from("&<>\"'\r\n\t\x00\x0b\ufffe]"))
names = st.text("abcxyz_", min_size=1, max_size=5)
# What XML 1.0 can carry: https://www.w3.org/TR/xml/#charsets
NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def carried(text: str) -> str:
    return NOT_IN_XML.sub("\ufffd", text)


# -- reading -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ("<xml/>", {}),
        ("<xml></xml>", {}),
        ("<xml><a>1</a><b>x y</b></xml>", {"a": "1", "b": "x y"}),
        ("<xml><a/></xml>", {"a": ""}),
        ("<xml><a> x </a></xml>", {"a": " x "}),
        ("<xml>\n  <a>1</a>\n  <b>2</b>\n</xml>\n", {"a": "1", "b": "2"}),
        ("<xml><a><b>1</b></a></xml>", {"a": {"b": "1"}}),
        ("<xml><a>1</a><b>2</b><a>3</a></xml>", {"a": ["1", "3"], "b": "2"}),
        ("<xml><a array='true'>1</a></xml>", {"a": ["1"]}),
        ("<xml><a array='true'>1</a><a array='true'>2</a></xml>", {"a": ["1", "2"]}),
        ("<xml><a array='true'/></xml>", {"a": []}),
        ("<xml><a><b>1</b></a><a><b>2</b></a></xml>", {"a": [{"b": "1"}, {"b": "2"}]}),
        ("<xml><a>&lt;&amp;&gt;&quot;&apos;&#65;&#x42;</a></xml>", {"a": "<&>\"'AB"}),
        ("<xml><a><![CDATA[<b>&]]></a></xml>", {"a": "<b>&"}),
        ("<xml><!-- note --><a>1</a><?pi?></xml>", {"a": "1"}),
        ("<xml><a colour='red'>1</a></xml>", {"a": "1"}),
    ],
)
def test_elements_are_read_as_texts_objects_and_lists(body: str, fields: dict[str, Any]) -> None:
    assert codecs.read_xml(body.encode()) == fields


@pytest.mark.parametrize(
    "start",
    [
        "",
        "\ufeff",
        " \n",
        '<?xml version="1.0"?>',
        '<?xml version="1.0" encoding="UTF-8" ?>\n',
        "<?xml version='1.0' encoding='utf-8' standalone='yes'?>",
        '\ufeff<?xml version="1.0" encoding="UTF-8"?>',
        '\n<?xml version="1.0" encoding="UTF-8"?>',
    ],
)
def test_a_bom_blanks_and_a_declaration_are_passed_over(start: str) -> None:
    assert codecs.read_xml(f"{start}<xml><a>é</a></xml>".encode()) == {"a": "é"}


@pytest.mark.parametrize(
    "body",
    [
        "", " ", "x", "<xml>", "</xml>", "<xml><a></xml></a>", "<xml><a>1</xml>",
        "<a>1</a>", "<XML><a>1</a></XML>", "<xml/><xml/>", "<xml/>x",
        "<xml>text</xml>", "<xml><a>1</a>text</xml>", "<xml><a>text<b/></a></xml>",
        "<xml><a>&unknown;</a></xml>", "<xml><a>&</a></xml>", "<xml><a><</a></xml>",
        "<xml><a>&#0;</a></xml>", "<xml><a>&#7;</a></xml>", "<xml><a>&#xD800;</a></xml>",
        "<xml><a>&#xFFFE;</a></xml>", "<xml><a>&#x110000;</a></xml>",
        "<xml><a>\x00</a></xml>", "<xml><a>\x07</a></xml>", "<xml><a>\uffff</a></xml>",
        "<xml><1>x</1></xml>", "<xml><a b=1/></xml>", "<xml a='1' a='2'/>",
        '<?xml version="1.0"><xml/>',
    ],
)  # fmt: skip
def test_what_is_not_one_document_of_fields_is_refused(body: str) -> None:
    with pytest.raises(Malformed):
        codecs.read_xml(body.encode())


@pytest.mark.parametrize(
    "doctype",
    [
        "<!DOCTYPE xml>",
        "<!DOCTYPE xml SYSTEM 'http://example.com/x.dtd'>",
        "<!DOCTYPE xml [<!ENTITY a 'b'>]>",
        "<!DOCTYPE xml [<!ENTITY a SYSTEM 'file:///etc/passwd'>]>",
        "<!DOCTYPE xml [<!ENTITY a 'b'><!ENTITY c '&a;&a;&a;&a;&a;&a;&a;&a;'>]>",
        "<!DOCTYPE xml [<!ENTITY % a SYSTEM 'http://example.com/x'> %a;]>",
    ],
)
def test_a_doctype_is_refused_before_it_does_anything(doctype: str) -> None:
    with pytest.raises(Malformed, match="DOCTYPE"):
        codecs.read_xml(f"<?xml version='1.0'?>{doctype}<xml><a>&a;</a></xml>".encode())


@pytest.mark.parametrize("charset", ["iso-8859-1", "windows-1251", "utf-16", "utf-7", "koi8-r"])
def test_another_charset_is_refused(charset: str) -> None:
    declared = f"<?xml version='1.0' encoding='{charset}'?><xml><a>x</a></xml>"

    with pytest.raises(UnsupportedFormat):
        codecs.read_xml(declared.encode("ascii"))


@pytest.mark.parametrize(
    "body",
    [
        "<?xml version='1.0' encoding='iso-8859-1'?><xml><a>é</a></xml>".encode("latin-1"),
        "<xml><a>é</a></xml>".encode("utf-16"),
        "<?xml version='1.0' encoding='utf-16'?><xml><a>é</a></xml>".encode("utf-16"),
    ],
    ids=["latin-1", "utf-16", "declared utf-16"],
)
def test_another_charset_is_refused_as_such_though_its_bytes_are_no_utf_8(body: bytes) -> None:
    with pytest.raises(UnsupportedFormat):
        codecs.read_xml(body)


def test_damaged_utf_8_is_refused() -> None:
    with pytest.raises(Malformed, match="not UTF-8"):
        codecs.read_xml(b"<xml><a>\xff</a></xml>")


def test_a_document_is_32_deep_at_most() -> None:
    def nested(depth: int) -> bytes:
        return b"<xml>" + b"<a>" * (depth - 1) + b"</a>" * (depth - 1) + b"</xml>"

    codecs.read_xml(nested(32))
    for depth in (33, 34, 100_000):
        with pytest.raises(Malformed, match="nested deeper than 32"):
            codecs.read_xml(nested(depth))


@given(
    body=st.binary()
    | texts.map(str.encode)
    | st.lists(
        st.sampled_from(
            ["<xml>", "</xml>", "<a>", "</a>", "<a/>", "&", "&amp;", "<!DOCTYPE a>", "x",
             "<![CDATA[", "]]>", "<?xml version='1.0'?>", "<!--", "-->", " array='true'>",
             "<a", ">", "\x00"]
        )
    ).map(lambda parts: "".join(parts).encode())
)  # fmt: skip
def test_any_bytes_are_fields_or_refused(body: bytes) -> None:
    try:
        fields = codecs.read_xml(body)
    except PromintError as refusal:
        assert refusal.number in (400, 415)  # noqa: PT017  # both outcomes are right
        return
    assert isinstance(fields, dict)


# -- writing -------------------------------------------------------------------------------


@given(text=texts)
def test_any_text_survives_but_for_what_xml_cannot_carry(text: str) -> None:
    assert codecs.read_xml(codecs.write_xml({"a": text})) == {"a": carried(text)}


@given(items=st.lists(texts.filter(bool), min_size=2))
def test_a_list_is_a_repeated_element(items: list[str]) -> None:
    written = codecs.write_xml({"a": items})

    assert codecs.read_xml(written) == {"a": [carried(item) for item in items]}


@given(
    answer=st.dictionaries(
        names,
        st.recursive(
            texts,
            lambda inner: (
                st.dictionaries(names, inner, min_size=1, max_size=3)
                | st.lists(inner, min_size=2, max_size=3)
            ),
            max_leaves=8,
        ),
    )
)
def test_any_answer_is_a_document_that_others_can_read(answer: dict[str, Any]) -> None:
    root = ET.fromstring(codecs.write_xml(answer))  # noqa: S314  # our own answer

    assert root.tag == "xml"
    assert {child.tag for child in root} <= set(answer)


@given(name=st.text(st.characters(codec="utf-8")), value=texts)
def test_a_field_of_any_name_leaves_the_document_well_formed(name: str, value: str) -> None:
    root = ET.fromstring(codecs.write_xml({name: value}))  # noqa: S314  # our own answer

    assert len(root) == 1
    assert (root[0].text or "") == carried(value)


@pytest.mark.parametrize(
    "name", ["ª", "µ", "º", "\U0001d400", "字", "é", "1st", "two words", "a:b", "", "-"]
)
def test_a_custom_field_may_have_a_name_that_no_element_can_have(name: str) -> None:
    fields = codecs.read_xml(codecs.write_xml({name: "x"}))

    assert list(fields.values()) == ["x"]


def test_elements_stand_in_alphabetical_order_at_every_depth() -> None:
    answer = {"error": 0, "data": {"b": 1, "a": 2}, "error_text": "ok"}

    assert codecs.write_xml(answer) == (
        b"<xml><data><a>2</a><b>1</b></data><error>0</error><error_text>ok</error_text></xml>"
    )


def test_elements_stand_as_given_where_the_vendor_does_so() -> None:
    assert codecs.write_xml({"b": 1, "a": 2}, in_order=True) == b"<xml><b>1</b><a>2</a></xml>"


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (None, "<a/>"),
        ("", "<a/>"),
        ([], "<a/>"),
        ({}, "<a/>"),
        (0, "<a>0</a>"),
        (True, "<a>true</a>"),
        (False, "<a>false</a>"),
        (["x", ""], "<a>x</a><a/>"),
        ("a&b<c>d\r", "<a>a&amp;b&lt;c&gt;d&#13;</a>"),
        ("\x00\x0b\ud800\ufffe", "<a>\ufffd\ufffd\ufffd\ufffd</a>"),
    ],
)
def test_a_value_is_written_so(value: Any, written: str) -> None:
    assert codecs.write_xml({"a": value}).decode() == f"<xml>{written}</xml>"
