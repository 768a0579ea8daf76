"""Ports for the servers that tests start."""

import itertools
import os
import random
import socket

FIRST, LAST = 10_000, 32_767
"""Below what systems hand out by themselves: nobody takes a port while its server is restarted."""


def _own() -> range:
    """Return the ports of this process; the workers of a run share none."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    size = (LAST + 1 - FIRST) // workers
    return range(FIRST + number * size, FIRST + (number + 1) * size)


def _shifted(ports: range) -> list[int]:
    """Return them from a random one on, so that two runs on one machine hardly ever meet."""
    start = random.SystemRandom().randrange(len(ports))
    return [*ports[start:], *ports[:start]]


_ports = itertools.cycle(_shifted(_own()))


def free_port() -> int:
    """Return a port on which nobody listens, and that this process was not given lately."""
    for port in _ports:
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port
    raise AssertionError("a cycle has no end")
