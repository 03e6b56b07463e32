"""A worker's part of a drain: who is idle is sent away in the time there is for it, spread evenly, then all others.

Ten thousand clients that are sent away at once come to another host at once.  So each gets a moment of its own; one
that is at something then gets a later one.  When the time is over everybody is told at the end of the command that he
is at, an APPEND that is still coming in included, and after the grace whoever is still here is cut.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from maildir_imapd.errors import BeingEmptied
from maildir_imapd.events import Log
from maildir_imapd.server.entrance import CLOSED_SERVICES

if TYPE_CHECKING:
    from maildir_imapd.server.entrance import Entrance
    from maildir_imapd.server.sessions import Sessions, Visit

log = Log(__name__)

# A client that has been silent between two commands for so long is idle; one in IDLE is at once.
IDLE_SECONDS: Final = 2.0
# Seconds between two looks at those who were busy, between two turns, and between two when there is nothing to do.
AGAIN_SECONDS: Final = 1.0
STEP_SECONDS: Final = 0.1
QUIET_SECONDS: Final = 1.0


class Draining:
    """See the module; of the worker's main thread.  *slot*: its place in the page."""

    def __init__(
        self, entrance: Entrance, slot: int, sessions: Sessions, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._entrance = entrance
        self._slot = slot
        self._sessions = sessions
        self._clock = clock
        self._number = 0
        # Who is to be looked at, and when, the next one first.
        self._due: deque[tuple[float, Visit]] = deque()

    def turn(self) -> float:
        """Do what is due; returns the seconds until there may be more."""
        number = self._entrance.drain
        if number != self._number:
            self._number = number
            self._due.clear()
        if not number:
            return QUIET_SECONDS
        _, told, cut = self._entrance.times
        now = self._clock()
        here = self._here()
        self._entrance.note_left(self._slot, number, len(here))
        if not here:
            return QUIET_SECONDS
        if now >= cut:
            _cut(here)
            return STEP_SECONDS
        if now >= told:
            for visit in here:
                _send_away(visit, now, idle=False)
            return STEP_SECONDS
        return self._spread(here, now, told)

    def _here(self) -> list[Visit]:
        return [visit for visit in self._sessions.here() if visit.service in CLOSED_SERVICES]

    def _spread(self, here: list[Visit], now: float, told: float) -> float:
        """Send away whose moment has come, and give those one who have none; returns the seconds to the next."""
        while self._due and self._due[0][0] <= now:
            _send_away(self._due.popleft()[1], now, idle=True)
        if not self._due:
            # Those who were busy, and those who have come in while the entrance was being shut.
            left = [visit for visit in here if visit.goodbye is None]
            first = now + (AGAIN_SECONDS if self._looked(left) else 0.0)
            step = max(0.0, told - first) / max(1, len(left))
            self._due.extend((first + step * (place + 0.5), visit) for place, visit in enumerate(left))
        return min(QUIET_SECONDS, max(STEP_SECONDS, self._due[0][0] - now)) if self._due else QUIET_SECONDS

    def _looked(self, left: list[Visit]) -> bool:
        """Whether somebody of them has been looked at in this drain before; all are from now on."""
        before = any(visit.drain == self._number for visit in left)
        for visit in left:
            visit.drain = self._number
        return before


def _send_away(visit: Visit, now: float, *, idle: bool) -> None:
    """Have a client told to go, between two commands; with *idle* only one that is at nothing."""
    if visit.goodbye is not None or visit.amid():
        return
    if idle and not visit.idle(now, IDLE_SECONDS):
        return
    visit.send_away(BeingEmptied())


def _cut(here: list[Visit]) -> None:
    """Tell those who have not heard it, and cut off those who had their time: a BYE needs a moment to go out."""
    for visit in here:
        if visit.goodbye is None:
            visit.send_away(BeingEmptied())
        elif not visit.cut_off:
            visit.cut_off = True
            log.warning("cut off", service=visit.service, user=visit.user, peer=visit.peer, whom=visit.name)
            visit.cut()
