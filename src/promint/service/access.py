"""Who calls, and what the service believes for half a second without asking the store."""

import asyncio
import hashlib
import logging
import re
import zlib
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from promint.domain.errors import AccessDenied
from promint.domain.model import Scope, Token
from promint.engine import Render
from promint.store import Answer, IdempotencyId, Keyed, StoreError

log = logging.getLogger(__name__)

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

TOKEN_PREFIX = "promint_"  # noqa: S105  # the public part of every token
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_TOKEN = re.compile(r"promint_([0-9A-Za-z]{27})([0-9A-Za-z]{6})", re.ASCII)


def _base62(number: int, width: int) -> str:
    digits = ""
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits = _ALPHABET[digit] + digits
    return digits


def new_token(random_bytes: bytes) -> str:
    """Return a token of 160 random bits: prefix, secret and checksum, so that scanners find it.

    `random_bytes` are 20 bytes from the operating system.
    """
    assert len(random_bytes) == 20
    secret = _base62(int.from_bytes(random_bytes, "big"), 27)
    return f"{TOKEN_PREFIX}{secret}{_base62(zlib.crc32(secret.encode()), 6)}"


def is_token(text: str) -> bool:
    """Say whether a text has the form and checksum of a token of ours."""
    match = _TOKEN.fullmatch(text)
    return match is not None and _base62(zlib.crc32(match[1].encode()), 6) == match[2]


def is_damaged(text: str) -> bool:
    """Say whether a text begins as a token of ours and cannot be one."""
    return text.startswith(TOKEN_PREFIX) and not is_token(text)


def token_digest(text: str) -> bytes:
    """Return what is stored and looked up instead of a token: its SHA-256."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


@dataclass(frozen=True, slots=True)
class Idempotency:
    """A request's idempotency key, and the digest of what it was sent with."""

    key: str
    digest: bytes
    render: Render


@dataclass(slots=True)
class Call:
    """What every call brings along. `now` is its one moment, in UTC microseconds.

    `network` is where it comes from, for counting wrong codes; None where they are not counted:
    commands, and the management API, whose tokens may list every code anyway.
    """

    token: Token
    request_id: str
    now: int
    idempotency: Idempotency | None = None
    network: str | None = None

    def check_scope(self, scope: Scope) -> None:
        """Refuse a token that lacks a scope.

        Raises:
            AccessDenied: it has neither this scope nor `admin`.
        """
        if not self.token.allows(scope):
            raise AccessDenied(scope)

    def keyed(self, keep_s: int) -> Keyed | None:
        """Return where the answer of the idempotency key is kept, and until when.

        Its shard comes from token and key, in program 0, which is nobody's.
        """
        if self.idempotency is None:
            return None
        named = f"{self.token.id}:{self.idempotency.key}".encode()
        shard_key = int.from_bytes(hashlib.blake2b(named).digest()[:8], "big") % 4096
        record = IdempotencyId(shard_key, self.token.id, self.idempotency.key)
        return Keyed(record, self.idempotency.digest, self.now, self.now + keep_s * 1_000_000)


class Answered(Exception):
    """An idempotency key was used before for the same request; `answer` is what that one got."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


class Remembered(Generic[Key, Value]):
    """Rows that are read so often that they are believed for a moment.

    A value younger than `fresh_s` is taken as it is. Up to 1.8 times that age it is taken too,
    while one refresh is under way; an older one is waited for. So a change holds everywhere
    within a second, and no request of the hot path waits for a row that has not changed.
    What does not exist is not remembered.
    """

    def __init__(
        self,
        load: Callable[[Key], Awaitable[Value | None]],
        *,
        fresh_s: float,
        clock: Callable[[], float],
        most: int = 10_000,
    ) -> None:
        """Take the look-up and a monotonic clock in seconds."""
        self._load = load
        self._fresh_s = fresh_s
        self._clock = clock
        self._most = most
        self._values: dict[Key, tuple[Value, float]] = {}
        self._refreshing: dict[Key, asyncio.Task[Any]] = {}

    def at_hand(self, key: Key) -> Value | None:
        """Return a value that can be believed now, or None: then `get` it."""
        known = self._values.get(key)
        if known is None:
            return None
        age_s = self._clock() - known[1]
        if age_s < self._fresh_s:
            return known[0]
        if age_s < self._fresh_s * 1.8:
            if key not in self._refreshing:
                self._refreshing[key] = asyncio.create_task(self._refresh(key))
            return known[0]
        return None

    async def get(self, key: Key) -> Value | None:
        """Return the value, read from the store if none is at hand."""
        return self.at_hand(key) or await self._read(key)

    async def _read(self, key: Key) -> Value | None:
        asked_at = self._clock()
        value = await self._load(key)
        if value is None:
            self._values.pop(key, None)
        else:
            if len(self._values) >= self._most:
                self._values.clear()
            self._values[key] = (value, asked_at)
        return value

    async def _refresh(self, key: Key) -> None:
        try:
            await self._read(key)
        except StoreError as error:
            log.warning("could not refresh a remembered row: %s", error)
        finally:
            del self._refreshing[key]
