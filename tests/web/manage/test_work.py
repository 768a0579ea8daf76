"""Files in and out, generation, bulk changes, batches and jobs over the management API."""

import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from promint.wire.rows import FileFormat, open_writer, write_rows
from tests.conftest import STORES, Stores
from tests.running import Reply, Running
from tests.web.manage.callers import Manager, refusal

MEBIBYTE = 1024 * 1024


def done(manager: Manager, job: dict[str, Any]) -> dict[str, Any]:
    ended = manager.ended(job["job_id"])
    assert ended["state"] == "done", ended
    return ended


def texts(manager: Manager, loyalty_id: int, query: str = "") -> set[str]:
    return {one["code"] for one in manager.all_pages(f"/programs/{loyalty_id}/codes{query}", 7)}


# -- imports -------------------------------------------------------------------------------


def test_an_uploaded_file_becomes_codes_and_a_list_of_rejects(
    running: Running, manager: Manager
) -> None:
    path = f"/programs/{running.program(['B'])}/imports?name=%D0%BA%D0%BE%D0%B4%D1%8B.csv"
    file = b"code,expire_date\nA,2027-06-30T00:00:00Z\nB,\nC,next week\n"

    job = manager.ask("POST", path, file)
    ended = done(manager, job)

    loyalty_id = job["loyalty_id"]
    assert (job["state"], job["kind"]) == ("waiting", "import")
    assert texts(manager, loyalty_id) == {"A", "B"}
    code = manager.ask("GET", f"/programs/{loyalty_id}/codes/A")
    assert (code["expire_date"], code["batch_id"]) == ("2027-06-30T00:00:00Z", ended["batch_id"])
    assert (ended["result"]["new"], ended["result"]["duplicates_in_program"]) == (1, 1)
    batch = manager.ask("GET", f"/batches/{ended['batch_id']}")
    assert (batch["source"], batch["state"]) == ("коды.csv", "done")

    rejects = manager.send("GET", f"/jobs/{job['job_id']}/files/rejects")
    assert rejects.status == 200
    assert rejects.headers["content-disposition"].startswith("attachment; ")
    assert b"next week" in rejects.body
    assert manager.send("GET", f"/jobs/{job['job_id']}/files/input").body == file
    unknown = manager.refused("GET", f"/jobs/{job['job_id']}/files/other")
    assert unknown["reason"] == "job_not_found"


def test_a_rehearsal_changes_nothing(running: Running, manager: Manager) -> None:
    loyalty_id = running.program(["A"])

    job = manager.ask("POST", f"/programs/{loyalty_id}/imports?dry_run=true", b"A\nB\n")
    result = done(manager, job)["result"]

    assert (result["new"], result["duplicates_in_program"], result["batch_id"]) == (1, 1, None)
    assert texts(manager, loyalty_id) == {"A"}


def test_columns_and_mode_are_obeyed(running: Running, manager: Manager) -> None:
    loyalty_id = running.program(["A"])
    query = "mode=all-or-nothing&format=csv&delimiter=semicolon&header=false&column=code=2"

    job = manager.ask("POST", f"/programs/{loyalty_id}/imports?{query}", b"x;A\ny;B\n")
    result = done(manager, job)["result"]

    assert result["refused"] is True
    assert texts(manager, loyalty_id) == {"A"}
    column = manager.refused("POST", f"/programs/{loyalty_id}/imports?column=code", b"A\n")
    assert column["field"] == "column"


def test_a_file_that_cannot_be_read_fails_its_job_with_a_sentence(
    running: Running, manager: Manager
) -> None:
    job = manager.ask("POST", f"/programs/{running.program()}/imports", b"colour,size\nred,1\n")

    ended = manager.ended(job["job_id"])

    assert ended["state"] == "failed"
    assert len(ended["error"]) > 20


def test_an_empty_file_is_refused(running: Running, manager: Manager) -> None:
    path = f"/programs/{running.program()}/imports"

    assert manager.refused("POST", path, b"")["field"] == "body"
    assert refusal(chunked(manager, path, iter(())))["field"] == "body"


def chunked(manager: Manager, path: str, parts: Iterator[bytes]) -> Reply:
    """Send a body whose length nobody knows before."""
    service = manager.service
    connection = http.client.HTTPConnection("127.0.0.1", service.ports[0], timeout=120)
    try:
        headers = {"authorization": f"Bearer {service.token}", "transfer-encoding": "chunked"}
        connection.request("POST", f"/manage/v1{path}", parts, headers, encode_chunked=True)
        response = connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        return Reply(response.status, found, response.read())
    finally:
        connection.close()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the memory from /proc")
