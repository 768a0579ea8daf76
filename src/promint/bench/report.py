"""What a bench found out, as values that become one JSON object."""

import os
import platform
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

HALF_LOAD_P99_MS_MAX = 20.0
"""What the 99th percentile at half of the peak load has to stay under."""

LOAD_PER_CORE_MAX = 0.25
"""How busy a machine may be before a bench begins."""

LIBRARIES = ("apsw", "asyncpg", "httptools", "msgspec", "uvicorn", "uvloop")


@dataclass(frozen=True, slots=True)
class JobResult:
    """One job: medians over the rounds. Rates are successes a second, ratios of the same round.

    `floor` says which of the two ratios `ratio` is and `target` is for. None is what was not
    or cannot be measured here. `cpu_us` is the service's processor time for one request.
    """

    name: str
    title: str
    rate: float
    p50_ms: float
    p99_ms: float
    floor: str
    ratio: float | None
    target: float | None
    is_reached: bool | None
    fixed_rate: float
    fixed_ratio: float
    pgbench_rate: float | None
    pgbench_ratio: float | None
    half_load_rate: float
    half_load_p50_ms: float
    half_load_p99_ms: float
    is_half_load_reached: bool
    cpu_us: float | None
    load_cpu_us: float
    failed: int
    first_failure: str
    rates: list[float]
    resident_mb: float | None


@dataclass(frozen=True, slots=True)
class SizeResult:
    """Look-ups and an export of a large program beside a program of a million codes."""

    codes: int
    small_codes: int
    load_s: float
    rate: float
    small_rate: float
    ratio: float
    target: float
    is_reached: bool
    failed: int
    export_first_byte_s: float
    export_total_s: float
    export_codes: int
    export_bytes: int
    export_growth_mb: float | None
    is_export_reached: bool


@dataclass(frozen=True, slots=True)
class MemoryResult:
    """Resident memory of one worker over many requests of every kind.

    `quarters_mb` are the medians of the four quarters of the run.
    """

    requests: int
    failed: int
    seconds: float
    start_mb: float | None
    end_mb: float | None
    largest_mb: float | None
    quarters_mb: list[float]
    is_reached: bool | None


@dataclass(slots=True)
class Report:
    """Everything about one run."""

    store: str
    connections: int
    seconds: float
    rounds: int
    store_version: str = ""
    jobs: list[JobResult] = field(default_factory=list)
    size: SizeResult | None = None
    memory: MemoryResult | None = None
    notes: list[str] = field(default_factory=list)

    def note_load(self, load: float) -> None:
        """Note that others kept the machine busy; `load` is its average over the last minute."""
        cores = os.cpu_count() or 1
        if load > LOAD_PER_CORE_MAX * cores:
            self.notes.append(
                f"Others kept the machine busy when the bench began (load {load:.1f} on {cores} "
                "cores); the figures suffer from it, ratios included."
            )

    @property
    def failed(self) -> int:
        """How many answers were no success."""
        parts = [*self.jobs, *(part for part in (self.size, self.memory) if part)]
        return sum(part.failed for part in parts)

    def values(self) -> dict[str, Any]:
        """Return one JSON object, with the date, the versions and the machine."""
        return {
            "promint": version("promint"),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            **asdict(self),
        }


def machine() -> dict[str, Any]:
    """Return what about the machine the figures depend on."""
    return {
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in LIBRARIES},
    }
