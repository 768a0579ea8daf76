"""The seven calls over HTTP, in both forms: what they answer and what they leave behind."""

from typing import Any

import pytest

from tests.running import Running
from tests.web.callers import FORMS, Answer, as_json, read, send, speak
from tests.web.conftest import Shop

forms = pytest.mark.parametrize("form", FORMS)
PAST, FUTURE = "2020-01-01T00:00:00Z", "2100-01-01T00:00:00Z"
KEYS = [
    "created", "is_attached", "is_activated", "is_expired", "attached", "activated", "expired",
    "expire_date", "loyalty_id", "code",
]  # fmt: skip


def call(shop: Shop, form: str, name: str, **fields: Any) -> Answer:
    return speak(shop.service, form, f"promocodes/{name}", shop.fields(**fields))


def shown(shop: Shop, form: str, code: str) -> dict[str, str]:
    """Return the data of `get`, every value as the text that it is in XML."""
    data = call(shop, form, "get", code=code).tree["data"]
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in data.items()
    }


# -- get -----------------------------------------------------------------------------------


def test_an_unattached_code_has_ten_keys_in_their_order(shop: Shop) -> None:
    assert list(shop.state(shop.free_code())) == KEYS


def test_an_attached_code_has_two_more(shop: Shop) -> None:
    state = shop.state(shop.attached_code())

    assert list(state) == [*KEYS, "database_id", "profile_id"]
    assert (state["database_id"], state["profile_id"]) == (shop.db_id, shop.profile_id)


@forms
def test_a_life_of_a_code(shop: Shop, form: str) -> None:
    code = shop.free_code()
    free = shown(shop, form, code)
    call(shop, form, "attach", code=code, db_id=shop.db_id, profile_id=shop.profile_id)
    attached = shown(shop, form, code)
    call(shop, form, "activate", code=code)
    activated = shown(shop, form, code)
    call(shop, form, "update", code=code, expire_date=PAST)
    expired = shown(shop, form, code)

    assert (free["is_attached"], free["attached"], free["activated"]) == ("false", "", "")
    assert (attached["is_attached"], attached["is_activated"]) == ("true", "false")
    assert attached["attached"].endswith("Z")
    assert (activated["is_activated"], activated["is_expired"]) == ("true", "false")
    assert activated["activated"] >= attached["attached"] >= free["created"]
    assert (expired["is_expired"], expired["expired"], expired["expire_date"]) == (
        "true", PAST, PAST,
    )  # fmt: skip


@forms
def test_an_expiry_to_come_is_a_date_and_not_yet_expired(shop: Shop, form: str) -> None:
    code = shop.free_code()
    call(shop, form, "update", code=code, expire_date=FUTURE)

    state = shown(shop, form, code)

    assert (state["expire_date"], state["expired"], state["is_expired"]) == (FUTURE, "", "false")


@forms
def test_a_code_is_found_however_it_is_written_and_shown_as_it_was_stored(
    shop: Shop, form: str
) -> None:
    code = f"Straße-{shop.new_code()}"
    call(shop, form, "import", codes=[f"  {code} "])

    assert shown(shop, form, f" {code.upper()}\n")["code"] == code


# -- import --------------------------------------------------------------------------------


def test_an_import_answers_for_each_code_in_order(shop: Shop) -> None:
    known, new = shop.free_code(), shop.new_code()
    codes = [new, known.lower(), "", f" {new} ", "x" * 256, "A\u200bB"]

    reply = shop.service.call("promocodes/import", shop.fields(codes=codes))

    answer = reply.json
    assert list(answer) == [
        "data", "discarded_by_limit", "duplicated", "error", "error_text", "inserted",
    ]  # fmt: skip
    assert [list(item) for item in answer["data"]] == [["code", "error", "error_text"]] * 6
    assert [item["code"] for item in answer["data"]] == codes
    assert [item["error"] for item in answer["data"]] == [0, 409, 400, 409, 400, 400]
    assert answer["data"][0]["error_text"] == ""
    assert answer["data"][1]["error_text"] == "It exists already"
    assert answer["data"][4]["error_text"].startswith("Incorrect request: ")
    assert (answer["inserted"], answer["duplicated"], answer["discarded_by_limit"]) == (1, 2, 0)
    assert (answer["error"], answer["error_text"]) == (0, "Successful operation")


@forms
def test_codes_past_the_limit_are_discarded_and_said(shop: Shop, form: str) -> None:
    program = shop.service.program(["A"], code_limit=2)
    fields = {"loyalty_id": program, "codes": ["B", "A", "C"]}

    answer = speak(shop.service, form, "promocodes/import", fields)

    assert [int(item["error"]) for item in answer.tree["data"]] == [0, 409, 402]
    assert answer.tree["data"][2]["error_text"] == "Limit reached: code_limit"
    counts = [int(answer.tree[name]) for name in ("inserted", "duplicated", "discarded_by_limit")]
    assert counts == [1, 1, 1]


