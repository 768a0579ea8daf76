"""The vendor API: from a path to a use case, from an outcome to bytes and a status.

A plain ASGI application. A request is read and checked whole before anything is asked of the
service, so a bad one never reaches the store.
"""

import asyncio
import hashlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any
from urllib.parse import parse_qsl

from promint.domain.errors import (
    BadValue,
    InternalError,
    Malformed,
    NotFound,
    OutcomeUnknown,
    PromintError,
    Refused,
    StoreBusy,
    Throttled,
    TokenRequired,
    TooLarge,
    UnknownMethod,
    UnsupportedFormat,
    UsePost,
)
from promint.domain.ids import IdMaker
from promint.service import Call, Idempotency, Service
from promint.store import Answer, ExportedCode, StoreError
from promint.web.addresses import ClientNetworks
from promint.web.calls import OPERATIONS, Operation
from promint.web.transport import (
    LINGER_BYTES,
    RETRY_AFTER_S,
    is_visible,
    linger,
    request_id_of,
)
from promint.wire import codecs, shapes
from promint.wire.codecs import Format

log = logging.getLogger(__name__)

PREFIX = "/api/v1.1/"
THREAD_BYTES = 256 * 1024

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]


def http_status(error: PromintError) -> int:
    """Return the status of a refusal: 200 for what is about a promo code, else its number."""
    return 200 if isinstance(error, (NotFound, Refused)) else error.number


class _Streamed:
    """An answer that is made while it is sent."""

    def __init__(self, chunks: AsyncGenerator[Sequence[ExportedCode]]) -> None:
        self.chunks = chunks


class _Request:
    """What is known of a request while it is read, so that a refusal has a form and an id."""

    __slots__ = ("form", "headers", "is_form_asked", "query", "request_id", "retry_after_s")

    def __init__(self, scope: dict[str, Any], request_id: str) -> None:
        self.request_id = request_id
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        if len(self.headers) != len(scope["headers"]):
            self._mark_differing(scope["headers"])
        self.form = Format.JSON
        self.is_form_asked = False
        self.retry_after_s = 0
        self.query: dict[str, str] = {}

    def _mark_differing(self, headers: Headers) -> None:
        """Of two headers that differ nobody knows which is meant; what reads them refuses NUL."""
        for name in (b"authorization", b"idempotency-key"):
            values = {value for key, value in headers if key == name}
            if len(values) > 1:
                self.headers[name] = b"Bearer \0"


