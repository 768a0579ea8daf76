"""XML that explodes or reads files, JSON without one meaning, the service's own fields (31-33, 37).

What is refused costs next to nothing, and what is ignored changes nothing.
"""

import itertools
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from promint.web.manage.openapi import ENDPOINTS
from tests.conftest import Stores
from tests.races.builds import build_with
from tests.races.ledger import Broken, demand, rows
from tests.running import Running
from tests.web.callers import FORMS, send, speak
from tests.web.conftest import Shop, make_shop
from tests.web.manage.callers import Manager

GUARD = "tests.promises.faults.guard:"

CALL = "promocodes/get"
SCHEMAS = "http://www.w3.org/2001/XMLSchema-instance"
BOMBERS = 4
IN_A_ROW = 100
"""Bombs one after the other while others are served; 1,000 make the figure of row 31."""
MEBIBYTE = 1024 * 1024
DOCTYPE_BYTES, PIECES_BYTES = 5 * MEBIBYTE, 24 * MEBIBYTE
"""What a bomb may cost for a moment. Without a DOCTYPE a body of 1 MiB is read, piece by piece."""


@pytest.fixture(scope="module")
def service(stores: Stores) -> Iterator[Running]:
    with Running(stores.new("sqlite")) as running:
        yield running


# -- XML -----------------------------------------------------------------------------------


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


def hold_refused(service: Running, name: str, body: bytes) -> None:
    reply = send(service, CALL, body, content_type="application/xml")
    demand(reply.status == 400, name, "is answered", reply.status, reply.body[:200])
    demand(reply.reason == "malformed", name, "is", reply.reason)
    demand(len(reply.body) < 1_000, name, "is answered at length")


def peak_of(service: Running) -> tuple[Path, int]:
    """Begin to watch a process's memory; return where its peak is told, and where it stands."""
    folder = Path(f"/proc/{service.running[0].pid}")
    (folder / "clear_refs").write_text("5")
    return folder / "status", peak_bytes(folder / "status")


def peak_bytes(status: Path) -> int:
    (kilobytes,) = re.findall(r"VmHWM:\s+(\d+) kB", status.read_text())
    return int(kilobytes) * 1024


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_and_costs_next_to_nothing(service: Running, name: str) -> None:
    status, before = peak_of(service)

    hold_refused(service, name, BOMBS[name].encode())

    most = DOCTYPE_BYTES if "<!DOCTYPE" in BOMBS[name] else PIECES_BYTES
    assert peak_bytes(status) - before < most


def test_there_are_forty_bombs() -> None:
    assert len(BOMBS) >= 40


def test_others_are_served_while_bombs_come_in(service: Running) -> None:
    program = service.program(["A"])
    thrown = list(itertools.islice(itertools.cycle(BOMBS.items()), IN_A_ROW))

    def throw(first: int) -> None:
        for name, text in thrown[first::BOMBERS]:
            hold_refused(service, name, text.encode())

    bombers = [threading.Thread(target=throw, args=(first,)) for first in range(BOMBERS)]
    for bomber in bombers:
        bomber.start()
    served = 0
    while any(bomber.is_alive() for bomber in bombers) or not served:
        assert service.call(CALL, {"loyalty_id": program, "code": "A"}).error == 0
        served += 1
    for bomber in bombers:
        bomber.join()


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


def hold_no_fetch(service: Running, file: Path, port: int) -> None:
    for name, text in fetches(file, port).items():
        reply = send(service, CALL, text.encode(), content_type="application/xml")
        demand(b"MARKED" not in reply.body, name, "tells of the file")
        demand(reply.status < 500, name, "is answered", reply.status)
        if "<!DOCTYPE" in text:
            demand(reply.reason == "malformed", name, "is", reply.reason)


def test_xml_reads_no_file_and_calls_nobody(service: Running, tmp_path: Path) -> None:
    file = tmp_path / "marked"
    file.write_text("MARKED")
    with canary() as listener:
        assert len(fetches(file, listener.port)) >= 60
        hold_no_fetch(service, file, listener.port)
        assert listener.is_silent()


def test_the_forms_find_a_build_that_resolves_entities(stores: Stores, tmp_path: Path) -> None:
    file = tmp_path / "marked"
    file.write_text("MARKED")
    with build_with(GUARD + "entities_resolved", stores.new("sqlite"), 1) as service:
        with canary() as listener, pytest.raises(Broken, match="tells of the file"):
            hold_no_fetch(service, file, listener.port)
        with pytest.raises(Broken):
            hold_refused(service, "exponential 4", exponential(4).encode())


# -- JSON ----------------------------------------------------------------------------------

NO_WORDS = (
    "NaN Infinity -Infinity +1 -01 01 00 1. .5 -.5 1.e1 1e 1e+ 1E- 0x10 0b1 1_000 - -a 1a "
    "++1 --1 1e400 -1e400 18446744073709551616 -9223372036854775809 nan inf INF \u221e "
    "\uff11 \u0665 1e1.5 0e 2.e-3 True TRUE False None nil NULL undefined tru nul fals "
    "truth yes void "
)
"""Numbers that are none or too large, and words that JSON does not have."""

