"""URLs that carry the right to read what they name (RFC 5092 section 6.1, for RFC 4467's URLAUTH).

``imap://joe@example.com/INBOX/;uid=20/;section=1.2;expire=2026-12-31T12:00:00Z;urlauth=submit+fred:internal:<hex>``.
The **rump** is such a URL up to the mechanism and the token; these vouch for its octets, so it is never spelled anew.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote_to_bytes

from maildir_imapd.errors import BadSyntax
from maildir_imapd.wire.url import MessageUrl, parse_url

# The port of a URL that names none (RFC 5092 4).
PORT: Final = 143
LONGEST_OCTETS: Final = 8 * 1024

#   achar = unreserved / pct-encoded / "!" / "$" / "'" / "(" / ")" / "*" / "+" / "," / "&" / "="
_ACHAR: Final = rb"(?:[A-Za-z0-9\-._~!$'()*+,&=]|%[0-9A-Fa-f]{2})"
_RUMP: Final = re.compile(
    rb"imap://(?P<user>%b++)(?:;AUTH=%b++)?@"
    rb"(?P<host>[A-Za-z0-9\-._]++|\[[0-9A-Fa-f:.]++\])(?::(?P<port>[0-9]{1,5}))?"
    rb"(?P<message>/[^;]*+(?:;(?!EXPIRE=|URLAUTH=)[^;]*+)*+)"
    rb"(?:;EXPIRE=(?P<expire>[^;]++))?"
    rb";URLAUTH=(?P<access>(?:submit|user)\+(?P<whom>%b++)|authuser|anonymous)" % (_ACHAR, _ACHAR, _ACHAR),
    re.IGNORECASE,
).fullmatch
_VERIFIER: Final = re.compile(rb"(?P<rump>.+):(?P<mechanism>[A-Za-z0-9\-.]+):(?P<token>[0-9A-Fa-f]{32,})").fullmatch
#   date-time of RFC 3339 5.6
_DATE: Final = re.compile(
    rb"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.[0-9]{1,20})?"
    rb"(?:Z|([+-])([0-9]{2}):([0-9]{2}))",
    re.IGNORECASE,
).fullmatch


@dataclass(frozen=True, slots=True)
class RumpUrl:
    """A URL of a message or a part of one, of a mailbox that *user* names so.

    *host* in small letters; *expires* in seconds since 1970, None for never. *access* is ``submit``, ``user``,
    ``authuser`` or ``anonymous``, and *whom* the user behind the first two, else "".
    """

    user: str
    host: str
    port: int
    message: MessageUrl
    mailbox: str
    expires: float | None
    access: str
    whom: str
    octets: bytes
    """All of it, as it was written."""


@dataclass(frozen=True, slots=True)
class FullUrl:
    """A rump with what vouches for it; *mechanism* in capitals."""

    rump: RumpUrl
    mechanism: bytes
    token: bytes = field(repr=False)


def parse_rump(text: bytes) -> RumpUrl:
    """Read a URL that has an access identifier and no token yet; raises BadSyntax for any other."""
    found = _RUMP(text) if len(text) <= LONGEST_OCTETS else None
    if found is None:
        raise BadSyntax("an IMAP URL with a user, a message and URLAUTH=")
    message = parse_url(found["message"])
    if message.mailbox is None:
        raise BadSyntax("the name of a mailbox in the URL")
    port = int(found["port"] or PORT)
    if not 0 < port < 65536:
        raise BadSyntax("a port from 1 to 65535")
    return RumpUrl(
        user=_name(found["user"]),
        host=found["host"].decode("ascii").lower(),
        port=port,
        message=message,
        mailbox=message.mailbox,
        expires=None if found["expire"] is None else _seconds(found["expire"]),
        access=found["access"].partition(b"+")[0].decode("ascii").lower(),
        whom=_name(found["whom"] or b""),
        octets=text,
    )


def parse_full(text: bytes) -> FullUrl:
    """Read a URL with its token; raises BadSyntax for any other."""
    found = _VERIFIER(text) if len(text) <= LONGEST_OCTETS else None
    if found is None:
        raise BadSyntax("an IMAP URL with a mechanism and a token")
    return FullUrl(parse_rump(found["rump"]), found["mechanism"].upper(), found["token"])


def _name(written: bytes) -> str:
    try:
        return unquote_to_bytes(written).decode()
    except UnicodeDecodeError:
        raise BadSyntax("the name of a user in UTF-8") from None


def _seconds(written: bytes) -> float:
    """Return a moment of RFC 3339 in seconds since 1970; a leap second is the one before it."""
    found = _DATE(written)
    if found is None:
        raise BadSyntax("a date and time of RFC 3339")
    year, month, day, hour, minute, second = (int(found[n]) for n in range(1, 7))
    away = dt.timedelta(hours=int(found[8] or 0), minutes=int(found[9] or 0))
    if second > 60 or away >= dt.timedelta(days=1) or int(found[9] or 0) > 59:
        raise BadSyntax("a date and time of RFC 3339")
    try:
        moment = dt.datetime(year, month, day, hour, minute, min(second, 59), tzinfo=dt.UTC)
    except ValueError:
        raise BadSyntax("a date and time of RFC 3339") from None
    seconds = away.total_seconds()
    return moment.timestamp() + (seconds if found[7] == b"-" else -seconds)
