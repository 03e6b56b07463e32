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
from maildir_imapd.store.maildir.filename import INTERNAL_BITS, RECENT

_NO_WORDS: Final[frozenset[int]] = frozenset()


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
        self._own_rows = self._own_flags = self._own_modseqs = False
        self._own_names = self._own_sizes = self._own_fingerprints = self._own_extra = False
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
        return self.snapshot

    def _rows(self) -> Snapshot:
        new = self.snapshot
        if not self._own_rows:
            self._own_rows = True
            new.uids, new.received, new.saved = new.uids[:], new.received[:], new.saved[:]
        self._flags()
        self._fingerprints()
        self._names()
        self._sizes()
        return new

    def _flags(self) -> Snapshot:
        new = self.snapshot
        if not self._own_flags:
            self._own_flags = True
            new.flags = new.flags[:]
        return new

    def _modseqs(self) -> Snapshot:
        new = self.snapshot
        if not self._own_modseqs:
            self._own_modseqs = True
            new.modseqs = new.modseqs[:]
        return new

    def _names(self) -> Snapshot:
        new = self.snapshot
        if not self._own_names:
            self._own_names = True
            new.names = new.names[:]
        return new

    def _sizes(self) -> Snapshot:
        new = self.snapshot
        if not self._own_sizes:
            self._own_sizes = True
            new.sizes = new.sizes[:]
        return new

    def _fingerprints(self) -> Snapshot:
        new = self.snapshot
        if not self._own_fingerprints:
            self._own_fingerprints = True
            new.fingerprints = new.fingerprints[:]
        return new

    def _extra(self) -> dict[int, frozenset[int]]:
        if not self._own_extra:
            self._own_extra = True
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
                self._names().names[at] = base
        for uid, size in batch.sizes:
            at = new.position(uid)
            if at >= 0:
                self._sizes().sizes[at] = size
        for uid, size, fingerprint in batch.rewritten:
            at = new.position(uid)
            if at >= 0:
                self._sizes().sizes[at] = size
                self._fingerprints().fingerprints[at] = fingerprint
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
        new = self._rows()
        self._modseqs()
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
        # A sum makes the new column in one piece; a copy that grows is copied twice.
        if self._own_rows:
            new.uids.extend(uids)
            new.received.extend(received)
            new.saved.extend(saved)
        else:
            new.uids = new.uids + array("I", uids)
            new.received = new.received + array("q", received)
            new.saved = new.saved + array("q", saved)
        if self._own_fingerprints:
            new.fingerprints.extend(fingerprints)
        else:
            new.fingerprints = new.fingerprints + array("Q", fingerprints)
        if self._own_flags:
            new.flags.extend(flags)
        else:
            new.flags = new.flags + array("Q", flags)
        if self._own_modseqs:
            new.modseqs.extend([modseq] * len(added))
        else:
            new.modseqs = new.modseqs + array("Q", [modseq]) * len(added)
        if self._own_sizes:
            new.sizes.extend(sizes)
        else:
            new.sizes = new.sizes + array("Q", sizes)
        if self._own_names:
            new.names.extend(names)
        else:
            new.names = [*new.names, *names]
        self._own_rows = self._own_flags = self._own_modseqs = self._own_sizes = self._own_names = True
        self._own_fingerprints = True

    def _flag(self, ranges: Ranges, add: int, remove: int, modseq: int) -> None:
        new = self._flags()
        flags = new.flags
        keep = ~remove
        self._touched |= add | remove
        touch = (add | remove) & ~INTERNAL_BITS
        if touch:
            self._modseqs()
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
        new = self._modseqs()
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
        new = self._flags()
        flags = new.flags
        # From the end: what is recent came last.
        for at in range(bisect_left(new.uids, below) - 1, -1, -1):
            if flags[at] & RECENT:
                flags[at] &= ~RECENT
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
        self._own_rows = self._own_flags = self._own_modseqs = self._own_names = self._own_sizes = True
        self._own_fingerprints = True
        for column in ("uids", "flags", "modseqs", "received", "saved", "sizes", "fingerprints", "names"):
            old = getattr(new, column)
            rest = old[kept[0]]
            for piece in kept[1:]:
                rest.extend(old[piece])
            setattr(new, column, rest)
