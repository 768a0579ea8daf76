"""What is sent for each job, as bytes with places for what changes from request to request."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from promint.bench import numbering

CODE, PROFILE, KEY = "@CODE@@@@", "@PROFILE@@@@@@@@@@@@@@@@", "@KEY@"
"""Stand in a body for what they name, and are as long as it, so lengths do not change."""

API = "/api/v1.1/"


def body(fields: dict[str, Any]) -> str:
    """Return a JSON body; its values may be the places above."""
    return json.dumps(fields)


@dataclass(frozen=True, slots=True)
class Template:
    """A request with places; its bytes are made before the clock runs."""

    path: str
    token: str
    body: str
    is_keyed: bool = False

    def text(self) -> str:
        """Return head and body."""
        lines = [
            f"POST {API}{self.path} HTTP/1.1",
            "Host: 127.0.0.1",
            f"Authorization: Bearer {self.token}",
            "Content-Type: application/json",
            f"Content-Length: {len(self.body)}",
        ]
        if self.is_keyed:
            lines.append(f"Idempotency-Key: {KEY}")
        return "\r\n".join(lines) + "\r\n\r\n" + self.body


def fill(text: str, numbers: Iterator[int], profiles: int) -> Iterator[bytes]:
    """Yield the request for each number; profiles are taken in turn, 1 to `profiles`."""
    assert "%" not in text
    pattern = text.replace(CODE, "%(code)s").replace(PROFILE, "%(profile)s")
    pattern = pattern.replace(KEY, "bench-%(code)s")
    for number in numbers:
        filled = {
            "code": numbering.code(number),
            "profile": numbering.profile_id(number % profiles + 1),
        }
        yield (pattern % filled).encode()