class Api:
    """The ASGI application of `/api/v1.1/`."""

    def __init__(
        self,
        service: Service,
        *,
        now: Callable[[], int],
        ids: IdMaker,
        body_bytes_max: int,
        import_body_bytes_max: int,
        import_codes_max: int,
        always_200: bool,
        networks: ClientNetworks,
    ) -> None:
        """Take the service, the clock in UTC microseconds, the bounds, and who is where."""
        self._service = service
        self._now = now
        self._ids = ids
        self._body_bytes_max = body_bytes_max
        self._import_body_bytes_max = import_body_bytes_max
        self._import_codes_max = import_codes_max
        self._always_200 = always_200
        self._networks = networks
        self._paths = {PREFIX + name: operation for name, operation in OPERATIONS.items()}
        self._void = {form: _encode(shapes.success(), form, in_order=False) for form in Format}

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        now = self._now()
        request = _Request(scope, "")
        request.request_id = request_id_of(request.headers.get(b"x-request-id"), self._ids, now)
        unread = True
        try:
            operation = self._operation(scope, request)
            body = await self._body(request, receive, is_bulk=operation.is_bulk)
            if body is None:
                return
            unread = False
            answer = await self._answer(scope, operation, request, body, now)
        except PromintError as error:
            if isinstance(error, Throttled):
                request.retry_after_s = error.retry_after_s
            answer = self._render(error, request.form, request.request_id)
        except Exception:
            log.exception("request %s failed", request.request_id)
            answer = self._render(InternalError(), request.form, request.request_id)
        if isinstance(answer, _Streamed):
            await self._stream(answer, scope, request, receive, send)
            return
        await self._send(answer, request, receive, send, unread=unread)

    # -- reading ---------------------------------------------------------------------------

    def _operation(self, scope: dict[str, Any], request: _Request) -> Operation:
        """Find the call, and the form of the answer as far as it can be told by now."""
        path: str = scope["path"]
        if scope["query_string"] or b"accept" in request.headers:
            asked = self._asked_form(scope, request)
            request.is_form_asked = asked is not None
            request.form = asked or Format.JSON
        if not request.is_form_asked:
            declared = _declared(request.headers.get(b"content-type", b""))
            request.form = declared or Format.JSON
        operation = self._paths.get(path)
        if operation is None:
            plain = "/" + "/".join(part for part in path.split("/") if part)
            operation = self._paths.get(plain)
        if operation is None:
            raise UnknownMethod(path)
        if scope["method"] != "POST":
            raise UsePost(scope["method"])
        return operation

    @staticmethod
    def _asked_form(scope: dict[str, Any], request: _Request) -> Format | None:
        """Return what the URL asks for, else Accept. A `format` in the body comes later."""
        if scope["query_string"]:
            query = scope["query_string"].decode("utf-8", "replace")
            for name, value in parse_qsl(query, keep_blank_values=True):
                if request.query.setdefault(name, value) != value and name in ("token", "format"):
                    # Which of the two is meant cannot be known; said where the body is read.
                    request.query[name] = "\0"
            word = request.query.get("format", "").lower()
            if word in ("json", "xml"):
                return Format(word)
        accept = request.headers.get(b"accept")
        return _accepted(accept) if accept else None

    async def _body(self, request: _Request, receive: Receive, *, is_bulk: bool) -> bytes | None:
        """Return the whole body, or None when the caller went away.

        Raises:
            TooLarge: it is over its bound, said before it is read where the header says so.
        """
        most = self._import_body_bytes_max if is_bulk else self._body_bytes_max
        declared = request.headers.get(b"content-length", b"")
        if len(declared) > 12 or (declared.isdigit() and int(declared) > most):
            raise TooLarge("body")
        message = await receive()
        if message["type"] != "http.request":
            return None
        body: bytes = message.get("body", b"")
        if not message.get("more_body", False):
            if len(body) > most:
                raise TooLarge("body")
            return body
        parts = [body]
        size = len(body)
        while message.get("more_body", False):
            message = await receive()
            if message["type"] != "http.request":
                return None
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > most:
                raise TooLarge("body")
        return b"".join(parts)

    async def _answer(
        self,
        scope: dict[str, Any],
        operation: Operation,
        request: _Request,
        body: bytes,
        now: int,
    ) -> Answer | _Streamed:
        form = self._body_form(request.headers.get(b"content-type", b""), body)
        if not request.is_form_asked:
            request.form = form
        if not body.strip():
            raise Malformed("empty", "body")
        if len(body) > THREAD_BYTES:
            values = await asyncio.to_thread(codecs.read, body, form)
        else:
            values = codecs.read(body, form)
        fields = shapes.Fields(values, is_xml=form is Format.XML, items_max=self._import_codes_max)
        self._read_format(fields, request)

        secret = self._token(fields, request)
        token = self._service.known_token(secret) or await self._service.authenticate(secret)
        call = Call(token, request.request_id, now, network=self._networks.of(scope))
        call.check_scope(operation.scope)
        if operation.writes and b"idempotency-key" in request.headers:
            call.idempotency = self._idempotency(
                scope["path"], operation, request, values, call, fields
            )
        outcome = await operation.use(self._service, call, fields)
        if isinstance(outcome, Answer):
            return outcome
        if outcome is None:
            return Answer(200, "", request.form.content_type, self._void[request.form])
        if operation.is_streamed:
            return _Streamed(outcome)
        if len(body) > THREAD_BYTES:
            return await asyncio.to_thread(
                _rendered, operation, outcome, call, fields, request.form
            )
        return _rendered(operation, outcome, call, fields, request.form)

    @staticmethod
    def _body_form(content_type: bytes, body: bytes) -> Format:
        """Tell the form of the body by its header, else by its first character.

        Raises:
            UnsupportedFormat: another charset, or neither JSON nor XML.
        """
        if content_type == b"application/json":
            return Format.JSON
        charset = _parameter(content_type, b"charset")
        if charset not in (None, b"utf-8", b"utf8", b"us-ascii"):
            raise UnsupportedFormat(repr(charset))
        form = _declared(content_type) or codecs.guess_format(body)
        if form is None:
            if not body.strip():
                return Format.JSON
            raise UnsupportedFormat(repr(content_type[:64]))
        return form

    @staticmethod
    def _read_format(fields: shapes.Fields, request: _Request) -> None:
        """Let `format` of body or URL decide the form of the answer.

        Raises:
            BadValue: it is neither json nor xml, or body and URL differ.
        """
        if "format" not in fields and not request.query:
            return
        named = [fields.text("format"), request.query.get("format")]
        words = {word.strip().lower() for word in named if word}
        if not words:
            return
        if not words <= {"json", "xml"}:
            raise BadValue("not json or xml", "format")
        if len(words) > 1:
            raise BadValue("two that differ", "format")
        request.form = Format(words.pop())

    @staticmethod
    def _token(fields: shapes.Fields, request: _Request) -> str:
        """Return the one token that came by header, body or URL.

        Raises:
            TokenRequired: none came.
            BadValue: two that differ came.
        """
        header = request.headers.get(b"authorization", b"").decode("latin-1")
        scheme, _, bearer = header.partition(" ")
        is_alone = "token" not in fields and not request.query
        if scheme == "Bearer" and bearer and is_alone and bearer != "\0":
            return bearer.strip()
        found = {
            token
            for token in (
                bearer.strip() if scheme.lower() == "bearer" else "",
                fields.text("token", shapes.TOKEN_CHARACTERS_MAX),
                request.query.get("token"),
            )
            if token
        }
        if not found:
            raise TokenRequired
        if len(found) > 1 or "\0" in found:
            raise BadValue("two that differ", "token")
        return found.pop()

    def _idempotency(
        self,
        path: str,
        operation: Operation,
        request: _Request,
        values: dict[str, Any],
        call: Call,
        fields: shapes.Fields,
    ) -> Idempotency:
        key = request.headers[b"idempotency-key"].decode("latin-1")
        if not 1 <= len(key) <= 255 or not is_visible(key):
            raise BadValue("not 1 to 255 visible ASCII characters", "Idempotency-Key")
        form = request.form
        parsed = {name: value for name, value in values.items() if name not in ("token", "format")}
        plain = "/".join(part for part in path.split("/") if part)
        digest = hashlib.blake2b(
            codecs.write_json([plain, form, _sorted(parsed)]), digest_size=16
        ).digest()

        def render(outcome: Any) -> Answer:
            if isinstance(outcome, PromintError):
                return self._render(outcome, form, call.request_id)
            return _rendered(operation, outcome, call, fields, form)

        return Idempotency(key, digest, render)

    # -- answering -------------------------------------------------------------------------

    def _render(self, error: PromintError, form: Format, request_id: str) -> Answer:
        text = error.message
        if isinstance(error, (StoreBusy, OutcomeUnknown, InternalError)):
            text = f"{text}, request {request_id}"
        status = 200 if self._always_200 else http_status(error)
        body = _encode(shapes.failure(error.number, text), form, in_order=False)
        return Answer(status, error.reason, form.content_type, body)

    async def _send(
        self, answer: Answer, request: _Request, receive: Receive, send: Send, *, unread: bool
    ) -> None:
        status, reason, content_type, body = answer
        headers: Headers = [
            (b"content-type", content_type.encode("ascii")),
            (b"content-length", str(len(body)).encode("ascii")),
            (b"x-request-id", request.request_id.encode("ascii")),
        ]
        if reason:
            headers.append((b"x-promint-reason", reason.encode("ascii")))
            if request.retry_after_s:
                headers.append((b"retry-after", str(request.retry_after_s).encode("ascii")))
            elif reason in RETRY_AFTER_S:
                headers.append((b"retry-after", RETRY_AFTER_S[reason]))
            elif reason == UsePost.reason:
                headers.append((b"allow", b"POST"))
            elif reason.startswith("token_"):
                headers.append((b"www-authenticate", b"Bearer"))
        if unread:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        if unread and b"expect" not in request.headers:
            # The answer goes first, and a bounded part of what is still sent is read and dropped.
            await send({"type": "http.response.body", "body": body, "more_body": True})
            await linger(receive, self._import_body_bytes_max + LINGER_BYTES)
            body = b""
        await send({"type": "http.response.body", "body": body})

    async def _stream(
        self,
        answer: _Streamed,
        scope: dict[str, Any],
        request: _Request,
        receive: Receive,
        send: Send,
    ) -> None:
        """Send an export. If it cannot be finished, the body is left without its end."""
        form = request.form
        gone = asyncio.ensure_future(receive())
        progress = scope.setdefault("state", {})
        started = False
        try:
            async with aclosing(answer.chunks) as chunks:
                async for codes in chunks:
                    if gone.done():
                        return
                    if not started:
                        await self._start_stream(request, send)
                    progress["chunks_sent"] = progress.get("chunks_sent", 0) + 1
                    data = _export_chunk(codes, form, is_first=not started)
                    started = True
                    await send({"type": "http.response.body", "body": data, "more_body": True})
            if not started:
                await self._start_stream(request, send)
            end = _export_end(form, is_empty=not started)
            await send({"type": "http.response.body", "body": end})
        except Exception as error:
            said = error if isinstance(error, StoreError) else type(error).__name__
            log.error("request %s: the export broke off: %s", request.request_id, said)
            if not started:
                failed = self._render(StoreBusy(), form, request.request_id)
                await self._send(failed, request, receive, send, unread=False)
                return
            raise
        finally:
            gone.cancel()

    @staticmethod
    async def _start_stream(request: _Request, send: Send) -> None:
        headers: Headers = [
            (b"content-type", request.form.content_type.encode("ascii")),
            (b"x-request-id", request.request_id.encode("ascii")),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})


