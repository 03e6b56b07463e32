"""The answer to a client: a list of bytes, sent once, short ones joined; and how a command ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

# Above this many octets a long answer is sent before it is finished, so that memory stays flat.
HIGH_WATER_OCTETS = 128 * 1024
# What has as many is handed over as it is: a body is not copied to stand in one row with its line.
PIECE_OCTETS = 8 * 1024


class Reply:
    """Collects the answer of one or more commands; *send* takes what has been joined, *send_all* what is in pieces.

    Both may block on a slow client, so nothing may be written here while a lock is held. Without *send_all* everything
    is joined.
    """

    __slots__ = ("_in_pieces", "_lines", "_send", "_send_all", "_size", "sent")

    def __init__(
        self, send: Callable[[bytes], None], send_all: Callable[[Sequence[bytes]], None] | None = None
    ) -> None:
        self._send = send
        self._send_all = send_all
        self._lines: list[bytes] = []
        self._size = 0
        self._in_pieces = False  # something is too long to be joined
        self.sent = 0

    def through(self, send: Callable[[bytes], None], send_all: Callable[[Sequence[bytes]], None] | None = None) -> None:
        """Have all that follows go through *send* and *send_all*."""
        self._send, self._send_all = send, send_all
        self._in_pieces = self._in_pieces and send_all is not None

    def write(self, line: bytes) -> None:
        """Add a finished line, or several, CRLF included; or a piece of one."""
        octets = len(line)
        self._lines.append(line)
        self._size += octets
        if octets >= PIECE_OCTETS:
            self._in_pieces = self._send_all is not None
        if self._size > HIGH_WATER_OCTETS:
            self.flush()

    def extend(self, lines: Iterable[bytes]) -> None:
        """Add many finished lines at once, as a column-wise answer makes them."""
        joined = b"".join(lines)
        if joined:
            self.write(joined)

    def untagged(self, text: bytes) -> None:
        """Add ``* text``."""
        self.write(b"* %b\r\n" % text)

    def flush(self) -> None:
        """Hand over what has been collected."""
        lines = self._lines
        if not lines:
            return
        in_pieces, octets = self._in_pieces, self._size
        self._lines, self._size, self._in_pieces = [], 0, False
        self.sent += octets
        if in_pieces and self._send_all is not None:
            self._send_all(_gathered(lines))
        else:
            self._send(lines[0] if len(lines) == 1 else b"".join(lines))


def _gathered(lines: Sequence[bytes]) -> Sequence[bytes]:
    """Join the short ones that stand together."""
    pieces: list[bytes] = []
    short: list[bytes] = []
    for line in lines:
        if len(line) < PIECE_OCTETS:
            short.append(line)
            continue
        if short:
            pieces.append(b"".join(short))
            short.clear()
        pieces.append(line)
    if short:
        pieces.append(b"".join(short))
    return pieces


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended well: the text of its tagged OK, and a response code.

    *kind* is NO where a command did part of its work and must say so (RFC 2180 4).
    """

    text: str
    code: bytes | None = None
    kind: bytes = b"OK"
