"""Databases and profiles, and how a request names a profile: contract section 5."""

import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.running import Running
from tests.web.callers import FORMS, Answer, read, speak
from tests.web.conftest import Shop


class Customers:
    """One database on the service, and the calls on its profiles."""

    def __init__(self, service: Running, form: str = "json", **settings: Any) -> None:
        self.service = service
        self.form = form
        self.db_id = service.database(**settings)

    def call(self, name: str, **fields: Any) -> Answer:
        return speak(self.service, self.form, f"profiles/{name}", {"db_id": self.db_id, **fields})

    def made(self, **data: Any) -> str:
        """Import a profile with this data, found by its e-mail, phone or card; return its id."""
        named: dict[str, Any] = {name: data[name] for name in ("email", "phone") if name in data}
        if not named and "phones" in data:
            named = {"phone": data["phones"][0]}
        if not named:
            ((name, value),) = data.items()
            named = {"field_name": name, "field_value": value}
        answer = self.call("import", data=data, **named)
        assert answer.error == 0, answer
        return str(answer.tree["profile_id"])

    def found(self, **named: Any) -> str:
        """Return the id of the profile that is named so, or the reason why there is none."""
        answer = self.call("get", **named)
        return str(answer.tree["data"]["id"]) if answer.error == 0 else answer.reason


@pytest.fixture
def customers(running: Running) -> Customers:
    return Customers(running)


# -- databases -----------------------------------------------------------------------------


def test_a_list_of_databases_has_the_documented_shape(running: Running) -> None:
    db_id = running.database(
        name="B2C", ui_tags=("tag1", "tag2"), groups=((1, "subaccount"), (2, "main"))
    )

    reply = running.call("databases/list", {"from_id": db_id, "limit": 1})

    assert reply.json == {
        "data": [
            {
                "id": db_id,
                "name": "B2C",
                "ui_tags": ["tag1", "tag2"],
                "Groups": [{"Id": 1, "Name": "subaccount"}, {"Id": 2, "Name": "main"}],
            }
        ],
        "error": 0,
        "error_text": "Successful operation",
        "next_from_id": db_id + 1,
        "total_count": reply.json["total_count"],
    }
    assert list(reply.json) == ["data", "error", "error_text", "next_from_id", "total_count"]


def test_a_database_has_the_documented_shape(running: Running) -> None:
    db_id = running.database(name="B2C", description="May contain info", suppress_id=1)

    reply = running.call("databases/get", {"id": db_id})

    assert reply.body.decode() == (
        f'{{"data":{{"id":{db_id},"name":"B2C","suppress_id":1,"description":"May contain info"}},'
        '"error":0,"error_text":"Successful operation"}'
    )


@pytest.mark.parametrize("form", FORMS)
def test_following_next_from_id_meets_every_database_once(running: Running, form: str) -> None:
    made = [running.database(name=f"Page {number}") for number in range(5)]
    seen, from_id = [], made[0]

    while True:
        answer = speak(running, form, "databases/list", {"from_id": from_id, "limit": 2})
        page = answer.tree["data"]
        if not page:
            break
        seen += [int(one["id"]) for one in (page if isinstance(page, list) else [page])]
        from_id = int(answer.tree["next_from_id"])

    assert seen == made


@pytest.mark.parametrize("form", FORMS)
def test_databases_are_found_by_tag_and_group(running: Running, form: str) -> None:
    tag = f"tag-{running.database()}-{form}"
    group = running.database()
    first = running.database(ui_tags=(tag, "b"), groups=((group, "g" + tag),))
    second = running.database(ui_tags=("c", tag), groups=((group + 1, "h" + tag),))

    def found(**filters: Any) -> list[int]:
        data = speak(running, form, "databases/list", filters).tree["data"]
        return [
            int(one["id"]) for one in (data if isinstance(data, list) else [data] if data else [])
        ]

    assert found(ui_tags=[tag]) == [first, second]
    assert found(ui_tags=[tag], groups=["g" + tag]) == [first]
    assert found(groups=["g" + tag, "h" + tag]) == [first, second]
    assert found(ui_tags=[tag], groups_id=[group + 1]) == [second]
    assert found(ui_tags=[tag + "x"]) == []


# -- import, update, get, delete -----------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_an_import_makes_a_profile_with_a_24_digit_id(running: Running, form: str) -> None:
    customers = Customers(running, form)

    answer = customers.call(
        "import", matching="email", email="jim@example.com", data={"_fname": "Jim"}
    )

    assert set(answer.tree) == {"error", "error_text", "profile_id"}
    assert re.fullmatch("[0-9a-f]{24}", answer.tree["profile_id"])


