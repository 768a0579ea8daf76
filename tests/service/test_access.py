"""Tokens, idempotency keys and what is believed for a moment, without a store or HTTP."""

import asyncio
import hashlib
import itertools
import logging
from collections.abc import Coroutine
from typing import Any

import pytest

from promint.domain.errors import AccessDenied
from promint.domain.model import Scope, Token
from promint.service.access import (
    Answered,
    Call,
    Idempotency,
    Remembered,
    is_token,
    new_token,
    token_digest,
)
from promint.store import Answer, Busy, IdempotencyId, Keyed

NOON = 1_712_000_000_000_000
TOKEN = "promint_0029sS3yqsuDyR1vGFhTuuRAq1b1oBOpw"
"""The token of the bytes 0, 1, 2 … 19, worked out by hand with another program."""


def call(*scopes: Scope, token_id: int = 7, key: str | None = None) -> Call:
    idempotency = (
        Idempotency(key, b"digest", lambda _: Answer(200, "", "text", b"")) if key else None
    )
    return Call(Token(token_id, "shop", frozenset(scopes)), "request-1", NOON, idempotency)


# -- tokens --------------------------------------------------------------------------------


def test_the_token_of_known_bytes_is_known() -> None:
    assert new_token(bytes(range(20))) == TOKEN


def test_the_smallest_and_the_largest_bytes_make_a_token_of_the_same_form() -> None:
    for random_bytes in (bytes(20), b"\xff" * 20):
        token = new_token(random_bytes)
        assert len(token) == 41
        assert is_token(token)
    assert new_token(bytes(20)).startswith("promint_" + "0" * 27)


@pytest.mark.parametrize("count", [0, 19, 21])
def test_a_token_is_made_of_20_bytes(count: int) -> None:
    with pytest.raises(AssertionError):
        new_token(bytes(count))


def test_a_token_with_any_character_changed_is_none() -> None:
    assert is_token(TOKEN)
    for place, character in itertools.product(range(len(TOKEN)), "0aZ_"):
        if TOKEN[place] != character:
            assert not is_token(TOKEN[:place] + character + TOKEN[place + 1 :])


@pytest.mark.parametrize(
    "text",
    ["", "promint_", TOKEN[:-1], TOKEN + "0", " " + TOKEN, TOKEN + "\n", TOKEN.upper()],
)
def test_what_is_shorter_longer_or_written_otherwise_is_no_token(text: str) -> None:
    assert not is_token(text)


def test_a_token_is_stored_as_its_sha_256() -> None:
    assert token_digest(TOKEN) == hashlib.sha256(TOKEN.encode()).digest()


def test_any_text_has_a_digest() -> None:
    assert token_digest("\ud800") == hashlib.sha256(b"\xed\xa0\x80").digest()
    assert token_digest("ü") == hashlib.sha256(b"\xc3\xbc").digest()


# -- calls ---------------------------------------------------------------------------------


def test_a_scope_that_the_token_lacks_is_refused_by_name() -> None:
    call(Scope.CODES_READ).check_scope(Scope.CODES_READ)

    with pytest.raises(AccessDenied) as denied:
        call(Scope.CODES_READ).check_scope(Scope.CODES_ISSUE)

    assert denied.value.args == (Scope.CODES_ISSUE,)


def test_a_call_without_a_key_keeps_no_answer() -> None:
    assert call().idempotency is None
    assert call().keyed(3600) is None


def test_the_answer_of_a_key_is_kept_in_a_shard_of_token_and_key() -> None:
    expected = int.from_bytes(hashlib.blake2b(b"7:order-1").digest()[:8], "big") % 4096

    kept = call(key="order-1").keyed(3600)

    record = IdempotencyId(expected, 7, "order-1")
    assert kept == Keyed(record, b"digest", NOON, NOON + 3_600_000_000)


def test_the_same_key_of_two_tokens_is_two_keys() -> None:
    first, second = (call(token_id=number, key="order-1").keyed(1) for number in (1, 2))

    assert first
    assert second
    assert first.id != second.id
    assert first.id.shard_key != second.id.shard_key


def test_an_answer_given_before_says_its_status() -> None:
    answer = Answer(409, "used", "text", b"")

    assert Answered(answer).answer is answer
    assert str(Answered(answer)) == "409"


# -- what is believed for a moment ---------------------------------------------------------


