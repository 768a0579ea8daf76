"""What the service decides by itself cannot be sent to it."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from promint.web.manage.openapi import ENDPOINTS
from tests.conftest import Stores
from tests.promises.proof import Proof, control, promise
from tests.races.builds import build_with
from tests.races.ledger import demand, rows
from tests.running import Running
from tests.web.callers import FORMS, speak
from tests.web.conftest import Shop, make_shop
from tests.web.manage.callers import Manager

GUARD = "tests.promises.faults.guard:"


@pytest.fixture(scope="module")
def host(stores: Stores) -> Iterator[Running]:
    """A service of one process on SQLite: what is refused here never reaches a store."""
    with Running(stores.new("sqlite")) as running:
        yield running


OWNED: dict[str, Any] = {
    "id": 7, "created": "2001-01-01T00:00:00Z", "created_at": 1, "attached": "2001-01-01T00:00:00Z",
    "attached_at": 1, "activated_at": 1, "expires_at": 1, "is_attached": True, "is_activated": True,
    "is_expired": True, "attach_count": 9, "activation_count": 9, "version": 99, "seq": 1,
    "shard_key": 1, "code_key": "X", "batch_id": 1, "token_id": 1, "database_id": 1, "holder": "x",
    "event_id": "00", "request_id": "forged", "author": "forged", "scopes": ["admin"],
    "programs": None, "revoked": None, "now": "2001-01-01T00:00:00Z", "activation_limit": 99,
    "active": True, "multiple_usage": True,
}  # fmt: skip
"""What the service decides by itself; `database_id` and the like are told, never taken."""


@pytest.fixture(scope="module")
def shop(host: Running) -> Shop:
    return make_shop(host)


def rows_of(shop: Shop, code: str) -> list[tuple[Any, ...]]:
    """Return a code's row and its events, without what two codes differ in anyway."""
    url, key = shop.service.url, code.lower()
    codes = rows(
        url,
        "SELECT expires_at, expiry_source, attached_at IS NULL, activated_at IS NULL, "
        "attach_count, activation_count, database_id, profile_id, version, fields, shard_key "
        "FROM promo_code WHERE code_key = $1",
        key,
    )
    events = rows(
        url,
        "SELECT kind, version, database_id, profile_id, attach_count, activation_count, "
        "expires_at, token_id, request_id FROM event WHERE code_key = $1 ORDER BY version, kind",
        key,
    )
    return [*codes, *(event[:-1] for event in events), ("forged" in repr(events),)]


CHANGES: dict[str, dict[str, Any]] = {
    "promocodes/import": {},
    "promocodes/attach": {},
    "promocodes/activate": {},
    "promocodes/update": {"expire_date": "2031-01-01T00:00:00Z"},
    "promocodes/detach": {},
}


@promise(37, store="sqlite")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("call", CHANGES)
def test_a_field_of_the_service_sent_by_a_caller_changes_nothing(
    shop: Shop, call: str, form: str, proof: Proof
) -> None:
    def change(code: str, more: dict[str, Any]) -> list[tuple[Any, ...]]:
        fields = shop.profile(code=code, codes=[code], matching="profile_id", **CHANGES[call])
        sent = {**more, **fields}
        assert speak(shop.service, form, call, sent).error == 0
        return rows_of(shop, code)

    makes = {"promocodes/import": shop.new_code, "promocodes/attach": shop.free_code}
    make = makes.get(call, shop.attached_code)
    plain = change(make(), {})

    assert change(make(), OWNED) == plain
    for name, value in OWNED.items():
        demand(change(make(), {name: value}) == plain, name, "changes what", call, "does")
    proof.trials(len(OWNED), "fields of the service sent")


@promise(37, store="sqlite")
@pytest.mark.parametrize("form", FORMS)
def test_a_profile_keeps_its_own_id_and_dates(shop: Shop, form: str) -> None:
    email = f"owned-{form}@example.com"
    forged = {"id": "f" * 24, "_id": "f" * 24, "created_at": 1, "updated_at": 1, "version": 99}
    fields = {
        "db_id": shop.db_id,
        "matching": "email",
        "email": email,
        **forged,
        "data": {"city": "Oslo"},
    }

    answer = speak(shop.service, form, "profiles/import", fields)

    assert answer.error == 0
    assert answer.tree["profile_id"] != "f" * 24
    (row,) = rows(
        shop.service.url,
        "SELECT created_at, updated_at, version FROM profile WHERE profile_id = $1",
        answer.tree["profile_id"],
    )
    assert min(row[0], row[1]) > 10**15
    assert row[2] == 1


@promise(37, store="sqlite")
def test_the_management_api_refuses_what_is_not_the_caller_s(host: Running, proof: Proof) -> None:
    manager = Manager(host)
    program, database = host.program(["A"]), host.database()
    ids = {"loyalty_id": program, "db_id": database, "code": "A", "profile_id": "a" * 24}
    refused = 0
    for endpoint in ENDPOINTS:
        if endpoint.body is None or endpoint.takes_file:
            continue
        known = {field.encode_name for field in _fields_of(endpoint.body)}
        path = endpoint.path.format_map({**ids, "token_id": 1, "job_id": 1, "batch_id": 1})
        for name, value in OWNED.items():
            if name in known:
                continue
            assert endpoint.example is not None
            body = {**(endpoint.example.body or {}), name: value}
            found = manager.refused(endpoint.method, path, body)
            assert (found["number"], found["field"]) == (400, name), endpoint.name
            refused += 1
    assert refused > 300
    proof.trials(refused, "fields of the service sent")


def _fields_of(shape: Any) -> Any:
    return msgspec.structs.fields(shape)


@control(37, fault="a caller's expiry is taken from a field of the store", store="sqlite")
def test_a_field_that_is_taken_is_found(stores: Stores, proof: Proof) -> None:
    with build_with(GUARD + "owned_fields_taken", stores.new("sqlite")) as host:
        shop = make_shop(host)

        def attempt(_: int) -> None:
            code = shop.attached_code()
            sent = shop.fields(code=code, activated=False)
            assert host.call("promocodes/update", {**sent, **OWNED}).error == 0
            (row,) = rows(
                host.url, "SELECT expires_at FROM promo_code WHERE code_key = $1", code.lower()
            )
            demand(row[0] is None, "a field of the service has set", row[0])

        proof.control(attempt)
