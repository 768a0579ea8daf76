"""Runs the tests of promises in their tier and keeps what they show.

The environment says how, so that processes of a parallel run say the same:
PROMINT_PROVE_TIER, quick without it; PROMINT_PROVE_FOLDER, where results are kept, nowhere
without it; PROMINT_PROVE_UNTIL, the second of the epoch after which nothing is begun any more.
"""

import os
import re
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import STORES, Stores
from tests.promises import results
from tests.promises.proof import Proof
from tests.promises.results import Result, State, Tier
from tests.promises.rows import ROWS
from tests.races.builds import build_with
from tests.running import Running

HERE = Path(__file__).parent
TIER = Tier(os.environ.get("PROMINT_PROVE_TIER", Tier.QUICK))
FOLDER = Path(os.environ["PROMINT_PROVE_FOLDER"]) if "PROMINT_PROVE_FOLDER" in os.environ else None
UNTIL = float(os.environ["PROMINT_PROVE_UNTIL"]) if "PROMINT_PROVE_UNTIL" in os.environ else None
TIMEOUT_S = {Tier.QUICK: 300, Tier.NIGHT: 5_400, Tier.RELEASE: 43_200}
PROCESSES = {"sqlite": 1, "postgres": 3}
PROOF = pytest.StashKey[Proof]()


@pytest.fixture(params=STORES)
def kind(request: pytest.FixtureRequest) -> str:
    """A kind of store, for tests that start a service of their own."""
    return str(request.param)


@pytest.fixture(scope="session", params=STORES)
def service(request: pytest.FixtureRequest, stores: Stores) -> Iterator[Running]:
    """The service as it is, for tests that leave it alive."""
    with Running(stores.new(request.param), PROCESSES[request.param]) as running:
        yield running


@pytest.fixture(scope="session", params=STORES)
def careless(request: pytest.FixtureRequest, stores: Stores) -> Iterator[Running]:
    """A service that checks first and writes later."""
    kind = request.param
    build = build_with("check_first_write_later", stores.new(kind), PROCESSES[kind])
    with build as running:
        yield running


@pytest.fixture
def proof(request: pytest.FixtureRequest, seed: int) -> Proof:
    """How much this test has to try, and where it counts."""
    item = request.node
    begun = _begun(item, seed)
    item.stash[PROOF] = made = Proof(begun, FOLDER, UNTIL)
    return made


def _begun(item: pytest.Item, seed: int = 0) -> Result:
    mark = item.get_closest_marker("promise")
    assert mark is not None, "a test of a promise says which: @promise(1)"
    parameters: dict[str, Any] = getattr(getattr(item, "callspec", None), "params", {})
    stores = [value for value in parameters.values() if value in STORES]
    return Result(
        test=f"{item.path.name}::{item.name}",
        rows=list(mark.args),
        tier=TIER,
        store=mark.kwargs["store"] or (stores[0] if stores else ""),
        fault=mark.kwargs.get("fault", ""),
        seed=seed,
        source=results.source_of(item.path),
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Hold the tests to their rows; leave out what this tier has already shown."""
    done = []
    for item in [item for item in items if item.path.parent == HERE]:
        numbered = re.match(r"test_(\d\d)_", item.path.name)
        if numbered is None:
            continue
        begun = _begun(item)
        if int(numbered[1]) not in begun.rows or not set(begun.rows) <= ROWS.keys():
            raise pytest.UsageError(f"{begun.test} is about {begun.rows}")
        item.add_marker(pytest.mark.timeout(TIMEOUT_S[TIER]))
        kept = results.load(FOLDER, begun.test, TIER) if FOLDER else None
        if kept and kept.state is State.DONE and kept.source == begun.source:
            done.append(item)
    if done:
        config.hook.pytest_deselected(items=done)
        items[:] = [item for item in items if item not in done]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Begin nothing after the time is over."""
    if UNTIL is not None and time.time() >= UNTIL:
        pytest.skip("left out: the time of this run is over")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep how a test ended, and say how it is repeated if it failed."""
    report = yield
    proof = item.stash.get(PROOF, None)
    if proof and call.when == "call" and not report.skipped:
        result = proof.finish(passed=report.passed)
        if report.failed:
            again = f"make prove TIER={TIER} ROW={result.rows[0]} SEED={proof.seed}"
            report.sections.append(("to repeat it", again))
    return report
