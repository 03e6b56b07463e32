"""Heartbeats: of a process for the supervisor, and of a process's long-lived threads for the process.

A process is as alive as the one of its long-lived threads that has not moved for longest.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from maildir_imapd.server import shared


class Page:
    """The memory that a supervisor and its workers share (``shared``): for each slot two moments, and a mark.

    Whoever looks sees the old moment or the new one; a 0.0 in between would be a worker that has not moved since the
    machine was started.
    """

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self._moments, self._marks = shared.moments(slots), shared.moments(slots)
        self._told = shared.moments(slots)

    def beat(self, slot: int, moment: float) -> None:
        """Note when the worker of *slot* was last seen to move; monotonic, which is one clock for all processes."""
        self._moments[slot] = moment

    def moment(self, slot: int) -> float:
        """When that was; 0.0: nobody knows, and nobody must go by it."""
        return float(self._moments[slot])

    def tell(self, slot: int, moment: float) -> None:
        """Note when the worker of *slot* has last put its stacks into the log; monotonic."""
        self._told[slot] = moment

    def told(self, slot: int) -> float:
        """When that was; 0.0: never."""
        return float(self._told[slot])

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
