"""`Idempotency-Key`: the same key with the same request gets the first answer, byte for byte."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from promint.domain.model import Scope
from tests.running import Reply
from tests.web.callers import as_json, as_xml, read, send, written
from tests.web.conftest import Shop


def keyed(shop: Shop, call: str, fields: dict[str, Any], key: str, **more: Any) -> Reply:
    return send(shop.service, call, as_json(fields), idempotency_key=key, **more)


def parts(reply: Reply) -> tuple[int, str, str, bytes]:
    return reply.status, reply.headers["content-type"], reply.reason, reply.body


def new_key(shop: Shop) -> str:
    return f"order-{next(shop.numbers)}"


Make = Callable[[Shop], dict[str, Any]]

WRITES: dict[str, Make] = {
    "promocodes/import": lambda shop: shop.fields(codes=[shop.new_code(), " ", "x" * 256]),
    "promocodes/activate": lambda shop: shop.fields(code=shop.attached_code()),
    "promocodes/update": lambda shop: shop.fields(code=shop.attached_code(), activated=True),
    "promocodes/attach": lambda shop: shop.profile(code=shop.new_code(), return_code=True),
    "promocodes/detach": lambda shop: shop.profile(code=shop.attached_code()),
    "profiles/import": lambda shop: {
        "db_id": shop.db_id, "email": f"{shop.new_code()}@example.com", "data": {"vip": True},
    },
    "profiles/import_batch": lambda shop: {
        "db_id": shop.db_id, "data": [{"email": f"{shop.new_code()}@example.com"}, {"x": 1}],
    },
    "profiles/update": lambda shop: {
        "db_id": shop.db_id, "profile_id": shop.profile_id, "data": {"note": shop.new_code()},
    },
    "profiles/delete": lambda shop: {
        "db_id": shop.db_id, "profile_id": shop.service.profiles(shop.service.database(), 1)[0],
    },
}  # fmt: skip


@pytest.mark.parametrize("form", ["json", "xml"])
@pytest.mark.parametrize("call", WRITES)
def test_every_write_answers_a_second_time_as_the_first(shop: Shop, call: str, form: str) -> None:
    body, key = written(WRITES[call](shop), form), new_key(shop)
    content_type = f"application/{form}"

    first, second = (
        send(shop.service, call, body, content_type=content_type, idempotency_key=key)
        for _ in range(2)
    )

    assert parts(second) == parts(first)
    assert read(first).form == form


def test_a_repeated_use_counts_once(shop: Shop) -> None:
    fields, key = shop.fields(code=shop.attached_code()), new_key(shop)

    replies = [keyed(shop, "promocodes/activate", fields, key) for _ in range(3)]

    assert [reply.error for reply in replies] == [0, 0, 0]
    assert shop.service.call("promocodes/activate", fields).reason == "already_activated"


def test_a_repeated_attach_of_any_code_names_the_same_code(shop: Shop) -> None:
    shop.free_code()
    fields, key = shop.profile(return_code=True), new_key(shop)

    first, second = (keyed(shop, "promocodes/attach", fields, key) for _ in range(2))

    assert first.json["data"]["code"] == second.json["data"]["code"]


@pytest.mark.parametrize(
    "change",
    [
        lambda shop, fields: dict(reversed(fields.items())),
        lambda shop, fields: fields | {"token": shop.service.token},
        lambda shop, fields: fields | {"format": "json"},
    ],
    ids=["order of fields", "token in the body too", "format that is the same"],
)
def test_the_request_is_the_same_however_it_is_spelled(shop: Shop, change: Any) -> None:
    fields, key = shop.fields(code=shop.attached_code()), new_key(shop)
    first = keyed(shop, "promocodes/activate", fields, key)

    second = keyed(shop, "promocodes/activate", change(shop, fields), key)

    assert parts(second) == parts(first)
    assert second.error == 0


def test_the_path_is_the_same_with_other_slashes(shop: Shop) -> None:
    fields, key = shop.fields(code=shop.attached_code()), new_key(shop)
    keyed(shop, "promocodes/activate", fields, key)

    assert keyed(shop, "promocodes//activate/?format=json", fields, key).error == 0


@pytest.mark.parametrize(
    "differs", ["code", "call", "answer format", "body format", "another field"]
)
def test_the_key_of_another_request_is_refused(shop: Shop, differs: str) -> None:
    fields, key = shop.profile(code=shop.attached_code()), new_key(shop)
    call, body, more = "promocodes/activate", as_json(fields), dict[str, str]()
    keyed(shop, call, fields, key)

    if differs == "code":
        body = as_json({**fields, "code": shop.attached_code()})
    elif differs == "call":
        call = "promocodes/detach"
    elif differs == "answer format":
        more = {"accept": "application/xml"}
    elif differs == "body format":
        body, more = as_xml(fields), {"content_type": "application/xml"}
    else:
        body = as_json({**fields, "note": "one more"})
    answer = read(send(shop.service, call, body, idempotency_key=key, **more))

    assert (answer.status, answer.error) == (422, 422)
    assert answer.text == "This idempotency key was used for another request"
    assert answer.reason == "idempotency_mismatch"


def test_a_refusal_is_repeated_even_once_it_would_succeed(shop: Shop) -> None:
    code, key = shop.free_code(), new_key(shop)
    refused = keyed(shop, "promocodes/activate", shop.fields(code=code), key)
    shop.service.call("promocodes/attach", shop.profile(code=code))

    again = keyed(shop, "promocodes/activate", shop.fields(code=code), key)

    assert refused.reason == "not_attached"
    assert parts(again) == parts(refused)
    assert shop.service.call("promocodes/activate", shop.fields(code=code)).error == 0


def test_something_not_found_is_repeated_even_once_it_is_there(shop: Shop) -> None:
    email, key = f"{shop.new_code()}@example.com", new_key(shop)
    fields = {"db_id": shop.db_id, "email": email, "data": {"vip": True}}
    refused = keyed(shop, "profiles/update", fields, key)
    shop.service.call("profiles/import", fields)

    again = keyed(shop, "profiles/update", fields, key)

    assert refused.reason == "profile_not_found"
    assert parts(again) == parts(refused)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda fields: {**fields, "code": 5}, "bad_value"),
        (lambda fields: {**fields, "loyalty_id": None}, "missing_field"),
        (lambda fields: {**fields, "format": "yaml"}, "bad_value"),
    ],
    ids=["bad value", "missing field", "bad format"],
)
def test_a_request_that_was_never_decided_leaves_the_key_unused(
    shop: Shop, spoil: Any, reason: str
) -> None:
    fields, key = shop.fields(code=shop.attached_code()), new_key(shop)

    assert keyed(shop, "promocodes/activate", spoil(fields), key).reason == reason
    assert keyed(shop, "promocodes/activate", fields, key).error == 0


def test_a_request_without_the_right_leaves_the_key_unused(shop: Shop) -> None:
    reader, _ = shop.service.administer(
        lambda a: a.create_token(f"reader-{next(shop.numbers)}", frozenset({Scope.CODES_READ}))
    )
    fields, key = shop.fields(code=shop.attached_code()), new_key(shop)

    assert keyed(shop, "promocodes/activate", fields, key, token="wrong").error == 401
    assert keyed(shop, "promocodes/activate", fields, key, token=reader).error == 403
    assert keyed(shop, "promocodes/activate", fields, key).error == 0


def test_a_key_belongs_to_its_token(shop: Shop) -> None:
    other, _ = shop.service.administer(
        lambda a: a.create_token(f"other-{next(shop.numbers)}", frozenset(Scope))
    )
    fields, key = shop.fields(code=shop.attached_code()), new_key(shop)
    keyed(shop, "promocodes/activate", fields, key)

    assert (
        keyed(shop, "promocodes/activate", fields, key, token=other).reason == "already_activated"
    )


@pytest.mark.parametrize(
    "key", ["x", "x" * 255, "!~", "6f1e-4b:7/=", "';DROP/**/TABLE/**/token;--"]
)
def test_a_key_is_1_to_255_visible_characters(shop: Shop, key: str) -> None:
    fields = shop.fields(code=shop.attached_code())
    other, _ = shop.service.administer(
        lambda a: a.create_token(f"keys-{next(shop.numbers)}", frozenset(Scope))
    )

    assert keyed(shop, "promocodes/activate", fields, key, token=other).error == 0


@pytest.mark.parametrize("key", ["", "x" * 256, "two words", "ümlaut", "tab\tstop"])
def test_any_other_key_is_refused_by_name(shop: Shop, key: str) -> None:
    fields = shop.fields(code=shop.attached_code())

    answer = read(keyed(shop, "promocodes/activate", fields, key))

    assert (answer.status, answer.reason) == (400, "bad_value")
    assert answer.text.endswith(", Idempotency-Key")
    assert not shop.state(fields["code"])["is_activated"]


def test_a_read_takes_no_notice_of_a_key(shop: Shop) -> None:
    code, key = shop.free_code(), new_key(shop)
    before = keyed(shop, "promocodes/get", shop.fields(code=code), key)
    shop.service.call("promocodes/attach", shop.profile(code=code))

    after = keyed(shop, "promocodes/get", shop.fields(code=code), key)

    assert not before.json["data"]["is_attached"]
    assert after.json["data"]["is_attached"]
    assert keyed(shop, "promocodes/get", shop.fields(code="another"), key).error == 404


def test_requests_with_one_key_that_run_at_once_get_one_answer(shop: Shop) -> None:
    code, key = shop.attached_code(), new_key(shop)

    with ThreadPoolExecutor(8) as threads:
        replies = list(
            threads.map(
                lambda _: keyed(shop, "promocodes/activate", shop.fields(code=code), key), range(8)
            )
        )

    assert {parts(reply) for reply in replies} == {parts(replies[0])}
    assert replies[0].error == 0


def test_a_repeated_answer_carries_the_request_id_of_the_repetition(shop: Shop) -> None:
    fields, key = shop.fields(code=shop.attached_code()), new_key(shop)

    ids = [
        keyed(shop, "promocodes/activate", fields, key, x_request_id=name).headers["x-request-id"]
        for name in ("first", "second")
    ]

    assert ids == ["first", "second"]
