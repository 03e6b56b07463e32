"""The index of texts as a search has it: which messages it need not read.

What the index proposes is read by the search itself, so that an answer is the same with and without it; it alone says
only what was extracted from attachments, which a search without it does not look at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from maildir_imapd.imap.naming import mailbox_id

if TYPE_CHECKING:
    from maildir_imapd.imap.view import Positions, View


def propose(view: View, among: Positions, needle: str, *, body_only: bool) -> tuple[Positions, list[int]]:
    """Say which of the messages *among* have to be read for *needle*, folded, and which have it without; rising.

    Where not all are in the index, its filling is asked for.
    """
    texts = view.mailbox.texts
    if texts is None or texts.wanted is None:
        return among, []
    snapshot = view.snapshot
    key, attend = mailbox_id(view.mailbox, snapshot), view.progress.attend
    proposal = texts.propose(key, snapshot, among, needle, body_only=body_only, attend=attend)
    if proposal is None or not proposal.whole:
        texts.want(view.mailbox.path)
    return (among, []) if proposal is None else (proposal.read, proposal.found)
