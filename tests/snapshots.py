"""Snapshots made by hand, for tests of the index."""

from __future__ import annotations

from maildir_imapd.store.index.builder import applied
from maildir_imapd.store.index.journal import Added, Batch
from maildir_imapd.store.index.snapshot import Snapshot, empty


def added(uid: int, flags: int = 0) -> Added:
    return Added(uid, flags, uid + 1000, uid + 2000, uid + 3000, b"%d.h" % uid)


def box(*uids: int, flags: int = 0) -> Snapshot:
    return applied(empty(7), [Batch(modseq=1, uidnext=max(uids, default=0) + 1, added=[added(u, flags) for u in uids])])


Row = tuple[int, int, int, int, bytes, frozenset[int]]


def rows(snapshot: Snapshot) -> list[Row]:
    return [
        (uid, flags, modseq, size, name, snapshot.extra.get(uid, frozenset()))
        for uid, flags, modseq, size, name in zip(
            snapshot.uids, snapshot.flags, snapshot.modseqs, snapshot.sizes, snapshot.names, strict=True
        )
    ]
