"""Endpoints: codes, one by one and by the page, and what happened to them."""

from typing import Any

from promint.domain import codetext
from promint.domain.errors import (
    ActivationLimitReached,
    AlreadyActivated,
    AlreadyAttached,
    AttachedToOther,
    AttachedToSeveral,
    AttachLimitReached,
    CodeExpired,
    CodeLimitReached,
    CodeNotFound,
    DatabaseNotFound,
    MissingField,
    NoFreeCode,
    NotAttached,
    ProfileAmbiguous,
    ProfileLimitReached,
    ProfileNotFound,
    ProgramInactive,
    ProgramNotFound,
    ProgramOutOfRange,
)
from promint.domain.model import LoyaltyProgram
from promint.service.access import Answered
from promint.service.exporting import CONTENT_TYPES, Exporting
from promint.service.searching import Search
from promint.store import Answer
from promint.store.searching import CodeFilter, Span
from promint.web.manage.endpoints import Asked, Endpoint, Example, Streamed
from promint.wire.manage.codes import (
    AttachTo,
    Code,
    CodeChange,
    CodeHistory,
    CodeNamed,
    CodesFilter,
    CodesQuery,
    DetachFrom,
    ExportQuery,
    HappenedEvent,
    code_shown,
    event_shown,
    holder_of,
    spans_of,
)
from promint.wire.manage.profiles import key_of
from promint.wire.manage.reading import Page, PageQuery, given, moment
from promint.wire.rows import FileFormat


async def list_codes(asked: Asked, loyalty_id: int, query: CodesQuery) -> Page[Code]:
    """Newest first, unless what is searched for has an order of its own.

    Each page comes fast however few codes match: so it may hold fewer than `limit`, even none,
    and still have a `next`.
    """
    program = await asked.program(loyalty_id)
    wanted = await filter_of(asked, program, query)
    found = await Search(asked.means).page(program, wanted, after=query.after, most=query.limit)
    return Page([code_shown(code, asked.now) for code in found.codes], found.next)


async def filter_of(asked: Asked, program: LoyaltyProgram, query: CodesFilter) -> CodeFilter:
    """Return the filter that a request means in a program.

    Raises:
        MissingField, BadValue: something of it cannot be.
        DatabaseNotFound, ProfileNotFound, ProfileAmbiguous: its holder cannot be found.
    """
    profile = holder_of(query)
    if profile is not None:
        await asked.database(profile.database_id)
    return await Search(asked.means).filter(
        program,
        codes=query.code,
        prefix=query.prefix,
        state=query.state,
        batch_id=query.batch_id,
        profile=profile,
        **{name: Span(*span) for name, span in spans_of(query).items()},
    )


async def export_codes(asked: Asked, loyalty_id: int, query: ExportQuery) -> Streamed:
    """A file with state, dates, holder and fields, as of one moment, in order of creation.

    Unless `raw`, no cell starts a formula in a spreadsheet. It can be imported again.
    """
    program = await asked.program(loyalty_id)
    wanted = await filter_of(asked, program, query)
    form = FileFormat(query.format)
    pieces = Exporting(asked.means).export(program, wanted, form, raw=query.raw)
    return Streamed(CONTENT_TYPES[form], f"codes-{loyalty_id}.{form.value}", pieces)


async def show_code(asked: Asked, loyalty_id: int, code: str) -> Code:
    """As it is now."""
    await asked.program(loyalty_id)
    return await _shown(asked, loyalty_id, code)


async def show_history(asked: Asked, loyalty_id: int, code: str) -> CodeHistory:
    """An import is one event of its program; what is known of it here is the code's batch."""
    program = await asked.program(loyalty_id)
    found = await Search(asked.means).history(program, code)
    batch = found.batch
    return CodeHistory(
        code_shown(found.code, asked.now),
        None if batch is None else batch.source,
        None if batch is None else batch.author,
        [event_shown(event) for event in found.events],
    )


async def update_code(asked: Asked, loyalty_id: int, code: str, body: CodeChange) -> Code:
    """Under the rules of `promocodes/update`: what is named changes, an expiry never by itself."""
    changes = given(body)
    if not changes:
        raise MissingField("activated or expire_date")
    await asked.service.update(
        asked.call,
        loyalty_id,
        codetext.clean_code(code),
        activated=changes.get("activated"),
        changes_expiry="expire_date" in changes,
        expires_at=moment(changes.get("expire_date"), "expire_date"),
    )
    return await _shown(asked, loyalty_id, code)


