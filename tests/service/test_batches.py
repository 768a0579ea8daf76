"""Requests of one batch see what those before them in it have done."""

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest

from promint.domain.errors import AlreadyAttached, CodeLimitReached, ProfileLimitReached
from promint.domain.model import Database, Holder, LoyaltyProgram, ProfileKey
from tests.conftest import Stores
from tests.world import World


class Batch:
    """A world that sends requests so that they travel together, and sees that they do."""

    def __init__(self, url: str) -> None:
        self.world = World(url, cache_s=1e6)
        self.database: Database = self.world.database()
        self.ann = self.world.profile(self.database, "ann@example.com")
        self.bob = self.world.profile(self.database, "bob@example.com")
        self.sizes: list[int] = []
        transact = self.world.store.transact

        async def counted(batch: Any, *, locked: bool) -> None:
            self.sizes.append(len(batch.operations))
            await transact(batch, locked=locked)

        self.world.store.transact = counted  # type: ignore[method-assign]  # the store's own

    def program(self, *codes: str, **settings: Any) -> LoyaltyProgram:
        program = self.world.program(**settings)
        self.world.import_codes(program, *codes)
        self.world.get(program, codes[0])
        return program

    def together(self, *requests: Coroutine[Any, Any, Any]) -> list[Any]:
        """Send requests at once; return their values and refusals."""

        async def work() -> list[Any]:
            return list(await asyncio.gather(*requests, return_exceptions=True))

        self.sizes.clear()
        told = self.world.run(work())
        assert self.sizes[0] == len(requests), self.sizes
        return [type(answer) if isinstance(answer, Exception) else None for answer in told]

    def attach(self, program: LoyaltyProgram, holder: Holder, code: str) -> Any:
        key = ProfileKey(holder.database_id, profile_id=holder.profile_id)
        return self.world.service.attach(self.world.call(), program.id, key, code)

    def detach(self, program: LoyaltyProgram, holder: Holder, code: str) -> Any:
        key = ProfileKey(holder.database_id, profile_id=holder.profile_id)
        return self.world.service.detach(self.world.call(), program.id, key, code)

    def holder(self, program: LoyaltyProgram, code: str) -> Holder | None:
        found = self.world.get(program, code)
        if found.database_id is None or found.profile_id is None:
            return None
        return Holder(found.database_id, found.profile_id)


@pytest.fixture
def batch(stores: Stores) -> Iterator[Batch]:
    made = Batch(stores.new("sqlite"))
    yield made
    made.world.close()


def test_a_code_is_attached_taken_back_and_attached_again(batch: Batch) -> None:
    program = batch.program("A")

    told = batch.together(
        batch.attach(program, batch.ann, "A"),
        batch.detach(program, batch.ann, "A"),
        batch.attach(program, batch.bob, "A"),
    )

    assert told == [None, None, None]
    assert batch.holder(program, "A") == batch.bob
    assert batch.world.get(program, "A").attach_count == 1
    assert len(batch.world.history(program, "A")) == 3


def test_a_code_that_was_held_before_is_taken_back_and_given_back(batch: Batch) -> None:
    program = batch.program("A")
    batch.world.attach(program, batch.ann, "A")

    told = batch.together(
        batch.detach(program, batch.ann, "A"), batch.attach(program, batch.ann, "A")
    )

    assert told == [None, None]
    assert batch.holder(program, "A") == batch.ann
    batch.world.detach(program, batch.ann, "A")
    assert batch.holder(program, "A") is None


def test_a_personal_code_goes_to_the_first_of_two(batch: Batch) -> None:
    program = batch.program("A")

    told = batch.together(
        batch.attach(program, batch.ann, "A"), batch.attach(program, batch.bob, "A")
    )

    assert told == [None, AlreadyAttached]
    assert batch.holder(program, "A") == batch.ann


def test_a_universal_code_is_held_once_by_who_asks_twice(batch: Batch) -> None:
    program = batch.program("A", multiple_usage=True)

    told = batch.together(
        batch.attach(program, batch.ann, "A"),
        batch.attach(program, batch.ann, "A"),
        batch.attach(program, batch.bob, "A"),
    )

    assert told == [None, None, None]
    assert batch.world.get(program, "A").attach_count == 2


def test_the_limit_of_a_profile_counts_what_the_batch_gave_and_took(batch: Batch) -> None:
    program = batch.program("A", "B", "C", profile_limit=2)
    batch.world.attach(program, batch.ann, "A")

    told = batch.together(
        batch.attach(program, batch.ann, "B"),
        batch.attach(program, batch.ann, "C"),
        batch.detach(program, batch.ann, "A"),
        batch.attach(program, batch.ann, "C"),
        batch.attach(program, batch.bob, "A"),
    )

    assert told == [None, ProfileLimitReached, None, None, None]
    assert [batch.holder(program, code) for code in "ABC"] == [batch.bob, batch.ann, batch.ann]


def test_the_limit_of_a_program_counts_the_codes_that_the_batch_made(batch: Batch) -> None:
    program = batch.program("A", code_limit=2)

    told = batch.together(
        batch.attach(program, batch.ann, "NEW"),
        batch.attach(program, batch.ann, "NEWER"),
        batch.attach(program, batch.bob, "A"),
    )

    assert told == [None, CodeLimitReached, None]
    assert sorted(batch.world.exported(program)) == ["A", "NEW"]
