"""The statements of searching, put together from parts; values travel as parameters.

A `Scan` is a walk along one index. Its index is named on SQLite, where `INDEXED BY` fails rather
than scanning the table; on PostgreSQL the session forbids scanning, and LIMIT, LATERAL and
OFFSET 0 say which side of a join comes first, whatever the planner believes of a young table.
"""

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from promint.domain.model import BUCKETS_MAX, CodeState, PromoCode
from promint.store.searching import CodeFilter, Span
from promint.store.sql import CODE_COLUMNS, EVENT_COLUMNS, NEVER

EXPIRY = f"coalesce(p.expires_at, {NEVER})"

Condition = tuple[str, tuple[Any, ...]]
"""A text with `{}` for each of its values."""


class Query(NamedTuple):
    """A statement and its parameters, `$1` first."""

    text: str
    values: tuple[Any, ...] = ()


@dataclass(slots=True)
class Draft:
    """Collects the parameters of a statement while its text is put together."""

    values: list[Any] = field(default_factory=list)

    def put(self, value: Any) -> str:
        """Take a parameter and return how the text names it."""
        self.values.append(value)
        return f"${len(self.values)}"

    def all_of(self, conditions: Iterable[Condition]) -> str:
        """Return conditions as one text, their values taken."""
        texts = [text.format(*map(self.put, values)) for text, values in conditions]
        return " AND ".join(texts) or "1 = 1"

    def query(self, text: str) -> Query:
        """Return the whole."""
        return Query(text, tuple(self.values))


@dataclass(frozen=True, slots=True)
class Dialect:
    """Where the two databases differ.

    One statement walks at most `shards_at_once` shards, and one page `shards_a_page`.
    """

    is_postgres: bool
    shards_at_once: int
    shards_a_page: int

    def indexed(self, index: str) -> str:
        """Return what makes SQLite take an index, the primary key where it is empty."""
        if self.is_postgres:
            return ""
        return f" INDEXED BY {index}" if index else " NOT INDEXED"

    @property
    def creation_order(self) -> str:
        """Return by what codes are sorted to come in order of creation.

        A sequence number is given once. Where it came twice all the same, an import having gone
        on with another file, SQLite's index has the keys in order; PostgreSQL's has not, and
        would sort for it, which costs as much as an export's lines do.
        """
        return "p.seq" if self.is_postgres else "p.seq, p.code_key"

    def for_each_key(self, keys: str) -> str:
        """Return the join of `keys k`, walked in its order, with its codes `p`."""
        same = "p.shard_key = k.shard_key AND p.code_key = k.code_key"
        if self.is_postgres:
            codes = f"SELECT {CODE_COLUMNS} FROM promo_code p WHERE {same} OFFSET 0"
            return f"({keys}) k CROSS JOIN LATERAL ({codes}) p"
        return f"({keys}) k CROSS JOIN promo_code p NOT INDEXED ON {same}"

    def given_keys(self, listed: str) -> str:
        """Return a table of keys from a parameter that is a JSON list of `[shard, key]`."""
        if self.is_postgres:
            return (
                'SELECT (value ->> 0)::bigint AS shard_key, (value ->> 1) COLLATE "C" AS code_key '
                f"FROM jsonb_array_elements({listed}::jsonb) AS given(value)"
            )
        return f"SELECT value ->> 0 AS shard_key, value ->> 1 AS code_key FROM json_each({listed})"

    def given_numbers(self, listed: str) -> str:
        """Return a table of numbers from a parameter that is a JSON list of them."""
        if self.is_postgres:
            return f"SELECT value::bigint FROM jsonb_array_elements_text({listed}::jsonb) n(value)"
        return f"SELECT value FROM json_each({listed})"


SQLITE = Dialect(is_postgres=False, shards_at_once=1, shards_a_page=512)
POSTGRES = Dialect(is_postgres=True, shards_at_once=BUCKETS_MAX, shards_a_page=BUCKETS_MAX)


