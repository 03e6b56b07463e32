"""The figures of the server: one value, for a session, a worker and the server alike, made by adding.

Whatever shows figures (``status``, ``top``, an exporter) is made from a ``Sums``.  A worker counts nothing itself:
it adds up what its sessions have counted (``imap/tally.py``), those that have ended included.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

from maildir_imapd.imap.tally import COUNT, LONGEST, Long, Tally
from maildir_imapd.store.threads import locks

# Seconds over which rates are told, and between two of the figures that are kept for that.
RATE_SECONDS: Final = 60.0
SAMPLE_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums since the beginning; they never fall.  A new figure is a field here, and is added by that."""

    connections: int = 0
    logins: int = 0
    logins_failed: int = 0
    octets_in: int = 0
    octets_out: int = 0
    messages_fetched: int = 0
    messages_appended: int = 0
    messages_expunged: int = 0
    kinds: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Commands by name: how many, microseconds in all, and how many by how long they took (``tally.PLACES``)."""

    @property
    def commands(self) -> int:
        """How many commands."""
        return sum(row[COUNT] for row in self.kinds.values())

    def plus(self, other: Sums) -> Sums:
        """Add."""
        kinds = dict(self.kinds)
        for name, row in other.kinds.items():
            before = kinds.get(name)
            kinds[name] = row if before is None else tuple(a + b for a, b in zip(before, row, strict=True))
        sums = {name: getattr(self, name) + getattr(other, name) for name in _NUMBERS}
        return Sums(**sums, kinds=kinds)

    def as_json(self) -> dict[str, object]:
        """Make an object of it."""
        numbers: dict[str, object] = {name: getattr(self, name) for name in _NUMBERS}
        return {**numbers, "commands": self.commands, "kinds": {name: list(row) for name, row in self.kinds.items()}}

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Sums:
        """Read what ``as_json`` has made; raises KeyError, TypeError or ValueError."""
        kinds = {str(name): tuple(int(each) for each in row) for name, row in said["kinds"].items()}
        return cls(**{name: int(said[name]) for name in _NUMBERS}, kinds=kinds)


_NUMBERS: Final = tuple(each.name for each in fields(Sums) if each.name != "kinds")
# The figures that have a rate.
RATES: Final = ("connections", "logins", "commands", "octets_in", "octets_out")


def total(each: Iterable[Sums]) -> Sums:
    """Add many."""
    found = Sums()
    for one in each:
        found = found.plus(one)
    return found


def of_session(tally: Tally) -> Sums:
    """Read the figures of one session."""
    return Sums(
        connections=1,
        logins=tally.logins,
        octets_in=tally.heard,
        octets_out=tally.said,
        messages_fetched=tally.fetched,
        messages_appended=tally.appended,
        messages_expunged=tally.expunged,
        kinds=tally.rows(),
    )


class WorkerFigures:
    """The figures of a worker; safe from any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.long: deque[Long] = deque(maxlen=LONGEST)
        self._clock = clock
        self._lock = locks.make(locks.Rank.GUARD)  # guards everything below
        self._here: dict[int, Tally] = {}
        self._gone = Sums()
        self._samples: deque[tuple[float, dict[str, int]]] = deque([(clock(), dict.fromkeys(RATES, 0))])

    def begin(self) -> Tally:
        """Return what a new session counts with."""
        tally = Tally(self.long)
        with self._lock:
            self._here[id(tally)] = tally
        return tally

    def end(self, tally: Tally) -> None:
        """Keep the sum of a session that has ended; harmless twice."""
        found = of_session(tally)
        with self._lock:
            if self._here.pop(id(tally), None) is not None:
                self._gone = self._gone.plus(found)

    def now(self) -> Sums:
        """Add up all that this worker has done."""
        with self._lock:
            here, gone = list(self._here.values()), self._gone
        return total([gone, *map(of_session, here)])

    def sample(self) -> None:
        """Note the figures for rates, if it is time for that; called every second or so."""
        now = self._clock()
        if now - self._samples[-1][0] < SAMPLE_SECONDS:
            return
        found = self.now()
        with self._lock:
            self._samples.append((now, {name: getattr(found, name) for name in RATES}))
            while len(self._samples) > 2 and now - self._samples[1][0] >= RATE_SECONDS:
                self._samples.popleft()

    def rates(self, found: Sums) -> dict[str, float]:
        """Say how many there were a second of late, *found* being the figures of now."""
        with self._lock:
            since, before = self._samples[0]
        seconds = max(self._clock() - since, 1.0)
        return {name: max(0.0, (getattr(found, name) - before[name]) / seconds) for name in RATES}
