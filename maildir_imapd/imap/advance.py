"""From what a client sees of a mailbox to what it may see next: pure, by the RFCs' rules.

Three steps, of which two are here and know no session: ``diff`` says how two moments of a mailbox differ; ``withhold``
takes out what may not be told now; the view settles the rest (view.py).  A message that is gone and that the client may
not hear of stays in its place as a *ghost*: the one case in which a session owns a snapshot of its own.
"""

from __future__ import annotations

import operator
from array import array
from bisect import bisect_left
from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Final

from maildir_imapd.store.index.chunks import differing, left, without, writable
from maildir_imapd.store.index.snapshot import COLUMNS, Snapshot

_NONE: Final[frozenset[int]] = frozenset()
_EVERY: Final = (*(column for column, _ in COLUMNS), "names")
# So many ghosts are put into the columns one by one.
_FEW: Final = 64


@dataclass(frozen=True, slots=True)
class Change:
    """How a new moment of a mailbox differs from what a client sees.

    *vanished*: positions in the old one that the new one lacks, ascending; *strangers*: UIDs below the old UIDNEXT that
    only the new one has; *arrived*: whether there are messages from that UIDNEXT on.
    """

    vanished: Sequence[int] = ()
    strangers: Set[int] = _NONE
    arrived: bool = False


@dataclass(frozen=True, slots=True)
class Allowed:
    """The part of a change that may be told: *expunged* and *ghosts* are positions in the old moment, ascending.

    *held*: there are arrivals, and the client is not to hear of them.
    """

    expunged: Sequence[int]
    ghosts: Sequence[int]
    held: bool


def diff(old: Snapshot, new: Snapshot) -> Change:
    """Say how *new* differs from *old*, flags aside; costs what there is between the first difference and the last.

    *old* may have ghosts in it; *new* is the mailbox's own.
    """
    arrived = new.uidnext > old.uidnext and len(new) > 0 and new.uids[-1] >= old.uidnext
    start, old_stop, new_stop = differing(old.uids, new.uids)
    olds, news = old.uids[start:old_stop], new.uids[start:new_stop]
    if olds == news[: len(olds)]:
        vanished = []
    else:
        present = set(news)
        vanished = [i for i, uid in enumerate(olds, start) if uid not in present]
    # What is not told as an arrival, and was not there.
    known = set(olds)
    strangers = frozenset(uid for uid in news[: bisect_left(news, old.uidnext)] if uid not in known)
    return Change(vanished, strangers, arrived)


def withhold(old: Snapshot, new: Snapshot, change: Change, *, expunge: bool, hold: bool, own: Set[int]) -> Allowed:
    """Take out of *change* what the client may not hear now.

    *expunge*: whether EXPUNGE may be sent at all.  Not while a command counts by sequence numbers, nor while none is
    under way (RFC 3501 7.4.1; 5.5 says why: the client counts on).

    *hold*: the client has asked for no MessageNew and MessageExpunge of the open mailbox (RFC 5465 5, 6): of arrivals
    it hears nothing, of expunges only what it did itself, *own* by UID.
    """
    if not expunge:
        return Allowed((), change.vanished, hold and new.uidnext > old.uidnext)
    if not hold:
        return Allowed(change.vanished, (), held=False)
    told = [i for i in change.vanished if old.uids[i] in own]
    kept = [i for i in change.vanished if old.uids[i] not in own]
    return Allowed(told, kept, new.uidnext > old.uidnext)


def shown(old: Snapshot, new: Snapshot, allowed: Allowed, hidden: Set[int]) -> Snapshot:
    """Return the moment that the client sees from now on: *new* less *hidden* (UIDs) and held arrivals, plus ghosts.

    It is *new* itself wherever it can be: a snapshot of one's own costs as much as the folder has messages.
    """
    found = _without(new, hidden) if hidden else new
    if allowed.held:
        found = _without_arrivals(found, old.uidnext)
    return _with_ghosts(found, old, allowed.ghosts) if allowed.ghosts else found


def _without(snapshot: Snapshot, hidden: Set[int]) -> Snapshot:
    """A snapshot that lacks the rows of *hidden*."""
    there = [at for at in snapshot.positions(sorted(hidden)) if at >= 0]
    return _cut(snapshot, [(at, at + 1) for at in there]) if there else snapshot


def _without_arrivals(snapshot: Snapshot, uidnext: int) -> Snapshot:
    """A snapshot of the rows that were there when UIDNEXT was *uidnext*, and of that UIDNEXT."""
    end = left(snapshot.uids, uidnext)
    return (_cut(snapshot, [(end, len(snapshot))]) if end < len(snapshot) else snapshot).evolve(uidnext=uidnext)


def _cut(snapshot: Snapshot, gaps: Sequence[tuple[int, int]]) -> Snapshot:
    """A snapshot without what stands in *gaps*, each (start, stop), rising."""
    found = snapshot.copy()
    for column in _EVERY:
        setattr(found, column, without(getattr(snapshot, column), gaps))
    found.detach()
    if found.extra:
        gone = {uid for start, stop in gaps for uid in snapshot.uids[start:stop]}
        found.extra = {uid: words for uid, words in found.extra.items() if uid not in gone}
    return found


def _with_ghosts(new: Snapshot, old: Snapshot, ghosts: Sequence[int]) -> Snapshot:
    """*new* with those rows of *old* that it lost, each in its place."""
    if len(ghosts) <= _FEW:
        return _with_few(new, old, ghosts)
    rows = [(uid, new, i) for i, uid in enumerate(new.uids)]
    rows += [(old.uids[i], old, i) for i in ghosts]
    rows.sort(key=operator.itemgetter(0))
    return _assemble(new, [(source, i) for _, source, i in rows])


def _with_few(new: Snapshot, old: Snapshot, ghosts: Sequence[int]) -> Snapshot:
    """As ``_with_ghosts``, in the columns as they are: pieces that have no ghost are those of *new*."""
    found = new.copy()
    uids = [old.uids[i] for i in ghosts]
    # Those before it have come in already.
    places = [left(new.uids, uid) + n for n, uid in enumerate(uids)]
    for column in _EVERY:
        values, lost = writable(getattr(new, column)), getattr(old, column)
        for at, i in zip(places, ghosts, strict=True):
            values.insert(at, lost[i])
        setattr(found, column, values)
    found.detach()
    words = {uid: old.extra[uid] for uid in uids if uid in old.extra}
    if words:
        found.extra = {**found.extra, **words}
    return found


def _assemble(like: Snapshot, rows: list[tuple[Snapshot, int]]) -> Snapshot:
    """A snapshot of chosen *rows*, each (where from, position there), under the numbers of *like*."""
    extra = {}
    for source, i in rows:
        uid = source.uids[i]
        if uid in source.extra:
            extra[uid] = source.extra[uid]
    columns = {column: array(code, [getattr(source, column)[i] for source, i in rows]) for column, code in COLUMNS}
    return Snapshot(
        columns,
        [source.names[i] for source, i in rows],
        extra=extra,
        keywords=like.keywords,
        uidvalidity=like.uidvalidity,
        uidnext=like.uidnext,
        modseq=like.modseq,
        revivals=like.revivals,
    )
