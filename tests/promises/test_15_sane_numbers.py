"""Counts, dates and limits stay sane: absurd ones are refused at every way in, by each layer."""

import json
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import Any

import click
import pytest

from promint.cli.output import Whole
from promint.config import BadSetting, read_settings
from promint.domain import programs
from promint.domain.errors import BadValue
from promint.domain.model import MOMENT_MAX, MOMENT_MIN, LoyaltyProgram
from promint.wire.rows import FileFormat
from promint.wire.rows.dates import LocalDates
from tests.commands.running_commands import Promint
from tests.conftest import Stores
from tests.promises.proof import Proof, control, promise
from tests.promises.raw import Raw
from tests.races.builds import build_with
from tests.races.ledger import demand
from tests.running import Running
from tests.web.callers import read
from tests.web.manage.callers import Manager
from tests.world import NOON, World

SANITY = "tests.promises.faults.sanity:"
LIMITS = ("code_limit", "profile_limit", "attach_limit", "activation_limit", "lifetime_s")
MOMENTS = ("issue_from", "issue_until", "default_expire_date")

NO_NUMBERS = (
    "-1", "1.5", "0.12345678901234567890", "1.0", "1e2", "1e400", "-1e400", "NaN", "Infinity",
    "true", "false", "[]", "{}", '""', '"5 "', '"1_000"', '"\u0661\u0662"', '"\uff11"', '"0x1f"',
    '"five"', "9223372036854775807", "9223372036854775808", "-9223372036854775809", "9" * 400,
)  # fmt: skip
"""As JSON has them. Numbers, and texts that Python would take for some."""

NO_DATES = (
    "-1", "0", "1.5", "NaN", "1e400", "true", "9223372036854775808", '"2026-12-31"', '"tomorrow"',
    '"2026-12-31T23:59:59"', '"2026-13-01T00:00:00Z"', '"2026-02-30T00:00:00Z"',
    '"2026-12-31T24:00:00Z"', '"2026-12-31T23:60:00Z"', '"0000-01-01T00:00:00Z"',
    '"10000-01-01T00:00:00Z"', '"0001-01-01T00:00:00+01:00"', '"9999-12-31T23:59:59-01:00"',
    '"2026-12-31T23:59:59+24:00"', '"\u0662\u0660\u0662\u0666-12-31T00:00:00Z"', '"1_000"',
    '"20261231"', '"2026-W53-1T00:00:00Z"', '"2026-12-31 23:59:59 Z"', '"-2026-12-31T00:00:00Z"',
)  # fmt: skip


# -- the management API --------------------------------------------------------------------


def absurd_settings() -> Iterator[tuple[str, str]]:
    for name in (*LIMITS, "buckets", "loyalty_id"):
        yield from ((name, value) for value in ("0", *NO_NUMBERS))
    yield from (("low_stock", value) for value in NO_NUMBERS)
    yield from ((name, value) for name in MOMENTS for value in NO_DATES)


def numbers_for_the_domain() -> list[tuple[str, str]]:
    """Return those that the domain has to refuse by itself: an id of 0 is the next free one there.

    Dates are none of them: the domain knows moments only, which one layer alone reads.
    """
    known = ("loyalty_id", "0")
    return [one for one in absurd_settings() if one != known and one[0] not in MOMENTS]


def manage_absurdly(service: Running, settings: Iterable[tuple[str, str]]) -> int:
    """Demand that no program is made or changed with an absurd number; return how many tries."""
    manager = Manager(service)
    kept = manager.ask("POST", "/programs", {"name": "Kept"})
    path = f"/programs/{kept['loyalty_id']}"
    tries = 0
    for name, value in settings:
        ways = [("POST", "/programs", f'{{"name":"Absurd","{name}":{value}}}')]
        if name not in ("loyalty_id", "buckets"):
            ways.append(("PATCH", path, f'{{"{name}":{value}}}'))
        for method, where, body in ways:
            reply = manager.send(method, where, body.encode())
            demand(reply.status == 400, method, body, "was answered", reply.status)
            tries += 1
    now = {name: value for name, value in manager.ask("GET", path).items() if name in kept}
    demand(now == kept, "it became", now)
    demand(manager.ask("GET", "/programs?name=Absurd")["items"] == [], "an absurd program is there")
    return tries


