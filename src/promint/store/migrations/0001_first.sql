-- Programs, codes and what happens to them. shard_key = loyalty_id * 4096 + bucket is the
-- first column of every key of code data: a plain column here, the distribution column on Citus.
-- Moments are UTC microseconds.

CREATE TABLE loyalty_program (
    id ${INTEGER} PRIMARY KEY,
    name TEXT NOT NULL,
    active ${INTEGER} NOT NULL,
    multiple_usage ${INTEGER} NOT NULL,
    buckets ${INTEGER} NOT NULL CHECK (buckets BETWEEN 1 AND 4096),
    settings TEXT NOT NULL,
    created_at ${INTEGER} NOT NULL,
    version ${INTEGER} NOT NULL,
    CHECK (created_at ${MOMENT}),
    CHECK (${SANE_SETTINGS})
) ${TABLE_END};

CREATE TABLE promo_code (
    shard_key ${INTEGER} NOT NULL,
    code_key ${KEY_TEXT} NOT NULL,
    code TEXT NOT NULL,
    seq ${INTEGER} NOT NULL,
    created_at ${INTEGER} NOT NULL,
    expires_at ${INTEGER},
    expiry_source ${INTEGER} NOT NULL,
    attached_at ${INTEGER},
    activated_at ${INTEGER},
    attach_count ${INTEGER} NOT NULL CHECK (attach_count >= 0),
    activation_count ${INTEGER} NOT NULL CHECK (activation_count >= 0),
    database_id ${INTEGER},
    profile_id TEXT,
    batch_id ${INTEGER},
    version ${INTEGER} NOT NULL,
    PRIMARY KEY (shard_key, code_key),
    CHECK (created_at ${MOMENT}),
    CHECK (expires_at ${MOMENT}),
    CHECK (attached_at ${MOMENT}),
    CHECK (activated_at ${MOMENT}),
    CHECK ((attach_count = 0) = (attached_at IS NULL)),
    CHECK ((attach_count = 0) = (profile_id IS NULL)),
    CHECK (activation_count = 0 OR attach_count > 0)
) ${HOT_TABLE_END};

-- Free codes, those that expire first first: a program full of expired codes is not scanned.
-- What is not attached is not activated (the CHECK above). The index leaves activation_count out,
-- so that PostgreSQL can activate a code without touching an index.
CREATE INDEX promo_code_free ON promo_code
    (shard_key, coalesce(expires_at, 9223372036854775807), code_key)
    WHERE attach_count = 0;

-- Order of creation: exports, and the oldest universal code with room.
CREATE INDEX promo_code_seq ON promo_code (shard_key, seq);

-- `personal` repeats the program's kind, so that the database itself refuses a second holder.
CREATE TABLE attachment (
    shard_key ${INTEGER} NOT NULL,
    code_key ${KEY_TEXT} NOT NULL,
    database_id ${INTEGER} NOT NULL,
    profile_id ${KEY_TEXT} NOT NULL,
    attached_at ${INTEGER} NOT NULL,
    personal ${INTEGER} NOT NULL,
    PRIMARY KEY (shard_key, code_key, database_id, profile_id)
) ${TABLE_END};

CREATE UNIQUE INDEX attachment_personal ON attachment (shard_key, code_key) WHERE personal = 1;

CREATE INDEX attachment_wallet ON attachment (database_id, profile_id, shard_key);

CREATE TABLE event (
    shard_key ${INTEGER} NOT NULL,
    event_id ${BYTES} NOT NULL,
    kind ${INTEGER} NOT NULL,
    at ${INTEGER} NOT NULL,
    token_id ${INTEGER} NOT NULL,
    request_id TEXT NOT NULL,
    code_key ${KEY_TEXT},
    version ${INTEGER},
    database_id ${INTEGER},
    profile_id TEXT,
    attach_count ${INTEGER},
    activation_count ${INTEGER},
    activated_at ${INTEGER},
    expires_at ${INTEGER},
    details TEXT,
    PRIMARY KEY (shard_key, event_id)
) ${TABLE_END};

-- One event for each version of a code, and a code's history in order.
CREATE UNIQUE INDEX event_version ON event (shard_key, code_key, version)
    WHERE code_key IS NOT NULL;

CREATE TABLE idempotency (
    shard_key ${INTEGER} NOT NULL,
    token_id ${INTEGER} NOT NULL,
    key ${KEY_TEXT} NOT NULL,
    digest ${BYTES} NOT NULL,
    status ${INTEGER} NOT NULL,
    reason TEXT NOT NULL,
    content_type TEXT NOT NULL,
    body ${BYTES} NOT NULL,
    keep_until ${INTEGER} NOT NULL,
    PRIMARY KEY (shard_key, token_id, key)
) ${TABLE_END};

CREATE INDEX idempotency_until ON idempotency (keep_until);

CREATE TABLE tally (
    shard_key ${INTEGER} NOT NULL,
    kind ${KEY_TEXT} NOT NULL,
    subject ${KEY_TEXT} NOT NULL,
    count ${INTEGER} NOT NULL CHECK (count >= 0),
    next_seq ${INTEGER} NOT NULL,
    version ${INTEGER} NOT NULL,
    PRIMARY KEY (shard_key, kind, subject)
) ${HOT_TABLE_END};

CREATE TABLE batch (
    id ${IDENTITY} PRIMARY KEY,
    loyalty_id ${INTEGER} NOT NULL,
    kind TEXT NOT NULL,
    source TEXT NOT NULL,
    created_at ${INTEGER} NOT NULL,
    token_id ${INTEGER} NOT NULL,
    inserted ${INTEGER} NOT NULL,
    duplicated ${INTEGER} NOT NULL,
    discarded ${INTEGER} NOT NULL
);

CREATE TABLE profile_database (
    id ${INTEGER} PRIMARY KEY,
    settings TEXT NOT NULL,
    created_at ${INTEGER} NOT NULL
) ${TABLE_END};

CREATE TABLE profile (
    database_id ${INTEGER} NOT NULL,
    profile_id ${KEY_TEXT} NOT NULL,
    data TEXT NOT NULL,
    created_at ${INTEGER} NOT NULL,
    updated_at ${INTEGER} NOT NULL,
    version ${INTEGER} NOT NULL,
    PRIMARY KEY (database_id, profile_id)
) ${TABLE_END};

-- kind 1 e-mail, 2 phone, 3 custom field.
CREATE TABLE profile_identity (
    database_id ${INTEGER} NOT NULL,
    kind ${INTEGER} NOT NULL,
    field_name ${KEY_TEXT} NOT NULL,
    value ${KEY_TEXT} NOT NULL,
    profile_id ${KEY_TEXT} NOT NULL,
    PRIMARY KEY (database_id, kind, field_name, value, profile_id)
) ${TABLE_END};

CREATE UNIQUE INDEX profile_identity_own ON profile_identity (database_id, kind, value)
    WHERE kind IN (1, 2);

CREATE INDEX profile_identity_profile ON profile_identity (database_id, profile_id);

CREATE TABLE token (
    id ${INTEGER} PRIMARY KEY,
    name TEXT NOT NULL,
    digest ${BYTES} NOT NULL UNIQUE,
    scopes TEXT NOT NULL,
    programs TEXT,
    databases TEXT,
    created_at ${INTEGER} NOT NULL,
    revoked_at ${INTEGER}
) ${TABLE_END};

