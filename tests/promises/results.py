"""What the tests of promises have shown: kept in a folder for runs, in one file for readers.

Each test writes a file of its own in `.promises/TIER/`, so that any number of processes can
work at once and a run that was cut off can go on. `docs/promises.json` is what is published: the
last result of each test in each tier, and what all runs together have tried.
"""

import hashlib
import os
import platform
import re
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from pathlib import Path

import msgspec

import promint

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".promises"
RECORD = ROOT / "docs" / "promises.json"


class Tier(StrEnum):
    """How much is tried."""

    QUICK = "quick"
    NIGHT = "night"
    RELEASE = "release"


class State(StrEnum):
    """How far a test came."""

    PART = "part"
    DONE = "done"
    FAILED = "failed"


@dataclass(kw_only=True)
class Result:
    """What one test has shown in one tier.

    `store` is empty where the promise is about no store; `fault` names the planted fault of a
    control. `seed` is the one of the first round. `at` is the end of the run, as UTC.
    """

    test: str
    rows: list[int]
    tier: Tier
    store: str = ""
    fault: str = ""
    seed: int = 0
    rounds: int = 0
    trials: int = 0
    unit: str = ""
    failures: int = 0
    figures: dict[str, str] = field(default_factory=dict)
    state: State = State.PART
    seconds: float = 0.0
    at: str = ""
    version: str = promint.__version__
    commit: str = ""
    machine: str = ""
    source: str = ""

    @property
    def sentence(self) -> str:
        """The test's name as the sentence that it is."""
        name = re.sub(r"\[.*\]$", "", self.test).partition("::")[2]
        parameters = re.search(r"\[(.*)\]$", self.test)
        others = [p for p in parameters[1].split("-") if p != self.store] if parameters else []
        sentence = name.removeprefix("test_").replace("_", " ")
        sentence = sentence[:1].upper() + sentence[1:]
        return f"{sentence}: {', '.join(others)}" if others else sentence


@dataclass
class Total:
    """What all runs of one test have tried together, since a version."""

    since: str
    trials: int = 0
    failures: int = 0
    counted_until: str = ""


@dataclass
class Record:
    """What is published."""

    results: dict[str, dict[Tier, Result]] = field(default_factory=dict)
    totals: dict[str, Total] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path = RECORD) -> "Record":
        return msgspec.json.decode(path.read_bytes(), type=cls) if path.exists() else cls()

    def write(self, path: Path = RECORD) -> None:
        text = msgspec.json.encode(self, order="sorted")
        path.write_bytes(msgspec.json.format(text, indent=1) + b"\n")

    def add(self, results: Iterable[Result]) -> None:
        """Take in what was not counted yet. A test that was begun again replaces its last run."""
        for result in sorted(results, key=lambda one: one.at):
            total = self.totals.setdefault(result.test, Total(result.version))
            before = self.results.setdefault(result.test, {}).get(result.tier)
            if result.at <= total.counted_until:
                continue
            # A run that went on has the trials of its first part in it.
            went_on = before is not None and before.state is State.PART
            went_on = went_on and before is not None and before.seed == result.seed
            total.trials += result.trials - (before.trials if went_on and before else 0)
            total.failures += result.failures
            total.counted_until = result.at
            self.results[result.test][result.tier] = result

    def forget_all_but(self, tests: Iterable[str]) -> None:
        """Drop what belongs to tests that there are no more."""
        kept = set(tests)
        self.results = {test: found for test, found in self.results.items() if test in kept}
        self.totals = {test: found for test, found in self.totals.items() if test in kept}


# -- the folder ----------------------------------------------------------------------------


def save(folder: Path, result: Result) -> None:
    """Keep a result, whole or not at all."""
    path = _path(folder, result.test, result.tier)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}")
    unfinished.write_bytes(msgspec.json.encode(result))
    unfinished.replace(path)


def load(folder: Path, test: str, tier: Tier) -> Result | None:
    """Return what is kept of a test, None if nothing is."""
    path = _path(folder, test, tier)
    return msgspec.json.decode(path.read_bytes(), type=Result) if path.exists() else None


def drop(folder: Path, result: Result) -> None:
    """Forget what is kept of a test in a tier."""
    _path(folder, result.test, result.tier).unlink(missing_ok=True)


def saved(folder: Path) -> Iterator[Result]:
    """Yield everything that is kept."""
    for path in sorted(folder.glob("*/*.json")):
        yield msgspec.json.decode(path.read_bytes(), type=Result)


def _path(folder: Path, test: str, tier: Tier) -> Path:
    digest = hashlib.sha256(test.encode()).hexdigest()[:8]
    return folder / tier / f"{re.sub(r'[^A-Za-z0-9]+', '-', test)[:120]}-{digest}.json"


# -- what was tried ------------------------------------------------------------------------


def source_of(module: Path) -> str:
    """Return a digest of the program and of one module of tests: what a result is about."""
    return hashlib.sha256(_program() + module.read_bytes()).hexdigest()[:16]


@cache
def _program() -> bytes:
    digest = hashlib.sha256((ROOT / "requirements" / "runtime.txt").read_bytes())
    for path in sorted((ROOT / "src").rglob("*")):
        if path.suffix in (".py", ".sql"):
            digest.update(str(path.relative_to(ROOT)).encode() + path.read_bytes())
    return digest.digest()


@cache
def commit() -> str:
    """Return the commit's short id, with a + if something is changed; nothing without Git."""
    described = subprocess.run(
        ["git", "describe", "--always", "--exclude=*", "--dirty=+", "--abbrev=7"],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    return described.stdout.strip()


@cache
def machine() -> str:
    return f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"
