"""What a store keeps of bulk changes, so that they can be taken back."""

from typing import NamedTuple

from promint.domain.model import PromoCode


class BatchChange(NamedTuple):
    """What a bulk change did to one code. A row of `batch_change`, column by column.

    `before` is the code as it was, as JSON; `null` where the change made it. `version_after` is
    the version that the change gave it: while the code has it, nothing else has happened.
    """

    shard_key: int
    batch_id: int
    code_key: str
    before: str
    version_after: int


class ListedChange(NamedTuple):
    """A change, and the kind and version of the last event of its code, None without any."""

    change: BatchChange
    last_kind: int | None
    last_version: int | None


class MadeCode(NamedTuple):
    """A code of the batch that made it, and the event that gave it its version.

    An import leaves none for a code, unless it brought a holder; any later change does.
    """

    code: PromoCode
    last_kind: int | None


class WalkKey(NamedTuple):
    """How far a walk over a batch is: the last row that was looked at.

    Codes that a batch made go by `seq`, which no two codes of a program share; changes by key.
    """

    shard_key: int
    seq: int = -1
    code_key: str = ""
