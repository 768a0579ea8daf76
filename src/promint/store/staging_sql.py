"""The statements of bulk: the stage beside the code tables, and the way from it into them.

The stage is a temporary table (PostgreSQL) or a file of its own (SQLite). `staged` takes the rows
as they come, `sorted` has them by key, numbered from 1 in that order: rows that go in by key touch
each page of the code table's tree once.
"""

from promint.store.sql import CODE_COLUMNS

STAGED_COLUMNS = (
    "shard_key, line, code_key, code, expires_at, fields, database_id, profile_id, "
    "attached_at, activated_at"
)

_STAGED_TABLE = """
    shard_key {integer} NOT NULL, line {integer} NOT NULL, code_key {text} NOT NULL,
    code TEXT NOT NULL, expires_at {integer}, fields TEXT, database_id {integer},
    profile_id TEXT, attached_at {integer}, activated_at {integer}"""

SQLITE_CREATE = f"""
CREATE TABLE staged ({_STAGED_TABLE.format(integer="INTEGER", text="TEXT")});
CREATE TABLE sorted (n INTEGER PRIMARY KEY, number INTEGER NOT NULL,
    {_STAGED_TABLE.format(integer="INTEGER", text="TEXT")})
"""
SQLITE_ADD = f"""
INSERT INTO staged ({STAGED_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
SQLITE_ADD_PLAIN = "INSERT INTO staged (shard_key, line, code_key, code) VALUES (?, ?, ?, ?)"
# `number` is a row's place in the order of creation: that of the file, or of the keys.
_BY_LINE = "row_number() OVER (ORDER BY line)"
SQLITE_SORT_SMALL = f"""
INSERT INTO sorted (number, {STAGED_COLUMNS})
SELECT {_BY_LINE}, {STAGED_COLUMNS} FROM staged ORDER BY shard_key, code_key, line"""
SQLITE_SORT = f"""
INSERT INTO sorted (number, {STAGED_COLUMNS})
SELECT 0, {STAGED_COLUMNS} FROM staged ORDER BY shard_key, code_key, line"""
SQLITE_COUNT = "SELECT count(*) FROM staged"

POSTGRES_CREATE = f"""
CREATE TEMP TABLE staged ({_STAGED_TABLE.format(integer="BIGINT", text='TEXT COLLATE "C"')})"""
# `{order}` is that of keys: without the shard where there is but one, since PostgreSQL compares
# texts by their first bytes at once only where they come first.
_POSTGRES_SORT = f"""
CREATE TEMP TABLE sorted AS
SELECT row_number() OVER (ORDER BY {{order}}) AS n, {{number}} AS number, {STAGED_COLUMNS}
FROM staged ORDER BY {{order}}"""
POSTGRES_SORT_SMALL = _POSTGRES_SORT.format(order="{order}", number=_BY_LINE)
POSTGRES_SORT = _POSTGRES_SORT.format(order="{order}", number="0::bigint")
ORDER_OF_KEYS = "shard_key, code_key, line"
ORDER_WITHIN_SHARD = "code_key, line"
POSTGRES_SORTED_KEY = "CREATE UNIQUE INDEX ON sorted (n)"

# -- what would happen ---------------------------------------------------------------------
#
# `r` is a row of the stage, `e` the row before it in the order of keys: with the same key it is
# the one that `r` repeats. `p` is the code that the program has.

_REPEATS = "r.shard_key = e.shard_key AND r.code_key = e.code_key"
_SAME_AS_STORED = "p.shard_key = r.shard_key AND p.code_key = r.code_key"

COUNT_STAGED = "SELECT count(*) FROM sorted"
COUNT_REPEATED = f"SELECT count(*) FROM sorted r JOIN sorted e ON e.n = r.n - 1 AND {_REPEATS}"
COUNT_STORED = f"""
SELECT count(*) FROM sorted r
LEFT JOIN sorted e ON e.n = r.n - 1 AND {_REPEATS}
JOIN {{codes}} p ON {_SAME_AS_STORED}
WHERE e.n IS NULL AND (p.batch_id IS NULL OR p.batch_id <> $1)"""

# The line of the first new row that finds no room, if so many have.
LINE_WITHOUT_ROOM = f"""
SELECT r.line FROM sorted r
LEFT JOIN sorted e ON e.n = r.n - 1 AND {_REPEATS}
LEFT JOIN {{codes}} p ON {_SAME_AS_STORED}
WHERE e.n IS NULL AND p.code_key IS NULL ORDER BY r.line LIMIT 1 OFFSET $1"""

# 1 repeats an earlier row, 2 is in the program already, 3 has no room (from line $2 on).
REFUSED = f"""
SELECT r.line, r.code,
    CASE WHEN e.n IS NOT NULL THEN 1 WHEN p.code_key IS NOT NULL THEN 2 ELSE 3 END AS why,
    CASE WHEN e.n IS NOT NULL THEN
        (SELECT min(f.line) FROM sorted f WHERE f.n < r.n AND f.n >= r.n - {{look_back}}
            AND f.shard_key = r.shard_key AND f.code_key = r.code_key) END AS first_line
