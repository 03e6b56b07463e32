"""Listeners, to be woken when something has changed: sessions, of a mailbox, of names, of annotations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maildir_imapd.events import Log
from maildir_imapd.store.threads import locks

if TYPE_CHECKING:
    from collections.abc import Callable

log = Log(__name__)


def _nothing() -> None: ...


class Listener:
    """One of them.  *keep_new*: it only looks (EXAMINE), so on its account no file leaves new/.

    ``told`` is the mod-sequence up to which it knows of every expunge, None for one that shows no messages; whoever
    listens sets it.
    """

    __slots__ = ("_ended", "_listeners", "keep_new", "told", "wake")

    def __init__(
        self, listeners: Listeners, wake: Callable[[], None], ended: Callable[[], None], keep_new: bool
    ) -> None:
        self._listeners = listeners
        self._ended = ended
        self.wake = wake
        self.keep_new = keep_new
        self.told: int | None = None

    def close(self) -> None:
        """Do not wake any more; a wake that is under way may still come."""
        if self._listeners.remove(self):
            locks.calls_back("ended")
            self._ended()


class Listeners:
    """All of them; safe from any thread."""

    def __init__(self) -> None:
        self._guard = locks.make(locks.Rank.GUARD)  # guards _all
        self._all: list[Listener] = []

    def __bool__(self) -> bool:
        return bool(self._all)

    def add(
        self,
        wake: Callable[[], None],
        began: Callable[[], None] = _nothing,
        ended: Callable[[], None] = _nothing,
        *,
        keep_new: bool = False,
    ) -> Listener:
        """Call *wake*, without locks and from any thread, from now on.

        *began* is called if this is the first, *ended* if it is the last to go, both without the lock: another may
        have come or gone meanwhile.  Only a listener keeps them, so that nobody to listen means no cycle.
        """
        listener = Listener(self, wake, ended, keep_new)
        with self._guard:
            first = not self._all
            self._all.append(listener)
        if first:
            locks.calls_back("began")
            began()
        return listener

    def remove(self, listener: Listener) -> bool:
        """Forget one, and say whether it was the last; harmless if it is forgotten already."""
        with self._guard:
            if listener not in self._all:
                return False
            self._all.remove(listener)
            return not self._all

    def clear(self) -> None:
        """Forget all of them."""
        with self._guard:
            self._all.clear()

    @property
    def keep_new(self) -> bool:
        """Whether nobody of them would have files leave new/."""
        with self._guard:
            return all(listener.keep_new for listener in self._all)

    def told(self) -> list[int]:
        """Up to which mod-sequence each knows of every expunge, of those who show messages."""
        with self._guard:
            return [listener.told for listener in self._all if listener.told is not None]

    def wake(self) -> None:
        """Wake everybody; outside the lock, for a slow one must not hold the others' changes.

        One that fails keeps no other from being woken, nor the change from whoever has made it.
        """
        with self._guard:
            waiting = list(self._all)
        for listener in waiting:
            locks.calls_back("wake")
            try:
                listener.wake()
            except Exception:
                log.exception("listener failed")
