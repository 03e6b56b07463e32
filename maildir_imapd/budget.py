"""How much memory large things may take in a process at once: whole messages, decoded parts, what was unpacked.

Whoever is about to hold one takes a share first, which says how many octets it will be, and gives it back. What is
small is not counted: it costs less than counting it. Nothing here looks at what the process really takes.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable
from typing import Final, Protocol

from maildir_imapd.events import Log

log = Log(__name__)

# Seconds between two lines of the log that there is no room.
SAID_SECONDS: Final = 60.0


class NoRoom(Exception):
    """There is not so much left."""


class Budget:
    """The octets of one process; safe from any thread. *limit* in octets, None for as many as anybody wants."""

    def __init__(self, limit: int | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit = limit
        self._clock = clock
        # An RLock behind it: a collection may end a forgotten share in the midst of anything here.
        self._changed = threading.Condition(threading.RLock())  # guards the next two; a leaf
        self._taken = 0
        self._said: float | None = None

    @property
    def taken(self) -> int:
        """How many octets are taken."""
        return self._taken

    @property
    def plenty(self) -> bool:
        """Whether half of it is free: then what may be of use again may be kept."""
        return self.limit is None or 2 * self._taken <= self.limit

    def share(self, octets: int) -> Share:
        """Take so many; raises NoRoom."""
        self._take(octets)
        return Share(self, octets)

    def may_come(self, octets: int) -> bool:
        """Whether there could be room for so many once others have given theirs back."""
        return self.limit is None or octets <= self.limit

    def wait(self, seconds: float) -> None:
        """Wait until somebody has given some back, or so many seconds; no lock may be held."""
        with self._changed:
            self._changed.wait(seconds)

    def refused(self, octets: int) -> None:
        """Note that somebody had to be refused so many: in the log, once in a while."""
        now = self._clock()
        with self._changed:
            if self._said is not None and now - self._said < SAID_SECONDS:
                return
            self._said = now
            taken = self._taken
        log.warning("no memory for a large message", wanted=octets, taken=taken, limit=self.limit)

    def _take(self, octets: int) -> None:
        with self._changed:
            if self.limit is not None and self._taken + octets > self.limit:
                raise NoRoom
            self._taken += octets

    def _give_back(self, octets: int) -> None:
        with self._changed:
            self._taken -= octets
            self._changed.notify_all()


class Share:
    """Octets that somebody has taken, until ``close``, or until nobody has this object any more."""

    __slots__ = ("__weakref__", "_budget", "_end", "_octets")

    def __init__(self, budget: Budget, octets: int) -> None:
        self._budget = budget
        # In a list, for the finaliser must not know this object.
        self._octets = [octets]
        self._end = weakref.finalize(self, _end, budget, self._octets)
        self._end.atexit = False

    @property
    def octets(self) -> int:
        """How many they are."""
        return self._octets[0]

    def more(self, octets: int) -> None:
        """Take so many besides, at once; raises NoRoom."""
        self._budget._take(octets)
        self._octets[0] += octets

    def only(self, octets: int) -> None:
        """Give back what is more than so many."""
        surplus = self._octets[0] - octets
        if surplus > 0:
            self._octets[0] = octets
            self._budget._give_back(surplus)

    def close(self) -> None:
        """Give them back; harmless twice."""
        self._end()


class Shares(Protocol):
    """A way to shares that waits where there is no room, and raises what its owner can answer."""

    def share(self, octets: int) -> Share:
        """Take so many; no lock may be held."""
        ...

    def more(self, share: Share, octets: int) -> None:
        """Take so many besides, at once."""
        ...


def _end(budget: Budget, octets: list[int]) -> None:
    budget._give_back(octets[0])
    octets[0] = 0


UNLIMITED: Final = Budget()
