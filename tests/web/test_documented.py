"""Every example of the vendor's documentation, replayed against the running service.

The examples stand beside the project in `../shared/vectors/documented.json`. What each of them
presupposes is set up with its own dates, and the answer is compared to the last key, the order
of keys and elements included.
"""

import asyncio
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import apsw
import asyncpg
import pytest

from promint.bootstrap import is_sqlite, make_service, new_ids, sqlite_path
from promint.cli.output import COMMAND
from promint.config import read_settings
from promint.domain.model import Database, LoyaltyProgram, Profile, ProfileKey, Scope, Token
from promint.service import Call
from promint.service.access import token_digest
from promint.store import NewProfile, Store
from promint.wire.moments import read_moment
from tests.conftest import STORES, Stores
from tests.running import Running
from tests.world import NOON

VECTORS = Path(__file__).resolve().parents[2].parent / "shared" / "vectors" / "documented.json"
EXAMPLES: list[dict[str, Any]] = json.loads(VECTORS.read_text())

PLACEHOLDER = "abcdefghijklmnqrstuvwxyz"
"""What the examples write for the token and for the id of a profile."""
PROFILE_ID = "5c94fbc103e42237764042f8"
DATABASES = [
    Database(1, "Database #1", groups=((0, "main"),)),
    Database(2, "Database #2", ui_tags=("tag1", "tag2"), groups=((1, "subaccount"),)),
]


@dataclass(frozen=True)
class Code:
    """A code that an example presupposes; attached and activated are moments, or empty."""

    loyalty_id: int
    code: str
    created: str = "2024-04-01T12:39:34Z"
    attached: str = ""
    activated: str = ""


ATTACHED = "2024-04-01T14:02:05Z"
GIVEN: dict[str, list[Code]] = {
    "get_unattached": [Code(5, "CODE-1")],
    "get_attached": [
        Code(1, "CODE-12345", created="2020-04-02T11:41:47Z", attached="2020-04-02T16:58:15Z")
    ],
    "import_two": [],
    "activate": [Code(5, "Code-1", attached=ATTACHED)],
    "update": [Code(1, "CODE-12345", attached=ATTACHED), Code(6, "Code-1", attached=ATTACHED)],
    "attach_by_profile_id": [Code(5, "CODE-1")],
    "attach_without_matching": [Code(1, "CODE-12345")],
    "detach_by_profile_id": [Code(4, "Code-1", attached=ATTACHED)],
    "export_all": [
        Code(6, "Code-1"),
        Code(6, "Code-2", attached=ATTACHED, activated="2024-04-01T14:04:12Z"),
        Code(6, "Code-3"),
    ],
    "databases_list": [],
    "profiles_import": [],
}


def everything_but_codes(service: Running) -> None:
    """Make the token, programs 1, 4, 5 and 6, and databases 1 and 2."""

    async def work(store: Store) -> None:
        async with store.transaction() as transaction:
            await transaction.insert_token(
                Token(0, "documented", frozenset(Scope)), token_digest(PLACEHOLDER)
            )
            for loyalty_id in (1, 4, 5, 6):
                await transaction.insert_program(LoyaltyProgram(loyalty_id, "Documented"))
            for database in DATABASES:
                await transaction.insert_database(database)

    service.in_store(work)


def nothing_but(service: Running, codes: list[Code]) -> None:
    """Leave these codes and one profile in the store, as they came about at their moments."""

    async def work(store: Store) -> None:
        uses, _ = make_service(store, read_settings({}), new_ids())
        holder = ProfileKey(1, profile_id=PROFILE_ID)
        async with store.transaction() as transaction:
            profile = Profile(1, PROFILE_ID, {}, NOON, NOON)
            await transaction.insert_profile(NewProfile(profile, ()))
        for code in codes:
            await uses.import_codes(at(code.created), code.loyalty_id, [code.code])
            if code.attached:
                await uses.attach(at(code.attached), code.loyalty_id, holder, code.code)
            if code.activated:
                await uses.activate(at(code.activated), code.loyalty_id, code.code)

    statements = [
        f"DELETE FROM {table}"
        for table in ("promo_code", "attachment", "event", "profile", "profile_identity")
    ]
    execute(service.url, [*statements, "UPDATE tally SET count = 0"])
    service.in_store(work)


def at(moment: str) -> Call:
    return Call(COMMAND, "given", read_moment(moment, "given"))


def execute(url: str, statements: list[str]) -> None:
    async def on_postgres() -> None:
        connection = await asyncpg.connect(url)
        await connection.execute(";".join(statements))
        await connection.close()

    if is_sqlite(url):
        connection = apsw.Connection(sqlite_path(url))
        connection.set_busy_timeout(5000)
        connection.execute(f"BEGIN IMMEDIATE; {';'.join(statements)}; COMMIT")
        connection.close()
    else:
        asyncio.run(on_postgres())


@pytest.fixture(scope="module", params=STORES)
def documented(request: pytest.FixtureRequest, stores: Stores) -> Iterator[Running]:
    with Running(stores.new(request.param)) as service:
        everything_but_codes(service)
        yield service


def in_order(body: str, form: str) -> Any:
    """Return an answer so that it equals another one only with the same order of keys."""

    def element(node: ET.Element) -> Any:
        return node.tag, (node.text or "").strip(), [element(child) for child in node]

    if form == "json":
        return json.loads(body, object_pairs_hook=lambda pairs: ("object", pairs))
    return element(ET.fromstring(body))  # noqa: S314  # our own answer


def expected(example: dict[str, Any], form: str, answer: str) -> str:
    """Return the documented answer with what depends on the data taken from ours."""
    documented = str(example[form]["response"])
    if example["name"] == "databases_list":
        counters = {"next_from_id": "3", "total_count": "2"}
        for name, value in counters.items():
            documented = re.sub(rf'({name}"?[:>] ?)\d+', rf"\g<1>{value}", documented)
    if example["name"] == "profiles_import":
        made = re.search(r'profile_id"?[:>] ?"?([0-9a-f]{24})\b', answer)
        assert made, answer
        documented = documented.replace("5f4fa1a5ce9448665fef548e", made[1])
    return documented


def test_every_documented_example_has_its_state_set_up() -> None:
    assert {example["name"] for example in EXAMPLES} == set(GIVEN)


@pytest.mark.parametrize(
    ("example", "form"),
    [
        pytest.param(example, form, id=f"{example['name']}-{form}")
        for example in EXAMPLES
        for form in ("json", "xml")
        if example[form]["request"] is not None
    ],
)
def test_the_documented_request_gets_the_documented_answer(
    documented: Running, example: dict[str, Any], form: str
) -> None:
    nothing_but(documented, GIVEN[example["name"]])
    profile_id = re.compile(rf'(profile_id"?[:>] ?"?){PLACEHOLDER}')
    request = profile_id.sub(rf"\g<1>{PROFILE_ID}", example[form]["request"])

    reply = documented.request(
        "POST",
        f"/api/v1.1/{example['call']}",
        request.encode(),
        {"content-type": f"application/{form}"},
    )

    answer = reply.body.decode()
    assert in_order(answer, form) == in_order(expected(example, form, answer), form)
    assert reply.status == 200
    assert reply.headers["content-type"] == f"application/{form}; charset=utf-8"
