"""How a profile is found: the compared form of e-mail, phone and custom fields."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from promint.domain.errors import BadValue, ProfileAmbiguous
from promint.domain.model import Identity, IdentityKind

VALUE_CHARACTERS_MAX = 255


def email_identity(database_id: int, text: str, where: str = "email") -> Identity:
    """Return an e-mail's identity: trimmed and case-folded.

    Raises:
        BadValue: it is empty or over 255 characters.
    """
    value = _bounded(text.strip().casefold(), where)
    return Identity(database_id, IdentityKind.EMAIL, "", value)


def phone_identity(database_id: int, text: str, where: str = "phone") -> Identity:
    """Return a phone's identity: its digits with a leading `+`.

    Raises:
        BadValue: it holds no digit, or more than 255.
    """
    digits = "".join(character for character in text if character in "0123456789")
    if not digits:
        raise BadValue("no digits", where)
    return Identity(database_id, IdentityKind.PHONE, "", _bounded("+" + digits, where))


def custom_identity(database_id: int, name: str, value: Any, where: str) -> Identity:
    """Return a custom field's identity: its value as text, trimmed.

    Raises:
        BadValue: name or value is empty or over 255 characters.
    """
    text = str(value).lower() if isinstance(value, bool) else str(value)
    name = _bounded(name, "field_name")
    return Identity(database_id, IdentityKind.CUSTOM, name, _bounded(text.strip(), where))


def _bounded(value: str, where: str) -> str:
    if not value:
        raise BadValue("empty", where)
    if len(value) > VALUE_CHARACTERS_MAX:
        raise BadValue(f"longer than {VALUE_CHARACTERS_MAX} characters", where)
    return value


_CONTACT_FIELDS = ("email", "phone", "phones", "subscriptions")


def identities_of(database_id: int, data: dict[str, Any]) -> tuple[Identity, ...]:
    """Return everything by which a profile with this data can be found.

    E-mails and phones come from the profile and from its subscriptions alike; every other
    field that is text, a number or a flag, and short enough, can be matched as `custom`.

    Raises:
        BadValue: an e-mail or phone is no text, empty, or too long.
    """
    found: dict[Identity, None] = {}
    for text in _texts([data.get("email")], "email"):
        found[email_identity(database_id, text)] = None
    for text in _texts(data.get("phones"), "phones"):
        found[phone_identity(database_id, text, "phones")] = None
    for text in _texts([data.get("phone")], "phone"):
        found[phone_identity(database_id, text)] = None
    subscriptions = data.get("subscriptions")
    for subscription in subscriptions if isinstance(subscriptions, list) else ():
        if isinstance(subscription, dict):
            for text in _texts([subscription.get("email")], "email"):
                found[email_identity(database_id, text, "subscriptions")] = None
            for text in _texts([subscription.get("phone")], "phone"):
                found[phone_identity(database_id, text, "subscriptions")] = None
    for name, value in data.items():
        if name in _CONTACT_FIELDS or not isinstance(value, (str, int, float)):
            continue
        if name and 0 < len(str(value).strip()) <= VALUE_CHARACTERS_MAX >= len(name):
            found[custom_identity(database_id, name, value, name)] = None
    return tuple(found)


def _texts(values: Any, where: str) -> Iterable[str]:
    if not values or values == [None]:
        return []
    if isinstance(values, str):
        values = [values]
    if not isinstance(values, list):
        raise BadValue("not a list of texts", where)
    for value in values:
        if not isinstance(value, str):
            raise BadValue("not a text", where)
    return [value for value in values if value.strip()]


def profile_of(found: Sequence[Collection[str]]) -> str | None:
    """Return the one profile that all identities lead to; None when none leads anywhere.

    `found` holds for each identity the ids of the profiles that it leads to.

    Raises:
        ProfileAmbiguous: one leads to several, or they do not lead to the same.
    """
    ids = {profile_id for matches in found for profile_id in matches}
    if not ids:
        return None
    if len(ids) > 1 or not all(found):
        raise ProfileAmbiguous
    return ids.pop()


def data_of(identities: Iterable[Identity]) -> dict[str, Any]:
    """Return the data of a profile that is made from how it was named."""
    data: dict[str, Any] = {}
    for identity in identities:
        if identity.kind == IdentityKind.EMAIL:
            data["email"] = identity.value
        elif identity.kind == IdentityKind.PHONE:
            data["phones"] = [identity.value]
        else:
            data[identity.field_name] = identity.value
    return data


def merged(before: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return data with the named fields changed; a field given as null is removed."""
    after = {**before, **changes}
    return {name: value for name, value in after.items() if value is not None}
