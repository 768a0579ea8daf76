"""Every command of contract section 6, for people and with --json, on both stores."""

import json
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import pytest

from promint.cli import main
from promint.config import Settings
from promint.domain.model import ID_MAX, LoyaltyProgram, Scope
from tests.commands.running_commands import Promint, in_a_process
from tests.running import Running

# -- help ----------------------------------------------------------------------------------


def all_commands(group: click.Group, *names: str) -> Iterator[tuple[str, ...]]:
    yield names
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from all_commands(command, *names, name)
        else:
            yield (*names, name)


@pytest.mark.parametrize("command", list(all_commands(main)), ids=" ".join)
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_every_command_says_what_it_does(command: tuple[str, ...], option: str) -> None:
    said = Promint("sqlite:///unused.db")(*command, option)

    lines = said.out.splitlines()
    assert lines[0].startswith("Usage: ")
    assert re.match(r"  [A-Z].+[.:]", lines[2]), lines[2]
    assert not Path("unused.db").exists()


def test_the_commands_of_the_contract_are_there() -> None:
    expected = {
        "demo", "serve", "migrate", "settings",
        "token create", "token list", "token revoke",
        "program create", "program list", "program show", "program update", "program clone",
        "program activate", "program deactivate",
        "database create", "database list", "codes import", "codes show",
    }  # fmt: skip

    assert expected <= {" ".join(command) for command in all_commands(main)}


def test_the_version_is_said() -> None:
    assert re.fullmatch(r"promint, version \d+\.\d+\.\d+\n", Promint("")("--version").out)


def test_options_of_all_commands_may_stand_before_or_after_the_command(promint: Promint) -> None:
    promint("program", "create", "--name", "Spring")

    before = Promint("mysql://unused")("--json", "program", "list", "--database", promint.url)
    after = promint("program", "list", "--json")

    assert before.json == after.json
    assert len(after.json["programs"]) == 1


def test_the_environment_names_the_store_too(promint: Promint) -> None:
    promint("program", "create", "--name", "Spring")

    said = in_a_process("program", "list", "--json", PROMINT_DATABASE_URL=promint.url)

    assert [one["name"] for one in said.json["programs"]] == ["Spring"]


def test_a_command_that_does_not_exist_is_a_usage_error(promint: Promint) -> None:
    said = promint.run("programs")

    assert said.code == 2
    assert "No such command 'programs'" in said.err


# -- migrate and settings ------------------------------------------------------------------


def test_migrate_says_the_version_and_may_run_again(promint: Promint) -> None:
    first, second = promint.json("migrate"), promint.json("migrate")

    assert first == second
    assert first["schema"] >= 1
    assert promint("migrate").out == f"The schema is at version {first['schema']}.\n"


def test_an_sqlite_file_is_made_by_any_command_and_readable_by_its_owner_only(
    tmp_path: Path,
) -> None:
    file = tmp_path / "new.db"

    assert Promint(f"sqlite:///{file}").json("program", "list") == {"programs": []}
    assert file.stat().st_mode & 0o777 == 0o600


def test_settings_lists_every_setting_with_default_unit_and_meaning() -> None:
    rows = Promint("").json("settings")["settings"]

    assert {row["setting"] for row in rows} == {
        f"PROMINT_{setting.name.upper()}" for setting in fields(Settings)
    }
    for row in rows:
        assert set(row) == {"setting", "default", "unit", "meaning"}
        assert row["unit"]
        assert row["meaning"]
    assert {
        name: value
        for row in rows
        if row["setting"] == "PROMINT_BODY_BYTES_MAX"
        for name, value in row.items()
        if name in ("setting", "default")
    } == {"setting": "PROMINT_BODY_BYTES_MAX", "default": 1024 * 1024}


def test_settings_are_a_table_for_people() -> None:
    said = in_a_process("settings", COLUMNS="200")

    assert said.code == 0
    assert said.out.splitlines()[0].split() == ["setting", "default", "unit", "meaning"]
    for setting in fields(Settings):
        assert f"PROMINT_{setting.name.upper()} " in said.out


