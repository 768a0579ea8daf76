"""Databases and profiles on the management API."""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from promint.domain.errors import MissingField
from promint.domain.identities import identities_of
from promint.domain.model import Database, Profile, ProfileKey
from promint.wire import shapes
from promint.wire.manage.reading import Id, MomentText, Request, Text, given
from promint.wire.moments import write_moment

DbId = Annotated[Id, Meta(description="Its id.")]
Name = Annotated[str, Meta(min_length=1, max_length=255, description="Its name.")]
Description = Annotated[str, Meta(max_length=10_000, description="A line about it.")]
UiTags = Annotated[list[Text], Meta(max_length=100, description="Its tags.")]
CreatesProfiles = Annotated[
    bool, Meta(description="Whether attach makes a profile that it does not find.")
]
SuppressId = Annotated[
    Annotated[int, Meta(ge=0, le=2**53)], Meta(description="The vendor's list of refusals.")
]


class Group(Struct, frozen=True, forbid_unknown_fields=True):
    """A group of databases."""

    id: Annotated[int, Meta(ge=0, le=2**53, description="Its id.")]
    name: Annotated[Text, Meta(description="Its name.")]


Groups = Annotated[list[Group], Meta(max_length=100, description="Its groups; 0 main if none.")]


class DatabaseSettings(Request, frozen=True, kw_only=True):
    """Settings of a database. One that is not named stays; null removes it."""

    description: Description | UnsetType | None = UNSET
    ui_tags: UiTags | UnsetType | None = UNSET
    groups: Groups | UnsetType | None = UNSET
    suppress_id: SuppressId | UnsetType = UNSET
    creates_profiles: CreatesProfiles | UnsetType = UNSET


class NewDatabase(DatabaseSettings, frozen=True, kw_only=True):
    """A database to make. A setting that is not named has its default."""

    name: Name
    db_id: Annotated[Id, Meta(description="Its id; the next free one if none is named.")] | (
        UnsetType
    ) = UNSET


class DatabaseChange(DatabaseSettings, frozen=True, kw_only=True):
    """Settings to change, and no others; null removes one."""

    name: Name | UnsetType = UNSET


class DatabaseShown(Struct, frozen=True, kw_only=True):
    """A database of profiles."""

    db_id: DbId
    name: Name
    description: Description
    ui_tags: UiTags
    groups: Groups
    suppress_id: SuppressId
    creates_profiles: CreatesProfiles
    created: Annotated[MomentText, Meta(description="When it was made.")]


def database_settings_of(request: DatabaseSettings) -> dict[str, Any]:
    """Return the settings that a request names, as the database has them."""
    settings = given(request)
    if "db_id" in settings:
        settings["id"] = settings.pop("db_id")
    if "description" in settings:
        settings["description"] = settings["description"] or ""
    if "ui_tags" in settings:
        settings["ui_tags"] = tuple(settings["ui_tags"] or ())
    if "groups" in settings:
        groups = settings["groups"] or [Group(0, "main")]
        settings["groups"] = tuple((group.id, group.name) for group in groups)
    return settings


def database_shown(database: Database) -> DatabaseShown:
    """Return what an answer says of a database."""
    return DatabaseShown(
        db_id=database.id,
        name=database.name,
        description=database.description,
        ui_tags=list(database.ui_tags),
        groups=[Group(number, name) for number, name in database.groups],
        suppress_id=database.suppress_id,
        creates_profiles=database.creates_profiles,
        created=write_moment(database.created_at),
    )


# -- profiles ------------------------------------------------------------------------------

ProfileId = Annotated[
    str, Meta(description="Its id: 24 hexadecimal digits.", examples=["6565a1b2c3d4e5f607182930"])
]
Data = Annotated[
    dict[str, Any],
    Meta(
        description="E-mail, phones and any other fields.",
        examples=[{"email": "ann@example.com", "city": "Oslo"}],
    ),
]


class ProfileQuery(Request, frozen=True, kw_only=True):
    """How a profile is named: by its e-mail, its phone, or a field of its own."""

    matching: Annotated[
        Text | None,
        Meta(
            description="By which: `profile_id`, `email`, `phone`, `custom`, `email_phone` and the "
            "others of profiles/import; needed where several are given.",
        ),
    ] = None
    profile_id: Annotated[Text | None, Meta(description="Its id.")] = None
    email: Annotated[Text | None, Meta(description="Its e-mail.")] = None
    phone: Annotated[Text | None, Meta(description="One of its phones.")] = None
    field_name: Annotated[Text | None, Meta(description="The name of a field of its own.")] = None
    field_value: Annotated[Text | None, Meta(description="What this field holds.")] = None


class NewProfile(ProfileQuery, frozen=True, kw_only=True):
    """A profile to make; the one that is named so is changed if it is there already.

    Without a name of its own it is named by the e-mail or phone in `data`.
    """

    data: Data = msgspec.field(default_factory=dict)


class ProfileChange(Request, frozen=True, kw_only=True):
    """Fields to change, and no others; null removes one."""

    data: Data


class ProfileSaved(Struct, frozen=True):
    """Which profile it is."""

    db_id: DbId
    profile_id: ProfileId


class ProfileShown(Struct, frozen=True):
    """A profile."""

    db_id: DbId
    profile_id: ProfileId
    data: Data
    created: Annotated[MomentText, Meta(description="When it was made.")]
    updated: Annotated[MomentText, Meta(description="When its data changed last.")]


def key_of(query: ProfileQuery, database_id: int) -> ProfileKey:
    """Return how a request names its profile.

    Raises:
        MissingField, BadValue: it names none, or several ways without `matching`.
    """
    named = {
        name: value
        for name in ProfileQuery.__struct_fields__
        if (value := getattr(query, name)) is not None
    }
    return shapes.profile_key(shapes.Fields(named, is_xml=False), database_id)


def new_key_of(request: NewProfile, database_id: int) -> ProfileKey:
    """Return how a new profile is named: by the request, else by the contacts in its data.

    Raises:
        MissingField, BadValue: by neither, or a contact is wrong.
    """
    identities_of(database_id, request.data)
    try:
        return key_of(request, database_id)
    except MissingField:
        data = request.data
        phones = data.get("phones")
        phone = data.get("phone") or (phones[0] if isinstance(phones, list) and phones else None)
        named = {"email": data.get("email"), "phone": phone}
        return shapes.profile_key(shapes.Fields(named, is_xml=False), database_id)


def profile_shown(profile: Profile) -> ProfileShown:
    """Return what an answer says of a profile."""
    return ProfileShown(
        profile.database_id,
        profile.id,
        profile.data,
        write_moment(profile.created_at),
        write_moment(profile.updated_at),
    )
