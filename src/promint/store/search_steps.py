"""How a search goes, step by step, for both stores.

A `Steps` yields queries, is sent their rows, and returns its result; each store runs one inside
a read transaction. So what a page is, and where the next one goes on, is written once.
"""

import base64
import binascii
import json
from collections.abc import Collection, Generator, Iterator, Sequence
from hashlib import blake2b
from typing import Any, TypeVar

from promint.domain import codetext
from promint.domain.errors import BadValue
from promint.domain.model import (
    BUCKETS_MAX,
    BatchKind,
    CodeState,
    Event,
    Holder,
    LoyaltyProgram,
    PromoCode,
)
from promint.store import lines_sql, sql
from promint.store import search_sql as texts
from promint.store.search_sql import Condition, Dialect, Draft, Query, Run, Scan
from promint.store.searching import CodeFilter, CodePage, HeldCode, Notation, WalletPage

LOOKED_AT_MAX = 4_000
"""How many rows of an index one block of a page looks at; a page has four blocks at most."""

WINDOWS = 2
"""How many ranges of the creation sequence a page looks at in a program of many buckets."""

SINGLE_CODES_MAX = 500
"""How many single codes a page looks up at once."""

SLACK_US = 600_000_000
"""How long a request may take from reading the clock to drawing a sequence number, and by how
much the clocks of several hosts may differ."""

INTEGER_MIN, INTEGER_MAX = -(2**63), 2**63 - 1

Result = TypeVar("Result")
Steps = Generator[Query, Sequence[Any], Result]

_MAKERS = (BatchKind.IMPORT, BatchKind.GENERATE)


# -- cursors -------------------------------------------------------------------------------


def _digest(*searched: Any) -> str:
    return blake2b(repr(searched).encode("utf-8", "backslashreplace"), digest_size=6).hexdigest()


def _filter_digest(program: LoyaltyProgram, wanted: CodeFilter) -> str:
    """Return what tells this search from others. A set has no order, its sorted list has."""
    named = [wanted.state, wanted.prefix, wanted.batch_id, wanted.holder, sorted(wanted.codes)]
    spans = [wanted.created, wanted.attached, wanted.activated, wanted.expires]
    return _digest("codes", program.id, named, spans)


