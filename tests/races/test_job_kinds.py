"""The kinds of jobs, each killed in the middle: what it does is done once, as if nothing was."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from promint.bootstrap import make_means, utc_now
from promint.domain.model import BatchState, CodeState, Job, JobState
from promint.service.batches import Batches
from promint.service.bulk_changes import filter_parameters
from promint.service.jobs import ENDED
from promint.store.searching import CodeFilter
from tests.conftest import STORES, Stores
from tests.races.test_jobs import Office
from tests.world import DAY

CODES = 150_000
IMPORT = {"name": "codes.txt", "mode": "rows", "dry_run": False, "db_id": None, "read": {}}
GENERATE = {
    "count": CODES,
    "template": "{12}",
    "expire_date": None,
    "fields": {},
    "accept_guessable": False,
}


class Kinds(Office):
    """An office that does real work."""

    def hand_in(self, kind: str, program: int, parameters: dict[str, Any], text: str = "") -> Job:
        async def content() -> AsyncIterator[bytes]:
            yield text.encode()

        file = content() if text else None
        job: Job = self.run(self.queue.submit(kind, program, parameters, file))
        return job

    def kill_once(self, job: Job, phase: str) -> None:
        """Kill the job's process in a phase of its work, and see it begun again."""
        found = self.until(job, lambda j: j.phase == phase or j.state in ENDED)
        assert found.state is JobState.RUNNING, "done before it could be killed; give it more to do"
        self.kill_job_process()
        self.begun_again(job, found.attempts)

    def codes(self, program: int, **wanted: Any) -> int:
        async def count() -> int:
            found = await self.store.program(program)
            assert found is not None
            return await self.store.searching.count(
                found, CodeFilter(**wanted), now=utc_now(), most=3 * CODES
            )

        return int(self.run(count()))

    def file(self, job: Job, kind: str) -> str:
        async def collect() -> bytes:
            return b"".join([part async for part in self.queue.file(job.id, kind)])

        text: bytes = self.run(collect())
        return text.decode("utf-8-sig")


@pytest.fixture(params=STORES)
def office(request: pytest.FixtureRequest, stores: Stores, tmp_path: Path) -> Iterator[Kinds]:
    made = Kinds(stores.new(request.param), tmp_path / "log", PROMINT_JOB_HEARTBEAT_S="0.05")
    yield made
    made.close()


def lines(count: int) -> str:
    return "".join(f"code-{number}\n" for number in range(count))


def test_an_import_that_is_killed_adds_each_code_once(office: Kinds) -> None:
    program = office.service.program(["code-7"])

    job = office.hand_in("import", program, IMPORT, lines(CODES) + "code-8\n")
    office.kill_once(job, "importing")
    job = office.ended(job)

    assert (job.state, job.error) == (JobState.DONE, None)
    assert job.result is not None
    assert (job.result["new"], job.result["batch_id"]) == (CODES - 1, job.batch_id)
    assert office.codes(program) == CODES
    assert office.batch_state(job) is BatchState.DONE
    rejects = office.file(job, "rejects").splitlines()
    assert [line.split(",")[0] for line in rejects] == ["line", "8", str(CODES + 1)]


def test_a_rehearsal_changes_nothing(office: Kinds) -> None:
    program = office.service.program()

    job = office.ended(office.hand_in("import", program, IMPORT | {"dry_run": True}, lines(10)))

    assert job.result is not None
    assert (job.state, job.result["new"], job.batch_id) == (JobState.DONE, 10, None)
    assert office.codes(program) == 0


def test_a_file_that_cannot_be_read_fails_the_job_with_a_sentence(office: Kinds) -> None:
    program = office.service.program()
    wanted = IMPORT | {"name": "codes.xlsx"}

    job = office.ended(office.hand_in("import", program, wanted, "PK\x03\x04 no workbook"))

    assert job.state is JobState.FAILED
    assert job.error


def test_a_generation_that_is_killed_makes_exactly_as_many_codes(office: Kinds) -> None:
    program = office.service.program()

    job = office.hand_in("generate", program, GENERATE)
    office.kill_once(job, "storing")
    job = office.ended(job)

    assert (job.state, job.error) == (JobState.DONE, None)
    assert office.codes(program) == CODES
    assert office.batch_state(job) is BatchState.DONE


def test_a_change_and_its_undo_go_on_after_a_kill(office: Kinds) -> None:
    count = 5_000
    program = office.service.program([f"code-{number}" for number in range(count)])
    everything = filter_parameters(CodeFilter(state=CodeState.FREE))
    wanted = {"change": "expire", "filter": everything, "expires_at": utc_now() - DAY}

    job = office.hand_in("change", program, wanted)
    office.kill_once(job, "changing")
    job = office.ended(job)
    assert (job.state, job.error) == (JobState.DONE, None)
    assert office.codes(program, state=CodeState.EXPIRED) == count

    undo = office.hand_in("undo", program, {"batch_id": job.batch_id})
    office.kill_once(undo, "taking back")
    undo = office.ended(undo)
    assert (undo.state, undo.error) == (JobState.DONE, None)
    assert office.codes(program, state=CodeState.FREE) == count
    assert undo.result is not None
    assert undo.result["counts"]["undone"] == count


def test_an_undo_of_what_is_undone_fails_with_a_sentence(office: Kinds) -> None:
    program = office.service.program()
    job = office.ended(office.hand_in("import", program, IMPORT, lines(3)))
    assert job.batch_id is not None
    office.run(Batches(make_means(office.store)).undo(job.batch_id))

    undo = office.ended(office.hand_in("undo", program, {"batch_id": job.batch_id}))

    assert undo.state is JobState.FAILED
    assert undo.error


def test_codes_are_attached_to_the_profiles_of_a_list(office: Kinds) -> None:
    program = office.service.program([f"code-{number}" for number in range(5)])
    database = office.service.database()
    office.service.profiles(database, 3)
    emails = "email\n" + "".join(f"customer-{n}@example.com\n" for n in range(4))
    wanted = {"change": "attach", "name": "list.csv", "db_id": database}

    job = office.ended(office.hand_in("change", program, wanted, emails))

    assert (job.state, job.error) == (JobState.DONE, None)
    assert office.codes(program, state=CodeState.ATTACHED) == 3
    assert "profile_not_found" in office.file(job, "rejects")


def test_a_cancelled_import_keeps_what_is_in_and_can_be_resumed(office: Kinds) -> None:
    program = office.service.program()
    job = office.hand_in("import", program, IMPORT, lines(2 * CODES))
    office.until(job, lambda found: found.batch_id is not None)

    office.run(office.queue.cancel(job.id))
    job = office.ended(job)

    assert job.state in (JobState.CANCELLED, JobState.DONE)
    if job.state is JobState.CANCELLED:
        assert office.batch_state(job) is BatchState.STOPPED
        assert office.codes(program) < 2 * CODES
