"""Histories: what many clients ask about a few codes while things break, and what they are told.

One thread keeps the time of all clients, as a count: a call is counted before its first byte
leaves, an answer after its last byte came.
"""

import asyncio
import itertools
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.races.gate import Gate
from tests.races.ledger import Broken
from tests.races.linearizability import Operation, Verdict, in_order, judge
from tests.races.lines import ClientLine
from tests.races.racing import year
from tests.races.requests import (
    ATTACH,
    DETACH,
    GET,
    UPDATE,
    Answer,
    Request,
    activate,
    attach,
    detach,
    get,
    update,
)
from tests.running import Running

CLIENTS = 16
CODES = 8
PROFILES = 4
PLACES, USES = 3, 2
KEYED = 0.4
PAUSE_S = 0.01
RETRIES_MAX = 3_000


class CodeState(NamedTuple):
    """One code as a caller can know it: who holds it, the latest last, its uses, its expiry."""

    holders: tuple[str, ...] = ()
    uses: int = 0
    expires: str = ""


@dataclass(frozen=True)
class Rules:
    """What may happen to a code, written down a second time and for one code alone."""

    is_universal: bool

    def follow(self, state: CodeState, asked: tuple[Any, ...]) -> tuple[CodeState, Any]:
        """Return the state after a request and its right answer, "" for success."""
        name, *what = asked
        holders = state.holders
        if name == ATTACH:
            return self._attach(state, what[0])
        if name == DETACH:
            if not holders:
                return state, "not_attached"
            if len(holders) > 1:
                return state, "attached_to_several"
            if holders != (what[0],):
                return state, "attached_to_other"
            if state.uses:
                return state, "already_activated"
            return state._replace(holders=()), ""
        if name == GET:
            return state, (holders[-1] if holders else None, state.uses > 0, state.expires)
        if name == UPDATE:
            return self._update(state, *what)
        return self._activate(state)

    def _attach(self, state: CodeState, profile: str) -> tuple[CodeState, str]:
        holders = state.holders
        if self.is_universal and profile in holders:
            return state, ""
        if not self.is_universal and holders:
            return state, "already_attached"
        if self.is_universal and len(holders) == PLACES:
            return state, "attach_limit"
        return state._replace(holders=(*holders, profile)), ""

    def _activate(self, state: CodeState) -> tuple[CodeState, str]:
        if not state.holders:
            return state, "not_attached"
        if state.uses == (USES if self.is_universal else 1):
            return state, "activation_limit" if self.is_universal else "already_activated"
        return state._replace(uses=state.uses + 1), ""

    def _update(self, state: CodeState, what: Any) -> tuple[CodeState, str]:
        if isinstance(what, str):
            return state._replace(expires=what), ""
        if what:
            return (state, "") if state.uses else self._activate(state)
        return state._replace(uses=max(0, state.uses - 1)), ""


def asked_of(request: Request) -> tuple[Any, ...]:
    """Return what a request asks of its code."""
    fields = request.fields
    if request.name in (ATTACH, DETACH):
        return request.name, fields["profile_id"]
    if request.name == UPDATE:
        return UPDATE, fields["expire_date" if "expire_date" in fields else "activated"]
    return (request.name,)


def told_by(answer: Answer) -> Any:
    """Return what an answer says of its code."""
    if answer.request.name != GET or not answer.is_success:
        return answer.reason
    data = answer.json["data"]
    return data.get("profile_id"), data["is_activated"], data["expire_date"]


Moment = Callable[["History"], Awaitable[None]]
"""Something that happens once a number of requests was sent."""


