"""`python -m tests.docs.renew [PAGE]…`: write into the pages what the code says and prints now.

Read the difference afterwards: what changed there has changed for users.
"""

import re
import sys
import tempfile
from pathlib import Path

from tests.docs import generated
from tests.docs.pages import as_shown, is_followed, is_shown, pages
from tests.docs.terminal import POSTGRES_URL, Terminal, play
from tests.postgres import PostgresServer


def renewed(text: str, postgres: str) -> str:
    """Return a page with its commands' answers as they are now."""
    lines = text.splitlines()
    with (
        tempfile.TemporaryDirectory() as folder,
        Terminal(Path(folder), postgres) as terminal,
    ):
        answers = list(play(text, terminal))
    for step, printed in reversed(answers):
        if not is_shown(step.shown, printed):
            lines[step.shown_from : step.shown_until] = as_shown(printed).splitlines()
    return re.sub(r"\n*\Z", "\n", "\n".join(lines))


def main(names: list[str]) -> None:
    server: PostgresServer | None = None
    for page in [Path(name).resolve() for name in names] or pages():
        text = page.read_text("utf-8")
        new = generated.renewed(text)
        if is_followed(page):
            if POSTGRES_URL in text and server is None:
                server = PostgresServer.start()
            new = renewed(new, server.create_database() if server else "")
        if new != text:
            page.write_text(new, "utf-8")
            sys.stdout.write(f"{page.name} is renewed\n")
    if server:
        server.stop()


if __name__ == "__main__":
    main(sys.argv[1:])