@pytest.mark.parametrize("store", STORES)
def test_a_large_file_is_never_held_in_memory(stores: Stores, store: str) -> None:
    with Running(stores.new(store)) as service:
        manager = Manager(service)
        loyalty_id = service.program()
        path = f"/programs/{loyalty_id}/imports?dry_run=true"
        chunked(manager, path, iter([b"A\n"]))
        before = peak_bytes(service)

        line = b"SPRING-0123456789ABCDEF\n" * 40_000
        reply = chunked(manager, path, (line for _ in range(96 * MEBIBYTE // len(line))))

        assert reply.status == 202, reply
        assert peak_bytes(service) - before < 48 * MEBIBYTE
        manager.ask("POST", f"/jobs/{reply.json['job_id']}/cancel")
        size = manager.ask("GET", f"/jobs/{reply.json['job_id']}")["files"]["input"]
        assert size == 96 * MEBIBYTE // len(line) * len(line)


def peak_bytes(service: Running) -> int:
    status = Path(f"/proc/{service.running[0].pid}/status").read_text("ascii")
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


@pytest.mark.parametrize("store", STORES)
def test_a_file_over_the_limit_is_refused(stores: Stores, store: str) -> None:
    environment = {"PROMINT_UPLOAD_BYTES_MAX": "1000"}
    with Running(stores.new(store), environment=environment) as service:
        manager = Manager(service)
        path = f"/programs/{service.program()}/imports"

        declared = manager.refused("POST", path, b"A" * 1001)
        found = refusal(chunked(manager, path, iter([b"A\n" * 300] * 3)))

        assert declared["reason"] == found["reason"] == "too_large"
        jobs = manager.ask("GET", "/jobs")["items"]
        assert {job["state"] for job in jobs} <= {"cancelled"}


def test_a_file_that_breaks_off_brings_nothing(running: Running, manager: Manager) -> None:
    loyalty_id = running.program()
    head = [
        f"POST /manage/v1/programs/{loyalty_id}/imports HTTP/1.1",
        "Host: localhost",
        f"Authorization: Bearer {running.token}",
        "Content-Length: 1000000",
    ]
    with socket.create_connection(("127.0.0.1", running.ports[0])) as connection:
        connection.sendall("\r\n".join([*head, "", ""]).encode() + b"A\nB\n" * 1000)
        while not (jobs := manager.ask("GET", f"/jobs?loyalty_id={loyalty_id}")["items"]):
            pass
        assert jobs[0]["phase"] == "receiving the file"

    assert manager.ended(jobs[0]["job_id"])["state"] == "cancelled"
    assert texts(manager, loyalty_id) == set()


# -- files out -----------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["csv", "jsonl", "xlsx"])
def test_what_was_exported_can_be_imported_again(
    running: Running, manager: Manager, form: str
) -> None:
    codes = {"A", "=1+1", "Ключ", "00123"}
    source, other = running.program(sorted(codes)), running.program()

    reply = manager.send("GET", f"/programs/{source}/export?format={form}")
    done(manager, manager.ask("POST", f"/programs/{other}/imports", reply.body))

    assert reply.headers["content-disposition"].endswith(f"codes-{source}.{form}")
    assert texts(manager, other) == codes


def test_an_export_is_filtered_and_refused_like_a_search(
    running: Running, manager: Manager
) -> None:
    path = f"/programs/{running.program(['A-1', 'B-1'])}/export"

    lines = manager.send("GET", f"{path}?prefix=a&format=jsonl").body.splitlines()

    assert [json.loads(line)["code"] for line in lines] == ["A-1"]
    assert manager.refused("GET", f"{path}?format=pdf")["field"] == "format"
    assert manager.refused("GET", f"{path}?email=ann@example.com")["field"] == "db_id"
    assert manager.send("GET", f"{path}?prefix=zzz&format=csv&raw=true").status == 200


# -- generation ----------------------------------------------------------------------------


def test_codes_are_generated_once_for_a_key(running: Running, manager: Manager) -> None:
    loyalty_id = running.program(template="G-{12}", fields=("shop",))
    path = f"/programs/{loyalty_id}/generations"
    body = {"count": 20, "expire_date": "2027-06-30T00:00:00Z", "fields": {"shop": "Oslo"}}
    key = f"generate-{loyalty_id}"

    first = manager.send("POST", path, body, idempotency_key=key)
    again = manager.send("POST", path, body, idempotency_key=key)
    ended = done(manager, first.json)

    assert (first.status, first.body) == (again.status, again.body)
    codes = manager.all_pages(f"/programs/{loyalty_id}/codes", 6)
    assert len({one["code"] for one in codes}) == 20
    assert all(one["fields"] == {"shop": "Oslo"} for one in codes)
    assert {one["expire_date"] for one in codes} == {"2027-06-30T00:00:00Z"}
    assert {one["batch_id"] for one in codes} == {ended["batch_id"]}


def test_what_the_plan_refuses_is_refused_at_once(running: Running, manager: Manager) -> None:
    loyalty_id = running.program(code_limit=5)
    path = f"/programs/{loyalty_id}/generations"

    guessable = manager.refused("POST", path, {"count": 5, "template": "G-{4}"})
    over = manager.refused("POST", path, {"count": 6, "template": "G-{12}"})
    none = manager.refused("POST", path, {"count": 5})
    field = manager.refused("POST", path, {"count": 1, "template": "G-{12}", "fields": {"x": "y"}})

    assert guessable["field"] == "template"
    assert "use G-{" in guessable["message"]
    assert (over["number"], over["reason"]) == (402, "code_limit")
    assert none["field"] == "template"
    assert field["field"] == "fields.x"
    assert manager.ask("GET", f"/jobs?loyalty_id={loyalty_id}")["items"] == []


# -- codes ---------------------------------------------------------------------------------


def test_codes_are_found_by_what_they_are(running: Running, manager: Manager) -> None:
    loyalty_id, db_id = running.program([f"A-{n}" for n in range(20)] + ["B-1"]), running.database()
    path = f"/programs/{loyalty_id}"
    manager.ask("POST", f"/databases/{db_id}/profiles", {"email": "ann@example.com"})
    ann = {"db_id": db_id, "email": "ann@example.com"}
    for code in ("A-3", "A-4"):
        manager.ask("POST", f"{path}/attach", {**ann, "code": code})
    manager.ask("POST", f"{path}/codes/A-4/activate")

    assert len(texts(manager, loyalty_id)) == 21
    assert len(texts(manager, loyalty_id, "?prefix=a-")) == 20
    assert texts(manager, loyalty_id, "?prefix=b") == {"B-1"}
    assert texts(manager, loyalty_id, "?state=attached") == {"A-3"}
    assert texts(manager, loyalty_id, "?state=activated") == {"A-4"}
    assert texts(manager, loyalty_id, f"?db_id={db_id}&email=ann@example.com") == {"A-3", "A-4"}
    assert texts(manager, loyalty_id, "?code=a-1&code=B-1&code=none") == {"A-1", "B-1"}
    assert texts(manager, loyalty_id, "?created_until=2020-01-01T00:00:00Z") == set()
    assert len(texts(manager, loyalty_id, "?created_from=2020-01-01T00:00:00%2B03:00")) == 21
    assert texts(manager, loyalty_id, "?attached_from=2020-01-01T00:00:00Z") == {"A-3", "A-4"}

    events = manager.all_pages(f"{path}/events", 2)
    kinds = [
        event["kind"] for event in events if event["kind"] not in ("imported", "program_created")
    ]
    assert kinds == ["activated", "attached", "attached"]
    history = manager.ask("GET", f"{path}/codes/a-4/history")
    assert [event["kind"] for event in history["events"]] == ["attached", "activated"]
    assert history["author"] == "command"


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("created_from=2027-01-01", "created_from"),
        ("expires_until=2027-01-01T00:00:00", "expires_until"),
        ("email=ann@example.com", "db_id"),
        ("db_id=1", None),
        ("state=lost", "state"),
        ("code=", "code"),
        ("code=%07", "code"),
        ("after=x", "after"),
        ("created_from=2027-01-02T00:00:00Z&created_until=2027-01-01T00:00:00Z", "created_until"),
    ],
)
def test_a_search_that_cannot_be_names_its_field(
    running: Running, manager: Manager, query: str, field: str | None
) -> None:
    db_id = running.database()
    loyalty_id = running.program()

    found = manager.refused(
        "GET", f"/programs/{loyalty_id}/codes?{query.replace('=1', f'={db_id}')}"
    )

    assert found["number"] == 400
    assert field is None or found["field"] == field


def test_a_change_of_a_code_touches_what_is_named(running: Running, manager: Manager) -> None:
    path = f"/programs/{running.program(['A'])}/codes/A"
    late = "2027-06-30T00:00:00.5Z"

    assert manager.ask("PATCH", path, {"expire_date": late})["expire_date"] == late
    assert manager.refused("PATCH", path, {"activated": True})["reason"] == "not_attached"
    assert manager.refused("PATCH", path, {})["reason"] == "missing_field"
    assert manager.refused("PATCH", path, {"expire_date": "2027-06-30"})["field"] == "expire_date"
    assert manager.ask("GET", path)["expire_date"] == late
    assert manager.ask("PATCH", path, {"expire_date": None})["expire_date"] is None


# -- bulk changes and the way back ---------------------------------------------------------


def test_a_bulk_change_is_previewed_done_and_taken_back(running: Running, manager: Manager) -> None:
    loyalty_id = running.program(["A-1", "A-2", "B-1"])
    path = f"/programs/{loyalty_id}/changes"
    change = {
        "change": "expire",
        "expire_date": "2027-06-30T00:00:00Z",
        "filter": {"prefix": "a-"},
    }

    preview = manager.ask("POST", f"{path}/preview", change)
    assert (preview["matching"], preview["changing"]) == (2, 2)
    assert texts(manager, loyalty_id, "?expires_from=2027-01-01T00:00:00Z") == set()

    ended = done(manager, manager.ask("POST", path, change))
    assert texts(manager, loyalty_id, "?expires_from=2027-01-01T00:00:00Z") == {"A-1", "A-2"}
    batch = f"/batches/{ended['batch_id']}"
    assert manager.ask("GET", batch)["counts"]["changed"] == 2
    assert texts(manager, loyalty_id, f"?batch_id={ended['batch_id']}") == {"A-1", "A-2"}

    manager.ask("PATCH", f"/programs/{loyalty_id}/codes/A-1", {"expire_date": None})
    undo = manager.ask("GET", f"{batch}/undo")
    assert (undo["undoing"], undo["touched"]) == (1, 1)
    done(manager, manager.ask("POST", f"{batch}/undo"))

    assert manager.ask("GET", f"/programs/{loyalty_id}/codes/A-2")["expire_date"] is None
    assert manager.ask("GET", batch)["state"] == "undone"
    again = manager.refused("POST", f"{batch}/undo")
    assert (again["number"], again["reason"]) == (409, "already_undone")
    touched = manager.send("GET", f"{batch}/touched")
    assert touched.headers["content-type"] == "application/jsonl"
    assert [json.loads(line)["code"] for line in touched.body.splitlines()] == ["A-1"]


def test_an_import_is_taken_back(running: Running, manager: Manager) -> None:
    loyalty_id = running.program(["A"])
    job = manager.ask("POST", f"/programs/{loyalty_id}/imports", b"B\nC\n")
    batch_id = done(manager, job)["batch_id"]

    done(manager, manager.ask("POST", f"/batches/{batch_id}/undo"))

    assert texts(manager, loyalty_id) == {"A"}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"change": "delete"}, "filter"),
        ({"change": "expire", "filter": {}}, "expire_date"),
        ({"change": "delete", "filter": {}, "expire_date": None}, "expire_date"),
        ({"change": "expire", "filter": {}, "expire_date": "2027-06-30"}, "expire_date"),
        ({"change": "destroy", "filter": {}}, "change"),
        ({"change": "delete", "filter": {"colour": "red"}}, "filter.colour"),
        ({"change": "delete", "filter": {"state": "lost"}}, "filter.state"),
        ({"change": "delete", "filter": {"created_from": "2027"}}, "created_from"),
    ],
)
def test_a_bulk_change_that_cannot_be_names_its_field(
    running: Running, manager: Manager, body: dict[str, Any], field: str
) -> None:
    path = f"/programs/{running.program()}/changes"

    for more in ("", "/preview"):
        found = manager.refused("POST", path + more, body)
        assert (found["number"], found["field"]) == (400, field)


