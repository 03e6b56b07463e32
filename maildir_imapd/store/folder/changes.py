"""Changing messages: flags, expunge, and taking in. Each function runs under the folder's lock; copies: copying.py.

Folder first, journal second: see index.py.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from maildir_imapd import errors
from maildir_imapd.events import Log
from maildir_imapd.store.disk import durable
from maildir_imapd.store.folder import compare
from maildir_imapd.store.folder.folder import Folder
from maildir_imapd.store.index.journal import SIZE_UNKNOWN, Added, Batch, to_ranges
from maildir_imapd.store.index.snapshot import Snapshot
from maildir_imapd.store.maildir import delivery, filename, keywords
from maildir_imapd.store.maildir.filename import (
    DELETED,
    IN_NEW,
    INFO_BITS,
    RECENT,
    VISIBLE_BITS,
)
from maildir_imapd.store.maildir.flags import NO_FLAGS, Flags, of_keywords
from maildir_imapd.store.records.quota import NOTHING, Amount, Quota, size_of

log = Log(__name__)

_TRIES: Final = 10
# Messages that STORE and EXPUNGE change under one hold of the lock: a twentieth of a second's work.
_PIECE_MESSAGES: Final = 2000
_NO_WORDS: Final[frozenset[int]] = frozenset()


def pieces(uids: Sequence[int]) -> list[Sequence[int]]:
    """Cut work that need not be done in one go, so that nobody waits long for the lock; at least one piece."""
    return [uids[start : start + _PIECE_MESSAGES] for start in range(0, len(uids), _PIECE_MESSAGES)] or [uids]


@dataclass(frozen=True, slots=True)
class FlagChange:
    """The change that STORE asks for. With *replace*, all flags a client can see become *add*."""

    add: Flags = NO_FLAGS
    remove: Flags = NO_FLAGS
    replace: bool = False

    def bits(self, old: int) -> int:
        """Return the bits of a message that had *old*. Letters without an IMAP meaning stay."""
        if self.replace:
            return (old & ~VISIBLE_BITS) | self.add.bits
        return (old & ~self.remove.bits) | self.add.bits

    def more(self, old: frozenset[int]) -> frozenset[int]:
        """Return the keywords without a bit."""
        return self.add.more if self.replace else (old - self.remove.more) | self.add.more


@dataclass(slots=True)
class Outcome:
    """The outcome for the messages."""

    modified: list[int]
    gone: list[int]
    changed: list[int]

    def add(self, more: Outcome) -> None:
        """Take in what became of others."""
        self.modified += more.modified
        self.gone += more.gone
        self.changed += more.changed


# What is to become of one message: UID, position, its flags now and then. A bare tuple: there is one for each message.
Wish = tuple[int, int, int, int]


@dataclass(slots=True)
class Renaming:
    """How far ``rename_all`` has come."""

    done: list[Wish] = field(default_factory=list)  # the file says so now, or need not
    lost: list[Wish] = field(default_factory=list)  # no file where it should be, or another one in its way
    renamed: bool = False  # we changed a directory ourselves


def set_flags(folder: Folder, uids: Sequence[int], change: FlagChange, unchanged_since: int | None) -> Outcome:
    """Change flags of messages (UIDs rising): one rename a message, one batch for all.

    Raises OSError when one cannot be renamed; what was changed until then is on record.
    """
    rows = folder.rows
    # Before the first rename: afterwards nobody could tell a stamp of ours from somebody else's.
    unseen = folder.unseen_change()
    wishes, outcome = wanted(rows, uids, change, unchanged_since)
    work = Renaming()
    trouble: OSError | None = None
    try:
        rename_all(folder, wishes, work)
        if work.lost:
            outcome.gone += _rename_lost(folder, change, work)
    except OSError as error:
        trouble = error
    _count_deleted(folder, work.done)
    batch, outcome.changed = batch_of(rows, work.done, change)
    if work.renamed:
        folder.stamp_own(batch, unseen)
    if batch.flagged or batch.worded:
        # Even after trouble: what was renamed was renamed.
        folder.commit(batch)
    if trouble is not None:
        raise trouble
    return outcome


def wanted(
    rows: Snapshot, uids: Sequence[int], change: FlagChange, unchanged_since: int | None
) -> tuple[list[Wish], Outcome]:
    """Say what is to become of which message, in the order of *uids*, and which are not to be touched."""
    wishes: list[Wish] = []
    outcome = Outcome([], [], [])
    flags, modseqs = rows.flags, rows.modseqs
    # A mailbox has hundreds of messages with the same flags.
    results: dict[int, int] = {}
    for uid, at in zip(uids, rows.positions(uids), strict=True):
        if at < 0:
            outcome.gone.append(uid)
        elif unchanged_since is not None and modseqs[at] > unchanged_since:
            outcome.modified.append(uid)
        else:
            old = flags[at]
            new = results.get(old)
            if new is None:
                new = results[old] = change.bits(old)
            wishes.append((uid, at, old, new))
    return wishes, outcome


# For so many messages not all names are had: in a large mailbox nobody may need them otherwise.
FEW_NAMES: Final = 4


def rename_all(folder: Folder, wishes: list[Wish], work: Renaming) -> None:
    """Give each file the name that its flags ask for; raises OSError for one that cannot have it, and stops there.

    The loop that STORE 1:* +FLAGS spends its time in: for each message a rename, the two names put together from
    parts that are there, and no call of ours but durable's.
    """
    fd, odd = folder.fd, folder.files.odd
    name = folder.rows.name if len(wishes) <= FEW_NAMES else folder.rows.names.__getitem__
    infos, longest = _Infos(folder.files.mark), filename.LONGEST_BASE
    for wish in wishes:
        _, at, old, new = wish
        if (old ^ new) & INFO_BITS:
            base = name(at)
            try:
                if old & IN_NEW or base in odd or len(base) > longest:
                    # Not where names say: in new/, which it leaves with its first flag, or under an odd name.
                    folder.files.rename(base, folder.place(at), new)
                    wish = (*wish[:3], new & ~IN_NEW)
                else:
                    try:
                        durable.rename(b"cur/%b%b" % (base, infos[old]), b"cur/%b%b" % (base, infos[new]), fd, fd)
                    except FileExistsError:
                        # Another message has that name, base and all; it is given one of its own.
                        folder.files.rename(base, folder.place(at), new)
                work.renamed = True
            except OSError as error:
                # Race: another program has renamed it, or it is gone. Or it never had a name that would be too long.
                if not isinstance(error, (FileNotFoundError, FileExistsError)) and error.errno != errno.ENAMETOOLONG:
                    raise
                work.lost.append(wish)
                continue
        work.done.append(wish)


class _Infos(dict[int, bytes]):
    """The info part of a name for flags, made once for all messages that have them."""

    def __init__(self, mark: bytes) -> None:
        super().__init__()
        self._mark = mark

    def __missing__(self, bits: int) -> bytes:
        made = self[bits] = filename.info(bits, self._mark)
        return made


def _rename_lost(folder: Folder, change: FlagChange, work: Renaming) -> list[int]:
    """Change the flags of messages that another program has renamed: look the base up, and try again.

    Returns the UIDs that are nowhere; raises OSError.
    """
    # Whatever comes of it: the stamp may be somebody else's.
    work.renamed = True
    lost = work.lost
    for _ in range(_TRIES):
        if not lost:
            return []
        where = folder.files.locate()
        left = []
        for wish in lost:
            uid, at, old, _ = wish
            base = folder.rows.names[at]
            path = where.get(base)
            if path is None:
                left.append(wish)
                continue
            # The change is one of the flags that it has now, which the other program may have changed, too.
            new = change.bits(compare.moved_bits(old, path[4:]))
            try:
                folder.files.rename(base, path, new)
            except (FileNotFoundError, FileExistsError):
                left.append(wish)
                continue
            work.done.append((uid, at, old, new))
        lost = left
    # Whether it is expunged, the next scan says: it looks twice.
    folder.files.suspect()
    return [uid for uid, *_ in lost]


def batch_of(rows: Snapshot, done: list[Wish], change: FlagChange) -> tuple[Batch, list[int]]:
    """Return what was done as one batch, same changes together, and the UIDs that have other flags now."""
    pairs: dict[tuple[int, int], list[int]] = {}
    worded: dict[tuple[frozenset[int], frozenset[int]], list[int]] = {}
    changed: list[int] = []
    extra = rows.extra
    # Keywords without a bit are rare: mostly no message has any, and none is to get one.
    wordless = not extra and not change.more(_NO_WORDS)
    same = (-1, -1)  # what the message before was, for most are like it
    like: list[int] = []
    for uid, _, old, new in done:
        if old != new:
            if (old, new) != same:
                same = old, new
                like = pairs.setdefault(same, [])
            like.append(uid)
        if wordless:
            if old != new:
                changed.append(uid)
            continue
        had = extra.get(uid, _NO_WORDS)
        has = change.more(had)
        if had != has:
            worded.setdefault((has - had, had - has), []).append(uid)
        if old != new or had != has:
            changed.append(uid)
    flagged: dict[tuple[int, int], list[int]] = {}
    for (old, new), uids in pairs.items():
        flagged.setdefault((new & ~old, old & ~new), []).extend(uids)
    batch = Batch()
    # Those that were looked for came last.
    batch.flagged = [(to_ranges(sorted(each)), add, remove) for (add, remove), each in flagged.items()]
    batch.worded = [(to_ranges(sorted(each)), more, less) for (more, less), each in worded.items()]
    return batch, changed


def _count_deleted(folder: Folder, done: list[Wish]) -> None:
    """Tell a quota that leaves \\Deleted out of what was marked so or is so no longer."""
    quota = counted(folder)
    if quota is None or quota.counts_deleted or not quota.counts(folder.path, 0):
        return
    change = NOTHING
    for _, at, old, new in done:
        if (old ^ new) & DELETED:
            size = size_at(folder, at)
            change = change.plus(size.minus() if new & DELETED else size)
    quota.add(change)


def counted(folder: Folder) -> Quota | None:
    """Return the account's quota if there is one to be kept."""
    quota = folder.keeping.quota
    return quota if quota is not None and quota.on else None


