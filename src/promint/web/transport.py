"""What both APIs do alike below their own forms: request ids, reading on after a refusal."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from promint.domain.errors import OutcomeUnknown, StoreBusy
from promint.domain.ids import IdMaker

LINGER_S = 5.0
LINGER_BYTES = 8 * 1024 * 1024
"""How much more than the largest body is read and dropped so that the caller sees the refusal."""

RETRY_AFTER_S = {
    StoreBusy.reason: b"1",
    OutcomeUnknown.reason: b"1",
}
"""What the header Retry-After says, by the reason of the refusal; a throttled one knows better."""


def request_id_of(sent: bytes | None, ids: IdMaker, now: int) -> str:
    """Keep the caller's id if it is 1 to 64 visible ASCII characters, else make one."""
    if sent and len(sent) <= 64:
        text = sent.decode("latin-1")
        if is_visible(text):
            return text
    return ids.new(now).hex()


def is_visible(text: str) -> bool:
    """Say whether a header holds visible ASCII characters only."""
    return all("!" <= character <= "~" for character in text)


async def linger(receive: Callable[[], Awaitable[MutableMapping[str, Any]]], most: int) -> None:
    """Read and drop what a refused request still sends, for a while and up to `most` bytes.

    Closing while the caller still writes would cost it our answer.
    """
    dropped = 0
    try:
        async with asyncio.timeout(LINGER_S):
            while dropped < most:
                message = await receive()
                dropped += len(message.get("body", b""))
                if message["type"] != "http.request" or not message.get("more_body", False):
                    return
    except TimeoutError:
        return
