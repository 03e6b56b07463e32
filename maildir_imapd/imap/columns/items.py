"""FETCH items become columns that give their values."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from maildir_imapd import strings
from maildir_imapd.imap.columns.fields import Field, Make, alone, family
from maildir_imapd.imap.columns.message import Decoded, Held, Span
from maildir_imapd.imap.columns.plan import (
    FLAGS,
    INTERNALDATE,
    MODSEQ,
    SAVEDATE,
    SIZE,
    UID,
    Cached,
    Column,
    PerMessage,
    Plan,
)
from maildir_imapd.imap.reply import PIECE_OCTETS
from maildir_imapd.message import mime, section, thread
from maildir_imapd.message.envelope import render_envelope
from maildir_imapd.message.structure import render_body, render_bodystructure
from maildir_imapd.message.text import preview
from maildir_imapd.wire.commands import FetchAtt, FetchBody, FetchItem, FetchPreview
from maildir_imapd.wire.render import literal8

if TYPE_CHECKING:
    from maildir_imapd.imap.columns.message import Content


def email_id(content: Content) -> bytes:
    """The EMAILID of a message: made from its octets (RFC 8474 5.1: 1*255 of letters, digits, - and _)."""
    if content.large:
        digest = hashlib.sha256()
        with content.opened():
            for piece in content.pieces(0, content.blocks().octets):
                digest.update(piece)
    else:
        digest = hashlib.sha256(content.data)
    return b"M" + digest.hexdigest()[:40].encode()


def thread_id(content: Content) -> bytes:
    """The THREADID of a message: made from the Message ID of the one that began its thread (RFC 8474 5.2).

    It is in the header alone, so that it is the same in each mailbox and never changes; who names nothing is alone.
    """
    root = thread.root_id(content.header)
    digest = hashlib.sha256(b"header " + content.header if root is None else b"id " + root)
    return b"T" + digest.hexdigest()[:40].encode()


def _of_parts(key: bytes, make: Make) -> Field:
    """A field that no other is of the family of, made of the message's parts."""
    return alone(Field(key, make, header_only=False))


EMAILID: Final = _of_parts(b"emailid", email_id)
THREADID: Final = alone(Field(b"threadid", thread_id))

_SIMPLE: Final[dict[bytes, Column]] = {
    each.label: each
    for each in (
        UID,
        FLAGS,
        MODSEQ,
        SAVEDATE,
        SIZE,
        INTERNALDATE,
        # RFC 8474: one identifier for one content, so that COPY and MOVE keep it.
        Cached(b"EMAILID", b"(%b)", EMAILID),
        Cached(b"THREADID", b"(%b)", THREADID),
        Cached(b"ENVELOPE", b"%b", alone(Field(b"envelope", lambda c: render_envelope(c.header)))),
        Cached(b"BODY", b"%b", _of_parts(b"body", lambda c: render_body(c.tree(), c.window()))),
        Cached(
            b"BODYSTRUCTURE", b"%b", _of_parts(b"bodystructure", lambda c: render_bodystructure(c.tree(), c.window()))
        ),
    )
}

# RFC 8970 3.2: with LAZY we may still take the time, and it is taken once per message.
_PREVIEW: Final = Cached(
    b"PREVIEW",
    b"%b",
    _of_parts(b"preview", lambda c: strings.literal(preview(c.window(), c.tree).encode("utf-8", "replace"))),
)


# What a client of IMAP4rev2 reads otherwise: message/global is an embedded message to it (RFC 9051 7.5.2).
_REV2: Final = {
    b"BODY": Cached(b"BODY", b"%b", _of_parts(b"body2", lambda c: render_body(c.tree(), c.window(), rev2=True))),
    b"BODYSTRUCTURE": Cached(
        b"BODYSTRUCTURE",
        b"%b",
        _of_parts(b"bodystructure2", lambda c: render_bodystructure(c.tree(), c.window(), rev2=True)),
    ),
}


@family(b"header=")
def _fields_named(names: bytes) -> Field:
    return _header_fields(_split_names(names), invert=False)


@family(b"header!")
def _fields_but(names: bytes) -> Field:
    return _header_fields(_split_names(names), invert=True)


def _header_fields(names: frozenset[bytes], *, invert: bool) -> Field:
    """The fields called one of *names*, in capitals, or all the others; the key lists them, whatever is in a name."""
    listed = [name.replace(b"\\", b"\\\\").replace(b" ", b"\\_") for name in sorted(names)]
    key = (b"header!" if invert else b"header=") + b" ".join(listed)
    return Field(key, lambda c: strings.literal(section.header_fields(c.header, names, invert)))


def _split_names(listed: bytes) -> frozenset[bytes]:
    return frozenset([_NAME_ESCAPE.sub(_unescaped, name) for name in listed.split(b" ")])


_NAME_ESCAPE: Final = re.compile(rb"\\(.)", re.DOTALL)


