"""Copying and moving messages between folders. Each function runs under the locks of both.

Folder first, journal second: see index.py.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

from maildir_imapd import errors
from maildir_imapd.store.disk import durable
from maildir_imapd.store.folder import changes
from maildir_imapd.store.folder.folder import Folder
from maildir_imapd.store.index.journal import Added, Batch
from maildir_imapd.store.maildir import delivery, filename
from maildir_imapd.store.maildir.filename import INTERNAL_BITS, KEYWORD_BITS, RECENT
from maildir_imapd.store.maildir.flags import Flags, of_keywords
from maildir_imapd.store.records.quota import NOTHING, Amount, Quota

_TRIES: Final = 10
_NO_WORDS: Final[frozenset[int]] = frozenset()


def _make_room(source: Folder, target: Folder, count: int) -> int:
    """Return the first of *count* UIDs in *target*; raises MailboxMissing when that took their UIDs from *source*."""
    if source is not target:
        return target.allocate(count)
    try:
        return target.index.allocate(count)
    except errors.OutOfUids:
        before = target.rows.uidvalidity
        target.index.number_anew()
        raise errors.MailboxMissing(detail=f"{os.fsdecode(target.path)}: UIDVALIDITY is no longer {before}") from None


def copy(
    source: Folder, target: Folder, uids: Sequence[int], *, move: bool, keep: int, shown: bool = False
) -> list[tuple[int, int]]:
    """Copy or move messages, all or none; both folders are locked, or they are the same one.

    *keep*: the flags that come along; with any bit of a keyword all keywords do. *shown*: somebody still shows those
    that are moved (kept.py).

    A copy is a second name of the same file. A move is a copy that is on record, and on the disk, before the
    first name goes: a crash in between leaves the message twice, never not at all.
    """
    rows = source.rows
    positions = rows.positions(uids)
    if any(at < 0 for at in positions):
        raise errors.MessageGone(detail=os.fsdecode(source.path))
    first = _make_room(source, target, len(uids))
    unseen = target.unseen_change()
    mapped = _map_keywords(source, target, positions) if keep & KEYWORD_BITS else {}
    quota = changes.counted(target)
    batch = Batch()
    done: list[bytes] = []
    now = int(filename.unique().partition(b".")[0])
    try:
        for uid, at in enumerate(positions, first):
            carried = _carried(rows.flags_at(at), keep, mapped)
            bits = carried.bits
            base = rows.names[at]
            base = filename.sized(filename.unique(), filename.disk_size(base), filename.wire_size(base))
            path = filename.render(base, bits, target.files.mark)
            linked = _duplicate(source, at, target, path)
            done.append(path)
            mark = rows.fingerprints[at] if linked else 0
            batch.added.append(Added(uid, bits | RECENT, rows.received[at], now, rows.sizes[at], base, mark))
            if carried.more:
                batch.worded.append(([(uid, uid)], carried.more, _NO_WORDS))
        if quota is not None and not (move and quota.counts_deleted):
            quota.add(_difference(quota, source, target, list(zip(positions, batch.added, strict=True)), move=move))
        target.stamp_own(batch, unseen)
        target.commit(batch, keep=False)
    except Exception:
        # Nothing of it is on record.
        target.doubt_quota()
        for path in done:
            try:
                durable.unlink(path, target.fd)
            except OSError:
                pass  # it stays, a copy too many and not one too few; the first error is the one to tell
        raise
    pairs = [(old, row.uid) for old, row in zip(uids, batch.added, strict=True)]
    if move:
        if target.keeping.fsync != "never":
            target.sync()
        # Who deletes a folder takes no lock of it: what lies in one that is going must not be all there is.
        target.directories.check_place()
        changes.expunge(source, uids, moved=True, keep=shown)
    return pairs


def _carried(flags: Flags, keep: int, mapped: dict[int, int]) -> Flags:
    """Return the flags of a copy: those in *keep*, and keywords under the numbers that they have in its folder."""
    kept = Flags(flags.bits & keep & ~(KEYWORD_BITS | INTERNAL_BITS))
    if not mapped:
        return kept
    return kept | of_keywords(mapped[number] for number in flags.keywords if number in mapped)


def _difference(quota: Quota, source: Folder, target: Folder, pairs: list[tuple[int, Added]], *, move: bool) -> Amount:
    """Return what copying or moving messages, (position in *source*, row in *target*), means for the quota."""
    change = NOTHING
    for at, row in pairs:
        size = changes.size_at(source, at)
        if quota.counts(target.path, row.flags):
            change = change.plus(size)
        if move and quota.counts(source.path, source.rows.flags[at]):
            change = change.plus(size.minus())
    return change


def _map_keywords(source: Folder, target: Folder, positions: Sequence[int]) -> dict[int, int]:
    """Return which number each keyword of the messages has in the other folder, naming new ones there."""
    rows = source.rows
    if source is target:
        return {number: number for number, name in enumerate(rows.keywords) if name}
    used: set[int] = set()
    for flags in set(rows.flags_of([rows.uids[at] for at in positions])):
        if flags is not None:
            used.update(flags.keywords)
    names = {n: rows.keywords[n] for n in used if n < len(rows.keywords) and rows.keywords[n]}
    known = changes.name_keywords(target, list(names.values()))
    return {number: known[name] for number, name in names.items()}


def _duplicate(source: Folder, at: int, target: Folder, path: bytes) -> bool:
    """Give the message at position *at* a second name in *target*, or a copy there; say which."""
    place = source.place(at)
    for _ in range(_TRIES):
        try:
            linked = _link(source, place, target, path)
            if not linked:
                mode, owner = target.directories.mode, source.files.owner
                delivery.copy_bytes(place, path, source.fd, target.fd, mode, owner)
            return linked
        except FileNotFoundError:
            # Race: another client changed the flags, and with them the file name. Look again.
            found = source.files.locate().get(source.rows.names[at])
            if found is None:
                break
            place = found
    source.files.suspect()
    raise errors.MessageGone(detail=os.fsdecode(source.path))


def _link(source: Folder, place: bytes, target: Folder, path: bytes) -> bool:
    """Give the file at *place* a second name; False where only a copy will do."""
    if source.files.owner is not None and source.files.is_link(place):
        return False  # a second name of a link would lead elsewhere, or nowhere, from another directory
    try:
        durable.link(place, path, source.fd, target.fd)
    except OSError as error:
        if error.errno not in durable.CANNOT_LINK:
            raise
        return False
    return True