def amount(folder: Folder, uids: Sequence[int]) -> Amount:
    """Return what the messages take up on the disk; what is gone takes nothing."""
    return Amount(*map(sum, zip(*(size_at(folder, at) for at in folder.rows.positions(uids)), strict=True)))


def size_at(folder: Folder, at: int) -> Amount:
    """Return what the message at position *at* takes up on the disk; nothing for one that is not there."""
    if at >= 0:
        try:
            return Amount(size_of(folder.rows.names[at], folder.place(at), folder.fd), 1)
        except OSError:
            pass  # somebody has renamed or removed it; if that makes the sum wrong, a scan will doubt it
    return Amount()


def expunge(
    folder: Folder, uids: Sequence[int], *, moved: bool = False, flagged: int = 0, keep: bool = False
) -> list[int]:
    """Remove messages for good; return the UIDs that are gone now, whoever removed the file.

    *moved*: they live on elsewhere in the account, so the quota is not told. *flagged*: one that has not all of these
    flags now stays: whoever decided did so without the lock. *keep*: somebody still shows them (kept.py).
    """
    rows = folder.rows
    quota = None if moved else counted(folder)
    freed = Amount()
    by_others = False
    unseen = folder.unseen_change()
    gone: list[int] = []
    trouble: OSError | None = None
    names, flags, odd, mark = rows.names, rows.flags, folder.files.odd, folder.files.mark
    for uid, at in zip(uids, rows.positions(uids), strict=True):
        if at < 0 or flags[at] & flagged != flagged:
            continue
        counts = quota is not None and quota.counts(folder.path, flags[at])
        size = size_at(folder, at) if counts else NOTHING
        place = odd.get(names[at]) or filename.render(names[at], flags[at], mark)
        try:
            ours = _unlink(folder, at, place, flagged, keep=keep)
        except OSError as error:
            trouble = error
            break
        if ours is None:
            folder.files.suspect()
            continue
        gone.append(uid)
        if quota is not None:
            by_others = by_others or not ours or (counts and not size.messages)
            freed = freed.plus(size)
    if gone:
        if quota is not None:
            quota.add(freed.minus())
            if by_others:
                quota.doubt()
        batch = Batch(expunged=to_ranges(gone))
        folder.stamp_own(batch, unseen)
        if odd:
            for uid in gone:
                odd.pop(names[rows.position(uid)], None)
        folder.commit(batch)
    if trouble is not None:
        raise trouble
    return gone


