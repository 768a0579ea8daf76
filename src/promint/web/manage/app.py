"""The ASGI application of `/manage/v1/`: finds the endpoint, checks the request, answers."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import aclosing
from typing import Any
from urllib.parse import parse_qsl, quote, unquote

from starlette.requests import ClientDisconnect, Request
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from promint.domain import model
from promint.domain.errors import (
    BadValue,
    InternalError,
    Malformed,
    MethodNotAllowed,
    OutcomeUnknown,
    PromintError,
    StoreBusy,
    TokenRequired,
    TooLarge,
    UnknownMethod,
    UseJson,
)
from promint.domain.ids import IdMaker
from promint.service import Call, Idempotency, Service
from promint.service.access import Answered
from promint.service.drawing import CodeSource
from promint.service.means import Means
from promint.store import Answer, ConnectionLost, Store, StoreError
from promint.web.manage.endpoints import (
    PREFIX,
    Asked,
    Bounds,
    Endpoint,
    Streamed,
    digest_of,
    failure,
    success,
)
from promint.web.manage.openapi import ENDPOINTS
from promint.web.transport import LINGER_BYTES, RETRY_AFTER_S, is_visible, linger, request_id_of
from promint.wire import codecs
from promint.wire.manage import reading

log = logging.getLogger(__name__)

THREAD_BYTES = 256 * 1024


class Manage:
    """The management API. Every request needs a token with the scope `admin`."""

    def __init__(
        self,
        service: Service,
        store: Store,
        *,
        now: Callable[[], int],
        ids: IdMaker,
        random_bytes: Callable[[int], bytes],
        codes: CodeSource,
        bounds: Bounds,
    ) -> None:
        """Take the use cases, the clock in UTC microseconds, chance, and the bounds."""
        self._service = service
        self._store = store
        self._now = now
        self._ids = ids
        self._random_bytes = random_bytes
        self._codes = codes
        self._bounds = bounds
        methods: dict[str, dict[str, Endpoint]] = {}
        for endpoint in ENDPOINTS:
            methods.setdefault(PREFIX + endpoint.path, {})[endpoint.method] = endpoint
        self._router = Router(
            [Route(path, _Path(self, found)) for path, found in methods.items()],
            redirect_slashes=False,
            default=_Path(self, {}),
        )

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Answer one request. `Any`: Starlette types the two otherwise than our own API does."""
        # A code in a path may hold an encoded slash, so paths are told apart before they are
        # decoded. Repeated slashes and one at the end change nothing.
        raw = scope.get("raw_path") or quote(scope["path"]).encode()
        parts = [part for part in raw.decode("latin-1").partition("?")[0].split("/") if part]
        await self._router({**scope, "path": "/" + "/".join(parts)}, receive, send)

    async def answer(self, request: Request, methods: dict[str, Endpoint], send: Send) -> None:
        """Answer a request to a path that takes these methods; without any there is no path."""
        now = self._now()
        sent_id = request.headers.get("x-request-id")
        request_id = request_id_of(sent_id.encode("latin-1") if sent_id else None, self._ids, now)
        reply = _Reply(request, send, request_id, self._bounds)
        try:
            if not methods:
                raise UnknownMethod(request.url.path)
            endpoint = methods.get(request.method)
            if endpoint is None:
                reply.allow = ", ".join(sorted(methods))
                raise MethodNotAllowed(request.method)
            outcome = await self._outcome(request, endpoint, request_id, now, reply)
        except ClientDisconnect:
            return
        except Answered as known:
            await reply.send(known.answer)
        except PromintError as error:
            await reply.send(failure(error, request_id))
        except ConnectionLost as error:
            lost = OutcomeUnknown if error.may_have_written else StoreBusy
            await reply.send(failure(lost(str(error)), request_id))
        except StoreError as error:
            await reply.send(failure(StoreBusy(str(error)), request_id))
        except Exception:
            log.exception("request %s failed", request_id)
            await reply.send(failure(InternalError(), request_id))
        else:
            if isinstance(outcome, Streamed):
                await reply.stream(outcome)
            elif isinstance(outcome, Answer):
                await reply.send(outcome)
            else:
                await reply.send(success(outcome, endpoint.status))

    async def _outcome(
        self, request: Request, endpoint: Endpoint, request_id: str, now: int, reply: "_Reply"
    ) -> Any:
        if endpoint.is_open:
            return await endpoint.handle()
        token = await self._service.authenticate(_bearer(request.headers.getlist("authorization")))
        call = Call(token, request_id, now)
        call.check_scope(model.Scope.ADMIN)

        arguments = _path_values(endpoint, request.path_params)
        query = reading.read_query(_pairs(request.scope["query_string"]), endpoint.query)
        if "query" in endpoint.hints:
            arguments["query"] = query
        values: Any = None
        if not endpoint.takes_file:
            values = await self._values(request, endpoint)
            reply.is_read = True
            if endpoint.body is not None:
                arguments["body"] = reading.read(values, endpoint.body)
        if endpoint.is_keyed and "idempotency-key" in request.headers:
            digest = digest_of(endpoint, request.scope["path"], query, _sorted(values))
            call.idempotency = Idempotency(_key(request), digest, _unrendered)
        means = Means(
            self._store,
            self._ids,
            self._now,
            self._random_bytes,
            token.name,
            token.id,
            request_id,
            token.databases,
        )
        asked = Asked(request, endpoint, call, means, self._service, self._codes, self._bounds)
        outcome = await endpoint.handle(asked, **arguments)
        reply.is_read = True
        return outcome

    async def _values(self, request: Request, endpoint: Endpoint) -> dict[str, Any]:
        """Return the fields of the body.

        Raises:
            UseJson, TooLarge, Malformed, BadValue: it is not what the endpoint takes.
        """
        body = await self._body(request)
        if endpoint.body is None:
            if body.strip() not in (b"", b"{}"):
                raise Malformed("this path takes none", "body")
            return {}
        _refuse_other_types(request)
        if not body.strip():
            # An endpoint whose every field may be left out needs no body at all.
            body = b"{}"
        read = codecs.read_json
        values = await asyncio.to_thread(read, body) if len(body) > THREAD_BYTES else read(body)
        reading.refuse_nul(values)
        return values

    async def _body(self, request: Request) -> bytes:
        most = self._bounds.body_bytes_max
        declared = request.headers.get("content-length", "")
        if len(declared) > 12 or (declared.isdigit() and int(declared) > most):
            raise TooLarge("body")
        parts: list[bytes] = []
        size = 0
        async for part in request.stream():
            size += len(part)
            if size > most:
                raise TooLarge("body")
            parts.append(part)
        return b"".join(parts)


