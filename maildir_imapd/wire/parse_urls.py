"""Commands about URLs that carry the right to read what they name (RFC 4467, RFC 5524)."""

from __future__ import annotations

from maildir_imapd.errors import TooLong
from maildir_imapd.wire.authorized_url import LONGEST_OCTETS
from maildir_imapd.wire.commands import GenUrlAuth, ResetKey, UrlFetch
from maildir_imapd.wire.cursor import Cursor

# URLs in one command: each may be of another mailbox, and of another user's.
URLS_LIMIT = 100
# What is wanted of a URL (RFC 5524 5, url-fetch-param); of the first two only one.
PARAMETERS = frozenset({b"BODY", b"BINARY", b"BODYPARTSTRUCTURE"})


def parse_resetkey(at: Cursor, tag: bytes, _uid: bool) -> ResetKey:
    """resetkey = "RESETKEY" [SP mailbox *(SP mechanism)]"""
    if at.at_end():
        at.end()
        return ResetKey(tag)
    at.space()
    mailbox = at.mailbox()
    mechanisms = []
    while not at.at_end():
        at.space()
        mechanisms.append(at.atom().upper())
    return ResetKey(tag, mailbox, tuple(mechanisms))


def parse_genurlauth(at: Cursor, tag: bytes, _uid: bool) -> GenUrlAuth:
    """genurlauth = "GENURLAUTH" 1*(SP url-rump SP mechanism)"""
    urls: list[tuple[bytes, bytes]] = []
    while not urls or not at.at_end():
        at.space()
        url = _url(at, len(urls))
        at.space()
        urls.append((url, at.atom().upper()))
    return GenUrlAuth(tag, tuple(urls))


def parse_urlfetch(at: Cursor, tag: bytes, _uid: bool) -> UrlFetch:
    """urlfetch = "URLFETCH" 1*(SP (url-full / "(" url-full *(SP url-fetch-param) ")"))"""
    urls: list[tuple[bytes, tuple[bytes, ...]]] = []
    while not urls or not at.at_end():
        at.space()
        if at.begins():
            url = _url(at, len(urls))
            urls.append((url, _parameters(at)))
        else:
            urls.append((_url(at, len(urls)), ()))
    return UrlFetch(tag, tuple(urls))


def _url(at: Cursor, before: int) -> bytes:
    url = at.astring()
    if before >= URLS_LIMIT or len(url) > LONGEST_OCTETS:
        raise TooLong
    return url


def _parameters(at: Cursor) -> tuple[bytes, ...]:
    """*(SP url-fetch-param) ")", each once, and not both BODY and BINARY"""
    found: list[bytes] = []
    while at.more():
        start = at.pos
        name = at.one_of(PARAMETERS, "BODY, BINARY or BODYPARTSTRUCTURE")
        if name in found:
            at.fail("each parameter once", start)
        if {name, *found} >= {b"BODY", b"BINARY"}:
            at.fail("BODY or BINARY, and not both", start)
        found.append(name)
    return tuple(found)
