"""Which messages workers have died of: notes in memory that a supervisor and its workers share.

Each worker has a row of cells, one for a message that one of its threads is at.  They are written as the work begins
and emptied as it ends, so that what stands there when the worker is dead are the messages that it was at.  The
supervisor counts them, and puts those that have been there twice on a list that all workers see.

Nothing here takes a lock (``shared``): a cell has one writer, and so has the list.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import Final

from maildir_imapd.events import Log
from maildir_imapd.imap.columns.danger import Message
from maildir_imapd.server import shared

log = Log(__name__)

# Messages that a worker can be at together; threads beyond that note nothing.
CELLS: Final = 32
# Deaths at one message that are not chance any more.
DEATHS: Final = 2
# Messages on the list; a mailbox with more has been made for it.
LISTED: Final = 1024
_WORDS: Final = 4  # of eight octets, for one message; the UID comes last, 0 for none
_UNNOTED: Final = -1


class Deaths:
    """The supervisor's side.  Made before the fork."""

    def __init__(self, slots: int) -> None:
        self._cells = shared.words(_WORDS * CELLS * slots)
        # How many there are, and they.
        self._list = shared.words(_WORDS * (1 + LISTED))
        self._counts: Counter[Message] = Counter()

    def born(self, slot: int) -> None:
        """Empty the cells for a new worker."""
        self._cells[slot * CELLS * _WORDS : (slot + 1) * CELLS * _WORDS] = memoryview(bytes(8 * CELLS * _WORDS)).cast(
            "Q"
        )

    def died(self, slot: int) -> None:
        """Count the messages that a worker was at when it died."""
        for cell in range(slot * CELLS, (slot + 1) * CELLS):
            message = Message(*self._cells[cell * _WORDS : (cell + 1) * _WORDS])
            if not message.uid:
                continue
            self._counts[message] += 1
            deaths = self._counts[message]
            log.error("worker died at a message", inode=message.inode, uid=message.uid, deaths=deaths)
            if self._counts[message] == DEATHS:
                self._put(message)

    def _put(self, message: Message) -> None:
        count = self._list[0]
        if count < LISTED:
            at = (1 + count) * _WORDS
            for n, word in enumerate(message):
                self._list[at + n] = word
            # Last: whoever sees the number sees the message.
            self._list[0] = count + 1

    def notes(self, slot: int) -> WorkerNotes:
        """Return what the worker of *slot* notes with."""
        return WorkerNotes(self._cells[slot * CELLS * _WORDS : (slot + 1) * CELLS * _WORDS], self._list)


class WorkerNotes:
    """A worker's side; see ``imap.danger.Notes``."""

    def __init__(self, cells: memoryview[int], listed: memoryview[int]) -> None:
        self.cells = cells
        self.listed = listed
        # Both ends of a deque are safe from any thread.
        self.free = deque(range(0, CELLS * _WORDS, _WORDS))
        self._left_out: frozenset[Message] = frozenset()

    def folder(self, device: int, inode: int, uidvalidity: int) -> WorkerNote:
        """Return what to note the messages of a folder with."""
        return WorkerNote(self, device, inode, uidvalidity)

    def left_out(self, message: Message) -> bool:
        """Whether a message is on the list."""
        count = self.listed[0]
        if count != len(self._left_out):
            words = self.listed[_WORDS : (1 + count) * _WORDS].tolist()
            self._left_out = frozenset(Message(*words[at : at + _WORDS]) for at in range(0, len(words), _WORDS))
        return message in self._left_out


class WorkerNote:
    """See ``imap.danger.Note``.  It has a cell, or where there is none left a place where nobody looks."""

    __slots__ = ("_at", "_cells", "_folder", "_listed", "_notes", "_place")

    def __init__(self, notes: WorkerNotes, device: int, inode: int, uidvalidity: int) -> None:
        self._notes = notes
        self._folder = folder = (device, inode, uidvalidity)
        self._listed = notes.listed
        try:
            self._place = notes.free.pop()
            self._cells = notes.cells
        except IndexError:
            self._place = _UNNOTED
            self._cells = memoryview(bytearray(8 * _WORDS)).cast("Q")
        at = max(self._place, 0)
        self._cells[at], self._cells[at + 1], self._cells[at + 2] = folder
        self._at = at + 3

    def begin(self, uid: int) -> bool:
        """Note that work on a message begins; False for one to leave out."""
        if self._listed[0] and self._notes.left_out(Message(*self._folder, uid)):
            return False
        self._cells[self._at] = uid
        return True

    def end(self) -> None:
        """Note that it is over."""
        self._cells[self._at] = 0

    def close(self) -> None:
        """Give the cell back."""
        self._cells[self._at] = 0
        if self._place != _UNNOTED:
            self._notes.free.append(self._place)
            self._place = _UNNOTED
