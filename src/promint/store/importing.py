"""What the two stores share of an import: who is new, who has room, what is recorded."""

import json
from collections.abc import Container, Sequence
from typing import Any

from promint.domain.errors import AlreadyUndone
from promint.domain.model import (
    Batch,
    BatchKind,
    BatchState,
    Event,
    EventKind,
    ExpirySource,
    LoyaltyProgram,
)
from promint.store import CodeImport, CodeImported
from promint.store.sql import NEVER
from promint.store.staging import FILE_ORDER_MAX, BatchFull, Insertion, Refusal, RefusedRow

Accepted = list[tuple[int, str, str]]
"""`(shard_key, code_key, code)` of the codes to insert, in order of creation."""


def sort_out(
    job: CodeImport, keys: Sequence[tuple[int, str]], known: Container[str], room: int | None
) -> tuple[CodeImported, Accepted]:
    """Split an import into duplicates, codes over the limit, and codes to insert.

    `known` holds the keys that the program has already; `room` is how many more it may
    hold, None for any number. The first ones of the list get it.
    """
    duplicates, over_limit = set(), set()
    accepted: Accepted = []
    for (shard_key, code_key), (_, code) in zip(keys, job.codes, strict=True):
        if code_key in known:
            duplicates.add(code_key)
        elif room is not None and len(accepted) >= room:
            over_limit.add(code_key)
        else:
            accepted.append((shard_key, code_key, code))
    imported = CodeImported(len(accepted), frozenset(duplicates), frozenset(over_limit))
    return imported, accepted


def import_batch(job: CodeImport, imported: CodeImported, first_seq: int) -> Batch:
    """Return the batch of an import that is whole: one transaction, done when it commits."""
    return Batch(
        0,
        job.program.id,
        BatchKind.IMPORT,
        BatchState.DONE,
        job.source,
        job.author,
        job.token_id,
        job.now,
        job.now,
        total=len(job.codes),
        inserted=imported.inserted,
        duplicated=len(imported.duplicates),
        discarded=len(imported.over_limit),
        first_seq=first_seq,
        last_seq=first_seq + imported.inserted - 1,
    )


def _as_new(program: LoyaltyProgram) -> dict[str, Any]:
    """Return what an import's event says of each of its codes, which have none of their own."""
    return {
        "first_version": program.first_version,
        "default_expire_date": program.default_expire_date,
    }


def import_event(
    job: CodeImport, program: LoyaltyProgram, batch_id: int, imported: CodeImported
) -> Event:
    """Return the one event of an import; each code points to its batch."""
    details = {
        "batch_id": batch_id,
        "inserted": imported.inserted,
        "duplicated": len(imported.duplicates),
        "discarded_by_limit": len(imported.over_limit),
        **_as_new(program),
    }
    return Event(
        job.program.first_shard,
        job.event_id,
        EventKind.IMPORTED,
        job.now,
        job.token_id,
        job.request_id,
        details=json.dumps(details),
    )


REFUSALS = {
    1: Refusal.DUPLICATE_IN_FILE,
    2: Refusal.DUPLICATE_IN_PROGRAM,
    3: Refusal.OVER_LIMIT,
}


def refused_row(row: Any) -> RefusedRow:
    """Make a refused row of a row of `staging_sql.REFUSED`."""
    line, code, why, first_line = row
    return RefusedRow(line, code, REFUSALS[why], first_line)


def closed(batch: Batch) -> Exception:
    """Return why a batch takes no more of a stage in."""
    if batch.state in (BatchState.UNDOING, BatchState.UNDONE):
        return AlreadyUndone(str(batch.id))
    return BatchFull(str(batch.id))


def chunk_event(insertion: Insertion, program: LoyaltyProgram, count: int) -> Event:
    """Return the event of a chunk of a stage that went in; each code points to its batch."""
    return Event(
        program.first_shard,
        insertion.new_id(insertion.now),
        insertion.kind,
        insertion.now,
        insertion.token_id,
        insertion.request_id,
        details=json.dumps({"batch_id": insertion.batch_id, "inserted": count, **_as_new(program)}),
    )


def held_rows(
    program: LoyaltyProgram, insertion: Insertion, rows: Sequence[Any]
) -> tuple[list[tuple[Any, ...]], list[Event]]:
    """Return the attachments and events of codes that came in with a holder.

    `rows` are of `staging_sql.HELD_OF_CHUNK`. Each code has one event, of the version with which
    it came, that says who holds it and when it was used.
    """
    attached, events = [], []
    for shard_key, code_key, database_id, profile_id, *dates, code, seq, version in rows:
        attached_at, activated_at, expires_at, expiry_source = dates
        holder = database_id, profile_id
        attached.append(
            (shard_key, code_key, *holder, attached_at, 0 if program.multiple_usage else 1)
        )
        events.append(
            Event(
                shard_key,
                insertion.new_id(insertion.now),
                insertion.kind,
                insertion.now,
                insertion.token_id,
                insertion.request_id,
                code_key,
                version,
                *holder,
                attach_count=1,
                activation_count=0 if activated_at is None else 1,
                activated_at=activated_at,
                expires_at=expires_at,
                details=json.dumps(
                    {
                        "batch_id": insertion.batch_id,
                        "attached": attached_at,
                        "expiry_source": expiry_source,
                        "code": code,
                        "seq": seq,
                    }
                ),
            )
        )
    return attached, events


def chunk_parameters(
    program: LoyaltyProgram,
    insertion: Insertion,
    span: tuple[int, int],
    no_room: int,
    room: int | None,
) -> tuple[Any, ...]:
    """Return the parameters of an insertion of the rows after `span[0]` up to `span[1]`."""
    default = program.default_expire_date
    source = ExpirySource.GIVEN if default is None else ExpirySource.DEFAULT
    parameters = (
        insertion.now,
        default,
        int(source),
        insertion.batch_id,
        program.first_version,
        *span,
        no_room,
    )
    return parameters if room is None else (*parameters, room)


def counted(insertion: Insertion, count: int) -> tuple[int, int, int]:
    """Return the parameters that count a chunk in its batch."""
    most = NEVER if insertion.most is None else insertion.most
    return count, insertion.batch_id, most


def first_seq_of(batch: Batch, insertion: Insertion, total: int) -> int | None:
    """Return where the creation sequence begins that an earlier run reserved for the same stage.

    Two that generate for one batch have each a stage, and a sequence, of their own.
    """
    if insertion.most is None and batch.first_seq is not None:
        return batch.first_seq if batch.last_seq == batch.first_seq + total - 1 else None
    return None


def number_column(total: int) -> str:
    """Return the column of a sorted stage that numbers its rows in the order of creation."""
    return "r.number" if total <= FILE_ORDER_MAX else "r.n"
