"""What the use cases of management share: the store, ids, clock, chance, and who asks."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from promint.domain.ids import IdMaker
from promint.domain.model import Database, Event, EventKind
from promint.store import Store


class Progress(Protocol):
    """Told how far long work is; stops it by raising."""

    async def __call__(self, done: int, total: int | None, phase: str) -> None:
        """Take note: `done` of `total` rows or codes, None while nobody knows, in this phase.

        Raises:
            Cancelled: the work shall stop here; what is committed stays.
        """


class Cancelled(Exception):
    """Long work was told to stop. What it committed stays, and its batch can be resumed."""


async def unwatched(done: int, total: int | None, phase: str) -> None:
    """The progress that nobody looks at."""


@dataclass(frozen=True, slots=True)
class Means:
    """What a use case needs beside its arguments. `token_id` 0 is a command of the operator.

    `author` is who asks in words that people know: a token's name, or the operator's login.
    `databases` are those that the token opens, None for all of them.
    """

    store: Store
    ids: IdMaker
    now: Callable[[], int]
    random_bytes: Callable[[int], bytes]
    author: str = "command"
    token_id: int = 0
    request_id: str = "command"
    databases: frozenset[int] | None = None

    async def database(self, database_id: int) -> Database | None:
        """Return a database; None where there is none, or not for whoever asks."""
        if self.databases is not None and database_id not in self.databases:
            return None
        return await self.store.database(database_id)

    def event(self, kind: EventKind, shard_key: int, **more: Any) -> Event:
        """Return an event of this moment by whoever asks."""
        now = self.now()
        return Event(
            shard_key, self.ids.new(now), kind, now, self.token_id, self.request_id, **more
        )
