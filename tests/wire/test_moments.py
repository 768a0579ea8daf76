"""Times: RFC 3339 in with a zone, UTC seconds out (contract section 3)."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promint.domain.errors import BadValue
from promint.wire.moments import read_moment, write_moment
from tests.world import SECOND

APRIL = 1_711_975_174
"""2024-04-01T12:39:34Z, the vendor's first example, in seconds."""


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2024-04-01T12:39:34Z", APRIL * SECOND),
        ("2024-04-01t12:39:34z", APRIL * SECOND),
        ("2024-04-01T12:39:34+00:00", APRIL * SECOND),
        ("2024-04-01T12:39:34-00:00", APRIL * SECOND),
        ("2024-04-01T15:39:34+03:00", APRIL * SECOND),
        ("2024-04-01T07:09:34-05:30", APRIL * SECOND),
        ("2024-04-02T12:38:34+23:59", APRIL * SECOND),
        ("2024-04-01T12:39:34.5Z", APRIL * SECOND + 500_000),
        ("2024-04-01T12:39:34.000001Z", APRIL * SECOND + 1),
        ("2024-04-01T12:39:34.0000019999Z", APRIL * SECOND + 1),
        ("2024-04-01T12:39:34." + "0" * 100 + "Z", APRIL * SECOND),
        ("2024-02-29T00:00:00Z", 1_709_164_800 * SECOND),
        ("1970-01-01T00:00:00Z", 0),
        ("1969-12-31T23:59:59.999999Z", -1),
        ("2016-12-31T23:59:60Z", 1_483_228_800 * SECOND),
        ("2017-01-01T02:59:60+03:00", 1_483_228_800 * SECOND),
        ("0001-01-01T00:00:00Z", -62_135_596_800 * SECOND),
        ("9999-12-31T23:59:59Z", 253_402_300_799 * SECOND),
    ],
)
def test_a_moment_is_rfc_3339_with_a_zone(text: str, moment: int) -> None:
    assert read_moment(text, "expire_date") == moment


@pytest.mark.parametrize(
    "text",
    [
        "2024-04-01", "12:39:34Z", "2024-04-01T12:39:34", "2024-04-01 12:39:34Z",
        "2024-04-01T12:39Z", "2024-04-01T12:39:34.Z", "2024-04-01T12:39:34,5Z",
        "2024-04-01T12:39:34+03", "2024-04-01T12:39:34+0300", "2024-04-01T12:39:34 Z",
        "2024-4-1T12:39:34Z", "24-04-01T12:39:34Z", "+2024-04-01T12:39:34Z",
        "20240401T123934Z", "2024-W14-1T12:39:34Z", "2024-092T12:39:34Z",
        "2024-04-01T12:39:34ZZ", " 2024-04-01T12:39:34Z", "2024-04-01T12:39:34Z\n",
        "2024-04-01T12:39:34UTC", "1711975174", "tomorrow", "x" * 10_000,
        "٢٠٢٤-04-01T12:39:34Z", "2024-04-01T12:39:34\N{MINUS SIGN}03:00",
    ],
    ids=lambda text: text[:40],
)  # fmt: skip
def test_anything_else_is_refused_with_the_field_named(text: str) -> None:
    with pytest.raises(BadValue, match=r"not RFC 3339 with a zone.*, expire_date$"):
        read_moment(text, "expire_date")


@pytest.mark.parametrize(
    "text",
    [
        "2023-02-29T00:00:00Z", "2024-13-01T00:00:00Z", "2024-00-01T00:00:00Z",
        "2024-04-31T00:00:00Z", "2024-04-00T00:00:00Z", "0000-01-01T00:00:00Z",
        "2024-04-01T24:00:00Z", "2024-04-01T12:60:00Z", "2024-04-01T12:39:61Z",
        "2024-04-01T12:38:60Z", "2024-04-01T12:39:34+24:00", "2024-04-01T12:39:34+00:60",
        "0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01", "9999-12-31T23:59:60Z",
    ],
)  # fmt: skip
def test_a_moment_that_does_not_exist_is_refused(text: str) -> None:
    with pytest.raises(BadValue, match="no such moment, expire_date"):
        read_moment(text, "expire_date")


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (None, ""),
        (0, "1970-01-01T00:00:00Z"),
        (APRIL * SECOND, "2024-04-01T12:39:34Z"),
        (APRIL * SECOND + 999_999, "2024-04-01T12:39:34Z"),
        (-1, "1969-12-31T23:59:59Z"),
        (253_402_300_799 * SECOND + 999_999, "9999-12-31T23:59:59Z"),
    ],
)
def test_a_moment_is_written_in_whole_seconds_of_utc(moment: int | None, text: str) -> None:
    assert write_moment(moment) == text


zones = st.timedeltas(timedelta(hours=-23, minutes=-59), timedelta(hours=23, minutes=59)).map(
    lambda offset: timezone(timedelta(minutes=offset // timedelta(minutes=1)))
)


@given(
    moment=st.datetimes(datetime(2, 1, 1), datetime(9999, 12, 30), timezones=zones)  # noqa: DTZ001  # zones come with it
)
def test_every_moment_in_every_zone_is_read_exactly(moment: datetime) -> None:
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)

    assert read_moment(moment.isoformat(), "") == since // timedelta(microseconds=1)


@given(second=st.integers(-62_135_596_800, 253_402_300_799))
def test_what_is_written_is_read_back(second: int) -> None:
    text = write_moment(second * SECOND)

    assert len(text) == 20
    assert read_moment(text, "") == second * SECOND
