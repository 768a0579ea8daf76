"""The only place that chooses a store, a clock and chance, and puts everything together."""

import asyncio
import gc
import logging
import os
import secrets
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

from promint import logs
from promint.config import BadSetting, Settings, environment_of, read_settings
from promint.domain.errors import BadValue, OutcomeUnknown, StoreBusy
from promint.domain.guessing import Limits
from promint.domain.ids import IdMaker
from promint.domain.rude import DEFAULT_WORDS, RudeWords
from promint.engine import Engine
from promint.safety import Facts, Finding, findings
from promint.safety.process import process_facts
from promint.service import Service
from promint.service.drawing import CodeSource
from promint.service.forgetting import forget_changes
from promint.service.guessing import Guard
from promint.service.job_processes import JobProcesses
from promint.service.means import Means
from promint.service.stock import Stock
from promint.store import Store, StoreError, Unusable
from promint.store.facts import StoreFacts
from promint.store.postgres import PostgresStore
from promint.store.sqlite import SqliteStore
from promint.web.addresses import ClientNetworks
from promint.web.api import Api
from promint.web.app import App
from promint.web.manage.app import Manage
from promint.web.manage.endpoints import Bounds

log = logging.getLogger(__name__)

FORGET_INTERVAL_S = 60.0
FORGET_PAUSE_S = 0.05
FORGET_MOST = 1_000

JOB_COMMAND = (sys.executable, "-m", "promint")
"""What a job's process runs, with `job run …` behind it."""
DAY_S = 86_400.0
CLOCK_TOLD_NS = 10_000_000_000
"""By how much a clock has to be put back until the log says so."""
WRONG_CODES_DAYS = 30
"""How long a count of wrong codes is kept that nothing was added to."""

SQLITE = "sqlite:///"
POSTGRES = ("postgresql://", "postgres://")


def never_back(wall_ns: Callable[[], int], monotonic_ns: Callable[[], int]) -> Callable[[], int]:
    """Return a clock in UTC microseconds that is the wall clock, but never goes back.

    Where the wall clock is put back, this one goes on at the pace of the monotonic one, until
    the process ends: what has expired stays expired.
    """
    ahead_ns = wall_ns() - monotonic_ns()
    told_ns = 0

    def now() -> int:
        nonlocal ahead_ns, told_ns
        # In this order: a pause between the two makes the difference smaller, never larger.
        wall = wall_ns()
        elapsed = monotonic_ns()
        ahead_ns = max(ahead_ns, wall - elapsed)
        back_ns = ahead_ns + elapsed - wall
        if back_ns > told_ns + CLOCK_TOLD_NS:
            told_ns = back_ns
            log.warning("the clock was put back by %.0f s; a restart follows it", back_ns / 1e9)
        return (ahead_ns + elapsed) // 1000

    return now


utc_now = never_back(lambda: time.time_ns(), time.monotonic_ns)  # noqa: PLW0108  # tests set it
"""Return this moment in UTC microseconds since 1970."""


def new_ids() -> IdMaker:
    """Return a maker of ids for this process."""
    return IdMaker(os.urandom(8))


def os_random(count: int) -> bytes:
    """Return random bytes of the operating system."""
    return os.urandom(count)


def jitter() -> float:
    """Return a random number in [0, 1)."""
    return secrets.randbelow(1 << 20) / (1 << 20)


def is_sqlite(url: str) -> bool:
    """Say whether a store's URL names an SQLite file."""
    return url.startswith(SQLITE)


def sqlite_path(url: str) -> str:
    """Return the file of an SQLite URL; `~` is the home folder."""
    return str(Path(url.removeprefix(SQLITE)).expanduser())


def make_store(settings: Settings, *, is_service: bool = False) -> Store:
    """Return the store that the settings name, not yet open.

    Raises:
        Unusable: the URL is of no store that we know.
    """
    url = settings.database_url
    if is_sqlite(url):
        if not url.removeprefix(SQLITE):
            raise Unusable("The database URL names no file; write sqlite:///FILE.")
        return SqliteStore(sqlite_path(url), is_service=is_service)
    if url.startswith(POSTGRES):
        return PostgresStore(
            url,
            randbelow=secrets.randbelow,
            now=utc_now,
            statement_cache=settings.statement_cache,
        )
    raise Unusable(
        f"{url.split(':', 1)[0]!r} is no store of ours; write sqlite:///FILE or "
        "postgresql://USER@HOST/DATABASE."
    )


async def check_up(settings: Settings) -> list[Finding]:
    """Return what `promint doctor` finds about this process and the store of the settings."""
    store: StoreFacts | str
    try:
        store = await make_store(settings).facts()
    except Unusable as error:
        store = str(error)
    return findings(Facts(process_facts(utc_now(), os.environ), store))


def code_source(settings: Settings) -> CodeSource:
    """Return what makes codes up, with the operator's list of rude words or our own.

    Raises:
        BadSetting: the list cannot be read, or has a word of one letter.
    """
    return CodeSource(os_random, _rude_words(settings.rude_words_file))


@cache
def _rude_words(path: str) -> RudeWords:
    if not path:
        return RudeWords(DEFAULT_WORDS)
    try:
        lines = Path(path).expanduser().read_text("utf-8-sig").splitlines()
        return RudeWords(line for line in map(str.strip, lines) if line and line[0] != "#")
    except (OSError, UnicodeDecodeError, BadValue) as error:
        raise BadSetting(f"PROMINT_RUDE_WORDS_FILE cannot be used: {error}") from error


