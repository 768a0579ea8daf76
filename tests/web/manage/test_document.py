"""The OpenAPI document: valid, whole, and true: each example is answered as it says."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from openapi_schema_validator import OAS31Validator, oas31_format_checker
from openapi_spec_validator import OpenAPIV31SpecValidator

from promint.domain.model import Scope
from promint.web.manage.endpoints import PREFIX, Endpoint
from promint.web.manage.openapi import ENDPOINTS, IN_PATH, OPENAPI, document
from tests.conftest import STORES, Stores
from tests.running import Reply, Running
from tests.web.manage.callers import Manager

DOCUMENT: dict[str, Any] = json.loads(json.dumps(document()))
OPERATIONS = {
    (method.upper(), path): operation
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
}
DIFFERS = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z|promint_[0-9A-Za-z]{33}|\b[0-9a-f]{24}\b"
    r'|(?<="next": )"[^"]+"'
)


def test_the_document_is_valid() -> None:
    OpenAPIV31SpecValidator(DOCUMENT).validate()


def test_the_document_has_every_endpoint_and_no_other() -> None:
    wanted = {(endpoint.method, PREFIX + endpoint.path) for endpoint in ENDPOINTS}

    assert set(OPERATIONS) == wanted
    assert len(ENDPOINTS) == len(wanted)


def test_every_operation_has_a_name_of_its_own() -> None:
    names = [operation["operationId"] for operation in OPERATIONS.values()]

    assert len(set(names)) == len(names)


def test_everything_in_the_document_is_described() -> None:
    for operation in OPERATIONS.values():
        assert operation["summary"]
        assert operation["description"]
        for parameter in operation["parameters"]:
            assert parameter["description"], (operation["operationId"], parameter["name"])
    for name, schema in DOCUMENT["components"]["schemas"].items():
        assert "enum" in schema or schema["description"], name
        for field, inner in schema.get("properties", {}).items():
            assert "$ref" in inner or inner.get("description"), f"{name}.{field}"


def test_every_name_in_a_path_has_a_meaning() -> None:
    assert {name for endpoint in ENDPOINTS for name in endpoint.in_path} <= set(IN_PATH)


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.name)
def test_every_endpoint_but_the_document_has_an_example(endpoint: Endpoint) -> None:
    assert endpoint is OPENAPI or endpoint.example is not None


def test_the_service_serves_the_document_without_a_token(running: Running) -> None:
    reply = running.get(f"{PREFIX}/openapi.json")

    assert reply.status == 200
    assert reply.headers["content-type"] == "application/json; charset=utf-8"
    assert reply.json == DOCUMENT


# -- the examples --------------------------------------------------------------------------


@pytest.fixture(scope="module", params=STORES)
def told(request: pytest.FixtureRequest, stores: Stores) -> Iterator[dict[str, Reply]]:
    """What each example is answered, sent in order to a service on an empty store."""
    service = Running(stores.new(request.param))
    service.token, _ = service.administer(lambda a: a.create_token("admin", frozenset(Scope)))
    with service:
        manager = Manager(service)
        answers: dict[str, Reply] = {}
        for endpoint in ENDPOINTS:
            if endpoint.example is not None:
                answers[endpoint.name] = told_by(manager, endpoint, answers)
        yield answers


def told_by(manager: Manager, endpoint: Endpoint, answers: dict[str, Reply]) -> Reply:
    """Send an example; the next one is not sent before the job that it began has ended."""
    example = endpoint.example
    assert example is not None
    path, body = example.path, example.body
    if "save_profile" in answers:
        path = re.sub(r"\b[0-9a-f]{24}\b", answers["save_profile"].json["profile_id"], path)
    reply = manager.send(endpoint.method, path, body.encode() if isinstance(body, str) else body)
    if reply.status == 202:
        manager.ended(reply.json["job_id"])
    return reply


@pytest.mark.parametrize(
    "endpoint", [one for one in ENDPOINTS if one.example], ids=lambda endpoint: endpoint.name
)
def test_an_example_is_answered_as_the_document_says(
    told: dict[str, Reply], endpoint: Endpoint
) -> None:
    example, reply = endpoint.example, told[endpoint.name]
    assert example is not None

    assert reply.status == endpoint.status, reply
    if example.content_type:
        assert reply.headers["content-type"] == example.content_type
        assert plain(reply.body.decode()) == plain(example.answer)
        return
    operation = OPERATIONS[endpoint.method, PREFIX + endpoint.path]
    content = operation["responses"][str(reply.status)]["content"]["application/json"]
    check(content["schema"], reply.json)
    check(content["schema"], content["example"])
    if example.is_exact:
        assert plain(written(reply.json)) == plain(written(example.answer))


def check(schema: dict[str, Any], value: Any) -> None:
    """Hold a value to a schema of the document."""
    whole = {**schema, "components": DOCUMENT["components"]}
    OAS31Validator(whole, format_checker=oas31_format_checker).validate(value)


def written(value: Any) -> str:
    return json.dumps(value, indent=1, sort_keys=True)


def plain(text: str) -> str:
    """Leave out what no two stores say alike: moments, ids, tokens, places in a list."""
    return DIFFERS.sub("…", text)
