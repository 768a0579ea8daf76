"""Who may do what, and which of several refusals is said: contract section 7."""

import itertools
import time
from collections.abc import Callable
from typing import Any

import pytest

from promint.domain.model import Scope
from tests.running import Reply, Running
from tests.web.callers import FORMS, Answer, as_json, read, send, speak, written
from tests.web.conftest import Shop

SCOPES = {
    "promocodes/get": "codes:read",
    "promocodes/export_all": "codes:read",
    "promocodes/attach": "codes:issue",
    "promocodes/detach": "codes:issue",
    "promocodes/activate": "codes:redeem",
    "promocodes/import": "codes:manage",
    "promocodes/update": "codes:manage",
    "databases/list": "profiles",
    "databases/get": "profiles",
    "profiles/import": "profiles",
    "profiles/import_batch": "profiles",
    "profiles/update": "profiles",
    "profiles/get": "profiles",
    "profiles/delete": "profiles",
}
NAMES = map(str, itertools.count())
ABSENT = 2_000_000_000


def new_token(
    shop: Shop,
    *scopes: str,
    programs: list[int] | None = None,
    databases: list[int] | None = None,
) -> str:
    """Make a token with these scopes, all of them if none is named; return its secret."""
    secret, _ = shop.service.administer(
        lambda a: a.create_token(
            f"access-{next(NAMES)}",
            frozenset(map(Scope, scopes)) or frozenset(Scope),
            None if programs is None else frozenset(programs),
            None if databases is None else frozenset(databases),
        )
    )
    return str(secret)


# -- scopes --------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", list(Scope))
def test_a_scope_opens_its_own_calls_and_no_others_and_admin_opens_all(
    shop: Shop, scope: Scope
) -> None:
    token = new_token(shop, scope)

    opened = set()
    for call in SCOPES:
        for form in FORMS:
            answer = speak(shop.service, form, call, {}, token=token)
            if answer.error == 403:
                assert (answer.status, answer.reason) == (403, "denied")
                assert answer.text == "No access rights"
            else:
                opened.add(call)

    expected = {call for call, needed in SCOPES.items() if scope in (needed, Scope.ADMIN)}
    assert opened == expected


def test_two_scopes_open_the_calls_of_both(shop: Shop) -> None:
    token = new_token(shop, "codes:read", "codes:redeem")

    opened = {
        call for call in SCOPES if speak(shop.service, "json", call, {}, token=token).error != 403
    }

    assert opened == {"promocodes/get", "promocodes/export_all", "promocodes/activate"}


def test_attach_may_create_a_profile_without_the_scope_for_profiles(shop: Shop) -> None:
    token = new_token(shop, "codes:issue")
    database = shop.service.database(creates_profiles=True)
    fields = shop.fields(db_id=database, email="new@example.com", code=shop.new_code())

    assert speak(shop.service, "json", "promocodes/attach", fields, token=token).error == 0


# -- what a token is narrowed to -----------------------------------------------------------


