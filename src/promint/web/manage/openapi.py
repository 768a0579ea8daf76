"""The OpenAPI 3.1 document of the management API, made from its endpoints and their shapes."""

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import msgspec

from promint import __version__
from promint.domain.errors import (
    AccessDenied,
    BadValue,
    IdempotencyMismatch,
    IncorrectRequest,
    InternalError,
    Malformed,
    MissingField,
    OutcomeUnknown,
    PromintError,
    StoreBusy,
    TokenInvalid,
    TokenRequired,
    TooLarge,
    UseJson,
)
from promint.store import Answer
from promint.web.manage import codes, profiles, programs, tokens, work
from promint.web.manage.endpoints import PREFIX, Endpoint, success
from promint.wire.manage.reading import FailureAnswer

_SCHEMAS = "#/components/schemas/{name}"
_ALWAYS = (TokenRequired, TokenInvalid, AccessDenied, BadValue, InternalError, StoreBusy)
_TAGS = {
    "Programs": "Loyalty programs and their settings.",
    "Databases": "Databases of profiles.",
    "Profiles": "Customers, and what they hold.",
    "Codes": "Promo codes, one by one and by the page.",
    "Bringing codes in": "Files of any size, and codes that are made up.",
    "Bulk changes": "Many codes at once: previewed, then a batch that can be taken back.",
    "Batches": "What an import, a generation or a bulk change did, and the way back.",
    "Jobs": "Long work, one job at a time for each program; it survives a restart.",
    "Tokens": "API tokens.",
    "This document": "The description of all of it.",
}
IN_PATH = {
    "loyalty_id": "The program.",
    "db_id": "The database.",
    "profile_id": "The profile: 24 hexadecimal digits.",
    "code": "The code, percent-encoded; as it was given, or as the program compares codes.",
    "batch_id": "The batch.",
    "job_id": "The job.",
    "token_id": "The token.",
    "kind": "Which file of the job.",
}
"""What the names in paths mean."""

_HEADERS = {
    "X-Request-Id": {
        "description": "The request's own if it sent one of 1 to 64 visible ASCII characters.",
        "schema": {"type": "string"},
    }
}
_REASON = {
    "X-Promint-Reason": {"description": "The reason, one word.", "schema": {"type": "string"}}
}
_RETRY = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}
_DESCRIPTION = """\
What people who run loyalty programs need. Every request carries `Authorization: Bearer TOKEN` with
a token of the scope `admin`. A token that is narrowed to programs or databases sees these only;
others are answered as if they did not exist.

Requests and answers are JSON in UTF-8. A field that is not described here is refused. Moments are
RFC 3339 with a zone. PATCH changes the fields that are named and no others; null removes one.

A list comes in pages: `limit` says how many items at most, `after` takes the `next` of the page
before. A page may hold fewer items than `limit` and still have a `next`; null is the end.

A refusal has its number as HTTP status, and `{"error": {"number", "reason", "message", "field"}}`.
"""


async def openapi() -> Answer:
    """No token is needed."""
    return success(document(), 200)


OPENAPI = Endpoint(
    "GET",
    "/openapi.json",
    openapi,
    "This document",
    "This document",
    is_open=True,
)
ENDPOINTS = (
    *profiles.DATABASES,
    *programs.ENDPOINTS,
    *profiles.PROFILES,
    *codes.ENDPOINTS,
    *profiles.WALLET,
    *codes.AFTER_WALLET,
    *work.ENDPOINTS,
    *tokens.ENDPOINTS,
    *profiles.LAST,
    OPENAPI,
)
"""All endpoints, in the order in which their examples tell a story."""


@cache
def document() -> dict[str, Any]:
    """Return the document."""
    schemas = _Schemas()
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in ENDPOINTS:
        operations = paths.setdefault(PREFIX + endpoint.path, {})
        operations[endpoint.method.lower()] = _operation(endpoint, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Promint management API",
            "version": __version__,
            "summary": "Loyalty programs, their promo codes, and everything around them.",
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": schemas.named,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


class _Schemas:
    """The schemas of all shapes: `named` for the document, and one by one."""

    def __init__(self) -> None:
        shapes = {FailureAnswer}
        for endpoint in ENDPOINTS:
            shapes |= {endpoint.query, endpoint.body, endpoint.answer}
        described = sorted((shape for shape in shapes if is_described(shape)), key=str)
        found = msgspec.json.schema_components(described, ref_template=_SCHEMAS)
        # A page of programs is called Page_Program_ by msgspec.
        text = re.sub(rb"\bPage_(\w+)_(?=\")", rb"PageOf\1", msgspec.json.encode(found))
        references, self.named = msgspec.json.decode(text)
        for schema in self.named.values():
            for field in schema.get("properties", {}).values():
                _lift(field)
        self._references = dict(zip(described, references, strict=True))
        # A query is not one value: its fields are parameters, each on its own.
        self._queries = {
            endpoint.query: self.named.pop(self._name(endpoint.query), {})
            for endpoint in ENDPOINTS
            if self._name(endpoint.query) in self.named
        }

    def _name(self, shape: Any) -> str:
        return str(self._references[shape]["$ref"]).rpartition("/")[2]

    def of(self, shape: Any) -> dict[str, Any]:
        """Return where a shape's schema is."""
        return dict(self._references[shape])

    def parameters(self, query: Any) -> dict[str, Any]:
        """Return the schema of each field of a query, by name."""
        return dict(self._queries[query].get("properties", {}))


def _lift(field: dict[str, Any]) -> None:
    """Say what a field that may be null means of the field, not of one of its alternatives."""
    for option in field.get("anyOf", []):
        for name in ("description", "examples"):
            if name in option:
                field.setdefault(name, option.pop(name))


def is_described(shape: Any) -> bool:
    """Say whether a shape has fields; a file has none, nor has this document."""
    origin = getattr(shape, "__origin__", shape)
    return isinstance(origin, type) and issubclass(origin, msgspec.Struct)


def _operation(endpoint: Endpoint, schemas: _Schemas) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        "description": endpoint.description,
        "tags": [endpoint.tag],
        "parameters": [*_in_path(endpoint), *_in_query(endpoint, schemas), *_in_header(endpoint)],
    }
    if endpoint.takes_file:
        operation["requestBody"] = {
            "required": True,
            "description": "The file, as it is.",
            "content": {"application/octet-stream": _example(endpoint, "body")},
        }
    elif endpoint.body is not None:
        content = {"schema": schemas.of(endpoint.body), **_example(endpoint, "body")}
        fields = msgspec.structs.fields(endpoint.body)
        operation["requestBody"] = {
            "required": any(field.required for field in fields),
            "content": {"application/json": content},
        }
    if endpoint.is_open:
        operation["security"] = []
    operation["responses"] = {str(endpoint.status): _success(endpoint, schemas)}
    if not endpoint.is_open:
        operation["responses"] |= _refusals(endpoint, schemas)
    return operation


