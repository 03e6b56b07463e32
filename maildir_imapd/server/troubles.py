"""Lines of the log that somebody should look at, counted: what ``status`` calls wrong is made of them.

By event, for an event's words never change (``events.py``) and no client writes them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from maildir_imapd import log as logs

# Events of different words that are counted apart; a source has no more.
EVENTS: Final = 500
# Seconds for which an error counts as something that is wrong now.
LATELY_SECONDS: Final = 3600.0
SOON_SECONDS: Final = 300.0
# The events that have a name of their own in ``status``, and for how long each is wrong after it was seen last.
NAMED: Final[Mapping[str, tuple[str, float]]] = {
    "index damaged, rebuilt": ("index-rebuilt", LATELY_SECONDS),
    "index of texts is damaged, it is made anew": ("index-rebuilt", LATELY_SECONDS),
    "index in memory only": ("index-in-memory", LATELY_SECONDS),
    "not on the disk yet": ("index-in-memory", LATELY_SECONDS),
    "folder is held by somebody, news of it waits": ("lock-held", SOON_SECONDS),
    "folder busy": ("lock-held", SOON_SECONDS),
    "back end cannot be asked": ("back-end-down", SOON_SECONDS),
    "back end is busy": ("back-end-down", SOON_SECONDS),
    "certificate ends soon": ("certificate", 2 * 86400.0),
    "certificate has ended": ("certificate", 2 * 86400.0),
    "spool does not answer": ("spool", 0.0),
    "worker died": ("worker-died", LATELY_SECONDS),
    "worker hangs": ("worker-hangs", LATELY_SECONDS),
    "reload failed, the old settings stay": ("reload-failed", LATELY_SECONDS),
    "reload failed, the old workers stay": ("reload-failed", LATELY_SECONDS),
}
LOGIN_FAILED: Final = "login failed"


@dataclass(slots=True)
class EventCount:
    """One event.  *last*: seconds since the epoch; *facts*: the fields of the last one, as the log has them."""

    level: str
    event: str
    count: int
    last: float
    facts: str

    def as_json(self) -> dict[str, object]:
        """Make an object of it."""
        return {
            "level": self.level,
            "event": self.event,
            "count": self.count,
            "last": round(self.last, 3),
            "facts": self.facts,
        }

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> EventCount:
        """Read what ``as_json`` has made; raises KeyError, TypeError or ValueError."""
        return cls(str(said["level"]), str(said["event"]), int(said["count"]), float(said["last"]), str(said["facts"]))


class Troubles(logging.Handler):
    """Counts warnings and errors of this process; ``logging`` sees to it that one thread at a time is here."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._seen: dict[str, EventCount] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """As ``logging.Handler``."""
        event = str(record.msg)
        found = self._seen.get(event)
        if found is None:
            if len(self._seen) >= EVENTS:
                return
            found = self._seen[event] = EventCount("", event, 0, 0.0, "")
        found.level = record.levelname.lower()
        found.count += 1
        found.last = record.created
        found.facts = logs.facts(record)

    def forget(self) -> None:
        """Begin anew: what a parent has seen is the parent's."""
        self._seen = {}

    def seen(self) -> list[EventCount]:
        """All events so far."""
        self.acquire()
        try:
            return list(self._seen.values())
        finally:
            self.release()

    def count(self, event: str) -> int:
        """How often there was *event*."""
        found = self._seen.get(event)
        return 0 if found is None else found.count


def joined(each: Iterable[EventCount]) -> list[EventCount]:
    """Add up what several processes have seen, the latest first."""
    found: dict[str, EventCount] = {}
    for seen in each:
        before = found.get(seen.event)
        if before is None:
            found[seen.event] = EventCount(seen.level, seen.event, seen.count, seen.last, seen.facts)
            continue
        before.count += seen.count
        if seen.last > before.last:
            before.level, before.last, before.facts = seen.level, seen.last, seen.facts
    return sorted(found.values(), key=lambda seen: -seen.last)


def wrong(each: Iterable[EventCount], now: float | None = None) -> list[dict[str, object]]:
    """List what of it is wrong now: by the table, and every error of late."""
    now = time.time() if now is None else now
    found: list[dict[str, object]] = []
    for seen in each:
        kind, lasts = NAMED.get(seen.event, ("error", LATELY_SECONDS))
        if (seen.event in NAMED or seen.level == "error") and now - seen.last <= lasts:
            text = f"{seen.event} ({seen.facts})" if seen.facts else seen.event
            found.append({"what": kind, "text": text, "count": seen.count, "last": round(seen.last, 3)})
    return found
