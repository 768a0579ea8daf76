"""Files that would fill the memory of whoever reads them whole: made while they are read.

`python -m tests.wire.rows.bombs NAME` reads one and prints what came of it and how many KiB the
process has grown; `--unbounded` takes the bound of a line away, and stops after 128 MiB.
"""

import io
import itertools
import json
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from promint.domain.errors import BadValue
from promint.wire.rows import blocks, open_rows
from tests.wire.rows.workbook import MAIN, codes, workbook

MIB = 1 << 20
GIB = 1 << 30


class Stream(io.RawIOBase):
    """A stream of pieces; nothing of it is kept."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest and (piece := next(self._pieces, None)) is not None:
            self._rest = piece
        piece, self._rest = self._rest[: len(buffer)], self._rest[len(buffer) :]
        buffer[: len(piece)] = piece
        return len(piece)


def _line(start: bytes, middle: bytes = b"x") -> Callable[[int], BinaryIO]:
    piece = middle * (MIB // len(middle))

    def make(size: int) -> BinaryIO:
        return cast(BinaryIO, Stream(itertools.chain([start], [piece] * (size // MIB))))

    return make


def _gzip(start: bytes, middle: bytes) -> Callable[[int], BinaryIO]:
    """Return a gzip of a gibibyte: one piece of 16 MiB is packed, and comes 64 times."""

    def pieces(size: int) -> Iterator[bytes]:
        packer = zlib.compressobj(9, wbits=31)
        yield packer.compress(start) + packer.flush(zlib.Z_FULL_FLUSH)
        packer = zlib.compressobj(9, wbits=-15)
        piece = middle * (16 * MIB // len(middle))
        packed = packer.compress(piece) + packer.flush(zlib.Z_FULL_FLUSH)
        for _ in range(size // len(piece)):
            yield packed

    return lambda size: cast(BinaryIO, Stream(pieces(size)))


def _xlsx(part: str, start: str, middle: str, end: str) -> Callable[[int], BinaryIO]:
    """Return a workbook with a part of a quarter of the size."""

    def make(size: int) -> BinaryIO:
        file = io.BytesIO(workbook(codes("A"), without=part))
        piece = middle.encode() * (MIB // len(middle))
        with (
            zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as packed,
            packed.open(part, "w", force_zip64=True) as stream,
        ):
            stream.write(start.encode())
            for _ in range(size // 4 // MIB):
                stream.write(piece)
            stream.write(end.encode())
        return file

    return make


_SHEET = "xl/worksheets/sheet1.xml"
_ROWS = f"<worksheet {MAIN}><sheetData>"
_CELL = '<row><c t="inlineStr"><is><t>'

BOMBS: dict[str, Callable[[int], BinaryIO]] = {
    "1 GB on the first line": _line(b""),
    "1 GB on the second line": _line(b"A1\n"),
    "1 GB on the second line of a table": _line(b"code,email\nA1,"),
    "1 GB in a quote, with line ends": _line(b'code,email\nA1,"', b"x\n"),
    "1 GB of delimiters": _line(b"code,email\nA1", b","),
    "1 GB of JSON": _line(b'{"code": "A1"}\n{"code": "'),
    "1 GB of JSON lists": _line(b'{"code": "A1"}\n', b"["),
    "1 GB of UTF-16": _line(b"\xff\xfeA\0\n\0", b"x\0"),
    "1 GB of zeros": _line(b"", b"\0"),
    "1 GB of blank lines": _line(b"", b"\n"),
    "gzip of 1 GB on a line": _gzip(b"A1\n", b"x"),
    "gzip of 1 GB of lines": _gzip(b"A1\n", b"A1\n"),
    "XLSX, a cell": _xlsx(_SHEET, _ROWS + _CELL, "x" * 1024, "</t></is></c></row>"),
    "XLSX, blanks": _xlsx(_SHEET, _ROWS, " " * 1024, "</sheetData></worksheet>"),
    "XLSX, rows": _xlsx(_SHEET, _ROWS, "<row/>", "</sheetData></worksheet>"),
    "XLSX, an attribute": _xlsx(_SHEET, f'<worksheet {MAIN} a="', "x" * 1024, '"/>'),
    "XLSX, shared texts": _xlsx(
        "xl/sharedStrings.xml", f"<sst {MAIN}>", f"<si><t>{'x' * 1024}</t></si>", "</sst>"
    ),
    "XLSX, styles": _xlsx("xl/styles.xml", f"<styleSheet {MAIN}>", " " * 1024, "</styleSheet>"),
}


def _resident_kib() -> int:
    """Return the most that the process has held; of a child, `getrusage` counts its parent."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


def main(name: str, *options: str) -> None:
    size = GIB
    if "--unbounded" in options:
        blocks.LINE_CHARACTERS_MAX = GIB
        size = 128 * MIB
    file = BOMBS[name](size)
    rows = 0
    before = _resident_kib()
    try:
        with open_rows(file, name="f") as reader:
            for chunk in reader:
                rows += len(getattr(chunk, "texts", ())) + len(getattr(chunk, "rows", ()))
        outcome = f"{rows} rows"
    except BadValue as error:
        outcome = f"{rows} rows ! {error.detail}"
    sys.stdout.write(json.dumps({"outcome": outcome, "grown_kib": _resident_kib() - before}))


if __name__ == "__main__":
    main(*sys.argv[1:])
