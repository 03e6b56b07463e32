"""A mailbox at one moment: immutable columns, shared by all threads, sorted by UID.

A position in the columns is the sequence number less one. apply() copies only the columns that a batch
changes; the others are the same objects in the next snapshot.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from maildir_imapd.store.index.journal import SIZE_UNKNOWN, Added, Batch, Ranges
from maildir_imapd.store.maildir.filename import (
    ANSWERED,
    DELETED,
    DRAFT,
    FLAGGED,
    IN_BITS,
    IN_NEW,
    INTERNAL_BITS,
    KEYWORD_BITS,
    RECENT,
    SEEN,
    keyword_bit,
)

__all__ = ["SIZE_UNKNOWN", "SYSTEM_FLAGS", "Builder", "Delta", "Snapshot", "empty"]

# In the order Dovecot lists them.
SYSTEM_FLAGS: Final = (
    (b"\\Answered", ANSWERED),
    (b"\\Flagged", FLAGGED),
    (b"\\Deleted", DELETED),
    (b"\\Seen", SEEN),
    (b"\\Draft", DRAFT),
)

_NO_WORDS: Final[frozenset[int]] = frozenset()
_COUNTED: Final = {"seen": SEEN, "recent": RECENT, "in_new": IN_NEW, "deleted": DELETED}
# For each bit of an octet the table that makes the octet 1 where it has the bit, and the one that makes it 0.
_TAKE: Final = tuple(bytes(octet >> bit & 1 for octet in range(256)) for bit in range(8))
_LACK: Final = tuple(bytes(1 - mark for mark in table) for table in _TAKE)


@dataclass(frozen=True, slots=True)
class Delta:
    """What lies between two moments, each list rising: a message is in one of them at most."""

    added: Sequence[int]
    changed: Sequence[int]
    expunged: Sequence[int]
    # Messages that came back under a UID lower than others already known; also in ``added``.
    revived: Sequence[int] = ()


class Snapshot:
    """The columns of one mailbox at one mod-sequence."""

    __slots__ = (
        "_counts",
        "_names",
        "_words",
        "extra",
        "fingerprints",
        "flags",
        "keywords",
        "modseq",
        "modseqs",
        "received",
        "revivals",
        "saved",
        "sizes",
        "uidnext",
        "uids",
        "uidvalidity",
    )

    uids: array[int]
    flags: array[int]
    modseqs: array[int]
    received: array[int]
    saved: array[int]
    sizes: array[int]
    fingerprints: array[int]  # see scan.py, 0 for a message that has none
    extra: dict[int, frozenset[int]]  # UID -> numbers of its keywords that have no bit
    keywords: tuple[bytes, ...]  # by number; b"" for a number without a name
    uidvalidity: int
    uidnext: int
    modseq: int
    revivals: int  # how often a message has come back under an old UID since this was loaded

    def __init__(
        self,
        *,
        uids: array[int],
        flags: array[int],
        modseqs: array[int],
        received: array[int],
        saved: array[int],
        sizes: array[int],
        fingerprints: array[int],
        names: list[bytes] | bytes,
        extra: dict[int, frozenset[int]],
        keywords: tuple[bytes, ...],
        uidvalidity: int,
        uidnext: int,
        modseq: int,
        revivals: int = 0,
        words: dict[int, tuple[bytes, ...]] | None = None,
    ) -> None:
        self.uids = uids
        self.flags = flags
        self.modseqs = modseqs
        self.received = received
        self.saved = saved
        self.sizes = sizes
        self.fingerprints = fingerprints
        self._names = names  # joined by LF, as the checkpoint has them, until somebody asks
        self.extra = extra
        self.keywords = keywords
        self.uidvalidity = uidvalidity
        self.uidnext = uidnext
        self.modseq = modseq
        self.revivals = revivals
        self._counts: dict[str, int] = {}
        # Bits -> flag names; shared by all snapshots with the same keywords.
        self._words: dict[int, tuple[bytes, ...]] = {} if words is None else words

    def __len__(self) -> int:
        return len(self.uids)

    def __repr__(self) -> str:
        return f"<Snapshot {len(self)} messages, uidnext {self.uidnext}, modseq {self.modseq}>"

    @property
    def names(self) -> list[bytes]:
        """The base of each message's file name."""
        found = self._names
        if isinstance(found, bytes):
            # Two threads may both do it; the lists are equal.
            found = self._names = found.split(b"\n")
        return found

    @names.setter
    def names(self, names: list[bytes]) -> None:
        self._names = names

    # --- find ----------------------------------------------------------------------------------

    def position(self, uid: int) -> int:
        """Return where *uid* stands, -1 if it does not."""
        uids = self.uids
        at = bisect_left(uids, uid) if 0 < uid <= 0xFFFFFFFF else len(uids)
        return at if at < len(uids) and uids[at] == uid else -1

    def span(self, lo: int, hi: int) -> tuple[int, int]:
        """Return the positions [start, stop) of the UIDs from *lo* to *hi*."""
        return bisect_left(self.uids, lo), bisect_right(self.uids, hi)

    def positions(self, uids: Sequence[int]) -> list[int]:
        """Return the position of each of *uids* (rising), -1 for those that are not here."""
        if not uids:
            return []
        mine = self.uids
        start, stop = self.span(uids[0], uids[-1])
        if stop - start == len(uids) and mine[start:stop] == array("I", uids):
            return list(range(start, stop))  # a whole stretch of the mailbox, the usual case
        if len(uids) * 8 > stop - start:
            where = {uid: at for at, uid in enumerate(mine[start:stop], start)}
            return [where.get(uid, -1) for uid in uids]
        return [self.position(uid) for uid in uids]

    # --- counts --------------------------------------------------------------------------------

    def _count(self, key: str) -> int:
        found = self._counts.get(key)
        if found is None:
            found = self._counts[key] = self.marks(_COUNTED[key]).count(1)
        return found

    def marks(self, bit: int, *, present: bool = True) -> bytes:
        """Return an octet for each message: 1 where its flags have *bit* (or lack it), else 0.

        The octet of every integer that holds the bit, and a table that takes the bit out: no loop in Python.
        """
        number = bit.bit_length() - 1
        table = (_TAKE if present else _LACK)[number % 8]
        lane = number // 8 if sys.byteorder == "little" else self.flags.itemsize - 1 - number // 8
        return self.flags.tobytes()[lane :: self.flags.itemsize].translate(table)

    @property
    def unseen(self) -> int:
        """How many messages lack \\Seen."""
        return len(self.uids) - self._count("seen")

    @property
    def recent(self) -> int:
        """How many messages have a \\Recent that no session has claimed."""
        return self._count("recent")

    @property
    def in_new(self) -> int:
        """How many messages still lie in new/."""
        return self._count("in_new")

    @property
    def deleted(self) -> int:
        """How many messages have \\Deleted."""
        return self._count("deleted")

    @property
    def first_unseen(self) -> int:
        """Position of the first message without \\Seen, -1 if there is none."""
        found = self._counts.get("first_unseen")
        if found is None:
            found = self._counts["first_unseen"] = self.marks(SEEN).find(0)
        return found

    # --- flags ---------------------------------------------------------------------------------

    def keyword_number(self, name: bytes) -> int:
        """Return the number of a keyword, -1 if the folder has none of that name (case does not count)."""
        wanted = name.lower()
        for number, known in enumerate(self.keywords):
            if known.lower() == wanted:
                return number
        return -1

    def keyword_bit(self, name: bytes) -> int:
        """Return the bit of a keyword, 0 if it has none or is unknown."""
        number = self.keyword_number(name)
        return keyword_bit(number) if number >= 0 else 0

    def flag_names(self, bits: int, uid: int = 0) -> tuple[bytes, ...]:
        """Return the flags of a message by name, \\Recent excepted: whose that is, only a session knows."""
        found = self._words.get(bits)
        if found is None:
            names = [name for name, bit in SYSTEM_FLAGS if bits & bit]
            left = bits & KEYWORD_BITS
            for number, name in enumerate(self.keywords[:IN_BITS]):
                if left & keyword_bit(number) and name:
                    names.append(name)
            found = self._words[bits] = tuple(names)
        if self.extra and uid in self.extra:
            found += tuple(self.keywords[n] for n in sorted(self.extra[uid]) if n < len(self.keywords))
        return found

    def all_flag_names(self) -> tuple[bytes, ...]:
        """Return the flags a message of this folder can have: system flags, then the keywords."""
        return tuple(name for name, _ in SYSTEM_FLAGS) + tuple(name for name in self.keywords if name)

    # --- change --------------------------------------------------------------------------------

    def apply(self, batch: Batch) -> Snapshot:
        """Return the mailbox after *batch*."""
        return self.apply_all((batch,))

    def apply_all(self, batches: Iterable[Batch]) -> Snapshot:
        """Return the mailbox after all of *batches*; each changed column is copied once."""
        new = Builder(self)
        for batch in batches:
            new.apply(batch)
        return new.finish()

    def evolve(self, *, uidnext: int | None = None, modseq: int | None = None) -> Snapshot:
        """Return the same messages under another UIDNEXT or HIGHESTMODSEQ."""
        new = _copy(self)
        new.uidnext = self.uidnext if uidnext is None else uidnext
        new.modseq = self.modseq if modseq is None else modseq
        return new

    def since(self, old: Snapshot) -> Delta:
        """Compare with an earlier snapshot of the same mailbox, by the columns."""
        if old.uids is self.uids:
            added: list[int] = []
            expunged: list[int] = []
            pairs = zip(self.uids, self.modseqs, old.modseqs, strict=True)
            changed = [uid for uid, now, then in pairs if now != then]
        else:
            before = dict(zip(old.uids, old.modseqs, strict=True))
            added, changed = [], []
            for uid, modseq in zip(self.uids, self.modseqs, strict=True):
                then = before.pop(uid, None)
                if then is None:
                    added.append(uid)
                elif then != modseq:
                    changed.append(uid)
            expunged = list(before)
        last = old.uids[-1] if old.uids else 0
        return Delta(added, changed, expunged, [uid for uid in added if uid <= last])


