"""What the two stores share of an import: who is new, who has room, what is recorded."""

import json
from collections.abc import Container, Sequence

from promint.domain.model import Batch, BatchKind, BatchState, Event, EventKind
from promint.store import CodeImport, CodeImported

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


def import_event(job: CodeImport, batch_id: int, imported: CodeImported) -> Event:
    """Return the one event of an import; each code points to its batch."""
    details = {
        "batch_id": batch_id,
        "inserted": imported.inserted,
        "duplicated": len(imported.duplicates),
        "discarded_by_limit": len(imported.over_limit),
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
