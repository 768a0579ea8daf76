"""How a profile is found: the compared form of e-mails, phones and custom fields."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promint.domain import identities
from promint.domain.errors import BadValue
from promint.domain.model import Identity, IdentityKind


def email(value: str) -> Identity:
    return Identity(1, IdentityKind.EMAIL, "", value)


def phone(value: str) -> Identity:
    return Identity(1, IdentityKind.PHONE, "", value)


def custom(name: str, value: str) -> Identity:
    return Identity(1, IdentityKind.CUSTOM, name, value)


@pytest.mark.parametrize(
    "text", ["ann@example.com", " ann@example.com\n", "ANN@Example.COM"], ids=str
)
def test_an_email_is_compared_trimmed_and_case_folded(text: str) -> None:
    assert identities.email_identity(1, text) == email("ann@example.com")


def test_an_email_outside_ascii_is_case_folded_too() -> None:
    assert identities.email_identity(1, "JÜRGEN@STRASSE.DE") == identities.email_identity(
        1, "jürgen@straße.de"
    )


@pytest.mark.parametrize(
    "text",
    ["+79001112233", "79001112233", "+7 (900) 111-22-33", " 7.900.111.22.33 "],
    ids=str,
)
def test_a_phone_is_compared_by_its_digits_with_a_leading_plus(text: str) -> None:
    assert identities.phone_identity(1, text) == phone("+79001112233")


@pytest.mark.parametrize("text", ["", "+", "phone", "٠١٢"], ids=["empty", "plus", "word", "Arabic"])
def test_a_phone_without_ascii_digits_is_refused(text: str) -> None:
    with pytest.raises(BadValue, match="no digits, phone"):
        identities.phone_identity(1, text)


@pytest.mark.parametrize(
    ("value", "compared"), [("gold", "gold"), (" gold ", "gold"), (7, "7"), (True, "true")]
)
def test_a_custom_value_is_compared_as_trimmed_text(value: object, compared: str) -> None:
    assert identities.custom_identity(1, "card", value, "card") == custom("card", compared)


@pytest.mark.parametrize(
    "make",
    [
        lambda: identities.email_identity(1, " "),
        lambda: identities.email_identity(1, "x" * 256),
        lambda: identities.phone_identity(1, "1" * 255),
        lambda: identities.custom_identity(1, "card", "", "field_value"),
        lambda: identities.custom_identity(1, "card", "x" * 256, "field_value"),
        lambda: identities.custom_identity(1, "", "x", "field_value"),
        lambda: identities.custom_identity(1, "x" * 256, "x", "field_value"),
    ],
    ids=[
        "blank email", "long email", "long phone",
        "empty value", "long value", "empty name", "long name",
    ],
)  # fmt: skip
def test_an_identity_has_1_to_255_characters(make: Any) -> None:
    with pytest.raises(BadValue, match=r"empty|longer than 255 characters"):
        make()


def test_identities_of_different_databases_differ() -> None:
    assert identities.email_identity(1, "a@b.c") != identities.email_identity(2, "a@b.c")


# -- what leads to a profile ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "leading"),
    [
        ({"email": "A@b.c"}, [email("a@b.c")]),
        ({"phones": ["+7 900", "8"]}, [phone("+7900"), phone("+8")]),
        ({"phones": "8"}, [phone("+8")]),
        ({"phone": "8"}, [phone("+8")]),
        ({"subscriptions": [{"email": "a@b.c"}, {"phone": "8"}]}, [email("a@b.c"), phone("+8")]),
        ({"email": "a@b.c", "subscriptions": [{"email": "A@B.C"}]}, [email("a@b.c")]),
        ({"card": "7"}, [custom("card", "7")]),
        ({"card": 7, "vip": True}, [custom("card", "7"), custom("vip", "true")]),
        ({"email": "", "phones": [], "card": " "}, []),
        ({"email": None, "phones": None}, []),
        ({"note": "x" * 256, "tags": ["a"], "x" * 256: "1"}, []),
    ],
    ids=str,
)
def test_contacts_and_short_fields_lead_to_a_profile(
    data: dict[str, Any], leading: list[Identity]
) -> None:
    assert list(identities.identities_of(1, data)) == leading


@pytest.mark.parametrize(
    ("data", "named"),
    [
        ({"email": 5}, "email"),
        ({"email": ["a@b.c"]}, "email"),
        ({"email": "x" * 256}, "email"),
        ({"phones": 5}, "phones"),
        ({"phones": [5]}, "phones"),
        ({"phones": ["none"]}, "phones"),
        ({"phone": {"number": "5"}}, "phone"),
        ({"subscriptions": [{"email": 5}]}, "email"),
        ({"subscriptions": [{"phone": "none"}]}, "subscriptions"),
    ],
    ids=str,
)
def test_a_contact_that_cannot_be_so_is_refused_by_name(data: dict[str, Any], named: str) -> None:
    with pytest.raises(BadValue, match=f", {named}$"):
        identities.identities_of(1, data)


@given(
    data=st.dictionaries(
        st.sampled_from(["email", "phones", "phone", "subscriptions", "card", ""]) | st.text(),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
            lambda inner: (
                st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
            ),
            max_leaves=5,
        ),
    )
)
def test_any_data_has_bounded_identities_or_is_refused(data: dict[str, Any]) -> None:
    try:
        leading = identities.identities_of(1, data)
    except BadValue:
        return

    assert len(set(leading)) == len(leading)
    for identity in leading:
        assert 1 <= len(identity.value) <= 255
        assert len(identity.field_name) <= 255


def test_a_profile_made_from_how_it_was_named_is_found_the_same_way() -> None:
    named = (email("a@b.c"), phone("+8"), custom("card", "7"))

    data = identities.data_of(named)

    assert data == {"email": "a@b.c", "phones": ["+8"], "card": "7"}
    assert identities.identities_of(1, data) == named


def test_merging_changes_what_is_named_and_removes_what_is_null() -> None:
    before = {"_fname": "Jim", "_lname": "Jones", "card": "7"}

    assert identities.merged(before, {"_lname": "Smith", "card": None, "vip": True}) == {
        "_fname": "Jim",
        "_lname": "Smith",
        "vip": True,
    }
