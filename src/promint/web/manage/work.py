"""Endpoints: batches, jobs, and what is handed in as a job."""

import json
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any, BinaryIO, TypeVar, cast

from promint.domain.errors import (
    AlreadyUndone,
    BadValue,
    BatchForgotten,
    BatchNotFound,
    CodeLimitReached,
    DatabaseNotFound,
    JobNotFound,
    Malformed,
    ProfileAmbiguous,
    ProfileNotFound,
    ProgramNotFound,
    TooLarge,
)
from promint.domain.model import ID_MAX, Batch, BatchKind, Job
from promint.service.batches import Batches, batch_view, check_kept, check_undoing
from promint.service.bulk_changes import BulkChanges, Change, filter_parameters, targets_of
from promint.service.generation import Generation
from promint.service.jobs import ClaimLost, JobQueue, job_view
from promint.service.transactions import once_in_transaction
from promint.store.jobs import INPUT
from promint.web.manage.codes import filter_of
from promint.web.manage.endpoints import Asked, Endpoint, Example, Streamed
from promint.web.manage.paging import first_of, id_after
from promint.wire.manage.codes import holder_of
from promint.wire.manage.reading import Page, moment
from promint.wire.manage.work import (
    AttachListQuery,
    AttachmentPreview,
    BatchCounts,
    BatchShown,
    ChangePreview,
    ChangeRequest,
    GenerationRequest,
    ImportQuery,
    JobShown,
    JobsQuery,
    ListQuery,
    PlanRequest,
    PlanShown,
    SampledCode,
    SampledProfile,
    TouchedCode,
    UndoShown,
    check_change,
    import_parameters,
    plan_shown,
)

JSON_LINES = "application/jsonl"
OCTETS = "application/octet-stream"
READ_AT_ONCE = 500
UPLOAD_STEP_BYTES = 256 * 1024
"""A client has the body's deadline for each so many bytes of a file."""

Item = TypeVar("Item")

# -- batches -------------------------------------------------------------------------------


async def list_batches(asked: Asked, query: ListQuery) -> Page[BatchShown]:
    """Newest first."""
    batches = Batches(asked.means)

    async def read(before_id: int | None, most: int) -> list[Batch]:
        return await batches.batches(query.loyalty_id, before_id=before_id, most=most)

    return await _newest(asked, query, read, lambda one: (one.id, one.loyalty_id), _batch_shown)


async def show_batch(asked: Asked, batch_id: int) -> BatchShown:
    """Its counts, and how far it is."""
    return _batch_shown(await _batch(asked, batch_id))


async def preview_undo(asked: Asked, batch_id: int) -> UndoShown:
    """What taking it back would do now; up to 100,000 of its codes are looked at."""
    await _batch(asked, batch_id)
    found = await Batches(asked.means).preview_undo(batch_id)
    return UndoShown(
        undoing=found.undoing,
        touched=found.touched,
        is_all=found.is_all,
        sample=[TouchedCode(one.code, one.why) for one in found.sample],
    )


async def undo_batch(asked: Asked, batch_id: int) -> JobShown:
    """As a job. What something else has happened to since stays as it is, and is listed."""
    batch = await _batch(asked, batch_id)
    check_undoing(batch)
    return await _handed_in(asked, "undo", batch.loyalty_id, {"batch_id": batch_id})


async def list_touched(asked: Asked, batch_id: int) -> Streamed:
    """JSON Lines, `{"code", "why"}` each: what cannot be taken back, or was left when it was."""
    check_kept(await _batch(asked, batch_id))
    return Streamed(JSON_LINES, f"touched-{batch_id}.jsonl", _touched_lines(asked, batch_id))


async def _touched_lines(asked: Asked, batch_id: int) -> AsyncGenerator[bytes]:
    async with aclosing(Batches(asked.means).touched(batch_id)) as found:
        async for one in found:
            yield (
                json.dumps({"code": one.code, "why": one.why}, ensure_ascii=False).encode() + b"\n"
            )


