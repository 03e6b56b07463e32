"""Looks at cur/ and new/: their names, their stamps, and what tells one file from another.

folder/compare.py says what these mean for the messages we know; the letters here are its problems.

The clock's grain (b). A change within the same tick as one that we have seen leaves the stamp as it was. So a stamp
younger than two seconds is not settled, and a directory is listed again once it is.

The fingerprint (d). A rename keeps the inode and the nanoseconds of the time. The inode alone says nothing, for the
next file that is made often has it, and nor does a time of whole seconds, which somebody has set: then the file must
be older than what we know of the message.

The time also says whether a file is still the one that we have read: who writes to it changes it. The inode does
not: a spool that was moved with its times has other inodes and the same mail, and some network file systems give a file
another one at each mount. A file whose time is of just now may be half of one that cp, rsync or scp is writing.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import stat
import struct
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from maildir_imapd.store.disk import descriptors, fresh
from maildir_imapd.store.maildir import filename

SETTLE_NS: Final = 2_000_000_000
# The same where other hosts stamp directories by clocks of their own.
SHARED_SETTLE_NS: Final = 120_000_000_000
MARK_NAMES: Final = 100

_INODE: Final = (1 << 34) - 1
_TIME: Final = (1 << 30) - 1
_WHOLE_SECONDS: Final = (1 << 30) - 1_000_000_000

_ENCODING: Final = sys.getfilesystemencoding()

# The clock that stamps files moves in ticks. Where the kernel does not say, a generous guess.
_COARSE: Final = 5  # CLOCK_REALTIME_COARSE
try:
    TICK_NS = max(int(time.clock_getres(_COARSE) * 1e9), 1_000_000)
except (OSError, AttributeError):
    TICK_NS = 10_000_000


# statx(2); Python's stat has no date of birth on Linux.
_STATX_BTIME: Final = 0x800
_AT_SYMLINK_NOFOLLOW: Final = 0x100
_StatxBuffer = ctypes.c_char * 256  # kept: see filesystems.py
_STATX: Final = struct.Struct("=I76xqI")  # what it could tell, and the date of birth
AT_FDCWD: Final = -100  # no directory: the path is a whole one
_statx = getattr(ctypes.CDLL(None, use_errno=True), "statx", None)


def look(folder: int) -> tuple[int, int, int, int]:
    """Return mtime and ctime of cur/ and new/."""
    return _stamps(os.stat, folder)


def look_anew(folder: int) -> tuple[int, int, int, int]:
    """As ``look``, where other hosts may have changed them, whatever this kernel remembers."""
    return _stamps(fresh.stat, folder)


def _stamps(status: Callable[..., os.stat_result | fresh.Look], folder: int) -> tuple[int, int, int, int]:
    cur = status(b"cur", dir_fd=folder)
    try:
        new = status(b"new", dir_fd=folder)
    except FileNotFoundError:
        return cur.st_mtime_ns, cur.st_ctime_ns, 0, 0
    return cur.st_mtime_ns, cur.st_ctime_ns, new.st_mtime_ns, new.st_ctime_ns


def settled(mtime: int, ctime: int, now: int, *, shared: bool = False) -> bool:
    """Say whether a directory listed at *now* cannot have changed since without a new stamp.

    *shared*: other hosts stamp it, too.
    """
    settle_ns = SHARED_SETTLE_NS if shared else SETTLE_NS
    return mtime < now - settle_ns and ctime < now - settle_ns


def names(folder: int, directory: bytes, owner: int | None = None) -> list[bytes]:
    """List the names in new/ or cur/ that may be messages; *owner* as of ``descriptors.open``."""
    try:
        fd = descriptors.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder, owner=owner)
    except (FileNotFoundError, NotADirectoryError):
        if directory == b"new":
            return []  # somebody's copy of a Maildir, which we may not complete, or a file of that name
        raise
    try:
        found = descriptors.again(os.listdir, fd)
    finally:
        os.close(fd)
    return _encoded(found)


def _encoded(names: Iterable[str]) -> list[bytes]:
    """Return those of *names* that may be messages, as octets: of a descriptor they come as str.

    Encoded at once, in a third of the time that one by one takes.
    """
    everything = "/".join(names).encode(_ENCODING, "surrogateescape")
    found = everything.split(b"/") if everything else []
    if everything.startswith(b".") or b"/." in everything or b"\n" in everything or b"\r" in everything:
        return [name for name in found if filename.usable(name)]
    return found


def listing(folder: int, directory: bytes, owner: int | None = None) -> tuple[list[bytes], set[bytes]]:
    """As ``names``, and say which of them are no regular files: links, and whatever else lies there.

    The kernel tells of most file systems without a look at each; only of others this takes a stat of each.
    """
    try:
        fd = descriptors.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder, owner=owner)
    except (FileNotFoundError, NotADirectoryError):
        if directory == b"new":
            return [], set()
        raise
    try:
        with descriptors.again(os.scandir, fd) as entries:
            everything = list(entries)
            regular = [entry.name for entry in everything if entry.is_file(follow_symlinks=False)]
            odd = {entry.name for entry in everything}.difference(regular) if len(regular) < len(everything) else ()
    finally:
        os.close(fd)
    found = _encoded(regular)
    others = set(_encoded(odd))
    return [*found, *others], others


def mark(folder: int, owner: int | None = None) -> bytes:
    """Return the mark before the flags that names in cur/ have, by the first of them that the directory gives."""
    try:
        cur = descriptors.open(b"cur", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder, owner=owner)
    except OSError as error:
        if descriptors.out_of_descriptors(error):
            raise
        return filename.COLON  # whoever lists it hears why
    try:
        with descriptors.again(os.scandir, cur) as entries:
            return filename.mark_of(os.fsencode(entry.name) for entry in itertools.islice(entries, MARK_NAMES))
    finally:
        os.close(cur)


def inspect(directory: int, path: bytes, owner: int | None = None) -> os.stat_result | None:
    """Return the status of a message file, None if it is gone or no regular file.

    Of a link that leads to a file of *owner* it is that file's; None for any other.
    """
    try:
        found = os.stat(path, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if stat.S_ISLNK(found.st_mode) and owner is not None:
        found = _behind(directory, path, owner) or found
    return found if stat.S_ISREG(found.st_mode) else None


def _behind(directory: int, path: bytes, owner: int) -> os.stat_result | None:
    try:
        fd = descriptors.open(path, os.O_PATH | os.O_CLOEXEC, dir_fd=directory, owner=owner)
    except OSError as error:
        if descriptors.out_of_descriptors(error):
            raise
        return None
    try:
        return os.fstat(fd)
    finally:
        os.close(fd)


def fingerprint(status: os.stat_result) -> int:
    """Return what a rename leaves as it is and another file hardly has: inode and nanoseconds of mtime.

    A time without nanoseconds has numbers there that nanoseconds never are, by its seconds.
    """
    time_bits = status.st_mtime_ns % 1_000_000_000 or 1_000_000_000 + int(status.st_mtime) % _WHOLE_SECONDS
    return (status.st_ino & _INODE) << 30 | time_bits


def rewritten(known: int, seen: int) -> bool:
    """Say by two fingerprints of a message, the known one perhaps 0, whether its file has been written to since."""
    return known != 0 and (known ^ seen) & _TIME != 0


def young(status: os.stat_result, now: int) -> bool:
    """Say whether somebody may be writing the file at *now*, so that nothing may be kept of what is read from it."""
    return abs(now - status.st_mtime_ns) < SETTLE_NS


def born(directory: int, path: bytes) -> int | None:
    """Return when a file was made (nanoseconds of Unix time); None where the system does not say."""
    if _statx is None:
        return None
    buffer = _StatxBuffer()
    if _statx(directory, path, _AT_SYMLINK_NOFOLLOW, _STATX_BTIME, buffer) != 0:
        return None
    mask, seconds, nanoseconds = _STATX.unpack_from(buffer)
    return seconds * 1_000_000_000 + nanoseconds if mask & _STATX_BTIME else None


def same(received: int, size: int, status: os.stat_result, base: bytes) -> bool:
    """Say whether a file may be the message that was received then and has this size with CRLF line ends.

    A base alone does not say so: procmail uses its MH names again soon after they are free.  Who puts a message
    back, from a backup or another folder, keeps its time; and if not, a new UID is the smaller harm.  Where *base*
    claims another size than the file has, it may be compressed, and then its size says nothing.
    """
    if int(status[stat.ST_MTIME]) != received:
        return False
    if filename.disk_size(base) not in (None, status.st_size):
        return True
    return size == filename.SIZE_UNKNOWN or status.st_size <= size <= 2 * status.st_size


def quiet_in(seen: Sequence[int], now: int) -> int:
    """Return the nanoseconds until a change would show in the stamps: 0 when it would already."""
    newest = max(seen)
    return 0 if newest > now else max(0, newest + 2 * TICK_NS - now)
