"""The counter of an account from which its mailboxes get their UIDVALIDITY."""

from __future__ import annotations

import os
import time
from typing import Final

from maildir_imapd.store.disk import descriptors, durable
from maildir_imapd.store.neighbours.uidlist import LARGEST
from maildir_imapd.store.threads import locks
from maildir_imapd.store.threads.locks import Rank

NAME: Final = b"maildir-imapd.uidvalidity"


class Counter:
    """One of an account; its file is never replaced, and is its own lock."""

    def __init__(self, root: bytes) -> None:
        self._root = root

    def next(self) -> int:
        """Return a UIDVALIDITY that no mailbox of the account ever had: max(now, last + 1) (robustness rule 6).

        A clock beyond 2106 says nothing: then it is last + 1.

        Called while a folder's lock is held, so its lock is a leaf. Raises StoreError, LockTimeout.
        """
        path = os.path.join(self._root, NAME)
        with durable.as_store_error(path):
            root = descriptors.open_directory(self._root)
            try:
                number = _open(root)
            finally:
                os.close(root)
            try:
                locks.flock(number, path, rank=Rank.COUNTER)
                try:
                    text = os.pread(number, 32, 0).partition(b"\n")[0].strip()
                    last = int(text) if text.isdigit() else 0
                    # What no mailbox can have had is damage.
                    now = int(time.time())
                    value = max(now if now < LARGEST else 1, last + 1 if last < LARGEST else 0)
                    durable.write_at(number, b"%d\n" % value, 0)
                    durable.sync(number)
                finally:
                    locks.unlock(number, rank=Rank.COUNTER)
                return value
            finally:
                os.close(number)


def _open(root: int) -> int:
    """Open the counter; another owner's, in a directory that is ours, is put aside for one that begins anew."""
    try:
        return durable.open_lasting(NAME, root)
    except PermissionError:
        there = os.stat(NAME, dir_fd=root, follow_symlinks=False)
        if there.st_uid == os.geteuid() or os.fstat(root).st_uid != os.geteuid():
            raise
        durable.unlink(NAME, root)
        return durable.open_lasting(NAME, root)
