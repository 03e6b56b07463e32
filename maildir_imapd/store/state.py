"""A folder's whole history in memory: the snapshot, and what no client sees."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from maildir_imapd.store.journal import NEVER, Batch, Stamp
from maildir_imapd.store.snapshot import Builder, Snapshot, empty

HISTORY_LIMIT: Final = 20_000  # ranges of expunged UIDs kept for QRESYNC
TOMB_LIMIT: Final = 5_000  # bases of messages that went without our doing
TOMB_SECONDS: Final = 14 * 86400
BOOT_LIMIT: Final = 16


class Tomb(NamedTuple):
    """What is left of a message that went without our doing; times in Unix seconds, the size with CRLF line ends."""

    uid: int
    missed: int
    received: int
    size: int


@dataclass(slots=True)
class State:
    """What the checkpoint and the journal say together. Guarded by the mailbox's lock; the snapshot is handed out."""

    snapshot: Snapshot = field(default_factory=empty)
    generation: int = 0
    position: int = 0  # in the journal of that generation: behind the last whole batch
    reserve: int = 0
    boots: tuple[bytes, ...] = ()
    stamp: Stamp = NEVER
    history: deque[tuple[int, int, int]] = field(default_factory=deque)  # mod-sequence, first and last UID
    whole_above: int = 0  # the history lacks nothing above this mod-sequence
    # By base, oldest first. A base that comes back, from a backup or because a
    # listing had lied, gets its UID again (robustness rule 7).
    tombs: dict[bytes, Tomb] = field(default_factory=dict)

    def apply_all(self, batches: Iterable[Batch]) -> None:
        """Move on by whole batches."""
        builder = Builder(self.snapshot)
        touched = False
        for batch in batches:
            if batch.vanished:
                self._bury(builder.snapshot, batch)
            if batch.touches():
                builder.apply(batch)
                touched = True
            self._note(batch)
        if touched:  # a stamp or a reserve alone is no new moment
            self.snapshot = builder.finish()

    def _bury(self, rows: Snapshot, batch: Batch) -> None:
        """Keep the bases of what vanished, while the rows that know them are still there."""
        for lo, hi in batch.vanished:
            start, stop = rows.span(lo, hi)
            for at in range(start, stop):
                self.tombs.pop(rows.names[at], None)
                tomb = Tomb(rows.uids[at], batch.vanished_at, rows.received[at], rows.sizes[at])
                self.tombs[rows.names[at]] = tomb
        while self.tombs:
            oldest = next(iter(self.tombs))
            if len(self.tombs) <= TOMB_LIMIT and self.tombs[oldest].missed > batch.vanished_at - TOMB_SECONDS:
                break
            del self.tombs[oldest]

    def _note(self, batch: Batch) -> None:
        if batch.reserve is not None:
            self.reserve = max(self.reserve, batch.reserve)
        if batch.boot is not None and batch.boot not in self.boots:
            self.boots = (*self.boots, batch.boot)[-BOOT_LIMIT:]
        if batch.stamp is not None:
            self.stamp = batch.stamp
        if self.tombs:
            for row in batch.added:
                self.tombs.pop(row.base, None)
        for lo, hi in batch.expunged + batch.vanished:
            self.history.append((batch.modseq, lo, hi))
        while len(self.history) > HISTORY_LIMIT:
            self.whole_above = self.history.popleft()[0]
