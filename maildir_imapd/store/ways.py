"""Ways from names to open mailboxes, as they were gone last: kept for as long as the kernel bears them out.

Whoever opens a mailbox by its name looks whether there is a folder, where the name leads, whether an access control
list lies in it, and whether the mailbox that is open is of that folder. A way is what came of it, and the turn from
which on everything that could change it is an event: the folder moved, removed, or something made in it. It is kept
only for a path that counts before any other of that name, and of a folder that is no link. That the path still leads
to the folder, whatever has become of the directories above, its journal tells.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from maildir_imapd.store.current import turn_of

if TYPE_CHECKING:
    from maildir_imapd.store.index.snapshot import Snapshot
    from maildir_imapd.store.mailbox import Mailbox
    from maildir_imapd.store.mailboxes import Mailboxes
    from maildir_imapd.store.maildir.layout import Layout
    from maildir_imapd.store.records.acl import Acls

# Names whose ways an account keeps.
NAMES: Final = 2048


@dataclass(frozen=True, slots=True)
class _Way:
    path: bytes
    turn: int
    free: bool  # it may be gone; else it is known that it may not, in that turn
    rules: int  # the turn of what is said of rights elsewhere than in the folders


class Ways:
    """One account's; safe from any thread."""

    def __init__(self, layout: Layout, acls: Acls, mailboxes: Mailboxes) -> None:
        self._layout = layout
        self._acls = acls
        self._mailboxes = mailboxes
        # An entry is replaced whole, so no lock is needed.
        self._ways: dict[str, _Way] = {}

    def unmoved(self, name: str) -> tuple[Mailbox, Snapshot] | None:
        """The mailbox of that name, to which its owner has all rights, with what is in it; None: go and look."""
        way = self._ways.get(name)
        if way is None or not way.free:
            return None
        general = self._acls.rules.general
        if general is not None and way.rules != general.turn():
            return None
        return self._mailboxes.unmoved(way.path, way.turn)

    def unmoved_at(self, path: bytes) -> tuple[Mailbox, Snapshot] | None:
        """The same of a folder, whatever leads there, as the caller has just seen."""
        return self._mailboxes.unmoved(path)

    def note(self, name: str, path: bytes, mailbox: Mailbox) -> None:
        """Keep the way that was gone just now to *mailbox*, whose folder is at *path*, if it can be."""
        turn = turn_of(mailbox)
        if turn is None:
            return
        known, rules = self._ways.get(name), self._acls.turn()
        if known is not None and (known.path, known.turn, known.rules) == (path, turn, rules):
            return
        if len(self._ways) >= NAMES:
            self._ways.clear()
        # Looked at anew, behind the turn: what others do from here on the kernel tells.
        self._ways[name] = _Way(path, turn, self._is_free(name, path, mailbox), rules)

    def _is_free(self, name: str, path: bytes, mailbox: Mailbox) -> bool:
        try:
            if self._layout.first(name) != path or self._layout.find(name) != path:
                return False
            found = os.lstat(path)
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == mailbox.identity and mailbox.stands() and not self._acls.among([path])
