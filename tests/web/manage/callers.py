"""Requests to the management API, and answers held to the document."""

import itertools
import json
import time
from dataclasses import dataclass
from typing import Any

from promint.domain.model import Scope
from tests.running import Reply, Running

JOB_TIMEOUT_S = 240.0
_NAMES = itertools.count()


def token_for(
    service: Running,
    *scopes: Scope,
    programs: set[int] | None = None,
    databases: set[int] | None = None,
) -> str:
    """Make a token straight in the store; with every scope unless some are named."""
    secret, _ = service.administer(
        lambda a: a.create_token(
            f"manage-{next(_NAMES)}",
            frozenset(scopes or Scope),
            None if programs is None else frozenset(programs),
            None if databases is None else frozenset(databases),
        )
    )
    return str(secret)


@dataclass
class Manager:
    """Someone who manages: a token, and what it may send."""

    service: Running
    token: str = ""

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        """Send a request; a body that is not bytes goes as JSON. Underscores are dashes."""
        sent = {"authorization": f"Bearer {self.token or self.service.token}"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        return self.service.request(method, f"/manage/v1{path}", data, sent)

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """Send a request that has to succeed; return its JSON."""
        reply = self.send(method, path, body, **headers)
        assert 200 <= reply.status < 300, reply
        assert reply.headers["content-type"] == "application/json; charset=utf-8"
        return reply.json

    def refused(self, method: str, path: str, body: Any = None, **headers: str) -> dict[str, Any]:
        """Send a request that has to be refused; return the refusal, which is whole."""
        return refusal(self.send(method, path, body, **headers))

    def all_pages(self, path: str, limit: int) -> list[Any]:
        """Return the items of all pages of a list; each holds `limit` at most."""
        items: list[Any] = []
        joint = "&" if "?" in path else "?"
        after = ""
        while True:
            page = self.ask("GET", f"{path}{joint}limit={limit}{after}")
            assert len(page["items"]) <= limit
            items += page["items"]
            if page["next"] is None:
                return items
            after = f"&after={page['next']}"

    def ended(self, job_id: int) -> dict[str, Any]:
        """Wait until a job has ended; return it."""
        give_up_at = time.monotonic() + JOB_TIMEOUT_S
        while time.monotonic() < give_up_at:
            job: dict[str, Any] = self.ask("GET", f"/jobs/{job_id}")
            if job["state"] not in ("waiting", "running"):
                return job
            time.sleep(0.05)
        raise AssertionError(f"job {job_id} did not end")


def refusal(reply: Reply) -> dict[str, Any]:
    """Return what a refusal says, once its parts agree."""
    error: dict[str, Any] = reply.json["error"]
    assert set(error) == {"number", "reason", "message", "field"}, reply
    assert (error["number"], error["reason"]) == (reply.status, reply.reason)
    assert reply.headers["x-request-id"]
    return error
