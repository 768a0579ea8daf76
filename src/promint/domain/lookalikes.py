# ruff: noqa: RUF001, RUF002 - letters that are taken for others are what this is about
"""Letters of different scripts that look the same: Latin A, Cyrillic А, Greek Α.

Two codes with one skeleton cannot be told apart by eye, though they are two codes. Letters are
compared by the shape of their capitals, because codes are printed so and compared forms are
folded: Cyrillic в stands for B. Latin O and zero, I and 1 are not of this kind: they are on one
keyboard, and a template's alphabet leaves them out.
"""

import unicodedata

_LATIN_OF_CYRILLIC = dict(zip("авекмнорстух", "abekmhopctyx", strict=True))
"""The Russian letters, which a keyboard that was not switched puts in."""

_LATIN_OF_RARER = {
    **dict(zip("ёіїјѕѵԛԝһӏґәөү", "eiijsvqwhlreoy", strict=True)),
    **dict(zip("αβεζηικμνορτυχϲ", "abezhikmnoptyxc", strict=True)),
    # Digits that letters look like, where the letter is of another script.
    "з": "3",
    "ӡ": "3",
    # Latin letters that no code of a plain alphabet has.
    "ı": "i",
    "ɑ": "a",
    "ɡ": "g",
    "ո": "n",
    "օ": "o",
    "ս": "u",
    "հ": "h",
}


def _both_cases(lower: dict[str, str]) -> dict[int, str]:
    upper = {theirs.upper(): ours.upper() for theirs, ours in lower.items()}
    # The capital of dotless i is the plain I, and that of some signs is themselves.
    return {
        ord(theirs): ours
        for theirs, ours in {**upper, **lower}.items()
        if len(theirs) == 1 and not theirs.isascii()
    }


_TO_LATIN = _both_cases({**_LATIN_OF_CYRILLIC, **_LATIN_OF_RARER})
_TO_CYRILLIC = {
    ord(latin): cyrillic
    for theirs, ours in _LATIN_OF_CYRILLIC.items()
    for latin, cyrillic in ((ours, theirs), (ours.upper(), theirs.upper()))
}


def skeleton(code_key: str) -> str:
    """Return the form that all codes have that look like this one: Latin where it can be.

    Case stays as it is: a program that compares exactly means it. Idempotent; a text of ASCII
    is its own skeleton.
    """
    if code_key.isascii():
        return code_key
    plain = unicodedata.normalize("NFKC", code_key).translate(_TO_LATIN)
    return unicodedata.normalize("NFKC", plain)


def variants(code_key: str) -> tuple[str, ...]:
    """Return how else the code may have been typed: all in Latin, all in Russian letters.

    Without the code itself, so there are none, one or two. They are for looking codes up by key.
    """
    latin = skeleton(code_key)
    spellings = (latin, latin.translate(_TO_CYRILLIC))
    return tuple(text for text in dict.fromkeys(spellings) if text != code_key)
