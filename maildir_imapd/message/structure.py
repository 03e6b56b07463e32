"""BODY and BODYSTRUCTURE as wire text (RFC 3501 7.4.2 and section 9: ``body``; RFC 9051).

RFC 9051 has message/global described as message/rfc822 is.  In the grammar of RFC 3501 it is a part like any other, so
that only a client that speaks IMAP4rev2 can read more.
"""

from __future__ import annotations

from functools import lru_cache

from maildir_imapd.message.blocks import Octets
from maildir_imapd.message.envelope import render_envelope
from maildir_imapd.message.mime import Params, Part
from maildir_imapd.strings import nstring, string


def render_body(root: Part, data: Octets, *, rev2: bool = False) -> bytes:
    """Render BODY: RFC 3501 9: extension data "MUST NOT be returned on non-extensible "BODY" fetch"."""
    return _render(root, data, extended=False, rev2=rev2)


def render_bodystructure(root: Part, data: Octets, *, rev2: bool = False) -> bytes:
    """Render BODYSTRUCTURE, with all the extension data that RFC 3501 defines."""
    return _render(root, data, extended=True, rev2=rev2)


def _render(root: Part, data: Octets, *, extended: bool, rev2: bool) -> bytes:
    out: list[bytes] = []
    # an explicit stack: what is still to be written, last first
    left: list[Part | bytes] = [root]
    while left:
        item = left.pop()
        if isinstance(item, bytes):
            out.append(item)
        elif item.children:
            #   body-type-mpart = 1*body SP media-subtype [SP body-ext-mpart]
            out.append(b"(")
            tail = b" " + string(item.subtype)
            if extended:
                tail += b" %b%b" % (_params(item.params), _extension(item))
            left.append(tail + b")")
            left.extend(reversed(item.children))
        elif item.message is not None and (rev2 or not item.is_global):
            #   body-type-msg = media-message SP body-fields SP envelope SP body SP body-fld-lines
            inner = item.message
            out.append(b"(%b %b " % (_fields(item), render_envelope(data[inner.header_start : inner.body_start])))
            left.append(b" %d%b" % (item.lines, _extension_1part(item) if extended else b")"))
            left.append(inner)
        else:
            #   body-type-text = media-text SP body-fields SP body-fld-lines;  body-type-basic has no lines
            lines = b" %d" % item.lines if item.type.lower() == b"text" else b""
            out.append(b"(%b%b%b" % (_fields(item), lines, _extension_1part(item) if extended else b")"))
    return b"".join(out)


def _fields(part: Part) -> bytes:
    #   body-fields = body-fld-param SP body-fld-id SP body-fld-desc SP body-fld-enc SP body-fld-octets
    return b"%b %b %b %b %d" % (
        _media(part.type, part.subtype, part.params),
        nstring(part.id),
        nstring(part.description),
        string(part.encoding),
        part.end - part.body_start,
    )


def _media(kind: bytes, subtype: bytes, params: Params) -> bytes:
    # More of them are not remembered: they seldom come twice, and would fill the memory.
    size = len(kind) + len(subtype) + sum([len(name) + len(value) for name, value in params])
    short = size <= 300
    return _known_media(kind, subtype, params) if short else _render_media(kind, subtype, params)


def _render_media(kind: bytes, subtype: bytes, params: Params) -> bytes:
    return b"%b %b %b" % (string(kind), string(subtype), _params(params))


_known_media = lru_cache(maxsize=1024)(_render_media)


def _params(params: Params) -> bytes:
    """body-fld-param = "(" string SP string *(SP string SP string) ")" / nil"""
    if not params:
        return b"NIL"
    return b"(%b)" % b" ".join([b"%b %b" % (string(name), string(value)) for name, value in params])


def _extension_1part(part: Part) -> bytes:
    #   body-ext-1part = body-fld-md5 [SP body-fld-dsp [SP body-fld-lang [SP body-fld-loc ...
    return b" %b%b)" % (nstring(part.md5), _extension(part))


def _extension(part: Part) -> bytes:
    if part.disposition is None and not part.languages and part.location is None:
        return b" NIL NIL NIL"
    disposition = languages = b"NIL"
    if part.disposition is not None:
        disposition = b"(%b %b)" % (string(part.disposition[0]), _params(part.disposition[1]))
    if part.languages:
        languages = b"(%b)" % b" ".join(map(string, part.languages))
    return b" %b %b %b" % (disposition, languages, nstring(part.location))