async def attach_code(asked: Asked, loyalty_id: int, body: AttachTo) -> CodeNamed:
    """Under the rules of `promocodes/attach`: the code that is named, or any free one."""
    code = None if body.code is None else codetext.clean_code(body.code)
    key = key_of(body, body.db_id)

    def shape(attached: str) -> CodeNamed:
        return CodeNamed(loyalty_id, attached)

    attached = await asked.service.attach(asked.keyed_call(shape), loyalty_id, key, code)
    return shape(_new(attached))


async def activate_code(asked: Asked, loyalty_id: int, code: str) -> CodeNamed:
    """Use it once, under the rules of `promocodes/activate`."""
    named = CodeNamed(loyalty_id, codetext.clean_code(code))
    call = asked.keyed_call(lambda _: named)
    _new(await asked.service.activate(call, loyalty_id, named.code))
    return named


async def detach_code(asked: Asked, loyalty_id: int, code: str, body: DetachFrom) -> CodeNamed:
    """Take it back from the profile that holds it, under the rules of `promocodes/detach`."""
    named = CodeNamed(loyalty_id, codetext.clean_code(code))
    key = key_of(body, body.db_id)
    call = asked.keyed_call(lambda _: named)
    _new(await asked.service.detach(call, loyalty_id, key, named.code))
    return named


async def list_events(asked: Asked, loyalty_id: int, query: PageQuery) -> Page[HappenedEvent]:
    """Everything that happened in the program, newest first; within a second in any order."""
    program = await asked.program(loyalty_id)
    events, following = await Search(asked.means).events(
        program, after=query.after, most=query.limit
    )
    return Page([event_shown(event) for event in events], following)


async def _shown(asked: Asked, loyalty_id: int, code: str) -> Code:
    clean = codetext.clean_code(code)
    return code_shown(await asked.service.get(asked.call, loyalty_id, clean), asked.now)


def _new(outcome: Any) -> Any:
    """Return an outcome that is not the answer of an earlier request."""
    if isinstance(outcome, Answer):
        raise Answered(outcome)
    return outcome


_PROFILE_ID = "6565a1b2c3d4e5f607182930"
HELD = {
    "code": "SPRING-1",
    "loyalty_id": 1,
    "state": "attached",
    "created": "2026-11-23T09:00:00Z",
    "expire_date": "2027-01-01T00:00:00Z",
    "attached": "2026-11-23T09:00:00Z",
    "activated": None,
    "attach_count": 1,
    "activation_count": 0,
    "db_id": 1,
    "profile_id": _PROFILE_ID,
    "batch_id": None,
    "fields": {},
}
_NEW = {**HELD, "expire_date": None}
_ATTACHED = {
    "at": "2026-11-23T09:00:00Z",
    "kind": "attached",
    "code_key": "spring-1",
    "token_id": 1,
    "request_id": "6b0449155f1d1f110de4edc7",
    "db_id": 1,
    "profile_id": _PROFILE_ID,
    "attach_count": 1,
    "activation_count": 0,
    "activated": None,
    "expire_date": None,
    "details": None,
}
_CREATED = {
    **_ATTACHED,
    "kind": "created",
    "db_id": None,
    "profile_id": None,
    "attach_count": 0,
    "details": {"code": "SPRING-1", "seq": 1},
}
_DETACHED = {
    **_ATTACHED,
    "kind": "detached",
    "attach_count": 0,
    "expire_date": "2027-01-01T00:00:00Z",
}
_EXPORTED = (
    "code,state,created,expire_date,attached,activated,attach_count,activation_count,"
    "database_id,profile_id,batch_id,shop\r\n"
    f"SPRING-1,attached,2026-11-23T09:00:00Z,,2026-11-23T09:00:00Z,,1,0,1,{_PROFILE_ID},,\r\n"
)
_NAMED = {"loyalty_id": 1, "code": "SPRING-1"}
_PROFILE_ERRORS = (DatabaseNotFound, ProfileNotFound, ProfileAmbiguous)

