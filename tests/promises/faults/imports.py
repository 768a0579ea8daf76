"""Builds that import in other portions."""

from dataclasses import replace
from typing import Any

from promint.store.postgres import staging as on_postgres
from promint.store.sqlite import staging as on_sqlite


def in_small_chunks() -> None:
    """No fault: a file of some thousand rows goes in by as many chunks as a large one does."""
    _go_by(500)


def store_each_row_on_its_own() -> None:
    """Commit after each row, also of a file that shall be there whole or not at all."""
    _go_by(1)
    for stage in (on_sqlite.SqliteStage, on_postgres.PostgresStage):
        _take_all_or_nothing_away(stage)


def _go_by(rows: int) -> None:
    for module, name in (
        (on_sqlite, "CHUNK_FIRST"),
        (on_sqlite, "CHUNK_MIN"),
        (on_sqlite, "CHUNK_MAX"),
        (on_postgres, "CHUNK"),
    ):
        assert hasattr(module, name), f"{module.__name__} has no {name}"
        setattr(module, name, rows)


def _take_all_or_nothing_away(stage: Any) -> None:
    insert = stage.insert

    async def insert_row_by_row(self: Any, insertion: Any, report: Any) -> Any:
        return await insert(self, replace(insertion, is_atomic=False), report)

    stage.insert = insert_row_by_row
