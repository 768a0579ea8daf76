"""Two tenants on one service, everything that one may try at the other, and what it must see.

A tenant is a program, a database with a profile, codes, a batch, a job and tokens that are
narrowed to them. Everything of a tenant has its name in it, and ids that occur nowhere else. So
an answer that tells of the other tenant is recognised whatever it looks like.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from promint.domain.model import Database, Scope
from promint.web.manage.endpoints import Endpoint
from promint.web.manage.openapi import ENDPOINTS, OPENAPI
from tests.races.ledger import demand, rows
from tests.running import Reply, Running
from tests.web.callers import FORMS, written
from tests.web.manage.callers import Manager
from tests.web.test_access import SCOPES

ABSENT = 2_000_000_000
ABSENT_PROFILE = "f" * 24
EVERYTHING = "everything"
CODES = ("FREE", "HELD", "USED", "PAST")
OWN, FOREIGN, NOWHERE = "own", "foreign", "absent"
TARGETS = (OWN, FOREIGN, NOWHERE)

NOT_FOUND = {
    "loyalty_id": "program_not_found",
    "db_id": "database_not_found",
    "batch_id": "batch_not_found",
    "job_id": "job_not_found",
    "token_id": "token_not_found",
}
WALL = {"denied", *NOT_FOUND.values()}
"""What nobody hears about their own; a profile of one's own may well be gone."""

NAMES_PROGRAM = {"list_jobs", "list_batches", "create_token"}
"""What names a program elsewhere than in the path."""

BEGIN_JOBS = {"generate_codes", "change_codes", "import_file", "attach_list"}
"""One cell of each is enough: every job is a process."""


ENDS = {"profiles/delete", "delete_profile", "revoke_token"}
"""What takes things away that others are asked about; it comes last."""


@dataclass
class Tenant:
    """What one tenant has. `ids` are by the names of `NOT_FOUND`, and `profile_id`."""

    name: str
    ids: dict[str, Any]
    tokens: dict[str, str] = field(default_factory=dict)

    def code(self, what: str) -> str:
        return f"{self.name.upper()}-{what}"

    @property
    def marks(self) -> tuple[str, ...]:
        """What stands in no answer to another tenant."""
        ids = (self.ids[name] for name in ("loyalty_id", "db_id", "profile_id"))
        return self.name, *map(str, ids)


ABSENT_THINGS = Tenant("nobody", {**dict.fromkeys(NOT_FOUND, ABSENT), "profile_id": ABSENT_PROFILE})


def make_tenant(service: Running, name: str, loyalty_id: int, db_id: int) -> Tenant:
    tenant = Tenant(name, {"loyalty_id": loyalty_id, "db_id": db_id})
    everything = Manager(service)
    service.program(
        [tenant.code(code) for code in CODES], id=loyalty_id, name=f"{name} shop", description=name
    )
    service.administer(
        lambda a: a.create_database(Database(id=db_id, name=f"{name} people", description=name))
    )
    saved = everything.ask(
        "POST",
        f"/databases/{db_id}/profiles",
        {"data": {"email": f"ann@{name}.example", "city": name}},
    )
    tenant.ids["profile_id"] = saved["profile_id"]
    for code in ("HELD", "USED"):
        body = {"db_id": db_id, "profile_id": saved["profile_id"], "code": tenant.code(code)}
        everything.ask("POST", f"/programs/{loyalty_id}/attach", body)
    everything.ask("POST", f"/programs/{loyalty_id}/codes/{tenant.code('USED')}/activate")
    past = {"loyalty_id": loyalty_id, "code": tenant.code("PAST")}
    service.call("promocodes/update", {**past, "expire_date": "2020-01-01T00:00:00Z"})
    (batch,) = everything.ask("GET", f"/batches?loyalty_id={loyalty_id}")["items"]
    tenant.ids["batch_id"] = batch["batch_id"]
    job = everything.ask(
        "POST", f"/programs/{loyalty_id}/imports?name={name}.csv", f"{name}-1\n".encode()
    )
    everything.ended(job["job_id"])
    tenant.ids["job_id"] = job["job_id"]
    make_tokens(service, tenant)
    return tenant