def wrong_code_limits(settings: Settings) -> Limits:
    """Return how many wrong codes a minute are answered."""
    return Limits(
        settings.wrong_codes_per_token,
        settings.wrong_codes_per_network,
        settings.wrong_codes_per_program,
    )


def client_networks(settings: Settings) -> ClientNetworks:
    """Return what tells where a request comes from.

    Raises:
        BadSetting: a trusted proxy is no address, or the header is of no proxy that we know.
    """
    try:
        return ClientNetworks(settings.trusted_proxies, settings.client_address_header)
    except ValueError as error:
        raise BadSetting(
            f"PROMINT_TRUSTED_PROXIES or PROMINT_CLIENT_ADDRESS_HEADER cannot be used: {error}"
        ) from error


def make_means(store: Store) -> Means:
    """Return what the use cases of a command need: the operator asks."""
    return Means(store, new_ids(), utc_now, os_random)


def make_service(
    store: Store, settings: Settings, ids: IdMaker, *, now: Callable[[], int] = utc_now
) -> tuple[Service, Engine]:
    """Return the use cases over an open store, and the engine that has to be drained."""
    engine = Engine(
        store,
        new_id=ids.new,
        jitter=jitter,
        batch_max=settings.batch_max,
        queue_max=settings.queue_max,
        queue_wait_s=settings.queue_wait_s,
        doubt_timeout_s=settings.doubt_timeout_s,
    )
    service = Service(
        store,
        engine,
        ids=ids,
        codes=code_source(settings),
        guard=Guard(store, ids=ids, now=now, limits=wrong_code_limits(settings)),
        monotonic=time.monotonic,
        cache_s=settings.cache_s,
        idempotency_s=settings.idempotency_hours * 3600,
    )
    return service, engine


def make_job_processes(store: Store, settings: Settings) -> JobProcesses:
    """Return what looks after the jobs in an open store, not yet started."""
    return JobProcesses(
        make_means(store),
        command=JOB_COMMAND,
        environment={**os.environ, **environment_of(settings)},
        monotonic=time.monotonic,
        at_once=settings.jobs_at_once,
        stale_s=settings.job_stale_s,
        stop_s=settings.drain_timeout_s,
        files_s=settings.job_files_days * DAY_S,
    )


def make_app(settings: Settings) -> App:
    """Return the application, its store opened at its start and closed at its stop."""
    store = make_store(settings, is_service=True)
    ids = new_ids()
    service, engine = make_service(store, settings, ids)
    api = Api(
        service,
        now=utc_now,
        ids=ids,
        body_bytes_max=settings.body_bytes_max,
        import_body_bytes_max=settings.import_body_bytes_max,
        import_codes_max=settings.import_codes_max,
        always_200=settings.always_200,
        networks=client_networks(settings),
    )
    manage = Manage(
        service,
        store,
        now=utc_now,
        ids=ids,
        random_bytes=os_random,
        codes=code_source(settings),
        bounds=Bounds(
            settings.body_bytes_max,
            settings.upload_bytes_max,
            settings.idempotency_hours * 3600,
        ),
    )

    jobs = make_job_processes(store, settings)
    tasks: set[asyncio.Task[None]] = set()

    async def start() -> None:
        await store.open()
        tasks.add(asyncio.create_task(_forget_forever(store, settings.batch_undo_days * DAY_S)))
        tasks.add(asyncio.create_task(_watch_stock(store, ids, settings.stock_interval_s)))
        jobs.start()

    async def stop() -> None:
        await jobs.stop()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await engine.drain()
        await store.close()

    return App(api, manage, store, start=start, stop=stop)


async def _forget_forever(store: Store, undo_s: float) -> None:
    """Remove what has had its time, a few rows at once.

    Idempotency keys, what batches did, counts of wrong codes.
    """
    pause_s = FORGET_INTERVAL_S
    while True:
        await asyncio.sleep(pause_s)
        pause_s = FORGET_INTERVAL_S
        try:
            now = utc_now()
            if await store.forget_idempotency(now, FORGET_MOST) == FORGET_MOST:
                pause_s = FORGET_PAUSE_S
            if await forget_changes(store, now, now - int(undo_s * 1e6)):
                pause_s = FORGET_PAUSE_S
            await store.forget_wrong_codes(now - int(WRONG_CODES_DAYS * DAY_S * 1e6))
        except (StoreError, StoreBusy, OutcomeUnknown) as error:
            log.warning("what has had its time stays for now: %s", error)


async def _watch_stock(store: Store, ids: IdMaker, interval_s: float) -> None:
    """Raise an event where free codes fall under `low_stock`, and where they recover."""
    stock = Stock(Means(store, ids, utc_now, os_random, request_id="low-stock"))
    while True:
        await asyncio.sleep(interval_s)
        try:
            await stock.look()
        except (StoreError, StoreBusy, OutcomeUnknown) as error:
            log.warning("the stock of programs is not known for now: %s", error)


def app_of_environment() -> App:
    """Return the application of this process's environment: what each worker starts."""
    logs.configure(logging.INFO, "%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    # An import works in a thread; the loop shall not wait 5 ms for each of its turns.
    sys.setswitchinterval(0.001)
    app = make_app(read_settings())
    # What is loaded by now stays; searching it for garbage every few hundred requests would
    # hold everybody up for milliseconds.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    return app
