"""One list for a process of what it keeps open although nobody uses it: mailboxes, and accounts whose users have gone.

STATUS, the next SELECT and the next login are quick where they find things open. What that may cost is the process's:
so many descriptors, so many octets of memory, and nothing for longer than some minutes after it was used last. Beyond
any of these the longest unused goes, whoever it belongs to, and it goes, too, when descriptors run short all the same
(descriptors.py). What somebody uses does not stand here, and counts for nothing.
"""

from __future__ import annotations

import itertools
import resource
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Final, Generic, NamedTuple, TypeVar

from maildir_imapd.store.disk import descriptors

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

# Of RLIMIT_NOFILE: the rest is for clients, and for what is open because somebody uses it.
DESCRIPTORS_SHARE: Final = 0.5
# Where there is no limit, or a very high one.
DESCRIPTORS_MOST = 100_000
OCTETS: Final = 64 << 20
# A client that comes back after more has other things to wait for.
AGE_SECONDS: Final = 600.0


class Cost(NamedTuple):
    """The price of keeping a thing: open descriptors, and octets of memory as estimated."""

    descriptors: int = 0
    octets: int = 0


@dataclass(frozen=True, slots=True)
class Bounds:
    """The most that things nobody uses may cost together, and how long after its last use one may stay."""

    descriptors: int
    octets: int = OCTETS
    age_seconds: float = AGE_SECONDS


def usual_bounds() -> Bounds:
    """The bounds of a process with the limit of descriptors that this one has."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = DESCRIPTORS_MOST if soft == resource.RLIM_INFINITY else int(soft * DESCRIPTORS_SHARE)
    return Bounds(min(most, DESCRIPTORS_MOST))


@dataclass(slots=True)
class _Entry:
    value: Any
    cost: Cost
    when: int  # descriptors.used()
    since: float  # monotonic
    leaving: Callable[[Any], None] | None


_Key = tuple[int, Hashable]


class Unused:
    """The list; safe from any thread, with any lock held but its own.

    What goes is let go of outside the lock: ``leaving`` of its shelf is called with it, and then nothing here has it.
    """

    def __init__(self, bounds: Bounds | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.bounds = usual_bounds() if bounds is None else bounds
        self._clock = clock
        self._lock = threading.RLock()  # guards all below; a leaf. A collection may end a shelf in the midst of it
        self._entries: OrderedDict[_Key, _Entry] = OrderedDict()  # what was used last comes last
        self._descriptors = self._octets = 0
        self._shelves = itertools.count()
        descriptors.register(self)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def cost(self) -> Cost:
        """The price of all that is kept."""
        with self._lock:
            return Cost(self._descriptors, self._octets)

    def shelf_number(self) -> int:
        """A number that no other shelf has."""
        return next(self._shelves)

    def put(self, key: _Key, value: object, cost: Cost, leaving: Callable[[Any], None] | None) -> None:
        """Keep *value*, as what was used last; what is beyond the bounds by that goes, it too if it alone is."""
        gone: list[_Entry] = []
        with self._lock:
            before = self._entries.pop(key, None)
            if before is not None and before.value is value and before.cost is cost and before.leaving is leaving:
                # At the price of before, as for most of many STATUS: nothing is beyond the bounds by that.
                before.when, before.since = descriptors.used(), self._clock()
                self._entries[key] = before
                return
            if before is not None:
                self._count_off(before)
            self._entries[key] = _Entry(value, cost, descriptors.used(), self._clock(), leaving)
            self._descriptors += cost.descriptors
            self._octets += cost.octets
            self._shrink(gone)
        _let_go(gone)

    def take(self, key: _Key, only: object = None) -> None:
        """Keep it no longer, for somebody uses it, or it is no more; *only*: if it is this one."""
        gone: list[_Entry] = []
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None and (only is None or entry.value is only):
                self._take(key, gone)
        del entry

    def clear(self, shelf: int) -> None:
        """Keep nothing more of a shelf."""
        gone: list[_Entry] = []
        with self._lock:
            for key in list(self._entries):  # whole, for what a collection ends may be taken meanwhile
                if key[0] == shelf:
                    self._take(key, gone)
        _let_go(gone)

    def let_go_old(self) -> int:
        """Let go of what nobody has used for long, and return how many octets that took; for whoever comes by."""
        gone: list[_Entry] = []
        with self._lock:
            before = self._octets
            self._shrink(gone)
            octets = before - self._octets
        _let_go(gone)
        return octets

    # --- as descriptors.Keeper ----------------------------------------------------------------------

    def idle(self) -> list[tuple[int, _Key]]:
        """All of it: when each was used last, and its key."""
        with self._lock:
            found = [(key, self._entries.get(key)) for key in list(self._entries)]
        return [(entry.when, key) for key, entry in found if entry is not None]

    def drop(self, key: _Key) -> None:
        """Keep one no longer; harmless if it is used again, or gone."""
        gone: list[_Entry] = []
        with self._lock:
            self._take(key, gone)
        _let_go(gone)

    # --- under the lock -----------------------------------------------------------------------------

    def _take(self, key: _Key, gone: list[_Entry]) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._count_off(entry)
            gone.append(entry)

    def _count_off(self, entry: _Entry) -> None:
        self._descriptors -= entry.cost.descriptors
        self._octets -= entry.cost.octets

    def _shrink(self, gone: list[_Entry]) -> None:
        bounds, before = self.bounds, self._clock() - self.bounds.age_seconds
        while self._entries:
            key, oldest = next(iter(self._entries.items()))
            if self._descriptors <= bounds.descriptors and self._octets <= bounds.octets and oldest.since > before:
                break
            self._take(key, gone)


def _let_go(gone: list[_Entry]) -> None:
    for entry in gone:
        if entry.leaving is not None:
            entry.leaving(entry.value)


class Shelf(Generic[K, V]):
    """The part of the list that belongs to one owner, and ends with this object.

    *leaving* is called with what is let go of because of its age or price. It must know neither this object nor its
    owner, or these would keep one another.
    """

    __slots__ = ("__weakref__", "_leaving", "_number", "_unused")

    def __init__(self, unused: Unused, leaving: Callable[[V], None] | None = None) -> None:
        self._unused = unused
        self._number = unused.shelf_number()
        self._leaving = leaving
        weakref.finalize(self, unused.clear, self._number).atexit = False

    def put(self, key: K, value: V, cost: Cost) -> None:
        """Keep *value*, which was used just now and is no longer, or may be used again at any moment."""
        self._unused.put((self._number, key), value, cost, self._leaving)

    def take(self, key: K, only: V | None = None) -> None:
        """Keep it no longer, for somebody uses it, or it is no more; *only*: if it is this one."""
        self._unused.take((self._number, key), only)
