"""The lines that are put before a message, and what the log says of one: read from its header as it goes by."""

from __future__ import annotations

import re
from email.utils import formatdate
from typing import Final

from maildir_imapd.lmtp.commands import EnvelopeAddress

# Of a header, what is looked at for the log.
_LOOKED_AT_OCTETS: Final = 1 << 16
_SHOWN_OCTETS: Final = 200
_END: Final = re.compile(rb"\A\r?\n|\n\r?\n").search
_MESSAGE_ID: Final = re.compile(rb"^message-id:[ \t\r\n]*(<[!-~]{1,996}>)", re.IGNORECASE | re.MULTILINE).search
# Of the first field of its name, which the mail server has just put there.
_RECEIVED: Final = re.compile(rb"^received:((?:[^\n]*+\n[ \t])*+[^\n]*+)", re.IGNORECASE | re.MULTILINE).search
_QUEUE_ID: Final = re.compile(rb"[ \t]id[ \t]+([0-9A-Za-z-]{1,64})(?=[\s;])").search
# Whatever else a client calls itself would read as something else there.
_HOST: Final = re.compile(rb"[A-Za-z0-9._:\[\]-]+").fullmatch
_FROM_LINE: Final = b"From "


def return_path(sender: EnvelopeAddress) -> bytes:
    """Write Return-Path (RFC 5321 4.4): who hears when it cannot be delivered."""
    return b"Return-Path: <%b>\n" % sender.written


def delivered_to(recipient: EnvelopeAddress) -> bytes:
    """Write Delivered-To, by which mail servers notice mail that goes in circles."""
    return b"Delivered-To: %b\n" % recipient.written


def received(helo: bytes, host: str, token: str, when: int, *, utf8: bool, recipient: EnvelopeAddress | None) -> bytes:
    """Write Received (RFC 5321 4.4, RFC 3848, RFC 6531 3.7.3); *token* stands in the log, too."""
    kind = b"UTF8LMTP" if utf8 else b"LMTP"
    helo = helo if _HOST(helo) else b"unknown"
    lines = [b"Received: from %b\n\tby %b with %b\n\tid %b" % (helo, host.encode("ascii"), kind, token.encode("ascii"))]
    if recipient is not None:
        lines.append(b"\n\tfor <%b>" % recipient.written)
    lines.append(b"; %b\n" % formatdate(when, localtime=True).encode("ascii"))
    return b"".join(lines)


class HeaderSeen:
    """A header that goes by in pieces, and what the log says of it."""

    def __init__(self) -> None:
        self._head: bytearray | None = bytearray()
        self.message_id = b""
        self.queue_id = b""

    def take(self, piece: bytes) -> None:
        """Look at the next piece of the message."""
        if self._head is None:
            return
        behind = max(0, len(self._head) - 3)
        self._head += piece[: _LOOKED_AT_OCTETS - len(self._head)]
        end = _END(self._head, behind) if behind else _END(self._head)
        if end is not None or len(self._head) >= _LOOKED_AT_OCTETS:
            self._read(bytes(self._head[: end.start() + 1] if end is not None else self._head))

    def finish(self) -> None:
        """Look at a message that is a header and nothing else."""
        if self._head is not None:
            self._read(bytes(self._head))

    def _read(self, head: bytes) -> None:
        self._head = None
        found = _MESSAGE_ID(head)
        if found is not None:
            self.message_id = found[1][:_SHOWN_OCTETS]
        found = _RECEIVED(head)
        queued = None if found is None else _QUEUE_ID(found[1] + b";")
        if queued is not None:
            self.queue_id = queued[1]


class FromLine:
    """Drops the line ``From `` that a mail server puts before a message on standard input, and mbox has."""

    def __init__(self) -> None:
        self._begin: bytes | None = b""
        self._in_line = False

    def take(self, piece: bytes) -> bytes:
        """Return what of a piece is the message's; b"" as long as that cannot be told."""
        if self._in_line:
            _, end, rest = piece.partition(b"\n")
            self._in_line = not end
            return rest
        if self._begin is None:
            return piece
        begin = self._begin + piece
        if len(begin) < len(_FROM_LINE) and _FROM_LINE.startswith(begin):
            self._begin = begin
            return b""
        self._begin = None
        if begin.startswith(_FROM_LINE):
            self._in_line = True
            return self.take(begin)
        return begin

    def finish(self) -> bytes:
        """Return what is left of a message that is shorter than such a line."""
        left, self._begin = self._begin or b"", None
        return left
