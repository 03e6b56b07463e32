"""Where the blobs of one field of a cache lie in its file, by UID: in columns, 16 octets each."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence, Set
from itertools import compress
from typing import Final

# Where a blob begins and ends in its window, and where in the file that begins.
At = tuple[int, int, int]

# What has come lately stands in a dictionary, ten times as large: so much of it, or half of what stands in the columns.
# A file has less than 2^32 octets, so that four do for a place in it.
_LATE: Final = 1024
_LATE_OCTETS: Final = 200
# So few are looked up one by one.
_FEW: Final = 4
# A stretch of the columns is looked through whole for at least so large a part of it.
_PART: Final = 8


class BlobPlaces:
    """One field's; not safe from several threads, whoever has it guards it."""

    __slots__ = ("_bases", "_late", "_starts", "_stops", "_uids")

    def __init__(self) -> None:
        self._uids = array("I")  # rising
        self._starts, self._stops, self._bases = array("I"), array("I"), array("I")
        self._late: dict[int, At] = {}  # counts before what stands above

    def __len__(self) -> int:
        """How many there are, some of them counted twice until ``settle``."""
        return len(self._uids) + len(self._late)

    @property
    def octets(self) -> int:
        """An estimate of what it takes in memory."""
        return 16 * len(self._uids) + _LATE_OCTETS * len(self._late)

    def put(self, places: dict[int, At]) -> None:
        """Note where blobs lie, in the place of what was known of these messages."""
        if not places:
            return
        if not self._late and (not self._uids or min(places) > self._uids[-1]):
            self._append(places)
            return
        self._late.update(places)
        if len(self._late) > max(_LATE, len(self._uids) // 2):
            self.settle()

    def _append(self, places: dict[int, At]) -> None:
        """Put what stands behind all others into the columns."""
        for uid in sorted(places):
            start, stop, base = places[uid]
            self._uids.append(uid)
            self._starts.append(start)
            self._stops.append(stop)
            self._bases.append(base)

    def stretch(self, uids: Sequence[int]) -> Iterator[At] | None:
        """As ``find``, where all of them stand in one stretch of the columns, as is usual; else None."""
        mine = self._uids
        if not uids or (self._late and not self._late.keys().isdisjoint(uids)):
            return None
        start = bisect_left(mine, uids[0])
        stop = start + len(uids)
        return self._rows(start, stop) if mine[start:stop].tolist() == list(uids) else None

    def find(self, uids: Sequence[int]) -> list[At | None]:
        """Return where the blob of each message lies, None where there is none."""
        late = self._late
        if not self._uids or late.keys() >= set(uids):
            return list(map(late.get, uids))
        found = self._find(uids)
        return [late.get(uid, at) for uid, at in zip(uids, found, strict=True)] if late else found

    def _find(self, uids: Sequence[int]) -> list[At | None]:
        """As ``find``, in the columns."""
        mine = self._uids
        if len(uids) <= _FEW:
            return [self._at(uid) for uid in uids]
        start, stop = bisect_left(mine, min(uids)), bisect_left(mine, max(uids) + 1)
        if stop - start > _PART * len(uids):
            return [self._at(uid) for uid in uids]
        where = dict(zip(mine[start:stop], self._rows(start, stop), strict=True))
        return list(map(where.get, uids))

    def _rows(self, start: int, stop: int) -> Iterator[At]:
        return zip(self._starts[start:stop], self._stops[start:stop], self._bases[start:stop], strict=True)

    def _at(self, uid: int) -> At | None:
        mine = self._uids
        at = bisect_left(mine, uid)
        return (self._starts[at], self._stops[at], self._bases[at]) if at < len(mine) and mine[at] == uid else None

    def forget(self, uids: Sequence[int]) -> None:
        """Know nothing of these messages any more."""
        for uid in uids:
            self._late.pop(uid, None)
        gone = set(uids).intersection(self._uids)
        if gone:
            self._keep([uid not in gone for uid in self._uids])

    def keep(self, alive: Set[int]) -> None:
        """Know of these messages alone."""
        self.settle()
        marks = [uid in alive for uid in self._uids]
        if not all(marks):
            self._keep(marks)

    def _keep(self, marks: list[bool]) -> None:
        self._uids = array("I", compress(self._uids, marks))
        self._starts = array("I", compress(self._starts, marks))
        self._stops = array("I", compress(self._stops, marks))
        self._bases = array("I", compress(self._bases, marks))

    def settle(self) -> None:
        """Put what has come lately into the columns."""
        late, self._late = self._late, {}
        if not late:
            return
        uids, starts, stops, bases = array("I"), array("I"), array("I"), array("I")
        mine, at = self._uids, 0
        for uid in sorted(late):
            to = bisect_left(mine, uid, at)
            if to > at:
                uids += mine[at:to]
                starts += self._starts[at:to]
                stops += self._stops[at:to]
                bases += self._bases[at:to]
            at = to + (to < len(mine) and mine[to] == uid)
            start, stop, base = late[uid]
            uids.append(uid)
            starts.append(start)
            stops.append(stop)
            bases.append(base)
        self._uids, self._starts = uids + mine[at:], starts + self._starts[at:]
        self._stops, self._bases = stops + self._stops[at:], bases + self._bases[at:]

    def rows(self) -> tuple[Sequence[int], Sequence[int], Sequence[int], Sequence[int]]:
        """Return all there are: UIDs, rising, and of each where it begins and ends in its window, and the window."""
        self.settle()
        return self._uids, self._starts, self._stops, self._bases


class Windows:
    """Stretches of the file that are read at once, by where they begin: where each ends. 8 octets each.

    One that is there may be asked for while another thread adds the next.
    """

    __slots__ = ("_bases", "_ends")

    def __init__(self) -> None:
        self._bases, self._ends = array("I"), array("I")

    def __len__(self) -> int:
        return len(self._bases)

    def add(self, base: int, end: int) -> None:
        """Note the next one: the file grows at its end, so it begins behind all others."""
        self._bases.append(base)
        self._ends.append(end)

    def end(self, base: int) -> int:
        """Where the one ends that begins at *base*."""
        return self._ends[bisect_left(self._bases, base)]

    def only(self, bases: Set[int]) -> Windows:
        """Return those that begin at *bases*."""
        marks = [base in bases for base in self._bases]
        new = Windows()
        new._bases, new._ends = array("I", compress(self._bases, marks)), array("I", compress(self._ends, marks))
        return new
