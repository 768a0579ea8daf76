"""What the pages show is what happens: their commands are run, their links lead somewhere."""

import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conftest import Stores
from tests.docs.pages import (
    DOCS,
    ROOT,
    anchors,
    as_shown,
    is_followed,
    is_shown,
    links,
    name_of,
    pages,
)
from tests.docs.terminal import POSTGRES_URL, Terminal, play

PAGES = pages()
RUN = [page for page in PAGES if is_followed(page)]


def differences(page: Path, folder: Path, postgres: str = "", *, has_curl: bool = True) -> str:
    """Follow a page to its end and say what it shows that is not printed."""
    found = []
    with Terminal(folder, postgres, has_curl=has_curl) as terminal:
        for step, printed in play(page.read_text("utf-8"), terminal):
            if not is_shown(step.shown, printed):
                found.append(
                    f"line {step.line + 1}: $ {step.command}\n"
                    f"--- shown\n{step.shown}\n--- printed\n{as_shown(printed)}\n"
                )
    return "\n".join(found)


@pytest.fixture(scope="module")
def followed(
    stores: Stores, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[Path, Future[str]]]:
    """Follow all pages at once: most of their time they wait for commands to start."""
    with ThreadPoolExecutor(4) as readers:
        futures = {}
        for page in RUN:
            needs_postgres = POSTGRES_URL in page.read_text("utf-8")
            postgres = stores.server.create_database() if needs_postgres else ""
            folder = tmp_path_factory.mktemp("page")
            futures[page] = readers.submit(differences, page, folder, postgres)
        yield futures


@pytest.mark.parametrize("page", RUN, ids=name_of)
def test_a_page_shows_what_its_commands_print(
    page: Path, followed: dict[Path, Future[str]]
) -> None:
    found = followed[page].result()

    assert not found, f"{found}\n(python -m tests.docs.renew {name_of(page)})"


def test_a_page_can_be_followed_on_a_machine_without_curl(tmp_path: Path) -> None:
    assert not differences(DOCS / "how-to/retry-safely.md", tmp_path, has_curl=False)


def test_what_a_page_shows_wrongly_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```console\n$ echo right\nright\n$ echo wrong\nwrng\n```\n")

    assert differences(page, tmp_path).startswith("line 4: $ echo wrong\n")


def test_the_first_pages_are_among_those_that_are_run() -> None:
    names = {name_of(page) for page in RUN}

    assert {"README.md", "docs/tutorial.md", "docs/reference/api.md"} <= names


def test_make_run_is_the_demo_that_the_readme_shows() -> None:
    planned = subprocess.run(
        ["make", "--no-print-directory", "--dry-run", "run"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    assert planned.stdout.splitlines()[-1] == ".venv/bin/promint demo"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_to_a_page_and_a_heading_that_exist(page: Path) -> None:
    for link in links(page.read_text("utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_relative_to(ROOT), link
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target.read_text("utf-8")), link


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_file_of_ours_that_a_page_names_exists(page: Path) -> None:
    for path in re.findall(r"`((?:tests|src|docs)/[\w/.-]+)`", page.read_text("utf-8")):
        assert (ROOT / path).exists(), path


def test_every_page_that_the_code_names_exists() -> None:
    named = set()
    for source in [*(ROOT / "src").rglob("*.py"), *(ROOT / "tests").rglob("*.py")]:
        named |= set(re.findall(r"\bdocs/[\w/-]+\.md\b", source.read_text("utf-8")))

    assert named
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


def test_every_page_can_be_reached_from_the_index() -> None:
    reached, ahead = set[Path](), [DOCS / "index.md"]
    while ahead:
        page = ahead.pop()
        if page in reached:
            continue
        reached.add(page)
        for link in links(page.read_text("utf-8")):
            target = (page.parent / link.partition("#")[0]).resolve()
            if target.suffix == ".md" and target.is_relative_to(DOCS) and target.exists():
                ahead.append(target)

    assert [
        name_of(page) for page in PAGES if page.is_relative_to(DOCS) and page not in reached
    ] == []
