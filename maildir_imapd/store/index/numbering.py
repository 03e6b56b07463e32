"""New UIDs for all messages of a folder, for one that has none left to give (RFC 3501 2.3.1.1)."""

from __future__ import annotations

from array import array

from maildir_imapd.store.index.constants import LAST_UID, RESERVE
from maildir_imapd.store.index.journal import NEVER
from maildir_imapd.store.index.state import IndexState


def anew(state: IndexState, uidvalidity: int, modseq: int, boot: bytes) -> IndexState:
    """Return the same messages with the UIDs from 1, in their order, under *uidvalidity*, all changed at *modseq*.

    Whatever knows a message by its old UID is left behind: the history of expunges, and the bases that might come back.
    It is of a generation that follows no journal there is, so that nobody goes on in it who has the old UIDs.
    """
    old = state.snapshot
    count = len(old)
    rows = old.evolve(uidnext=count + 1, modseq=modseq)
    rows.uidvalidity = uidvalidity
    rows.uids = array("I", range(1, count + 1))
    rows.modseqs = array("Q", [modseq]) * count
    rows.extra = {old.position(uid) + 1: words for uid, words in old.extra.items()}
    # From here on it is as immutable as every other snapshot.
    return IndexState(
        snapshot=rows,
        generation=state.generation + 1,
        reserve=min(count + RESERVE, LAST_UID),
        boots=(boot,),
        stamp=NEVER,
        whole_above=modseq,
    )
