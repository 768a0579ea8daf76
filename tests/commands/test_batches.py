"""`promint codes change` and `promint batch`, for people and with --json, on both stores."""

import csv
from pathlib import Path

import pytest

from tests.commands.running_commands import Promint


@pytest.fixture
def program(promint: Promint) -> int:
    number: int = promint.json("program", "create", "--name", "Spring")["loyalty_id"]
    promint.json("database", "create", "--name", "Customers", "--creates-profiles")
    promint.import_codes(number, "A1\nA2\nA3\nB1\n")
    return number


def change(promint: Promint, program: int, *options: object) -> dict:  # type: ignore[type-arg]
    return promint.json("codes", "change", "--program", program, *options, "--yes")


def test_a_dry_run_says_what_would_change_and_changes_nothing(
    promint: Promint, program: int
) -> None:
    wanted = ("--program", program, "--prefix", "a", "--delete", "--dry-run")

    said = promint("codes", "change", *wanted)
    shown = promint.json("codes", "change", *wanted)

    assert said.out.splitlines()[:2] == ["3 match; 3 would change.", "  A1  free"]
    assert (shown["matching"], shown["changing"], shown["is_all"]) == (3, 3, True)
    assert len(promint.json("batch", "list")["batches"]) == 1


def test_a_change_asks_first_and_becomes_a_batch_that_can_be_taken_back(
    promint: Promint, program: int
) -> None:
    done = change(promint, program, "--prefix", "a", "--expire-date", "2030-01-31")

    assert (done["kind"], done["state"], done["counts"]["changed"]) == ("expire", "done", 3)
    assert done["parameters"]["expire_date"] == "2030-02-01T00:00:00Z"
    shown = promint.json("codes", "show", "A1", "--program", program)
    assert shown["expire_date"] == "2030-02-01T00:00:00Z"

    preview = promint.json("batch", "undo", done["batch_id"], "--dry-run")
    assert (preview["undoing"], preview["touched"]) == (3, 0)
    undone = promint("batch", "undo", done["batch_id"], "--yes")
    assert undone.out == "Taken back: 3. Touched since, and left: 0.\n"
    assert promint.json("codes", "show", "A1", "--program", program)["expire_date"] == ""
    again = promint.run("batch", "undo", done["batch_id"], "--yes")
    assert (again.code, again.err) == (1, "Batch is already taken back (2).\n")


def test_deleting_can_be_taken_back_and_an_import_too(promint: Promint, program: int) -> None:
    deleted = change(promint, program, "--all", "--delete")
    assert deleted["counts"]["changed"] == 4
    assert promint.run("codes", "show", "A1", "--program", program).code == 1

    promint("batch", "undo", deleted["batch_id"], "--yes")
    assert promint.json("codes", "show", "A1", "--program", program)["code"] == "A1"

    change(promint, program, "--code", "A1", "--expire-date", "2030-01-31")
    undone = promint.json("batch", "undo", 1, "--yes")
    assert (undone["counts"]["undone"], undone["counts"]["touched"]) == (3, 1)
    touched = promint.json("batch", "touched", 1)
    assert touched == {"touched": [{"code": "A1", "why": "updated"}], "is_all": True}


def test_codes_are_attached_to_a_list_and_what_cannot_be_is_written_down(
    promint: Promint, program: int, tmp_path: Path
) -> None:
    profiles = tmp_path / "profiles.csv"
    profiles.write_text("E-mail;Promo code\nann@example.com;B1\n;A1\nbob@example.com;b1\n")
    rejects = tmp_path / "rejects.csv"

    preview = promint.json(
        "codes", "change", "--program", program, "--attach-to", profiles, "--db", 1, "--dry-run"
    )
    done = change(promint, program, "--attach-to", profiles, "--db", 1, "--rejects", rejects)

    assert (preview["matching"], preview["changing"]) == (3, 1)
    assert (done["counts"]["changed"], done["counts"]["rejected"]) == (1, 2)
    assert promint.json("codes", "show", "B1", "--program", program)["is_attached"]
    with rejects.open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["line", "code", "profile", "reason", "message"]
    assert [row[0] for row in rows[1:]] == ["3", "4"]
    assert rows[2][1:4] == ["b1", "bob@example.com", "already_attached"]

    assert promint.json("batch", "undo", done["batch_id"], "--yes")["counts"]["undone"] == 1
    assert not promint.json("codes", "show", "B1", "--program", program)["is_attached"]


def test_a_plain_list_is_one_profile_a_line(promint: Promint, program: int, tmp_path: Path) -> None:
    profiles = tmp_path / "profiles.txt"
    profiles.write_text("ann@example.com\n\n+49 170 1234567\nwhat\n")

    done = change(promint, program, "--attach-to", profiles, "--db", 1)

    assert (done["counts"]["total"], done["counts"]["changed"]) == (3, 2)
    assert done["counts"]["rejected"] == 1


def test_a_stopped_list_goes_on_only_with_the_same_list(
    promint: Promint, program: int, tmp_path: Path
) -> None:
    profiles = tmp_path / "profiles.txt"
    profiles.write_text("ann@example.com\n")
    done = change(promint, program, "--attach-to", profiles, "--db", 1)
    profiles.write_text("bob@example.com\n")

    other = promint.run(
        "codes", "change", "--program", program, "--attach-to", profiles, "--db", 1,
        "--resume", done["batch_id"],
    )  # fmt: skip
    elsewhere = promint.run("codes", "change", "--program", 99, "--resume", done["batch_id"])

    assert "not the list that the batch began with" in other.err
    assert elsewhere.code == 1


def test_a_batch_that_is_done_is_shown_when_resumed(promint: Promint, program: int) -> None:
    done = change(promint, program, "--all", "--no-expire-date")

    again = change(promint, program, "--resume", done["batch_id"])

    assert again == done


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--all",), "Say one thing to do"),
        (("--all", "--detach", "--delete"), "Say one thing to do"),
        (("--detach",), "Say which codes"),
        (("--all", "--state", "free", "--detach"), "Say which codes"),
        (("--resume", 1, "--detach"), "say nothing more"),
        (("--all", "--detach", "--json"), "With --json nobody is asked"),
        (("--all", "--expire-date", "soon", "--dry-run"), "not a date"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    promint: Promint, program: int, options: tuple[object, ...], sentence: str
) -> None:
    said = promint.run("codes", "change", "--program", program, *options)

    assert said.code != 0
    assert sentence in said.err


def test_batches_are_listed_and_shown(promint: Promint, program: int) -> None:
    change(promint, program, "--code", "A1", "--expire-date", "2030-01-31T12:00:00Z")

    listed = promint("batch", "list", "--program", program).out.splitlines()
    shown = promint("batch", "show", 2).out

    assert [line.split()[:5] for line in listed[1:]] == [
        ["2", "1", "expire", "done", "1"],
        ["1", "1", "import", "done", "4"],
    ]
    assert "changed      1" in shown
    assert "expire_date  2030-01-31T12:00:00Z" in shown
    assert promint.json("batch", "show", 1)["counts"]["inserted"] == 4
    missing = promint.run("batch", "show", 99)
    assert (missing.code, missing.err) == (1, "Batch not found (99).\n")
    assert promint("batch", "touched", 1).out.startswith("code  why\nA1    updated\n")
