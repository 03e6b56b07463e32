"""inotify behind our two questions: which folders had something happen, and did any event get lost."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntFlag
from typing import Final

from maildir_imapd.store.disk import descriptors


class _Flags(IntFlag):
    """The bits of inotify(7) that are used here."""

    MODIFY = 0x2
    CLOSE_WRITE = 0x8
    MOVED_FROM = 0x40
    MOVED_TO = 0x80
    CREATE = 0x100
    DELETE = 0x200
    DELETE_SELF = 0x400
    MOVE_SELF = 0x800
    UNMOUNT = 0x2000
    Q_OVERFLOW = 0x4000
    IGNORED = 0x8000
    ONLYDIR = 0x1000000
    DONT_FOLLOW = 0x2000000
    MASK_ADD = 0x20000000
    ONESHOT = 0x80000000


_FLAGS = _Flags
DIRECTORY: Final = int(_FLAGS.CREATE | _FLAGS.MOVED_TO | _FLAGS.MOVED_FROM | _FLAGS.DELETE | _FLAGS.ONLYDIR)
# A folder of which everything counts that comes and goes, and what is written to the file of NAME.
FOLDER: Final = int(DIRECTORY | _FLAGS.CLOSE_WRITE | _FLAGS.MOVE_SELF | _FLAGS.DELETE_SELF)
BELL: Final = int(_FLAGS.MODIFY)
# In a folder, which has much else come and go in it: of the files that RIGHTS alone watches for, only the one of NAME.
RIGHTS: Final = int(_FLAGS.CLOSE_WRITE | _FLAGS.MOVED_TO | _FLAGS.MOVED_FROM | _FLAGS.DELETE | _FLAGS.ONLYDIR)
PLACE: Final = int(_FLAGS.MOVE_SELF | _FLAGS.DELETE_SELF | _FLAGS.ONLYDIR)
# A watch that ends with its first event: whoever is about to look sets it again. So a change of ten thousand names, our
# own as well, is one event and not twenty thousand that somebody has to read.
ONCE: Final = int(_FLAGS.ONESHOT)
# new/ or cur/ of one, and no link in its place.
NEW: Final = int(DIRECTORY | PLACE | _FLAGS.DONT_FOLLOW | ONCE)
_WIDE: Final = int(_FLAGS.CREATE)
_WRITTEN: Final = int(_FLAGS.CLOSE_WRITE)
_ADD: Final = int(_FLAGS.MASK_ADD)
_OVERFLOW: Final = int(_FLAGS.Q_OVERFLOW)
_IGNORED: Final = int(_FLAGS.IGNORED)
# What is watched is no longer where it was.
_DISPLACED: Final = int(_FLAGS.MOVE_SELF | _FLAGS.DELETE_SELF | _FLAGS.UNMOUNT)
# Three calls by ctypes and not a library: Debian has none of those that leave the descriptor to us.
_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_HEAD: Final = struct.Struct("iIII")  # watch, mask, cookie, octets of the name with the NULs behind it


@dataclass(frozen=True, slots=True)
class _Event:
    """Something that happened; *name* is of a file in a directory that is watched, "" of what is watched itself."""

    watch: int
    mask: int
    name: str


def _events(data: bytes) -> Iterator[_Event]:
    """Take apart what was read; the kernel gives whole events only."""
    at = 0
    while at < len(data):
        watch, mask, _, octets = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        yield _Event(watch, mask, os.fsdecode(data[at : at + octets].rstrip(b"\0")))
        at += octets


def _called(result: int) -> int:
    """Return what a call has returned; raises OSError where it failed."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _init() -> int:
    return _called(_LIBC.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))


class Inotify:
    """Watches, each by a number.  *name*: the file that RIGHTS is about.

    After ``close`` every call raises ``descriptors.Closed``, an OSError, or does nothing.
    """

    def __init__(self, name: bytes) -> None:
        self._descriptor = descriptors.Descriptor(descriptors.again(_init), "inotify")
        descriptors.watch_level(self._descriptor.number)
        self._name = os.fsdecode(name)
        # Those where every file counts.
        self._wide: set[int] = set()

    def fileno(self) -> int:
        """Return the descriptor to wait on until it is closed."""
        return self._descriptor.number

    def watch(self, path: bytes, mask: int) -> int:
        """Begin to watch; OSError if the limit of watches is reached or the path is gone.

        A path that is watched already has the same number, and is watched for these events too.
        """
        if b"\0" in path:
            raise ValueError("embedded null byte")
        with self._descriptor.use() as inotify:
            number = _called(_LIBC.inotify_add_watch(inotify, path, ctypes.c_uint32(mask | _ADD)))
        if mask & _WIDE:
            self._wide.add(number)
        return number

    def forget(self, watch: int) -> None:
        """End a watch; harmless if it ended by itself."""
        self._wide.discard(watch)
        try:
            with self._descriptor.use() as inotify:
                _called(_LIBC.inotify_rm_watch(inotify, watch))
        except OSError:
            pass  # its directory is gone, and the watch with it, or all of them are

    def read(self) -> tuple[set[int], set[int], bool]:
        """Return the watches that fired, those that have ended, by themselves or not, and whether events were lost."""
        fired, ended, _, lost = self.drain()
        return fired, ended, lost

    def drain(self) -> tuple[set[int], set[int], set[int], bool]:
        """As ``read``, and between the two those of what is gone, or no longer where it was."""
        fired: set[int] = set()
        ended: set[int] = set()
        displaced: set[int] = set()
        lost = False
        try:
            with self._descriptor.use() as number:
                data = os.read(number, 1 << 16)
        except BlockingIOError:
            return fired, ended, displaced, lost
        for event in _events(data):
            if event.mask & _OVERFLOW:
                lost = True
            elif event.mask & _IGNORED:
                ended.add(event.watch)
            elif self._counts(event):
                fired.add(event.watch)
                if event.mask & _DISPLACED:
                    displaced.add(event.watch)
        self._wide -= ended
        return fired, ended, displaced, lost

    def _counts(self, event: _Event) -> bool:
        if not event.name or event.name == self._name:
            return True
        return event.watch in self._wide and not event.mask & _WRITTEN

    def close(self) -> None:
        """Let go.  Harmless twice."""
        self._descriptor.close()
