"""Looking for codes: filters, pages by key, and walks over everything that matches."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from promint.domain.model import CodeState, Event, Holder, LoyaltyProgram, PromoCode


@dataclass(frozen=True, slots=True)
class Span:
    """Moments from `first` on and before `end`, in UTC microseconds; None is open."""

    first: int | None = None
    end: int | None = None


@dataclass(frozen=True, slots=True)
class CodeFilter:
    """Which codes of one program are meant; what is None or empty does not narrow.

    `state` is as of the moment of the search. `prefix` is compared like codes are. `codes` names
    single ones by their key. A holder's codes are the ones attached to it now.
    """

    state: CodeState | None = None
    prefix: str = ""
    batch_id: int | None = None
    holder: Holder | None = None
    codes: frozenset[str] = frozenset()
    created: Span = Span()
    attached: Span = Span()
    activated: Span = Span()
    expires: Span = Span()


class CodePage(NamedTuple):
    """Codes in order, and from where the next page goes on; None is the end.

    A page looks at a bounded number of rows, so that each comes fast however few match. It may
    therefore hold fewer codes than were asked for, even none, and still have a `next`.
    """

    codes: list[PromoCode]
    next: str | None


class Searching(Protocol):
    """What a store offers for looking around. Not for decisions: those read what they change."""

    async def page(
        self, program: LoyaltyProgram, wanted: CodeFilter, *, now: int, after: str | None, most: int
    ) -> CodePage:
        """Return up to `most` codes that match, newest first unless the filter's index says else.

        `after` is the `next` of the page before, opaque and checked.

        Raises:
            BadValue: `after` is no page's `next`, or another filter's.
        """

    def walk(
        self, program: LoyaltyProgram, wanted: CodeFilter, *, now: int
    ) -> AsyncGenerator[Sequence[PromoCode]]:
        """Yield every code that matches, in chunks, as of one moment, in order of creation."""

    async def count(
        self, program: LoyaltyProgram, wanted: CodeFilter, *, now: int, most: int
    ) -> int:
        """Return how many codes match, counted up to `most`."""

    async def wallet(self, holder: Holder, *, after: str | None, most: int) -> CodePage:
        """Return the codes that a profile holds, in all programs."""

    async def events(
        self, program: LoyaltyProgram, *, after: str | None, most: int
    ) -> tuple[list[Event], str | None]:
        """Return what happened in a program, newest first, and from where to go on."""
