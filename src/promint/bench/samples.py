"""Files of random codes to bring in: as people have them, and as whole rows for the floors."""

import os
from dataclasses import dataclass
from pathlib import Path

from promint.bootstrap import utc_now
from promint.domain.alphabets import ALPHABETS, CLEAR

CODE_CHARACTERS = 12
"""With 32 symbols this is 60 bits: so few codes as a bench has are different."""

BLOCK = 100_000
SHARD = 4096
"""The shard of the floors' rows: that of the first program."""

_SYMBOLS = ALPHABETS[CLEAR].encode() * 8


@dataclass(frozen=True, slots=True)
class Sample:
    """The same codes twice: `codes` has one a line, `rows` all columns of the code table."""

    count: int
    codes: Path
    rows: Path


def write_sample(folder: Path, count: int, *, separator: str, null: str) -> Sample:
    """Write a sample of free codes; `separator` and `null` are those of the rows."""
    assert len(_SYMBOLS) == 256
    sample = Sample(count, folder / "codes.txt", folder / "rows")
    # shard_key, code_key, code and seq differ; what follows is that of a new code.
    values = [utc_now(), null, 0, null, null, 0, 0, null, null, 1, 1, null]
    rest = separator.join(["", *map(str, values)]) + "\n"
    with sample.codes.open("w") as codes, sample.rows.open("w") as rows:
        for first in range(0, count, BLOCK):
            size = min(BLOCK, count - first)
            text = os.urandom(size * CODE_CHARACTERS).translate(_SYMBOLS).decode()
            block = [text[at : at + CODE_CHARACTERS] for at in range(0, len(text), CODE_CHARACTERS)]
            codes.writelines(f"{code}\n" for code in block)
            rows.writelines(
                f"{SHARD}{separator}{code.lower()}{separator}{code}{separator}{seq}{rest}"
                for seq, code in enumerate(block, first + 1)
            )
    return sample
