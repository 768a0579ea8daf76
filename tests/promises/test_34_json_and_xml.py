"""JSON and XML are the same API: a request has the same outcome in either form."""

import itertools
import random
import re
from dataclasses import dataclass
from typing import Any

from tests.conftest import Stores
from tests.promises.proof import Proof, control, promise
from tests.races.builds import build_with
from tests.races.ledger import demand
from tests.running import Running
from tests.web.callers import FORMS, Answer, speak

ABSENT = object()
CODES = (
    "A",
    "a",
    "B",
    "C\u00e9",
    "Ce\u0301",
    " D ",
    "E&<x>",
    "F\u200b",
    "g h",
    "",
    "x" * 256,
    "\u00df",
    "SS",
)
EMAILS = ("ann@example.com", " ANN@Example.com", "bob@example.com", "cid@example.com", "nobody", "")
DATES = (
    "2030-01-01T00:00:00Z", "2031-06-30T12:00:00+03:00", "2020-01-01T00:00:00Z", "",
    "2030-01-01", "2030-02-30T00:00:00Z", "soon",
)  # fmt: skip
NUMBERS = ("x", "1.0", -1, "2147483648", "18446744073709551616", "\u0665")
FLAGS = (True, False, "yes")
WITHOUT_IDS = re.compile(r"\b[0-9a-f]{24}\b")
OF_THE_MOMENT = {"created", "attached", "activated"}
OF_THE_TWIN = {"loyalty_id", "database_id", "db_id", "id", "Id", "next_from_id", "total_count"}


@dataclass
class Twin:
    """A program and a database that are spoken to in one form only."""

    form: str
    loyalty_id: int
    db_id: int


Request = tuple[str, dict[str, Any]]


def request(rng: random.Random) -> Request:
    """Return a call with its fields; the ids of the twin stand in as `loyalty_id` and `db_id`.

    Values are of their field's type or texts that are wrong for it: in XML there are only texts.
    """

    def maybe(value: Any, often: float = 0.95) -> Any:
        return value if rng.random() < often else ABSENT

    def number(name: str) -> Any:
        return maybe(name if rng.random() < 0.95 else rng.choice(NUMBERS))

    def code() -> Any:
        return rng.choice(CODES) if rng.random() < 0.7 else f"N{rng.randrange(40)}"

    def profile() -> dict[str, Any]:
        email = rng.choice(EMAILS)
        return rng.choice(
            (
                {"email": email},
                {"matching": rng.choice(("email", "email_sub", "phone", "x")), "email": email},
                {"matching": "phone", "phone": rng.choice(("+7 999 1", "79991", "-"))},
                {"field_name": "card", "field_value": rng.choice(("1", "2", ""))},
                {"profile_id": "a" * 24},
                {},
            )
        )

    def data() -> dict[str, Any]:
        phones = rng.sample(("+79991", "+79992", "x"), rng.randint(0, 2))
        return {"email": rng.choice(EMAILS), "card": rng.choice(("1", "2")), "phones": phones}

    def codes() -> list[str]:
        # XML cannot say a list of one empty text: that is an empty list.
        some = [code() for _ in range(rng.randint(0, 4))]
        return some if some != [""] else []

    program, database = {"loyalty_id": number("loyalty_id")}, {"db_id": number("db_id")}
    named = program | {"code": maybe(code())}
    call, fields = rng.choice(
        (
            ("promocodes/import", program | {"codes": codes()}),
            ("promocodes/get", named),
            ("promocodes/activate", named),
            (
                "promocodes/update",
                named
                | {"expire_date": maybe(rng.choice(DATES), 0.7)}
                | {"activated": maybe(rng.choice(FLAGS), 0.5)},
            ),
            ("promocodes/attach", named | database | profile() | {"return_code": True}),
            ("promocodes/detach", named | database | profile()),
            ("promocodes/export_all", program),
            ("databases/get", {"id": number("db_id")}),
            ("profiles/import", database | profile() | {"data": data()}),
            ("profiles/update", database | profile() | {"data": data()}),
            ("profiles/get", database | profile()),
            ("profiles/delete", database | profile()),
            ("profiles/import_batch", database | {"data": [data(), data()]}),
            ("promocodes/burn", program),
        )
    )
    return call, {name: value for name, value in fields.items() if value is not ABSENT}


