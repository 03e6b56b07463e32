"""ENVELOPE as wire text (RFC 3501 7.4.2)."""

from __future__ import annotations

import re
from functools import lru_cache

from maildir_imapd.message.address import ADDRESSES_LIMIT, Address, parse_addresses
from maildir_imapd.message.header import FOLDED, HEADER_LIMIT_OCTETS, unfold
from maildir_imapd.strings import nstring, string

_findall = re.compile(
    rb"\n(date|subject|from|sender|reply-to|to|cc|bcc|in-reply-to|message-id)[ \t]*:(" + FOLDED + rb")", re.IGNORECASE
).findall
_ADDRESSES = frozenset((b"from", b"sender", b"reply-to", b"to", b"cc", b"bcc"))

# Longer lists are made anew each time: they seldom come twice, and would fill the memory.
_REMEMBERED = 300


def render_envelope(header: bytes) -> bytes:
    """Render the envelope of *header*.

    A field that stands there twice (RFC 5322 3.6 forbids it): the first text counts, and addresses are
    joined, so that nothing is checked in one list and shown from the other.  Each is parsed for itself: what one
    leaves open swallows nothing of the next.
    """
    found: dict[bytes, bytes] = {}
    more: dict[bytes, list[bytes]] = {}
    for name, value in _findall(b"\n" + header[:HEADER_LIMIT_OCTETS]):
        key = name.lower()
        if key not in found:
            found[key] = value
        elif key in _ADDRESSES:
            more.setdefault(key, [found[key]]).append(value)
    get = found.get

    def addresses(key: bytes, default: bytes = b"NIL") -> bytes:
        return _joined(more[key], default) if key in more else _address_list(get(key), default)

    sender = addresses(b"from")
    return b"(%b %b %b %b %b %b %b %b %b %b)" % (
        _text(get(b"date")),
        _text(get(b"subject")),
        sender,
        # "If the Sender or Reply-To lines are absent in the [RFC-2822] header, or are present but empty,
        # the server sets the corresponding member of the envelope to be the same value as the from member"
        addresses(b"sender", sender),
        addresses(b"reply-to", sender),
        addresses(b"to"),
        addresses(b"cc"),
        addresses(b"bcc"),
        _text(get(b"in-reply-to")),
        _text(get(b"message-id")),
    )


def render_addresses(addresses: list[Address]) -> bytes:
    """Render env-from and its like: ``"(" 1*address ")" / nil``."""
    if not addresses:
        return b"NIL"
    return b"(%b)" % b"".join(
        b"(%b %b %b %b)" % (nstring(name), nstring(route), nstring(mailbox), nstring(host))
        for name, route, mailbox, host in addresses
    )


def _text(value: bytes | None) -> bytes:
    return b"NIL" if value is None else string(unfold(value))


def _address_list(value: bytes | None, default: bytes = b"NIL") -> bytes:
    if value is None:
        return default
    rendered = _rendered(value) if len(value) <= _REMEMBERED else _rendered.__wrapped__(value)
    return default if rendered == b"NIL" else rendered


def _joined(values: list[bytes], default: bytes) -> bytes:
    found: list[Address] = []
    for value in values:
        if len(found) >= ADDRESSES_LIMIT:
            break
        found += parse_addresses(unfold(value))
    return render_addresses(found) if found else default


@lru_cache(maxsize=2048)
def _rendered(value: bytes) -> bytes:
    return render_addresses(parse_addresses(unfold(value)))
