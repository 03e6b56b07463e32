"""Whether a folder is as it was by what the kernel tells, for whoever need not look then."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from maildir_imapd.store.disk import inotify

if TYPE_CHECKING:
    from maildir_imapd.store.index.state import IndexState
    from maildir_imapd.store.threads.still import Mark, Still

# A folder that has been looked at so often is watched for changes; and where that is not to be had it is tried again
# after so many looks.
_LOOKS: Final = 3
_LOOKS_AGAIN: Final = 1000


class Unmoved:
    """Whether a folder is known to be as a state of the index says, without a look; safe from any thread.

    That is cur/ and new/, and that nothing was made beside them, or moved.
    """

    def __init__(self, path: bytes, still: Still | None) -> None:
        self._wanted = (path, inotify.FOLDER), (path + b"/cur", inotify.NEW), (path + b"/new", inotify.NEW)
        self._still = still  # None where stamps alone are asked
        self._mark: Mark | None = None
        self._looks = 0
        # That they are as this state says, for as long as the mark is of that turn, and until then (monotonic).
        self.proved: tuple[IndexState, int, float] | None = None

    def holds(self, state: IndexState, turn: int | None = None) -> bool:
        """Say so; *turn*: and whether it is since then."""
        proved, mark = self.proved, self._mark
        if proved is None or proved[0] is not state or mark is None or self._still is None:
            return False
        if turn is not None and proved[1] != turn:
            return False
        return time.monotonic() < proved[2] and self._still.holds(mark, proved[1])

    def begin(self, state: IndexState) -> int | None:
        """Before a look: the turn of the mark that says whether it is good afterwards; None where nothing says so.

        What says that the folder is still in its place is its journal.
        """
        if self._still is None or not state.inode:
            return None
        mark = self._mark
        if mark is None or mark.lost:
            self._looks += 1
            if self._looks < _LOOKS:
                return None
            mark = self._mark = self._still.mark(self._wanted)
            self._looks = 0 if mark is not None else -_LOOKS_AGAIN
            if mark is None:
                return None
        return self._still.renew(mark)
