"""Codes, their history, and the events of a program on the management API."""

import json
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from promint.domain.errors import BadValue, MissingField
from promint.domain.model import CodeState, Event, EventKind, Holder, ProfileKey, PromoCode
from promint.wire.manage.profiles import ProfileQuery, key_of
from promint.wire.manage.reading import (
    PAGE_LIMIT,
    After,
    Count,
    Id,
    Limit,
    MomentText,
    Request,
    Text,
    moment,
)
from promint.wire.rows.dates import exact_moment

CodeText = Annotated[str, Meta(description="The code as it was given.")]
ExpireDate = Annotated[MomentText, Meta(description="From then on it is expired.")]
_HOLDER_FIELDS = ("profile_id", "email", "phone", "field_name")
_SPANS = ("created", "attached", "activated", "expires")


class Code(Struct, frozen=True, kw_only=True):
    """A promo code as it is now."""

    code: CodeText
    loyalty_id: Annotated[int, Meta(description="Its program.")]
    state: Annotated[
        CodeState, Meta(description="The first that holds of: activated, expired, attached, free.")
    ]
    created: Annotated[MomentText, Meta(description="When it came in.")]
    expire_date: ExpireDate | None
    attached: Annotated[MomentText, Meta(description="When it was attached last.")] | None
    activated: Annotated[MomentText, Meta(description="When it was activated last.")] | None
    attach_count: Annotated[Count, Meta(description="How many profiles hold it.")]
    activation_count: Annotated[Count, Meta(description="How often it was used.")]
    db_id: Annotated[int | None, Meta(description="The database of its latest holder.")]
    profile_id: Annotated[str | None, Meta(description="Its latest holder.")]
    batch_id: Annotated[int | None, Meta(description="The batch that made it.")]
    fields: Annotated[dict[str, str], Meta(description="Its additional data.")]


class HappenedEvent(Struct, frozen=True, kw_only=True):
    """Something that happened. The counts and dates are the code's as they became."""

    at: Annotated[MomentText, Meta(description="When.")]
    kind: Annotated[str, Meta(description="What: `attached` for example.", examples=["attached"])]
    code_key: Annotated[
        str | None, Meta(description="The code it happened to, in its compared form.")
    ]
    token_id: Annotated[int, Meta(description="Whose token it was; 0 is a command.")]
    request_id: Annotated[str, Meta(description="The request, or the job, that did it.")]
    db_id: Annotated[int | None, Meta(description="The database of the profile.")]
    profile_id: Annotated[str | None, Meta(description="The profile that it is about.")]
    attach_count: Annotated[int | None, Meta(description="How many profiles held the code.")]
    activation_count: Annotated[int | None, Meta(description="How often it had been used.")]
    activated: Annotated[MomentText, Meta(description="Its latest use.")] | None
    expire_date: ExpireDate | None
    details: Annotated[Any, Meta(description="What else there is to say.")]


class CodeHistory(Struct, frozen=True):
    """A code, the batch it came in with, and what happened to it since, oldest first."""

    code: Code
    source: Annotated[
        str | None, Meta(description="Where its batch is from: a file, or a template.")
    ]
    author: Annotated[str | None, Meta(description="Who made the batch.")]
    events: Annotated[list[HappenedEvent], Meta(description="Oldest first.")]


_From = Annotated[MomentText, Meta(description="At this moment or later.")]
_Until = Annotated[MomentText, Meta(description="Before this moment.")]


class CodesFilter(ProfileQuery, frozen=True, kw_only=True):
    """Which codes of the program; what is not named does not narrow."""

    code: Annotated[list[str], Meta(description="This code; several times for several codes.")] = (
        msgspec.field(default_factory=list)
    )
    prefix: Annotated[Text, Meta(description="Codes that begin so, compared as codes are.")] = ""
    state: Annotated[CodeState | None, Meta(description="In this state now.")] = None
    batch_id: Annotated[
        Id | None,
        Meta(description="That this batch made or changed."),
    ] = None
    db_id: Annotated[Id | None, Meta(description="The database of their holder.")] = None
    created_from: _From | None = None
    created_until: _Until | None = None
    attached_from: _From | None = None
    attached_until: _Until | None = None
    activated_from: _From | None = None
    activated_until: _Until | None = None
    expires_from: _From | None = None
    expires_until: _Until | None = None