# -- walks along an index ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Scan:
    """A walk along one index, whose table is `p`, within each shard in `order`.

    `order` has the type of each column, `first` and `end` bound the first of them. `table` is
    `promo_code`, or another that leads to it by its key. Where the index has other columns
    before the shard, one walk `crosses_shards`.
    """

    order: tuple[tuple[str, type], ...]
    index: str = ""
    is_descending: bool = False
    conditions: tuple[Condition, ...] = ()
    first: Any = None
    end: Any = None
    table: str = "promo_code"
    crosses_shards: bool = False

    @property
    def is_by_creation(self) -> bool:
        """Whether it goes along the creation sequence."""
        return self.order[0][0] == "p.seq"

    @property
    def bounds(self) -> list[Condition]:
        """From where to where it goes."""
        return within(self.order[0][0], self.first, self.end)

    def key_of(self, code: PromoCode) -> list[Any]:
        """Return where in its shard's walk a code is."""
        values = {
            "p.code_key": code.code_key,
            "p.seq": code.seq,
            "p.attached_at": code.attached_at,
            EXPIRY: NEVER if code.expires_at is None else code.expires_at,
        }
        return [values[column] for column, _ in self.order]


class Run(NamedTuple):
    """A stretch of a walk that one range of its index holds.

    It goes through some shards; on after a value of the first column of the order; or, with a
    `tie`, through what has this value in the first column and goes on after one of the second.
    (SQLite does not find `(expression, column) > (a, b)` in an index.)
    """

    shards: tuple[int, int]
    after: Any = None
    tie: Any = None


def within(column: str, first: Any, end: Any) -> list[Condition]:
    """Return that a column is at least `first` and less than `end`; None is open."""
    conditions: list[Condition] = []
    if first is not None:
        conditions.append((f"{column} >= {{}}", (first,)))
    if end is not None:
        conditions.append((f"{column} < {{}}", (end,)))
    return conditions


def by_creation(first_seq: int | None = None, end_seq: int | None = None) -> Scan:
    """Walk along the creation sequence, the latest first."""
    return Scan(
        (("p.seq", int),), "promo_code_seq", is_descending=True, first=first_seq, end=end_seq
    )


def by_key(prefix: str) -> Scan:
    """Walk along the codes that begin so."""
    return Scan((("p.code_key", str),), first=prefix, end=after_prefix(prefix))


def after_prefix(prefix: str) -> str | None:
    """Return the first text after all that begin with `prefix`; None where there is none."""
    prefix = prefix.rstrip("\U0010ffff")
    if not prefix:
        return None
    following = ord(prefix[-1]) + 1
    return prefix[:-1] + chr(0xE000 if following == 0xD800 else following)


def by_attachment(span: Span) -> Scan:
    """Walk along the attached codes, the latest attachment first."""
    return Scan(
        (("p.attached_at", int), ("p.code_key", str)),
        "promo_code_attached",
        is_descending=True,
        conditions=(("p.attach_count > 0", ()),),
        first=span.first,
        end=span.end,
    )


def by_expiry(first: int | None, end: int | None) -> Scan:
    """Walk along the codes that are not attached, the earliest expiry first."""
    return Scan(
        ((EXPIRY, int), ("p.code_key", str)),
        "promo_code_free",
        conditions=(("p.attach_count = 0", ()),),
        first=first,
        end=end,
    )


def by_holder(database_id: int, profile_id: str) -> Scan:
    """Walk along what a profile holds."""
    return Scan(
        (("p.code_key", str),),
        "attachment_wallet",
        conditions=(("p.database_id = {} AND p.profile_id = {}", (database_id, profile_id)),),
        table="attachment",
        crosses_shards=True,
    )


def by_change(batch_id: int) -> Scan:
    """Walk along what a bulk change changed."""
    return Scan(
        (("p.code_key", str),),
        conditions=(("p.batch_id = {}", (batch_id,)),),
        table="batch_change",
    )


def _in_shards(draft: Draft, shards: tuple[int, int]) -> str:
    if shards[0] == shards[1]:
        return f"p.shard_key = {draft.put(shards[0])}"
    return f"p.shard_key BETWEEN {draft.put(shards[0])} AND {draft.put(shards[1])}"


