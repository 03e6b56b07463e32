"""ENABLE: extensions that change what the server sends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maildir_imapd.imap.mailboxes.metadata import AnnotationNews
from maildir_imapd.imap.registry import LOGGED_IN, command
from maildir_imapd.imap.reply import Done
from maildir_imapd.wire.render import enabled_line

if TYPE_CHECKING:
    from maildir_imapd.imap.reply import Reply
    from maildir_imapd.imap.session import Session
    from maildir_imapd.wire.commands import Enable

# What can be enabled, in capitals, and how it is spelled.
ENABLEABLE = {
    b"CONDSTORE": b"CONDSTORE",
    b"QRESYNC": b"QRESYNC",
    b"UTF8=ACCEPT": b"UTF8=ACCEPT",
    b"IMAP4REV2": b"IMAP4rev2",
    b"METADATA": b"METADATA",
    b"UIDONLY": b"UIDONLY",
}


@command(b"ENABLE", states=LOGGED_IN, mail=False, announces=[b"ENABLE", b"UIDONLY"])
def enable(session: Session, cmd: Enable, reply: Reply) -> Done:
    """Switch extensions on (RFC 5161): one that is not known is passed over; mutt asks for UTF8=ACCEPT everywhere.

    Laxer than the RFC, which has it in the authenticated state only: some clients are late.
    """
    before = set(session.enabled)
    fresh = []
    for name in dict.fromkeys(cmd.capabilities):
        if name == b"UTF8=ACCEPT" and session.policy.utf8 == "no":
            continue
        # One that another has brought along in this same command is named too: the client asked for it.
        if name in ENABLEABLE and name not in before:
            if name == b"METADATA" and session.following is None:
                session.following = AnnotationNews(session)
            session.enable(name, reply)
            if name == b"UIDONLY":
                _end_numbered(session, reply)
            if session.rev2 and session.view is not None:
                session.view.forget_recent()
            fresh.append(ENABLEABLE[name])
    reply.write(enabled_line(fresh))
    return Done("ENABLE completed")


def _end_numbered(session: Session, reply: Reply) -> None:
    """End the updates of searches that are told by sequence numbers, for this client gets no more of them."""
    contexts = {} if session.view is None else session.view.contexts
    for tag in [tag for tag, context in contexts.items() if not context.uid]:
        del contexts[tag]
        session.say(
            reply, b"NO", "This search went by message numbers and is updated no longer", b'NOUPDATE "%b"' % tag
        )
