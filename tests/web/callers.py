"""Requests in both forms, and answers read by other parsers than the service's own."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from tests.running import Reply, Running

FORMS = ("json", "xml")
MEBIBYTE = 1024 * 1024


def as_json(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, ensure_ascii=False).encode()


def as_xml(fields: dict[str, Any]) -> bytes:
    """Write a request as the vendor's examples do: a list is a repeated element."""

    def element(name: str, value: Any, mark: str = "") -> str:
        if isinstance(value, list):
            one = " array='true'" if len(value) < 2 else ""
            return "".join(element(name, item, one) for item in value) or f"<{name}{one}/>"
        if isinstance(value, dict):
            inner = "".join(element(key, item) for key, item in value.items())
            return f"<{name}{mark}>{inner}</{name}>"
        text = str(value).lower() if isinstance(value, bool) else str(value)
        text = "" if value is None else escape(text, {"\r": "&#13;"})
        return f"<{name}{mark}>{text}</{name}>"

    return element("xml", fields).encode()


def written(fields: dict[str, Any], form: str) -> bytes:
    return as_json(fields) if form == "json" else as_xml(fields)


@dataclass(frozen=True)
class Answer:
    """What an answer says, in whichever form. `tree` has all of it; in XML every leaf is text."""

    form: str
    error: int
    text: str
    reason: str
    status: int
    tree: Any


def read(reply: Reply) -> Answer:
    """Read an answer as its header declares it; an answer that is not so is a failure."""
    declared = reply.headers["content-type"]
    assert declared in {f"application/{form}; charset=utf-8" for form in FORMS}, declared
    form = "json" if "json" in declared else "xml"
    tree = json.loads(reply.body) if form == "json" else _tree(ET.fromstring(reply.body))  # noqa: S314  # our own answer
    error = int(tree["error"])
    assert (error == 0) == (reply.reason == ""), (error, reply.reason)
    return Answer(form, error, tree["error_text"], reply.reason, reply.status, tree)


def _tree(element: ET.Element) -> Any:
    """Return texts, objects, and lists for what is repeated."""
    if not len(element):
        return element.text or ""
    found: dict[str, Any] = {}
    for child in element:
        value = _tree(child)
        before = found.get(child.tag)
        if child.tag not in found:
            found[child.tag] = value
        elif isinstance(before, list):
            before.append(value)
        else:
            found[child.tag] = [before, value]
    return found


def send(
    service: Running,
    call: str,
    body: bytes,
    *,
    content_type: str | None = "application/json",
    token: str | None = "",
    **headers: str,
) -> Reply:
    """Send these very bytes; underscores in the names of headers are dashes."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if content_type is not None:
        sent["content-type"] = content_type
    if token is not None:
        sent["authorization"] = f"Bearer {token or service.token}"
    return service.request("POST", f"/api/v1.1/{call}", body, sent)


def speak(service: Running, form: str, call: str, fields: dict[str, Any], **more: Any) -> Answer:
    """Send a call in one of the forms and read the answer, which has to come in it too."""
    reply = send(service, call, written(fields, form), content_type=f"application/{form}", **more)
    answer = read(reply)
    assert answer.form == form
    return answer


# -- below HTTP ----------------------------------------------------------------------------


@contextmanager
def connected(service: Running, *, receive_bytes: int | None = None) -> Iterator[socket.socket]:
    """Open a bare connection; `receive_bytes` keeps the system from reading on our behalf."""
    with socket.socket() as connection:
        if receive_bytes is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        connection.settimeout(60)
        connection.connect(("127.0.0.1", service.ports[0]))
        yield connection


def head(service: Running, call: str, length: int | None, *lines: str) -> bytes:
    """Return request line and headers of a call with the token."""
    counted = [f"Content-Length: {length}"] if length is not None else []
    return "\r\n".join(
        [
            f"POST /api/v1.1/{call} HTTP/1.1",
            "Host: localhost",
            f"Authorization: Bearer {service.token}",
            "Content-Type: application/json",
            *counted,
            *lines,
            "",
            "",
        ]
    ).encode("latin-1")


def receive(stream: IO[bytes]) -> Reply:
    """Read one answer that says how long it is, and not a byte more."""
    status = stream.readline().split(b" ")
    headers = {}
    while (line := stream.readline().strip()) != b"":
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.lower()] = value.strip()
    body = stream.read(int(headers["content-length"]))
    return Reply(int(status[1]), headers, body)
