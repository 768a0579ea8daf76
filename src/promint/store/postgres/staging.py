"""Bringing codes in by the million."""

from contextlib import AbstractAsyncContextManager
from typing import Any

from promint.domain.model import LoyaltyProgram
from promint.store.staging import Stage


class PostgresStaging:
    """Bulk."""

    def __init__(self, store: Any) -> None:
        """Take the store."""

    def stage(self, program: LoyaltyProgram) -> AbstractAsyncContextManager[Stage]:
        """Open a stage."""
        raise NotImplementedError
