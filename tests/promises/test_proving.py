"""How promises are proved: what is kept, gone on with, counted and shown."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.promises import results
from tests.promises.page import PAGE, page
from tests.promises.proof import Missed, Proof
from tests.promises.results import ROOT, Record, Result, State, Tier
from tests.promises.rows import ROWS
from tests.races.ledger import Broken

TEST = "test_01_used_once.py::test_it_holds[sqlite]"


def begun(seed: int = 7, tier: Tier = Tier.NIGHT, source: str = "") -> Result:
    return Result(test=TEST, rows=[1], tier=tier, store="sqlite", seed=seed, source=source)


def finished(trials: int, at: str, state: State = State.DONE, seed: int = 7) -> Result:
    result = begun(seed)
    result.trials, result.at, result.state = trials, at, state
    result.failures = int(state is State.FAILED)
    return result


def test_a_size_is_that_of_the_tier() -> None:
    sizes = [Proof(begun(tier=tier)).size(quick=1, night=2, release=3) for tier in Tier]

    assert sizes == [1, 2, 3]
    assert Proof(begun(tier=Tier.RELEASE)).size(quick=1, night=2) == 2


def test_rounds_that_were_cut_off_go_on_with_the_next_seed(tmp_path: Path) -> None:
    first = Proof(begun(seed=7), tmp_path)
    for seed in first.rounds(quick=1, night=5):
        first.trials(10, "kills")
        if seed == 9:
            break

    second = Proof(begun(seed=100), tmp_path)
    seeds = []
    for seed in second.rounds(quick=1, night=5):
        seeds.append(seed)
        second.trials(10, "kills")
    result = second.finish(passed=True)

    assert seeds == [9, 10, 11]
    assert (result.trials, result.state, result.seed) == (50, State.DONE, 7)


def test_what_another_program_has_shown_is_not_gone_on_with(tmp_path: Path) -> None:
    first = Proof(begun(source="old"), tmp_path)
    for _ in zip(range(2), first.rounds(quick=1, night=5), strict=False):
        first.trials(1, "kills")

    second = Proof(begun(source="new"), tmp_path)

    assert len(list(second.rounds(quick=1, night=5))) == 5


def test_rounds_end_when_the_time_is_over_and_the_result_is_a_part(tmp_path: Path) -> None:
    proof = Proof(begun(), tmp_path, until=time.time() - 1)

    assert list(proof.rounds(quick=1, night=5)) == []
    assert proof.finish(passed=True).state is State.PART


def test_a_control_is_tried_as_often_as_the_tier_says() -> None:
    def attempt(seed: int) -> None:
        tried.append(seed)
        raise Broken

    for tier, tries in ((Tier.QUICK, 1), (Tier.RELEASE, 20)):
        tried: list[int] = []
        Proof(begun(tier=tier)).control(attempt)
        assert len(tried) == tries


def test_a_fault_that_is_not_found_fails_its_control() -> None:
    with pytest.raises(Missed):
        Proof(begun()).control(lambda seed: None, runs=3)


def test_an_error_of_the_test_itself_is_not_taken_for_the_fault() -> None:
    with pytest.raises(ZeroDivisionError):
        Proof(begun()).control(lambda seed: seed / 0)


def test_runs_add_up_and_each_part_counts_once() -> None:
    record = Record()

    record.add([finished(10, "2026-01-01", State.PART)])
    record.add([finished(10, "2026-01-01", State.PART)])
    record.add([finished(30, "2026-01-02")])
    record.add([finished(5, "2026-01-03", State.FAILED, seed=8)])

    total = record.totals[TEST]
    assert (total.trials, total.failures) == (35, 1)


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    record = Record()
    record.add([finished(10, "2026-01-01")])

    record.write(tmp_path / "record")

    assert Record.read(tmp_path / "record") == record


def test_the_page_has_every_row_and_says_what_was_not_run() -> None:
    text = page(Record())

    for row in ROWS.values():
        assert f"## {row.number}. {row.promise}" in text
    assert text.count("**Unproved.**") == len(ROWS)


def test_a_failure_is_shown_until_its_tier_has_passed() -> None:
    record = Record()
    record.add([finished(10, "2026-01-01", State.FAILED)])
    later = begun(tier=Tier.QUICK)
    later.at, later.state, later.trials = "2026-01-02", State.DONE, 10
    record.add([later])
    assert "**1**" in page(record)

    record.add([finished(10, "2026-01-03")])
    assert "**1**" not in page(record)


def test_what_an_older_version_has_shown_proves_nothing() -> None:
    record = Record()
    old = finished(10, "2026-01-01")
    old.version = "0.0.1"
    record.add([old])

    assert page(record).count("**Unproved.**") == len(ROWS)


def test_the_published_page_is_that_of_the_published_record() -> None:
    assert PAGE.read_text("utf-8") == page(Record.read()), "make prove"


CASES = """
from tests.promises.proof import promise

@promise(1)
def test_it_holds(proof):
    proof.trials(3, "cases")

@promise(1)
def test_it_does_not_hold(proof):
    for _ in proof.rounds(quick=1, night=1):
        assert False
"""


def test_what_passes_and_what_fails_is_kept_and_only_the_failure_runs_again(tmp_path: Path) -> None:
    suite = tmp_path / "suite"
    suite.mkdir()
    (suite / "test_01_cases.py").write_text(CASES)
    here = Path(__file__).with_name("conftest.py").read_text()
    (suite / "conftest.py").write_text(
        here.replace("Path(__file__).parent", f"__import__('pathlib').Path({str(suite)!r})")
        + "\nfrom tests.conftest import seed, stores\n"
    )

    def prove() -> str:
        command = [sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml")]
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PROMINT_TEST_SEED": "5",
            "PROMINT_PROVE_TIER": "night",
            "PROMINT_PROVE_FOLDER": str(tmp_path / "kept"),
        }
        done = subprocess.run(
            [*command, "-p", "no:cacheprovider", "--rootdir", str(suite), str(suite)],
            env=environment,
            cwd=suite,
            check=False,
            capture_output=True,
            text=True,
        )
        return done.stdout

    first = prove()
    kept = {result.state: result for result in results.saved(tmp_path / "kept")}
    second = prove()

    assert "1 failed, 1 passed" in first
    assert "make prove TIER=night ROW=1 SEED=5" in first
    assert (kept[State.DONE].trials, kept[State.DONE].failures) == (3, 0)
    assert (kept[State.FAILED].failures, kept[State.FAILED].seed) == (1, 5)
    assert "1 failed, 1 deselected" in second
