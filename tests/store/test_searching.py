"""Looking for codes: every page and walk finds exactly what a look at each code finds."""

import asyncio
import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import apsw
import asyncpg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from promint.bootstrap import is_sqlite, sqlite_path
from promint.domain import codetext
from promint.domain.errors import BadValue
from promint.domain.model import (
    Batch,
    BatchKind,
    BatchState,
    CodeState,
    Event,
    EventKind,
    Holder,
    LoyaltyProgram,
    PromoCode,
)
from promint.store import search_steps, sql
from promint.store.postgres.searching import BY_INDEX
from promint.store.search_sql import POSTGRES, SQLITE, Query
from promint.store.searching import CodeFilter, CodePage, Span
from promint.store.sqlite.searching import _named
from tests.conftest import STORES, Stores
from tests.world import DAY, HOUR, NOON, SECOND, World

ANN, BOB = Holder(1, "0" * 23 + "a"), Holder(1, "0" * 23 + "b")


def execute(world: World, statement: str, rows: list[Any]) -> None:
    """Write rows past the rules, as no use case could make them."""
    url = world.settings.database_url
    if is_sqlite(url):
        with apsw.Connection(sqlite_path(url)) as connection:
            connection.set_busy_timeout(5_000)
            connection.executemany(statement, rows)
        return

    async def work() -> None:
        connection = await asyncpg.connect(url)
        await connection.executemany(statement, rows)
        await connection.close()

    asyncio.run(work())


def insert_codes(world: World, codes: list[PromoCode]) -> None:
    execute(world, sql.INSERT_CODE, codes)
    attached = [
        (c.shard_key, c.code_key, c.database_id, c.profile_id, c.attached_at, 0)
        for c in codes
        if c.attach_count
    ]
    execute(world, sql.INSERT_ATTACHMENT, attached)


def code_of(program: LoyaltyProgram, text: str, seq: int, **more: Any) -> PromoCode:
    key = codetext.canonical(text, program.code_matching)
    shard = codetext.shard_key(program.id, key, program.buckets)
    return PromoCode(shard, key, text, seq, **{"created_at": NOON, **more})


def held(holder: Holder, at: int, **more: Any) -> dict[str, Any]:
    return {
        "attached_at": at,
        "attach_count": 1,
        "database_id": holder.database_id,
        "profile_id": holder.profile_id,
        **more,
    }


def pages(
    world: World, program: LoyaltyProgram, wanted: CodeFilter, most: int
) -> Iterator[CodePage]:
    after = None
    while True:
        page = world.run(
            world.store.searching.page(program, wanted, now=world.now, after=after, most=most)
        )
        yield page
        after = page.next
        if after is None:
            return


def searched(
    world: World, program: LoyaltyProgram, wanted: CodeFilter, most: int = 50
) -> list[str]:
    return [code.code for page in pages(world, program, wanted, most) for code in page.codes]


def walked(world: World, program: LoyaltyProgram, wanted: CodeFilter) -> list[PromoCode]:
    async def collect() -> list[PromoCode]:
        walk = world.store.searching.walk(program, wanted, now=world.now)
        return [code async for chunk in walk for code in chunk]

    return world.run(collect())


def counted(world: World, program: LoyaltyProgram, wanted: CodeFilter, most: int = 1000) -> int:
    return world.run(world.store.searching.count(program, wanted, now=world.now, most=most))


# -- the property --------------------------------------------------------------------------

MOMENTS = st.sampled_from([NOON + n * HOUR for n in range(-3, 4)])
TEXTS = st.text(st.sampled_from("abAB-\u0430\U0010ffff\ud7ff\ue000"), min_size=1, max_size=4)
HOLDERS = st.sampled_from([ANN, BOB])


@st.composite
def lives(draw: st.DrawFn) -> dict[str, Any]:
    """A code's dates and holder, as the constraints allow them."""
    life: dict[str, Any] = {"expires_at": draw(st.none() | MOMENTS)}
    life["batch_id"] = draw(st.sampled_from([None, 1, 2]))
    if draw(st.booleans()):
        life |= held(draw(HOLDERS), draw(MOMENTS))
        if draw(st.booleans()):
            life |= {"activated_at": draw(MOMENTS), "activation_count": 1}
    return life


