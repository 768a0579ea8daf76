"""What happens when others write at the same moment; the races over HTTP are in tests/races."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import apsw
import pytest

from promint.domain.errors import AlreadyActivated, CodeLimitReached, PromintError
from promint.domain.model import EventKind, Holder, LoyaltyProgram, ProfileKey
from promint.engine import Workspace
from promint.service import operations
from tests.conftest import Stores
from tests.world import World


@pytest.fixture
def ann(world: World) -> Holder:
    return world.profile(world.database(), "ann@example.com")


class Meddled(operations.Activate):
    """An activation with somebody else's change between its reading and its writing."""

    __slots__ = ("meddle", "times")

    def __init__(self, *arguments: Any, meddle: Callable[[], None], **common: Any) -> None:
        super().__init__(*arguments, **common)
        self.meddle = meddle
        self.times = 0

    def decide(self, work: Workspace) -> None:
        self.times += 1
        if self.times == 1:
            meddling = threading.Thread(target=self.meddle)
            meddling.start()
            meddling.join()
        super().decide(work)


def meddled(world: World, program: LoyaltyProgram, code: str, meddle: Any) -> Meddled:
    return Meddled(
        program,
        code,
        (program.first_shard, code.casefold()),
        now=world.now,
        token_id=7,
        request_id="meddled",
        event_id=world.ids.new(world.now),
        meddle=meddle,
    )


def in_another_world(url: str, work: Callable[[World], Any]) -> None:
    other = World(url)
    try:
        work(other)
    finally:
        other.close()


def test_what_was_decided_on_a_row_that_has_changed_is_decided_again(
    stores: Stores, make_world: Callable[..., World]
) -> None:
    url = stores.new("postgres")
    world = make_world(url)
    program = world.program()
    ann = world.profile(world.database(), "ann@example.com")
    world.attach(program, ann, "A")
    operation = meddled(
        world,
        program,
        "A",
        lambda: in_another_world(url, lambda other: other.activate(program, "A")),
    )

    with pytest.raises(AlreadyActivated):
        world.run(world.engine.submit(operation))

    assert operation.times == 2
    assert world.get(program, "A").activation_count == 1


def test_settings_that_change_between_call_and_batch_count(
    stores: Stores, make_world: Callable[..., World]
) -> None:
    url = stores.new("postgres")
    world = make_world(url, cache_s=3600)
    program = world.program()
    ann = world.profile(world.database(), "ann@example.com")
    world.attach(program, ann, "A")

    in_another_world(url, lambda other: other.change(program, code_limit=1))

    with pytest.raises(CodeLimitReached):
        world.attach(program, ann, "B")


def test_an_export_shows_one_moment(world: World, ann: Holder) -> None:
    program = world.program()
    codes = [f"C{number:05}" for number in range(5_000)]
    world.import_codes(program, *codes)

    async def export_while_others_write() -> list[tuple[str, bool]]:
        chunks = await world.service.export_all(world.call(), program.id)
        seen = [(code.code, code.attached_at is not None) for code in await anext(chunks)]
        for code in ("C00000", "C04999", "NEW"):
            key = key_of(ann)
            await world.service.attach(world.call(), program.id, key, code)
        async for chunk in chunks:
            seen += [(code.code, code.attached_at is not None) for code in chunk]
        return seen

    assert world.run(export_while_others_write()) == [(code, False) for code in codes]
    assert world.exported(program)[-1] == "NEW"


def key_of(holder: Holder) -> ProfileKey:
    return ProfileKey(holder.database_id, profile_id=holder.profile_id)


def test_a_write_waits_for_another_process_that_holds_the_file(
    stores: Stores, make_world: Callable[..., World]
) -> None:
    url = stores.new("sqlite")
    world = make_world(url)
    program = world.program()
    ann = world.profile(world.database(), "ann@example.com")
    other = apsw.Connection(url.removeprefix("sqlite:///"))
    other.execute("BEGIN IMMEDIATE")

    async def attach_while_held() -> None:
        key = key_of(ann)
        attaching = asyncio.create_task(world.service.attach(world.call(), program.id, key, "A"))
        await asyncio.sleep(0.2)
        assert not attaching.done()
        await world.service.get(world.call(), program.id, "B")

    with pytest.raises(PromintError):
        world.run(attach_while_held())
    other.execute("COMMIT")
    other.close()

    world.run(world.engine.drain())
    assert world.get(program, "A").attach_count == 1


def test_requests_of_one_batch_see_the_ones_before_them(
    url: str, make_world: Callable[..., World]
) -> None:
    world = make_world(url, cache_s=3600)
    program = world.program()
    key = key_of(world.profile(world.database(), "ann@example.com"))
    world.import_codes(program, "A", "REMEMBERED")
    world.attach(program, Holder(key.database_id, str(key.profile_id)), "REMEMBERED")

    async def at_once() -> list[Any]:
        service, call = world.service, world.call
        outcomes = await asyncio.gather(
            service.attach(call(), program.id, key, "A"),
            service.attach(call(), program.id, key, "A"),
            service.detach(call(), program.id, key, "A"),
            service.attach(call(), program.id, key, "A"),
            service.activate(call(), program.id, "A"),
            service.activate(call(), program.id, "A"),
            service.detach(call(), program.id, key, "A"),
            return_exceptions=True,
        )
        return list(outcomes)

    outcomes = world.run(at_once())

    assert [type(outcome).__name__ for outcome in outcomes] == [
        "str",
        "AlreadyAttached",
        "NoneType",
        "str",
        "NoneType",
        "AlreadyActivated",
        "AlreadyActivated",
    ]
    kinds = [EventKind(event.kind).name for event in world.history(program, "A")]
    assert kinds == ["ATTACHED", "DETACHED", "ATTACHED", "ACTIVATED"]
