"""CAPABILITY: the list of what is whole here, read off the table of commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maildir_imapd.imap.registry import ANY, announced, command
from maildir_imapd.imap.reply import Done
from maildir_imapd.wire.render import capability_line

if TYPE_CHECKING:
    from maildir_imapd.imap.reply import Reply
    from maildir_imapd.imap.session import Session
    from maildir_imapd.wire.commands import Capability

# What belongs to no command: the protocol itself, and what holds for many commands.
ALWAYS = (b"IMAP4rev1", b"IMAP4rev2", b"LITERAL+", b"SASL-IR", b"INPROGRESS")


def capability_code(session: Session) -> bytes:
    """The list as a response code, for the greeting and the tagged OK of a login (RFC 3501 7.1)."""
    return b"CAPABILITY " + b" ".join(announced(session))


@command(b"CAPABILITY", states=ANY, announces=ALWAYS)
def capability(session: Session, cmd: Capability, reply: Reply) -> Done:
    """Tell the capabilities (RFC 3501 6.1.1, 7.2.1), before login all but those that only some users have."""
    reply.write(capability_line(announced(session)))
    return Done("Capability completed")
