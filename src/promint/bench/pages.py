"""Measures the pages of searches in a large program, from the first to the last.

Between two pages that are timed lies a stretch that is not, so that a thousand pages of a usual
size are spread over all codes that match. Everything that comes is counted.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from statistics import median

from promint.bench import numbering, preparing
from promint.bench.preparing import DAY_US
from promint.bench.report import PagesResult
from promint.bench.run import Run
from promint.bootstrap import make_means, make_store, utc_now
from promint.config import read_settings
from promint.domain.model import Batch, BatchKind, BatchState, CodeState, LoyaltyProgram
from promint.service.searching import Search
from promint.service.transactions import in_transaction
from promint.store import Store, Transaction
from promint.store.searching import CodeFilter, Span

PAGE_CODES = 100
PAGES = 1_000
P99_MS_MAX = 50.0
BATCHES = 100
"""One a day; a bench has more codes than batches."""
AGE_US = BATCHES * DAY_US
MINUTE_US = 60_000_000
PROGRAM = "pages"
PREFIX = 0x7F
"""Of the nine hexadecimal digits of a key the first two: a 256th of the codes."""


def measure_pages(run: Run, codes: int) -> None:
    """Page through every kind of search in a program of so many codes."""
    with run.prepared() as prepared:
        loyalty_id = preparing.new_program(prepared, PROGRAM)
        batches = asyncio.run(_insert_batches(run.url, loyalty_id, codes))
        preparing.add_mixed(prepared, PROGRAM, codes, batches, run.note)
        run.note("settling")
        preparing.settle(prepared)
        run.report.pages = asyncio.run(_measure(run, loyalty_id, codes, batches))


@asynccontextmanager
async def _opened(url: str) -> AsyncIterator[Store]:
    store = make_store(read_settings(database_url=url))
    try:
        await store.open()
        yield store
    finally:
        await store.close()


async def _insert_batches(url: str, loyalty_id: int, codes: int) -> list[Batch]:
    """Make the batches of codes 1 to `codes`, one after another over a hundred days."""
    began_at = utc_now() - AGE_US
    wanted = []
    for number in range(BATCHES):
        created_at = began_at + AGE_US * number // BATCHES
        first, end = codes * number // BATCHES + 1, codes * (number + 1) // BATCHES + 1
        wanted.append(
            Batch(
                0,
                loyalty_id,
                BatchKind.IMPORT,
                BatchState.DONE,
                created_at=created_at,
                finished_at=created_at + MINUTE_US,
                total=end - first,
                inserted=end - first,
                first_seq=first,
                last_seq=end - 1,
            )
        )

    async def insert(transaction: Transaction) -> list[Batch]:
        return [await transaction.insert_batch(batch) for batch in wanted]

    async with _opened(url) as store:
        return await in_transaction(store, insert)


def _searches(batches: list[Batch], codes: int) -> Iterator[tuple[str, CodeFilter, int]]:
    """Yield the name of each search, its filter, and how many codes match."""
    # The state follows from the number of a code: see `preparing.add_mixed`.
    of_rest = [(codes - rest) // 4 + (rest > 0) for rest in range(4)]
    yield "all", CodeFilter(), codes
    yield "free", CodeFilter(state=CodeState.FREE), of_rest[0]
    yield "attached", CodeFilter(state=CodeState.ATTACHED), of_rest[1]
    yield "activated", CodeFilter(state=CodeState.ACTIVATED), of_rest[2]
    yield "expired", CodeFilter(state=CodeState.EXPIRED), of_rest[3]
    begun = f"{PREFIX:02X}"
    matching = sum(numbering.code(n).startswith(begun) for n in range(1, codes + 1))
    yield f"prefix {begun}", CodeFilter(prefix=begun), matching
    batch = batches[50]
    yield "one batch", CodeFilter(batch_id=batch.id), batch.inserted
    later = batches[50:60]
    span = Span(later[0].created_at, later[-1].created_at + 1)
    yield "created in ten days", CodeFilter(created=span), sum(one.inserted for one in later)


async def _measure(
    run: Run, loyalty_id: int, codes: int, batches: list[Batch]
) -> list[PagesResult]:
    results = []
    async with _opened(run.url) as store:
        program = await store.program(loyalty_id)
        assert program is not None
        search = Search(make_means(store))
        for name, wanted, matching in _searches(batches, codes):
            run.note(f"paging: {name}")
            results.append(await _paged(search, program, name, wanted, matching))
    return results


async def _paged(
    search: Search, program: LoyaltyProgram, name: str, wanted: CodeFilter, matching: int
) -> PagesResult:
    """Go from the first page to the last; time one, pass over some, and so on."""
    passed_over = max(0, matching // PAGES - PAGE_CODES)
    seen = 0
    after: str | None = None
    times_ms: list[float] = []
    while not times_ms or after is not None:
        started = time.perf_counter()
        page = await search.page(program, wanted, after=after, most=PAGE_CODES)
        times_ms.append((time.perf_counter() - started) * 1000)
        seen += len(page.codes)
        after = page.next
        if passed_over and after is not None:
            page = await search.page(program, wanted, after=after, most=passed_over)
            seen += len(page.codes)
            after = page.next
    times_ms.sort()
    p99_ms = times_ms[len(times_ms) * 99 // 100]
    return PagesResult(
        name=name,
        codes=matching,
        pages=len(times_ms),
        p50_ms=median(times_ms),
        p99_ms=p99_ms,
        max_ms=times_ms[-1],
        p99_ms_max=P99_MS_MAX,
        is_reached=p99_ms < P99_MS_MAX,
        failed=abs(seen - matching),
    )
