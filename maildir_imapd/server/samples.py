"""The figures of the last hour, for charts: so many moments, and no more."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

HOUR_SECONDS: Final = 3600.0
# One each ten seconds for an hour.
MOST: Final = 360
# The figures that a chart shows by how many there were a second.
COUNTED: Final = ("commands", "logins", "logins_failed", "octets_in", "octets_out", "delivered")


@dataclass(frozen=True, slots=True)
class Sample:
    """One moment: seconds since the epoch, sessions of then, and sums until then in the order of ``COUNTED``."""

    moment: float
    sessions: int
    sums: Sequence[int]


class Samples:
    """See the module; one thread."""

    def __init__(self) -> None:
        self._kept: deque[Sample] = deque(maxlen=MOST)

    def add(self, status: Mapping[str, Any]) -> None:
        """Note what a status says."""
        figures = status["figures"]
        moment = float(status["since"]) + float(status["uptime_seconds"])
        self._kept.append(Sample(moment, int(status["sessions"]), [int(figures[name]) for name in COUNTED]))

    def sessions(self, now: float) -> list[tuple[float, float]]:
        """How many sessions there were, each with its moment."""
        return [(each.moment, float(each.sessions)) for each in self._lately(now)]

    def rates(self, name: str, now: float) -> list[tuple[float, float]]:
        """How much of *name* there was a second, each with the moment at the end of it."""
        place = COUNTED.index(name)
        kept = self._lately(now)
        found = []
        for before, after in pairwise(kept):
            seconds = after.moment - before.moment
            if seconds > 0:
                found.append((after.moment, max(0, after.sums[place] - before.sums[place]) / seconds))
        return found

    def _lately(self, now: float) -> list[Sample]:
        return [each for each in self._kept if now - HOUR_SECONDS <= each.moment <= now + 1]