def test_an_echo_is_as_sent_but_for_what_xml_cannot_carry(shop: Shop) -> None:
    sent = " \x00A\x0b<&>\r\n\ufffe "
    body = as_json(shop.fields(codes=[sent]))

    in_json = send(shop.service, "promocodes/import", body)
    in_xml = send(shop.service, "promocodes/import", body, accept="application/xml")

    assert in_json.json["data"][0]["code"] == sent
    assert read(in_xml).tree["data"]["code"] == " \ufffdA\ufffd<&>\r\n\ufffd "


@forms
def test_an_import_of_nothing_inserts_nothing(shop: Shop, form: str) -> None:
    answer = call(shop, form, "import", codes=[])

    assert (answer.error, int(answer.tree["inserted"])) == (0, 0)
    assert not answer.tree["data"]


@forms
def test_one_code_in_xml_needs_no_mark_and_may_have_it(shop: Shop, form: str) -> None:
    for mark in ("", " array='true'", ' array="true"'):
        code = shop.new_code()
        body = f"<xml><loyalty_id>{shop.loyalty_id}</loyalty_id><codes{mark}>{code}</codes></xml>"
        answer = read(
            send(shop.service, f"promocodes/import?format={form}", body.encode(), content_type=None)
        )
        assert int(answer.tree["inserted"]) == 1


@forms
def test_a_program_can_be_filled_before_it_starts(running: Running, form: str) -> None:
    program = running.program(active=False, issue_until=1)

    answer = speak(running, form, "promocodes/import", {"loyalty_id": program, "codes": ["A", "B"]})

    assert int(answer.tree["inserted"]) == 2


# -- attach and detach ---------------------------------------------------------------------


@forms
def test_attach_answers_null_or_the_code_that_was_asked_for(shop: Shop, form: str) -> None:
    profile = {"db_id": shop.db_id, "profile_id": shop.profile_id}
    silent = call(shop, form, "attach", code=shop.new_code(), **profile)
    told = call(shop, form, "attach", code="Mixed-" + form, return_code=True, **profile)
    untold = call(shop, form, "attach", code=shop.new_code(), return_code=False, **profile)

    nothing = None if form == "json" else ""
    assert (silent.tree["data"], untold.tree["data"]) == (nothing, nothing)
    assert told.tree["data"] == {"code": "Mixed-" + form}


@forms
def test_attach_without_a_code_gives_each_free_code_once(shop: Shop, form: str) -> None:
    program = shop.service.program(["A", "B", "C"])
    fields = shop.profile(return_code=True) | {"loyalty_id": program}

    answers = [speak(shop.service, form, "promocodes/attach", fields) for _ in range(4)]

    assert {answer.tree["data"]["code"] for answer in answers[:3]} == {"A", "B", "C"}
    assert (answers[3].error, answers[3].reason) == (409, "none_free")


@forms
def test_a_detached_code_can_be_attached_again(shop: Shop, form: str) -> None:
    code = shop.attached_code()
    profile = {"db_id": shop.db_id, "profile_id": shop.profile_id}

    assert call(shop, form, "detach", code=code, **profile).error == 0

    state = shown(shop, form, code)
    assert (state["is_attached"], state["attached"]) == ("false", "")
    assert "profile_id" not in state
    assert call(shop, form, "attach", code=code, **profile).error == 0


@forms
def test_a_profile_of_another_database_is_not_found(shop: Shop, form: str) -> None:
    elsewhere = shop.service.profiles(shop.service.database(), 1)[0]
    fields = {"code": shop.attached_code(), "db_id": shop.db_id, "profile_id": elsewhere}

    for name in ("attach", "detach"):
        assert call(shop, form, name, **fields).reason == "profile_not_found"


# -- activate and update -------------------------------------------------------------------


@forms
def test_a_code_is_activated_once(shop: Shop, form: str) -> None:
    code = shop.attached_code()

    first, second = (call(shop, form, "activate", code=code) for _ in range(2))

    assert first.error == 0
    assert first.tree["data"] in (None, "")
    assert (second.error, second.reason) == (409, "already_activated")
    assert second.text == "Promo code is already activated"


@forms
def test_update_activates_and_takes_back(shop: Shop, form: str) -> None:
    code = shop.attached_code()

    states = []
    for activated in (True, True, False, False, True):
        assert call(shop, form, "update", code=code, activated=activated).error == 0
        states.append(shown(shop, form, code)["is_activated"])

    assert states == ["true", "true", "false", "false", "true"]