def test_codes_are_attached_to_a_list_of_profiles(running: Running, manager: Manager) -> None:
    loyalty_id, db_id = running.program(["A", "B"]), running.database()
    running.profiles(db_id, 2)
    file = b"email,code\ncustomer-0@example.com,A\ncustomer-1@example.com,\nnobody@example.com,B\n"

    job = manager.ask("POST", f"/programs/{loyalty_id}/attachments?db_id={db_id}", file)
    ended = done(manager, job)

    assert texts(manager, loyalty_id, "?state=attached") == {"A", "B"}
    assert manager.ask("GET", f"/batches/{ended['batch_id']}")["counts"]["rejected"] == 1
    rejects = manager.send("GET", f"/jobs/{job['job_id']}/files/rejects").body
    assert b"profile_not_found" in rejects or b"Profile not found" in rejects


@pytest.mark.parametrize("form", ["csv", "jsonl", "xlsx"])
def test_a_list_of_any_form_is_previewed_and_attached(
    running: Running, manager: Manager, form: str
) -> None:
    loyalty_id, db_id = running.program(["A", "B"], creates_on_attach=False), running.database()
    running.profiles(db_id, 2)
    rows = [("customer-0@example.com", "A"), ("customer-1@example.com", "")]
    rows += [("nobody@example.com", "B"), ("customer-0@example.com", "NEW")]
    writer = open_writer(FileFormat(form), ("email", "code"))
    file = b"".join(write_rows(writer, [rows]))
    path, query = f"/programs/{loyalty_id}/attachments", f"?db_id={db_id}&name=list.{form}"

    preview = manager.ask("POST", f"{path}/preview{query}", file)
    before = texts(manager, loyalty_id, "?state=attached")
    ended = done(manager, manager.ask("POST", path + query, file))

    assert (preview["matching"], preview["changing"], preview["is_all"]) == (4, 2, True)
    assert [(one["profile"], one["code"], one["refused"]) for one in preview["sample"]] == [
        ("customer-0@example.com", "A", ""),
        ("customer-1@example.com", "", ""),
        ("nobody@example.com", "B", "profile_not_found"),
        ("customer-0@example.com", "NEW", "code_not_found"),
    ]
    assert before == set()
    assert texts(manager, loyalty_id, "?state=attached") == {"A", "B"}
    assert (ended["result"]["counts"]["changed"], ended["result"]["counts"]["rejected"]) == (2, 2)
    assert (ended["done"], ended["total"]) == (4, 4)


