"""A folder's lock, in the process and between processes, and the bell in the same file.

The file ``maildir-imapd.lock`` is made once and never replaced or removed, so its inode is the lock:

    bytes 0-7    the bell: the folder's last mod-sequence, little endian. Whoever commits a batch writes it,
                 which is an IN_MODIFY event for every process that watches.
    bytes 8-23   the second place of the UID reserve (UIDVALIDITY, reserve, both 32 bits, CRC-32 of the two,
                 32 bits unused): if the index is ever damaged, this says which UIDs may have been given out.

flock(2) belongs to the open file, so the kernel frees it when a process dies; nothing here is ever stale.
The lock belongs to the file of that name: one that has been removed, or put elsewhere by a hard link, is none.
Lock order: folders by device and inode; in a folder first the threads' lock, then flock; the cache's lock last.
"""

from __future__ import annotations

import os
import struct
import time
import zlib
from collections.abc import Callable
from typing import Protocol

from maildir_imapd import errors
from maildir_imapd.store.disk import durable, fresh
from maildir_imapd.store.disk.descriptors import Closed, Descriptor
from maildir_imapd.store.threads import locks
from maildir_imapd.store.threads.locks import Rank

NAME = b"maildir-imapd.lock"

_BELL = struct.Struct("<Q")
_RESERVE = struct.Struct("<II")
_SUM = struct.Struct("<II")
_NONSENSE = 1 << 62  # no folder gets there; RFC 7162 allows mod-sequences of 63 bits


class Guest(Protocol):
    """Whatever uses the file of a lock while that is open (claim.py)."""

    file: Descriptor | None
    """The one that it uses, be it the lock's or its own."""

    def join(self, file: Descriptor) -> None:
        """Hear that it is open."""

    def part(self, file: Descriptor) -> None:
        """Hear that it is about to be closed, where it is the one in use."""