def manage_codes_absurdly(service: Running) -> int:
    """Demand the same of dates of codes, of counts to generate, and of numbers in addresses."""
    manager = Manager(service)
    program = service.program(["A"])
    path = f"/programs/{program}"
    tries = [("PATCH", f"{path}/codes/A", f'{{"expire_date":{value}}}') for value in NO_DATES]
    tries += [
        ("POST", f"{path}/generations", f'{{"template":"{{8}}","count":{value}}}')
        for value in ("0", *NO_NUMBERS)
    ]
    for name in ("limit", "batch_id", "db_id"):
        for value in ("0", *NO_NUMBERS):
            plain = value.strip('"')
            quoted = "".join(f"%{byte:02X}" for byte in plain.encode())
            if name == "batch_id" and plain == "9223372036854775807":
                continue
            tries.append(("GET", f"{path}/codes?{name}={quoted}", ""))
    for method, where, body in tries:
        reply = manager.send(method, where, body.encode() or None)
        demand(reply.status == 400, method, where, body, "was answered", reply.status)
    demand(manager.ask("GET", f"{path}/codes/A")["expire_date"] is None, "the date was set")
    return len(tries)


@promise(15)
def test_the_management_api_refuses_absurd_numbers(service: Running, proof: Proof) -> None:
    proof.trials(
        manage_absurdly(service, absurd_settings()) + manage_codes_absurdly(service),
        "absurd values",
    )


@promise(15, store="sqlite")
def test_without_the_checks_of_the_wire_the_domain_refuses_them(
    stores: Stores, proof: Proof
) -> None:
    with build_with(f"{SANITY}wire_believes", stores.new("sqlite")) as believing:
        proof.trials(manage_absurdly(believing, numbers_for_the_domain()), "absurd values")


@promise(15, store="sqlite")
def test_without_the_checks_of_wire_and_domain_the_database_keeps_none(
    stores: Stores, proof: Proof
) -> None:
    with build_with(f"{SANITY}wire_and_domain_believe", stores.new("sqlite")) as believing:
        proof.trials(store_absurdly(believing), "absurd values")


def store_absurdly(service: Running) -> int:
    """Demand that no absurd limit is stored, whatever the answer is; return how many tries."""
    manager = Manager(service)
    values = [value for value in NO_NUMBERS if value[0] in '-"019tf[{']
    for name in LIMITS:
        for value in ("0", *values):
            manager.send("POST", "/programs", f'{{"name":"Absurd","{name}":{value}}}'.encode())

    async def stored(store: Any) -> list[LoyaltyProgram]:
        return list(await store.programs())

    for program in service.in_store(stored):
        for name in LIMITS:
            limit = getattr(program, name)
            demand(
                limit is None or (type(limit) is int and 1 <= limit <= 2**53),
                name, "is stored as", repr(limit),
            )  # fmt: skip
    return len(LIMITS) * (1 + len(values))


@control(15, fault=f"{SANITY}wire_and_domain_believe", store="sqlite")
def test_a_build_that_checks_neither_in_wire_nor_domain_is_found_out(
    stores: Stores, proof: Proof
) -> None:
    with build_with(f"{SANITY}wire_and_domain_believe", stores.new("sqlite")) as believing:
        proof.control(lambda _: manage_absurdly(believing, numbers_for_the_domain()))


@control(15, fault=f"{SANITY}everything_believes", store="sqlite")
def test_a_build_without_any_layer_is_found_out(stores: Stores, proof: Proof) -> None:
    with build_with(f"{SANITY}everything_believes", stores.new("sqlite")) as believing:
        proof.control(lambda _: store_absurdly(believing))


# -- the domain ----------------------------------------------------------------------------


@promise(15)
def test_the_domain_alone_refuses_absurd_settings(proof: Proof) -> None:
    absurd: tuple[Any, ...] = (
        0,
        -1,
        1.5,
        1.0,
        float("nan"),
        float("inf"),
        True,
        "5",
        "1_000",
        [],
        2**53 + 1,
        2**63,
    )
    for name in LIMITS:
        for value in absurd:
            with pytest.raises(BadValue):
                programs.checked(LoyaltyProgram(1, "Absurd", **{name: value}))
    for name in MOMENTS:
        for value in (1.5, float("nan"), True, "5", MOMENT_MIN - 1, MOMENT_MAX + 1, 2**63):
            with pytest.raises(BadValue):
                programs.checked(LoyaltyProgram(1, "Absurd", **{name: value}))  # type: ignore[arg-type]  # absurd
    proof.trials(len(LIMITS) * len(absurd) + len(MOMENTS) * 7, "absurd values")


# -- the vendor's API ----------------------------------------------------------------------


