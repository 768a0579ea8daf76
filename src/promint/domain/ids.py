"""Ids that need no counter in the store: 12 bytes, unique over processes, rising with time."""


class IdMaker:
    """Makes ids of 4 bytes of seconds, 5 random bytes of the process and a 3-byte counter.

    `entropy` is 8 random bytes, drawn anew in each process (after a fork as well).
    Not safe for several threads.
    """

    def __init__(self, entropy: bytes) -> None:
        """Keep the process's part and the counter's start."""
        assert len(entropy) == 8
        self._process = entropy[:5]
        self._counter = int.from_bytes(entropy[5:], "big")

    def new(self, now: int) -> bytes:
        """Return the next id; `now` is in UTC microseconds."""
        self._counter = (self._counter + 1) & 0xFFFFFF
        return (
            (now // 1_000_000 & 0xFFFFFFFF).to_bytes(4, "big")
            + self._process
            + self._counter.to_bytes(3, "big")
        )
