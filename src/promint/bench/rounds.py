"""Measures the jobs beside their floors, round by round in turn."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from promint.bench import pgbench, preparing
from promint.bench.jobs import ACTIVATE, JOBS, Job
from promint.bench.load import Phase
from promint.bench.preparing import PROFILES, Prepared
from promint.bench.processes import BenchFailed, Load, Serving, serving_fixed, serving_service
from promint.bench.report import HALF_LOAD_P99_MS_MAX, JobResult
from promint.bench.requests import CODE, Template, body
from promint.bench.run import Run, median_ratio
from promint.bootstrap import utc_now

WARM_UP_S_MAX = 1.0
SPARE_CODES = 10_000
RATE_MIN = 10_000.0
"""What a job is thought capable of at least, should the machine be busy while it is tried."""

WRITES_OF_FIXED = 0.4
"""No job that writes comes near this part of the fixed bytes' rate: so many codes are made."""

FLOOR_SPREAD = 1.5
"""How much faster than an activation the other scripts of pgbench may be."""

RAN_OUT = "The codes ran out before the time did. Choose fewer --rounds or --seconds."


@dataclass(slots=True)
class _Measured:
    """What the rounds of one job brought; `used` numbers of codes are used up."""

    job: Job
    used: int = 0
    floor_used: int = 0
    failed: int = 0
    first_failure: str = ""
    resident_mb: float | None = None
    phases: list[Phase] = field(default_factory=list)
    half: list[Phase] = field(default_factory=list)
    fixed: list[float] = field(default_factory=list)
    pgbench: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)

    def forget_warm_up(self) -> None:
        """Drop the figures, keep what was used up and what failed."""
        for figures in (self.phases, self.half, self.fixed, self.pgbench, self.cpu_us):
            figures.clear()


@dataclass(frozen=True, slots=True)
class _Bench:
    """What runs while jobs are measured."""

    run: Run
    prepared: Prepared
    service: Serving
    fixed: Serving
    load: Load
    with_pgbench: bool

    def turn(self, one: _Measured, seconds: float) -> None:
        """Measure floor, job, job at half of its rate, and the other floor, one after another."""
        text = one.job.text(self.prepared)
        floor = self.run.order(self.fixed.port, text, seconds, drawn=self.run.lasting_codes)
        one.fixed.append(self.load.run(floor).rate)

        cpu_before = self.service.cpu_s()
        phase = self._send(one, text, seconds)
        cpu_after = self.service.cpu_s()
        one.phases.append(phase)
        if cpu_before is not None and cpu_after is not None:
            one.cpu_us.append((cpu_after - cpu_before) / max(phase.sent, 1) * 1e6)

        rate = median(phase.rate for phase in one.phases) / 2
        one.half.append(self._send(one, text, seconds, rate=max(rate, 1.0)))
        one.resident_mb = self.service.resident_mb()

        if self.with_pgbench:
            self._floor(one, seconds)

    def _send(self, one: _Measured, text: str, seconds: float, rate: float = 0.0) -> Phase:
        codes = self.prepared.codes[one.job.program]
        if one.used >= codes:
            raise BenchFailed(RAN_OUT)
        numbers = {"drawn": codes}
        if one.job.uses_up:
            numbers = {"first": one.used + 1, "count": codes - one.used}
        phase = self.load.run(
            self.run.order(self.service.port, text, seconds, rate=rate, **numbers)
        )
        one.used += phase.sent if one.job.uses_up else 0
        one.failed += phase.failed
        one.first_failure = one.first_failure or phase.first_failure
        return phase

    def _floor(self, one: _Measured, seconds: float) -> None:
        job = one.job
        done = pgbench.run(
            self.run.url,
            job.script,
            seconds,
            floor_values(self.prepared, job.floor_program, one.floor_used),
        )
        one.pgbench.append(done.rate)
        if job.floor_uses_up:
            one.floor_used += done.numbers
            if one.floor_used > self.prepared.codes[job.floor_program]:
                raise BenchFailed(RAN_OUT)


