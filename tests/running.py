"""The real service as its callers meet it: `promint serve` in a process of its own."""

import asyncio
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from promint.bootstrap import make_service, make_store, new_ids, utc_now
from promint.cli.output import operator_call
from promint.config import read_settings
from promint.domain import identities
from promint.domain.model import Database, LoyaltyProgram, ProfileKey, Scope
from promint.service.administration import Administration
from promint.store import Store
from tests.ports import free_port

Result = TypeVar("Result")
START_TIMEOUT_S = 120.0
UNTHROTTLED = {
    f"PROMINT_WRONG_CODES_PER_{what}": str(10**9) for what in ("TOKEN", "NETWORK", "PROGRAM")
}
"""Tests that are not about guessing send wrong codes as they like, all from one address."""


@dataclass
class Reply:
    """An answer over HTTP."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def reason(self) -> str:
        return self.headers.get("x-promint-reason", "")

    @property
    def error(self) -> int:
        return int(self.json["error"])


@dataclass
class Running:
    """Service processes over one store, each on a port of its own.

    Programs, databases and tokens are made straight in the store, as another process would.
    `command` replaces `promint serve`, for a build with a planted fault.
    """

    url: str
    processes: int = 1
    command: Sequence[str] = (sys.executable, "-m", "promint", "serve")
    environment: dict[str, str] = field(default_factory=dict)
    token: str = ""
    ports: list[int] = field(default_factory=list)
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)
    log: Path | None = None

    def start(self) -> "Running":
        if not self.token:
            self.token, _ = self.administer(
                lambda a: a.create_token(f"test-{os.urandom(4).hex()}", frozenset(Scope))
            )
        for _ in range(self.processes):
            self.start_process()
        return self

    def start_process(self, port: int | None = None) -> int:
        """Start one more process and return its place in the list."""
        port = port or free_port()
        output: Any = self.log.open("ab") if self.log else subprocess.DEVNULL
        process = subprocess.Popen(
            [*self.command, "--database", self.url, "--port", str(port)],
            env={**os.environ, **UNTHROTTLED, **self.environment},
            stdout=output,
            stderr=output,
        )
        if self.log:
            output.close()
        self.ports.append(port)
        self.running.append(process)
        self.wait_ready(len(self.running) - 1)
        return len(self.running) - 1

    def wait_ready(self, place: int = 0) -> None:
        give_up_at = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < give_up_at:
            code = self.running[place].poll()
            assert code is None, f"the service ended with {code}"
            try:
                if self.get("/health/ready", place=place).status == 200:
                    return
            except OSError:
                pass
            time.sleep(0.05)
        raise AssertionError("the service did not become ready")

    def kill(self, place: int = 0) -> None:
        """End a process as a crash would."""
        self.running[place].kill()
        self.running[place].wait()

    def restart(self, place: int = 0) -> None:
        """Start a killed process again on the same port."""
        port = self.ports[place]
        del self.ports[place], self.running[place]
        self.start_process(port)

    def stop(self) -> None:
        for process in self.running:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.running:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.ports.clear()
        self.running.clear()

    def __enter__(self) -> "Running":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    # -- calls -----------------------------------------------------------------------------

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        *,
        place: int = 0,
    ) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[place], timeout=60)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            data = response.read()
            return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, data)
        finally:
            connection.close()

    def get(self, path: str, *, place: int = 0) -> Reply:
        return self.request("GET", path, place=place)

    def call(
        self,
        name: str,
        fields: dict[str, Any] | None = None,
        *,
        place: int = 0,
        headers: dict[str, str] | None = None,
        token: str | None = "",
    ) -> Reply:
        """Send one call in JSON; the token goes in the header unless it is None."""
        sent = {"content-type": "application/json", **(headers or {})}
        if token is not None:
            sent["authorization"] = f"Bearer {token or self.token}"
        body = json.dumps(fields or {}).encode()
        return self.request("POST", f"/api/v1.1/{name}", body, sent, place=place)

    def xml(self, name: str, body: str, **headers: str) -> Reply:
        """Send one call in XML; the token goes in the header."""
        sent = {"content-type": "application/xml", "authorization": f"Bearer {self.token}"}
        return self.request("POST", f"/api/v1.1/{name}", body.encode(), {**sent, **headers})

    # -- what there is ---------------------------------------------------------------------

    def in_store(self, work: Any) -> Any:
        """Run `work(store)` on the store itself, from this process."""

        async def opened() -> Any:
            store: Store = make_store(read_settings({}, database_url=self.url))
            await store.open()
            try:
                return await work(store)
            finally:
                await store.close()

        return asyncio.run(opened())

    def administer(self, work: Any) -> Any:
        def with_store(store: Store) -> Coroutine[Any, Any, Any]:
            return work(  # type: ignore[no-any-return]  # what the caller makes of it
                Administration(store, ids=new_ids(), now=utc_now, random_bytes=os.urandom)
            )

        return self.in_store(with_store)

    def program(self, codes: Sequence[str] = (), **settings: Any) -> int:
        """Make a program that holds these codes; return its id."""
        wanted = LoyaltyProgram(**{"id": 0, "name": "Test", **settings})

        async def work(store: Store) -> int:
            ids = new_ids()
            administration = Administration(store, ids=ids, now=utc_now, random_bytes=os.urandom)
            made = await administration.create_program(wanted)
            if codes:
                service, _ = make_service(store, read_settings({}), ids)
                await service.import_codes(operator_call(), made.id, codes)
            return made.id

        return int(self.in_store(work))

    def database(self, **settings: Any) -> int:
        wanted = Database(**{"id": 0, "name": "Customers", **settings})
        made: Database = self.administer(lambda a: a.create_database(wanted))
        return made.id

    def profiles(self, database_id: int, count: int) -> list[str]:
        """Make this many profiles, customer-0@example.com and on; return their ids."""

        async def work(store: Store) -> list[str]:
            service, _ = make_service(store, read_settings({}), new_ids())
            items: list[Any] = []
            for number in range(count):
                email = f"customer-{number}@example.com"
                identity = identities.email_identity(database_id, email)
                items.append((ProfileKey(database_id, identities=(identity,)), {}))
            saved = await service.profiles.save_batch(operator_call(), database_id, items)
            return [str(profile_id) for profile_id in saved]

        return list(self.in_store(work))
