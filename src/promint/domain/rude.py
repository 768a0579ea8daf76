"""Words that no generated code shall spell."""

# The Cyrillic letters are meant.
# ruff: noqa: RUF001

import codecs
from collections.abc import Iterable, Iterator, Set
from functools import lru_cache, partial

from promint.domain.codetext import canonical
from promint.domain.errors import BadValue
from promint.domain.model import CodeMatching

WORD_SYMBOLS_MIN = 2
SIEVE_DEPTH = 4
SIEVES_KEPT = 256
_ANY = bytes([0]) + bytes([1]) * 255

# What is read as what: digits and Cyrillic letters as the Latin letters that they look like, and
# the letters that people swap for each other. Words and codes both go through it.
_LOOKS = str.maketrans("01345789@$€!|lvавекмнорстухзё", "oieastbgaseiiiuabekmhopctyxee")

_DEFAULT = """
anus arse ass bastard bitch boner boob bugger clit cock coon crap cum cunt damn dick dild dyke
fag fuck fuk gook hitler homo jerk jizz kike kkk milf nazi nigga nude orgy penis piss poop porn
pube pussy rape retard semen sex shit shyt skank slag slut spic suck tit turd twat vagin wank
whor xxx
bliad blya debil drochi dristun durak ebal ebat eban ebu gandon gavno gnida govno hren huesos
huev hui huy jopa manda minet mraz mudak mudil nahui nahuy padla pedik pidar pidor pizd pisde
pohui poxui shliuh shluh soska sosi suka svoloch trah tvar ublud urod xep xui xuy xyi yob zalup
zhopa
бляд говн гонд гнид дебил дроч ебал ебан ебат жопа залуп лох манда минет мраз муда муди падл
педик пидар пидор пизд сука сосать срать сран ссать трах тварь ублюд урод хер хуе хуй хуи хуя
шлюх
"""

DEFAULT_WORDS = tuple(_DEFAULT.split())
"""Stems in English and Russian, the Russian ones in Cyrillic and as they are written in Latin."""


class RudeWords:
    """A list of words, found wherever they can be read.

    Raises:
        BadValue: a word has fewer than two letters.
    """

    def __init__(self, words: Iterable[str]) -> None:
        stems = set()
        for word in words:
            stem = "".join(read_as(symbol) for symbol in word if not symbol.isspace())
            if len(stem) < WORD_SYMBOLS_MIN:
                raise BadValue(f"{word!r} is too short for a rude word", "rude_words_file")
            stems.add(stem)
        self._stems = frozenset(stems)
        self._sieve = lru_cache(SIEVES_KEPT)(partial(_Sieve, self._stems))

    def __bool__(self) -> bool:
        """Say whether there is any word."""
        return bool(self._stems)

    def found(self, text: bytes, characters: str) -> Iterator[tuple[int, int]]:
        """Yield from where to where words stand in a text, overlapping ones too.

        A byte of the text stands for a character, in the form that `read_as` gives it.
        """
        return self._sieve(characters).found(text)


class _Sieve:
    """The words that some characters can spell, as tables by which most places are passed over.

    The words are in sixteen groups, a bit of two bytes each. A table gives for each character the
    groups that have a word with it at that place; four tables, laid over the text one place apart
    and joined bit by bit, leave about two places in a hundred to look at. A block of text is one
    number, so that this takes a few steps and not one for each symbol: a regular expression over
    the whole takes twice as long.
    """

    def __init__(self, stems: Set[str], characters: str) -> None:
        self._characters = characters
        words = sorted(stem for stem in stems if set(stem) <= set(characters))
        # Short words say nothing about the later places; they are kept among themselves.
        words.sort(key=lambda word: min(len(word), SIEVE_DEPTH))
        self._words: dict[str, list[str]] = {}
        self._tables = [[bytearray(256) for _ in range(SIEVE_DEPTH)] for _ in range(2)]
        for number, word in enumerate(words):
            self._words.setdefault(word[:WORD_SYMBOLS_MIN], []).append(word)
            half, group = divmod(number * 16 // len(words), 8)
            for place, table in enumerate(self._tables[half]):
                for byte, character in enumerate(characters):
                    if place >= len(word) or word[place] == character:
                        table[byte] |= 1 << group

    def found(self, text: bytes) -> Iterator[tuple[int, int]]:
        """Yield from where to where words stand."""
        if not self._words:
            return
        read = codecs.charmap_decode(text, "strict", self._characters)[0]
        places = self._places(text)
        at = places.find(b"\1")
        while at >= 0:
            for word in self._words.get(read[at : at + WORD_SYMBOLS_MIN], ()):
                if read.startswith(word, at):
                    yield at, at + len(word)
            at = places.find(b"\1", at + 1)

    def _places(self, text: bytes) -> bytes:
        """Return a 1 for each place where a word may begin."""
        padded = text + bytes(SIEVE_DEPTH)
        anywhere = 0
        for tables in self._tables:
            left = -1
            for place, table in enumerate(tables):
                left &= int.from_bytes(padded.translate(table), "little") >> (8 * place)
            anywhere |= left
        return anywhere.to_bytes(len(padded), "little").translate(_ANY)


NO_WORDS = RudeWords(())


def read_as(symbol: str) -> str:
    """Return the one symbol as which people read a symbol: `0` as `o`, `V` as `u`."""
    folded = canonical(symbol, CodeMatching.FORGIVING).translate(_LOOKS)
    return folded if len(folded) == 1 else symbol
