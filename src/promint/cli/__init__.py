"""The commands of `promint`."""

from promint.cli.main import main

__all__ = ["main"]
