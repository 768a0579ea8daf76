"""Measures activations of one program while codes by the million come into another."""

from dataclasses import replace
from pathlib import Path
from statistics import median

from promint.bench import preparing
from promint.bench.bulk import command_environment
from promint.bench.jobs import JOBS
from promint.bench.load import Phase
from promint.bench.preparing import Prepared
from promint.bench.processes import (
    BenchFailed,
    Command,
    Ended,
    Load,
    Serving,
    promint_command,
    serving_service,
)
from promint.bench.report import BesideResult
from promint.bench.run import Run
from promint.bench.samples import write_sample

RATE = 200.0
P99_MS_MAX = 50.0
SECONDS_MAX = 1_800
"""For how long there are codes to activate."""

ALONE_STRETCHES = 3
_ACTIVATE = next(job for job in JOBS if job.name == "activate")


class _Activations:
    """Sends activations in stretches, each of codes that were not activated before."""

    def __init__(self, run: Run, prepared: Prepared, service: Serving, load: Load) -> None:
        self._run = run
        self._load = load
        self._codes = prepared.codes[_ACTIVATE.program]
        text = _ACTIVATE.text(prepared)
        order = run.order(service.port, text, run.seconds, rate=RATE)
        self._order = replace(order, keeps_latencies=True)
        self._used = 0

    def stretch(self) -> Phase:
        """Send one stretch."""
        left = self._codes - self._used
        if left < RATE * self._run.seconds + 1:
            raise BenchFailed(f"The import took more than {SECONDS_MAX:,} s. Choose fewer --codes.")
        phase = self._load.run(replace(self._order, first=self._used + 1, count=left))
        self._used += phase.sent
        return phase


def measure_beside(run: Run, codes: int, folder: Path) -> None:
    """Import `codes` by command beside the service, which activates others at a fixed rate.

    Raises:
        BenchFailed: a process failed, or the import takes too long.
    """
    run.note("writing codes")
    path = write_sample(folder, codes, separator=",", null="").codes
    with Load() as load, run.prepared() as prepared:
        held = int(RATE * (SECONDS_MAX + ALONE_STRETCHES * run.seconds))
        preparing.add_program(prepared, _ACTIVATE.program, held, run.note, held=True)
        loyalty_id = preparing.new_program(prepared, "import")
        run.note("settling")
        preparing.settle(prepared)
        with serving_service(run.url) as service:
            activations = _Activations(run, prepared, service, load)
            run.note("activating alone")
            activations.stretch()
            alone = [activations.stretch() for _ in range(ALONE_STRETCHES)]
            run.note(f"activating beside an import of {codes:,} codes")
            arguments = promint_command("codes", "import", str(path), f"--program={loyalty_id}")
            beside = []
            with Command(arguments, command_environment(run.url, folder)) as command:
                while command.is_running:
                    beside.append(activations.stretch())
                ended = command.wait()
        missing = abs(preparing.count_codes(prepared, "import") - codes)
    run.report.beside = _result(run, codes, ended, alone, beside, missing)


def _result(
    run: Run, codes: int, ended: Ended, alone: list[Phase], beside: list[Phase], missing: int
) -> BesideResult:
    latencies = sorted(value for phase in beside for value in phase.latencies_ms) or [0.0]
    p99_ms = latencies[len(latencies) * 99 // 100]
    failed = sum(phase.failed for phase in (*alone, *beside))
    return BesideResult(
        codes=codes,
        import_rate=codes / ended.seconds,
        import_peak_mb=ended.peak_mb,
        activations=sum(phase.sent for phase in beside),
        wanted_rate=RATE,
        p50_ms=latencies[len(latencies) // 2],
        p99_ms=p99_ms,
        max_ms=latencies[-1],
        worst_p99_ms=max(phase.p99_ms for phase in beside),
        stretch_s=run.seconds,
        alone_p99_ms=median(phase.p99_ms for phase in alone),
        alone_max_ms=max(phase.max_ms for phase in alone),
        p99_ms_max=P99_MS_MAX,
        is_reached=not failed and p99_ms < P99_MS_MAX,
        failed=failed + missing,
        first_failure=next((p.first_failure for p in (*alone, *beside) if p.failed), ""),
    )
