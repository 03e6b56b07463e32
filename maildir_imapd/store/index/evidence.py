"""The remains of a damaged index, and what they say of the numbers that clients hold.

Each method is one question; none touches the disk. What is lost may have given out more than anything here knows of:
only the lock file's note says how far (index.py, the reserve).
"""

from __future__ import annotations

from dataclasses import dataclass

from maildir_imapd.store.index.journal import Batch
from maildir_imapd.store.index.state import IndexState


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that a rebuild has to go by.

    *states*: checkpoints that verify, the newest first. *good*: batches from the journal's beginning, with where each
    ends; *later*: those that verify behind a place that does not. *noted*: UIDVALIDITY and reserve of the lock file,
    None if they do not verify. *told*: the mod-sequence that clients have been told at least.
    """

    states: tuple[IndexState, ...]
    good: tuple[tuple[Batch, int], ...]
    later: tuple[Batch, ...]
    noted: tuple[int, int] | None
    told: int

    @property
    def _batches(self) -> list[Batch]:
        return [batch for batch, _ in self.good] + list(self.later)

    def best(self) -> tuple[IndexState | None, int]:
        """The checkpoint to build on, with what follows it in the journal, and how many batches that were."""
        header = self.good[0][0].header if self.good else None
        for state in self.states:
            if header is not None and header[1:] == (state.generation, state.position):
                return state.after([batch for batch, _ in self.good]), len(self.good)
            if header is not None and header[0] == state.generation:
                tail = [batch for batch, end in self.good if end > state.position]
                return state.after(tail), len(tail)
        return (self.states[0], 0) if self.states else (None, 0)

    def uidvalidity(self) -> int:
        """The last one that is known of; 0 for none."""
        known = [state.snapshot.uidvalidity for state in self.states]
        return max(known + [batch.uidvalidity or 0 for batch in self._batches], default=0)

    def trusted(self, uidvalidity: int) -> bool:
        """Whether it is known which UIDs the lost part gave out under *uidvalidity*."""
        return self.noted is not None and self.noted[0] == uidvalidity

    def uidnext(self, uidvalidity: int) -> int:
        """The lowest UID that nothing here says may have been given out under *uidvalidity*."""
        known = [max(state.snapshot.uidnext, state.reserve + 1) for state in self.states]
        known += [max(batch.uidnext, (batch.reserve or 0) + 1) for batch in self._batches]
        if self.noted is not None and self.noted[0] == uidvalidity:
            known.append(self.noted[1] + 1)
        return max(known, default=1)

    def modseq(self) -> int:
        """The highest mod-sequence that anybody may know."""
        known = [state.snapshot.modseq for state in self.states] + [batch.modseq for batch in self._batches]
        return max([self.told, *known])

    def generation(self) -> int:
        """The last one of the journal; 0 for none."""
        known = [state.generation for state in self.states]
        return max(known + [batch.header[0] for batch in self._batches if batch.header], default=0)
