"""FETCH and UID FETCH: a plan of columns, one template, rows by the hundred.

A closure per item and message would be three times slower (architecture D8).  Nothing in the loop over a
snapshot's columns calls out of the interpreter; what must read files reads those alone that the cache
does not know.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from maildir_imapd.errors import MessageGone, MessageUnreadable, WrongState
from maildir_imapd.imap import updates
from maildir_imapd.imap.content import read, report
from maildir_imapd.imap.fetch_items import FLAGS, MODSEQ, UID, Column, columns
from maildir_imapd.imap.qresync import tell_vanished
from maildir_imapd.imap.registry import Done, State, command
from maildir_imapd.imap.results import window
from maildir_imapd.imap.view import NOTHING, Positions, column
from maildir_imapd.store.filename import SEEN
from maildir_imapd.wire.commands import FetchBody

if TYPE_CHECKING:
    from collections.abc import Iterator

    from maildir_imapd.imap.reply import Reply
    from maildir_imapd.imap.session import Session
    from maildir_imapd.imap.view import View
    from maildir_imapd.wire.commands import Fetch

# Rows that are made together: enough to make the loops long, few enough to keep memory flat.
CHUNK = 500


@dataclass(slots=True)
class Missing:
    """Messages that could not be sent: *gone* were expunged by somebody, *broken* cannot be read."""

    gone: int = 0
    broken: int = 0


@command(b"FETCH", states=State.SELECTED, uses_numbers=True)
@command(b"UID FETCH", states=State.SELECTED)
def fetch(session: Session, cmd: Fetch, reply: Reply) -> Done:
    """RFC 3501 6.4.5."""
    view = session.selected
    plan = columns(cmd.items)
    if cmd.vanished and b"QRESYNC" not in session.enabled:
        raise WrongState(why="ENABLE QRESYNC first")
    if cmd.changed_since is not None or MODSEQ in plan:
        session.enable(b"CONDSTORE", reply)
    positions = view.resolve(cmd.numbers, uid=cmd.uid)
    if cmd.partial is not None:
        # RFC 9394 3.4: first the part, then what of it has changed.
        positions = window(list(positions), cmd.partial)
    if cmd.changed_since is not None:
        if cmd.vanished:
            tell_vanished(session, cmd.numbers.resolve(view.snapshot.uidnext - 1), cmd.changed_since, reply)
        modseqs = column(view.snapshot.modseqs, positions)
        since = cmd.changed_since
        positions = [i for i, modseq in zip(positions, modseqs, strict=True) if modseq > since]
        if MODSEQ not in plan:
            plan.append(MODSEQ)
    if cmd.uid and UID not in plan:
        plan.insert(0, UID)
    elif UID in plan:
        # Old libraries want the UID before the first literal.
        plan.remove(UID)
        plan.insert(0, UID)
    if _sets_seen(cmd) and not view.read_only:
        positions, changed = _set_seen(session, positions, reply)
        if changed:
            news = [FLAGS, MODSEQ] if b"CONDSTORE" in session.enabled else [FLAGS]
            # Before the literals, behind the UID.
            place = 1 if UID in plan else 0
            plan[place:place] = [extra for extra in news if extra not in plan]
    missing = send(session, plan, positions, reply)
    if missing.gone:
        kind = b"OK" if cmd.uid else b"NO"
        return Done("Some of the messages no longer exist", b"EXPUNGEISSUED", kind)
    if missing.broken:
        return Done("Some of the messages cannot be read; the log says which", b"SERVERBUG", b"NO")
    return Done("FETCH completed")


def _sets_seen(cmd: Fetch) -> bool:
    return any(isinstance(item, FetchBody) and not item.peek and not item.size_only for item in cmd.items)


def _set_seen(session: Session, positions: Positions, reply: Reply) -> tuple[Positions, bool]:
    """Set \\Seen on all of *positions* in one go; says whether any of them changed."""
    view = session.selected
    snapshot = view.snapshot
    flags = column(snapshot.flags, positions)
    unseen = [snapshot.uids[i] for i, bits in zip(positions, flags, strict=True) if not bits & SEEN]
    if not unseen:
        return positions, False
    view.mailbox.set_flags([uid for uid in unseen if not view.is_ghost(uid)], add=SEEN)
    # The FLAGS come with the bodies, so what is told here is everybody else's news.
    told = view.advance(expunge=False)
    if told is not NOTHING:
        updates.write(session, reply, snapshot, told, skip=set(unseen))
    return positions, True


def send(session: Session, plan: list[Column], positions: Positions, reply: Reply) -> Missing:
    """Write one FETCH response per position; what cannot be read is left out and counted."""
    view = session.selected
    missing = Missing()
    template = b"* %d FETCH (" + b" ".join(c.label.replace(b"%", b"%%") + b" " + c.slot for c in plan) + b")\r\n"
    bodies = any(c.meta is None and c.field is None for c in plan)
    work = _send_bodies if bodies else _send_columns
    for chunk in _chunks(positions):
        work(view, plan, template, chunk, reply, missing)
    return missing


def _chunks(positions: Positions) -> Iterator[Positions]:
    for start in range(0, len(positions), CHUNK):
        yield positions[start : start + CHUNK]


def _send_columns(
    view: View, plan: list[Column], template: bytes, chunk: Positions, reply: Reply, missing: Missing
) -> None:
    cached = [c for c in plan if c.field is not None]
    lost: set[int] = set()
    values: dict[bytes, list[bytes | None]] = {}
    if cached:
        values, lost = _fill(view, cached, chunk, missing)
    numbers = [i + 1 for i in chunk]
    rows = zip(
        numbers,
        *(c.meta(view, chunk) if c.meta is not None else values[c.field or b""] for c in plan),
        strict=True,
    )
    if lost:
        reply.extend([template % row for k, row in enumerate(rows) if k not in lost])
    else:
        reply.extend([template % row for row in rows])


def _fill(
    view: View, cached: list[Column], chunk: Positions, missing: Missing
) -> tuple[dict[bytes, list[bytes | None]], set[int]]:
    """The cached columns of a chunk, and the indexes in it of messages that cannot be had.

    What the cache lacks is made from the message, and kept: each file is read once for all columns.
    """
    uids = view.uids_at(chunk)
    cache = view.mailbox.cache
    values = {c.field: cache.get_many(uids, c.field) for c in cached if c.field is not None}
    wanting = sorted({k for found in values.values() for k, blob in enumerate(found) if blob is None})
    lost: set[int] = set()
    made: dict[bytes, list[tuple[int, bytes]]] = {field: [] for field in values}
    for k in wanting:
        try:
            content = read(view, uids[k])
        except MessageGone:
            missing.gone += 1
            lost.add(k)
            continue
        except MessageUnreadable as error:
            report(view, error)
            missing.broken += 1
            lost.add(k)
            continue
        for c in cached:
            if c.field is not None and c.make is not None and values[c.field][k] is None:
                blob = values[c.field][k] = c.make(content)
                made[c.field].append((uids[k], blob))
    for field, blobs in made.items():
        if blobs:
            cache.put_many(field, blobs)
    return values, lost


def _send_bodies(
    view: View, plan: list[Column], template: bytes, chunk: Positions, reply: Reply, missing: Missing
) -> None:
    """Row by row: a body may be large, and is on its way before the next one is read."""
    metas = [c.meta(view, chunk) if c.meta is not None else None for c in plan]
    makes = [c.make for c in plan]
    for k, position in enumerate(chunk):
        uid = view.snapshot.uids[position]
        try:
            content = read(view, uid)
        except MessageGone:
            missing.gone += 1
            continue
        except MessageUnreadable as error:
            report(view, error)
            missing.broken += 1
            continue
        row: list[int | bytes] = [position + 1]
        for meta, make in zip(metas, makes, strict=True):
            if meta is not None:
                row.append(meta[k])
            elif make is not None:
                row.append(make(content))
        reply.write(template % tuple(row))
