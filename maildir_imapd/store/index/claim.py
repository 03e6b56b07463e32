"""Which processes of this host show a mailbox to clients, and up to which moment these have been told of expunges.

A process that shows one holds a lock for reading on a single byte of the folder's lock file, far behind its end: byte
``FIRST`` plus the mod-sequence up to which every client it serves has heard of all that was expunged. Nobody ever waits
for these locks, and nobody takes one for writing: whoever wants to know whether a message is still shown anywhere asks
the kernel who would be in his way. They belong to the open file, not to the process, and end with it, however it ends.

The lock's own file is used where it is open: flock(2) and these locks do not see one another, and a session that only
waits has a descriptor less.

On network file systems such locks and flock(2) may be the same thing, and get in each other's way: nothing is claimed
there, and each process knows of itself only.
"""

from __future__ import annotations

import fcntl
import os
import struct
from typing import Final

from maildir_imapd.events import Log
from maildir_imapd.store.disk import descriptors, filesystems
from maildir_imapd.store.disk.descriptors import Closed, Descriptor
from maildir_imapd.store.index.lock import NAME
from maildir_imapd.store.threads import locks
from maildir_imapd.store.threads.locks import Rank

log = Log(__name__)

# Behind all that the file has in it.
FIRST: Final = 1 << 20
# Later than any mod-sequence.
EVER: Final = (1 << 62) - FIRST
# struct flock: type, whence, start, length, process; 0 for the last says that it belongs to the open file.
_LOCK: Final = struct.Struct("@hhqqi")


class Claim:
    """One process's, of one folder; safe from any thread, and never an error: without it a message is gone sooner."""

    def __init__(self, directory: Descriptor, path: bytes, *, shared: bool = False) -> None:
        self._directory = directory
        self._path = path
        self._guard = locks.make(Rank.GUARD)  # guards what follows; nothing in it waits
        self.file: Descriptor | None = None
        self._own = False  # whether it is for us to close
        self._at = -1  # the mod-sequence that is claimed, -1 for none
        self._useless = shared  # nothing can be claimed here
        self._local = False  # known to be on a file system of this host

    @property
    def is_open(self) -> bool:
        """Whether a file is open that is not the lock's."""
        return self.file is not None and self._own

    def move(self, modseq: int | None) -> None:
        """Say that this process shows the mailbox to clients who know of every expunge up to *modseq*; None: to nobody.

        The file stays open: clients come and go.
        """
        at = -1 if modseq is None else min(modseq, EVER)
        with self._guard:
            if self._useless or (at == self._at and (at < 0 or self.file is not None)):
                return
            try:
                with self._opened().use() as number:
                    # The new one first: at no moment is there none.
                    if at >= 0:
                        fcntl.fcntl(number, fcntl.F_OFD_SETLK, _asked(fcntl.F_RDLCK, at))
                    if self._at >= 0 and self._at != at:
                        fcntl.fcntl(number, fcntl.F_OFD_SETLK, _asked(fcntl.F_UNLCK, self._at))
                self._at = at
            except OSError as error:
                self._give_up(error)

    def join(self, file: Descriptor) -> None:
        """Go on in *file*, which is the lock's and open from now on: what is claimed is claimed there."""
        with self._guard:
            if self._useless or self.file is file:
                return
            try:
                with file.use() as number:
                    self._demand_local(number)
                    if self._at >= 0:
                        fcntl.fcntl(number, fcntl.F_OFD_SETLK, _asked(fcntl.F_RDLCK, self._at))
            except OSError as error:
                self._give_up(error)
                return
            before, own = self.file, self._own
            self.file, self._own = file, False
        if before is not None and own:
            before.close()

    def part(self, file: Descriptor) -> None:
        """Hear that the lock's file is about to be closed: nothing is claimed until there is another."""
        with self._guard:
            if self.file is file:
                self.file = None

    def close(self) -> None:
        """Claim nothing any more, and let go of the file; nobody else may be at work here, or begin to.

        Takes no lock: it may be called from within a finaliser, with any lock held.
        """
        file, self.file, self._at, self._useless = self.file, None, -1, True
        if file is not None and self._own:
            file.close()

    def others(self, modseq: int) -> bool:
        """Whether another process serves a client who has not heard of every expunge before *modseq*."""
        with self._guard:
            if self._useless:
                return False
            try:
                asked = _LOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, FIRST, min(modseq, EVER), 0)
                with self._opened().use() as number:
                    found = fcntl.fcntl(number, fcntl.F_OFD_GETLK, asked)
            except OSError as error:
                self._give_up(error)
                return False
        return bool(_LOCK.unpack(found)[0] != fcntl.F_UNLCK)

    def _opened(self) -> Descriptor:
        if self.file is None:
            with self._directory.use() as directory:
                self._demand_local(directory)
                flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
                self.file = Descriptor(descriptors.open(NAME, flags, dir_fd=directory), "lock file, to claim")
                self._own = True
        return self.file

    def _demand_local(self, number: int) -> None:
        """Raise OSError where such locks are the server's to give, and may be one with flock(2)."""
        if not self._local:
            if filesystems.deaf_at(number) is not None:
                raise OSError("a network file system")
            self._local = True

    def _give_up(self, error: OSError) -> None:
        if isinstance(error, Closed) or descriptors.out_of_descriptors(error):
            return
        self._useless = True
        log.debug("no claim on a folder", path=self._path, why=error)


def _asked(kind: int, modseq: int) -> bytes:
    """Say to the kernel what is wanted of the byte of a mod-sequence."""
    return _LOCK.pack(kind, os.SEEK_SET, FIRST + modseq, 1, 0)