def _unescaped(found: re.Match[bytes]) -> bytes:
    return b" " if found[1] == b"_" else found[1]


def plan_of(items: Sequence[FetchItem], *, rev2: bool) -> Plan:
    """Turn the items of a FETCH into columns, in their order.

    *rev2*: the client has enabled IMAP4rev2.
    """
    return Plan(tuple([_column(item, rev2) for item in items]))


def _column(item: FetchItem, rev2: bool) -> Column:
    if isinstance(item, FetchAtt):
        return (rev2 and _REV2.get(item.name)) or _SIMPLE[item.name]
    if isinstance(item, FetchPreview):
        return _PREVIEW
    label = item.label
    if item.partial is not None:
        label += b"<%d>" % item.partial[0]
    if item.size_only:
        return PerMessage(label, b"%b", lambda c: _binary_octets(c, item))
    if item.binary:
        return PerMessage(label, b"%b", lambda c: _decoded(c, item) or _binary_string(_binary(c, item)))
    wanted = item.section
    if wanted.kind in (b"HEADER.FIELDS", b"HEADER.FIELDS.NOT") and not wanted.part and item.partial is None:
        names = frozenset(map(bytes.upper, wanted.fields))
        return Cached(label, b"%b", _header_fields(names, invert=wanted.kind == b"HEADER.FIELDS.NOT"))
    if not wanted.part and not wanted.kind and item.partial is None:
        return PerMessage(label, b"%b", _whole)
    return PerMessage(label, b"%b", lambda c: _sent(c, item))


def _whole(content: Content) -> bytes | Held | Span:
    """Give the whole message, which most that is fetched is."""
    if not content.large:
        return _nliteral(content.data)
    with content.opened():
        return Span(content, 0, content.blocks().octets)


def _sent(content: Content, item: FetchBody) -> bytes | Held | Span:
    """A section as it is sent: of a large message from its file."""
    if content.large and not item.section.kind.startswith(b"HEADER"):
        span = _span(content, item)
        return b"NIL" if span is None else span
    return _nliteral(_body(content, item))


def _span(content: Content, item: FetchBody) -> Span | None:
    """Where a section of a large message lies, cut as is asked; None where it has none."""
    wanted = item.section
    with content.opened():
        octets = content.blocks().octets
    found = section.span(wanted.part, wanted.kind, content.tree, lambda: len(content.header), octets)
    if found is None:
        return None
    start, end = found
    if item.partial is not None:
        start = min(start + item.partial[0], end)
        end = min(start + item.partial[1], end)
    return Span(content, start, end)


def _body(content: Content, item: FetchBody) -> bytes | None:
    wanted = item.section
    if content.large and not wanted.part and wanted.kind.startswith(b"HEADER"):
        # Its size need not be counted for that.
        found = content.header
        if wanted.kind != b"HEADER":
            names = frozenset(map(bytes.upper, wanted.fields))
            found = section.header_fields(found, names, wanted.kind == b"HEADER.FIELDS.NOT")
        return _cut(found, item)
    return section.extract(content.data, wanted.part, wanted.kind, wanted.fields, content.tree, item.partial)


def _cut(whole: bytes | None, item: FetchBody) -> bytes | None:
    if whole is None or item.partial is None:
        return whole
    first, count = item.partial
    return whole[first : first + count]


def _decoded(content: Content, item: FetchBody) -> Decoded | None:
    """A part of a large message, decoded as it goes; None where it must be had whole."""
    if not content.large:
        return None
    numbers = item.section.part
    with content.opened():
        part = mime.find(content.tree(), numbers) if numbers else None
        if numbers and (part is None or not section.streams(part)):
            return None
        span = Span(content, 0, content.blocks().octets) if part is None else Span(content, part.body_start, part.end)
        base64 = part is not None and section.is_base64(part)
        return Decoded(span, base64=base64, cut=item.partial)


def _binary_octets(content: Content, item: FetchBody) -> bytes:
    decoded = _decoded(content, item)
    return b"%d" % (len(_binary(content, item) or b"") if decoded is None else decoded.octets)


def _binary(content: Content, item: FetchBody) -> bytes | None:
    if not item.section.part:
        return _cut(content.data, item)
    part = mime.find(content.tree(), item.section.part)
    if part is None:
        return None
    found = _cut(section.decode_part(content.data, part), item)
    if content.large and found is not None:
        # It stays until it is sent, and is copied on its way.
        content.hold(2 * len(found))
    return found


def _nliteral(value: bytes | None) -> bytes | Held:
    """Bodies go out as literals, whatever is in them: clients expect it, and it needs no look at them."""
    if value is None:
        return b"NIL"
    return strings.literal(value) if len(value) < PIECE_OCTETS else Held(strings.literal_octets(value))


def _binary_string(value: bytes | None) -> bytes | Held:
    if value is not None and b"\0" in value:
        return literal8(value)
    return _nliteral(value)
