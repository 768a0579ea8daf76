"""Programs and codes for tests of the rules; a builder takes only what matters to the case."""

from typing import Any

from promint.domain.model import Holder, LoyaltyProgram, PromoCode
from tests.world import NOON

ANN = Holder(1, "a" * 24)
BOB = Holder(1, "b" * 24)
ANN_ELSEWHERE = Holder(2, "a" * 24)


def make_program(**settings: Any) -> LoyaltyProgram:
    return LoyaltyProgram(**{"id": 5, "name": "Spring", **settings})


def make_code(holder: Holder | None = None, **columns: Any) -> PromoCode:
    """Return a free code, or one that `holder` has had since noon."""
    held: dict[str, Any] = {}
    if holder is not None:
        held = {"attached_at": NOON, "attach_count": 1, **holder._asdict()}
    given = {"shard_key": 5 * 4096, "code_key": "spring-7", "code": "SPRING-7", "seq": 1}
    return PromoCode(**{**given, "created_at": NOON, **held, **columns})
