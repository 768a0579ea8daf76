"""The ledger is silent about everything that the service does, however it is mixed."""

import os
import random

import pytest

from promint.ledger import check
from tests.ledger.histories import History
from tests.world import World


@pytest.fixture
def seed() -> int:
    number = int(os.environ.get("PROMINT_TEST_SEED") or random.SystemRandom().randrange(1 << 30))
    print(f"PROMINT_TEST_SEED={number}")  # noqa: T201  # pytest shows it with a failure
    return number


def test_after_a_long_history_nothing_differs(world: World, url: str, seed: int) -> None:
    history = History(world, seed)
    report = check(url)
    for _ in range(8):
        history.run(75)

        report = check(url)

        assert [str(one) for one in report.findings] == []
    assert history.done > 150
    assert report.changes == report.recorded > 100
    assert report.nameless == 0
    assert min(report.codes, report.attachments, report.batches, report.profiles) > 5
