"""The dates of a file: RFC 3339, dates without a zone, the serial numbers of spreadsheets."""

import re
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from promint.domain.errors import BadValue
from promint.domain.model import MOMENT_MAX, MOMENT_MIN
from promint.wire.moments import read_moment, write_moment

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_DAY_MS = 86_400_000
# Local time: the zone comes later.
_FIRST_1904 = datetime(1904, 1, 1)  # noqa: DTZ001
_FIRST_1900 = datetime(1899, 12, 31)  # noqa: DTZ001
_FIRST = datetime(1899, 12, 30)  # noqa: DTZ001

_LOCAL = re.compile(
    r"(?:(?P<year>\d{4})-(?P<month>\d{1,2})-(?P<day>\d{1,2})"
    r"|(?P<d>\d{1,2})\.(?P<m>\d{1,2})\.(?P<y>\d{4}))"
    r"(?:[ T](?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:\.(?P<fraction>\d+))?)?)?",
    re.ASCII,
)
_UTC = re.compile(
    r"(\d{4}-\d{2}-\d{2})[T ]([01]\d|2[0-3]):([0-5]\d):([0-5]\d)(?:\.(\d{1,6}))?Z", re.ASCII
)
_ZONED = re.compile(r"\d{4}-.*(?:[Zz]|[+-]\d{2}:\d{2})", re.ASCII)
# As text a serial number is believed only with five digits: 1927 to 2173. `20261231` is none.
_SERIAL = re.compile(r"\d{5}(?:[.,]\d+)?", re.ASCII)

ADVICE = "write 2026-12-31, 2026-12-31 23:59:59, 31.12.2026 or 2026-12-31T23:59:59Z"


class LocalDates:
    """Reads dates of one time zone.

    A time that the clocks skip counts from before the change, so it is as much later; a time that
    comes twice is the first of the two.

    Raises:
        BadValue: there is no such time zone.
    """

    def __init__(self, time_zone: str, *, is_1904: bool = False) -> None:
        try:
            self._zone = ZoneInfo(time_zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise BadValue("no such time zone", "time_zone") from None
        self._is_1904 = is_1904

    def moment(self, text: str, where: str, *, to_the_end: bool = False) -> int:
        """Return the moment of a text; `to_the_end`: a day alone is its end, not its start.

        The end of a day is the midnight after it, for what is good through that day.

        Raises:
            BadValue: it is no date, or none of the years 1 to 9999.
        """
        text = text.strip()
        if (utc := _UTC.fullmatch(text)) and (start := _start_of(utc[1])) is not None:
            # What exports hold, each time another one: four times as quick.
            seconds = int(utc[2]) * 3600 + int(utc[3]) * 60 + int(utc[4])
            return start + seconds * 1_000_000 + int((utc[5] or "0").ljust(6, "0"))
        if _ZONED.fullmatch(text):
            # Spreadsheets and SQL write a blank where RFC 3339 has a T.
            return read_moment(text.replace(" ", "T", 1), where)
        if _SERIAL.fullmatch(text):
            return self.serial(float(text.replace(",", ".")), where, to_the_end=to_the_end)
        match = _LOCAL.fullmatch(text)
        if match is None:
            raise BadValue(f"not a date; {ADVICE}", where)
        part = match.groupdict()
        try:
            day = date(
                int(part["year"] or part["y"]),
                int(part["month"] or part["m"]),
                int(part["day"] or part["d"]),
            )
            if part["hour"] is None:
                return self._day(day, where, to_the_end=to_the_end)
            clock = time(
                int(part["hour"]),
                int(part["minute"]),
                int(part["second"] or 0),
                int((part["fraction"] or "0")[:6].ljust(6, "0")),
            )
        except ValueError:
            raise BadValue("no such date or time", where) from None
        return self._moment(datetime.combine(day, clock), where)

    def serial(self, number: float, where: str, *, to_the_end: bool = False) -> int:
        """Return the moment of a spreadsheet's number: days since 1900 or 1904, and their share.

        Raises:
            BadValue: the number is no date; 60, the day that 1900 did not have, is none either.
        """
        local = self._local(number, where)
        if number == int(number):
            return self._day(local.date(), where, to_the_end=to_the_end)
        return self._moment(local, where)

    def serial_text(self, text: str) -> str:
        """Return the date of a cell that shows one, such as `2026-12-31`, for a column of texts."""
        try:
            local = self._local(float(text), "")
        except (ValueError, BadValue):
            return text
        return str(local).removesuffix(" 00:00:00")

    def _local(self, number: float, where: str) -> datetime:
        is_gap = 60 <= number < 61 and not self._is_1904
        if not 1 <= number < 2_958_466 or is_gap:
            raise BadValue(f"the number {number:.15g} is no date; {ADVICE}", where)
        # To spreadsheets 1900 was a leap year, so that their days before March 1900 are one off.
        first = _FIRST_1904 if self._is_1904 else _FIRST_1900 if number < 60 else _FIRST
        try:
            return first + timedelta(milliseconds=round(number * _DAY_MS))
        except OverflowError:
            raise BadValue("no such date or time", where) from None

    def _day(self, day: date, where: str, *, to_the_end: bool) -> int:
        if to_the_end and day == date.max:
            return MOMENT_MAX
        if to_the_end:
            day += timedelta(days=1)
        return self._moment(datetime.combine(day, time()), where)

    def _moment(self, local: datetime, where: str) -> int:
        try:
            moment = (local.replace(tzinfo=self._zone) - _EPOCH) // _MICROSECOND
        except (ValueError, OverflowError):
            raise BadValue("no such date or time", where) from None
        if not MOMENT_MIN <= moment <= MOMENT_MAX:
            raise BadValue("not of the years 1 to 9999", where)
        return moment


@lru_cache(maxsize=4096)
def _start_of(day: str) -> int | None:
    """Return the first moment of a day of UTC, None if there is no such day."""
    try:
        return read_moment(f"{day}T00:00:00Z", "")
    except BadValue:
        return None


def exact_moment(moment: int) -> str:
    """Return a moment as RFC 3339 in UTC, with a fraction only where there is one.

    Answers show seconds; a file that shall come back as it went out needs all of it.
    """
    fraction = moment % 1_000_000
    text = write_moment(moment)
    return f"{text[:-1]}.{fraction:06d}".rstrip("0") + "Z" if fraction else text