ENDPOINTS = (
    Endpoint(
        "POST",
        "/programs/{loyalty_id}/attach",
        attach_code,
        "Attach a code",
        "Codes",
        errors=(
            *_PROFILE_ERRORS,
            ProgramNotFound,
            CodeNotFound,
            AlreadyAttached,
            NoFreeCode,
            CodeExpired,
            ProgramInactive,
            ProgramOutOfRange,
            CodeLimitReached,
            ProfileLimitReached,
            AttachLimitReached,
        ),
        is_keyed=True,
        example=Example(
            "/programs/1/attach",
            {"db_id": 1, "email": "ann@example.com", "code": "SPRING-1"},
            _NAMED,
        ),
    ),
    Endpoint(
        "GET",
        "/programs/{loyalty_id}/codes",
        list_codes,
        "Search for codes",
        "Codes",
        errors=(ProgramNotFound, *_PROFILE_ERRORS, MissingField),
        example=Example(
            "/programs/1/codes?prefix=spring&state=attached", answer={"items": [_NEW], "next": None}
        ),
    ),
    Endpoint(
        "GET",
        "/programs/{loyalty_id}/export",
        export_codes,
        "Export codes",
        "Codes",
        errors=(ProgramNotFound, *_PROFILE_ERRORS, MissingField),
        gives_file=tuple(CONTENT_TYPES.values()),
        example=Example(
            "/programs/1/export?raw=true&prefix=spring",
            answer=_EXPORTED,
            content_type=CONTENT_TYPES[FileFormat.CSV],
        ),
    ),
    Endpoint(
        "GET",
        "/programs/{loyalty_id}/codes/{code}",
        show_code,
        "Show a code",
        "Codes",
        errors=(ProgramNotFound, CodeNotFound),
        example=Example("/programs/1/codes/spring-1", answer=_NEW),
    ),
    Endpoint(
        "GET",
        "/programs/{loyalty_id}/codes/{code}/history",
        show_history,
        "Show what happened to a code",
        "Codes",
        errors=(ProgramNotFound, CodeNotFound),
        example=Example(
            "/programs/1/codes/SPRING-1/history",
            answer={
                "code": _NEW,
                "source": None,
                "author": None,
                "events": [_CREATED, _ATTACHED],
            },
        ),
    ),
    Endpoint(
        "POST",
        "/programs/{loyalty_id}/codes/{code}/activate",
        activate_code,
        "Activate a code",
        "Codes",
        errors=(
            ProgramNotFound,
            CodeNotFound,
            NotAttached,
            CodeExpired,
            AlreadyActivated,
            ActivationLimitReached,
        ),
        is_keyed=True,
        example=Example("/programs/1/codes/SPRING-1/activate", answer=_NAMED),
    ),
    Endpoint(
        "PATCH",
        "/programs/{loyalty_id}/codes/{code}",
        update_code,
        "Change a code",
        "Codes",
        errors=(
            ProgramNotFound,
            CodeNotFound,
            NotAttached,
            CodeExpired,
            AlreadyActivated,
            ActivationLimitReached,
        ),
        example=Example(
            "/programs/1/codes/SPRING-1",
            {"activated": False, "expire_date": "2027-01-01T00:00:00Z"},
            HELD,
        ),
    ),
)
AFTER_WALLET = (
    Endpoint(
        "POST",
        "/programs/{loyalty_id}/codes/{code}/detach",
        detach_code,
        "Detach a code",
        "Codes",
        errors=(
            ProgramNotFound,
            *_PROFILE_ERRORS,
            CodeNotFound,
            NotAttached,
            AttachedToOther,
            AttachedToSeveral,
            AlreadyActivated,
        ),
        is_keyed=True,
        example=Example(
            "/programs/1/codes/SPRING-1/detach", {"db_id": 1, "email": "ann@example.com"}, _NAMED
        ),
    ),
    Endpoint(
        "GET",
        "/programs/{loyalty_id}/events",
        list_events,
        "List what happened in a program",
        "Codes",
        errors=(ProgramNotFound,),
        example=Example("/programs/1/events?limit=1", answer={"items": [_DETACHED], "next": "…"}),
    ),
)
