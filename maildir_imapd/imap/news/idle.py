"""IDLE: news as it happens, until DONE."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maildir_imapd.errors import ProtocolError
from maildir_imapd.imap.news import updates
from maildir_imapd.imap.registry import LOGGED_IN, command
from maildir_imapd.imap.reply import Done

if TYPE_CHECKING:
    from maildir_imapd.imap.reply import Reply
    from maildir_imapd.imap.session import Session
    from maildir_imapd.wire.commands import Idle


@command(b"IDLE", states=LOGGED_IN, announces=[b"IDLE"])
def idle(session: Session, cmd: Idle, reply: Reply) -> None:
    """Tell news as they come, until DONE (RFC 2177).  The continuation first: an EXISTS before it breaks clients."""

    def on_line(line: bytes, reply: Reply) -> Done:
        if line.strip().upper() != b"DONE":
            raise ProtocolError("Expected DONE; IDLE ended")
        return Done("IDLE completed")

    session.dialogue = on_line
    session.idling = True
    session.ask(reply, "idling")
    updates.tell_all(session, reply, expunge=True)
