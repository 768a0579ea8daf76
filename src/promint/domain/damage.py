"""What a spreadsheet does to codes: what is certain of one code, and what many together suggest.

A program such as Excel reads a code of digits as a number and `5-JAN` as a day, and writes back
what it understood. The code as it was cannot be told from that any more.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_RUSSIAN = "янв|фев|мар|апр|май|июн|июл|авг|сен|окт|ноя|дек"

_SCIENTIFIC = re.compile(r"\d(?:[.,]\d+)?[Ee]\+\d{2,3}")
_ERROR = re.compile(
    r"#(?:N/A|REF!|VALUE!|DIV/0!|NAME\?|NUM!|NULL!|SPILL!|CALC!|FIELD!|BUSY!|GETTING_DATA"
    r"|Н/Д|ССЫЛКА!|ЗНАЧ!|ДЕЛ/0!|ИМЯ\?|ЧИСЛО!|ПУСТО!|ПЕРЕНОС!|ВЫЧИСЛ!)"  # noqa: RUF001
)
_TOO_NARROW = re.compile(r"#{3,}")
_FORMULA = re.compile(r"=(?:\"|\$?[A-Z]{1,3}\$?[1-9][0-9]*\b|[A-ZА-ЯЁ][A-ZА-ЯЁ0-9.]*\()")  # noqa: RUF001
_RUSSIAN_DATE = re.compile(rf"\d{{1,2}}\.(?:{_RUSSIAN})|(?:{_RUSSIAN})\.\d{{2}}")
_DATE = re.compile(rf"\d{{1,2}}-(?:{'|'.join(_MONTHS)})|(?:{'|'.join(_MONTHS)})-\d{{2}}")

DIGIT_CODES_MIN = 10
SHORT_SHARE_MAX = 0.25
SAMPLES_MAX = 3


def damage_of(text: str) -> str | None:
    """Say what a spreadsheet did to a code; None unless it is certain.

    A sentence is for `1.23E+11`, `#N/A`, `####`, `=A1`, `01.май`: nobody gives such codes out.
    `Jan-05` and short numbers may be right; `Suspicions` looks at them over a whole file.
    """
    code = text.strip()
    if _SCIENTIFIC.fullmatch(code):
        return (
            "a spreadsheet made a rounded number of it; format the column as text, enter it again"
        )
    if _ERROR.fullmatch(code):
        return "a spreadsheet's error stands where the code should"
    if _TOO_NARROW.fullmatch(code):
        return "the spreadsheet's column was too narrow, and only #### was saved"
    if _FORMULA.match(code):
        return "a formula, not its result; save the values instead"
    if _RUSSIAN_DATE.fullmatch(code):
        return "a spreadsheet made a date of it; format the column as text, enter it again"
    return None


def may_hold_damage(block: str) -> bool:
    """Say whether `damage_of` could find anything in a text of many codes; quick."""
    return (
        "E+" in block
        or "e+" in block
        or "#" in block
        or "=" in block
        or (not block.isascii() and _RUSSIAN_DATE.search(block) is not None)
    )


class Suspicions:
    """What the codes of a whole file suggest; each chunk is added, `sentences` are asked at last.

    Lost zeros: of the codes that are all digits, none starts with a zero, and nearly all are as
    long as the longest. Dates: codes of the form that Excel gives to days, `5-Jan`, `Jan-05`.
    """

    def __init__(self) -> None:
        self._lengths: Counter[int] = Counter()
        self._short: dict[int, list[tuple[int, str]]] = {}
        self._keeps_zeros = False
        self._dates = 0
        self._date_samples: list[tuple[int, str]] = []

    def add(self, lines: Sequence[int], codes: Sequence[str]) -> None:
        """Look at codes; `lines[i]` is where `codes[i]` stands. A range does for `lines`."""
        self._look_for_dates(lines, codes)
        if self._keeps_zeros:
            return
        numbers = [code for code in codes if code.isdecimal() and code.isascii()]
        if not numbers:
            return
        self._keeps_zeros = any(number[0] == "0" for number in numbers)
        lengths = Counter(map(len, numbers))
        self._lengths += lengths
        longest = max(self._lengths)
        wanted = {
            length
            for length in lengths
            if length < longest and len(self._short.get(length, ())) < SAMPLES_MAX
        }
        if wanted:
            self._take_samples(wanted, zip(lines, codes, strict=True))

    def _take_samples(self, wanted: set[int], codes: Iterable[tuple[int, str]]) -> None:
        for line, code in codes:
            if len(code) in wanted and code.isdecimal():
                samples = self._short.setdefault(len(code), [])
                if len(samples) < SAMPLES_MAX:
                    samples.append((line, code))

    def _look_for_dates(self, lines: Sequence[int], codes: Sequence[str]) -> None:
        block = "\n".join(codes)
        if "-" not in block or not any(month in block for month in _MONTHS):
            return
        for line, code in zip(lines, codes, strict=True):
            if _DATE.fullmatch(code.strip()):
                self._dates += 1
                if len(self._date_samples) < SAMPLES_MAX:
                    self._date_samples.append((line, code.strip()))

    def sentences(self) -> list[str]:
        """Return what is suspected, a sentence each with samples and their lines."""
        found = []
        total = self._lengths.total()
        longest = max(self._lengths, default=0)
        short = total - self._lengths[longest]
        if (
            not self._keeps_zeros
            and total >= DIGIT_CODES_MIN
            and 0 < short <= SHORT_SHARE_MAX * total
        ):
            samples = sorted(
                sample
                for length, some in self._short.items()
                if length < longest
                for sample in some
            )
            found.append(
                f"{short} of {total} codes of digits have fewer than {longest}, and none starts "
                f"with 0: a spreadsheet may have cut leading zeros ({_shown(samples)})"
            )
        if self._dates:
            found.append(
                f"{self._dates} codes look like dates that a spreadsheet made of them "
                f"({_shown(self._date_samples)})"
            )
        return found


def _shown(samples: Sequence[tuple[int, str]]) -> str:
    return ", ".join(f"line {line}: {code}" for line, code in samples[:SAMPLES_MAX])
