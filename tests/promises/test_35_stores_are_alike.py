# ruff: noqa: RUF001  # letters that look alike are what this is about
"""SQLite and PostgreSQL give the same answers and keep the same rows, whatever is asked of them."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import seed as with_seed
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from promint.domain.codetext import clean_code as clean
from promint.domain.errors import PromintError
from promint.domain.ids import IdMaker
from promint.domain.model import CodeMatching, Database, Holder, LoyaltyProgram
from tests.conftest import Stores
from tests.promises.proof import Proof, control, promise
from tests.races.ledger import demand
from tests.world import HOUR, World

STEPS = 50
EMAILS = ("a@example.com", "A@Example.com", "ß@example.com", "b@example.com")

# Where databases and their collations differ: case, width, ligatures, composed and decomposed
# letters, order, spaces that one trims and another does not, planes beyond the first, quotes.
TEXTS = (
    "A", "a", "Ａ", "ß", "SS", "ss", "ﬁ", "fi", "é", "e\u0301", "İ", "i\u0307", "ı", "Z", "z",
    "10", "9", "09", "A-1", "a_1", "%", "_", "'", '"', "\\", " x ", "x\u00a0", "\u3000x", "Ω", "Ω",
    "ſ", "К", "K", "\U0001f600", "\U00010400", "\U00010428", "x" * 255, "x" * 256, "", "\x00",
    "a\x00b", "\u200b", "a\u200db", "\ud800", "ŉ" * 200,
)  # fmt: skip
codes = st.sampled_from(TEXTS) | st.text(max_size=6)
moments = st.none() | st.integers(-3, 6)


@dataclass
class Twins:
    """A world on each store, whose ids, clocks and programs are the same."""

    worlds: tuple[World, World]
    changes: dict[str, Any] = field(default_factory=dict)
    """Settings of the second world's programs that differ: the planted fault."""

    def both(self, ask: Callable[[World], Any]) -> Any:
        """Ask both; return what they answered, the same."""
        one, other = (_outcome(ask, world) for world in self.worlds)
        demand(one == other, "SQLite said", one, "and PostgreSQL", other)
        return one

    def program(self, **wanted: Any) -> LoyaltyProgram:
        first, second = self.worlds
        program = first.program(**wanted)
        second.program(**{**wanted, **self.changes, "id": program.id})
        return program


def _outcome(ask: Callable[[World], Any], world: World) -> Any:
    try:
        return ask(world)
    except PromintError as refusal:
        return type(refusal).__name__, refusal.number, refusal.message


@contextmanager
def twins(stores: Stores, **changes: Any) -> Iterator[Twins]:
    urls = stores.new("sqlite"), stores.new("postgres")
    entropy = os.urandom(8)
    first = World(urls[0], IdMaker(entropy))
    second = World(urls[1], IdMaker(entropy))
    try:
        yield Twins((first, second), changes)
    finally:
        first.close()
        second.close()


