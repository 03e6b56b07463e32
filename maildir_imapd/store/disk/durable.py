"""The one door to the disk for whatever must survive: the only file that calls fsync.

Everything in ``store`` that changes a file or a directory comes through here, for two reasons: an error
is never overlooked (each call raises), and a test can end the process before any single one of them by
setting ``step``.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from maildir_imapd import errors
from maildir_imapd.events import Log
from maildir_imapd.store.disk import descriptors, filesystems

# Called with the name of each action and what it is about to act on: by tests, and by ``untouched``.
step: Callable[[str, object], None] | None = None

# What a file may have at most to be read whole: lists that a user or a client makes, and those of all messages.
SMALL_OCTETS: Final = 1 << 20
LARGE_OCTETS: Final = 64 << 20

log = Log(__name__)

_RENAME_NOREPLACE = 1
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_RIGHT = {errno.EACCES, errno.EPERM, errno.EROFS}
# The file system, or the kernel, does not know the flag.
_UNSUPPORTED = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP}
# link(2) that will never work here: another file system, none of that kind, too many links.
CANNOT_LINK = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS}

_renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
if _renameat2 is not None:
    # Without argtypes, which cost a quarter of the call: numbers and octets are passed as what they are.
    _renameat2.restype = ctypes.c_int


def not_ours(error: OSError) -> bool:
    """Say whether *error* means that we may not write here."""
    return error.errno in _NO_RIGHT


def cannot_write(error: OSError) -> bool:
    """Say whether *error* is one that reading must survive (robustness rule 12)."""
    return error.errno in _NO_ROOM or error.errno in _NO_RIGHT


def store_error(error: OSError, path: bytes) -> errors.StoreError:
    """Say in the terms of the server what the system refused; the path is for the log only."""
    detail = f"{os.fsdecode(path)}: {error.strerror or error}"
    if error.errno in _NO_ROOM:
        return errors.DiskFull(detail=detail)
    if descriptors.out_of_descriptors(error):
        return errors.TooManyFiles(detail=detail)
    if filesystems.lost(error, path):
        return errors.SpoolGone(detail=detail)
    if error.errno in _NO_RIGHT:
        return errors.SpoolUnreadable(detail=detail)
    return errors.StoreError(detail=detail)


@contextmanager
def as_store_error(path: bytes) -> Iterator[None]:
    """Turn an OSError of the block into a StoreError that names *path*."""
    try:
        yield
    except OSError as error:
        raise store_error(error, path) from error


@contextmanager
def untouched() -> Iterator[None]:
    """Let this process change nothing on the disk meanwhile, as if all of it were on a read-only file system.

    What is read is read under the same locks, as far as their files are there.  Not for a process of many threads.
    """
    global step
    before, step = step, _refuse
    try:
        yield
    finally:
        step = before


def _refuse(action: str, what: object) -> None:
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def is_untouched() -> bool:
    """Whether nothing may be changed just now (``untouched``)."""
    return step is _refuse


def about(action: str, what: object) -> None:
    """Say what somebody is about to do to the disk without us, as SQLite does: a step as all others for the tests."""
    if step is not None:
        step(action, what)


def rename(source: bytes, target: bytes, source_dir: int, target_dir: int) -> None:
    """Rename, but never over another file: a second file with our name is somebody's mail."""
    if step is not None:
        step("rename", target)
    if _renameat2 is not None:
        if _renameat2(source_dir, source, target_dir, target, _RENAME_NOREPLACE) == 0:
            return
        number = ctypes.get_errno()
        if number not in _UNSUPPORTED:
            raise OSError(number, os.strerror(number), os.fsdecode(source), None, os.fsdecode(target))
    if _rename_by_link(source, target, source_dir, target_dir):
        return
    # Race: here another program can make the target between the two calls. Nothing better exists.
    try:
        os.stat(target, dir_fd=target_dir, follow_symlinks=False)
    except FileNotFoundError:
        os.rename(source, target, src_dir_fd=source_dir, dst_dir_fd=target_dir)
    else:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), os.fsdecode(target))


