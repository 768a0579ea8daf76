"""The document walked: a wrong value anywhere is refused, and never breaks the service."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pytest

from promint.web.manage.endpoints import PREFIX, Endpoint
from promint.web.manage.openapi import ENDPOINTS, OPENAPI, refusals
from tests.running import Running
from tests.web.manage.callers import Manager, refusal
from tests.web.manage.test_document import DOCUMENT, OPERATIONS

WALKED = [endpoint for endpoint in ENDPOINTS if endpoint is not OPENAPI]
WITH_BODY = [endpoint for endpoint in WALKED if endpoint.body is not None]
WRONG: dict[str, list[Any]] = {
    "null": [None],
    "boolean": [True],
    "integer": [0, -1, 2**31, 2**63, 2**64, 10**30],
    "number": [1.5, 1e300],
    "string": ["", " ", "x", "a\0b", "\n", "💥" * 300, "x" * 20_000, "2027-01-01", "null"],
    "array": [[], [None], [[]], ["x", 1], ["x"] * 2_000],
    "object": [{}, {"x": 1}, {"": None}],
}
WRONG_TEXTS = [
    "",
    "x",
    "-1",
    "0",
    "1.5",
    "1e3",
    "9" * 40,
    "null",
    "true",
    "a\0b",
    "💥",
    "x" * 3_000,
]
NUMBERS = itertools.count()


@dataclass
class Place:
    """Things that exist, so that what is wrong is the only reason for a refusal."""

    manager: Manager
    values: dict[str, Any]

    def path(self, endpoint: Endpoint, **other: str) -> str:
        encoded = {name: quote(str(value), safe="") for name, value in self.values.items()}
        return endpoint.path.format_map({**encoded, **other})

    def send(self, endpoint: Endpoint, path: str, body: Any = None) -> dict[str, Any] | None:
        """Send a request; return its refusal, which the document has to know, if it is one."""
        reply = self.manager.send(endpoint.method, path, body)
        assert reply.status < 500, (endpoint.name, path, body, reply)
        if reply.status < 400:
            return None
        found = refusal(reply)
        known = {error.reason for error in refusals(endpoint)} | {"unsupported_format"}
        assert found["reason"] in known, (endpoint.name, path, body, reply)
        return found


@pytest.fixture(scope="module")
def place(running: Running) -> Iterator[Place]:
    manager = Manager(running)
    loyalty_id, db_id = running.program(["A", "B"], fields=("shop",)), running.database()
    saved = manager.ask("POST", f"/databases/{db_id}/profiles", {"email": "ann@example.com"})
    (batch,) = manager.ask("GET", f"/batches?loyalty_id={loyalty_id}")["items"]
    job = manager.ask("POST", f"/programs/{loyalty_id}/imports", b"C\n")
    token = {"name": f"walked-{next(NUMBERS)}", "scopes": ["codes:read"]}
    yield Place(
        manager,
        {
            "loyalty_id": loyalty_id,
            "db_id": db_id,
            "profile_id": saved["profile_id"],
            "code": "A",
            "batch_id": batch["batch_id"],
            "job_id": job["job_id"],
            "token_id": manager.ask("POST", "/tokens", token)["token_id"],
            "kind": "input",
        },
    )
    # Some wrong values are right after all and hand work in; nobody waits for it.
    for one in manager.all_pages(f"/jobs?loyalty_id={loyalty_id}", 500):
        manager.ask("POST", f"/jobs/{one['job_id']}/cancel")


def named(endpoint: Endpoint) -> str:
    return endpoint.name


@pytest.mark.parametrize("endpoint", [one for one in WALKED if one.in_path], ids=named)
def test_a_wrong_value_in_the_path_is_refused(place: Place, endpoint: Endpoint) -> None:
    for name in endpoint.in_path:
        for text in WRONG_TEXTS:
            path = place.path(endpoint, **{name: quote(text, safe="") or "%20"})
            found = place.send(endpoint, path)
            if name.endswith("_id") and name != "profile_id":
                assert found is not None, path


@pytest.mark.parametrize("endpoint", WALKED, ids=named)
def test_a_wrong_parameter_is_refused_by_its_name(place: Place, endpoint: Endpoint) -> None:
    path = place.path(endpoint)
    operation = OPERATIONS[endpoint.method, PREFIX + endpoint.path]
    queries = [one for one in operation["parameters"] if one["in"] == "query"]
    for parameter in queries:
        name, schema = parameter["name"], parameter["schema"]
        for text in WRONG_TEXTS:
            found = place.send(endpoint, f"{path}?{name}={quote(text, safe='')}", b"")
            if not is_fitting(schema, text):
                assert found is not None, (name, text)
                assert found["field"] in (name, None), (name, text, found)
    unknown = place.send(endpoint, f"{path}?surely_unknown=1", b"")
    assert unknown is not None
    assert unknown["field"] == "surely_unknown"


@pytest.mark.parametrize(
    ("method", "path", "body", "sentence"),
    [
        ("GET", "/programs?limit=0", None, "not a whole number from 1, limit"),
        ("GET", "/programs?limit=501", None, "not a whole number up to 500, limit"),
        ("GET", "/programs?kind=odd", None, "no such value: 'odd', kind"),
        ("POST", "/programs", {"name": 5}, "not a text, but a whole number, name"),
        (
            "POST",
            "/programs",
            {"name": "A", "fields": "x"},
            "not a list or null, but a text, fields",
        ),
        (
            "POST",
            "/programs",
            {"name": "A", "code_limit": "1"},
            "not a whole number or null, but a text, code_limit",
        ),
        ("POST", "/programs", [], "not a JSON object, body"),
    ],
)
def test_what_is_wrong_is_said_in_words(
    manager: Manager, method: str, path: str, body: Any, sentence: str
) -> None:
    found = manager.refused(method, path, body)

    assert found["message"] == f"Incorrect request: {sentence}"


def is_fitting(schema: dict[str, Any], text: str) -> bool:
    """Say whether a text may be a right value of a parameter; only what is sure is not."""
    if schema.get("type") == "integer":
        return text == "0" and schema.get("minimum", 0) < 1
    if schema.get("type") == "boolean":
        return text == "true"
    return "enum" not in schema and "format" not in schema


@pytest.mark.parametrize("endpoint", WITH_BODY, ids=named)
def test_a_wrong_field_is_refused_by_its_name(place: Place, endpoint: Endpoint) -> None:
    path = place.path(endpoint)
    assert endpoint.example is not None
    right = dict(endpoint.example.body or {})
    right.pop("name", None)
    for name, schema in fields_of(endpoint).items():
        for kind, values in WRONG.items():
            for value in values:
                body = {**right, name: value}
                if name != "name" and "name" in fields_of(endpoint):
                    body["name"] = f"walked {next(NUMBERS)}"
                found = place.send(endpoint, path, body)
                if kind not in kinds_of(schema):
                    assert found is not None, body
                    assert found["number"] == 400, (body, found)
                    assert str(found["field"]).split(".")[0].split("[")[0] in (name, "body"), found


@pytest.mark.parametrize("endpoint", WITH_BODY, ids=named)
def test_an_unknown_field_is_refused_by_its_name(place: Place, endpoint: Endpoint) -> None:
    assert endpoint.example is not None
    body = {**(endpoint.example.body or {}), "surely_unknown": 1}

    found = place.send(endpoint, place.path(endpoint), body)

    assert found is not None
    assert (found["number"], found["field"]) == (400, "surely_unknown")


def fields_of(endpoint: Endpoint) -> dict[str, Any]:
    operation = OPERATIONS[endpoint.method, PREFIX + endpoint.path]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    return dict(resolved(schema)["properties"])


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in schema:
        return schema
    found: dict[str, Any] = DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return found


def kinds_of(schema: dict[str, Any]) -> set[str]:
    """Return the kinds of values that a schema takes."""
    schema = resolved(schema)
    if "anyOf" in schema:
        return set().union(*map(kinds_of, schema["anyOf"]))
    if "enum" in schema:
        return {"string"}
    return {schema["type"]} if "type" in schema else set(WRONG)
