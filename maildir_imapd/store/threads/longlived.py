"""A thread that lives as long as its owner, whatever happens in it."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Final

from maildir_imapd.events import Log
from maildir_imapd.store.threads import locks

if TYPE_CHECKING:
    from collections.abc import Callable

log = Log(__name__)

# Seconds from an error to the next try; doubled at each error in a row, up to the second.
PAUSE_SECONDS: Final = 0.1
LONGEST_PAUSE_SECONDS: Final = 30.0
# A loop that has run for so long has got over its last error.
HEALTHY_SECONDS: Final = 60.0
# A loop waits no longer than this without a beat: often enough beside the minute after which it counts as hanging,
# and seldom enough that an idle process sleeps.
BEAT_SECONDS: Final = 5.0


def no_beat() -> None:
    """Nobody looks."""


class LongLived:
    """Runs *loop*, which returns when ``ending`` says so, and runs it again after an error.

    *beat* is called by the thread at each turn: *loop* calls it too, at least every BEAT_SECONDS. Whoever asks it to
    end wakes it. What ends the thread all the same (SystemExit) is mended by the next ``start``.
    """

    def __init__(self, name: str, loop: Callable[[], None], beat: Callable[[], None] = no_beat) -> None:
        self.name = name
        self.beat = beat
        self._loop = loop
        self._ending = threading.Event()
        self._starting = locks.make(locks.Rank.GUARD)  # guards _thread: there is one at a time
        self._thread: threading.Thread | None = None

    @property
    def ending(self) -> bool:
        """Whether the loop is to return."""
        return self._ending.is_set()

    def is_alive(self) -> bool:
        """Whether the thread runs."""
        thread = self._thread
        return thread is not None and thread.is_alive()

    def start(self) -> None:
        """Begin the thread unless it runs or is to end; raises RuntimeError when the system has none to give."""
        with self._starting:
            if self.ending or self.is_alive():
                return
            thread = threading.Thread(target=self._run, name=self.name, daemon=True)
            thread.start()
            self._thread = thread

    def ask_to_end(self) -> None:
        """Have ``ending`` say so from now on."""
        self._ending.set()

    def join(self, timeout: float | None = None) -> bool:
        """Wait until the thread has ended, and say whether it has; it does not wait for itself."""
        with self._starting:
            thread = self._thread
        if thread is None or thread is threading.current_thread():
            return True
        locks.waits("join")
        thread.join(timeout)
        return not thread.is_alive()

    def _run(self) -> None:
        pause = PAUSE_SECONDS
        while not self.ending:
            self.beat()
            began = time.monotonic()
            try:
                self._loop()
            except Exception as error:
                if time.monotonic() - began > HEALTHY_SECONDS:
                    pause = PAUSE_SECONDS
                self._say(error, pause)
                self._rest(pause)
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    def _say(self, error: Exception, pause: float) -> None:
        # Without memory for a line of the log: the thread matters more.
        with contextlib.suppress(Exception):
            log.error("thread failed and starts again", name=self.name, pause_seconds=pause, failure=error)

    def _rest(self, pause: float) -> None:
        until = time.monotonic() + pause
        while (left := until - time.monotonic()) > 0 and not self._ending.wait(min(left, BEAT_SECONDS)):
            self.beat()
