"""One canonical form of a code: what is equal, what is refused, how long it may be."""

import sys
import unicodedata
from hashlib import blake2b

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promint.domain import codetext
from promint.domain.errors import BadValue
from promint.domain.model import CodeMatching

SURROGATES = range(0xD800, 0xE000)
CHARACTERS = [chr(n) for n in range(sys.maxunicode + 1) if n not in SURROGATES]
TROUBLESOME = [
    character
    for character in CHARACTERS
    if unicodedata.combining(character)
    or codetext.canonical(character, CodeMatching.FORGIVING) != character
]
"""Characters that folding or composing changes, alone or with a neighbour."""

matchings = pytest.mark.parametrize("matching", list(CodeMatching))

# -- the compared form ---------------------------------------------------------------------


@matchings
def test_the_canonical_form_of_every_code_point_is_its_own_canonical_form(
    matching: CodeMatching,
) -> None:
    assert len(CHARACTERS) == 1_112_064

    canonical = [codetext.canonical(character, matching) for character in CHARACTERS]

    assert [one for one in canonical if codetext.canonical(one, matching) != one] == []


@matchings
@given(text=st.text(st.characters(codec="utf-8") | st.sampled_from(TROUBLESOME)))
def test_the_canonical_form_of_any_text_is_its_own_canonical_form(
    matching: CodeMatching, text: str
) -> None:
    once = codetext.canonical(text, matching)

    assert codetext.canonical(once, matching) == once


@given(text=st.text(st.characters(codec="utf-8") | st.sampled_from(TROUBLESOME)))
def test_texts_that_are_equal_exactly_are_equal_forgivingly(text: str) -> None:
    exact = codetext.canonical(text, CodeMatching.EXACT)

    forgiving = codetext.canonical(text, CodeMatching.FORGIVING)

    assert codetext.canonical(exact, CodeMatching.FORGIVING) == forgiving


@pytest.mark.parametrize(
    "variant",
    [
        "spring-7",
        "SPRING-7",
        " Spring-7\t",
        "\u00a0SPRING-7\u3000",
        "\uff33\uff30\uff32\uff29\uff2e\uff27\uff0d\uff17",
        "\U0001d412PRING-7",
        "\u017fpring-7",
        "SPRING-\u2077",
    ],
    ids=["lower", "upper", "blanks", "wide blanks", "full width", "bold", "long s", "superscript"],
)
def test_a_forgiving_program_takes_each_of_these_for_one_code(variant: str) -> None:
    assert codetext.canonical(variant, CodeMatching.FORGIVING) == "spring-7"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("STRASSE", "stra\u00dfe"),
        ("STRA\u1e9eE", "strasse"),
        (
            "\u03a3\u0399\u03a3\u03a5\u03a6\u039f\u03a3",
            "\u03c3\u03b9\u03c3\u03c5\u03c6\u03bf\u03c2",
        ),
        ("\u212aELVIN", "kelvin"),
        ("E\u0301TE\u0301", "\u00e9t\u00e9"),
        ("\ufb03", "FFI"),
        ("\u1f80", "\u1f00\u03b9"),
    ],
    ids=["sharp s", "capital sharp s", "final sigma", "kelvin", "accents", "ligature", "iota"],
)
def test_forgiving_knows_more_than_two_cases(one: str, other: str) -> None:
    forgiving = CodeMatching.FORGIVING

    assert codetext.canonical(one, forgiving) == codetext.canonical(other, forgiving)


@pytest.mark.parametrize(
    "other",
    ["spring-7", "SPRING7", "SPRING\u20117", "\u0405PRING-7", "\uff33PRING-7"],
    ids=["lower case", "no dash", "other dash", "Cyrillic", "full width"],
)
def test_an_exact_program_takes_nothing_else_for_the_code(other: str) -> None:
    exact = CodeMatching.EXACT

    assert codetext.canonical(other, exact) != codetext.canonical("SPRING-7", exact)


def test_an_exact_program_still_takes_one_letter_for_one_letter() -> None:
    assert codetext.canonical("\u00c9", CodeMatching.EXACT) == codetext.canonical(
        "E\u0301", CodeMatching.EXACT
    )


def test_letters_of_different_alphabets_stay_different() -> None:
    forgiving = CodeMatching.FORGIVING

    assert codetext.canonical("\u0410BC", forgiving) != codetext.canonical("ABC", forgiving)


# -- what a code can be --------------------------------------------------------------------


