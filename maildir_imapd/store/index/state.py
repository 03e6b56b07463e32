"""A folder's whole history in memory: the snapshot, and what no client sees.

A state never changes. Whoever changes a folder makes the next one first, which may fail, writes then, and puts it in
the place of the old one by one assignment, which may not (docs/rules.md, T5). So whatever fails, memory is what the
disk says, and readers need no lock.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from maildir_imapd.store.index.builder import Builder
from maildir_imapd.store.index.expunges import NO_EXPUNGES, Expunges, Range
from maildir_imapd.store.index.journal import NEVER, Batch, Stamp
from maildir_imapd.store.index.snapshot import Snapshot, empty

HISTORY_LIMIT: Final = 20_000  # ranges of expunged UIDs kept for QRESYNC
TOMB_LIMIT: Final = 5_000  # bases of messages that went without our doing
TOMB_SECONDS: Final = 14 * 86400
BOOT_LIMIT: Final = 16
# What one takes in memory.
_TOMB_OCTETS: Final = 300


class Tomb(NamedTuple):
    """The record of a message that went without our doing; times in Unix seconds, the size with CRLF line ends."""

    uid: int
    missed: int
    received: int
    size: int


@dataclass(frozen=True, slots=True)
class IndexState:
    """The checkpoint and the journal together, and how far the journal has been read."""

    snapshot: Snapshot = field(default_factory=empty)
    generation: int = 0
    position: int = 0  # in the journal of that generation: behind the last whole batch
    inode: int = 0  # of the file that is this journal; 0 where there is none
    reserve: int = 0
    boots: tuple[bytes, ...] = ()
    stamp: Stamp = NEVER
    history: Expunges = NO_EXPUNGES
    whole_above: int = 0  # the history lacks nothing above this mod-sequence
    # By base, oldest first; never written to. A base that comes back, from a backup or because a
    # listing had lied, gets its UID again (robustness rule 7).
    tombs: dict[bytes, Tomb] = field(default_factory=dict)

    @property
    def octets(self) -> int:
        """An estimate of what it takes in memory."""
        return self.snapshot.octets + self.history.octets + _TOMB_OCTETS * len(self.tombs)

    def after(self, batches: Iterable[Batch], *, position: int | None = None, inode: int | None = None) -> IndexState:
        """Return what is so when *batches*, whole ones, have been added, the last of them ending at *position*.

        *inode*: of the journal that they are in, None for the one that was read before.
        """
        new = _Successor(self)
        for batch in batches:
            new.add(batch)
        history, dropped = self.history.after(new.expunged, HISTORY_LIMIT)
        return replace(
            self,
            snapshot=new.snapshot(),
            position=self.position if position is None else position,
            inode=self.inode if inode is None else inode,
            reserve=new.reserve,
            boots=new.boots,
            stamp=new.stamp,
            history=history,
            whole_above=max(self.whole_above, dropped),
            tombs=new.tombs if new.tombs is not None else self.tombs,
        )


class _Successor:
    """The next state in the making; what a batch leaves alone is the old one's own."""

    def __init__(self, old: IndexState) -> None:
        self._old = old
        self._builder = Builder(old.snapshot)
        self._touched = False
        self.reserve, self.boots, self.stamp = old.reserve, old.boots, old.stamp
        self.expunged: list[Range] = []
        self.tombs: dict[bytes, Tomb] | None = None

    def add(self, batch: Batch) -> None:
        """Move on by one batch."""
        if batch.vanished:
            self._bury(self._builder.snapshot, batch)
        if batch.touches():
            self._builder.apply(batch)
            self._touched = True
        if batch.reserve is not None:
            self.reserve = max(self.reserve, batch.reserve)
        if batch.boot is not None and batch.boot not in self.boots:
            self.boots = (*self.boots, batch.boot)[-BOOT_LIMIT:]
        if batch.stamp is not None:
            self.stamp = batch.stamp
        self._raise_the_dead(batch)
        self.expunged += [(batch.modseq, lo, hi) for lo, hi in batch.expunged + batch.vanished]

    def snapshot(self) -> Snapshot:
        """The mailbox now; a stamp or a reserve alone is no new moment."""
        return self._builder.finish() if self._touched else self._old.snapshot

    def _bury(self, rows: Snapshot, batch: Batch) -> None:
        """Keep the bases of what vanished, while the rows that know them are still there."""
        tombs = self.tombs = dict(self._old.tombs) if self.tombs is None else self.tombs
        for lo, hi in batch.vanished:
            start, stop = rows.span(lo, hi)
            for at in range(start, stop):
                tombs.pop(rows.names[at], None)
                tomb = Tomb(rows.uids[at], batch.vanished_at, rows.received[at], rows.sizes[at])
                tombs[rows.names[at]] = tomb
        while tombs:
            oldest = next(iter(tombs))
            if len(tombs) <= TOMB_LIMIT and tombs[oldest].missed > batch.vanished_at - TOMB_SECONDS:
                break
            del tombs[oldest]

    def _raise_the_dead(self, batch: Batch) -> None:
        tombs = self._old.tombs if self.tombs is None else self.tombs
        back = [row.base for row in batch.added if row.base in tombs] if tombs else []
        if back:
            self.tombs = dict(tombs)
            for base in back:
                self.tombs.pop(base, None)
