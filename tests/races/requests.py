"""Requests and answers as bytes: what the races send, and what came back."""

import asyncio
import json
import os
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

ACTIVATE = "promocodes/activate"
ATTACH = "promocodes/attach"
DELETE = "profiles/delete"
DETACH = "promocodes/detach"
GET = "promocodes/get"
IMPORT = "promocodes/import"
UPDATE = "promocodes/update"


@dataclass(frozen=True)
class Request:
    """One call. Its `id` travels as X-Request-Id, so that its event can be found again."""

    name: str
    fields: dict[str, Any]
    key: str | None = None
    id: str = field(default_factory=lambda: os.urandom(8).hex())

    def encoded(self, token: str) -> bytes:
        body = json.dumps(self.fields).encode()
        key = f"idempotency-key: {self.key}\r\n" if self.key else ""
        head = (
            f"POST /api/v1.1/{self.name} HTTP/1.1\r\nhost: localhost\r\n"
            f"authorization: Bearer {token}\r\ncontent-type: application/json\r\n"
            f"x-request-id: {self.id}\r\n{key}content-length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    def again(self) -> "Request":
        """Return the same request as a caller repeats it: the same key, another id."""
        return Request(self.name, self.fields, self.key)


@dataclass(frozen=True)
class Answer:
    """What a request was told."""

    request: Request
    status: int
    reason: str
    body: bytes

    @cached_property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def is_success(self) -> bool:
        return self.status == 200 and not self.reason

    @property
    def code(self) -> str:
        """The code that an attach with `return_code` gave out."""
        return str(self.json["data"]["code"])


def head_of(buffer: bytes | bytearray) -> tuple[int, int, str, int] | None:
    """Return length of the head, status, reason and length of the body, once the head is in."""
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        return None
    status_line, *lines = bytes(buffer[:end]).decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return (
        end + 4,
        int(status_line.split(" ", 2)[1]),
        headers.get("x-promint-reason", ""),
        int(headers["content-length"]),
    )


# -- the calls -----------------------------------------------------------------------------


def activate(program: int, code: str, *, key: str | None = None) -> Request:
    return Request(ACTIVATE, {"loyalty_id": program, "code": code}, key)


def get(program: int, code: str) -> Request:
    return Request(GET, {"loyalty_id": program, "code": code})


def attach(
    program: int,
    database: int,
    profile: str,
    code: str | None = None,
    *,
    key: str | None = None,
) -> Request:
    """Attach a code, any without one; a profile with an @ is an e-mail, else an id."""
    fields = {"loyalty_id": program, "db_id": database, "return_code": True, **_named(profile)}
    return Request(ATTACH, fields if code is None else {**fields, "code": code}, key)


def detach(
    program: int, database: int, profile: str, code: str, *, key: str | None = None
) -> Request:
    fields = {"loyalty_id": program, "db_id": database, "code": code, **_named(profile)}
    return Request(DETACH, fields, key)


def update(program: int, code: str, *, key: str | None = None, **changes: Any) -> Request:
    return Request(UPDATE, {"loyalty_id": program, "code": code, **changes}, key)


def import_codes(program: int, *codes: str, key: str | None = None) -> Request:
    return Request(IMPORT, {"loyalty_id": program, "codes": codes}, key)


def delete(database: int, profile: str) -> Request:
    return Request(DELETE, {"db_id": database, **_named(profile)})


def _named(profile: str) -> dict[str, str]:
    if "@" in profile:
        return {"email": profile}
    return {"matching": "profile_id", "profile_id": profile}


async def exchange(
    request: Request, token: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> tuple[Answer, bytes]:
    """Send a request on a kept connection; return its answer, and the head of it in lower case.

    Raises:
        OSError, EOFError: the connection broke before the answer was whole.
    """
    writer.write(request.encoded(token))
    await writer.drain()
    text = await reader.readuntil(b"\r\n\r\n")
    head = head_of(text)
    assert head is not None
    _, status, reason, length = head
    return Answer(request, status, reason, await reader.readexactly(length)), text.lower()
