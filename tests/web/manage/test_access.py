"""Who may manage: a token with `admin`, and what a narrowed one sees of it."""

import itertools
import json
from dataclasses import dataclass
from typing import Any

import pytest

from promint.domain.model import Scope
from promint.web.manage.endpoints import Endpoint
from promint.web.manage.openapi import ENDPOINTS, OPENAPI
from tests.running import Running
from tests.web.manage.callers import Manager, refusal, token_for

GUARDED = [endpoint for endpoint in ENDPOINTS if endpoint is not OPENAPI]
OF_A_PROGRAM = [endpoint for endpoint in GUARDED if "loyalty_id" in endpoint.in_path]
OF_A_DATABASE = [endpoint for endpoint in GUARDED if "db_id" in endpoint.in_path]
UNKNOWN = 2_000_000_000
NAMES = itertools.count()


def named(endpoint: Endpoint) -> str:
    return endpoint.name


def sent(endpoint: Endpoint, manager: Manager, **in_path: object) -> Any:
    """Send an endpoint's example about these things; return the refusal."""
    assert endpoint.example is not None
    values = {"code": "A", "profile_id": "a" * 24, "kind": "input", "token_id": 1, **in_path}
    path = endpoint.path.format_map(values)
    body = endpoint.example.body
    query = endpoint.example.path.partition("?")[2].replace("db_id=1", "")
    data = body.encode() if isinstance(body, str) else body
    return refusal(manager.send(endpoint.method, f"{path}?{query}", data))


@dataclass
class TwoTenants:
    """Two programs and two databases, and a token that is narrowed to the first of each."""

    everything: Manager
    narrowed: Manager
    mine: int
    theirs: int
    my_db: int
    their_db: int


@pytest.fixture
def tenants(running: Running) -> TwoTenants:
    programs = [running.program(["A"]) for _ in range(2)]
    databases = [running.database() for _ in range(2)]
    token = token_for(running, programs={programs[0]}, databases={databases[0]})
    return TwoTenants(Manager(running), Manager(running, token), *programs, *databases)


@pytest.mark.parametrize("endpoint", GUARDED, ids=named)
def test_no_endpoint_works_without_a_token(running: Running, endpoint: Endpoint) -> None:
    path = endpoint.path.replace("{", "").replace("}", "")

    reply = running.request(endpoint.method, f"/manage/v1{path}")

    assert refusal(reply)["reason"] == "token_required"
    assert reply.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("endpoint", GUARDED, ids=named)
def test_no_endpoint_works_with_every_scope_but_admin(running: Running, endpoint: Endpoint) -> None:
    token = token_for(running, *(scope for scope in Scope if scope is not Scope.ADMIN))
    path = endpoint.path.replace("{", "").replace("}", "")

    found = Manager(running, token).refused(endpoint.method, path)

    assert (found["number"], found["reason"]) == (403, "denied")


def test_a_token_that_is_not_ours_is_refused(running: Running) -> None:
    assert Manager(running, "promint_x").refused("GET", "/programs")["reason"] == "token_invalid"


@pytest.mark.parametrize("endpoint", OF_A_PROGRAM, ids=named)
def test_a_program_outside_of_the_rights_is_answered_as_one_that_is_not_there(
    tenants: TwoTenants, endpoint: Endpoint
) -> None:
    theirs = sent(endpoint, tenants.narrowed, loyalty_id=tenants.theirs)
    unknown = sent(endpoint, tenants.everything, loyalty_id=UNKNOWN)

    assert theirs["reason"] == "program_not_found"
    assert theirs == unknown


@pytest.mark.parametrize("endpoint", OF_A_DATABASE, ids=named)
def test_a_database_outside_of_the_rights_is_answered_as_one_that_is_not_there(
    tenants: TwoTenants, endpoint: Endpoint
) -> None:
    theirs = sent(endpoint, tenants.narrowed, db_id=tenants.their_db)
    unknown = sent(endpoint, tenants.everything, db_id=UNKNOWN)

    assert theirs["reason"] == "database_not_found"
    assert theirs == unknown


