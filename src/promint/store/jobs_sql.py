"""The statements on jobs, in the form of `sql.py`, and how a row becomes a job."""

import json
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from promint.domain.model import ID_MAX, Job, JobState
from promint.store.jobs import Claim

_FIELDS = tuple(field.name for field in fields(Job) if field.name != "id")

JOB_COLUMNS = "id, " + ", ".join(_FIELDS)
INSERT_JOB = f"""
INSERT INTO job ({", ".join(_FIELDS)})
VALUES ({", ".join(f"${n}" for n, _ in enumerate(_FIELDS, 1))}) RETURNING id"""

JOB_READY = """
UPDATE job SET worker = NULL, heartbeat_at = NULL, phase = ''
WHERE id = $1 AND worker = $2 AND state = 'waiting'
RETURNING id"""

JOB = f"SELECT {JOB_COLUMNS} FROM job WHERE id = $1"

# Jobs are few; a page walks back over those of other programs and states.
JOBS = f"""
SELECT {JOB_COLUMNS} FROM job
WHERE id < $1 AND ($2 = -1 OR loyalty_id = $2) AND ($3 = '' OR state = $3)
ORDER BY id DESC LIMIT $4"""

# Of those that wait, the next older one; if there is none, the one that runs.
JOB_AHEAD = """
SELECT id FROM job
WHERE loyalty_id = $1
    AND (state = 'running' OR (state = 'waiting' AND worker IS NULL AND id < $2))
ORDER BY state DESC, id DESC LIMIT 1"""

JOBS_RUNNING = f"SELECT {JOB_COLUMNS} FROM job WHERE state = 'running' ORDER BY id"

_CLAIMABLE = """
SELECT w.id FROM job w
WHERE w.state = 'waiting' AND w.worker IS NULL AND NOT EXISTS
    (SELECT 1 FROM job r WHERE r.state = 'running' AND r.loyalty_id = w.loyalty_id)
ORDER BY w.id LIMIT 1"""
JOB_CLAIMABLE = _CLAIMABLE

_BEGIN = """
UPDATE job SET state = 'running', worker = $1, started_at = coalesce(started_at, $2),
    heartbeat_at = CASE WHEN heartbeat_at >= $2 THEN heartbeat_at + 1 ELSE $2 END,
    attempts = attempts + 1, phase_at = NULL"""

# The state is asked for again: on PostgreSQL another may have claimed the row while this waited.
CLAIM_JOB = f"""{_BEGIN}
WHERE id = ({_CLAIMABLE}) AND state = 'waiting'
RETURNING {JOB_COLUMNS}"""

TAKE_JOB_OVER = f"""{_BEGIN}
WHERE id = $3 AND state = 'running' AND heartbeat_at = $4
RETURNING {JOB_COLUMNS}"""

JOB_HEARTBEAT = """
UPDATE job SET
    heartbeat_at = CASE WHEN heartbeat_at >= $1 THEN heartbeat_at + 1 ELSE $1 END,
    done = $2, total = $3, phase = $4, phase_at = $5, phase_from = $6
WHERE id = $7 AND worker = $8 AND state = 'running'
RETURNING cancel_requested"""

SET_JOB_BATCH = """
UPDATE job SET batch_id = $1 WHERE id = $2 AND worker = $3 AND state = 'running' RETURNING id"""

FINISH_JOB = """
UPDATE job SET state = $1, result = $2, error = $3, finished_at = $4, worker = NULL
WHERE id = $5 AND worker = $6 AND state = 'running'
RETURNING id"""

GIVE_JOB_BACK = f"""
UPDATE job SET state = CASE WHEN cancel_requested = 1 THEN 'cancelled' ELSE 'waiting' END,
    finished_at = CASE WHEN cancel_requested = 1 THEN $1 ELSE finished_at END,
    worker = NULL, attempts = attempts - $2
WHERE id = $3 AND worker = $4 AND state = 'running'
RETURNING {JOB_COLUMNS}"""

CANCEL_JOB = f"""
UPDATE job SET cancel_requested = 1,
    finished_at = CASE WHEN state = 'waiting' THEN $1 ELSE finished_at END,
    worker = CASE WHEN state = 'waiting' THEN NULL ELSE worker END,
    state = CASE WHEN state = 'waiting' THEN 'cancelled' ELSE state END
WHERE id = $2 AND state IN ('waiting', 'running')
RETURNING {JOB_COLUMNS}"""

# Held until the part is in: the claim cannot be lost in between. Only a file that comes in says
# by its parts that somebody lives.
HOLD_JOB = """
UPDATE job SET heartbeat_at = CASE WHEN state = 'waiting' THEN $1 ELSE heartbeat_at END
WHERE id = $2 AND worker = $3 AND state IN ('waiting', 'running')
RETURNING id"""

INSERT_JOB_PART = "INSERT INTO job_file (job_id, kind, part, content) VALUES ($1, $2, $3, $4)"
DELETE_JOB_FILE = "DELETE FROM job_file WHERE job_id = $1 AND kind = $2"
JOB_PART = "SELECT content FROM job_file WHERE job_id = $1 AND kind = $2 AND part = $3"
JOB_FILES = """
SELECT kind, sum(length(content)) FROM job_file WHERE job_id = $1 GROUP BY kind ORDER BY kind"""

FAIL_UPLOADS = """
UPDATE job SET state = 'failed', error = $1, finished_at = $2, worker = NULL
WHERE state = 'waiting' AND worker IS NOT NULL AND heartbeat_at < $3
RETURNING id"""

FORGET_JOB_FILES = """
DELETE FROM job_file WHERE (job_id, kind, part) IN
    (SELECT f.job_id, f.kind, f.part FROM job j JOIN job_file f ON f.job_id = j.id
     WHERE j.finished_at < $1 LIMIT $2)
RETURNING job_id"""


def job_row(job: Job) -> tuple[Any, ...]:
    """Return the parameters of INSERT_JOB."""
    row = {name: getattr(job, name) for name in _FIELDS}
    row["parameters"] = json.dumps(job.parameters, ensure_ascii=False)
    row["result"] = result_text(job.result)
    row["cancel_requested"] = int(job.cancel_requested)
    return tuple(row.values())


def result_text(result: dict[str, Any] | None) -> str | None:
    """Return what a job came to as the store keeps it."""
    return None if result is None else json.dumps(result, ensure_ascii=False)


def jobs_page(
    loyalty_id: int | None, state: JobState | None, before_id: int | None, most: int
) -> tuple[int, int, str, int]:
    """Return the parameters of JOBS."""
    return (
        ID_MAX if before_id is None else min(before_id, ID_MAX),
        -1 if loyalty_id is None else loyalty_id,
        state or "",
        most,
    )


def job_value(row: Any) -> Job:
    """Make a job of its row, JOB_COLUMNS."""
    values = dict(zip(("id", *_FIELDS), tuple(row), strict=True))
    values["state"] = JobState(values["state"])
    values["parameters"] = json.loads(values["parameters"])
    values["result"] = None if values["result"] is None else json.loads(values["result"])
    values["cancel_requested"] = bool(values["cancel_requested"])
    return Job(**values)


def claim_value(rows: Sequence[Any]) -> Claim:
    """Say what the answer to JOB_HEARTBEAT means."""
    if not rows:
        return Claim.LOST
    return Claim.CANCEL if rows[0][0] else Claim.HELD
