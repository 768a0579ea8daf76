"""The apostrophe that keeps a spreadsheet from taking a text for a formula."""

import re

# What Excel, LibreOffice and Google Sheets begin a formula with, or skip before one (LibreOffice
# drops NUL); the wide forms are what a Japanese or Chinese keyboard writes.
FORMULA_CHARACTERS = "=+-@\0\t\r\n＝＋－＠"  # noqa: RUF001
FORMULA_STARTS = re.escape(FORMULA_CHARACTERS)
"""The same, within the brackets of a pattern."""
_TO_GUARD = re.compile(f"'*[{FORMULA_STARTS}]")
_GUARDED = re.compile(f"'+[{FORMULA_STARTS}]")


def guarded(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula, with an apostrophe if need be.

    One that has apostrophes already before what would start a formula gets one more, so that
    `unguarded` gives back every text as it was.
    """
    return "'" + text if _TO_GUARD.match(text) else text


def unguarded(text: str) -> str:
    """Return a text without the apostrophe that `guarded` put before it."""
    return text[1:] if _GUARDED.match(text) else text


def needs_guard(text: str) -> bool:
    """Say whether a spreadsheet would take the text for a formula."""
    return _TO_GUARD.match(text) is not None
