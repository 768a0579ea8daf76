"""Endpoints: databases, profiles, wallets."""

from promint.domain.errors import (
    DatabaseNotFound,
    Duplicate,
    MissingField,
    ProfileAmbiguous,
    ProfileNotFound,
)
from promint.domain.identities import identities_of
from promint.domain.model import Database, Holder, ProfileKey
from promint.service.access import Answered
from promint.service.searching import Search
from promint.store import Answer
from promint.web.manage.codes import HELD
from promint.web.manage.endpoints import Asked, Endpoint, Example
from promint.web.manage.paging import page_by_id
from promint.wire.manage.codes import Code, held_shown
from promint.wire.manage.profiles import (
    DatabaseChange,
    DatabaseShown,
    NewDatabase,
    NewProfile,
    ProfileChange,
    ProfileQuery,
    ProfileSaved,
    ProfileShown,
    database_settings_of,
    database_shown,
    key_of,
    new_key_of,
    profile_shown,
)
from promint.wire.manage.reading import Page, PageQuery


async def list_databases(asked: Asked, query: PageQuery) -> Page[DatabaseShown]:
    """By id."""
    opened = asked.call.token.opens_database
    found = [database for database in await asked.means.store.databases() if opened(database.id)]
    page, following = page_by_id(found, query.after, query.limit, lambda database: database.id)
    return Page([database_shown(database) for database in page], following)


async def create_database(asked: Asked, body: NewDatabase) -> DatabaseShown:
    """A token that is narrowed to some databases makes none."""
    asked.check_sees_all(asked.call.token.databases)
    wanted = Database(**{"id": 0, **database_settings_of(body)})
    made = await asked.administration().create_database(wanted, asked.once(database_shown))
    return database_shown(made)


async def show_database(asked: Asked, db_id: int) -> DatabaseShown:
    """Its settings."""
    return database_shown(await asked.database(db_id))


async def update_database(asked: Asked, db_id: int, body: DatabaseChange) -> DatabaseShown:
    """It holds for every process within a second."""
    asked.check_database(db_id)
    settings = database_settings_of(body)
    return database_shown(await asked.administration().update_database(db_id, settings))


async def find_profiles(asked: Asked, db_id: int, query: ProfileQuery) -> Page[ProfileShown]:
    """A page of one profile, or of none."""
    await asked.database(db_id)
    try:
        found = await asked.service.profiles.get(asked.call, key_of(query, db_id))
    except ProfileNotFound:
        return Page([], None)
    return Page([profile_shown(found)], None)


async def save_profile(asked: Asked, db_id: int, body: NewProfile) -> ProfileSaved:
    """The profile that is named so is changed, or made where there is none."""
    await asked.database(db_id)
    key = new_key_of(body, db_id)

    def shape(profile_id: str) -> ProfileSaved:
        return ProfileSaved(db_id, profile_id)

    call = asked.keyed_call(shape)
    saved = await asked.service.profiles.save(call, key, body.data, creates=True)
    if isinstance(saved, Answer):
        raise Answered(saved)
    return shape(saved)


async def show_profile(asked: Asked, db_id: int, profile_id: str) -> ProfileShown:
    """By its id."""
    await asked.database(db_id)
    return profile_shown(await asked.service.profiles.get(asked.call, _key(db_id, profile_id)))


async def update_profile(
    asked: Asked, db_id: int, profile_id: str, body: ProfileChange
) -> ProfileShown:
    """The named fields, and no others; null removes one."""
    await asked.database(db_id)
    identities_of(db_id, body.data)
    key = _key(db_id, profile_id)
    await asked.service.profiles.save(asked.call, key, body.data, creates=False)
    return profile_shown(await asked.service.profiles.get(asked.call, key))


async def delete_profile(asked: Asked, db_id: int, profile_id: str) -> ProfileSaved:
    """Its codes that are not activated are free again; activated ones keep the bare id."""
    await asked.database(db_id)
    await asked.service.profiles.delete(asked.call, _key(db_id, profile_id))
    return ProfileSaved(db_id, profile_id.lower())


async def list_wallet(asked: Asked, db_id: int, profile_id: str, query: PageQuery) -> Page[Code]:
    """Newest first, in all programs that the token sees; `attached` is when this profile got it.

    A profile that is deleted has none, or the activated ones that keep its id.
    """
    await asked.database(db_id)
    key = _key(db_id, profile_id)
    found = await Search(asked.means).wallet(
        key, programs=asked.call.token.programs, after=query.after, most=query.limit
    )
    holder = Holder(db_id, key.profile_id or "")
    items = [held_shown(held.code, held.attached_at, holder, asked.now) for held in found.codes]
    return Page(items, found.next)