class _Path:
    """One path as Starlette routes to it; its methods are told apart here, for their answers."""

    def __init__(self, manage: Manage, methods: dict[str, Endpoint]) -> None:
        self._manage = manage
        self._methods = methods

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._manage.answer(Request(scope, receive), self._methods, send)


class _Reply:
    """The way back: headers, bytes, and what is still to be read when a request is refused."""

    def __init__(self, request: Request, send: Send, request_id: str, bounds: Bounds) -> None:
        self._request = request
        self._send = send
        self._request_id = request_id
        self._bounds = bounds
        self.is_read = request.method == "GET"
        self.allow = ""

    async def send(self, answer: Answer) -> None:
        """Send a whole answer."""
        status, reason, content_type, body = answer
        headers = [*self._headers(content_type), (b"content-length", str(len(body)).encode())]
        if reason:
            headers.append((b"x-promint-reason", reason.encode("ascii")))
        if reason in RETRY_AFTER_S:
            headers.append((b"retry-after", RETRY_AFTER_S[reason]))
        if status == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        if self.allow:
            headers.append((b"allow", self.allow.encode("ascii")))
        if not self.is_read:
            headers.append((b"connection", b"close"))
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        if not self.is_read and "expect" not in self._request.headers:
            await self._send({"type": "http.response.body", "body": body, "more_body": True})
            await linger(self._request.receive, self._bounds.body_bytes_max + LINGER_BYTES)
            body = b""
        await self._send({"type": "http.response.body", "body": body})

    async def stream(self, answer: Streamed) -> None:
        """Send an answer while it is made. If it cannot be finished, the connection is cut.

        It begins with the first bytes, so that what fails before them is still a refusal.
        """
        gone = asyncio.ensure_future(self._request.receive())
        progress = self._request.scope.setdefault("state", {})
        started = False
        try:
            async with aclosing(answer.chunks) as chunks:
                async for chunk in chunks:
                    if gone.done():
                        return
                    if not started:
                        await self._start(answer)
                        started = True
                    progress["chunks_sent"] = progress.get("chunks_sent", 0) + 1
                    await self._send(
                        {"type": "http.response.body", "body": chunk, "more_body": True}
                    )
            if not started:
                await self._start(answer)
            await self._send({"type": "http.response.body", "body": b""})
        except (PromintError, StoreError) as error:
            said = error.reason if isinstance(error, PromintError) else error
            log.error("request %s: a file broke off: %s", self._request_id, said)
            if started:
                raise
            refusal = error if isinstance(error, PromintError) else StoreBusy(str(error))
            await self.send(failure(refusal, self._request_id))
        finally:
            gone.cancel()

    async def _start(self, answer: Streamed) -> None:
        name = quote(answer.file_name, safe="")
        headers = [
            *self._headers(answer.content_type),
            (b"content-disposition", f"attachment; filename*=UTF-8''{name}".encode("ascii")),
        ]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})

    def _headers(self, content_type: str) -> list[tuple[bytes, bytes]]:
        return [
            (b"content-type", content_type.encode("ascii")),
            (b"x-request-id", self._request_id.encode("ascii")),
            (b"cache-control", b"no-store"),
        ]


