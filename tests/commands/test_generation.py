"""`promint codes generate`: the plan, the codes, and a run that was interrupted."""

import asyncio
import subprocess
from pathlib import Path

import pytest

from promint.bootstrap import make_store
from promint.config import read_settings
from promint.domain.model import Batch, BatchState
from tests.commands.running_commands import PROMINT, Promint

TEMPLATE = "SPRING-{12}"


@pytest.fixture
def program(promint: Promint) -> int:
    made = promint.json("program", "create", "--name", "Spring", "--template", TEMPLATE)
    return int(made["loyalty_id"])


def generate(promint: Promint, *arguments: object) -> dict[str, object]:
    return promint.json("codes", "generate", *arguments)


def test_codes_of_the_programs_template_are_generated(promint: Promint, program: int) -> None:
    said = promint("codes", "generate", 25, "--program", program)

    assert said.out == f"batch_id   1\ngenerated  25\ntemplate   {TEMPLATE}\n"
    assert promint.json("program", "show", program)["template"] == TEMPLATE


def test_a_template_a_date_and_data_of_their_own(promint: Promint) -> None:
    program = promint.json("program", "create", "--name", "A", "--fields", "shop")["loyalty_id"]
    made = generate(
        promint, 4, "--program", program, "--template", "{1:[ABCDEFGHIJ]}", "--accept-guessable",
        "--expire-date", "2030-01-02T03:04:05Z", "--field", "shop=No. 1=2",
    )  # fmt: skip

    assert made == {"batch_id": 1, "generated": 4, "template": "{1:[ABCDEFGHIJ]}"}
    dates = set()
    for code in "ABCDEFGHIJ":
        said = promint.run("codes", "show", code, "--program", program, "--json")
        if said.code == 0:
            dates.add(said.json["expire_date"])
    assert dates == {"2030-01-02T03:04:05Z"}
    shown = promint.json("codes", "search", "--program", program)["codes"][0]
    assert (shown["fields"], shown["attach_count"], shown["batch_id"]) == (
        {"shop": "No. 1=2"},
        0,
        1,
    )
    one = promint("codes", "show", shown["code"], "--program", program).out
    assert "shop              No. 1=2\n" in one


def test_a_date_without_a_zone_is_of_the_programs_time_zone(promint: Promint) -> None:
    program = promint.json(
        "program", "create", "--name", "A", "--template", TEMPLATE, "--time-zone", "Asia/Almaty"
    )["loyalty_id"]

    generate(promint, 1, "--program", program, "--expire-date", "2026-01-31")
    wrong = promint.run("codes", "generate", 1, "--program", program, "--expire-date", "soon")

    (code,) = promint.json("codes", "search", "--program", program)["codes"]
    assert code["expire_date"] == "2026-01-31T19:00:00Z"
    assert (wrong.code, len(promint.json("batch", "list")["batches"])) == (1, 1)
    assert "--expire-date" in wrong.err


def test_a_plan_is_shown_and_nothing_happens(promint: Promint, program: int) -> None:
    plan = generate(promint, 1_000_000, "--program", program, "--dry-run")

    assert plan["space"] == 32**12
    assert plan["guesses_to_hit"] == 32**12 // 1_000_001
    assert (plan["used"], plan["count"], plan["refusals"]) == (0, 1_000_000, [])
    said = promint("codes", "generate", 1_000_000, "--program", program, "--dry-run")
    assert said.out == f"{plan['sentence']}\n"
    assert generate(promint, 1, "--program", program)["batch_id"] == 1


def test_a_plan_that_is_refused_says_what_would_do(promint: Promint, program: int) -> None:
    arguments = ("codes", "generate", 1_000, "--program", program, "--template", "{8}")

    planned = promint.run(*arguments, "--dry-run")
    refused = promint.run(*arguments)

    assert (planned.code, refused.code) == (1, 1)
    assert "use {9} instead of {8}" in planned.out
    assert planned.err == "These codes cannot be generated so.\n"
    assert "use {9} instead of {8}, template" in refused.err
    assert promint(*arguments, "--accept-guessable").code == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "Say how many codes, or which batch to --resume."),
        (("--resume", 1, "--template", "{12}"), "A batch that is resumed has its template"),
        ((5, "--field", "shop"), "'shop' is not NAME=VALUE."),
        ((5, "--field", "shop=1"), "the program has no such field, shop"),
        ((5, "--template", "{12"), "a single { at character 1"),
        ((0,), "0 is not in the range"),
        (("--resume", 9), "Batch not found"),
    ],
    ids=str,
)
def test_what_cannot_be_generated_is_said(
    promint: Promint, program: int, arguments: tuple[object, ...], sentence: str
) -> None:
    said = promint.run("codes", "generate", *arguments, "--program", program)

    assert said.code != 0
    assert sentence in said.err


def test_an_operator_brings_a_list_of_rude_words(
    promint: Promint, program: int, tmp_path: Path
) -> None:
    words = tmp_path / "words.txt"
    words.write_text("# ours\n\naa\nab\n ba \nbb\n")
    arguments = ("codes", "generate", 1, "--program", program, "--accept-guessable")

    said = promint.run(*arguments, "--template", "{4:[AB]}", PROMINT_RUDE_WORDS_FILE=str(words))
    none = promint.run(*arguments, PROMINT_RUDE_WORDS_FILE=str(tmp_path / "none.txt"))

    assert (said.code, none.code) == (1, 2)
    assert "the rude words leave no code of it, template" in said.err
    assert none.err.startswith("PROMINT_RUDE_WORDS_FILE cannot be used: ")


async def batch_of(url: str) -> Batch | None:
    store = make_store(read_settings({}, database_url=url))
    await store.open()
    try:
        return await store.batch(1)
    finally:
        await store.close()


def test_a_killed_run_is_resumed_to_exactly_as_many(promint: Promint, program: int) -> None:
    count = 150_000
    arguments = ("codes", "generate", count, "--program", program, "--database", promint.url)
    with subprocess.Popen([*PROMINT, *map(str, arguments)], stdout=subprocess.DEVNULL) as run:
        while run.poll() is None:
            batch = asyncio.run(batch_of(promint.url))
            if batch is not None and batch.inserted:
                break
        run.kill()
    left = asyncio.run(batch_of(promint.url))
    assert left is not None

    # Where the last chunk was faster than the kill, there is nothing to resume.
    if left.state is not BatchState.DONE:
        assert generate(promint, "--resume", 1, "--program", program)["generated"] == count
    done = asyncio.run(batch_of(promint.url))
    assert done is not None
    assert (done.state, done.inserted) == (BatchState.DONE, count)
    codes = promint.json("codes", "generate", 1, "--program", program, "--dry-run")
    assert codes["used"] == count
