"""CATENATE: a message put together from literals and from parts of messages that are here (RFC 4469)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maildir_imapd.errors import BadMessage, BadSyntax, BadUrl, MessageGone, MessageUnreadable, Refused, TooBig
from maildir_imapd.imap.acl import open_mailbox
from maildir_imapd.imap.content import Content, read
from maildir_imapd.message import section
from maildir_imapd.store.delivery import Delivery
from maildir_imapd.wire.commands import CatUrl
from maildir_imapd.wire.url import parse_url, render_url

if TYPE_CHECKING:
    from collections.abc import Iterable

    from maildir_imapd.imap.session import Session
    from maildir_imapd.store.mailbox import Mailbox
    from maildir_imapd.wire.commands import CatText
    from maildir_imapd.wire.url import MessageUrl


def assemble(session: Session, mailbox: Mailbox, parts: tuple[CatUrl | CatText, ...]) -> Delivery:
    """Write the parts one behind the other into a message for *mailbox*; raises BadUrl, TooBig, StoreError."""
    whole = mailbox.deliver()
    session.deliveries.append(whole)
    for part in parts:
        for piece in _octets(session, part):
            whole.write(piece)
            if whole.size_crlf > session.policy.append_limit:
                raise TooBig(limit=session.policy.append_limit)
    whole.close()
    return whole


def _octets(session: Session, part: CatUrl | CatText) -> Iterable[bytes]:
    if isinstance(part, CatUrl):
        return (_resolve(session, part.url),)
    if not isinstance(part.data, Delivery):
        raise BadMessage(why="a TEXT of CATENATE must come as a literal")
    return part.data.pieces()


def _resolve(session: Session, text: bytes) -> bytes:
    """The octets that a URL names, as FETCH BODY.PEEK would give them; raises BadUrl."""
    try:
        url = parse_url(text)
        found = _part(_message(session, url), url)
    except (BadSyntax, Refused, MessageGone, MessageUnreadable) as error:
        raise BadUrl(render_url(text), detail=error.text) from error
    if found is None:
        raise BadUrl(render_url(text))
    return found


def _message(session: Session, url: MessageUrl) -> Content:
    if url.mailbox is None:
        if session.view is None:
            raise Refused("No mailbox is selected")
        return read(session.view, url.uid)
    mailbox = open_mailbox(session, session.mailbox_name(session.spell(url.mailbox)), "r")
    if url.uidvalidity not in (None, mailbox.snapshot.uidvalidity):
        raise Refused("Another UIDVALIDITY")
    return Content(url.uid, mailbox.read(url.uid))


def _part(message: Content, url: MessageUrl) -> bytes | None:
    wanted = url.section
    cut = None
    if url.partial is not None:
        first, count = url.partial
        cut = first, len(message.data) if count is None else count
    return section.extract(message.data, wanted.part, wanted.kind, wanted.fields, message.tree, cut)