def plain(reply: Reply) -> tuple[int, dict[str, str], bytes]:
    """Return an answer without what differs between any two."""
    headers = {
        name: value for name, value in reply.headers.items() if name not in ("x-request-id", "date")
    }
    return reply.status, headers, reply.body


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("call", [call for call in SCOPES if call.startswith("promocodes")])
def test_a_program_outside_the_token_s_rights_is_as_one_that_does_not_exist(
    shop: Shop, call: str, form: str
) -> None:
    other, code = shop.service.program(), shop.attached_code()
    token = new_token(shop, programs=[other])

    def answered(loyalty_id: int) -> Reply:
        fields = shop.profile(code=code, codes=[code], activated=True, loyalty_id=loyalty_id)
        body = written(fields, form)
        return send(shop.service, call, body, content_type=f"application/{form}", token=token)

    outside, absent = answered(shop.loyalty_id), answered(ABSENT)

    assert plain(outside) == plain(absent)
    assert read(outside).reason == "program_not_found"
    assert read(answered(other)).reason != "program_not_found"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "call",
    [
        "databases/get", "profiles/import", "profiles/import_batch", "profiles/update",
        "profiles/get", "profiles/delete", "promocodes/attach", "promocodes/detach",
    ],
)  # fmt: skip
def test_a_database_outside_the_token_s_rights_is_as_one_that_does_not_exist(
    shop: Shop, call: str, form: str
) -> None:
    other, code = shop.service.database(), shop.attached_code()
    token = new_token(shop, databases=[other])
    data: Any = [{"email": "a@b.c"}] if call.endswith("batch") else {}

    def answered(db_id: int) -> Reply:
        fields = shop.profile(code=code, data=data) | {"db_id": db_id, "id": db_id}
        body = written(fields, form)
        return send(shop.service, call, body, content_type=f"application/{form}", token=token)

    outside, absent = answered(shop.db_id), answered(ABSENT)

    assert plain(outside) == plain(absent)
    assert read(outside).reason == "database_not_found"
    assert read(answered(other)).reason != "database_not_found"


def test_an_idempotency_key_does_not_tell_the_two_apart(shop: Shop) -> None:
    code = shop.attached_code()
    token = new_token(shop, programs=[shop.service.program()])

    replies = []
    for loyalty_id in (shop.loyalty_id, ABSENT):
        body = as_json({"loyalty_id": loyalty_id, "code": code})
        key = f"key-{next(NAMES)}"
        replies += [
            send(shop.service, "promocodes/activate", body, token=token, idempotency_key=key)
            for _ in range(2)
        ]

    assert {str(plain(reply)) for reply in replies} == {str(plain(replies[0]))}


@pytest.mark.parametrize("form", FORMS)
def test_a_list_holds_the_databases_within_the_token_s_rights(shop: Shop, form: str) -> None:
    mine = [shop.service.database(name=name) for name in ("Mine", "Mine too")]
    token = new_token(shop, databases=mine)

    answer = speak(shop.service, form, "databases/list", {}, token=token)

    assert [int(one["id"]) for one in answer.tree["data"]] == mine
    assert int(answer.tree["total_count"]) == 2


def test_narrowing_programs_leaves_databases_open_and_the_other_way_round(shop: Shop) -> None:
    one_program = new_token(shop, programs=[shop.loyalty_id])
    one_database = new_token(shop, databases=[shop.db_id])
    elsewhere = shop.service.database()

    def error(call: str, fields: dict[str, Any], token: str) -> int:
        return speak(shop.service, "json", call, fields, token=token).error

    assert error("databases/get", {"id": elsewhere}, one_program) == 0
    assert error("promocodes/export_all", {"loyalty_id": shop.closed_id}, one_database) == 0


# -- revoked -------------------------------------------------------------------------------


def test_a_revoked_token_is_dead_within_a_second(shop: Shop) -> None:
    name = f"access-{next(NAMES)}"
    token, _ = shop.service.administer(lambda a: a.create_token(name, frozenset(Scope)))

    def says(body: dict[str, Any]) -> Answer:
        return speak(shop.service, "json", "databases/list", body, token=token)

    assert says({}).error == 0
    shop.service.administer(lambda a: a.revoke_token(name))
    revoked_at = time.monotonic()
    asked_at = revoked_at
    while says({}).error == 0:
        # What counts is when a request was sent that still went through.
        assert asked_at - revoked_at < 1.0
        asked_at = time.monotonic()

    assert (says({}).status, says({}).reason) == (401, "token_invalid")


def test_a_program_that_is_switched_off_is_so_within_a_second(shop: Shop) -> None:
    loyalty_id = shop.service.program()
    fields = shop.profile() | {"loyalty_id": loyalty_id}

    def attached() -> bool:
        code = shop.new_code()
        return shop.service.call("promocodes/attach", {**fields, "code": code}).error == 0

    assert attached()
    shop.service.administer(lambda a: a.update_program(loyalty_id, {"active": False}))
    changed_at = time.monotonic()
    asked_at = changed_at
    while attached():
        assert asked_at - changed_at < 1.0
        asked_at = time.monotonic()


