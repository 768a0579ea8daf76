"""A code expires at the instant that was set, in every time zone, and nothing else moves it."""

import random
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree
from zoneinfo import ZoneInfo, available_timezones

import pytest

from promint.domain.errors import CodeExpired, PromintError
from promint.domain.model import LoyaltyProgram
from promint.wire.moments import write_moment
from promint.wire.rows import FileFormat
from promint.wire.rows.dates import LocalDates, exact_moment
from tests.conftest import Stores
from tests.promises.proof import Proof, control, promise
from tests.races.ledger import demand
from tests.running import Running
from tests.web.manage.callers import Manager
from tests.world import DAY, HOUR, NOON, SECOND, World

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST, LAST = 2010, 2037
MICROSECOND = timedelta(microseconds=1)

# Half an hour, a midnight that does not exist, a day that does not exist, a month of winter time
# in the middle of summer, changes of a quarter of an hour, offsets of seconds' size.
HARD = (
    "Africa/Cairo", "Africa/Casablanca", "America/Havana", "America/Sao_Paulo", "Antarctica/Troll",
    "Asia/Beirut", "Asia/Gaza", "Asia/Kathmandu", "Australia/Lord_Howe", "Europe/London",
    "Pacific/Apia", "Pacific/Chatham",
)  # fmt: skip


class Clock:
    """The wall clock of a zone, read in one direction only: from UTC to what it shows."""

    def __init__(self, name: str) -> None:
        self._zone = ZoneInfo(name)

    def offset(self, at: datetime) -> timedelta:
        found = at.astimezone(self._zone).utcoffset()
        assert found is not None
        return found

    @cache  # noqa: B019  # as long as the test
    def changes(self) -> list[datetime]:
        """Return the instants at which the clock is put forward or back."""
        start = datetime(FIRST, 1, 1, tzinfo=UTC)
        days = (datetime(LAST, 1, 1, tzinfo=UTC) - start).days
        weeks = [start + timedelta(days=day) for day in range(0, days, 7)]
        return [
            self._between(one, other)
            for one, other in pairwise(weeks)
            if self.offset(one) != self.offset(other)
        ]

    def _between(self, before: datetime, after: datetime) -> datetime:
        while after - before > timedelta(seconds=1):
            middle = before + (after - before) // 2
            if self.offset(middle) == self.offset(before):
                before = middle
            else:
                after = middle
        return after.replace(microsecond=0)

    def instant(self, wall: datetime) -> datetime:
        """Return when it shows this for the first time; if never, counted from before the gap."""
        utc = wall.replace(tzinfo=UTC)
        before, after = (self.offset(utc + timedelta(days=day)) for day in (-1, 1))
        shown = [utc - offset for offset in (before, after) if self.offset(utc - offset) == offset]
        return min(shown) if shown else utc - before


def dates_of(clock: Clock, rng: random.Random, most: int) -> Iterator[tuple[str, datetime]]:
    """Yield dates as files have them, and when they end, around changes and the leap day."""
    changes = clock.changes()
    for change in rng.sample(changes, min(most, len(changes))):
        before = clock.offset(change - timedelta(seconds=1))
        shown = (change + before).replace(tzinfo=None)
        day = shown.date()
        for one in (day - timedelta(days=1), day):
            yield str(one), clock.instant(datetime.combine(one + timedelta(days=1), time()))
        for minutes in (-61, -15, 0, 15, 29, 61):
            wall = shown + timedelta(minutes=minutes)
            yield str(wall), clock.instant(wall)
    for day in (date(2024, 2, 28), date(2024, 2, 29), date(2028, 12, 31)):
        end = clock.instant(datetime.combine(day + timedelta(days=1), time()))
        yield f"{day:%d.%m.%Y}", end
        yield f"{day} 23:59:59", clock.instant(datetime.combine(day, time(23, 59, 59)))


