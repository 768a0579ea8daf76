"""Stores with a long history."""

import pytest

from promint.service import batches, bulk_changes, chunks


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (chunks, bulk_changes, batches):
        monkeypatch.setattr(module, "CHUNK", 4)
