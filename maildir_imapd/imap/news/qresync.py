"""Quick resynchronisation: what happened while a client was away (RFC 7162 3.2)."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from maildir_imapd.imap.news.updates import fetch_flags
from maildir_imapd.wire.render import vanished_line

if TYPE_CHECKING:
    from maildir_imapd.imap.reply import Reply
    from maildir_imapd.imap.session import Session
    from maildir_imapd.wire.commands import QResync

# UIDs from low to high, both included; sorted, not overlapping.
Ranges = Sequence[tuple[int, int]]


def resynchronise(session: Session, known: QResync, reply: Reply) -> None:
    """Answer SELECT (QRESYNC (...)): VANISHED (EARLIER), then the flags that changed since."""
    view = session.selected
    snapshot = view.snapshot
    last = snapshot.uidnext - 1
    wanted = known.known_uids.resolve(last) if known.known_uids is not None else [(1, last)] if last else []
    tell_vanished(session, wanted, known.modseq, reply, matched=_matched_up_to(session, known))
    changed = [i for i, modseq in enumerate(snapshot.modseqs) if modseq > known.modseq]
    if known.known_uids is not None:
        positions = view.resolve(known.known_uids, uid=True)
        chosen = set(positions)
        changed = [i for i in changed if i in chosen]
    if changed:
        fetch_flags(session, reply, changed, uid=True)


def tell_vanished(session: Session, wanted: Ranges, since: int, reply: Reply, *, matched: int = 0) -> None:
    """Write VANISHED (EARLIER) for the UIDs of *wanted* that were expunged after mod-sequence *since*.

    Where the history does not reach back so far, every UID of *wanted* that does not exist is named; never those
    up to *matched*, about which the client has shown that it knows (RFC 7162 3.2.5.2, 3.2.6).
    """
    view = session.selected
    uids, last = view.snapshot.uids, view.snapshot.uidnext - 1
    gone: Ranges | None = view.mailbox.vanished_since(since)
    # What was expunged after the view's moment is still counted by this client: it is not EARLIER, and will be
    # told in its time.
    missing = _missing(uids, matched + 1, last)
    told = _intersect(wanted, missing if gone is None else _intersect(gone, missing))
    if told:
        reply.write(vanished_line(told, earlier=True))


def _missing(uids: Sequence[int], first: int, last: int) -> list[tuple[int, int]]:
    """The ranges from *first* to *last* in which no UID exists."""
    found = []
    low = first
    for uid in uids[bisect_left(uids, first) :]:
        if uid > low:
            found.append((low, uid - 1))
        low = uid + 1
    if low <= last:
        found.append((low, last))
    return found


def _intersect(one: Ranges, other: Ranges) -> list[tuple[int, int]]:
    """The common part of two sorted lists of ranges, in one walk over both."""
    found = []
    i = k = 0
    while i < len(one) and k < len(other):
        low = max(one[i][0], other[k][0])
        high = min(one[i][1], other[k][1])
        if low <= high:
            found.append((low, high))
        if one[i][1] < other[k][1]:
            i += 1
        else:
            k += 1
    return found


def _matched_up_to(session: Session, known: QResync) -> int:
    """The highest UID of the client's sample that still stands at its number: it knows all expunges up to it."""
    if known.match_seqs is None or known.match_uids is None:
        return 0
    uids = session.selected.snapshot.uids
    count = len(uids)
    best = 0
    pairs = zip(_walk(known.match_seqs.resolve(count)), _walk(known.match_uids.resolve(2**32 - 1)), strict=False)
    for number, uid in pairs:
        if number > count:
            break
        if uids[number - 1] == uid:
            best = uid
    return best


def _walk(ranges: Ranges) -> Iterator[int]:
    for low, high in ranges:
        yield from range(low, high + 1)
