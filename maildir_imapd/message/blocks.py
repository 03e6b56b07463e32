"""A message that is too large to be held: its CRLF form in blocks, from where it lies.

One pass over the file counts where in the CRLF form each block begins; from then on any piece of it is made of the
blocks that it lies in. Nothing here knows of files: ``Read`` gives octets of the message as it lies on the disk.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from maildir_imapd.line_ends import bare

# (where to begin, how many) to octets as on the disk; fewer at the end of the file.
Read = Callable[[int, int], bytes]

# Well below what the C library asks the system for by itself (server/memory.py): pages that come anew, and go back, for
# each block cost more than all that is done to it.
BLOCK_OCTETS: Final = 64 * 1024
# By a Window.
HELD_BLOCKS: Final = 8
# Of a message with no more octets the blocks are kept as they were made when they were counted, until they are sent.
# It is less than what the C library keeps (server/memory.py), or each message's pages would come and go.
KEPT_OCTETS: Final = 1280 * 1024

_NO_BLOCK: Final = -1, b""


class Blocks:
    """Where each block of a message begins in its CRLF form; some 16 octets a block.

    Of a message of some size, too, the blocks themselves, each until somebody has had it, or ``forget``; and of any the
    block in which the last piece ended, for the next piece begins there.
    """

    __slots__ = ("_after_cr", "_last", "_made", "_starts", "octets")

    def __init__(self, read: Read, raw_octets: int) -> None:
        # Of each block: its offset in CRLF form, and whether a CR stands before it.
        self._starts = array("Q")
        self._after_cr = bytearray()
        self._made: dict[int, bytes] = {}
        self._last = _NO_BLOCK
        octets, after_cr, keeps = 0, False, raw_octets <= KEPT_OCTETS
        for number, offset in enumerate(range(0, raw_octets, BLOCK_OCTETS)):
            self._starts.append(octets)
            self._after_cr.append(after_cr)
            raw = read(offset, BLOCK_OCTETS)
            if keeps:
                made = self._made[number] = _with_crlf(raw, after_cr)
                octets += len(made)
            else:
                octets += len(raw) + bare(raw, after_cr=after_cr)
            after_cr = raw.endswith(b"\r")
        self.octets = octets  # of the whole message with CRLF line ends

    def holding(self, start: int, end: int) -> range:
        """Return the numbers of the blocks that hold anything of what stands from *start* to *end* in the CRLF form."""
        if start >= end:
            return range(0)
        return range(bisect_right(self._starts, start) - 1, bisect_right(self._starts, end - 1))

    def begin(self, number: int) -> int:
        """Where a block begins in the CRLF form."""
        return self._starts[number]

    def block(self, read: Read, number: int) -> bytes:
        """Give a block in CRLF form, as long as it was when it was counted."""
        if (made := self._made.pop(number, None)) is not None:
            return made
        if self._last[0] == number:
            return self._last[1]
        end = self._starts[number + 1] if number + 1 < len(self._starts) else self.octets
        found = _with_crlf(read(number * BLOCK_OCTETS, BLOCK_OCTETS), bool(self._after_cr[number]))
        return found[: end - self._starts[number]].ljust(end - self._starts[number])

    def forget(self) -> None:
        """Keep no block but the last, for nobody knows when they are asked for."""
        self._made.clear()

    def pieces(self, read: Read, start: int, end: int) -> Iterator[bytes]:
        """Give what stands from *start* to *end* in the CRLF form, in pieces of a block's size at most.

        As many octets as that, whatever has become of the file: what it lacks by now is blanks.
        """
        for number in self.holding(start, end):
            begin = self.begin(number)
            block = self.block(read, number)
            self._last = (number, block) if end - begin < len(block) else _NO_BLOCK
            yield block[max(0, start - begin) : end - begin]


class Octets(Protocol):
    """The octets of a message to who finds its parts: bytes, or a Window, which is like them."""

    def __len__(self) -> int: ...
    def __getitem__(self, span: slice, /) -> bytes: ...
    def find(self, wanted: bytes, start: int = ..., end: int = ..., /) -> int: ...
    def rfind(self, wanted: bytes, start: int = ..., end: int = ..., /) -> int: ...
    def count(self, wanted: bytes, start: int = ..., end: int = ..., /) -> int: ...
    def startswith(self, prefix: bytes | tuple[bytes, ...], start: int = ..., /) -> bool: ...


class Window:
    """The CRLF form of a large message as ``Octets``, of which a few blocks are held at a time.

    Who goes from the front to the back, a little to and fro, has each block made once. What is asked for is short: a
    few octets to find, one to count, and slices as long as a header.
    """

    __slots__ = ("_blocks", "_held", "_read")

    def __init__(self, blocks: Blocks, read: Read) -> None:
        self._blocks = blocks
        self._read = read
        self._held: OrderedDict[int, bytes] = OrderedDict()

    def __len__(self) -> int:
        return self._blocks.octets

    def __getitem__(self, span: slice) -> bytes:
        start, end, _ = span.indices(len(self))
        return b"".join([block[max(0, start - begin) : end - begin] for begin, block in self._from(start, end)])

    def find(self, wanted: bytes, start: int = 0, end: int | None = None, /) -> int:
        """As of bytes; *wanted* is shorter than a block."""
        start, end, _ = slice(start, end).indices(len(self))
        overlap = b""
        for begin, block in self._from(start, end):
            text = overlap + block
            at = begin - len(overlap)
            found = text.find(wanted, max(0, start - at), max(0, end - at))
            if found >= 0:
                return at + found
            overlap = text[-(len(wanted) - 1) :] if len(wanted) > 1 else b""
        return -1

    def rfind(self, wanted: bytes, start: int = 0, end: int | None = None, /) -> int:
        """As of bytes; *wanted* is one octet."""
        start, end, _ = slice(start, end).indices(len(self))
        for number in reversed(self._blocks.holding(start, end)):
            begin = self._blocks.begin(number)
            found = self._block(number).rfind(wanted, max(0, start - begin), max(0, end - begin))
            if found >= 0:
                return begin + found
        return -1

    def count(self, wanted: bytes, start: int = 0, end: int | None = None, /) -> int:
        """As of bytes; *wanted* is one octet."""
        start, end, _ = slice(start, end).indices(len(self))
        return sum(
            block.count(wanted, max(0, start - begin), max(0, end - begin)) for begin, block in self._from(start, end)
        )

    def startswith(self, prefix: bytes | tuple[bytes, ...], start: int = 0, /) -> bool:
        """As of bytes."""
        longest = max(map(len, prefix), default=0) if isinstance(prefix, tuple) else len(prefix)
        start = max(0, start + len(self)) if start < 0 else start
        return start <= len(self) and self[start : start + longest].startswith(prefix)

    def _from(self, start: int, end: int) -> Iterator[tuple[int, bytes]]:
        """Give the blocks that have anything of what stands from *start* to *end*, each with where it begins."""
        for number in self._blocks.holding(start, end):
            yield self._blocks.begin(number), self._block(number)

    def _block(self, number: int) -> bytes:
        found = self._held.get(number)
        if found is None:
            found = self._held[number] = self._blocks.block(self._read, number)
            if len(self._held) > HELD_BLOCKS:
                self._held.popitem(last=False)
        return found


def _with_crlf(raw: bytes, after_cr: bool) -> bytes:
    if after_cr and raw.startswith(b"\n"):
        return b"\n" + _with_crlf(raw[1:], after_cr=False)
    if b"\r" in raw:
        raw = raw.replace(b"\r\n", b"\n")
    return raw.replace(b"\n", b"\r\n")