# -- tokens --------------------------------------------------------------------------------


def test_a_token_is_shown_once(promint: Promint) -> None:
    secret = promint.json("token", "create", "shop")["token"]

    assert re.fullmatch(r"promint_[0-9A-Za-z]{33}", secret)
    assert secret not in promint("token", "list").out
    assert secret not in json.dumps(promint.json("token", "list"))


def test_a_token_without_options_has_every_scope_and_every_program(promint: Promint) -> None:
    said = promint("token", "create", "shop").out

    assert said.startswith("promint_")
    assert "not shown again" in said
    (token,) = promint.json("token", "list")["tokens"]
    assert set(token["scopes"].split()) == set(Scope)
    assert (token["name"], token["programs"], token["databases"]) == ("shop", "all", "all")
    assert token["revoked"] == ""


def test_a_token_is_narrowed_by_its_options(promint: Promint) -> None:
    promint.json(
        "token", "create", "till", "--scope", "codes:read", "--scope", "codes:redeem",
        "--program", 5, "--program", 6, "--db", 1,
    )  # fmt: skip

    (token,) = promint.json("token", "list")["tokens"]

    assert token["scopes"] == "codes:read codes:redeem"
    assert (token["programs"], token["databases"]) == ([5, 6], [1])


def test_a_token_is_revoked_by_its_name_and_the_name_is_free_again(promint: Promint) -> None:
    promint("token", "create", "shop")

    assert promint("token", "revoke", "shop").out == "Revoked: shop\n"
    again = promint.run("token", "revoke", "shop")

    assert again.code == 1
    assert again.err == "Error: There is no living token named 'shop'.\n"
    (token,) = promint.json("token", "list")["tokens"]
    assert token["revoked"].endswith("Z")
    promint("token", "create", "shop")
    assert promint.json("token", "revoke", "shop")["revoked"] == [2]


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["shop"], 1, "It exists already (shop).\n"),
        ([""], 1, "Incorrect request: empty, name.\n"),
        (["till", "--scope", "codes:write"], 2, "'codes:write' is not one of"),
        (["till", "--program", "0"], 2, "--program"),
        (["till", "--db", "x"], 2, "--db"),
        ([], 2, "Missing argument 'NAME'"),
    ],
    ids=str,
)
def test_a_token_that_cannot_be_is_refused(
    promint: Promint, arguments: list[str], code: int, sentence: str
) -> None:
    promint("token", "create", "shop")

    said = promint.run("token", "create", *arguments)

    assert said.code == code
    assert sentence in said.err
    assert said.out == ""


def test_a_token_works_and_dies_beside_a_running_service(running: Running) -> None:
    promint = Promint(running.url)
    secret = promint.json("token", "create", "beside")["token"]

    assert running.call("databases/list", token=secret).error == 0
    promint("token", "revoke", "beside")
    while running.call("databases/list", token=secret).error != 401:
        pass


# -- programs ------------------------------------------------------------------------------

GIVEN: dict[str, Any] = {
    "name": "Spring sale",
    "short_name": "spring",
    "description": "20 % off",
    "access_group": "shops",
    "active": False,
    "issue_from": "2030-01-01T00:00:00Z",
    "issue_until": "2030-12-31T23:59:59Z",
    "multiple_usage": True,
    "code_limit": 1000,
    "profile_limit": 2,
    "attach_limit": 3,
    "activation_limit": 4,
    "creates_on_attach": False,
    "lifetime_s": 86400,
    "default_expire_date": "2031-01-01T00:00:00Z",
    "code_matching": "exact",
    "low_stock": 10,
    "time_zone": "Europe/Moscow",
    "fields": ["region", "channel"],
    "buckets": 16,
}


def as_options(settings: dict[str, Any]) -> Iterator[str]:
    """Return settings as options: the same name with dashes."""
    for name, value in settings.items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            yield f"--{option}" if value else f"--no-{option}"
        else:
            for one in value if isinstance(value, list) else [value]:
                yield from (f"--{option}", str(one))


