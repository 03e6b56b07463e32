"""A folder's lock, in the process and between processes, and the bell in the same file.

The file ``maildir-imapd.lock`` is made once and never replaced or removed, so its inode is the lock:

    bytes 0-7    the bell: the folder's last mod-sequence, little endian. Whoever commits a batch writes it,
                 which is an IN_MODIFY event for every process that watches.
    bytes 8-23   the second place of the UID reserve (UIDVALIDITY, reserve, both 32 bits, CRC-32 of the two,
                 32 bits unused): if the index is ever damaged, this says which UIDs may have been given out.

flock(2) belongs to the open file, so the kernel frees it when a process dies; nothing here is ever stale.
Lock order: folders by path; in a folder first the threads' lock, then flock; the cache's lock last.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import threading
import time
import zlib

from maildir_imapd import errors
from maildir_imapd.store import durable

NAME = b"maildir-imapd.lock"

_BELL = struct.Struct("<Q")
_RESERVE = struct.Struct("<II")
_SUM = struct.Struct("<II")
_NONSENSE = 1 << 62  # no folder gets there; RFC 7162 allows mod-sequences of 63 bits


class FolderLock:
    """Exclusive right to change a folder and its index; not re-entrant."""

    def __init__(self, directory: int, path: bytes, timeout: float, mode: int = 0o600) -> None:
        self.path = path
        self._directory = directory
        self._timeout = timeout
        self._mode = mode
        self._threads = threading.Lock()  # one thread of this process at a time; taken before flock
        self._fd = -1

    def acquire_threads(self) -> None:
        """Shut out the other threads of this process: enough to read the index, taken before the file's lock."""
        if not self._threads.acquire(timeout=self._timeout):
            raise errors.LockTimeout(detail=os.fsdecode(self.path))

    def release_threads(self) -> None:
        """Let the other threads in."""
        self._threads.release()

    def acquire_file(self) -> None:
        """Shut out the other processes; the caller holds the threads' lock.

        Raises LockTimeout, or OSError if the file cannot be made or opened for writing.
        """
        deadline = time.monotonic() + self._timeout
        while True:
            if self._fd < 0:
                self._open()
            self._flock(deadline)
            if os.fstat(self._fd).st_nlink:
                return
            # Somebody removed the file after all: two processes could hold two locks. Make it anew.
            self.close()

    def release_file(self) -> None:
        """Let the other processes in."""
        if self._fd >= 0:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def _open(self) -> None:
        self._fd = durable.open_lasting(NAME, self._directory, self._mode)

    def _flock(self, deadline: float) -> None:
        # flock has no time-out and a signal would hit the wrong thread: try, and look again ever later.
        pause = 0.0002
        while True:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except OSError as error:
                if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                    raise
            if time.monotonic() > deadline:
                raise errors.LockTimeout(detail=os.fsdecode(self.path))
            time.sleep(pause)
            pause = min(pause * 1.5, 0.02)

    def ring(self, modseq: int) -> None:
        """Tell other processes that the journal has grown; they find out themselves if this fails."""
        try:
            durable.write_at(self._fd, _BELL.pack(modseq), 0)
        except OSError:
            pass  # a bell that stays silent costs a moment: the next look at the folder finds the batch

    def rung(self) -> int:
        """Return the mod-sequence that was rung last, 0 if none."""
        data = os.pread(self._fd, _BELL.size, 0) if self._fd >= 0 else b""
        rung: int = _BELL.unpack(data)[0] if len(data) == _BELL.size else 0
        return rung if rung < _NONSENSE else 0

    def note_reserve(self, uidvalidity: int, reserve: int, *, sync: bool) -> None:
        """Keep the UID reserve in a second place (robustness rule 4)."""
        record = _RESERVE.pack(uidvalidity, reserve)
        durable.write_at(self._fd, record + _SUM.pack(zlib.crc32(record), 0), _BELL.size)
        if sync:
            durable.sync_data(self._fd)

    def reserve(self) -> tuple[int, int] | None:
        """Return (UIDVALIDITY, reserve) as last noted, None if that does not verify."""
        data = os.pread(self._fd, _RESERVE.size + _SUM.size, _BELL.size) if self._fd >= 0 else b""
        if len(data) < _RESERVE.size + _SUM.size:
            return None
        record = data[: _RESERVE.size]
        if _SUM.unpack_from(data, _RESERVE.size)[0] != zlib.crc32(record):
            return None
        uidvalidity, reserve = _RESERVE.unpack(record)
        return (uidvalidity, reserve) if uidvalidity else None

    def close(self) -> None:
        """Let go of the descriptor, and with it of the lock."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
