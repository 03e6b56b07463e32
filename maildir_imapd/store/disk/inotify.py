"""inotify behind our two questions: which folders had something happen, and did any event get lost."""

from __future__ import annotations

import ctypes
import os
from typing import Final

import inotify_simple

from maildir_imapd.store.disk import descriptors

# The library looks for libc by running programs (ldconfig, gcc), which a process that serves mail must not: it is here.
inotify_simple._libc = ctypes.CDLL(None, use_errno=True)

_FLAGS = inotify_simple.flags
DIRECTORY: Final = int(_FLAGS.CREATE | _FLAGS.MOVED_TO | _FLAGS.MOVED_FROM | _FLAGS.DELETE | _FLAGS.ONLYDIR)
# A folder of which everything counts that comes and goes, and what is written to the file of NAME.
FOLDER: Final = int(DIRECTORY | _FLAGS.CLOSE_WRITE | _FLAGS.MOVE_SELF | _FLAGS.DELETE_SELF)
BELL: Final = int(_FLAGS.MODIFY)
# In a folder, which has much else come and go in it: of the files that RIGHTS alone watches for, only the one of NAME.
RIGHTS: Final = int(_FLAGS.CLOSE_WRITE | _FLAGS.MOVED_TO | _FLAGS.MOVED_FROM | _FLAGS.DELETE | _FLAGS.ONLYDIR)
PLACE: Final = int(_FLAGS.MOVE_SELF | _FLAGS.DELETE_SELF | _FLAGS.ONLYDIR)
# A watch that ends with its first event: whoever is about to look sets it again. So a change of ten thousand names, our
# own as well, is one event and not twenty thousand that somebody has to read.
ONCE: Final = int(_FLAGS.ONESHOT)
# new/ or cur/ of one, and no link in its place.
NEW: Final = int(DIRECTORY | PLACE | _FLAGS.DONT_FOLLOW | ONCE)
_WIDE: Final = int(_FLAGS.CREATE)
_WRITTEN: Final = int(_FLAGS.CLOSE_WRITE)
_ADD: Final = int(_FLAGS.MASK_ADD)
_OVERFLOW: Final = int(_FLAGS.Q_OVERFLOW)
_IGNORED: Final = int(_FLAGS.IGNORED)
# What is watched is no longer where it was.
_DISPLACED: Final = int(_FLAGS.MOVE_SELF | _FLAGS.DELETE_SELF | _FLAGS.UNMOUNT)


class Inotify:
    """Watches, each by a number.  *name*: the file that RIGHTS is about.

    After ``close`` every call raises ``descriptors.Closed``, an OSError, or does nothing.
    """

    def __init__(self, name: bytes) -> None:
        # The library knows the number and does not close it: it has one owner.
        self._inotify = descriptors.again(inotify_simple.INotify, nonblocking=True, closefd=False)
        self._descriptor = descriptors.Descriptor(self._inotify.fileno(), "inotify")
        descriptors.watch_level(self._descriptor.number)
        self._name = os.fsdecode(name)
        # Those where every file counts.
        self._wide: set[int] = set()

    def fileno(self) -> int:
        """Return the descriptor to wait on until it is closed."""
        return self._descriptor.number

    def watch(self, path: bytes, mask: int) -> int:
        """Begin to watch; OSError if the limit of watches is reached or the path is gone.

        A path that is watched already has the same number, and is watched for these events too.
        """
        with self._descriptor.use():
            number = int(self._inotify.add_watch(os.fsdecode(path), mask | _ADD))
        if mask & _WIDE:
            self._wide.add(number)
        return number

    def forget(self, watch: int) -> None:
        """End a watch; harmless if it ended by itself."""
        self._wide.discard(watch)
        try:
            with self._descriptor.use():
                self._inotify.rm_watch(watch)
        except OSError:
            pass  # its directory is gone, and the watch with it, or all of them are

    def read(self) -> tuple[set[int], set[int], bool]:
        """Return the watches that fired, those that have ended, by themselves or not, and whether events were lost."""
        fired, ended, _, lost = self.drain()
        return fired, ended, lost

    def drain(self) -> tuple[set[int], set[int], set[int], bool]:
        """As ``read``, and between the two those of what is gone, or no longer where it was."""
        fired: set[int] = set()
        ended: set[int] = set()
        displaced: set[int] = set()
        lost = False
        try:
            with self._descriptor.use() as number:
                data = os.read(number, 1 << 16)
        except BlockingIOError:
            return fired, ended, displaced, lost
        for event in inotify_simple.parse_events(data):
            if event.mask & _OVERFLOW:
                lost = True
            elif event.mask & _IGNORED:
                ended.add(int(event.wd))
            elif self._counts(event):
                fired.add(int(event.wd))
                if event.mask & _DISPLACED:
                    displaced.add(int(event.wd))
        self._wide -= ended
        return fired, ended, displaced, lost

    def _counts(self, event: inotify_simple.Event) -> bool:
        if not event.name or event.name == self._name:
            return True
        return event.wd in self._wide and not event.mask & _WRITTEN

    def close(self) -> None:
        """Let go.  Harmless twice."""
        self._descriptor.close()
