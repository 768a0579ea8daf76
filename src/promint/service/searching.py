"""Looking for codes, wallets and what happened, for people and the programs they run."""

from collections.abc import AsyncGenerator, Collection, Iterable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from typing import NamedTuple

from promint.domain import codetext, identities
from promint.domain.errors import CodeNotFound, ProfileNotFound, StoreBusy
from promint.domain.model import (
    Batch,
    CodeState,
    Event,
    Holder,
    LoyaltyProgram,
    ProfileKey,
    PromoCode,
)
from promint.service.means import Means
from promint.store import StoreError
from promint.store.searching import CodeFilter, CodePage, Notation, Span, WalletPage

ANY_TIME = Span()


class CodeHistory(NamedTuple):
    """A code, the batch that it came in with, and what happened to it since, oldest first."""

    code: PromoCode
    batch: Batch | None
    events: list[Event]


@contextmanager
def busy_if_not() -> Iterator[None]:
    """Raise what keeps a store from answering as the refusal that callers know."""
    try:
        yield
    except StoreError as error:
        raise StoreBusy(str(error)) from error


class Search:
    """What can be looked for. The caller has found the program, and that its token opens it."""

    def __init__(self, means: Means) -> None:
        """Take the store and the clock."""
        self._store = means.store
        self._now = means.now

    async def holder(self, profile: ProfileKey) -> Holder:
        """Return the profile that a key leads to; one that is named by its id may be deleted.

        Raises:
            ProfileNotFound, ProfileAmbiguous: it leads to none, or to more than one.
            StoreBusy: the store cannot answer now.
        """
        if profile.profile_id is not None:
            return Holder(profile.database_id, profile.profile_id)
        with busy_if_not():
            found = await self._store.find_profiles(profile.identities)
        profile_id = identities.profile_of(found)
        if profile_id is None:
            raise ProfileNotFound
        return Holder(profile.database_id, profile_id)

    async def filter(
        self,
        program: LoyaltyProgram,
        *,
        codes: Iterable[str] = (),
        prefix: str = "",
        state: CodeState | None = None,
        batch_id: int | None = None,
        profile: ProfileKey | None = None,
        created: Span = ANY_TIME,
        attached: Span = ANY_TIME,
        activated: Span = ANY_TIME,
        expires: Span = ANY_TIME,
    ) -> CodeFilter:
        """Return a filter of what people name: codes as they are written, a profile by its key.

        Raises:
            BadValue: one of the codes cannot be a code.
            ProfileNotFound, ProfileAmbiguous: the key leads to no profile, or to more than one.
            StoreBusy: the store cannot answer now.
        """
        matching = program.code_matching
        keys = [codetext.code_key(codetext.clean_code(code), matching) for code in codes]
        return CodeFilter(
            state,
            prefix,
            batch_id,
            None if profile is None else await self.holder(profile),
            frozenset(keys),
            created,
            attached,
            activated,
            expires,
        )

    async def page(
        self, program: LoyaltyProgram, wanted: CodeFilter, *, after: str | None = None, most: int
    ) -> CodePage:
        """Return a page; it may hold fewer codes than `most`, even none, and have a `next`.

        Raises:
            BadValue: `after` is no page's `next`, or another search's.
            StoreBusy: the store cannot answer now.
        """
        with busy_if_not():
            return await self._store.searching.page(
                program, wanted, now=self._now(), after=after, most=most
            )

    async def full_page(
        self, program: LoyaltyProgram, wanted: CodeFilter, *, after: str | None = None, most: int
    ) -> CodePage:
        """Return a page that holds `most` codes unless there are no more, however long it takes.

        Raises:
            BadValue, StoreBusy: as `page`.
        """
        found = await self.page(program, wanted, after=after, most=most)
        while found.next is not None and len(found.codes) < most:
            more = await self.page(program, wanted, after=found.next, most=most - len(found.codes))
            found = CodePage(found.codes + more.codes, more.next)
        return found

    async def walk(
        self, program: LoyaltyProgram, wanted: CodeFilter
    ) -> AsyncGenerator[Sequence[PromoCode]]:
        """Yield everything that matches, in chunks, as of one moment, in order of creation.

        Raises:
            StoreBusy: the store cannot answer now.
        """
        walk = self._store.searching.walk(program, wanted, now=self._now())
        with busy_if_not():
            async with aclosing(walk) as chunks:
                async for codes in chunks:
                    yield codes

    async def lines(
        self, program: LoyaltyProgram, wanted: CodeFilter, notation: Notation
    ) -> AsyncGenerator[bytes]:
        """Yield the same as lines of text, without the additional data.

        Raises:
            StoreBusy: the store cannot answer now.
        """
        lines = self._store.searching.lines(program, wanted, notation, now=self._now())
        with busy_if_not():
            async with aclosing(lines) as pieces:
                async for piece in pieces:
                    yield piece

    async def count(self, program: LoyaltyProgram, wanted: CodeFilter, *, most: int) -> int:
        """Return how many codes match, counted up to `most`.

        Raises:
            StoreBusy: the store cannot answer now.
        """
        with busy_if_not():
            return await self._store.searching.count(program, wanted, now=self._now(), most=most)

    async def wallet(
        self,
        profile: ProfileKey,
        *,
        programs: Collection[int] | None = None,
        after: str | None = None,
        most: int,
    ) -> WalletPage:
        """Return the codes that a profile holds, newest first.

        `programs` are those that the caller may see; None is all of them.

        Raises:
            ProfileNotFound, ProfileAmbiguous: the key leads to no profile, or to more than one.
            BadValue: `after` is no page's `next`, or another wallet's.
            StoreBusy: the store cannot answer now.
        """
        holder = await self.holder(profile)
        with busy_if_not():
            return await self._store.searching.wallet(
                holder, programs=programs, after=after, most=most
            )

    async def history(self, program: LoyaltyProgram, code: str) -> CodeHistory:
        """Return a code with its batch and its events.

        Raises:
            BadValue: it cannot be a code.
            CodeNotFound: there is no such code now; it may have been deleted.
            StoreBusy: the store cannot answer now.
        """
        key = codetext.code_key(codetext.clean_code(code), program.code_matching)
        shard_key = codetext.shard_key(program.id, key, program.buckets)
        with busy_if_not():
            found = await self._store.code(shard_key, key)
            if found is None:
                raise CodeNotFound(code)
            batch = None if found.batch_id is None else await self._store.batch(found.batch_id)
            return CodeHistory(found, batch, await self._store.code_history(shard_key, key))

    async def events(
        self, program: LoyaltyProgram, *, after: str | None = None, most: int
    ) -> tuple[list[Event], str | None]:
        """Return what happened in a program, newest first, and from where to go on.

        Raises:
            BadValue: `after` is no page's `next`, or another program's.
            StoreBusy: the store cannot answer now.
        """
        with busy_if_not():
            return await self._store.searching.events(program, after=after, most=most)
