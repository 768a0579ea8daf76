"""Wrong codes take slots; right ones do not, and tell a guesser nothing once the slots are gone."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest

from promint.domain.errors import CodeNotFound, PromintError, Throttled
from promint.domain.guessing import Counted
from promint.domain.model import EventKind, LoyaltyProgram, ProfileKey
from promint.service import Call
from promint.store import Answer
from tests.races.ledger import rows
from tests.world import SECOND, World

HERE, THERE = "198.51.100.0/24", "203.0.113.0/24"
LIMITS = {
    "wrong_codes_per_token": 6,
    "wrong_codes_per_network": 4,
    "wrong_codes_per_program": 8,
}
Make = Callable[..., World]


@pytest.fixture
def shop(url: str, make_world: Make) -> World:
    return make_world(url, **LIMITS)


def program_of(shop: World, **settings: Any) -> LoyaltyProgram:
    """Make a program that holds RIGHT, attached, and does not make codes on attach."""
    program = shop.program(**{"creates_on_attach": False, **settings})
    shop.run(shop.service.import_codes(shop.call(), program.id, ["RIGHT", "FREE"]))
    holder = shop.profile(shop.database(), "ann@example.com")
    key = ProfileKey(holder.database_id, profile_id=holder.profile_id)
    shop.run(shop.service.attach(shop.call(), program.id, key, "RIGHT"))
    return program


def asked(
    shop: World, program: LoyaltyProgram, code: str, network: str = HERE, token: int = 7
) -> str:
    """Look a code up; return the reason of the refusal."""
    call = replace(shop.call(network=network), token=replace(shop.token, id=token))
    return reason(shop, shop.service.get(call, program.id, code))


def reason(shop: World, work: Coroutine[Any, Any, Any]) -> str:
    try:
        outcome = shop.run(work)
    except PromintError as refusal:
        return refusal.reason
    return outcome.reason if isinstance(outcome, Answer) else ""


def test_the_limit_of_a_network_is_answered_and_then_nothing_is(shop: World) -> None:
    program = program_of(shop)

    told = [asked(shop, program, f"WRONG-{n}") for n in range(6)]

    assert told == ["code_not_found"] * 4 + ["throttled"] * 2
    assert asked(shop, program, "RIGHT") == "throttled"
    assert asked(shop, program, "WRONG-9", network=THERE) == "code_not_found"
    assert asked(shop, program, "RIGHT", network=THERE) == ""


def test_the_limit_of_a_token_holds_wherever_it_calls_from(shop: World) -> None:
    program = program_of(shop)

    told = [asked(shop, program, "WRONG", network=f"10.0.{n}.0/24") for n in range(8)]

    assert told == ["code_not_found"] * 6 + ["throttled"] * 2
    assert asked(shop, program, "RIGHT", network="10.1.0.0/24") == "throttled"
    assert asked(shop, program, "RIGHT", token=8) == ""


def test_the_limit_of_a_program_holds_for_whoever_guesses_there(shop: World) -> None:
    program, other = program_of(shop), program_of(shop)

    told = [
        asked(shop, program, "WRONG", network=f"10.0.{n}.0/24", token=100 + n) for n in range(10)
    ]

    assert told == ["code_not_found"] * 8 + ["throttled"] * 2
    assert asked(shop, program, "RIGHT", network="10.0.0.0/24", token=100) == "throttled"
    assert asked(shop, other, "WRONG", network="10.0.0.0/24", token=100) == "code_not_found"


def test_who_has_sent_no_wrong_code_loses_nothing_on_the_same_network_and_program(
    shop: World,
) -> None:
    program = program_of(shop)
    while asked(shop, program, "WRONG") != "throttled":
        pass

    assert [asked(shop, program, "RIGHT", token=8) for _ in range(50)] == [""] * 50
    assert asked(shop, program, "WRONG", token=8) == "throttled"
    assert asked(shop, program, "RIGHT", token=8) == "throttled"


def test_right_codes_take_no_slots(shop: World) -> None:
    program = program_of(shop)

    assert {asked(shop, program, "RIGHT") for _ in range(200)} == {""}
    assert shop.run(shop.store.wrong_codes(10)) == []


def test_a_slot_is_free_again_after_a_minute(shop: World) -> None:
    program = program_of(shop)
    for _ in range(4):
        asked(shop, program, "WRONG")
    with pytest.raises(Throttled) as refused:
        shop.run(shop.service.get(shop.call(network=HERE), program.id, "RIGHT"))

    shop.now += (refused.value.retry_after_s - 1) * SECOND
    assert asked(shop, program, "RIGHT") == "throttled"
    shop.now += SECOND
    assert asked(shop, program, "RIGHT") == ""
    assert asked(shop, program, "WRONG") == "code_not_found"


CALLS: dict[str, Callable[[World, Call, int, ProfileKey], Coroutine[Any, Any, Any]]] = {
    "get": lambda shop, call, program, _: shop.service.get(call, program, "NOBODYS"),
    "activate": lambda shop, call, program, _: shop.service.activate(call, program, "NOBODYS"),
    "update": lambda shop, call, program, _: shop.service.update(
        call, program, "NOBODYS", activated=True, changes_expiry=False, expires_at=None
    ),
    "attach": lambda shop, call, program, who: shop.service.attach(call, program, who, "NOBODYS"),
    "detach": lambda shop, call, program, who: shop.service.detach(call, program, who, "NOBODYS"),
}


@pytest.mark.parametrize("name", CALLS)
def test_each_call_that_names_a_code_is_counted(shop: World, name: str) -> None:
    program = program_of(shop)
    holder = shop.profile(shop.database(), "ann@example.com")
    who = ProfileKey(holder.database_id, profile_id=holder.profile_id)

    told = [
        reason(shop, CALLS[name](shop, shop.call(network=HERE), program.id, who)) for _ in range(6)
    ]

    assert told == ["code_not_found"] * 4 + ["throttled"] * 2


def test_a_code_that_attaching_makes_is_no_wrong_one_and_any_code_is_no_guess(shop: World) -> None:
    program = program_of(shop, creates_on_attach=True)
    holder = shop.profile(shop.database(), "ann@example.com")
    who = ProfileKey(holder.database_id, profile_id=holder.profile_id)

    for number in range(20):
        call = shop.call(network=HERE)
        assert shop.run(shop.service.attach(call, program.id, who, f"N{number}")) == f"N{number}"

    while asked(shop, program, "WRONG") != "throttled":
        pass
    assert shop.run(shop.service.attach(shop.call(network=HERE), program.id, who, None)) == "FREE"


def test_mistyped_codes_are_wrong_codes(shop: World) -> None:
    program = shop.program(template="GIFT-{6}{check}")

    told = [asked(shop, program, "WRONG") for _ in range(5)]

    assert told == ["code_not_found"] * 4 + ["throttled"]


def test_of_a_burst_no_more_is_told_than_of_one_after_the_other(shop: World) -> None:
    """Everything is looked up at once; the right one comes last, and is one guess too many."""
    program = program_of(shop)

    async def burst() -> list[Any]:
        codes = [*(f"WRONG-{number}" for number in range(300)), "RIGHT"]
        calls = (shop.service.activate(shop.call(network=HERE), program.id, code) for code in codes)
        return await asyncio.gather(*calls, return_exceptions=True)

    told = shop.run(burst())

    assert sum(isinstance(one, CodeNotFound) for one in told) == 4
    assert sum(isinstance(one, Throttled) for one in told) == 297
    code = shop.run(shop.service.get(shop.call(), program.id, "RIGHT"))
    assert code.activation_count == 0


def test_an_answer_that_is_given_again_is_counted_again(shop: World) -> None:
    program = program_of(shop)

    def once(key: str) -> str:
        call = shop.call(key, network=HERE)
        return reason(shop, shop.service.activate(call, program.id, "WRONG"))

    assert [once("a") for _ in range(6)] == ["code_not_found"] * 4 + ["throttled"] * 2
    assert once("b") == "throttled"
    shop.now += 61 * SECOND
    assert once("b") == "code_not_found"


def test_commands_and_the_management_api_are_not_counted(shop: World) -> None:
    program = program_of(shop)

    for _ in range(20):
        with pytest.raises(CodeNotFound):
            shop.run(shop.service.get(shop.call(), program.id, "WRONG"))

    assert shop.run(shop.store.wrong_codes(10)) == []


def test_the_operator_sees_a_stop_in_the_list_the_events_and_the_log(
    shop: World, caplog: pytest.LogCaptureFixture
) -> None:
    program = program_of(shop)
    for _ in range(9):
        asked(shop, program, "WRONG-CODE")

    listed = {wrong.counted: wrong for wrong in shop.run(shop.store.wrong_codes(10))}
    network = listed[Counted("network", HERE)]
    assert (network.count(shop.now), network.stops, network.stopped_at) == (4, 1, shop.now)
    assert listed[Counted("program", str(program.id))].stops == 0

    (event,) = rows(
        shop.settings.database_url,
        "SELECT details, token_id, request_id FROM event WHERE shard_key = $1 AND kind = $2",
        shop.token.id,
        int(EventKind.GUESSING_STOPPED),
    )
    assert json.loads(event[0]) == {"kind": "network", "subject": HERE, "wrong_codes": 4}
    assert event[1:] == (shop.token.id, "request-1")
    said = [record.getMessage() for record in caplog.records if "guessing" in record.getMessage()]
    assert said == [f"guessing is stopped: network {HERE} sent 4 wrong codes within a minute"]
    assert "WRONG-CODE" not in caplog.text


def test_a_process_that_starts_anew_knows_what_was_counted(url: str, make_world: Make) -> None:
    first, second = make_world(url, **LIMITS), make_world(url, **LIMITS)
    program = program_of(first)

    told = [asked(world, program, "WRONG") for world in (first, second) * 4]

    assert told.count("code_not_found") == 4
    assert told[4:] == ["throttled"] * 4


def test_what_nobody_added_to_is_forgotten(shop: World) -> None:
    program = program_of(shop)
    asked(shop, program, "WRONG")

    shop.run(shop.store.forget_wrong_codes(shop.now))
    assert len(shop.run(shop.store.wrong_codes(10))) == 3
    shop.run(shop.store.forget_wrong_codes(shop.now + 1))
    assert shop.run(shop.store.wrong_codes(10)) == []
