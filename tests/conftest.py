"""Fixtures: real stores of both kinds, empty and migrated, and the service over them."""

import asyncio
import itertools
import os
import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from promint.bootstrap import make_store
from promint.config import read_settings
from promint.ledger import check
from tests.postgres import PostgresServer
from tests.running import Running
from tests.world import World

STORES = ("sqlite", "postgres")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A run in the background ignores Ctrl-C, and so would every process that it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says how busy the machine is, nothing about what is tested.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")


class Stores:
    """Makes empty, migrated stores; the PostgreSQL ones are copies of one template."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = itertools.count()
        self._server: PostgresServer | None = None
        self._template = ""

    @property
    def server(self) -> PostgresServer:
        """The PostgreSQL server, started with the first test that needs it."""
        if self._server is None:
            self._server = PostgresServer.start()
            self._template = self._server.create_database()
            asyncio.run(make_store(read_settings({}, database_url=self._template)).migrate())
        return self._server

    @property
    def template(self) -> str:
        """A migrated database to copy."""
        self.server  # noqa: B018  # starts it, with the template
        return self._template

    def new(self, kind: str) -> str:
        """Return the URL of a new store."""
        if kind == "sqlite":
            return f"sqlite:///{self._folder / f'{next(self._numbers)}.db'}"
        return self.server.create_database(template=self.template)

    def close(self) -> None:
        if self._server is not None:
            self._server.stop()


@pytest.fixture(scope="session")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    """Make stores, and stop the database server at the end."""
    made = Stores(tmp_path_factory.mktemp("stores"))
    yield made
    made.close()


@pytest.fixture
def seed() -> int:
    """A seed to repeat a run by: PROMINT_TEST_SEED, or a new one, shown if the test fails."""
    number = int(os.environ.get("PROMINT_TEST_SEED") or random.SystemRandom().randrange(1 << 30))
    print(f"PROMINT_TEST_SEED={number}")  # noqa: T201  # pytest shows it with a failure
    return number


@pytest.fixture(params=STORES)
def url(request: pytest.FixtureRequest, stores: Stores) -> str:
    """An empty, migrated store of each kind."""
    return stores.new(request.param)


@pytest.fixture
def make_world() -> Iterator[Callable[..., World]]:
    """Open as many worlds as a test needs; they are closed after it."""
    worlds: list[World] = []

    def make(url: str, **settings: Any) -> World:
        worlds.append(World(url, **settings))
        return worlds[-1]

    yield make
    for made in worlds:
        made.close()


@pytest.fixture
def world(url: str) -> Iterator[World]:
    """The use cases over an empty store of each kind."""
    made = World(url)
    yield made
    made.close()


@pytest.fixture
def ledger_holds(world: World, url: str) -> Iterator[None]:
    """After the test, the store is what its events say. The token of a world is no row of it."""
    yield
    report = check(url)
    differing = [
        str(one)
        for one in report.findings
        if "names no actor" not in one.what and one.table != "idempotency"
    ]
    assert not differing
    assert report.changes == report.recorded


@pytest.fixture(scope="session", params=STORES)
def running(request: pytest.FixtureRequest, stores: Stores) -> Iterator[Running]:
    """One service process over each kind of store, shared by all tests that make their own data."""
    with Running(stores.new(request.param)) as service:
        yield service
