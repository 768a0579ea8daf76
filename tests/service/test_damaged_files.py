"""Damaged files on their way into a store: what cannot be read leaves nothing half done."""

import asyncio
import io
import re
import tempfile
from pathlib import Path

import asyncpg
import pytest

from promint.domain.errors import BadFile
from promint.domain.model import BatchState, LoyaltyProgram
from promint.service.importing import Importing, ImportMode, ImportOptions, ImportReport
from promint.service.means import Means
from promint.wire.rows import ReadOptions
from tests.wire.rows.cases import CASES, Case
from tests.world import World

REFUSED = (
    "empty", "header only", "unknown headers", "quote never closed in a large file",
    "UTF-16 with an odd byte", "zero byte", "gzip cut off", "gzip bomb of one line",
    "a second line of 2 million", "a quoted cell of 200,000", "JSON Lines, a line over a mebibyte",
    "encrypted archive", "XLSX cut off", "XLSX, XML cut off", "XLSX, a cell of 70,000",
    "XLSX, a row beyond the last", "XLSX, a bomb of spaces",
)  # fmt: skip
"""Some of these are refused at once, others only after rows that could be used."""

REJECTING = (
    "too many cells", "two bad dates", "a byte that is no UTF-8", "UTF-16 with half a character",
    "damaged: an error", "JSON Lines with bad lines", "XLSX, formulas", "XLSX, dates as codes",
)  # fmt: skip
"""Of these some rows are good and some are not."""

BY_NAME = {case.name: case for case in CASES}


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where stages of SQLite and copies of pipes are kept."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def import_case(
    world: World, program: LoyaltyProgram, case: Case, mode: ImportMode
) -> ImportReport:
    means = Means(world.store, world.ids, lambda: world.now, lambda count: b"\0" * count)
    options = ImportOptions(ReadOptions(**case.options), mode)
    file = io.BytesIO(case.content)
    return world.run(Importing(means).run(program.id, file, name=case.file, options=options))


def assert_no_stage_is_left(url: str, temporary: Path) -> None:
    assert list(temporary.iterdir()) == []
    if url.startswith("postgres"):
        asyncio.run(_wait_until_no_stage_is_left(url))


async def _wait_until_no_stage_is_left(url: str) -> None:
    """Temporary tables go with their connection, a moment after it is closed."""
    connection = await asyncpg.connect(url)
    count = (
        "SELECT count(*) FROM pg_class"
        " WHERE relname IN ('staged', 'sorted', 'refused') AND relpersistence = 't'"
    )
    try:
        tries = 0
        while await connection.fetchval(count):  # the server tells nobody
            assert (tries := tries + 1) < 600
            await asyncio.sleep(0.05)
    finally:
        await connection.close()


@pytest.mark.parametrize("mode", ImportMode)
def test_a_file_that_cannot_be_read_leaves_nothing(
    world: World, url: str, temporary: Path, mode: ImportMode
) -> None:
    program = world.program()

    for name in REFUSED:
        with pytest.raises(BadFile):
            import_case(world, program, BY_NAME[name], mode)

    assert world.exported(program) == []
    assert world.run(world.store.batches(program.id)) == []
    assert_no_stage_is_left(url, temporary)


def test_all_or_nothing_of_a_file_with_bad_rows_is_nothing(
    world: World, url: str, temporary: Path
) -> None:
    program = world.program()

    for name in REJECTING:
        report = import_case(world, program, BY_NAME[name], ImportMode.ALL_OR_NOTHING)
        assert report.is_refused, name
        assert report.rejected > 0, name
        assert report.batch_id is None, name

    assert world.exported(program) == []
    assert world.run(world.store.batches(program.id)) == []
    assert_no_stage_is_left(url, temporary)


def test_row_by_row_the_good_rows_go_in_and_every_batch_is_done(
    world: World, url: str, temporary: Path
) -> None:
    for name in REJECTING:
        program = world.program()
        case = BY_NAME[name]

        report = import_case(world, program, case, ImportMode.ROWS)

        good = [part.split(":")[1].split()[0] for part in _rows(case) if ":" in part.split()[0]]
        bad = [part for part in _rows(case) if ":" not in part.split()[0]]
        assert world.exported(program) == good, name
        assert (report.new, report.rejected) == (len(good), len(bad)), name
        (batch,) = world.run(world.store.batches(program.id))
        assert (batch.state, batch.inserted, batch.rejected) == (
            BatchState.DONE, len(good), len(bad)
        )  # fmt: skip
    assert_no_stage_is_left(url, temporary)


def _rows(case: Case) -> list[str]:
    """Return the rows of an outcome; a reason may hold the same `; ` as stands between them."""
    return re.findall(r"(?:^|(?<=; ))\d+[:?] ?[^;]+", case.expected)
