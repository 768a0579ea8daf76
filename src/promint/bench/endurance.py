"""Measures what shows only with much of it: a large program, a million requests."""

import threading
import time
from statistics import median
from types import TracebackType

from promint.bench import preparing
from promint.bench.jobs import GET, JOBS
from promint.bench.processes import Load, Serving, serving_service
from promint.bench.report import MemoryResult, SizeResult
from promint.bench.requests import CODE, Template, body
from promint.bench.run import Run, median_ratio

SMALL_CODES = 1_000_000
LOOK_UP_TARGET = 0.80
FIRST_BYTE_S_MAX = 1.0
EXPORT_GROWTH_MB_MAX = 100.0
RESIDENT_MB_MAX = 150.0
GROWTH_MB_MAX = 3.0
SAMPLE_INTERVAL_S = 0.05
TURNS = 20
TURN_S_MAX = 600.0


class _Sampling:
    """Reads a process's resident memory while a block runs."""

    def __init__(self, process: Serving) -> None:
        self._process = process
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="promint-bench-memory")
        self._values_mb: list[float] = []

    def __enter__(self) -> "_Sampling":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            value = self._process.resident_mb()
            if value is not None:
                self._values_mb.append(value)
            if self._stop.wait(SAMPLE_INTERVAL_S):
                return

    @property
    def growth_mb(self) -> float | None:
        """How much more it was at most than at the start; None where it cannot be read."""
        return max(self._values_mb) - self._values_mb[0] if self._values_mb else None


def measure_size(run: Run, codes: int) -> None:
    """Compare look-ups in a program of `codes` with one of a million, and export it.

    Raises:
        BenchFailed: a process could not start.
    """
    with Load() as load, run.prepared() as prepared:
        started = time.monotonic()
        preparing.add_program(prepared, "large", codes, run.note, held=False)
        load_s = time.monotonic() - started
        small_codes = min(SMALL_CODES, codes)
        preparing.add_program(prepared, "small", small_codes, run.note, held=False)
        run.note("settling")
        preparing.settle(prepared)
        rates: dict[str, list[float]] = {"large": [], "small": []}
        failed = 0
        with serving_service(run.url) as service:
            for number in range(run.rounds + 1):
                for name, found in rates.items():
                    run.note(f"round {number}: look-ups, {prepared.codes[name]:,} codes")
                    fields = {"loyalty_id": prepared.programs[name], "code": CODE}
                    text = Template(GET, prepared.token, body(fields)).text()
                    drawn = prepared.codes[name]
                    phase = load.run(run.order(service.port, text, run.seconds, drawn=drawn))
                    failed += phase.failed
                    # The first round warms up.
                    if number:
                        found.append(phase.rate)
            run.note(f"exporting {codes:,} codes")
            fields = {"loyalty_id": prepared.programs["large"]}
            text = Template("promocodes/export_all", prepared.token, body(fields)).text()
            with _Sampling(service) as memory:
                export = load.export(service.port, text)
    growth_mb = memory.growth_mb
    ratio = median_ratio(rates["large"], rates["small"])
    run.report.size = SizeResult(
        codes=codes,
        small_codes=small_codes,
        load_s=load_s,
        rate=median(rates["large"]),
        small_rate=median(rates["small"]),
        ratio=ratio,
        target=LOOK_UP_TARGET,
        is_reached=ratio >= LOOK_UP_TARGET,
        failed=failed + int(export.codes != codes),
        export_first_byte_s=export.first_byte_s,
        export_total_s=export.total_s,
        export_codes=export.codes,
        export_bytes=export.size,
        export_growth_mb=growth_mb,
        is_export_reached=export.codes == codes
        and export.first_byte_s < FIRST_BYTE_S_MAX
        and (growth_mb is None or growth_mb < EXPORT_GROWTH_MB_MAX),
    )


def measure_memory(run: Run, requests: int) -> None:
    """Send this many requests, of every job alike, and watch one worker's resident memory.

    Raises:
        BenchFailed: a process could not start.
    """
    each = max(1, requests // (TURNS * len(JOBS)))
    known: list[float] = []
    sent = failed = 0
    seconds = 0.0
    with Load() as load, run.prepared() as prepared:
        for job in JOBS:
            codes = each * TURNS if job.uses_up else run.lasting_codes
            preparing.add_program(prepared, job.program, codes, run.note, held=job.held)
        run.note("settling")
        preparing.settle(prepared)
        with serving_service(run.url) as service:
            start_mb = service.resident_mb()
            for turn in range(TURNS):
                run.note(f"{sent:,} of {requests:,} requests")
                for job in JOBS:
                    numbers = (
                        {"first": turn * each + 1, "count": each}
                        if job.uses_up
                        else {"drawn": run.lasting_codes, "count": each}
                    )
                    text = job.text(prepared)
                    phase = load.run(run.order(service.port, text, TURN_S_MAX, **numbers))
                    sent += phase.sent
                    failed += phase.failed
                    seconds += phase.seconds
                    value = service.resident_mb()
                    if value is not None:
                        known.append(value)
    quarter = len(known) // 4
    quarters_mb = [
        median(known[number * quarter : (number + 1) * quarter]) for number in range(4) if known
    ]
    run.report.memory = MemoryResult(
        requests=sent,
        failed=failed,
        seconds=seconds,
        start_mb=start_mb,
        end_mb=known[-1] if known else None,
        largest_mb=max(known, default=None),
        quarters_mb=quarters_mb,
        is_reached=known[-1] < RESIDENT_MB_MAX and quarters_mb[3] - quarters_mb[2] < GROWTH_MB_MAX
        if known
        else None,
    )
