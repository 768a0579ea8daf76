"""Files that commands read: from a pipe too, and as often as it takes."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, BinaryIO, cast


@contextmanager
def rereadable(file: IO[bytes]) -> Iterator[BinaryIO]:
    """Yield a file that can be read from its start again; what a pipe brings is kept on disk.

    It is read to its end here and not by the event loop, which hears no Ctrl-C while it waits.
    """
    if file.seekable():
        yield cast(BinaryIO, file)
        return
    with tempfile.TemporaryFile(prefix="promint-") as kept:
        shutil.copyfileobj(file, kept, 1 << 20)
        kept.seek(0)
        yield cast(BinaryIO, kept)
