"""Small commands beside the mail: ID."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maildir_imapd.imap.registry import ANY, command
from maildir_imapd.imap.reply import Done
from maildir_imapd.wire.render import id_line

if TYPE_CHECKING:
    from maildir_imapd.imap.reply import Reply
    from maildir_imapd.imap.session import Session
    from maildir_imapd.wire.commands import Id


@command(b"ID", states=ANY, announces=[b"ID"])
def id_(session: Session, cmd: Id, reply: Reply) -> Done:
    """Exchange names of programs (RFC 2971): the client's goes to the log, ours is name and version."""
    if cmd.params:
        # The log's own escaping bounds and cleans this.
        client = " ".join(
            f"{name.decode('utf-8', 'replace')}={(value or b'').decode('utf-8', 'replace')}"
            for name, value in cmd.params
        )
        session.note("client-id", client=client)
        said = {name.lower(): (value or b"").decode("utf-8", "replace") for name, value in cmd.params}
        session.client = " ".join(filter(None, (said.get(b"name"), said.get(b"version"))))
        session.used(session.client)
    reply.write(id_line(session.policy.server_id))
    return Done("ID completed")
