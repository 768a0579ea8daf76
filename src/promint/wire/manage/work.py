"""Batches, jobs, and what is handed in as a job, on the management API."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from promint.domain.errors import BadValue, MissingField
from promint.domain.model import BatchKind, BatchState, JobState
from promint.domain.planning import Plan
from promint.wire.manage.codes import CodesFilter
from promint.wire.manage.reading import Count, Id, MomentText, PageQuery, Request, Text
from promint.wire.rows import Encoding, FileFormat

BatchId = Annotated[Id, Meta(description="Its id.")]
Source = Annotated[str, Meta(description="The name of the file, or what it came from.")]
Author = Annotated[str, Meta(description="Whose token it was, or `command`.")]


class BatchCounts(Struct, frozen=True, kw_only=True):
    """What became of the rows or codes that a batch looked at."""

    total: Annotated[Count, Meta(description="Rows or codes that were looked at.")]
    inserted: Annotated[Count, Meta(description="New codes.")]
    duplicated: Annotated[Count, Meta(description="Codes that were there already.")]
    discarded: Annotated[Count, Meta(description="Codes for which `code_limit` left no room.")]
    rejected: Annotated[Count, Meta(description="Rows or codes that could not be used.")]
    changed: Annotated[Count, Meta(description="Codes that were changed.")]
    undone: Annotated[Count, Meta(description="Codes that were taken back.")]
    touched: Annotated[
        Count, Meta(description="Codes left alone, for something else touched them.")
    ]


class BatchShown(Struct, frozen=True, kw_only=True):
    """The codes that one import, generation or bulk change touched, and what became of them."""

    batch_id: BatchId
    loyalty_id: Annotated[int, Meta(description="Its program.")]
    kind: Annotated[BatchKind, Meta(description="What it did.")]
    state: Annotated[BatchState, Meta(description="How far it is.")]
    source: Source
    author: Author
    created: Annotated[MomentText, Meta(description="When it began.")]
    finished: Annotated[MomentText, Meta(description="When it ended.")] | None
    forgotten: (
        Annotated[
            MomentText,
            Meta(description="Since when it cannot be taken back: what it changed is not kept."),
        ]
        | None
    )
    counts: BatchCounts
    parameters: Annotated[dict[str, Any], Meta(description="What it was told to do.")]


class TouchedCode(Struct, frozen=True):
    """A code that cannot be taken back."""

    code: Annotated[str, Meta(description="The code.")]
    why: Annotated[str, Meta(description="What happened to it since, or the reason of a rule.")]


class UndoShown(Struct, frozen=True, kw_only=True):
    """What taking a batch back would do now."""

    undoing: Annotated[Count, Meta(description="Codes that would be taken back.")]
    touched: Annotated[Count, Meta(description="Codes that would stay.")]
    is_all: Annotated[bool, Meta(description="Whether all of the batch was looked at.")]
    sample: Annotated[list[TouchedCode], Meta(description="The first that would stay.")]


class ListQuery(PageQuery, frozen=True, kw_only=True):
    """Of which program."""

    loyalty_id: Annotated[Id | None, Meta(description="Only those of this program.")] = None


class JobsQuery(ListQuery, frozen=True, kw_only=True):
    """Which jobs."""

    state: Annotated[JobState | None, Meta(description="Only those in this state.")] = None


class JobShown(Struct, frozen=True, kw_only=True):
    """Long work that the service does, one job at a time for each program."""

    job_id: Annotated[int, Meta(description="Its id.")]
    kind: Annotated[str, Meta(description="What it does: `import` for example.")]
    loyalty_id: Annotated[int, Meta(description="Its program.")]
    state: Annotated[JobState, Meta(description="How far it is.")]
    phase: Annotated[str, Meta(description="What it is doing.")]
    done: Annotated[Count, Meta(description="How many rows or codes of the phase are done.")]
    total: Annotated[int | None, Meta(description="Of how many; null while nobody knows.")]
    rate_per_s: Annotated[int | None, Meta(description="How many a second.")]
    left_s: Annotated[int | None, Meta(description="Seconds until the phase is done, about.")]
    waits_for: Annotated[int | None, Meta(description="The job that comes first.")]
    cancel_requested: Annotated[bool, Meta(description="Whether it was told to stop.")]
    batch_id: Annotated[int | None, Meta(description="Its batch, once there is one.")]
    error: Annotated[str | None, Meta(description="The sentence that ended it.")]
    result: Annotated[dict[str, Any] | None, Meta(description="What the work returned.")]
    files: Annotated[
        dict[str, int], Meta(description="Its files, with their bytes: `input`, `rejects`.")
    ]
    author: Author
    created: Annotated[MomentText, Meta(description="When it was handed in.")]
    started: Annotated[MomentText, Meta(description="When it began.")] | None
    finished: Annotated[MomentText, Meta(description="When it ended.")] | None


# -- files in ------------------------------------------------------------------------------

FileName = Annotated[Text, Meta(description="The name of the file, for the list of batches.")]


class ImportQuery(Request, frozen=True, kw_only=True):
    """How a file is read and what is done with it. What is not said is recognised."""

    name: FileName = "upload"
    dry_run: Annotated[
        bool, Meta(description="Rehearse: say what would happen and change nothing.")
    ] = False
    mode: Annotated[
        Literal["rows", "all-or-nothing"],
        Meta(description="Bring in every row that can be, or nothing unless every row can be."),
    ] = "rows"
    db_id: Annotated[
        Id | None, Meta(description="Where holders are, in rows that name no database.")
    ] = None
    format: Annotated[FileFormat | None, Meta(description="The form of the file.")] = None
    encoding: Annotated[Encoding | None, Meta(description="The encoding of the text.")] = None
    delimiter: Annotated[
        Literal["comma", "semicolon", "tab", "pipe"] | None, Meta(description="Between columns.")
    ] = None
    header: Annotated[bool | None, Meta(description="Whether the first row names the columns.")] = (
        None
    )
    sheet: Annotated[Text | None, Meta(description="Of a workbook.")] = None
    column: Annotated[
        list[Text],
        Meta(
            description="Which column is what, by header or number: `code=1`; several times.",
        ),
    ] = msgspec.field(default_factory=list)
    accept_damaged: Annotated[
        bool, Meta(description="Take codes that a spreadsheet has damaged.")
    ] = False


_DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|"}


def import_parameters(query: ImportQuery) -> dict[str, Any]:
    """Return what the job of an import is told.

    Raises:
        BadValue: a column is not NAME=COLUMN.
    """
    columns: dict[str, int | str] = {}
    for text in query.column:
        name, is_named, column = text.partition("=")
        if not name or not is_named or not column:
            raise BadValue("not NAME=COLUMN", "column")
        columns[name] = int(column) if column.isascii() and column.isdigit() else column
    read: Mapping[str, Any] = {
        "format": query.format,
        "encoding": query.encoding,
        "delimiter": query.delimiter and _DELIMITERS[query.delimiter],
        "has_header": query.header,
        "sheet": query.sheet,
        "columns": columns or None,
        "accept_damaged": query.accept_damaged or None,
    }
    return {
        "name": query.name,
        "mode": query.mode,
        "dry_run": query.dry_run,
        "db_id": query.db_id,
        "read": {name: value for name, value in read.items() if value is not None},
    }


class AttachListQuery(Request, frozen=True, kw_only=True):
    """What the file of an attachment is called, and where its profiles are."""

    name: FileName = "upload"
    db_id: Annotated[
        Id | None, Meta(description="Where the profiles are, in rows that name no database.")
    ] = None


# -- generation ----------------------------------------------------------------------------


class PlanRequest(Request, frozen=True, kw_only=True):
    """How many codes to make up, after which pattern."""

    count: Annotated[int, Meta(ge=1, le=1_000_000_000, description="How many codes.")]
    template: Annotated[
        Text | None, Meta(description="The pattern; the program's if none is named.")
    ] = None
    accept_guessable: Annotated[
        bool, Meta(description="Make them even if an attacker could guess one.")
    ] = False


class GenerationRequest(PlanRequest, frozen=True, kw_only=True):
    """Codes to make up."""

    expire_date: Annotated[MomentText, Meta(description="Their expiry.")] | None = None
    fields: Annotated[dict[str, str], Meta(description="Their additional data, all the same.")] = (
        msgspec.field(default_factory=dict)
    )


class PlanRefusal(Struct, frozen=True):
    """Why codes cannot be made so."""

    reason: Annotated[str, Meta(description="`space_too_small` or `guessable`.")]
    sentence: Annotated[str, Meta(description="What is wrong.")]
    advice: Annotated[str, Meta(description="What would do.")]


class PlanShown(Struct, frozen=True, kw_only=True):
    """What generating would mean."""

    template: Annotated[str, Meta(description="The pattern.")]
    count: Annotated[Count, Meta(description="How many codes.")]
    space: Annotated[
        str, Meta(description="How many codes the pattern has; a text, for it may be large.")
    ]
    used: Annotated[Count, Meta(description="How many of them may be there already.")]
    used_share: Annotated[float, Meta(description="The same as a share of 1.")]
    live: Annotated[Count, Meta(description="Codes that could be guessed afterwards.")]
    guesses_to_hit: Annotated[
        str, Meta(description="How many guesses hit one of them on average; a text likewise.")
    ]
    bits: Annotated[float, Meta(description="The chance in a code, in bits.")]
    sentence: Annotated[str, Meta(description="The plan for people.")]
    refusals: Annotated[list[PlanRefusal], Meta(description="Empty if it may go ahead.")]


def plan_shown(plan: Plan) -> PlanShown:
    """Return what an answer says of a plan."""
    return PlanShown(
        template=plan.template,
        count=plan.count,
        space=str(plan.space),
        used=plan.used,
        used_share=plan.used_share,
        live=plan.live,
        guesses_to_hit=str(plan.guesses_to_hit),
        bits=round(plan.bits, 3),
        sentence=plan.sentence,
        refusals=[PlanRefusal(str(one.reason), one.sentence, one.advice) for one in plan.refusals],
    )


# -- bulk changes --------------------------------------------------------------------------

ChangeKind = Literal["expire", "detach", "deactivate", "delete"]


class ChangeRequest(Request, frozen=True, kw_only=True):
    """What shall happen to every code that matches."""

    change: Annotated[
        ChangeKind,
        Meta(
            description="Set the expiry, detach, take the latest use back, or delete what nobody "
            "holds."
        ),
    ]
    filter: Annotated[
        CodesFilter, Meta(description="Which codes: as the search has it. {} is all of them.")
    ]
    expire_date: (
        Annotated[MomentText, Meta(description="The new expiry, for `expire`; null removes it.")]
        | UnsetType
        | None
    ) = UNSET


class SampledCode(Struct, frozen=True):
    """A code that matches."""

    code: Annotated[str, Meta(description="The code.")]
    state: Annotated[str, Meta(description="Its state now.")]
    refused: Annotated[str, Meta(description="Why it would be left alone; empty if it would not.")]


class ChangePreview(Struct, frozen=True, kw_only=True):
    """What a bulk change would do now."""

    matching: Annotated[Count, Meta(description="Codes that match.")]
    is_all: Annotated[bool, Meta(description="Whether all that match were counted.")]
    changing: Annotated[Count, Meta(description="Codes that would change.")]
    sample: Annotated[list[SampledCode], Meta(description="The first of them.")]


class SampledProfile(Struct, frozen=True):
    """A row of a list of profiles."""

    profile: Annotated[str, Meta(description="The profile as the row names it.")]
    code: Annotated[str, Meta(description="The code that it names; empty for any free one.")]
    refused: Annotated[str, Meta(description="Why it would get none; empty if it would.")]


class AttachmentPreview(Struct, frozen=True, kw_only=True):
    """What attaching to a list of profiles would do now."""

    matching: Annotated[Count, Meta(description="Rows of the list.")]
    is_all: Annotated[bool, Meta(description="Whether all of them were looked at.")]
    changing: Annotated[Count, Meta(description="Rows that would get a code.")]
    sample: Annotated[list[SampledProfile], Meta(description="The first of them.")]


def check_change(request: ChangeRequest) -> None:
    """Refuse a bulk change whose expiry is not said, or is said of another change.

    Raises:
        MissingField, BadValue: it is so.
    """
    if request.change == "expire" and request.expire_date is UNSET:
        raise MissingField("expire_date")
    if request.change != "expire" and request.expire_date is not UNSET:
        raise BadValue("only for expire", "expire_date")
