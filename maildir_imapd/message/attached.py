"""The parts that are attached to a message: for SEARCH all that are neither text nor message (RFC 3501 6.4.4), for a
person those that a mail program would offer to be saved.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from maildir_imapd.message.blocks import Blocks, Read, Window
from maildir_imapd.message.mime import Part, parse

# As Dovecot and other servers call them; they are in IANA's registry (RFC 5788).
HAS_ATTACHMENT: Final = b"$HasAttachment"
HAS_NO_ATTACHMENT: Final = b"$HasNoAttachment"

# What belongs to a signature or an encryption is nothing to be saved.
_SECURITY: Final = frozenset(
    b"application/" + name
    for name in (b"pgp-signature", b"pgp-encrypted", b"pkcs7-signature", b"x-pkcs7-signature", b"pkcs7-mime")
)


class Attachment(NamedTuple):
    """Where such a part's body stands in the CRLF form; *kind* is its media type in small letters."""

    kind: bytes
    start: int
    end: int
    encoding: bytes


def attachments(root: Part) -> Iterator[Attachment]:
    """Give those of a message and of all messages within, in their order."""
    for part in root.leaves():
        if not part.opaque and part.type.lower() not in (b"text", b"message") and part.size:
            kind = b"%b/%b" % (part.type.lower(), part.subtype.lower())
            yield Attachment(kind, part.body_start, part.end, part.encoding.lower())


def attachment_keyword(read: Read, raw_octets: int) -> bytes:
    """Return the keyword that says whether a message has attachments; little of it is held at a time."""
    return HAS_ATTACHMENT if has_attachment(parse(Window(Blocks(read, raw_octets), read))) else HAS_NO_ATTACHMENT


def has_attachment(root: Part) -> bool:
    """Whether a message has anything that a mail program would offer to be saved; what is in messages within is theirs.

    That is a part that says so (RFC 2183); one with a file name that is not shown within a text; and one that says
    nothing and is no text, nor part of a signature.  Pictures of an HTML text are its own.
    """
    left: list[tuple[Part, bytes]] = [(root, b"")]
    while left:
        part, around = left.pop()
        if part.children:
            kind = part.subtype.lower()
            left.extend([(child, kind) for child in part.children])
        elif _is_attached(part, around):
            return True
    return False


def _is_attached(part: Part, around: bytes) -> bool:
    """Whether a leaf is attached; *around* is the subtype of the multipart that it is in, in small letters."""
    kind = part.type.lower()
    if b"%b/%b" % (kind, part.subtype.lower()) in _SECURITY or part.opaque:
        return False
    if part.disposition is not None and part.disposition[0].lower() != b"inline":
        # RFC 2183 2.8: a word that is not known is as good as "attachment".
        return True
    if around == b"related" and part.id is not None:
        return False
    if part.disposition is not None and _named(part):
        return True
    if kind == b"message":
        return around in (b"mixed", b"digest")
    return kind not in (b"text", b"multipart") and around != b"report"


def _named(part: Part) -> bool:
    names = [] if part.disposition is None else [name.lower() for name, _ in part.disposition[1]]
    return any(name == b"filename" or name.startswith(b"filename*") for name in names)