def test_a_profile_has_the_documented_shape(customers: Customers) -> None:
    data = {"email": "jim@example.com", "phones": ["+79000000000"], "_fname": "Jim", "vip": True}
    profile_id = customers.made(**data)

    reply = customers.service.call(
        "profiles/get", {"db_id": customers.db_id, "profile_id": profile_id}
    )

    assert reply.json["data"] == {"db_id": customers.db_id, "id": profile_id, **data}
    assert list(reply.json["data"]) == sorted(reply.json["data"])


plain_texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
values = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**64 - 1) | plain_texts
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner | st.none(), max_size=3)
    | st.dictionaries(plain_texts, inner | st.none(), max_size=3),
    max_leaves=6,
)  # fmt: skip


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.dictionaries(plain_texts, values, max_size=5))
def test_any_data_is_kept_as_it_is_and_can_be_shown_in_both_forms(
    customers: Customers, data: dict[str, Any]
) -> None:
    contacts = {"email", "phone", "phones", "subscriptions", "id", "db_id"}
    data = {name: value for name, value in data.items() if name not in contacts}
    made = customers.call("import", email="jim@example.com", data=data).tree["profile_id"]
    fields = {"db_id": customers.db_id, "profile_id": made}

    kept = customers.service.call("profiles/get", fields).json["data"]
    in_xml = speak(customers.service, "xml", "profiles/get", fields)

    assert {**kept, **data} == kept
    assert in_xml.error == 0
    assert in_xml.tree["data"]["id"] == made


def test_a_profile_without_phones_has_an_empty_list_of_them(customers: Customers) -> None:
    customers.made(email="jim@example.com")

    answer = customers.call("get", email="jim@example.com")

    assert answer.tree["data"]["phones"] == []


def test_an_import_that_finds_the_profile_updates_it(customers: Customers) -> None:
    made = customers.made(email="jim@example.com", _fname="Jim", card="7")

    again = customers.call(
        "import", email="jim@example.com", data={"_fname": "James", "card": None}
    )

    assert again.tree["profile_id"] == made
    data = customers.call("get", profile_id=made).tree["data"]
    assert data["_fname"] == "James"
    assert "card" not in data


def test_an_import_by_id_updates_but_never_creates(customers: Customers) -> None:
    made = customers.made(email="jim@example.com")

    by_id = customers.call("import", profile_id=made, data={"_fname": "Jim"})
    unknown = customers.call("import", matching="profile_id", profile_id="0" * 24, data={})

    assert by_id.tree["profile_id"] == made
    assert (unknown.error, unknown.reason) == (404, "profile_not_found")


def test_an_update_never_creates(customers: Customers) -> None:
    answer = customers.call("update", email="jim@example.com", data={"_fname": "Jim"})

    assert (answer.error, answer.reason, answer.status) == (404, "profile_not_found", 200)
    assert customers.found(email="jim@example.com") == "profile_not_found"


def test_an_update_changes_the_named_fields(customers: Customers) -> None:
    made = customers.made(email="jim@example.com", _fname="Jim")

    answer = customers.call("update", email="jim@example.com", data={"_lname": "Jones"})

    assert answer.tree["profile_id"] == made
    data = customers.call("get", profile_id=made).tree["data"]
    assert (data["_fname"], data["_lname"]) == ("Jim", "Jones")


def test_a_changed_email_leads_to_the_profile_and_the_old_one_no_longer(
    customers: Customers,
) -> None:
    made = customers.made(email="old@example.com")

    customers.call("update", profile_id=made, data={"email": "new@example.com"})

    assert customers.found(email="new@example.com") == made
    assert customers.found(email="old@example.com") == "profile_not_found"


@pytest.mark.parametrize("form", FORMS)
def test_a_deleted_profile_is_gone(running: Running, form: str) -> None:
    customers = Customers(running, form)
    made = customers.made(email="jim@example.com")

    answer = customers.call("delete", email="jim@example.com")

    assert answer.tree["data"] == {"profile_id": made}
    assert customers.found(profile_id=made) == "profile_not_found"
    assert customers.call("delete", email="jim@example.com").reason == "profile_not_found"
    assert customers.made(email="jim@example.com") != made


