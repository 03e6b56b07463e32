"""One thread per process that notices what happens in the folders somebody listens to.

With inotify it waits for events on new/, cur/, the folder itself and the lock file, whose first bytes are
the bell that other processes ring. Without (network file systems) it calls sync() on each folder once per
interval, which is three system calls when nothing happened. Either way the mailbox finds out what it was,
and wakes its listeners; this thread touches no socket.
"""

from __future__ import annotations

import errno
import logging
import os
import select
import threading
import time
from typing import TYPE_CHECKING, Final, Protocol

from maildir_imapd import errors
from maildir_imapd.store import acl, inotify
from maildir_imapd.store.bell import Bell
from maildir_imapd.store.longlived import no_beat

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

log = logging.getLogger(__name__)

MODES: Final = ("auto", "inotify", "poll")

# Folders that are watched although nobody listens any more: most are opened again soon, by the next request
# of a webmail or a client that goes to and fro, and setting watches costs more than all else in a SELECT.
LINGERING: Final = 64


class Watched(Protocol):
    """A mailbox, or the names of an account."""

    path: bytes
    # Whether what is to be watched changes with what is found.
    grows: bool

    @property
    def listened(self) -> bool:
        """Whether anybody listens."""
        ...

    def watches(self) -> Sequence[tuple[bytes, int]]:
        """Paths to watch and the events that count; what is not there is passed over."""
        ...

    def looking(self) -> AbstractContextManager[None]:
        """Entered by the watch thread around all that touches the disk."""
        ...

    def refresh(self) -> float | None:
        """See what has happened, wake who listens; return in how many seconds to do so again whatever happens.

        Raises MailboxMissing when it is gone for good, ImapdError.
        """
        ...


