"""XML that explodes is refused before it does, at next to no cost."""

import itertools
import re
import threading
from collections.abc import Iterator
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
BOMBERS = 4
MEBIBYTE = 1024 * 1024
DOCTYPE_BYTES, PIECES_BYTES = 5 * MEBIBYTE, 24 * MEBIBYTE
"""What a bomb may cost for a moment. Without a DOCTYPE a body of 1 MiB is read, piece by piece."""


@pytest.fixture(scope="module")
def host(stores: Stores) -> Iterator[Running]:
    """A service of one process on SQLite: what is refused here never reaches a store."""
    with Running(stores.new("sqlite")) as running:
        yield running


def exponential(depth: int, width: int = 10) -> str:
    entities = '<!ENTITY e0 "boom">' + "".join(
        f'<!ENTITY e{n} "{f"&e{n - 1};" * width}">' for n in range(1, depth + 1)
    )
    return f"<!DOCTYPE xml [{entities}]><xml><code>&e{depth};</code></xml>"


def bombs() -> dict[str, str]:
    """Return documents that grow, recurse or nest; none says anything that could be answered."""
    found = {f"exponential {depth}": exponential(depth) for depth in range(2, 13)}
    found |= {f"exponential, wide {width}": exponential(4, width) for width in (2, 50, 100)}
    for count in (10, 1_000, 50_000):
        text = (
            f'<!DOCTYPE xml [<!ENTITY a "{"a" * count}">]><xml><code>{"&a;" * count}</code></xml>'
        )
        found[f"quadratic {count}"] = text[:900_000]
    for root in ("xml", "lolz", "a:b"):
        found[f"in attributes of {root}"] = (
            f'<!DOCTYPE {root} [<!ENTITY a "aaaaaaaaaa">]><{root} x="{"&a;" * 10_000}"/>'
        )
    recursive = {
        "itself": '<!ENTITY a "&a;">',
        "two": '<!ENTITY a "&b;"><!ENTITY b "&a;">',
        "three": '<!ENTITY a "&b;&b;"><!ENTITY b "&c;&c;"><!ENTITY c "&a;&a;">',
        "parameter": '<!ENTITY % a "%b;"><!ENTITY % b "%a;"> %a;',
        "parameter in an entity": "<!ENTITY % a \"<!ENTITY b '&#37;a;'>\"> %a;",
        "predefined": '<!ENTITY amp "&amp;&amp;">',
        "default attribute": '<!ENTITY a "x"><!ATTLIST xml y CDATA "&a;&a;&a;">',
        "notation": '<!NOTATION n SYSTEM "n"><!ENTITY a SYSTEM "a" NDATA n>',
        "many entities": "".join(f'<!ENTITY a{n} "{n}">' for n in range(20_000)),
        "many attributes": "<!ATTLIST xml "
        + " ".join(f'a{n} CDATA "x"' for n in range(20_000))
        + ">",
        "a deep model": f"<!ELEMENT xml {'(' * 5_000}a{')' * 5_000}>",
        "a wide model": f"<!ELEMENT xml ({'|'.join(f'a{n}' for n in range(20_000))})>",
        "nothing": "",
    }
    found |= {
        f"recursive: {name}": f"<!DOCTYPE xml [{inside}]><xml><code>&a;</code></xml>"
        for name, inside in recursive.items()
    }
    found |= {
        "deep": "<xml>" + "<a>" * 200_000,
        "deep, closed": "<xml>" + "<a>" * 60_000 + "</a>" * 60_000 + "</xml>",
        "a long name": f"<xml><{'a' * 900_000}/></xml",
        "a long attribute": f'<xml><a x="{"y" * 900_000}"></xml>',
        "many attributes": "<xml><a " + " ".join(f'a{n}="1"' for n in range(60_000)) + "></xml>",
        "a long comment": f"<xml><!--{'x' * 900_000}",
        "a long instruction": f"<xml><?x {'y' * 900_000}",
        "open CDATA": f"<xml><![CDATA[{'x' * 900_000}",
        "many elements": "<xml>" + "<a/>" * 200_000 + "text</xml>",
    }
    return found


BOMBS = bombs()


def hold_refused(host: Running, name: str, body: bytes) -> None:
    reply = send(host, CALL, body, content_type="application/xml")
    demand(reply.status == 400, name, "is answered", reply.status, reply.body[:200])
    demand(reply.reason == "malformed", name, "is", reply.reason)
    demand(len(reply.body) < 1_000, name, "is answered at length")


def peak_of(host: Running) -> tuple[Path, int]:
    """Begin to watch a process's memory; return where its peak is told, and where it stands."""
    folder = Path(f"/proc/{host.running[0].pid}")
    (folder / "clear_refs").write_text("5")
    return folder / "status", peak_bytes(folder / "status")


def peak_bytes(status: Path) -> int:
    (kilobytes,) = re.findall(r"VmHWM:\s+(\d+) kB", status.read_text())
    return int(kilobytes) * 1024


@promise(31, store="sqlite")
@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_and_costs_next_to_nothing(
    host: Running, name: str, proof: Proof
) -> None:
    status, before = peak_of(host)

    hold_refused(host, name, BOMBS[name].encode())

    most = DOCTYPE_BYTES if "<!DOCTYPE" in BOMBS[name] else PIECES_BYTES
    demand(peak_bytes(status) - before < most, name, "costs", peak_bytes(status) - before)
    proof.trials(1, "bombs")


@promise(31, store="sqlite")
def test_there_are_forty_bombs() -> None:
    assert len(BOMBS) >= 40


@promise(31, store="sqlite")
def test_others_are_served_while_bombs_come_in(host: Running, proof: Proof) -> None:
    count = proof.size(quick=100, night=1_000)
    program = host.program(["A"])
    thrown = list(itertools.islice(itertools.cycle(BOMBS.items()), count))

    def throw(first: int) -> None:
        for name, text in thrown[first::BOMBERS]:
            hold_refused(host, name, text.encode())

    bombers = [threading.Thread(target=throw, args=(first,)) for first in range(BOMBERS)]
    for bomber in bombers:
        bomber.start()
    served = 0
    while any(bomber.is_alive() for bomber in bombers) or not served:
        assert host.call(CALL, {"loyalty_id": program, "code": "A"}).error == 0
        served += 1
    for bomber in bombers:
        bomber.join()
    proof.trials(count, "bombs beside others")


@control(31, fault="entities are expanded", store="sqlite")
def test_the_bombs_find_a_build_that_expands_entities(stores: Stores, proof: Proof) -> None:
    with build_with(GUARD + "entities_resolved", stores.new("sqlite")) as host:
        proof.control(lambda _: hold_refused(host, "exponential 4", exponential(4).encode()))
