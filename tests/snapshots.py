"""Snapshots made by hand, for tests of the index."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from maildir_imapd.store.index import chunks, snapshot
from maildir_imapd.store.index.builder import applied
from maildir_imapd.store.index.journal import Added, Batch
from maildir_imapd.store.index.snapshot import Snapshot, empty


def added(uid: int, flags: int = 0) -> Added:
    return Added(uid, flags, uid + 1000, uid + 2000, uid + 3000, b"%d.h" % uid)


def box(*uids: int, flags: int = 0) -> Snapshot:
    return applied(empty(7), [Batch(modseq=1, uidnext=max(uids, default=0) + 1, added=[added(u, flags) for u in uids])])


Row = tuple[int, int, int, int, bytes, frozenset[int]]


def rows(moment: Snapshot) -> list[Row]:
    return [
        (uid, flags, modseq, size, name, moment.extra.get(uid, frozenset()))
        for uid, flags, modseq, size, name in zip(
            moment.uids, moment.flags, moment.modseqs, moment.sizes, moment.names, strict=True
        )
    ]


@contextmanager
def in_small_pieces(*, piece: int = 3, large: int = 4) -> Iterator[None]:
    """Have columns in pieces as only very large mailboxes have them."""
    small = {"PIECE": piece, "LARGE": large, "_BLOCK": 2}
    usual = {name: getattr(chunks, name) for name in small}
    stretch = snapshot._STRETCH
    try:
        for name, value in small.items():
            setattr(chunks, name, value)
        snapshot._STRETCH = 2  # type: ignore[misc]  # for tests alone
        yield
    finally:
        for name, value in usual.items():
            setattr(chunks, name, value)
        snapshot._STRETCH = stretch  # type: ignore[misc]
