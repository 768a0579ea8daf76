"""XML reads no file and calls nobody."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import Stores
from tests.promises.proof import Proof, control, promise
from tests.races.builds import build_with
from tests.races.ledger import demand
from tests.running import Running
from tests.web.callers import send

GUARD = "tests.promises.faults.guard:"
CALL = "promocodes/get"
SCHEMAS = "http://www.w3.org/2001/XMLSchema-instance"


@pytest.fixture(scope="module")
def host(stores: Stores) -> Iterator[Running]:
    """A service of one process on SQLite: what is refused here never reaches a store."""
    with Running(stores.new("sqlite")) as running:
        yield running


class Canary:
    """A listener that nobody may call."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.settimeout(0.2)
        self.port = self._socket.getsockname()[1]

    def is_silent(self) -> bool:
        try:
            connection, _ = self._socket.accept()
        except TimeoutError:
            return True
        connection.close()
        return False

    def close(self) -> None:
        self._socket.close()


@contextmanager
def canary() -> Iterator[Canary]:
    made = Canary()
    try:
        yield made
    finally:
        made.close()


def outside(address: str) -> Iterator[tuple[str, str]]:
    """Yield documents that ask a parser to fetch an address."""
    body = "<xml><loyalty_id>1</loyalty_id><code>{}</code></xml>"
    yield "entity", f'<!DOCTYPE xml [<!ENTITY x SYSTEM "{address}">]>' + body.format("&x;")
    yield "public", f'<!DOCTYPE xml [<!ENTITY x PUBLIC "p" "{address}">]>' + body.format("&x;")
    yield "parameter", f'<!DOCTYPE xml [<!ENTITY % x SYSTEM "{address}"> %x;]>' + body.format("A")
    yield "subset", f'<!DOCTYPE xml SYSTEM "{address}">' + body.format("A")
    yield "public subset", f'<!DOCTYPE xml PUBLIC "-//X//EN" "{address}">' + body.format("A")
    yield (
        "nested",
        f"<!DOCTYPE xml [<!ENTITY % x \"<!ENTITY y SYSTEM '{address}'>\"> %x;]>"
        + body.format("&y;"),
    )
    yield (
        "included",
        f'<xml xmlns:i="http://www.w3.org/2001/XInclude"><i:include href="{address}"/></xml>',
    )
    yield "style", f'<?xml-stylesheet href="{address}"?>' + body.format("A")
    yield (
        "schema",
        f'<xml xmlns:s="{SCHEMAS}" s:noNamespaceSchemaLocation="{address}"><code>A</code></xml>',
    )


def fetches(file: Path, port: int) -> dict[str, str]:
    """Return every way to ask for a file or a listener."""
    http = f"127.0.0.1:{port}"
    addresses = (
        file.as_uri(), str(file), f"http://{http}/x.dtd", f"https://{http}/x", f"ftp://{http}/x",
        f"jar:http://{http}/x!/y", f"gopher://{http}/_x", f"//{http}/x",
    )  # fmt: skip
    return {f"{n} {address}": text for address in addresses for n, text in outside(address)}


def hold_no_fetch(host: Running, file: Path, port: int) -> None:
    for name, text in fetches(file, port).items():
        reply = send(host, CALL, text.encode(), content_type="application/xml")
        demand(b"MARKED" not in reply.body, name, "tells of the file")
        demand(reply.status < 500, name, "is answered", reply.status)
        if "<!DOCTYPE" in text:
            demand(reply.reason == "malformed", name, "is", reply.reason)


@promise(32, store="sqlite")
def test_xml_reads_no_file_and_calls_nobody(host: Running, tmp_path: Path, proof: Proof) -> None:
    file = tmp_path / "marked"
    file.write_text("MARKED")
    with canary() as listener:
        forms = len(fetches(file, listener.port))
        assert forms >= 60
        hold_no_fetch(host, file, listener.port)
        demand(listener.is_silent(), "somebody called")
    proof.trials(forms, "ways to fetch")


@control(32, fault="entities are resolved", store="sqlite")
def test_the_forms_find_a_build_that_resolves_entities(
    stores: Stores, tmp_path: Path, proof: Proof
) -> None:
    file = tmp_path / "marked"
    file.write_text("MARKED")
    with (
        build_with(GUARD + "entities_resolved", stores.new("sqlite")) as host,
        canary() as listener,
    ):
        proof.control(lambda _: hold_no_fetch(host, file, listener.port))
