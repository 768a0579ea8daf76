"""One transaction for a use case off the hot path, repeated while others are faster."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from promint.domain.errors import OutcomeUnknown, StoreBusy
from promint.store import Busy, ConnectionLost, Lost, Store, Transaction, TryAgain

TRIES_MAX = 8
Outcome = TypeVar("Outcome")


async def in_transaction(
    store: Store, work: Callable[[Transaction], Awaitable[Outcome]]
) -> Outcome:
    """Run `work` in a transaction and commit; its refusals roll back and pass through.

    Raises:
        StoreBusy: the store cannot work now, or other writers were faster each time.
        OutcomeUnknown: the connection broke during COMMIT.
    """
    for _ in range(TRIES_MAX):
        try:
            async with store.transaction() as transaction:
                return await work(transaction)
        except (Lost, TryAgain):
            continue
        except Busy as error:
            raise StoreBusy(str(error)) from error
        except ConnectionLost as error:
            unknown = OutcomeUnknown if error.may_have_written else StoreBusy
            raise unknown(str(error)) from error
    raise StoreBusy("other writers were faster each time")
