"""The two forms of a date that IMAP knows, both ways (RFC 3501 section 9: date, date-time)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from functools import lru_cache

from maildir_imapd.errors import BadSyntax
from maildir_imapd.wire import abnf

MONTHS = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec")
_MONTH_NUMBER = {name.upper(): number for number, name in enumerate(MONTHS, 1)}

_DAY_SECONDS = 86400
_FIRST_DAY = dt.date(1970, 1, 1).toordinal()
_LAST_ORDINAL = dt.date.max.toordinal()
# The clock's part of a date-time, ready made: a FETCH renders one per message.
_MINUTES = tuple(b"%02d:%02d" % divmod(minute, 60) for minute in range(1440))
_SECONDS = tuple(b':%02d +0000"' % second for second in range(60))


def parse_date_time(data: bytes) -> dt.datetime:
    """Read a date-time, with or without its quotes; a leap second counts as the one before it."""
    if data.startswith(b'"') and data.endswith(b'"') and len(data) > 1:
        data = data[1:-1]
    match = abnf.DATE_TIME(data)
    if match is None:
        raise BadSyntax("a date-time")
    day, month, year, hour, minute, second, sign, zone_hours, zone_minutes = match.groups()
    zone = dt.timedelta(hours=int(zone_hours), minutes=int(zone_minutes))
    try:
        return dt.datetime(
            int(year),
            _MONTH_NUMBER[month.upper()],
            int(day),
            int(hour),
            int(minute),
            59 if second == b"60" else int(second),
            tzinfo=dt.timezone(-zone if sign == b"-" else zone),
        )
    except (ValueError, KeyError):
        raise BadSyntax("a date-time") from None


def parse_date(data: bytes) -> dt.date:
    """Read a date, with or without quotes."""
    match = abnf.DATE(data)
    if match is None or match.end() != len(data):
        raise BadSyntax("a date")
    _, day, month, year = match.groups()
    try:
        return dt.date(int(year), _MONTH_NUMBER[month.upper()], int(day))
    except (ValueError, KeyError):
        raise BadSyntax("a date") from None


def render_date_time(epoch: int) -> bytes:
    """Render seconds since 1970 as a date-time in UTC, quotes included.

    What the calendar cannot hold (a file's time stamp may be anything) becomes its first or last day.
    """
    return render_date_times((epoch,))[0]


def render_date_times(column: Iterable[int]) -> list[bytes]:
    """Render a whole column as ``render_date_time`` does."""
    return [
        b"%b%b%b" % (_day_text(epoch // _DAY_SECONDS), _MINUTES[epoch % _DAY_SECONDS // 60], _SECONDS[epoch % 60])
        for epoch in column
    ]


@lru_cache(maxsize=4096)
def _day_text(day: int) -> bytes:
    date = dt.date.fromordinal(min(max(day + _FIRST_DAY, 1), _LAST_ORDINAL))
    return b'"%02d-%b-%04d ' % (date.day, MONTHS[date.month - 1], date.year)
