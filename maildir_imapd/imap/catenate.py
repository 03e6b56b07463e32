"""CATENATE: a message put together from literals and from parts of messages that are here (RFC 4469)."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from maildir_imapd.errors import BadMessage, BadSyntax, BadUrl, MessageGone, MessageUnreadable, Refused, TooBig
from maildir_imapd.imap.acl import open_mailbox
from maildir_imapd.imap.content import Content, read
from maildir_imapd.message import section
from maildir_imapd.store.delivery import Delivery
from maildir_imapd.wire.commands import CatUrl
from maildir_imapd.wire.url import parse_url, render_url

if TYPE_CHECKING:
    from collections.abc import Generator

    from maildir_imapd.imap.session import Session
    from maildir_imapd.store.mailbox import Mailbox
    from maildir_imapd.wire.commands import CatText
    from maildir_imapd.wire.url import MessageUrl


def assemble(session: Session, mailbox: Mailbox, parts: tuple[CatUrl | CatText, ...]) -> Delivery:
    """Write the parts one behind the other into a message for *mailbox*; raises BadUrl, TooBig, StoreError."""
    whole = mailbox.deliver()
    session.deliveries.append(whole)
    sources = _Sources(session)
    for part in parts:
        with closing(_octets(sources, part)) as pieces:
            for piece in pieces:
                whole.write(piece)
                if whole.size_crlf > session.policy.append_limit:
                    raise TooBig(limit=session.policy.append_limit)
    whole.close()
    return whole


def _octets(sources: _Sources, part: CatUrl | CatText) -> Generator[bytes]:
    if isinstance(part, CatUrl):
        yield sources.resolve(part.url)
    elif isinstance(part.data, Delivery):
        yield from part.data.pieces()
    else:
        raise BadMessage(why="a TEXT of CATENATE must come as a literal")


class _Sources:
    """The messages that URLs name; the last one is kept, for a client takes one part of it after the other."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._last: tuple[tuple[str | None, int | None, int], Content] | None = None

    def resolve(self, text: bytes) -> bytes:
        """The octets that a URL names, as FETCH BODY.PEEK would give them; raises BadUrl."""
        try:
            url = parse_url(text)
            found = _part(self._message(url), url)
        except (BadSyntax, Refused, MessageGone, MessageUnreadable) as error:
            raise BadUrl(render_url(text), detail=error.text) from error
        if found is None:
            raise BadUrl(render_url(text))
        return found

    def _message(self, url: MessageUrl) -> Content:
        asked = url.mailbox, url.uidvalidity, url.uid
        if self._last is None or self._last[0] != asked:
            self._last = asked, self._read(url)
        return self._last[1]

    def _read(self, url: MessageUrl) -> Content:
        session = self._session
        if url.mailbox is None:
            if session.view is None:
                raise Refused("No mailbox is selected")
            return read(session.view, url.uid)
        mailbox = open_mailbox(session, session.mailbox_name(session.spell(url.mailbox)), "r")
        numbering = mailbox.snapshot.uidvalidity
        if url.uidvalidity not in (None, numbering):
            raise Refused("Another UIDVALIDITY")
        return Content(url.uid, mailbox.read(url.uid, under=numbering))


def _part(message: Content, url: MessageUrl) -> bytes | None:
    wanted = url.section
    cut = None
    if url.partial is not None:
        first, count = url.partial
        cut = first, len(message.data) if count is None else count
    return section.extract(message.data, wanted.part, wanted.kind, wanted.fields, message.tree, cut)