SPANS = st.builds(Span, st.none() | MOMENTS, st.none() | MOMENTS)
FILTERS = st.builds(
    CodeFilter,
    state=st.none() | st.sampled_from(list(CodeState)),
    prefix=st.just("") | TEXTS,
    batch_id=st.none() | st.sampled_from([1, 2, 3, 4]),
    holder=st.none() | HOLDERS,
    codes=st.just(frozenset()) | st.frozensets(TEXTS, max_size=4),
    created=st.just(Span()) | SPANS,
    attached=st.just(Span()) | SPANS,
    activated=st.just(Span()) | SPANS,
    expires=st.just(Span()) | SPANS,
)
ONE_THING = st.sampled_from(
    [
        "state", "prefix", "batch_id", "holder", "codes", "created", "attached", "activated",
        "expires",
    ]
)  # fmt: skip


@st.composite
def filters(draw: st.DrawFn) -> CodeFilter:
    """Few things at once: most filters of many match nothing."""
    drawn = draw(FILTERS)
    kept = draw(st.sets(ONE_THING, max_size=2))
    return replace(CodeFilter(), **{name: getattr(drawn, name) for name in kept})


def is_in(moment: int | None, span: Span) -> bool:
    if not span:
        return True
    return (
        moment is not None
        and (span.first is None or moment >= span.first)
        and (span.end is None or moment < span.end)
    )


def is_wanted(
    program: LoyaltyProgram, code: PromoCode, wanted: CodeFilter, changed: set[str], now: int
) -> bool:
    prefix = codetext.canonical(wanted.prefix, program.code_matching)
    holder = Holder(code.database_id or 0, code.profile_id or "")
    return (
        (wanted.state is None or code.state(now) is wanted.state)
        and code.code_key.startswith(prefix)
        and (wanted.holder is None or wanted.holder == holder)
        and (not wanted.codes or code.code_key in wanted.codes)
        and (
            wanted.batch_id is None
            or (wanted.batch_id < 3 and wanted.batch_id == code.batch_id)
            or (wanted.batch_id == 3 and code.code_key in changed)
        )
        and is_in(code.created_at, wanted.created)
        and is_in(code.attached_at, wanted.attached)
        and is_in(code.activated_at, wanted.activated)
        and is_in(code.expires_at, wanted.expires)
    )


class Searched:
    """A store of which each example takes a new program, and the batches that all share."""

    def __init__(self, world: World) -> None:
        self.world = world

    def program(self, buckets: int) -> LoyaltyProgram:
        return self.world.program(buckets=buckets)

    def batches(self, program: LoyaltyProgram) -> dict[int, int]:
        """Make two imports, a bulk change, and one of another program; return their ids, 1 to 4."""
        kinds = [BatchKind.IMPORT, BatchKind.GENERATE, BatchKind.EXPIRE]

        async def work() -> dict[int, int]:
            async with self.world.store.transaction() as transaction:
                made = [
                    await transaction.insert_batch(
                        Batch(0, program.id, kind, BatchState.DONE, first_seq=0, last_seq=99)
                    )
                    for kind in kinds
                ]
                other = Batch(0, program.id + 1, BatchKind.IMPORT)
                made.append(await transaction.insert_batch(other))
            return {number: batch.id for number, batch in enumerate(made, 1)}

        return self.world.run(work())


@pytest.fixture(scope="module", params=STORES)
def searched_store(request: pytest.FixtureRequest, stores: Stores) -> Iterator[Searched]:
    world = World(stores.new(request.param))
    yield Searched(world)
    world.close()