@pytest.mark.parametrize("huge", [2**31, 2**53, 2**63, 10**40])
def test_ids_beyond_all_bounds_are_not_there(manager: Manager, huge: int) -> None:
    assert manager.refused("GET", f"/programs/{huge}")["reason"] == "program_not_found"
    assert manager.refused("GET", f"/databases/{huge}")["reason"] == "database_not_found"
    assert manager.refused("GET", f"/batches/{huge}")["reason"] == "batch_not_found"
    assert manager.refused("GET", f"/jobs/{huge}")["reason"] == "job_not_found"
    assert manager.refused("DELETE", f"/tokens/{huge}")["reason"] == "token_not_found"


def test_lists_hold_what_the_token_opens(tenants: TwoTenants) -> None:
    narrowed = tenants.narrowed

    programs = narrowed.ask("GET", "/programs")["items"]
    databases = narrowed.ask("GET", "/databases")["items"]
    batches = narrowed.all_pages("/batches", 1)

    assert [one["loyalty_id"] for one in programs] == [tenants.mine]
    assert [one["db_id"] for one in databases] == [tenants.my_db]
    assert {one["loyalty_id"] for one in batches} == {tenants.mine}


def test_a_batch_of_another_program_is_not_there(tenants: TwoTenants) -> None:
    (batch,) = tenants.everything.ask("GET", f"/batches?loyalty_id={tenants.theirs}")["items"]
    path = f"/batches/{batch['batch_id']}"

    for method, more in (("GET", ""), ("GET", "/undo"), ("POST", "/undo"), ("GET", "/touched")):
        assert tenants.narrowed.refused(method, path + more)["reason"] == "batch_not_found"


def test_a_job_of_another_program_is_not_there(tenants: TwoTenants) -> None:
    job = tenants.everything.ask("POST", f"/programs/{tenants.theirs}/imports", b"X\n")
    path = f"/jobs/{job['job_id']}"

    for method, more in (("GET", ""), ("POST", "/cancel"), ("GET", "/files/input")):
        assert tenants.narrowed.refused(method, path + more)["reason"] == "job_not_found"
    assert tenants.narrowed.ask("GET", "/jobs")["items"] == []


def test_a_wallet_leaves_out_programs_that_the_token_does_not_open(tenants: TwoTenants) -> None:
    everything, db_id = tenants.everything, tenants.my_db
    profile = {"db_id": db_id, "email": "ann@example.com"}
    saved = everything.ask("POST", f"/databases/{db_id}/profiles", {"email": "ann@example.com"})
    for loyalty_id in (tenants.mine, tenants.theirs):
        everything.ask("POST", f"/programs/{loyalty_id}/attach", {**profile, "code": "W"})

    path = f"/databases/{db_id}/profiles/{saved['profile_id']}/codes"
    all_of_it, mine = everything.all_pages(path, 1), tenants.narrowed.all_pages(path, 1)

    assert {one["loyalty_id"] for one in all_of_it} == {tenants.mine, tenants.theirs}
    assert [one["loyalty_id"] for one in mine] == [tenants.mine]


def test_a_holder_in_another_database_cannot_be_searched_for(tenants: TwoTenants) -> None:
    query = f"db_id={tenants.their_db}&email=ann@example.com"

    found = tenants.narrowed.refused("GET", f"/programs/{tenants.mine}/codes?{query}")

    assert found["reason"] == "database_not_found"


