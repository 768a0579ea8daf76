"""No input breaks the service: no 5xx and no status that is not documented."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as with_seed
from hypothesis import strategies as st

from promint.domain.errors import public_errors
from promint.web.calls import OPERATIONS
from tests.conftest import Stores
from tests.promises.proof import Proof, control, promise
from tests.races.builds import build_with
from tests.races.ledger import demand
from tests.running import Running
from tests.web.callers import as_xml
from tests.web.manage.callers import token_for

HANDLERS = "tests.promises.faults.handlers:"
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "ignored_auth",
    "use_after_free",
)
TOKENS = r"/tokens/\{token_id\}"
"""What takes a token away, that of the run among them: it is tried last."""


# -- the management API, by its document -----------------------------------------------------


def fuzz(
    service: Running, folder: Path, examples: int, seed: int, *, phases: str, known: bool
) -> int:
    """Let schemathesis loose on the document; return how many requests it sent.

    With `known`, addresses lead to things that are there.
    """
    program, database = service.program(["A", "B"]), service.database()
    (profile,) = service.profiles(database, 1)
    ids = {"loyalty_id": program, "db_id": database, "profile_id": f'"{profile}"', "code": '"A"'}
    lines = [f'"path.{name}" = {value}' for name, value in ids.items()] if known else []
    config = folder / f"{seed}-{known}.toml"
    config.write_text("\n".join(["[parameters]", *lines, ""]))
    token = token_for(service)
    sent = 0
    parts = ("--exclude-path-regex", "--include-path-regex")
    for which in parts if "coverage" in phases else parts[:1]:
        said = subprocess.run(
            [
                sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run",
                f"http://127.0.0.1:{service.ports[0]}/manage/v1/openapi.json",
                "--header", f"Authorization: Bearer {token}",
                "--checks", ",".join(CHECKS), "--phases", phases, "--seed", str(seed),
                "--max-examples", str(examples), "--continue-on-failure", "--no-shrink",
                "--warnings", "off", "--no-color", which, TOKENS,
            ],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )  # fmt: skip
        counted = re.search(r"([\d,]+) generated", said.stdout)
        assert counted, said.stdout[-4000:] + said.stderr[-2000:]
        demand(said.returncode == 0, said.stdout[-6000:])
        sent += int(counted[1].replace(",", ""))
    return sent


@promise(36)
def test_the_management_api_keeps_to_its_document_whatever_is_sent(
    stores: Stores, kind: str, proof: Proof, tmp_path: Path
) -> None:
    # Quick tries addresses of what is there on one store, and any addresses on the other.
    is_quick = proof.size(quick=1, night=0) == 1
    ids = [kind == "sqlite"] if is_quick else [True, False]
    phases = "fuzzing" if is_quick else "coverage,fuzzing"
    examples = proof.size(quick=3, night=60)
    with Running(stores.new(kind)) as service:
        for seed in proof.rounds(quick=1, night=4):
            for known in ids:
                sent = fuzz(service, tmp_path, examples, seed, phases=phases, known=known)
                proof.trials(sent, "requests")


@control(36, fault=f"{HANDLERS}misfits_unhandled", store="sqlite")
def test_a_management_api_with_a_handler_less_is_found_out(
    stores: Stores, proof: Proof, tmp_path: Path
) -> None:
    with build_with(f"{HANDLERS}misfits_unhandled", stores.new("sqlite")) as build:
        proof.control(
            lambda seed: fuzz(build, tmp_path, 3, seed, phases="fuzzing", known=True), runs=5
        )


# -- the vendor's calls ----------------------------------------------------------------------

FIELDS = (
    "loyalty_id", "code", "codes", "db_id", "email", "phone", "profile_id", "matching", "data",
    "field_name", "field_value", "activated", "expire_date", "return_code", "format", "token",
    "id", "limit", "from_id", "ui_tags", "groups", "groups_id",
)  # fmt: skip
STATUSES = {200, *(error.number for error in public_errors())} - {500, 503}
scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
    | st.sampled_from(["A", "1", "ann@example.com", "custom", "xml", "2030-01-01T00:00:00Z"])
    | st.integers(1, 3)
)  # fmt: skip
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)
bodies = st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=5), values, max_size=6)
damage = st.none() | st.tuples(st.integers(0, 400), st.binary(max_size=4))
types = st.sampled_from(
    ["application/json", "application/xml", "text/plain", "", "text/xml; charset=x"]
)


def body_of(fields: dict[str, Any], form: str, broken: tuple[int, bytes] | None) -> bytes:
    """Write fields in a form; `broken` are bytes that replace others at a place."""
    try:
        body = as_any_json(fields) if form == "json" else as_xml(fields)
    except UnicodeEncodeError:
        body = b'{"code":"\xed\xa0\x80"}'
    if broken is not None:
        place, data = broken
        body = body[:place] + data + body[place + len(data) :]
    return body


def as_any_json(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, ensure_ascii=False).encode()


def bother(service: Running, examples: int, seed: int) -> None:
    """Send generated bodies to all calls; demand documented answers."""
    program, database = service.program(["A"]), service.database()
    service.profiles(database, 1)
    here = {"loyalty_id": program, "db_id": database}
    authorization = f"Bearer {service.token}"

    @with_seed(seed)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(
        st.sampled_from([*OPERATIONS]), bodies, st.booleans(), st.sampled_from(["json", "xml"]),
        damage, types, st.sampled_from(["", "k", "\xe9"]),
    )  # fmt: skip
    def sent(
        call: str,
        fields: dict[str, Any],
        is_here: bool,
        form: str,
        broken: Any,
        kind: str,
        key: str,
    ) -> None:
        body = body_of(here | fields if is_here else fields, form, broken)
        headers = {"authorization": authorization}
        headers |= {"content-type": kind if broken else f"application/{form}"}
        headers |= {"idempotency-key": key} if key else {}
        reply = service.request("POST", f"/api/v1.1/{call}", body, headers)
        demand(reply.status in STATUSES, call, body, "was answered", reply.status)
        demand(reply.status == 200 or reply.reason != "", call, body, "without a reason")

    sent()


@promise(36)
def test_the_vendors_calls_answer_as_documented_whatever_is_sent(
    stores: Stores, kind: str, proof: Proof
) -> None:
    examples = proof.size(quick=200, night=2_500)
    with Running(stores.new(kind)) as service:
        for seed in proof.rounds(quick=1, night=10):
            bother(service, examples, seed)
            proof.trials(examples, "requests")


@control(36, fault=f"{HANDLERS}broken_json_unhandled", store="sqlite")
def test_a_vendor_api_with_a_handler_less_is_found_out(stores: Stores, proof: Proof) -> None:
    with build_with(f"{HANDLERS}broken_json_unhandled", stores.new("sqlite")) as build:
        proof.control(lambda seed: bother(build, 300, seed))