NO_VALUES = [
    *NO_WORDS.split(),
    "9" * 400, "-" + "9" * 5000, "1" + "0" * 309,
    # Texts.
    "'a'", '"a', 'a"', '"\\x41"', '"\\u12"', '"\\u123g"', '"\\U00000041"', '"\\"', '"\\a"',
    '"\\\'"',
    '"\t"', '"\n"', '"\r"', '"\x00"', '"\x1f"', '"\x08"', '"a" "b"', '"a"b', "`a`", "“a”",
    '"\\ud800"', '"\\udc00"', '"\\ud800\\ud800"', '"\\ud800x"', '"\\udfff\\ud800"', '"\\uD83D"',
    '"\\ud800\\u0041"', '"\\u00"', '"\\u"', '"\\ "', '"a\\',
    # Lists.
    "[", "]", "[1", "[1,", "[1,]", "[,1]", "[,]", "[1,,2]", "[1 2]", "[1;2]", "(1)", "[1}",
    "[\"a\"",
    "[[]", "[]]", "[1]x", "[...]", "[NaN]", "[-]", "[1:2]", "[\x0c1]", "[\u00a01]", "[\u2028]",
    # Objects.
    "{", "}", '{"a"', '{"a":', '{"a":1', '{"a":1,', '{"a":1,}', "{,}", '{"a" 1}', '{"a"=1}',
    "{a:1}",
    "{'a':1}", "{1:1}", '{"a":1 "b":2}', '{"a":1;"b":2}', '{"a":1]', '{:1}', '{"a"::1}', "{null:1}",
    '{"a":1}}', '{"a":1}{}', '{"a":/**/1}', '{"a":1}//', '{"a":1}#', '{"a":,"b":1}', '{[1]:1}',
    # Keys that come twice and differ.
    '{"a":1,"a":2}', '{"a":1,"\\u0061":2}', '{"a":null,"a":0}', '{"a":"1","a":1}',
    '{"a":[],"a":{}}',
    '{"b":{"a":1,"a":2}}', '{"":1,"":2}', '{"a":true,"a":1}', '{"a":1,"b":2,"a":3}',
    # Depth.
    "[" * 33 + "]" * 33, '{"a":' * 33 + "1" + "}" * 33, "[" * 100_000, '{"a":' * 50_000,
    # Other than JSON.
    "", "<a/>", "a: 1", "--- 1", "a=1", "\ufeff1", "/**/1", "1//x", "1#x", "!!1", "@1", "$1",
]  # fmt: skip
"""What stands where a JSON value has to stand."""

NO_DOCUMENTS = [
    b'{"a":"\xff"}', b'{"a":"\xc0\xaf"}',
    b'{"a":"\xed\xa0\x80"}', b'{"\xff":1}', b'{"a":1}\x00', b"\x00{}", b'{"a":1}\xef\xbb\xbf',
    b"\xef\xbb\xbf\xef\xbb\xbf{}", b'{"a":"\xf4\x90\x80\x80"}', b'{"a":"\xf8\x88\x80\x80\x80"}',
    b"[]", b"[{}]", b'"a"', b"1", b"null", b"true", b"{}{}", b"{},{}", b"{}\n{}", b"{}x", b"{]",
]  # fmt: skip

FINE_VALUES = [
    "0", "-0", "1", "-1", "1.5", "1e3", "1E+2", "-1.5e-3", "18446744073709551615", "true", "false",
    "null", '""', '"a"', '"\\u0041"', '"\\ud83d\\ude00"', '"\\/\\b\\f\\n\\r\\t\\\\\\""', '"😀"',
    "[]", "[1,[2,[3]]]", "{}", '{"a":{"b":1}}', '{"a":1,"a":1}', " 1 ", "\t1\n", "[ ]", "{ }",
    '"\u2028"', '"\x7f"', "[" * 31 + "]" * 31,
]  # fmt: skip


def documents() -> dict[str, bytes]:
    """Return texts that have no meaning, or two."""
    places = {
        "a field": '{"loyalty_id": 1, "code": "A", "x": %s}',
        "a list": '{"loyalty_id": 1, "code": "A", "x": [1, %s]}',
    }
    found = {
        f"{value[:40]!r} in {place} ({number})": (form % value).encode()
        for place, form in places.items()
        for number, value in enumerate(NO_VALUES)
    }
    return found | {f"{body[:40]!r} as a whole": body for body in NO_DOCUMENTS}


DOCUMENTS = documents()


def hold_one_meaning(service: Running) -> None:
    for name, body in DOCUMENTS.items():
        reply = send(service, CALL, body)
        demand(reply.status == 400, name, "is answered", reply.status, reply.body)
        demand(reply.reason == "malformed", name, "is", reply.reason)


def test_a_text_without_one_meaning_is_refused(service: Running) -> None:
    assert len(DOCUMENTS) >= 200

    hold_one_meaning(service)


@pytest.mark.parametrize("value", FINE_VALUES)
def test_a_text_with_one_meaning_is_read(service: Running, value: str) -> None:
    body = f'{{"loyalty_id": 2000000000, "code": "A", "x": {value}}}'

    assert send(service, CALL, body.encode()).reason == "program_not_found"


