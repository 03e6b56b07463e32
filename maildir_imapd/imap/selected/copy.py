"""COPY and MOVE, and their UID forms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maildir_imapd.errors import ExpungeIssued, MailboxMissing, MessageGone, NoPermission, ReadOnly
from maildir_imapd.imap.mailboxes import rights
from maildir_imapd.imap.news import updates
from maildir_imapd.imap.progress import MANY
from maildir_imapd.imap.registry import command
from maildir_imapd.imap.reply import Done
from maildir_imapd.imap.search import limit
from maildir_imapd.imap.selected.append import TRIES, in_use, target
from maildir_imapd.imap.session import State
from maildir_imapd.wire.render import copyuid_code

if TYPE_CHECKING:
    from maildir_imapd.imap.reply import Reply
    from maildir_imapd.imap.session import Session
    from maildir_imapd.store.mailbox import Given, Mailbox
    from maildir_imapd.wire.commands import Copy


@command(
    b"COPY",
    b"UID COPY",
    states=State.SELECTED,
    changes=True,
    takes_numbers=True,
    announces=limit.announced,
    impersonal=True,
)
def copy(session: Session, cmd: Copy, reply: Reply) -> Done:
    """Copy messages, all that are there or none (RFC 3501 6.4.7); COPYUID as in RFC 4315 3.

    Those that another session has expunged are left out, as the client will hear (RFC 2180 4.4.1): NO only for who
    names nothing else by number.
    """
    code, _ = _transfer(session, cmd)
    return Done("COPY completed", code or None)


@command(b"MOVE", b"UID MOVE", states=State.SELECTED, changes=True, takes_numbers=True, announces=[b"MOVE"])
def move(session: Session, cmd: Copy, reply: Reply) -> Done:
    """Move messages (RFC 6851): COPYUID comes untagged, before the EXPUNGE responses that the command's end brings."""
    if session.selected.read_only:
        raise ReadOnly
    if not session.selected.rights >= rights.REMOVING:
        raise NoPermission
    code, beyond = _transfer(session, cmd)
    if code is None:
        return Done("MOVE completed")
    if code:
        session.say(reply, b"OK", "Moved UIDs", code)
    return limit.told(session, reply, Done("MOVE completed", updates.code_after_expunge(session, reply)), beyond)


def _transfer(session: Session, cmd: Copy) -> tuple[bytes | None, bytes | None]:
    """Copy or move, and render COPYUID, b"" where nobody can say; None when nothing was named that is there.

    And the code for a MOVE that was of too many (RFC 9738).
    """
    view = session.selected
    mailbox, name = target(session, cmd.mailbox), session.mailbox_name(cmd.mailbox)
    named = view.uids_at(view.resolve(cmd.numbers, uid=cmd.uid))
    uids, beyond = [uid for uid in named if not view.is_ghost(uid)], None
    if cmd.move:
        uids, beyond = limit.last_uids(session, uids)
    else:
        limit.demand_saved(session, uids, len(uids))
    pairs: Given[tuple[int, int]] | None = None
    tries = TRIES
    while uids:
        try:
            pairs = _carry(session, mailbox, name, uids, move=cmd.move)
            break
        except MessageGone:
            # Nothing was copied. Of what is gone the client hears with this answer.
            left = _there(session, uids)
            # Where some have gone the rest is another question, however often: who hears OK believes that it is done.
            tries -= left == uids
            uids = left
            if not tries:
                raise
        except MailboxMissing as error:
            if view.mailbox.gone:
                raise
            tries -= 1
            if not tries:
                raise in_use() from error
            mailbox = target(session, cmd.mailbox)
    if not pairs:
        if named and not cmd.uid:
            raise ExpungeIssued
        return None, None
    made = [uid for _, uid in pairs]
    if pairs.known:
        session.note_own(mailbox, made=made)
    verb = "MOVE" if cmd.move else "COPY"
    branch, inner = session.account.demanded(name)
    branch.account.moves.note(verb, view.name, inner, mailbox.lies_at, pairs.uidvalidity, made)
    if cmd.move:
        session.note_own(view.mailbox, removed=[uid for uid, _ in pairs])
        session.tally.expunged += len(pairs)
    return copyuid_code(pairs.uidvalidity, pairs) if pairs.known else b"", beyond


def _there(session: Session, uids: list[int]) -> list[int]:
    """Those of *uids* that the open mailbox has now."""
    mailbox = session.selected.mailbox
    found = mailbox.sync(look=True, keep_new=True).positions(uids)
    return [uid for uid, at in zip(uids, found, strict=True) if at >= 0]


def _carry(session: Session, mailbox: Mailbox, name: str, uids: list[int], *, move: bool) -> Given[tuple[int, int]]:
    """Copy or move messages of the open mailbox to that of this name, within the quota and the rights.

    Raises as ``copy_from``.  A move needs no room but in somebody else's account, and out of what does not count.
    """
    view, branch = session.selected, session.account.demanded(name).branch
    quota = branch.account.quota
    elsewhere = quota is not session.account.demanded(view.name).branch.account.quota
    if not move or elsewhere or quota.demands_move(view.mailbox.lies_at, mailbox.lies_at):
        quota.demand_copy(mailbox.lies_at, lambda: view.mailbox.amount(uids))
    keep = rights.flag_mask(rights.rights_in(session, name, mailbox))
    source, under = view.mailbox, view.snapshot.uidvalidity

    def work() -> Given[tuple[int, int]]:
        return source.copied_to(mailbox, uids, move=move, keep=keep, under=under)

    return work() if len(uids) < MANY else session.progress.during(work)
