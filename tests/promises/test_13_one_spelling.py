# ruff: noqa: RUF001  # letters that look alike are what this is about
"""One code has one spelling: what looks like it is it, or is refused, on both stores alike."""

import random
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from promint.domain import codetext
from promint.domain.errors import BadValue, PromintError
from promint.domain.model import CodeMatching
from tests.conftest import STORES, Stores
from tests.promises.proof import Proof, control, promise
from tests.races.ledger import demand
from tests.world import World

SCALARS = [*range(0xD800), *range(0xE000, 0x110000)]
"""Every code point that a text can hold: 1,112,064."""

INVISIBLE = "\u00ad\u034f\u061c\u115f\u200b\u200c\u200d\u200e\u202e\u2060\u2066\u3164\ufe0f\ufeff"
OUTER_SPACES = " \u00a0\u1680\u2003\u2028\u202f\u205f\u3000"
LIGATURES = {"ffi": "ﬃ", "fi": "ﬁ", "fl": "ﬂ", "ff": "ﬀ", "st": "ﬆ", "ss": "ß", "s": "ſ", "k": "K"}
ACCENTS = "\u0301\u0308\u0327\u030a"
LETTERS = "abcdefghijklmnopqrstuvwxyz"
BASES = ("office", "staff", "kiss", "mask", "flow", "café", "größe", "ångström", "ελλάς", "весна")


def is_stable(text: str) -> None:
    """Demand that a text has one key, that the key is its own, and that it can be typed."""
    for matching in CodeMatching:
        key = codetext.canonical(text, matching)
        demand(codetext.canonical(key, matching) == key, matching, ascii(text), ascii(key))
        try:
            typed = codetext.code_key(codetext.clean_code(text), matching)
            again = codetext.code_key(codetext.clean_code(typed), matching)
        except BadValue:
            continue
        demand(typed == again, matching, ascii(text), ascii(typed), ascii(again))


@promise(13)
def test_the_compared_form_of_every_character_is_its_own(proof: Proof) -> None:
    # Quick takes each eighth character, beginning at another one each time.
    step = proof.size(quick=8, night=1)
    for seed in proof.rounds(quick=1, night=1):
        characters = SCALARS[seed % step :: step]
        for character in map(chr, characters):
            is_stable(character)
        proof.trials(len(characters), "characters")


@promise(13)
def test_the_compared_form_of_any_text_is_its_own(proof: Proof) -> None:
    count = proof.size(quick=20_000, night=100_000)
    for seed in proof.rounds(quick=1, night=10):
        rng = random.Random(seed)
        for _ in range(count):
            length = rng.randint(2, 8)
            # Half of the characters are of the planes' crowded beginning, where marks meet.
            most = rng.choice((0x3000, len(SCALARS)))
            is_stable("".join(chr(SCALARS[rng.randrange(most)]) for _ in range(length)))
        proof.trials(count, "texts")


Variant = Callable[[str, random.Random], str]


def wide(code: str, rng: random.Random) -> str:
    return "".join(
        chr(ord(c) + 0xFEE0) if "!" <= c <= "~" and rng.random() < 0.7 else c for c in code
    )


def lettered(first: int) -> Variant:
    """Return what writes a to z in another of Unicode's alphabets."""

    def write(code: str, rng: random.Random) -> str:
        return "".join(chr(first + LETTERS.index(c)) if c in LETTERS else c for c in code)

    return write


def ligated(code: str, rng: random.Random) -> str:
    for plain, one in LIGATURES.items():
        if rng.random() < 0.7:
            code = code.replace(plain, one)
    return code


def recased(code: str, rng: random.Random) -> str:
    return "".join(rng.choice((c.upper, c.lower, c.title))() for c in code)


def with_invisible(code: str, rng: random.Random) -> str:
    place = rng.randint(0, len(code))
    return code[:place] + rng.choice(INVISIBLE) + code[place:]


def padded(code: str, rng: random.Random) -> str:
    return rng.choice(OUTER_SPACES) + code + rng.choice(OUTER_SPACES) * rng.randint(0, 3)


