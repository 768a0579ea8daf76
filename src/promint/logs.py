"""What the service writes into its log, and what it does not: no token, no code, no personal data.

The text of an exception may repeat whatever it met: a database names the row in its error, a
library the input. So of an exception the log has its class, SQLSTATE and the lines of source it
came through, which is where one looks anyway; and whatever looks like a token is masked.
"""

import logging
import re
import traceback
from types import TracebackType

_TOKEN = re.compile(r"promint_[0-9A-Za-z]+?([0-9A-Za-z]{4})(?![0-9A-Za-z])")
_FRAMES_MAX = 30

ExceptionInfo = (
    tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
)


class CleanFormatter(logging.Formatter):
    """Writes records without the texts of exceptions."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as text, tokens masked to their last four characters."""
        # Another handler's formatter may have kept its own, whole, form of the exception.
        record.exc_text = None
        text = super().format(record)
        record.exc_text = None
        return _TOKEN.sub(r"promint_…\1", text)

    def formatException(self, ei: ExceptionInfo) -> str:  # noqa: N802  # the name of logging
        """Return classes and lines of source, the first cause first."""
        return "\n".join(_described(ei[1])) if ei[1] is not None else ""


def _described(error: BaseException) -> list[str]:
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    lines = [*_described(cause), "and then"] if cause is not None else []
    for frame in traceback.extract_tb(error.__traceback__)[-_FRAMES_MAX:]:
        lines.append(f'  File "{frame.filename}", line {frame.lineno}, in {frame.name}')
        lines.append(f"    {frame.line}")
    state = getattr(error, "sqlstate", None)
    lines.append(f"{type(error).__module__}.{type(error).__qualname__} {state or ''}".rstrip())
    return lines


def configure(level: int, form: str) -> None:
    """Write the log of this process to stderr."""
    handler = logging.StreamHandler()
    handler.setFormatter(CleanFormatter(form))
    logging.basicConfig(level=level, handlers=[handler])
