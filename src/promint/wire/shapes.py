"""Each request and answer, field by field: the only place that knows the wire's spelling."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from promint.domain import codetext, identities
from promint.domain.errors import BadValue, MissingField, PromintError, TooLarge
from promint.domain.model import Database, Identity, Profile, ProfileKey, PromoCode
from promint.wire.codecs import INTEGER_MAX, INTEGER_MIN, is_repeated
from promint.wire.moments import read_moment, write_moment

SUCCESS = "Successful operation"
TEXT_CHARACTERS_MAX = 255
INTEGER_DIGITS = 20
TOKEN_CHARACTERS_MAX = 1024
DATABASES_LIMIT = 1000


class Fields:
    """The fields of one request. Unknown ones are ignored; null is as absent.

    A number may come as a text of ASCII digits; in XML everything comes as text. `is_xml`
    says which, for an element that is repeated is a list there and one field here.
    """

    __slots__ = ("_is_xml", "_values", "items_max")

    def __init__(self, values: dict[str, Any], *, is_xml: bool, items_max: int = 1000) -> None:
        """Take what a codec read, and how many items a long list may have."""
        self._values = values
        self._is_xml = is_xml
        self.items_max = items_max

    @property
    def is_xml(self) -> bool:
        """Whether the request came as XML."""
        return self._is_xml

    def absent(self, name: str) -> bool:
        """Say whether the field is not there, or null, or an empty element."""
        value = self._values.get(name)
        return value is None or (self._is_xml and value == "")

    def __contains__(self, name: str) -> bool:
        """Say whether the field is there at all, null included."""
        return name in self._values

    def _value(self, name: str) -> Any:
        value = self._values.get(name)
        if value.__class__ is str or value is None:
            return value
        if is_repeated(value):
            if not value:
                return ""
            if any(other != value[0] for other in value):
                raise BadValue("given twice with two values", name)
            return value[0]
        return value

    def text(self, name: str, most: int = TEXT_CHARACTERS_MAX) -> str | None:
        """Return a text as it was sent, or None.

        Raises:
            BadValue: it is no text, too long, or holds a control character.
        """
        value = self._value(name)
        if value is None:
            return None
        if value.__class__ is not str:
            raise BadValue("not a text", name)
        if len(value) > most:
            raise BadValue(f"longer than {most} characters", name)
        if not value.isprintable() and any(character < " " for character in value.strip()):
            raise BadValue("holds a control character", name)
        return str(value)

    def code(self, name: str = "code") -> str | None:
        """Return a clean code text, or None.

        Raises:
            BadValue: it is no text, or no code can be like that.
        """
        value = self._value(name)
        if value is None:
            return None
        if value.__class__ is not str:
            raise BadValue("not a text", name)
        return codetext.clean_code(value, name)

    def named_code(self) -> str:
        """Return the code of a call that needs one.

        Raises:
            MissingField, BadValue: it is absent, or no code.
        """
        code = self.code()
        if code is None:
            raise MissingField("code")
        return code

    def whole(self, name: str) -> int | None:
        """Return a whole number, or None.

        Raises:
            BadValue: it is no whole number within 64 bits.
        """
        value = self._value(name)
        if value is None or value.__class__ is int:
            return value
        if value.__class__ is str:
            digits = value.strip() if self._is_xml else value
            sign = "-" if self._is_xml and digits[:1] == "-" else ""
            bare = digits.removeprefix(sign)
            if bare.isascii() and bare.isdigit() and len(bare.lstrip("0")) <= INTEGER_DIGITS:
                number = int(sign + bare)
                if INTEGER_MIN <= number <= INTEGER_MAX:
                    return number
        raise BadValue("not a whole number", name)

    def needed_whole(self, name: str) -> int:
        """Return a whole number that must be there.

        Raises:
            MissingField, BadValue: it is absent, or no whole number.
        """
        value = self.whole(name)
        if value is None:
            raise MissingField(name)
        return value

    def flag(self, name: str) -> bool | None:
        """Return true or false, or None.

        Raises:
            BadValue: it is neither.
        """
        value = self._value(name)
        if value is None or value.__class__ is bool:
            return value
        if self._is_xml and value.__class__ is str:
            word = value.strip()
            if not word:
                return None
            if word in ("true", "1"):
                return True
            if word in ("false", "0"):
                return False
        raise BadValue("not true or false", name)

    def moment(self, name: str) -> int | None:
        """Return a moment in UTC microseconds; None for null or an empty text.

        Raises:
            BadValue: it is not RFC 3339 with a zone.
        """
        value = self._value(name)
        if value is None:
            return None
        if value.__class__ is not str:
            raise BadValue("not RFC 3339 with a zone, like 2026-12-31T23:59:59Z", name)
        text = value.strip() if self._is_xml else value
        return read_moment(text, name) if text else None

    def items(self, name: str, most: int) -> list[Any]:
        """Return a list.

        Raises:
            MissingField, BadValue: it is absent, or no list.
            TooLarge: it has more than `most` items.
        """
        value = self._values.get(name)
        if value is None:
            raise MissingField(name)
        if self._is_xml and not is_repeated(value):
            value = [] if value == "" else [value]
        if not isinstance(value, list):
            raise BadValue("not a list", name)
        if len(value) > most:
            raise TooLarge(name)
        return value

    def texts(self, name: str, most: int) -> list[str]:
        """Return a list of texts.

        Raises:
            MissingField, BadValue: it is absent, no list, or an item is no text.
            TooLarge: it has more than `most` items.
        """
        items = self.items(name, most)
        for number, item in enumerate(items):
            if item.__class__ is not str:
                raise BadValue("not a text", f"{name}[{number}]")
        return items

    def mapping(self, name: str) -> dict[str, Any]:
        """Return an object.

        Raises:
            MissingField, BadValue: it is absent, no object, or holds NUL.
        """
        value = self._value(name)
        if value is None:
            raise MissingField(name)
        if self._is_xml and value == "":
            return {}
        if not isinstance(value, dict):
            raise BadValue("not an object", name)
        _refuse_nul(value, name)
        return _with_lists(value) if self._is_xml else value


def profile_data(fields: Fields, database_id: int) -> dict[str, Any]:
    """Return the data of `profiles/import` and `update`.

    Raises:
        MissingField, BadValue: it is absent or no object, or an e-mail or phone in it is wrong.
    """
    data = fields.mapping("data")
    identities.identities_of(database_id, data)
    return data


def _with_lists(data: dict[str, Any]) -> dict[str, Any]:
    """Return XML's profile data with the fields that are lists as lists, also of one or none."""
    lists: dict[str, Any] = {
        name: [] if data[name] == "" else [data[name]]
        for name in ("phones", "subscriptions")
        if name in data and not isinstance(data[name], list)
    }
    return {**data, **lists}