def vendor_absurdly(service: Running) -> int:
    """Demand that absurd dates and numbers are refused in both forms; return how many tries.

    A whole number beyond all ids is not absurd but names nothing: not found (contract, Bounds).
    """
    program = service.program(["A"])
    bodies = [
        ("promocodes/update", "expire_date", {"loyalty_id": str(program), "code": '"A"'}, value)
        for value in NO_DATES
    ]
    for call, name, others in (
        ("promocodes/get", "loyalty_id", {"code": '"A"'}),
        ("databases/get", "id", {}),
        ("databases/list", "limit", {}),
    ):
        values = ["0", *NO_NUMBERS] if name == "limit" else NO_NUMBERS
        bodies += [(call, name, others, value) for value in values]
    tries = 0
    for call, name, others, value in bodies:
        fields = {**others, name: value}
        body = ",".join(f'"{key}":{text}' for key, text in fields.items())
        replies = [
            service.request("POST", f"/api/v1.1/{call}", f"{{{body}}}".encode(), sent(service))
        ]
        if value[0] not in "[{" and value != '""':
            elements = (f"<{key}>{text.strip(chr(34))}</{key}>" for key, text in fields.items())
            if value != '"5 "':  # blanks around are nothing in XML
                replies.append(service.xml(call, f"<xml>{''.join(elements)}</xml>"))
        for reply in replies:
            answer = read(reply)
            names_nothing = name in ("loyalty_id", "id") and answer.error == 404
            is_whole = value.lstrip("-").isdigit() and -(2**63) <= int(value) < 2**64
            ok = answer.error == 400 or (names_nothing and is_whole)
            ok = ok or (name == "limit" and is_whole and int(value) > 0)  # a most of very many
            demand(ok, call, name, value, answer.form, "was answered", answer.error)
            tries += 1
    left = service.call("promocodes/get", {"loyalty_id": program, "code": "A"}).json["data"]
    demand(left["expire_date"] == "", "the date is now", left["expire_date"])
    return tries


def sent(service: Running) -> dict[str, str]:
    return {"authorization": f"Bearer {service.token}", "content-type": "application/json"}


@promise(15)
def test_the_vendors_calls_refuse_absurd_numbers_in_both_forms(
    service: Running, proof: Proof
) -> None:
    proof.trials(vendor_absurdly(service), "absurd values")


# -- files ---------------------------------------------------------------------------------

FILE_DATES = (
    "-1", "0", "1.5", "NaN", "1e400", "true", "9223372036854775808", "2026-13-01", "2026-02-30",
    "31.11.2026", "2026-12-31 24:00", "2026-12-31 23:60:00", "0000-01-01", "10000-01-01",
    "2026-12-31T23:59:59+24:00", "\u0662\u0660\u0662\u0666-12-31", "1_000", "20261231",
    "12/31/2026", "tomorrow", "1e5", "99999999", "45_000", "\uff14\uff15\uff10\uff10\uff10",
)  # fmt: skip
FILE_IDS = (
    "-1", "0", "1.5", "NaN", "1e400", "true", "2147483648", "9223372036854775808", "1_000",
    "\u0661", "\uff11", "0x1", "one",
)  # fmt: skip


def import_absurdly(world: World) -> int:
    """Demand that each row with an absurd date or number stays out; return how many there were."""
    program = world.program()
    tries = 0
    for column, values in (
        ("expire_date", FILE_DATES),
        ("attached", FILE_DATES),
        ("activated", FILE_DATES),
        ("db_id", FILE_IDS),
    ):
        more = "" if column == "expire_date" else ",profile_id"
        end = "," + "a" * 24 if more else ""
        header = f"code,{column}{more}"
        lines = [f"{column}-{n},{text}{end}" for n, text in enumerate(values)]
        file = "\n".join([header, *lines]).encode()
        world.import_file(program, file, FileFormat.CSV)
        objects = (
            {"code": f"{column}-{n}", column: text} | ({"profile_id": "a" * 24} if more else {})
            for n, text in enumerate(values)
        )
        file = "\n".join(map(json.dumps, objects)).encode()
        world.import_file(program, file, FileFormat.JSONL)
        tries += 2 * len(values)
    demand(world.exported(program) == [], world.exported(program), "came in")
    return tries


@promise(15)
def test_files_bring_no_absurd_dates_and_ids(world: World, proof: Proof) -> None:
    proof.trials(import_absurdly(world), "absurd values")


@control(15, fault="files' dates are believed", store="sqlite")
def test_files_whose_dates_are_believed_are_found_out(
    stores: Stores, proof: Proof, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LocalDates, "moment", lambda *_, **how: NOON)
    with closing(World(stores.new("sqlite"))) as world:
        proof.control(lambda _: import_absurdly(world))


# -- commands ------------------------------------------------------------------------------

COMMAND_NUMBERS = tuple(value.strip('"') for value in NO_NUMBERS)