def test_every_setting_of_a_program_is_an_option_with_dashes() -> None:
    no_settings = {"archived", "created_at", "first_version", "version"}
    settings = {field.name for field in fields(LoyaltyProgram)} - no_settings
    create = main.commands["program"].commands["create"]  # type: ignore[attr-defined]  # a group

    options = {option for parameter in create.params for option in parameter.opts}

    assert {f"--{name.replace('_', '-')}" for name in settings} <= options


def test_a_program_is_made_as_its_options_say(promint: Promint) -> None:
    assert promint.json("program", "create", "--id", 5, *as_options(GIVEN)) == {"loyalty_id": 5}

    shown = promint.json("program", "show", 5)

    assert shown.items() >= {**GIVEN, "loyalty_id": 5, "version": 1}.items()
    assert shown["created"].endswith("Z")


def test_a_program_needs_a_name_only(promint: Promint) -> None:
    assert promint("program", "create", "--name", "Spring").out == "Created program 1: Spring\n"

    shown = promint.json("program", "show", 1)

    assert (shown["active"], shown["multiple_usage"], shown["creates_on_attach"]) == (
        True, False, True,
    )  # fmt: skip
    assert (shown["code_limit"], shown["issue_until"]) == (None, None)
    assert "name                 Spring\n" in promint("program", "show", 1).out


def test_a_program_takes_the_next_free_id_or_the_one_that_is_named(promint: Promint) -> None:
    def create(*arguments: object) -> object:
        return promint.json("program", "create", "--name", "Spring", *arguments)["loyalty_id"]

    assert [create(), create("--id", ID_MAX - 1), create("--id", 7)] == [1, ID_MAX - 1, 7]
    assert promint.run("program", "create", "--name", "Spring", "--id", 7).code == 1


def test_programs_are_listed(promint: Promint) -> None:
    assert promint("program", "list").out == "No programs yet.\n"
    promint("program", "create", "--name", "Spring", "--issue-until", "2030-12-31T23:59:59Z")
    promint("program", "create", "--name", "Everybody", "--multiple-usage", "--no-active")

    spring, everybody = promint.json("program", "list")["programs"]

    assert spring == {
        "loyalty_id": 1, "name": "Spring", "kind": "personal", "active": True,
        "issue_from": "", "issue_until": "2030-12-31T23:59:59Z",
    }  # fmt: skip
    assert (everybody["kind"], everybody["active"]) == ("universal", False)
    assert "Everybody" in promint("program", "list").out


def test_an_update_changes_the_named_settings_and_no_others(promint: Promint) -> None:
    promint("program", "create", *as_options(GIVEN))
    before = promint.json("program", "show", 1)

    said = promint("program", "update", 1, "--name", "Autumn", "--code-limit", 2000, "--active")

    assert said.out == "Updated program 1: Autumn\n"
    after = promint.json("program", "show", 1)
    changed = {"name": "Autumn", "code_limit": 2000, "active": True, "version": 2}
    assert after.pop("limits") == before.pop("limits").replace("1,000", "2,000")
    assert after == {**before, **changed}


def test_none_removes_a_limit_or_a_date(promint: Promint) -> None:
    removable = [
        "code_limit", "profile_limit", "attach_limit", "activation_limit", "lifetime_s",
        "low_stock", "issue_from", "issue_until", "default_expire_date",
    ]  # fmt: skip
    promint("program", "create", *as_options(GIVEN))

    after = promint.json("program", "update", 1, *as_options(dict.fromkeys(removable, "none")))

    assert {name: after[name] for name in removable} == dict.fromkeys(removable)


def test_a_text_may_be_none_as_any_other(promint: Promint) -> None:
    texts = {"name": "none", "short_name": "none", "description": "none", "access_group": "none"}

    promint("program", "create", *as_options(texts))
    promint("program", "update", 1, *as_options(texts))

    assert promint.json("program", "show", 1).items() >= texts.items()


def test_what_the_codes_were_made_under_has_no_option_to_change(promint: Promint) -> None:
    promint("program", "create", "--name", "Spring")

    for option in (["--multiple-usage"], ["--code-matching", "exact"], ["--buckets", "2"]):
        assert promint.run("program", "update", 1, *option).code == 2


