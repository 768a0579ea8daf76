"""Endpoints: programs."""

from typing import Any

from promint.domain.errors import Duplicate, ProgramNotFound
from promint.domain.model import LoyaltyProgram
from promint.service.administration import ProgramFilter
from promint.web.manage.endpoints import Asked, Endpoint, Example
from promint.web.manage.paging import page_by_id
from promint.wire.manage.programs import (
    NewProgram,
    Program,
    ProgramChange,
    ProgramClone,
    ProgramsQuery,
    ShownProgram,
    program_values,
    settings_of,
)
from promint.wire.manage.reading import Page

FREE_COUNTED_MAX = 10_000


def shown(program: LoyaltyProgram) -> Program:
    """Return what an answer says of a program."""
    return Program(**program_values(program))


async def list_programs(asked: Asked, query: ProgramsQuery) -> Page[Program]:
    """By id."""
    wanted = ProgramFilter(query.active, query.archived, query.kind, query.name, query.access_group)
    opened = asked.call.token.opens_program
    found = [program for program in await asked.means.store.programs() if opened(program.id)]
    page, following = page_by_id(
        wanted.chosen(found), query.after, query.limit, lambda program: program.id
    )
    return Page([shown(program) for program in page], following)


async def create_program(asked: Asked, body: NewProgram) -> Program:
    """A token that is narrowed to some programs makes none."""
    asked.check_sees_all(asked.call.token.programs)
    wanted = LoyaltyProgram(**{"id": 0, **settings_of(body)})
    return shown(await asked.administration().create_program(wanted, asked.once(shown)))


async def show_program(asked: Asked, loyalty_id: int) -> ShownProgram:
    """With the number of its codes."""
    program = await asked.program(loyalty_id)
    counts = await asked.means.store.code_counts([program])
    free = await asked.means.store.free_codes(program, asked.now, FREE_COUNTED_MAX)
    return ShownProgram(**program_values(program), codes=counts[program.id], free=free)


async def update_program(asked: Asked, loyalty_id: int, body: ProgramChange) -> Program:
    """It holds for every process within a second."""
    return await _changed(asked, loyalty_id, settings_of(body))


async def clone_program(asked: Asked, loyalty_id: int, body: ProgramClone) -> Program:
    """Its settings, none of its codes. A token that is narrowed to some programs makes none."""
    asked.check_program(loyalty_id)
    asked.check_sees_all(asked.call.token.programs)
    settings = settings_of(body)
    made = await asked.administration().clone_program(loyalty_id, settings, asked.once(shown))
    return shown(made)


async def activate_program(asked: Asked, loyalty_id: int) -> Program:
    """Let codes be attached from it."""
    return await _changed(asked, loyalty_id, {"active": True})


async def deactivate_program(asked: Asked, loyalty_id: int) -> Program:
    """Attach no more codes from it. Those attached already stay good."""
    return await _changed(asked, loyalty_id, {"active": False})


async def archive_program(asked: Asked, loyalty_id: int) -> Program:
    """Switch it off and hide it from lists. Its codes and their history stay."""
    asked.check_program(loyalty_id)
    return shown(await asked.administration().archive_program(loyalty_id))


async def unarchive_program(asked: Asked, loyalty_id: int) -> Program:
    """Show it in lists again. It stays off until it is activated."""
    asked.check_program(loyalty_id)
    return shown(await asked.administration().unarchive_program(loyalty_id))


async def _changed(asked: Asked, loyalty_id: int, settings: dict[str, Any]) -> Program:
    asked.check_program(loyalty_id)
    return shown(await asked.administration().update_program(loyalty_id, settings))


_SPRING = {
    "loyalty_id": 1,
    "name": "Spring",
    "short_name": "",
    "description": "",
    "access_group": "",
    "active": True,
    "archived": False,
    "issue_from": None,
    "issue_until": "2027-06-01T00:00:00Z",
    "multiple_usage": False,
    "code_limit": 500,
    "profile_limit": 2,
    "attach_limit": None,
    "activation_limit": None,
    "creates_on_attach": True,
    "template": "",
    "lifetime_s": None,
    "default_expire_date": None,
    "code_matching": "forgiving",
    "low_stock": None,
    "time_zone": "UTC",
    "fields": ["shop"],
    "buckets": 1,
    "created": "2026-11-23T09:00:00Z",
    "limits": "each code 1 time; one profile at most 2 codes of this program; 500 codes in all",
}
_RAISED = {
    **_SPRING,
    "issue_until": None,
    "code_limit": 1000,
    "limits": "each code 1 time; one profile at most 2 codes of this program; 1,000 codes in all",
}
_OFF = {**_RAISED, "active": False}
_SUMMER = {**_RAISED, "loyalty_id": 2, "name": "Summer"}
_ARCHIVED = {**_SUMMER, "active": False, "archived": True}

ENDPOINTS = (
    Endpoint(
        "POST",
        "/programs",
        create_program,
        "Make a program",
        "Programs",
        status=201,
        errors=(Duplicate,),
        is_keyed=True,
        example=Example(
            "/programs",
            {
                "name": "Spring",
                "code_limit": 500,
                "profile_limit": 2,
                "issue_until": "2027-06-01T02:00:00+02:00",
                "fields": ["shop"],
            },
            _SPRING,
        ),
    ),
    Endpoint(
        "GET",
        "/programs",
        list_programs,
        "List programs",
        "Programs",
        example=Example(
            "/programs?kind=personal&name=spr", answer={"items": [_SPRING], "next": None}
        ),
    ),
    Endpoint(
        "GET",
        "/programs/{loyalty_id}",
        show_program,
        "Show a program",
        "Programs",
        errors=(ProgramNotFound,),
        example=Example("/programs/1", answer={**_SPRING, "codes": 0, "free": 0}),
    ),
    Endpoint(
        "PATCH",
        "/programs/{loyalty_id}",
        update_program,
        "Change a program",
        "Programs",
        errors=(ProgramNotFound,),
        example=Example("/programs/1", {"code_limit": 1000, "issue_until": None}, _RAISED),
    ),
    Endpoint(
        "POST",
        "/programs/{loyalty_id}/clone",
        clone_program,
        "Copy a program",
        "Programs",
        status=201,
        errors=(ProgramNotFound, Duplicate),
        is_keyed=True,
        example=Example("/programs/1/clone", {"name": "Summer"}, _SUMMER),
    ),
    Endpoint(
        "POST",
        "/programs/{loyalty_id}/deactivate",
        deactivate_program,
        "Switch a program off",
        "Programs",
        errors=(ProgramNotFound,),
        example=Example("/programs/1/deactivate", answer=_OFF),
    ),
    Endpoint(
        "POST",
        "/programs/{loyalty_id}/activate",
        activate_program,
        "Switch a program on",
        "Programs",
        errors=(ProgramNotFound,),
        example=Example("/programs/1/activate", answer=_RAISED),
    ),
    Endpoint(
        "POST",
        "/programs/{loyalty_id}/archive",
        archive_program,
        "Archive a program",
        "Programs",
        errors=(ProgramNotFound,),
        example=Example("/programs/2/archive", answer=_ARCHIVED),
    ),
    Endpoint(
        "POST",
        "/programs/{loyalty_id}/unarchive",
        unarchive_program,
        "Take a program out of the archive",
        "Programs",
        errors=(ProgramNotFound,),
        example=Example("/programs/2/unarchive", answer={**_ARCHIVED, "archived": False}),
    ),
)
