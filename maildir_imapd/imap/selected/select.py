"""SELECT, EXAMINE and the ways to leave a mailbox: CLOSE, UNSELECT; and CHECK, NOOP."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from maildir_imapd.errors import UidRequired, WrongState
from maildir_imapd.imap.mailboxes import rights
from maildir_imapd.imap.mailboxes.list import opened_line
from maildir_imapd.imap.mailboxes.status import LINES
from maildir_imapd.imap.naming import told_id
from maildir_imapd.imap.news.qresync import resynchronise
from maildir_imapd.imap.news.updates import tell_flags
from maildir_imapd.imap.registry import ANY, LOGGED_IN, command
from maildir_imapd.imap.reply import Done, Reply
from maildir_imapd.imap.selected.expunge import expunge_deleted
from maildir_imapd.imap.selected.urlauth import mechanisms_code
from maildir_imapd.imap.session import State
from maildir_imapd.imap.view import View

if TYPE_CHECKING:
    from maildir_imapd.imap.session import Session
    from maildir_imapd.store.mailbox import Mailbox
    from maildir_imapd.wire.commands import Check, Close, Noop, Select, Unselect


@command(b"SELECT", b"EXAMINE", states=LOGGED_IN, updates=False, announces=[b"QRESYNC"])
def select(session: Session, cmd: Select, reply: Reply) -> Done:
    """Open a mailbox (RFC 3501 6.3.1, 6.3.2; RFC 7162; RFC 9051 once enabled).

    The old mailbox is left even when the new one cannot be opened.
    """
    if cmd.qresync is not None and b"QRESYNC" not in session.enabled:
        raise WrongState(why="ENABLE QRESYNC first")
    if session.uid_only and cmd.qresync is not None and cmd.qresync.match_seqs is not None:
        # RFC 9586 3.7
        raise UidRequired
    if session.view is not None:
        session.leave()
        # RFC 7162 3.2.11, RFC 9051 7.1, whatever is enabled: what follows belongs to the new mailbox.
        session.say(reply, b"OK", "Previous mailbox is closed now", b"CLOSED")
    if cmd.condstore or cmd.qresync is not None:
        session.enable(b"CONDSTORE", reply)
    name = session.lookup_name(cmd.mailbox)

    def look(mailbox: Mailbox, granted: frozenset[str]) -> View:
        return View(
            mailbox,
            name,
            read_only=cmd.read_only or session.read_only or not granted & rights.WRITING,
            wake=session.wake,
            progress=session.progress,
            rev2=session.rev2,
            rights=granted,
        )

    with ExitStack() as undo:
        session.view = view = rights.look_into(session, name, "r", look=look)
        session.state = State.SELECTED
        undo.callback(session.leave)
        _describe(session, cmd, name, reply)
        undo.pop_all()
    if view.read_only:
        return Done("Mailbox opened read-only", b"READ-ONLY")
    return Done("Mailbox opened", b"READ-WRITE")


def _describe(session: Session, cmd: Select, name: str, reply: Reply) -> None:
    """Say what there is, all of it at the view's moment; of that the lines are kept with the mailbox."""
    view = session.selected
    mailbox, snapshot = view.mailbox, view.snapshot
    identifier = told_id(session.account, name, mailbox, snapshot)
    # All that they are made of.
    mechanisms = mechanisms_code(session)
    asked = view.read_only, view.rights, session.language.tag, session.rev2, session.uid_only, identifier, mechanisms
    known = mailbox.described.get(asked)
    if known is None or known[0] is not snapshot:
        if len(mailbox.described) >= LINES:
            mailbox.described.clear()
        known = mailbox.described[asked] = snapshot, *_moment(session, identifier)
    _, before, after = known
    reply.write(before)
    reply.write(opened_line(session, name, cmd.mailbox) if session.rev2 else b"* %d RECENT\r\n" % len(view.recent))
    reply.write(after)
    if cmd.qresync is not None and cmd.qresync.uidvalidity == snapshot.uidvalidity:
        resynchronise(session, cmd.qresync, reply)


def _moment(session: Session, identifier: bytes) -> tuple[bytes, bytes]:
    """Render what the view's snapshot alone says: what comes before the one line that more is in, and behind it."""
    snapshot = session.selected.snapshot
    lines: list[bytes] = []
    reply = Reply(lines.append)
    tell_flags(session, reply)
    reply.untagged(b"%d EXISTS" % len(snapshot))
    reply.flush()
    unseen = snapshot.first_unseen
    if unseen >= 0 and not (session.rev2 or session.uid_only):
        session.say(reply, b"OK", "First unseen message", b"UNSEEN %d" % (unseen + 1))
    session.say(reply, b"OK", "UIDs are valid", b"UIDVALIDITY %d" % snapshot.uidvalidity)
    session.say(reply, b"OK", "Predicted next UID", b"UIDNEXT %d" % snapshot.uidnext)
    session.say(reply, b"OK", "Highest mod-sequence", b"HIGHESTMODSEQ %d" % snapshot.modseq)
    session.say(reply, b"OK", "Mailbox identifier", b"MAILBOXID (%b)" % identifier)
    mechanisms = mechanisms_code(session)
    if mechanisms is not None:
        session.say(reply, b"OK", "URLs can be authorized", mechanisms)
    reply.flush()
    before, after = lines
    return before, after


@command(b"CLOSE", states=State.SELECTED, updates=False)
def close(session: Session, cmd: Close, reply: Reply) -> Done:
    """Expunge in silence, and leave (RFC 3501 6.4.2); a read-only mailbox is only left.

    So is one without the right to expunge (RFC 4314 4).
    """
    view = session.selected
    try:
        if not view.read_only and "e" in view.rights:
            expunge_deleted(session, None)
    finally:
        session.leave()
    return Done("Mailbox closed")


@command(b"UNSELECT", states=State.SELECTED, updates=False, announces=[b"UNSELECT"])
def unselect(session: Session, cmd: Unselect, reply: Reply) -> Done:
    """Leave the mailbox without expunging (RFC 3691)."""
    session.leave()
    return Done("Mailbox left, nothing expunged")


_NOTHING_DONE: Final = Done("NOOP completed")


@command(b"NOOP", states=ANY, idle=_NOTHING_DONE)
def noop(session: Session, cmd: Noop, reply: Reply) -> Done:
    """Do nothing, which is when news may be told (RFC 3501 6.1.2)."""
    return _NOTHING_DONE


@command(b"CHECK", states=State.SELECTED)
def check(session: Session, cmd: Check, reply: Reply) -> Done:
    """Look at the folder from the ground up (RFC 3501 6.4.1)."""
    session.selected.mailbox.sync(look=True)
    return Done("CHECK completed")
