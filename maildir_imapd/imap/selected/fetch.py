"""FETCH and UID FETCH: which messages, which columns, and what else the command changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maildir_imapd.errors import WrongState
from maildir_imapd.imap.columns.items import plan_of
from maildir_imapd.imap.columns.plan import FLAGS, MODSEQ, UID
from maildir_imapd.imap.columns.rows import send
from maildir_imapd.imap.news import updates
from maildir_imapd.imap.news.qresync import tell_vanished
from maildir_imapd.imap.registry import command
from maildir_imapd.imap.reply import Done
from maildir_imapd.imap.search import limit
from maildir_imapd.imap.search.results import window
from maildir_imapd.imap.session import State
from maildir_imapd.imap.view import NOTHING, Positions, column
from maildir_imapd.store.maildir.filename import SEEN
from maildir_imapd.store.maildir.flags import Flags
from maildir_imapd.wire.commands import FetchBody

if TYPE_CHECKING:
    from maildir_imapd.imap.columns.rows import Missing
    from maildir_imapd.imap.reply import Reply
    from maildir_imapd.imap.session import Session
    from maildir_imapd.wire.commands import Fetch


@command(
    b"FETCH", states=State.SELECTED, uses_numbers=True, announces=[b"BINARY", b"SAVEDATE", b"PREVIEW", b"OBJECTID"]
)
@command(b"UID FETCH", states=State.SELECTED)
def fetch(session: Session, cmd: Fetch, reply: Reply) -> Done:
    """Tell items of messages, and set \\Seen where bodies are asked for (RFC 3501 6.4.5)."""
    view = session.selected
    plan = plan_of(cmd.items, rev2=session.rev2)
    if cmd.vanished and b"QRESYNC" not in session.enabled:
        raise WrongState(why="ENABLE QRESYNC first")
    if cmd.changed_since is not None or MODSEQ in plan:
        session.enable(b"CONDSTORE", reply)
    positions = view.resolve(cmd.numbers, uid=cmd.uid)
    if cmd.partial is not None:
        limit.demand_window(session, cmd.partial)
        # RFC 9394 3.4: first the part, then what of it has changed.
        positions = window(list(positions), cmd.partial)
    if cmd.changed_since is not None:
        if cmd.vanished:
            tell_vanished(session, cmd.numbers.resolve(view.snapshot.uidnext - 1), cmd.changed_since, reply)
        modseqs = column(view.snapshot.modseqs, positions)
        since = cmd.changed_since
        positions = [i for i, modseq in zip(positions, modseqs, strict=True) if modseq > since]
        plan = plan.followed_by([MODSEQ])
    positions, beyond = limit.last_of(session, positions)
    if UID in plan or (cmd.uid and not session.uid_only):
        plan = plan.uid_first()
    if _sets_seen(cmd) and not view.read_only and "s" in view.rights:
        positions, changed = _set_seen(session, positions, reply)
        if changed:
            # RFC 7162 3.2.4
            news = [FLAGS, MODSEQ] if b"CONDSTORE" in session.enabled else [FLAGS]
            plan = (plan.uid_first() if session.names_uid else plan).with_news(news)
    # RFC 9738 3.1: from the highest to the lowest, where that says where it stopped.
    missing = send(session, plan, positions if beyond is None else list(positions)[::-1], reply)
    return limit.told(session, reply, _ended(cmd, missing), beyond)


def _ended(cmd: Fetch, missing: Missing) -> Done:
    if missing.gone:
        kind = b"OK" if cmd.uid else b"NO"
        return Done("Some of the messages no longer exist", b"EXPUNGEISSUED", kind)
    if missing.reason is not None:
        return Done(missing.reason.text, missing.reason.code, b"NO")
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
    view.mailbox.set_flags(
        [uid for uid in unseen if not view.is_ghost(uid)], add=Flags(SEEN), under=view.snapshot.uidvalidity
    )
    # The FLAGS come with the bodies, so what is told here is everybody else's news.
    told = updates.advance(session, expunge=False)
    if told is not NOTHING:
        updates.write(session, reply, snapshot, told, skip=set(unseen))
    return positions, True
