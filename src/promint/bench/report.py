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


@dataclass(frozen=True, slots=True)
class BulkResult:
    """One kind of bulk work, as a command of its own: medians over the rounds.

    `rate` is codes a second, `floor_rate` the same of what `floor` names, `ratio` the median of
    each round's. `bare_rate` is the floor with the primary key only. `peak_mb` is the most memory
    of any round, to stay under `peak_mb_max`. `failed` are codes that are missing or too many.
    None is what was not or cannot be measured here.
    """

    name: str
    title: str
    codes: int
    seconds: float
    rate: float
    floor: str
    floor_rate: float | None
    bare_rate: float | None
    ratio: float | None
    target: float | None
    is_reached: bool | None
    peak_mb: float | None
    peak_mb_max: float | None
    is_peak_reached: bool | None
    failed: int
    rates: list[float]


@dataclass(frozen=True, slots=True)
class BesideResult:
    """Activations of one program at a fixed rate while codes are imported into another.

    Latencies count from when a request was due. `alone_…` are those without the import, and
    `worst_p99_ms` is that of the worst stretch of `stretch_s`.
    """

    codes: int
    import_rate: float
    import_peak_mb: float | None
    activations: int
    wanted_rate: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    worst_p99_ms: float
    stretch_s: float
    alone_p99_ms: float
    alone_max_ms: float
    p99_ms_max: float
    is_reached: bool
    failed: int
    first_failure: str


@dataclass(frozen=True, slots=True)
class PagesResult:
    """Pages of one search, spread from its first to its last; `codes` match it.

    `failed` are codes that the pages left out or brought twice.
    """

    name: str
    codes: int
    pages: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    p99_ms_max: float
    is_reached: bool
    failed: int


@dataclass(slots=True)
class Report:
    """Everything about one run.

    `command_s` is how long a command takes that does next to nothing.
    """

    store: str
    connections: int
    seconds: float
    rounds: int
    store_version: str = ""
    jobs: list[JobResult] = field(default_factory=list)
    size: SizeResult | None = None
    memory: MemoryResult | None = None
    bulk: list[BulkResult] = field(default_factory=list)
    command_s: float | None = None
    beside: BesideResult | None = None
    pages: list[PagesResult] = field(default_factory=list)
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
        """How many answers were no success, and how many codes were not as they should be."""
        single = (part for part in (self.size, self.memory, self.beside) if part)
        return sum(part.failed for part in (*self.jobs, *self.bulk, *self.pages, *single))

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
