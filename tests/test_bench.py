"""`promint bench` measures the real service, every answer a success, and leaves nothing behind.

How fast the service is depends on the machine and is never asserted.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import apsw

from promint.bench import numbering
from promint.bench.jobs import JOB_NAMES
from promint.bench.load import Order
from promint.bench.processes import Load, serving_fixed
from promint.bench.report import Report
from promint.bench.requests import CODE, Template, body
from promint.bootstrap import is_sqlite
from tests.conftest import Stores
from tests.running import Running

SHORT = ("--seconds", "0.2", "--rounds", "1")
LEFT_TIMEOUT_S = 60.0


def bench(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "promint", "bench", *options],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def measured(*options: str, **environment: str) -> Any:
    done = bench("--json", *SHORT, *options, **environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_job_is_measured_beside_its_floor_and_every_answer_is_a_success(url: str) -> None:
    report = measured("--database", url)

    assert [job["name"] for job in report["jobs"]] == list(JOB_NAMES)
    has_pgbench = not is_sqlite(url) and shutil.which("pgbench") is not None
    for job in report["jobs"]:
        assert job["failed"] == 0, job["first_failure"]
        figures = ["rate", "p50_ms", "p99_ms", "fixed_rate", "fixed_ratio", "half_load_p99_ms"]
        if has_pgbench:
            figures += ["pgbench_rate", "pgbench_ratio"]
        for name in figures:
            assert job[name] > 0, name
        assert (job["ratio"] is not None) == (is_sqlite(url) or has_pgbench)
    assert report["store"] == ("sqlite" if is_sqlite(url) else "postgresql")
    assert {"promint", "date", "machine", "store_version"} <= report.keys()
    says_so = any(note.startswith("pgbench is not installed") for note in report["notes"])
    assert says_so == (not is_sqlite(url) and not has_pgbench)


def test_a_missing_pgbench_is_said_and_its_ratio_is_null(stores: Stores, tmp_path: Path) -> None:
    url = stores.new("postgres")

    report = measured("--database", url, "--only", "get", PATH=str(tmp_path))

    (job,) = report["jobs"]
    assert (job["ratio"], job["is_reached"], job["pgbench_rate"]) == (None, None, None)
    assert job["fixed_ratio"] > 0
    assert any(note.startswith("pgbench is not installed") for note in report["notes"])


def test_a_large_program_is_looked_up_and_exported_whole(url: str) -> None:
    size = measured("--database", url, "--size", "3000")["size"]

    assert size["failed"] == 0
    assert size["export_codes"] == size["codes"] == 3000
    assert size["rate"] > 0
    assert size["ratio"] > 0


def test_memory_is_watched_over_every_job(url: str) -> None:
    memory = measured("--database", url, "--memory", "--requests", "2000")["memory"]

    assert memory["failed"] == 0
    assert memory["requests"] == 2000
    if Path("/proc/self/statm").exists():
        assert len(memory["quarters_mb"]) == 4


def test_bulk_is_measured_beside_its_floors_and_no_code_is_missing(url: str) -> None:
    done = bench("bulk", "--json", "--database", url, "--codes", "1000", "--rounds", "1")

    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    names = ["import", "generate", "export_csv", "export_jsonl"]
    assert [job["name"] for job in report["bulk"]] == names
    has_floor = shutil.which("sqlite3" if is_sqlite(url) else "psql") is not None
    for job in report["bulk"]:
        assert job["failed"] == 0, job["name"]
        assert job["rate"] > 0
        assert (job["ratio"] is not None) == (has_floor or job["name"] == "generate")


def test_nothing_stays_in_the_store_but_the_ledger_and_a_dead_token(tmp_path: Path) -> None:
    path = tmp_path / "own.db"

    measured("--database", f"sqlite:///{path}", "--only", "activate_keyed,attach_any")

    connection = apsw.Connection(str(path))
    for table in ("promo_code", "attachment", "idempotency", "tally", "profile"):
        assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,), table
    for table in ("loyalty_program", "profile_database"):
        assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,), table
    living = connection.execute("SELECT count(*) FROM token WHERE revoked_at IS NULL")
    assert living.fetchone() == (0,)
    connection.close()


def test_a_table_is_printed_for_people() -> None:
    done = bench(*SHORT, "--only", "get")

    assert done.returncode == 0, done.stderr
    assert "requests/s" in done.stdout
    assert "fixed bytes" in done.stdout


def test_an_unknown_job_is_refused_with_the_names_of_all() -> None:
    done = bench("--only", "get,fly")

    assert done.returncode == 2
    assert "'fly' is none of get, activate" in done.stderr


def test_a_store_that_cannot_be_used_is_said_in_one_sentence(tmp_path: Path) -> None:
    done = bench(*SHORT, "--database", f"sqlite:///{tmp_path}/none/here.db")

    assert done.returncode == 2
    assert "does not exist" in done.stderr
    assert "Traceback" not in done.stderr


def test_answers_that_are_no_success_are_counted_and_have_no_rate(running: Running) -> None:
    fields = body({"loyalty_id": 1, "code": CODE})
    text = Template("promocodes/get", "promint_wrong", fields).text()

    with Load() as load:
        phase = load.run(Order(running.ports[0], text, 60.0, 2, 1, count=20))

    assert (phase.sent, phase.failed, phase.rate) == (20, 20, 0)
    assert '"error":401' in phase.first_failure


def test_a_busy_machine_is_noted() -> None:
    report = Report("sqlite", 48, 2.0, 5)

    report.note_load(0.0)
    assert not report.notes

    report.note_load(1000.0)
    assert "busy" in report.notes[0]


def test_an_open_loop_keeps_its_rate() -> None:
    text = Template("promocodes/get", "", body({"code": CODE})).text()

    with serving_fixed() as fixed, Load() as load:
        phase = load.run(Order(fixed.port, text, 0.5, 8, 1, drawn=10, rate=200.0))

    assert phase.failed == 0
    assert 100 <= phase.sent <= 101


def test_each_number_leads_to_a_code_of_its_own() -> None:
    codes = {numbering.code(number) for number in range(1, 100_001)}

    assert len(codes) == 100_000
    assert {len(code) for code in codes} == {numbering.CODE_CHARACTERS}
    assert numbering.NUMBER_MAX * numbering.STEP < 2**63


def test_a_bench_that_is_told_to_stop_ends_everything_that_it_started() -> None:
    started = subprocess.Popen(
        [sys.executable, "-m", "promint", "bench", "--json", "--only", "get"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        time.sleep(5)
        assert started.poll() is None

        started.send_signal(signal.SIGTERM)
        started.wait(60)

        give_up_at = time.monotonic() + LEFT_TIMEOUT_S
        while _lives(started.pid) and time.monotonic() < give_up_at:
            time.sleep(0.1)
        assert not _lives(started.pid)
    finally:
        if _lives(started.pid):
            os.killpg(started.pid, signal.SIGKILL)


def _lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
