"""Builds that let guesses, secrets and hostile requests through, one mechanism missing in each."""

import asyncio
from typing import Any

from tests.races.planted import WINDOW_S, _patch, _replace


def guesses_counted_carelessly() -> None:
    """Read how many wrong codes there were, and add one a moment later."""
    from promint.store.postgres.transaction import PostgresTransaction

    count = PostgresTransaction.wrong_codes

    async def count_and_wait(self: PostgresTransaction, wanted: Any) -> Any:
        found = await count(self, wanted)
        await asyncio.sleep(WINDOW_S)
        return found

    _replace("LOCK_WRONG_CODES", " FOR UPDATE", "")
    _patch(PostgresTransaction, wrong_codes=count_and_wait)


def look_ups_take_long() -> None:
    """No fault: a store so slow that many requests are under way before the first is answered."""
    from promint.store.sqlite import SqliteStore

    code = SqliteStore.code

    async def wait_and_look(self: SqliteStore, *code_id: Any) -> Any:
        await asyncio.sleep(10 * WINDOW_S)
        return await code(self, *code_id)

    _patch(SqliteStore, code=wait_and_look)


def guesses_told_late() -> None:
    """Refuse after a look-up only what is wrong: whoever sends many at once is told the rest."""
    from promint.service.guessing import Guess

    look_ups_take_long()
    _patch(Guess, right=Guess.drop)


def breaks_where_asked() -> None:
    """No fault of the log: raise an exception that repeats what it met, where a code says so."""
    from promint.engine import Workspace
    from promint.service import Service
    from promint.service.operations import Activate, Attach
    from promint.store.postgres import PostgresStore
    from promint.store.sqlite import SqliteStore

    def broken(code: str, place: str) -> None:
        if f"BREAK-{place}" in str(code).upper():
            raise RuntimeError(f"SELECT * FROM promo_code WHERE code = '{code}' in /etc/promint.py")

    def breaking(owner: Any, name: str, place: str) -> None:
        method = getattr(owner, name)

        def call(self: Any, *arguments: Any, **named: Any) -> Any:
            broken(" ".join(map(str, arguments)) + str(getattr(self, "code", "")), place)
            return method(self, *arguments, **named)

        _patch(owner, **{name: call})

    breaking(Service, "update", "OUTSIDE")
    breaking(Service, "detach", "PROFILES")
    breaking(Service, "activate", "MANAGE")
    breaking(Activate, "decide", "DECIDE")
    breaking(Attach, "decide", "ATTACH")
    for store in (SqliteStore, PostgresStore):
        breaking(store, "code", "GET")
    code_of = Workspace.code

    def code_or_break(self: Workspace, code_id: Any) -> Any:
        broken(code_id[1], "DATABASE")
        return code_of(self, code_id)

    _patch(Workspace, code=code_or_break)


def entities_resolved() -> None:
    """Read XML with a parser that expands entities and fetches what they name.

    The check at start would find it and not serve, so that goes too.
    """
    from pathlib import Path
    from urllib.parse import unquote, urlsplit
    from xml.parsers import expat

    from promint.domain.errors import Malformed
    from promint.safety import process
    from promint.wire import codecs

    def read_xml(body: bytes) -> dict[str, Any]:
        parser = expat.ParserCreate()
        parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_ALWAYS)
        fields: dict[str, str] = {}
        names: list[str] = []

        def end(name: str) -> None:
            names.pop()

        def text(data: str) -> None:
            fields[names[-1]] = fields.get(names[-1], "") + data

        def fetch(context: str | None, base: str, system: str | None, public: str | None) -> int:
            path = unquote(urlsplit(system or "").path)
            if Path(path).is_file():
                inner = parser.ExternalEntityParserCreate(context)
                inner.Parse(Path(path).read_bytes(), True)
            return 1

        parser.StartElementHandler = lambda name, _: names.append(name)
        parser.EndElementHandler = end
        parser.CharacterDataHandler = text
        parser.ExternalEntityRefHandler = fetch  # type: ignore[assignment]  # no context
        try:
            parser.Parse(body, True)
        except expat.ExpatError:
            raise Malformed(str(fields)[:2_000], "body") from None
        if any(len(value) > 255 or "MARKED" in value for value in fields.values()):
            raise Malformed(str(fields)[:2_000], "body")
        return fields

    assert hasattr(codecs, "read_xml")
    codecs.read_xml = read_xml
    assert hasattr(process, "_refuses_doctype")
    process._refuses_doctype = lambda: True


def json_read_leniently() -> None:
    """Read JSON as the standard library does: NaN, the last of two keys, any depth and size."""
    import json

    from promint.domain.errors import Malformed
    from promint.wire import codecs

    def read_json(body: bytes) -> Any:
        try:
            return json.loads(body)
        except ValueError:
            raise Malformed("no JSON", "body") from None

    assert hasattr(codecs, "read_json")
    codecs.read_json = read_json


def foreign_looked_up_first() -> None:
    """Look a program up before its rights are checked, and take a moment where there is one."""
    from promint.service import Service

    program = Service.program

    async def look_first(self: Service, call: Any, loyalty_id: int) -> Any:
        if await self.store.program(loyalty_id) is not None:
            await asyncio.sleep(WINDOW_S / 10)
        return await program(self, call, loyalty_id)

    _patch(Service, program=look_first)


def requests_logged() -> None:
    """Write a line for each request, as servers do unless they are told not to."""
    import logging

    from promint.web.api import Api

    log = logging.getLogger("access")
    answer = Api.__call__

    async def answer_and_log(self: Api, scope: Any, receive: Any, send: Any) -> None:
        log.warning("POST %s?%s", scope["path"], scope["query_string"].decode("latin-1"))
        await answer(self, scope, receive, send)

    _patch(Api, __call__=answer_and_log)
    from promint import logs

    _patch(logs.CleanFormatter, format=logging.Formatter.format)


def exceptions_logged_whole() -> None:
    """Write exceptions with their texts."""
    import logging

    from promint import logs

    breaks_where_asked()
    _patch(
        logs.CleanFormatter,
        format=logging.Formatter.format,
        formatException=logging.Formatter.formatException,
    )


def answers_with_the_exception() -> None:
    """Tell the caller what went wrong, in full, as a service in debug mode does."""
    import traceback

    from promint.domain.errors import InternalError
    from promint.web.api import Api

    breaks_where_asked()
    render = Api._render

    def render_with_trace(self: Api, error: Any, form: Any, request_id: str) -> Any:
        if isinstance(error, InternalError):
            error.text = f"{error.text} {traceback.format_exc()}"
        return render(self, error, form, request_id)

    _patch(Api, _render=render_with_trace)


def owned_fields_taken() -> None:
    """Take a column of the store from the request, where the caller names it."""
    from promint.wire import shapes

    read = shapes.update_request

    def read_and_take(fields: Any) -> Any:
        request = read(fields)
        if "expires_at" not in fields:
            return request
        return request._replace(changes_expiry=True, expires_at=4_000_000_000_000_000)

    assert hasattr(shapes, "update_request")
    shapes.update_request = read_and_take