def _in_path(endpoint: Endpoint) -> Iterator[dict[str, Any]]:
    for name in endpoint.in_path:
        is_number = endpoint.hints[name] is int
        schema = {"type": "integer", "minimum": 1} if is_number else {"type": "string"}
        yield {
            "name": name,
            "in": "path",
            "required": True,
            "description": IN_PATH[name],
            "schema": schema,
        }


def _in_query(endpoint: Endpoint, schemas: _Schemas) -> Iterator[dict[str, Any]]:
    required = {field.name for field in msgspec.structs.fields(endpoint.query) if field.required}
    for name, schema in schemas.parameters(endpoint.query).items():
        described = {key: value for key, value in schema.items() if key != "description"}
        options = [one for one in described.pop("anyOf", []) if one != {"type": "null"}]
        if len(options) == 1:
            # Absent is not null: no address can say null.
            described |= options[0]
        if described.get("default", ...) in (None, ""):
            del described["default"]
        yield {
            "name": name,
            "in": "query",
            "required": name in required,
            "description": schema.get("description", ""),
            "schema": described,
        }


def _in_header(endpoint: Endpoint) -> Iterator[dict[str, Any]]:
    if endpoint.is_keyed:
        yield {
            "name": "Idempotency-Key",
            "in": "header",
            "required": False,
            "description": "1 to 255 visible ASCII characters. The same key with the same request "
            "gets the first answer again, for 24 hours unless the operator sets it otherwise.",
            "schema": {"type": "string", "minLength": 1, "maxLength": 255},
        }


def _success(endpoint: Endpoint, schemas: _Schemas) -> dict[str, Any]:
    content: dict[str, Any] = {kind: {} for kind in endpoint.gives_file}
    if endpoint.example is not None and endpoint.example.content_type:
        content[endpoint.example.content_type] = _example(endpoint, "answer")
    if is_described(endpoint.answer):
        content["application/json"] = {
            "schema": schemas.of(endpoint.answer),
            **_example(endpoint, "answer"),
        }
    elif not endpoint.gives_file:
        content["application/json"] = {"schema": {"type": "object"}}
    return {"description": endpoint.summary, "headers": _HEADERS, "content": content}


def _example(endpoint: Endpoint, part: str) -> dict[str, Any]:
    value = getattr(endpoint.example, part, None)
    return {} if value is None else {"example": value}


def refusals(endpoint: Endpoint) -> list[type[PromintError]]:
    """Return what an endpoint can be refused with, by number."""
    found = {*_ALWAYS, *endpoint.errors}
    if endpoint.body is not None:
        found |= {Malformed, MissingField, TooLarge, UseJson}
    if endpoint.takes_file:
        found |= {TooLarge, Malformed}
    if endpoint.method != "GET":
        found.add(OutcomeUnknown)
    if endpoint.is_keyed:
        found.add(IdempotencyMismatch)
    return sorted(found, key=lambda error: (error.number, error.reason))


def _refusals(endpoint: Endpoint, schemas: _Schemas) -> dict[str, Any]:
    by_number: dict[int, list[type[PromintError]]] = {}
    for error in refusals(endpoint):
        by_number.setdefault(error.number, []).append(error)
    return {
        str(number): {
            "description": ", ".join(f"`{error.reason}`" for error in errors),
            "headers": _HEADERS | _REASON | (_RETRY if number in (429, 503) else {}),
            "content": {
                "application/json": {
                    "schema": schemas.of(FailureAnswer),
                    "examples": {error.reason: {"value": _failure(error)} for error in errors},
                }
            },
        }
        for number, errors in by_number.items()
    }


def _failure(error: type[PromintError]) -> dict[str, Any]:
    if issubclass(error, MissingField):
        made: PromintError = error("name")
    else:
        made = error("WHAT", "name") if issubclass(error, IncorrectRequest) else error()
    field = made.where if isinstance(made, IncorrectRequest) else None
    return {
        "error": {
            "number": made.number,
            "reason": made.reason,
            "message": made.message,
            "field": field,
        }
    }
