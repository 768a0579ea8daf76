"""The commands on an empty store of each kind."""

import pytest

from tests.commands.running_commands import Promint


@pytest.fixture
def promint(url: str) -> Promint:
    return Promint(url)
