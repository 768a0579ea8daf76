"""An export shows the program as it was at one moment, while others change it."""

import random
from collections.abc import AsyncGenerator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

from tests.conftest import Stores
from tests.promises.proof import Proof, control, promise
from tests.promises.watching import resident_mb
from tests.races.builds import build_with
from tests.races.gate import Gate
from tests.races.ledger import demand
from tests.races.requests import attach
from tests.running import Running


@promise(43)
def test_an_export_during_changes_is_what_was_there_at_one_moment(
    stores: Stores, kind: str, proof: Proof
) -> None:
    codes = proof.size(quick=30_000, night=1_000_000)
    exports = proof.size(quick=2, night=10)
    for seed in proof.rounds(quick=1, night=1, release=3):
        with Running(stores.new(kind)) as service:
            growth_mb, changes = export_during_changes(service, codes, exports, seed)
        proof.trials(exports, "exports")
        proof.figure("codes", f"{codes:,}")
        proof.figure("changes meanwhile", changes)
        proof.figure("memory, MB more", growth_mb)


@control(43, fault="page_by_page", store="sqlite")
def test_a_build_that_reads_each_page_at_its_own_moment_is_found_out(
    stores: Stores, proof: Proof
) -> None:
    def attempt(seed: int) -> None:
        build = build_with(f"{__name__}:page_by_page", stores.new("sqlite"))
        with build as paging:
            export_during_changes(paging, 30_000, 2, seed)

    proof.control(attempt, runs=3)


def page_by_page() -> None:
    """Read each page of an export as it is when its turn comes."""
    from promint.domain.model import LoyaltyProgram
    from promint.store import sql
    from promint.store.ordering import in_creation_order
    from promint.store.sqlite import SqliteStore

    async def export(self: SqliteStore, program: LoyaltyProgram) -> AsyncGenerator[Any]:
        async def fetch(*key: Any) -> list[Any]:
            async with self._readers.snapshot() as snapshot:
                return await snapshot.rows(sql.EXPORT, *key)

        async for codes in in_creation_order(program, fetch):
            yield codes

    assert "export" in vars(SqliteStore)
    SqliteStore.export = export  # type: ignore[method-assign]  # the fault


def export_during_changes(
    service: Running, count: int, exports: int, seed: int
) -> tuple[float, int]:
    """Attach codes one after the other, in an order of chance, and export meanwhile.

    At every moment the attached codes are the first so many of that order. Returns how much memory
    the exports took, in megabytes, and how many codes were attached.
    """
    names = [f"X{number}" for number in range(count)]
    program = service.program(names)
    database = service.database()
    (profile,) = service.profiles(database, 1)
    order = names.copy()
    random.Random(seed).shuffle(order)
    places = {name: place for place, name in enumerate(order)}
    over, begun = Event(), Event()
    sent, done = [0], [0]

    def change() -> None:
        with Gate(service, 1) as gate:
            for name in order:
                if over.is_set():
                    return
                sent[0] += 1
                (answer,) = gate.release([attach(program, database, profile, name)])
                assert answer.is_success, answer
                done[0] += 1
                begun.set()

    before = resident_mb(service)
    with ThreadPoolExecutor(1) as thread:
        changing = thread.submit(change)
        try:
            begun.wait(60)
            for _ in range(exports):
                at_least = done[0]
                answer = service.call("promocodes/export_all", {"loyalty_id": program})
                check_moment(answer.json["data"], places, at_least, sent[0])
            growth_mb = resident_mb(service) - before
        finally:
            over.set()
            changing.result()
    assert done[0] < count, "everything was attached before the exports were over"
    return growth_mb, done[0]


def check_moment(
    exported: Sequence[dict[str, Any]], places: dict[str, int], at_least: int, at_most: int
) -> None:
    """Hold an export to what was there at one moment between its beginning and its end."""
    demand([code["code"] for code in exported] == in_creation_order(places), "codes differ")
    attached = sorted(places[code["code"]] for code in exported if "attached" in code)
    demand(attached == list(range(len(attached))), "no moment had these attached:", attached[-9:])
    demand(at_least <= len(attached) <= at_most, len(attached), "not in", at_least, at_most)


def in_creation_order(names: Iterable[str]) -> list[str]:
    """Return the codes in the order of their creation."""
    return sorted(names, key=lambda name: int(name[1:]))
