"""The last changes of a mailbox, for whoever asks what has happened since a moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from maildir_imapd.store.index import history
from maildir_imapd.store.index.history import Step
from maildir_imapd.store.index.journal import Batch
from maildir_imapd.store.index.snapshot import Delta

# So many are kept, and of those no more than have so many spans of UIDs together: some 300 KiB at most.
STEPS: Final = 512
SPANS: Final = 2048
# What a step takes in memory, and each of its spans.
_STEP_OCTETS: Final = 250
_SPAN_OCTETS: Final = 130


@dataclass(frozen=True, slots=True)
class Ring:
    """The last changes that a client can tell: all of them above the mod-sequence *above*; *spans* of UIDs in all."""

    steps: tuple[Step, ...] = ()
    above: int = 0
    spans: int = 0

    def after(self, news: list[Batch] | None, modseq: int) -> Ring:
        """Return the ring with *news*; None: nobody knows what has led to *modseq*, so it begins there."""
        if news is None:
            return Ring((), modseq)
        fresh = [history.step(batch) for batch in news if batch.visible()]
        if not fresh:
            return self
        whole = (*self.steps, *fresh)
        spans = self.spans + sum([each.spans for each in fresh])
        first = 0
        while len(whole) - first > STEPS or spans > SPANS:
            spans -= whole[first].spans
            first += 1
        above = whole[first - 1].modseq if first else self.above
        return Ring(whole[first:], above, spans)

    @property
    def octets(self) -> int:
        """An estimate of what it takes in memory."""
        return _STEP_OCTETS * len(self.steps) + _SPAN_OCTETS * self.spans

    def since(self, modseq: int) -> Delta | None:
        """Return what happened after *modseq*; None: the ring does not reach back so far, compare the columns."""
        if modseq < self.above:
            return None
        return history.delta([each for each in self.steps if each.modseq > modseq])
