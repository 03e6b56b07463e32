"""Octets of a client's cut into command lines and message text; pure.

A line of commands ends with CRLF and has no other CR or LF; a message ends with CRLF "." CRLF and with nothing that
merely looks so (LF "." LF and its kin): whoever believes in another end reads commands where a message goes on (RFC
5321 4.1.1.4; SMTP smuggling).  A bare LF or CR in a message is data.
"""

from __future__ import annotations

import re
from typing import Final

from maildir_imapd.lmtp.answers import Answer, BadCommand

# RFC 5321 4.5.3.1.4 wants 512; addresses may be long, and extensions add words.
LINE_OCTETS: Final = 4096
TOO_LONG: Final = Answer(500, "5.5.2", "The line is too long")
BARE: Final = Answer(500, "5.5.2", "Lines end with CRLF")

_BARE: Final = re.compile(rb"[\r\n\0]").search


def cut_command(received: bytearray) -> bytes | None:
    """Take a command line off, without its CRLF; None: it is not whole.  Raises BadCommand, which ends all."""
    end = received.find(b"\r\n", 0, LINE_OCTETS + 2)
    if end < 0:
        if len(received) > LINE_OCTETS + 1:
            raise BadCommand(TOO_LONG, ends=True)
        # A bare LF shows at once: nobody waits for a CRLF that never comes.
        if _BARE(received, 0, max(0, len(received) - 1)) or received.endswith((b"\n", b"\0")):
            raise BadCommand(BARE, ends=True)
        return None
    line = bytes(received[:end])
    del received[: end + 2]
    if _BARE(line):
        raise BadCommand(BARE, ends=True)
    return line


class DotText:
    """The text of DATA as it comes in, without the dots that were put before lines; made anew for each message."""

    def __init__(self) -> None:
        # The text begins as if behind a line end; that one is not part of it.
        self._held = b"\r\n"
        self._extra = 2
        self.ended = False

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        """Return what of *data* is text, as far as that can be told, and what follows its end, which sets *ended*."""
        data = self._held + data
        pieces = []
        start = 0
        rest = b""
        while True:
            found = data.find(b"\r\n.", start)
            if found < 0:
                stop = len(data) - _begun(data, start)
                break
            behind = data[found + 3 : found + 5]
            if behind == b"\r\n":
                self.ended = True
                stop, rest = found + 2, data[found + 5 :]
                break
            if behind in (b"", b"\r"):
                stop = found
                break
            pieces.append(data[start : found + 2])
            start = found + 3
        pieces.append(data[start:stop])
        self._held = b"" if self.ended else data[stop:]
        text = b"".join(pieces)
        if self._extra:
            gone = min(self._extra, len(text))
            self._extra -= gone
            text = text[gone:]
        return text, rest


def _begun(data: bytes, start: int) -> int:
    """Return how many octets at the end may be the begin of CRLF "."; what lies before *start* is done with."""
    if data.endswith(b"\r\n") and len(data) - start >= 2:
        return 2
    return 1 if data.endswith(b"\r") and len(data) > start else 0