def _key(database_id: int, profile_id: str) -> ProfileKey:
    return ProfileKey(database_id, profile_id=profile_id.strip().lower())


_CUSTOMERS = {
    "db_id": 1,
    "name": "Customers",
    "description": "",
    "ui_tags": [],
    "groups": [{"id": 0, "name": "main"}],
    "suppress_id": 0,
    "creates_profiles": False,
    "created": "2026-11-23T09:00:00Z",
}
_CHANGED = {**_CUSTOMERS, "creates_profiles": True}
_ID = "6565a1b2c3d4e5f607182930"
_ANN = {
    "db_id": 1,
    "profile_id": _ID,
    "data": {"email": "ann@example.com", "city": "Oslo"},
    "created": "2026-11-23T09:00:00Z",
    "updated": "2026-11-23T09:00:00Z",
}
_SAVED = {"db_id": 1, "profile_id": _ID}

DATABASES = (
    Endpoint(
        "POST",
        "/databases",
        create_database,
        "Make a database",
        "Databases",
        status=201,
        errors=(Duplicate,),
        is_keyed=True,
        example=Example("/databases", {"name": "Customers"}, _CUSTOMERS),
    ),
    Endpoint(
        "GET",
        "/databases",
        list_databases,
        "List databases",
        "Databases",
        example=Example("/databases", answer={"items": [_CUSTOMERS], "next": None}),
    ),
    Endpoint(
        "GET",
        "/databases/{db_id}",
        show_database,
        "Show a database",
        "Databases",
        errors=(DatabaseNotFound,),
        example=Example("/databases/1", answer=_CUSTOMERS),
    ),
    Endpoint(
        "PATCH",
        "/databases/{db_id}",
        update_database,
        "Change a database",
        "Databases",
        errors=(DatabaseNotFound,),
        example=Example("/databases/1", {"creates_profiles": True}, _CHANGED),
    ),
)

PROFILES = (
    Endpoint(
        "POST",
        "/databases/{db_id}/profiles",
        save_profile,
        "Make or change a profile",
        "Profiles",
        errors=(DatabaseNotFound, ProfileNotFound, ProfileAmbiguous, Duplicate),
        is_keyed=True,
        example=Example("/databases/1/profiles", {"data": _ANN["data"]}, _SAVED),
    ),
    Endpoint(
        "GET",
        "/databases/{db_id}/profiles",
        find_profiles,
        "Find a profile",
        "Profiles",
        errors=(DatabaseNotFound, ProfileAmbiguous, MissingField),
        example=Example(
            "/databases/1/profiles?email=Ann%40example.com", answer={"items": [_ANN], "next": None}
        ),
    ),
    Endpoint(
        "GET",
        "/databases/{db_id}/profiles/{profile_id}",
        show_profile,
        "Show a profile",
        "Profiles",
        errors=(DatabaseNotFound, ProfileNotFound),
        example=Example(f"/databases/1/profiles/{_ID}", answer=_ANN),
    ),
    Endpoint(
        "PATCH",
        "/databases/{db_id}/profiles/{profile_id}",
        update_profile,
        "Change a profile",
        "Profiles",
        errors=(DatabaseNotFound, ProfileNotFound, Duplicate),
        example=Example(
            f"/databases/1/profiles/{_ID}",
            {"data": {"city": None, "tier": "gold"}},
            {**_ANN, "data": {"email": "ann@example.com", "tier": "gold"}},
        ),
    ),
)
WALLET = (
    Endpoint(
        "GET",
        "/databases/{db_id}/profiles/{profile_id}/codes",
        list_wallet,
        "List a profile's codes",
        "Profiles",
        errors=(DatabaseNotFound,),
        example=Example(
            f"/databases/1/profiles/{_ID}/codes", answer={"items": [HELD], "next": None}
        ),
    ),
)
LAST = (
    Endpoint(
        "DELETE",
        "/databases/{db_id}/profiles/{profile_id}",
        delete_profile,
        "Delete a profile",
        "Profiles",
        errors=(DatabaseNotFound, ProfileNotFound),
        example=Example(f"/databases/1/profiles/{_ID}", answer=_SAVED),
    ),
)
"""What the examples do at their end."""