def test_a_program_is_switched_off_and_on(promint: Promint) -> None:
    promint("program", "create", "--name", "Spring")

    assert promint("program", "deactivate", 1).out == "Deactivated program 1: Spring\n"
    assert promint.json("program", "show", 1)["active"] is False
    assert promint.json("program", "activate", 1)["active"] is True


def test_a_clone_has_the_settings_and_none_of_the_codes(promint: Promint) -> None:
    promint("program", "create", *as_options(GIVEN))
    promint.import_codes(1, "A\nB\n")

    assert promint("program", "clone", 1).out == "Created program 2: Spring sale (copy)\n"
    assert promint.json(
        "program", "clone", 1, "--name", "Autumn", "--id", 9, "--code-limit", "none"
    ) == {"loyalty_id": 9}

    own = {"loyalty_id", "name", "created"}
    first, copy, autumn = (promint.json("program", "show", number) for number in (1, 2, 9))
    assert {k: v for k, v in copy.items() if k not in own} == {
        k: v for k, v in first.items() if k not in own
    }
    assert (autumn["name"], autumn["code_limit"]) == ("Autumn", None)
    assert promint.run("codes", "show", "A", "--program", 2).code == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["show", 5], ["update", 5, "--name", "x"], ["clone", 5], ["activate", 5],
        ["deactivate", 5], ["show", ID_MAX],
    ],
    ids=str,
)  # fmt: skip
def test_a_program_that_is_not_there_is_said(promint: Promint, arguments: list[object]) -> None:
    said = promint.run("program", *arguments)

    assert said.code == 1
    assert said.err == f"Loyalty program not found ({arguments[1]}).\n"


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--code-limit", "0"], 1),
        (["--code-limit", "9" * 30], 1),
        (["--lifetime-s", "0"], 1),
        (["--buckets", "3"], 1),
        (["--short-name", "two words"], 1),
        (["--issue-from", "2030-01-02T00:00:00Z", "--issue-until", "2030-01-01T00:00:00Z"], 1),
        (["--code-limit", "-1"], 2),
        (["--code-limit", "1.5"], 2),
        (["--code-limit", "\u0665"], 2),
        (["--issue-from", "tomorrow"], 2),
        (["--issue-from", "2030-01-01"], 2),
        (["--time-zone", "Moscow"], 2),
        (["--code-matching", "fuzzy"], 2),
        (["--id", "-1"], 2),
        (["--id", str(ID_MAX + 1)], 2),
        (["--id", "9" * 30], 2),
        (["--buckets", "9" * 30], 2),
        (["--colour", "red"], 2),
    ],
    ids=str,
)
def test_a_setting_that_cannot_be_is_refused_by_name(
    promint: Promint, options: list[str], code: int
) -> None:
    said = promint.run("program", "create", "--name", "Spring", *options)

    assert said.code == code
    assert options[0] in said.err or options[0].strip("-").replace("-", "_") in said.err
    assert promint.json("program", "list") == {"programs": []}


# -- databases -----------------------------------------------------------------------------


def test_databases_are_made_and_listed(promint: Promint) -> None:
    assert promint("database", "list").out == "No databases yet.\n"
    assert promint("database", "create", "--name", "B2C").out == "Created database 1: B2C\n"
    assert promint.json(
        "database", "create", "--name", "B2B", "--id", 9, "--creates-profiles",
        "--ui-tag", "a", "--ui-tag", "b", "--group", "1:main", "--description", "Shops",
    ) == {"db_id": 9}  # fmt: skip

    first, second = promint.json("database", "list")["databases"]

    assert (first["db_id"], first["name"], first["creates_profiles"]) == (1, "B2C", False)
    assert (second["db_id"], second["creates_profiles"], second["ui_tags"]) == (9, True, "a b")
    assert promint.run("database", "create", "--name", "B2B", "--id", 9).code == 1
    assert promint.run("database", "create", "--name", " ").code == 1
    assert promint.run("database", "create", "--name", "x", "--group", "main").code == 2


