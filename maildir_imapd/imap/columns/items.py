"""What each FETCH item needs and how its value is made.

An item becomes a column: its label, and one of three ways to the values.  *meta* columns come from the
snapshot alone.  *cached* columns are finished wire text, made once per message and kept in the folder's
cache.  *body* columns are made anew each time, from the message.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from maildir_imapd import strings
from maildir_imapd.imap.view import Positions, View, column
from maildir_imapd.message import mime, section
from maildir_imapd.message.envelope import render_envelope
from maildir_imapd.message.structure import render_body, render_bodystructure
from maildir_imapd.message.text import preview
from maildir_imapd.wire.commands import FetchAtt, FetchBody, FetchItem, FetchPreview
from maildir_imapd.wire.dates import render_date_time, render_date_times
from maildir_imapd.wire.render import literal8

if TYPE_CHECKING:
    from maildir_imapd.imap.columns.message import Content

Meta = Callable[[View, Positions], Sequence[bytes] | Sequence[int]]
Make = Callable[["Content"], bytes]


@dataclass(frozen=True, slots=True)
class Column:
    """*label* is the item's name in the answer; *slot* how its value stands in the template."""

    label: bytes
    slot: bytes
    meta: Meta | None = None
    field: bytes | None = None
    make: Make | None = None


def _uids(view: View, positions: Positions) -> Sequence[int]:
    return column(view.snapshot.uids, positions)


def _flags(view: View, positions: Positions) -> Sequence[bytes]:
    return view.flag_lists(positions)


def _sizes(view: View, positions: Positions) -> Sequence[int]:
    return view.sizes(positions)


def _dates(view: View, positions: Positions) -> Sequence[bytes]:
    return render_date_times(column(view.snapshot.received, positions))


def _saved(view: View, positions: Positions) -> Sequence[bytes]:
    return [render_date_time(seconds) if seconds > 0 else b"NIL" for seconds in column(view.snapshot.saved, positions)]


def _modseqs(view: View, positions: Positions) -> Sequence[int]:
    return column(view.snapshot.modseqs, positions)


UID = Column(b"UID", b"%d", meta=_uids)
FLAGS = Column(b"FLAGS", b"%b", meta=_flags)
MODSEQ = Column(b"MODSEQ", b"(%d)", meta=_modseqs)
# The one of its kind that may have to read messages.
SIZE = Column(b"RFC822.SIZE", b"%d", meta=_sizes)

_SIMPLE = {
    b"UID": UID,
    b"FLAGS": FLAGS,
    b"MODSEQ": MODSEQ,
    b"SAVEDATE": Column(b"SAVEDATE", b"%b", meta=_saved),
    # RFC 8474: one identifier for one content, so that COPY and MOVE keep it.  No threads are kept track of.
    b"EMAILID": Column(b"EMAILID", b"(%b)", field=b"emailid", make=lambda c: email_id(c)),
    b"THREADID": Column(b"THREADID", b"%b", meta=lambda view, positions: [b"NIL"] * len(positions)),
    b"RFC822.SIZE": SIZE,
    b"INTERNALDATE": Column(b"INTERNALDATE", b"%b", meta=_dates),
    b"ENVELOPE": Column(b"ENVELOPE", b"%b", field=b"envelope", make=lambda c: render_envelope(c.header)),
    b"BODY": Column(b"BODY", b"%b", field=b"body", make=lambda c: render_body(c.tree(), c.data)),
    b"BODYSTRUCTURE": Column(
        b"BODYSTRUCTURE", b"%b", field=b"bodystructure", make=lambda c: render_bodystructure(c.tree(), c.data)
    ),
}

# RFC 8970 3.2: with LAZY we may still take the time, and it is taken once per message.
_PREVIEW = Column(
    b"PREVIEW",
    b"%b",
    field=b"preview",
    make=lambda c: strings.literal(preview(c.data, c.tree).encode("utf-8", "replace")),
)


def email_id(content: Content) -> bytes:
    """The EMAILID of a message: made from its octets (RFC 8474 5.1: 1*255 of letters, digits, - and _)."""
    return b"M" + hashlib.sha256(content.data).hexdigest()[:40].encode()


# What a client of IMAP4rev2 reads otherwise: message/global is an embedded message to it (RFC 9051 7.5.2).
_REV2 = {
    b"BODY": Column(b"BODY", b"%b", field=b"body2", make=lambda c: render_body(c.tree(), c.data, rev2=True)),
    b"BODYSTRUCTURE": Column(
        b"BODYSTRUCTURE",
        b"%b",
        field=b"bodystructure2",
        make=lambda c: render_bodystructure(c.tree(), c.data, rev2=True),
    ),
}


def columns(items: Sequence[FetchItem], *, rev2: bool) -> list[Column]:
    """Turn the items of a FETCH into columns, in their order.

    *rev2*: the client has enabled IMAP4rev2.
    """
    return [_column(item, rev2) for item in items]


def _column(item: FetchItem, rev2: bool) -> Column:
    if isinstance(item, FetchAtt):
        return (rev2 and _REV2.get(item.name)) or _SIMPLE[item.name]
    if isinstance(item, FetchPreview):
        return _PREVIEW
    label = item.label
    if item.partial is not None:
        label += b"<%d>" % item.partial[0]
    if item.size_only:
        return Column(label, b"%b", make=lambda c: b"%d" % len(_binary(c, item) or b""))
    if item.binary:
        return Column(label, b"%b", make=lambda c: _binary_string(_binary(c, item)))
    wanted = item.section
    if wanted.kind in (b"HEADER.FIELDS", b"HEADER.FIELDS.NOT") and not wanted.part and item.partial is None:
        names = frozenset(name.upper() for name in wanted.fields)
        invert = wanted.kind == b"HEADER.FIELDS.NOT"
        key = b"header" + (b"!" if invert else b"=") + b" ".join(sorted(names))
        return Column(
            label,
            b"%b",
            field=key,
            make=lambda c: strings.literal(section.header_fields(c.header, names, invert)),
        )
    return Column(label, b"%b", make=lambda c: _nliteral(_body(c, item)))


def _body(content: Content, item: FetchBody) -> bytes | None:
    wanted = item.section
    return section.extract(content.data, wanted.part, wanted.kind, wanted.fields, content.tree, item.partial)


def _cut(whole: bytes | None, item: FetchBody) -> bytes | None:
    if whole is None or item.partial is None:
        return whole
    first, count = item.partial
    return whole[first : first + count]


def _binary(content: Content, item: FetchBody) -> bytes | None:
    if not item.section.part:
        return _cut(content.data, item)
    part = mime.find(content.tree(), item.section.part)
    return None if part is None else _cut(section.decode_part(content.data, part), item)


def _nliteral(value: bytes | None) -> bytes:
    """Bodies go out as literals, whatever is in them: clients expect it, and it needs no look at them."""
    return b"NIL" if value is None else strings.literal(value)


def _binary_string(value: bytes | None) -> bytes:
    if value is not None and b"\0" in value:
        return literal8(value)
    return _nliteral(value)
