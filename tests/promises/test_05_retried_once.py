"""A request with an idempotency key happens once, however often it is sent."""

import asyncio
import itertools
import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from tests.conftest import Stores
from tests.promises.proof import Proof, control, promise
from tests.races import racing
from tests.races.builds import build_with
from tests.races.gate import Gate
from tests.races.ledger import Ledger, demand
from tests.races.lines import ClientLine
from tests.races.requests import Answer, Request
from tests.running import Running
from tests.world import DAY, NOON, SECOND, World

FAULTS = "tests.promises.faults.keys"
CLIENTS = 64
CUT, RETRIES = 0.3, 10


@promise(5)
def test_requests_whose_answers_are_cut_off_happen_once_when_repeated(
    service: Running, proof: Proof
) -> None:
    keys = proof.size(quick=100, night=1_250)
    for seed in proof.rounds(quick=1, night=1, release=10):
        programs, requests = racing.keyed_requests(service, keys)
        asking = Asking(service, random.Random(seed), requests)
        asyncio.run(asking.ask_all())
        asking.check(programs)
        asking.check_other_bodies()
        proof.trials(len(requests), "keyed requests, 3 of 10 answers cut off")


@promise(5)
def test_requests_with_one_key_happen_once_and_are_answered_alike(
    service: Running, proof: Proof
) -> None:
    for _ in proof.rounds(quick=1, night=10, release=100):
        racing.race_of_one_key(service, keys=50, racers=16)
        racing.race_of_one_key(service, keys=4, racers=64)
        proof.trials(4 * 54, "keys, 16 or 64 clients each")


@promise(5)
def test_a_request_that_was_stored_before_its_process_died_is_answered_alike(
    stores: Stores, kind: str, tmp_path: Path, proof: Proof
) -> None:
    kills = proof.size(quick=4, night=10)
    for _ in proof.rounds(quick=1, night=10):
        die_before_answering(stores.new(kind), tmp_path, f"{FAULTS}:die_after_commit", kills)
        proof.trials(kills, "kills between commit and answer")


@promise(5)
def test_a_key_is_remembered_for_a_day(
    stores: Stores, kind: str, make_world: Callable[..., World], proof: Proof
) -> None:
    keys = proof.size(quick=50, night=500)
    repeat_late(make_world(stores.new(kind)), keys)
    proof.trials(keys, "keys, repeated after 23 h 59 min")


@control(5, fault="idempotency_hours=23")
def test_the_repetition_finds_a_service_that_forgets_keys_sooner(
    stores: Stores, kind: str, make_world: Callable[..., World], proof: Proof
) -> None:
    proof.control(lambda _: repeat_late(make_world(stores.new(kind), idempotency_hours=23), keys=1))


@control(5, fault="record_after_commit")
def test_the_kills_find_a_build_that_records_keys_after_the_commit(
    stores: Stores, kind: str, tmp_path: Path, proof: Proof
) -> None:
    proof.control(
        lambda _: die_before_answering(
            stores.new(kind), tmp_path, f"{FAULTS}:record_after_commit", kills=1
        )
    )


@control(5, fault="check_first_write_later")
def test_the_race_finds_a_build_that_checks_first_and_writes_later(
    careless: Running, proof: Proof
) -> None:
    proof.control(lambda _: racing.race_of_one_key(careless, keys=16, racers=16), runs=20)


@control(5, fault="keys_unguarded", store="postgres")
def test_the_race_finds_a_build_whose_keys_are_not_guarded(stores: Stores, proof: Proof) -> None:
    with build_with("keys_unguarded", stores.new("postgres"), processes=2) as unguarded:
        proof.control(lambda _: racing.race_of_one_key(unguarded, keys=16, racers=16), runs=20)