def make_tokens(service: Running, tenant: Tenant) -> None:
    programs, databases = ({tenant.ids[name]} for name in ("loyalty_id", "db_id"))

    async def work(administration: Any) -> dict[str, Any]:
        made = {}
        roles = {scope.value: {scope} for scope in Scope} | {EVERYTHING: set(Scope)}
        for role, scopes in [*roles.items(), ("spare", {Scope.CODES_READ})]:
            made[role] = await administration.create_token(
                f"{tenant.name} {role}",
                frozenset(scopes),
                frozenset(programs),
                frozenset(databases),
            )
        return made

    made = service.administer(work)
    _, spare = made.pop("spare")
    tenant.ids["token_id"] = spare.id
    tenant.tokens = {role: secret for role, (secret, _) in made.items()}


def two_tenants(service: Running) -> tuple[Tenant, Tenant]:
    alpha = make_tenant(service, "alpha", 111_111_111, 121_212_121)
    bravo = make_tenant(service, "bravo", 222_222_222, 212_121_212)
    # Each one's profile also holds a code of a program that it does not open.
    for holder, lender in ((alpha, bravo), (bravo, alpha)):
        program = service.program([lender.code("LENT")], name=f"{lender.name} lent")
        body = {"db_id": holder.ids["db_id"], "profile_id": holder.ids["profile_id"]}
        Manager(service).ask("POST", f"/programs/{program}/attach", body)
    return alpha, bravo


# -- what is asked ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Cell:
    """One request: by whom, about whose program and whose database."""

    call: str
    role: str
    form: str
    program: str = OWN
    database: str = OWN

    @property
    def target(self) -> str:
        """Whose the first thing is that is not the caller's own."""
        return self.program if self.program != OWN else self.database


def vendor_cells(roles: Iterable[str]) -> Iterator[Cell]:
    for call in SCOPES:
        for role in roles:
            for form in FORMS:
                for target in TARGETS:
                    if call.startswith("promocodes/"):
                        yield Cell(call, role, form, program=target)
                    if target != OWN and call in ("promocodes/attach", "promocodes/detach"):
                        yield Cell(call, role, form, database=target)
                    is_list = call == "databases/list"
                    if not call.startswith("promocodes/") and not (is_list and target != OWN):
                        yield Cell(call, role, form, database=target)


def manage_cells(roles: Iterable[str]) -> Iterator[Cell]:
    for endpoint in ENDPOINTS:
        if endpoint is OPENAPI:
            continue
        for role in roles:
            for target in TARGETS:
                if target == OWN and endpoint.name in BEGIN_JOBS and role != EVERYTHING:
                    continue
                named = endpoint.in_path or endpoint.name in NAMES_PROGRAM
                if "db_id" in endpoint.in_path:
                    yield Cell(endpoint.name, role, "json", database=target)
                elif named or target == OWN:
                    yield Cell(endpoint.name, role, "json", program=target)
                if target != OWN and endpoint.name in (
                    "attach_code", "detach_code", "attach_list", "list_codes", "create_token",
                ):  # fmt: skip
                    yield Cell(endpoint.name, role, "json", database=target)


MANAGED = {endpoint.name: endpoint for endpoint in ENDPOINTS}
NARROWED_CANNOT = ("create_program", "create_database", "clone_program")