def measure_jobs(run: Run, names: Sequence[str]) -> None:
    """Measure jobs beside their floors and add them to the report.

    Raises:
        BenchFailed: a process could not start, or codes ran out.
    """
    jobs = [job for job in JOBS if job.name in names]
    with_pgbench = not run.is_sqlite and pgbench.is_installed()
    if not run.is_sqlite and not with_pgbench:
        run.report.notes.append(
            "pgbench is not installed, so there is no floor of PostgreSQL to compare with; "
            "`make system` installs it."
        )
    warm_up_s = min(WARM_UP_S_MAX, run.seconds)
    measured = [_Measured(job) for job in jobs]
    with serving_fixed() as fixed, Load() as load, run.prepared() as prepared:
        run.note("measuring the machine")
        text = Template(ACTIVATE, prepared.token, body({"loyalty_id": 1, "code": CODE})).text()
        probe = load.run(run.order(fixed.port, text, warm_up_s, drawn=1000))
        # Full load, and half load for as long again.
        full_s = (warm_up_s + run.rounds * run.seconds) * 1.5
        codes = int(max(probe.rate * WRITES_OF_FIXED, RATE_MIN) * full_s) + SPARE_CODES
        for job in jobs:
            preparing.add_program(
                prepared,
                job.program,
                codes if job.uses_up else run.lasting_codes,
                run.note,
                held=job.held,
            )
        if with_pgbench:
            _add_floors(run, prepared, jobs)
        run.note("settling")
        preparing.settle(prepared)
        with serving_service(run.url) as service:
            bench = _Bench(run, prepared, service, fixed, load, with_pgbench)
            for one in measured:
                run.note(f"warming up: {one.job.title}")
                bench.turn(one, warm_up_s)
                one.forget_warm_up()
            for number in range(run.rounds):
                for one in measured:
                    run.note(f"round {number + 1} of {run.rounds}: {one.job.title}")
                    bench.turn(one, run.seconds)
    run.report.jobs = [_result(one, is_sqlite=run.is_sqlite) for one in measured]


def floor_values(prepared: Prepared, program: str, used: int) -> dict[str, int]:
    """Return what a script of pgbench works on."""
    return {
        "codes": prepared.codes[program],
        "shard": prepared.shard(program),
        "now": utc_now(),
        "profiles": PROFILES,
        "database": prepared.database_id,
        "first": used,
    }


def _add_floors(run: Run, prepared: Prepared, jobs: Sequence[Job]) -> None:
    """Make the programs of pgbench; how many codes they need is tried out first."""
    lasting = {job.floor_program for job in jobs if not job.floor_uses_up}
    for name in sorted(lasting - prepared.programs.keys()):
        preparing.add_program(prepared, name, run.lasting_codes, run.note, held=True)
    used_up = [job for job in jobs if job.floor_uses_up]
    if not used_up:
        return
    probe = "activate floor"
    if probe not in prepared.programs:
        preparing.add_program(prepared, probe, run.lasting_codes, run.note, held=True)
    run.note("measuring the database")
    rate = pgbench.run(run.url, "activate", 1, floor_values(prepared, probe, 0)).rate
    seconds = pgbench.whole_seconds(1) + run.rounds * pgbench.whole_seconds(run.seconds)
    codes = int(max(rate * FLOOR_SPREAD, RATE_MIN) * pgbench.SPREAD * seconds) + SPARE_CODES
    for job in used_up:
        preparing.add_program(prepared, job.floor_program, codes, run.note, held=job.held)


def _result(one: _Measured, *, is_sqlite: bool) -> JobResult:
    job = one.job
    rates = [phase.rate for phase in one.phases]
    fixed_ratio = median_ratio(rates, one.fixed)
    pgbench_ratio = median_ratio(rates, one.pgbench) if one.pgbench else None
    target = job.sqlite_target if is_sqlite else job.postgres_target
    ratio = fixed_ratio if is_sqlite else pgbench_ratio
    half_p99_ms = median(phase.p99_ms for phase in one.half)
    return JobResult(
        name=job.name,
        title=job.title,
        rate=median(rates),
        p50_ms=median(phase.p50_ms for phase in one.phases),
        p99_ms=median(phase.p99_ms for phase in one.phases),
        floor="fixed bytes" if is_sqlite else "pgbench",
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
