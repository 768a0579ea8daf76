"""The parts of the reference that the code writes: settings, commands, the management API.

They stand on a page between `<!-- from the code: NAME -->` and `<!-- until here -->`.
"""

import re
from collections.abc import Iterator

import click

from promint.cli import main
from promint.config import PREFIX, settings_fields
from tests.docs import management

TERMINAL_WIDTH = 78
"""What click leaves of a terminal of 80 columns."""

_PART = re.compile(
    r"(?<=^<!-- from the code: )(.+?) -->\n(.*?)(?=^<!-- until here -->$)",
    re.MULTILINE | re.DOTALL,
)


def commands() -> Iterator[tuple[str, click.Command]]:
    """Yield every command that is shown, with its whole name, groups included, in help's order."""

    def walk(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
        yield name, command
        if isinstance(command, click.Group):
            for child in sorted(command.commands):
                if not command.commands[child].hidden:
                    yield from walk(f"{name} {child}", command.commands[child])

    return walk("promint", main)


def rendered(name: str) -> str:
    """Return the text of a part: `settings`, `management …`, or the help of `promint …`."""
    if name == "settings":
        return f"\n{_settings()}\n\n"
    if name.startswith("management "):
        return f"\n{management.rendered(name.removeprefix('management '))}\n\n"
    command = dict(commands())[name]
    context = click.Context(
        command,
        info_name=name,
        terminal_width=TERMINAL_WIDTH,
        help_option_names=main.context_settings["help_option_names"],
    )
    return f"\n```text\n{command.get_help(context)}\n```\n\n"


def _settings() -> str:
    rows = ["| setting | default | unit | meaning |", "|---|---|---|---|"]
    for setting in settings_fields():
        default = str(setting.default).lower() if isinstance(setting.default, bool) else None
        shown = (
            f"`{PREFIX}{setting.name.upper()}`",
            f"`{default or setting.default}`" if setting.default != "" else "none",
            setting.metadata["unit"],
            setting.metadata["meaning"].replace("|", "\\|"),
        )
        rows.append(f"| {' | '.join(shown)} |")
    return "\n".join(rows)


def parts(text: str) -> dict[str, str]:
    """Return the generated parts of a page as they stand there, by name."""
    return dict(_PART.findall(text))


def renewed(text: str) -> str:
    """Return a page with its generated parts as the code has them now."""
    return _PART.sub(lambda part: f"{part[1]} -->\n{rendered(part[1])}", text)