class Walls:
    """What one tenant asks, and what came back."""

    def __init__(self, service: Running, asking: Tenant, other: Tenant) -> None:
        self._service = service
        self._asking = asking
        self._other = other
        self._sides = {OWN: asking, FOREIGN: other, NOWHERE: ABSENT_THINGS}
        self._told: dict[Cell, tuple[Any, ...]] = {}
        self._made = 0

    def ask(self, cell: Cell) -> None:
        """Send the request of a cell and hold its answer to what a stranger may see.

        Raises:
            Broken: it says more, or less to the owner.
        """
        reply = self._sent(cell)
        reason = reply.reason or (reply.json["error"]["reason"] if "error" in _keys(reply) else "")
        for mark in self._other.marks:
            demand(mark.encode() not in reply.body.lower(), cell, "tells of", mark, reply.body)
        self._hold_lists(cell, reply)
        if not self._is_in_scope(cell):
            demand(reason == "denied", cell, "is", reason or "done", "without the scope")
        elif cell.call in NARROWED_CANNOT and cell.target == OWN:
            demand(reason == "denied", cell, "is", reason or "done")
        elif cell.target == OWN:
            is_gone = cell.call == "revoke_token" and reason == "token_not_found"
            demand(reason not in WALL or is_gone, cell, "is", reason, "about one's own")
        else:
            wanted = "denied" if cell.call == "create_token" else self._not_found(cell)
            demand(reason == wanted, cell, "is", reason or "done", "instead of", wanted)
            self._hold_equal(cell, reply)

    def _hold_equal(self, cell: Cell, reply: Reply) -> None:
        """What is another's is answered as what is nobody's."""
        hidden = ("x-request-id", "date")
        headers = {name: text for name, text in reply.headers.items() if name not in hidden}
        told = reply.status, headers, reply.body
        alike = replace(
            cell,
            program=OWN if cell.program == OWN else NOWHERE,
            database=OWN if cell.database == OWN else NOWHERE,
        )
        before = self._told.setdefault(alike, told)
        demand(before == told, cell, "is told", told, "and what is not there", before)

    def _hold_lists(self, cell: Cell, reply: Reply) -> None:
        """A list tells nothing by its length either."""
        if cell.call == "databases/list" and cell.form == "json" and not reply.reason:
            demand(reply.json["total_count"] == 1, cell, "counts", reply.json["total_count"])
        if cell.call in ("list_programs", "list_databases") and reply.status == 200:
            demand(len(reply.json["items"]) == 1, cell, "lists", reply.body)
        if cell.call == "list_tokens" and reply.status == 200:
            names = [item["name"] for item in reply.json["items"]]
            demand(all(name.startswith(self._asking.name) for name in names), cell, names)

    def _is_in_scope(self, cell: Cell) -> bool:
        needed = SCOPES.get(cell.call, "admin")
        return cell.role in (EVERYTHING, "admin", needed)

    def _not_found(self, cell: Cell) -> str:
        if cell.program == OWN:
            return NOT_FOUND["db_id"]
        endpoint = MANAGED.get(cell.call)
        named = endpoint.in_path if endpoint else []
        return NOT_FOUND[named[0] if named else "loyalty_id"]

    def _sent(self, cell: Cell) -> Reply:
        token = self._asking.tokens[cell.role]
        endpoint = MANAGED.get(cell.call)
        if endpoint is not None:
            return self._managed(endpoint, cell, Manager(self._service, token))
        body = written(self._fields(cell), cell.form)
        headers = {
            "authorization": f"Bearer {token}",
            "content-type": f"application/{cell.form}",
        }
        return self._service.request("POST", f"/api/v1.1/{cell.call}", body, headers)

    def _fields(self, cell: Cell) -> dict[str, Any]:
        program, people = self._sides[cell.program], self._sides[cell.database]
        code = program.code("HELD")
        fields: dict[str, Any] = {}
        if cell.call.startswith("promocodes/"):
            fields = {
                "loyalty_id": program.ids["loyalty_id"],
                "code": code,
                "codes": [code],
                "activated": True,
            }
        elif cell.call == "databases/get":
            return {"id": people.ids["db_id"]}
        elif cell.call == "databases/list":
            return {"limit": 100}
        if cell.call in ("promocodes/get", "promocodes/export_all", "promocodes/import"):
            return fields
        named = {
            "db_id": people.ids["db_id"],
            "matching": "profile_id",
            "profile_id": people.ids["profile_id"],
        }
        if cell.call == "profiles/import_batch":
            item = {"matching": "email", "email": f"bob@{self._asking.name}.example"}
            return {"db_id": people.ids["db_id"], "data": [{**item, "data": {"city": "Oslo"}}]}
        if cell.call in ("profiles/import", "profiles/update"):
            return {**named, "data": {"city": "Oslo"}}
        return {**fields, **named}

    def _managed(self, endpoint: Endpoint, cell: Cell, manager: Manager) -> Reply:
        program, people = self._sides[cell.program], self._sides[cell.database]
        values = {
            **program.ids,
            "db_id": people.ids["db_id"],
            "profile_id": people.ids["profile_id"],
            "code": program.code("HELD"),
            "kind": "input",
        }
        assert endpoint.example is not None
        query = endpoint.example.path.partition("?")[2]
        query = re.sub(r"\b(db_id|loyalty_id)=\d+", lambda m: f"{m[1]}={values[m[1]]}", query)
        if cell.target == OWN:
            # A list that is not narrowed by the caller is narrowed by the token.
            query = re.sub(r"\bloyalty_id=\d+", "", query)
        query = re.sub(r"&?(name|prefix|kind|state|after|limit|email)=[^&]*", "", query).strip("&")
        if endpoint.name == "list_codes" and cell.database != OWN:
            query = f"db_id={values['db_id']}&email=ann@example.com"
        if endpoint.name == "find_profiles":
            query = f"email=ann@{people.name}.example"
        body = endpoint.example.body
        if isinstance(body, str):
            body = f"email,code\nann@{self._asking.name}.example,X\n".encode()
        elif body is not None:
            body = dict(body)
            if "db_id" in body:
                body |= {"db_id": values["db_id"]}
            if endpoint.name == "create_token":
                self._made += 1
                body |= {
                    "name": f"{self._asking.name} made {self._made}",
                    "programs": [values["loyalty_id"]],
                    "databases": [values["db_id"]],
                }
        return manager.send(endpoint.method, f"{endpoint.path.format_map(values)}?{query}", body)


