"""Keys for SORT and the trees of THREAD (RFC 5256, RFC 5957)."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from functools import lru_cache

from dateutil import parser as tolerant_parser

from maildir_imapd import normal
from maildir_imapd.message.address import Address, parse_addresses
from maildir_imapd.message.header import decode_rfc2047, every, first, undecodable
from maildir_imapd.message.text import fold

# The last of all characters.
_BEHIND = "\U0010ffff"

# --- subject --------------------------------------------------------------------------------------

_SPACES = re.compile(r"[ \t\r\n]+")
# RFC 5256 5:
#   subj-refwd = ("re" / ("fw" ["d"])) *WSP [subj-blob] ":"
#   subj-blob  = "[" *BLOBCHAR "]" *WSP
_REFWD = re.compile(r"(?:re|fwd?) *(?:\[[^\[\]]*+\] *)?:", re.IGNORECASE).match
_BLOB = re.compile(r"\[[^\[\]]*+\] *").match
_FWD_HEADER = "[fwd:"


# Longer texts are not remembered: they seldom come twice, and would fill the memory.
_REMEMBERED = 300
# Characters of a key to sort or thread by; what is equal up to here is in the order of the mailbox.
KEY_LIMIT_CHARACTERS = 1024


def short_key(text: str) -> str:
    """Fold *text*, ``KEY_LIMIT_CHARACTERS`` of it, to a key; bounded once more, for U+FDFA folds to 18 letters."""
    limit = KEY_LIMIT_CHARACTERS
    return fold(text if len(text) <= limit else normal.cut(text, limit))[: 3 * limit]


def base_subject(subject: str) -> tuple[str, bool]:
    """Extract the base subject of a decoded subject (RFC 5256 2.1), and tell whether it was a reply or forward.

    The second is RFC 5256 3, REFERENCES: whether extraction removed "a subj-refwd, a "(fwd)" subj-trailer, or
    a subj-fwd-hdr and subj-fwd-trl".
    """
    return _known_base(subject) if len(subject) <= _REMEMBERED else _base_subject(subject)


def _base_subject(subject: str) -> tuple[str, bool]:
    # (1) "Convert all tabs and continuations to space.  Convert all multiple spaces to a single space."
    text = _SPACES.sub(" ", subject)
    start, end = 0, len(text)
    reply = False
    while True:
        # (2) subj-trailer = "(fwd)" / WSP
        while start < end:
            if text[end - 1] == " ":
                end -= 1
            elif end - start >= 5 and text[end - 5 : end].lower() == "(fwd)":
                end -= 5
                reply = True
            else:
                break
        # (3) to (5).  Blobs that no subj-refwd follows fall one by one under (4), so once the look behind all
        # of them has failed it need not be repeated.
        while start < end:
            if text[start] == " ":
                start += 1
                continue
            behind, blobs = start, []
            while behind < end and (blob := _BLOB(text, behind, end)) is not None:
                blobs.append(behind)
                behind = blob.end()
            refwd = _REFWD(text, behind, end)
            if refwd is not None:
                start = refwd.end()
                reply = True
                continue
            if blobs:
                # "and removing that prefix leaves a non-empty subj-base"
                start = behind if behind < end else blobs[-1]
            break
        # (6) subj-fwd = subj-fwd-hdr subject subj-fwd-trl
        if end - start > 5 and text[end - 1] == "]" and text[start : start + 5].lower() == _FWD_HEADER:
            start += 5
            end -= 1
            reply = True
            continue
        return text[start:end], reply


_known_base = lru_cache(maxsize=2048)(_base_subject)


def subject_key(header: bytes) -> str:
    """Give SORT's SUBJECT key."""
    value = first(header, b"SUBJECT")
    return "" if value is None else _key(value, lambda text: base_subject(text)[0])


def _key(value: bytes, extract: Callable[[str], str] = str) -> str:
    """The sort key of a field's value, or of what *extract* takes from it.

    RFC 5255 4.6: what is no text in its charset comes behind all that is, in the order of its octets.
    """
    octets = undecodable(value)
    if octets is not None:
        return _BEHIND + extract(octets.decode("iso8859-1"))[:KEY_LIMIT_CHARACTERS]
    return short_key(extract(decode_rfc2047(value)))


# --- dates ----------------------------------------------------------------------------------------

_MONTHS = {name: number for number, name in enumerate(b"jan feb mar apr may jun jul aug sep oct nov dec".split(), 1)}
# RFC 5322 3.3 and 4.3: date-time = [ day-of-week "," ] date time [CFWS]; comments come out first.
_DATE = re.compile(
    rb"[ \t]*(?:[A-Za-z]+[ \t]*,?[ \t]*)?([0-9]{1,2})[ \t-]+([A-Za-z]{3})[a-z]*[ \t-]+([0-9]{2,4}+)(?![ \t]*+:)"
    rb"(?:[ \t]+([0-9]{1,2})[ \t]*:[ \t]*([0-9]{2})(?:[ \t]*:[ \t]*([0-9]{2}))?(?:\.[0-9]+)?"
    rb"[ \t]*([+-][0-9]{4}|[A-Za-z]{1,5})?)?"
).match
# RFC 5322 4.3: obs-zone; the military letters "SHOULD all be considered equivalent to "-0000""
_ZONES = {b"EDT": -4, b"EST": -5, b"CDT": -5, b"CST": -6, b"MDT": -6, b"MST": -7, b"PDT": -7, b"PST": -8}
_EPOCH = dt.date(1970, 1, 1).toordinal()
_COMMENT = re.compile(rb"\([^()]*\)")
# dateutil takes any text; what is longer than this is no date.
_DATE_LIMIT_OCTETS = 100
# What dateutil puts in for what is not there: year, month and day are there if they are the same with both.
_DEFAULTS = (dt.datetime(1970, 1, 1), dt.datetime(1972, 2, 2))