def _walked(dialect: Dialect, scan: Scan, draft: Draft, columns: str, run: Run, most: int) -> str:
    """Return the SELECT of up to `most` rows of a run."""
    names = [column for column, _ in scan.order]
    lists_shards = run.shards[0] != run.shards[1] and not scan.crosses_shards
    series = ""
    if lists_shards:
        assert dialect.is_postgres
        first, last = map(draft.put, run.shards)
        series = f"generate_series({first}::bigint, {last}::bigint) AS s(n)"
    bounds = scan.bounds
    if run.tie is not None:
        bounds = [(f"{names.pop(0)} = {{}}", (run.tie,))]
    elif run.after is not None:
        # The position takes the place of the bound that it has passed: of two, SQLite would
        # find its way by one, and not the nearer.
        ahead = (scan.first, None) if scan.is_descending else (None, scan.end)
        bounds = within(names[0], *ahead)
    if run.after is not None:
        compared = "<" if scan.is_descending else ">"
        bounds.append((f"{names[0]} {compared} {{}}", (run.after,)))
    in_shards = "p.shard_key = s.n" if lists_shards else _in_shards(draft, run.shards)
    order = ", ".join(f"{name} DESC" if scan.is_descending else name for name in names)
    if scan.crosses_shards:
        order = f"p.shard_key, {order}"
    conditions = draft.all_of([*scan.conditions, *bounds])
    limit = draft.put(most)
    text = (
        f"SELECT {columns} FROM {scan.table} p{dialect.indexed(scan.index)} "
        f"WHERE {in_shards} AND {conditions} ORDER BY {order} LIMIT {limit}"
    )
    if lists_shards:
        text = f"SELECT p.* FROM {series} CROSS JOIN LATERAL ({text}) p LIMIT {limit}"
    return text


CODES = ", ".join(f"p.{column}" for column in CODE_COLUMNS.split(", "))
"""The columns of a code `p`."""


def block(
    dialect: Dialect, scan: Scan, filters: list[Condition], run: Run, bound: int, most: int
) -> Query:
    """Return up to `most` codes that pass the filters, of the next `bound` rows of a run."""
    draft = Draft()
    if scan.table == "promo_code":
        source = f"({_walked(dialect, scan, draft, CODES, run, bound)}) p"
    else:
        keys = _walked(dialect, scan, draft, "p.shard_key, p.code_key", run, bound)
        source = dialect.for_each_key(keys)
    return draft.query(
        f"SELECT {CODES} FROM {source} WHERE {draft.all_of(filters)} LIMIT {draft.put(most)}"
    )


def horizon(dialect: Dialect, scan: Scan, run: Run, bound: int) -> Query:
    """Return shard and key of the last of the next `bound` rows of a run, if there are so many."""
    draft = Draft()
    names = ", ".join(f"{column} AS k{number}" for number, (column, _) in enumerate(scan.order))
    walked = _walked(dialect, scan, draft, f"p.shard_key AS shard, {names}", run, bound)
    return draft.query(f"SELECT * FROM ({walked}) p LIMIT 1 OFFSET {draft.put(bound - 1)}")


# -- the creation sequence over many shards ------------------------------------------------

_SHARDS = """
WITH RECURSIVE s(n) AS
    (SELECT CAST({} AS BIGINT) UNION ALL SELECT n + 1 FROM s WHERE n < {})"""


def latest_seq(shards: tuple[int, int], scan: Scan, below: int) -> Query:
    """Return the highest sequence below one, in any of the shards."""
    draft = Draft()
    listed = _SHARDS.format(*map(draft.put, shards))
    bounds = draft.all_of(within("p.seq", scan.first, below))
    return draft.query(
        f"{listed} SELECT max((SELECT p.seq FROM promo_code p WHERE p.shard_key = s.n "
        f"AND {bounds} ORDER BY p.seq DESC LIMIT 1)) FROM s"
    )


