"""Messages that go by themselves, as the administrator has set up for their mailbox (records/usual.py)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from maildir_imapd.store.index.snapshot import Snapshot
    from maildir_imapd.store.mailbox import Mailbox
    from maildir_imapd.store.records.usual import UsualMailbox

# Messages that go in one change; between two the caller is asked whether to go on.
PIECE_MESSAGES: Final = 500


def expired(rows: Snapshot, rule: UsualMailbox, now: float) -> list[int]:
    """The UIDs of messages whose time is over, rising: by when they came into this mailbox, not by their own dates.

    A message of which that is not known counts as one that has just come.
    """
    dates = list(rows.saved)
    gone: set[int] = set()
    if rule.expunge_after:
        limit = now - rule.expunge_after
        gone.update(at for at, saved in enumerate(dates) if 0 < saved <= limit)
    if rule.expunge_beyond and len(dates) > rule.expunge_beyond:
        oldest = sorted((saved, at) for at, saved in enumerate(dates) if saved > 0)
        gone.update(at for _, at in oldest[: len(dates) - rule.expunge_beyond])
    return [rows.uids[at] for at in sorted(gone)]


def expire(mailbox: Mailbox, rule: UsualMailbox, now: float, go_on: Callable[[], bool] = lambda: True) -> int:
    """Expunge what is over, as a client would; returns how many messages that were.

    In pieces, between which *go_on* says whether to; raises LockTimeout, ReadOnly, StoreError.
    """
    rows = mailbox.sync(keep_new=True)
    uids = expired(rows, rule, now)
    count = 0
    for start in range(0, len(uids), PIECE_MESSAGES):
        if not go_on():
            break
        count += len(mailbox.expunge(uids[start : start + PIECE_MESSAGES], under=rows.uidvalidity))
    return count
