"""Builds whose wall clock a test sets, and what the service would be with less care for it."""

import os
import time
from pathlib import Path


def settable() -> None:
    """No fault: the wall clock is off by the seconds that PROMINT_CLOCK_FILE says."""
    file = Path(os.environ["PROMINT_CLOCK_FILE"])
    time_ns = time.time_ns
    time.time_ns = lambda: time_ns() + int(file.read_text()) * 1_000_000_000


def goes_back() -> None:
    """Follow the wall clock wherever it goes."""
    settable()
    from promint import bootstrap

    assert hasattr(bootstrap, "utc_now")
    bootstrap.utc_now = lambda: time.time_ns() // 1000


def leases_by_the_wall_clock() -> None:
    """Measure by the wall clock for how long a job's worker was silent."""
    settable()
    from promint.service.job_processes import JobProcesses

    known = JobProcesses.__init__

    def init(self: JobProcesses, *arguments: object, **named: object) -> None:
        known(self, *arguments, **{**named, "monotonic": lambda: time.time_ns() / 1e9})  # type: ignore[arg-type]  # as they came

    JobProcesses.__init__ = init  # type: ignore[method-assign]  # the fault
