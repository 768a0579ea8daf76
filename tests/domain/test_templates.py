"""Templates: what can be written, what is drawn, and what a check symbol catches."""

# The Cyrillic letters are meant.
# ruff: noqa: RUF001

import itertools
import os
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promint.domain.alphabets import ALPHABETS, joins_before
from promint.domain.codetext import canonical, clean_code, code_key
from promint.domain.errors import BadValue
from promint.domain.model import CodeMatching
from promint.domain.rude import DEFAULT_WORDS, RudeWords
from promint.domain.templates import Template

FORGIVING, EXACT = CodeMatching.FORGIVING, CodeMatching.EXACT
SYMBOLS = "".join(chr(code) for code in range(0x4E00, 0x4E00 + 100))


def parse(text: str, matching: CodeMatching = FORGIVING) -> Template:
    return Template.parse(text, matching)


def draw(template: Template, count: int, *words: str) -> list[str]:
    return template.draw_many(count, os.urandom, RudeWords(words))


def every_byte() -> Callable[[int], bytes]:
    """Stand in for chance: each value equally often."""
    values = itertools.cycle(range(256))
    return lambda count: bytes(itertools.islice(values, count))


# -- what can be written -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "form", "space"),
    [
        ("{8}", r"[2-9A-HJ-NP-Z]{8}", 32**8),
        ("SPRING-{8}", r"SPRING-[2-9A-HJ-NP-Z]{8}", 32**8),
        ("{4}-{4}-{4}", r"[2-9A-Z]{4}-[2-9A-Z]{4}-[2-9A-Z]{4}", 32**12),
        ("{6:digits}", r"[0-9]{6}", 10**6),
        ("{2:letters}{3:digits}", r"[A-Z]{2}[0-9]{3}", 26**2 * 10**3),
        ("{8:cyrillic}", r"[БГДЖИЛПФЦЧШЩЫЭЮЯ]{8}", 16**8),
        ("{5:[ABC12]}!", r"[ABC12]{5}!", 5**5),
        ("{9:[+-*/.^$]}", r"[-+*/.^$]{9}", 7**9),
        ("{{{3:digits}}}", r"\{[0-9]{3}\}", 10**3),
        ("Лето {12}", r"Лето [2-9A-Z]{12}", 32**12),
        ("दिवाली{8}", r"दिवाली[2-9A-Z]{8}", 32**8),
    ],
)
def test_a_template_says_what_its_codes_look_like(text: str, form: str, space: int) -> None:
    template = parse(text)

    codes = draw(template, 200)

    assert template.text == text
    assert template.space == space
    assert template.bits == pytest.approx(len(bin(space)) - 3, abs=1)
    for code in codes:
        assert re.fullmatch(form, code), code
        assert clean_code(code) == code
        assert template.matches(code)
        assert template.matches(f" {code.lower()} ")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no random part"),
        ("SPRING", "no random part"),
        ("{check}", "no random part"),
        ("{8", "a single { at character 1"),
        ("A}{8}", "a single } at character 2"),
        ("{8}}", "a single } at character 4"),
        ("{0}", "{0} is none of"),
        ("{08}", "{08} is none of"),
        ("{٣}", "is none of"),
        ("{}", "{} is none of"),
        ("{-1}", "is none of"),
        ("{8:}", "is none of"),
        ("{8:[A[B]}", "is none of"),
        ("{1000}", "is none of"),
        ("{8:roman}", "no alphabet roman, only clear, digits, letters, cyrillic"),
        ("{8:[]}", "does not have 2 to 100 symbols"),
        ("{8:[A]}", "does not have 2 to 100 symbols"),
        (f"{{8:[{SYMBOLS}A]}}", "does not have 2 to 100 symbols"),
        (f"{{8:[{SYMBOLS}]}}{{1:digits}}", "more than 100 symbols together"),
        ("{8:[ABCA]}", "has 'A' twice"),
        ("{8:[ABCa]}", "has 'A' as 'a' twice"),
        ("{8:[AＡ]}", "has 'A' as 'Ａ' twice"),
        ("{8:[A B]}", "' ' cannot be a symbol"),
        ("{8:[A\u200b]}", "cannot be a symbol"),
        ("{8:[Aß]}", "'ß' cannot be a symbol"),
        ("{8:[Ax\u0301]}", "cannot be a symbol"),
        ("{8:[가ᅡ]}", "cannot be a symbol"),
        ("{8:[Aﾞ]}", "cannot be a symbol"),
        ("{8}{check}{check}", "{check} twice"),
        ("{check}{8}", "{check} stands before a random part"),
        ("{4}{check}{4}", "{check} stands before a random part"),
        (" {8}", "white space"),
        ("{8}\u00a0", "white space"),
        ("A\u200b{8}", "holds the character U+200B"),
        ("A\n{8}", "holds the character U+000A"),
        ("{8}\u0301", "begins with a mark"),
        ("{255}A", "more than 255 characters"),
        ("{200}{56}", "more than 255 characters"),
        ("ﷺ" * 60 + "{9}", "over 1024 bytes"),
    ],
)
def test_a_malformed_template_is_refused_and_says_why(text: str, reason: str) -> None:
    with pytest.raises(BadValue) as refused:
        parse(text)

    assert reason in str(refused.value)
    assert str(refused.value).endswith(", template")


