"""Looking for codes, on SQLite."""

from collections.abc import AsyncGenerator, Sequence

from promint.domain.model import Event, Holder, LoyaltyProgram, PromoCode
from promint.store.searching import CodeFilter, CodePage
from promint.store.sqlite.reading import Readers


class SqliteSearching:
    """Looking for codes, in threads beside the loop."""

    def __init__(self, readers: Readers) -> None:
        """Take the threads that read."""
        self._readers = readers

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
