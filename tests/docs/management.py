"""The reference of the management API, written from its document."""

from collections.abc import Iterator
from typing import Any

from promint.web.manage.endpoints import PREFIX
from promint.web.manage.openapi import document

SHAPES = "shapes"
EVERYWHERE = {
    *("token_required", "token_invalid", "denied", "malformed", "missing_field", "bad_value"),
    *("too_large", "use_json", "idempotency_mismatch", "internal", "unavailable"),
    "outcome_unknown",
}
"""The refusals that the page names once for all endpoints."""

_KINDS = {"integer": "whole number", "string": "text", "boolean": "true or false"}


def names() -> list[str]:
    """Return the parts that there are: the tags, and the shapes."""
    return [*(tag["name"] for tag in document()["tags"]), SHAPES]


def rendered(name: str) -> str:
    """Return the text of a part."""
    if name == SHAPES:
        schemas = sorted(document()["components"]["schemas"].items())
        return "\n\n".join(_shape(*named) for named in schemas if "properties" in named[1])
    return "\n\n".join(_operation(*found) for found in _operations(name))


def _operations(tag: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document()["paths"].items():
        for method, operation in methods.items():
            if tag in operation["tags"]:
                yield method.upper(), path.removeprefix(PREFIX), operation


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    (status,) = (one for one in operation["responses"] if one < "300")
    parts = [f"### {method} `{path}`", f"{operation['summary']}. {operation['description']}"]
    rows = [
        f"| `{one['name']}` | {_kind(one['schema'])} | {_cell(one['description'])} |"
        for one in operation["parameters"]
        if one["in"] == "query"
    ]
    if rows:
        parts.append("\n".join(["| parameter | value | meaning |", "|---|---|---|", *rows]))
    said = [f"Answer {status}: {_content(operation['responses'][status]['content'])}."]
    if "requestBody" in operation:
        said.insert(0, f"Body: {_content(operation['requestBody']['content'])}.")
    if any(one["name"] == "Idempotency-Key" for one in operation["parameters"]):
        said.append("Takes an `Idempotency-Key`.")
    own = [
        reason
        for number, one in operation["responses"].items()
        if number >= "300"
        for reason in one["description"].split(", ")
        if reason.strip("`") not in EVERYWHERE
    ]
    if own:
        said.append(f"Refusals of its own: {', '.join(own)}.")
    return "\n\n".join([*parts, " ".join(said)])


def _content(content: dict[str, Any]) -> str:
    ((kind, value),) = list(content.items())[:1]
    if "schema" in value:
        return _kind(value["schema"])
    return (
        "the file"
        if kind == "application/octet-stream"
        else " or ".join(f"`{one}`" for one in content)
    )


def _kind(schema: dict[str, Any]) -> str:
    """Return the values that a schema takes, in a few words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        found = document()["components"]["schemas"][name]
        return _kind(found) if "enum" in found else f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(map(_kind, schema["anyOf"]))
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("format") == "date-time":
        return "moment"
    if schema.get("type") == "array":
        return f"list of {_kind(schema['items'])}"
    kind = schema.get("type", "anything")
    return str(_KINDS.get(kind, kind))


def _shape(name: str, schema: dict[str, Any]) -> str:
    needed = schema.get("required", [])
    rows = [
        f"| `{field}` | {_kind(inner)} | {'yes' if field in needed else ''} "
        f"| {_cell(inner.get('description', ''))} |"
        for field, inner in schema["properties"].items()
    ]
    head = ["| field | value | always | meaning |", "|---|---|---|---|"]
    return "\n".join([f"### {name}", "", schema["description"], "", *head, *rows])


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