def command_absurdly(url: str) -> int:
    """Demand that commands refuse absurd numbers and dates; return how many tries."""
    promint = Promint(url)
    tries: list[list[str]] = []
    for name in (*LIMITS, "buckets", "id"):
        option = f"--{name.replace('_', '-')}"
        tries += [["program", "create", "--name", "Absurd", option, v] for v in COMMAND_NUMBERS]
    for name in MOMENTS:
        option = f"--{name.replace('_', '-')}"
        dates = (value.strip('"') for value in NO_DATES)
        tries += [["program", "create", "--name", "Absurd", option, date] for date in dates]
    for number in ("0", *COMMAND_NUMBERS):
        tries.append(["codes", "generate", "--program", "1", "--template", "{8}", "--", number])
        tries.append(["batches", "list", "--limit", number])
    promint("codes", "generate", "--program", "1", "--template", "{8}", "--", "5")
    for arguments in tries:
        said = promint.run(*arguments)
        demand(said.code in (1, 2) and said.err != "", arguments, "ended with", said.code)
    listed = promint.json("program", "list")["programs"]
    demand(all(program["name"] != "Absurd" for program in listed), "an absurd program is there")
    return len(tries)


@promise(15)
def test_commands_refuse_absurd_numbers(url: str, proof: Proof) -> None:
    Promint(url).json("program", "create", "--name", "Spring")
    proof.trials(command_absurdly(url), "absurd values")


@promise(15)
def test_settings_refuse_absurd_numbers(proof: Proof) -> None:
    for value in ("0", *COMMAND_NUMBERS):
        with pytest.raises(BadSetting):
            read_settings({"PROMINT_BATCH_MAX": value})
    proof.trials(1 + len(COMMAND_NUMBERS), "absurd values")


@control(15, fault="commands read numbers as Python does", store="sqlite")
def test_commands_that_read_numbers_as_python_does_are_found_out(
    stores: Stores, proof: Proof, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Whole, "convert", click.IntRange.convert)
    url = stores.new("sqlite")
    Promint(url)("program", "create", "--name", "Spring")
    proof.control(lambda _: command_absurdly(url))


# -- the database --------------------------------------------------------------------------

RAW_NUMBERS = (
    "-1", "1.5", "1e400", "-1e400", "9223372036854775808", "-9223372036854775809", "'NaN'",
    "'\u0661\u0662'", "'five'", "''", "'1e400'", "'-1'", f"{MOMENT_MAX + 1}", f"{MOMENT_MIN - 1}",
)  # fmt: skip
MOMENT = (MOMENT_MIN, MOMENT_MAX)
COUNT = (0, 2**63 - 1)
COLUMNS = {
    ("promo_code", "expires_at"): MOMENT,
    ("promo_code", "created_at"): MOMENT,
    ("promo_code", "attached_at"): MOMENT,
    ("promo_code", "activated_at"): MOMENT,
    ("promo_code", "attach_count"): COUNT,
    ("promo_code", "activation_count"): COUNT,
    ("tally", "count"): COUNT,
    ("loyalty_program", "created_at"): MOMENT,
    ("loyalty_program", "buckets"): (1, 4096),
}


def write_absurdly(world: World, raw: Raw) -> int:
    """Demand that no statement stores an absurd number; return how many tries.

    PostgreSQL rounds a fraction that is written into a whole number: that is sane.
    """
    program = world.program()
    world.attach(program, world.profile(world.database(), "ann@example.com"), "A")
    tries = 0
    for (table, column), (least, most) in COLUMNS.items():
        for value in RAW_NUMBERS:
            raw.try_to(f"UPDATE {table} SET {column} = {value}")
            for (stored,) in raw.ask(f"SELECT {column} FROM {table}"):
                demand(
                    stored is None or (type(stored) is int and least <= stored <= most),
                    f"{table}.{column} is {stored!r} after", value,
                )  # fmt: skip
            tries += 1
    (known,) = {row[0] for row in raw.ask("SELECT settings FROM loyalty_program")}
    for name, value in absurd_settings():
        if name in LIMITS or name == "low_stock" or (name in MOMENTS and value != "-1"):
            if name in MOMENTS and value == "0":
                continue  # 1970 is a moment
            settings = known.replace(f'"{name}": null', f'"{name}": {value}')
            demand(settings != known, "no setting is called", name)
            sent = settings.replace("'", "''")
            took = raw.try_to(f"UPDATE loyalty_program SET settings = '{sent}'")
            demand(not took, name, "was stored as", value)
            tries += 1
    return tries


@promise(15)
def test_the_database_alone_keeps_no_absurd_numbers(world: World, url: str, proof: Proof) -> None:
    proof.trials(write_absurdly(world, Raw(url)), "absurd values")


@control(15, fault="a database without its constraints", store="sqlite")
def test_a_database_without_constraints_is_found_out(stores: Stores, proof: Proof) -> None:
    url = stores.new("sqlite")
    with closing(World(url)) as world:
        proof.control(lambda _: write_absurdly(world, Raw(url, constrained=False)))
