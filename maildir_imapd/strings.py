"""How a string goes onto the wire: the one place that decides between quoted, literal and NIL.

A leaf beside errors.py, because both ``wire`` (responses) and ``message`` (ENVELOPE, BODYSTRUCTURE)
need it and may not import one another.  Every string that a server sends passes through here, so
nothing from a message or a mailbox name can end a line or open a literal of its own
(RFC 3501 4.3, 9: quoted, literal, nstring).
"""

from __future__ import annotations

import re

# RFC 3501 section 9:
#   QUOTED-CHAR = <any TEXT-CHAR except quoted-specials> / "\" quoted-specials
#   TEXT-CHAR   = <any CHAR except CR and LF>
# Controls other than TAB are legal there, but clients choke on them: they go out as a literal.
_QUOTABLE = re.compile(rb"[\t\x20-\x7e]*\Z").match
_SPECIALS = re.compile(rb'(["\\])')

# A quoted string of thousands of octets is legal and trips line-based clients.
QUOTED_LIMIT_OCTETS = 1000


def string(value: bytes) -> bytes:
    """Render *value* as ``quoted``, or as ``literal`` where quoted cannot carry it."""
    if len(value) <= QUOTED_LIMIT_OCTETS and _QUOTABLE(value):
        if b'"' in value or b"\\" in value:
            value = _SPECIALS.sub(rb"\\\1", value)
        return b'"%b"' % value
    return literal(value)


def nstring(value: bytes | None) -> bytes:
    """Render *value* as ``nstring``: ``None`` is NIL."""
    return b"NIL" if value is None else string(value)


def literal(value: bytes) -> bytes:
    """Render *value* as a ``literal``: its length in octets, CRLF, the octets as ``literal_octets`` has them."""
    value = literal_octets(value)
    return b"{%d}\r\n%b" % (len(value), value)


def literal_octets(value: bytes) -> bytes:
    """Give *value* as it stands in a literal.

    NUL may not appear there (RFC 3501 9, CHAR8), so each becomes 0x80, as Dovecot does; the length stays true.
    """
    return value.replace(b"\0", b"\x80") if b"\0" in value else value