def test_outer_white_space_is_trimmed_and_inner_stays() -> None:
    assert codetext.clean_code("\n SPRING 7\u2003\r") == "SPRING 7"


@pytest.mark.parametrize("text", ["", " ", "\t\n", "\u00a0\u3000"])
def test_an_empty_code_is_refused(text: str) -> None:
    with pytest.raises(BadValue, match="empty, code"):
        codetext.clean_code(text)


def test_a_code_has_255_characters_at_most_after_trimming() -> None:
    assert codetext.clean_code(" " + "x" * 255 + " ") == "x" * 255
    assert codetext.clean_code("\U0001f600" * 255) == "\U0001f600" * 255
    with pytest.raises(BadValue, match="longer than 255 characters, code"):
        codetext.clean_code("x" * 256)


@pytest.mark.parametrize(
    "character",
    [
        "\x00", "\x07", "\x1b", "\x7f", "\x80", "\x9f",
        "\u200b", "\u200c", "\u200d", "\u2060", "\ufeff", "\u180e", "\u00ad", "\u034f",
        "\u3164", "\ufe0f", "\U000e0100",
        "\u061c", "\u200e", "\u200f", "\u202a", "\u202b", "\u202c", "\u202d", "\u202e",
        "\u2066", "\u2067", "\u2068", "\u2069",
        "\u2028", "\u2029", "\ud800", "\U000e0041",
    ],
    ids=lambda character: f"U+{ord(character):04X}",
)  # fmt: skip
def test_a_code_holds_no_character_that_cannot_be_seen(character: str) -> None:
    with pytest.raises(BadValue, match=f"holds the character U\\+{ord(character):04X}, codes"):
        codetext.clean_code(f"SPRING{character}7", "codes")


def test_no_code_point_slips_through_that_unicode_calls_control_or_format() -> None:
    def is_accepted(character: str) -> bool:
        try:
            codetext.clean_code(f"A{character}B")
        except BadValue:
            return False
        return True

    invisible = [one for one in CHARACTERS if unicodedata.category(one) in ("Cc", "Cf")]

    assert len(invisible) > 200
    assert [f"U+{ord(one):04X}" for one in invisible if is_accepted(one)] == []


@given(text=st.text(st.characters(codec="utf-8") | st.sampled_from(TROUBLESOME)))
def test_a_clean_code_is_clean_and_has_a_bounded_key_or_is_refused(text: str) -> None:
    try:
        code = codetext.clean_code(text)
        key = codetext.code_key(code, CodeMatching.FORGIVING)
    except BadValue:
        return

    assert codetext.clean_code(code) == code
    assert 1 <= len(key.encode()) <= 1024


# -- the key -------------------------------------------------------------------------------


def test_a_compared_form_has_1024_bytes_at_most() -> None:
    four_bytes, eight_bytes, nine_bytes = "\U0001f600", "\u33af", "\u3322"
    fits = four_bytes * 254 + eight_bytes
    one_more = four_bytes * 254 + nine_bytes

    assert len(codetext.code_key(fits, CodeMatching.FORGIVING).encode()) == 1024
    with pytest.raises(BadValue, match="over 1024 bytes, code"):
        codetext.code_key(one_more, CodeMatching.FORGIVING)
    assert codetext.code_key(one_more, CodeMatching.EXACT) == one_more


def test_a_few_characters_that_stand_for_many_are_bounded() -> None:
    with pytest.raises(BadValue, match="over 1024 bytes"):
        codetext.code_key("\ufdfa" * 255, CodeMatching.FORGIVING)


def test_a_code_whose_compared_form_is_empty_is_refused_where_it_stands() -> None:
    with pytest.raises(BadValue, match=r"^empty, codes$"):
        codetext.code_key(" ", CodeMatching.FORGIVING, "codes")


# -- the shard -----------------------------------------------------------------------------


def test_a_program_with_one_bucket_has_one_shard() -> None:
    assert codetext.shard_key(5, "anything", 1) == 5 * 4096


@given(key=st.text(st.characters(codec="utf-8")), power=st.integers(0, 12))
def test_a_bucket_is_the_first_eight_bytes_of_blake2b_modulo_the_buckets(
    key: str, power: int
) -> None:
    number = int.from_bytes(blake2b(key.encode()).digest()[:8], "big")

    assert codetext.shard_key(5, key, 2**power) == 5 * 4096 + number % 2**power


def test_the_codes_of_a_program_spread_over_its_buckets() -> None:
    buckets = {codetext.bucket(f"code-{number}", 16) for number in range(1000)}

    assert buckets == set(range(16))
