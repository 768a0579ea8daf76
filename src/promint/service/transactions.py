"""One transaction for a use case off the hot path, repeated while others are faster."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from promint.domain.errors import (
    IdempotencyMismatch,
    NotFound,
    OutcomeUnknown,
    PromintError,
    Refused,
    StoreBusy,
)
from promint.engine import Render
from promint.service.access import Answered
from promint.store import Busy, ConnectionLost, Keyed, Lost, Store, Transaction, TryAgain

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


@dataclass(frozen=True, slots=True)
class Once:
    """An idempotency key of a request, and how its outcome, value or refusal, is answered."""

    keyed: Keyed
    render: Render


async def once_in_transaction(
    store: Store, once: Once | None, work: Callable[[Transaction], Awaitable[Outcome]]
) -> Outcome:
    """Run `work` in a transaction; with an idempotency key, at most once for all time.

    `work` refuses before it writes: its refusal is kept for the key, in the same transaction.

    Raises:
        Answered: the key was used before for this request.
        IdempotencyMismatch: the key was used before for another one.
        StoreBusy, OutcomeUnknown: as above.
    """
    if once is None:
        return await in_transaction(store, work)

    async def remembered(transaction: Transaction) -> Outcome | PromintError:
        record = await transaction.recall(once.keyed.id, once.keyed.now)
        if record is not None:
            if record.digest != once.keyed.digest:
                raise IdempotencyMismatch
            raise Answered(record.answer)
        outcome: Outcome | PromintError
        try:
            outcome = await work(transaction)
        except (NotFound, Refused) as refusal:
            outcome = refusal
        await transaction.remember(once.keyed, once.render(outcome))
        return outcome

    outcome = await in_transaction(store, remembered)
    if isinstance(outcome, PromintError):
        raise outcome
    return outcome
