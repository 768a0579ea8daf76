"""The runs: jobs beside their floors, a large program, a million requests."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import apsw
import asyncpg

from promint.bench import pgbench, preparing
from promint.bench.load import Order, Phase
from promint.bench.preparing import PROFILES, Prepared
from promint.bench.processes import (
    BenchFailed,
    Load,
    Serving,
    serving_fixed,
    serving_service,
)
from promint.bench.report import (
    HALF_LOAD_P99_MS_MAX,
    JobResult,
    MemoryResult,
    Report,
    SizeResult,
)
from promint.bench.requests import CODE, PROFILE, Template, body
from promint.bootstrap import is_sqlite, utc_now

Note = Callable[[str], None]

WARM_UP_S_MAX = 1.0
WRITES_OF_FIXED = 0.4
"""No writing job comes near this part of the fixed bytes' rate: so many codes are made."""

GET_CODES = 200_000
SMALL_CODES = 1_000_000
LOOK_UP_TARGET = 0.80
FIRST_BYTE_S_MAX = 1.0
EXPORT_GROWTH_MB_MAX = 100.0
RESIDENT_MB_MAX = 150.0
GROWTH_MB_MAX = 3.0
SAMPLE_INTERVAL_S = 0.05


@dataclass(frozen=True, slots=True)
class Job:
    """One kind of request.

    `program` names the program it works on, whose codes are `held` or free; `uses_up` says
    that each code serves once. `script` is its floor in pgbench, `floor_program` where that
    works. The targets are those of the design's section 9; None is none.
    """

    name: str
    title: str
    path: str
    program: str
    held: bool
    uses_up: bool
    script: str
    floor_program: str
    sqlite_target: float | None
    postgres_target: float | None
    is_keyed: bool = False

    def fields(self, prepared: Prepared) -> dict[str, Any]:
        """Return the body's fields."""
        fields: dict[str, Any] = {"loyalty_id": prepared.programs[self.program]}
        if self.path.endswith("attach"):
            fields |= {
                "db_id": prepared.database_id,
                "matching": "profile_id",
                "profile_id": PROFILE,
            }
        return fields | ({"return_code": True} if self.name == "attach_any" else {"code": CODE})

    def text(self, prepared: Prepared) -> str:
        """Return the request with its places."""
        fields = body(self.fields(prepared))
        return Template(self.path, prepared.token, fields, self.is_keyed).text()


_ACTIVATE, _ATTACH = "promocodes/activate", "promocodes/attach"
JOBS = (
    Job("get", "get", "promocodes/get", "look up", True, False, "get", "look up", 0.60, 0.35),
    Job(
        "activate", "activate", _ACTIVATE, "activate", True, True, "activate", "activate floor",
        0.20, 0.75,
    ),
    Job(
        "activate_keyed", "activate, idempotency key", _ACTIVATE, "activate keyed", True, True,
        "activate", "activate floor", 0.14, 0.60, is_keyed=True,
    ),
    Job(
        "attach_named", "attach a named code", _ATTACH, "attach named", False, True,
        "attach_named", "attach named floor", None, None,
    ),
    Job(
        "attach_any", "attach any free code", _ATTACH, "attach any", False, True, "attach_any",
        "attach any floor", None, 1.0,
    ),
)  # fmt: skip
JOB_NAMES = tuple(job.name for job in JOBS)


@dataclass(slots=True)
class _Measured:
    """What the rounds of one job brought."""

    job: Job
    used: int = 0
    floor_used: int = 0
    phases: list[Phase] = field(default_factory=list)
    half: list[Phase] = field(default_factory=list)
    fixed: list[float] = field(default_factory=list)
    pgbench: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)
    failed: int = 0
    first_failure: str = ""
    resident_mb: float | None = None