def _cursor(digest: str, *position: Any) -> str:
    text = json.dumps([digest, *position], ensure_ascii=False, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _position(after: str, digest: str) -> list[Any]:
    """Return what a cursor holds beside its digest.

    Raises:
        BadValue: it is none of ours, or another search's.
    """
    try:
        padded = after.encode("ascii") + b"=" * (-len(after) % 4)
        values = json.loads(base64.b64decode(padded, b"-_", validate=True))
    except (ValueError, binascii.Error, RecursionError):
        raise _bad_cursor() from None
    if not isinstance(values, list) or not values:
        raise _bad_cursor()
    if values[0] != digest:
        raise BadValue("the `next` of another search", "after")
    return values[1:]


def _bad_cursor() -> BadValue:
    return BadValue("not the `next` of a page", "after")


def _is_a(value: Any, kind: type) -> bool:
    if kind is int:
        return type(value) is int and INTEGER_MIN <= value <= INTEGER_MAX
    return isinstance(value, str) and _is_storable(value)


def _is_storable(text: str) -> bool:
    """Say whether both databases can hold a text at all."""
    if "\0" in text:
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _checked(values: Any, kinds: Sequence[type]) -> list[Any]:
    """Return the values of a cursor if they are of these kinds."""
    if (
        not isinstance(values, list)
        or len(values) != len(kinds)
        or not all(map(_is_a, values, kinds))
    ):
        raise _bad_cursor()
    return values


# -- which walks answer a filter -----------------------------------------------------------


class _Search:
    """A filter on one program, and the walks along indexes that find what matches."""

    def __init__(self, program: LoyaltyProgram, wanted: CodeFilter, now: int) -> None:
        self.program = program
        self.wanted = wanted
        self.now = now
        self.shards = (program.first_shard, program.last_shard)
        self.scans: list[Scan] = []
        self._prefix = codetext.canonical(wanted.prefix, program.code_matching)
        self._is_change = False

    def filters(self, driving: str) -> list[Condition]:
        return texts.filters_of(
            self.wanted, self._prefix, self.now, is_change=self._is_change, driving=driving
        )

    def single_keys(self) -> list[tuple[int, str]]:
        """Return the keys of a filter that names single codes, in their order."""
        return sorted(
            (codetext.shard_key(self.program.id, key, self.program.buckets), key)
            for key in self.wanted.codes
            if _is_storable(key)
        )

    def plan(self) -> Steps[bool]:
        """Choose the walks, none for single codes; say whether anything can match at all."""
        wanted, expires = self.wanted, self.wanted.expires
        batch = None
        if wanted.batch_id is not None:
            rows = yield Query(sql.BATCH, (wanted.batch_id,))
            batch = sql.batch_value(rows[0]) if rows else None
            if batch is None or batch.loyalty_id != self.program.id:
                return False
            self._is_change = batch.kind not in _MAKERS
        if not _is_storable(self._prefix):
            return False
        if wanted.holder is not None and not _is_storable(wanted.holder.profile_id):
            return False

        if wanted.codes:
            self.scans = []
        elif wanted.holder is not None:
            self.scans = [texts.by_holder(*wanted.holder)]
        elif batch is not None and self._is_change:
            self.scans = [texts.by_change(batch.id)]
        elif batch is not None:
            end = None if batch.last_seq is None else batch.last_seq + 1
            self.scans = [texts.by_creation(batch.first_seq, end)]
        elif self._prefix:
            self.scans = [texts.by_key(self._prefix)]
        elif wanted.attached:
            self.scans = [texts.by_attachment(wanted.attached)]
        elif wanted.created:
            self.scans = [(yield from self._created())]
        elif wanted.activated or wanted.state in (CodeState.ATTACHED, CodeState.ACTIVATED):
            self.scans = [texts.by_attachment(wanted.attached)]
        elif wanted.state is CodeState.FREE:
            living = self.now + 1
            first = living if expires.first is None else max(living, expires.first)
            self.scans = [texts.by_expiry(first, expires.end)]
        elif expires or wanted.state is CodeState.EXPIRED:
            end = sql.NEVER if expires.end is None else expires.end
            if wanted.state is CodeState.EXPIRED:
                end = min(end, self.now + 1)
            self.scans = [
                texts.by_expiry(expires.first, end),
                texts.by_attachment(wanted.attached),
            ]
        else:
            self.scans = [texts.by_creation()]
        return True

    def _created(self) -> Steps[Scan]:
        """Return the part of the creation sequence in which a span of dates lies."""
        span = self.wanted.created
        rows = yield texts.longest_batch(self.program.id, self.now, span)
        slack = rows[0][0] + SLACK_US
        first_seq = end_seq = None
        if span.first is not None:
            rows = yield texts.seq_around(self.program.first_shard, span.first - slack)
            first_seq = rows[0][0] + 1
        if span.end is not None:
            rows = yield texts.seq_around(self.program.first_shard, span.end + slack)
            end_seq = rows[0][1]
        return texts.by_creation(first_seq, end_seq)

    def in_order(
        self, dialect: Dialect, draft: Draft, made: str, columns: str = texts.CODES
    ) -> str:
        """Return the SELECT of what is made of each code that matches, in order of creation."""
        # Parentheses around a UNION with its ORDER BY outside are read alike by both databases.
        return (
            f"SELECT {made} FROM ({self.selected(dialect, draft, columns)}) p "
            f"ORDER BY {dialect.creation_order}"
        )

    def selected(self, dialect: Dialect, draft: Draft, columns: str = texts.CODES) -> str:
        """Return the SELECT of everything that matches, in no order."""
        if self.wanted.codes:
            keys, filters = self.single_keys(), self.filters("given")
            return texts.single_codes(dialect, draft, keys, filters, columns)
        filters_of_each = [self.filters(scan.table) for scan in self.scans]
        return texts.everything(dialect, draft, self.scans, filters_of_each, self.shards, columns)


# -- pages ---------------------------------------------------------------------------------


def page(
    dialect: Dialect,
    program: LoyaltyProgram,
    wanted: CodeFilter,
    *,
    now: int,
    after: str | None,
    most: int,
) -> Steps[CodePage]:
    """Return a page of codes.

    Raises:
        BadValue: `after` is not the `next` of a page of this search.
    """
    digest = _filter_digest(program, wanted)
    position = None if after is None else _position(after, digest)
    search = _Search(program, wanted, now)
    if not (yield from search.plan()):
        return CodePage([], None)

    if wanted.codes:
        return (yield from _page_of_single_codes(dialect, search, digest, position, most))
    if program.buckets > 1 and search.scans[0].is_by_creation:
        return (yield from _page_of_windows(dialect, search, digest, position, most))
    return (yield from _page_of_blocks(dialect, search, digest, position, most))


def _page_of_single_codes(
    dialect: Dialect, search: _Search, digest: str, position: list[Any] | None, most: int
) -> Steps[CodePage]:
    keys = search.single_keys()
    if position is not None:
        shard, key = _checked(position, (int, str))
        keys = [known for known in keys if known > (shard, key)]
    looked_at, rest = keys[:SINGLE_CODES_MAX], keys[SINGLE_CODES_MAX:]
    draft = Draft()
    text = texts.single_codes(dialect, draft, looked_at, search.filters("given"))
    rows = yield draft.query(text)
    codes = sorted(map(PromoCode._make, rows))
    if len(codes) > most:
        codes = codes[:most]
        return CodePage(codes, _cursor(digest, codes[-1].shard_key, codes[-1].code_key))
    return CodePage(codes, _cursor(digest, *looked_at[-1]) if rest else None)


def _page_of_blocks(
    dialect: Dialect, search: _Search, digest: str, position: list[Any] | None, most: int
) -> Steps[CodePage]:
    """Walk shard after shard; a cursor is the number of the walk, the shard, and the key in it."""
    codes: list[PromoCode] = []
    start, shard, key = 0, search.shards[0], None
    if position is not None:
        start, shard, key = _checked_block(position, search)
    shards_left = dialect.shards_a_page
    for number, scan in enumerate(search.scans[start:], start):
        filters = search.filters(scan.table)
        for run in _runs(dialect, scan, search.shards, shard, key):
            if run.after is None and shards_left <= 0:
                return CodePage(codes, _cursor(digest, number, run.shards[0], None))
            shards_left -= run.shards[1] - run.shards[0] + 1
            wanted = most - len(codes)
            rows = yield texts.block(dialect, scan, filters, run, LOOKED_AT_MAX, wanted)
            codes += map(PromoCode._make, rows)
            if len(rows) == wanted:
                last = codes[-1]
                return CodePage(codes, _cursor(digest, number, last.shard_key, scan.key_of(last)))
            rows = yield texts.horizon(dialect, scan, run, LOOKED_AT_MAX)
            if rows:
                return CodePage(codes, _cursor(digest, number, rows[0][0], list(rows[0][1:])))
        shard, key = search.shards[0], None
    return CodePage(codes, None)


def _checked_block(position: list[Any], search: _Search) -> tuple[int, int, list[Any] | None]:
    if len(position) != 3:
        raise _bad_cursor()
    number, shard, key = position
    _checked([number, shard], (int, int))
    first, last = search.shards
    if not 0 <= number < len(search.scans) or not first <= shard <= last:
        raise _bad_cursor()
    if key is not None:
        _checked(key, [kind for _, kind in search.scans[number].order])
    return number, shard, key


def _runs(
    dialect: Dialect, scan: Scan, shards: tuple[int, int], shard: int, key: list[Any] | None
) -> Iterator[Run]:
    """Yield the runs of a walk from a position on: the rest of its shard, then the others."""
    if key is not None:
        here = shard, shard
        if len(key) == 2:
            yield Run(here, key[1], tie=key[0])
        yield Run(here, key[0])
        shard += 1
    at_once = BUCKETS_MAX if scan.crosses_shards else dialect.shards_at_once
    while shard <= shards[1]:
        last = min(shards[1], shard + at_once - 1)
        yield Run((shard, last))
        shard = last + 1


def _page_of_windows(
    dialect: Dialect, search: _Search, digest: str, position: list[Any] | None, most: int
) -> Steps[CodePage]:
    """Walk the creation sequence of all shards together; a cursor is the sequence it got to.

    A window of the sequence holds at most as many codes as it is long, for a sequence number is
    given once; it begins at a code that exists, so gaps cost nothing.
    """
    (scan,) = search.scans
    filters = search.filters(scan.table)
    below = INTEGER_MAX if scan.end is None else scan.end
    if position is not None:
        (below,) = _checked(position, (int,))
    codes: list[PromoCode] = []
    for _ in range(WINDOWS):
        ((latest,),) = yield texts.latest_seq(search.shards, scan, below)
        if latest is None:
            return CodePage(codes, None)
        first = latest - LOOKED_AT_MAX // WINDOWS + 1
        wanted = most - len(codes)
        rows = yield texts.window(dialect, filters, search.shards, (first, latest), wanted)
        codes += map(PromoCode._make, rows)
        below = first
        if len(rows) == wanted:
            below = codes[-1].seq
            break
    return CodePage(codes, _cursor(digest, below))


# -- everything ----------------------------------------------------------------------------


def walk(
    dialect: Dialect, program: LoyaltyProgram, wanted: CodeFilter, now: int
) -> Steps[Query | None]:
    """Return the query of every code that matches, in order of creation; None: there is none."""
    search = _Search(program, wanted, now)
    if not (yield from search.plan()):
        return None
    draft = Draft()
    return draft.query(search.in_order(dialect, draft, "*"))


def lines(
    dialect: Dialect, program: LoyaltyProgram, wanted: CodeFilter, notation: Notation, now: int
) -> Steps[Query | None]:
    """Return the query of every code's line, as `walk` does of the codes."""
    search = _Search(program, wanted, now)
    if not (yield from search.plan()):
        return None
    draft = Draft()
    line = lines_sql.line(dialect, draft, notation, now)
    return draft.query(search.in_order(dialect, draft, line, lines_sql.COLUMNS))


def count(
    dialect: Dialect, program: LoyaltyProgram, wanted: CodeFilter, now: int, most: int
) -> Steps[int]:
    """Return how many codes match, counted up to `most`."""
    search = _Search(program, wanted, now)
    if not (yield from search.plan()):
        return 0
    draft = Draft()
    selected = search.selected(dialect, draft, "1")
    rows = yield draft.query(
        f"SELECT count(*) FROM (SELECT 1 FROM ({selected}) p LIMIT {draft.put(most)}) p"
    )
    return int(rows[0][0])


# -- wallets and events --------------------------------------------------------------------


def wallet(
    dialect: Dialect,
    holder: Holder,
    *,
    programs: Collection[int] | None,
    after: str | None,
    most: int,
) -> Steps[WalletPage]:
    """Return a page of what a profile holds.

    Raises:
        BadValue: `after` is not the `next` of a page of this wallet.
    """
    digest = _digest("wallet", tuple(holder), programs if programs is None else sorted(programs))
    position = None
    if after is not None:
        position = _checked(_position(after, digest), (int, int, str))
    if not _is_storable(holder.profile_id):
        return WalletPage([], None)
    rows = yield texts.wallet(dialect, holder, programs, position, most)
    codes = [HeldCode(PromoCode._make(row[1:]), row[0]) for row in rows]
    if len(codes) < most:
        return WalletPage(codes, None)
    last = codes[-1]
    position = [last.attached_at, last.code.shard_key, last.code.code_key]
    return WalletPage(codes, _cursor(digest, *position))


def events(
    dialect: Dialect, program: LoyaltyProgram, *, after: str | None, most: int
) -> Steps[tuple[list[Event], str | None]]:
    """Return a page of what happened in a program.

    Of each shard a few events are read, more than its share. As far down as the shard goes that
    was cut off latest, nothing is missing; the page ends there.

    Raises:
        BadValue: `after` is not the `next` of a page of this program.
    """
    digest = _digest("events", program.id)
    before = None
    if after is not None:
        try:
            before = bytes.fromhex(_checked(_position(after, digest), (str,))[0])
        except ValueError:
            raise _bad_cursor() from None

    share = most if program.buckets == 1 else max(8, 4 * most // program.buckets)
    first, last = program.first_shard, program.last_shard
    found: list[Event] = []
    for shard in range(first, last + 1, dialect.shards_at_once):
        shards = shard, min(last, shard + dialect.shards_at_once - 1)
        rows = yield texts.latest_events(dialect, shards, before, share)
        found += map(Event._make, rows)

    cut_off = _cut_off(found, share)
    reached = sorted(
        (event for event in found if event.event_id >= cut_off),
        key=lambda event: event.event_id,
        reverse=True,
    )[:most]
    is_more = bool(cut_off) or len(reached) < len(found)
    return reached, _cursor(digest, reached[-1].event_id.hex()) if is_more else None


def _cut_off(found: list[Event], share: int) -> bytes:
    """Return the event down to which every shard was read; empty: to the end."""
    counts: dict[int, int] = {}
    earliest: dict[int, bytes] = {}
    for event in found:
        shard = event.shard_key
        counts[shard] = counts.get(shard, 0) + 1
        earliest[shard] = min(event.event_id, earliest.get(shard, event.event_id))
    return max((earliest[shard] for shard, n in counts.items() if n == share), default=b"")
