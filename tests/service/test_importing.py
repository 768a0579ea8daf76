# ruff: noqa: RUF001 - letters that look like others are what some files hold
"""Files brought in: rehearsed, whole or row by row, resumed; on both stores."""

import gzip
import io
import json
from collections.abc import Callable
from typing import IO, Any

import pytest

from promint.domain.errors import BadValue, BatchNotFound, ProgramNotFound
from promint.domain.model import Batch, BatchKind, BatchState, Database, Holder, LoyaltyProgram
from promint.service.importing import Importing, ImportMode, ImportOptions, ImportReport
from promint.service.means import Cancelled, Means
from promint.wire.rows import ReadOptions
from tests.world import DAY, NOON, World

pytestmark = pytest.mark.usefixtures("ledger_holds")


class Imports:
    """Files that are brought into a world."""

    def __init__(self, world: World) -> None:
        self.world = world
        means = Means(world.store, world.ids, lambda: world.now, lambda count: b"\0" * count)
        self.importing = Importing(means)
        self.batches: list[int] = []
        self.rejects = b""

    async def _note(self, batch_id: int) -> None:
        self.batches.append(batch_id)

    def options(self, *, whole: bool = False, db: int | None = None, **read: Any) -> ImportOptions:
        mode = ImportMode.ALL_OR_NOTHING if whole else ImportMode.ROWS
        return ImportOptions(ReadOptions(**read), mode, db)

    def rehearse(self, program: LoyaltyProgram, text: str, **options: Any) -> ImportReport:
        return self._with_rejects(
            lambda rejects: self.world.run(
                self.importing.rehearse(
                    program.id,
                    io.BytesIO(text.encode()),
                    name="codes.csv",
                    options=self.options(**options),
                    rejects=rejects,
                )
            )
        )

    def run(
        self,
        program: LoyaltyProgram,
        text: str | bytes,
        *,
        resume: int | None = None,
        progress: Any = None,
        **options: Any,
    ) -> ImportReport:
        content = text.encode() if isinstance(text, str) else text
        more = {} if progress is None else {"progress": progress}
        return self._with_rejects(
            lambda rejects: self.world.run(
                self.importing.run(
                    program.id,
                    io.BytesIO(content),
                    name="codes.csv",
                    options=self.options(**options),
                    rejects=rejects,
                    resume_batch=resume,
                    on_batch=self._note,
                    **more,
                )
            )
        )

    def _with_rejects(self, work: Callable[[IO[bytes]], ImportReport]) -> ImportReport:
        file = io.BytesIO()
        report = work(file)
        self.rejects = file.getvalue()
        return report

    def rejected_lines(self) -> list[int]:
        rows = self.rejects.decode("utf-8-sig").splitlines()[1:]
        return [int(row.split(",")[0]) for row in rows]

    def batch(self) -> Batch:
        batch = self.world.run(self.world.store.batch(self.batches[-1]))
        assert batch is not None
        return batch


@pytest.fixture
def imports(world: World) -> Imports:
    return Imports(world)


MIXED = "OLD\nNEW-1\nnew-1\nTOO\u200bODD\n\n1.23E+11\nNEW-2\n"


def test_a_rehearsal_says_what_would_happen_and_changes_nothing(imports: Imports) -> None:
    program = imports.world.program()
    imports.world.import_codes(program, "OLD")

    report = imports.rehearse(program, MIXED)

    assert (report.rows, report.new, report.held) == (6, 2, 0)
    assert (report.duplicates_in_file, report.duplicates_in_program) == (1, 1)
    assert (report.unusable, report.damaged, report.over_limit) == (1, 1, 0)
    assert imports.rejected_lines() == [1, 3, 4, 6]
    assert report.batch_id is None
    assert imports.world.exported(program) == ["OLD"]
    batches = imports.world.run(imports.world.store.batches(program.id))
    assert [batch.source for batch in batches] == ["api"]


