"""On whose behalf a thread touches the disk.

With system users, each the owner of a Maildir, the workers keep root, and whichever thread touches a spool
enters its owner's identity first: file system user, file system group and supplementary groups, which Linux
keeps for each thread.  The kernel then keeps users apart even where our checks would not: with another file
system user than root a thread has none of root's rights over files.

A handler thread becomes the owner at login for the rest of its life.  The watch thread serves many owners:
what it gets to watch enters its owner's identity around every look.  No other thread touches a spool.
"""

from __future__ import annotations

import codecs
import ctypes
import os
import platform
import pwd
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakValueDictionary

from maildir_imapd.store.threads import locks

if TYPE_CHECKING:
    from maildir_imapd.store.watch import Watched, Watcher

# libc's setgroups() changes every thread of the process; the bare system call changes the caller alone.
_SETGROUPS = {"x86_64": 116, "aarch64": 159, "riscv64": 159}.get(platform.machine()) if sys.maxsize > 2**32 else None

# The interpreter loads this when it is first asked for, and remembers for good that it could not: so it is never to ask
# as a user who may not read where it lies.
codecs.lookup("utf-16-be")

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Owner:
    """The owner of a spool.  Numbers only, so that applying it asks nobody."""

    uid: int
    gid: int
    groups: tuple[int, ...]


def owner(uid: int, gid: int | None) -> Owner:
    """The owner *uid*, with the groups the system knows him in; raises ValueError without any group."""
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        if gid is None:
            raise ValueError(f"user {uid} is not a user of this machine, and no group is given") from None
        return Owner(uid, gid, (gid,))
    group = entry.pw_gid if gid is None else gid
    return Owner(uid, group, tuple(sorted(set(os.getgrouplist(entry.pw_name, group)))))


def own() -> Owner:
    """Return the owner that the process itself is."""
    return Owner(os.geteuid(), os.getegid(), tuple(os.getgroups()))


def supported() -> bool:
    """Whether this system lets one thread act for somebody else."""
    return os.geteuid() == 0 and _SETGROUPS is not None and hasattr(_libc, "setfsuid")


def become(who: Owner) -> None:
    """Act as *who* from here on, this thread alone; raises OSError, and then it must not go on."""
    assert _SETGROUPS is not None
    # Back to the process's user first: another one may not change groups.
    _set(_libc.setfsuid, os.geteuid())
    groups = (ctypes.c_uint * len(who.groups))(*who.groups)
    if _libc.syscall(ctypes.c_long(_SETGROUPS), ctypes.c_size_t(len(who.groups)), groups) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"setgroups: {os.strerror(number)}")
    _set(_libc.setfsgid, who.gid)
    # The user last: with him go root's rights over files.
    _set(_libc.setfsuid, who.uid)


def _set(call: Callable[[ctypes.c_uint], int], number: int) -> None:
    """setfsuid and setfsgid tell only what was before: ask again to see whether it worked."""
    call(ctypes.c_uint(number))
    if ctypes.c_uint(call(ctypes.c_uint(0xFFFFFFFF))).value != number:
        raise PermissionError(f"cannot act as {number}")


def current() -> Owner:
    """Return the owner that this thread acts as."""
    uid = ctypes.c_uint(_libc.setfsuid(ctypes.c_uint(0xFFFFFFFF))).value
    gid = ctypes.c_uint(_libc.setfsgid(ctypes.c_uint(0xFFFFFFFF))).value
    return Owner(uid, gid, tuple(os.getgroups()))


@contextmanager
def acting_as(who: Owner | None) -> Iterator[None]:
    """Act as *who* inside the block; None: as whoever it is already."""
    if who is None:
        yield
        return
    before = current()
    try:
        become(who)
        yield
    finally:
        become(before)


class _Owned:
    """A watched thing of an owner: the watch thread looks at it as he may."""

    def __init__(self, watched: Watched, who: Owner) -> None:
        self._watched = watched
        self._who = who

    def __getattr__(self, name: str) -> Any:
        return getattr(self._watched, name)

    def looking(self) -> AbstractContextManager[None]:
        return acting_as(self._who)


class OwnedWatcher:
    """The watcher of a process, as the mailboxes of one owner see it."""

    def __init__(self, watcher: Watcher, who: Owner) -> None:
        self._watcher = watcher
        self._who = who
        # The thread that asks it acts as the owner already, and watches what he may read.
        self.still = watcher.still
        self._lock = locks.make(locks.Rank.GUARD)  # guards _owned
        # By id() of the mailbox.  Weak: the watcher keeps what it watches, and forgets what it has dropped.
        self._owned: WeakValueDictionary[int, _Owned] = WeakValueDictionary()

    def _find(self, watched: Watched) -> Watched:
        with self._lock:
            owned = self._owned.get(id(watched))
            if owned is None:
                owned = self._owned[id(watched)] = _Owned(watched, self._who)
            return cast("Watched", owned)

    def add(self, watched: Watched, mark: int | None = None) -> None:
        """Begin to watch a folder."""
        self._watcher.add(self._find(watched), mark)

    def release(self, watched: Watched) -> None:
        """Note that nobody listens to a folder for now."""
        self._watcher.release(self._find(watched))

    def leave(self, watched: Watched) -> None:
        """Watch no longer what nobody listens to."""
        self._watcher.leave(self._find(watched))

    def remove(self, watched: Watched) -> None:
        """Watch a folder no longer."""
        self._watcher.remove(self._find(watched))