def sent_date(header: bytes, received: int) -> int:
    """Give the sent date in epoch seconds (RFC 5256 2.2), or *received* where it cannot be determined."""
    value = first(header, b"DATE")
    parsed = None if value is None else parse_date(value)
    return received if parsed is None else parsed[0]


def sent_day(header: bytes) -> dt.date | None:
    """Give the day in the Date field, "disregarding time and timezone" (RFC 3501 6.4.4: SENTON and its like)."""
    value = first(header, b"DATE")
    parsed = None if value is None else parse_date(value)
    return None if parsed is None else dt.date.fromordinal(parsed[1] + _EPOCH)


def parse_date(value: bytes) -> tuple[int, int] | None:
    """Parse a Date field: epoch seconds, and the day as written, counted from 1970; None if it is no date.

    What lacks its year, month or day is none: RFC 5256 2.2 has the INTERNALDATE then.

    RFC 5256 2.2: "If the time zone is invalid, the date and time SHOULD be treated as UTC.  If the time is
    also invalid, the time SHOULD be treated as 00:00:00."
    """
    return _parse_date(value[:_DATE_LIMIT_OCTETS])


@lru_cache(maxsize=512)
def _parse_date(value: bytes) -> tuple[int, int] | None:
    if b"(" in value:
        value = _COMMENT.sub(b" ", value)
    match = _DATE(value)
    if match is not None:
        day, name, year, hour, minute, second, zone = match.groups()
        month = _MONTHS.get(name.lower())
        if month is not None:
            try:
                days = dt.date(_full_year(year), month, int(day)).toordinal() - _EPOCH
            except ValueError:
                return _parse_tolerantly(value)
            clock = 0
            if hour is not None and int(hour) < 24 and int(minute) < 60:
                clock = int(hour) * 3600 + int(minute) * 60 + min(int(second or 0), 59) - _zone(zone)
            return days * 86400 + clock, days
    return _parse_tolerantly(value)


def _full_year(digits: bytes) -> int:
    """RFC 5322 4.3: two digits below 50 are 20xx, other two and all three are added to 1900."""
    year = int(digits)
    if len(digits) == 2 and year < 50:
        return year + 2000
    return year + 1900 if len(digits) < 4 else year


def _zone(zone: bytes | None) -> int:
    if zone is None:
        return 0
    if zone[:1] not in (b"+", b"-"):
        return _ZONES.get(zone.upper(), 0) * 3600
    hours, minutes = int(zone[1:3]), int(zone[3:])
    if hours > 23 or minutes > 59:
        return 0
    seconds = hours * 3600 + minutes * 60
    return seconds if zone[:1] == b"+" else -seconds


def _parse_tolerantly(value: bytes) -> tuple[int, int] | None:
    text = value.decode("ascii", "replace").strip()
    if not any(char.isdigit() for char in text):
        return None
    try:
        moment, again = (
            tolerant_parser.parse(text, default=default, tzinfos=lambda name, offset: offset or 0)
            for default in _DEFAULTS
        )
    except Exception:  # dateutil raises ValueError, OverflowError, and now and then what its insides raise
        return None
    if moment.date() != again.date():
        return None
    days = moment.toordinal() - _EPOCH
    clock = moment.hour * 3600 + moment.minute * 60 + moment.second
    try:
        offset = moment.utcoffset()
    except ValueError:
        offset = None
    return days * 86400 + clock - (0 if offset is None else int(offset.total_seconds())), days


# --- addresses ------------------------------------------------------------------------------------


def mailbox_key(header: bytes, name: bytes) -> str:
    """Give SORT's CC, FROM or TO key: "addr-mailbox of the first ... address"."""
    address = _first_address(header, name)
    return "" if address is None or address.mailbox is None else _key(address.mailbox)


def display_key(header: bytes, name: bytes) -> str:
    """Give SORT's DISPLAYFROM or DISPLAYTO key (RFC 5957 3)."""
    address = _first_address(header, name)
    if address is None:
        return ""
    if address.name is not None:
        key = _key(address.name)
        if key:
            return key
    if address.mailbox is None:
        return ""
    if address.host is None:
        return _key(address.mailbox)
    return _key(b"%b@%b" % (address.mailbox, address.host))


def _first_address(header: bytes, name: bytes) -> Address | None:
    for value in every(header, name):
        found = _addresses(value) if len(value) <= 300 else parse_addresses(value)[:1]
        if found:
            return found[0]
    return None


@lru_cache(maxsize=1024)
def _addresses(value: bytes) -> list[Address]:
    return parse_addresses(value)[:1]