@settings(
    max_examples=int(os.environ.get("PROMINT_TEST_EXAMPLES", "60")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)
@given(
    data=st.data(),
    texts=st.lists(TEXTS, max_size=14),
    buckets=st.sampled_from([1, 2, 8]),
    most=st.integers(1, 5),
    looked_at=st.integers(1, 6),
)
def test_pages_walk_and_count_find_what_a_look_at_every_code_finds(
    searched_store: Searched,
    data: st.DataObject,
    texts: list[str],
    buckets: int,
    most: int,
    looked_at: int,
) -> None:
    world = searched_store.world
    program = searched_store.program(buckets)
    batches = searched_store.batches(program)
    codes: dict[tuple[int, str], PromoCode] = {}
    for seq, text in enumerate(texts):
        created_at = NOON - 3 * HOUR + seq * HOUR // 2
        life = data.draw(lives())
        code = code_of(program, text, seq * 3, created_at=created_at, **life)
        if code.batch_id is not None:
            code = code._replace(batch_id=batches[code.batch_id])
        codes.setdefault((code.shard_key, code.code_key), code)
    insert_codes(world, list(codes.values()))
    changed = [code for code in codes.values() if code.seq % 2]
    execute(
        world,
        "INSERT INTO batch_change (shard_key, batch_id, code_key, before, version_after) "
        "VALUES ($1, $2, $3, $4, $5)",
        [(code.shard_key, batches[3], code.code_key, "{}", 2) for code in changed],
    )
    names = {number: batch_id for batch_id, number in batches.items()}
    drawn = data.draw(filters())
    wanted = replace(drawn, batch_id=batches.get(drawn.batch_id or 0))
    expected = [
        code
        for code in sorted(codes.values(), key=lambda code: code.seq)
        if is_wanted(
            program,
            code._replace(batch_id=names.get(code.batch_id or 0)),
            drawn,
            {code.code_key for code in changed},
            world.now,
        )
    ]

    limits = pytest.MonkeyPatch()
    limits.setattr(search_steps, "LOOKED_AT_MAX", looked_at)
    limits.setattr(search_steps, "SINGLE_CODES_MAX", looked_at)
    limits.setattr(search_steps, "WINDOWS", 1)
    try:
        found = [code for page in pages(world, program, wanted, most) for code in page.codes]
    finally:
        limits.undo()

    assert sorted(found, key=lambda code: code.seq) == expected
    assert walked(world, program, wanted) == expected
    assert counted(world, program, wanted) == len(expected)


# -- every page is found by an index -------------------------------------------------------

EACH_WAY = {
    "by creation": CodeFilter(),
    "created": CodeFilter(created=Span(NOON - DAY, NOON)),
    "prefix": CodeFilter(prefix="a"),
    "import": CodeFilter(batch_id=1),
    "bulk change": CodeFilter(batch_id=3),
    "holder": CodeFilter(holder=ANN),
    "single codes": CodeFilter(codes=frozenset({"a", "b"})),
    "attached": CodeFilter(state=CodeState.ATTACHED),
    "activated": CodeFilter(activated=Span(NOON)),
    "free": CodeFilter(state=CodeState.FREE),
    "expired": CodeFilter(state=CodeState.EXPIRED),
    "expires": CodeFilter(expires=Span(NOON, NOON + DAY)),
    "free of a batch": CodeFilter(state=CodeState.FREE, batch_id=1),
    "held and changed": CodeFilter(batch_id=3, holder=ANN),
}
CHANGED = "INSERT INTO batch_change VALUES ($1, $2, $3, $4, $5)"


def filled(world: World, program: LoyaltyProgram, *, count: int) -> None:
    codes = [
        code_of(
            program,
            f"a{seq}",
            seq,
            batch_id=1,
            **(held(ANN, NOON + seq) if seq % 3 == 0 else {}),
        )
        for seq in range(count)
    ]
    insert_codes(world, codes)
    execute(world, CHANGED, [(c.shard_key, 3, c.code_key, "{}", 2) for c in codes[::5]])


def queries_of(world: World, search: search_steps.Steps[Any]) -> list[Query]:
    """Run a search on the store, and return the queries that it made."""
    made: list[Query] = []

    def recorded() -> search_steps.Steps[Any]:
        rows: Any = None
        while True:
            try:
                query = search.send(rows)
            except StopIteration as end:
                return end.value
            made.append(query)
            rows = yield query

    world.run(world.store.searching._run(recorded()))  # type: ignore[attr-defined]
    return made


def sqlite_plan(world: World, query: Query) -> list[str]:
    with apsw.Connection(sqlite_path(world.settings.database_url)) as connection:
        explained = list(connection.execute(f"EXPLAIN QUERY PLAN {query.text}", _named(query)))
    return [row[3] for row in explained]


def postgres_plan(world: World, query: Query) -> list[str]:
    async def work() -> list[str]:
        connection = await asyncpg.connect(world.settings.database_url)
        async with connection.transaction():
            await connection.execute(BY_INDEX)
            rows = await connection.fetch(f"EXPLAIN (COSTS off) {query.text}", *query.values)
        await connection.close()
        return [row[0].strip(" ->") for row in rows]

    return world.run(work())


def unbounded(plan: list[str], *, may_sort: bool) -> list[str]:
    """Return the steps of a plan that look at more rows than are asked for."""
    # What SQLite calls a co-routine is a part of the statement that has steps of its own.
    inner = [step.split()[1] for step in plan if step.startswith(("CO-ROUTINE", "MATERIALIZE"))]
    bad = []
    for step in plan:
        words = step.split()
        if words[0] == "SCAN" and words[1] in inner:
            inner.remove(words[1])
        elif words[0] == "SCAN" and words[1] not in ("json_each", "halved", "s", "CONSTANT"):
            bad.append(step)
        elif "TEMP B-TREE" in step or words[0] in ("Sort", "Incremental"):
            bad += [] if may_sort else [step]
        elif words[0] in ("Seq", "Bitmap", "Hash", "Merge", "Parallel", "Gather", "Materialize"):
            bad.append(step)
    return bad


@pytest.mark.parametrize("count", [0, 1_000])
@pytest.mark.parametrize("is_analyzed", [False, True])
@pytest.mark.parametrize("buckets", [1, 8])
def test_every_query_of_a_page_walks_an_index(
    world: World, buckets: int, count: int, *, is_analyzed: bool
) -> None:
    """Also on tables that the planner knows nothing about."""
    program = world.program(buckets=buckets)
    Searched(world).batches(program)
    filled(world, program, count=count)
    if is_analyzed:
        execute(world, "ANALYZE", [()])
    on_sqlite = is_sqlite(world.settings.database_url)
    dialect, plan = (SQLITE, sqlite_plan) if on_sqlite else (POSTGRES, postgres_plan)

    for name, wanted in EACH_WAY.items():
        search = search_steps.page(dialect, program, wanted, now=world.now, after=None, most=1_500)
        for query in queries_of(world, search):
            if " FROM batch" in query.text and "promo_code" not in query.text:
                continue  # The batches of a program are few.
            # A window of the creation sequence is sorted over the shards, and so is a wallet.
            may_sort = "ORDER BY p.seq DESC LIMIT" in query.text and "s CROSS" in query.text
            may_sort |= "FROM attachment p" in query.text
            steps = plan(world, query)
            assert not unbounded(steps, may_sort=may_sort), (name, query.text, steps)


# -- order and cursors ---------------------------------------------------------------------


@pytest.mark.parametrize("buckets", [1, 4])
def test_the_newest_codes_come_first(world: World, buckets: int) -> None:
    program = world.program(buckets=buckets)
    insert_codes(world, [code_of(program, f"C{seq}", seq) for seq in range(9)])

    assert searched(world, program, CodeFilter(), 4) == [f"C{seq}" for seq in range(8, -1, -1)]


def test_free_codes_come_by_expiry_and_held_ones_by_attachment(world: World) -> None:
    program = world.program()
    insert_codes(
        world,
        [
            code_of(program, "never", 0),
            code_of(program, "late", 1, expires_at=NOON + DAY),
            code_of(program, "soon", 2, expires_at=NOON + HOUR),
            code_of(program, "first", 3, **held(ANN, NOON - DAY)),
            code_of(program, "last", 4, **held(BOB, NOON - HOUR)),
        ],
    )

    assert searched(world, program, CodeFilter(state=CodeState.FREE), 2) == [
        "soon", "late", "never",
    ]  # fmt: skip
    assert searched(world, program, CodeFilter(state=CodeState.ATTACHED), 1) == ["last", "first"]


def test_a_code_of_an_import_that_took_hours_is_found_by_its_date(world: World) -> None:
    """Its codes have the date on which it began, and sequence numbers of when they went in."""
    program = world.program()
    began, ended = NOON - 5 * HOUR, NOON

    async def work() -> int:
        async with world.store.transaction() as transaction:
            batch = Batch(
                0,
                program.id,
                BatchKind.IMPORT,
                BatchState.DONE,
                created_at=began,
                finished_at=ended,
            )
            return (await transaction.insert_batch(batch)).id

    batch_id = world.run(work())
    insert_codes(
        world,
        [
            code_of(program, f"C{n}", n, created_at=began + n * HOUR // 4)
            if n % 2
            else code_of(program, f"C{n}", n, created_at=began, batch_id=batch_id)
            for n in range(20)
        ],
    )

    found = searched(world, program, CodeFilter(created=Span(began, began + SECOND)))

    assert found == [f"C{n}" for n in range(18, -1, -2)]


def test_a_page_looks_at_no_more_than_its_bound_and_the_next_goes_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_steps, "LOOKED_AT_MAX", 10)
    program = world.program()
    insert_codes(world, [code_of(program, f"C{seq}", seq, batch_id=1) for seq in range(25)])
    insert_codes(world, [code_of(program, "old", 99, activated_at=None, expires_at=NOON - 1)])

    found = list(pages(world, program, CodeFilter(expires=Span(NOON - 2, NOON)), 5))
    through = list(pages(world, program, CodeFilter(prefix="c", state=CodeState.EXPIRED), 5))

    assert [len(page.codes) for page in found] == [1]
    assert [len(page.codes) for page in through] == [0, 0, 0]


def test_what_changes_between_pages_hides_nothing_else(world: World) -> None:
    program = world.program()
    insert_codes(world, [code_of(program, f"C{seq}", seq) for seq in range(0, 20, 2)])
    first = world.run(
        world.store.searching.page(program, CodeFilter(), now=NOON, after=None, most=4)
    )
    insert_codes(world, [code_of(program, "new", 99), code_of(program, "between", 9)])
    execute(world, "DELETE FROM promo_code WHERE code = $1", [("C12",)])

    rest = world.run(
        world.store.searching.page(program, CodeFilter(), now=NOON, after=first.next, most=99)
    )

    assert [code.code for code in first.codes] == ["C18", "C16", "C14", "C12"]
    assert [code.code for code in rest.codes] == ["C10", "between", "C8", "C6", "C4", "C2", "C0"]


GARBAGE = ["", "x", "é", "====", "e30", "W10", "WyJ4Il0", "bnVsbA", "A" * 10_000, "W" * 9_999]


def test_a_cursor_that_is_none_is_refused(world: World) -> None:
    program = world.program()
    for after in GARBAGE:
        for search in (
            world.store.searching.page(program, CodeFilter(), now=NOON, after=after, most=5),
            world.store.searching.wallet(ANN, programs=None, after=after, most=5),
            world.store.searching.events(program, after=after, most=5),
        ):
            with pytest.raises(BadValue) as refused:
                world.run(search)
            assert refused.value.where == "after"


def test_a_cursor_of_another_search_is_refused(world: World) -> None:
    program, other = world.program(), world.program()
    for one in (program, other):
        insert_codes(world, [code_of(one, f"C{seq}", seq) for seq in range(5)])
    wanted = CodeFilter(prefix="c")
    page = world.run(world.store.searching.page(program, wanted, now=NOON, after=None, most=2))

    for one, another in (
        (other, wanted),
        (program, CodeFilter()),
        (program, replace(wanted, prefix="d")),
    ):
        search = world.store.searching.page(one, another, now=NOON, after=page.next, most=2)
        with pytest.raises(BadValue, match="another search"):
            world.run(search)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    position=st.lists(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False),
            lambda inner: st.lists(inner, max_size=3),
        ),
        max_size=4,
    ),
    wanted=FILTERS,
    buckets=st.sampled_from([1, 8]),
)
def test_a_forged_cursor_is_refused_or_goes_somewhere(
    searched_store: Searched, position: list[Any], wanted: CodeFilter, buckets: int
) -> None:
    world = searched_store.world
    program = LoyaltyProgram(77, "nothing in it", buckets=buckets)
    after = search_steps._cursor(search_steps._filter_digest(program, wanted), *position)

    try:
        page = world.run(world.store.searching.page(program, wanted, now=NOON, after=after, most=3))
    except BadValue:
        return
    assert page == CodePage([], None)


