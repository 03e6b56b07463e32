"""A message that is too large to be held: its CRLF form in blocks, from where it lies.

One pass over the file counts where in the CRLF form each block begins; from then on any piece of it is made of the
blocks that it lies in. Nothing here knows of files: ``Read`` gives octets of the message as it lies on the disk.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import Final

# (where to begin, how many) to octets as on the disk; fewer at the end of the file.
Read = Callable[[int, int], bytes]

BLOCK_OCTETS: Final = 256 * 1024


class Blocks:
    """Where each block of a message begins in its CRLF form; some 16 octets a block."""

    __slots__ = ("_after_cr", "_starts", "octets")

    def __init__(self, read: Read, raw_octets: int) -> None:
        # Of each block: its offset in CRLF form, and whether a CR stands before it.
        self._starts = array("Q")
        self._after_cr = bytearray()
        octets, after_cr = 0, False
        for offset in range(0, raw_octets, BLOCK_OCTETS):
            self._starts.append(octets)
            self._after_cr.append(after_cr)
            raw = read(offset, BLOCK_OCTETS)
            octets += len(raw) + _bare(raw, after_cr)
            after_cr = raw.endswith(b"\r")
        self.octets = octets  # of the whole message with CRLF line ends

    def pieces(self, read: Read, start: int, end: int) -> Iterator[bytes]:
        """Give what stands from *start* to *end* in the CRLF form, in pieces of a few blocks' size at most.

        As many octets as that, whatever has become of the file: what it lacks by now is blanks.
        """
        left = end - start
        at = max(0, bisect_right(self._starts, start) - 1)
        while left > 0 and at < len(self._starts):
            raw = read(at * BLOCK_OCTETS, BLOCK_OCTETS)
            if not raw:
                break
            piece = _with_crlf(raw, bool(self._after_cr[at]))[max(0, start - self._starts[at]) :][:left]
            at += 1
            if piece:
                left -= len(piece)
                yield piece
        while left > 0:
            piece = b" " * min(left, BLOCK_OCTETS)
            left -= len(piece)
            yield piece


def _bare(raw: bytes, after_cr: bool) -> int:
    """How many LF of a block have no CR before them."""
    count = raw.count(b"\n")
    if count and b"\r" in raw:
        count -= raw.count(b"\r\n")
    return count - (after_cr and raw.startswith(b"\n"))


def _with_crlf(raw: bytes, after_cr: bool) -> bytes:
    if after_cr and raw.startswith(b"\n"):
        return b"\n" + _with_crlf(raw[1:], after_cr=False)
    if b"\r" in raw:
        raw = raw.replace(b"\r\n", b"\n")
    return raw.replace(b"\n", b"\r\n")
