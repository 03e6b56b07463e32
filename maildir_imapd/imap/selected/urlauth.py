"""GENURLAUTH and RESETKEY: URLs that let others read a message, and taking that back (RFC 4467).

A token is made of two digits for how it is made, the mailbox's UIDVALIDITY, and an HMAC over both and the URL, by a key
that never leaves the server.  So a URL without a UIDVALIDITY names no other message when UIDs have begun anew.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from typing import TYPE_CHECKING, Final

from maildir_imapd.errors import (
    BadArgument,
    BadMailboxName,
    MailboxMissing,
    NoPermission,
    NotSelectable,
    UnknownCommand,
)
from maildir_imapd.imap.mailboxes.rights import open_mailbox
from maildir_imapd.imap.naming import name_of
from maildir_imapd.imap.registry import LOGGED_IN, command
from maildir_imapd.imap.reply import Done
from maildir_imapd.wire import render
from maildir_imapd.wire.authorized_url import parse_rump
from maildir_imapd.wire.names import decode_mailbox

if TYPE_CHECKING:
    from maildir_imapd.imap.policy import UrlRules
    from maildir_imapd.imap.reply import Reply
    from maildir_imapd.imap.session import Reader, Session
    from maildir_imapd.wire.authorized_url import FullUrl, RumpUrl
    from maildir_imapd.wire.commands import GenUrlAuth, ResetKey

INTERNAL: Final = b"INTERNAL"
# How the token is made: another way will have other digits.
_FIRST: Final = b"01"
_TOKEN: Final = re.compile(rb"01([0-9a-f]{8})[0-9a-f]{64}").fullmatch
# In the place of a key that is not there, so that the answer takes as long (RFC 4467 6).
_PLAUSIBLE: Final = secrets.token_bytes(32)


def rules_of(session: Session) -> UrlRules:
    """Return how URLs carry rights; raises UnknownCommand where they carry none, or for somebody who has not come."""
    rules = session.policy.urls
    if rules is None:
        raise UnknownCommand
    return rules


def mechanisms_code(session: Session) -> bytes | None:
    """Return the code that names the mechanisms; None on a line that others may listen to (RFC 4467 10)."""
    return b"URLMECH " + INTERNAL if session.policy.urls is not None and session.secure else None


def mailbox_of(reader: Reader, url: RumpUrl) -> str:
    """Return what *reader* calls the mailbox of a URL; raises BadMailboxName, StoreError."""
    return name_of(reader.account, decode_mailbox(url.mailbox.encode(), utf8=True))


def key_name(reader: Reader, name: str) -> str:
    """Return what the key of a mailbox is kept under: of the user's own account as that calls it; raises ImapdError."""
    place = reader.account.locate(name)
    return name if place is None or place.branch.account is not reader.account.own else place.name


def token_of(key: bytes, uidvalidity: int, rump: bytes) -> bytes:
    """Return the token that vouches for a URL."""
    begin = _FIRST + b"%08x" % uidvalidity
    return begin + hmac.digest(key, begin + b" " + rump, hashlib.sha256).hex().encode()


def vouched(key: bytes | None, url: FullUrl) -> int | None:
    """Return the UIDVALIDITY that a URL was made for; None where its token is not one of *key*."""
    found = _TOKEN(url.token)
    uidvalidity = int(found[1], 16) if found is not None else 0
    expected = token_of(_PLAUSIBLE if key is None else key, uidvalidity, url.rump.octets)
    right = hmac.compare_digest(expected, url.token)
    return uidvalidity if right and key is not None and url.mechanism == INTERNAL else None


@command(b"GENURLAUTH", states=LOGGED_IN, changes=True)
def genurlauth(session: Session, cmd: GenUrlAuth, reply: Reply) -> Done:
    """Authorize URLs of one's own, all of them or none."""
    rules = rules_of(session)
    made = [_authorized(session, rules, url, mechanism) for url, mechanism in cmd.urls]
    reply.write(render.genurlauth_line(made))
    session.note("genurlauth", urls=len(made))
    return Done("GENURLAUTH completed")


def _authorized(session: Session, rules: UrlRules, text: bytes, mechanism: bytes) -> bytes:
    """Put a token behind a URL; raises ProtocolError for whatever is wrong with it (RFC 4467 7), StoreError."""
    _demand_internal(mechanism)
    url = parse_rump(text)
    assert session.access is not None
    if session.user == rules.anonymous:
        raise NoPermission
    if not session.access.is_called(url.user):
        raise BadArgument("your own name as the user of the URL")
    if not rules.means_us(url.host, url.port):
        raise BadArgument("a name of this server as the host of the URL")
    if url.access == "anonymous" and rules.anonymous is None:
        raise BadArgument("another access than anonymous, which there is not here")
    try:
        name = mailbox_of(session, url)
        mailbox = open_mailbox(session, name, "r")
    except (MailboxMissing, NoPermission, NotSelectable, BadMailboxName):
        raise BadArgument("a mailbox that is there") from None
    uidvalidity = mailbox.snapshot.uidvalidity
    if url.message.uidvalidity not in (None, uidvalidity):
        raise BadArgument("the UIDVALIDITY of the mailbox")
    key = session.account.own.url_keys.make(key_name(session, name))
    return b"%b:internal:%b" % (text, token_of(key, uidvalidity, text))


@command(b"RESETKEY", states=LOGGED_IN, changes=True)
def resetkey(session: Session, cmd: ResetKey, reply: Reply) -> Done:
    """Void the URLs of a mailbox that were authorized until now, or all of one's own."""
    rules_of(session)
    keys = session.account.own.url_keys
    if cmd.mailbox is None:
        keys.forget_all()
        session.note("resetkey")
        return Done("No URL is authorized any more")
    for mechanism in cmd.mechanisms:
        _demand_internal(mechanism)
    name = session.lookup_name(cmd.mailbox)
    open_mailbox(session, name, "l")
    keys.reset(key_name(session, name))
    session.note("resetkey", mailbox=name)
    return Done("No URL of this mailbox is authorized any more", mechanisms_code(session))


def _demand_internal(mechanism: bytes) -> None:
    if mechanism != INTERNAL:
        raise BadArgument("the mechanism INTERNAL")
