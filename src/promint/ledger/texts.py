"""The compared form of a code and its bucket, written down a second time."""

import unicodedata
from hashlib import blake2b

SHARDS = 4096
"""A shard key is the program's id times this, and the bucket."""


def compared(code: str, *, forgiving: bool) -> str:
    """Return the key of a code: NFC, or NFKC around case folding; without outer white space."""
    text = code
    if not text.isascii():
        text = unicodedata.normalize("NFKC" if forgiving else "NFC", text)
    if forgiving:
        text = text.casefold()
        if not text.isascii():
            text = unicodedata.normalize("NFKC", text)
    return text.strip()


def bucket_of(text: str, buckets: int) -> int:
    """Return where a text belongs: eight bytes of BLAKE2b, big-endian, modulo the buckets."""
    if buckets <= 1:
        return 0
    return int.from_bytes(blake2b(text.encode()).digest()[:8], "big") % buckets
