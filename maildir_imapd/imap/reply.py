"""The answer to a client: a list of bytes, joined and sent once; and how a command ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

# Above this many octets a long answer is sent before it is finished, so that memory stays flat.
HIGH_WATER_OCTETS = 256 * 1024


class Reply:
    """Collects the answer of one or more commands; *send* takes what has been joined.

    *send* may block on a slow client, so nothing may be written here while a lock is held.
    """

    __slots__ = ("_lines", "_send", "_size", "sent")

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send = send
        self._lines: list[bytes] = []
        self._size = 0
        self.sent = 0

    def write(self, line: bytes) -> None:
        """Add a finished line, or several, CRLF included."""
        self._lines.append(line)
        self._size += len(line)
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
        if not self._lines:
            return
        data = b"".join(self._lines)
        self._lines.clear()
        self._size = 0
        self.sent += len(data)
        self._send(data)


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended well: the text of its tagged OK, and a response code.

    *kind* is NO where a command did part of its work and must say so (RFC 2180 4).
    """

    text: str
    code: bytes | None = None
    kind: bytes = b"OK"
