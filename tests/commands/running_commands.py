"""`promint COMMAND` as a person or a script runs it."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from tempfile import NamedTemporaryFile
from typing import Any

from click.testing import CliRunner

from promint.cli import main

PROMINT = (sys.executable, "-m", "promint")


@dataclass(frozen=True)
class Said:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one JSON object on standard output."""
        value = json.loads(self.out)
        assert isinstance(value, dict)
        return value


@dataclass
class Promint:
    """The commands on one store. They run in this process, which is quicker."""

    url: str

    def run(self, *arguments: object, **environment: str) -> Said:
        """Run a command to its end, however it ends; without a URL the environment names it."""
        store = ["--database", self.url] if self.url else []
        result = CliRunner(env=environment).invoke(main, [*store, *map(str, arguments)])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Said(result.exit_code, result.stdout, result.stderr)

    def __call__(self, *arguments: object) -> Said:
        """Run a command that has to succeed."""
        said = self.run(*arguments)
        assert said.code == 0, said
        return said

    def json(self, *arguments: object) -> dict[str, Any]:
        """Run a command with --json and return its object."""
        return self(*arguments, "--json").json

    def import_codes(self, program: int, text: str) -> dict[str, Any]:
        """Import a file with this text; return the counts."""
        with NamedTemporaryFile("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            return self.json("codes", "import", file.name, "--program", program)


def in_a_process(*arguments: object, stdin: str = "", **environment: str) -> Said:
    """Run a command in a process of its own."""
    done = subprocess.run(
        [*PROMINT, *map(str, arguments)],
        env={**os.environ, "COLUMNS": "80", **environment},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    return Said(done.returncode, done.stdout, done.stderr)
