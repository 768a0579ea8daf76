"""Whether two kinds of request can be told apart by how long their answers take.

Welch's t over interleaved samples, the slowest left out, as it is done for cryptographic code:
above 4.5 it is no chance. Requests go over one kept connection, in random order.
"""

import http.client
import math
import random
import time
from collections.abc import Callable, Sequence
from statistics import fmean, variance

from tests.running import Running

T_MAX = 4.5
KEPT = 0.9
"""The share of samples that counts; what the operating system adds is at the slow end."""

Asked = tuple[str, str, bytes, dict[str, str]]
"""Method, path, body and headers."""


def welch(first: Sequence[float], second: Sequence[float]) -> float:
    """Return Welch's t of two samples."""
    spread = variance(first) / len(first) + variance(second) / len(second)
    return (fmean(first) - fmean(second)) / math.sqrt(spread) if spread else 0.0


def trimmed(samples: Sequence[float], most: float) -> list[float]:
    return [sample for sample in samples if sample <= most]


def compare(
    service: Running, first: Callable[[], Asked], second: Callable[[], Asked], count: int, seed: int
) -> float:
    """Send `count` of each of two kinds and return the t of their times."""
    connection = http.client.HTTPConnection("127.0.0.1", service.ports[0], timeout=60)
    order = [0] * count + [1] * count
    random.Random(seed).shuffle(order)
    taken: tuple[list[float], list[float]] = ([], [])
    try:
        for kind in order:
            asked = (first, second)[kind]()
            started = time.perf_counter_ns()
            connection.request(*asked)
            connection.getresponse().read()
            taken[kind].append(time.perf_counter_ns() - started)
    finally:
        connection.close()
    # One bound for both: trimming each by itself would hide what makes one of them slow.
    everything = sorted(taken[0] + taken[1])
    most = everything[int(len(everything) * KEPT) - 1]
    return welch(trimmed(taken[0], most), trimmed(taken[1], most))