def _refuse_nul(value: Any, where: str) -> None:
    if isinstance(value, str):
        if "\0" in value:
            raise BadValue("holds NUL", where)
    elif isinstance(value, dict):
        for key, inner in value.items():
            _refuse_nul(key, where)
            _refuse_nul(inner, where)
    elif isinstance(value, list):
        for inner in value:
            _refuse_nul(inner, where)


# -- matching ------------------------------------------------------------------------------

_MATCHING = {
    "profile_id": ("profile_id",),
    "email": ("email",),
    "email_profile": ("email",),
    "email_sub": ("email",),
    "phone": ("phone",),
    "phone_sub": ("phone",),
    "custom": ("custom",),
    "email_phone": ("email", "phone"),
    "email_phone_sub": ("email", "phone"),
}
PROFILE_ID_CHARACTERS = 24


def profile_key(fields: Fields, database_id: int) -> ProfileKey:
    """Return how a request names its profile.

    Without `matching` it is the e-mail if one is given, else the one identifier that is. An
    empty identifier is as none.

    Raises:
        MissingField: the identifier that `matching` asks for is absent.
        BadValue: an unknown `matching`, several identifiers without one, a bad identifier.
    """
    matching = fields.text("matching")
    given = _given(fields, database_id)
    if matching:
        wanted = _MATCHING.get(matching)
        if wanted is None:
            raise BadValue(f"not one of {', '.join(_MATCHING)}", "matching")
    elif "email" in given:
        wanted = ("email",)
    elif len(given) == 1:
        wanted = tuple(given)
    elif given:
        raise BadValue(f"needed, for {' and '.join(given)} are given", "matching")
    else:
        raise MissingField("email, phone, profile_id or field_name and field_value")
    named = [given[name] for name in wanted if name in given]
    if not named:
        missing = {"custom": "field_name and field_value"}
        raise MissingField(" or ".join(missing.get(name, name) for name in wanted))
    if isinstance(named[0], str):
        return ProfileKey(database_id, profile_id=named[0])
    return ProfileKey(
        database_id, identities=tuple(one for one in named if not isinstance(one, str))
    )


