"""Messages that a process has died of.

Whoever makes something of a message for SEARCH, SORT or THREAD notes which one it is, where it outlives the process.
A message at which two processes have ended is left out from then on, so that nobody's next SORT ends a third.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, closing
from typing import Final, NamedTuple, Protocol

from maildir_imapd.events import Log
from maildir_imapd.imap.view import View

log = Log(__name__)


class Message(NamedTuple):
    """A message by what stays the same in every process: its folder's device and inode, UIDVALIDITY and UID."""

    device: int
    inode: int
    uidvalidity: int
    uid: int


class Note(Protocol):
    """A note of one thread that goes over the messages of a folder; two calls a message, each a store or two."""

    def begin(self, uid: int) -> bool:
        """Note that work on a message begins; False for one that is to be left out."""

    def end(self) -> None:
        """Note that it is over."""

    def close(self) -> None:
        """Note nothing more."""


class Notes(Protocol):
    """Where it is noted; safe from any thread."""

    def folder(self, device: int, inode: int, uidvalidity: int) -> Note:
        """Return what to note the messages of a folder with."""


class _Nothing:
    """For a process that nobody replaces."""

    def folder(self, device: int, inode: int, uidvalidity: int) -> Note:
        return self

    def begin(self, uid: int) -> bool:
        return True

    def end(self) -> None:
        pass

    def close(self) -> None:
        pass


class Danger:
    """The process's notes; a worker puts its own here before it has any thread."""

    def __init__(self) -> None:
        self.notes: Notes = _Nothing()
        self._said: set[Message] = set()

    def of(self, view: View) -> AbstractContextManager[Note]:
        """Return what to note messages of the open mailbox with, closed at the end of the block."""
        device, inode = view.mailbox.identity
        return closing(self.notes.folder(device, inode, view.snapshot.uidvalidity))

    def say(self, view: View, uid: int) -> None:
        """Log that a message is left out, once."""
        message = Message(*view.mailbox.identity, view.snapshot.uidvalidity, uid)
        if message not in self._said:
            self._said.add(message)
            log.warning("message left out: workers have died of it", mailbox=view.name, uid=uid)


danger: Final = Danger()
