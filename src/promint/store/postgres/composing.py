"""How a batch becomes one statement on PostgreSQL: the parts that it needs, put together."""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from promint.store import sql


@lru_cache(maxsize=256)
def read_statement(parts: tuple[str, ...]) -> str:
    """Return one statement of several of READ_PARTS; a row begins with the part's number."""
    return " UNION ALL ".join(f"(SELECT {number}, {part})" for number, part in _renumbered(parts))


READ_PARTS = (
    sql.POSTGRES_READ_CODES,
    sql.POSTGRES_READ_PROGRAMS,
    sql.POSTGRES_READ_ATTACHMENTS,
    sql.POSTGRES_READ_IDEMPOTENCY,
    sql.POSTGRES_READ_PROFILES,
    sql.POSTGRES_READ_IDENTITIES,
    sql.POSTGRES_READ_TALLIES,
    sql.POSTGRES_READ_HELD,
    sql.POSTGRES_READ_EARLIER_USES,
    sql.POSTGRES_READ_EVENTS,
    sql.POSTGRES_READ_FREE,
    sql.POSTGRES_READ_ROOM,
)
(
    CODES,
    PROGRAMS,
    ATTACHMENTS,
    IDEMPOTENCY,
    PROFILES,
    IDENTITIES,
    TALLIES,
    HELD,
    EARLIER,
    EVENTS,
    FREE,
    ROOM,
) = range(len(READ_PARTS))

_PARAMETER = re.compile(r"\$(\d+)")


def _shifted(text: str, by: int) -> str:
    return _PARAMETER.sub(lambda match: f"${int(match[1]) + by}", text)


def _arity(text: str) -> int:
    return max((int(number) for number in _PARAMETER.findall(text)), default=0)


def _renumbered(parts: tuple[str, ...]) -> list[tuple[int, str]]:
    """Return each part's number, and its text with parameters that follow the part before."""
    shifted, by = [], 0
    for part in parts:
        shifted.append((READ_PARTS.index(part), _shifted(part, by)))
        by += _arity(part)
    return shifted


@lru_cache(maxsize=1024)
def write_statement(parts: tuple[str, ...]) -> str:
    """Put a write together: what is locked, `ok`, and what is done if it is."""
    locking, conditions, doing = [], [], []
    by = 0
    for part in parts:
        if part in _GUARDED:
            condition, action = _GUARDED[part]
            locking.append(_shifted(part, by))
            conditions.append(_shifted(condition, by))
            if action:
                doing.append(action)
        elif part == sql.POSTGRES_WRITE_ATTACHED and sql.POSTGRES_WRITE_DETACHED in parts:
            waiting = part.removesuffix(")") + sql.POSTGRES_AFTER_DETACHED + ")"
            doing.append(_shifted(waiting, by))
        else:
            doing.append(_shifted(part, by))
        by += _arity(part)
    ok = f"ok AS MATERIALIZED (SELECT {' AND '.join(conditions) or 'true'} AS yes)"
    return f"WITH {', '.join([*locking, ok, *doing])} SELECT yes FROM ok"


_GUARDED = {
    sql.POSTGRES_WRITE_HOLD: (sql.POSTGRES_WRITE_HOLD_OK, ""),
    sql.POSTGRES_WRITE_CODES: (sql.POSTGRES_WRITE_CODES_OK, sql.POSTGRES_WRITE_CODES_DO),
    sql.POSTGRES_WRITE_TALLIES: (sql.POSTGRES_WRITE_TALLIES_OK, sql.POSTGRES_WRITE_TALLIES_DO),
}


def columns(rows: Sequence[Sequence[Any]]) -> list[Sequence[Any]]:
    """Return rows as the arrays that `unnest` takes, one a column."""
    return list(zip(*rows, strict=True))
