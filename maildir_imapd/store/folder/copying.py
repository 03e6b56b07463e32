"""Copying and moving messages between folders. Each function runs under the locks of both.

Folder first, journal second: see index.py.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from maildir_imapd import errors
from maildir_imapd.store.disk import durable
from maildir_imapd.store.folder import changes, compare
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
    # Of two accounts one pays, and the other gets back what it had.
    within = move and source.keeping.quota is target.keeping.quota
    batch = Batch()
    done: list[bytes] = []
    try:
        _fill(source, target, zip(positions, range(first, first + len(uids)), strict=True), batch, done, keep, mapped)
        if quota is not None and not (within and quota.alike):
            quota.add(_difference(quota, source, target, list(zip(positions, batch.added, strict=True)), move=within))
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
        target.standing.check_place()
        changes.expunge(source, uids, moved=within, keep=shown)
    return pairs


def _fill(
    source: Folder,
    target: Folder,
    which: Iterable[tuple[int, int]],
    batch: Batch,
    done: list[bytes],
    keep: int,
    mapped: dict[int, int],
) -> None:
    """Make copies of messages, each (position in *source*, new UID): rows go to *batch*, paths to *done*."""
    rows, names, flags = source.rows, source.rows.names, source.rows.flags
    # Where nobody has looked at the files the look that a link needs tells all, of these and of no others.
    seen = rows.seen
    # Of a file that is somebody else's a second name would leave the message in his hands.
    alone = os.fstat(source.fd).st_uid != os.fstat(target.fd).st_uid
    carry: dict[int, Flags] = {}  # most messages have the flags of many others
    now = int(filename.unique().partition(b".")[0])
    mark, usual, odd = target.files.mark, source.files.mark, source.files.odd
    for at, uid in which:
        base, had = names[at], flags[at]
        carried = carry.get(had)
        if carried is None or rows.extra:
            carried = carry[had] = _carried(rows.flags_at(at), keep, mapped)
        base = filename.sized(filename.unique(), filename.disk_size(base), filename.wire_size(base))
        path = filename.render(base, carried.bits, mark)
        place = odd.get(names[at]) or filename.render(names[at], had, usual)
        copied = _duplicate(source, at, place, target, path, look=not seen, alone=alone)
        done.append(path)
        bits = carried.bits | RECENT
        if copied.status is not None:
            batch.added.append(compare.describe(uid, base, copied.status, bits, saved=now))
        else:
            fingerprint = rows.fingerprints[at] if copied.linked else 0
            batch.added.append(Added(uid, bits, rows.received[at], now, rows.sizes[at], base, fingerprint))
        if carried.more:
            batch.worded.append(([(uid, uid)], carried.more, _NO_WORDS))


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


@dataclass(frozen=True, slots=True)
class _Copied:
    """One message's second name, or copy. *status*: of the file, where it was looked at and has the name."""

    linked: bool
    status: os.stat_result | None = None


_LINKED: Final = _Copied(linked=True)
_COPIED: Final = _Copied(linked=False)


def _duplicate(
    source: Folder, at: int, place: bytes, target: Folder, path: bytes, *, look: bool, alone: bool
) -> _Copied:
    """Give the message at position *at*, which should be at *place*, a second name in *target*, or a copy there.

    With *look* its file is looked at, too; *alone*: it must be a copy.
    """
    for _ in range(_TRIES):
        try:
            copied = _COPIED if alone else _link(source, place, target, path, look=look)
            if not copied.linked:
                mode, owner = target.directories.mode, source.files.owner
                delivery.copy_bytes(place, path, source.fd, target.fd, mode, owner)
            return copied
        except FileNotFoundError:
            # Race: another client changed the flags, and with them the file name. Look again.
            found = source.files.locate().get(source.rows.names[at])
            if found is None:
                break
            place = found
    source.files.suspect()
    raise errors.MessageGone(detail=os.fsdecode(source.path))


def _link(source: Folder, place: bytes, target: Folder, path: bytes, *, look: bool) -> _Copied:
    """Give the file at *place* a second name; ``_COPIED`` where only a copy will do, and is still to be made."""
    copied = _LINKED
    if look or source.files.owner is not None:
        status = os.stat(place, dir_fd=source.fd, follow_symlinks=False)
        if stat.S_ISLNK(status.st_mode):
            if source.files.owner is not None:
                return _COPIED  # a second name of a link would lead elsewhere, or nowhere, from another directory
        elif look:
            copied = _Copied(linked=True, status=status)
    try:
        durable.link(place, path, source.fd, target.fd)
    except OSError as error:
        if error.errno not in durable.CANNOT_LINK:
            raise
        return _COPIED
    return copied