def _remove(folder: Folder, at: int, path: bytes, *, keep: bool) -> None:
    rows = folder.rows
    if not keep or not folder.kept.put(path, rows.uidvalidity, rows.uids[at], rows.modseq):
        durable.unlink(path, folder.fd)


def _unlink(folder: Folder, at: int, place: bytes, flagged: int, *, keep: bool) -> bool | None:
    """Remove a message's file, which should be at *place*; say whether it was us who did.

    None: another program has taken back the flags that it must have, and it stays.
    """
    try:
        _remove(folder, at, place, keep=keep)
        return True
    except FileNotFoundError:
        pass
    for _ in range(_TRIES):
        # Race: another client changed the flags, and with them the file name. Look again.
        path = folder.files.locate().get(folder.rows.names[at])
        if path is None:
            return False
        if compare.moved_bits(folder.rows.flags[at], path[4:]) & flagged != flagged:
            return None
        try:
            _remove(folder, at, path, keep=keep)
        except FileNotFoundError:
            continue
        return True
    return False


def name_keywords(folder: Folder, wanted: Sequence[bytes]) -> dict[bytes, int]:
    """Return the numbers of keywords, giving one to those that are new."""
    rows = folder.rows
    known = keywords.numbers(rows.keywords, wanted)
    fresh: dict[bytes, bytes] = {}
    for name in wanted:
        if name not in known:
            fresh.setdefault(name.lower(), name)
    if not fresh:
        return known
    if len(fresh) + sum(1 for name in rows.keywords if name) > keywords.LIMIT:
        raise errors.LimitReached(why="This mailbox cannot hold more keywords")
    letters = 0
    for bits in set(rows.flags):
        letters |= bits
    file, _ = keywords.read(folder.control_fd)
    batch = Batch()
    batch.keywords = keywords.merge(rows.keywords, file)
    chosen = keywords.unused(rows.keywords, file, letters, len(fresh))
    batch.keywords.update(
        (number, name)
        for number, name in zip(chosen, fresh.values(), strict=True)
        if name.lower() not in {known.lower() for known in batch.keywords.values()}
    )
    lettered = {number: name for number, name in batch.keywords.items() if number < filename.LETTERED}
    if lettered:
        try:
            folder.write_keywords(lettered)
        except OSError as error:
            if not durable.cannot_write(error):
                raise
            # The index has them; the file follows with the next keyword.
    folder.commit(batch)
    return keywords.numbers(folder.rows.keywords, wanted)