def test_an_exact_program_has_room_for_both_cases() -> None:
    template = parse("{4:[Aa]}", EXACT)

    assert template.space == 16
    assert template.matches("AaAa")
    assert not template.matches("Bb")


def test_the_longest_code_is_as_long_as_a_code_can_be() -> None:
    assert len(draw(parse("{255}"), 1)[0]) == 255


def test_no_two_symbols_of_an_alphabet_are_equal_in_a_program() -> None:
    for name, alphabet in ALPHABETS.items():
        assert len({canonical(symbol, FORGIVING) for symbol in alphabet}) == len(alphabet), name
    assert len(ALPHABETS["clear"]) == 32
    assert not set("01IO") & set(ALPHABETS["clear"])


def test_whatever_composes_with_the_symbol_before_it_is_known() -> None:
    for code in range(sys.maxunicode):
        parts = unicodedata.decomposition(chr(code)).split()
        if len(parts) == 2 and not parts[0].startswith("<"):
            second = chr(int(parts[1], 16))
            assert joins_before(second), f"U+{code:04X}"


@given(
    st.text(st.characters(codec="utf-8"), max_size=20),
    st.integers(1, 12),
    st.sampled_from(["", ":digits", ":cyrillic", ":[Ab?é]"]),
    st.text(st.characters(codec="utf-8"), max_size=20),
    st.sampled_from(["", "{check}"]),
    st.sampled_from([FORGIVING, EXACT]),
)
def test_every_template_that_is_accepted_makes_codes_that_are(
    before: str, length: int, alphabet: str, after: str, check: str, matching: CodeMatching
) -> None:
    def fixed(text: str) -> str:
        return text.replace("{", "{{").replace("}", "}}")

    text = fixed(before) + f"{{{length}{alphabet}}}" + check + fixed(after)
    try:
        template = Template.parse(text, matching)
    except BadValue:
        return

    assert Template.parse(template.text, matching).text == template.text
    for code in template.draw_many(3, os.urandom):
        assert clean_code(code) == code
        code_key(code, matching)
        assert template.matches(code)
        assert template.check(code)


# -- what is drawn -------------------------------------------------------------------------


@pytest.mark.parametrize("alphabet", ["", ":digits", ":letters", ":cyrillic", f":[{SYMBOLS}]"])
def test_each_symbol_has_the_same_chance(alphabet: str) -> None:
    template = parse(f"{{1{alphabet}}}")

    counts = Counter(template.draw_many(template.space * 256, every_byte()))

    # Every byte value came equally often, so every symbol has; the last cycle may be cut short.
    assert len(counts) == template.space
    assert max(counts.values()) - min(counts.values()) <= 256 // template.space + 1


def test_places_are_independent() -> None:
    counts = Counter(draw(parse("{1:[ABC]}-{1:[ABC]}"), 90_000))

    assert len(counts) == 9
    assert all(9_000 < count < 11_000 for count in counts.values())


def test_a_code_with_a_check_symbol_is_drawn_from_all_of_them() -> None:
    template = parse("{2:[ABCD]}{check}")

    codes = set(draw(template, 5_000))

    assert len(codes) == template.space == 13
    assert all(template.check(code) for code in codes)


@pytest.mark.parametrize("text", ["{3:digits}{check}", "{2:[ABC]}{2:[AXYZ1]}{check}-"])
def test_the_space_counts_the_codes_that_can_be_drawn(text: str) -> None:
    template = parse(text)

    assert len(set(draw(template, 40 * template.space))) == template.space


def test_any_number_is_drawn() -> None:
    template = parse("{12}")

    assert template.draw_many(0, os.urandom) == []
    assert len(set(draw(template, 70_001))) == 70_001


# -- what a check symbol catches -----------------------------------------------------------


def mistypings(code: str, alphabet: str) -> set[str]:
    """Return the code with each symbol wrong in each way, and with each two neighbours swapped."""
    wrong = {
        code[:place] + symbol + code[place + 1 :]
        for place in range(len(code))
        for symbol in alphabet
    }
    swapped = {
        code[:place] + code[place + 1] + code[place] + code[place + 2 :]
        for place in range(len(code) - 1)
    }
    return (wrong | swapped) - {code}