# -- codes ---------------------------------------------------------------------------------


@pytest.fixture
def program(promint: Promint) -> int:
    return int(promint.json("program", "create", "--name", "Spring")["loyalty_id"])


def test_a_file_is_imported_line_by_line(promint: Promint, program: int, tmp_path: Path) -> None:
    file = tmp_path / "codes.txt"
    file.write_bytes("\ufeffÄ-1\r\nA-2\n\n  \n A-3 \na-2\nA\x01B\n".encode() + b"\xff\n" + b"LAST")

    said = promint("codes", "import", file, "--program", program)
    again = promint.json("codes", "import", file, "--program", program)

    counts = dict(re.findall(r"^([a-z_ -]+?) +(\d+)$", said.out, re.MULTILINE))
    assert counts == {
        "new": "4",
        "duplicates in the file": "1",
        "duplicates in the program": "0",
        "over code_limit": "0",
        "unusable": "2",
        "damaged by a spreadsheet": "0",
    }
    assert "(holds the character U+0001)" in said.out
    assert (again["new"], again["duplicates_in_program"], again["unusable"]) == (0, 4, 2)
    assert promint.json("codes", "show", "ä-1", "--program", program)["code"] == "Ä-1"
    assert promint.json("codes", "show", "A-3", "--program", program)["code"] == "A-3"
    assert promint.json("codes", "show", "last", "--program", program)["code"] == "LAST"


def test_standard_input_is_a_file_too(promint: Promint, program: int) -> None:
    said = in_a_process(
        "codes", "import", "-", "--program", program, "--json", "--database", promint.url,
        stdin="A\nB\nA\n",
    )  # fmt: skip

    report = said.json
    assert (report["new"], report["duplicates_in_file"], report["batch_id"]) == (2, 1, 1)
    assert report["file"]["format"] == "txt"


def test_a_file_larger_than_a_chunk_is_imported_whole(promint: Promint, program: int) -> None:
    lines = "".join(f"CODE-{number}\n" for number in range(50_001))

    assert promint.import_codes(program, lines)["new"] == 50_001
    assert promint.import_codes(program, lines)["duplicates_in_program"] == 50_001


def test_an_import_stops_at_the_code_limit(promint: Promint) -> None:
    promint("program", "create", "--name", "Few", "--code-limit", 2)

    counts = promint.import_codes(1, "A\nB\nC\nA\n")

    assert (counts["new"], counts["duplicates_in_file"], counts["over_limit"]) == (2, 1, 1)


def test_an_import_is_rehearsed_and_its_rejects_are_kept(
    promint: Promint, program: int, tmp_path: Path
) -> None:
    file, rejects = tmp_path / "codes.csv", tmp_path / "rejects.csv"
    file.write_text("code;expire_date\nA;2030-01-01\nA;\nB;soon\n")
    command = ("codes", "import", file, "--program", program, "--rejects", rejects)

    rehearsed = promint.json(*command, "--dry-run")
    refused = promint.run(*command, "--all-or-nothing")
    taken = promint.json(*command)

    assert (rehearsed["new"], rehearsed["batch_id"], rehearsed["dry_run"]) == (1, None, True)
    assert (refused.code, taken["new"], taken["batch_id"]) == (1, 1, 1)
    lines = rejects.read_text("utf-8-sig").splitlines()
    assert [line.split(",")[0] for line in lines] == ["line", "3", "4"]


def test_an_empty_file_is_said_to_be_empty(promint: Promint, program: int, tmp_path: Path) -> None:
    file = tmp_path / "empty.txt"
    file.write_text("")

    said = promint.run("codes", "import", file, "--program", program)

    assert said.code == 1
    assert "the file is empty" in said.err


