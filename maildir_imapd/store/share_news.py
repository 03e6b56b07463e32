"""News of the list of shares: whoever listens hears when another program, process or thread has changed it."""

from __future__ import annotations

import os
from contextlib import nullcontext
from typing import TYPE_CHECKING

from maildir_imapd.store.disk import inotify
from maildir_imapd.store.threads.listeners import Listeners

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from maildir_imapd.store.records.shares import ShareList
    from maildir_imapd.store.watch import Watcher


class ShareNews:
    """The list of one process, as the watcher sees it; safe from any thread."""

    grows = False

    def __init__(self, shares: ShareList, watcher: Watcher) -> None:
        self.path = os.path.dirname(os.path.abspath(shares.path))
        self._shares = shares
        self._watcher = watcher
        self._listeners = Listeners()
        self._stamp = shares.stamp()

    def listen(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Call *wake*, without locks and from any thread, when the list has changed; returns what ends that."""
        return self._listeners.add(wake, self._heard, self._unheard).close

    def _heard(self) -> None:
        self._stamp = self._shares.stamp()
        self._watcher.add(self)

    def _unheard(self) -> None:
        self._watcher.leave(self)

    # --- what the watcher asks --------------------------------------------------------------------

    @property
    def listened(self) -> bool:
        """Whether anybody listens."""
        return bool(self._listeners)

    def watches(self) -> Sequence[tuple[bytes, int]]:
        """Watch the directory that it lies in."""
        return [(self.path, inotify.DIRECTORY)]

    def looking(self) -> AbstractContextManager[None]:
        """Nothing to enter."""
        return nullcontext()

    def refresh(self) -> float | None:
        """Wake who listens, if it is another one now."""
        stamp = self._shares.stamp()
        if stamp != self._stamp:
            self._stamp = stamp
            self._listeners.wake()
        return None
