"""Bulk changes on a world of tests: who asks, and lists of profiles."""

import os
from collections.abc import AsyncIterable, Callable, Sequence
from typing import Any

from promint.domain.model import Batch, BatchKind, Holder, LoyaltyProgram, ProfileKey, PromoCode
from promint.service.batches import Batches, Touched
from promint.service.bulk_changes import (
    BulkChanges,
    Change,
    Preview,
    Reject,
    Target,
    Targets,
)
from promint.service.means import Cancelled, Means, Progress, unwatched
from promint.store.searching import CodeFilter
from tests.world import World

EVERYTHING = CodeFilter()
DETACH = Change(BatchKind.DETACH)
DEACTIVATE = Change(BatchKind.DEACTIVATE)
DELETE = Change(BatchKind.DELETE)


def expire(at: int | None) -> Change:
    return Change(BatchKind.EXPIRE, at)


def means_of(world: World) -> Means:
    return Means(world.store, world.ids, lambda: world.now, os.urandom, author="Olga")


def changes_of(world: World) -> BulkChanges:
    return BulkChanges(means_of(world), world.service.codes)


def batches_of(world: World) -> Batches:
    return Batches(means_of(world))


def listed(holders: Sequence[Holder], codes: Sequence[str | None] | None = None) -> Targets:
    """A list of profiles by id, each with a code if codes are given."""
    named = codes or [None] * len(holders)
    targets = [
        Target(line, ProfileKey(holder.database_id, profile_id=holder.profile_id), code)
        for line, (holder, code) in enumerate(zip(holders, named, strict=True), 1)
    ]

    async def chunks() -> AsyncIterable[Sequence[Target]]:
        for start in range(0, len(targets), 7):
            yield targets[start : start + 7]

    return chunks


class Changing:
    """The last batch's rejects beside what every test asks for."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.changes = changes_of(world)
        self.batches = batches_of(world)
        self.rejects: list[Reject] = []

    async def _reject(self, rejects: Sequence[Reject]) -> None:
        self.rejects.extend(rejects)

    def preview(
        self, program: LoyaltyProgram, change: Change, wanted: CodeFilter = EVERYTHING
    ) -> Preview:
        return self.world.run(self.changes.preview(program, wanted, change))

    def begin(
        self, program: LoyaltyProgram, change: Change, wanted: CodeFilter = EVERYTHING
    ) -> Batch:
        return self.world.run(self.changes.begin(program, wanted, change, source="test"))

    def run(self, batch: Batch, progress: Progress = unwatched, **more: Any) -> Batch:
        return self.world.run(
            self.changes.run(batch.id, progress=progress, rejected=self._reject, **more)
        )

    def apply(
        self, program: LoyaltyProgram, change: Change, wanted: CodeFilter = EVERYTHING
    ) -> Batch:
        self.rejects.clear()
        return self.run(self.begin(program, change, wanted))

    def attach(self, program: LoyaltyProgram, targets: Targets) -> Batch:
        self.rejects.clear()
        batch = self.world.run(self.changes.begin_attach(program, targets, source="list"))
        return self.run(batch, targets=targets)

    def undo(self, batch: Batch, progress: Progress = unwatched) -> Batch:
        return self.world.run(self.batches.undo(batch.id, progress=progress))

    def touched(self, batch: Batch) -> list[Touched]:
        async def collect() -> list[Touched]:
            return [one async for one in self.batches.touched(batch.id)]

        return self.world.run(collect())

    def last_batch(self) -> Batch:
        return self.world.run(self.batches.batches())[0]


def rows(world: World, program: LoyaltyProgram) -> dict[str, PromoCode]:
    """Every code of a program, without what a change and its undoing raise: the versions."""

    async def collect() -> dict[str, PromoCode]:
        walk = world.store.searching.walk(program, EVERYTHING, now=world.now)
        return {code.code_key: code._replace(version=0) async for chunk in walk for code in chunk}

    return world.run(collect())


def count_of(world: World, program: LoyaltyProgram) -> int:
    """How many codes the program's tally counts."""
    return world.run(world.store.code_counts([program]))[program.id]


class StopsAt:
    """A progress that stops the work at its n-th report."""

    def __init__(self, report: int) -> None:
        self.left = report

    async def __call__(self, done: int, total: int | None, phase: str) -> None:
        self.left -= 1
        if self.left == 0:
            raise Cancelled


def stopped_at_each_chunk(work: Callable[[Progress], Batch]) -> Batch:
    """Run work that is stopped at every report it makes, and gone on with, until it is done."""
    report = 1
    while True:
        progress = StopsAt(report)
        try:
            return work(progress)
        except Cancelled:
            report += 1
