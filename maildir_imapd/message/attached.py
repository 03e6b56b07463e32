"""The parts of a message that SEARCH does not look at: neither text nor message (RFC 3501 6.4.4)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from maildir_imapd.message.mime import Part


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
