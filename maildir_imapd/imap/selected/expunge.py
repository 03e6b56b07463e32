"""EXPUNGE and UID EXPUNGE."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maildir_imapd.errors import NoPermission, ReadOnly
from maildir_imapd.imap.news import updates
from maildir_imapd.imap.registry import command
from maildir_imapd.imap.reply import Done
from maildir_imapd.imap.search import limit
from maildir_imapd.imap.session import State
from maildir_imapd.store.maildir.filename import DELETED

if TYPE_CHECKING:
    from maildir_imapd.imap.reply import Reply
    from maildir_imapd.imap.session import Session
    from maildir_imapd.wire.commands import Expunge
    from maildir_imapd.wire.numbers import NumberSet


@command(b"EXPUNGE", b"UID EXPUNGE", states=State.SELECTED, changes=True, announces=[b"UIDPLUS"])
def expunge(session: Session, cmd: Expunge, reply: Reply) -> Done:
    """Remove what is marked \\Deleted (RFC 3501 6.4.3, RFC 4315 2.1); the end of any command tells it."""
    if session.selected.read_only:
        raise ReadOnly
    if "e" not in session.selected.rights:
        raise NoPermission
    removed, beyond = expunge_deleted(session, cmd.uids)
    done = Done("EXPUNGE completed", updates.code_after_expunge(session, reply) if removed else None)
    return limit.told(session, reply, done, beyond)


def expunge_deleted(session: Session, only: NumberSet | None) -> tuple[bool, bytes | None]:
    """Remove the messages that have \\Deleted now, of *only* if given; says whether any was removed.

    And the code where they were more than one command may be about; without *only* that is any number (RFC 9738 3.1).

    Now, not when the client last heard: a flag that another session took back saves its message.  What
    arrived after the client was last told is not touched.
    """
    view = session.selected
    view.sync()
    snapshot = view.mailbox.snapshot
    known = view.snapshot.uidnext
    uids, beyond = [uid for uid in snapshot.uids_with(DELETED) if uid < known], None
    if only is not None and uids:
        asked = set(view.uids_at(view.resolve(only, uid=True)))
        uids, beyond = limit.last_uids(session, [uid for uid in uids if uid in asked])
    if not uids:
        # They may be gone because the last time only their going did not reach the disk.
        view.mailbox.settle()
        return False, None
    removed = view.mailbox.expunge(uids, under=view.snapshot.uidvalidity, flagged=DELETED)
    session.note_own(view.mailbox, removed=removed)
    session.tally.expunged += len(removed)
    return bool(removed), beyond
