"""A folder whose messages lie in other folders: an index of its own, brought to agree with what they have.

A row's base is a reference: the key of the folder that has the message, and its UID there. UIDs, mod-sequences, what
was expunged and \\Recent are the overlay's own, as any folder's; its cur/ and new/ are there and empty, and nobody
looks into them. All but ``places`` runs under the overlay's lock, and takes none of another folder: what is agreed with
was looked at before.
"""

from __future__ import annotations

import errno
import math
import os
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from maildir_imapd import errors
from maildir_imapd.events import Log
from maildir_imapd.store.disk import durable
from maildir_imapd.store.folder.folder import Folder
from maildir_imapd.store.index.constants import LAST_UID
from maildir_imapd.store.index.journal import NEVER, Added, Batch, Stamp, to_ranges
from maildir_imapd.store.index.snapshot import Snapshot, empty
from maildir_imapd.store.index.state import IndexState
from maildir_imapd.store.maildir import keywords, scan
from maildir_imapd.store.maildir.filename import KEYWORD_BITS, RECENT, SEEN, SYSTEM_BITS, VISIBLE_BITS
from maildir_imapd.store.maildir.flags import Flags, of_keywords

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence, Set

log = Log(__name__)

# By the key of a folder, of its messages that the overlay has: the UID there, and the overlay's own.
Where = dict[bytes, dict[int, int]]

_NOWHERE: Final[dict[int, int]] = {}
_NO_WORDS: Final[frozenset[int]] = frozenset()


class OverlayFolder(Folder):
    """See the module."""

    def refresh(self, *, look: bool = False, keep_new: bool = False) -> None:
        """Find nothing: what lies in the directories is no message of it."""

    def due_at(self, seen: tuple[int, int, int, int]) -> float:
        """Never."""
        return math.inf

    def recheck(self) -> float | None:
        """Never."""
        return None

    def adopt(self) -> None:
        """Make an index without messages."""
        another = self.index.another_uidvalidity if self.index.writable else partial(_by_place, self.fd)
        state = IndexState(snapshot=empty(another()), stamp=NEVER)
        try:
            if not self.index.writable:
                raise OSError(errno.EROFS, os.strerror(errno.EROFS))
            self.index.create(state)
        except OSError as error:
            if not durable.cannot_write(error):
                raise
            log.warning("index in memory only", path=self.directories.index_path, why=error)
            self.index.imagine(state)


