"""CATENATE: a message put together from literals and from parts of messages that are here (RFC 4469)."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from maildir_imapd.errors import (
    BadMessage,
    BadSyntax,
    BadUrl,
    MessageGone,
    MessageUnreadable,
    NoMemory,
    Refused,
    TooBig,
    TooLong,
)
from maildir_imapd.imap.columns.message import LARGE_OCTETS, WHOLE_TIMES, Content, read
from maildir_imapd.imap.mailboxes.rights import open_mailbox
from maildir_imapd.imap.view import View
from maildir_imapd.message import section
from maildir_imapd.store.maildir.delivery import Delivery
from maildir_imapd.wire.commands import CatUrl
from maildir_imapd.wire.url import parse_url, render_url

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from maildir_imapd.budget import Share
    from maildir_imapd.imap.session import Session
    from maildir_imapd.store.mailbox import Mailbox
    from maildir_imapd.wire.commands import AppendMessage, CatText
    from maildir_imapd.wire.url import MessageUrl

    # The mailbox, "" for the open one; UIDVALIDITY, 0 for any; the UID.
    _Source = tuple[str, int, int]


# URLs in one command: each may name another message, which is read as a whole.
URLS_LIMIT = 1000
# Octets that are read for it, as a multiple of what a message may have: parts may be a little of much.
READ = 4


def demand_few(messages: Iterable[AppendMessage]) -> None:
    """Raise TooLong for a command that names more than ``URLS_LIMIT`` URLs."""
    if sum(isinstance(part, CatUrl) for message in messages for part in message.catenate or ()) > URLS_LIMIT:
        raise TooLong


def assemble(session: Session, mailbox: Mailbox, parts: tuple[CatUrl | CatText, ...]) -> Delivery:
    """Write the parts one behind the other into a message for *mailbox*; raises BadUrl, TooBig, StoreError."""
    whole = mailbox.deliver()
    session.deliveries.append(whole)
    with closing(session.progress.share(0)) as share:
        urls = [(place, part.url) for place, part in enumerate(parts) if isinstance(part, CatUrl)]
        quoted = _quoted(session, urls, share)
        for place, part in enumerate(parts):
            with closing(_octets(part, quoted.get(place, b""))) as pieces:
                for piece in pieces:
                    whole.write(piece)
                    if whole.size_crlf > session.policy.append_limit:
                        raise TooBig(limit=session.policy.append_limit)
    whole.close()
    return whole


def _octets(part: CatUrl | CatText, quoted: bytes) -> Generator[bytes]:
    if isinstance(part, CatUrl):
        yield quoted
    elif isinstance(part.data, Delivery):
        yield from part.data.pieces()
    else:
        raise BadMessage(why="a TEXT of CATENATE must come as a literal")


def _quoted(session: Session, urls: list[tuple[int, bytes]], share: Share) -> dict[int, bytes]:
    """Read the pieces that the URLs name, by their places, as FETCH BODY.PEEK gives them; each message is read once.

    What is held until all is put together is counted in *share*. Raises NoMemory, BadUrl for the first that names
    nothing, TooBig before more than a message may have is put together.
    """
    limit = session.policy.append_limit
    wanted: dict[_Source, list[tuple[int, MessageUrl]]] = {}
    spelled = dict(urls)
    failed: dict[int, str] = {}
    for place, text in urls:
        try:
            url = parse_url(text)
        except BadSyntax as error:
            failed[place] = error.text
        else:
            wanted.setdefault((url.mailbox or "", url.uidvalidity or 0, url.uid), []).append((place, url))
    found: dict[int, bytes] = {}
    room, left = limit, READ * limit
    for source in sorted(wanted):
        session.progress.attend()
        uses = wanted[source]
        try:
            place_of, size = _located(session, uses[0][1])
            left -= size
            if left < 0:
                raise TooBig(limit=limit)
            message = _read(session, place_of, uses[0][1], size)
        except (Refused, MessageGone, MessageUnreadable) as error:
            if isinstance(error, TooBig | NoMemory):
                raise
            failed.update((place, error.text) for place, _ in uses)
            continue
        for place, url in uses:
            octets = _part(message, url)
            if octets is None:
                failed[place] = ""
                continue
            room -= len(octets)
            if room < 0:
                raise TooBig(limit=limit)
            if len(octets) > LARGE_OCTETS:
                session.progress.more(share, len(octets))
            found[place] = octets
    if failed:
        place = min(failed)
        raise BadUrl(render_url(spelled[place]), detail=failed[place])
    return found


def _located(session: Session, url: MessageUrl) -> tuple[View | Mailbox, int]:
    """Where the message is, and how many octets it has; raises Refused."""
    if url.mailbox is None:
        if session.view is None:
            raise Refused("No mailbox is selected")
        return session.view, session.view.mailbox.amount([url.uid]).storage
    mailbox = open_mailbox(session, session.mailbox_name(session.spell(url.mailbox)), "r")
    if url.uidvalidity not in (None, mailbox.snapshot.uidvalidity):
        raise Refused("Another UIDVALIDITY")
    return mailbox, mailbox.amount([url.uid]).storage


def _read(session: Session, place: View | Mailbox, url: MessageUrl, size: int) -> Content:
    """Read a message of *size* octets; raises NoMemory, MessageGone, MessageUnreadable."""
    if isinstance(place, View):
        return read(place, url.uid)
    # Without a UIDVALIDITY the URL means that of the moment.
    under = place.snapshot.uidvalidity if url.uidvalidity is None else url.uidvalidity
    progress = session.progress
    if size > LARGE_OCTETS:
        progress.hold(WHOLE_TIMES * size, lambda: None)
    return Content(url.uid, place.load(url.uid, under=under, shares=progress), place, under, progress)


def _part(message: Content, url: MessageUrl) -> bytes | None:
    wanted = url.section
    cut = None
    if url.partial is not None:
        first, count = url.partial
        cut = first, len(message.data) if count is None else count
    return section.extract(message.data, wanted.part, wanted.kind, wanted.fields, message.tree, cut)