def _rendered(
    operation: Operation, outcome: Any, call: Call, fields: shapes.Fields, form: Format
) -> Answer:
    """Return the answer of a success."""
    shaped = operation.shape(outcome, call, fields)
    encoded = _encode(shaped, form, in_order=operation.in_order)
    return Answer(200, "", form.content_type, encoded)


def _encode(answer: dict[str, Any], form: Format, *, in_order: bool) -> bytes:
    if form is Format.JSON:
        return codecs.write_json(answer)
    return codecs.write_xml(answer, in_order=in_order)


def _export_chunk(codes: Sequence[ExportedCode], form: Format, *, is_first: bool) -> bytes:
    objects = [shapes.exported_code(*code) for code in codes]
    if form is Format.XML:
        start = "<xml>" if is_first else ""
        return (start + codecs.xml_elements({"data": objects})).encode("utf-8", "replace")
    inner = codecs.write_json(objects)[1:-1]
    return (b'{"data":[' if is_first else b",") + inner


def _export_end(form: Format, *, is_empty: bool) -> bytes:
    if form is Format.XML:
        end = f"<error>0</error><error_text>{shapes.SUCCESS}</error_text></xml>"
        return (("<xml><data/>" if is_empty else "") + end).encode()
    start = '{"data":[' if is_empty else ""
    return f'{start}],"error":0,"error_text":"{shapes.SUCCESS}"}}'.encode()


def _sorted(value: Any) -> Any:
    """Return a value with every object's keys in order, so that equal requests are equal."""
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [_sorted(item) for item in value]
    return value


def _declared(content_type: bytes) -> Format | None:
    if content_type == b"application/json":
        return Format.JSON
    kind = content_type.partition(b";")[0].strip().lower()
    if kind == b"application/json":
        return Format.JSON
    return Format.XML if kind in (b"application/xml", b"text/xml") else None


def _parameter(header: bytes, name: bytes) -> bytes | None:
    for part in header.split(b";")[1:]:
        key, _, value = part.partition(b"=")
        if key.strip().lower() == name:
            return value.strip().strip(b'"').lower()
    return None


def _accepted(accept: bytes) -> Format | None:
    """Return the form that an Accept header likes best, or None when it has no opinion."""
    if not accept or accept == b"*/*":
        return None
    best: Format | None = None
    best_weight = 0.0
    for part in accept.split(b","):
        form = _declared(part)
        if form is None:
            continue
        try:
            weight = float(_parameter(part, b"q") or 1)
        except ValueError:
            weight = 0.0
        if weight > best_weight:
            best, best_weight = form, weight
    return best
