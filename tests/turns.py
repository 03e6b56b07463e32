"""Threads that take turns at each step of the disk, as a seed says: for tests.

Between two steps of ``durable`` a thread holds what it holds, and another may do anything. Left to itself the
interpreter hardly ever changes threads just there; here each step waits, more often than not, until others have gone
some steps on, or for a moment if they cannot, because they wait for a lock of ours.
"""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from maildir_imapd.store.disk import durable

PATIENCE = 0.003  # seconds; who cannot go on until then waits for us
SWITCH_INTERVAL = 10e-6


class Turns:
    """A step of the disk lets others go on first."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._moved = threading.Condition()
        self._steps = 0

    def step(self, action: str, what: object) -> None:
        """Let the others have some steps first."""
        with self._moved:
            self._steps += 1
            self._moved.notify_all()
            others = self._random.choice((0, 0, 1, 2, 3, 5))
            goal = self._steps + others
            if others:
                self._moved.wait_for(lambda: self._steps >= goal, PATIENCE)


@contextmanager
def turns(seed: int) -> Iterator[None]:
    """Threads take turns during the block."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_INTERVAL)
    durable.step = Turns(seed).step
    try:
        yield
    finally:
        durable.step = None
        sys.setswitchinterval(interval)


def together(work: Sequence[Callable[[], None]], within: float = 120.0) -> list[BaseException]:
    """Do all of it, each in a thread; what was raised. A thread that does not end is an error, too."""
    raised: list[BaseException] = []

    def guarded(each: Callable[[], None]) -> None:
        try:
            each()
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=guarded, args=(each,), daemon=True) for each in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(within)
        if thread.is_alive():
            raised.append(TimeoutError(f"{thread.name} does not end"))
    return raised
