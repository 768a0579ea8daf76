"""No token and no whole code stands in anything that the service writes."""

import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from promint.logs import CleanFormatter
from tests.conftest import Stores
from tests.promises.proof import Proof, control, promise
from tests.promises.secrets_sent import (
    PLACES,
    WAYS,
    break_everywhere,
    send_everything,
    watched_build,
)


@promise(28)
def test_nothing_that_is_written_holds_a_token_or_a_whole_code(
    stores: Stores, kind: str, tmp_path: Path, proof: Proof
) -> None:
    rounds = proof.size(quick=6, night=420)
    with watched_build("breaks_where_asked", stores.new(kind), tmp_path / "log") as watched:
        send_everything(watched, rounds)
        break_everywhere(watched, len(PLACES))
        watched.hold()
    proof.trials(rounds * len(WAYS) + len(PLACES), "requests with secrets")


@control(28, fault="a log of requests, exceptions in their own words", store="sqlite")
@pytest.mark.parametrize("fault", ["requests_logged", "exceptions_logged_whole"])
def test_the_search_finds_a_build_that_writes_secrets(
    stores: Stores, tmp_path: Path, fault: str, proof: Proof
) -> None:
    def attempt(_: int) -> None:
        with watched_build(fault, stores.new("sqlite"), tmp_path / "log") as watched:
            send_everything(watched, 1)
            if fault == "exceptions_logged_whole":
                # "get": its exception repeats the code and nothing else.
                break_everywhere(watched, 1)
            watched.hold()

    proof.control(attempt)


@promise(28)
def test_commands_show_no_token_but_the_one_that_they_make(tmp_path: Path) -> None:
    environment = {**os.environ, "PROMINT_DATABASE_URL": f"sqlite:///{tmp_path}/a.db"}

    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "promint", *arguments]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True, timeout=60
        )
        return done.stdout + done.stderr

    (made,) = re.findall(r"promint_\w+", run("token", "create", "till"))
    (again,) = re.findall(r"promint_\w+", run("token", "rotate", "till"))
    listed = run("token", "list", "--json") + run("guesses") + run("settings")

    assert made != again
    assert made not in listed
    assert again not in listed


@promise(28)
def test_a_log_line_masks_what_looks_like_a_token_and_keeps_its_end() -> None:
    secret = "promint_0123456789abcdefghijklmnopqQ2Xy9z"
    record = logging.LogRecord("x", logging.ERROR, "x.py", 1, "with %s", (secret,), None)

    assert CleanFormatter("%(message)s").format(record) == "with promint_…Xy9z"


@promise(28)
def test_a_cause_is_written_without_its_words() -> None:
    def fail() -> None:
        try:
            raise KeyError("SPRING-1234")
        except KeyError as error:
            raise ValueError("SPRING-1234 again") from error

    with pytest.raises(ValueError, match="again") as caught:
        fail()
    raised = (caught.type, caught.value, caught.tb)
    record = logging.LogRecord("x", logging.ERROR, "x.py", 1, "broke", (), raised)
    text = CleanFormatter("%(message)s").format(record)

    assert "SPRING-1234 again" not in text.replace('raise ValueError("SPRING-1234 again")', "")
    places = [text.index(word) for word in ("builtins.KeyError", "and then", "builtins.ValueError")]
    assert places == sorted(places)
