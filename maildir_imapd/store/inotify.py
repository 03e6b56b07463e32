"""inotify behind our two questions: which folders had something happen, and did any event get lost."""

from __future__ import annotations

import os
from typing import Final

import inotify_simple

_FLAGS = inotify_simple.flags
DIRECTORY: Final = int(
    _FLAGS.CREATE | _FLAGS.MOVED_TO | _FLAGS.MOVED_FROM | _FLAGS.DELETE | _FLAGS.ONLYDIR | _FLAGS.DONT_FOLLOW
)
BELL: Final = int(_FLAGS.MODIFY)
PLACE: Final = int(_FLAGS.MOVE_SELF | _FLAGS.DELETE_SELF | _FLAGS.ONLYDIR)
_ADD: Final = int(_FLAGS.MASK_ADD)
_OVERFLOW: Final = int(_FLAGS.Q_OVERFLOW)
_IGNORED: Final = int(_FLAGS.IGNORED)


class Inotify:
    """Watches, each by a number."""

    def __init__(self) -> None:
        self._inotify = inotify_simple.INotify(nonblocking=True)

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return int(self._inotify.fileno())

    def watch(self, path: bytes, mask: int) -> int:
        """Begin to watch; OSError if the limit of watches is reached or the path is gone.

        A path that is watched already has the same number, and is watched for these events too.
        """
        return int(self._inotify.add_watch(os.fsdecode(path), mask | _ADD))

    def forget(self, watch: int) -> None:
        """End a watch; harmless if it ended by itself."""
        try:
            self._inotify.rm_watch(watch)
        except OSError:
            pass  # its directory is gone, and the watch with it

    def read(self) -> tuple[set[int], bool]:
        """Return the watches that fired, and whether events were lost."""
        fired: set[int] = set()
        lost = False
        try:
            data = os.read(self._inotify.fileno(), 1 << 16)
        except BlockingIOError:
            return fired, lost
        for event in inotify_simple.parse_events(data):
            if event.mask & _OVERFLOW:
                lost = True
            elif not event.mask & _IGNORED:
                fired.add(int(event.wd))
        return fired, lost

    def close(self) -> None:
        """Let go."""
        self._inotify.close()
