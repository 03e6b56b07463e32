"""News of the open mailbox as untagged responses, at the moments that the RFC allows."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from maildir_imapd.errors import Refused
from maildir_imapd.imap.columns import rows
from maildir_imapd.imap.columns.plan import MODSEQ, UID
from maildir_imapd.imap.later import later
from maildir_imapd.imap.mailboxes.rights import settable
from maildir_imapd.imap.news import contexts
from maildir_imapd.imap.view import NOTHING, column
from maildir_imapd.wire.numbers import render_set
from maildir_imapd.wire.render import render_flags

if TYPE_CHECKING:
    from collections.abc import Sequence, Set

    from maildir_imapd.imap.columns.plan import Plan
    from maildir_imapd.imap.reply import Reply
    from maildir_imapd.imap.session import Session
    from maildir_imapd.imap.view import Told, View
    from maildir_imapd.store.index.snapshot import Snapshot


def tell(session: Session, reply: Reply, *, expunge: bool) -> None:
    """Bring the client up to date: EXPUNGE, EXISTS and RECENT, FETCH FLAGS, in this order.

    *expunge* is the command table's word (RFC 3501 7.4.1).
    """
    view = session.selected
    view.sync()
    old = view.snapshot
    told = advance(session, expunge=expunge)
    if told is not NOTHING or (view.contexts and contexts.due(session)):
        write(session, reply, old, told)


def tell_all(session: Session, reply: Reply, *, expunge: bool) -> None:
    """Say what has happened in the open mailbox, and to annotations, as far as this client wants to hear of it."""
    if session.view is not None:
        tell(session, reply, expunge=expunge)
    if session.following is not None and session.notify is None:
        # Who uses NOTIFY says there what it wants to hear.
        with later("annotations", session.user):
            session.following.tell(session, reply)


def tell_unasked(session: Session, reply: Reply) -> None:
    """Say what NOTIFY has asked to hear at any time, between commands too (RFC 5465)."""
    notify = session.notify
    if notify is None:
        return
    if session.view is not None and (notify.messages or session.idling):
        # RFC 5465 6.1: who counts by number asks for a delay, and IDLE ends it.
        tell(session, reply, expunge=session.idling or not notify.delayed)
    with later("other mailboxes", session.user):
        notify.tell(session, reply)


def advance(session: Session, *, expunge: bool) -> Told:
    """Move the view on as far as this client wants to hear (RFC 5465); ``write`` renders what is returned."""
    notify = session.notify
    if notify is None:
        return session.selected.advance(expunge=expunge)
    return session.selected.advance(expunge=expunge, hold=not notify.messages, quiet=not notify.flags)


def code_after_expunge(session: Session, reply: Reply) -> bytes | None:
    """Tell what happened, and return the code of the tagged OK for a command that removed messages.

    RFC 7162 3.2.7, RFC 6851 4.4: HIGHESTMODSEQ; all that happened until then is told before it.
    """
    if b"CONDSTORE" not in session.enabled:
        return None
    tell(session, reply, expunge=True)
    return b"HIGHESTMODSEQ %d" % session.selected.safe_modseq


def write(session: Session, reply: Reply, old: Snapshot, told: Told, skip: Set[int] = frozenset()) -> None:
    """Render what ``advance`` returned; *old* is the snapshot before it.

    *skip* are UIDs of which the caller tells the flags itself.  The order is what a client can follow: names of flags
    before the first that has one; what leaves a result, and EXPUNGE, while old numbers hold; then EXISTS, which gives
    new ones; flags by the new numbers; what comes into a result, and new messages, last.
    """
    if told.keywords:
        tell_flags(session, reply)
    if session.selected.contexts:
        contexts.tell_lost(session, reply, old, told)
    _write_sizes(session, reply, told)
    _write_flags(session, reply, told, skip)
    _write_arrivals(session, reply, old, told)
    if told.arrived:
        session.selected.forget_own()


def _write_sizes(session: Session, reply: Reply, told: Told) -> None:
    """Say what is gone, and how many messages are left (RFC 3501 7.3, 7.4.1; RFC 7162 3.2.10; RFC 9586 3.6)."""
    view = session.selected
    if told.expunged:
        if session.uid_only or b"QRESYNC" in session.enabled:
            reply.untagged(b"VANISHED " + render_set(told.expunged_uids))
        else:
            # From the last to the first: no number shifts before it is used.
            reply.extend([b"* %d EXPUNGE\r\n" % (i + 1) for i in reversed(told.expunged)])
    if told.arrived:
        reply.untagged(b"%d EXISTS" % len(view.snapshot))
    if (told.arrived or told.fewer_recent) and not session.rev2:
        # RFC 3501 7.3.2: whenever the size of the mailbox changes; what changes nothing in it is left out.
        reply.untagged(b"%d RECENT" % len(view.recent))


def _write_flags(session: Session, reply: Reply, told: Told, skip: Set[int]) -> None:
    """Say which messages have other flags (RFC 3501 7.4.2), or for CONDSTORE another mod-sequence (RFC 7162 3.1.4)."""
    view = session.selected
    uids = view.snapshot.uids
    shown = [i for i in told.flagged if uids[i] not in skip]
    if not shown:
        return
    if b"CONDSTORE" not in session.enabled:
        # Who waits for no mod-sequence hears of flags that differ from what he knows, and of no others.
        mistaken = view.mistaken(uids[i] for i in shown)
        view.heard({uids[i] for i in shown} - mistaken)
        shown = [i for i in shown if uids[i] in mistaken]
    fetch_flags(session, reply, shown, uid=session.names_uid)


def _write_arrivals(session: Session, reply: Reply, old: Snapshot, told: Told) -> None:
    """Say what comes into the results of contexts, and fetch new messages for whoever asked for that with them."""
    view, notify = session.selected, session.notify
    news = contexts.changes(session, old, told) if view.contexts else contexts.NONE
    if notify is not None and notify.plan:
        # RFC 5465 5.2: these come behind the ESEARCH responses; what UPDATE alone asked for comes before (7).
        reply.extend(news.lines)
        plans = _with_notified(view, old, news.plans, notify.plan) if told.arrived else news.plans
        _fetch_new(session, reply, plans)
    elif news.lines:
        _fetch_new(session, reply, news.plans)
        reply.extend(news.lines)


def _with_notified(view: View, old: Snapshot, plans: dict[int, Plan], plan: Plan) -> dict[int, Plan]:
    """Plan for each new message what is fetched of it: what NOTIFY asks for, then what contexts do."""
    uids = view.snapshot.uids
    return {
        position: plan.followed_by(plans.get(position, ()))
        for position in range(bisect_left(uids, old.uidnext), len(uids))
        if uids[position] not in view.mine
    }


def _fetch_new(session: Session, reply: Reply, plans: dict[int, Plan]) -> None:
    """Write FETCH responses for new messages, by position; those that are gone already are left out.

    What may not be had of one is said with an untagged NO: the command that brings the news is done all the same.
    """
    groups: dict[tuple[bytes, ...], tuple[Plan, list[int]]] = {}
    for position, plan in sorted(plans.items()):
        if b"CONDSTORE" in session.enabled:
            plan = plan.followed_by([MODSEQ])
        if UID in plan or session.names_uid:
            plan = plan.uid_first()
        groups.setdefault(plan.labels, (plan, []))[1].append(position)
    for plan, positions in groups.values():
        # Only bodies may be refused, and one of them must not cost the next.
        for some in [[position] for position in positions] if plan.has_bodies else [positions]:
            try:
                with later("new messages", session.user):
                    rows.send(session, plan, some, reply)
            except Refused as refusal:
                session.say(reply, b"NO", refusal.text, refusal.code)


def tell_flags(session: Session, reply: Reply) -> None:
    """Say which flags there are in the open mailbox, and which of them can be set for good (RFC 3501 7.2.6)."""
    view = session.selected
    flags = view.snapshot.all_flag_names()
    reply.untagged(b"FLAGS " + render_flags(flags))
    if view.read_only:
        session.say(reply, b"OK", "No flag can be changed", b"PERMANENTFLAGS ()")
    else:
        permanent = render_flags(settable(view.rights, (*flags, b"\\*")))
        session.say(
            reply,
            b"OK",
            "Flags that are kept; new keywords can be made" if "w" in view.rights else "Flags that are kept",
            b"PERMANENTFLAGS " + permanent,
        )


def fetch_flags(session: Session, reply: Reply, positions: Sequence[int], *, uid: bool, flags: bool = True) -> None:
    """Write FETCH lines with FLAGS, UID if asked, and MODSEQ for a CONDSTORE client (RFC 7162 3.1.4).

    Without *flags* the client must know them already.  To who has enabled UIDONLY they are UIDFETCH lines, which begin
    with the UID (RFC 9586 3.6).
    """
    view = session.selected
    snapshot = view.snapshot
    places = positions if isinstance(positions, range) else list(positions)
    parts = []
    columns: list[Sequence[int] | Sequence[bytes]] = [rows.numbers(session, places)]
    if uid and not session.uid_only:
        parts.append(b"UID %d")
        columns.append(column(snapshot.uids, places))
    if flags:
        parts.append(b"FLAGS %b")
        columns.append(view.flag_lists(places))
    if b"CONDSTORE" in session.enabled:
        parts.append(b"MODSEQ (%d)")
        columns.append(column(snapshot.modseqs, places))
    template = rows.beginning(session) + b" ".join(parts) + b")\r\n"
    reply.extend([template % row for row in zip(*columns, strict=True)])
    view.heard(column(snapshot.uids, places))