@dataclass
class History:
    """A program of few codes, the clients at work on them, and what each was told."""

    service: Running
    seed: int
    size: int
    is_universal: bool
    by_code: dict[str, list[Operation]] = field(default_factory=lambda: defaultdict(list))
    _sent: int = 0
    _awaited: int = 0
    _enough: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self._clock = itertools.count()
        self._years = itertools.count(2030)
        self._names = [f"H{number}" for number in range(CODES)]
        limits = {"attach_limit": PLACES, "activation_limit": USES} if self.is_universal else {}
        self._program = self.service.program(
            self._names, multiple_usage=self.is_universal, **limits
        )
        self._database = self.service.database()
        self._profiles = self.service.profiles(self._database, PROFILES)
        self._ports = itertools.cycle(tuple(self.service.ports))

    def write(self, *moments: Moment) -> None:
        """Let everybody work, with these moments spread over the work; then look once more."""

        async def work() -> None:
            async with asyncio.TaskGroup() as group:
                for _ in range(CLIENTS):
                    group.create_task(self._client())
                for number, moment in enumerate(moments, 1):
                    share = (number - self.rng.random()) / (len(moments) + 0.5)
                    await self._sent_so_many(int(share * self.size))
                    await moment(self)

        asyncio.run(work())
        self._look_at_all()

    def check(self) -> None:
        """Judge each code.

        Raises:
            Broken: for one of them no order explains what was told.
        """
        rules = Rules(self.is_universal)
        for code, history in self.by_code.items():
            judged = judge(history, rules.follow, CodeState())
            if judged.verdict is Verdict.BROKEN:
                assert judged.at is not None
                around = [one for one in history if is_near(one, judged.at)]
                raise Broken(
                    f"{code}: {judged.at} is explained by none of {judged.states}\n"
                    f"{in_order(around)}"
                )
            assert judged.verdict is Verdict.OK, f"{code}: the search was given up"

    async def _sent_so_many(self, count: int) -> None:
        self._awaited = count
        self._enough.clear()
        if self._sent < count:
            await self._enough.wait()

    # -- clients ---------------------------------------------------------------------------

    async def _client(self) -> None:
        line = ClientLine(self._ports, self.service.token)
        try:
            while self._sent < self.size:
                await self._ask(line, self._any_request())
        finally:
            line.close()

    async def _ask(self, line: ClientLine, request: Request) -> None:
        """Ask once, with a key until there is an answer, and note what was told."""
        await line.open()
        self._sent += 1
        if self._sent >= self._awaited:
            self._enough.set()
        asked_at = next(self._clock)
        has_left = False
        for _ in range(RETRIES_MAX if request.key else 1):
            answer = await line.exchange(request)
            has_left = has_left or answer is None or answer.reason == "outcome_unknown"
            if answer is not None and answer.status != 503:
                told = Operation(asked_of(request), asked_at, told_by(answer), next(self._clock))
                self.by_code[request.fields["code"]].append(told)
                return
            await asyncio.sleep(PAUSE_S)
            await line.open()
        assert not request.key, f"{request} never got an answer"
        if has_left and request.name != GET:
            lost = Operation(asked_of(request), asked_at)
            self.by_code[request.fields["code"]].append(lost)

    def _any_request(self) -> Request:
        rng, program = self.rng, self._program
        code, profile = rng.choice(self._names), rng.choice(self._profiles)
        key = f"{self.seed}-{self._sent}-{rng.getrandbits(32)}" if rng.random() < KEYED else None
        kind = rng.random()
        if kind < 0.35:
            return get(program, code)
        if kind < 0.55:
            return attach(program, self._database, profile, code, key=key)
        if kind < 0.75:
            return detach(program, self._database, profile, code, key=key)
        if kind < 0.83:
            return activate(program, code, key=key)
        if kind < 0.94:
            return update(program, code, key=key, activated=rng.random() < 0.2)
        return update(program, code, key=key, expire_date=year(next(self._years)))

    def _look_at_all(self) -> None:
        with Gate(self.service, 1) as gate:
            for code in self._names:
                self.by_code[code].append(self._seen(gate, code))

    def _seen(self, gate: Gate, code: str) -> Operation:
        for _ in range(RETRIES_MAX):
            asked_at = next(self._clock)
            (answer,) = gate.release([get(self._program, code)])
            if answer.status != 503:
                return Operation((GET,), asked_at, told_by(answer), next(self._clock))
        raise AssertionError("the service did not recover")


def is_near(one: Operation, other: Operation) -> bool:
    """Say whether an operation was under way shortly before another was answered."""
    assert other.told_at is not None
    begins, ends = other.asked_at - 300, other.told_at
    return one.asked_at <= ends and (one.told_at is None or one.told_at >= begins)