def expire(world: World, zone: str, seed: int, most: int) -> int:
    """Demand of each code of a file that it works until its date, and not from it on."""
    rng = random.Random(f"{seed} {zone}")
    program = world.program(time_zone=zone, multiple_usage=True)
    dates = dict(sorted(dates_of(Clock(zone), rng, most), key=lambda date: date[1]))
    ends = [(end - EPOCH) // MICROSECOND for end in dates.values()]
    lines = [f"C{number},{text}" for number, text in enumerate(dates)]
    world.now = min(ends) - DAY
    report = world.import_file(
        program, "\n".join(["code,expire_date", *lines]).encode(), FileFormat.CSV
    )
    demand(report.rejected == 0, zone, report.samples)
    holder = world.profile(world.database(), "ann@example.com")
    for line, end in zip(lines, ends, strict=True):
        code = line.partition(",")[0]
        world.now = end - 1
        try:
            world.attach(program, holder, code)
            world.activate(program, code)
        except CodeExpired:
            demand(False, zone, line, "had expired before", exact_moment(end))
        world.now = end
        demand(is_expired(world, program, code), zone, line, "still worked at", exact_moment(end))
    return len(ends)


def is_expired(world: World, program: LoyaltyProgram, code: str) -> bool:
    try:
        world.activate(program, code)
    except CodeExpired:
        return True
    return False


@promise(14)
def test_codes_of_a_file_expire_at_their_local_date_around_every_change_of_the_clock(
    stores: Stores, kind: str, proof: Proof
) -> None:
    zones = sorted(available_timezones())
    some, most = proof.size(quick=4, night=len(zones)), proof.size(quick=2, night=8)
    for seed in proof.rounds(quick=1, night=1, release=4):
        rng = random.Random(seed)
        chosen = {*rng.sample(zones, some), *rng.sample(HARD, min(some, len(HARD)))}
        with closing(World(stores.new(kind))) as world:
            for zone in sorted(chosen):
                proof.trials(expire(world, zone, seed, most), "dates")


@control(14, fault="dates without a zone are read in the machine's", store="sqlite")
def test_midnights_of_the_machine_are_found_out(
    stores: Stores, proof: Proof, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = LocalDates.__init__
    monkeypatch.setattr(LocalDates, "__init__", lambda self, _, **how: known(self, "UTC", **how))

    def attempt(seed: int) -> None:
        with closing(World(stores.new("sqlite"))) as world:
            expire(world, "Europe/London", seed, most=4)

    proof.control(attempt)


# -- what does not move it -----------------------------------------------------------------


def change_everything_else(world: World, changes: int, seed: int) -> None:
    """Demand that no change but one of the date itself moves an expiry."""
    rng = random.Random(seed)
    program = world.program(
        multiple_usage=True, default_expire_date=NOON + 500 * DAY, lifetime_s=90 * 86_400
    )
    database = world.database()
    holders = [world.profile(database, f"{number}@example.com") for number in range(3)]
    kept = {
        f"C{number}": NOON + rng.randrange(1, 400) * DAY + rng.randrange(DAY) for number in range(5)
    }
    world.now = NOON
    world.import_codes(program, *kept)
    for code, end in kept.items():
        world.update(program, code, expires_at=end)

    def again(code: str) -> Any:
        return world.import_file(program, f"code,expire_date\n{code},2027-05-05".encode(), CSV)

    deeds: tuple[Any, ...] = (
        lambda code: world.attach(program, rng.choice(holders), code),
        lambda code: world.detach(program, rng.choice(holders), code),
        lambda code: world.activate(program, code),
        lambda code: world.update(program, code, activated=rng.choice((True, False))),
        lambda code: world.import_codes(program, code.lower()),
        again,
        lambda _: world.change(program, time_zone=rng.choice(HARD)),
        lambda _: world.change(program, lifetime_s=rng.choice((None, 60, 10**9))),
        lambda _: world.change(program, default_expire_date=rng.choice((None, NOON + DAY))),
    )
    for _ in range(changes):
        code = rng.choice(list(kept))
        try:
            rng.choice(deeds)(code)
        except PromintError:
            continue
    found = {code.code: code.expires_at for code in world.codes(program)}
    demand(found == kept, found, "should be", kept)


@promise(14)
def test_changes_of_anything_else_never_move_an_expiry(
    stores: Stores, kind: str, proof: Proof
) -> None:
    changes = proof.size(quick=100, night=1_000)
    for seed in proof.rounds(quick=1, night=5):
        with closing(World(stores.new(kind))) as world:
            change_everything_else(world, changes, seed)
        proof.trials(changes, "changes")


@control(14, fault="attaching sets the expiry of every code anew", store="sqlite")
def test_an_attach_that_moves_the_expiry_is_found_out(
    stores: Stores, proof: Proof, monkeypatch: pytest.MonkeyPatch
) -> None:
    from promint.domain import rules

    attach = rules.attach

    def moving(program: Any, code: Any, *rest: Any, **more: Any) -> Any:
        return attach(program, code._replace(expires_at=None), *rest, **more)

    monkeypatch.setattr(rules, "attach", moving)

    def attempt(seed: int) -> None:
        with closing(World(stores.new("sqlite"))) as world:
            change_everything_else(world, 100, seed)

    proof.control(attempt)


# -- what comes back -----------------------------------------------------------------------

CSV = FileFormat.CSV


def travel(world: World, count: int, seed: int) -> None:
    """Demand that instants survive every file, also into a program of another zone."""
    rng = random.Random(seed)
    there = [rng.randrange(0, 4 * 10**15) for _ in range(count)]
    program = world.program(time_zone=rng.choice(HARD))
    rows = (f"C{number},{exact_moment(end)}" for number, end in enumerate(there))
    world.import_file(program, "\n".join(["code,expire_date", *rows]).encode(), CSV)
    for form in (CSV, FileFormat.XLSX, FileFormat.JSONL):
        other = world.program(time_zone=rng.choice(HARD))
        world.import_file(other, world.export_file(program, form), form)
        back = [code.expires_at for code in world.codes(other)]
        demand(back == there, form, "changed an instant")


@promise(14, store="sqlite")
def test_instants_survive_every_file(stores: Stores, proof: Proof) -> None:
    count = proof.size(quick=200, night=1_000)
    for seed in proof.rounds(quick=1, night=5):
        with closing(World(stores.new("sqlite"))) as world:
            travel(world, count, seed)
        proof.trials(3 * count, "dates")


@promise(14)
def test_instants_survive_json_and_xml(service: Running, proof: Proof) -> None:
    program, manager = service.program(["A"]), Manager(service)
    for seed in proof.rounds(quick=30, night=300):
        rng = random.Random(seed)
        end = rng.randrange(2 * 10**9, 4 * 10**9) * SECOND
        minutes = rng.randrange(-14 * 60, 14 * 60)
        wall = write_moment(end + minutes * HOUR // 60).removesuffix("Z")
        sign, (hours, rest) = "-" if minutes < 0 else "+", divmod(abs(minutes), 60)
        sent = f"{wall}{sign}{hours:02}:{rest:02}"
        named = f"<xml><loyalty_id>{program}</loyalty_id><code>A</code>"

        service.xml("promocodes/update", f"{named}<expire_date>{sent}</expire_date></xml>")
        in_json = service.call("promocodes/get", {"loyalty_id": program, "code": "A"})
        text = in_json.json["data"]["expire_date"]
        demand(text == write_moment(end), sent, "became", text)

        again = {"loyalty_id": program, "code": "A", "expire_date": text}
        service.call("promocodes/update", again)
        answer = service.xml("promocodes/get", f"{named}</xml>").body
        found = ElementTree.fromstring(answer).findtext("data/expire_date")  # noqa: S314  # ours
        demand(found == text, text, "became", found)
        shown = manager.ask("GET", f"/programs/{program}/codes/A")["expire_date"]
        demand(shown == text, text, "became", shown)
        proof.trials(3, "dates")
