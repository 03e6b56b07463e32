"""CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maildir_imapd.errors import (
    BadMailboxName,
    MailboxExists,
    MailboxMissing,
    NoPermission,
    NotSelectable,
    UseAttribute,
)
from maildir_imapd.imap.mailboxes import rights
from maildir_imapd.imap.mailboxes.list import tell_normalized
from maildir_imapd.imap.mailboxes.metadata import note_own
from maildir_imapd.imap.name_changes import NameChange
from maildir_imapd.imap.naming import told_id
from maildir_imapd.imap.registry import LOGGED_IN, command
from maildir_imapd.imap.reply import Done
from maildir_imapd.store.records.special_use import SPELLED
from maildir_imapd.wire.names import ancestors

if TYPE_CHECKING:
    from maildir_imapd.imap.reply import Reply
    from maildir_imapd.imap.session import Session
    from maildir_imapd.wire.commands import Create, Delete, Rename, Subscribe, Unsubscribe


@command(b"CREATE", states=LOGGED_IN, changes=True, announces=[b"CREATE-SPECIAL-USE"])
def create(session: Session, cmd: Create, reply: Reply) -> Done:
    """Make a mailbox, with special uses if asked (RFC 3501 6.3.3, RFC 6154 3).  A delimiter at the end is dropped."""
    name = _new_name(session, cmd.mailbox)
    if name == "INBOX":
        raise MailboxExists
    rights.demand_new(session, name)
    for attribute in cmd.use:
        if attribute.lower() not in SPELLED or not rights.is_own(session, name):
            raise UseAttribute
    session.account.create(name)
    session.note_names(NameChange(name, gone=True), NameChange(name), *_parents(session, name))
    if cmd.use:
        uses = tuple(SPELLED[attribute.lower()] for attribute in cmd.use)
        note_own(session, session.account.set_special_use(name, uses))
    session.note("create", mailbox=name)
    tell_normalized(session, reply, name, cmd.mailbox)
    try:
        mailbox = rights.open_mailbox(session, name)
    except (MailboxMissing, NotSelectable):
        # It was made, and somebody else has deleted it since: that is the next thing to happen, and no NO to this.
        return Done("CREATE completed")
    return Done("CREATE completed", b"MAILBOXID (%b)" % told_id(session.account, name, mailbox, mailbox.snapshot))


@command(b"DELETE", states=LOGGED_IN, changes=True)
def delete(session: Session, cmd: Delete, reply: Reply) -> Done:
    """Remove a mailbox (RFC 3501 6.3.4): the children stay.  A session that has it open is told BYE."""
    name = session.lookup_name(cmd.mailbox)
    if rights.rights_of(session, name) is not None:
        rights.demand(session, name, "x")
    elif not rights.is_own(session, name):
        rights.demand_parent(session, name)
    session.account.delete(name)
    session.note_names(NameChange(name, gone=True))
    if session.view is not None and session.view.name == name:
        # The client that deletes what it has open means to; it goes on without an open mailbox.
        session.leave()
    session.note("delete", mailbox=name)
    tell_normalized(session, reply, name, cmd.mailbox)
    return Done("DELETE completed")


@command(b"RENAME", states=LOGGED_IN, changes=True)
def rename(session: Session, cmd: Rename, reply: Reply) -> Done:
    """Rename a mailbox (RFC 3501 6.3.5): children move along; of INBOX the messages move and it stays, empty."""
    old = session.lookup_name(cmd.mailbox)
    new = _new_name(session, cmd.new_name)
    if new == "INBOX":
        raise MailboxExists
    if rights.rights_of(session, old) is not None:
        rights.demand(session, old, "x")
    else:
        if not rights.is_own(session, old):
            rights.demand_parent(session, old)
        # RFC 4314 4: "x" on what is renamed; of a name that is only there for others, these are renamed.
        _demand_below(session, old, "x")
    rights.demand_new(session, new)
    session.account.rename(old, new)
    session.note_names(NameChange(new, None if _stays(session, old) else old), *_parents(session, new))
    opened = "INBOX" if session.view is None else session.view.name
    if not _stays(session, old) and (opened == old or opened.startswith(old + session.account.delimiter)):
        # Its folder carries another name now; INBOX stays.
        session.leave()
    session.note("rename", mailbox=old, to=new)
    tell_normalized(session, reply, new, cmd.new_name, old=cmd.mailbox)
    return Done("RENAME completed")


@command(b"SUBSCRIBE", states=LOGGED_IN, changes=True)
def subscribe(session: Session, cmd: Subscribe, reply: Reply) -> Done:
    """Subscribe a name (RFC 3501 6.3.6): refused where there is no mailbox; it stays subscribed when that goes."""
    name = session.lookup_name(cmd.mailbox)
    if rights.rights_of(session, name) is not None:
        rights.demand(session, name, "l")
    session.account.subscribe(name)
    session.note_subscription(name)
    return Done("SUBSCRIBE completed")


@command(b"UNSUBSCRIBE", states=LOGGED_IN, changes=True)
def unsubscribe(session: Session, cmd: Unsubscribe, reply: Reply) -> Done:
    """Take a subscription back (RFC 3501 6.3.7); OK for a name that is not subscribed, too (RFC 9051 6.3.8)."""
    name = session.lookup_name(cmd.mailbox)
    session.account.unsubscribe(name)
    session.note_subscription(name)
    return Done("UNSUBSCRIBE completed")


def _stays(session: Session, name: str) -> bool:
    """Whether this is somebody's INBOX: when it is renamed it stays, and what it had is in a new mailbox."""
    place = session.account.locate(name)
    return place is not None and place.name == "INBOX"


def _demand_below(session: Session, name: str, right: str) -> None:
    """Raise NoPermission if the user lacks a right to a mailbox below *name*, MailboxMissing if he may see none."""
    below = name + session.account.delimiter
    names = [folder.name for folder in session.account.folders() if folder.selectable and folder.name.startswith(below)]
    granted = [rights.rights_of(session, each) or frozenset() for each in names]
    if names and not any("l" in rights for rights in granted):
        raise MailboxMissing
    if not all(right in rights for rights in granted):
        raise NoPermission


def _parents(session: Session, name: str) -> list[NameChange]:
    """The mailboxes above one that has been made, which were made with it if they were not there."""
    return [NameChange(parent) for parent in ancestors(name, session.account.delimiter)]


def _new_name(session: Session, raw: bytes) -> str:
    name = session.mailbox_name(raw)
    if not name:
        raise BadMailboxName(why="it is empty")
    return name
