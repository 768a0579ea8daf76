"""The calls of the vendor API: what each reads, which use case it is, how its outcome looks."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from promint.domain.errors import PromintError
from promint.domain.model import ProfileKey, Scope
from promint.service import Call, Service
from promint.service.calls import ImportOutcome
from promint.wire import shapes

PROFILES_MAX = 100_000

Use = Callable[[Service, Call, shapes.Fields], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Operation:
    """One call: who may use it, what it does, and how its outcome looks.

    `writes`: it takes an idempotency key. `is_bulk`: its body may be large. `is_streamed`: its
    outcome is sent while it is read. `in_order`: its XML elements stand in their own order.
    """

    scope: Scope
    use: Use
    shape: Callable[[Any, Call, shapes.Fields], dict[str, Any]]
    writes: bool = False
    is_bulk: bool = False
    is_streamed: bool = False
    in_order: bool = False


async def _get(service: Service, call: Call, fields: shapes.Fields) -> Any:
    loyalty_id = fields.needed_whole("loyalty_id")
    return await service.get(call, loyalty_id, fields.named_code())


async def _activate(service: Service, call: Call, fields: shapes.Fields) -> Any:
    loyalty_id = fields.needed_whole("loyalty_id")
    return await service.activate(call, loyalty_id, fields.named_code())


async def _update(service: Service, call: Call, fields: shapes.Fields) -> Any:
    request = shapes.update_request(fields)
    return await service.update(
        call,
        request.loyalty_id,
        request.code,
        activated=request.activated,
        changes_expiry=request.changes_expiry,
        expires_at=request.expires_at,
    )


async def _attach(service: Service, call: Call, fields: shapes.Fields) -> Any:
    loyalty_id = fields.needed_whole("loyalty_id")
    profile = shapes.profile_key(fields, fields.needed_whole("db_id"))
    fields.flag("return_code")
    return await service.attach(call, loyalty_id, profile, fields.code())


async def _detach(service: Service, call: Call, fields: shapes.Fields) -> Any:
    loyalty_id = fields.needed_whole("loyalty_id")
    profile = shapes.profile_key(fields, fields.needed_whole("db_id"))
    return await service.detach(call, loyalty_id, profile, fields.named_code())


async def _import(service: Service, call: Call, fields: shapes.Fields) -> Any:
    loyalty_id = fields.needed_whole("loyalty_id")
    return await service.import_codes(call, loyalty_id, fields.texts("codes", fields.items_max))


async def _export_all(service: Service, call: Call, fields: shapes.Fields) -> Any:
    return await service.export_all(call, fields.needed_whole("loyalty_id"))


async def _databases_list(service: Service, call: Call, fields: shapes.Fields) -> Any:
    request = shapes.databases_request(fields)
    matching = [
        database
        for database in await service.databases(call)
        if (request.ui_tags is None or set(request.ui_tags) & set(database.ui_tags))
        and (request.groups is None or {name for _, name in database.groups} & set(request.groups))
        and (
            request.groups_id is None
            or {number for number, _ in database.groups} & set(request.groups_id)
        )
    ]
    page = [database for database in matching if database.id >= request.from_id][: request.limit]
    last = page[-1].id if page else request.from_id - 1
    return page, last + 1, len(matching)


async def _databases_get(service: Service, call: Call, fields: shapes.Fields) -> Any:
    return await service.database(call, fields.needed_whole("id"))


def _profile_and_data(fields: shapes.Fields) -> tuple[ProfileKey, dict[str, Any]]:
    database_id = fields.needed_whole("db_id")
    return shapes.profile_key(fields, database_id), shapes.profile_data(fields, database_id)


async def _profiles_import(service: Service, call: Call, fields: shapes.Fields) -> Any:
    key, data = _profile_and_data(fields)
    return await service.profiles.save(call, key, data, creates=True)


async def _profiles_update(service: Service, call: Call, fields: shapes.Fields) -> Any:
    key, data = _profile_and_data(fields)
    return await service.profiles.save(call, key, data, creates=False)


async def _profiles_import_batch(service: Service, call: Call, fields: shapes.Fields) -> Any:
    database_id = fields.needed_whole("db_id")
    items = shapes.batch_items(fields, database_id, PROFILES_MAX)
    return await service.profiles.save_batch(call, database_id, items)


async def _profiles_get(service: Service, call: Call, fields: shapes.Fields) -> Any:
    return await service.profiles.get(
        call, shapes.profile_key(fields, fields.needed_whole("db_id"))
    )


async def _profiles_delete(service: Service, call: Call, fields: shapes.Fields) -> Any:
    key = shapes.profile_key(fields, fields.needed_whole("db_id"))
    return await service.profiles.delete(call, key)


def _import_shape(outcome: ImportOutcome, call: Call, fields: shapes.Fields) -> dict[str, Any]:
    items = (
        (item.code, item.error.number, item.error.message) if item.error else (item.code, 0, "")
        for item in outcome.items
    )
    return shapes.import_answer(
        items,
        inserted=outcome.inserted,
        duplicated=outcome.duplicated,
        discarded=outcome.discarded_by_limit,
    )


def _saved_shape(profile_id: str, call: Call, fields: shapes.Fields) -> dict[str, Any]:
    return {"error": 0, "error_text": shapes.SUCCESS, "profile_id": profile_id}


def _saved_batch_shape(
    saved: Sequence[str | PromintError], call: Call, fields: shapes.Fields
) -> dict[str, Any]:
    result = [
        shapes.failure(one.number, one.message)
        if isinstance(one, PromintError)
        else _saved_shape(one, call, fields)
        for one in saved
    ]
    return {"error": 0, "error_text": shapes.SUCCESS, "result": result}


def _attached_shape(code: str, call: Call, fields: shapes.Fields) -> dict[str, Any]:
    return shapes.success({"code": code} if fields.flag("return_code") else None)


def _data_shape(data: Any, call: Call, fields: shapes.Fields) -> dict[str, Any]:
    return shapes.success(data)


OPERATIONS = {
    "promocodes/import": Operation(
        Scope.CODES_MANAGE, _import, _import_shape, writes=True, is_bulk=True
    ),
    "promocodes/get": Operation(
        Scope.CODES_READ,
        _get,
        lambda code, call, fields: shapes.success(shapes.code_answer(code, call.now)),
    ),
    "promocodes/activate": Operation(Scope.CODES_REDEEM, _activate, _data_shape, writes=True),
    "promocodes/update": Operation(Scope.CODES_MANAGE, _update, _data_shape, writes=True),
    "promocodes/attach": Operation(Scope.CODES_ISSUE, _attach, _attached_shape, writes=True),
    "promocodes/detach": Operation(Scope.CODES_ISSUE, _detach, _data_shape, writes=True),
    "promocodes/export_all": Operation(
        Scope.CODES_READ, _export_all, _data_shape, is_streamed=True
    ),
    "databases/list": Operation(
        Scope.PROFILES,
        _databases_list,
        lambda page, call, fields: shapes.databases_answer(
            page[0], next_from_id=page[1], total=page[2]
        ),
        in_order=True,
    ),
    "databases/get": Operation(
        Scope.PROFILES,
        _databases_get,
        lambda database, call, fields: shapes.success(shapes.database_answer(database)),
    ),
    "profiles/import": Operation(Scope.PROFILES, _profiles_import, _saved_shape, writes=True),
    "profiles/import_batch": Operation(
        Scope.PROFILES, _profiles_import_batch, _saved_batch_shape, writes=True, is_bulk=True
    ),
    "profiles/update": Operation(Scope.PROFILES, _profiles_update, _saved_shape, writes=True),
    "profiles/get": Operation(
        Scope.PROFILES,
        _profiles_get,
        lambda profile, call, fields: shapes.success(shapes.profile_answer(profile)),
    ),
    "profiles/delete": Operation(
        Scope.PROFILES,
        _profiles_delete,
        lambda profile_id, call, fields: shapes.success({"profile_id": profile_id}),
        writes=True,
    ),
}