def has_exclusive_rename(source: bytes, target: bytes, directory: int) -> bool:
    """Rename a file, and say whether the file system itself sees to it that no other is lost."""
    if _renameat2 is None or _renameat2(directory, source, directory, target, _RENAME_NOREPLACE) == 0:
        return _renameat2 is not None
    number = ctypes.get_errno()
    if number in _UNSUPPORTED:
        return False
    raise OSError(number, os.strerror(number), os.fsdecode(source), None, os.fsdecode(target))


def _rename_by_link(source: bytes, target: bytes, source_dir: int, target_dir: int) -> bool:
    """Rename a file by giving it a second name, which fails if that is taken; False where it can have none.

    A crash in between leaves both names, which reconcile.py knows for one message; NFS and SMB know no other way.
    """
    try:
        os.link(source, target, src_dir_fd=source_dir, dst_dir_fd=target_dir, follow_symlinks=False)
    except FileExistsError as error:
        # The server may have done it, and its answer been lost.
        if not same_file(source, target, source_dir, target_dir):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), os.fsdecode(target)) from error
    except OSError as error:
        if error.errno in CANNOT_LINK:
            return False
        raise
    try:
        unlink(source, source_dir)
    except FileNotFoundError:
        # Race: another program has taken the first name away, or renamed it; what it did counts.
        os.unlink(target, dir_fd=target_dir)
        raise
    return True


def same_file(one: bytes, other: bytes, one_dir: int, other_dir: int) -> bool:
    """Whether two names are of one file; no where that cannot be seen."""
    try:
        first = os.stat(one, dir_fd=one_dir, follow_symlinks=False)
        return os.path.samestat(first, os.stat(other, dir_fd=other_dir, follow_symlinks=False))
    except OSError:
        return False


def replace(source: bytes, target: bytes, directory: int) -> None:
    """Put a new version of one of our own files in the place of the old one."""
    if step is not None:
        step("replace", target)
    os.rename(source, target, src_dir_fd=directory, dst_dir_fd=directory)


def link(source: bytes, target: bytes, source_dir: int, target_dir: int) -> None:
    """Give a message a second name; fails if the name is taken."""
    if step is not None:
        step("link", target)
    os.link(source, target, src_dir_fd=source_dir, dst_dir_fd=target_dir, follow_symlinks=False)


def unlink(name: bytes, directory: int) -> None:
    """Remove a name."""
    if step is not None:
        step("unlink", name)
    os.unlink(name, dir_fd=directory)


def create(name: bytes, directory: int, mode: int | None = None) -> int:
    """Make a new file, which nobody else may have made, and return its descriptor.

    Without *mode* it is as open as the directory.
    """
    if step is not None:
        step("create", name)
    # What is for its owner alone has no group to be given.
    like = os.fstat(directory) if mode is None or mode & 0o077 else None
    if mode is None:
        assert like is not None
        mode = like.st_mode & 0o666 | 0o600
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = descriptors.open(name, flags, mode, dir_fd=directory)
    try:
        if like is not None and mode & 0o077:
            share(fd, mode, like)
    except BaseException:
        os.close(fd)
        os.unlink(name, dir_fd=directory)
        raise
    return fd