def empty(uidvalidity: int = 0, uidnext: int = 1, modseq: int = 1) -> Snapshot:
    """Return a mailbox without messages."""
    return Snapshot(
        uids=array("I"),
        flags=array("Q"),
        modseqs=array("Q"),
        received=array("q"),
        saved=array("q"),
        sizes=array("Q"),
        fingerprints=array("Q"),
        names=[],
        extra={},
        keywords=(),
        uidvalidity=uidvalidity,
        uidnext=uidnext,
        modseq=modseq,
    )


def _copy(old: Snapshot) -> Snapshot:
    return Snapshot(
        uids=old.uids,
        flags=old.flags,
        modseqs=old.modseqs,
        received=old.received,
        saved=old.saved,
        sizes=old.sizes,
        fingerprints=old.fingerprints,
        names=old._names,
        extra=old.extra,
        keywords=old.keywords,
        uidvalidity=old.uidvalidity,
        uidnext=old.uidnext,
        modseq=old.modseq,
        revivals=old.revivals,
        words=old._words,
    )


class Builder:
    """A snapshot in the making: copies a column when it is first written to."""

    def __init__(self, old: Snapshot) -> None:
        self.snapshot = _copy(old)
        self._own_rows = self._own_flags = self._own_modseqs = False
        self._own_names = self._own_sizes = self._own_extra = False
        self._counted = old._counts
        self._touched = 0  # bits whose counts may have changed

    def finish(self) -> Snapshot:
        """Return the new snapshot, with the counts that are still true.

        Each count is asked for by its key: readers in other threads put theirs in meanwhile, so that the dictionary
        may not be walked.
        """
        for key, bit in _COUNTED.items():
            count = self._counted.get(key)
            if count is not None and not bit & self._touched:
                self.snapshot._counts[key] = count
        return self.snapshot

    def _rows(self) -> Snapshot:
        new = self.snapshot
        if not self._own_rows:
            self._own_rows = True
            new.uids, new.received, new.saved = new.uids[:], new.received[:], new.saved[:]
            new.fingerprints = new.fingerprints[:]
        self._flags()
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
            new.fingerprints.extend(fingerprints)
        else:
            new.uids = new.uids + array("I", uids)
            new.received = new.received + array("q", received)
            new.saved = new.saved + array("q", saved)
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
        for column in ("uids", "flags", "modseqs", "received", "saved", "sizes", "fingerprints", "names"):
            old = getattr(new, column)
            rest = old[kept[0]]
            for piece in kept[1:]:
                rest.extend(old[piece])
            setattr(new, column, rest)
