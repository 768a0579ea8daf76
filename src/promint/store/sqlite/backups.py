"""Copies of an SQLite file: made beside writers, checked, and put back."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import apsw

from promint.store import Unusable, migrations
from promint.store.facts import schema_refusal
from promint.store.whole_files import sync, whole_file

STEP_PAGES = 1_000
HEADER = b"SQLite format 3\0"
KEPT = ".replaced"


def back_up(connect: Callable[[], apsw.Connection], file: Path, *, replace: bool) -> None:
    """Copy the database that `connect` opens for reading into `file`, as of this moment.

    Raises:
        Unusable: the file cannot be written, or the copy is damaged.
        apsw.Error: the database cannot be read.
    """
    with whole_file(file, replace=replace) as part, closing(apsw.Connection(str(part))) as copy:
        with closing(connect()) as source:
            # Inside a transaction the source stands still. Without one, each change by another
            # connection would begin the copy anew, and under load it would never end.
            source.execute("BEGIN")
            source.execute("SELECT count(*) FROM sqlite_schema").fetchall()
            with copy.backup("main", source, "main") as backup:
                while not backup.done:
                    backup.step(STEP_PAGES)
        # One file, whole by itself: no log has to go with it.
        copy.execute("PRAGMA journal_mode = DELETE").fetchall()
        _demand_whole(copy, file)


def check_backup(file: Path, application_id: int) -> None:
    """Look at a backup before it is used.

    Raises:
        Unusable: it is none, is damaged, or is of a newer version.
    """
    try:
        with file.open("rb") as opened:
            header = opened.read(20)
    except OSError as error:
        raise Unusable(f"{file} cannot be read ({error.strerror}).") from None
    if not header.startswith(HEADER):
        raise Unusable(f"{file} is no backup of an SQLite database.")
    if header[18] != 1:
        raise Unusable(
            f"{file} was copied and not made by promint backup: without its log the newest "
            "changes are missing. Make a backup, or copy the log with it while nothing runs."
        )
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
    uri = f"{file.resolve().as_uri()}?immutable=1"
    try:
        with closing(apsw.Connection(uri, flags=flags)) as copy:
            ((owner,),) = copy.execute("PRAGMA application_id")
            ((schema,),) = copy.execute("PRAGMA user_version")
            if owner != application_id:
                raise Unusable(f"{file} is a database of another program.")
            refusal = schema_refusal(schema, migrations.latest(), migrates_itself=True)
            if refusal:
                raise Unusable(" ".join(refusal))
            _demand_whole(copy, file)
    except apsw.Error as error:
        raise Unusable(f"{file} is damaged ({error}).") from None


def put_back(file: Path, target: Path, *, replace: bool) -> None:
    """Make `target` a copy of a backup that was checked. What was there is kept under a new name.

    Raises:
        Unusable: there is a database and it shall not be replaced, or a name is taken.
    """
    # A log that is left alone counts too: SQLite would put it into the new file.
    if (target.exists() and target.stat().st_size) or Path(f"{target}-wal").exists():
        if not replace:
            raise Unusable(
                f"{target} is there already, and stays as it is. Name a new file with --database, "
                "or say --replace."
            )
        _set_aside(target)
    target.unlink(missing_ok=True)
    with whole_file(target) as part:
        shutil.copyfile(file, part)


def _set_aside(target: Path) -> None:
    kept = target.with_name(target.name + KEPT)
    if kept.exists():
        raise Unusable(f"{kept} is in the way: an earlier restore kept it. Move it away first.")
    # The database first: a log without it is not read by anybody.
    for suffix in ("", "-wal"):
        file = Path(f"{target}{suffix}")
        if file.exists():
            file.rename(f"{kept}{suffix}")
    Path(f"{target}-shm").unlink(missing_ok=True)
    sync(target.parent)


def damage(connection: apsw.Connection) -> Iterator[str]:
    """Yield what SQLite itself finds wrong: pages, indexes, values."""
    for (text,) in connection.execute("PRAGMA integrity_check"):
        yield from (line for line in text.splitlines() if line != "ok" and line[:3] != "***")


def _demand_whole(copy: apsw.Connection, file: Path) -> None:
    wrong = next(damage(copy), None)
    if wrong is not None:
        raise Unusable(f"{file} is damaged ({wrong}).")
