"""Whether anything has happened since somebody looked, asked of the kernel at the price of one call.

inotify queues an event within the very call that renames, makes or removes a file, so "nothing is queued and nothing
was since" is as strict as the stamps of all that is watched. Nobody waits for these events and no thread reads them:
whoever asks takes what is queued, for everybody. What is watched is held by a ``Mark``; where watches are not to be
had there is none, and stamps are compared as before.

A watch of files that come and go ends with its first event, and ``renew`` sets it again: who changes ten thousand names
leaves nobody ten thousand events to read.

A mark says nothing of directories above what it watches: a path may lead elsewhere by now.
"""

from __future__ import annotations

import errno
import select
from collections import deque
from collections.abc import Sequence
from typing import Final
from weakref import WeakSet, finalize

from maildir_imapd.events import Log
from maildir_imapd.store.disk import filesystems, inotify
from maildir_imapd.store.threads import locks

log = Log(__name__)

# Of all watches that the system gives a user, one process takes this part at most: there are other workers, and the
# watch thread, which cannot do without.
SHARE: Final = 8
_USUAL_WATCHES: Final = 65536
# Reads until it is simpler to look everywhere.
_READS: Final = 64


# Paths that are watched, each for a mask, by the number of the watch.
_Watches = dict[int, tuple[bytes, int]]


class Mark:
    """Paths that are watched for one who wants to know; ``Still`` alone touches it."""

    __slots__ = ("__weakref__", "ended", "lost", "moved", "turn", "watches")

    def __init__(self) -> None:
        self.watches: _Watches = {}
        self.ended: list[tuple[bytes, int]] = []  # watches that are to be set again before the next look
        self.turn = 0  # when it was renewed: no two marks have the same
        self.moved = True  # something may have happened since the last time
        self.lost = False  # not all of it is watched any more: it never holds again, and another one is to be made


class Still:
    """One for a process, safe from any thread. *name*: as of ``Inotify``; *trusting*: no file system is deaf."""

    def __init__(self, name: bytes, *, trusting: bool = False) -> None:
        self._name = name
        self._trusting = trusting
        self._guard = locks.make(locks.Rank.GUARD)  # guards all below; held for no call that waits
        self._inotify: inotify.Inotify | None = None
        self._poll = select.poll()
        self._limit = -1
        self._turns = 0
        self._watched: dict[int, WeakSet[Mark]] = {}  # by number of the watch
        # Numbers whose mark is gone: a finaliser may run anywhere, be it under the guard.
        self._left: deque[_Watches] = deque()
        self._closed = False

    def mark(self, wanted: Sequence[tuple[bytes, int]]) -> Mark | None:
        """Begin to watch paths, each for a mask of ``inotify``; None where that cannot be had of all of them."""
        if not wanted or (not self._trusting and filesystems.deaf(wanted[0][0]) is not None):
            return None
        mark = Mark()
        with self._guard:
            self._sweep()
            if self._closed or not self._open() or len(self._watched) + len(wanted) > self._limit:
                return None
            finalize(mark, self._left.append, mark.watches).atexit = False
            return mark if self._watch(mark, wanted) else None

    def renew(self, mark: Mark) -> int:
        """Return a number for this turn: whoever calls looks at everything after that, and keeps it with what he saw.

        Whoever began before, and has not seen what happened since, has another number.
        """
        with self._guard:
            self._sweep()
            if self._poll.poll(0):
                self._collect()
            again, mark.ended = mark.ended, []
            if again and not mark.lost:
                mark.lost = not self._watch(mark, again)
            mark.moved = mark.lost
            self._turns += 1
            mark.turn = self._turns
            return mark.turn

    def holds(self, mark: Mark, turn: int) -> bool:
        """Say whether nothing has happened since ``renew`` gave that number."""
        with self._guard:
            if self._poll.poll(0):
                self._collect()
            return not mark.moved and mark.turn == turn

    def close(self) -> None:
        """Watch nothing any more: no mark holds."""
        with self._guard:
            self._closed = True
            for marks in self._watched.values():
                for mark in marks:
                    mark.moved = mark.lost = True
            self._watched.clear()
            if self._inotify is not None:
                self._inotify.close()
            self._inotify, self._poll = None, select.poll()

    # --- under the guard ---------------------------------------------------------------------------

    def _open(self) -> bool:
        if self._inotify is None and self._limit < 0:
            try:
                self._inotify = inotify.Inotify(self._name)
            except OSError as error:
                log.info("changes are looked for, not watched", why=error)
                self._limit = 0
                return False
            self._poll.register(self._inotify.fileno(), select.POLLIN)
            self._limit = _most() // SHARE
        return self._inotify is not None

    def _watch(self, mark: Mark, wanted: Sequence[tuple[bytes, int]]) -> bool:
        """Set watches, anew or again; False where one of them is not to be had."""
        if self._inotify is None:
            return False
        for path, mask in wanted:
            try:
                number = self._inotify.watch(path, mask)
            except OSError as error:
                if error.errno == errno.ENOSPC:
                    log.info("no more is watched for changes", watches=len(self._watched), why=error)
                    self._limit = len(self._watched)
                return False
            mark.watches[number] = path, mask
            self._watched.setdefault(number, WeakSet()).add(mark)
        return True

    def _sweep(self) -> None:
        """End the watches of marks that are gone."""
        while self._left:
            for number in self._left.popleft():
                marks = self._watched.get(number)
                if marks is not None and not marks:
                    del self._watched[number]
                    if self._inotify is not None:
                        self._inotify.forget(number)

    def _collect(self) -> None:
        """Take what is queued."""
        if self._inotify is None:
            return
        for _ in range(_READS):
            fired, ended, displaced, lost = self._inotify.drain()
            if lost:
                self._all_moved()
            for number in fired:
                for mark in self._watched.get(number, ()):
                    mark.moved = True
                    mark.lost = mark.lost or number in displaced
            for number in ended:
                for mark in self._watched.pop(number, ()):
                    mark.moved = True
                    mark.ended.append(mark.watches.pop(number))
            if not self._poll.poll(0):
                return
        self._all_moved()

    def _all_moved(self) -> None:
        """Have everybody look, and every watch set again: that it has ended may be among what was not read."""
        for mark in {mark for marks in self._watched.values() for mark in marks}:
            mark.moved = True
            mark.ended = [*mark.watches.values()]


def _most() -> int:
    """Return how many watches a user may be thought to have; where he has fewer, the system says so (ENOSPC)."""
    return _USUAL_WATCHES
