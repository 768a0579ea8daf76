-- Jobs are claimed, given back and tried again.

-- How often the job was begun; what was given back in order does not count.
ALTER TABLE job ADD COLUMN attempts ${INTEGER} NOT NULL DEFAULT 0;

-- Since when the phase runs, and from how many on: the rate is that of this phase.
ALTER TABLE job ADD COLUMN phase_at ${INTEGER};
ALTER TABLE job ADD COLUMN phase_from ${INTEGER} NOT NULL DEFAULT 0;

-- One at a time: whoever claims a second job of a program loses here, however the race went.
CREATE UNIQUE INDEX job_running ON job (loyalty_id) WHERE state = 'running';