async def _batch(asked: Asked, batch_id: int) -> Batch:
    """Return a batch.

    Raises:
        BatchNotFound: there is none, or its program is not within the token's rights.
    """
    if batch_id > ID_MAX:
        raise BatchNotFound(str(batch_id))
    batch = await Batches(asked.means).batch(batch_id)
    if not asked.call.token.opens_program(batch.loyalty_id):
        raise BatchNotFound(str(batch_id))
    return batch


def _batch_shown(batch: Batch) -> BatchShown:
    values = batch_view(batch)
    values["counts"] = BatchCounts(**values["counts"])
    values["finished"] = values["finished"] or None
    values["forgotten"] = values["forgotten"] or None
    return BatchShown(**values)


# -- jobs ----------------------------------------------------------------------------------


async def list_jobs(asked: Asked, query: JobsQuery) -> Page[JobShown]:
    """Newest first, without their files."""
    queue = JobQueue(asked.means)

    async def read(before_id: int | None, most: int) -> list[dict[str, Any]]:
        return await queue.listed(
            loyalty_id=query.loyalty_id, state=query.state, before_id=before_id, most=most
        )

    return await _newest(
        asked,
        query,
        read,
        lambda one: (one["job_id"], one["loyalty_id"]),
        lambda one: JobShown(**one),
    )


async def show_job(asked: Asked, job_id: int) -> JobShown:
    """How far it is, at which rate, how long it will take, and what came of it."""
    job = await _job(asked, job_id)
    return JobShown(**await JobQueue(asked.means).show(job))


async def cancel_job(asked: Asked, job_id: int) -> JobShown:
    """One that waits ends at once, one that runs within seconds; what it has done stays.

    A job that has ended stays as it is.
    """
    await _job(asked, job_id)
    queue = JobQueue(asked.means)
    return JobShown(**await queue.show(await queue.cancel(job_id)))


async def fetch_file(asked: Asked, job_id: int, kind: str) -> Streamed:
    """A file of a job, as `files` of the job names it; files are kept for some days."""
    job = await _job(asked, job_id)
    queue = JobQueue(asked.means)
    if kind not in (await queue.show(job))["files"]:
        raise JobNotFound(f"{job_id} has no file {kind[:64]!r}")
    name = str(job.parameters.get("name", "upload")) if kind == INPUT else f"{kind}-{job_id}.csv"
    return Streamed(OCTETS, name, queue.file(job_id, kind))


async def _job(asked: Asked, job_id: int) -> Job:
    """Return a job.

    Raises:
        JobNotFound: there is none, or its program is not within the token's rights.
    """
    if job_id > ID_MAX:
        raise JobNotFound(str(job_id))
    job = await JobQueue(asked.means).get(job_id)
    if not asked.call.token.opens_program(job.loyalty_id):
        raise JobNotFound(str(job_id))
    return job


async def _handed_in(
    asked: Asked, kind: str, loyalty_id: int, parameters: dict[str, Any]
) -> JobShown:
    """Hand a job in, once for an idempotency key."""

    def shape(job: Job) -> JobShown:
        return JobShown(**job_view(job, asked.now))

    job = JobQueue(asked.means).new(kind, loyalty_id, parameters)
    made = await once_in_transaction(
        asked.means.store, asked.once(shape), lambda transaction: transaction.insert_job(job)
    )
    return shape(made)


