"""Values to shapes: what does not fit is refused with the field named, as everywhere."""

import re
from collections.abc import Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, Generic, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec import UNSET, Meta, Struct

from promint.domain.errors import BadValue, MissingField
from promint.domain.model import ID_MAX
from promint.wire.moments import read_moment

Shape = TypeVar("Shape", bound=Struct)
Item = TypeVar("Item")

PAGE_LIMIT, PAGE_LIMIT_MAX = 100, 500
"""How many items a page has unless the request says else, and at most."""

Id = Annotated[int, Meta(ge=1, le=ID_MAX)]
Count = Annotated[int, Meta(ge=0)]
Text = Annotated[str, Meta(max_length=255)]
MomentText = Annotated[
    str,
    Meta(
        description="A moment of RFC 3339 with a zone.",
        examples=["2026-12-31T23:59:59Z"],
        extra_json_schema={"format": "date-time"},
    ),
]
After = Annotated[
    str | None, Meta(description="The `next` of the page before; without it, the first page.")
]
Limit = Annotated[
    Annotated[int, Meta(ge=1, le=PAGE_LIMIT_MAX)],
    Meta(description="The most items of the page."),
]


class Request(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body or the query of a request."""


class Nothing(Request, frozen=True, kw_only=True):
    """No query."""


class PageQuery(Request, frozen=True, kw_only=True):
    """A page of a list."""

    after: After = None
    limit: Limit = PAGE_LIMIT


class Page(Struct, Generic[Item], frozen=True):
    """A page of a list."""

    items: Annotated[list[Item], Meta(description="In the order of the list.")]
    next: Annotated[
        str | None, Meta(description="What `after` of the next page is; null at the end.")
    ]


class Failure(Struct, frozen=True):
    """Why a request was refused."""

    number: Annotated[int, Meta(description="The number of the error, and the HTTP status.")]
    reason: Annotated[str, Meta(description="One word to branch on; also in `X-Promint-Reason`.")]
    message: Annotated[str, Meta(description="A sentence for people.")]
    field: Annotated[str | None, Meta(description="The field that is wrong, where one is.")]


class FailureAnswer(Struct, frozen=True):
    """The answer to a request that was refused."""

    error: Failure


_KINDS_OF = re.compile(r"`([^`]*)`")
_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "a text",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
}
_PHRASES = {
    "Expected ": "not ",
    ", got ": ", but ",
    " of length >= ": " with a length from ",
    " of length <= ": " with a length up to ",
    " >= ": " from ",
    " <= ": " up to ",
    "Invalid enum value ": "no such value: ",
}
_WHOLE = re.compile(r"-?[0-9]+", re.ASCII)
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(.*)`", re.DOTALL)


def read(values: Any, shape: type[Shape], *, is_text: bool = False) -> Shape:
    """Return values as a shape; `is_text` says that numbers and flags come as text.

    Raises:
        MissingField, BadValue: they are not so; the field is named, `programs[0]` for example.
    """
    try:
        return msgspec.convert(values, shape, strict=not is_text)
    except msgspec.ValidationError as error:
        complaint, _, path = str(error).partition(" - at `")
        where = path.removesuffix("`").removeprefix("$").removeprefix(".").replace("[...]", "")
        raise _refusal(complaint, where) from None


def _refusal(complaint: str, where: str) -> BadValue | MissingField:
    if unknown := _UNKNOWN.match(complaint):
        return BadValue("unknown", _inner(where, unknown[1][:64]))
    if missing := _MISSING.match(complaint):
        return MissingField(_inner(where, missing[1]))
    return BadValue(_in_words(complaint), where or "body")


def _in_words(complaint: str) -> str:
    """Return what the library says of a value in words that are not Python's.

    Words that are not known here stand as they are.
    """
    said = _KINDS_OF.sub(lambda kinds: " or ".join(map(_word, kinds[1].split(" | "))), complaint)
    for theirs, ours in _PHRASES.items():
        said = said.replace(theirs, ours, 1)
    return said[:1].lower() + said[1:]


def _word(kind: str) -> str:
    return _WORDS.get(kind, kind)


def _inner(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def read_query(pairs: Sequence[tuple[str, str]], shape: type[Shape]) -> Shape:
    """Return the parameters of an address as a shape; one of a list may come several times.

    Raises:
        BadValue: one is unknown, wrong, or given twice with two values.
    """
    kinds = {field.name: _bare(field.type) for field in msgspec.structs.fields(shape)}
    values: dict[str, Any] = {}
    for name, value in pairs:
        if "\0" in value:
            raise BadValue("holds NUL", name)
        kind = kinds.get(name)
        if value == "null" and kind is not str:
            raise BadValue("no parameter is null: leave it out", name)
        if kind is int and not _WHOLE.fullmatch(value):
            raise BadValue("not a whole number", name)
        if kind is bool and value not in ("true", "false"):
            raise BadValue("not true or false", name)
        if get_origin(kind) is list:
            values.setdefault(name, []).append(value)
        elif values.setdefault(name, value) != value:
            raise BadValue("given twice with two values", name)
    return read(values, shape, is_text=True)


def _bare(kind: Any) -> Any:
    """Return a field's type without what is said of it, and without None."""
    if get_origin(kind) is Annotated:
        return _bare(get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        (kind,) = (one for one in get_args(kind) if one is not type(None))
        return _bare(kind)
    return kind


def refuse_nul(values: Mapping[str, Any]) -> None:
    """Refuse texts that no store can keep.

    Raises:
        BadValue: one holds NUL.
    """

    def holds(value: Any) -> bool:
        if isinstance(value, str):
            return "\0" in value
        if isinstance(value, dict):
            return any(holds(key) or holds(inner) for key, inner in value.items())
        return isinstance(value, list) and any(map(holds, value))

    for name, value in values.items():
        if holds(name) or holds(value):
            raise BadValue("holds NUL", name.replace("\0", "")[:64])


def given(shape: Struct, but: Sequence[str] = ()) -> dict[str, Any]:
    """Return the fields of a request that were sent, by name; `but` these."""
    return {
        name: value
        for name in shape.__struct_fields__
        if name not in but and (value := getattr(shape, name)) is not UNSET
    }


def moment(text: str | None, where: str) -> int | None:
    """Return a moment in UTC microseconds, None for null.

    Raises:
        BadValue: it is not RFC 3339 with a zone.
    """
    return None if text is None else read_moment(text, where)