class FolderLock:
    """Exclusive right to change a folder and its index; not re-entrant.

    *directory* is in use for as long as any of it is held. *order*: of the folder among others (descriptors.py).
    *shared*: other hosts take it, too: the file is opened for each time that it is held, so that its bytes are those of
    now, and synced before it is let go.  *guest*: uses the same file.
    *hint*: called with the file's inode once it is let go, if the bell was rung and other hosts take it.
    """

    def __init__(
        self,
        directory: Descriptor,
        path: bytes,
        timeout: float,
        mode: int = 0o600,
        order: tuple[int, ...] = (),
        *,
        shared: bool = False,
        guest: Guest | None = None,
        hint: Callable[[int], None] | None = None,
    ) -> None:
        self.path = path
        self._guest = guest
        self._hint = hint if shared else None
        self._rang = False  # since it was taken
        self._timeout = timeout
        self._directory = directory
        self._mode = mode
        self._shared = shared
        # One thread of this process at a time; taken before flock, guards all that the folder has in memory.
        self._threads = locks.make(Rank.FOLDER, order)
        self._file: Descriptor | None = None
        self._identity = (0, 0)  # of that file

    @property
    def is_open(self) -> bool:
        """Whether the file is open."""
        return self._file is not None

    def mark(self) -> int | None:
        """Return the number by which other hosts hint at the folder, the same on each of them; None without hints."""
        if self._hint is None:
            return None
        try:
            return fresh.stat(self.path + b"/" + NAME).st_ino
        except OSError:
            return None

    def acquire_threads(self, patience: float | None = None) -> None:
        """Shut out the other threads of this process: enough to read the index, taken before the file's lock.

        *patience* in seconds, None for what is set; with 0 nothing waits. Raises LockTimeout.
        """
        patience = self._timeout if patience is None else patience
        if self._threads.locked():
            locks.waited.count += 1
        if not (self._threads.acquire(timeout=patience) if patience > 0 else self._threads.acquire(blocking=False)):
            raise errors.LockTimeout(detail=os.fsdecode(self.path))

    def release_threads(self) -> None:
        """Let the other threads in."""
        self._threads.release()

    def acquire_file(self, patience: float | None = None) -> None:
        """Shut out the other processes; the caller holds the threads' lock.

        Raises LockTimeout, or OSError if the file cannot be made or opened for writing.
        """
        deadline = time.monotonic() + (self._timeout if patience is None else patience)
        while True:
            if self._file is None:
                file = Descriptor(durable.open_lasting(NAME, self._directory.number, self._mode), "lock file")
                try:
                    found = os.fstat(file.number)
                except BaseException:
                    file.close()
                    raise
                self._identity, self._file = (found.st_dev, found.st_ino), file
            left = max(0.0, deadline - time.monotonic())
            locks.flock(self._file.number, self.path, left, rank=None)
            try:
                if self._has_name():
                    if self._guest is not None:
                        self._guest.join(self._file)
                    return
            except BaseException:
                # Nobody would give it back, and every other process would wait in vain.
                self.close()
                raise
            # Somebody removed the file after all: two processes could hold two locks. Make it anew.
            self.close()

    def _has_name(self) -> bool:
        """Say whether the file that is open is the one of that name; another name that it has says nothing."""
        try:
            look = fresh.stat if self._shared else os.stat
            there = look(NAME, dir_fd=self._directory.number, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return (there.st_dev, there.st_ino) == self._identity

    def release_file(self) -> None:
        """Let the other processes in."""
        file = self._file
        if file is not None:
            if self._shared:
                self._publish()
            try:
                locks.unlock(file.number, rank=None)
            except BaseException:
                self.close()  # that gives it back, too
                raise
            if self._shared:
                self.close()
            if self._rang and self._hint is not None:
                # What it is of can be read by now, and nothing waits for it.
                self._hint(self._identity[1])
            self._rang = False

    def _publish(self) -> None:
        """See to it that other hosts see the bell; whoever does not finds the batch itself."""
        try:
            durable.sync_data(self._number)
        except OSError:
            pass

    def prove(self) -> None:
        """Raise OSError where the lock is not ours any more: a server that we were cut off from gives it to others.

        It says so when the file is written to, by who had the lock.
        """
        rung = os.pread(self._number, _BELL.size, 0)
        durable.write_at(self._number, rung.ljust(_BELL.size, b"\0"), 0)
        durable.sync_data(self._number)

    def ring(self, modseq: int) -> None:
        """Tell other processes that the journal has grown; they find out themselves if this fails."""
        self._rang = True
        try:
            durable.write_at(self._number, _BELL.pack(modseq), 0)
        except OSError:
            pass  # a bell that stays silent costs a moment: the next look at the folder finds the batch

    def rung(self) -> int:
        """Return the mod-sequence that was rung last, 0 if none."""
        data = os.pread(self._number, _BELL.size, 0) if self._file is not None else b""
        rung: int = _BELL.unpack(data)[0] if len(data) == _BELL.size else 0
        return rung if rung < _NONSENSE else 0

    def note_reserve(self, uidvalidity: int, reserve: int, *, sync: bool) -> None:
        """Keep the UID reserve in a second place (robustness rule 4)."""
        record = _RESERVE.pack(uidvalidity, reserve)
        durable.write_at(self._number, record + _SUM.pack(zlib.crc32(record), 0), _BELL.size)
        if sync or self._shared:
            durable.sync_data(self._number)

    def reserve(self) -> tuple[int, int] | None:
        """Return (UIDVALIDITY, reserve) as last noted, None if that does not verify."""
        data = os.pread(self._number, _RESERVE.size + _SUM.size, _BELL.size) if self._file is not None else b""
        if len(data) < _RESERVE.size + _SUM.size:
            return None
        record = data[: _RESERVE.size]
        if _SUM.unpack_from(data, _RESERVE.size)[0] != zlib.crc32(record):
            return None
        uidvalidity, reserve = _RESERVE.unpack(record)
        return (uidvalidity, reserve) if uidvalidity else None

    @property
    def _number(self) -> int:
        if self._file is None:
            raise Closed("lock file")
        return self._file.number

    def close(self) -> None:
        """Let go of the descriptor, and with it of the lock."""
        file, self._file = self._file, None
        if file is not None:
            # Without a call where the guest has gone: this may run in a finaliser, without memory for one.
            if self._guest is not None and self._guest.file is file:
                self._guest.part(file)
            file.close()