def _by_place(folder: int) -> int:
    """Return a UIDVALIDITY where none can be kept: the same one for as long as nobody touches the directory."""
    return max(max(scan.look(folder)) // 1_000_000_000 % (1 << 32), 1)


def base_of(key: bytes, uid: int) -> bytes:
    """Write a reference to a message."""
    return b"%b.%d" % (key, uid)


def reference(base: bytes) -> tuple[bytes, int]:
    """Read a reference; what is none leads nowhere."""
    key, _, uid = base.rpartition(b".")
    return (key, int(uid)) if uid.isdigit() else (b"", 0)


def places(rows: Snapshot) -> Where:
    """Say where the messages of an overlay lie."""
    found: Where = {}
    for uid, base in zip(rows.uids, rows.names, strict=True):
        key, theirs = reference(base)
        found.setdefault(key, {})[theirs] = uid
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Overlaid:
    """One folder at one moment: *found* are the UIDs of those of its messages that the overlay is to have."""

    key: bytes
    rows: Snapshot
    found: Set[int]


class Agreeing:
    """One batch on its way, which brings an overlay to agree with its parts; *where* its messages are.

    *lingers*: those that are no longer to be there, but still lie in their folder, stay.
    """

    own_flags = 0
    """Those that are the overlay's own, whatever is so in its parts."""

    def __init__(self, folder: Folder, where: Where, *, lingers: bool) -> None:
        self._folder = folder
        self._where = where
        self._lingers = lingers
        self._batch = Batch()
        self._gone: list[tuple[int, bytes, int]] = []  # our UID, key, UID there
        self._fresh: list[tuple[int, int, int, Overlaid, int]] = []  # received, number of the part, UID, part, position
        self._parts = 0
        self._flagged: dict[tuple[int, int], list[int]] = {}
        self._worded: dict[tuple[frozenset[int], frozenset[int]], list[int]] = {}
        self._numbers: dict[bytes, int] | None = None  # of our keywords, by name in small letters

    def drop(self, key: bytes) -> None:
        """Let go of all that is of one folder."""
        self._gone += [(mine, key, uid) for uid, mine in self._where.get(key, _NOWHERE).items()]

    def take(self, part: Overlaid, look: Iterable[int], *, files: bool) -> None:
        """See to messages of one folder, by their UIDs there; *files*: their sizes may be others, too."""
        ours, rows, found = self._folder.rows, part.rows, part.found
        have = self._where.get(part.key, _NOWHERE)
        uids = sorted(look)
        made: dict[tuple[int, frozenset[int]], Flags] = {}
        self._parts += 1
        for uid, at in zip(uids, rows.positions(uids), strict=True):
            mine = have.get(uid)
            if at < 0 or (uid not in found and not self._lingers):
                if mine is not None:
                    self._gone.append((mine, part.key, uid))
                continue
            if mine is None:
                if uid in found:
                    self._fresh.append((rows.received[at], self._parts, uid, part, at))
                continue
            here = ours.position(mine)
            had, has = ours.flags_at(here), self._flags(rows, at, made)
            old = had.bits & VISIBLE_BITS
            new = has.bits & ~self.own_flags | old & self.own_flags
            if old != new:
                self._flagged.setdefault((new & ~old, old & ~new), []).append(mine)
            if had.more != has.more:
                self._worded.setdefault((has.more - had.more, had.more - has.more), []).append(mine)
            if files and (rows.sizes[at], rows.fingerprints[at]) != (ours.sizes[here], ours.fingerprints[here]):
                self._batch.rewritten.append((mine, rows.sizes[at], rows.fingerprints[at]))

    def _flags(self, rows: Snapshot, at: int, made: dict[tuple[int, frozenset[int]], Flags]) -> Flags:
        """The flags of a message, with keywords by our numbers."""
        bits = rows.flags[at] & VISIBLE_BITS
        more = rows.extra.get(rows.uids[at], _NO_WORDS) if rows.extra else _NO_WORDS
        known = made.get((bits, more))
        if known is None:
            names = [rows.keywords[n] for n in Flags(bits, more).keywords if n < len(rows.keywords)]
            numbers = [number for name in names if name and (number := self._number(name)) >= 0]
            known = made[bits, more] = Flags(bits & SYSTEM_BITS) | of_keywords(numbers)
        return known

    def _number(self, name: bytes) -> int:
        """Return our number of a keyword, which may be a new one; -1 where there are too many."""
        numbers = self._numbers
        if numbers is None:
            known = enumerate(self._folder.rows.keywords)
            numbers = self._numbers = {word.lower(): number for number, word in known if word}
        found = numbers.get(name.lower())
        if found is None:
            if len(numbers) >= keywords.LIMIT:
                return -1
            taken = set(numbers.values())
            found = next(number for number in range(len(taken) + 1) if number not in taken)
            numbers[name.lower()] = found
            self._batch.keywords[found] = name
        return found

    def commit(self, stamp: Stamp | None) -> None:
        """Write the batch, if there is anything to say, and note in *where* what lies where; raises OSError.

        *stamp*: the moment that it agrees with, None where that is not known for sure.
        """
        folder, batch = self._folder, self._batch
        self._give_uids()
        batch.flagged = [(to_ranges(sorted(uids)), add, less) for (add, less), uids in self._flagged.items()]
        batch.worded += [(to_ranges(sorted(uids)), more, less) for (more, less), uids in self._worded.items()]
        if self._gone:
            batch.expunged = to_ranges(sorted(mine for mine, *_ in self._gone))
        if stamp is not None and stamp != folder.index.state.stamp:
            batch.stamp = stamp
        if batch.stamp is None and not batch.touches():
            return
        try:
            folder.commit(batch)
        except OSError as error:
            if not batch.added or not durable.cannot_write(error):
                raise
            # As in any folder: new messages need UIDs on record, and are found again when there is room.
            log.warning("no room for new messages", path=folder.path, why=error)
            fresh = {row.uid for row in batch.added}
            batch.worded = [each for each in batch.worded if each[0][0][0] not in fresh]
            batch.added, batch.stamp, batch.boot, batch.raised = [], None, None, None
            if batch.touches():
                folder.commit(batch)
        for mine, key, uid in self._gone:
            if self._where[key].get(uid) == mine:
                del self._where[key][uid]
        for row in batch.added:
            key, uid = reference(row.base)
            self._where.setdefault(key, {})[uid] = row.uid

    def _give_uids(self) -> None:
        """Make rows of what is new: of one folder in its order, of several by when they were received."""
        fresh = self._fresh
        if not fresh:
            return
        if len({number for _, number, *_ in fresh}) > 1:
            fresh.sort(key=lambda each: each[:3])
        first = self._first()
        if not first:
            return
        recent = self._recent()
        made: dict[int, dict[tuple[int, frozenset[int]], Flags]] = {}
        for uid, (received, number, theirs, part, at) in enumerate(fresh, first):
            rows = part.rows
            flags = self._flags(rows, at, made.setdefault(number, {}))
            base = base_of(part.key, theirs)
            bits = flags.bits | recent
            size, fingerprint = rows.sizes[at], rows.fingerprints[at]
            self._batch.added.append(Added(uid, bits, received, rows.saved[at], size, base, fingerprint))
            if flags.more:
                self._batch.worded.append(([(uid, uid)], flags.more, _NO_WORDS))

    def _recent(self) -> int:
        """The bit of \\Recent for what is new: at the first look nothing is."""
        state = self._folder.index.state
        return 0 if state.stamp == NEVER and state.snapshot.uidnext == 1 else RECENT

    def _first(self) -> int:
        """The first UID of those for what is new; 0 where there are none, and it waits."""
        index, count = self._folder.index, len(self._fresh)
        try:
            return index.allocate(count)
        except errors.OutOfUids:
            before = self._folder.rows
            if len(before) + count < LAST_UID // 2:
                index.number_anew()
                # All that was found is by UIDs of before: whoever looks next begins anew.
                raise errors.MailboxMissing(detail=f"UIDVALIDITY is no longer {before.uidvalidity}") from None
            log.warning("no UID for new messages", path=self._folder.path)
        except OSError as error:
            if not durable.cannot_write(error):
                raise
            log.warning("no room for new messages", path=self._folder.path, why=error)
        return 0


class PrivateFolder(OverlayFolder):
    """An overlay of one folder, with its UIDs and its UIDVALIDITY, which ``keeping.uidvalidity`` gives."""

    def adopt(self) -> None:
        """Make an index without messages; mod-sequences begin where no lost one can have come to."""
        modseq = int(time.time())
        try:
            if not self.index.writable:
                raise OSError(errno.EROFS, os.strerror(errno.EROFS))
            self.begin_again(modseq)
        except OSError as error:
            if not durable.cannot_write(error):
                raise
            log.warning("index in memory only", path=self.directories.index_path, why=error)
            self.index.imagine(IndexState(snapshot=empty(self.keeping.uidvalidity(), modseq=modseq), stamp=NEVER))

    def begin_again(self, modseq: int) -> None:
        """Begin a history anew, in which nothing is; under the lock.  Raises OSError."""
        self.index.create(IndexState(snapshot=empty(self.keeping.uidvalidity(), modseq=modseq), stamp=NEVER), reserve=0)


class AgreeingPrivately(Agreeing):
    """As Agreeing, of an overlay that has the UIDs of its only part, and \\Seen for itself.

    *seen*: UIDs of messages that have it when they come.
    """

    own_flags = SEEN

    def __init__(self, folder: Folder, where: Where, *, seen: Set[int] = frozenset()) -> None:
        super().__init__(folder, where, lingers=False)
        self._seen = seen

    def _give_uids(self) -> None:
        recent = self._recent()
        made: dict[tuple[int, frozenset[int]], Flags] = {}
        for received, _, uid, part, at in sorted(self._fresh, key=lambda each: each[2]):
            rows = part.rows
            flags = self._flags(rows, at, made)
            bits = flags.bits & ~SEEN | (SEEN if uid in self._seen else 0) | recent
            size, fingerprint = rows.sizes[at], rows.fingerprints[at]
            row = Added(uid, bits, received, rows.saved[at], size, base_of(part.key, uid), fingerprint)
            self._batch.added.append(row)
            if flags.more:
                self._batch.worded.append(([(uid, uid)], flags.more, _NO_WORDS))

    def up_to(self, uidnext: int) -> None:
        """Let no UID below *uidnext* be one that is to come."""
        if uidnext > self._folder.rows.uidnext:
            self._batch.raised = uidnext


def mark_seen(folder: Folder, uids: Sequence[int], *, seen: bool, since: int | None) -> tuple[list[int], list[int]]:
    """Give messages (UIDs rising) \\Seen, or take it from them, in the overlay alone; under its lock.

    Returns those that have another flag now, and those that have changed after *since* and are left.  Raises OSError.
    """
    rows = folder.rows
    changed, left = [], []
    for uid, at in zip(uids, rows.positions(uids), strict=True):
        if at < 0:
            continue
        if since is not None and rows.modseqs[at] > since:
            left.append(uid)
        elif bool(rows.flags[at] & SEEN) is not seen:
            changed.append(uid)
    if changed:
        folder.commit(Batch(flagged=[(to_ranges(changed), SEEN if seen else 0, 0 if seen else SEEN)]))
    return changed, left


def masked(flags: Flags, mask: int) -> Flags:
    """Return those of *flags* that are in *mask*, where keywords are in it all or none."""
    more = flags.more if mask & KEYWORD_BITS else _NO_WORDS
    return Flags(flags.bits & mask, more)
