"""STATUS: a mailbox's figures without opening it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from maildir_imapd.imap.mailboxes.rights import named_now, seen_now
from maildir_imapd.imap.naming import told_id
from maildir_imapd.imap.registry import LOGGED_IN, command
from maildir_imapd.imap.reply import Done
from maildir_imapd.store.maildir.filename import DELETED
from maildir_imapd.wire import render

if TYPE_CHECKING:
    from collections.abc import Sequence

    from maildir_imapd.imap.reply import Reply
    from maildir_imapd.imap.session import Session
    from maildir_imapd.store.index.snapshot import Snapshot
    from maildir_imapd.store.mailbox import Mailbox
    from maildir_imapd.store.standing import StatusFigures
    from maildir_imapd.wire.commands import Status


# What a snapshot alone says.
_OF_ITS_MOMENT: Final = frozenset(
    (b"MESSAGES", b"RECENT", b"UIDNEXT", b"UIDVALIDITY", b"UNSEEN", b"DELETED", b"HIGHESTMODSEQ")
)
# Responses that are kept of one mailbox: clients ask for few things, and all for the same.
LINES: Final = 8


@command(b"STATUS", states=LOGGED_IN, announces=[b"STATUS=SIZE"])
def status(session: Session, cmd: Status, reply: Reply) -> Done:
    """Tell figures of a mailbox, the selected one too (RFC 3501 6.3.10)."""
    if b"HIGHESTMODSEQ" in cmd.items:
        session.enable(b"CONDSTORE", reply)
    name = session.lookup_name(cmd.mailbox)
    reply.write(status_line(session, name, cmd.items))
    return Done("STATUS completed")


def _deleted_storage(mailbox: Mailbox, rows: Snapshot) -> int:
    """RFC 9208 4.1.4: what EXPUNGE would give back, in octets."""
    return mailbox.amount(list(rows.uids_with(DELETED))).storage


def status_line(session: Session, name: str, items: Sequence[bytes]) -> bytes:
    """Render one STATUS response; the folder is looked at first. Raises as ``open_mailbox`` does."""
    mailbox, snapshot = named_now(session, name, "r")
    return _line(session, name, mailbox, snapshot, items)


def status_line_at(session: Session, name: str, path: bytes, items: Sequence[bytes]) -> bytes:
    """The same of a mailbox whose folder is at *path*, as this command has seen, and that the user may read.

    Raises as ``seen_now``.
    """
    standing = session.account.own.standing.of(path) if _OF_ITS_MOMENT.issuperset(items) else None
    if standing is not None:
        return render.status_line(session.spell(name), _of_moment(standing, items), utf8=session.utf8)
    mailbox, snapshot = seen_now(session, path)
    return _line(session, name, mailbox, snapshot, items)


def _of_moment(standing: StatusFigures, items: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    """The items of STATUS that a moment alone says, of a mailbox that is not open."""
    values = {
        b"MESSAGES": standing.messages,
        b"RECENT": standing.recent,
        b"UIDNEXT": standing.uidnext,
        b"UIDVALIDITY": standing.uidvalidity,
        b"UNSEEN": standing.unseen,
        b"DELETED": standing.deleted,
        b"HIGHESTMODSEQ": standing.modseq,
    }
    return [(item, b"%d" % values[item]) for item in items]


def _line(session: Session, name: str, mailbox: Mailbox, snapshot: Snapshot, items: Sequence[bytes]) -> bytes:
    """Render the response; one that was told before is kept with the mailbox, for as long as its moment lasts."""
    asked = name, tuple(items), session.utf8
    known = mailbox.figures.get(asked)
    if known is not None and known[0] is snapshot and not _shown(session, mailbox):
        return known[1]
    values = figures(session, name, mailbox, snapshot, items)
    line = render.status_line(session.spell(name), values, utf8=session.utf8)
    if _OF_ITS_MOMENT.issuperset(items) and not _shown(session, mailbox):
        if len(mailbox.figures) >= LINES:
            mailbox.figures.clear()
        mailbox.figures[asked] = snapshot, line
    return line


def _shown(session: Session, mailbox: Mailbox) -> bool:
    """Whether this session has it open: some of its messages are \\Recent there, and nowhere else."""
    return session.view is not None and session.view.mailbox is mailbox


def figures(
    session: Session, name: str, mailbox: Mailbox, snapshot: Snapshot, items: Sequence[bytes]
) -> list[tuple[bytes, bytes]]:
    """The items of STATUS of a mailbox of that name with their values at the moment of *snapshot*."""
    values: list[tuple[bytes, bytes]] = []
    for item in items:
        match item:
            case b"MESSAGES":
                value = len(snapshot)
            case b"RECENT":
                value = snapshot.recent
                if session.view is not None and session.view.mailbox is mailbox and not session.view.read_only:
                    value += len(session.view.recent)
            case b"UIDNEXT":
                value = snapshot.uidnext
            case b"UIDVALIDITY":
                value = snapshot.uidvalidity
            case b"UNSEEN":
                value = snapshot.unseen
            case b"DELETED":
                value = snapshot.deleted
            case b"DELETED-STORAGE":
                value = _deleted_storage(mailbox, snapshot)
            case b"SIZE":
                progress = session.progress
                value = sum(mailbox.sizes(range(len(snapshot)), snapshot, progress.report, shares=progress))
            case b"HIGHESTMODSEQ":
                value = snapshot.modseq
            case b"MAILBOXID":
                values.append((item, b"(%b)" % told_id(session.account, name, mailbox, snapshot)))
                continue
            case b"APPENDLIMIT":
                value = session.policy.append_limit
            case _:
                # The parser lets through only what it knows; what is not answered yet is left out.
                continue
        values.append((item, b"%d" % value))
    return values
