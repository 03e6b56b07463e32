"""date and date-time of RFC 3501 section 9."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maildir_imapd.errors import BadSyntax
from maildir_imapd.wire.dates import MONTHS, parse_date, parse_date_time, render_date_time


def zone(hours: float) -> dt.timezone:
    return dt.timezone(dt.timedelta(hours=hours))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'"17-Jul-1996 02:44:25 -0700"', dt.datetime(1996, 7, 17, 2, 44, 25, tzinfo=zone(-7))),
        (b'" 7-Feb-1994 21:52:25 -0800"', dt.datetime(1994, 2, 7, 21, 52, 25, tzinfo=zone(-8))),
        (b"7-feb-1994 21:52:25 +0530", dt.datetime(1994, 2, 7, 21, 52, 25, tzinfo=zone(5.5))),
        (b"07-FEB-1994 21:52:60 +0000", dt.datetime(1994, 2, 7, 21, 52, 59, tzinfo=dt.UTC)),
        (b"29-Feb-2000 00:00:00 +0000", dt.datetime(2000, 2, 29, tzinfo=dt.UTC)),
    ],
)
def test_date_time(data: bytes, expected: dt.datetime) -> None:
    parsed = parse_date_time(data)
    assert parsed == expected
    assert parsed.utcoffset() == expected.utcoffset()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b'"',
        b'""',
        b"17-Jul-1996",
        b"17-Jul-1996 02:44:25",
        b"17-Jul-1996 02:44:25 -07",
        b"17-Jul-1996 02:44:25 GMT",
        b"17-Jul-1996 02:44:25  +0000",
        b"17-Jul-96 02:44:25 +0000",
        b"17-July-1996 02:44:25 +0000",
        b"17-Xxx-1996 02:44:25 +0000",
        b"31-Feb-1996 02:44:25 +0000",
        b"29-Feb-1900 02:44:25 +0000",
        b"00-Jan-1996 02:44:25 +0000",
        b"32-Jan-1996 02:44:25 +0000",
        b"17-Jul-0000 02:44:25 +0000",
        b"17-Jul-1996 24:00:00 +0000",
        b"17-Jul-1996 02:60:00 +0000",
        b"17-Jul-1996 02:44:61 +0000",
        b"17-Jul-1996 02:44:25 +2400",
        b"17-Jul-1996 02:44:25 +9999",
        b"  7-Jul-1996 02:44:25 +0000",
        b"17-Jul-1996 02:44:25 +0000\n",
        "1٧-Jul-1996 02:44:25 +0000".encode(),
    ],
)
def test_bad_date_time(data: bytes) -> None:
    with pytest.raises(BadSyntax):
        parse_date_time(data)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"1-Feb-1994", dt.date(1994, 2, 1)),
        (b"01-feb-1994", dt.date(1994, 2, 1)),
        (b'"1-Feb-1994"', dt.date(1994, 2, 1)),
        (b"31-Dec-9999", dt.date.max),
    ],
)
def test_date(data: bytes, expected: dt.date) -> None:
    assert parse_date(data) == expected


@pytest.mark.parametrize(
    "data",
    [b"", b'"1-Feb-1994', b'1-Feb-1994"', b" 1-Feb-1994", b"1-Feb-94", b"30-Feb-1994", b"1-2-1994", b"001-Feb-1994"],
)
def test_bad_date(data: bytes) -> None:
    with pytest.raises(BadSyntax):
        parse_date(data)


def test_render_date_time() -> None:
    assert render_date_time(837_596_665) == b'"17-Jul-1996 09:44:25 +0000"'
    assert render_date_time(0) == b'"01-Jan-1970 00:00:00 +0000"'
    assert render_date_time(-1) == b'"31-Dec-1969 23:59:59 +0000"'


def test_render_date_time_never_fails() -> None:
    assert render_date_time(1 << 62).startswith(b'"31-Dec-9999 ')
    assert render_date_time(-(1 << 62)).startswith(b'"01-Jan-0001 ')


@given(st.integers(-60_000_000_000, 250_000_000_000))
def test_date_times_round_trip(epoch: int) -> None:
    moment = parse_date_time(render_date_time(epoch))
    assert (moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)).total_seconds() == epoch


@given(st.dates())
def test_every_date_is_read(date: dt.date) -> None:
    text = b"%d-%b-%04d" % (date.day, MONTHS[date.month - 1], date.year)
    assert parse_date(text) == date
    assert parse_date(b'"%b"' % text) == date
