"""Programs, databases, profiles and tokens over the management API."""

import itertools
from typing import Any

import pytest

from promint.domain.model import LoyaltyProgram
from promint.wire.manage.programs import Program, ProgramSettings
from tests.running import Running
from tests.web.manage.callers import Manager

NAMES = (f"Program {number}" for number in itertools.count())
EVERY_SETTING: dict[str, Any] = {
    "short_name": "spring",
    "description": "Two lines\nof it",
    "access_group": "marketing",
    "active": False,
    "issue_from": "2026-01-01T00:00:00.123456Z",
    "issue_until": "2027-01-01T00:00:00Z",
    "multiple_usage": True,
    "code_limit": 10,
    "profile_limit": 2,
    "attach_limit": 3,
    "activation_limit": 4,
    "creates_on_attach": False,
    "template": "S-{8}",
    "lifetime_s": 86400,
    "default_expire_date": "2028-01-01T00:00:00Z",
    "code_matching": "exact",
    "low_stock": 5,
    "time_zone": "Europe/Moscow",
    "fields": ["shop", "Лавка"],
    "buckets": 4,
}


def made(manager: Manager, **settings: Any) -> dict[str, Any]:
    program: dict[str, Any] = manager.ask("POST", "/programs", {"name": next(NAMES), **settings})
    return program


def test_every_setting_of_the_contract_can_be_given_and_is_shown() -> None:
    settings = set(LoyaltyProgram.__dataclass_fields__) - {
        "id",
        "name",
        "archived",
        "first_version",
        "created_at",
        "version",
    }

    assert set(ProgramSettings.__struct_fields__) == settings == set(EVERY_SETTING)
    assert settings < set(Program.__struct_fields__)


def test_a_program_is_made_with_every_setting(manager: Manager) -> None:
    program = made(manager, **EVERY_SETTING)

    assert {name: program[name] for name in EVERY_SETTING} == EVERY_SETTING
    shown = manager.ask("GET", f"/programs/{program['loyalty_id']}")
    assert shown == {**program, "codes": 0, "free": 0}


def test_a_setting_that_is_not_named_has_its_default(manager: Manager) -> None:
    program = made(manager)

    assert program["active"] is True
    assert program["issue_from"] is None
    assert program["fields"] == []


def test_the_id_can_be_chosen_once(manager: Manager) -> None:
    taken = made(manager)["loyalty_id"]

    found = manager.refused("POST", "/programs", {"name": "Again", "loyalty_id": taken})

    assert (found["number"], found["reason"]) == (409, "duplicate")


def test_a_change_touches_the_named_settings_only(manager: Manager) -> None:
    program = made(manager, **EVERY_SETTING)

    after = manager.ask("PATCH", f"/programs/{program['loyalty_id']}", {"code_limit": 20})

    assert {**after, "limits": ""} == {**program, "code_limit": 20, "limits": ""}


@pytest.mark.parametrize(
    "name",
    [name for name, value in EVERY_SETTING.items() if name not in ("attach_limit", "low_stock")],
)
def test_null_removes_a_setting_or_is_refused_where_there_must_be_one(
    manager: Manager, name: str
) -> None:
    program = made(manager, **EVERY_SETTING)
    path = f"/programs/{program['loyalty_id']}"
    needed = {"active", "multiple_usage", "creates_on_attach", "code_matching", "time_zone"}

    reply = manager.send("PATCH", path, {name: None})

    if name in needed | {"buckets"}:
        assert (reply.status, reply.json["error"]["field"]) == (400, name)
    else:
        assert reply.json[name] in (None, "", [])


@pytest.mark.parametrize("name", ["multiple_usage", "code_matching", "buckets"])
def test_what_is_fixed_may_only_stay(manager: Manager, name: str) -> None:
    program = made(manager)
    path = f"/programs/{program['loyalty_id']}"

    assert manager.ask("PATCH", path, {name: program[name]}) == program
    found = manager.refused("PATCH", path, {name: EVERY_SETTING[name]})
    assert (found["field"], found["reason"]) == (name, "bad_value")


@pytest.mark.parametrize("name", ["first_version", "version", "created_at", "archived", "id"])
def test_what_is_no_setting_is_refused(manager: Manager, name: str) -> None:
    path = f"/programs/{made(manager)['loyalty_id']}"

    found = manager.refused("PATCH", path, {name: 1})

    assert found["message"] == f"Incorrect request: unknown, {name}"
    assert found["field"] == name


@pytest.mark.parametrize(
    "moment",
    [
        "2027-01-01",
        "2027-01-01T00:00:00",
        "01.01.2027",
        "2027-02-30T00:00:00Z",
        "2027-01-01 00:00:00Z",
        "",
        0,
    ],
)
def test_a_date_without_time_and_zone_is_refused(manager: Manager, moment: object) -> None:
    found = manager.refused("POST", "/programs", {"name": "Late", "issue_until": moment})

    assert (found["number"], found["field"]) == (400, "issue_until")