def composed(code: str, rng: random.Random) -> str:
    return unicodedata.normalize(rng.choice(("NFC", "NFD")), code)


EXACT = (with_invisible, padded, composed)
FORGIVING = (
    *EXACT, recased, wide, ligated,
    lettered(0x1D41A), lettered(0x1D5BA), lettered(0x1D68A), lettered(0x24D0),
)  # fmt: skip
"""Bold, sans serif, typewriter and circled letters among them."""


def new_code(rng: random.Random) -> str:
    accent = rng.choice(("", rng.choice("aeou") + rng.choice(ACCENTS)))
    word = f"{rng.choice(BASES)}{accent}-{rng.randrange(10**6):06}"
    return unicodedata.normalize("NFC", word)


def look_alikes(
    codes: list[str], matching: CodeMatching, count: int, rng: random.Random
) -> Iterator[str]:
    """Yield variants of the codes, each made in one way or in two."""
    kinds = EXACT if matching is CodeMatching.EXACT else FORGIVING
    for _ in range(count):
        text = rng.choice(codes)
        for kind in rng.choices(kinds, k=rng.choice((1, 2))):
            text = kind(text, rng)
        yield text


def meet(world: World, matching: CodeMatching, count: int, seed: int) -> list[str]:
    """Demand that look-alikes make no second code; return what became of each."""
    rng = random.Random(seed)
    program = world.program(code_matching=matching)
    codes = list(dict.fromkeys(new_code(rng) for _ in range(count // 10)))
    demand(world.import_codes(program, *codes).inserted == len(codes), "they are different codes")
    variants = list(look_alikes(codes, matching, count, rng))
    said = []
    for item in world.import_codes(program, *variants).items:
        reason = item.error.reason if item.error else "stored"
        demand(reason in ("duplicate", "bad_value"), ascii(item.code), "was", reason)
        said.append(reason)
    holder = world.profile(world.database(creates_profiles=True), f"{seed}@example.com")
    for variant in variants[: count // 20]:
        found = ""
        try:
            clean = codetext.clean_code(variant)
            world.attach(program, holder, clean)
            found = world.get(program, clean).code
        except PromintError as refusal:
            demand(refusal.reason in ("already_attached", "bad_value"), ascii(variant), refusal)
        said.append(found)
    demand(world.exported(program) == codes, "there are other codes than were made")
    return said


@promise(13, store="both")
@pytest.mark.parametrize("matching", CodeMatching)
def test_look_alikes_meet_in_one_code_or_are_refused_on_both_stores(
    stores: Stores, proof: Proof, matching: CodeMatching
) -> None:
    count = proof.size(quick=1_000, night=5_000)
    with (
        closing(World(stores.new(STORES[0]))) as one,
        closing(World(stores.new(STORES[1]))) as other,
    ):
        for seed in proof.rounds(quick=1, night=10):
            here, there = (meet(world, matching, count, seed) for world in (one, other))
            demand(here == there, "the stores differ")
            proof.trials(count, "look-alikes")


def upper_case(code: str, matching: CodeMatching) -> str:
    return code.upper().strip()


@control(13, fault="keys by upper case and trimming alone", store="sqlite")
def test_codes_compared_by_upper_case_alone_are_found_out(
    world_by_upper_case: World, proof: Proof
) -> None:
    proof.control(lambda seed: meet(world_by_upper_case, CodeMatching.FORGIVING, 100, seed))


@pytest.fixture
def world_by_upper_case(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(codetext, "canonical", upper_case)
    with closing(World(stores.new("sqlite"))) as world:
        yield world


@control(13, fault="keys folded first and normalised once")
def test_an_unstable_compared_form_is_found_out(
    monkeypatch: pytest.MonkeyPatch, proof: Proof
) -> None:
    def folded_first(code: str, matching: CodeMatching) -> str:
        return unicodedata.normalize("NFKC", code.casefold()).strip()

    monkeypatch.setattr(codetext, "canonical", folded_first)

    def look(_: int) -> None:
        for character in map(chr, range(0x3000)):
            is_stable(character)

    proof.control(look)