def window(
    dialect: Dialect,
    filters: list[Condition],
    shards: tuple[int, int],
    seqs: tuple[int, int],
    most: int,
) -> Query:
    """Return the latest codes of all shards that pass, of a range of the creation sequence."""
    draft = Draft()
    listed = _SHARDS.format(*map(draft.put, shards))
    bounds = f"p.shard_key = s.n AND p.seq BETWEEN {draft.put(seqs[0])} AND {draft.put(seqs[1])}"
    if dialect.is_postgres:
        codes = f"SELECT {CODES} FROM promo_code p WHERE {bounds} OFFSET 0"
        source = f"s CROSS JOIN LATERAL ({codes}) p WHERE 1 = 1"
    else:
        source = f"s CROSS JOIN promo_code p INDEXED BY promo_code_seq WHERE {bounds}"
    return draft.query(
        f"{listed} SELECT {CODES} FROM {source} AND {draft.all_of(filters)} "
        f"ORDER BY p.seq DESC LIMIT {draft.put(most)}"
    )


# A sequence number is drawn after `created_at` was read, and how long after is bounded by the
# slack. So where a code's `created_at` is more than the slack before a moment, all codes of lower
# sequence came before that moment: true of any code, however the dates beside it are mixed.
# `low` is the highest such sequence that halving finds, `high` the lowest known to come after.
_MIDDLE = """(SELECT created_at FROM promo_code p WHERE p.shard_key = $1
    AND p.seq >= (low + high) / 2 ORDER BY p.seq LIMIT 1)"""
_SEQ_AROUND = f"""
WITH RECURSIVE halved(low, high, known) AS (
    SELECT CAST(-1 AS BIGINT), (SELECT coalesce(max(seq), 0) + 1 FROM promo_code
        WHERE shard_key = $1), CAST(NULL AS BIGINT)
    UNION ALL
    SELECT CASE WHEN {_MIDDLE} < $2 THEN (low + high) / 2 ELSE low END,
        CASE WHEN {_MIDDLE} < $2 THEN high ELSE (low + high) / 2 END,
        CASE WHEN {_MIDDLE} >= $2 THEN (low + high) / 2 ELSE known END
    FROM halved WHERE high - low > 1)
SELECT max(low), min(known) FROM halved"""


def seq_around(shard_key: int, moment: int) -> Query:
    """Return the last sequence surely before a moment, and the first one surely after."""
    return Query(_SEQ_AROUND, (shard_key, moment))


_DELAY = """
SELECT coalesce(max(took), 0) FROM (
    SELECT created_at, CASE WHEN state IN ('running', 'stopped') THEN CAST($1 AS BIGINT)
        ELSE coalesce(finished_at, created_at) END - created_at AS took
    FROM batch WHERE loyalty_id = $2) b
WHERE created_at < $3 AND created_at + took >= $4"""


def longest_batch(loyalty_id: int, now: int, span: Span) -> Query:
    """Return how long the longest batch took, of those that ran within a span."""
    end = NEVER if span.end is None else span.end
    first = -NEVER if span.first is None else span.first
    return Query(_DELAY, (now, loyalty_id, end, first))


# -- filters -------------------------------------------------------------------------------

_STATES = {
    CodeState.FREE: f"p.attach_count = 0 AND {EXPIRY} > {{}}",
    CodeState.ATTACHED: f"p.attach_count > 0 AND p.activated_at IS NULL AND {EXPIRY} > {{}}",
    CodeState.EXPIRED: "p.activated_at IS NULL AND p.expires_at <= {}",
}

_CHANGED = """
EXISTS (SELECT 1 FROM batch_change c
    WHERE c.shard_key = p.shard_key AND c.batch_id = {} AND c.code_key = p.code_key)"""
_HELD = """
EXISTS (SELECT 1 FROM attachment a WHERE a.shard_key = p.shard_key
    AND a.code_key = p.code_key AND a.database_id = {} AND a.profile_id = {})"""