@pytest.mark.parametrize("size", range(2, 8))
def test_every_mistyped_symbol_and_every_swap_is_caught_in_every_code(size: int) -> None:
    alphabet = SYMBOLS[:size]
    template = parse(f"{{3:[{alphabet}]}}{{check}}")

    right = [
        code for code in map("".join, itertools.product(alphabet, repeat=4)) if template.check(code)
    ]

    assert len(right) == template.space
    for code in right:
        assert not any(map(template.check, mistypings(code, alphabet)))


@pytest.mark.parametrize("size", range(2, 101))
def test_every_mistyped_symbol_and_every_swap_is_caught_at_any_size(size: int) -> None:
    alphabet = SYMBOLS[:size]
    template = parse(f"{{9:[{alphabet}]}}{{check}}")

    for code in draw(template, 3):
        assert template.check(code)
        assert not any(map(template.check, mistypings(code, alphabet)))


@given(st.binary(min_size=32, max_size=32))
def test_a_mistyped_code_is_caught_however_it_is_typed(seed: bytes) -> None:
    template = parse("SPRING-{4}-{3}{check}")
    symbols = "".join(ALPHABETS["clear"][byte % 32] for byte in seed)
    # One beginning of 33 has no check symbol.
    code = next(
        code
        for first, last in itertools.product(symbols, ALPHABETS["clear"])
        if template.check(code := f"SPRING-{first}{symbols[1:4]}-{symbols[4:7]}{last}")
    )

    assert template.check(code.lower())
    assert template.check(f"  {code} ")
    for wrong in mistypings(code[12:], ALPHABETS["clear"]):
        assert not template.check(code[:12] + wrong.lower())


def test_groups_of_several_alphabets_share_one_check_symbol() -> None:
    template = parse("{3:letters}{3:digits}{check}")

    for code in draw(template, 20):
        assert template.check(code)
        for wrong in mistypings(code, ALPHABETS["letters"] + ALPHABETS["digits"]):
            assert not template.check(wrong) or not template.matches(wrong)


def test_a_code_of_another_form_may_be_right() -> None:
    template = parse("SPRING-{6}{check}")

    assert template.check("GIFT-1")
    assert template.check("SPRING-")
    assert parse("SPRING-{7}").check("SPRING-AAAAAAA")


# -- what nobody wants to read -------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "word", "unwanted"),
    [
        ("{3:[BADX]}", "bad", {"BAD"}),
        ("{3:[B4DX]}", "bad", {"B4D"}),
        ("{2:[BADX]}-{1:[BADX]}", "bad", {"BA-D"}),
        ("B{2:[ADX]}", "bad", {"BAD"}),
        ("{2:[БАДХ]}", "ха", {"ХА"}),
        ("{3:[XAH]}", "хан", {"XAH"}),
    ],
)
def test_a_code_that_spells_a_rude_word_is_not_drawn(
    text: str, word: str, unwanted: set[str]
) -> None:
    template = parse(text)
    everything = set(draw(template, 60 * template.space))

    polite = set(draw(template, 60 * template.space, word))

    assert everything - polite == unwanted
    assert polite < everything


def test_the_fixed_text_is_what_the_operator_wants() -> None:
    assert len(draw(parse("BAD-{4}"), 10, "bad")) == 10
    assert not any("D" in code[4:] for code in draw(parse("BAD-{1:[AD]}"), 100, "bad", "add"))


def test_digits_alone_spell_nothing() -> None:
    template = parse("{3:[145]}")

    assert len(set(draw(template, 2_000, "ais"))) == 27


def test_words_that_leave_no_code_are_named() -> None:
    with pytest.raises(BadValue, match="rude words leave no code of it, template"):
        draw(parse("{4:[AB]}"), 1, "aa", "ab", "ba", "bb")


def test_a_word_of_one_letter_is_refused() -> None:
    with pytest.raises(BadValue, match="too short"):
        RudeWords(["a"])


def test_the_default_list_costs_few_codes() -> None:
    words = RudeWords(DEFAULT_WORDS)
    asked = []

    def counting(count: int) -> bytes:
        asked.append(count)
        return os.urandom(count)

    codes = parse("{12}").draw_many(50_000, counting, words)

    assert len(codes) == 50_000
    assert sum(asked) < 50_000 * 12 * 1.06
    assert [code for code in codes if "FUCK" in code or "SH1T" in code] == []


@given(
    st.lists(st.text("abcdo", min_size=2, max_size=6), max_size=40),
    st.text("abcdoxyz", max_size=300),
)
def test_words_are_found_as_a_plain_search_finds_them(words: list[str], text: str) -> None:
    characters = "abcdoxyz"

    found = RudeWords(words).found(bytes(map(characters.index, text)), characters)

    assert sorted(found) == sorted(
        (at, at + len(word))
        for word in set(words)
        for at in range(len(text))
        if text.startswith(word, at)
    )
