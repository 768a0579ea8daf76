"""Looking for codes, on PostgreSQL."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager

from promint.domain.model import Event, Holder, LoyaltyProgram, PromoCode
from promint.store.postgres.sessions import Connection
from promint.store.searching import CodeFilter, CodePage


class PostgresSearching:
    """Looking for codes, on connections of the pool."""

    def __init__(self, pooled: Callable[[], AbstractAsyncContextManager[Connection]]) -> None:
        """Take the lender of connections."""
        self._pooled = pooled

    async def page(
        self, program: LoyaltyProgram, wanted: CodeFilter, *, now: int, after: str | None, most: int
    ) -> CodePage:
        """Return a page."""
        raise NotImplementedError

    async def walk(
        self, program: LoyaltyProgram, wanted: CodeFilter, *, now: int
    ) -> AsyncGenerator[Sequence[PromoCode]]:
        """Yield all."""
        raise NotImplementedError
        yield []

    async def count(
        self, program: LoyaltyProgram, wanted: CodeFilter, *, now: int, most: int
    ) -> int:
        """Count."""
        raise NotImplementedError

    async def wallet(self, holder: Holder, *, after: str | None, most: int) -> CodePage:
        """Return a wallet."""
        raise NotImplementedError

    async def events(
        self, program: LoyaltyProgram, *, after: str | None, most: int
    ) -> tuple[list[Event], str | None]:
        """Return events."""
        raise NotImplementedError
