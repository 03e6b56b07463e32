"""Looks at what other hosts change: the server of a network file system is asked, whatever this kernel remembers.

statx(2) with AT_STATX_FORCE_SYNC is passed on by NFS, CephFS, SMB and FUSE even while the attributes that they keep are
thought to be good. Without statx it is a look as any other.
"""

from __future__ import annotations

import ctypes
import os
import struct
from typing import Final, NamedTuple

_AT_FDCWD: Final = -100
_SYMLINK_NOFOLLOW: Final = 0x100
_EMPTY_PATH: Final = 0x1000
_FORCE_SYNC: Final = 0x2000
_BASIC: Final = 0x7FF
_Buffer = ctypes.c_char * 256  # kept: see filesystems.py
# Mode; inode and size; ctime, then mtime, each seconds and nanoseconds; the device's two numbers.
_STATX: Final = struct.Struct("=28xH2xQQ48xqI4xqI12xII")
_statx = getattr(ctypes.CDLL(None, use_errno=True), "statx", None)


class Look(NamedTuple):
    """The part of ``os.stat_result`` that tells whether something has changed."""

    st_mode: int
    st_ino: int
    st_size: int
    st_ctime_ns: int
    st_mtime_ns: int
    st_dev: int


def stat(path: bytes, *, dir_fd: int | None = None, follow_symlinks: bool = True) -> Look:
    """As ``os.stat``, and asked of whoever keeps the file; raises OSError."""
    flags = _FORCE_SYNC if follow_symlinks else _FORCE_SYNC | _SYMLINK_NOFOLLOW
    return _look(_AT_FDCWD if dir_fd is None else dir_fd, path, flags)


def fstat(number: int) -> Look:
    """As ``os.fstat``, likewise."""
    return _look(number, b"", _FORCE_SYNC | _EMPTY_PATH)


def _look(directory: int, path: bytes, flags: int) -> Look:
    if _statx is None:
        found = os.fstat(directory) if not path else os.stat(path, dir_fd=None if directory == _AT_FDCWD else directory)
        return Look(found.st_mode, found.st_ino, found.st_size, found.st_ctime_ns, found.st_mtime_ns, found.st_dev)
    buffer = _Buffer()
    if _statx(directory, path, flags, _BASIC, buffer) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), os.fsdecode(path))
    mode, inode, size, changed, changed_ns, modified, modified_ns, major, minor = _STATX.unpack_from(buffer)
    return Look(
        mode,
        inode,
        size,
        changed * 1_000_000_000 + changed_ns,
        modified * 1_000_000_000 + modified_ns,
        os.makedev(major, minor),
    )
