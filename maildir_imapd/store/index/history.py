"""The changes between two moments, for CONDSTORE and QRESYNC (RFC 7162)."""

from __future__ import annotations

from collections.abc import Iterable

from maildir_imapd.store.index.journal import Batch, Ranges
from maildir_imapd.store.index.snapshot import Delta, Snapshot
from maildir_imapd.store.maildir.filename import INTERNAL_BITS


def delta(batches: Iterable[Batch]) -> Delta:
    """Sum up batches: a message is in one of the lists at most."""
    added: set[int] = set()
    changed: set[int] = set()
    expunged: set[int] = set()
    for batch in batches:
        fresh = {row.uid for row in batch.added}
        revived = fresh & expunged
        expunged -= fresh
        # One that was there before, went and came back is for the client a change and no arrival.
        changed |= revived
        added |= fresh - revived
        for ranges, add, remove in batch.flagged:
            if (add | remove) & ~INTERNAL_BITS:
                changed.update(uid for lo, hi in ranges for uid in range(lo, hi + 1))
        for ranges, *_ in batch.worded:
            changed.update(uid for lo, hi in ranges for uid in range(lo, hi + 1))
        for lo, hi in batch.expunged + batch.vanished:
            gone = set(range(lo, hi + 1))
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