def test_the_texts_find_a_build_that_reads_json_as_the_library_does(stores: Stores) -> None:
    with (
        build_with(GUARD + "json_read_leniently", stores.new("sqlite"), 1) as service,
        pytest.raises(Broken),
    ):
        hold_one_meaning(service)


# -- fields that are the service's own -----------------------------------------------------

OWNED: dict[str, Any] = {
    "id": 7, "created": "2001-01-01T00:00:00Z", "created_at": 1, "attached": "2001-01-01T00:00:00Z",
    "attached_at": 1, "activated_at": 1, "expires_at": 1, "is_attached": True, "is_activated": True,
    "is_expired": True, "attach_count": 9, "activation_count": 9, "version": 99, "seq": 1,
    "shard_key": 1, "code_key": "X", "batch_id": 1, "token_id": 1, "database_id": 1, "holder": "x",
    "event_id": "00", "request_id": "forged", "author": "forged", "scopes": ["admin"],
    "programs": None, "revoked": None, "now": "2001-01-01T00:00:00Z", "activation_limit": 99,
    "active": True, "multiple_usage": True,
}  # fmt: skip
"""What the service decides by itself; `database_id` and the like are told, never taken."""


@pytest.fixture(scope="module")
def shop(service: Running) -> Shop:
    return make_shop(service)


def rows_of(shop: Shop, code: str) -> list[tuple[Any, ...]]:
    """Return a code's row and its events, without what two codes differ in anyway."""
    url, key = shop.service.url, code.lower()
    codes = rows(
        url,
        "SELECT expires_at, expiry_source, attached_at IS NULL, activated_at IS NULL, "
        "attach_count, activation_count, database_id, profile_id, version, fields, shard_key "
        "FROM promo_code WHERE code_key = $1",
        key,
    )
    events = rows(
        url,
        "SELECT kind, version, database_id, profile_id, attach_count, activation_count, "
        "expires_at, token_id, request_id FROM event WHERE code_key = $1 ORDER BY version, kind",
        key,
    )
    return [*codes, *(event[:-1] for event in events), ("forged" in repr(events),)]


CHANGES: dict[str, dict[str, Any]] = {
    "promocodes/import": {},
    "promocodes/attach": {},
    "promocodes/activate": {},
    "promocodes/update": {"expire_date": "2031-01-01T00:00:00Z"},
    "promocodes/detach": {},
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("call", CHANGES)
def test_a_field_of_the_service_sent_by_a_caller_changes_nothing(
    shop: Shop, call: str, form: str
) -> None:
    def change(code: str, more: dict[str, Any]) -> list[tuple[Any, ...]]:
        fields = shop.profile(code=code, codes=[code], matching="profile_id", **CHANGES[call])
        sent = {**more, **fields}
        assert speak(shop.service, form, call, sent).error == 0
        return rows_of(shop, code)

    makes = {"promocodes/import": shop.new_code, "promocodes/attach": shop.free_code}
    make = makes.get(call, shop.attached_code)
    plain = change(make(), {})

    assert change(make(), OWNED) == plain
    for name, value in OWNED.items():
        assert change(make(), {name: value}) == plain, name


@pytest.mark.parametrize("form", FORMS)
def test_a_profile_keeps_its_own_id_and_dates(shop: Shop, form: str) -> None:
    email = f"owned-{form}@example.com"
    forged = {"id": "f" * 24, "_id": "f" * 24, "created_at": 1, "updated_at": 1, "version": 99}
    fields = {
        "db_id": shop.db_id,
        "matching": "email",
        "email": email,
        **forged,
        "data": {"city": "Oslo"},
    }

    answer = speak(shop.service, form, "profiles/import", fields)

    assert answer.error == 0
    assert answer.tree["profile_id"] != "f" * 24
    (row,) = rows(
        shop.service.url,
        "SELECT created_at, updated_at, version FROM profile WHERE profile_id = $1",
        answer.tree["profile_id"],
    )
    assert min(row[0], row[1]) > 10**15
    assert row[2] == 1


def test_the_management_api_refuses_what_is_not_the_caller_s(service: Running) -> None:
    manager = Manager(service)
    program, database = service.program(["A"]), service.database()
    ids = {"loyalty_id": program, "db_id": database, "code": "A", "profile_id": "a" * 24}
    refused = 0
    for endpoint in ENDPOINTS:
        if endpoint.body is None or endpoint.takes_file:
            continue
        known = {field.encode_name for field in _fields_of(endpoint.body)}
        path = endpoint.path.format_map({**ids, "token_id": 1, "job_id": 1, "batch_id": 1})
        for name, value in OWNED.items():
            if name in known:
                continue
            assert endpoint.example is not None
            body = {**(endpoint.example.body or {}), name: value}
            found = manager.refused(endpoint.method, path, body)
            assert (found["number"], found["field"]) == (400, name), endpoint.name
            refused += 1
    assert refused > 300


def _fields_of(shape: Any) -> Any:
    return msgspec.structs.fields(shape)