def repeat_late(world: World, keys: int) -> None:
    """Attach codes with keys, and again 23 h 59 min later: nothing more happens."""
    program = world.program()
    world.import_codes(program, *(f"D{number}" for number in range(2 * keys)))
    holder = world.profile(world.database(), "anna@example.com")

    def attach_all() -> list[object]:
        return [world.attach(program, holder, key=f"key-{number}") for number in range(keys)]

    first = attach_all()
    world.now = NOON + DAY - 60 * SECOND
    forgotten = world.run(world.store.forget_idempotency(world.now, keys))

    demand(forgotten == 0, forgotten, "keys were forgotten after 23 h 59 min")
    demand(attach_all() == first, "a key was answered in another way after 23 h 59 min")
    free = world.run(world.store.free_codes(program, world.now, 2 * keys))
    demand(free == keys, free, "codes are free where", keys, "of", 2 * keys, "were attached")


class Asking:
    """Requests with keys, the ids under which each was sent, and the answer that arrived."""

    def __init__(self, service: Running, rng: random.Random, requests: list[Request]) -> None:
        self._service, self._rng = service, rng
        self._requests = rng.sample(requests, len(requests))
        self._ids: dict[str | None, set[str]] = defaultdict(set)
        self._answers: list[Answer] = []

    async def ask_all(self) -> None:
        """Ask from many clients, each time anew while the answer is cut off."""
        ports = itertools.cycle(self._service.ports)
        waiting = iter(self._requests)
        async with asyncio.TaskGroup() as group:
            for _ in range(CLIENTS):
                line = ClientLine(ports, self._service.token)
                group.create_task(self._client(line, waiting))

    async def _client(self, line: ClientLine, waiting: Iterator[Request]) -> None:
        for request in waiting:
            for _ in range(RETRIES):
                if self._rng.random() >= CUT:
                    break
                await line.cut(self._again(request), self._rng.random() * 0.01)
            await line.open()
            answer = await line.exchange(self._again(request))
            assert answer is not None, "the service closed the connection"
            self._answers.append(answer)
        line.close()

    def _again(self, request: Request) -> Request:
        again = request.again()
        self._ids[request.key].add(again.id)
        return again

    def check(self, programs: list[int]) -> None:
        """Demand one effect and one answer for each key."""
        with Gate(self._service) as gate:
            replays = gate.release([self._again(answer.request) for answer in self._answers])
        ledger = Ledger.read(self._service.url, *programs)
        ledger.check()
        for answer, replay in zip(self._answers, replays, strict=True):
            demand(
                (replay.status, replay.body) == (answer.status, answer.body),
                *(answer, "was repeated and told", replay),
            )
            ledger.check_effect(answer.request, answer, self._ids[answer.request.key])
        racing.succeed(self._answers)

    def check_other_bodies(self) -> None:
        """Demand that another body under a used key is refused."""
        others = [
            Request(one.name, {**one.fields, "code": f"OTHER-{number}"}, one.key)
            for number, one in enumerate(self._requests)
        ]
        with Gate(self._service) as gate:
            for answer in gate.release(others):
                told = answer.json["error"], answer.reason
                demand(told == (422, "idempotency_mismatch"), answer)


def die_before_answering(url: str, folder: Path, build: str, kills: int) -> None:
    """Kill the service between a commit and its answers; repeat what was asked; and again."""
    armed = folder / "armed"
    with build_with(build, url, PROMINT_TEST_ARMED=str(armed)) as service:
        programs, requests = racing.keyed_requests(service, keys=4 * kills)
        for number in range(kills):
            asked = requests[number::kills]
            first = [request.again() for request in asked]
            armed.touch()
            with suppress(OSError), Gate(service, len(asked)) as gate:
                gate.release(first)
            assert not armed.exists(), "the service did not die"
            service.running[0].wait()
            service.restart()

            with Gate(service, len(asked)) as gate:
                answers = gate.release([request.again() for request in asked])
                replays = gate.release([request.again() for request in asked])
            ledger = Ledger.read(url, *programs)
            ledger.check()
            for request, answer, replay in zip(first, answers, replays, strict=True):
                ids = {request.id, answer.request.id, replay.request.id}
                ledger.check_effect(request, answer, ids)
                demand(answer.body == replay.body, answer, "was repeated and told", replay)
            racing.succeed(answers)
