"""SQL cannot be injected: hostile texts are texts, in every field, filter and address."""

import itertools
import random
from typing import Any
from urllib.parse import quote

from promint.domain import codetext
from promint.domain.errors import BadValue
from promint.domain.model import CodeMatching
from tests.conftest import Stores
from tests.promises.proof import Proof, control, promise
from tests.promises.raw import Raw
from tests.races.builds import build_with
from tests.races.ledger import demand
from tests.running import Reply, Running
from tests.web.manage.callers import Manager

FAULT = "tests.promises.faults.injection:prefix_formatted"
STARTS = (
    "",
    "x",
    "1",
    "A",
    "'",
    '"',
    "\\",
    "\\'",
    "%",
    "`",
    "\uff07",
    "\u02bc",
    "')",
    "')))",
    "$1",
)
MIDDLES = (
    "", "' OR '1'='1", " OR 1=1", " UNION SELECT name FROM token", "; DROP TABLE promo_code",
    "; DELETE FROM loyalty_program", "; UPDATE token SET revoked_at = 1", " AND 1 = (SELECT 1/0)",
    "' || (SELECT digest FROM token LIMIT 1) || '", "' COLLATE NOCASE", "::int", "$2", "?1",
    ":name", "${TABLE_END}", "{0}", "{}", "%s", "%(x)s", "_", "[a-z]",
    "'; SELECT pg_terminate_backend(1)",
    "; ATTACH DATABASE 'x' AS y", "; COMMIT", "\u2019 OR \u20181\u2019=\u20181", "*/ OR 1=1 /*",
)  # fmt: skip
ENDS = ("", "--", "#", "/*", ";", "'", "\\", ";--", " -- x")
PAYLOADS = ["".join(parts) for parts in itertools.product(STARTS, MIDDLES, ENDS)]


def look(service: Running, manager: Manager, ids: dict[str, int], text: str) -> int:
    """Look for a hostile text wherever something can be looked for; return how many times."""
    vendor: list[tuple[str, dict[str, Any]]] = [
        ("promocodes/get", {"code": text}),
        ("promocodes/activate", {"code": text}),
        ("promocodes/update", {"code": text, "activated": True}),
        ("promocodes/detach", {"code": text, "email": text}),
        ("promocodes/attach", {"email": text}),
        ("promocodes/attach", {"matching": text, "email": "ann@example.com"}),
        ("profiles/get", {"email": text}),
        ("profiles/get", {"phone": text + "7"}),
        ("profiles/get", {"profile_id": text}),
        ("profiles/get", {"field_name": text, "field_value": text}),
        ("profiles/delete", {"profile_id": text}),
        ("databases/list", {"ui_tags": [text], "groups": [text]}),
        ("databases/list", {"expire_date": text, "format": text}),
    ]
    for call, fields in vendor:
        reply = service.call(
            call, {**ids, **fields}, headers={"idempotency-key": ascii(text)[1:250]}
        )
        fine(reply, call, text)
    program, database, part = ids["loyalty_id"], ids["db_id"], quote(text, safe="")
    of_program = f"/programs/{program}"
    addresses = [
        f"{of_program}/codes?prefix={part}",
        f"{of_program}/codes?code={part}&code={part}x",
        f"{of_program}/codes?after={part}",
        f"{of_program}/codes?state={part}",
        f"{of_program}/codes?db_id={database}&email={part}",
        f"{of_program}/codes?created_from={part}",
        f"{of_program}/codes/{part}",
        f"{of_program}/codes/{part}/history",
        f"{of_program}/events?after={part}",
        f"/programs?name={part}",
        f"/programs?access_group={part}",
        f"/databases/{database}/profiles?email={part}",
        f"/databases/{database}/profiles/{part}",
        f"/jobs?state={part}",
        f"/tokens?after={part}",
    ]
    for address in addresses:
        reply = manager.send("GET", address)
        fine(reply, address, text)
        items = reply.json.get("items", []) if reply.status == 200 else []
        # Programs of rounds before are called like this.
        strange = [one for one in items if text.casefold() not in one.get("name", "").casefold()]
        demand(not strange, address, "found", strange)
    return len(vendor) + len(addresses)


def fine(reply: Reply, where: str, text: str) -> None:
    demand(reply.status < 500, where, ascii(text), "was answered", reply.status)


def search_hostilely(service: Running, url: str, texts: list[str]) -> int:
    """Demand that nothing is found, changed, made or lost by looking for hostile texts."""
    ids = {"loyalty_id": service.program(["KEPT-1", "KEPT-2"]), "db_id": service.database()}
    service.profiles(ids["db_id"], 1)
    manager, raw = Manager(service), Raw(url)
    before = raw.counts()
    tries = sum(look(service, manager, ids, text) for text in texts)
    # Refusals are kept for their keys, and wrong codes are counted.
    after = raw.counts()
    for name in before.keys() - {"idempotency", "wrong_codes", "sqlite_stat1"}:
        demand(after[name] == before[name], name, "had", before[name], "rows, now", after[name])
    return tries


def keep_hostilely(service: Running, url: str, texts: list[str]) -> int:
    """Demand that hostile texts are kept as they are, wherever a text is kept."""
    manager, raw = Manager(service), Raw(url)
    program, database = service.program(), service.database()
    before = raw.counts()
    wanted = {"loyalty_id": program, "db_id": database}
    fine(service.call("promocodes/import", wanted | {"codes": texts}), "import", "")
    made: dict[str, str] = {}
    for text in texts:
        try:
            code = codetext.clean_code(text)
        except BadValue:
            continue
        made.setdefault(codetext.canonical(code, CodeMatching.FORGIVING), code)
    exported = service.call("promocodes/export_all", wanted).json["data"]
    demand([one["code"] for one in exported] == [*made.values()], "codes became", exported)

    for number, text in enumerate(texts):
        data = {"email": f"{number}@example.com", "note": text, text or "x": text}
        saved = service.call("profiles/import", wanted | {"email": data["email"], "data": data})
        fine(saved, "profiles/import", text)
        found = service.call("profiles/get", wanted | {"email": data["email"]}).json["data"]
        demand(found["note"] == text, ascii(text), "became", ascii(found["note"]))
    for text in texts[:10]:
        body = {"name": text or "x", "description": text, "access_group": text}
        shown = manager.ask("POST", "/programs", body)
        demand(body.items() <= shown.items(), body, "became", shown)
    after = raw.counts()
    grown = {name: after[name] - before[name] for name in ("promo_code", "profile", "token")}
    expected = {"promo_code": len(made), "profile": len(texts), "token": 0}
    demand(grown == expected, "grown by", grown, "and not", expected)
    return 2 * len(texts) + 3 * len(texts[:10])


@promise(41)
def test_hostile_texts_are_looked_for_and_kept_as_texts(
    stores: Stores, kind: str, proof: Proof
) -> None:
    count = proof.size(quick=12, night=50)
    url = stores.new(kind)
    with Running(url) as service:
        for seed in proof.rounds(quick=1, night=10):
            texts = random.Random(seed).sample(PAYLOADS, count)
            proof.trials(search_hostilely(service, url, texts), "hostile texts")
            proof.trials(keep_hostilely(service, url, texts), "hostile texts")


@control(41, fault=FAULT, store="sqlite")
def test_a_build_that_formats_a_value_into_a_statement_is_found_out(
    stores: Stores, proof: Proof
) -> None:
    url = stores.new("sqlite")
    with build_with(FAULT, url) as build:
        proof.control(
            lambda seed: search_hostilely(build, url, random.Random(seed).sample(PAYLOADS, 20))
        )
