"""Files that are there whole or not at all."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from promint.store import Unusable

SUFFIXES = ("", "-journal", "-wal", "-shm")
"""What SQLite may leave beside a file."""


@contextmanager
def whole_file(file: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield a temporary file beside `file`, empty, the owner's alone; give it its name at the end.

    By then it is on the disk. If the block fails, it is gone and `file` is as it was.

    Raises:
        Unusable: the file is there already and shall not be replaced, or cannot be written.
    """
    part = file.with_name(f".{file.name}.{secrets.token_hex(4)}.part")
    try:
        if not replace and file.exists():
            raise _is_there(file)
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        yield part
        sync(part)
        if replace:
            part.replace(file)
        else:
            # Unlike a rename, this takes no name that somebody has taken meanwhile.
            file.hardlink_to(part)
            part.unlink()
        sync(file.parent)
    except FileExistsError:
        raise _is_there(file) from None
    except OSError as error:
        raise Unusable(f"{file} cannot be written ({error.strerror}).") from None
    finally:
        for suffix in SUFFIXES:
            with suppress(OSError):
                Path(f"{part}{suffix}").unlink()


def sync(path: Path) -> None:
    """Wait until a file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_there(file: Path) -> Unusable:
    return Unusable(f"{file} is there already. Name another file, or say --replace.")
