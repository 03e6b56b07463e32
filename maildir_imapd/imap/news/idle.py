"""IDLE: news as it happens, until DONE."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maildir_imapd.errors import WrongState
from maildir_imapd.imap.registry import LOGGED_IN, Done, command

if TYPE_CHECKING:
    from maildir_imapd.imap.reply import Reply
    from maildir_imapd.imap.session import Session
    from maildir_imapd.wire.commands import Idle


@command(b"IDLE", states=LOGGED_IN)
def idle(session: Session, cmd: Idle, reply: Reply) -> None:
    """RFC 2177.  The continuation goes first: an EXISTS before it breaks some clients."""

    def on_line(line: bytes, reply: Reply) -> None:
        if line.strip().upper() != b"DONE":
            raise WrongState(why="Expected DONE; IDLE ended")
        session.end_dialogue()
        session.finish(cmd, b"IDLE", Done("IDLE completed"), reply)

    session.begin_dialogue(cmd.tag, on_line)
    session.idling = True
    session.ask(reply, "idling")
    session.tell(reply, expunge=True)