# -- wallets -------------------------------------------------------------------------------


def in_wallet(world: World, holder: Holder, most: int, programs: Any = None) -> list[str]:
    after, found = None, []
    while True:
        search = world.store.searching.wallet(holder, programs=programs, after=after, most=most)
        page = world.run(search)
        found += [f"{held.code.loyalty_id}:{held.code.code}" for held in page.codes]
        after = page.next
        if after is None:
            return found


def test_a_wallet_holds_the_codes_of_all_programs_the_latest_first(world: World) -> None:
    one, two = world.program(), world.program(buckets=4)
    insert_codes(
        world,
        [
            *(code_of(one, f"A{n}", n, **held(ANN, NOON + n // 2)) for n in range(4)),
            *(code_of(two, f"B{n}", n, **held(ANN, NOON + n * 2)) for n in range(3)),
            code_of(two, "bob's", 9, **held(BOB, NOON)),
            code_of(two, "free", 8),
        ],
    )

    everything = in_wallet(world, ANN, 100)

    assert everything[:2] == ["2:B2", "2:B1"]
    assert sorted(everything) == ["1:A0", "1:A1", "1:A2", "1:A3", "2:B0", "2:B1", "2:B2"]
    for most in (1, 2, 3):
        assert in_wallet(world, ANN, most) == everything
    assert in_wallet(world, ANN, 2, programs={2}) == ["2:B2", "2:B1", "2:B0"]
    assert in_wallet(world, ANN, 2, programs=set()) == []


def test_a_wallet_says_since_when_its_own_profile_has_a_code_of_many(world: World) -> None:
    program = world.program(multiple_usage=True)
    world.import_codes(program, "SHARED")
    database = world.database()
    ann, bob = world.profile(database, "ann@e.x"), world.profile(database, "bob@e.x")
    world.attach(program, ann, "SHARED")
    world.now += HOUR
    world.attach(program, bob, "SHARED")

    page = world.run(world.store.searching.wallet(ann, programs=None, after=None, most=5))

    assert [(held.code.code, held.attached_at) for held in page.codes] == [("SHARED", NOON)]
    assert searched(world, program, CodeFilter(holder=ann)) == ["SHARED"]
    assert searched(world, program, CodeFilter(holder=bob)) == ["SHARED"]


# -- events --------------------------------------------------------------------------------


@pytest.mark.parametrize("buckets", [1, 4, 64])
@pytest.mark.parametrize("most", [1, 3, 50])
def test_events_come_latest_first_however_they_are_spread(
    world: World, buckets: int, most: int
) -> None:
    program = world.program(buckets=buckets)
    made = [
        Event(
            program.first_shard + (0 if n % 3 else n % buckets),
            n.to_bytes(12, "big"),
            EventKind.IMPORTED,
            NOON + n,
            0,
            "test",
        )
        for n in range(1, 60)
    ]
    execute(world, sql.INSERT_EVENT, made)

    found: list[Event] = []
    after = None
    while True:
        search = world.store.searching.events(program, after=after, most=most)
        events, after = world.run(search)
        assert len(events) <= most
        found += events
        if after is None:
            break

    expected = list(reversed(made))
    assert [event.event_id for event in found if event.request_id == "test"] == [
        event.event_id for event in expected
    ]
