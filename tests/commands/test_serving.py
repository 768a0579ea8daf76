"""`promint demo` and `promint serve`: what they print, that it works, and how they stop."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.commands.running_commands import PROMINT, Promint
from tests.conftest import STORES, Stores
from tests.ports import free_port
from tests.running import Running

GIVE_UP_S = 60.0

# Does of curl what the printed line needs, where curl itself is not installed.
_CURL = """
import argparse, sys, urllib.request
options = argparse.ArgumentParser()
options.add_argument("url")
options.add_argument("-s", action="store_true")
options.add_argument("-H", action="append", default=[])
options.add_argument("-d")
given = options.parse_args()
headers = dict(line.split(": ", 1) for line in given.H)
request = urllib.request.Request(given.url, given.d.encode(), headers)
sys.stdout.write(urllib.request.urlopen(request).read().decode())
"""


@contextlib.contextmanager
def started(*arguments: object, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Start a command that serves; end it if the test has not."""
    process = subprocess.Popen(
        [*PROMINT, *map(str, arguments)],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        with process:
            yield process
            process.kill()
    finally:
        process.kill()


def stop(process: subprocess.Popen[str], number: int = signal.SIGTERM) -> str:
    """Tell a service to stop; return what it said on standard error."""
    process.send_signal(number)
    _, said = process.communicate(timeout=GIVE_UP_S)
    assert process.returncode == 0
    return said


def shell(command: str, folder: Path) -> Any:
    """Run a line as it was pasted into a terminal; return the JSON that it prints."""
    path = os.environ["PATH"]
    if shutil.which("curl") is None:
        curl = folder / "curl"
        curl.write_text(f"#!{sys.executable}\n{_CURL}")
        curl.chmod(0o755)
        path = f"{folder}:{path}"
    done = subprocess.run(
        ["sh", "-c", command], env={"PATH": path}, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def is_served(process: subprocess.Popen[str], port: int) -> None:
    service = Running("", ports=[port], running=[])
    give_up_at = time.monotonic() + GIVE_UP_S
    while time.monotonic() < give_up_at:
        assert process.poll() is None, process.communicate()
        with contextlib.suppress(OSError):
            if service.get("/health/ready").status == 200:
                return
        time.sleep(0.02)
    raise AssertionError("the service did not become ready")


# -- demo ----------------------------------------------------------------------------------


def test_the_line_that_the_demo_prints_can_be_pasted_and_answers(tmp_path: Path) -> None:
    port = free_port()
    with started("demo", "--port", port, TMPDIR=str(tmp_path)) as process:
        assert process.stdout is not None
        said = ""
        while not said.rstrip().endswith("}'"):
            said += process.stdout.readline()
        is_served(process, port)

        first, second = (shell(said[said.index("curl ") :], tmp_path) for _ in range(2))

        assert (first["error"], second["error"]) == (0, 0)
        codes = {answer["data"]["code"] for answer in (first, second)}
        assert len(codes) == 2
        assert all(code.startswith("SPRING-") for code in codes)
        assert f"http://127.0.0.1:{port} " in said
        assert list(tmp_path.glob("promint-demo-*"))
        assert stop(process) == ""
    assert not list(tmp_path.glob("promint-demo-*"))


def test_the_demo_prints_one_json_object_and_stops_on_ctrl_c() -> None:
    port = free_port()
    with started("demo", "--port", port, "--json") as process:
        assert process.stdout is not None
        sample = json.loads(process.stdout.readline())
        is_served(process, port)

        assert sample["url"] == f"http://127.0.0.1:{port}"
        service = Running(sample["database"], ports=[port], token=sample["token"])
        fields = {"loyalty_id": sample["loyalty_id"], "code": "SPRING-100"}
        assert service.call("promocodes/get", fields).error == 0
        assert service.call("databases/get", {"id": sample["db_id"]}).error == 0
        assert Promint(sample["database"]).json("codes", "show", "SPRING-100", "--program", 1)
        assert stop(process, signal.SIGINT) == ""


def test_the_demo_has_a_store_of_its_own(tmp_path: Path) -> None:
    said = Promint(f"sqlite:///{tmp_path / 'mine.db'}").run("demo")

    assert said.code == 2
    assert not (tmp_path / "mine.db").exists()


# -- serve ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", STORES)
@pytest.mark.parametrize("as_json", [False, True], ids=["for people", "--json"])
def test_serve_says_where_it_listens_and_stops_when_told(
    stores: Stores, kind: str, as_json: bool
) -> None:
    port = free_port()
    options = ["--json"] if as_json else []
    with started("serve", "--port", port, "--database", stores.new(kind), *options) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        is_served(process, port)

        if as_json:
            assert json.loads(said) == {"url": f"http://127.0.0.1:{port}", "workers": 1}
        else:
            assert said == f"Promint listens on http://127.0.0.1:{port}  (Ctrl-C stops it)\n"
        assert stop(process) == ""


def test_port_0_takes_a_free_one_and_says_which(stores: Stores) -> None:
    url = stores.new("sqlite")
    with started("serve", "--port", 0, "--database", url, "--json") as process:
        assert process.stdout is not None
        port = int(json.loads(process.stdout.readline())["url"].rpartition(":")[2])
        is_served(process, port)
        stop(process)


def test_a_stopped_service_leaves_its_file_to_the_next(stores: Stores) -> None:
    url = stores.new("sqlite")
    with Running(url) as service:
        loyalty_id = service.program(["A"])
    with Running(url) as service:
        assert service.call("promocodes/get", {"loyalty_id": loyalty_id, "code": "A"}).error == 0


def test_two_workers_on_postgres_serve_one_store_and_stop_when_told(stores: Stores) -> None:
    url, port = stores.new("postgres"), free_port()
    promint = Promint(url)
    token = promint.json("token", "create", "shop")["token"]
    promint("program", "create", "--name", "Spring")
    promint.import_codes(1, "A\n")

    with started("serve", "--port", port, "--workers", 2, "--database", url) as process:
        is_served(process, port)
        service = Running(url, ports=[port], token=token)
        processes: set[str] = set()
        give_up_at = time.monotonic() + GIVE_UP_S
        while len(processes) < 2 and time.monotonic() < give_up_at:
            reply = service.call("promocodes/get", {"loyalty_id": 1, "code": "A"})
            assert reply.error == 0
            # An id is 4 bytes of seconds, 5 of the process, 3 of a counter.
            processes.add(reply.headers["x-request-id"][8:18])

        assert len(processes) == 2
        stop(process)
    with pytest.raises(ConnectionRefusedError):
        service.get("/health/live")