class BothStores(RuleBasedStateMachine):
    """What a shop may do, done on both stores; after each step they have to agree."""

    twins: Twins

    @initialize(
        universal=st.booleans(),
        matching=st.sampled_from(CodeMatching),
        buckets=st.sampled_from([1, 4]),
        limits=st.fixed_dictionaries(
            {},
            optional={
                "code_limit": st.integers(1, 12),
                "profile_limit": st.integers(1, 4),
                "lifetime_s": st.integers(1, 7200),
            },
        ),
        uses=st.none() | st.integers(1, 3),
        places=st.none() | st.integers(1, 3),
        creates=st.booleans(),
    )
    def begin(
        self,
        universal: bool,
        matching: CodeMatching,
        buckets: int,
        limits: dict[str, int | None],
        uses: int | None,
        places: int | None,
        creates: bool,
    ) -> None:
        if universal:
            limits |= {"activation_limit": uses, "attach_limit": places}
        self.program = self.twins.program(
            multiple_usage=universal,
            code_matching=matching,
            buckets=buckets,
            creates_on_attach=creates,
            **limits,
        )
        self.database: Database = self.twins.both(lambda w: w.database(creates_profiles=creates))
        self.holders: list[Holder] = []
        for email in EMAILS:
            found = self.twins.both(partial(World.profile, database=self.database, email=email))
            if isinstance(found, Holder) and found not in self.holders:
                self.holders.append(found)

    @rule(texts=st.lists(codes, min_size=1, max_size=5))
    def import_some(self, texts: list[str]) -> None:
        def ask(world: World) -> Any:
            done = world.import_codes(self.program, *texts)
            items = [(i.code, i.error.message if i.error else "") for i in done.items]
            return items, done.inserted, done.duplicated, done.discarded_by_limit

        self.twins.both(ask)

    @rule(who=st.integers(0, 3), code=st.none() | codes)
    def attach(self, who: int, code: str | None) -> None:
        holder = self.holders[who % len(self.holders)]
        if code is None and not self.program.multiple_usage and len(free := self._free()) > 1:
            # Which of several free codes it is, each store may choose; so one is named.
            code = free[0]
        self.twins.both(lambda w: w.attach(self.program, holder, code and clean(code)))

    def _free(self) -> list[str]:
        world = self.twins.worlds[0]
        codes = world.exported(self.program)
        return [code for code in codes if world.get(self.program, code).is_free(world.now)]

    @rule(who=st.integers(0, 3), code=codes)
    def detach(self, who: int, code: str) -> None:
        holder = self.holders[who % len(self.holders)]
        self.twins.both(lambda w: w.detach(self.program, holder, clean(code)))

    @rule(code=codes, key=st.none() | st.sampled_from(["k1", "k2"]))
    def activate(self, code: str, key: str | None) -> None:
        self.twins.both(lambda w: w.activate(self.program, clean(code), key))

    @rule(code=codes, activated=st.none() | st.booleans(), hours=st.just(99) | moments)
    def update(self, code: str, activated: bool | None, hours: int | None) -> None:
        changes: dict[str, Any] = {"activated": activated}
        if hours != 99:
            now = self.twins.worlds[0].now
            changes["expires_at"] = None if hours is None else now + hours * HOUR
        self.twins.both(lambda w: w.update(self.program, clean(code), **changes))

    @rule(who=st.integers(0, 3))
    def delete_profile(self, who: int) -> None:
        holder = self.holders[who % len(self.holders)]
        self.twins.both(lambda w: w.delete_profile(holder))

    @rule(hours=st.integers(1, 3))
    def wait(self, hours: int) -> None:
        for world in self.twins.worlds:
            world.now += hours * HOUR

    @rule(
        changed=st.fixed_dictionaries(
            {},
            optional={
                "active": st.booleans(),
                "activation_limit": st.none() | st.integers(1, 3),
                "profile_limit": st.none() | st.integers(1, 4),
                "code_limit": st.none() | st.integers(1, 12),
            },
        )
    )
    def change_settings(self, changed: dict[str, Any]) -> None:
        self.twins.both(lambda w: w.change(self.program, **changed).version)

    @rule(code=codes)
    def look(self, code: str) -> None:
        self.twins.both(lambda w: w.get(self.program, clean(code)))

    def teardown(self) -> None:
        """At the end they hold the same rows, in the same order, with the same histories."""
        exported = self.twins.both(lambda w: w.exported(self.program))
        for code in exported:
            self.twins.both(partial(World.get, program=self.program, code=code))
            self.twins.both(partial(_history, program=self.program, code=code))


def _history(world: World, program: LoyaltyProgram, code: str) -> list[Any]:
    """Return a code's events but for their ids."""
    return [event[2:] for event in world.history(program, code)]


def run(on: Twins, seed: int, examples: int, *phases: Phase) -> None:
    machine = type("BothStoresHere", (BothStores,), {"twins": on})
    run = settings(
        max_examples=examples,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        phases=(Phase.generate, *phases),
        suppress_health_check=list(HealthCheck),
    )
    with_seed(seed)(machine)
    run_state_machine_as_test(machine, settings=run)


@promise(35, store="both")
def test_the_same_steps_have_the_same_outcome_on_both_stores(stores: Stores, proof: Proof) -> None:
    examples = proof.size(quick=25, night=200)
    with twins(stores) as both:
        for seed in proof.rounds(quick=1, night=10, release=50):
            run(both, seed, examples, Phase.shrink)
            proof.trials(examples, f"runs of {STEPS} steps")


@control(35, fault="one store compares codes in a way of its own", store="both")
def test_a_store_that_compares_codes_its_own_way_is_found_out(stores: Stores, proof: Proof) -> None:
    with twins(stores, code_matching=CodeMatching.EXACT) as different:
        proof.control(lambda seed: run(different, seed, examples=500))
