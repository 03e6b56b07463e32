"""The next moment of a mailbox: batches put into a snapshot, which stays as it is.

Only the columns that a batch changes are copied, each once, and of a large mailbox only the pieces (chunks.py); the
others are the same objects in the next snapshot.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import Final

from maildir_imapd.store.index.chunks import Chunked, in_pieces, left, whole, without, writable
from maildir_imapd.store.index.columns import NAMES
from maildir_imapd.store.index.journal import Added, Batch, Ranges
from maildir_imapd.store.index.snapshot import COUNTED, Snapshot, at_with
from maildir_imapd.store.index.stored import Remaining
from maildir_imapd.store.maildir.filename import INTERNAL_BITS, RECENT, SEEN

_NO_WORDS: Final[frozenset[int]] = frozenset()
# All that have a row for each message.
# Of so many messages each is looked at for what they change in the counts; of more the whole column is, when asked for.
_FEW: Final = 64
# So many expunges in a row leave columns where they lie.
_DEEPEST: Final = 16
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
        self._touched = 0  # bits whose counts may have changed, nobody knows how
        self._more = dict.fromkeys(COUNTED, 0)  # how they have changed otherwise
        self._first: int | None = self._counted.get("first_unseen")

    def finish(self) -> Snapshot:
        """Return the new snapshot, with the counts that are still true.

        Each count is asked for by its key: readers in other threads put theirs in meanwhile, so that the dictionary
        may not be walked.
        """
        for key, bit in COUNTED.items():
            count = self._counted.get(key)
            if count is not None and not bit & self._touched:
                self.snapshot._counts[key] = count + self._more[key]
        if self._first is not None:
            self.snapshot._counts["first_unseen"] = self._first
        return self.snapshot

    def _tally(self, flags: Sequence[int], by: int) -> None:
        """Count messages with these flags in (*by* 1) or out (-1)."""
        if len(flags) > _FEW:
            for bits in flags:
                self._touched |= bits
            return
        for bits in flags:
            for key, bit in COUNTED.items():
                if bits & bit:
                    self._more[key] += by

    def _own(self, *columns: str) -> Snapshot:
        """Return the new snapshot, with *columns* that may be written to."""
        new = self.snapshot
        for column in columns:
            if column not in self._owned:
                self._owned.add(column)
                setattr(new, column, writable(getattr(new, column)))
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
        self._tally([row.flags for row in added], 1)
        new = self.snapshot
        if not new.uids or added[0].uid > new.uids[-1]:
            self._append(added, modseq)
            return
        new = self._own(*_COLUMNS)
        new.detach()
        self._first = None
        for row in added:
            # A message came back (see index.py, tombstones): it goes where it was.
            at = left(new.uids, row.uid)
            if at < len(new.uids) and new.uids[at] == row.uid:
                self._tally([row.flags], -1)
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
        if self._first == -1:
            self._first = next((at for at, bits in enumerate(flags, len(new.uids)) if not bits & SEEN), -1)
        modseqs = (modseq,) * len(added)
        for column, more in zip(
            _COLUMNS, (uids, flags, modseqs, received, saved, sizes, fingerprints, names), strict=True
        ):
            old = getattr(new, column)
            if column in self._owned or in_pieces(old):
                self._own(column)
                getattr(new, column).extend(more)
            else:
                # A sum makes the new column in one piece; a copy that grows is copied twice.
                setattr(new, column, old + (array(old.typecode, more) if column != "names" else list(more)))
        self._owned.update(_COLUMNS)
        new.detach()

    def _flag(self, ranges: Ranges, add: int, remove: int, modseq: int) -> None:
        new = self._own("flags")
        flags = new.flags
        keep = ~remove
        few = len(ranges) <= _FEW
        if not few:
            self._many_flagged(add | remove)
        touch = (add | remove) & ~INTERNAL_BITS
        if touch:
            self._own("modseqs")
        for lo, hi in ranges:
            start, stop = new.span(lo, hi)
            if stop - start == 1:
                if few:
                    self._tally_flag(start, flags[start] & keep | add)
                flags[start] = flags[start] & keep | add
                if touch:
                    new.modseqs[start] = modseq
                continue
            self._many_flagged(add | remove)
            flags[start:stop] = array("Q", [bits & keep | add for bits in flags[start:stop]])
            if touch:
                new.modseqs[start:stop] = array("Q", [modseq]) * (stop - start)

    def _many_flagged(self, bits: int) -> None:
        self._touched |= bits
        if bits & SEEN:
            self._first = None

    def _tally_flag(self, at: int, bits: int) -> None:
        """Count the message at *at* with *bits* instead of what it has."""
        old = self.snapshot.flags[at]
        self._tally([old], -1)
        self._tally([bits], 1)
        if (old ^ bits) & SEEN and self._first is not None:
            if bits & SEEN:
                self._first = None if at == self._first else self._first
            else:
                self._first = at if self._first < 0 else min(at, self._first)

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
        flags = new.flags
        count = None if RECENT & self._touched else self._counted.get("recent")
        found = at_with(flags, RECENT, None if count is None else count + self._more["recent"])
        stop = len(flags) if below >= new.uidnext else left(new.uids, below)
        claimed = [at for at in found if at < stop]
        for at in claimed:
            flags[at] &= ~RECENT
        self._more["recent"] -= len(claimed)

    def _remove(self, ranges: Ranges) -> None:
        new = self.snapshot
        gaps: list[tuple[int, int]] = []
        gone: list[int] = []
        for lo, hi in sorted(ranges):
            start, stop = new.span(lo, hi)
            if start < stop:
                gaps.append((start, stop))
                gone += new.uids[start:stop]
                self._tally(new.flags[start:stop], -1)
        if not gone:
            return
        self._first = _moved_up(self._first, gaps)
        if new.extra:
            extra = self._extra()
            for uid in gone:
                extra.pop(uid, None)
        source = new.source
        if source is not None and getattr(source, "depth", 0) >= _DEEPEST:
            for column in _COLUMNS:
                getattr(new, column)
            source = None
        for column in _COLUMNS:
            if source is not None and not new.here(NAMES if column == "names" else column):
                continue  # nobody has asked for it, and perhaps nobody will
            if in_pieces(getattr(new, column)):
                self._own(column)
            old = getattr(new, column)
            if isinstance(old, Chunked):
                old.cut(gaps)
                setattr(new, column, whole(old))
                continue
            setattr(new, column, without(old, gaps))
            self._owned.add(column)
        if source is None:
            new.detach()
        else:
            new.draw(Remaining(source, gaps))


def _moved_up(first: int | None, gaps: Sequence[tuple[int, int]]) -> int | None:
    """Return where a message is that was at *first*, once *gaps* are gone; None where it is in one of them."""
    if first is None or first < 0:
        return first
    before = 0
    for start, stop in gaps:
        if start <= first < stop:
            return None
        before += stop - start if stop <= first else 0
    return first - before
