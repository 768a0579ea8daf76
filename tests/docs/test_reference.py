"""The reference is equal to the code: errors, settings, commands, calls, words, docstrings."""

import ast
import re
from pathlib import Path

import pytest

from promint.domain.errors import IncorrectRequest, MissingField, PromintError, public_errors
from promint.domain.model import EventKind, PromoCode
from promint.store.migrations import SQLITE, steps
from promint.web.api import http_status
from promint.web.calls import OPERATIONS
from tests.docs import management
from tests.docs.generated import commands, parts, rendered
from tests.docs.pages import DOCS, ROOT, anchors, table

SOURCES = sorted((ROOT / "src").rglob("*.py"))
WITH_REQUEST_ID = ("internal", "unavailable", "outcome_unknown")


def text_of(page: str) -> str:
    return (DOCS / page).read_text("utf-8")


def made(kind: type[PromintError]) -> PromintError:
    """Make an error with the words that the page uses for what differs."""
    if issubclass(kind, MissingField):
        return kind("WHERE")
    return kind("WHAT", "WHERE") if issubclass(kind, IncorrectRequest) else kind()


def test_the_errors_page_has_every_number_reason_text_and_status() -> None:
    wanted = set()
    for kind in public_errors():
        error = made(kind)
        ending = ", request ID" if error.reason in WITH_REQUEST_ID else ""
        wanted.add((str(error.number), error.reason, error.message + ending, http_status(error)))

    rows = table(text_of("errors.md"), "error")

    assert {(row[0], row[1], row[2], int(row[3])) for row in rows} == wanted
    assert len(rows) == len(wanted)
    assert all(row[4] and row[5] for row in rows)


def test_the_errors_page_is_in_order_of_numbers() -> None:
    numbers = [int(row[0]) for row in table(text_of("errors.md"), "error")]

    assert numbers == sorted(numbers)


@pytest.mark.parametrize(
    "page", ["reference/settings.md", "reference/commands.md", "reference/management-api.md"]
)
def test_what_comes_from_the_code_stands_on_the_page_as_the_code_has_it(page: str) -> None:
    found = parts(text_of(page))

    assert found
    for name, text in found.items():
        assert text == rendered(name), f"{name}: python -m tests.docs.renew docs/{page}"


def test_the_commands_page_has_every_command() -> None:
    text = text_of("reference/commands.md")

    assert list(parts(text)) == [name for name, _ in commands()]
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == list(parts(text))


def test_the_management_page_has_everything_that_the_document_has() -> None:
    wanted = [f"management {name}" for name in management.names()]

    assert list(parts(text_of("reference/management-api.md"))) == wanted


def test_the_reference_has_every_call_with_its_scope_and_an_example_in_both_forms() -> None:
    text = text_of("reference/api.md")
    sections = dict(re.findall(r"^## (\S+/\S+)\n(.*?)(?=^## )", text, re.MULTILINE | re.DOTALL))

    assert set(sections) == set(OPERATIONS)
    for name, operation in OPERATIONS.items():
        assert f"Scope `{operation.scope}`" in sections[name], name
        assert f"$ call {name} '{{" in sections[name], name
        assert f"$ call {name} '<xml" in sections[name], name
        assert name.replace("/", "") in anchors(text)


def test_the_tokens_page_lists_each_call_under_its_scope() -> None:
    rows = {row[0]: row[1] for row in table(text_of("how-to/tokens.md"), "scope")}

    for name, operation in OPERATIONS.items():
        named = rows[operation.scope]
        assert f"`{name}" in f"`{named}" or f"{name.split('/')[0]}/…" in named, name


def test_the_glossary_names_columns_and_attributes_that_exist() -> None:
    sql = "\n".join(statement for _, statements in steps(SQLITE) for statement in statements)
    found = re.search(r"CREATE TABLE promo_code \((.*?)\n\)", sql, re.DOTALL)
    assert found is not None
    columns = re.findall(r"^    ([a-z_]+) [A-Z]", found[1], re.MULTILINE)

    rows = table(text_of("glossary.md"), "wire")

    assert {row[1] for row in rows} == set(columns)
    assert all(hasattr(PromoCode, row[2]) for row in rows)


def test_the_glossary_has_every_kind_of_event() -> None:
    rows = table(text_of("glossary.md"), "kind")

    assert [(int(row[0]), row[1]) for row in rows] == [
        (kind.value, kind.name) for kind in EventKind
    ]


def test_every_decision_is_in_their_index() -> None:
    folder = DOCS / "decisions"
    files = sorted(path.name for path in folder.glob("0*.md"))

    index = text_of("decisions/README.md")
    listed = re.findall(r"^\| \[\d{4}\]\((.+?)\) \| (.+) \|$", index, re.MULTILINE)

    assert [name for name, _ in listed] == files
    for name, title in listed:
        text = (folder / name).read_text("utf-8")
        assert text.startswith(f"# {name[:4]} {title}\n"), name
        headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
        assert headings == ["Context", "Decision", "Consequences", "Alternatives"], name


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "src")))
def test_everything_public_has_a_docstring(source: Path) -> None:
    tree = ast.parse(source.read_text("utf-8"))
    missing = [] if ast.get_docstring(tree) else ["the module"]

    def look(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            if not isinstance(child, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                continue
            if child.name.startswith("_"):
                continue
            if not ast.get_docstring(child):
                missing.append(prefix + child.name)
            if isinstance(child, ast.ClassDef):
                look(child, f"{child.name}.")

    look(tree, "")

    assert missing == []
