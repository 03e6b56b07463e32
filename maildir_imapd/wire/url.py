"""IMAP URLs that name a message or a part of one on this server (RFC 5092, for RFC 4469's CATENATE).

Only relative ones, as RFC 4469 section 3 wants: ``/Drafts;UIDVALIDITY=1/;UID=20/;SECTION=1.MIME/;PARTIAL=0.99``,
or from ``;UID=`` on, which speaks of the mailbox that is open.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote_from_bytes, unquote_to_bytes

from maildir_imapd.errors import BadSyntax
from maildir_imapd.wire.commands import Section
from maildir_imapd.wire.cursor import Cursor
from maildir_imapd.wire.parse_fetch import parse_section

# The octets that RFC 5092's achar and bchar allow, escapes being whole.
_CHARACTERS: Final = re.compile(rb"(?:[A-Za-z0-9\-._~!$'()*+,&=:@/;]|%[0-9A-Fa-f]{2})*").fullmatch
_PARTS: Final = re.compile(
    rb"(?:/?(?P<mailbox>(?!/)[^;]+?)(?:;UIDVALIDITY=(?P<uidvalidity>[1-9][0-9]{0,9}))?/|/)?"
    rb";UID=(?P<uid>[1-9][0-9]{0,9})"
    rb"(?:/;SECTION=(?P<section>[^;]+))?"
    rb"(?:/;PARTIAL=(?P<first>[0-9]{1,19})(?:\.(?P<count>[1-9][0-9]{0,18}))?)?",
    re.IGNORECASE,
).fullmatch
# With a scheme or a server.
_ABSOLUTE: Final = re.compile(rb"//|[^/;]*:").match
_MAX_NUMBER: Final = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class MessageUrl:
    """*mailbox* is None for the one that is open; *partial* is the first octet, and how many (None: all)."""

    mailbox: str | None
    uidvalidity: int | None
    uid: int
    section: Section
    partial: tuple[int, int | None] | None = None


def parse_url(text: bytes) -> MessageUrl:
    """Read a relative URL of a message or of a part; raises BadSyntax for any other."""
    found = _PARTS(text) if _CHARACTERS(text) else None
    if found is None or _ABSOLUTE(text):
        raise BadSyntax("the URL of a message on this server")
    mailbox = None
    if found["mailbox"] is not None:
        try:
            mailbox = unquote_to_bytes(found["mailbox"]).decode()
        except UnicodeDecodeError:
            raise BadSyntax("a mailbox name in UTF-8") from None
    uid = int(found["uid"])
    uidvalidity = int(found["uidvalidity"]) if found["uidvalidity"] else None
    if max(uid, uidvalidity or 0) > _MAX_NUMBER:
        raise BadSyntax("a number below 4294967296")
    section = Section()
    if found["section"] is not None:
        at = Cursor(b"[%b]" % unquote_to_bytes(found["section"]))
        section, _ = parse_section(at)
        if at.pos != len(at.text):
            raise BadSyntax("one section")
    partial = None
    if found["first"] is not None:
        partial = int(found["first"]), int(found["count"]) if found["count"] else None
    return MessageUrl(mailbox, uidvalidity, uid, section, partial)


def render_url(text: bytes) -> bytes:
    """Spell a URL, whatever a client sent for one, as BADURL may show it (RFC 4469 5, url-resp-text)."""
    return quote_from_bytes(text, safe="!#$%&'()*+,/:;=?@~\"").encode()
