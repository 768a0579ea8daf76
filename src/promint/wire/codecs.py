"""Bytes to plain values and back, in JSON and XML, strictly: one text has one meaning.

What comes out is made of dicts, lists, texts and, in JSON, numbers and flags. XML knows only
text; the shape that reads a field decides what the text is.
"""

import json
import re
from collections.abc import Iterable
from enum import StrEnum
from functools import lru_cache
from typing import Any
from xml.parsers import expat

import msgspec

from promint.domain.errors import Malformed, UnsupportedFormat

DEPTH_MAX = 32
INTEGER_MIN = -(2**63)
INTEGER_MAX = 2**64 - 1
BOM = b"\xef\xbb\xbf"


class Format(StrEnum):
    """The two forms of a body."""

    JSON = "json"
    XML = "xml"

    @property
    def content_type(self) -> str:
        """The header of an answer in this form."""
        return _CONTENT_TYPES[self]


_FIRST = re.compile(rb"\s*(\S)")
_DECLARED_CHARSET = re.compile(rb"""<\?xml[^>]*encoding\s*=\s*["']([^"'>]*)["']""")
_UTF8_NAMES = ("utf-8", "utf8", "us-ascii")
_UTF16_BOMS = (b"\xff\xfe", b"\xfe\xff")


def _not_utf8(body: bytes) -> Malformed | UnsupportedFormat:
    """Say whether bytes that are not UTF-8 are another charset, or damaged."""
    declared = _DECLARED_CHARSET.match(body[:256].lstrip())
    charset = declared[1].decode("latin-1").lower() if declared else "utf-8"
    if charset not in _UTF8_NAMES:
        return UnsupportedFormat(charset)
    if body[:2] in _UTF16_BOMS:
        return UnsupportedFormat("UTF-16")
    return Malformed("not UTF-8", "body")


_CONTENT_TYPES = {form: f"application/{form.value}; charset=utf-8" for form in Format}


def guess_format(body: bytes) -> Format | None:
    """Return the form that the first non-blank character tells, if it tells one."""
    start = _FIRST.match(body.removeprefix(BOM))
    if start is None:
        return None
    return {b"{": Format.JSON, b"<": Format.XML}.get(start[1])


# -- JSON ----------------------------------------------------------------------------------

_decode_json = msgspec.json.Decoder().decode
_encode_json = msgspec.json.Encoder().encode


def read_json(body: bytes) -> dict[str, Any]:
    """Return a JSON object.

    Raises:
        Malformed: no JSON object in UTF-8; a key twice with two values; nested deeper than
            32; a number over 64 bits; NaN; a lone surrogate.
    """
    body = body.removeprefix(BOM)
    if body[:2] in _UTF16_BOMS:
        raise _not_utf8(body)
    try:
        value = _decode_json(body)
    except UnicodeDecodeError:
        raise _not_utf8(body) from None
    except RecursionError:
        raise Malformed(f"nested deeper than {DEPTH_MAX}", "body") from None
    except msgspec.DecodeError as error:
        raise Malformed(_json_complaint(str(error), body), "body") from None
    if value.__class__ is not dict:
        raise Malformed("not a JSON object", "body")
    # Each key has one colon outside of the texts. As many colons as keys: no key came twice.
    if _count_keys(value, 1) != body.count(b":"):
        _refuse_repeated_keys(body)
    return value


# The decoder takes half a pair of escapes near the end for the end of the text.
_LONE_SURROGATE = re.compile(rb"\\u[dD][89abAB]..(?!\\u[dD][c-fC-F])")


def _json_complaint(error: str, body: bytes) -> str:
    if "out of range" in error:
        return "a number over 64 bits"
    if "surrogate" in error or ("truncated" in error and _LONE_SURROGATE.search(body)):
        return "half a character (a lone surrogate)"
    # "byte 12" is worth more to the caller than the decoder's own wording.
    place = re.search(r"byte (\d+)", error)
    return f"no JSON from byte {place[1]} on" if place else "no complete JSON"


def _count_keys(value: Any, depth: int) -> int:
    kind = value.__class__
    if kind is str:
        return 0
    if kind is int:
        if not INTEGER_MIN <= value <= INTEGER_MAX:
            raise Malformed("a number over 64 bits", "body")
        return 0
    if kind is dict:
        inner: Iterable[Any] = value.values()
        keys = len(value)
    elif kind is list:
        inner, keys = value, 0
    else:
        return 0
    if depth > DEPTH_MAX:
        raise Malformed(f"nested deeper than {DEPTH_MAX}", "body")
    for item in inner:
        if item.__class__ is not str:
            keys += _count_keys(item, depth + 1)
    return keys


