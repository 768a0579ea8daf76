"""Programs on the management API."""

from functools import cache
from typing import Annotated, Any, Literal
from zoneinfo import available_timezones

from msgspec import UNSET, Meta, Struct, UnsetType

from promint.domain.errors import BadValue
from promint.domain.model import BUCKETS_MAX, CodeMatching, LoyaltyProgram
from promint.domain.sentences import limits_sentence
from promint.wire.manage.reading import Count, Id, MomentText, PageQuery, Request, Text, given
from promint.wire.moments import read_moment, write_moment
from promint.wire.rows.dates import exact_moment

_Most = Annotated[int, Meta(ge=1, le=2**53)]
_MOMENTS = ("issue_from", "issue_until", "default_expire_date")
_TEXTS = ("short_name", "description", "access_group", "template")

Name = Annotated[str, Meta(min_length=1, max_length=255, description="Its name.")]
LoyaltyId = Annotated[Id, Meta(description="Its id.")]
ShortName = Annotated[
    Text,
    Meta(description="Name of the template variable: one word of letters, digits, underscores."),
]
Description = Annotated[str, Meta(max_length=10_000, description="A line about it.")]
AccessGroup = Annotated[Text, Meta(description="Who may see it on the pages.")]
Active = Annotated[bool, Meta(description="Whether codes are attached from it.")]
IssueFrom = Annotated[MomentText, Meta(description="Attaching starts here.")]
IssueUntil = Annotated[MomentText, Meta(description="Attaching ends here.")]
MultipleUsage = Annotated[
    bool, Meta(description="Universal: a code may be attached to many profiles. Fixed when made.")
]
CodeLimit = Annotated[_Most, Meta(description="Most codes it may hold.")]
ProfileLimit = Annotated[_Most, Meta(description="Most codes of it one profile may hold.")]
AttachLimit = Annotated[_Most, Meta(description="Most profiles of one universal code.")]
ActivationLimit = Annotated[
    _Most,
    Meta(description="Uses of one code: 1 if personal, unlimited if universal unless set."),
]
CreatesOnAttach = Annotated[
    bool, Meta(description="Whether attaching makes a code that is not there.")
]
TemplateText = Annotated[Text, Meta(description="Pattern of generated codes.")]
LifetimeS = Annotated[_Most, Meta(description="Seconds from attach to expiry.")]
DefaultExpireDate = Annotated[MomentText, Meta(description="Expiry of codes made without one.")]
Matching = Annotated[
    CodeMatching, Meta(description="How codes are compared. Fixed when the program is made.")
]
LowStock = Annotated[
    Annotated[int, Meta(ge=0, le=2**53)], Meta(description="Say so when fewer codes are free.")
]
TimeZone = Annotated[
    str, Meta(max_length=64, description="Zone of dates in files and on pages.", examples=["UTC"])
]
Fields = Annotated[
    list[Annotated[str, Meta(min_length=1, max_length=64)]],
    Meta(max_length=50, description="Names of the additional data fields of its codes."),
]
Buckets = Annotated[
    int,
    Meta(
        ge=1,
        le=BUCKETS_MAX,
        description="Shards, a power of two: more than 1 for programs of hundreds of millions. "
        "Fixed when made.",
    ),
]


class ProgramSettings(Request, frozen=True, kw_only=True):
    """Settings of a program. One that is not named stays; null removes it."""

    short_name: ShortName | UnsetType | None = UNSET
    description: Description | UnsetType | None = UNSET
    access_group: AccessGroup | UnsetType | None = UNSET
    active: Active | UnsetType = UNSET
    issue_from: IssueFrom | UnsetType | None = UNSET
    issue_until: IssueUntil | UnsetType | None = UNSET
    multiple_usage: MultipleUsage | UnsetType = UNSET
    code_limit: CodeLimit | UnsetType | None = UNSET
    profile_limit: ProfileLimit | UnsetType | None = UNSET
    attach_limit: AttachLimit | UnsetType | None = UNSET
    activation_limit: ActivationLimit | UnsetType | None = UNSET
    creates_on_attach: CreatesOnAttach | UnsetType = UNSET
    template: TemplateText | UnsetType | None = UNSET
    lifetime_s: LifetimeS | UnsetType | None = UNSET
    default_expire_date: DefaultExpireDate | UnsetType | None = UNSET
    code_matching: Matching | UnsetType = UNSET
    low_stock: LowStock | UnsetType | None = UNSET
    time_zone: TimeZone | UnsetType = UNSET
    fields: Fields | UnsetType | None = UNSET
    buckets: Buckets | UnsetType = UNSET