async def _newest(
    asked: Asked,
    query: ListQuery,
    read: Callable[[int | None, int], Awaitable[Sequence[Item]]],
    ids_of: Callable[[Item], tuple[int, int]],
    shape: Callable[[Item], Any],
) -> Page[Any]:
    """Return a page of what is read newest first, of the programs that the token sees.

    `ids_of` gives an item's own id and that of its program.
    """
    if query.loyalty_id is not None:
        await asked.program(query.loyalty_id)
    token = asked.call.token
    found: list[Item] = []
    before_id = id_after(query.after)
    while len(found) <= query.limit:
        most = query.limit + 1 if token.programs is None else READ_AT_ONCE
        chunk = await read(before_id, most)
        found += [item for item in chunk if token.opens_program(ids_of(item)[1])]
        if len(chunk) < most:
            break
        before_id = ids_of(chunk[-1])[0]
    page, following = first_of(found, query.limit, lambda item: ids_of(item)[0])
    return Page([shape(item) for item in page], following)


# -- handed in -----------------------------------------------------------------------------


async def import_file(asked: Asked, loyalty_id: int, query: ImportQuery) -> JobShown:
    """The body is the file as it is: CSV, text, XLSX or JSON Lines, gzip or not.

    It may be as large as `PROMINT_UPLOAD_BYTES_MAX` allows. It becomes a job once it is here as a
    whole; the job says what was recognised, counts, and keeps a file of the rows that stay out.
    Sending the same file again adds nothing, for its codes are there: so no idempotency key is
    taken.
    """
    await asked.program(loyalty_id)
    if query.db_id is not None:
        await asked.database(query.db_id)
    return await _uploaded(asked, "import", loyalty_id, import_parameters(query))


async def preview_attachment(
    asked: Asked, loyalty_id: int, query: AttachListQuery
) -> AttachmentPreview:
    """What attaching to the file of the body would do now; up to 10,000 rows are looked at.

    The file is forgotten afterwards; send it again to do it.
    """
    program = await asked.program(loyalty_id)
    if query.db_id is not None:
        await asked.database(query.db_id)
    with tempfile.TemporaryFile(prefix="promint-list-") as kept:
        file = cast(BinaryIO, kept)
        async for part in _body(asked):
            file.write(part)
        targets = targets_of(file, name=query.name, database_id=query.db_id)
        found = await BulkChanges(asked.means, asked.codes).preview_attach(program, targets)
    return AttachmentPreview(
        matching=found.matching,
        is_all=found.is_all,
        changing=found.changing,
        sample=[SampledProfile(one.profile, one.code, one.refused) for one in found.sample],
    )


async def attach_list(asked: Asked, loyalty_id: int, query: AttachListQuery) -> JobShown:
    """The body is a file of profiles, one a row, each with the code that it gets or without.

    It is read as imports are. Each row obeys every rule of attaching; those that are refused are
    listed in the job's file of rejects.
    """
    await asked.program(loyalty_id)
    if query.db_id is not None:
        await asked.database(query.db_id)
    parameters = {"change": "attach", "name": query.name, "db_id": query.db_id}
    return await _uploaded(asked, "change", loyalty_id, parameters)


async def _uploaded(
    asked: Asked, kind: str, loyalty_id: int, parameters: dict[str, Any]
) -> JobShown:
    """Keep the body as the file of a job, part by part."""
    try:
        job = await JobQueue(asked.means).submit(kind, loyalty_id, parameters, _body(asked))
    except ClaimLost:
        raise BadValue("its job was cancelled while it came in", "body") from None
    return JobShown(**job_view(job, asked.now))


async def _body(asked: Asked) -> AsyncIterator[bytes]:
    """Yield the file that the body is, part by part.

    Raises:
        Malformed: it is empty.
        TooLarge: it is, or says so.
    """
    most = asked.bounds.upload_bytes_max
    declared = asked.request.headers.get("content-length", "")
    if declared == "0":
        raise Malformed("empty", "body")
    if len(declared) > 18 or (declared.isdigit() and int(declared) > most):
        raise TooLarge("body")
    state = asked.request.scope.setdefault("state", {})
    size = 0
    async for part in asked.request.stream():
        size += len(part)
        if size > most:
            raise TooLarge("body")
        state["parts_received"] = size // UPLOAD_STEP_BYTES
        yield part
    if not size:
        raise Malformed("empty", "body")


