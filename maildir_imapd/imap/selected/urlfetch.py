"""URLFETCH: messages, and parts of them, on the strength of a URL's token (RFC 4467, RFC 5524).

Whoever brings a URL reads with the rights of the user who authorized it, as these are now, and sets no flag.  Each
refusal is NIL, and says nothing of why: whether there is such a user, such a mailbox and such a message is for the log.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from maildir_imapd.errors import (
    BadSyntax,
    BadUrl,
    ImapdError,
    MessageGone,
    MessageUnreadable,
    NoMemory,
    Refused,
    Unavailable,
    UnknownCte,
)
from maildir_imapd.events import Log
from maildir_imapd.imap.columns.items import plan_of
from maildir_imapd.imap.columns.message import LARGE_OCTETS, Content
from maildir_imapd.imap.columns.plan import Cached, FromSnapshot
from maildir_imapd.imap.mailboxes.rights import open_mailbox
from maildir_imapd.imap.registry import LOGGED_IN, command
from maildir_imapd.imap.reply import Done
from maildir_imapd.imap.selected.urlauth import key_name, mailbox_of, rules_of, vouched
from maildir_imapd.message import mime
from maildir_imapd.message.structure import render_bodystructure
from maildir_imapd.message.transfer import IDENTITY
from maildir_imapd.store.namespaces import Namespaces
from maildir_imapd.strings import string
from maildir_imapd.wire.authorized_url import parse_full
from maildir_imapd.wire.commands import FetchBody, Section
from maildir_imapd.wire.cursor import LARGEST64

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from maildir_imapd.imap.columns.message import Streamed
    from maildir_imapd.imap.gate import Access
    from maildir_imapd.imap.policy import Policy, UrlRules
    from maildir_imapd.imap.progress import Progress
    from maildir_imapd.imap.reply import Reply
    from maildir_imapd.imap.session import Reader, Session
    from maildir_imapd.message.mime import Part
    from maildir_imapd.store.mailbox import Mailbox
    from maildir_imapd.wire.authorized_url import FullUrl, RumpUrl
    from maildir_imapd.wire.commands import UrlFetch

    # What a client reads of one URL: the name of each piece, b"" in the form of RFC 4467, with its value.
    _Pieces = list[tuple[bytes, bytes | Streamed]]

log = Log(__name__)

# Refused URLs that have a line of their own in the log, of one command.
NOTED: Final = 3
# Refused in a row until the next ones wait, each twice as long as the one before, and the longest wait.
REFUSED_FREELY: Final = 8
FIRST_WAIT_SECONDS: Final = 0.05
LONGEST_WAIT_SECONDS: Final = 2.0
pause = time.sleep


@dataclass(frozen=True, slots=True)
class Borrowed:
    """As ``Reader``: the user on whose word a URL is read, and his mail."""

    policy: Policy
    account: Namespaces
    user: str
    groups: frozenset[str]
    progress: Progress

    def note(self, event: str, **fields: object) -> None:
        """As ``Reader.note``."""
        log.info(event, user=self.user, **fields)


def _announced(session: Session) -> list[bytes]:
    return [] if session.policy.urls is None else [b"URLAUTH", b"URLAUTH=BINARY"]


@command(b"URLFETCH", states=LOGGED_IN, announces=_announced, impersonal=True, mail=False)
def urlfetch(session: Session, cmd: UrlFetch, reply: Reply) -> Done:
    """Tell what URLs name, each in a line of its own; those that are refused are NIL."""
    rules = rules_of(session)
    refused = 0
    for n, (text, wanted) in enumerate(cmd.urls):
        session.progress.report(n, len(cmd.urls))
        try:
            _tell(session, rules, text, wanted, reply)
        except (NoMemory, Unavailable):
            # RFC 4467 7: what may be done later is NO, and it is so for every URL.
            raise
        except (BadSyntax, Refused, MessageGone, MessageUnreadable) as error:
            reply.write(b"* URLFETCH %b NIL\r\n" % string(text))
            refused += 1
            _note_refused(session, text, error, told=refused <= NOTED)
        else:
            session.urls_refused = 0
    if refused > NOTED:
        session.note("urls refused", count=refused)
    return Done("URLFETCH completed")


def _note_refused(session: Session, text: bytes, error: ImapdError, *, told: bool) -> None:
    """Say in the log why a URL was refused, without what vouches for it, and hold up who tries many."""
    if told:
        rump = "" if isinstance(error, BadSyntax) else parse_full(text).rump.octets.decode("ascii")
        session.note("url refused", url=rump, why=error.detail or error.text)
    session.urls_refused += 1
    over = session.urls_refused - REFUSED_FREELY
    if over > 0:
        pause(min(FIRST_WAIT_SECONDS * 2 ** min(over, 10), LONGEST_WAIT_SECONDS))


def _tell(session: Session, rules: UrlRules, text: bytes, wanted: Sequence[bytes], reply: Reply) -> None:
    """Write what a URL names; raises Refused, MessageGone, MessageUnreadable, StoreError before anything is written."""
    url = parse_full(text)
    access = session.access
    assert access is not None
    _demand_allowed(session, access, rules, url.rump)
    with _reading(session, access, url.rump) as reader:
        mailbox, under = _opened(reader, url)
        uid = url.rump.message.uid
        file = mailbox.load(uid, under=under, limit=LARGE_OCTETS, shares=session.progress)
        content = Content(uid, file, mailbox, under, session.progress)
        with content.opened():
            pieces = _pieces(content, url.rump, wanted, rev2=session.rev2)
            content.release()
            _write(reply, text, pieces)
    session.note("url fetched", url=url.rump.octets.decode("ascii"))


def _demand_allowed(session: Session, access: Access, rules: UrlRules, url: RumpUrl) -> None:
    """Raise BadUrl where this client may not use a URL, whoever vouches for it."""
    anonymous = session.user == rules.anonymous
    allowed = {
        "submit": session.user in rules.submitters,
        "user": not anonymous and access.is_called(url.whom),
        "authuser": not anonymous,
        "anonymous": rules.anonymous is not None,
    }
    if not allowed[url.access]:
        raise BadUrl(b"", detail="it is for somebody else")
    if not rules.means_us(url.host, url.port):
        raise BadUrl(b"", detail="it is of another server")
    if url.expires is not None and session.clock() > url.expires:
        raise BadUrl(b"", detail="it has expired")


@contextmanager
def _reading(session: Session, access: Access, url: RumpUrl) -> Iterator[Reader]:
    """Be who has authorized a URL, as long as it is read; raises as ``Access.reach``."""
    if access.is_called(url.user):
        yield session
        return
    with access.reach(url.user) as other:
        mail = other.account
        account = mail if isinstance(mail, Namespaces) else Namespaces(mail, user=other.user)
        yield Borrowed(session.policy, account, other.user, other.groups, session.progress)


def _opened(reader: Reader, url: FullUrl) -> tuple[Mailbox, int]:
    """Open the mailbox of a URL, with the UIDVALIDITY that it is for; raises Refused, StoreError.

    Before its token has been found right, each trouble is a refusal: it would tell what there is.
    """
    try:
        name = mailbox_of(reader, url.rump)
        key = reader.account.own.url_keys.find(key_name(reader, name))
    except (ImapdError, OSError) as error:
        vouched(None, url)
        raise BadUrl(b"", detail=str(error)) from error
    under = vouched(key, url)
    if under is None:
        raise BadUrl(b"", detail="nothing vouches for it" if key is None else "its token is wrong")
    mailbox = open_mailbox(reader, name, "r")
    if mailbox.sync(keep_new=True).uidvalidity != under or url.rump.message.uidvalidity not in (None, under):
        raise BadUrl(b"", detail="it is for another UIDVALIDITY")
    return mailbox, under


# --- what is told ---------------------------------------------------------------------------------


def _pieces(content: Content, url: RumpUrl, wanted: Sequence[bytes], *, rev2: bool) -> _Pieces:
    """Make all that is asked of a message; raises BadUrl where it has no such part."""
    if not wanted:
        return [(b"", _body(content, url))]
    made: _Pieces = []
    for name in wanted:
        if name == b"BODY":
            made.append((name, _body(content, url)))
        elif name == b"BINARY":
            made.append((name, _binary(content, url)))
        else:
            made.append((name, _structure(content, url, decoded=b"BINARY" in wanted, rev2=rev2)))
    return made


def _cut(url: RumpUrl) -> tuple[int, int] | None:
    partial = url.message.partial
    return None if partial is None else (partial[0], LARGEST64 if partial[1] is None else partial[1])


def _body(content: Content, url: RumpUrl) -> bytes | Streamed:
    """The section as FETCH BODY.PEEK gives it."""
    return _there(_fetched(content, FetchBody(b"", url.message.section, _cut(url), peek=True)))


def _binary(content: Content, url: RumpUrl) -> bytes | Streamed:
    """The same without its transfer encoding, NIL for one that nobody knows; a header has none."""
    section = url.message.section
    if section.kind == b"TEXT":
        # Of a message with one part that is this part.
        whole = _part(content, section.part)
        inner = whole if not section.part else whole.message
        if inner is not None and not inner.children:
            section = Section((*section.part, 1))
    if section.kind:
        return _body(content, url)
    _part(content, section.part)
    try:
        return _there(_fetched(content, FetchBody(b"", section, _cut(url), peek=True, binary=True)))
    except UnknownCte:
        return b"NIL"


def _fetched(content: Content, item: FetchBody) -> bytes | Streamed:
    (column,) = plan_of([item], rev2=False)
    assert not isinstance(column, FromSnapshot)
    return column.field.make(content) if isinstance(column, Cached) else column.make(content)


def _there(value: bytes | Streamed) -> bytes | Streamed:
    """Return what FETCH has found of a section; raises BadUrl for NIL, which is what it says of none."""
    if value == b"NIL":
        raise BadUrl(b"", detail="the message has no such part")
    return value


def _part(content: Content, numbers: tuple[int, ...]) -> Part:
    part = mime.find(content.tree(), numbers) if numbers else content.tree()
    if part is None:
        raise BadUrl(b"", detail="the message has no such part")
    return part


def _structure(content: Content, url: RumpUrl, *, decoded: bool, rev2: bool) -> bytes:
    """BODYSTRUCTURE of the part, as it is when it is *decoded* where BINARY tells it so."""
    section = url.message.section
    part = _part(content, section.part)
    if section.kind not in (b"", b"MIME") and part.message is not None:
        part = part.message  # whose TEXT, or HEADER, it is
    leaf = bool(section.part) and not section.kind and not part.children and part.message is None
    if decoded and leaf and part.encoding.lower() not in IDENTITY:
        try:
            value = _fetched(content, FetchBody(b"", section, peek=True, binary=True))
        except UnknownCte:
            value = b"NIL"
        if value != b"NIL":
            octets, lines = _measured(value)
            part = part._replace(encoding=b"BINARY", end=part.body_start + octets, lines=lines)
    return render_bodystructure(part, content.window(), rev2=rev2)


def _measured(value: bytes | Streamed) -> tuple[int, int]:
    """Count the octets and the line ends of a string as it goes to the client."""
    pieces = (value.partition(b"\n")[2],) if isinstance(value, bytes) else value.pieces()
    octets = lines = 0
    for piece in pieces:
        octets += len(piece)
        lines += piece.count(b"\n")
    return octets, lines


def _write(reply: Reply, text: bytes, pieces: _Pieces) -> None:
    """Write the answer to one URL piece by piece, as FETCH does what is long."""
    before = b"* URLFETCH " + string(text)
    for name, value in pieces:
        before += b" (%b " % name if name else b" "
        if isinstance(value, bytes):
            before += value
        else:
            reply.write(before + value.begin)
            for piece in value.pieces():
                reply.write(piece)
            before = b""
        before += b")" if name else b""
    reply.write(before + b"\r\n")
