"""RFC 3339 text and UTC microseconds."""

import re
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache

from promint.domain.errors import BadValue
from promint.domain.model import MOMENT_MAX, MOMENT_MIN

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

# Python's own parser takes spaces, weeks and bare dates, and refuses lower case and leap
# seconds; so the grammar is checked here and only then handed over.
_RFC3339 = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})[Tt](\d{2}):(\d{2}):(\d{2})(?:\.(\d+))?"
    r"(?:[Zz]|([+-])(\d{2}):(\d{2}))",
    re.ASCII,
)


def read_moment(text: str, where: str) -> int:
    """Return a moment of RFC 3339 with a zone; digits past the microsecond are cut.

    Raises:
        BadValue: it is anything else, or no such moment exists.
    """
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise BadValue("not RFC 3339 with a zone, like 2026-12-31T23:59:59Z", where)
    *parts, fraction, sign, zone_hours, zone_minutes = match.groups()
    year, month, day, hour, minute, second = (int(part) for part in parts)
    leap = second == 60 and minute == 59
    offset = timedelta()
    if sign:
        if int(zone_hours) > 23 or int(zone_minutes) > 59:
            raise BadValue("no such moment", where)
        offset = timedelta(hours=int(zone_hours), minutes=int(zone_minutes))
    try:
        local = datetime(
            year,
            month,
            day,
            hour,
            minute,
            59 if leap else second,
            int((fraction or "0")[:6].ljust(6, "0")),
            timezone(-offset if sign == "-" else offset),
        )
        moment = (local - _EPOCH) // _MICROSECOND
    except (ValueError, OverflowError):
        raise BadValue("no such moment", where) from None
    moment += 1_000_000 if leap else 0
    if not MOMENT_MIN <= moment <= MOMENT_MAX:
        raise BadValue("no such moment", where)
    return moment


def write_moment(moment: int | None) -> str:
    """Return a moment as `2024-04-01T12:39:34Z`, or an empty text for None."""
    return "" if moment is None else _text_of(moment // 1_000_000)


@lru_cache(maxsize=8192)
def _text_of(second: int) -> str:
    """Codes that were imported together share the second; writing it costs a microsecond."""
    return (_EPOCH + timedelta(seconds=second)).isoformat()[:19] + "Z"