def test_codes_are_searched_exported_and_found_in_wallets(
    promint: Promint, program: int, tmp_path: Path
) -> None:
    promint("database", "create", "--name", "Customers", "--creates-profiles")
    file, out = tmp_path / "codes.csv", tmp_path / "out.csv"
    file.write_text("code,email\nGIFT-1,\nGIFT-2,ann@example.com\nLAST-1,\n")
    promint("codes", "import", file, "--program", program, "--holder-database", 1)

    found = promint.json("codes", "search", "--program", program, "--prefix", "gift")
    held = promint.json("codes", "search", "--program", program, "--state", "attached")
    wallet = promint.json("profile", "wallet", "--db", 1, "--email", "ann@example.com")
    said = promint.json("codes", "export", "--program", program, "--output", out)
    first = promint.json("codes", "search", "--program", program, "--limit", 2)
    rest = promint.json("codes", "search", "--program", program, "--after", first["next"])

    assert [code["code"] for code in found["codes"]] == ["GIFT-1", "GIFT-2"]
    assert [code["code"] for code in held["codes"]] == ["GIFT-2"]
    assert [code["code"] for code in wallet["codes"]] == ["GIFT-2"]
    assert said == {"codes": 3, "file": str(out), "format": "csv"}
    rows = out.read_text("utf-8-sig").splitlines()
    assert [row.split(",")[0] for row in rows] == ["code", "GIFT-1", "GIFT-2", "LAST-1"]
    both = [code["code"] for code in (*first["codes"], *rest["codes"])]
    assert sorted(both) == ["GIFT-1", "GIFT-2", "LAST-1"]
    assert not list(tmp_path.glob("*.part"))


def test_what_cannot_be_imported_is_said(promint: Promint, program: int, tmp_path: Path) -> None:
    file = tmp_path / "codes.txt"
    file.write_text("A\n")
    no_program = promint.run("codes", "import", file, "--program", 99)
    no_file = promint.run("codes", "import", tmp_path / "none.txt", "--program", program)
    no_option = promint.run("codes", "import", "-")

    assert (no_program.code, no_program.err) == (1, "Loyalty program not found (99).\n")
    assert no_file.code == 2
    assert "No such file or directory" in no_file.err
    assert no_option.code == 2


def test_a_code_is_shown_with_its_state_and_what_happened_to_it(running: Running) -> None:
    promint = Promint(running.url)
    loyalty_id, db_id = running.program(["A"]), running.database()
    (profile_id,) = running.profiles(db_id, 1)
    fields = {"loyalty_id": loyalty_id, "code": "A", "db_id": db_id, "profile_id": profile_id}
    assert running.call("promocodes/attach", fields, headers={"x-request-id": "order-7"}).error == 0
    assert running.call("promocodes/activate", fields).error == 0

    shown = promint.json("codes", "show", "a", "--program", loyalty_id)

    assert (shown["code"], shown["is_attached"], shown["is_activated"]) == ("A", True, True)
    assert (shown["attach_count"], shown["activation_count"]) == (1, 1)
    assert [event["what"] for event in shown["history"]] == ["imported", "attached", "activated"]
    attached = shown["history"][1]
    assert attached["request_id"] == "order-7"
    assert profile_id in attached["about"]
    assert attached["who"].startswith("token ")
    for_people = promint("codes", "show", "a", "--program", loyalty_id).out
    assert f"{attached['at']}  attached " in for_people


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("NOBODYS", "Promo code not found (NOBODYS).\n"),
        ("", "Incorrect request: empty, code.\n"),
        ("x" * 256, "Incorrect request: longer than 255 characters, code.\n"),
    ],
    ids=["unknown", "empty", "long"],
)
def test_a_code_that_cannot_be_shown_is_said(
    promint: Promint, program: int, code: str, sentence: str
) -> None:
    said = promint.run("codes", "show", code, "--program", program)

    assert (said.code, said.err, said.out) == (1, sentence, "")


def test_a_command_beside_a_running_service_writes_and_is_seen(running: Running) -> None:
    promint = Promint(running.url)
    loyalty_id = promint.json("program", "create", "--name", "Beside")["loyalty_id"]
    promint.import_codes(loyalty_id, "A\n")

    assert running.call("promocodes/get", {"loyalty_id": loyalty_id, "code": "A"}).error == 0
