"""Pages of lists that are ordered by a number."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from promint.domain.errors import BadValue

Item = TypeVar("Item")


def page_by_id(
    items: Sequence[Item], after: str | None, limit: int, id_of: Callable[[Item], int]
) -> tuple[list[Item], str | None]:
    """Return a page of items that are ordered by id, and its `next`.

    Raises:
        BadValue: `after` is no page's `next`.
    """
    last = id_after(after)
    page = [item for item in items if last is None or id_of(item) > last][: limit + 1]
    return first_of(page, limit, id_of)


def id_after(after: str | None) -> int | None:
    """Return the id after which a page begins; None for the first page.

    Raises:
        BadValue: it is no page's `next`.
    """
    if after is None:
        return None
    if not (after.isascii() and after.isdigit()) or len(after) > 18:
        raise BadValue("not the `next` of a page", "after")
    return int(after)


def first_of(
    items: Sequence[Item], limit: int, id_of: Callable[[Item], int]
) -> tuple[list[Item], str | None]:
    """Return the page of a list that was read one item too far, and its `next`."""
    page = list(items[:limit])
    return page, str(id_of(page[-1])) if len(items) > limit else None