async def plan_generation(asked: Asked, loyalty_id: int, body: PlanRequest) -> PlanShown:
    """How large the space is, how much of it is used, and how hard a code is to guess."""
    return plan_shown(await _plan(asked, loyalty_id, body))


async def generate_codes(asked: Asked, loyalty_id: int, body: GenerationRequest) -> JobShown:
    """As a job. What the plan refuses is refused at once."""
    program = await asked.program(loyalty_id)
    expires_at = moment(body.expire_date, "expire_date")
    for name in body.fields:
        if name not in program.fields:
            raise BadValue("the program has no such field", f"fields.{name[:64]}")
    for refusal in (await _plan(asked, loyalty_id, body)).refusals:
        raise BadValue(f"{refusal.sentence}: {refusal.advice}", "template")
    if program.code_limit is not None:
        counts = await asked.means.store.code_counts([program])
        if counts[program.id] + body.count > program.code_limit:
            raise CodeLimitReached(str(program.id))
    parameters = {
        "count": body.count,
        "template": body.template,
        "expire_date": expires_at,
        "fields": body.fields,
        "accept_guessable": body.accept_guessable,
    }
    return await _handed_in(asked, "generate", loyalty_id, parameters)


async def _plan(asked: Asked, loyalty_id: int, body: PlanRequest) -> Any:
    asked.check_program(loyalty_id)
    return await Generation(asked.means, asked.codes).plan(
        loyalty_id, body.count, body.template, accept_guessable=body.accept_guessable
    )


async def preview_change(asked: Asked, loyalty_id: int, body: ChangeRequest) -> ChangePreview:
    """What it would do now; up to 100,000 codes that match are looked at."""
    program = await asked.program(loyalty_id)
    change = _change(body)
    wanted = await filter_of(asked, program, body.filter)
    found = await BulkChanges(asked.means, asked.codes).preview(program, wanted, change)
    return ChangePreview(
        matching=found.matching,
        is_all=found.is_all,
        changing=found.changing,
        sample=[SampledCode(one.code, one.state, one.refused) for one in found.sample],
    )


async def change_codes(asked: Asked, loyalty_id: int, body: ChangeRequest) -> JobShown:
    """As a job, which makes a batch that can be taken back. Preview it first."""
    program = await asked.program(loyalty_id)
    change = _change(body)
    wanted = await filter_of(asked, program, body.filter)
    parameters = {
        "change": change.kind.value,
        "filter": filter_parameters(wanted),
        "expires_at": change.expires_at,
    }
    return await _handed_in(asked, "change", loyalty_id, parameters)


def _change(body: ChangeRequest) -> Change:
    check_change(body)
    holder_of(body.filter)
    expires_at = (
        moment(body.expire_date, "expire_date") if isinstance(body.expire_date, str) else None
    )
    return Change(BatchKind(body.change), expires_at)


