"""How many connections each user has, over all workers: memory that a supervisor and its workers share (``shared``).

Each worker has a table of its own, which nobody else writes, so that the supervisor can empty it when the worker is
dead, however it died. Whoever wants the sum looks into all of them. A worker counts a connection first and sums up
then, so that two workers who let somebody in at the same moment never let in one too many.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from typing import Final

from maildir_imapd.server import shared

# A key has its place in one row of so many ways; a table has room for 16 384 keys, in 256 KiB of which what nobody
# touches takes no memory. What finds no place counts in its own worker only.
WAYS: Final = 8
ROWS: Final = 2048
# Workers beyond so many, old ones that still serve their clients counted, count for themselves only.
SLOTS: Final = 256
_WORDS: Final = 2  # the key's tag, 0 for nobody's, and the number


class Counts:
    """One of a supervisor and its workers. Made before the fork."""

    def __init__(self, slots: int = SLOTS, rows: int = ROWS) -> None:
        self.slots = slots
        self.rows = rows
        self.key = os.urandom(32)
        self._size = rows * WAYS * _WORDS
        self.cells = shared.words(slots * self._size)
        # How many of the tables have ever been used: the first ones.
        self.used = shared.words(1)

    def born(self, slot: int) -> None:
        """Empty the table of a worker that is to begin, or has ended."""
        if slot < self.slots:
            cells = self.table(slot)
            if slot < self.used[0]:
                cells[:] = memoryview(bytes(8 * self._size)).cast("Q")
            self.used[0] = max(self.used[0], slot + 1)

    def table(self, slot: int) -> memoryview[int]:
        """Return the cells of one worker."""
        return self.cells[slot * self._size : (slot + 1) * self._size]

    def of(self, slot: int) -> WorkerCounts:
        """Return what the worker of *slot* counts with."""
        return WorkerCounts(self, slot)


class WorkerCounts:
    """A worker's side. The caller sees to it that one thread at a time is here."""

    def __init__(self, counts: Counts, slot: int) -> None:
        self._counts = counts
        self._mine = counts.table(slot) if slot < counts.slots else None
        self._slot = slot
        self._own: Counter[str] = Counter()  # of what has found no place

    def enter(self, key: str, most: int) -> bool:
        """Count one more of *key* unless there are *most* in all workers; say whether it was counted."""
        tag, first = self._place(key)
        at = self._find(tag, first)
        if at < 0:
            at = self._find(0, first)
        if at < 0 or key in self._own:
            if self._own[key] + self._elsewhere(tag, first) >= most:
                if not self._own[key]:
                    del self._own[key]
                return False
            self._own[key] += 1
            return True
        assert self._mine is not None
        number = self._mine[at + 1]
        # The number first: whoever sees the tag sees one that is no less than the truth.
        self._mine[at + 1] = number + 1
        self._mine[at] = tag
        if number + 1 + self._elsewhere(tag, first) > most:
            self._take_back(at)
            return False
        return True

    def leave(self, key: str) -> None:
        """Count one less of *key*, which ``enter`` counted."""
        if key in self._own:
            self._own[key] -= 1
            if not self._own[key]:
                del self._own[key]
            return
        tag, first = self._place(key)
        at = self._find(tag, first)
        if at >= 0:
            self._take_back(at)

    def _take_back(self, at: int) -> None:
        assert self._mine is not None
        number = self._mine[at + 1]
        if number <= 1:
            self._mine[at] = 0
        self._mine[at + 1] = max(0, number - 1)

    def _place(self, key: str) -> tuple[int, int]:
        """Return the tag of a key, and where its row begins in each table."""
        text = key.encode("utf-8", "backslashreplace")
        digest = int.from_bytes(hashlib.blake2b(text, key=self._counts.key, digest_size=16).digest(), "big")
        return (digest & (1 << 64) - 1) or 1, (digest >> 64) % self._counts.rows * WAYS * _WORDS

    def _find(self, tag: int, first: int) -> int:
        """Return where *tag* stands in the row of our own table, -1 if it does not."""
        mine = self._mine
        if mine is not None:
            for at in range(first, first + WAYS * _WORDS, _WORDS):
                if mine[at] == tag:
                    return at
        return -1

    def _elsewhere(self, tag: int, first: int) -> int:
        """Sum up what the other workers have of *tag*."""
        found = 0
        for slot in range(self._counts.used[0]):
            if slot != self._slot:
                row = self._counts.table(slot)[first : first + WAYS * _WORDS].tolist()
                found += sum(number for at, number in zip(row[::2], row[1::2], strict=True) if at == tag)
        return found