def _bearer(headers: list[str]) -> str:
    """Return the one token of the header.

    Raises:
        TokenRequired: there is none.
        BadValue: there are two that differ.
    """
    if len(set(headers)) > 1:
        raise BadValue("two that differ", "Authorization")
    scheme, _, token = (headers[0] if headers else "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise TokenRequired
    return token.strip()


def _path_values(endpoint: Endpoint, found: dict[str, str]) -> dict[str, Any]:
    """Return what the path names, decoded and as the function takes it.

    Raises:
        BadValue: a number is none, or a text is not UTF-8.
    """
    values: dict[str, Any] = {}
    for name in endpoint.in_path:
        try:
            text = unquote(found[name], errors="strict")
        except UnicodeDecodeError:
            raise BadValue("not UTF-8", name) from None
        if "\0" in text:
            raise BadValue("holds NUL", name)
        if endpoint.hints[name] is not int:
            values[name] = text
            continue
        # More digits than any id has: it is a number, and names nothing.
        if not (text.isascii() and text.isdigit()):
            raise BadValue("not a whole number", name)
        values[name] = int(text[:20])
    return values


def _pairs(query: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(
            query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=100
        )
    except (UnicodeDecodeError, ValueError):
        raise BadValue("not UTF-8, or too many parameters", "query") from None


def _refuse_other_types(request: Request) -> None:
    """Refuse what is not JSON in UTF-8; without a header it is taken for that."""
    kind, _, parameters = request.headers.get("content-type", "").lower().partition(";")
    charset = parameters.partition("charset=")[2].strip(' "')
    # What curl sends for -d unless it is told better.
    is_curl = kind.strip() == "application/x-www-form-urlencoded"
    if kind.strip() not in ("", "application/json") and not is_curl:
        raise UseJson(kind[:64])
    if charset not in ("", "utf-8", "utf8", "us-ascii"):
        raise UseJson(charset[:64])
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise UseJson("content-encoding")


def _key(request: Request) -> str:
    keys = set(request.headers.getlist("idempotency-key"))
    if len(keys) > 1:
        raise BadValue("two that differ", "Idempotency-Key")
    (key,) = keys
    if not 1 <= len(key) <= 255 or not is_visible(key):
        raise BadValue("not 1 to 255 visible ASCII characters", "Idempotency-Key")
    return key


def _sorted(value: Any) -> Any:
    """Return a value with every object's keys in order, so that equal requests are equal."""
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


def _unrendered(outcome: Any) -> Answer:
    raise AssertionError("the endpoint says how its outcome looks")