def test_rows_go_in_and_the_others_are_listed_with_their_reasons(imports: Imports) -> None:
    program = imports.world.program()
    imports.world.import_codes(program, "OLD")

    report = imports.run(program, MIXED)

    assert imports.world.exported(program) == ["OLD", "NEW-1", "NEW-2"]
    assert imports.rejected_lines() == [1, 3, 4, 6]
    text = imports.rejects.decode("utf-8-sig")
    assert "the program has it already" in text
    assert "repeats line 2" in text
    assert "U+200B" in text
    assert "1.23E+11" in text
    batch = imports.batch()
    assert batch.id == report.batch_id
    assert (batch.kind, batch.state, batch.source) == (
        BatchKind.IMPORT, BatchState.DONE, "codes.csv"
    )  # fmt: skip
    assert (batch.total, batch.inserted, batch.duplicated, batch.rejected) == (6, 2, 2, 2)
    assert imports.world.get(program, "NEW-2").batch_id == batch.id


def test_samples_are_taken_without_a_list_of_rejects(imports: Imports) -> None:
    program = imports.world.program()
    importing = imports.importing
    file = io.BytesIO(b"A\nB\nA\nA\n")

    report = imports.world.run(
        importing.run(program.id, file, name="codes.txt", options=ImportOptions())
    )

    assert [sample.line for sample in report.samples["duplicates_in_file"]] == [3, 4]


def test_all_or_nothing_brings_in_nothing_of_a_file_with_one_bad_row(imports: Imports) -> None:
    program = imports.world.program()

    refused = imports.run(program, "A\nB\nA\n", whole=True)
    taken = imports.run(program, "A\nB\n", whole=True)

    assert (refused.is_refused, refused.batch_id, refused.new) == (True, None, 2)
    assert not taken.is_refused
    assert imports.world.exported(program) == ["A", "B"]
    assert len(imports.batches) == 1


def test_dates_fields_and_holders_come_along(imports: Imports) -> None:
    world = imports.world
    program = world.program(fields=("shop",), time_zone="Europe/Moscow")
    database = world.database()
    holder = world.profile(database, "a@b.ru")

    report = imports.run(
        program,
        "code,expire_date,shop,email,attached,activated\n"
        "FREE,2024-05-01,Kazan,,,\n"
        "HELD,,,A@B.ru,2024-03-01T10:00:00Z,\n"
        "USED,,,a@b.ru,2024-03-01T10:00:00Z,2024-03-02T10:00:00Z\n"
        "NOBODY,,,x@y.ru,2024-03-01T10:00:00Z,\n"
        "LATER,,,a@b.ru,2034-03-01T10:00:00Z,\n"
        "BACKWARDS,,,a@b.ru,2024-03-02T10:00:00Z,2024-03-01T10:00:00Z\n"
        "ALONE,,,,2024-03-01T10:00:00Z,\n",
        db=database.id,
    )

    assert (report.new, report.held, report.unusable) == (3, 2, 4)
    free, held, used = (world.get(program, code) for code in ("FREE", "HELD", "USED"))
    # Good through the first of May in Moscow, which is three hours ahead.
    assert free.expires_at == 1_714_597_200_000_000
    assert json.loads(free.fields or "") == {"shop": "Kazan"}
    assert Holder(held.database_id or 0, held.profile_id or "") == holder
    assert (held.attach_count, held.activation_count) == (1, 0)
    assert (used.attach_count, used.activation_count) == (1, 1)
    assert imports.rejected_lines() == [5, 6, 7, 8]


def test_a_row_that_repeats_a_code_gives_it_to_nobody(imports: Imports) -> None:
    world = imports.world
    program = world.program()
    database = world.database()
    ann, bob = (world.profile(database, f"{name}@b.ru") for name in ("ann", "bob"))

    report = imports.run(
        program,
        f"code,profile_id\nFREE,\nfree,{ann.profile_id}\n"
        f"HELD,{ann.profile_id}\nheld,{bob.profile_id}\n",
        db=database.id,
    )

    assert (report.new, report.duplicates_in_file) == (2, 2)
    free, held = (world.get(program, code) for code in ("FREE", "HELD"))
    assert (free.attach_count, held.profile_id) == (0, ann.profile_id)
    assert world.history(program, "FREE") == []
    world.attach(program, bob, "FREE")


