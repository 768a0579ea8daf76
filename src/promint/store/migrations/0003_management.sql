-- What the people who run programs need: additional data, batches that can be taken back, jobs.

ALTER TABLE promo_code ADD COLUMN fields TEXT;

-- Held codes by the date of their (last) attachment. Grows at its end with each attach; an
-- activation does not touch it.
CREATE INDEX promo_code_attached ON promo_code (shard_key, attached_at, code_key)
    WHERE attach_count > 0;

-- state: running, done, failed, cancelled, undone. The codes that a batch made have a creation
-- sequence from first_seq to last_seq, and its id; so they are found without an index of their own.
ALTER TABLE batch ADD COLUMN state TEXT NOT NULL DEFAULT 'done';
ALTER TABLE batch ADD COLUMN author TEXT NOT NULL DEFAULT '';
ALTER TABLE batch ADD COLUMN parameters TEXT NOT NULL DEFAULT '{}';
ALTER TABLE batch ADD COLUMN total ${INTEGER} NOT NULL DEFAULT 0;
ALTER TABLE batch ADD COLUMN changed ${INTEGER} NOT NULL DEFAULT 0;
ALTER TABLE batch ADD COLUMN rejected ${INTEGER} NOT NULL DEFAULT 0;
ALTER TABLE batch ADD COLUMN undone ${INTEGER} NOT NULL DEFAULT 0;
ALTER TABLE batch ADD COLUMN touched ${INTEGER} NOT NULL DEFAULT 0;
ALTER TABLE batch ADD COLUMN first_seq ${INTEGER};
ALTER TABLE batch ADD COLUMN last_seq ${INTEGER};
ALTER TABLE batch ADD COLUMN position TEXT NOT NULL DEFAULT '';
ALTER TABLE batch ADD COLUMN finished_at ${INTEGER};

CREATE INDEX batch_program ON batch (loyalty_id, id);

-- A code as it was before a bulk change (a row of promo_code as JSON), and the version that the
-- change gave it: while the code still has that version, the change can be taken back.
CREATE TABLE batch_change (
    shard_key ${INTEGER} NOT NULL,
    batch_id ${INTEGER} NOT NULL,
    code_key ${KEY_TEXT} NOT NULL,
    before TEXT NOT NULL,
    version_after ${INTEGER} NOT NULL,
    PRIMARY KEY (shard_key, batch_id, code_key)
) ${TABLE_END};

-- Long work. state: waiting, running, done, failed, cancelled. A running job whose worker has not
-- been heard of since heartbeat_at is taken over by another.
CREATE TABLE job (
    id ${IDENTITY} PRIMARY KEY,
    kind TEXT NOT NULL,
    loyalty_id ${INTEGER} NOT NULL,
    state TEXT NOT NULL,
    parameters TEXT NOT NULL,
    batch_id ${INTEGER},
    done ${INTEGER} NOT NULL DEFAULT 0,
    total ${INTEGER},
    phase TEXT NOT NULL DEFAULT '',
    result TEXT,
    error TEXT,
    author TEXT NOT NULL,
    token_id ${INTEGER} NOT NULL,
    worker TEXT,
    cancel_requested ${INTEGER} NOT NULL DEFAULT 0,
    created_at ${INTEGER} NOT NULL,
    started_at ${INTEGER},
    heartbeat_at ${INTEGER},
    finished_at ${INTEGER}
);

CREATE INDEX job_waiting ON job (state, loyalty_id, id);

-- The files of jobs, in parts: what was uploaded (kind 'input') and what came of it ('rejects',
-- 'export').
CREATE TABLE job_file (
    job_id ${INTEGER} NOT NULL,
    kind ${KEY_TEXT} NOT NULL,
    part ${INTEGER} NOT NULL,
    content ${BYTES} NOT NULL,
    PRIMARY KEY (job_id, kind, part)
) ${TABLE_END};
