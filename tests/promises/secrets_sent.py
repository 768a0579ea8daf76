"""Tokens and codes are sent in every way there is, and looked for in all that is written."""

import itertools
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from promint.domain.model import Scope
from tests.races.builds import build_with
from tests.races.ledger import demand
from tests.running import Reply, Running

GUARD = "tests.promises.faults.guard:"

PLACES = ("get", "decide", "attach", "database", "profiles", "manage", "outside")
"""Where the build `breaks_where_asked` breaks, each with code and token in the exception."""


@dataclass
class Watched:
    """A service, its log, and the secrets that are sent to it."""

    service: Running
    log: Path
    program: int
    database: int
    profile: str
    secrets: set[str] = field(default_factory=set)
    replies: list[Reply] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def token(self) -> str:
        name = f"watched-{os.urandom(4).hex()}"
        secret, _ = self.service.administer(lambda a: a.create_token(name, frozenset(Scope)))
        self.secrets.add(str(secret))
        return str(secret)

    def code(self, what: str = "CODE") -> str:
        code = f"{what}-{next(self._numbers):04}-{os.urandom(6).hex().upper()}"
        self.secrets.add(code)
        return code

    def send(self, path: str, body: bytes, **headers: str) -> Reply:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        reply = self.service.request("POST", path, body, sent)
        self.replies.append(reply)
        return reply

    def hold(self) -> None:
        """Look for every secret in everything that was written.

        Raises:
            Broken: one is there.
        """
        written = self.log.read_bytes() + commands_of(self.service)
        for reply in self.replies:
            written += reply.body + repr(reply.headers).encode()
        for secret in self.secrets:
            for form in (secret, secret.removeprefix("promint_"), quote(secret, safe="").lower()):
                where = written.find(form.encode())
                demand(where < 0, "a secret was written:", written[max(0, where - 80) : where + 80])


def commands_of(service: Running) -> bytes:
    """Return the command lines of the service's processes, as everybody sees them."""
    shown = subprocess.run(["ps", "-eo", "ppid,pid,args"], capture_output=True, check=True).stdout
    ours = {str(process.pid).encode() for process in service.running}
    return b"\n".join(line for line in shown.splitlines() if ours & set(line.split()[:2]))


@contextmanager
def watched_build(fault: str, url: str, log: Path) -> Iterator[Watched]:
    """Run a build with a fault, and watch what it writes."""
    service = build_with(GUARD + fault, url)
    service.log = log
    try:
        yield _watch(service.start(), log)
    finally:
        service.stop()


def _watch(service: Running, log: Path) -> Watched:
    database = service.database()
    return Watched(service, log, service.program(), database, service.profiles(database, 1)[0])


# -- every way a secret can come -----------------------------------------------------------


def json_body(watched: Watched, code: str, **more: str) -> bytes:
    fields = "".join(f', "{name}": "{value}"' for name, value in more.items())
    return f'{{"loyalty_id": {watched.program}, "code": "{code}"{fields}}}'.encode()


