"""Looking for codes: filters, pages by key, and walks over everything that matches."""

from collections.abc import AsyncGenerator, Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from promint.domain.model import CodeState, Event, Holder, LoyaltyProgram, PromoCode


@dataclass(frozen=True, slots=True)
class Span:
    """Moments from `first` on and before `end`, in UTC microseconds; None is open."""

    first: int | None = None
    end: int | None = None

    def __bool__(self) -> bool:
        """Say whether it narrows at all."""
        return self.first is not None or self.end is not None


@dataclass(frozen=True, slots=True)
class CodeFilter:
    """Which codes of one program are meant; what is None or empty does not narrow.

    `state` is as of the moment of the search. `prefix` is compared as codes are, so it may be
    written as people write it. `codes` names single ones by their key. The codes of a batch are
    those that it made or, for a bulk change, changed. A holder's codes are the ones attached to
    it now. A date that a code does not have lies in no span.
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


class HeldCode(NamedTuple):
    """A code in a wallet, and since when this profile has it: a universal code has many holders."""

    code: PromoCode
    attached_at: int


class WalletPage(NamedTuple):
    """Codes that a profile holds, newest first, and from where to go on; None is the end."""

    codes: list[HeldCode]
    next: str | None


LINE_VALUES = (
    "code",
    "state",
    "created_at",
    "expires_at",
    "attached_at",
    "activated_at",
    "attach_count",
    "activation_count",
    "database_id",
    "profile_id",
    "batch_id",
)
"""What a line of text says of a code, in this order: columns of `promo_code`, and its state."""


@dataclass(frozen=True, slots=True)
class Notation:
    """How codes become lines of text. Each ends with a line feed.

    Without `is_json` a line has its values with `cell` between them, nothing for NULL. With it, it
    is a JSON object with `names`, one for each of `LINE_VALUES`, NULL left out. A moment is in
    either `moment` and the number of its microseconds; as JSON it is a string.

    `cell` and `moment` are control characters, which no code and no profile's id has in it; as
    JSON, lines have `cell` nowhere.
    """

    names: tuple[str, ...]
    cell: str
    moment: str
    is_json: bool = False


class Searching(Protocol):
    """What a store offers for looking around. Not for decisions: those read what they change."""

    async def page(
        self, program: LoyaltyProgram, wanted: CodeFilter, *, now: int, after: str | None, most: int
    ) -> CodePage:
        """Return up to `most` codes that match, newest first unless the filter's index says else.

        `after` is the `next` of the page before, opaque and checked. The order is: by key for
        single codes, a holder, a prefix and a bulk change; by date of attachment, the latest
        first, for attached and activated codes; by expiry, the earliest first, for free and
        expired ones and those that expire in a span; else by creation, the latest first.

        Raises:
            BadValue: `after` is no page's `next`, or another search's.
        """

    def walk(
        self, program: LoyaltyProgram, wanted: CodeFilter, *, now: int
    ) -> AsyncGenerator[Sequence[PromoCode]]:
        """Yield every code that matches, in chunks, as of one moment, in order of creation."""

    def lines(
        self, program: LoyaltyProgram, wanted: CodeFilter, notation: Notation, *, now: int
    ) -> AsyncGenerator[bytes]:
        """Yield what `walk` does as lines of text in UTF-8, without the additional data.

        Each piece has whole lines.
        """

    async def count(
        self, program: LoyaltyProgram, wanted: CodeFilter, *, now: int, most: int
    ) -> int:
        """Return how many codes match, counted up to `most`."""

    async def wallet(
        self,
        holder: Holder,
        *,
        programs: Collection[int] | None,
        after: str | None,
        most: int,
    ) -> WalletPage:
        """Return the codes that a profile holds in some programs, None for all, newest first.

        All attachments of the profile are looked at, some thousands at most.

        Raises:
            BadValue: `after` is no page's `next`, or another wallet's.
        """

    async def events(
        self, program: LoyaltyProgram, *, after: str | None, most: int
    ) -> tuple[list[Event], str | None]:
        """Return what happened in a program, newest first, and from where to go on.

        In a program of many buckets a page may hold fewer events than were asked for.

        Raises:
            BadValue: `after` is no page's `next`, or another program's.
        """