def test_a_list_that_cannot_be_read_begins_nothing(running: Running, manager: Manager) -> None:
    loyalty_id = running.program(["A"])
    path = f"/programs/{loyalty_id}/attachments"

    refused = manager.refused("POST", f"{path}/preview?name=list.csv", b"code,shop\nA,1\n")
    empty = manager.refused("POST", f"{path}/preview", b"")
    ended = manager.ended(manager.ask("POST", path, b'email\n"ann@example.com\n')["job_id"])

    assert (refused["number"], refused["field"]) == (400, "list.csv")
    assert "no column names the profile" in refused["message"]
    assert (empty["reason"], empty["field"]) == ("malformed", "body")
    assert (ended["state"], ended["batch_id"]) == ("failed", None)
    assert "never closed" in ended["error"]


# -- jobs ----------------------------------------------------------------------------------


def test_jobs_and_batches_come_newest_first_in_pages(running: Running, manager: Manager) -> None:
    loyalty_id = running.program()
    made = [
        manager.ask("POST", f"/programs/{loyalty_id}/imports", f"C-{n}\n".encode())["job_id"]
        for n in range(3)
    ]
    ended = [manager.ended(job_id) for job_id in made]

    jobs = manager.all_pages(f"/jobs?loyalty_id={loyalty_id}", 2)
    batches = manager.all_pages(f"/batches?loyalty_id={loyalty_id}", 2)

    assert [job["job_id"] for job in jobs] == made[::-1]
    assert {job["state"] for job in ended} == {"done"}
    assert [one["batch_id"] for one in batches] == [job["batch_id"] for job in ended][::-1]
    assert manager.ask("GET", f"/jobs?loyalty_id={loyalty_id}&state=failed")["items"] == []


def test_a_cancelled_job_stays_so(running: Running, manager: Manager) -> None:
    loyalty_id = running.program(template="C-{12}")
    path = f"/programs/{loyalty_id}/generations"
    jobs = [manager.ask("POST", path, {"count": 5})["job_id"] for _ in range(2)]

    manager.ask("POST", f"/jobs/{jobs[1]}/cancel")

    assert manager.ended(jobs[1])["state"] in ("cancelled", "done")
    ended = manager.ended(jobs[0])
    assert manager.ask("POST", f"/jobs/{jobs[0]}/cancel")["state"] == ended["state"] == "done"