class NewProgram(ProgramSettings, frozen=True, kw_only=True):
    """A program to make. A setting that is not named has its default."""

    name: Name
    loyalty_id: Annotated[Id, Meta(description="Its id; the next free one if none is named.")] | (
        UnsetType
    ) = UNSET


class ProgramClone(ProgramSettings, frozen=True, kw_only=True):
    """What is different in the copy of a program, its name and id included."""

    name: Name | UnsetType = UNSET
    loyalty_id: Annotated[Id, Meta(description="Its id; the next free one if none is named.")] | (
        UnsetType
    ) = UNSET


class ProgramChange(ProgramSettings, frozen=True, kw_only=True):
    """Settings to change, and no others; null removes one. What is fixed may only stay."""

    name: Name | UnsetType = UNSET


class ProgramsQuery(PageQuery, frozen=True, kw_only=True):
    """Which programs."""

    active: Annotated[
        bool | None, Meta(description="Only those that codes are attached from, or only others.")
    ] = None
    archived: Annotated[
        bool, Meta(description="Only archived ones; without it, only those that are not.")
    ] = False
    kind: Annotated[
        Literal["personal", "universal"] | None,
        Meta(description="Only those whose codes belong to one profile each, or to many."),
    ] = None
    name: Annotated[str, Meta(description="A part of the name, in any case.")] = ""
    access_group: Annotated[str | None, Meta(description="Only those of this group.")] = None


class Program(Struct, frozen=True, kw_only=True):
    """A program and its settings."""

    loyalty_id: LoyaltyId
    name: Name
    short_name: ShortName
    description: Description
    access_group: AccessGroup
    active: Active
    archived: Annotated[bool, Meta(description="Whether it is off and hidden from lists.")]
    issue_from: IssueFrom | None
    issue_until: IssueUntil | None
    multiple_usage: MultipleUsage
    code_limit: CodeLimit | None
    profile_limit: ProfileLimit | None
    attach_limit: AttachLimit | None
    activation_limit: ActivationLimit | None
    creates_on_attach: CreatesOnAttach
    template: TemplateText
    lifetime_s: LifetimeS | None
    default_expire_date: DefaultExpireDate | None
    code_matching: Matching
    low_stock: LowStock | None
    time_zone: TimeZone
    fields: Fields
    buckets: Buckets
    created: Annotated[MomentText, Meta(description="When it was made.")]
    limits: Annotated[str, Meta(description="Its limits as a sentence.")]


class ShownProgram(Program, frozen=True, kw_only=True):
    """A program, its settings, and how many codes it holds."""

    codes: Annotated[Count, Meta(description="How many codes it holds.")]
    free: Annotated[Count, Meta(description="How many of them are free, counted up to 10,000.")]


def settings_of(request: ProgramSettings) -> dict[str, Any]:
    """Return the settings that a request names, as the program has them.

    Raises:
        BadValue: a moment is not RFC 3339 with a zone, or there is no such time zone.
    """
    settings = given(request)
    if "loyalty_id" in settings:
        settings["id"] = settings.pop("loyalty_id")
    for name, value in settings.items():
        if name in _MOMENTS and value is not None:
            settings[name] = read_moment(value, name)
        elif name in _TEXTS and value is None:
            settings[name] = ""
        elif name == "fields":
            settings[name] = tuple(value or ())
        elif name == "time_zone" and value not in _time_zones():
            raise BadValue("no time zone, write one like Europe/Moscow", name)
    return settings


@cache
def _time_zones() -> frozenset[str]:
    return frozenset(available_timezones())


def program_values(program: LoyaltyProgram) -> dict[str, Any]:
    """Return what an answer says of a program, by the names of `Program`."""
    own = set(LoyaltyProgram.__dataclass_fields__)
    values = {name: getattr(program, name) for name in Program.__struct_fields__ if name in own}
    for name in _MOMENTS:
        values[name] = None if values[name] is None else exact_moment(values[name])
    return {
        **values,
        "loyalty_id": program.id,
        "fields": list(program.fields),
        "created": write_moment(program.created_at),
        "limits": limits_sentence(program),
    }
