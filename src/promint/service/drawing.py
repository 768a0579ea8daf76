"""Making codes up: templates by their text, and chance."""

from collections.abc import Callable
from functools import lru_cache

from promint.domain import codetext
from promint.domain.errors import BadValue
from promint.domain.model import LoyaltyProgram
from promint.domain.rude import RudeWords
from promint.domain.templates import RandomBytes, Template
from promint.store import CodeId

TEMPLATES_KEPT = 256

NewCode = tuple[CodeId, str]
"""Where a code would stand, and its text."""

Draw = Callable[[LoyaltyProgram, int], list[NewCode]]
"""Makes codes of a program's template up; none where it has no usable one."""


class CodeSource:
    """Makes codes up from the operating system's chance, none of them rude."""

    def __init__(self, random_bytes: RandomBytes, rude: RudeWords) -> None:
        """Take chance, and the words that no code shall spell."""
        self.random_bytes = random_bytes
        self.rude = rude
        self.template = lru_cache(TEMPLATES_KEPT)(Template.parse)

    def draw(self, program: LoyaltyProgram, count: int) -> list[NewCode]:
        """Return so many codes of the program's template, each drawn by itself.

        None where the program has no template, or one that today's rules would not accept.
        """
        if not program.template:
            return []
        try:
            template = self.template(program.template, program.code_matching)
            codes = template.draw_many(count, self.random_bytes, self.rude)
        except BadValue:
            return []
        keys = [codetext.code_key(code, program.code_matching) for code in codes]
        shards = [codetext.shard_key(program.id, key, program.buckets) for key in keys]
        return list(zip(zip(shards, keys, strict=True), codes, strict=True))
