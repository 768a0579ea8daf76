"""What an endpoint is, and what it is given of a request.

An endpoint is a function and what is said of it. What the function takes is what the request has:
`loyalty_id` from the path, `query` and `body` as the shapes that are annotated; what it returns is
the answer. The routes, the checks and the OpenAPI document all come from this one place.
"""

import hashlib
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, get_type_hints

import msgspec
from starlette.requests import Request

from promint.domain.errors import (
    AccessDenied,
    DatabaseNotFound,
    IncorrectRequest,
    InternalError,
    OutcomeUnknown,
    ProgramNotFound,
    PromintError,
    StoreBusy,
)
from promint.domain.model import ID_MAX, Database, LoyaltyProgram
from promint.service import Call, Idempotency, Service
from promint.service.administration import Administration
from promint.service.drawing import CodeSource
from promint.service.means import Means
from promint.service.transactions import Once
from promint.store import Answer
from promint.wire.manage.reading import Failure, FailureAnswer, Nothing

PREFIX = "/manage/v1"
JSON = "application/json; charset=utf-8"

encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Bounds:
    """What limits the management API."""

    body_bytes_max: int
    upload_bytes_max: int
    idempotency_s: int


@dataclass(frozen=True, slots=True)
class Streamed:
    """An answer that is made while it is sent, for a browser to keep as a file."""

    content_type: str
    file_name: str
    chunks: AsyncGenerator[bytes]


@dataclass(frozen=True, slots=True)
class Example:
    """A request that is answered as shown, on a store where the examples before it were sent.

    `path` is as in the address. A `body` that is a text is a file. Ids of 24 digits, tokens and
    moments differ; without `is_exact` so does whatever depends on time and chance. `content_type`
    is that of an answer that is a file.
    """

    path: str
    body: Any = None
    answer: Any = None
    content_type: str = ""
    is_exact: bool = True


@dataclass(frozen=True)
class Endpoint:
    """One method of one path, and what the document says of it.

    `path` comes after `/manage/v1`. `errors` are the refusals of its own, beside those of every
    endpoint. `takes_file`: the body is a file, which it reads itself. `gives_file`: the types of
    content that it answers with instead of JSON. `is_keyed`: it takes an idempotency key.
    """

    method: str
    path: str
    handle: Callable[..., Awaitable[Any]]
    summary: str
    tag: str
    status: int = 200
    errors: tuple[type[PromintError], ...] = ()
    example: Example | None = None
    is_keyed: bool = False
    is_open: bool = False
    takes_file: bool = False
    gives_file: tuple[str, ...] = ()

    @cached_property
    def hints(self) -> dict[str, Any]:
        """What the function takes and returns, by name."""
        return get_type_hints(self.handle, include_extras=True)

    @property
    def name(self) -> str:
        """The operation's name in the document."""
        return getattr(self.handle, "__name__", "")

    @property
    def description(self) -> str:
        """What the document says beside the summary."""
        return inspect.getdoc(self.handle) or ""

    @property
    def query(self) -> Any:
        """The shape of the query."""
        return self.hints.get("query", Nothing)

    @property
    def body(self) -> Any:
        """The shape of the body; None without one."""
        return self.hints.get("body")

    @property
    def answer(self) -> Any:
        """The shape of the answer."""
        return self.hints["return"]

    @property
    def in_path(self) -> list[str]:
        """The names that the path holds, in order."""
        return [part[1:-1] for part in self.path.split("/") if part.startswith("{")]


@dataclass(frozen=True)
class Asked:
    """A request whose token was checked: who asks, by which means, and what they may see."""

    request: Request
    endpoint: Endpoint
    call: Call
    means: Means
    service: Service
    codes: CodeSource
    bounds: Bounds

    @property
    def now(self) -> int:
        """The one moment of the request, in UTC microseconds."""
        return self.call.now

    async def program(self, loyalty_id: int) -> LoyaltyProgram:
        """Return a program as it is now.

        Raises:
            ProgramNotFound: it does not exist, or not for this token.
        """
        self.check_program(loyalty_id)
        found = await self.means.store.program(loyalty_id)
        if found is None:
            raise ProgramNotFound(str(loyalty_id))
        return found

    def check_program(self, loyalty_id: int) -> None:
        """Refuse a program that cannot exist for this token.

        Raises:
            ProgramNotFound: its id is out of bounds, or not within the token's rights.
        """
        if not self.call.token.opens_program(loyalty_id) or not 1 <= loyalty_id <= ID_MAX:
            raise ProgramNotFound(str(loyalty_id))

    async def database(self, database_id: int) -> Database:
        """Return a database as it is now.

        Raises:
            DatabaseNotFound: it does not exist, or not for this token.
        """
        self.check_database(database_id)
        found = await self.means.store.database(database_id)
        if found is None:
            raise DatabaseNotFound(str(database_id))
        return found

    def check_database(self, database_id: int) -> None:
        """Refuse a database that cannot exist for this token.

        Raises:
            DatabaseNotFound: its id is out of bounds, or not within the token's rights.
        """
        if not self.call.token.opens_database(database_id) or not 1 <= database_id <= ID_MAX:
            raise DatabaseNotFound(str(database_id))

    def check_sees_all(self, narrowed_to: frozenset[int] | None) -> None:
        """Refuse to make what a narrowed token could not see afterwards.

        Raises:
            AccessDenied: the token is narrowed.
        """
        if narrowed_to is not None:
            raise AccessDenied("the token is narrowed")

    def administration(self) -> Administration:
        """Return what changes programs, databases and tokens, in the name of the token."""
        means = self.means
        return Administration(
            means.store,
            ids=means.ids,
            now=lambda: self.now,
            random_bytes=means.random_bytes,
            token_id=means.token_id,
            request_id=means.request_id,
        )

    def once(self, shape: Callable[[Any], Any]) -> Once | None:
        """Return the request's idempotency key; `shape` makes the answer of an outcome."""
        keyed = self.call.keyed(self.bounds.idempotency_s)
        if keyed is None:
            return None
        return Once(keyed, self._render(shape))

    def keyed_call(self, shape: Callable[[Any], Any]) -> Call:
        """Return the call of the other API that does the work, with the idempotency key."""
        call = self.call
        if call.idempotency is None:
            return call
        idempotency = Idempotency(
            call.idempotency.key, call.idempotency.digest, self._render(shape)
        )
        return Call(call.token, call.request_id, call.now, idempotency)

    def _render(self, shape: Callable[[Any], Any]) -> Callable[[Any], Answer]:
        def render(outcome: Any) -> Answer:
            if isinstance(outcome, PromintError):
                return failure(outcome, self.call.request_id)
            return success(shape(outcome), self.endpoint.status)

        return render


def success(value: Any, status: int) -> Answer:
    """Return the answer of a success."""
    return Answer(status, "", JSON, encode(value))


def failure(error: PromintError, request_id: str) -> Answer:
    """Return the answer of a refusal: its number is the HTTP status."""
    message = error.message
    if isinstance(error, (StoreBusy, OutcomeUnknown, InternalError)):
        message = f"{message}, request {request_id}"
    where = error.where if isinstance(error, IncorrectRequest) else None
    said = FailureAnswer(Failure(error.number, error.reason, message, where))
    return Answer(error.number, error.reason, JSON, encode(said))


def digest_of(endpoint: Endpoint, path: str, query: Any, body: Any) -> bytes:
    """Return what tells two requests of one idempotency key apart."""
    text = encode([endpoint.method, path, query, body])
    return hashlib.blake2b(text, digest_size=16).digest()
