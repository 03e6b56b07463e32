"""The right to change which mailboxes an account has, and the account's own files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from maildir_imapd.errors import LockTimeout
from maildir_imapd.store.disk import descriptors, durable
from maildir_imapd.store.threads import locks
from maildir_imapd.store.threads.locks import Rank

if TYPE_CHECKING:
    from maildir_imapd.store.maildir.layout import Layout

LOCK: Final = b"maildir-imapd.account.lock"


class AccountLock:
    """One of an account; ``with lock() as root`` yields a descriptor of the root. Not re-entrant.

    Taken before any folder's lock. The kernel frees it when its holder dies; what he left half done *finish* does
    first, with the descriptor, and says whether there was anything. *changed* is called when the lock is free again.
    """

    def __init__(self, layout: Layout, finish: Callable[[int], bool], timeout: float = locks.TIMEOUT_SECONDS) -> None:
        self._layout = layout
        self._finish = finish
        self._timeout = timeout
        self._threads = locks.make(Rank.ACCOUNT)  # one thread of this process at a time; taken before the file's
        self.changed: Callable[[], None] = lambda: None

    @contextmanager
    def __call__(self, patience: float | None = None) -> Iterator[int]:
        """Hold it; raises LockTimeout after *patience* seconds (None: the usual), StoreError."""
        patience = self._timeout if patience is None else patience
        path = self._layout.root + b"/" + LOCK
        with durable.as_store_error(self._layout.root):
            if not (self._threads.acquire(timeout=patience) if patience > 0 else self._threads.acquire(blocking=False)):
                raise LockTimeout(detail=os.fsdecode(path))
            try:
                root = descriptors.open_directory(self._layout.root)
                try:
                    number = durable.open_lasting(LOCK, root)
                    try:
                        locks.flock(number, path, patience, rank=None)
                        if self._finish(root):
                            self._layout.forget()
                        yield root
                    finally:
                        os.close(number)
                finally:
                    os.close(root)
                    self._layout.forget()
            finally:
                self._threads.release()
        # The lock is free: whoever waits for news of names hears them now.
        self.changed()
