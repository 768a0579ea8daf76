"""`make prove`: run the promises' tests in a tier, then write docs/promises.md.

A long tier goes on where it was: what it has shown of this program is not run again. One run at
a time; what it prints in the background is in `.promises/TIER.log`.
"""

import ast
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import click

from tests.promises import results
from tests.promises.page import PAGE, page
from tests.promises.results import FOLDER, ROOT, Record, Result, State, Tier

HERE = Path(__file__).parent
QUICK_WORKERS = ["--numprocesses", "2", "--dist", "worksteal"]
MINUTES = {Tier.QUICK: 5.0, Tier.NIGHT: 90.0, Tier.RELEASE: 720.0}
GRACE = 1.1
"""A test that has no rounds may run over by this much before it is interrupted."""


@click.command()
@click.argument("tier", type=click.Choice(list(Tier)), default=Tier.QUICK)
@click.option("--row", "rows", type=int, multiple=True, help="Only this promise; may be repeated.")
@click.option("--seed", type=int, help="Repeat with this seed; nothing is kept or published.")
@click.option("--minutes", type=float, help="Begin nothing after so long.")
@click.option("--background", is_flag=True, help="Go on after the terminal is closed.")
def main(
    tier: Tier, rows: tuple[int, ...], seed: int | None, minutes: float | None, background: bool
) -> None:
    """Prove the promises: quick, night or release."""
    FOLDER.mkdir(exist_ok=True)
    log = FOLDER / f"{tier}.log"
    with (FOLDER / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise click.ClickException(f"a run is under way; see {FOLDER.name}/*.log") from None
        if not background:
            sys.exit(_prove(tier, rows, seed, minutes or MINUTES[tier]))
    _detach(log)
    click.echo(f"Proving in the background; what it does is in {log.relative_to(ROOT)}.")


def _detach(log: Path) -> None:
    """Run the same in a session of its own."""
    command = [argument for argument in sys.argv[1:] if argument != "--background"]
    with log.open("ab") as output:
        subprocess.Popen(
            [sys.executable, "-m", "tests.promises", *command],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def _prove(tier: Tier, rows: tuple[int, ...], seed: int | None, minutes: float) -> int:
    files = [
        str(path.relative_to(ROOT))
        for path in sorted(HERE.glob("test_[0-9][0-9]_*.py"))
        if not rows or int(path.name[5:7]) in rows
    ]
    if not files:
        raise click.ClickException("no test is about that")
    environment = {
        **os.environ,
        "PROMINT_PROVE_TIER": tier,
        "PROMINT_PROVE_UNTIL": str(time.time() + 60 * minutes),
    }
    if seed is None:
        environment["PROMINT_PROVE_FOLDER"] = str(FOLDER)
        if tier is Tier.QUICK:
            _drop(tier, files)
    else:
        environment["PROMINT_TEST_SEED"] = str(seed)

    # Longer tiers report rates and times, which a neighbour would spoil.
    workers = QUICK_WORKERS if tier is Tier.QUICK else []
    command = [sys.executable, "-m", "pytest", "-v", *workers, *files]
    code = _run(command, environment, 60 * minutes * GRACE)
    if seed is None:
        _publish()
    # All that there is to do may be done already.
    return 0 if code == 5 else code


def _run(command: list[str], environment: dict[str, str], seconds: float) -> int:
    """Run the tests; interrupt them, so that they stop what they started, when time is up."""
    with subprocess.Popen(command, cwd=ROOT, env=environment) as tests:
        try:
            return tests.wait(seconds)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            tests.send_signal(signal.SIGINT)
            return tests.wait()


def _drop(tier: Tier, files: list[str]) -> None:
    """Forget what is kept, for a tier that is so short that it is always run anew."""
    names = {Path(file).name for file in files}
    for result in list(results.saved(FOLDER)):
        if result.tier is tier and result.test.partition("::")[0] in names:
            results.drop(FOLDER, result)


def _publish() -> None:
    record = Record.read()
    found = list(results.saved(FOLDER))
    record.add(found)
    record.forget_all_but(_existing(record.results))
    record.write()
    PAGE.write_text(page(record), "utf-8")
    click.echo(_report(found))


def _existing(tests: dict[str, dict[Tier, Result]]) -> Iterator[str]:
    """Yield those of the tests that are still written somewhere."""
    written = {
        f"{path.name}::{node.name}"
        for path in HERE.glob("test_*.py")
        for node in ast.parse(path.read_text("utf-8")).body
        if isinstance(node, ast.FunctionDef)
    }
    return (test for test in tests if test.partition("[")[0] in written)


def _report(found: list[Result]) -> str:
    states = Counter((result.tier, result.state) for result in found)
    counted = [f"{tier}: {count} {state}" for (tier, state), count in sorted(states.items())]
    failed = [
        f"FAILED row {result.rows[0]}, {result.tier}, seed {result.seed}: {result.test}"
        for result in found
        if result.state is State.FAILED
    ]
    return "\n".join([*failed, f"{PAGE.relative_to(ROOT)} is written ({'; '.join(counted)})"])


if __name__ == "__main__":
    main()
