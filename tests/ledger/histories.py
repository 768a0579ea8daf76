"""A long history of everything that can happen to a store, drawn at random."""

import io
import random
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from promint.domain.errors import PromintError
from promint.domain.model import Database, Holder, LoyaltyProgram, Scope
from promint.domain.rude import NO_WORDS
from promint.service.drawing import CodeSource
from promint.service.generation import Generation
from promint.service.importing import Importing, ImportOptions
from promint.service.means import Cancelled
from promint.service.stock import Stock
from promint.store.searching import CodeFilter
from tests.store.bulk import DEACTIVATE, DELETE, DETACH, Changing, StopsAt, expire, listed, means_of
from tests.world import DAY, HOUR, SECOND, World

PROGRAMS: tuple[dict[str, Any], ...] = (
    {"buckets": 4, "code_limit": 400, "template": "T-{8}"},
    {"lifetime_s": 3 * 24 * 3600, "profile_limit": 12, "low_stock": 5},
    {"multiple_usage": True, "attach_limit": 4, "activation_limit": 3},
    {"multiple_usage": True, "lifetime_s": 40 * 24 * 3600, "code_matching": "exact"},
)
NAMES = [f"{letter}{number}" for letter in ("A", "ẞ", "ﬁx") for number in range(12)]


class History:
    """Does one thing after the other; what is refused counts as well."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.rng = random.Random(seed)
        _, token = world.run(
            world.administration.create_token("history", frozenset(Scope), None, None)
        )
        world.with_token(id=token.id)
        self.changing = Changing(world)
        self.database: Database = world.database(creates_profiles=True)
        self.profiles = [self._profile(number) for number in range(6)]
        default = world.now + 20 * DAY
        self.programs = [
            world.program(**{"default_expire_date": default if n % 2 else None, **settings})
            for n, settings in enumerate(PROGRAMS)
        ]
        self.refused = 0
        self.done = 0

    def _profile(self, number: int) -> Holder:
        return self.world.profile(self.database, f"p{number}-{self.rng.random()}@example.com")

    def run(self, steps: int) -> None:
        """Take so many steps; about one in fifteen is over many codes."""
        for _ in range(steps):
            self.world.now += self.rng.choice((1, SECOND, HOUR, 3 * HOUR))
            step = self.rng.choice(self.SELDOM if self.rng.random() < 0.07 else self.OFTEN)
            try:
                step(self)
                self.done += 1
            except PromintError:
                self.refused += 1

    # -- what is drawn ---------------------------------------------------------------------

    def _program(self) -> LoyaltyProgram:
        known = self.rng.choice(self.programs)
        found = self.world.run(self.world.store.program(known.id))
        assert found is not None
        return found

    def _code(self, program: LoyaltyProgram) -> str:
        if self.rng.random() < 0.3:
            return self.rng.choice(NAMES)
        names = self.world.exported(program)
        return self.rng.choice(names or NAMES)

    def _holder(self) -> Holder:
        return self.rng.choice(self.profiles)

    def _moment(self) -> int | None:
        return self.rng.choice((None, self.world.now + 30 * DAY, self.world.now - HOUR))

    # -- what happens often ----------------------------------------------------------------

    def attach(self) -> None:
        program = self._program()
        self.world.attach(program, self._holder(), self._code(program))

    def attach_any(self) -> None:
        key = f"key-{self.rng.random()}" if self.rng.random() < 0.3 else None
        self.world.attach(self._program(), self._holder(), None, key=key)

    def attach_to_new(self) -> None:
        program = self._program()
        email = f"new-{self.rng.random()}@example.com"
        self.world.attach_by_email(program, self.database, email, self._code(program))

    def activate(self) -> None:
        program = self._program()
        self.world.activate(program, self._code(program))

    def update(self) -> None:
        program = self._program()
        changes: dict[str, object] = {}
        if self.rng.random() < 0.6:
            changes["expires_at"] = self._moment()
        if self.rng.random() < 0.6:
            changes["activated"] = self.rng.random() < 0.4
        self.world.update(program, self._code(program), **changes)

    def detach(self) -> None:
        program = self._program()
        code = self._code(program)
        found = self.world.get(program, code)
        holder = self._holder()
        if found.profile_id is not None and found.database_id is not None:
            holder = Holder(found.database_id, found.profile_id)
        self.world.detach(program, holder, code)

    OFTEN = (attach, attach, attach_any, attach_to_new, activate, activate, update, detach)

    # -- what happens seldom ---------------------------------------------------------------

    def import_codes(self) -> None:
        names = self.rng.sample(NAMES, 8)
        self.world.import_codes(self._program(), *names)

    def import_file(self) -> None:
        def text(moment: int | None) -> str:
            if moment is None:
                return ""
            return datetime.fromtimestamp(moment // SECOND, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

        lines = ["code,db_id,profile_id,attached,activated,expire_date"]
        for _ in range(7):
            holder = self._holder() if self.rng.random() < 0.5 else None
            attached = self.world.now - DAY if holder and self.rng.random() < 0.7 else None
            used = self.world.now - HOUR if attached and self.rng.random() < 0.5 else None
            named = f"{holder.database_id},{holder.profile_id}" if holder else ","
            dates = ",".join(map(text, (attached, used, self._moment())))
            lines.append(f"F{self.rng.randrange(60)},{named},{dates}")
        self._import(self._program(), lines)

    def import_held(self, program: LoyaltyProgram, holder: Holder) -> None:
        """Import one code with its holder."""
        lines = ["code,db_id,profile_id", f"HELD,{holder.database_id},{holder.profile_id}"]
        self._import(program, lines)

    def _import(self, program: LoyaltyProgram, lines: list[str]) -> None:
        file = io.BytesIO("\n".join(lines).encode())
        importing = Importing(means_of(self.world))
        self.world.run(importing.run(program.id, file, name="history.csv", options=ImportOptions()))

    def generate(self) -> None:
        generation = Generation(means_of(self.world), CodeSource(self.rng.randbytes, NO_WORDS))
        expires_at = self._moment()
        program = self._program()
        self.world.run(generation.generate(program.id, 9, template="G-{9}", expires_at=expires_at))

    def change(self) -> None:
        change = self.rng.choice((DETACH, DEACTIVATE, DELETE, expire(self._moment())))
        wanted = CodeFilter(prefix=self.rng.choice(("", "a", "f", "g")))
        program = self._program()
        batch = self.changing.begin(program, change, wanted)
        if self.rng.random() < 0.2:
            with suppress(Cancelled):
                self.changing.run(batch, StopsAt(3))
        self.changing.run(batch)

    def attach_list(self) -> None:
        holders = [self._holder() for _ in range(5)]
        program = self._program()
        codes = None if self.rng.random() < 0.5 else [self._code(program) for _ in holders]
        self.changing.attach(program, listed(holders, codes))

    def undo(self) -> None:
        batches = self.world.run(self.changing.batches.batches(most=6))
        if batches:
            self.changing.undo(self.rng.choice(batches))

    def delete_profile(self) -> None:
        place = self.rng.randrange(len(self.profiles))
        self.world.delete_profile(self.profiles[place])
        self.profiles[place] = self._profile(place)

    def change_program(self) -> None:
        change = self.rng.choice(
            (
                {"activation_limit": self.rng.choice((None, 2, 5))},
                {"lifetime_s": self.rng.choice((None, 24 * 3600))},
                {"default_expire_date": self._moment()},
                {"attach_limit": self.rng.choice((None, 2, 6))},
                {"description": "again"},
            )
        )
        self.world.change(self._program(), **change)
        self.world.now += 5 * 60 * SECOND

    def look_at_stock(self) -> None:
        self.world.run(Stock(means_of(self.world)).look())

    def make_token(self) -> None:
        name = f"t{self.rng.randrange(4)}"
        administration = self.world.administration
        if not self.world.run(administration.revoke_token(name)):
            self.world.run(administration.create_token(name, frozenset({Scope.ADMIN})))

    SELDOM: tuple[Callable[["History"], None], ...] = (
        import_codes,
        import_file,
        generate,
        change,
        change,
        attach_list,
        undo,
        undo,
        delete_profile,
        change_program,
        look_at_stock,
        make_token,
    )