_GENERATED = {
    "batch_id": 1,
    "loyalty_id": 2,
    "kind": "generate",
    "state": "done",
    "source": "SUMMER-{10}",
    "author": "admin",
    "created": "2026-11-23T09:00:00Z",
    "finished": "2026-11-23T09:00:00Z",
    "forgotten": None,
    "counts": {
        "total": 3,
        "inserted": 3,
        "duplicated": 0,
        "discarded": 0,
        "rejected": 0,
        "changed": 0,
        "undone": 0,
        "touched": 0,
    },
    "parameters": {"template": "SUMMER-{10}", "expire_date": None, "fields": {}},
}
_PLAN = {
    "template": "SUMMER-{4:digits}",
    "count": 3,
    "space": "10000",
    "used": 0,
    "used_share": 0.0,
    "live": 3,
    "guesses_to_hit": "2500",
    "bits": 13.288,
    "sentence": "SUMMER-{4:digits} makes about 10,000 codes (13.3 bits); 0 are there (0.0 %). "
    "With 3 more, one of the 3 live codes is hit after about 2,500 guesses.",
    "refusals": [
        {
            "reason": "guessable",
            "sentence": "a code of SUMMER-{4:digits} has 13.3 bits of chance; with 3 live codes "
            "it needs 33.6 so that nobody guesses one",
            "advice": "use SUMMER-{11:digits} instead of SUMMER-{4:digits}",
        }
    ],
}
_JOB = {
    "job_id": 1,
    "kind": "generate",
    "loyalty_id": 2,
    "state": "waiting",
    "phase": "",
    "done": 0,
    "total": None,
    "rate_per_s": None,
    "left_s": None,
    "waits_for": None,
    "cancel_requested": False,
    "batch_id": None,
    "error": None,
    "result": None,
    "files": {},
    "author": "admin",
    "created": "2026-11-23T09:00:00Z",
    "started": None,
    "finished": None,
}
_JOB_DONE = {
    **_JOB,
    "state": "done",
    "phase": "storing",
    "done": 3,
    "total": 3,
    "rate_per_s": 3000,
    "batch_id": 1,
    "result": _GENERATED,
    "started": "2026-11-23T09:00:00Z",
    "finished": "2026-11-23T09:00:00Z",
}
_FILTER_ERRORS = (ProgramNotFound, DatabaseNotFound, ProfileNotFound, ProfileAmbiguous)
_WANTED = {"change": "expire", "expire_date": "2027-06-30T21:00:00Z", "filter": {"state": "free"}}