def asked(service: Running, twin: Twin, one: Request) -> Answer:
    call, fields = one
    ids = {"loyalty_id": twin.loyalty_id, "db_id": twin.db_id}
    real = {
        name: ids.get(value, value) if isinstance(value, str) else value
        for name, value in fields.items()
    }
    return speak(service, twin.form, call, real)


def plain(value: Any, name: str = "") -> Any:
    """Return what an answer says, without what differs between twins and moments.

    In XML everything is text, and a list of one looks as its item does.
    """
    if isinstance(value, dict):
        return {key: plain(inner, key) for key, inner in sorted(value.items())}
    if isinstance(value, list):
        items = [plain(item, name) for item in value]
        return items if len(items) > 1 else items[0] if items else ""
    text = str(value).lower() if isinstance(value, bool) else "" if value is None else str(value)
    if name in OF_THE_TWIN or (name in OF_THE_MOMENT and text):
        return name
    return WITHOUT_IDS.sub("ID", text)


def said(answer: Answer) -> Any:
    return answer.status, answer.error, answer.reason, plain(answer.tree)


def make_twins(service: Running, settings: dict[str, Any]) -> list[Twin]:
    return [
        Twin(
            form, service.program(name="Twin", **settings), service.database(creates_profiles=True)
        )
        for form in FORMS
    ]


def ask_both(service: Running, requests: int, seed: int) -> None:
    """Send generated requests to twins, to one in JSON, to the other in XML; demand the same."""
    rng = random.Random(seed)
    settings = rng.choice(
        (
            {"profile_limit": 3, "creates_on_attach": rng.random() < 0.5},
            {"multiple_usage": True, "attach_limit": 2, "activation_limit": 2, "code_limit": 20},
        )
    )
    twins = make_twins(service, settings)
    for _ in range(requests):
        one = request(rng)
        if one[0] == "promocodes/attach" and "multiple_usage" not in settings:
            # Which of several free codes it is, the store may choose; so one is named.
            one[1].setdefault("code", "A")
        in_json, in_xml = (said(asked(service, twin, one)) for twin in twins)
        demand(in_json == in_xml, one, "in JSON:", in_json, "in XML:", in_xml)
    states = [state(service, twin) for twin in twins]
    demand(states[0] == states[1], "the twins became", *states)


def state(service: Running, twin: Twin) -> Any:
    """Return all codes of a twin, asked for in one and the same form."""
    wanted = {"loyalty_id": twin.loyalty_id}
    exported = speak(service, "json", "promocodes/export_all", wanted)
    codes = [one["code"] for one in exported.tree["data"]]
    found = (speak(service, "json", "promocodes/get", wanted | {"code": code}) for code in codes)
    return said(exported), [said(one) for one in found]


@promise(34)
def test_a_request_has_the_same_outcome_in_json_and_in_xml(service: Running, proof: Proof) -> None:
    requests = proof.size(quick=150, night=500)
    for seed in proof.rounds(quick=2, night=20):
        ask_both(service, requests, seed)
        proof.trials(requests, "requests in both forms")


@control(34, fault="tests.promises.faults.forms:xml_codes_unchecked", store="sqlite")
def test_a_build_whose_xml_skips_a_check_is_found_out(stores: Stores, proof: Proof) -> None:
    fault = "tests.promises.faults.forms:xml_codes_unchecked"
    with build_with(fault, stores.new("sqlite")) as build:
        seeds = itertools.count(proof.seed)
        proof.control(lambda _: ask_both(build, 200, next(seeds)), runs=10)