def take_words(folder: Folder) -> None:
    """Give messages the keywords that the other server has given them."""
    wanted = folder.neighbour.take_keywords(folder.rows) if folder.neighbour is not None else {}
    if not wanted:
        return
    try:
        numbers = name_keywords(folder, sorted({name for names in wanted.values() for name in names}))
        groups: dict[Flags, list[int]] = {}
        for uid, names in wanted.items():
            groups.setdefault(of_keywords(numbers[name] for name in names), []).append(uid)
        every = of_keywords(range(len(folder.rows.keywords)))
        for chosen, uids in groups.items():
            set_flags(folder, uids, FlagChange(chosen, every - chosen), None)
    except (OSError, errors.LimitReached) as error:
        # They stay in the other server's files, and are looked at again with the next change there.
        log.warning("the other server's keywords cannot be taken", path=folder.path, why=error)


def bring_in(folder: Folder, arrivals: Sequence[tuple[delivery.Delivery, Flags, int]]) -> list[int]:
    """Give delivered files their names and UIDs: all of them or none."""
    first = folder.allocate(len(arrivals))
    unseen = folder.unseen_change()
    batch = Batch()
    quota = counted(folder)
    done: list[tuple[bytes, bytes]] = []
    now = int(filename.unique().partition(b".")[0])
    try:
        for uid, (item, flags, received) in enumerate(arrivals, first):
            bits = flags.bits & VISIBLE_BITS
            base = filename.sized(filename.unique(), item.size_disk, item.size_crlf)
            path = filename.render(base, bits, folder.files.mark)
            durable.rename(item.name, path, folder.fd, folder.fd)
            done.append((path, item.name))
            batch.added.append(Added(uid, bits | RECENT, received, now, item.size_crlf, base, item.fingerprint))
            if flags.more:
                batch.worded.append(([(uid, uid)], flags.more, _NO_WORDS))
        if quota is not None:
            sizes = [item.size_disk for item, flags, _ in arrivals if quota.counts(folder.path, flags.bits)]
            quota.add(Amount(sum(sizes), len(sizes)))
        folder.stamp_own(batch, unseen)
        folder.commit(batch, keep=False)
    except Exception:
        # Nothing of it is on record.
        folder.doubt_quota()
        for path, name in done:
            try:
                durable.rename(path, name, folder.fd, folder.fd)
            except OSError:
                pass  # then it stays, as a message that came from nowhere; the first error is the one to tell
        raise
    for item, *_ in arrivals:
        item.done()
    return [row.uid for row in batch.added]


def note_rewritten(folder: Folder, files: Sequence[tuple[int, int]]) -> None:
    """Note messages, (UID, fingerprint), that another program has written to: what they are is found anew.

    No client is told: to IMAP a message never changes.
    """
    rows = folder.rows
    known = [(uid, mark) for uid, mark in files if (at := rows.position(uid)) >= 0 and rows.fingerprints[at] != mark]
    if known:
        log.info("written to by another program", path=folder.path, messages=len(known), first=known[0][0])
        folder.commit(Batch(rewritten=[(uid, SIZE_UNKNOWN, mark) for uid, mark in known]))


def note_sizes(folder: Folder, sizes: Sequence[tuple[int, int]]) -> None:
    """Remember sizes that had to be counted."""
    rows = folder.rows
    found = []
    for uid, size in sizes:
        at = rows.position(uid)
        if at >= 0 and rows.sizes[at] != size and size < SIZE_UNKNOWN:
            found.append((uid, size))
    if found:
        folder.commit(Batch(sizes=found))
