"""What the system says about a service's process."""

from contextlib import suppress
from pathlib import Path

from tests.running import Running


def resident_mb(service: Running) -> float:
    """Return the resident memory of the first process; 0 where that cannot be read."""
    try:
        status = Path(f"/proc/{service.running[0].pid}/status").read_text()
    except OSError:
        return 0.0
    return int(status.split("VmRSS:")[1].split()[0]) / 1000


def open_sockets(service: Running) -> int:
    """Return how many sockets the first process has open; 0 where that cannot be read."""
    found = 0
    for descriptor in Path(f"/proc/{service.running[0].pid}/fd").glob("*"):
        with suppress(OSError):
            found += str(descriptor.readlink()).startswith("socket:")
    return found
