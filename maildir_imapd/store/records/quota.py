"""Maildir++ quota: what ``maildirsize`` in the root of a spool says is used, and how it is kept true.

    10485760S,1000C       the limit: octets, messages; 0S or a missing part is none
    8320 4                what there was at the last count
    73 1                  what came, or went, since: one line a change

Other programs append to it too, and some deliver or delete and do not.  So our own changes are appended, and
what turns out to have been changed by others only leaves a **mark**: whoever asks next counts anew.  No lock:
a count that somebody has overtaken is seen to be so, by the one or by the other.

All messages count. Beside a server that does not count what is on its way out, those in Trash (not in folders below
it) and those with \\Deleted do not; nor do those in mailboxes that the settings leave out (quota_rooms.py).
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from maildir_imapd.errors import CannotDo, NoPermission, OverQuota
from maildir_imapd.events import Log
from maildir_imapd.store.disk import descriptors, durable
from maildir_imapd.store.maildir import filename
from maildir_imapd.store.maildir.filename import DELETED
from maildir_imapd.store.records import quota_rooms
from maildir_imapd.store.records.quota_rooms import ALIKE, Grace, Rooms
from maildir_imapd.store.records.quota_warned import Fullness, Warned, fullness
from maildir_imapd.store.threads import locks
from maildir_imapd.store.threads.locks import Rank

log = Log(__name__)

FILE: Final = b"maildirsize"
MARK: Final = b"maildir-imapd.quota"
TRASH: Final = b".Trash"  # in Maildir++ only, where the servers are that leave it out

LONGEST_OCTETS: Final = 5120  # octets; a longer file is counted anew
OLD_SECONDS: Final = 15 * 60.0  # seconds after which a count that says "over" is doubted
# A directory stamped less than this many seconds ago may change again within its clock's grain.
GRAIN_SECONDS: Final = 2.0
# What fits into a line of the file, for every program that reads it.
LARGEST: Final = (1 << 63) - 1
_TRIES: Final = 3
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_APPEND: Final = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


class Amount(NamedTuple):
    """Octets on disk and messages; as a limit, 0 is none."""

    storage: int = 0
    messages: int = 0

    def over(self, limit: Amount) -> bool:
        """Whether this is more than *limit* allows."""
        return 0 < limit.storage < self.storage or 0 < limit.messages < self.messages

    def plus(self, other: Amount) -> Amount:
        """Both together."""
        return Amount(self.storage + other.storage, self.messages + other.messages)

    def minus(self) -> Amount:
        """As much, taken away."""
        return Amount(-self.storage, -self.messages)


NOTHING: Final = Amount()


@dataclass(frozen=True, slots=True)
class Usage:
    """An amount that is used, and the limit."""

    used: Amount
    limit: Amount

    @property
    def fullness(self) -> Fullness:
        """Which part of the limit is used."""
        return fullness(self.used, self.limit)


@dataclass(frozen=True, slots=True)
class Said:
    """A file as read: *lines* without the first; not *sound* when the sum is not to be believed."""

    limit: Amount
    used: Amount
    lines: int
    sound: bool
    when: float = 0.0
    inode: int = 0
    begin: bytes = b""
    """The first two lines: the limit, and what was counted."""


def parse(data: bytes) -> Said:
    """Read the file, padded with blanks or not; never fails."""
    first, _, rest = data[: LONGEST_OCTETS + 1].partition(b"\n")
    storage = messages = 0
    for field in first.split(b","):
        written, unit = field.strip()[:-1], field.strip()[-1:]
        if written.isdigit() and len(written) < 20:
            if unit == b"S":
                storage = int(written)
            elif unit == b"C":
                messages = int(written)
    used, lines, sound = NOTHING, 0, len(data) <= LONGEST_OCTETS
    for line in rest.split(b"\n"):
        words = line.split()
        if not words:
            continue
        lines += 1
        try:
            size, count = (int(word) for word in words)
        except ValueError:
            sound = False
            continue
        used = used.plus(Amount(size, count))
    sound = sound and lines > 0 and used.storage >= 0 and used.messages >= 0
    return Said(Amount(storage, messages), used, lines, sound)


def render(limit: Amount, used: Amount, *, padded: bool) -> bytes:
    """Write a fresh file."""
    first = b"%dS" % limit.storage + (b",%dC" % limit.messages if limit.messages else b"")
    return first + b"\n" + line(used, padded=padded)


def line(change: Amount, *, padded: bool) -> bytes:
    """Write one line; *padded* with blanks."""
    return (b"%12d %12d\n" if padded else b"%d %d\n") % change


def _too_much(used: Amount, more: Amount, limit: Amount) -> bool:
    """Say whether *more* does not fit.  What shrinks a spool always does."""
    after = used.plus(more)
    return after.over(Amount(limit.storage * (more.storage > 0), limit.messages * (more.messages > 0)))


def size_of(base: bytes, path: bytes, directory: int) -> int:
    """Return the octets of a message: what its name says, else a look at the file *path*; raises OSError."""
    size = filename.disk_size(base)
    return os.stat(path, dir_fd=directory, follow_symlinks=False).st_size if size is None else size


class Quota:
    """The quota of one account; safe from any thread.

    *root*: where ``maildirsize`` is.  *folders*: gives every folder that may hold mail.  *counts_deleted*: what is on
    its way out (\\Deleted, or in Trash) counts.  *padded*: numbers are written with blanks before them.  *synced*: a
    file that is written anew is on the disk before it takes the place of the old one.
    """

    def __init__(
        self,
        root: bytes,
        limit: Amount = NOTHING,
        *,
        folders: Callable[[], list[bytes]],
        counts_deleted: bool = True,
        padded: bool = False,
        synced: bool = True,
    ) -> None:
        self._root = root
        self._path = os.path.join(root, FILE)
        self._mark = os.path.join(root, MARK)
        self._counted = os.path.join(root, quota_rooms.COUNTED)
        self.counts_deleted = counts_deleted
        self._padded = padded
        self._trash = os.path.join(root, TRASH)
        self._synced = synced
        self._folders = folders
        self._limit = limit
        self._rooms = ALIKE
        self.grace = Grace()
        # Is told that a threshold is crossed; None: nobody wants to hear.  Which there are, and what was told last.
        self.crossing: Callable[[], None] | None = None
        self.thresholds: Sequence[int] = ()
        self.warned: Warned | None = None
        self._changed = False
        # What each directory held at its stamps.  The lock guards it, and lets one thread count at a time; a leaf.
        self._lock = locks.make(Rank.COUNTER)
        self._sums: dict[bytes, tuple[tuple[int, int], Amount]] = {}
        self.on = False  # whether anything is to be counted: asked on every path, so a plain attribute
        self.look()

    def set_limit(self, limit: Amount) -> None:
        """Take the settings' limit, which wins over the file's; NOTHING leaves it to the file."""
        if limit != self._limit:
            self._limit = limit
            self.look()

    def set_rooms(self, rooms: Rooms) -> None:
        """Take which folders are treated otherwise."""
        self._rooms = rooms

    def look(self) -> bool:
        """See whether there is a quota; another process may have set one."""
        self.on = self._limit != NOTHING or os.path.lexists(self._path)
        return self.on

    @property
    def limited(self) -> bool:
        """Whether there is a limit now, in the settings or in the file; nothing is counted."""
        if self._limit != NOTHING:
            return True
        said = self._read() if self.look() else None
        return said is not None and said.limit != NOTHING

    @property
    def settable(self) -> bool:
        """Whether the file decides, so that ``change`` can."""
        return self._limit == NOTHING

    def counts(self, folder: bytes, bits: int) -> bool:
        """Say whether a message with these flags in the folder at this path counts."""
        if not self.counts_deleted and (bits & DELETED or folder == self._trash):
            return False
        return not (self._rooms.ignores and self._rooms.ignored(folder))

    @property
    def alike(self) -> bool:
        """Whether a message counts the same wherever it is, and whatever its flags."""
        return self.counts_deleted and not self._rooms.ignores

    def demands_move(self, source: bytes, target: bytes) -> bool:
        """Say whether what is moved between these folders needs room, for it has not counted until now."""
        return self._rooms.ignores and self._rooms.ignored(source) and not self._rooms.ignored(target)

    # --- asking -----------------------------------------------------------------------------------

    def usage(self) -> Usage | None:
        """Return what is used now; None without a quota."""
        return self._usage() if self.look() else None

    def recount(self) -> Usage | None:
        """Count all messages, whatever the file says, and write it; None without a quota. Raises StoreError."""
        return self._count_anew() if self.look() else None

    def said(self) -> Amount | None:
        """Return what the file says is used; None where it says nothing."""
        said = self._read()
        return None if said is None else said.used

    def demand(self, more: Amount, folder: bytes = b"") -> None:
        """Raise OverQuota when there is no room for *more* in the folder at this path, or b"" in any."""
        if not self.look() or self._rooms.ignored(folder):
            return
        usage = self._usage(more, folder)
        if usage is not None and _too_much(usage.used, more, self._allowed(usage.limit, folder)):
            raise OverQuota

    def demand_copy(self, folder: bytes, amount: Callable[[], Amount]) -> None:
        """Raise OverQuota when there is no room for a copy in the folder at this path; *amount* measures it."""
        if self.look() and self.counts(folder, 0):
            self.demand(amount(), folder)

    def demand_message(self, octets: int, folder: bytes = b"") -> None:
        """Raise OverQuota when there is no room for a message that is delivered; the last one may take the grace."""
        try:
            self.demand(Amount(octets, 1), folder)
        except OverQuota:
            usage = self._usage(Amount(octets, 1), folder)
            if usage is None:
                return
            allowed = self._allowed(usage.limit, folder)
            grace = Amount(allowed.storage and allowed.storage + self.grace.of(usage.limit.storage), allowed.messages)
            if 0 < allowed.storage <= usage.used.storage or _too_much(usage.used, Amount(octets, 1), grace):
                raise

    def _allowed(self, limit: Amount, folder: bytes) -> Amount:
        """Return the limit for what comes into the folder at this path."""
        room = self._rooms.at(folder)
        if room is None:
            return limit
        storage, messages = room.more(*limit)
        return Amount(limit.storage and limit.storage + storage, limit.messages and limit.messages + messages)

    def _usage(self, more: Amount = NOTHING, folder: bytes = b"") -> Usage | None:
        said = self._read()
        if said is None and self._limit == NOTHING:
            self.on = False
            return None
        limit = self._limit
        if said is not None:
            if limit == NOTHING:
                limit = said.limit
            allowed = self._allowed(limit, folder)
            over = said.used.over(allowed) or _too_much(said.used, more, allowed)
            doubtful = over and (said.lines > 1 or time.time() - said.when > OLD_SECONDS)
            doubtful = doubtful or os.path.lexists(self._mark) or not self._is_ours(said)
            if said.sound and said.limit == limit and not doubtful:
                return Usage(said.used, limit)
        return self._count_anew()

    def _is_ours(self, said: Said) -> bool:
        """Whether the file was counted as we count now, by us where that matters; others may have added lines."""
        if not self._rooms.ignores:
            # One look: this is asked before each message that comes in.
            return not os.path.lexists(self._counted)
        left_out = self._rooms.left_out(self._folders)
        return quota_rooms.counted(self._root) == quota_rooms.note(said.inode, said.begin, left_out)

    def _read(self) -> Said | None:
        try:
            fd = descriptors.open(self._path, _READ)
        except OSError:
            return None
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                return None
            data = os.read(fd, LONGEST_OCTETS + 1)
            begin = b"".join(data.splitlines(keepends=True)[:2])
            return replace(parse(data), when=status.st_mtime, inode=status.st_ino, begin=begin)
        except OSError:
            return None
        finally:
            os.close(fd)

    # --- telling ----------------------------------------------------------------------------------

    def tell(self) -> None:
        """Tell whoever wants to hear that a threshold is crossed, if that is so by what the file says; never an error.

        To be called when something has changed; nobody holds a lock. Whoever hears it counts, where the file is
        doubted, and decides.
        """
        crossing, warned = self.crossing, self.warned
        if not self._changed or crossing is None or warned is None:
            return
        self._changed = False
        said = self._read()
        if said is None and self._limit == NOTHING:
            return
        if said is not None and said.sound and not os.path.lexists(self._mark):
            limit = said.limit if self._limit == NOTHING else self._limit
            if not warned.crosses(Usage(said.used, limit).fullness.percent, self.thresholds):
                return
        crossing()

    # --- changes ----------------------------------------------------------------------------------

    def change(self, limit: Amount) -> None:
        """Make *limit* the file's, on the disk, and count; NOTHING takes all limits away.

        Raises NoPermission where the settings have one, CannotDo for one that the file cannot hold, StoreError.  Of
        two who change it at a time one wins.
        """
        if not self.settable:
            raise NoPermission("Only the administrator sets limits")
        if max(limit) > LARGEST:
            raise CannotDo(why="The limit is too large")
        self._count_anew(limit)
        self.look()

    def add(self, change: Amount) -> None:
        """Note what we have added, or with negative numbers removed.

        Call it when the folder has changed and its journal does not say so yet: after a crash in between the next
        scan finds the change, and leaves a mark.  Never an error.
        """
        if change == NOTHING or not (self.on or self.look()):
            return
        self._changed = True
        try:
            fd = descriptors.open(self._path, _APPEND)
        except FileNotFoundError:
            if self._limit == NOTHING:
                self.on = False
            else:
                self.doubt()  # Race: somebody may be counting for the first time, and have passed by already
            return
        except OSError as error:
            self._complain(error)
            return
        try:
            durable.write(fd, line(change, padded=self._padded))
            ours, there = os.fstat(fd), os.stat(self._path, follow_symlinks=False)
            if (ours.st_dev, ours.st_ino) != (there.st_dev, there.st_ino):
                self.doubt()  # Race: it was replaced by a count that may lack this
        except OSError as error:
            self._complain(error)
            self.doubt()
        finally:
            os.close(fd)

    def doubt(self) -> None:
        """Leave a mark: the next who asks counts anew.  Never an error."""
        if not (self.on or self.look()):
            return
        self._changed = True
        try:
            root = self._open_root()
        except OSError as error:
            self._complain(error)
            return
        try:
            os.close(durable.create(MARK, root))
        except FileExistsError:
            pass
        except OSError as error:
            self._complain(error)
        finally:
            os.close(root)

    def _complain(self, error: OSError) -> None:
        log.warning("quota not noted", path=self._path, why=error)

    def _open_root(self) -> int:
        return descriptors.open_directory(self._root)

    # --- counting ---------------------------------------------------------------------------------

    def _count_anew(self, new: Amount | None = None) -> Usage:
        """Count all messages and write the file; if it cannot be written, the sum is as good.

        With *new*, a limit that is to stand in it, it is written, whatever others do, or StoreError.
        """
        with self._lock, durable.as_store_error(self._root):
            root = self._open_root()
            try:
                usage = Usage(NOTHING, NOTHING)
                for _ in range(_TRIES):
                    usage, alone = self._count_once(root, new)
                    if alone:
                        break
                if new is not None and self._synced:
                    durable.sync(root)
                return usage
            finally:
                os.close(root)

    def _count_once(self, root: int, new: Amount | None) -> tuple[Usage, bool]:
        """Return what is used, and whether nobody appended to the old file meanwhile, or replaced it."""
        old, mode, length = -1, os.fstat(root).st_mode & 0o666 or 0o600, 0
        limit = self._limit if new is None else new
        files = new is None and self.settable
        try:
            old = descriptors.open(FILE, _READ, dir_fd=root)
            status = os.fstat(old)
            mode, length = status.st_mode & 0o666, status.st_size
            if files:
                limit = parse(os.read(old, LONGEST_OCTETS + 1)).limit
        except OSError:
            if files:
                return Usage(NOTHING, NOTHING), True  # Race: it was there just now, and there is no limit any more
        try:
            try:
                # Before the count: whoever doubts from here on means to be heard.
                durable.unlink(MARK, root)
            except FileNotFoundError:
                pass
            except OSError as error:
                self._complain(error)
            try:
                left_out = self._rooms.left_out(self._folders) if self._rooms.ignores else b""
                used, quiet = self._measure(root)
                data = render(limit, used, padded=self._padded)
                instead_of, needed = old if files else -1, new is not None
                current = self._write(root, data, mode, left_out, instead_of=instead_of, needed=needed)
            except BaseException:
                self.doubt()
                raise
            alone = current and quiet and (old < 0 or os.fstat(old).st_size == length)
            if not alone:
                self.doubt()
            return Usage(used, limit), alone
        finally:
            if old >= 0:
                os.close(old)

    def _write(self, root: int, data: bytes, mode: int, left_out: bytes, *, instead_of: int, needed: bool) -> bool:
        """Replace the file, and note which folders are *left_out*; without *needed* an error is one for the log.

        Return False, and leave it alone, if it is no longer the one open as *instead_of* (-1: whatever it is).
        """
        temporary = b"tmp/" + filename.unique()
        try:
            if not os.path.isdir(os.path.join(self._root, b"tmp")):
                # INBOX is elsewhere.
                durable.make_directory(os.path.join(self._root, b"tmp"), self._root)
            fd = durable.create(temporary, root, mode)
            try:
                durable.write(fd, data)
                if self._synced:
                    durable.sync_data(fd)
                inode = os.fstat(fd).st_ino
            finally:
                os.close(fd)
            # Race: somebody may have set another limit while we counted, and ours would undo it.
            if instead_of >= 0 and not _is_at(root, instead_of):
                durable.unlink(temporary, root)
                return False
            # Before the file: as long as it is the old one, that is counted anew.
            noted = quota_rooms.note(inode, data, left_out) if left_out else None
            quota_rooms.keep(root, noted, temporary + b".counted")
            durable.replace(temporary, FILE, root)
        except OSError as error:
            try:
                durable.unlink(temporary, root)
            except OSError:
                pass  # the first error is the one to tell
            if needed:
                raise
            self._complain(error)
        return True

    def _measure(self, root: int) -> tuple[Amount, bool]:
        """Add up the folders, and say whether each was at rest while it was looked at."""
        used, quiet = NOTHING, True
        sums: dict[bytes, tuple[tuple[int, int], Amount]] = {}
        for folder in self._folders():
            if not self.counts(folder, 0):
                continue
            paths = folder + b"/new", folder + b"/cur"
            for _ in range(_TRIES):
                # From new/ to cur/ is no change, so the two must be of one moment.
                found = [self._directory(root, path, sums) for path in paths]
                still = [_stamp(root, path) for path in paths] == [stamp for stamp, _ in found]
                if still:
                    break
            quiet = quiet and still
            for _, amount in found:
                used = used.plus(amount)
        self._sums = sums
        return used, quiet

    def _directory(
        self, root: int, path: bytes, sums: dict[bytes, tuple[tuple[int, int], Amount]]
    ) -> tuple[tuple[int, int], Amount]:
        stamp = _stamp(root, path)
        known = self._sums.get(path)
        if known is not None and known[0] == stamp:
            sums[path] = known
            return known
        try:
            fd = descriptors.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root)
        except OSError as error:
            if descriptors.out_of_descriptors(error):
                raise
            return stamp, NOTHING  # it is gone, or not for us to read, so nobody sees mail in it
        size = count = 0
        sized = filename.disk_size
        try:
            for name in map(os.fsencode, descriptors.again(os.listdir, fd)):
                if name.startswith(b".") or (not self.counts_deleted and filename.parse(name).bits & DELETED):
                    continue
                claimed = sized(name.partition(b":")[0])
                if claimed is None:
                    try:
                        status = os.stat(name, dir_fd=fd, follow_symlinks=False)
                    except FileNotFoundError:
                        continue
                    if not stat.S_ISREG(status.st_mode):
                        continue
                    claimed = status.st_size
                size += claimed
                count += 1
        finally:
            os.close(fd)
        found = stamp, Amount(size, count)
        # A stamp that is too young may hide a later change: then this sum is good for once only.
        if time.time() - max(stamp) / 1e9 > GRAIN_SECONDS:
            sums[path] = found
        return found


def _is_at(root: int, fd: int) -> bool:
    """Whether the file in place is still the open one."""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(FILE, dir_fd=root, follow_symlinks=False))
    except OSError:
        return False


def _stamp(root: int, path: bytes) -> tuple[int, int]:
    try:
        state = os.stat(path, dir_fd=root)
    except OSError:
        return 0, 0
    return state.st_mtime_ns, state.st_ctime_ns