class CodesQuery(CodesFilter, frozen=True, kw_only=True):
    """A page of codes."""

    after: After = None
    limit: Limit = PAGE_LIMIT


class ExportQuery(CodesFilter, frozen=True, kw_only=True):
    """Which codes, in which form."""

    format: Annotated[
        Literal["csv", "xlsx", "jsonl"], Meta(description="The form of the file.")
    ] = "csv"
    raw: Annotated[
        bool,
        Meta(description="For machines: nothing is guarded against being read as a formula."),
    ] = False


class CodeNamed(Struct, frozen=True):
    """Which code it is."""

    loyalty_id: Annotated[int, Meta(description="Its program.")]
    code: CodeText


class CodeChange(Request, frozen=True, kw_only=True):
    """What to change of a code."""

    activated: (
        Annotated[
            bool, Meta(description="True uses it once if it is not used; false takes a use back.")
        ]
        | UnsetType
    ) = UNSET
    expire_date: ExpireDate | UnsetType | None = UNSET


class AttachTo(ProfileQuery, frozen=True, kw_only=True):
    """A profile, and the code that it gets."""

    db_id: Annotated[Id, Meta(description="The database of the profile.")]
    code: Annotated[Text | None, Meta(description="The code; any free one if none is named.")] = (
        None
    )


class DetachFrom(ProfileQuery, frozen=True, kw_only=True):
    """The profile that holds the code."""

    db_id: Annotated[Id, Meta(description="The database of the profile.")]


def code_shown(code: PromoCode, now: int) -> Code:
    """Return what an answer says of a code at a moment."""
    return Code(
        code=code.code,
        loyalty_id=code.loyalty_id,
        state=code.state(now),
        created=exact_moment(code.created_at),
        expire_date=_maybe(code.expires_at),
        attached=_maybe(code.attached_at),
        activated=_maybe(code.activated_at),
        attach_count=code.attach_count,
        activation_count=code.activation_count,
        db_id=code.database_id,
        profile_id=code.profile_id,
        batch_id=code.batch_id,
        fields={} if code.fields is None else json.loads(code.fields),
    )


def held_shown(code: PromoCode, attached_at: int, holder: Holder, now: int) -> Code:
    """Return what an answer says of a code of a wallet: the holder is the wallet's profile."""
    return msgspec.structs.replace(
        code_shown(code, now),
        attached=exact_moment(attached_at),
        db_id=holder.database_id,
        profile_id=holder.profile_id,
    )


def event_shown(event: Event) -> HappenedEvent:
    """Return what an answer says of an event."""
    return HappenedEvent(
        at=exact_moment(event.at),
        kind=EventKind(event.kind).name.lower(),
        code_key=event.code_key,
        token_id=event.token_id,
        request_id=event.request_id,
        db_id=event.database_id,
        profile_id=event.profile_id,
        attach_count=event.attach_count,
        activation_count=event.activation_count,
        activated=_maybe(event.activated_at),
        expire_date=_maybe(event.expires_at),
        details=None if event.details is None else json.loads(event.details),
    )


def _maybe(at: int | None) -> str | None:
    return None if at is None else exact_moment(at)


def holder_of(query: CodesFilter) -> ProfileKey | None:
    """Return the profile that a filter names; None if it names none.

    Raises:
        MissingField, BadValue: it names a database without a profile, or the other way round.
    """
    names_one = any(getattr(query, name) is not None for name in _HOLDER_FIELDS)
    if query.db_id is None:
        if names_one:
            raise MissingField("db_id")
        return None
    return key_of(query, query.db_id)


def spans_of(query: CodesFilter) -> dict[str, tuple[int | None, int | None]]:
    """Return from when and until when a filter goes, for each of its dates.

    Raises:
        BadValue: a moment is not RFC 3339 with a zone, or a span ends before it begins.
    """
    spans = {}
    for name in _SPANS:
        first, end = (
            moment(getattr(query, f"{name}_{edge}"), f"{name}_{edge}") for edge in ("from", "until")
        )
        if first is not None and end is not None and first >= end:
            raise BadValue(f"not after {name}_from", f"{name}_until")
        spans[name] = (first, end)
    return spans
