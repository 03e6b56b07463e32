"""The supervisor's side of a drain: it begins, is looked at, ends when the last client has gone, or is taken back.

It stays through reloads and dead workers, for its memory is the supervisor's, and ends with the supervisor: a server
that is started anew takes clients.  What sends clients away is in each worker (``draining.py``).
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, Final

from maildir_imapd.events import Log

if TYPE_CHECKING:
    from maildir_imapd.server.children import Child
    from maildir_imapd.server.entrance import Entrance

log = Log(__name__)

# Seconds in which idle clients are sent away if nothing is said, and at the most.
WITHIN_SECONDS: Final = 60.0
LONGEST_SECONDS: Final = 86400.0


class Drain:
    """See the module; of the supervisor's thread."""

    def __init__(self, entrance: Entrance, clock: Callable[[], float] = time.monotonic) -> None:
        self._entrance = entrance
        self._clock = clock
        self._number = 0
        self._began = self._within = 0.0
        self._over = False
        self.on = False

    def begin(self, within: float, grace: float, children: Collection[Child]) -> None:
        """Begin: who is idle is sent away in *within* seconds, who hangs is cut *grace* seconds after; also anew.

        What was told already stays told.
        """
        self._number += 1
        self._began, self._within = self._clock(), within
        told = self._began + within
        self._entrance.begin(self._number, self._began, told, told + grace)
        self.on, self._over = True, False
        log.info("drain begins", within=round(within, 1), grace=round(grace, 1))
        # The page says it; the signal only has it looked at.
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGUSR1)

    def back(self) -> bool:
        """Take it back, and say whether there was one; who has been told to go goes."""
        if not self.on:
            return False
        self._entrance.end()
        self.on = False
        log.info("drain taken back", seconds=round(self._clock() - self._began, 1))
        return True

    def look(self, children: Collection[Child]) -> None:
        """Say so once the last client has gone."""
        if self.on and not self._over and self.left(children) == 0:
            self._over = True
            log.info("drain ends", seconds=round(self._clock() - self._began, 1))

    def left(self, children: Collection[Child]) -> int | None:
        """How many clients are left; None: there is a worker that has not said."""
        found = [self._entrance.left(child.slot) for child in children]
        return None if None in found else sum(each for each in found if each is not None)

    def as_json(self, children: Collection[Child]) -> dict[str, Any]:
        """Say how it stands."""
        if not self.on:
            return {"on": False, "left": None, "over": False, "seconds": None, "within": None}
        seconds = round(self._clock() - self._began, 1)
        left = self.left(children)
        return {"on": True, "left": left, "over": self._over, "seconds": seconds, "within": self._within}
