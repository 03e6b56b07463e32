"""Which names of mailboxes there are: folders, and names that are none and have some below them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from maildir_imapd.errors import LockTimeout, StoreError
from maildir_imapd.events import Log
from maildir_imapd.store.disk import durable
from maildir_imapd.store.records import renaming

if TYPE_CHECKING:
    from maildir_imapd.store.maildir.layout import Layout, Tree
    from maildir_imapd.store.records.account_lock import AccountLock

log = Log(__name__)


def find(layout: Layout, name: str) -> bytes | None:
    """The folder of *name*, also one that is spelled unusually on disk; None where there is none. Raises StoreError."""
    with durable.as_store_error(layout.root):
        return layout.find(name)


class Trees:
    """One account's. Every question may raise StoreError, and looks at the disk as far as its stamps ask for it."""

    def __init__(self, layout: Layout, changing: AccountLock) -> None:
        self._layout = layout
        self._changing = changing
        self._intent = os.path.join(layout.root, renaming.INTENT)
        # Folders that no client is shown, of which the log has a line already.
        self._noted: frozenset[tuple[bytes, str]] = frozenset()

    def finish_rename(self) -> None:
        """Finish a RENAME whose process has died: nobody holds the lock, and the intent is there.  Never an error."""
        if not os.path.lexists(self._intent):
            return
        try:
            with self._changing(0):
                pass  # who takes the lock finishes first
        except LockTimeout:
            pass  # it is under way
        except StoreError as error:
            log.error("a RENAME stays half done", detail=error.detail)

    def tree(self) -> Tree:
        """Every folder but INBOX.  The same object as long as nothing changed."""
        self.finish_rename()
        with durable.as_store_error(self._layout.root):
            tree = self._layout.scan()
        if tree.passed_over:
            self._note(frozenset(tree.passed_over))
        return tree

    def _note(self, passed_over: frozenset[tuple[bytes, str]]) -> None:
        """Name in the log the folders that no client is shown, each once: nothing vanishes in silence."""
        for path, why in sorted(passed_over - self._noted):
            log.warning("folder passed over", path=path, why=why)
        self._noted = passed_over

    def folders(self) -> dict[str, bytes]:
        """Every folder but INBOX, by mailbox name."""
        return self.tree().folders

    def all(self) -> dict[str, bytes]:
        """Every mailbox with its folder, INBOX first."""
        return {"INBOX": self._layout.inbox, **self.folders()}

    def find(self, name: str) -> bytes | None:
        """The folder of *name*, also one that is spelled unusually on disk; None where there is none."""
        return find(self._layout, name)

    def exists(self, name: str) -> bool:
        """Whether there is a mailbox of that name, or one below it, or a name that is none."""
        return self.find(name) is not None or self.is_bare(name)

    def is_bare(self, name: str) -> bool:
        """Whether it is a name, of a mailbox or of none, that others may be below."""
        return self.has_children(name) or name in self.tree().bare

    def has_children(self, name: str) -> bool:
        """Whether there are names below it."""
        prefix, tree = name + self._layout.delimiter, self.tree()
        return any(other.startswith(prefix) for names in (tree.folders, tree.bare) for other in names)

    def parents(self, name: str) -> Iterator[str]:
        """The names above a name, whether they exist or not, the nearest first."""
        while name := name.rpartition(self._layout.delimiter)[0]:
            yield name
