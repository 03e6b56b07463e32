"""Whether clients of this host are still shown what was expunged, and the end of what is kept for them (kept.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maildir_imapd.store.index.claim import EVER

if TYPE_CHECKING:
    from maildir_imapd.store.folder.folder import Folder
    from maildir_imapd.store.threads.listeners import Listeners


class Showing:
    """One folder's, in this process; *listeners* are those of its mailbox. Safe from any thread."""

    def __init__(self, folder: Folder, listeners: Listeners) -> None:
        self._folder = folder
        self._listeners = listeners
        self._claim = folder.claim
        self._swept = -1  # the last expunge of which nothing is kept any more; two threads may sweep at once

    def began(self, modseq: int) -> None:
        """Hear that somebody listens now, who will be shown the moment of *modseq* or a later one."""
        self._claim.move(modseq)

    def told(self) -> None:
        """Hear that a listener's client has been told of expunges; no lock is held."""
        told = self._listeners.told()
        if told:
            self._claim.move(min(told))
        self.sweep()

    def ended(self) -> None:
        """Hear that the last listener has gone; another may have come meanwhile."""
        # First this: of two processes that leave at once, the later one must see that nobody is left.
        if not self._listeners:
            self._claim.move(None)
        self.sweep()

    def elsewhere(self) -> bool:
        """Whether any session of this host but one shows what is in the folder now."""
        return len(self._listeners.told()) > 1 or self._claim.others(self._folder.rows.modseq + 1)

    def removed(self, before: int) -> None:
        """Hear that all that was expunged since ``last_expunge`` was *before* was removed at once; under the lock."""
        if self._swept == before:
            self._swept = self.last_expunge

    @property
    def last_expunge(self) -> int:
        """The mod-sequence of the last expunge on record, 0 for none."""
        return self._folder.index.state.history.latest

    def sweep(self) -> None:
        """Remove the files of messages that were expunged and that no client can ask for any more."""
        last = self.last_expunge
        if last == self._swept or self._folder.read_only:
            return
        listeners = self._listeners.told()
        told: int | None = last
        if not listeners and not self._claim.others(EVER):
            told = EVER  # what a crash has left behind, too
        elif any(known < last for known in listeners) or self._claim.others(last):
            told = None
        if not self._folder.kept.sweep(told):
            self._swept = last