def test_a_profile_belongs_to_its_database(customers: Customers) -> None:
    made = customers.made(email="jim@example.com")
    elsewhere = Customers(customers.service)

    assert elsewhere.found(email="jim@example.com") == "profile_not_found"
    assert elsewhere.found(profile_id=made) == "profile_not_found"
    assert elsewhere.made(email="jim@example.com") != made


# -- matching ------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_every_way_of_matching_finds_the_profile(running: Running, form: str) -> None:
    customers = Customers(running, form)
    made = customers.made(email="jim@example.com", phones=["+79000000000"], card="7")
    email, phone = "jim@example.com", "+79000000000"

    assert customers.found(matching="profile_id", profile_id=made) == made
    assert customers.found(matching="email", email=email) == made
    assert customers.found(matching="email_profile", email=email) == made
    assert customers.found(matching="email_sub", email=email) == made
    assert customers.found(matching="phone", phone=phone) == made
    assert customers.found(matching="phone_sub", phone=phone) == made
    assert customers.found(matching="email_phone", email=email, phone=phone) == made
    assert customers.found(matching="email_phone", email=email) == made
    assert customers.found(matching="email_phone", phone=phone) == made
    assert customers.found(matching="email_phone_sub", email=email, phone=phone) == made
    assert customers.found(matching="custom", field_name="card", field_value="7") == made
    assert customers.found(matching="custom", field_name="card", field_value=7) == made
    assert customers.found(matching="custom", field_name="card", field_value="8") == (
        "profile_not_found"
    )


def test_matching_counts_and_other_identifiers_do_not(customers: Customers) -> None:
    ann = customers.made(email="ann@example.com")
    bob = customers.made(phones=["7"])
    both = {"email": "ann@example.com", "phone": "7"}

    assert customers.found(matching="email", **both) == ann
    assert customers.found(matching="phone", **both) == bob
    assert customers.found(matching="profile_id", profile_id=bob, email="ann@example.com") == bob


def test_without_matching_it_is_the_email_else_the_one_identifier(customers: Customers) -> None:
    ann = customers.made(email="ann@example.com")
    bob = customers.made(phones=["7"])
    card = customers.made(card="7")

    assert customers.found(email="ann@example.com", phone="7") == ann
    assert customers.found(phone="7") == bob
    assert customers.found(profile_id=bob) == bob
    assert customers.found(field_name="card", field_value="7") == card
    assert customers.found(matching="", email="", phone="7") == bob
    assert customers.found(matching=None, email=None, profile_id=bob) == bob


def test_an_id_has_no_case(customers: Customers) -> None:
    made = customers.made(email="ann@example.com")

    assert customers.found(profile_id=made.upper()) == made
    assert customers.found(profile_id=f" {made} ") == made


@pytest.mark.parametrize("email", ["ANN@Example.com", " ann@example.com ", "ann@EXAMPLE.COM\t"])
def test_an_email_is_compared_trimmed_and_case_folded(customers: Customers, email: str) -> None:
    made = customers.made(email="Ann@example.com")

    assert customers.found(email=email) == made
    assert customers.call("import", email=email.strip(), data={}).tree["profile_id"] == made


@pytest.mark.parametrize("phone", ["+79001112233", "79001112233", "+7 (900) 111-22-33"])
def test_a_phone_is_compared_by_its_digits(customers: Customers, phone: str) -> None:
    made = customers.made(phones=["7-900-111-22-33"])

    assert customers.found(phone=phone) == made


@pytest.mark.parametrize("form", FORMS)
def test_subscriptions_lead_to_the_profile(running: Running, form: str) -> None:
    customers = Customers(running, form)
    made = customers.made(
        email="ann@example.com",
        subscriptions=[{"channel": "email", "email": "news@example.com"}, {"phone": "7"}],
    )

    assert customers.found(matching="email", email="news@example.com") == made
    assert customers.found(matching="email_sub", email="news@example.com") == made
    assert customers.found(matching="phone", phone="7") == made


@pytest.mark.parametrize(
    "data",
    [
        "<phones>+7 900</phones>",
        "<phones array='true'>+7 900</phones>",
        "<phones>+7 900</phones><phones>8</phones>",
        "<subscriptions><phone>7900</phone></subscriptions><phones/>",
    ],
)
def test_one_element_of_a_list_is_a_list(customers: Customers, data: str) -> None:
    body = (
        f"<xml><db_id>{customers.db_id}</db_id><email>ann@example.com</email>"
        f"<data><email>ann@example.com</email>{data}</data></xml>"
    )

    made = read(customers.service.xml("profiles/import", body))

    assert made.error == 0
    assert customers.found(phone="7900") == made.tree["profile_id"]
    profile = customers.call("get", email="ann@example.com").tree["data"]
    assert isinstance(profile["phones"], list)
    assert isinstance(profile.get("subscriptions", []), list)


