"""Questions to a back end that may let one wait: so many at a time, each with a limit of time, none in a new thread.

Whoever asks waits in his own thread, for a free connection and for its answer, and no longer than the limit in all.  So
a back end that hangs costs those who ask it their time and nobody else anything, and no threads pile up.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

from maildir_imapd.errors import Unavailable
from maildir_imapd.events import Log

log = Log(__name__)

# Seconds after which a connection that nobody has used is not trusted any more.
IDLE_SECONDS: Final = 120.0


class LineBroken(Exception):
    """The connection has broken, and another one may be tried."""


class BackEndLine(Protocol):
    """A connection to a back end."""

    def close(self) -> None:
        """Let go of it; harmless if it is broken."""
        ...


@dataclass(frozen=True, slots=True)
class Until:
    """The moment when an answer is too late."""

    moment: float

    @property
    def left(self) -> float:
        """Seconds that are left, never less than a thousandth, so that it can be given to what takes 0 for ever."""
        return max(self.moment - time.monotonic(), 0.001)

    @property
    def over(self) -> bool:
        """Whether it has come."""
        return time.monotonic() >= self.moment


L = TypeVar("L", bound=BackEndLine)
A = TypeVar("A")


class Pool(Generic[L]):
    """Connections to one back end, at most *most* of them; safe from any thread.

    *name*: the back end as an administrator knows it.  *open_line* opens one until a moment, and raises OSError or
    LineBroken.  Whatever is idle when nobody has the pool any more is closed.
    """

    def __init__(self, name: str, open_line: Callable[[Until], L], *, most: int, seconds: float) -> None:
        self.name = name
        self._open = open_line
        self._seconds = seconds
        self._free = threading.BoundedSemaphore(most)
        # The last one used is the first one taken: what is not needed grows old.
        self._idle: deque[tuple[L, float]] = deque()
        weakref.finalize(self, _close_all, self._idle)

    def ask(self, question: Callable[[L, Until], A]) -> A:
        """Return the answer of *question*, which gets a connection and the moment when it is to give up.

        One that raises LineBroken over a connection that was kept is asked again over a new one.  Raises Unavailable,
        with a line in the log, when there is no answer in time; all else that *question* raises ends that connection.
        """
        until = Until(time.monotonic() + self._seconds)
        if not self._free.acquire(timeout=self._seconds):
            log.error("back end is busy", name=self.name, seconds=self._seconds)
            raise Unavailable(detail=f"{self.name}: busy")
        try:
            for line, kept in self._lines(until):
                try:
                    answer = question(line, until)
                except BaseException as error:
                    line.close()
                    if isinstance(error, LineBroken) and kept and not until.over:
                        continue
                    raise
                self._idle.append((line, time.monotonic()))
                return answer
            raise LineBroken
        except (OSError, LineBroken) as error:
            why = str(error) or ("no answer in time" if until.over else "the connection was closed")
            log.error("back end cannot be asked", name=self.name, why=why)
            raise Unavailable(detail=f"{self.name}: {why}") from error
        finally:
            self._free.release()

    def _lines(self, until: Until) -> Iterator[tuple[L, bool]]:
        """The connections to try: those that were kept, then a new one."""
        while True:
            try:
                line, since = self._idle.pop()
            except IndexError:
                break
            if time.monotonic() - since < IDLE_SECONDS:
                yield line, True
            else:
                line.close()
        yield self._open(until), False


def _close_all(idle: deque[tuple[L, float]]) -> None:
    while idle:
        idle.pop()[0].close()
