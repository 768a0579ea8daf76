"""The statements of bulk changes, of taking batches back, and of low stock."""

from promint.store.sql import CODE_COLUMNS, NEVER

# -- what a batch did ----------------------------------------------------------------------

# A code that the batch itself made stays one that it made, whatever it did to it later.
INSERT_CHANGE = """
INSERT INTO batch_change (shard_key, batch_id, code_key, before, version_after)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (shard_key, batch_id, code_key) DO UPDATE SET version_after = excluded.version_after,
    before = CASE WHEN batch_change.before = 'null' THEN 'null' ELSE excluded.before END"""

POSTGRES_INSERT_CHANGES = INSERT_CHANGE.replace(
    "VALUES ($1, $2, $3, $4, $5)",
    "SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::bigint[]) v",
)

DELETE_CHANGE = """
DELETE FROM batch_change WHERE shard_key = $1 AND batch_id = $2 AND code_key = $3"""

POSTGRES_DELETE_CHANGES = """
DELETE FROM batch_change b USING unnest($1::bigint[], $2::bigint[], $3::text[]) v(s, b, c)
WHERE b.shard_key = v.s AND b.batch_id = v.b AND b.code_key = v.c"""

# What is looked up of each row is a subquery of its own: whatever a planner believes of the sizes
# of tables, such a one is answered by key.
_OF = "v.shard_key = {0}.shard_key AND v.code_key = {0}.code_key AND v.code_key IS NOT NULL"
_LAST = f"FROM event v WHERE {_OF.format('b')} ORDER BY v.version DESC LIMIT 1"
CHANGES = f"""
SELECT b.shard_key, b.batch_id, b.code_key, b.before, b.version_after,
    (SELECT v.kind {_LAST}), (SELECT v.version {_LAST})
FROM batch_change b WHERE b.shard_key = $1 AND b.batch_id = $2 AND b.code_key > $3
ORDER BY b.shard_key, b.batch_id, b.code_key LIMIT $4"""

FORGET_CHANGES = """
DELETE FROM batch_change WHERE shard_key = $1 AND batch_id = $2 AND code_key IN (
    SELECT code_key FROM batch_change WHERE shard_key = $1 AND batch_id = $2
    ORDER BY code_key LIMIT $3)"""

# The codes that a batch made lie in its run of the creation sequence, maybe among others. The
# event of a code's own version is there if anything has happened to it since.
_MADE = ", ".join(f"p.{column}" for column in CODE_COLUMNS.split(", "))
MADE = f"""
SELECT {_MADE},
    (SELECT v.kind FROM event v WHERE {_OF.format("p")} AND v.version = p.version)
FROM promo_code p
WHERE p.shard_key = $1 AND p.seq > $2 AND p.seq <= $3 AND p.batch_id = $4
ORDER BY p.shard_key, p.seq LIMIT $5"""

# -- codes that go -------------------------------------------------------------------------

DELETE_UNCHANGED = """
DELETE FROM promo_code WHERE shard_key = $1 AND code_key = $2 AND version = $3"""

POSTGRES_DELETE_UNCHANGED = """
DELETE FROM promo_code p USING unnest($1::bigint[], $2::text[], $3::bigint[]) v(s, c, n)
WHERE p.shard_key = v.s AND p.code_key = v.c AND p.version = v.n"""

ATTACHED_AT = """
SELECT attached_at FROM attachment
WHERE shard_key = $1 AND code_key = $2 AND database_id = $3 AND profile_id = $4"""

POSTGRES_ATTACHED_AT = """
SELECT a.shard_key, a.code_key, a.database_id, a.profile_id, a.attached_at
FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::text[]) v(s, c, d, h)
JOIN attachment a ON a.shard_key = v.s AND a.code_key = v.c
    AND a.database_id = v.d AND a.profile_id = v.h"""

# -- low stock -----------------------------------------------------------------------------

_FREE = f"attach_count = 0 AND coalesce(expires_at, {NEVER})"

COUNT_FREE = f"""
SELECT count(*) FROM (SELECT 1 FROM promo_code
    WHERE shard_key = $1 AND {_FREE} > $2 LIMIT $3) free"""

POSTGRES_COUNT_FREE = f"""
SELECT count(*) FROM (SELECT 1 FROM generate_series($1::bigint, $2::bigint) s
    CROSS JOIN LATERAL (SELECT 1 FROM promo_code p
        WHERE p.shard_key = s AND {_FREE} > $3::bigint LIMIT $4) one LIMIT $4) free"""