def filters_of(
    wanted: CodeFilter, prefix: str, now: int, *, is_change: bool, driving: str
) -> list[Condition]:
    """Return what a code `p` has to be; what the `driving` table says already is left out."""
    conditions: list[Condition] = []
    if wanted.state is CodeState.ACTIVATED:
        conditions.append(("p.activated_at IS NOT NULL", ()))
    elif wanted.state is not None:
        conditions.append((_STATES[wanted.state], (now,)))
    if prefix:
        conditions += by_key(prefix).bounds
    if wanted.batch_id is not None and not is_change:
        conditions.append(("p.batch_id = {}", (wanted.batch_id,)))
    elif wanted.batch_id is not None and driving != "batch_change":
        conditions.append((_CHANGED, (wanted.batch_id,)))
    if wanted.holder is not None and driving != "attachment":
        conditions.append((_HELD, tuple(wanted.holder)))
    for column, span in (
        ("p.created_at", wanted.created),
        ("p.attached_at", wanted.attached),
        ("p.activated_at", wanted.activated),
        ("p.expires_at", wanted.expires),
    ):
        conditions += within(column, span.first, span.end)
    return conditions


# -- single codes, and everything at once --------------------------------------------------


def single_codes(
    dialect: Dialect,
    draft: Draft,
    keys: list[tuple[int, str]],
    filters: list[Condition],
    columns: str = CODES,
) -> str:
    """Return the SELECT of the codes of some keys that pass, in no order."""
    given = dialect.given_keys(draft.put(json.dumps(keys)))
    return f"SELECT {columns} FROM {dialect.for_each_key(given)} WHERE {draft.all_of(filters)}"


def everything(
    dialect: Dialect,
    draft: Draft,
    scans: list[Scan],
    filters: list[list[Condition]],
    shards: tuple[int, int],
    columns: str = CODES,
) -> str:
    """Return the SELECT of all codes of some walks that pass, in no order."""
    selects = []
    for scan, passing in zip(scans, filters, strict=True):
        conditions = f"{_in_shards(draft, shards)} AND " + draft.all_of(
            [*scan.conditions, *scan.bounds]
        )
        table = f"{scan.table} p{dialect.indexed(scan.index)}"
        if scan.table == "promo_code":
            source = f"{table} WHERE {conditions} AND"
        else:
            keys = f"SELECT p.shard_key, p.code_key FROM {table} WHERE {conditions}"
            source = f"{dialect.for_each_key(keys)} WHERE"
        selects.append(f"SELECT {columns} FROM {source} {draft.all_of(passing)}")
    return " UNION ALL ".join(selects)


# -- wallets and events --------------------------------------------------------------------


def wallet(
    dialect: Dialect,
    holder: tuple[int, str],
    programs: Collection[int] | None,
    after: list[Any] | None,
    most: int,
) -> Query:
    """Return what a profile holds, the latest first: when it got it, and the code."""
    draft = Draft()
    held = f"p.database_id = {draft.put(holder[0])} AND p.profile_id = {draft.put(holder[1])}"
    if programs is not None:
        listed = dialect.given_numbers(draft.put(json.dumps(sorted(programs))))
        held += f" AND p.shard_key / {BUCKETS_MAX} IN ({listed})"
    if after is not None:
        position = ", ".join(map(draft.put, after))
        held += f" AND (p.attached_at, p.shard_key, p.code_key) < ({position})"
    keys = (
        "SELECT p.attached_at, p.shard_key, p.code_key FROM attachment p"
        f"{dialect.indexed('attachment_wallet')} WHERE {held} "
        f"ORDER BY p.attached_at DESC, p.shard_key DESC, p.code_key DESC LIMIT {draft.put(most)}"
    )
    return draft.query(f"SELECT k.attached_at, {CODES} FROM {dialect.for_each_key(keys)}")


_LATEST_EVENTS = Scan((("p.event_id", bytes),), is_descending=True, table="event")
EVENTS = ", ".join(f"p.{column}" for column in EVENT_COLUMNS.split(", "))


def latest_events(
    dialect: Dialect, shards: tuple[int, int], before: bytes | None, most: int
) -> Query:
    """Return the latest events of each shard, at most so many of each."""
    draft = Draft()
    run = Run(shards, before)
    text = _walked(dialect, _LATEST_EVENTS, draft, EVENTS, run, most)
    if shards[0] != shards[1]:
        text = text.rpartition(" LIMIT ")[0]
    return draft.query(text)
