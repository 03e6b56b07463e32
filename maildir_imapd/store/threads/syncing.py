"""One fsync for all who wait for one."""

from __future__ import annotations

import threading
from collections.abc import Callable


class SharedSync:
    """Runs an action for many threads at once: a run that began after you came serves you as well as your own.

    fsync costs milliseconds, and ten deliveries into one folder need not pay ten of them.
    """

    def __init__(self, action: Callable[[], None]) -> None:
        self._action = action
        self._changed = threading.Condition()  # guards all below; never held while the action runs
        self._begun = 0
        self._ended = 0
        self._errors: dict[int, Exception] = {}

    def wait(self) -> None:
        """Return when a run of the action that began after this call has ended; raise what it raised."""
        with self._changed:
            mine = self._begun + 1
            while self._ended < mine and self._begun > self._ended:
                self._changed.wait()
            if self._ended >= mine:
                if mine in self._errors:
                    raise self._errors[mine]
                return
            self._begun = mine = self._begun + 1
        error: Exception | None = RuntimeError("whoever was to sync was stopped")
        try:
            self._action()
            error = None
        except Exception as caught:
            error = caught
            raise
        finally:
            with self._changed:
                self._ended = mine
                if error is not None:
                    # An error is told once by the kernel; those who waited for this run must hear it too.
                    self._errors[mine] = error
                for old in [run for run in self._errors if run < mine - 16]:
                    del self._errors[old]
                self._changed.notify_all()
