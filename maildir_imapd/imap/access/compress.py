"""COMPRESS: the rest of the connection deflated (RFC 4978)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maildir_imapd.errors import BadArgument, Refused, WrongState
from maildir_imapd.imap.registry import LOGGED_IN, command
from maildir_imapd.imap.reply import Done

if TYPE_CHECKING:
    from maildir_imapd.imap.reply import Reply
    from maildir_imapd.imap.session import Session
    from maildir_imapd.wire.commands import Compress


class CompressionActive(Refused):
    """The connection is compressed already"""

    code = b"COMPRESSIONACTIVE"


@command(
    b"COMPRESS",
    states=LOGGED_IN,
    updates=False,
    mail=False,
    announces=lambda session: [b"COMPRESS=DEFLATE"] if session.policy.compress and not session.compressed else [],
    impersonal=True,
)
def compress(session: Session, cmd: Compress, reply: Reply) -> Done:
    """Begin to deflate (RFC 4978 3).  The OK goes out plain; what the client sends after it is deflated."""
    if cmd.mechanism != b"DEFLATE":
        raise BadArgument("an algorithm that this server knows")
    if not session.policy.compress:
        raise Refused("This compression is not available here")
    if session.compressed:
        raise CompressionActive
    if session.buffer.pending:
        raise WrongState(why="Nothing may follow COMPRESS before its OK")
    session.upgrade = b"DEFLATE"
    return Done("Deflate from here on")
