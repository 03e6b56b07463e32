"""Which mailboxes and subscriptions an account has, for whoever wants to hear when that changes (RFC 5465).

Looked at when the watch thread sees something happen in one of the directories that hold folders, and after every
change this process makes.  A folder is known by its inode, which a RENAME keeps, whoever makes it, and by when it was
made: the next folder may have the inode of the last one.
"""

from __future__ import annotations

import os
import time
import weakref
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from maildir_imapd import errors
from maildir_imapd.events import Log
from maildir_imapd.store.disk import inotify
from maildir_imapd.store.threads import locks
from maildir_imapd.store.threads.listeners import Listener, Listeners

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from maildir_imapd.store.records.acl import Acl
    from maildir_imapd.store.watch import Watcher

log = Log(__name__)

# Seconds until another look while a RENAME of several folders is half done; one that is older than PATIENCE was
# interrupted, and is finished by the next start of a process.
_SOON_SECONDS: Final = 0.2
_PATIENCE_SECONDS: Final = 60.0

# A look at many folders takes the watch thread from everybody else in the process: after one it waits so many times as
# long as that took.
_REST: Final = 4

# Folders whose lists of rights are watched: as many as one session may have watched for messages.
_RIGHTS: Final = 1000


@dataclass(frozen=True, slots=True)
class Known:
    """One moment: *mailboxes* with what identifies their folders, *bare* names that are only parents, subscribed
    names, the serial of the last change of metadata, and the lists of rights that there are (None: one that cannot be
    read).

    *directories* are those that were looked into: what comes into them is news.
    """

    mailboxes: dict[str, tuple[int, int, int]]
    bare: frozenset[str]
    subscribed: frozenset[str]
    metadata: int
    rights: dict[str, Acl | None]
    directories: tuple[bytes, ...] = field(default=(), compare=False)


class Source(Protocol):
    """The account as ``Names`` needs to see it."""

    @property
    def root(self) -> bytes:
        """The directory that holds it."""

    def known(self) -> Known:
        """Look at what there is now; raises StoreError. A RENAME under way may show neither name."""

    def directories(self) -> list[bytes]:
        """The directories in which folders, and the account's own files, come and go."""

    def paths(self) -> list[bytes]:
        """The folder of every mailbox."""


class Names:
    """One account's; safe from any thread.  *intent*: the file that says that a RENAME is under way."""

    grows = True

    def __init__(self, account: Source, watcher: Watcher | None, intent: bytes) -> None:
        self.path = account.root
        # Not to keep alive what owns this.
        self._account: Source = weakref.proxy(account)
        self._watcher = watcher
        self._intent = os.path.join(account.root, intent)
        # So that no moment overtakes another; held while directories are read.
        self._looking = locks.make(locks.Rank.NAMES)
        self._listeners = Listeners()
        self._known: Known | None = None
        self._rest_until = 0.0  # monotonic; the watch thread's alone

    @property
    def known(self) -> Known:
        """The last moment that was seen.  Raises StoreError when there was none and it cannot be seen."""
        return self._known or self.look()

    def look(self) -> Known:
        """See what there is, and wake the listeners if that is news.  Raises StoreError."""
        with self._looking:
            before, after = self._see()
        return self._tell(before, after)

    def _see(self) -> tuple[Known | None, Known]:
        """Return what was known before, and what is now; under the lock."""
        before = self._known
        after = self._account.known()
        if before is not None and not set(before.mailboxes.values()) <= set(after.mailboxes.values()):
            # A listing may miss what is renamed meanwhile: gone is what is missing twice.
            after = self._account.known()
        if before is not None and self._renaming():
            # It has begun since: half of the folders have their new names.  Whoever ends it looks again.
            return before, before
        self._known = after
        return before, after

    def _tell(self, before: Known | None, after: Known) -> Known:
        # Where nothing is known any more, somebody may go by a moment that he got from ``known`` before.
        if after != before:
            self._listeners.wake()
        return after

    def changed(self) -> None:
        """Note that this process has changed something: whoever listens hears of it now."""
        if self._listeners:
            try:
                self.look()
            except errors.StoreError as error:
                log.warning("names cannot be read", path=self.path, why=error.detail)

    def listen(self, wake: Callable[[], None]) -> Listener:
        """Call *wake*, without locks and from any thread, whenever what is known has changed."""
        return self._listeners.add(wake, self._heard, self._unheard)

    def _heard(self) -> None:
        self._known = None
        if self._watcher is not None:
            self._watcher.add(self)

    def _unheard(self) -> None:
        if self._watcher is not None:
            self._watcher.leave(self)

    # --- what the watcher asks --------------------------------------------------------------------

    @property
    def listened(self) -> bool:
        """Whether anybody listens."""
        return bool(self._listeners)

    def watches(self) -> Sequence[tuple[bytes, int]]:
        """List what is to be watched: directories that hold folders, those of the account's own files, and the folders.

        The directories are those that the last look went by, and not another look's: a folder that was half made then,
        and is whole now, would be neither news nor watched.

        In the folders it is the lists of rights that matter.  Folders that are watched for messages are watched
        already, so that these cost nothing; of many others only some are, for a user may have only so many watches.
        """
        known = self._known
        directories = known.directories if known is not None else self._account.directories()
        folders = self._account.paths()[:_RIGHTS]
        return [(path, inotify.DIRECTORY) for path in directories] + [(path, inotify.RIGHTS) for path in folders]

    def looking(self) -> AbstractContextManager[None]:
        """Nothing to enter: the process may look at what it keeps."""
        return nullcontext()

    def refresh(self) -> float | None:
        """Look; return in how many seconds to look again even if nothing happens.

        It waits for nobody: while another thread looks, it comes back soon.
        """
        # Half of the folders have their new names: that would look like folders made and deleted.
        if self._renaming():
            return _SOON_SECONDS
        left = self._rest_until - time.monotonic()
        if left > 0:
            return left
        began = time.thread_time()  # what others took meanwhile is not ours
        if not self._looking.acquire(blocking=False):
            # What that thread has read already may be older than what this one was called for.
            return _SOON_SECONDS
        try:
            before, after = self._see()
        finally:
            self._looking.release()
        self._tell(before, after)
        self._rest_until = time.monotonic() + _REST * (time.thread_time() - began)
        return _SOON_SECONDS if self._renaming() else None

    def _renaming(self) -> bool:
        """Whether a RENAME is under way, and not one that was interrupted."""
        try:
            return time.time() - os.stat(self._intent).st_mtime < _PATIENCE_SECONDS
        except OSError:
            return False
