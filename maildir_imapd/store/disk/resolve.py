"""From a path to a descriptor, without the shortcuts that a user can put in its way (docs/security.md).

A link below ``/proc/PID/fd`` is no path: it leads straight to what some thread of the process has open, and asks for no
right on the way there. A Maildir that is such a link would be the folder of whoever is logged in just now. So every
path of the store is opened by openat2(2) with RESOLVE_NO_MAGICLINKS; what is below a directory that is open already,
with RESOLVE_BENEATH and without any link. Ordinary links of an administrator's, to another disk, are followed; of a
user's, below a directory, only by who asks whose it is that they lead to (descriptors.py, ``owner``).

Where the kernel has no openat2, or a filter of system calls forbids it, links are followed here, by what they read:
each step asks for the rights of a step, and a link of the proc file system is refused.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from typing import Final

_OPENAT2: Final = 437  # on every architecture
_AT_FDCWD: Final = -100
_NO_MAGICLINKS: Final = 0x02
_NO_SYMLINKS: Final = 0x04
_BENEATH: Final = 0x08
# openat2(2): somebody renamed a directory meanwhile, and it cannot be sure; ask again.
_TRIES: Final = 100
_LINKS: Final = 40  # as the kernel
_NOT_THERE: Final = {errno.ENOSYS, errno.EPERM, errno.E2BIG}
_STEP: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC

_syscall = ctypes.CDLL(None, use_errno=True).syscall
_syscall.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t)
_syscall.restype = ctypes.c_long


class _How(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


_HOW_OCTETS: Final = ctypes.sizeof(_How)
# The few that are asked for, made once: every message that is read comes by here.
_hows: dict[tuple[int, int, int], tuple[int, _How]] = {}


def _how(flags: int, mode: int, rules: int) -> int:
    """Where the arguments of a call stand in memory."""
    found = _hows.get((flags, mode, rules))
    if found is None:
        how = _How(flags | os.O_CLOEXEC, mode & 0o7777 if flags & os.O_CREAT else 0, rules)
        found = _hows[flags, mode, rules] = ctypes.addressof(how), how
    return found[0]


def _probe() -> bool:
    """Whether openat2 is to be had."""
    number = _syscall(_OPENAT2, _AT_FDCWD, b"/", _how(os.O_PATH, 0, _NO_MAGICLINKS), _HOW_OCTETS)
    if number >= 0:
        os.close(number)
    return bool(number >= 0)


_there = _probe()


def open(path: bytes, flags: int, mode: int = 0o777, *, dir_fd: int | None = None, beneath: bool = True) -> int:
    """As ``os.open``; an absolute path without magic links, one that begins at *dir_fd* beneath it and without links.

    Without *beneath* the latter, too, goes where ordinary links lead. Raises OSError: ELOOP for a link that is not to
    be followed, EXDEV for a way that leads out.
    """
    beneath = beneath and dir_fd is not None
    if not _there:
        return (_open_beneath if beneath else _open_stepwise)(path, flags, mode, dir_fd)
    rules = _NO_MAGICLINKS | _NO_SYMLINKS | _BENEATH if beneath else _NO_MAGICLINKS
    if b"\0" in path:
        raise ValueError("a path cannot have a NUL in it")
    how, at, number = _how(flags, mode, rules), _AT_FDCWD if dir_fd is None else dir_fd, 0
    for _ in range(_TRIES):
        found: int = _syscall(_OPENAT2, at, path, how, _HOW_OCTETS)
        if found >= 0:
            return found
        number = ctypes.get_errno()
        if number not in (errno.EAGAIN, errno.EINTR):
            break
    raise OSError(number, os.strerror(number), path)


# --- without openat2 ------------------------------------------------------------------------------


def _refused(number: int, path: bytes) -> OSError:
    return OSError(number, os.strerror(number), path)


def _open_beneath(path: bytes, flags: int, mode: int, directory: int | None) -> int:
    """Go down from *directory* level by level, following nothing."""
    assert directory is not None
    levels = [level for level in path.split(b"/") if level not in (b"", b".")]
    if path.startswith(b"/") or b".." in levels:
        raise _refused(errno.EXDEV, path)
    here = os.dup(directory)
    try:
        for level in levels[:-1]:
            here = _swap(here, os.open(level, _STEP | os.O_DIRECTORY, dir_fd=here))
        last = levels[-1] if levels else b"."
        if flags & os.O_PATH and stat.S_ISLNK(os.stat(last, dir_fd=here, follow_symlinks=False).st_mode):
            raise _refused(errno.ELOOP, path)  # as a path the link itself would be opened
        return os.open(last, flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=here)
    finally:
        os.close(here)


def _open_stepwise(path: bytes, flags: int, mode: int, directory: int | None) -> int:
    """Follow each link by what it reads, but none of the proc file system."""
    proc = _device_of_proc()
    left = _split(path)
    links = 0
    here = os.open(b"/" if path.startswith(b"/") else b".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
    try:
        while left:
            level = left.pop()
            last = not left
            try:
                state = os.stat(level, dir_fd=here, follow_symlinks=False)
            except FileNotFoundError:
                if last and flags & os.O_CREAT:
                    return os.open(level, flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=here)
                raise
            if stat.S_ISLNK(state.st_mode) and not (last and flags & os.O_NOFOLLOW):
                links += 1
                if links > _LINKS or state.st_dev == proc:
                    raise _refused(errno.ELOOP, path)
                target = os.readlink(level, dir_fd=here)
                left += _split(target)
                if target.startswith(b"/"):
                    here = _swap(here, os.open(b"/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
            elif last:
                # Race: it may be a link by now, and is not followed.
                return os.open(level, flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=here)
            else:
                here = _swap(here, os.open(level, _STEP | os.O_DIRECTORY, dir_fd=here))
        return os.open(b".", flags | os.O_CLOEXEC, mode, dir_fd=here)
    finally:
        os.close(here)


def _split(path: bytes) -> list[bytes]:
    """The levels of a path, the first one last; what stands behind a slash at the end is the directory itself."""
    levels = [level for level in path.split(b"/") if level not in (b"", b".")]
    return levels[::-1]


def _swap(old: int, new: int) -> int:
    os.close(old)
    return new


def _device_of_proc() -> int:
    try:
        return os.stat("/proc/self/fd").st_dev
    except OSError:
        return -1  # without it there are no such links
