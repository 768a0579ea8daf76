"""What the settings of a program and a database can be; which of them can change."""

from typing import Any

import pytest

from promint.domain import programs, rules
from promint.domain.errors import BadValue
from promint.domain.model import ID_MAX, CodeMatching, Database, ExpirySource
from promint.wire.moments import write_moment
from tests.domain.builders import ANN, make_code, make_program
from tests.world import NOON


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"id": 0},
        {"id": 1},
        {"id": ID_MAX},
        {"name": "x" * 255},
        {"short_name": "spring_24"},
        {"code_limit": 1},
        {"attach_limit": 1, "profile_limit": 1, "activation_limit": 1, "lifetime_s": 1},
        {"low_stock": 0},
        {"issue_from": NOON, "issue_until": NOON + 1},
        {"issue_until": NOON},
        {"buckets": 1},
        {"buckets": 4096},
        {"code_matching": CodeMatching.EXACT},
        {"template": "SPRING-{8}"},
        {"template": "{8:[Aa]}", "code_matching": CodeMatching.EXACT},
        {"fields": ("colour", "Shop no. 1", "x" * 64)},
        {"fields": tuple(f"field_{number}" for number in range(50))},
    ],
    ids=str,
)
def test_a_program_can_be_so(settings: dict[str, Any]) -> None:
    program = make_program(**settings)

    assert programs.checked(program) is program


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"id": -1}, "id"),
        ({"id": ID_MAX + 1}, "id"),
        ({"name": ""}, "name"),
        ({"name": " \t"}, "name"),
        ({"name": "x" * 256}, "name"),
        ({"short_name": "two words"}, "short_name"),
        ({"short_name": "spring-24"}, "short_name"),
        ({"short_name": "x" * 256}, "short_name"),
        ({"access_group": "x" * 256}, "access_group"),
        ({"code_limit": 0}, "code_limit"),
        ({"profile_limit": 0}, "profile_limit"),
        ({"attach_limit": 0}, "attach_limit"),
        ({"activation_limit": 0}, "activation_limit"),
        ({"lifetime_s": 0}, "lifetime_s"),
        ({"code_limit": -1}, "code_limit"),
        ({"code_limit": 2**63}, "code_limit"),
        ({"low_stock": -1}, "low_stock"),
        ({"issue_from": NOON, "issue_until": NOON}, "issue_from"),
        ({"issue_from": NOON + 1, "issue_until": NOON}, "issue_from"),
        ({"buckets": 0}, "buckets"),
        ({"buckets": -2}, "buckets"),
        ({"buckets": 3}, "buckets"),
        ({"buckets": 8192}, "buckets"),
        ({"code_matching": "fuzzy"}, "code_matching"),
        ({"template": "SPRING-{8"}, "template"),
        ({"template": "SPRING"}, "template"),
        ({"template": "{8:[Aa]}"}, "template"),
        ({"fields": ("",)}, "fields"),
        ({"fields": (" colour",)}, "fields"),
        ({"fields": ("x" * 65,)}, "fields"),
        ({"fields": ("a\tb",)}, "fields"),
        ({"fields": ("a", "b", "A")}, "fields"),
        ({"fields": ("Expire_Date",)}, "fields"),
        ({"fields": tuple(f"field_{number}" for number in range(51))}, "fields"),
    ],
    ids=str,
)
def test_a_program_cannot_be_so_and_the_setting_is_named(
    settings: dict[str, Any], named: str
) -> None:
    with pytest.raises(BadValue, match=f", {named}$"):
        programs.checked(make_program(**settings))


@pytest.mark.parametrize("lifetime_s", [2**31, 10**11, 10**12, 2**53])
def test_a_lifetime_is_refused_or_ends_at_a_moment_that_can_be_written(lifetime_s: int) -> None:
    try:
        program = programs.checked(make_program(lifetime_s=lifetime_s))
    except BadValue:
        return

    attached = rules.attach(program, make_code(), ANN, NOON)

    assert attached.expiry_source == ExpirySource.LIFETIME
    assert write_moment(attached.expires_at).endswith("Z")


def test_only_the_named_settings_change() -> None:
    program = make_program(code_limit=10, description="old")

    changed = programs.changed(program, {"description": "new", "code_limit": None})

    assert changed == make_program(description="new")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("id", 6),
        ("multiple_usage", True),
        ("code_matching", CodeMatching.EXACT),
        ("buckets", 2),
        ("created_at", 1),
        ("version", 9),
    ],
)
def test_what_the_codes_were_made_under_cannot_change(setting: str, value: object) -> None:
    program = make_program()

    with pytest.raises(BadValue, match=f"fixed when the program was made, {setting}"):
        programs.changed(program, {setting: value})
    assert programs.changed(program, {setting: getattr(program, setting)}) == program


def test_an_unknown_setting_is_refused_by_name() -> None:
    with pytest.raises(BadValue, match="unknown, colour"):
        programs.changed(make_program(), {"colour": "red"})


def test_a_change_is_checked_as_a_new_program_is() -> None:
    with pytest.raises(BadValue, match="issue_from"):
        programs.changed(make_program(issue_from=NOON), {"issue_until": NOON})


@pytest.mark.parametrize("id_", [0, 1, ID_MAX])
def test_a_database_can_be_so(id_: int) -> None:
    programs.check_database(Database(id_, "Customers"))


@pytest.mark.parametrize(
    ("database", "named"),
    [
        (Database(-1, "Customers"), "id"),
        (Database(ID_MAX + 1, "Customers"), "id"),
        (Database(1, ""), "name"),
        (Database(1, "  "), "name"),
    ],
    ids=["negative", "too large", "no name", "blank name"],
)
def test_a_database_cannot_be_so(database: Database, named: str) -> None:
    with pytest.raises(BadValue, match=f", {named}$"):
        programs.check_database(database)


def test_uses_of_a_code_follow_from_kind_and_limit() -> None:
    assert make_program().uses_per_code == 1
    assert make_program(activation_limit=3).uses_per_code == 3
    assert make_program(multiple_usage=True).uses_per_code is None
    assert make_program(multiple_usage=True, activation_limit=3).uses_per_code == 3


def test_a_program_owns_the_shards_of_its_buckets() -> None:
    assert (make_program().first_shard, make_program().last_shard) == (20480, 20480)
    assert make_program(buckets=4096).last_shard == 6 * 4096 - 1
