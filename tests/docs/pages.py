"""The documentation as data: its pages, the commands on them, their links and tables."""

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
DAY = "2026-11-23"
"""The day on which every answer of the documentation was given."""

WIDTH = 96

_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)T\d\d:\d\d:\d\d(?:\.\d+)?Z")
_TOKEN = re.compile(r"promint_[0-9A-Za-z]{33}")
_ID = re.compile(r"\b[0-9a-f]{24}\b")
_DATE = re.compile(r"^date: .*$", re.MULTILINE | re.IGNORECASE)


def pages() -> list[Path]:
    """Return every page that is for people, sorted."""
    top = [ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")]
    return [*top, *sorted(DOCS.rglob("*.md"))]


def is_followed(page: Path) -> bool:
    """Say whether a page's commands are run: all but those that measure, which takes minutes."""
    return page != DOCS / "benchmarks.md" and bool(steps(page.read_text("utf-8")))


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


# -- commands ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Step:
    """A command of a `console` block and what the page says it prints.

    `line` is the number of the command's first line; what is shown stands on the lines
    from `shown_from` up to but not including `shown_until`, all counted from 0.
    """

    line: int
    command: str
    shown: str
    shown_from: int
    shown_until: int


def steps(text: str) -> list[Step]:
    """Return the commands of a page in order: lines of ```console blocks that start with `$`."""
    lines = text.splitlines()
    found: list[Step] = []
    number = 0
    inside = False
    while number < len(lines):
        line = lines[number]
        if line.startswith("```"):
            inside = line == "```console"
        elif inside and line.startswith("$ "):
            first = number
            command = [line.removeprefix("$ ")]
            while not _is_whole("\n".join(command)):
                number += 1
                command.append(lines[number])
            shown_from = number + 1
            while not lines[number + 1].startswith(("$ ", "```")):
                number += 1
            shown = "\n".join(lines[shown_from : number + 1])
            found.append(Step(first, "\n".join(command), shown, shown_from, number + 1))
        number += 1
    return found


def _is_whole(command: str) -> bool:
    """Say whether a command ends here: no backslash and no open quote at its end."""
    try:
        shlex.split(command, comments=True)
    except ValueError:
        return False
    return True


def is_shown(shown: str, printed: str) -> bool:
    """Say whether a page shows what a command printed, ids, tokens and times of `DAY` aside.

    A line that is only `…` stands for any lines. JSON and XML may be broken into lines.
    """
    wanted, got = _plain(shown), _plain(printed)
    if "\n…\n" not in f"\n{wanted}\n":
        return _compared(wanted) == _compared(got)
    parts = [re.escape(part.strip("\n")) for part in re.split(r"(?m)^…$", wanted)]
    return re.fullmatch(r"\n?(?:.*\n)*?".join(parts) + r"\n?", got + "\n") is not None


def as_shown(printed: str) -> str:
    """Return what a command printed as a page would show it, long JSON and XML in lines."""
    shown = _TOKEN.sub("promint_…", printed).rstrip()
    return "\n".join(_in_lines(line) for line in shown.splitlines())


def _in_lines(line: str) -> str:
    if len(line) <= WIDTH or not line.startswith(("{", "<xml>")):
        return line
    lines = [""]
    for part in re.split(r'(?<=,)(?=["{])|(?<=>)(?=<(?!/))', line):
        if lines[-1] and len(lines[-1]) + len(part) > WIDTH:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def _plain(text: str) -> str:
    text = "\n".join(line.rstrip() for line in text.splitlines()).strip("\n")
    text = _DATE.sub("date: …", _ID.sub("<id>", _TOKEN.sub("promint_…", text)))
    return _MOMENT.sub(lambda moment: "<now>" if moment[1] == DAY else moment[0], text)


def _compared(text: str) -> object:
    """Return headers and body apart, and the body without the line breaks of its form."""
    head, separator, body = text.partition("\n\n")
    if not (separator and head.startswith("HTTP/")):
        head, body = "", text
    body = body.strip()
    if body.startswith("<xml>"):
        return head, re.sub(r">\s+<", "><", body)
    try:
        return head, json.loads(body, object_pairs_hook=lambda pairs: pairs)
    except ValueError:
        return head, body


# -- links ---------------------------------------------------------------------------------


def links(text: str) -> list[str]:
    """Return the targets of a page's links, code blocks and code left out."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    prose = re.sub(r"`[^`\n]*`", "", prose)
    return re.findall(r"\]\(([^)\s]+)\)", prose)


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as forges make them."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", prose, re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")
        number = 0
        while (unique := f"{slug}-{number}" if number else slug) in found:
            number += 1
        found.add(unique)
    return found


# -- tables --------------------------------------------------------------------------------


def table(text: str, first_column: str) -> list[list[str]]:
    """Return the rows of the one table whose first heading is `first_column`, code marks off."""
    lines = text.splitlines()
    (start,) = (n for n, line in enumerate(lines) if line.startswith(f"| {first_column} |"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        rows.append([cell.strip("`") for cell in cells])
    return rows
