"""What a caller was told stays true when everything is lost that was not synced to the disk."""

import random

from tests.conftest import Stores
from tests.promises.faults.power import cut_power
from tests.promises.proof import Proof, control, promise
from tests.races.builds import build_with
from tests.races.customers import Crowd
from tests.races.ledger import SQLITE, demand, rows
from tests.running import Running

FAULTS = "tests.promises.faults.power"


@promise(4, store="sqlite")
def test_every_answer_stays_true_through_power_cuts(stores: Stores, proof: Proof) -> None:
    cuts = proof.size(quick=5, night=10)
    for seed in proof.rounds(quick=1, night=2, release=15):
        cut_again_and_again(stores.new("sqlite"), seed, cuts, f"{FAULTS}:power_can_be_cut")
        proof.trials(cuts, "power cuts")


@control(4, fault="synced_now_and_then", store="sqlite")
def test_power_cuts_find_a_build_that_does_not_sync_each_commit(
    stores: Stores, proof: Proof
) -> None:
    def attempt(seed: int) -> None:
        cut_again_and_again(stores.new("sqlite"), seed, 3, f"{FAULTS}:synced_now_and_then")

    proof.control(attempt)


def cut_again_and_again(url: str, seed: int, cuts: int, build: str) -> None:
    """Cut the power while everybody works, start on what is left, ask what is true; and again."""
    rng = random.Random(seed)
    with Running(url) as plain:
        crowd = Crowd(plain, seed)
    crowd.service = build_with(build, url)
    crowd.service.token = plain.token
    with crowd.service:
        for _ in range(cuts):
            crowd.storm(until=crowd.kill_service)
            cut_power(url.removeprefix(SQLITE), rng)
            check_whole(url)
            crowd.service.restart()
            crowd.check_keys(crowd.check())
            crowd.repeat()
            crowd.repeat_answered(newest=32)
        crowd.check()


def check_whole(url: str) -> None:
    """Ask SQLite whether the file is whole."""
    found = rows(url, "PRAGMA integrity_check")
    demand(found == [("ok",)], "the database is damaged:", found)
