"""What the check reads: whole tables, each once, in orders that can be laid side by side.

Only SELECT, and no parameters. Text is compared by its bytes in both databases, which is the
order of Python's strings; `{C}` and `{position}` stand where the databases differ.
"""

SQLITE = {"{C}": "", "{position}": "instr"}
POSTGRES = {"{C}": 'COLLATE "C"', "{position}": "strpos"}

CODES = """
SELECT shard_key, code_key, code, seq, created_at, expires_at, expiry_source, attached_at,
    activated_at, attach_count, activation_count, database_id, profile_id, batch_id, version
FROM promo_code ORDER BY shard_key, code_key"""

ATTACHMENTS = """
SELECT shard_key, code_key, database_id, profile_id, attached_at, personal
FROM attachment ORDER BY shard_key, code_key, database_id, profile_id"""

CODE_EVENTS = """
SELECT shard_key, code_key, coalesce(version, 0), kind, at, event_id, token_id, request_id,
    database_id, profile_id, attach_count, activation_count, activated_at, expires_at, details
FROM event WHERE code_key IS NOT NULL ORDER BY shard_key, code_key, version"""

# The attachment of a universal code is kept under a line feed, the code, another and the profile.
CHANGES = """
SELECT shard_key, CASE WHEN substr(code_key, 1, 1) = '\n'
    THEN substr(code_key, 2, {position}(substr(code_key, 2), '\n') - 1)
    ELSE code_key END {C} AS changed_key, batch_id, code_key, before, version_after
FROM batch_change ORDER BY shard_key, changed_key, version_after, batch_id, code_key"""

OTHER_EVENTS = """
SELECT shard_key, kind, at, event_id, token_id, request_id, database_id, profile_id, version,
    details
FROM event WHERE code_key IS NULL AND kind NOT IN (7, 8, 9) ORDER BY shard_key, event_id"""

PROGRAMS = """
SELECT id, name, active, multiple_usage, buckets, settings, created_at, version
FROM loyalty_program ORDER BY id"""

BATCHES = """
SELECT loyalty_id, id, kind, state, token_id, created_at, finished_at, parameters, total, inserted,
    duplicated, discarded, rejected, changed, undone, first_seq, last_seq
FROM batch ORDER BY loyalty_id, id"""

TALLIES = """
SELECT shard_key, kind, subject, count, next_seq, version
FROM tally ORDER BY shard_key, kind, subject"""

PROFILES = """
SELECT database_id, profile_id, created_at, updated_at, version
FROM profile ORDER BY database_id, profile_id"""

PROFILE_EVENTS = """
SELECT database_id, profile_id, shard_key, kind, at, event_id, token_id, request_id
FROM event WHERE code_key IS NULL AND kind IN (7, 8, 9)
ORDER BY database_id, profile_id {C}, at, event_id"""

HOLDERS = """
SELECT DISTINCT database_id, profile_id FROM attachment ORDER BY database_id, profile_id"""

IDENTITIES = """
SELECT database_id, profile_id, kind, value FROM profile_identity
ORDER BY database_id, profile_id"""

TOKENS = "SELECT id, created_at, revoked_at, rotated_at FROM token ORDER BY id"

DATABASES = "SELECT id, created_at, settings FROM profile_database ORDER BY id"

IDEMPOTENCY = """
SELECT shard_key, token_id, key, length(digest), status, keep_until
FROM idempotency ORDER BY shard_key, token_id, key"""

ORDERED_OTHERWISE = {
    "PROFILE_EVENTS": "laid beside the profiles, which have no shard",
    "HOLDERS": "laid beside the profiles, which have no shard",
}
"""Statements on the tables of codes that come in another order than by shard, with the reason."""
