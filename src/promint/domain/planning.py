"""Before codes are generated: is the space large enough, and can nobody guess them?"""

from dataclasses import dataclass
from enum import StrEnum
from math import floor, log2

from promint.domain.codetext import CODE_CHARACTERS_MAX
from promint.domain.errors import BadValue
from promint.domain.templates import Template

SPACE_SHARE_MAX = 2
"""The codes may fill one part in so many of the space: fuller, drawing meets what is there."""

GUESS_BITS = 32
"""An attacker shall need about 2 to the power of this many guesses for one live code."""


class RefusalReason(StrEnum):
    """Why a template cannot be used for so many codes."""

    SPACE_TOO_SMALL = "space_too_small"
    GUESSABLE = "guessable"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A reason not to generate, as a sentence, and what would do instead."""

    reason: RefusalReason
    sentence: str
    advice: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What generating would mean. It may go ahead where `refusals` is empty.

    `space` is how many codes the template can make, rude ones included; `used` of the program's
    codes may lie in it, `used_share` from 0 to 1. `live` codes can be guessed once `count` new
    ones are there, which takes `guesses_to_hit` tries on average; `bits` is the chance in a code.
    """

    template: str
    count: int
    space: int
    used: int
    used_share: float
    live: int
    guesses_to_hit: int
    bits: float
    refusals: tuple[Refusal, ...]

    @property
    def sentence(self) -> str:
        """The plan for people."""
        return (
            f"{self.template} makes about {self.space:,} codes ({self.bits:.1f} bits); "
            f"{self.used:,} are there ({_percent(self.used_share)}). With {self.count:,} more, "
            f"one of the {self.live:,} live codes is hit after about "
            f"{self.guesses_to_hit:,} guesses."
        )


def plan(
    template: Template, *, count: int, used: int, live: int, accept_guessable: bool = False
) -> Plan:
    """Return what generating `count` codes would mean.

    `used` is how many codes the program has, `live` how many of them can be attached or activated.
    """
    live_then = live + count
    refusals = []
    enough = (used + count) * SPACE_SHARE_MAX
    unguessable = live_then << GUESS_BITS
    if template.space < enough:
        advice = _advice(template, enough if accept_guessable else max(enough, unguessable))
        sentence = (
            f"{template.text} makes about {template.space:,} codes; {count:,} beside the {used:,} "
            "that are there would fill more than half of them"
        )
        refusals.append(Refusal(RefusalReason.SPACE_TOO_SMALL, sentence, advice))
    if template.space < unguessable and not accept_guessable:
        sentence = (
            f"a code of {template.text} has {template.bits:.1f} bits of chance; with "
            f"{live_then:,} live codes it needs {GUESS_BITS + log2(max(live_then, 1)):.1f} "
            "so that nobody guesses one"
        )
        advice = _advice(template, max(enough, unguessable))
        refusals.append(Refusal(RefusalReason.GUESSABLE, sentence, advice))
    return Plan(
        template.text,
        count,
        template.space,
        used,
        min(used / template.space, 1.0),
        live_then,
        template.space // (live_then + 1),
        template.bits,
        tuple(refusals),
    )


def _advice(template: Template, space: int) -> str:
    """Say how the template becomes large enough: with a longer last group."""
    group = template.groups[-1]
    # A little short of the estimate, which is rounded: the loop finds the first that does.
    missing_bits = log2(space) - template.bits
    longer = group.length + max(1, floor(missing_bits / log2(len(group.alphabet))))
    while longer <= CODE_CHARACTERS_MAX:
        try:
            wider = template.with_last_group(longer)
        except BadValue:
            break
        if wider.space >= space:
            return f"use {wider.text} instead of {template.text}"
        longer += 1
    return "use an alphabet of more symbols, or less fixed text"


def _percent(share: float) -> str:
    """Return a share as people read it."""
    if 0 < share < 0.001:
        return "less than 0.1 %"
    return f"{share * 100:.1f} %"
