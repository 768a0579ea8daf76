"""Programs archived and listed, databases changed, profiles kept, by command."""

import json

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from promint.web.manage.openapi import document
from tests.commands.running_commands import Promint


def made(promint: Promint, *options: object) -> int:
    return int(promint.json("program", "create", "--name", "Spring", *options)["loyalty_id"])


def listed(promint: Promint, *options: object) -> list[int]:
    programs = promint.json("program", "list", *options)["programs"]
    return [program["loyalty_id"] for program in programs]


def test_an_archived_program_is_off_and_hidden(promint: Promint) -> None:
    program = made(promint)

    archived = promint.json("program", "archive", program)

    assert (archived["archived"], archived["active"]) == (True, False)
    assert listed(promint) == []
    assert listed(promint, "--archived") == [program]
    refused = promint.run("program", "activate", program)
    assert refused.code == 1
    assert "archived" in refused.err

    assert promint.json("program", "unarchive", program)["active"] is False
    assert listed(promint) == [program]
    assert promint("program", "activate", program).out == f"Activated program {program}: Spring\n"


def test_programs_are_listed_by_what_is_asked_for(promint: Promint) -> None:
    personal = made(promint, "--access-group", "shop")
    universal = made(promint, "--multiple-usage", "--no-active")

    assert listed(promint) == [personal, universal]
    assert listed(promint, "--kind", "universal") == [universal]
    assert listed(promint, "--active") == [personal]
    assert listed(promint, "--no-active") == [universal]
    assert listed(promint, "--name", "SPRI") == [personal, universal]
    assert listed(promint, "--name", "other") == []
    assert listed(promint, "--access-group", "shop") == [personal]


def test_a_program_is_shown_with_its_limits_as_a_sentence(promint: Promint) -> None:
    program = made(promint, "--code-limit", 500, "--profile-limit", 2)

    values = promint.json("program", "show", program)

    limits = "each code 1 time; one profile at most 2 codes of this program; 500 codes in all"
    assert values["limits"] == limits
    assert "first_version" not in values


def test_a_copy_of_an_archived_program_is_not_archived(promint: Promint) -> None:
    program = made(promint)
    promint("program", "archive", program)

    copy = promint.json("program", "clone", program)["loyalty_id"]

    assert promint.json("program", "show", copy)["archived"] is False


def test_a_database_is_changed_by_the_named_settings_only(promint: Promint) -> None:
    database = promint.json("database", "create", "--name", "Shop", "--ui-tag", "a")["db_id"]
    before = promint.json("database", "show", database)

    after = promint.json("database", "update", database, "--creates-profiles", "--group", "7:G")

    assert after == {**before, "creates_profiles": True, "groups": ["7:G"]}
    assert promint.json("database", "show", database) == after
    assert promint.run("database", "show", 99).err == "Database not found (99).\n"


def test_a_profile_is_made_found_changed_and_deleted(promint: Promint) -> None:
    db = ("--db", promint.json("database", "create", "--name", "Shop")["db_id"])
    data = json.dumps({"city": "Oslo", "age": 40})

    saved = promint.json("profile", "create", *db, "--email", "ann@example.com", "--data", data)

    number = saved["profile_id"]
    shown = promint.json("profile", "show", number, *db)
    assert shown["data"] == {"email": "ann@example.com", "city": "Oslo", "age": 40}
    assert promint.json("profile", "find", *db, "--email", "ANN@example.com") == shown
    assert promint.json("profile", "find", *db, "--field", "city=Oslo") == shown
    promint("profile", "update", number, *db, "--data", '{"city": null, "age": 41}')
    changed = promint.json("profile", "show", number, *db)["data"]
    assert changed == {"email": "ann@example.com", "age": 41}
    assert promint("profile", "delete", number, *db).out == f"Deleted profile {number}\n"
    assert promint.run("profile", "show", number, *db).err == "Profile not found.\n"


@pytest.mark.parametrize("data", ["x", "[]", '{"email": 5}'])
def test_data_that_cannot_be_is_refused(promint: Promint, data: str) -> None:
    db = promint.json("database", "create", "--name", "Shop")["db_id"]

    said = promint.run("profile", "create", "--db", db, "--email", "a@b.c", "--data", data)

    assert said.code != 0


def test_the_document_is_printed(promint: Promint) -> None:
    printed = json.loads(promint.run("openapi").out)

    OpenAPIV31SpecValidator(printed).validate()
    assert printed == json.loads(json.dumps(document()))


def test_what_happened_is_listed_for_a_code_and_for_its_program(promint: Promint) -> None:
    program = made(promint, "--template", "{12}")
    promint.import_codes(program, "A\n")
    promint(
        "codes", "change", "--program", program, "--all", "--expire-date", "2030-01-01", "--yes"
    )

    history = promint.json("codes", "history", "a", "--program", program)["history"]
    events = promint.json("program", "events", program)
    first = promint.json("program", "events", program, "--limit", 1)
    rest = promint.json("program", "events", program, "--after", first["next"])
    said = promint("program", "events", program, "--limit", 1).out

    assert [one["what"] for one in history] == ["imported", "updated"]
    # Within one second those of several commands come in any order.
    about = {one["what"]: one["details"] for one in events["events"]}
    assert set(about) == {"updated", "imported", "program_created"}
    assert about["updated"]["batch_id"] == 2
    assert first["events"] + rest["events"] == events["events"]
    assert f"More with --after {first['next']}" in said
    assert promint.run("codes", "history", "B", "--program", program).code == 1
    assert promint.run("program", "events", 99).code == 1


def test_an_update_without_a_setting_is_no_update(promint: Promint) -> None:
    said = promint.run("program", "update", made(promint))

    assert said.code == 2
    assert "Name a setting to change." in said.err


def test_look_alikes_are_not_said_to_be_none_where_nobody_looked(promint: Promint) -> None:
    program = made(promint)
    how = ("--format", "txt", "--encoding", "utf-8", "--delimiter", "comma")
    file = ("codes", "import", __file__, "--program", program, *how)

    assert promint.json(*file, "--dry-run")["look_alikes"] == 0
    assert promint.json(*file)["look_alikes"] is None
    assert "look-alikes" not in promint(*file).out