def test_holders_are_created_where_the_database_does_so(imports: Imports) -> None:
    world = imports.world
    program, database = world.program(), world.database(creates_profiles=True)
    text = "code,phone\nA,+7 900 000-00-01\nB,8\n"

    rehearsed = imports.rehearse(program, text, db=database.id)
    nobody = world.run(world.store.profile(Holder(database.id, "0" * 24)))
    report = imports.run(program, text, db=database.id)

    assert (rehearsed.held, report.held, nobody) == (2, 2, None)
    code = world.get(program, "A")
    assert world.run(world.store.profile(Holder(database.id, code.profile_id or "")))


def test_look_alikes_are_found_in_file_and_program(imports: Imports) -> None:
    program = imports.world.program()
    imports.world.import_codes(program, "СОДА")

    report = imports.rehearse(program, "COДA\nXA\nХА\nPLAIN\n")

    assert report.look_alikes == 3
    assert [sample.line for sample in report.samples["look_alikes"]] == [1, 2, 3]


def test_packed_files_and_other_encodings_are_recognised(imports: Imports) -> None:
    program = imports.world.program()

    packed = imports.run(program, gzip.compress("ПРОМО-1\nA\n".encode("cp1251")))
    wide = imports.run(program, "КОД\nПРОМО-2\n".encode("utf-16"))

    assert packed.recognised.is_gzip
    assert wide.recognised.encoding == "utf-16-le"
    assert set(imports.world.exported(program)) >= {"ПРОМО-1", "A", "ПРОМО-2"}


def test_an_import_that_was_stopped_goes_on_where_it_was(imports: Imports) -> None:
    program = imports.world.program()
    text = "".join(f"CODE-{n:06}\n" for n in range(60_000))

    async def stop(done: int, total: int | None, phase: str) -> None:
        if phase == "importing":
            raise Cancelled

    with pytest.raises(Cancelled):
        imports.run(program, text, progress=stop)
    stopped = imports.batch()
    report = imports.run(program, text, resume=stopped.id)

    assert stopped.state is BatchState.STOPPED
    assert 0 < stopped.inserted < 60_000
    assert (report.new, report.duplicates_in_program) == (60_000, 0)
    assert imports.batch().state is BatchState.DONE
    assert len(imports.world.exported(program)) == 60_000


def test_only_an_unfinished_import_of_the_program_is_resumed(imports: Imports) -> None:
    program, other = imports.world.program(), imports.world.program()
    imports.run(program, "A\n")
    done = imports.batches[0]

    with pytest.raises(BadValue, match="nothing to resume"):
        imports.run(program, "A\n", resume=done)
    with pytest.raises(BatchNotFound):
        imports.run(other, "A\n", resume=done)
    with pytest.raises(BatchNotFound):
        imports.run(program, "A\n", resume=99)


def test_a_file_that_cannot_be_read_changes_nothing(imports: Imports) -> None:
    program = imports.world.program()

    with pytest.raises(BadValue, match=r"codes\.csv"):
        imports.run(program, "")
    with pytest.raises(ProgramNotFound):
        imports.run(LoyaltyProgram(99, "none"), "A\n")

    assert imports.batches == []
    assert imports.world.exported(program) == []


def test_the_first_rows_of_the_file_find_room(imports: Imports) -> None:
    program = imports.world.program(code_limit=2)

    report = imports.run(program, "Z\nY\nX\n")

    assert (report.new, report.over_limit) == (2, 1)
    assert imports.world.exported(program) == ["Z", "Y"]
    assert imports.rejected_lines() == [3]
    assert imports.batch().discarded == 1


def test_a_database_that_is_not_there_is_said_for_each_row(imports: Imports) -> None:
    program = imports.world.program()

    report = imports.run(program, "code,email\nA,a@b.ru\n", db=77)
    unnamed = imports.run(program, "code,email\nB,a@b.ru\n")

    assert (report.unusable, unnamed.unusable) == (1, 1)
    assert "database_id" in unnamed.samples["unusable"][0].reason


def test_moments_are_kept_to_the_microsecond(imports: Imports) -> None:
    program = imports.world.program()
    imports.world.now = NOON + DAY

    imports.run(program, "code,expire_date\nA,2030-01-01T00:00:00.123456Z\n")

    assert imports.world.get(program, "A").expires_at == 1_893_456_000_123_456
    assert isinstance(imports.world.database(), Database)
