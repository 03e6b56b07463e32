"""Heartbeats: of a process for the supervisor, and of a process's long-lived threads for the process.

A process is as alive as the one of its long-lived threads that has not moved for longest.
"""

from __future__ import annotations

import mmap
import time
from collections.abc import Callable
from typing import Final

_SIZE: Final = 8


class Page:
    """Memory that a supervisor and its workers share: for each slot a moment, and a mark.

    Made before the fork, and without a lock, for a process that is killed would keep it. Each cell is eight octets
    long and lies at a multiple of eight. The item of a ``memoryview`` is converted first and then copied as a whole
    (PACK_SINGLE of CPython's memoryobject.c: a memcpy of eight octets, one store of the machine), so whoever reads
    sees the old moment or the new one. ``struct.pack_into`` is no such thing: it fills the place with zeros before it
    writes, and whoever looks in between sees a worker that has not moved since the machine was started.
    """

    def __init__(self, slots: int) -> None:
        self.slots = slots
        # Anonymous: no file behind it that somebody could shorten.
        cells = memoryview(mmap.mmap(-1, 2 * _SIZE * slots)).cast("d")  # anonymous: no file that could be cut
        self._moments, self._marks = cells[:slots], cells[slots:]

    def beat(self, slot: int, moment: float) -> None:
        """Note when the worker of *slot* was last seen to move; monotonic, which is one clock for all processes."""
        self._moments[slot] = moment

    def moment(self, slot: int) -> float:
        """When that was; 0.0: nobody knows, and nobody must go by it."""
        return float(self._moments[slot])

    def mark(self, slot: int, marked: bool) -> None:
        """Say whether the worker of *slot* is to take no more connections."""
        self._marks[slot] = 1.0 if marked else 0.0

    def marked(self, slot: int) -> bool:
        """Whether it is."""
        return self._marks[slot] != 0.0


class Beats:
    """When each long-lived thread of this process has last moved; safe from any thread."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}
        self._slack: dict[str, float] = {}

    def of(self, name: str, slack: float = 0.0) -> Callable[[], None]:
        """Return what the thread *name* calls at each turn; *slack*: seconds that one turn may take longer."""
        self._slack[name] = slack

        def beat() -> None:
            # One store into a dictionary, which the interpreter's lock makes whole.
            self._last[name] = time.monotonic()

        beat()
        return beat

    def forget(self, name: str) -> None:
        """Count a thread no longer that has ended because it was told to."""
        self._last.pop(name, None)

    def oldest(self) -> float:
        """The beat of the thread that has not moved for longest, its slack added."""
        return min(moment + self._slack[name] for name, moment in list(self._last.items()))