class Rows:
    """Rows that are counted as they are read, and a clock that a test sets."""

    def __init__(self, *, most: int = 10_000) -> None:
        self.rows: dict[str, str] = {"a": "first"}
        self.reads: list[str] = []
        self.now_s = 100.0
        self.fails = False
        self.remembered = Remembered(self.read, fresh_s=0.5, clock=lambda: self.now_s, most=most)

    async def read(self, key: str) -> str | None:
        self.reads.append(key)
        read = self.rows.get(key)
        await asyncio.sleep(0)
        if self.fails:
            raise Busy("not now")
        return read


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_a_value_is_believed_for_half_a_second() -> None:
    async def work() -> None:
        rows = Rows()
        assert rows.remembered.at_hand("a") is None
        assert await rows.remembered.get("a") == "first"
        rows.rows["a"] = "second"
        rows.now_s += 0.499

        assert rows.remembered.at_hand("a") == "first"
        assert await rows.remembered.get("a") == "first"
        await settle()
        assert rows.reads == ["a"]

    run(work())


@pytest.mark.parametrize("age_s", [0.5, 0.89])
def test_an_older_value_is_taken_once_more_while_it_is_read_again(age_s: float) -> None:
    async def work() -> None:
        rows = Rows()
        await rows.remembered.get("a")
        rows.rows["a"] = "second"
        rows.now_s += age_s

        assert [rows.remembered.at_hand("a") for _ in range(3)] == ["first"] * 3
        await settle()
        assert rows.remembered.at_hand("a") == "second"
        assert rows.reads == ["a", "a"]

    run(work())


def test_a_value_is_read_again_as_often_as_it_gets_older() -> None:
    async def work() -> None:
        rows = Rows()
        await rows.remembered.get("a")
        for _ in range(3):
            rows.now_s += 0.6
            assert rows.remembered.at_hand("a") == "first"
            await settle()
        assert len(rows.reads) == 4

    run(work())


def test_a_value_is_as_old_as_the_question_and_not_as_the_answer() -> None:
    async def work() -> None:
        rows = Rows()

        async def slowly(key: str) -> str:
            rows.now_s += 1.0
            return "slow"

        remembered = Remembered(slowly, fresh_s=0.5, clock=lambda: rows.now_s)
        assert await remembered.get("a") == "slow"
        assert remembered.at_hand("a") is None

    run(work())


def test_a_value_of_nearly_twice_the_age_is_waited_for() -> None:
    async def work() -> None:
        rows = Rows()
        await rows.remembered.get("a")
        rows.rows["a"] = "second"
        rows.now_s += 0.9

        assert rows.remembered.at_hand("a") is None
        assert await rows.remembered.get("a") == "second"
        assert rows.reads == ["a", "a"]

    run(work())


def test_what_does_not_exist_is_asked_for_each_time() -> None:
    async def work() -> None:
        rows = Rows()
        assert await rows.remembered.get("b") is None
        rows.rows["b"] = "new"
        assert await rows.remembered.get("b") == "new"

    run(work())


def test_what_is_deleted_is_forgotten_with_its_next_refresh() -> None:
    async def work() -> None:
        rows = Rows()
        await rows.remembered.get("a")
        del rows.rows["a"]
        rows.now_s += 0.6

        assert rows.remembered.at_hand("a") == "first"
        await settle()
        assert rows.remembered.at_hand("a") is None

    run(work())


def test_a_refresh_that_fails_leaves_the_value_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def work() -> None:
        rows = Rows()
        await rows.remembered.get("a")
        rows.now_s += 0.6
        rows.fails = True

        assert rows.remembered.at_hand("a") == "first"
        await settle()
        rows.fails = False
        rows.rows["a"] = "second"
        assert rows.remembered.at_hand("a") == "first"
        await settle()
        assert rows.remembered.at_hand("a") == "second"

    with caplog.at_level(logging.WARNING):
        run(work())
    assert caplog.messages == ["could not refresh a remembered row: not now"]


def test_no_more_values_are_remembered_than_there_may_be() -> None:
    async def work() -> None:
        rows = Rows(most=2)
        rows.rows = {"a": "1", "b": "2", "c": "3"}
        for key in "abc":
            await rows.remembered.get(key)

        assert [rows.remembered.at_hand(key) for key in "abc"] == [None, None, "3"]
        await rows.remembered.get("a")
        assert [rows.remembered.at_hand(key) for key in "abc"] == ["1", None, "3"]

    run(work())


def test_ten_thousand_values_are_remembered() -> None:
    async def work() -> None:
        async def read(key: int) -> int:
            return key + 1

        remembered = Remembered(read, fresh_s=0.5, clock=lambda: 0.0)
        for key in range(10_000):
            await remembered.get(key)
        assert remembered.at_hand(0) == 1
        await remembered.get(10_000)
        assert remembered.at_hand(0) is None

    run(work())