def open_lasting(name: bytes, directory: int, mode: int | None = None) -> int:
    """Open a file of our own that is never replaced, and make it if it is not there."""
    while True:
        try:
            return descriptors.open(name, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
        except FileNotFoundError:
            pass
        try:
            return create(name, directory, mode)
        except FileExistsError:
            continue  # somebody was faster


def share(fd: int, mode: int, like: os.stat_result) -> None:
    """Give a file or directory that others may use its mode, whatever the umask, and the group of the directory *like*.

    As Dovecot: the group matters where it may do what the world may not, and a setgid directory has given it already.
    """
    found = os.fstat(fd)
    if (mode >> 3 ^ mode) & 0o007 and found.st_gid != like.st_gid and not like.st_mode & stat.S_ISGID:
        try:
            os.fchown(fd, -1, like.st_gid)
        except PermissionError:
            mode &= ~0o070  # not our group: what was meant for that one is not for this one
    if found.st_mode & 0o777 != mode:
        # A directory keeps its setgid bit.
        os.fchmod(fd, found.st_mode & ~0o777 & 0o7777 | mode)


def resemble(fd: int, like: os.stat_result) -> None:
    """Give a file the mode, the group and, as far as that is ours to do, the owner of another, or of a directory.

    Raises PermissionError where that owner could not change it.
    """
    found = os.fstat(fd)
    owner, group = found.st_uid == like.st_uid, found.st_gid == like.st_gid
    try:
        if not group:
            os.fchown(fd, -1, like.st_gid)
            group = True
        if not owner:
            os.fchown(fd, like.st_uid, -1)
            owner = True
    except PermissionError:
        pass  # who is not root gives nothing away
    if not owner and not like.st_mode & 0o002 and not (group and like.st_mode & 0o020):
        raise PermissionError(errno.EACCES, "it belongs to another user")
    os.fchmod(fd, like.st_mode & (0o666 if group else 0o606))


def make_directory(path: bytes, parent: bytes) -> None:
    """Make a directory that is open to whomever *parent* is."""
    if step is not None:
        step("mkdir", path)
    like = os.stat(parent)
    mode = like.st_mode & 0o777 | 0o700
    os.mkdir(path, mode)
    if mode & 0o077:
        fd = descriptors.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            share(fd, mode, like)
        finally:
            os.close(fd)


def make_directories(path: bytes) -> None:
    """Make a directory for its owner only, with the parents that it lacks, unless it is there."""
    if step is not None and not os.path.isdir(path):
        step("mkdir", path)
    os.makedirs(path, mode=0o700, exist_ok=True)


def allow(path: bytes, mode: int) -> None:
    """Let the owner of a file or directory do more with it: the bits of *mode* are added; a link is not followed."""
    if step is not None:
        step("chmod", path)
    fd = descriptors.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        # By /proc, for a descriptor that needs no right to the file changes nothing itself.
        os.chmod(b"/proc/self/fd/%d" % fd, stat.S_IMODE(os.fstat(fd).st_mode) | mode)
    finally:
        os.close(fd)


def remove_directory(path: bytes) -> None:
    """Remove an empty directory."""
    if step is not None:
        step("rmdir", path)
    os.rmdir(path)


def write(fd: int, data: bytes | memoryview) -> None:
    """Write all of *data* where the descriptor stands."""
    if step is not None:
        step("write", (fd, data, None))
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def write_at(fd: int, data: bytes, offset: int) -> None:
    """Write all of *data* at *offset*, in one call unless the disk is about to be full."""
    if step is not None:
        step("write", (fd, data, offset))
    view = memoryview(data)
    while view:
        done = os.pwrite(fd, view, offset)
        view = view[done:]
        offset += done


def truncate(fd: int, size: int) -> None:
    """Cut a file."""
    if step is not None:
        step("truncate", size)
    os.ftruncate(fd, size)


def sync(fd: int) -> None:
    """Return when the file's content, or a directory's entries, are on the disk."""
    if step is not None:
        step("sync", fd)
    os.fsync(fd)


def sync_data(fd: int) -> None:
    """Return when the content is on the disk; dates may follow."""
    if step is not None:
        step("sync", fd)
    os.fdatasync(fd)


def sync_named(names: Sequence[bytes], directory: int) -> None:
    """Return when the files that have these names now are on the disk; raises OSError."""
    for name in names:
        fd = descriptors.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        try:
            sync_data(fd)
        finally:
            os.close(fd)


def start_writing(fd: int) -> None:
    """Let the kernel begin to write the file out, so that syncing many costs little more than one."""
    try:
        # On Linux this starts the write-back of dirty pages and does not wait.
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    except OSError:
        pass  # an advice


def put(
    name: bytes,
    data: bytes | Iterable[bytes],
    directory: int,
    *,
    durable: bool,
    mode: int | None = None,
    temporary: bytes | None = None,
    like: os.stat_result | None = None,
) -> None:
    """Write a file of our own anew: temporary file beside it, sync, rename.

    Without *mode* it is as open as the directory; *like*: it belongs to whom the one before does (``resemble``). The
    temporary name, if it is not given, is the same for all, so it must be called under the lock that guards the file;
    what a killed writer left is overwritten. The caller syncs the directory, once for all it does there.
    """
    temporary = temporary or name + b".tmp"
    try:
        os.unlink(temporary, dir_fd=directory)
    except FileNotFoundError:
        pass
    fd = create(temporary, directory, mode if like is None else 0o600)
    try:
        try:
            if like is not None:
                resemble(fd, like)
            for piece in [data] if isinstance(data, bytes) else data:
                write(fd, piece)
            if durable:
                sync_data(fd)
        finally:
            os.close(fd)
        replace(temporary, name, directory)
    except OSError:
        try:
            os.unlink(temporary, dir_fd=directory)
        except OSError:
            pass  # the first error is the one to tell
        raise


def dated(path: bytes, name: bytes) -> int | None:
    """Return the mtime in ns of a file in the directory at *path*; None where there is none."""
    try:
        return os.lstat(os.path.join(path, name)).st_mtime_ns
    except (FileNotFoundError, NotADirectoryError):
        return None


def read_dated(path: bytes, name: bytes, limit: int = SMALL_OCTETS) -> tuple[bytes | None, int]:
    """Read a file in the directory at *path*, with its mtime in ns; (None, 0) where there is none."""
    try:
        directory = descriptors.open_directory(path)
    except (FileNotFoundError, NotADirectoryError):
        return None, 0
    try:
        stamp = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mtime_ns
        return read_file(name, directory, limit), stamp
    except FileNotFoundError:
        return None, 0
    finally:
        os.close(directory)


def put_or_remove(name: bytes, data: bytes, directory: int) -> None:
    """Write a file anew, or remove it where there is nothing to say; either lasts when this returns.

    Raises OSError, also where there is more to say than anybody would read.
    """
    demand_small(name, data)
    if data:
        put(name, data, directory, durable=True)
    else:
        try:
            unlink(name, directory)
        except FileNotFoundError:
            return
    sync(directory)


def demand_small(name: bytes, data: bytes) -> None:
    """Raise OSError, as for a full disk, for what ``read_file`` would not take back."""
    if len(data) > SMALL_OCTETS:
        raise OSError(errno.EDQUOT, f"it would have more than {SMALL_OCTETS} octets", name)


def open_regular(name: bytes, directory: int, limit: int = SMALL_OCTETS) -> int:
    """Open a file to read it, under the conditions of ``read_file``; the caller closes it."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
    fd = descriptors.open(name, flags, dir_fd=directory)
    try:
        state = os.fstat(fd)
        if not stat.S_ISREG(state.st_mode):
            raise _unread(errno.EINVAL, "it is no regular file", name)
        if state.st_size > limit:
            raise _unread(errno.EOVERFLOW, f"it has more than {limit} octets", name)
    except BaseException:
        os.close(fd)
        raise
    return fd


def read_file(name: bytes, directory: int, limit: int = SMALL_OCTETS) -> bytes:
    """Read a file whole: a regular one, never through a link, never blocking, and not more than *limit* octets.

    Whoever owns the folder may have put anything there. Raises OSError, with a line in the log where it is no file or
    has more, be it holes.
    """
    fd = open_regular(name, directory, limit)
    try:
        state = os.fstat(fd)
        # One octet more than it has: so the second read, which finds the end, is the only other one.
        pieces = [os.read(fd, state.st_size + 1)]
        size = len(pieces[0])
        while piece := os.read(fd, 1 << 20):
            pieces.append(piece)
            size += len(piece)
            if size > limit:
                raise _unread(errno.EOVERFLOW, f"it has more than {limit} octets", name)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)
    finally:
        os.close(fd)


def read_start(name: bytes, directory: int, octets: int) -> bytes:
    """Read how a file begins, under the conditions of ``read_file``, however large it is."""
    fd = open_regular(name, directory, sys.maxsize)
    try:
        return os.read(fd, octets)
    finally:
        os.close(fd)


def read_on(fd: int, position: int, name: bytes, limit: int = LARGE_OCTETS) -> bytes:
    """Read an open file from *position* to its end, as ``read_file``; *name* is for the log."""
    state = os.fstat(fd)
    if not stat.S_ISREG(state.st_mode):
        raise _unread(errno.EINVAL, "it is no regular file", name)
    pieces = []
    size = 0
    while piece := os.pread(fd, 1 << 22, position + size):
        pieces.append(piece)
        size += len(piece)
        if size > limit:
            raise _unread(errno.EOVERFLOW, f"it has more than {limit} octets", name)
    return b"".join(pieces)


def _unread(number: int, why: str, name: bytes) -> OSError:
    log.error("file not read", name=name, why=why)
    return OSError(number, why, name)