FROM sorted r
LEFT JOIN sorted e ON e.n = r.n - 1 AND {_REPEATS}
LEFT JOIN {{codes}} p ON {_SAME_AS_STORED}
WHERE e.n IS NOT NULL OR (p.code_key IS NOT NULL AND (p.batch_id IS NULL OR p.batch_id <> $1))
    OR (p.code_key IS NULL AND r.line >= $2)
ORDER BY r.line"""

OTHER_SCRIPTS = """
SELECT 1 FROM {codes} WHERE shard_key = $1 AND code_key >= $2 LIMIT 1"""
BEYOND_ASCII = "\x80"

SORTED_BY_KEY = "CREATE INDEX sorted_key ON sorted (code_key)"
KNOWN_STAGED = "SELECT code FROM sorted WHERE code_key = $1 ORDER BY n LIMIT 1"

POSTGRES_KNOWN = """
SELECT v.c, coalesce(p.code, (SELECT r.code FROM sorted r WHERE r.code_key = v.c LIMIT 1))
FROM unnest($1::bigint[], $2::text[]) v(s, c)
LEFT JOIN promo_code p ON p.shard_key = v.s AND p.code_key = v.c
WHERE p.code_key IS NOT NULL OR EXISTS (SELECT 1 FROM sorted r WHERE r.code_key = v.c)"""

# -- the way in ----------------------------------------------------------------------------

_HELD = "r.database_id IS NOT NULL"
_INSERT_SELECT = f"""
INSERT INTO promo_code ({CODE_COLUMNS})
SELECT r.shard_key, r.code_key, r.code, {{seq}}, $1, coalesce(r.expires_at, $2),
    CASE WHEN r.expires_at IS NULL THEN $3 ELSE 0 END, r.attached_at, r.activated_at,
    CASE WHEN {_HELD} THEN 1 ELSE 0 END, CASE WHEN r.activated_at IS NULL THEN 0 ELSE 1 END,
    r.database_id, r.profile_id, $4, $5, r.fields
FROM {{source}} r WHERE r.n > $6 AND r.n <= $7 AND r.line < $8"""

_IS_NEW = f""" AND NOT EXISTS (SELECT 1 FROM {{source}} e WHERE e.n = r.n - 1 AND {_REPEATS})
    AND NOT EXISTS (SELECT 1 FROM promo_code p WHERE {_SAME_AS_STORED})"""
_IN_KEY_ORDER = " ORDER BY r.n"
_WITHIN_LIMIT = " ORDER BY r.line LIMIT $9"

SQLITE_INSERT = (
    _INSERT_SELECT.format(seq="{seq}", source="stage.sorted")
    + f"{_IN_KEY_ORDER} ON CONFLICT (shard_key, code_key) DO NOTHING"
)
SQLITE_INSERT_WITHIN = (
    _INSERT_SELECT.format(seq="{seq}", source="stage.sorted")
    + _IS_NEW.format(source="stage.sorted")
    + _WITHIN_LIMIT
)
# Without ON CONFLICT, which costs a third. Where nothing is there already, nothing has to be looked
# for, which costs as much; else it is left out by looking, and who creates one of these codes in
# this very moment makes the chunk go again.
POSTGRES_INSERT_NEW = _INSERT_SELECT.format(seq="{seq}", source="sorted") + _IN_KEY_ORDER
POSTGRES_INSERT = (
    _INSERT_SELECT.format(seq="{seq}", source="sorted")
    + _IS_NEW.format(source="sorted")
    + _IN_KEY_ORDER
)
POSTGRES_INSERT_WITHIN = (
    _INSERT_SELECT.format(seq="{seq}", source="sorted")
    + _IS_NEW.format(source="sorted")
    + _WITHIN_LIMIT
)

# Held codes of a chunk, to write their attachments and events. $1 is the batch. A row that repeats
# an earlier one of the file did not go in, whomever it names.
HELD_OF_CHUNK = f"""
SELECT r.shard_key, r.code_key, r.database_id, r.profile_id, r.attached_at, r.activated_at,
    p.expires_at, p.expiry_source, p.code, p.seq, p.version
FROM {{source}} r
JOIN promo_code p ON {_SAME_AS_STORED} AND p.batch_id = $1
WHERE r.n > $2 AND r.n <= $3 AND {_HELD}
    AND NOT EXISTS (SELECT 1 FROM {{source}} e WHERE e.n = r.n - 1 AND {_REPEATS})
    AND NOT EXISTS (SELECT 1 FROM attachment a WHERE a.shard_key = r.shard_key
        AND a.code_key = r.code_key AND a.database_id = r.database_id
        AND a.profile_id = r.profile_id)
    AND NOT EXISTS (SELECT 1 FROM event v WHERE v.shard_key = r.shard_key
        AND v.code_key = r.code_key AND v.version = p.version)
ORDER BY r.n"""

HAS_HELD = "SELECT 1 FROM sorted WHERE database_id IS NOT NULL LIMIT 1"

COUNT_CODES = """
UPDATE tally SET count = count + $1, version = version + 1
WHERE shard_key = $2 AND kind = 'codes' AND subject = ''"""

# A batch that is being taken back takes nothing more in, nor does one that has $3: the chunk that
# finds no row goes back.
COUNT_IN_BATCH = """
UPDATE batch SET inserted = inserted + $1
WHERE id = $2 AND state IN ('running', 'stopped') AND inserted + $1 <= $3 RETURNING id"""
