"""Bytes in, whole lines of text out: gzip, encodings and line ends, a mebibyte at a time."""

import codecs
import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from tempfile import TemporaryFile
from typing import BinaryIO, Protocol

from promint.wire.rows.chunks import Encoding, refusal

BLOCK_BYTES = 1 << 20
LINE_CHARACTERS_MAX = 1 << 20
UNPACKED_RATIO_MAX = 200
UNPACKED_FREE_BYTES = 64 << 20
"""Up to here nobody asks for the ratio: a small file of equal lines packs well."""


class Source(Protocol):
    """What bytes are read from, again and again if need be."""

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes, none at the end."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go to a place."""

    def tell(self) -> int:
        """Return the place."""


class Spool:
    """A stream that cannot seek, made to: what was read is kept in a temporary file.

    It is read no further than it is asked for, so that a file is refused at its beginning
    before its end has come.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._kept: BinaryIO = TemporaryFile()  # noqa: SIM115 - closed by `close`
        self._size = 0
        self._place = 0

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes, none at the end."""
        wanted = None if size < 0 else self._place + size
        self._fill(wanted)
        self._kept.seek(self._place)
        data = self._kept.read(-1 if wanted is None else size)
        self._place += len(data)
        return data

    def _fill(self, until: int | None) -> None:
        self._kept.seek(self._size)
        while until is None or self._size < until:
            data = self._stream.read(BLOCK_BYTES if until is None else until - self._size)
            if not data:
                return
            self._kept.write(data)
            self._size += len(data)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go to a place; to go back from the end, the stream is read to its end."""
        if whence == io.SEEK_END:
            self._fill(None)
            offset += self._size
        elif whence == io.SEEK_CUR:
            offset += self._place
        self._place = offset
        return offset

    def tell(self) -> int:
        """Return the place."""
        return self._place

    def seekable(self) -> bool:
        """Say yes; archives ask."""
        return True

    def close(self) -> None:
        """Forget what was kept. The stream stays open: it is not ours."""
        self._kept.close()


class BrokenPack(Exception):
    """A gzip file cannot be unpacked; the text says why, and what to do."""


class Unpacked:
    """The bytes within a gzip file, as long as they are not absurdly many."""

    def __init__(self, packed: Source) -> None:
        self._packed = packed
        self._unpack = gzip.GzipFile(fileobj=packed, mode="rb")
        self._bytes = 0

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes, none at the end.

        Raises:
            BrokenPack: the file is cut off or damaged, or unpacks to absurdly much.
        """
        try:
            data = self._unpack.read(size)
        except EOFError:
            raise BrokenPack("the gzip file is cut off; get it again, whole") from None
        except (gzip.BadGzipFile, zlib.error):
            raise BrokenPack("the gzip file is damaged; get it again, or unpack it first") from None
        self._bytes += len(data)
        if self._bytes > UNPACKED_FREE_BYTES + UNPACKED_RATIO_MAX * self._packed.tell():
            raise BrokenPack(
                f"the gzip file unpacks to over {UNPACKED_RATIO_MAX} times its size; unpack it "
                "first if that is right"
            )
        return data


class Readable(Protocol):
    """What blocks are read from."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes, none at the end."""


class TextBlocks:
    """The text of a file in blocks of whole lines, line ends as they are.

    `line` is where the next block begins; who takes a block adds its lines. Bytes that are not
    of the encoding come as lone surrogates, for their line alone is to be refused.
    """

    def __init__(self, source: Readable, file: str, encoding: Encoding, bom_bytes: int) -> None:
        self._source = source
        self._file = file
        self._encoding = encoding
        self._bom_bytes = bom_bytes
        self.line = 1

    def __iter__(self) -> Iterator[str]:
        """Yield blocks.

        Raises:
            BadValue: a line is over a mebibyte, or the bytes end in the middle of a character
                of UTF-16, or of a gzip file.
        """
        self._source.read(self._bom_bytes)
        errors = "surrogatepass" if self._encoding.startswith("utf-16") else "surrogateescape"
        decode = codecs.getincrementaldecoder(self._encoding.value)(errors).decode
        rest = ""
        while data := self._read():
            text = rest + decode(data)
            # A carriage return at the very end may be the first half of a line end.
            cut = (text.rfind("\n") + 1) or (text.rfind("\r", 0, len(text) - 1) + 1)
            self._refuse_endless(text, cut)
            rest = text[cut:]
            if cut:
                yield text[:cut]
        if rest := rest + self._last(decode):
            yield rest

    def _read(self) -> bytes:
        try:
            return self._source.read(BLOCK_BYTES)
        except BrokenPack as broken:
            raise refusal(str(broken), self._file, self.line) from None

    def _last(self, decode: Callable[[bytes, bool], str]) -> str:
        try:
            return decode(b"", True)
        except UnicodeDecodeError:
            raise refusal(
                "the file ends in the middle of a character: UTF-16 has two bytes for each; "
                "get it again, whole",
                self._file,
                self.line,
            ) from None

    def _refuse_endless(self, text: str, cut: int) -> None:
        """A line that is too long lies across two blocks: it is the first one, or the rest."""
        if len(text) - cut > LINE_CHARACTERS_MAX:
            line = self.line + (count_lines(text[:cut]) if cut else 0)
        elif text.find("\n", 0, LINE_CHARACTERS_MAX + 1) < 0 and cut > LINE_CHARACTERS_MAX:
            if text.find("\r", 0, LINE_CHARACTERS_MAX + 1) >= 0:
                return
            line = self.line
        else:
            return
        raise refusal(
            f"a line of over {LINE_CHARACTERS_MAX:,} characters; a table has one row a line",
            self._file,
            line,
        )


def lines_of(text: str) -> list[str]:
    r"""Return the lines of a block without their ends: `\n`, `\r\n` or `\r`, also mixed."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    lines = text.split("\n")
    if not lines[-1]:
        del lines[-1]
    return lines


def count_lines(text: str) -> int:
    """Return how many lines a block has."""
    return len(lines_of(text))


def raw_lines_of(text: str) -> list[str]:
    """Return the lines of a block with their ends."""
    return list(io.StringIO(text, newline=""))


def is_damaged(text: str) -> bool:
    """Say whether a text holds bytes that its encoding does not have."""
    if text.isascii():
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def damaged_bytes(text: str, encoding: Encoding) -> str:
    """Return the reason for refusing a line that `is_damaged`."""
    place = next(place for place, sign in enumerate(text) if 0xD800 <= ord(sign) < 0xE000)
    unit = ord(text[place])
    shown = f"byte 0x{unit - 0xDC00:02X}" if unit >= 0xDC80 else f"half a character (0x{unit:04X})"
    return (
        f"not {encoding.value.upper()}: {shown} as character {place + 1}; save the file as UTF-8, "
        "or name its encoding"
    )


def shown(text: str) -> str:
    """Return a text in which every character can be written: U+FFFD stands for the others."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
