"""Bulk: where the rows of a file or generated codes wait, sorted, before they go in.

A stage lies beside the code tables and belongs to one process: rows are added in any order,
`seal` sorts them by key, `review` counts what would happen without changing anything, `insert`
puts them in. It goes in chunks, each one short transaction with its share of the batch's counts, so
that the neighbours' requests go on; or, `is_atomic`, in one. Inserting the same rows again under
the same batch inserts what is missing: so an import that was interrupted is resumed.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol

from promint.domain.model import EventKind, LoyaltyProgram

FILE_ORDER_MAX = 100_000
"""Up to so many rows are created in the order of their file; more of them in that of their keys.

A tree that gets ten million entries in its own order is written once, in any other a thousand
times over; and there is one for the keys and one for the order of creation.
"""


class StagedCode(NamedTuple):
    """One usable row of a file, or one generated code.

    `line` is the row's line in its file, or its number. `expires_at` None takes the program's
    default. A holder comes with `attached_at`; `activated_at` needs a holder.
    """

    line: int
    code_key: str
    code: str
    expires_at: int | None = None
    fields: str | None = None
    database_id: int | None = None
    profile_id: str | None = None
    attached_at: int | None = None
    activated_at: int | None = None


class Review(NamedTuple):
    """What inserting a sealed stage would do now. `over_limit` is beyond `code_limit`."""

    new: int
    duplicates_in_file: int
    duplicates_in_program: int
    over_limit: int


class Refusal(StrEnum):
    """Why a staged row did not go in, or would not."""

    DUPLICATE_IN_FILE = "duplicate in the file"
    DUPLICATE_IN_PROGRAM = "duplicate in the program"
    OVER_LIMIT = "over code_limit"


class RefusedRow(NamedTuple):
    """A staged row that would not go in; `first_line` is the row of the file that it repeats."""

    line: int
    code: str
    refusal: Refusal
    first_line: int | None = None


class BatchFull(Exception):
    """Another process has put codes into the same batch, and ours would be too many.

    What is in stays; the chunk that is too many was not written.
    """


class Inserted(NamedTuple):
    """What became of a stage. `inserted` counts what an earlier run of the batch put in too."""

    inserted: int
    duplicates: int
    over_limit: int


@dataclass(frozen=True, slots=True)
class Insertion:
    """Under which batch a stage goes in, and who did it.

    `most` codes the batch takes, None any number: so many whose texts do not matter, as those of a
    generation, where the same file again would add nothing.
    """

    batch_id: int
    kind: EventKind
    now: int
    token_id: int
    request_id: str
    new_id: Callable[[int], bytes]
    is_atomic: bool = False
    most: int | None = None


Report = Callable[[int], Awaitable[None]]
"""Called with the number of rows that are done; may raise to stop between two chunks."""


class Stage(Protocol):
    """A stage that is open. First `add`, then `seal`, then the rest."""

    async def add(self, codes: Sequence[StagedCode]) -> None:
        """Add rows."""

    async def add_plain(self, first_line: int, keys: Sequence[str], codes: Sequence[str]) -> None:
        """Add codes without anything else, of lines that follow each other: the fast path."""

    async def seal(self) -> None:
        """Sort; nothing can be added any more."""

    async def review(self, batch_id: int | None = None) -> Review:
        """Count what would happen. A code that `batch_id` has put in already counts as new."""

    def refused(self, batch_id: int | None = None) -> AsyncGenerator[Sequence[RefusedRow]]:
        """Yield the rows that would not go in now, or did not go in under `batch_id`, by line.

        Nothing of it holds more than a chunk in memory.
        """

    async def known(self, keys: Sequence[str]) -> dict[str, str]:
        """Return which of some keys the program or the stage has, each with its code."""

    async def has_other_scripts(self) -> bool:
        """Say whether the program has codes that begin with a letter beyond ASCII."""

    async def insert(self, insertion: Insertion, report: Report) -> Inserted:
        """Put the codes in, with the batch's counts.

        Raises:
            Lost: atomic, and another writer was first.
            Busy: the store cannot work now; what is in stays, and the batch can be resumed.
            AlreadyUndone: the batch is being taken back.
            BatchFull: another process was at the same batch.
        """


class Staging(Protocol):
    """What a store offers for bulk."""

    def stage(self, program: LoyaltyProgram) -> AbstractAsyncContextManager[Stage]:
        """Open an empty stage for one program; it is gone when it is left."""
