"""Every change is on record: rows and events say the same, worked out by code of its own."""

from functools import partial

from promint.ledger import Report, check
from tests.conftest import Stores
from tests.promises.conftest import PROCESSES
from tests.promises.proof import Proof, control, promise
from tests.races import racing
from tests.races.builds import build_with
from tests.races.ledger import demand
from tests.running import Running

everything = partial(racing.race_of_everything, racers=8, waves=2)


def on_record(url: str) -> Report:
    """Check the whole store, with all that went before in it."""
    report = check(url)
    demand(report.is_right, report.line(), *report.findings[:5])
    demand(report.changes == report.recorded, report.line())
    demand(report.nameless == 0, report.line())
    return report


@promise(21)
def test_rows_and_events_of_all_that_went_before_say_the_same(
    service: Running, proof: Proof
) -> None:
    for seed in proof.rounds(quick=1, night=3, release=10):
        racing.race_with_deletions(service, customers=20)
        for multiple_usage in (False, True):
            everything(service, codes=100, seed=seed, multiple_usage=multiple_usage)
        proof.trials(on_record(service.url).changes, "changes")


@control(21, fault="events_after_commit")
def test_the_check_finds_a_build_that_writes_events_after_the_commit(
    stores: Stores, kind: str, proof: Proof
) -> None:
    def killed(_: int) -> None:
        url = stores.new(kind)
        with build_with("events_after_commit", url, PROCESSES[kind]) as late:
            program = late.program(["A"])
            database = late.database()
            (profile,) = late.profiles(database, 1)
            wanted = {"loyalty_id": program, "db_id": database, "profile_id": profile}
            answer = late.call("promocodes/attach", {**wanted, "code": "A"})
            assert answer.status == 200, answer
            for place in range(PROCESSES[kind]):
                late.kill(place)
        on_record(url)

    proof.control(killed)