def _refuse_repeated_keys(body: bytes) -> None:
    def check(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        seen: dict[str, Any] = {}
        for key, value in pairs:
            if key in seen and not _same(seen[key], value):
                raise Malformed("given twice with two values", key[:64])
            seen[key] = value
        return seen

    json.loads(body, object_pairs_hook=check)


def _same(one: Any, other: Any) -> bool:
    """Compare as JSON does: Python takes true for 1 and 1 for 1.0."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)


def write_json(answer: Any) -> bytes:
    """Return an answer as JSON, its keys in their own order."""
    return _encode_json(answer)


# -- XML -----------------------------------------------------------------------------------


class _Element:
    __slots__ = ("children", "is_list", "text")

    def __init__(self, *, is_list: bool) -> None:
        self.text: list[str] = []
        self.children: dict[str, Any] | None = None
        self.is_list = is_list


class _Repeated(list[Any]):
    """A repeated element, or one that says `array='true'`."""


class _Refused(Exception):
    """A construct that is refused before it does anything."""


def read_xml(body: bytes) -> dict[str, Any]:
    """Return what stands in the root element `<xml>`: texts, dicts, and lists for repetition.

    Raises:
        Malformed: not well-formed, not UTF-8, another root, a DOCTYPE, deeper than 32.
        UnsupportedFormat: the declaration names another charset.
    """
    body = body.removeprefix(BOM)
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise _not_utf8(body) from None
    parser = expat.ParserCreate("utf-8")
    parser.buffer_text = True
    root = _Element(is_list=False)
    open_elements = [root]

    def start(name: str, attributes: dict[str, str]) -> None:
        if len(open_elements) > DEPTH_MAX:
            raise _Refused(f"nested deeper than {DEPTH_MAX}")
        open_elements.append(_Element(is_list=attributes.get("array") == "true"))

    def end(name: str) -> None:
        element = open_elements.pop()
        parent = open_elements[-1]
        if parent.children is None:
            parent.children = {}
        _add(parent.children, name, _value(element), is_list=element.is_list)

    def characters(data: str) -> None:
        open_elements[-1].text.append(data)

    def declaration(version: str, encoding: str | None, standalone: int) -> None:
        if encoding is not None and encoding.lower() not in _UTF8_NAMES:
            raise UnsupportedFormat(encoding.lower())

    def doctype(*_: Any) -> None:
        raise _Refused("a DOCTYPE")

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = characters
    parser.XmlDeclHandler = declaration
    parser.StartDoctypeDeclHandler = doctype
    try:
        parser.Parse(text.lstrip() if text[:1].isspace() else text, True)
    except _Refused as refused:
        raise Malformed(str(refused), "body") from None
    except expat.ExpatError as error:
        raise Malformed(
            f"no XML: {expat.errors.messages[error.code]}",
            f"line {error.lineno}, column {error.offset}",
        ) from None
    content = (root.children or {}).get("xml")
    if isinstance(content, dict):
        return content
    if content == "":
        return {}
    raise Malformed("the root is not <xml>" if content is None else "no fields", "body")


def _value(element: _Element) -> Any:
    text = "".join(element.text)
    if element.children is None:
        return text
    if text.strip():
        raise _Refused("text between elements")
    return element.children


def _add(children: dict[str, Any], name: str, value: Any, *, is_list: bool) -> None:
    before = children.get(name)
    if isinstance(before, _Repeated):
        before.append(value)
    elif name in children:
        children[name] = _Repeated([before, value])
    elif is_list:
        # An empty element that says it is a list is an empty one.
        children[name] = _Repeated([] if value == "" else [value])
    else:
        children[name] = value


_XML_SPECIAL = re.compile("[&<>\r\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_XML_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;"}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*", re.ASCII)
_NOT_IN_NAME = re.compile(r"[^A-Za-z0-9_.-]", re.ASCII)


def _escape(text: str) -> str:
    return _XML_SPECIAL.sub(lambda match: _XML_ESCAPES.get(match[0], "\ufffd"), text)


def _element(name: str, value: Any, out: list[str], *, in_order: bool) -> None:
    if isinstance(value, (list, tuple)):
        if not value:
            out.append(f"<{name}/>")
        for item in value:
            _element(name, item, out, in_order=in_order)
    elif value in (None, "", {}):
        out.append(f"<{name}/>")
    elif isinstance(value, dict):
        out.append(f"<{name}>")
        _elements(value, out, in_order=in_order)
        out.append(f"</{name}>")
    elif isinstance(value, bool):
        out.append(f"<{name}>true</{name}>" if value else f"<{name}>false</{name}>")
    else:
        out.append(f"<{name}>{_escape(str(value))}</{name}>")


def _elements(answer: dict[str, Any], out: list[str], *, in_order: bool) -> None:
    for name in answer if in_order else sorted(answer):
        _element(_element_name(name), answer[name], out, in_order=in_order)


def _element_name(name: str) -> str:
    """A custom field may be called what no element can be called."""
    if _NAME.fullmatch(name) or _is_element_name(name):
        return name
    fitting = _NOT_IN_NAME.sub("_", name)
    return fitting if _NAME.fullmatch(fitting) else f"_{fitting}"


@lru_cache(maxsize=1024)
def _is_element_name(name: str) -> bool:
    """Ask a parser: which letters a name may have depends on the edition that it follows."""
    if ":" in name or not _NOT_IN_NAME.search(name) or any(c in name for c in "<>/ &\t\r\n"):
        return False
    try:
        expat.ParserCreate("utf-8").Parse(f"<{name}/>", True)
    except (expat.ExpatError, UnicodeEncodeError):
        return False
    return True


def xml_elements(answer: dict[str, Any], *, in_order: bool = False) -> str:
    """Return a value's elements without the root, for an answer that is streamed."""
    out: list[str] = []
    _elements(answer, out, in_order=in_order)
    return "".join(out)


def write_xml(answer: dict[str, Any], *, in_order: bool = False) -> bytes:
    """Return an answer as XML: elements in alphabetical order, or `in_order` as they stand.

    A character that XML cannot carry becomes U+FFFD.
    """
    return f"<xml>{xml_elements(answer, in_order=in_order)}</xml>".encode("utf-8", "replace")


def read(body: bytes, form: Format) -> dict[str, Any]:
    """Return a body's fields.

    Raises:
        Malformed, UnsupportedFormat: it cannot be read.
    """
    return read_json(body) if form is Format.JSON else read_xml(body)


def is_repeated(value: Any) -> bool:
    """Say whether a value is an element that came more than once in XML."""
    return isinstance(value, _Repeated)
