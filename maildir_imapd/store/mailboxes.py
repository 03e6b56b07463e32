"""The open mailboxes of one account: one object a folder, kept for a while when nobody uses it (disk/unused.py)."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from maildir_imapd.errors import LimitReached, LockTimeout
from maildir_imapd.events import Log
from maildir_imapd.store.current import CurrentFolder, unmoved, unwatch
from maildir_imapd.store.disk.unused import Shelf, Unused
from maildir_imapd.store.mailbox import Mailbox
from maildir_imapd.store.maildir import keywords
from maildir_imapd.store.neighbours import takeover
from maildir_imapd.store.threads import locks
from maildir_imapd.store.threads.locks import Rank

if TYPE_CHECKING:
    from maildir_imapd.store.folder.keeping import Keeping
    from maildir_imapd.store.index.snapshot import Snapshot
    from maildir_imapd.store.maildir.layout import Layout
    from maildir_imapd.store.neighbours.seed import Seed
    from maildir_imapd.store.watch import Watcher

log = Log(__name__)


@dataclass(frozen=True, slots=True)
class Opening:
    """How the mailboxes of an account are opened; see Mailbox."""

    layout: Layout
    keeping: Keeping
    watcher: Watcher | None
    keeps: Callable[[Mailbox, Sequence[int], int], None] | None = None
    """As of Mailbox."""

    def mailbox(self, path: bytes) -> Mailbox:
        """Make the object for a folder; at first contact it takes over what another server knew of it."""
        found: list[takeover.Found] = []

        def seed() -> Seed | None:
            found.append(look(self.layout, path))
            return found[-1].seed()

        mailbox = Mailbox(
            path,
            self.keeping,
            root=self.layout.above(path),
            control=self.layout.control(path),
            cache=self.layout.cache(path),
            seed=seed,
            watcher=self.watcher,
        )
        mailbox.keeps = self.keeps
        if found and found[-1].words:
            _set_keywords(mailbox, found[-1].words)
        return mailbox


@dataclass(slots=True)
class _Pending:
    """A folder that a thread is opening; the others wait, without any lock."""

    over: threading.Event = field(default_factory=threading.Event)


class Mailboxes:
    """Safe from any thread. Nothing here keeps the account alive, and only what somebody holds, or *unused*, a mailbox.

    What is handed out is a folder, not a name: one whose directory was deleted and made anew is another one.
    """

    def __init__(self, opening: Opening, unused: Unused, timeout: float = locks.TIMEOUT_SECONDS) -> None:
        self._opening = opening
        self._timeout = timeout
        self._guard = locks.make(Rank.GUARD)  # guards the next two; held for no call
        self._known: WeakValueDictionary[bytes, Mailbox] = WeakValueDictionary()
        self._pending: dict[bytes, _Pending] = {}
        # Open although no session has them selected: STATUS and the next SELECT are quick then.
        self._shelf: Shelf[bytes, CurrentFolder] = Shelf(unused, unwatch)

    def known(self, path: bytes) -> bool:
        """Whether the folder is open already."""
        return path in self._known

    def gone_but(self, paths: Container[bytes]) -> None:
        """Let go of what is no longer in its place; *paths*: folders that have just been seen there."""
        with self._guard:
            some = [(path, mailbox) for path, mailbox in self._known.items() if path not in paths]
        for path, mailbox in some:
            if not mailbox.stands():
                self.gone(path, mailbox)

    def at(self, path: bytes) -> Mailbox:
        """The mailbox of the folder that is at *path* now.

        Raises MailboxMissing, LockTimeout, StoreError. Opening may take as long as a first look at the folder, or as
        the patience with its lock: it holds up those who want the same folder, and nobody else.
        """
        deadline = time.monotonic() + self._timeout
        while True:
            with self._guard:
                mailbox = self._known.get(path)
                pending = self._pending.get(path)
                mine = mailbox is None and pending is None
                if mine:
                    pending = self._pending[path] = _Pending()
            if mailbox is not None:
                if mailbox.stands():
                    mailbox.used()
                    return mailbox
                self.gone(path, mailbox)
                continue
            assert pending is not None
            if mine:
                try:
                    mailbox = self._opening.mailbox(path)
                    mailbox.shelf = weakref.ref(self._shelf)
                    with self._guard:
                        self._known[path] = mailbox
                finally:
                    # Whatever has come of it: those who wait look again, or try themselves.
                    with self._guard:
                        del self._pending[path]
                    pending.over.set()
                mailbox.used()
                return mailbox
            locks.waits("another thread that opens the folder")
            if not pending.over.wait(max(0.0, deadline - time.monotonic())):
                raise LockTimeout(detail=os.fsdecode(path))

    def unmoved(self, path: bytes, turn: int | None = None) -> tuple[Mailbox, Snapshot] | None:
        """As ``at``, with what is in it now, where one look tells: as ``current.unmoved``; None: ``at``."""
        with self._guard:
            mailbox = self._known.get(path)
        snapshot = None if mailbox is None else unmoved(mailbox, turn)
        if mailbox is None or snapshot is None:
            return None
        mailbox.used()
        return mailbox, snapshot

    def gone(self, path: bytes, only: Mailbox | None = None) -> None:
        """Say that the folder of that name was deleted or renamed; *only*: if it is this one."""
        with self._guard:
            mailbox = self._known.get(path)
            if mailbox is None or (only is not None and mailbox is not only):
                return
            del self._known[path]
        mailbox.mark_gone()


def look(layout: Layout, path: bytes) -> takeover.Found:
    """See what other servers have left for the folder at *path*."""
    return takeover.look(path, layout.control(path), layout.cache(path))


def _set_keywords(mailbox: Mailbox, words: dict[bytes, tuple[bytes, ...]]) -> None:
    """Give messages the keywords that they had without a letter, one keyword at a time for all that have it.

    One that no client of ours could be told of, or one too many, is left out.
    """
    snapshot = mailbox.snapshot
    uids = dict(zip(snapshot.names, snapshot.uids, strict=True))
    tagged: dict[bytes, list[int]] = {}
    for base, names in words.items():
        if base in uids:
            for name in names:
                tagged.setdefault(name, []).append(uids[base])
    for name, chosen in tagged.items():
        if not keywords.speakable(name):
            continue
        try:
            flags = mailbox.flags([name], create=True)
        except LimitReached:
            log.warning("a keyword is not taken over: there are too many", path=mailbox.path, word=name)
            continue
        mailbox.set_flags(sorted(chosen), add=flags)