def _given(fields: Fields, database_id: int) -> dict[str, str | Identity]:
    given: dict[str, str | Identity] = {}
    if email := (fields.text("email") or "").strip():
        given["email"] = identities.email_identity(database_id, email)
    if phone := (fields.text("phone") or "").strip():
        given["phone"] = identities.phone_identity(database_id, phone)
    if profile_id := (fields.text("profile_id") or "").strip():
        given["profile_id"] = profile_id.lower()
    name, value = (fields.text("field_name") or "").strip(), _custom_value(fields)
    if name and value:
        given["custom"] = identities.custom_identity(database_id, name, value, "field_value")
    return given


def _custom_value(fields: Fields) -> str:
    """A custom field's value may be a number as well."""
    try:
        return (fields.text("field_value") or "").strip()
    except BadValue:
        number = fields.whole("field_value")
        return "" if number is None else str(number)


# -- requests ------------------------------------------------------------------------------


class UpdateRequest(NamedTuple):
    """What `promocodes/update` asks for."""

    loyalty_id: int
    code: str
    activated: bool | None
    changes_expiry: bool
    expires_at: int | None


def update_request(fields: Fields) -> UpdateRequest:
    """Read `promocodes/update`; null for `activated` is as absent, for `expire_date` removes it.

    Raises:
        MissingField, BadValue: a field is absent or wrong, or there is nothing to change.
    """
    request = UpdateRequest(
        fields.needed_whole("loyalty_id"),
        fields.named_code(),
        fields.flag("activated"),
        "expire_date" in fields,
        fields.moment("expire_date"),
    )
    if request.activated is None and not request.changes_expiry:
        raise MissingField("activated or expire_date")
    return request


class DatabasesRequest(NamedTuple):
    """What `databases/list` asks for; None is no filter."""

    from_id: int
    limit: int
    ui_tags: Sequence[str] | None
    groups: Sequence[str] | None
    groups_id: Sequence[int] | None


def databases_request(fields: Fields) -> DatabasesRequest:
    """Read `databases/list`.

    Raises:
        BadValue: a field is wrong.
    """
    from_id, limit = fields.whole("from_id"), fields.whole("limit")
    if limit is not None and limit < 1:
        raise BadValue("less than 1", "limit")

    def texts(name: str) -> list[str] | None:
        if fields.absent(name):
            return None
        return fields.texts(name, DATABASES_LIMIT) or None

    groups_id = None
    if not fields.absent("groups_id"):
        items = fields.items("groups_id", DATABASES_LIMIT)
        groups_id = [
            Fields({"groups_id": i}, is_xml=fields.is_xml).whole("groups_id") for i in items
        ]
    return DatabasesRequest(
        1 if from_id is None else from_id,
        DATABASES_LIMIT if limit is None else min(limit, DATABASES_LIMIT),
        texts("ui_tags"),
        texts("groups"),
        [number for number in groups_id if number is not None] if groups_id else None,
    )


def batch_items(
    fields: Fields, database_id: int, most: int
) -> list[tuple[ProfileKey | PromintError, dict[str, Any]]]:
    """Read the items of `profiles/import_batch`.

    An item names its profile by fields of its own beside `data`, or is the data itself and
    holds them; `matching` and `field_name` of the request count for items without.

    Raises:
        MissingField, BadValue: `data` is absent, or no list of objects.
        TooLarge: it has too many.
    """
    shared = {name: fields.text(name) for name in ("matching", "field_name") if fields.text(name)}
    items = []
    for number, item in enumerate(fields.items("data", most)):
        if not isinstance(item, dict):
            raise BadValue("not an object", f"data[{number}]")
        inner = item.get("data")
        named = {**shared, **item}
        data: dict[str, Any] = inner if isinstance(inner, dict) else item
        if fields.is_xml:
            data = _with_lists(data)
        if not isinstance(inner, dict):
            named = {**shared, **_named_by_data(item, shared.get("field_name"))}
        try:
            _refuse_nul(data, f"data[{number}]")
            identities.identities_of(database_id, data)
            key: ProfileKey | PromintError = profile_key(
                Fields(named, is_xml=fields.is_xml), database_id
            )
        except PromintError as unreadable:
            key = unreadable
        items.append((key, data))
    return items