def test_a_new_token_works_at_once_though_it_was_refused_before(running: Running) -> None:
    """What does not exist is not remembered."""
    for _ in range(3):
        secret, _ = running.administer(
            lambda a: a.create_token(f"access-{next(NAMES)}", frozenset(Scope))
        )
        assert running.call("databases/list", token=str(secret)).error == 0


# -- order of checks -----------------------------------------------------------------------
#
# Each row is wrong in its own way and in every way that comes later.


@pytest.mark.parametrize("call", SCOPES)
def test_transport_and_format_then_token_then_scope_then_fields(shop: Shop, call: str) -> None:
    other_scope = "codes:read" if SCOPES[call] != "codes:read" else "profiles"
    lacking = new_token(shop, other_scope)
    large = b"{" + b" " * (65 * 1024 * 1024 if "import" in call else 1024 * 1024)
    service = shop.service

    def said(body: bytes, token: str | None = None, **more: Any) -> str:
        return read(send(service, call, body, token=token, **more)).reason

    assert read(service.request("GET", f"/api/v1.1/{call}/more", large)).reason == "unknown_method"
    assert read(service.request("GET", f"/api/v1.1/{call}", b"{")).reason == "use_post"
    assert said(large, content_type="text/plain; charset=utf-16") == "too_large"
    assert said(b"{", content_type="text/plain; charset=utf-16") == "unsupported_format"
    assert said(b'{"format": "yaml"') == "malformed"
    assert said(b'{"format": "yaml", "token": "a"}', "b") == "bad_value"
    assert said(b'{"token": "a", "loyalty_id": "x"}', "b") == "bad_value"
    assert said(b'{"loyalty_id": "x"}') == "token_required"
    assert said(b'{"loyalty_id": "x"}', "wrong") == "token_invalid"
    assert said(b'{"loyalty_id": "x", "from_id": "x"}', lacking) == "denied"


class Scene:
    """Programs, codes and profiles in every state that a check looks at."""

    def __init__(self, shop: Shop) -> None:
        self.service = shop.service
        self.db = shop.service.database()
        self.ann, self.bob, self.carol, self.dave = shop.service.profiles(self.db, 4)
        self.call("profiles/update", db_id=self.db, profile_id=self.bob, data={"phones": ["7"]})

        self.closed = self.program(active=False, issue_until=1, creates_on_attach=False)
        self.late = self.program(issue_until=1, creates_on_attach=False)
        self.strict = self.program(creates_on_attach=False, profile_limit=1, codes=["ANN"])
        self.attach(self.strict, "ANN", self.ann)
        self.full = self.program(profile_limit=1, code_limit=3)
        self.attach(self.full, "ANN", self.ann)
        self.attach(self.full, "BOB", self.bob)
        self.attach(self.full, "OLD", self.carol)
        self.expire(self.full, "OLD")
        self.shared = self.program(multiple_usage=True, attach_limit=1, profile_limit=1)
        self.attach(self.shared, "BOB", self.bob)
        self.attach(self.shared, "ANN", self.ann)
        self.wide = self.program(multiple_usage=True)
        self.attach(self.wide, "SEVERAL", self.bob)
        self.attach(self.wide, "SEVERAL", self.carol)
        self.twice = self.program(activation_limit=2)
        self.attach(self.twice, "TWICE", self.ann)
        self.use(self.twice, "TWICE")
        self.use(self.twice, "TWICE")

        self.plain = self.program(codes=["FREE", "FREE-OLD"])
        self.expire(self.plain, "FREE-OLD")
        for code in ("ANN-OLD", "ANN-USED", "ANN-USED-OLD", "ANN-HELD", "ANN-GIVEN-BACK"):
            self.attach(self.plain, code, self.ann)
        self.attach(self.plain, "BOB-USED", self.bob)
        for code in ("ANN-USED", "ANN-USED-OLD", "BOB-USED"):
            self.use(self.plain, code)
        self.expire(self.plain, "ANN-OLD")
        self.expire(self.plain, "ANN-USED-OLD")

    def program(self, codes: list[str] | None = None, **settings: Any) -> int:
        return self.service.program(codes or [], **settings)

    def call(self, name: str, **fields: Any) -> None:
        reply = self.service.call(name, fields)
        assert reply.error == 0, (name, fields, reply.body)

    def attach(self, program: int, code: str, profile_id: str) -> None:
        self.call("promocodes/attach", **self.named(program, code, profile_id))

    def use(self, program: int, code: str) -> None:
        self.call("promocodes/activate", loyalty_id=program, code=code)

    def expire(self, program: int, code: str) -> None:
        past = "2020-01-01T00:00:00Z"
        self.call("promocodes/update", loyalty_id=program, code=code, expire_date=past)

    def named(
        self, program: int, code: str | None, profile_id: str = "0" * 24, db: int = 0
    ) -> dict[str, Any]:
        return {
            "loyalty_id": program, "code": code, "db_id": db or self.db, "profile_id": profile_id,
        }  # fmt: skip


