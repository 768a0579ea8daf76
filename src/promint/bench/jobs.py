"""The jobs that are measured: what is sent, what its floor does, and what is to be reached."""

from dataclasses import dataclass
from typing import Any

from promint.bench.preparing import Prepared
from promint.bench.requests import CODE, PROFILE, Template, body

ACTIVATE = "promocodes/activate"
ATTACH = "promocodes/attach"
GET = "promocodes/get"


@dataclass(frozen=True, slots=True)
class Job:
    """One kind of request.

    `program` names the program it works on, whose codes are `held` or free; `uses_up` says
    that each code serves once. `script` is its floor in pgbench, which works on `floor_program`
    and may use that up as well. The targets are the design's, by the store; None is none.
    """

    name: str
    title: str
    path: str
    program: str
    script: str
    floor_program: str
    held: bool = True
    uses_up: bool = True
    floor_uses_up: bool = False
    is_keyed: bool = False
    sqlite_target: float | None = None
    postgres_target: float | None = None

    def fields(self, prepared: Prepared) -> dict[str, Any]:
        """Return the fields of its body."""
        fields: dict[str, Any] = {"loyalty_id": prepared.programs[self.program]}
        if self.path == ATTACH:
            fields |= {
                "db_id": prepared.database_id,
                "matching": "profile_id",
                "profile_id": PROFILE,
            }
        return fields | ({"return_code": True} if self.name == "attach_any" else {"code": CODE})

    def text(self, prepared: Prepared) -> str:
        """Return the request with its places."""
        fields = body(self.fields(prepared))
        return Template(self.path, prepared.token, fields, self.is_keyed).text()


JOBS = (
    Job(
        name="get",
        title="get",
        path=GET,
        program="get",
        uses_up=False,
        script="get",
        floor_program="get",
        sqlite_target=0.60,
        postgres_target=0.35,
    ),
    Job(
        name="activate",
        title="activate",
        path=ACTIVATE,
        program="activate",
        script="activate",
        floor_program="activate floor",
        sqlite_target=0.20,
        postgres_target=0.75,
    ),
    Job(
        name="activate_keyed",
        title="activate, idempotency key",
        path=ACTIVATE,
        program="activate keyed",
        is_keyed=True,
        script="activate",
        floor_program="activate floor",
        sqlite_target=0.14,
        postgres_target=0.60,
    ),
    Job(
        name="attach_named",
        title="attach a named code",
        path=ATTACH,
        program="attach named",
        held=False,
        script="attach_named",
        floor_program="attach named floor",
        floor_uses_up=True,
    ),
    Job(
        name="attach_any",
        title="attach any free code",
        path=ATTACH,
        program="attach any",
        held=False,
        script="attach_any",
        floor_program="attach any floor",
        floor_uses_up=True,
        postgres_target=1.0,
    ),
)
JOB_NAMES = tuple(job.name for job in JOBS)