def _named_by_data(data: dict[str, Any], field_name: str | None) -> dict[str, Any]:
    phones = data.get("phones")
    first_phone = next(iter(phones), None) if isinstance(phones, list) else phones
    named = {
        "matching": data.get("matching"),
        "email": data.get("email"),
        "phone": data.get("phone") or first_phone,
        "profile_id": data.get("profile_id") or data.get("id"),
        "field_value": data.get(field_name) if field_name else None,
    }
    return {name: value for name, value in named.items() if value is not None}


# -- answers -------------------------------------------------------------------------------


def success(data: Any = None) -> dict[str, Any]:
    """Return the envelope of a success with `data`."""
    return {"data": data, "error": 0, "error_text": SUCCESS}


def failure(number: int, text: str) -> dict[str, Any]:
    """Return the envelope of a failure."""
    return {"error": number, "error_text": text}


def code_answer(code: PromoCode, now: int) -> dict[str, Any]:
    """Return the data of `promocodes/get`."""
    expired = code.is_expired(now)
    expire_date = write_moment(code.expires_at)
    answer = {
        "created": write_moment(code.created_at),
        "is_attached": code.attach_count > 0,
        "is_activated": code.activation_count > 0,
        "is_expired": expired,
        "attached": write_moment(code.attached_at),
        "activated": write_moment(code.activated_at),
        "expired": expire_date if expired else "",
        "expire_date": expire_date,
        "loyalty_id": code.loyalty_id,
        "code": code.code,
    }
    if code.attach_count:
        answer["database_id"] = code.database_id
        answer["profile_id"] = code.profile_id
    return answer


def import_answer(
    items: Iterable[tuple[str, int, str]], *, inserted: int, duplicated: int, discarded: int
) -> dict[str, Any]:
    """Return the answer of `promocodes/import`; an item is code, error and error_text."""
    return {
        "data": [
            {"code": code, "error": error, "error_text": error_text}
            for code, error, error_text in items
        ],
        "discarded_by_limit": discarded,
        "duplicated": duplicated,
        "error": 0,
        "error_text": SUCCESS,
        "inserted": inserted,
    }


def exported_code(code: str, attached_at: int | None, activated_at: int | None) -> dict[str, str]:
    """Return one object of `promocodes/export_all`: dates only where they are set."""
    answer = {"code": code}
    if attached_at is not None:
        answer["attached"] = write_moment(attached_at)
    if activated_at is not None:
        answer["activated"] = write_moment(activated_at)
    return answer


def databases_answer(
    databases: Sequence[Database], next_from_id: int, total: int
) -> dict[str, Any]:
    """Return the answer of `databases/list`, capitals and all."""
    return {
        "data": [
            {
                "id": database.id,
                "name": database.name,
                "ui_tags": database.ui_tags,
                "Groups": [{"Id": number, "Name": name} for number, name in database.groups],
            }
            for database in databases
        ],
        "error": 0,
        "error_text": SUCCESS,
        "next_from_id": next_from_id,
        "total_count": total,
    }


def database_answer(database: Database) -> dict[str, Any]:
    """Return the data of `databases/get`."""
    return {
        "id": database.id,
        "name": database.name,
        "suppress_id": database.suppress_id,
        "description": database.description,
    }


def profile_answer(profile: Profile) -> dict[str, Any]:
    """Return the data of `profiles/get`: a flat object, its fields in alphabetical order."""
    answer = {**profile.data, "db_id": profile.database_id, "id": profile.id}
    answer.setdefault("phones", [])
    return dict(sorted(answer.items()))
