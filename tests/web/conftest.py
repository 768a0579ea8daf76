"""A shop to call about: a program, a database, a profile, and as many codes as a test likes."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.running import Running


@dataclass
class Shop:
    """What the tests of the web call about; each takes codes of its own."""

    service: Running
    loyalty_id: int
    db_id: int
    profile_id: str
    closed_id: int
    """A program from which nothing can be attached."""
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def fields(self, **fields: Any) -> dict[str, Any]:
        return {"loyalty_id": self.loyalty_id, **fields}

    def profile(self, **fields: Any) -> dict[str, Any]:
        """Return the fields that name the profile, with `loyalty_id` and these."""
        return self.fields(db_id=self.db_id, profile_id=self.profile_id, **fields)

    def new_code(self) -> str:
        """Return a code that nobody has seen; attaching creates it."""
        return f"NEW-{next(self.numbers)}"

    def free_code(self) -> str:
        code = self.new_code()
        assert self.service.call("promocodes/import", self.fields(codes=[code])).error == 0
        return code

    def attached_code(self) -> str:
        code = self.new_code()
        assert self.service.call("promocodes/attach", self.profile(code=code)).error == 0
        return code

    def state(self, code: str) -> dict[str, Any]:
        """Return the data of `promocodes/get`."""
        data: dict[str, Any] = self.service.call("promocodes/get", self.fields(code=code)).json[
            "data"
        ]
        return data


def make_shop(service: Running) -> Shop:
    loyalty_id, db_id = service.program(name="Shop"), service.database()
    profile_id, closed_id = service.profiles(db_id, 1)[0], service.program(active=False)
    return Shop(service, loyalty_id, db_id, profile_id, closed_id)


@pytest.fixture(scope="session")
def shop(running: Running) -> Shop:
    """The shop on the service that all tests share, on each store."""
    return make_shop(running)