class Bench:
    """A bench over one store; everything it makes there is gone when its block is left."""

    def __init__(
        self, url: str, *, connections: int, seconds: float, rounds: int, note: Note
    ) -> None:
        """Take the store and the shape of the run; `note` is told what is being done."""
        self._url = url
        self._is_sqlite = is_sqlite(url)
        self._connections = connections
        self._seconds = seconds
        self._rounds = rounds
        self._note = note
        store = "sqlite" if self._is_sqlite else "postgresql"
        self.report = Report(store, connections, seconds, rounds)

    @contextmanager
    def _prepared(self) -> Iterator[Prepared]:
        prepared = preparing.prepare(self._url, self._note)
        self.report.store_version = _store_version(self._url)
        try:
            yield prepared
        finally:
            self._note("cleaning up")
            preparing.remove(prepared)

    # -- jobs ------------------------------------------------------------------------------

    def measure_jobs(self, names: Sequence[str]) -> None:
        """Measure jobs beside their floors, in turn, and add them to the report.

        Raises:
            BenchFailed: a process could not start, or codes ran out.
        """
        jobs = [job for job in JOBS if job.name in names]
        with_pgbench = not self._is_sqlite and pgbench.is_installed()
        if not self._is_sqlite and not with_pgbench:
            self.report.notes.append(
                "pgbench is not installed, so there is no floor of PostgreSQL to compare with; "
                "`make system` installs it."
            )
        with serving_fixed() as fixed, Load() as load, self._prepared() as prepared:
            self._note("how fast the machine is")
            text = Template(_ACTIVATE, prepared.token, body({"loyalty_id": 1, "code": CODE}))
            warm_up_s = min(WARM_UP_S_MAX, self._seconds)
            probe = load.run(self._order(fixed.port, text.text(), warm_up_s, drawn=1000))
            seconds = warm_up_s + self._rounds * self._seconds * 1.5
            # pgbench runs whole seconds.
            floor_s = max(1.0, warm_up_s) + self._rounds * max(1.0, self._seconds)
            self._fill(
                prepared,
                jobs,
                int(probe.rate * WRITES_OF_FIXED * seconds) + 10_000,
                int(probe.rate * WRITES_OF_FIXED * floor_s) + 10_000 if with_pgbench else 0,
            )
            measured = [_Measured(job) for job in jobs]
            with serving_service(self._url) as service:
                for number in range(self._rounds + 1):
                    for one in measured:
                        is_warm_up = number == 0
                        what = "warming up" if is_warm_up else f"round {number}"
                        self._note(f"{what}: {one.job.title}")
                        length_s = warm_up_s if is_warm_up else self._seconds
                        self._round(prepared, one, service, fixed, load, length_s, with_pgbench)
                        if is_warm_up:
                            one.phases.clear()
                            one.half.clear()
                            one.fixed.clear()
                            one.pgbench.clear()
                            one.cpu_us.clear()
        self.report.jobs = [self._result(one) for one in measured]

    def _fill(self, prepared: Prepared, jobs: Sequence[Job], count: int, floor_count: int) -> None:
        for job in jobs:
            wanted = {job.program: count if job.uses_up else GET_CODES}
            if floor_count:
                wanted.setdefault(job.floor_program, floor_count)
            for name, codes in wanted.items():
                if name not in prepared.programs:
                    preparing.add_program(prepared, name, codes, self._note, held=job.held)
        self._note("settling")
        preparing.settle(prepared)

    def _round(
        self,
        prepared: Prepared,
        one: _Measured,
        service: Serving,
        fixed: Serving,
        load: Load,
        seconds: float,
        with_pgbench: bool,
    ) -> None:
        """Measure floor, job, job at half of its rate, and the other floor, one after another."""
        job = one.job
        text = job.text(prepared)
        floor = load.run(self._order(fixed.port, text, seconds, drawn=100_000))
        one.fixed.append(floor.rate)

        cpu_before = service.cpu_s()
        phase = self._send(prepared, one, service, load, seconds)
        cpu_after = service.cpu_s()
        one.phases.append(phase)
        if cpu_before is not None and cpu_after is not None:
            one.cpu_us.append((cpu_after - cpu_before) / max(phase.sent, 1) * 1e6)

        rate = median(phase.rate for phase in one.phases) / 2
        one.half.append(self._send(prepared, one, service, load, seconds, rate=max(rate, 1.0)))
        one.resident_mb = service.resident_mb()

        if with_pgbench:
            program = job.floor_program
            done = pgbench.run(
                self._url,
                job.script,
                seconds,
                {
                    "codes": prepared.codes[program],
                    "shard": prepared.shard(program),
                    "now": utc_now(),
                    "profiles": PROFILES,
                    "database": prepared.database_id,
                    "first": one.floor_used,
                },
            )
            one.pgbench.append(done.rate)
            one.floor_used += done.numbers

    def _send(
        self,
        prepared: Prepared,
        one: _Measured,
        service: Serving,
        load: Load,
        seconds: float,
        rate: float = 0.0,
    ) -> Phase:
        job = one.job
        codes = prepared.codes[job.program]
        numbers = (
            {"first": one.used + 1, "count": codes - one.used} if job.uses_up else {"drawn": codes}
        )
        if job.uses_up and one.used >= codes:
            raise BenchFailed("The codes ran out before the time. Try --rounds 1.")
        text = job.text(prepared)
        phase = load.run(self._order(service.port, text, seconds, rate=rate, **numbers))
        one.used += phase.sent
        one.failed += phase.failed
        one.first_failure = one.first_failure or phase.first_failure
        return phase

    def _order(
        self, port: int, text: str, seconds: float, *, rate: float = 0.0, **numbers: int
    ) -> Order:
        return Order(
            port=port,
            text=text,
            seconds=seconds,
            connections=self._connections,
            profiles=PROFILES,
            rate=rate,
            **numbers,
        )

    def _result(self, one: _Measured) -> JobResult:
        job = one.job
        rates = [phase.rate for phase in one.phases]
        fixed_ratio = _median_ratio(rates, one.fixed)
        pgbench_ratio = _median_ratio(rates, one.pgbench) if one.pgbench else None
        target = job.sqlite_target if self._is_sqlite else job.postgres_target
        ratio = fixed_ratio if self._is_sqlite else pgbench_ratio
        half_p99_ms = median(phase.p99_ms for phase in one.half)
        return JobResult(
            name=job.name,
            title=job.title,
            rate=median(rates),
            p50_ms=median(phase.p50_ms for phase in one.phases),
            p99_ms=median(phase.p99_ms for phase in one.phases),
            floor="fixed bytes" if self._is_sqlite else "pgbench",
            ratio=ratio,
            target=target,
            is_reached=None if ratio is None or target is None else ratio >= target,
            fixed_rate=median(one.fixed),
            fixed_ratio=fixed_ratio,
            pgbench_rate=median(one.pgbench) if one.pgbench else None,
            pgbench_ratio=pgbench_ratio,
            half_load_rate=median(phase.rate for phase in one.half),
            half_load_p50_ms=median(phase.p50_ms for phase in one.half),
            half_load_p99_ms=half_p99_ms,
            is_half_load_reached=half_p99_ms < HALF_LOAD_P99_MS_MAX,
            cpu_us=median(one.cpu_us) if one.cpu_us else None,
            load_cpu_us=median(phase.load_cpu_us for phase in one.phases),
            failed=one.failed,
            first_failure=one.first_failure,
            rates=rates,
            resident_mb=one.resident_mb,
        )

    # -- size ------------------------------------------------------------------------------

    def measure_size(self, codes: int) -> None:
        """Compare look-ups in a program of `codes` with one of a million, and export it.

        Raises:
            BenchFailed: a process could not start.
        """
        small = min(SMALL_CODES, codes)
        with Load() as load, self._prepared() as prepared:
            started = time.monotonic()
            preparing.add_program(prepared, "large", codes, self._note, held=False)
            load_s = time.monotonic() - started
            preparing.add_program(prepared, "small", small, self._note, held=False)
            self._note("settling")
            preparing.settle(prepared)
            rates: dict[str, list[float]] = {"large": [], "small": []}
            failed = 0
            with serving_service(self._url) as service:
                for number in range(self._rounds + 1):
                    for name, found in rates.items():
                        self._note(f"round {number}: look-ups, {prepared.codes[name]:,} codes")
                        fields = {"loyalty_id": prepared.programs[name], "code": CODE}
                        text = Template("promocodes/get", prepared.token, body(fields)).text()
                        phase = load.run(
                            self._order(
                                service.port, text, self._seconds, drawn=prepared.codes[name]
                            )
                        )
                        failed += phase.failed
                        if number:
                            found.append(phase.rate)
                self._note(f"exporting {codes:,} codes")
                fields = {"loyalty_id": prepared.programs["large"]}
                text = Template("promocodes/export_all", prepared.token, body(fields)).text()
                with _Sampling(service) as samples:
                    export = load.export(service.port, text)
        growth = samples.largest_mb - samples.start_mb if samples.values_mb else None
        ratio = _median_ratio(rates["large"], rates["small"])
        self.report.size = SizeResult(
            codes=codes,
            small_codes=small,
            load_s=load_s,
            rate=median(rates["large"]),
            small_rate=median(rates["small"]),
            ratio=ratio,
            target=LOOK_UP_TARGET,
            is_reached=ratio >= LOOK_UP_TARGET,
            failed=failed + (export.codes != codes),
            export_first_byte_s=export.first_byte_s,
            export_total_s=export.total_s,
            export_codes=export.codes,
            export_bytes=export.size,
            export_growth_mb=growth,
            is_export_reached=export.codes == codes
            and export.first_byte_s < FIRST_BYTE_S_MAX
            and (growth is None or growth < EXPORT_GROWTH_MB_MAX),
        )

    # -- memory ----------------------------------------------------------------------------

    def measure_memory(self, requests: int) -> None:
        """Send this many requests of every kind and watch one worker's resident memory.

        Raises:
            BenchFailed: a process could not start.
        """
        turns = 20
        each = max(1, requests // (turns * len(JOBS)))
        with Load() as load, self._prepared() as prepared:
            self._fill(prepared, JOBS, each * turns, 0)
            measured = [_Measured(job) for job in JOBS]
            sent = failed = 0
            started = time.monotonic()
            with serving_service(self._url) as service, _Sampling(service) as samples:
                for turn in range(turns):
                    self._note(f"{sent:,} of {requests:,} requests")
                    for one in measured:
                        order = self._order(
                            service.port,
                            one.job.text(prepared),
                            600.0,
                            **(
                                {"first": turn * each + 1, "count": each}
                                if one.job.uses_up
                                else {"drawn": GET_CODES, "count": each}
                            ),
                        )
                        phase = load.run(order)
                        sent += phase.sent
                        failed += phase.failed
        known = samples.values_mb
        quarters = (
            [median(known[n * len(known) // 4 : (n + 1) * len(known) // 4]) for n in range(4)]
            if len(known) >= 4
            else []
        )
        self.report.memory = MemoryResult(
            requests=sent,
            failed=failed,
            seconds=time.monotonic() - started,
            start_mb=known[0] if known else None,
            end_mb=known[-1] if known else None,
            largest_mb=max(known, default=None),
            quarters_mb=quarters,
            is_reached=known[-1] < RESIDENT_MB_MAX and quarters[3] - quarters[2] < GROWTH_MB_MAX
            if quarters
            else None,
        )


class _Sampling:
    """Reads a process's resident memory while a block runs."""

    def __init__(self, process: Serving) -> None:
        self._process = process
        self._stop = threading.Event()
        self.values_mb: list[float] = []

    @property
    def start_mb(self) -> float:
        return self.values_mb[0]

    @property
    def largest_mb(self) -> float:
        return max(self.values_mb)

    def __enter__(self) -> "_Sampling":
        self._thread = threading.Thread(target=self._run, name="promint-bench-memory")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            value = self._process.resident_mb()
            if value is not None:
                self.values_mb.append(value)
            if self._stop.wait(SAMPLE_INTERVAL_S):
                return


def _median_ratio(rates: Sequence[float], floors: Sequence[float]) -> float:
    return median(rate / floor for rate, floor in zip(rates, floors, strict=True))


def _store_version(url: str) -> str:
    if is_sqlite(url):
        return f"SQLite {apsw.sqlite_lib_version()}"

    async def ask() -> str:
        connection = await asyncpg.connect(url)
        try:
            return str(await connection.fetchval("SHOW server_version"))
        finally:
            await connection.close()

    return f"PostgreSQL {asyncio.run(ask())}"
