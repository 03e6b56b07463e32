"""Kinds of file systems: whether the kernel hears of all that happens in a directory."""

from __future__ import annotations

import ctypes
import errno
import os
from typing import Final, Literal

from maildir_imapd.store.disk import descriptors

# Changes can be made on another host, or past the mount that is looked at, and inotify says nothing of them.  The
# numbers are those of statfs(2) and of the kernel's linux/magic.h.
_DEAF: Final = {
    0x6969: "nfs",
    0x517B: "smb",
    0xFF534D42: "cifs",
    0xFE534D42: "smb2",
    0x65735546: "fuse",
    0x794C7630: "overlayfs",
    0x61756673: "aufs",
    0xF15F: "ecryptfs",
    0x01021997: "9p",
    0x00C36400: "ceph",
    0x01161970: "gfs2",
    0x7461636F: "ocfs2",
    0x0BD00BD0: "lustre",
    0x5346414F: "afs",
    0x6B414653: "kafs",
    0x73757245: "coda",
    0x786F4256: "vboxsf",
    0xBACBACBC: "vmhgfs",
}
# Those of them that other machines write to, or that a program keeps: a file is not what it was a moment ago, and locks
# may be known to one machine alone.
_OWN: Final = frozenset({"overlayfs", "aufs", "ecryptfs"})
# Whether other hosts write to a spool: what is said, or what its file system lets one think.
SharedSpool = Literal["no", "yes", "auto"]
# What is open is of a mount that has gone, or the server behind it has: it may come back.
LOST: Final = frozenset(
    {
        errno.ESTALE,
        errno.ENOTCONN,
        errno.ESHUTDOWN,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENODEV,
        errno.ENXIO,
        errno.EBADFD,
        errno.EREMOTEIO,
    }
)
# Larger than struct statfs of any architecture; its first member is the number, a long or what fits into one.
_Statfs = ctypes.c_char * 256  # kept: a type that is made for one call is a cycle, and costs more than the call
_fstatfs = ctypes.CDLL(None, use_errno=True).fstatfs
_fstatfs.argtypes = (ctypes.c_int, ctypes.c_void_p)


def deaf(path: bytes) -> str | None:
    """Return the name of the file system at *path* if inotify does not hear all that happens there; else None.

    None also where that cannot be seen: whoever watches the path hears why.
    """
    try:
        directory = descriptors.open_directory(path)
    except OSError:
        return None
    try:
        return deaf_at(directory)
    finally:
        os.close(directory)


def deaf_at(directory: int) -> str | None:
    """The same of an open directory."""
    buffer = _Statfs()
    if _fstatfs(directory, buffer) != 0:
        return None
    return _DEAF.get(ctypes.c_long.from_buffer(buffer).value & 0xFFFFFFFF)


def is_shared(directory: int, said: SharedSpool) -> bool:
    """Whether other hosts write to an open directory and what is below it, by what is *said*."""
    return said == "yes" or (said == "auto" and shared_at(directory) is not None)


def is_shared_path(path: bytes, said: SharedSpool) -> bool:
    """The same of a directory by its path; no where that cannot be seen, and nothing is said."""
    if said != "auto":
        return said == "yes"
    try:
        directory = descriptors.open_directory(path)
    except OSError:
        return False
    try:
        return is_shared(directory, said)
    finally:
        os.close(directory)


def lost(error: OSError, path: bytes) -> bool:
    """Whether *error*, of something at *path*, means that its mount has gone and may come back.

    EIO does so of what comes over a network; of a disk it is a fault that stays. And what waits for a program is late
    by ETIMEDOUT, too; and a server that has lost the others lets nobody write (EROFS), where one may by the mount.
    """
    if error.errno not in (errno.EIO, errno.ETIMEDOUT, errno.EROFS):
        return error.errno in LOST
    try:
        directory = descriptors.open_directory(os.path.dirname(path) or b"/")
    except OSError as trouble:
        return trouble.errno in LOST
    try:
        if error.errno == errno.EROFS and os.fstatvfs(directory).f_flag & os.ST_RDONLY:
            return False
        return shared_at(directory) is not None
    except OSError as trouble:
        return trouble.errno in LOST
    finally:
        os.close(directory)


def shared_at(directory: int) -> str | None:
    """Return the name of an open directory's file system if other machines may write to its files; else None."""
    kind = deaf_at(directory)
    return None if kind in _OWN else kind