class Watcher:
    """Watches folders for as long as somebody listens to them."""

    def __init__(self, mode: str = "auto", interval: float = 1.0, beat: Callable[[], None] = no_beat) -> None:
        self.mode = mode
        self.interval = interval
        self._guard = threading.Lock()  # guards all below; never held while a mailbox is called
        self._boxes: dict[int, Watched] = {}  # by id(): a mailbox is watched or not, whatever its path
        self._polled: set[int] = set()  # those that inotify does not cover
        self._due: dict[int, float] = {}  # when to look again although nothing happened
        self._watches: dict[int, set[int]] = {}  # watch -> mailboxes; one folder may have two objects
        self._left: dict[int, None] = {}  # those that nobody listens to, the longest left first
        self._thread: threading.Thread | None = None
        self._closing = False
        self._inotify: inotify.Inotify | None = None
        self._bell = Bell()
        if mode != "poll":
            try:
                self._inotify = inotify.Inotify(acl.FILE)
            except OSError as error:
                if mode == "inotify":
                    raise errors.ConfigError(detail=f"inotify: {error}") from error
                log.warning("inotify not available, polling interval=%s error=%s", interval, error)

    def add(self, mailbox: Watched) -> None:
        """Begin to watch a folder."""
        with self._guard:
            # Race: whoever listened may have stopped since, and another begun: the call that comes last counts.
            if self._closing or not mailbox.listened:
                return
            key = id(mailbox)
            if key in self._left:
                del self._left[key]
                return
            self._boxes[key] = mailbox
            self._polled.add(key)
            if self._inotify is not None and self._watch(key, mailbox):
                self._polled.discard(key)
            # What happened before the watches were there is nobody's event: look once.
            self._due[key] = 0.0
        self.start()
        self._bell.ring()

    def start(self) -> None:
        """Begin the thread, if it does not run yet: the first to open a mailbox need not wait for it."""
        with self._guard:
            if self._thread is None and not self._closing:
                self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
                self._thread.start()

    def _watch(self, key: int, mailbox: Watched) -> bool:
        """Set the watches of one folder; False if the system has no more to give."""
        assert self._inotify is not None
        for path, mask in mailbox.watches():
            try:
                number = self._inotify.watch(path, mask)
            except OSError as error:
                if error.errno == errno.ENOENT:
                    continue  # a spool that cannot be written has no lock file; a folder that is gone says so itself
                log.warning("no inotify watch, polling path=%s error=%s", os.fsdecode(path), error)
                self._unwatch(key)
                return False
            self._watches.setdefault(number, set()).add(key)
        return True

    def _unwatch(self, key: int) -> None:
        for number, keys in list(self._watches.items()):
            keys.discard(key)
            if not keys:
                del self._watches[number]
                if self._inotify is not None:
                    self._inotify.forget(number)

    def release(self, mailbox: Watched) -> None:
        """Note that nobody listens to a folder for now; its watches stay until others have been left later."""
        with self._guard:
            key = id(mailbox)
            if key not in self._boxes or mailbox.listened:
                return
            if key in self._polled:
                self._drop(key)
                return
            self._left[key] = None
            while len(self._left) > LINGERING:
                self._drop(next(iter(self._left)))

    def leave(self, mailbox: Watched) -> None:
        """Watch no longer what nobody listens to."""
        with self._guard:
            # Race: whoever was the last may be one no more: the call that comes last counts.
            if id(mailbox) in self._boxes and not mailbox.listened:
                self._drop(id(mailbox))

    def remove(self, mailbox: Watched) -> None:
        """Watch a folder no longer."""
        with self._guard:
            if id(mailbox) in self._boxes:
                self._drop(id(mailbox))

    def _drop(self, key: int) -> None:
        del self._boxes[key]
        self._left.pop(key, None)
        self._polled.discard(key)
        self._due.pop(key, None)
        self._unwatch(key)

    def close(self, timeout: float | None = None) -> None:
        """End the thread."""
        with self._guard:
            self._closing = True
            thread = self._thread
        self._bell.ring()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)
        with self._guard:
            self._boxes.clear()
            self._left.clear()
            self._watches.clear()
            if self._inotify is not None:
                self._inotify.close()
                self._inotify = None
        self._bell.close()

    # --- the thread ----------------------------------------------------------------------------

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._bell.fd, select.POLLIN)
        if self._inotify is not None:
            poll.register(self._inotify.fileno(), select.POLLIN)
        next_poll = time.monotonic() + self.interval
        while True:
            with self._guard:
                if self._closing:
                    return
                times = list(self._due.values())
                if self._polled:
                    times.append(next_poll)
            patience = max(0.0, min(times) - time.monotonic()) * 1000 if times else None
            poll.poll(patience)
            now = time.monotonic()
            touched = self._collect(now)
            if now >= next_poll:
                next_poll = now + self.interval
                with self._guard:
                    touched |= self._polled
            for key in touched:
                self._sync(key)

    def _extend(self, key: int, mailbox: Watched) -> bool:
        """Watch what has been found to belong to it since; say whether that is anything."""
        with self._guard:
            if self._inotify is None or key not in self._boxes or key in self._polled:
                return False
            before = {number for number, keys in self._watches.items() if key in keys}
            if not self._watch(key, mailbox):
                self._polled.add(key)
                return True
            return any(key in keys and number not in before for number, keys in self._watches.items())

    def _collect(self, now: float) -> set[int]:
        """Return the mailboxes that something happened to, or that are due."""
        self._bell.clear()
        fired, lost = self._inotify.read() if self._inotify is not None else (set[int](), False)
        with self._guard:
            if lost:
                return set(self._boxes)
            touched = {key for key, when in self._due.items() if when <= now}
            for number in fired:
                touched |= self._watches.get(number, set())
            return touched

    def _sync(self, key: int) -> None:
        with self._guard:
            mailbox = self._boxes.get(key)
            self._due.pop(key, None)
        if mailbox is None:
            return
        try:
            with mailbox.looking():
                again = mailbox.refresh()
                if mailbox.grows and self._extend(key, mailbox):
                    # What happened in it before it was watched is nobody's event.
                    again = 0.0
        except errors.MailboxMissing:
            self.remove(mailbox)  # its listeners have been woken and see that it is gone
            return
        except errors.ImapdError as error:
            log.warning("folder cannot be watched path=%s error=%s %s", os.fsdecode(mailbox.path), error, error.detail)
            again = self.interval
        except Exception:
            log.exception("watching failed path=%s", os.fsdecode(mailbox.path))
            again = self.interval
        if again is not None:
            with self._guard:
                if key in self._boxes:
                    self._due[key] = time.monotonic() + again