@pytest.mark.parametrize("one", ["true", "1", " true\n"])
@pytest.mark.parametrize("zero", ["false", "0"])
def test_xml_has_two_words_for_true_and_for_false(shop: Shop, one: str, zero: str) -> None:
    code = shop.attached_code()

    def update(activated: str) -> bool:
        body = (
            f"<xml><loyalty_id>{shop.loyalty_id}</loyalty_id><code>{code}</code>"
            f"<activated>{activated}</activated></xml>"
        )
        assert read(shop.service.xml("promocodes/update", body)).error == 0
        return bool(shop.state(code)["is_activated"])

    assert update(one)
    assert not update(zero)


@pytest.mark.parametrize(
    ("form", "nothing"),
    [("json", '"expire_date":""'), ("json", '"expire_date":null'), ("xml", "<expire_date/>"),
     ("xml", "<expire_date></expire_date>"), ("xml", "<expire_date>\n </expire_date>")],
)  # fmt: skip
def test_an_empty_expire_date_removes_it_and_an_absent_one_leaves_it(
    shop: Shop, form: str, nothing: str
) -> None:
    code = shop.attached_code()
    call(shop, form, "update", code=code, expire_date=FUTURE)
    call(shop, form, "update", code=code, activated=True)
    assert shown(shop, form, code)["expire_date"] == FUTURE

    if form == "json":
        body = f'{{"loyalty_id":{shop.loyalty_id},"code":"{code}",{nothing}}}'
    else:
        body = f"<xml><loyalty_id>{shop.loyalty_id}</loyalty_id><code>{code}</code>{nothing}</xml>"
    answer = read(send(shop.service, "promocodes/update", body.encode(), content_type=None))

    assert answer.error == 0
    assert shown(shop, form, code)["expire_date"] == ""


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("2100-01-01T03:00:00+03:00", "2100-01-01T00:00:00Z"),
        ("2099-12-31t23:59:59.999999z", "2099-12-31T23:59:59Z"),
        ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
    ],
)
@forms
def test_a_date_is_kept_in_utc(shop: Shop, form: str, sent: str, kept: str) -> None:
    code = shop.free_code()

    assert call(shop, form, "update", code=code, expire_date=sent).error == 0
    assert shown(shop, form, code)["expire_date"] == kept


@forms
def test_an_expired_code_can_be_neither_attached_nor_activated(shop: Shop, form: str) -> None:
    free, held = shop.free_code(), shop.attached_code()
    for code in (free, held):
        call(shop, form, "update", code=code, expire_date=PAST)
    profile = {"db_id": shop.db_id, "profile_id": shop.profile_id}

    for answer in (
        call(shop, form, "attach", code=free, **profile),
        call(shop, form, "activate", code=held),
    ):
        assert (answer.error, answer.reason, answer.status) == (410, "expired", 200)
        assert answer.text == "Promo code has expired"


# -- export_all ----------------------------------------------------------------------------


@forms
def test_an_export_is_in_order_of_creation_and_sparse(shop: Shop, form: str) -> None:
    program = shop.service.program(["C", "A", "B"])
    profile = shop.profile() | {"loyalty_id": program}
    for code in ("A", "NEW", "B"):
        assert shop.service.call("promocodes/attach", {**profile, "code": code}).error == 0
    assert shop.service.call("promocodes/activate", {**profile, "code": "A"}).error == 0

    exported = speak(shop.service, form, "promocodes/export_all", {"loyalty_id": program}).tree

    assert [item["code"] for item in exported["data"]] == ["C", "A", "B", "NEW"]
    assert [set(item) - {"code"} for item in exported["data"]] == [
        set(), {"attached", "activated"}, {"attached"}, {"attached"},
    ]  # fmt: skip


def test_an_export_of_nothing_is_an_empty_list(running: Running) -> None:
    fields = {"loyalty_id": running.program()}

    in_json = running.call("promocodes/export_all", fields)
    in_xml = running.call("promocodes/export_all?format=xml", fields)

    assert in_json.body == b'{"data":[],"error":0,"error_text":"Successful operation"}'
    assert in_xml.body == (
        b"<xml><data/><error>0</error><error_text>Successful operation</error_text></xml>"
    )


@forms
def test_an_export_of_many_is_whole(running: Running, form: str) -> None:
    codes = [f"CODE-{number}&<" for number in range(25_000)]
    program = running.program(codes)

    exported = speak(running, form, "promocodes/export_all", {"loyalty_id": program}).tree

    assert [item["code"] for item in exported["data"]] == codes
