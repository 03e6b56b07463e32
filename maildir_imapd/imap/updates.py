"""What has happened in the mailbox, as untagged responses, at the moments the RFC allows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maildir_imapd.imap.view import NOTHING
from maildir_imapd.store.filename import VISIBLE_BITS
from maildir_imapd.wire.numbers import render_set
from maildir_imapd.wire.render import render_flags

if TYPE_CHECKING:
    from collections.abc import Sequence

    from maildir_imapd.imap.reply import Reply
    from maildir_imapd.imap.session import Session
    from maildir_imapd.imap.view import Told
    from maildir_imapd.store.snapshot import Snapshot


def tell(session: Session, reply: Reply, *, expunge: bool, skip: frozenset[int] | set[int] = frozenset()) -> None:
    """Bring the client up to date: EXPUNGE, EXISTS and RECENT, FETCH FLAGS, in this order.

    *expunge* is the command table's word (RFC 3501 7.4.1).  *skip* are UIDs whose new flags the client
    need not hear.
    """
    view = session.selected
    view.sync()
    old = view.snapshot
    told = view.advance(expunge=expunge)
    if told is not NOTHING:
        write(session, reply, old, told, skip)


def code_after_expunge(session: Session, reply: Reply) -> bytes | None:
    """Tell what happened, and return the code of the tagged OK for a command that removed messages.

    RFC 7162 3.2.7, RFC 6851 4.4: HIGHESTMODSEQ; all that happened until then is told before it.
    """
    if b"CONDSTORE" not in session.enabled:
        return None
    tell(session, reply, expunge=True)
    return b"HIGHESTMODSEQ %d" % session.selected.safe_modseq


def write(
    session: Session, reply: Reply, old: Snapshot, told: Told, skip: frozenset[int] | set[int] = frozenset()
) -> None:
    """Render what ``View.advance`` returned; *old* is the snapshot before it."""
    view = session.selected
    new = view.snapshot
    if told.keywords:
        tell_flags(session, reply)
    if told.expunged:
        if b"QRESYNC" in session.enabled:
            reply.untagged(b"VANISHED " + render_set(told.expunged_uids))
        else:
            # From the last to the first: no number shifts before it is used.
            reply.extend([b"* %d EXPUNGE\r\n" % (i + 1) for i in reversed(told.expunged)])
    if told.arrived:
        reply.untagged(b"%d EXISTS" % len(new))
        if not session.rev2:
            reply.untagged(b"%d RECENT" % len(view.recent))
    if told.flagged:
        shown = [i for i in told.flagged if new.uids[i] not in skip]
        if b"CONDSTORE" not in session.enabled:
            shown = [i for i in shown if flags_differ(old, new, i)]
        if shown:
            fetch_flags(session, reply, shown, uid=b"QRESYNC" in session.enabled)


def tell_flags(session: Session, reply: Reply) -> None:
    """Say which flags there are in the open mailbox, and which of them can be set for good (RFC 3501 7.2.6)."""
    view = session.selected
    flags = view.snapshot.all_flag_names()
    reply.untagged(b"FLAGS " + render_flags(flags))
    if view.read_only:
        reply.status(b"OK", "No flag can be changed", b"PERMANENTFLAGS ()")
    else:
        permanent = render_flags((*flags, b"\\*"))
        reply.status(b"OK", "Flags that are kept; new keywords can be made", b"PERMANENTFLAGS " + permanent)


def flags_differ(old: Snapshot, new: Snapshot, position: int) -> bool:
    """Whether the message at *position* of *new* shows other flags than in *old*."""
    uid = new.uids[position]
    before = old.position(uid)
    if before < 0:
        return True
    if (old.flags[before] ^ new.flags[position]) & VISIBLE_BITS:
        return True
    return bool(old.extra or new.extra) and old.extra.get(uid) != new.extra.get(uid)


def fetch_flags(session: Session, reply: Reply, positions: Sequence[int], *, uid: bool, flags: bool = True) -> None:
    """Write FETCH lines with FLAGS, UID if asked, and MODSEQ for a CONDSTORE client (RFC 7162 3.1.4)."""
    view = session.selected
    snapshot = view.snapshot
    places = positions if isinstance(positions, range) else list(positions)
    parts = []
    columns: list[Sequence[int] | Sequence[bytes]] = [[i + 1 for i in places]]
    if uid:
        parts.append(b"UID %d")
        columns.append([snapshot.uids[i] for i in places])
    if flags:
        parts.append(b"FLAGS %b")
        columns.append(view.flag_lists(places))
    if b"CONDSTORE" in session.enabled:
        parts.append(b"MODSEQ (%d)")
        columns.append([snapshot.modseqs[i] for i in places])
    template = b"* %d FETCH (" + b" ".join(parts) + b")\r\n"
    reply.extend([template % row for row in zip(*columns, strict=True)])
