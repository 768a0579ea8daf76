"""Services to race against: three processes on PostgreSQL, the one that there may be on SQLite."""

import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import STORES, Stores
from tests.running import Running

PROCESSES = {"sqlite": 1, "postgres": 3}
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module", params=STORES)
def service(request: pytest.FixtureRequest, stores: Stores) -> Iterator[Running]:
    """The service as it is."""
    kind = request.param
    with Running(stores.new(kind), processes=PROCESSES[kind]) as running:
        yield running


@pytest.fixture
def seed() -> int:
    """A seed to repeat a run by: PROMINT_TEST_SEED, or a new one, shown if the test fails."""
    number = int(os.environ.get("PROMINT_TEST_SEED") or random.SystemRandom().randrange(1 << 30))
    print(f"PROMINT_TEST_SEED={number}")  # noqa: T201  # pytest shows it with a failure
    return number


def planted(fault: str, url: str, processes: int) -> Running:
    """Return a service, not yet started, with a fault of `tests/races/planted.py`."""
    command = (sys.executable, "-m", "tests.races.planted", fault, "serve")
    return Running(url, processes, command, environment={"PYTHONPATH": str(ROOT)})
