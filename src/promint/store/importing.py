"""What the two stores share of an import: who is new, who has room, what is recorded."""

import json
from collections.abc import Container, Sequence

from promint.domain.model import Event, EventKind
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