Way = Callable[[Watched, str, str], object]
API = "/api/v1.1/promocodes/"
WAYS: dict[str, Way] = {
    "header": lambda w, t, c: w.send(f"{API}get", json_body(w, c), authorization=f"Bearer {t}"),
    "header without scheme": lambda w, t, c: w.send(f"{API}get", json_body(w, c), authorization=t),
    "header and another": lambda w, t, c: w.send(
        f"{API}get", json_body(w, c, token=w.token()), authorization=f"Bearer {t}"
    ),
    "query": lambda w, t, c: w.send(f"{API}get?token={t}", json_body(w, c)),
    "query of an unknown call": lambda w, t, c: w.send(f"{API}none?token={t}", json_body(w, c)),
    "query with an encoded name": lambda w, t, c: w.send(f"{API}get?%74oken={t}", json_body(w, c)),
    "query with an encoded value": lambda w, t, c: w.send(
        f"{API}get?to%6ben={'%70' + t[1:]}", json_body(w, c)
    ),
    "query twice": lambda w, t, c: w.send(f"{API}get?token={t}&token=x", json_body(w, c)),
    "body": lambda w, t, c: w.send(f"{API}activate", json_body(w, c, token=t)),
    "body of a wrong type": lambda w, t, c: w.send(
        f"{API}activate", f'{{"token": ["{t}"], "code": {{"{c}": 1}}}}'.encode()
    ),
    "bad JSON": lambda w, t, c: w.send(f"{API}get", f'{{"token": "{t}", "code": "{c}'.encode()),
    "a field twice": lambda w, t, c: w.send(
        f"{API}get", f'{{"token": "{t}", "token": "{t}x", "code": "{c}"}}'.encode()
    ),
    "XML": lambda w, t, c: w.send(
        f"{API}get",
        f"<xml><token>{t}</token><loyalty_id>{w.program}</loyalty_id><code>{c}</code></xml>".encode(),
        content_type="application/xml",
    ),
    "bad XML": lambda w, t, c: w.send(
        f"{API}get", f"<xml><token>{t}</token><code>{c}".encode(), content_type="application/xml"
    ),
    "XML with an entity": lambda w, t, c: w.send(
        f"{API}get",
        f'<!DOCTYPE x [<!ENTITY e "{t}">]><xml><code>{c}&e;</code></xml>'.encode(),
        content_type="application/xml",
    ),
    "a type of content": lambda w, t, c: w.send(f"{API}get", json_body(w, c), content_type=t),
    "an idempotency key": lambda w, t, c: w.send(
        f"{API}activate", json_body(w, c, token=t), idempotency_key=t
    ),
    "an import": lambda w, t, c: w.service.call(
        "promocodes/import", {"loyalty_id": w.program, "codes": [c, c]}, token=t
    ),
    "an attachment": lambda w, t, c: w.send(
        f"{API}attach",
        json_body(w, c, db_id=str(w.database), matching="profile_id", profile_id=w.profile),
        authorization=f"Bearer {t}",
    ),
    "management": lambda w, t, c: w.send(
        f"/manage/v1/programs/{w.program}/codes/{c}/activate", b"", authorization=f"Bearer {t}"
    ),
    "management, query": lambda w, t, c: w.send(
        f"/manage/v1/programs/{w.program}/codes?token={t}&prefix={c}", b"{}"
    ),
    "management, a bad body": lambda w, t, c: w.send(
        "/manage/v1/tokens", f'{{"name": "{t}", "{c}": 1'.encode(), authorization=f"Bearer {t}"
    ),
    "a bad request line": lambda w, t, c: w.send(f"/{t}//%zz?{c}", b"{}"),
    "health": lambda w, t, c: w.send(f"/health/{c}?token={t}", b""),
}


def send_everything(watched: Watched, rounds: int) -> None:
    for _ in range(rounds):
        token = watched.token()
        for way in WAYS.values():
            way(watched, token, watched.code())


# -- and every place where it breaks -------------------------------------------------------


def break_everywhere(watched: Watched, forced: int) -> None:
    """Force faults; each is answered without a word about the inside, and is one line of the log.

    Raises:
        Broken: it is not.
    """
    token = watched.token()
    database = {"db_id": str(watched.database), "matching": "profile_id"}
    for number in range(forced):
        place = PLACES[number % len(PLACES)]
        code = watched.code(f"BREAK-{place.upper()}")
        named = json_body(watched, code, **database, profile_id=watched.profile)
        form = "application/xml" if number % 2 and place == "get" else "application/json"
        if form == "application/xml":
            named = (
                f"<xml><loyalty_id>{watched.program}</loyalty_id><code>{code}</code></xml>".encode()
            )
        path = {
            "get": f"{API}get",
            "decide": f"{API}activate",
            "database": f"{API}activate",
            "attach": f"{API}attach",
            "profiles": f"{API}detach",
            "manage": f"/manage/v1/programs/{watched.program}/codes/{code}/activate",
            "outside": f"{API}update",
        }[place]
        if place == "manage":
            named = b""
        if place == "outside":
            named = json_body(watched, code, expire_date="2030-01-01T00:00:00Z")
        reply = watched.send(path, named, authorization=f"Bearer {token}", content_type=form)
        hold_fault(watched, reply, place)


def hold_fault(watched: Watched, reply: Reply, place: str) -> None:
    text = reply.body.decode()
    demand(reply.status == 500, place, "is answered", reply.status, text)
    demand(reply.reason == "internal", place, "is", reply.reason)
    request_id = reply.headers["x-request-id"]
    demand(request_id in text, place, "has no request id", text)
    inside = re.search(
        r"Traceback|File|\.py|line \d|SELECT|INSERT|promo_code|asyncpg|apsw|uvicorn|/|\d\.\d",
        text.replace("</", "<").replace(" />", ">").replace("/>", ">"),
    )
    demand(inside is None, place, "tells", inside and inside[0], "in", text)
    demand("server" not in reply.headers, reply.headers)
    lines = [line for line in watched.log.read_text().splitlines() if request_id in line]
    demand(len(lines) == 1, place, "has", len(lines), "lines in the log")
