"""Small commands beside the mail: ID."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import TYPE_CHECKING

from maildir_imapd.imap.registry import ANY, command
from maildir_imapd.imap.reply import Done
from maildir_imapd.imap.session import State
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
        said = {name.lower(): value or b"" for name, value in cmd.params}
        words = [said.get(name, b"").decode("utf-8", "replace") for name in (b"name", b"version")]
        session.client = " ".join(filter(None, words))
        session.used(session.client)
        _forward(session, said)
    reply.write(id_line(session.policy.server_id))
    return Done("ID completed")


def _forward(session: Session, said: Mapping[bytes, bytes]) -> None:
    """Take the word of a webmail for whom it comes, in the fields that Dovecot reads; what is no address is none."""
    written = said.get(b"x-originating-ip")
    if session.forward is None or written is None or session.state is not State.NOT_AUTHENTICATED:
        return
    try:
        if b"%" in written:
            raise ValueError
        address = ipaddress.ip_address(written.decode("ascii"))
    except ValueError:
        session.note("x-originating-ip is no address")
        return
    digits = said.get(b"x-originating-port", b"")
    port = int(digits) if digits.isdigit() and len(digits) <= 5 else 0
    via = session.peer
    session.peer = session.forward(str(address), port)
    session.note("forwarded", via=via)