def test_rows_of_a_file_name_no_database_outside_of_the_rights(tenants: TwoTenants) -> None:
    everything, narrowed, mine = tenants.everything, tenants.narrowed, tenants.mine
    ann = {"email": "ann@example.com"}
    for db_id in (tenants.my_db, tenants.their_db):
        everything.ask("POST", f"/databases/{db_id}/profiles", ann)
    rows = [f"{ann['email']},{db_id},C-{db_id}" for db_id in (tenants.my_db, tenants.their_db)]
    file = "\n".join(["email,db_id,code", *rows]).encode()
    attachments = f"/programs/{mine}/attachments"

    preview = narrowed.ask("POST", f"{attachments}/preview", file)
    jobs = [
        narrowed.ended(narrowed.ask("POST", path, file)["job_id"])
        for path in (attachments, f"/programs/{mine}/imports")
    ]

    assert [one["refused"] for one in preview["sample"]] == ["", "database_not_found"]
    assert (jobs[0]["result"]["counts"]["changed"], jobs[1]["result"]["unusable"]) == (1, 1)
    held = everything.all_pages(f"/programs/{mine}/codes?state=attached", 10)
    assert {one["db_id"] for one in held} == {tenants.my_db}


def test_a_narrowed_token_makes_nothing_that_it_could_not_see(tenants: TwoTenants) -> None:
    narrowed = tenants.narrowed

    assert narrowed.refused("POST", "/programs", {"name": "New"})["reason"] == "denied"
    assert narrowed.refused("POST", "/databases", {"name": "New"})["reason"] == "denied"
    clone = narrowed.refused("POST", f"/programs/{tenants.mine}/clone", {})
    assert clone["reason"] == "denied"


@pytest.mark.parametrize("wider", ["all", "more", "databases"])
def test_a_narrowed_token_makes_no_wider_one(tenants: TwoTenants, wider: str) -> None:
    asked = {
        "all": {"databases": [tenants.my_db]},
        "more": {"programs": [tenants.mine, tenants.theirs], "databases": [tenants.my_db]},
        "databases": {"programs": [tenants.mine]},
    }[wider]

    found = tenants.narrowed.refused(
        "POST", "/tokens", {"name": f"wide-{next(NAMES)}", "scopes": ["admin"], **asked}
    )

    assert found["reason"] == "denied"


def test_a_narrowed_token_sees_and_revokes_tokens_within_its_rights_only(
    tenants: TwoTenants,
) -> None:
    within = {"programs": [tenants.mine], "databases": [tenants.my_db]}
    made = tenants.narrowed.ask(
        "POST", "/tokens", {"name": f"till-{next(NAMES)}", "scopes": ["codes:read"], **within}
    )
    others = tenants.everything.ask(
        "POST", "/tokens", {"name": f"other-{next(NAMES)}", "scopes": ["codes:read"]}
    )

    seen = {one["token_id"] for one in tenants.narrowed.all_pages("/tokens", 2)}
    assert made["token_id"] in seen
    assert others["token_id"] not in seen
    path = f"/tokens/{others['token_id']}"
    assert tenants.narrowed.refused("DELETE", path)["reason"] == "token_not_found"

    tenants.narrowed.ask("DELETE", f"/tokens/{made['token_id']}")
    again = tenants.narrowed.refused("DELETE", f"/tokens/{made['token_id']}")
    assert again["reason"] == "token_not_found"


def test_the_secret_of_a_token_is_shown_once_and_works(running: Running) -> None:
    manager = Manager(running)
    name = f"shown-{next(NAMES)}"
    made = manager.ask("POST", "/tokens", {"name": name, "scopes": ["admin"]})

    assert Manager(running, made["token"]).ask("GET", "/programs?limit=1")
    listed = [one for one in manager.all_pages("/tokens", 500) if one["name"] == name]
    assert len(listed) == 1
    assert made["token"] not in json.dumps(listed)
    again = manager.refused("POST", "/tokens", {"name": name, "scopes": ["admin"]})
    assert (again["number"], again["reason"]) == (409, "duplicate")


@pytest.mark.parametrize("huge", [2**31, 2**53, 10**18 - 1])
def test_lists_after_ids_beyond_all_bounds_are_answered(manager: Manager, huge: int) -> None:
    program = manager.service.program(["A"])

    for path in ("/jobs", "/batches", f"/batches?loyalty_id={program}", "/programs", "/databases"):
        page = manager.ask("GET", f"{path}{'&' if '?' in path else '?'}after={huge}")
        assert page["next"] is None
    assert manager.refused("GET", f"/programs/{program}/codes?batch_id={huge}")["number"] == 400