def test_a_time_zone_that_does_not_exist_is_refused(manager: Manager) -> None:
    for zone in ("Mars/Olympus", "../etc/passwd", "", "europe"):
        found = manager.refused("POST", "/programs", {"name": "Far", "time_zone": zone})
        assert found["field"] == "time_zone"


def test_a_copy_has_the_settings_and_no_codes(running: Running, manager: Manager) -> None:
    original = running.program(["A", "B"], profile_limit=7)

    copy = manager.ask("POST", f"/programs/{original}/clone")

    assert copy["loyalty_id"] != original
    assert copy["profile_limit"] == 7
    assert copy["name"].endswith("(copy)")
    assert manager.ask("GET", f"/programs/{copy['loyalty_id']}")["codes"] == 0
    assert manager.ask("GET", f"/programs/{original}")["codes"] == 2


def test_an_archived_program_is_off_and_hidden_and_keeps_its_codes(
    running: Running, manager: Manager
) -> None:
    loyalty_id = running.program(["A"], name="Archive me")
    path = f"/programs/{loyalty_id}"

    archived = manager.ask("POST", f"{path}/archive")

    assert (archived["archived"], archived["active"]) == (True, False)
    assert loyalty_id not in ids(manager, "/programs?name=archive")
    assert loyalty_id in ids(manager, "/programs?name=archive&archived=true")
    assert manager.ask("GET", f"{path}/codes/A")["state"] == "free"
    refused = manager.refused("POST", f"{path}/activate")
    assert (refused["number"], refused["field"]) == (400, "active")

    back = manager.ask("POST", f"{path}/unarchive")
    assert (back["archived"], back["active"]) == (False, False)
    assert manager.ask("POST", f"{path}/activate")["active"] is True
    copy = manager.ask("POST", f"{path}/archive") and manager.ask("POST", f"{path}/clone")
    assert copy["archived"] is False


def ids(manager: Manager, path: str) -> list[int]:
    return [one["loyalty_id"] for one in manager.all_pages(path, 3)]


def test_the_list_is_filtered_and_comes_in_pages(running: Running, manager: Manager) -> None:
    group = f"group {next(NAMES)}"
    personal = [running.program(access_group=group) for _ in range(4)]
    universal = running.program(access_group=group, multiple_usage=True, active=False)
    path = f"/programs?access_group={group.replace(' ', '%20')}"

    assert ids(manager, path) == [*personal, universal]
    assert ids(manager, f"{path}&kind=personal") == personal
    assert ids(manager, f"{path}&kind=universal") == [universal]
    assert ids(manager, f"{path}&active=false") == [universal]
    assert ids(manager, f"{path}&name=TES") == [*personal, universal]
    assert ids(manager, f"{path}&name=other") == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("limit=x", "limit"),
        ("limit=1&limit=2", "limit"),
        ("after=x", "after"),
        ("after=-1", "after"),
        ("active=perhaps", "active"),
        ("kind=other", "kind"),
        ("colour=red", "colour"),
        ("name=%00", "name"),
        ("name=%ff", "query"),
    ],
)
def test_a_query_that_cannot_be_names_its_parameter(
    manager: Manager, query: str, field: str
) -> None:
    found = manager.refused("GET", f"/programs?{query}")

    assert (found["number"], found["field"]) == (400, field)


# -- databases and profiles ----------------------------------------------------------------


def test_a_database_is_changed_by_the_named_settings_only(manager: Manager) -> None:
    database = manager.ask(
        "POST", "/databases", {"name": "Shop", "ui_tags": ["a"], "description": "Ours"}
    )
    path = f"/databases/{database['db_id']}"

    after = manager.ask(
        "PATCH", path, {"creates_profiles": True, "groups": [{"id": 7, "name": "G"}]}
    )

    groups = [{"id": 7, "name": "G"}]
    assert after == {**database, "creates_profiles": True, "groups": groups}
    assert manager.ask("GET", path) == after
    bare = manager.ask("PATCH", path, {"ui_tags": None, "description": None, "groups": None})
    assert (bare["ui_tags"], bare["description"], bare["groups"]) == ([], "", database["groups"])


def test_what_is_wrong_inside_a_list_is_named_with_its_place(manager: Manager) -> None:
    groups = [{"id": 0, "name": "main"}, {"id": 1, "name": "x", "colour": "red"}]

    found = manager.refused("POST", "/databases", {"name": "Shop", "groups": groups})

    assert found["field"] == "groups[1].colour"