def test_a_profile_that_leads_nowhere_is_not_found(customers: Customers) -> None:
    for named in (
        {"email": "nobody@example.com"},
        {"phone": "0"},
        {"profile_id": "0" * 24},
        {"profile_id": "not hex at all"},
        {"field_name": "card", "field_value": "7"},
        {"matching": "email_phone", "email": "nobody@example.com", "phone": "0"},
    ):
        answer = customers.call("get", **named)
        assert (answer.error, answer.text) == (404, "Profile not found")
        assert (answer.reason, answer.status) == ("profile_not_found", 200)


def test_several_profiles_with_one_custom_value_are_ambiguous(customers: Customers) -> None:
    for email in ("ann@example.com", "bob@example.com"):
        customers.made(email=email, city="Rome")
    named = {"matching": "custom", "field_name": "city", "field_value": "Rome"}

    for call in ("get", "import", "update", "delete"):
        answer = customers.call(call, data={"vip": True}, **named)
        assert (answer.error, answer.reason) == (409, "profile_ambiguous")
        assert answer.status == 200
    assert customers.found(**named) == "profile_ambiguous"


@pytest.mark.parametrize("matching", ["email_phone", "email_phone_sub"])
def test_email_and_phone_must_lead_to_one_profile(customers: Customers, matching: str) -> None:
    customers.made(email="ann@example.com")
    customers.made(phones=["7"])
    ann, bob, nobody = {"email": "ann@example.com"}, {"phone": "7"}, {"phone": "0"}

    assert customers.found(matching=matching, **ann, **bob) == "profile_ambiguous"
    assert customers.found(matching=matching, **ann, **nobody) == "profile_ambiguous"
    assert customers.found(matching=matching, email="nobody@example.com", **nobody) == (
        "profile_not_found"
    )


# -- what belongs to one profile only ------------------------------------------------------


@pytest.mark.parametrize(
    "taken",
    [
        {"email": "ANN@example.com"},
        {"phones": ["8", "+7"]},
        {"phone": "7"},
        {"subscriptions": [{"email": "ann@example.com"}]},
    ],
    ids=["email", "phones", "phone", "subscription"],
)
@pytest.mark.parametrize("call", ["import", "update"])
def test_an_email_or_phone_of_another_is_refused(
    customers: Customers, call: str, taken: dict[str, Any]
) -> None:
    customers.made(email="ann@example.com", phones=["7"])
    bob = customers.made(email="bob@example.com")

    answer = customers.call(call, email="bob@example.com", data={"_fname": "Bob", **taken})

    assert (answer.error, answer.reason, answer.status) == (409, "duplicate", 200)
    assert "_fname" not in customers.call("get", profile_id=bob).tree["data"]


def test_a_custom_value_may_belong_to_many(customers: Customers) -> None:
    assert customers.made(email="ann@example.com", city="Rome")
    assert customers.made(email="bob@example.com", city="Rome")


def test_an_email_is_free_again_once_its_profile_is_deleted(customers: Customers) -> None:
    customers.made(email="ann@example.com", phones=["7"])
    customers.call("delete", email="ann@example.com")

    assert customers.made(email="bob@example.com", phones=["7"])


# -- import_batch --------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_a_batch_answers_for_each_item_in_order(running: Running, form: str) -> None:
    customers = Customers(running, form)
    ann = customers.made(email="ann@example.com", phones=["7"])

    answer = customers.call(
        "import_batch",
        data=[
            {"email": "bob@example.com", "_fname": "Bob"},
            {"email": "ann@example.com", "_fname": "Ann"},
            {"email": "carol@example.com", "phones": ["7"]},
            {"_fname": "Nobody"},
            {"email": "bob@example.com", "data": {"_lname": "Byrd"}},
        ],
    )

    items = answer.tree["result"]
    assert set(answer.tree) == {"error", "error_text", "result"}
    assert [int(item["error"]) for item in items] == [0, 0, 409, 400, 0]
    assert items[1]["profile_id"] == ann
    assert items[4]["profile_id"] == items[0]["profile_id"]
    bob = customers.call("get", email="bob@example.com").tree["data"]
    assert (bob["_fname"], bob["_lname"]) == ("Bob", "Byrd")
    assert customers.found(email="carol@example.com") == "profile_not_found"


