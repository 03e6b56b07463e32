"""The figures and troubles of all workers since the start, as they were told last: sums that never fall.

A worker tells them when it is asked, and a last time when it ends.  What one has told that does not answer, or was
killed, stays counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from maildir_imapd.server.figures import Sums, total
from maildir_imapd.server.troubles import EventCount, joined


class Past:
    """See the module; one thread."""

    def __init__(self) -> None:
        self._gone = Sums()
        self._gone_events: list[EventCount] = []
        self._last: dict[int, tuple[Sums, list[EventCount]]] = {}

    def note(self, pid: int, said: Mapping[str, Any]) -> None:
        """Take in what a worker has told; raises KeyError, TypeError or ValueError for what is no such thing."""
        events = [EventCount.from_json(each) for each in said["troubles"]]
        self._last[pid] = Sums.from_json(said["figures"]), events

    def end(self, pid: int) -> None:
        """Keep what a worker has told that tells nothing more; its number may be another's from here on."""
        found = self._last.pop(pid, None)
        if found is not None:
            self._gone = self._gone.plus(found[0])
            self._gone_events = joined([*self._gone_events, *found[1]])

    def sums(self) -> Sums:
        """Add up all figures."""
        return total([self._gone, *(sums for sums, _ in self._last.values())])

    def events(self) -> list[EventCount]:
        """All troubles, each event with all its counts, the latest first."""
        return joined([*self._gone_events, *(event for _, events in self._last.values() for event in events)])
