"""A single-use code works once, however many ask for it at the same moment."""

import pytest

from tests.conftest import Stores
from tests.promises.proof import Proof, control, promise
from tests.races import racing
from tests.races.proxy import Line
from tests.running import Running

RACERS = 8
DELAY_S = 0.005


@promise(1)
def test_each_of_many_codes_is_activated_once(service: Running, proof: Proof) -> None:
    codes = proof.size(quick=2_000, night=10_000)
    for _ in proof.rounds(quick=1, night=1, release=10):
        racing.race_for_single_uses(service, codes, RACERS)
        proof.trials(codes, f"codes, {RACERS} clients each")


@promise(1)
def test_one_of_ten_thousand_requests_on_one_code_succeeds(service: Running, proof: Proof) -> None:
    for _ in proof.rounds(quick=1, night=5, release=50):
        racing.race_for_single_uses(service, codes=1, racers=10_000)
        proof.trials(10_000, "requests")


@promise(1, store="postgres")
def test_each_code_is_activated_once_over_a_slow_line_to_the_database(
    stores: Stores, proof: Proof
) -> None:
    codes = proof.size(quick=100, night=1_000)
    with (
        Line(stores.new("postgres"), DELAY_S) as line,
        Running(line.url, processes=3) as service,
    ):
        for _ in proof.rounds(quick=1, night=1, release=10):
            racing.race_for_single_uses(service, codes, RACERS)
            proof.trials(codes, f"codes, {RACERS} clients each")


@control(1, fault="check_first_write_later")
@pytest.mark.parametrize(
    ("codes", "racers"), [(64, RACERS), (1, 500)], ids=["many codes", "one code"]
)
def test_the_race_finds_a_build_that_checks_first_and_writes_later(
    careless: Running, proof: Proof, codes: int, racers: int
) -> None:
    proof.control(lambda _: racing.race_for_single_uses(careless, codes, racers), runs=20)