@pytest.fixture(scope="session")
def scene(shop: Shop) -> Scene:
    return Scene(shop)


def two_profiles(scene: Scene, program: int, code: str) -> dict[str, Any]:
    """Name a profile by the e-mail of Ann and the phone of Bob."""
    fields = scene.named(program, code)
    del fields["profile_id"]
    return {**fields, "matching": "email_phone", "email": "customer-0@example.com", "phone": "7"}


def coded(program: int, code: str | None, **more: Any) -> dict[str, Any]:
    return {"loyalty_id": program, "code": code, **more}


PAST = "2020-01-01T00:00:00Z"
Row = tuple[str, Callable[[Scene], dict[str, Any]]]
ORDER: dict[str, list[Row]] = {
    "promocodes/attach": [
        ("bad_value", lambda s: s.named(ABSENT, "", db=ABSENT)),
        ("program_not_found", lambda s: s.named(ABSENT, "NOBODYS", db=ABSENT)),
        ("database_not_found", lambda s: s.named(s.closed, "NOBODYS", db=ABSENT)),
        ("profile_not_found", lambda s: s.named(s.closed, "NOBODYS")),
        ("profile_ambiguous", lambda s: two_profiles(s, s.closed, "NOBODYS")),
        ("program_inactive", lambda s: s.named(s.closed, "NOBODYS", s.ann)),
        ("program_out_of_range", lambda s: s.named(s.late, "NOBODYS", s.ann)),
        ("code_not_found", lambda s: s.named(s.strict, "NOBODYS", s.ann)),
        ("expired", lambda s: s.named(s.full, "OLD", s.ann)),
        ("already_attached", lambda s: s.named(s.full, "BOB", s.ann)),
        ("attach_limit", lambda s: s.named(s.shared, "BOB", s.ann)),
        ("profile_limit", lambda s: s.named(s.full, "NOBODYS", s.ann)),
        ("code_limit", lambda s: s.named(s.full, "NOBODYS", s.dave)),
        ("", lambda s: s.named(s.plain, "FREE", s.dave)),
    ],
    "promocodes/detach": [
        ("bad_value", lambda s: s.named(ABSENT, " ", db=ABSENT)),
        ("missing_field", lambda s: s.named(ABSENT, None, db=ABSENT)),
        ("program_not_found", lambda s: s.named(ABSENT, "NOBODYS", db=ABSENT)),
        ("database_not_found", lambda s: s.named(s.plain, "NOBODYS", db=ABSENT)),
        ("profile_not_found", lambda s: s.named(s.plain, "NOBODYS")),
        ("profile_ambiguous", lambda s: two_profiles(s, s.plain, "NOBODYS")),
        ("code_not_found", lambda s: s.named(s.plain, "NOBODYS", s.ann)),
        ("not_attached", lambda s: s.named(s.plain, "FREE-OLD", s.ann)),
        ("attached_to_several", lambda s: s.named(s.wide, "SEVERAL", s.ann)),
        ("attached_to_other", lambda s: s.named(s.plain, "BOB-USED", s.ann)),
        ("already_activated", lambda s: s.named(s.plain, "ANN-USED-OLD", s.ann)),
        ("", lambda s: s.named(s.plain, "ANN-GIVEN-BACK", s.ann)),
    ],
    "promocodes/activate": [
        ("missing_field", lambda s: coded(ABSENT, None)),
        ("program_not_found", lambda s: coded(ABSENT, "NOBODYS")),
        ("code_not_found", lambda s: coded(s.closed, "NOBODYS")),
        ("not_attached", lambda s: coded(s.plain, "FREE-OLD")),
        ("expired", lambda s: coded(s.plain, "ANN-USED-OLD")),
        ("already_activated", lambda s: coded(s.plain, "ANN-USED")),
        ("activation_limit", lambda s: coded(s.twice, "TWICE")),
        ("", lambda s: coded(s.plain, "ANN-HELD")),
    ],
    "promocodes/update": [
        ("missing_field", lambda s: coded(ABSENT, "NOBODYS")),
        ("bad_value", lambda s: coded(ABSENT, "NOBODYS", activated=True, expire_date="soon")),
        ("program_not_found", lambda s: coded(ABSENT, "NOBODYS", activated=True)),
        ("code_not_found", lambda s: coded(s.closed, "NOBODYS", activated=True)),
        ("not_attached", lambda s: coded(s.plain, "FREE-OLD", activated=True)),
        ("expired", lambda s: coded(s.plain, "ANN-OLD", activated=True, expire_date=PAST)),
        ("", lambda s: coded(s.plain, "ANN-USED", activated=True, expire_date=PAST)),
    ],
    "promocodes/get": [
        ("missing_field", lambda s: coded(ABSENT, None)),
        ("program_not_found", lambda s: coded(ABSENT, "NOBODYS")),
        ("code_not_found", lambda s: coded(s.plain, "NOBODYS")),
        ("", lambda s: coded(s.plain, "ANN-USED-OLD")),
    ],
    "promocodes/import": [
        ("missing_field", lambda s: {"loyalty_id": ABSENT}),
        ("program_not_found", lambda s: {"loyalty_id": ABSENT, "codes": ["", "x" * 256]}),
        ("", lambda s: {"loyalty_id": s.closed, "codes": ["", "x" * 256]}),
    ],
    "promocodes/export_all": [
        ("missing_field", lambda s: {}),
        ("program_not_found", lambda s: {"loyalty_id": ABSENT}),
        ("", lambda s: {"loyalty_id": s.closed}),
    ],
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("call", "reason", "fields"),
    [
        pytest.param(call, reason, fields, id=f"{call}-{reason}")
        for call, rows in ORDER.items()
        for reason, fields in rows
        if reason
    ],
)
def test_the_first_check_that_fails_is_the_answer(
    scene: Scene, call: str, reason: str, fields: Callable[[Scene], dict[str, Any]], form: str
) -> None:
    sent = {name: value for name, value in fields(scene).items() if value is not None}

    assert speak(scene.service, form, call, sent).reason == reason


@pytest.mark.parametrize(("call", "rows"), ORDER.items(), ids=list(ORDER))
def test_what_passes_every_check_succeeds(scene: Scene, call: str, rows: list[Row]) -> None:
    reason, fields = rows[-1]

    assert scene.service.call(call, fields(scene)).reason == reason == ""
