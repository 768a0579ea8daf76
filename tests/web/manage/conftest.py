"""The manager of the service that all tests share."""

import pytest

from tests.running import Running
from tests.web.manage.callers import Manager


@pytest.fixture
def manager(running: Running) -> Manager:
    return Manager(running)
