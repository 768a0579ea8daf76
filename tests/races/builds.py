"""Starts builds of the service with a planted fault, from `tests/races/planted.py` or elsewhere."""

import sys
from pathlib import Path

from tests.running import Running

ROOT = Path(__file__).parents[2]


def build_with(fault: str, url: str, processes: int = 1, **settings: str) -> Running:
    """Return a service, not yet started, with a planted fault; settings go to its environment."""
    command = (sys.executable, "-m", "tests.races.planted", fault, "serve")
    return Running(url, processes, command, environment={"PYTHONPATH": str(ROOT), **settings})