@pytest.mark.parametrize("form", FORMS)
def test_a_batch_of_one_and_of_none(running: Running, form: str) -> None:
    customers = Customers(running, form)

    one = customers.call("import_batch", data=[{"email": "ann@example.com"}])
    none = customers.call("import_batch", data=[])

    assert (one.error, none.error) == (0, 0)
    assert customers.found(email="ann@example.com") != "profile_not_found"
    assert not none.tree["result"]


def test_a_batch_has_matching_for_all_and_an_item_its_own(customers: Customers) -> None:
    answer = customers.call(
        "import_batch",
        matching="custom",
        field_name="card",
        data=[
            {"card": "1", "email": "ann@example.com"},
            {"card": "2"},
            {"matching": "email", "email": "ann@example.com", "data": {"vip": True}},
        ],
    )

    first, second, third = (item["profile_id"] for item in answer.tree["result"])
    assert first == third != second
    assert customers.found(field_name="card", field_value="2") == second


# -- made by attaching ---------------------------------------------------------------------


def test_attaching_does_not_create_a_profile_unless_the_database_says_so(shop: Shop) -> None:
    fields = shop.fields(db_id=shop.db_id, email="unknown@example.com", code=shop.new_code())

    answer = speak(shop.service, "json", "promocodes/attach", fields)

    assert (answer.error, answer.reason) == (404, "profile_not_found")


@pytest.mark.parametrize(
    "named",
    [
        {"email": "Ann@example.com"},
        {"matching": "phone", "phone": "+7 900"},
        {"matching": "email_phone", "email": "ann@example.com", "phone": "7900"},
        {"matching": "custom", "field_name": "card", "field_value": "7"},
    ],
    ids=str,
)
@pytest.mark.parametrize("form", FORMS)
def test_attaching_creates_the_profile_it_names(
    shop: Shop, form: str, named: dict[str, Any]
) -> None:
    customers = Customers(shop.service, form, creates_profiles=True)
    code = shop.new_code()
    fields = shop.fields(db_id=customers.db_id, code=code, **named)

    answer = speak(shop.service, form, "promocodes/attach", fields)

    assert answer.error == 0
    assert customers.found(**named) == shop.state(code)["profile_id"]


def test_an_attach_that_is_refused_creates_no_profile(shop: Shop) -> None:
    customers = Customers(shop.service, creates_profiles=True)
    fields = shop.fields(db_id=customers.db_id, code=shop.attached_code(), email="ann@example.com")

    answer = speak(shop.service, "json", "promocodes/attach", fields)

    assert answer.reason == "already_attached"
    assert customers.found(email="ann@example.com") == "profile_not_found"


def test_attaching_never_creates_a_profile_by_id(shop: Shop) -> None:
    customers = Customers(shop.service, creates_profiles=True)
    fields = shop.fields(db_id=customers.db_id, code=shop.new_code(), profile_id="0" * 24)

    answer = speak(shop.service, "json", "promocodes/attach", fields)

    assert answer.reason == "profile_not_found"


def test_neither_get_nor_detach_creates_a_profile(shop: Shop) -> None:
    customers = Customers(shop.service, creates_profiles=True)
    fields = shop.fields(db_id=customers.db_id, code=shop.attached_code(), email="ann@example.com")

    assert speak(shop.service, "json", "promocodes/detach", fields).reason == "profile_not_found"
    assert customers.found(email="ann@example.com") == "profile_not_found"


# -- deleting and codes --------------------------------------------------------------------


def test_deleting_a_profile_frees_its_unused_codes_and_keeps_the_used_ones(shop: Shop) -> None:
    customers = Customers(shop.service)
    ann = customers.made(email="ann@example.com")
    unused, used = shop.new_code(), shop.new_code()
    for code in (unused, used):
        fields = shop.fields(db_id=customers.db_id, profile_id=ann, code=code)
        assert shop.service.call("promocodes/attach", fields).error == 0
    shop.service.call("promocodes/activate", shop.fields(code=used))

    customers.call("delete", email="ann@example.com")

    assert not shop.state(unused)["is_attached"]
    kept = shop.state(used)
    assert (kept["is_activated"], kept["profile_id"]) == (True, ann)
    assert kept["database_id"] == customers.db_id