ENDPOINTS = (
    Endpoint(
        "POST",
        "/programs/{loyalty_id}/generations/plan",
        plan_generation,
        "Plan a generation",
        "Bringing codes in",
        errors=(ProgramNotFound,),
        example=Example(
            "/programs/2/generations/plan",
            {"count": 3, "template": "SUMMER-{4:digits}"},
            _PLAN,
        ),
    ),
    Endpoint(
        "POST",
        "/programs/{loyalty_id}/generations",
        generate_codes,
        "Generate codes",
        "Bringing codes in",
        status=202,
        errors=(ProgramNotFound, CodeLimitReached),
        is_keyed=True,
        example=Example(
            "/programs/2/generations",
            {"count": 3, "template": "SUMMER-{10}"},
            _JOB,
            is_exact=False,
        ),
    ),
    Endpoint(
        "GET",
        "/jobs/{job_id}",
        show_job,
        "Show a job",
        "Jobs",
        errors=(JobNotFound,),
        example=Example("/jobs/1", answer=_JOB_DONE, is_exact=False),
    ),
    Endpoint(
        "GET",
        "/jobs",
        list_jobs,
        "List jobs",
        "Jobs",
        errors=(ProgramNotFound,),
        example=Example(
            "/jobs?loyalty_id=2&state=done",
            answer={"items": [_JOB_DONE], "next": None},
            is_exact=False,
        ),
    ),
    Endpoint(
        "POST",
        "/jobs/{job_id}/cancel",
        cancel_job,
        "Cancel a job",
        "Jobs",
        errors=(JobNotFound,),
        example=Example("/jobs/1/cancel", answer=_JOB_DONE, is_exact=False),
    ),
    Endpoint(
        "GET",
        "/batches",
        list_batches,
        "List batches",
        "Batches",
        errors=(ProgramNotFound,),
        example=Example("/batches?loyalty_id=2", answer={"items": [_GENERATED], "next": None}),
    ),
    Endpoint(
        "GET",
        "/batches/{batch_id}",
        show_batch,
        "Show a batch",
        "Batches",
        errors=(BatchNotFound,),
        example=Example("/batches/1", answer=_GENERATED),
    ),
    Endpoint(
        "POST",
        "/programs/{loyalty_id}/changes/preview",
        preview_change,
        "Preview a bulk change",
        "Bulk changes",
        errors=_FILTER_ERRORS,
        example=Example(
            "/programs/2/changes/preview",
            _WANTED,
            {
                "matching": 3,
                "is_all": True,
                "changing": 3,
                "sample": [{"code": "SUMMER-7KQ2M9XWTE", "state": "free", "refused": ""}],
            },
            is_exact=False,
        ),
    ),
    Endpoint(
        "POST",
        "/programs/{loyalty_id}/changes",
        change_codes,
        "Change many codes",
        "Bulk changes",
        status=202,
        errors=_FILTER_ERRORS,
        is_keyed=True,
        example=Example(
            "/programs/2/changes",
            _WANTED,
            {**_JOB, "job_id": 2, "kind": "change"},
            is_exact=False,
        ),
    ),
    Endpoint(
        "GET",
        "/batches/{batch_id}/undo",
        preview_undo,
        "Preview taking a batch back",
        "Batches",
        errors=(BatchNotFound, AlreadyUndone, BatchForgotten),
        example=Example(
            "/batches/2/undo",
            answer={"undoing": 3, "touched": 0, "is_all": True, "sample": []},
        ),
    ),
    Endpoint(
        "POST",
        "/batches/{batch_id}/undo",
        undo_batch,
        "Take a batch back",
        "Batches",
        status=202,
        errors=(BatchNotFound, AlreadyUndone, BatchForgotten),
        is_keyed=True,
        example=Example(
            "/batches/2/undo",
            answer={**_JOB, "job_id": 3, "kind": "undo"},
            is_exact=False,
        ),
    ),
    Endpoint(
        "GET",
        "/batches/{batch_id}/touched",
        list_touched,
        "List what cannot be taken back",
        "Batches",
        errors=(BatchNotFound, BatchForgotten),
        gives_file=(JSON_LINES,),
        example=Example("/batches/2/touched", answer="", content_type=JSON_LINES),
    ),
    Endpoint(
        "POST",
        "/programs/{loyalty_id}/imports",
        import_file,
        "Import a file",
        "Bringing codes in",
        status=202,
        errors=(ProgramNotFound, DatabaseNotFound),
        takes_file=True,
        example=Example(
            "/programs/2/imports?name=codes.csv",
            "code,expire_date\nSUMMER-1,2027-06-30\nSUMMER-2,next week\n",
            {**_JOB, "job_id": 4, "kind": "import"},
            is_exact=False,
        ),
    ),
    Endpoint(
        "POST",
        "/programs/{loyalty_id}/attachments/preview",
        preview_attachment,
        "Preview attaching to a list of profiles",
        "Bulk changes",
        errors=(ProgramNotFound, DatabaseNotFound),
        takes_file=True,
        example=Example(
            "/programs/2/attachments/preview?name=winners.csv&db_id=1",
            "email,code\nann@example.com,SUMMER-1\n",
            {
                "matching": 1,
                "is_all": True,
                "changing": 0,
                "sample": [
                    {
                        "profile": "ann@example.com",
                        "code": "SUMMER-1",
                        "refused": "program_inactive",
                    }
                ],
            },
        ),
    ),
    Endpoint(
        "POST",
        "/programs/{loyalty_id}/attachments",
        attach_list,
        "Attach codes to a list of profiles",
        "Bulk changes",
        status=202,
        errors=(ProgramNotFound, DatabaseNotFound),
        takes_file=True,
        example=Example(
            "/programs/2/attachments?name=winners.csv&db_id=1",
            "email,code\nann@example.com,SUMMER-1\n",
            {**_JOB, "job_id": 5, "kind": "change"},
            is_exact=False,
        ),
    ),
    Endpoint(
        "GET",
        "/jobs/{job_id}/files/{kind}",
        fetch_file,
        "Fetch a file of a job",
        "Jobs",
        errors=(JobNotFound,),
        gives_file=(OCTETS,),
        example=Example(
            "/jobs/4/files/input",
            answer="code,expire_date\nSUMMER-1,2027-06-30\nSUMMER-2,next week\n",
            content_type=OCTETS,
        ),
    ),
)
