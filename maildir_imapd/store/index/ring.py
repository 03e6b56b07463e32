"""The last changes of a mailbox, for whoever asks what has happened since a moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from maildir_imapd.store.index import history
from maildir_imapd.store.index.journal import Batch
from maildir_imapd.store.index.snapshot import Delta

BATCHES: Final = 512  # that are kept


@dataclass(frozen=True, slots=True)
class Ring:
    """The last batches that a client can tell: every one of them above the mod-sequence *above*."""

    batches: tuple[Batch, ...] = ()
    above: int = 0

    def after(self, news: list[Batch] | None, modseq: int) -> Ring:
        """Return the ring with *news*; None: nobody knows what has led to *modseq*, so it begins there."""
        if news is None:
            return Ring((), modseq)
        fresh = [batch for batch in news if batch.visible()]
        if not fresh:
            return self
        whole = (*self.batches, *fresh)
        above = whole[-BATCHES - 1].modseq if len(whole) > BATCHES else self.above
        return Ring(whole[-BATCHES:], above)

    def since(self, modseq: int) -> Delta | None:
        """Return what happened after *modseq*; None: the ring does not reach back so far, compare the columns."""
        if modseq < self.above:
            return None
        return history.delta([batch for batch in self.batches if batch.modseq > modseq])
