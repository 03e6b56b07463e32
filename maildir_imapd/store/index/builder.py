"""The next moment of a mailbox: batches put into a snapshot, which stays as it is.

Only the columns that a batch changes are copied, each once; the others are the same objects in the next snapshot.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable
from typing import Final

from maildir_imapd.store.index.journal import Added, Batch, Ranges
from maildir_imapd.store.index.snapshot import COUNTED, Snapshot
from maildir_imapd.store.maildir.filename import INTERNAL_BITS, RECENT, SEEN

_NO_WORDS: Final[frozenset[int]] = frozenset()
# All that have a row for each message.
_COLUMNS: Final = ("uids", "flags", "modseqs", "received", "saved", "sizes", "fingerprints", "names")


def applied(old: Snapshot, batches: Iterable[Batch]) -> Snapshot:
    """Return the mailbox after all of *batches*."""
    new = Builder(old)
    for batch in batches:
        new.apply(batch)
    return new.finish()


class Builder:
    """A snapshot in the making: copies a column when it is first written to."""

    def __init__(self, old: Snapshot) -> None:
        self.snapshot = old.copy()
        self._owned: set[str] = set()  # columns of the new snapshot that are not the old one's
        self._counted = old._counts
        self._touched = 0  # bits whose counts may have changed

    def finish(self) -> Snapshot:
        """Return the new snapshot, with the counts that are still true.

        Each count is asked for by its key: readers in other threads put theirs in meanwhile, so that the dictionary
        may not be walked.
        """
        for key, bit in COUNTED.items():
            count = self._counted.get(key)
            if count is not None and not bit & self._touched:
                self.snapshot._counts[key] = count
        first = self._counted.get("first_unseen")
        if first is not None and "uids" not in self._owned and not SEEN & self._touched:
            self.snapshot._counts["first_unseen"] = first
        return self.snapshot

    def _own(self, *columns: str) -> Snapshot:
        """Return the new snapshot, with *columns* that may be written to."""
        new = self.snapshot
        for column in columns:
            if column not in self._owned:
                self._owned.add(column)
                setattr(new, column, getattr(new, column)[:])
        return new

    def _extra(self) -> dict[int, frozenset[int]]:
        if "extra" not in self._owned:
            self._owned.add("extra")
            self.snapshot.extra = dict(self.snapshot.extra)
        return self.snapshot.extra

    def apply(self, batch: Batch) -> None:
        new = self.snapshot
        if batch.uidvalidity is not None:
            new.uidvalidity = batch.uidvalidity
        if batch.keywords:
            self._name_keywords(batch.keywords)
        if batch.added:
            self._add(batch.added, batch.modseq)
        for ranges, add, remove in batch.flagged:
            self._flag(ranges, add, remove, batch.modseq)
        for ranges, more, less in batch.worded:
            self._word(ranges, more, less, batch.modseq)
        for uid, base in batch.renamed:
            at = new.position(uid)
            if at >= 0:
                self._own("names").names[at] = base
        for uid, size in batch.sizes:
            at = new.position(uid)
            if at >= 0:
                self._own("sizes").sizes[at] = size
        for uid, size, fingerprint in batch.rewritten:
            at = new.position(uid)
            if at >= 0:
                self._own("sizes").sizes[at] = size
                self._own("fingerprints").fingerprints[at] = fingerprint
                new.rewrites += 1
        if batch.claimed:
            self._claim(batch.claimed)
        if batch.expunged:
            self._remove(batch.expunged)
        if batch.vanished:
            self._remove(batch.vanished)
        new.uidnext = max(new.uidnext, batch.uidnext, batch.raised or 0)
        new.modseq = max(new.modseq, batch.modseq)

    def _name_keywords(self, names: dict[int, bytes]) -> None:
        known = list(self.snapshot.keywords)
        known += [b""] * (max(names) + 1 - len(known))
        for number, name in names.items():
            known[number] = name
        self.snapshot.keywords = tuple(known)
        self.snapshot._words = {}

    def _add(self, added: list[Added], modseq: int) -> None:
        for row in added:
            self._touched |= row.flags
        new = self.snapshot
        if not new.uids or added[0].uid > new.uids[-1]:
            self._append(added, modseq)
            return
        new = self._own(*_COLUMNS)
        new.detach()
        for row in added:
            # A message came back (see index.py, tombstones): it goes where it was.
            at = bisect_left(new.uids, row.uid)
            if at < len(new.uids) and new.uids[at] == row.uid:
                continue
            new.revivals += at < len(new.uids)
            new.uids.insert(at, row.uid)
            new.flags.insert(at, row.flags)
            new.modseqs.insert(at, modseq)
            new.received.insert(at, row.received)
            new.saved.insert(at, row.saved)
            new.sizes.insert(at, row.size)
            new.fingerprints.insert(at, row.fingerprint)
            new.names.insert(at, row.base)

    def _append(self, added: list[Added], modseq: int) -> None:
        new = self.snapshot
        uids, flags, received, saved, sizes, names, fingerprints = zip(*added, strict=True)
        modseqs = (modseq,) * len(added)
        for column, more in zip(
            _COLUMNS, (uids, flags, modseqs, received, saved, sizes, fingerprints, names), strict=True
        ):
            old = getattr(new, column)
            if column in self._owned:
                old.extend(more)
            else:
                # A sum makes the new column in one piece; a copy that grows is copied twice.
                setattr(new, column, old + (array(old.typecode, more) if column != "names" else list(more)))
        self._owned.update(_COLUMNS)
        new.detach()

    def _flag(self, ranges: Ranges, add: int, remove: int, modseq: int) -> None:
        new = self._own("flags")
        flags = new.flags
        keep = ~remove
        self._touched |= add | remove
        touch = (add | remove) & ~INTERNAL_BITS
        if touch:
            self._own("modseqs")
        for lo, hi in ranges:
            start, stop = new.span(lo, hi)
            if stop - start == 1:
                flags[start] = flags[start] & keep | add
                if touch:
                    new.modseqs[start] = modseq
                continue
            flags[start:stop] = array("Q", [bits & keep | add for bits in flags[start:stop]])
            if touch:
                new.modseqs[start:stop] = array("Q", [modseq]) * (stop - start)

    def _word(self, ranges: Ranges, more: frozenset[int], less: frozenset[int], modseq: int) -> None:
        extra = self._extra()
        new = self._own("modseqs")
        for lo, hi in ranges:
            start, stop = new.span(lo, hi)
            for at in range(start, stop):
                uid = new.uids[at]
                words = extra.get(uid, _NO_WORDS) - less | more
                if words:
                    extra[uid] = words
                else:
                    extra.pop(uid, None)
                new.modseqs[at] = modseq

    def _claim(self, below: int) -> None:
        new = self._own("flags")
        flags, marks = new.flags, new.marks(RECENT)
        at = marks.rfind(1, 0, len(marks) if below >= new.uidnext else bisect_left(new.uids, below))
        while at >= 0:
            flags[at] &= ~RECENT
            at = marks.rfind(1, 0, at)
        self._touched |= RECENT

    def _remove(self, ranges: Ranges) -> None:
        new = self.snapshot
        kept: list[slice] = []
        gone: list[int] = []
        last = 0
        for lo, hi in sorted(ranges):
            start, stop = new.span(lo, hi)
            if start < stop:
                kept.append(slice(last, start))
                gone += new.uids[start:stop]
                for bits in new.flags[start:stop]:
                    self._touched |= bits
                last = stop
        if not gone:
            return
        kept.append(slice(last, len(new.uids)))
        if new.extra:
            extra = self._extra()
            for uid in gone:
                extra.pop(uid, None)
        # The new columns are put together from what stays: one copy, however many gaps.
        self._owned.update(_COLUMNS)
        for column in _COLUMNS:
            old = getattr(new, column)
            rest = old[kept[0]]
            for piece in kept[1:]:
                rest.extend(old[piece])
            setattr(new, column, rest)
        new.detach()
