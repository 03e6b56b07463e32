"""UIDBATCHES: ranges of UIDs that have so many messages each, for who works through a mailbox by and by (RFC 10022).

RFC 10022 6 has a server count how often it is asked, for batches may cost much: here they cost less than the line that
tells them, so that none is refused for that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from maildir_imapd.errors import TooFew, WrongOrder
from maildir_imapd.imap.registry import command
from maildir_imapd.imap.reply import Done
from maildir_imapd.imap.session import State
from maildir_imapd.phrases import Phrase
from maildir_imapd.wire.render import uidbatches_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from maildir_imapd.imap.reply import Reply
    from maildir_imapd.imap.session import Session
    from maildir_imapd.wire.commands import UidBatches

# RFC 10022 3.1.3.2: smaller ones would be sequence numbers by another name.
SMALLEST: Final = 500


@command(b"UIDBATCHES", states=State.SELECTED, announces=[b"UIDBATCHES"])
def uidbatches(session: Session, cmd: UidBatches, reply: Reply) -> Done:
    """Tell ranges of UIDs, the highest first (RFC 10022 3.1); of batches that there are not, none."""
    first, last = cmd.batches or (1, len(session.selected.snapshot))
    if cmd.batches is not None and first > last:
        raise WrongOrder
    if cmd.size < SMALLEST:
        raise TooFew(Phrase("A batch has {count} messages at least", count=SMALLEST))
    snapshot = session.selected.snapshot
    reply.write(uidbatches_line(cmd.tag, _ranges(snapshot.uids, snapshot.uidnext, cmd.size, first, last)))
    return Done("UIDBATCHES completed")


def _ranges(uids: Sequence[int], uidnext: int, size: int, first: int, last: int) -> Iterator[tuple[int, int]]:
    """Yield the batches from *first* to *last* as (high, low): each ends where the next begins, the last at 1.

    No message that comes later lies in any of them.
    """
    count = len(uids)
    for batch in range(first, min(last, -(-count // size)) + 1):
        end = count - (batch - 1) * size
        high = uidnext - 1 if batch == 1 else uids[end] - 1
        yield high, uids[end - size] if end > size else 1
