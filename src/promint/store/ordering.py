"""Exports in order of creation: chunks of one shard after another, merged by sequence."""

import heapq
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any

from promint.domain.model import LoyaltyProgram
from promint.store import ExportedCode

Fetch = Callable[[int, int, str, int], Awaitable[Sequence[Any]]]
"""Rows of EXPORT after `(shard_key, seq, code_key)`, at most so many."""

ROWS_IN_MEMORY = 65_536
CHUNK_MAX = 2_048


async def in_creation_order(
    program: LoyaltyProgram, fetch: Fetch
) -> AsyncGenerator[Sequence[ExportedCode]]:
    """Yield a program's codes in chunks, holding at most some 65,000 rows at a time."""
    if program.buckets == 1:
        seq, code_key = -1, ""
        while rows := await fetch(program.first_shard, seq, code_key, CHUNK_MAX):
            yield [ExportedCode(row[0], row[1], row[2]) for row in rows]
            seq, code_key = rows[-1][3], rows[-1][4]
        return

    chunk = max(16, ROWS_IN_MEMORY // program.buckets)
    waiting: dict[int, deque[Any]] = {}
    heap: list[tuple[int, str, int]] = []

    async def refill(shard: int, seq: int, code_key: str) -> None:
        rows = await fetch(shard, seq, code_key, chunk)
        if rows:
            waiting[shard] = deque(rows)
            heapq.heappush(heap, (rows[0][3], rows[0][4], shard))

    for shard in range(program.first_shard, program.last_shard + 1):
        await refill(shard, -1, "")
    merged: list[ExportedCode] = []
    while heap:
        seq, code_key, shard = heapq.heappop(heap)
        row = waiting[shard].popleft()
        merged.append(ExportedCode(row[0], row[1], row[2]))
        if waiting[shard]:
            following = waiting[shard][0]
            heapq.heappush(heap, (following[3], following[4], shard))
        else:
            await refill(shard, seq, code_key)
        if len(merged) == CHUNK_MAX:
            yield merged
            merged = []
    if merged:
        yield merged
