"""The changes between two moments, for CONDSTORE and QRESYNC (RFC 7162)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from maildir_imapd.store.index.journal import Batch, Ranges, to_ranges
from maildir_imapd.store.index.snapshot import Delta, Snapshot
from maildir_imapd.store.maildir.filename import INTERNAL_BITS

Spans = tuple[tuple[int, int], ...]


class Step(NamedTuple):
    """The changes of a batch that a client can tell, by UIDs: a tenth of what the batch takes in memory."""

    modseq: int
    added: Spans
    changed: Spans
    gone: Spans

    @property
    def spans(self) -> int:
        """How many there are, by which it is large or small."""
        return len(self.added) + len(self.changed) + len(self.gone)


def step(batch: Batch) -> Step:
    """Take from a batch what a client can tell of it."""
    changed: Ranges = []
    for ranges, add, remove in batch.flagged:
        if (add | remove) & ~INTERNAL_BITS:
            changed += ranges
    for ranges, *_ in batch.worded:
        changed += ranges
    added = to_ranges(sorted([row.uid for row in batch.added]))
    return Step(batch.modseq, tuple(added), tuple(changed), (*batch.expunged, *batch.vanished))


def _uids(spans: Spans) -> set[int]:
    return {uid for low, high in spans for uid in range(low, high + 1)}


def delta(steps: Iterable[Step]) -> Delta:
    """Sum up steps: a message is in one of the lists at most."""
    added: set[int] = set()
    changed: set[int] = set()
    expunged: set[int] = set()
    for each in steps:
        fresh = _uids(each.added)
        revived = fresh & expunged
        expunged -= fresh
        # One that was there before, went and came back is for the client a change and no arrival.
        changed |= revived
        added |= fresh - revived
        changed |= _uids(each.changed)
        gone = _uids(each.gone)
        expunged |= gone - added
        added -= gone
        changed -= gone
    return Delta(sorted(added), sorted(changed - added), sorted(expunged))


def vanished(ranges: Ranges, rows: Snapshot) -> Ranges:
    """Merge ranges of expunged UIDs, without those that are there (again)."""
    found: Ranges = []
    for lo, hi in sorted(ranges):
        for first, last in _without(rows, lo, hi):
            if found and first <= found[-1][1] + 1:
                found[-1] = (found[-1][0], max(found[-1][1], last))
            else:
                found.append((first, last))
    return found


def _without(rows: Snapshot, lo: int, hi: int) -> Ranges:
    start, stop = rows.span(lo, hi)
    found = []
    for uid in rows.uids[start:stop]:
        if lo < uid:
            found.append((lo, uid - 1))
        lo = uid + 1
    if lo <= hi:
        found.append((lo, hi))
    return found