def _keys(reply: Reply) -> set[str]:
    try:
        value = json.loads(reply.body)
    except ValueError:
        return set()
    return set(value) if isinstance(value, dict) and isinstance(value.get("error"), dict) else set()


# -- what is there ---------------------------------------------------------------------------


def belongings(url: str, tenant: Tenant) -> dict[str, Any]:
    """Return every row of the store that is a tenant's."""
    loyalty_id, db_id = tenant.ids["loyalty_id"], tenant.ids["db_id"]
    shards = loyalty_id * 4096, loyalty_id * 4096 + 4095
    asked: dict[str, tuple[str, tuple[Any, ...]]] = {
        table: (f"SELECT * FROM {table} WHERE shard_key BETWEEN $1 AND $2", shards)
        for table in ("promo_code", "attachment", "event", "tally", "batch_change")
    }
    asked |= {
        table: (f"SELECT * FROM {table} WHERE {column} = $1", (number,))
        for table, column, number in (
            ("loyalty_program", "id", loyalty_id),
            ("batch", "loyalty_id", loyalty_id),
            ("job", "loyalty_id", loyalty_id),
            ("profile_database", "id", db_id),
            ("profile", "database_id", db_id),
            ("profile_identity", "database_id", db_id),
        )
    }
    asked["token"] = ("SELECT * FROM token WHERE name LIKE $1", (f"{tenant.name} %",))
    return {
        table: sorted(rows(url, statement, *parameters), key=repr)
        for table, (statement, parameters) in asked.items()
    }


def wait_for_jobs(service: Running) -> None:
    manager = Manager(service)
    for job in manager.all_pages("/jobs", 100):
        manager.ended(job["job_id"])


def hold_the_wall(service: Running, asking: Tenant, other: Tenant, cells: Iterable[Cell]) -> int:
    """Let one tenant ask for everything; return how many requests that were.

    Raises:
        Broken: it saw or changed something of the other, or not its own.
    """
    before = belongings(service.url, other)
    walls = Walls(service, asking, other)
    count = 0
    for cell in cells:
        walls.ask(cell)
        count += 1
    after = belongings(service.url, other)
    for table, kept in before.items():
        demand(kept == after[table], "rows of", table, "have changed", kept, after[table])
    return count


def all_cells(tenant: Tenant) -> list[Cell]:
    """Return every cell, those about others first, so that a hole is met before one's own end."""
    cells = [*vendor_cells(tenant.tokens), *manage_cells(tenant.tokens)]
    return sorted(cells, key=lambda cell: (cell.target == OWN, cell.call in ENDS))