def test_a_profile_is_made_found_changed_and_deleted(running: Running, manager: Manager) -> None:
    path = f"/databases/{running.database()}/profiles"
    data = {"email": "Ann@Example.com", "phones": ["+1 555"], "city": "Oslo", "age": 40}

    saved = manager.ask("POST", path, {"data": data})

    one = f"{path}/{saved['profile_id']}"
    shown = manager.ask("GET", one)
    assert shown["data"] == {**data, "email": shown["data"]["email"]}
    for query in ("email=ann@example.com", "phone=1555", "field_name=city&field_value=Oslo"):
        assert manager.ask("GET", f"{path}?{query}") == {"items": [shown], "next": None}
    assert manager.ask("GET", f"{path}?email=bob@example.com")["items"] == []
    changed = manager.ask("PATCH", one, {"data": {"city": None, "age": 41}})
    assert changed["data"] == {**{k: v for k, v in shown["data"].items() if k != "city"}, "age": 41}
    assert manager.ask("DELETE", one) == saved
    assert manager.refused("GET", one)["reason"] == "profile_not_found"


def test_a_profile_that_is_there_is_changed(running: Running, manager: Manager) -> None:
    path = f"/databases/{running.database()}/profiles"
    first = manager.ask("POST", path, {"email": "ann@example.com"})

    second = manager.ask("POST", path, {"email": "ANN@example.com", "data": {"city": "Oslo"}})

    assert second == first
    assert manager.ask("GET", f"{path}/{first['profile_id']}")["data"]["city"] == "Oslo"


def test_a_profile_without_a_name_is_refused(running: Running, manager: Manager) -> None:
    path = f"/databases/{running.database()}/profiles"

    assert manager.refused("POST", path, {"data": {"city": "Oslo"}})["reason"] == "missing_field"
    assert manager.refused("GET", path)["reason"] == "missing_field"
    assert manager.refused("PATCH", f"{path}/{'a' * 24}", {})["field"] == "data"


def test_an_email_belongs_to_one_profile(running: Running, manager: Manager) -> None:
    path = f"/databases/{running.database()}/profiles"
    manager.ask("POST", path, {"email": "ann@example.com"})
    other = manager.ask("POST", path, {"email": "bob@example.com"})

    found = manager.refused(
        "PATCH", f"{path}/{other['profile_id']}", {"data": {"email": "ann@example.com"}}
    )

    assert (found["number"], found["reason"]) == (409, "duplicate")


# -- idempotency ---------------------------------------------------------------------------


def test_one_key_makes_one_program_and_gets_one_answer(manager: Manager) -> None:
    name = next(NAMES)
    key = f"key-{name}".replace(" ", "-")

    first = manager.send("POST", "/programs", {"name": name}, idempotency_key=key)
    again = manager.send("POST", "/programs", {"name": name}, idempotency_key=key)
    other = manager.refused("POST", "/programs", {"name": "Other"}, idempotency_key=key)

    assert (first.status, first.body) == (again.status, again.body)
    assert other["reason"] == "idempotency_mismatch"
    listed = [one for one in manager.all_pages("/programs", 500) if one["name"] == name]
    assert len(listed) == 1


def test_a_refusal_is_kept_for_its_key_as_well(manager: Manager) -> None:
    taken = made(manager)["loyalty_id"]
    body = {"name": "Again", "loyalty_id": taken}
    key = f"refused-{taken}"

    first = manager.send("POST", "/programs", body, idempotency_key=key)
    again = manager.send("POST", "/programs", body, idempotency_key=key)

    assert first.status == 409
    assert (first.status, first.body) == (again.status, again.body)


def test_a_key_works_for_databases_profiles_copies_and_codes(
    running: Running, manager: Manager
) -> None:
    loyalty_id, db_id = running.program(["A"]), running.database()
    ann = {"email": "ann@example.com"}
    requests = [
        ("/databases", {"name": "Once"}),
        (f"/databases/{db_id}/profiles", ann),
        (f"/programs/{loyalty_id}/clone", {"name": "Once"}),
        (f"/programs/{loyalty_id}/attach", {**ann, "db_id": db_id}),
        (f"/programs/{loyalty_id}/codes/A/activate", None),
    ]
    for number, (path, body) in enumerate(requests):
        key = f"once-{loyalty_id}-{number}"
        replies = [manager.send("POST", path, body, idempotency_key=key) for _ in range(2)]
        assert 200 <= replies[0].status < 300, replies[0]
        assert replies[0].body == replies[1].body, path


def test_a_key_that_is_none_is_refused(manager: Manager) -> None:
    found = manager.refused("POST", "/programs", {"name": "N"}, idempotency_key="a b")

    assert found["field"] == "Idempotency-Key"
