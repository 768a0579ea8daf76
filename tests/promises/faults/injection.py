"""A build that formats a value into a statement."""

from typing import Any

from tests.races.planted import _patch


def prefix_formatted() -> None:
    """Write what a caller searches for into the statement itself."""
    from promint.store.search_sql import Draft

    put = Draft.put

    def formatted(self: Draft, value: Any) -> str:
        return f"'{value}'" if isinstance(value, str) else put(self, value)

    _patch(Draft, put=formatted)
