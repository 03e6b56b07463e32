"""The abstract syntax of every command: one frozen value per command, UID forms a field.

Parsers make these, the ``imap`` package acts on them.  Mailbox names stay the octets that the client
sent (modified UTF-7, or UTF-8 once UTF8=ACCEPT is on), with INBOX in any case made ``INBOX``; decoding
them needs the session.  Text that may be secret is kept out of ``repr``.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import Any

from maildir_imapd.wire.numbers import NumberSet
from maildir_imapd.wire.search_keys import SearchKey


@dataclass(frozen=True, slots=True)
class Command:
    """A command; every one has a tag."""

    tag: bytes


# --- any state ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Capability(Command):
    """capability = "CAPABILITY" """


@dataclass(frozen=True, slots=True)
class Noop(Command):
    """noop = "NOOP" """


@dataclass(frozen=True, slots=True)
class Logout(Command):
    """logout = "LOGOUT" """


@dataclass(frozen=True, slots=True)
class Id(Command):
    """RFC 2971; ``None`` for NIL."""

    params: tuple[tuple[bytes, bytes | None], ...] | None


# --- not authenticated ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StartTls(Command):
    """starttls = "STARTTLS" """


@dataclass(frozen=True, slots=True)
class Authenticate(Command):
    """RFC 3501 6.2.2, RFC 4959: *mechanism* in capitals; *initial* decoded, b"" for ``=``, None if absent."""

    mechanism: bytes
    initial: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Login(Command):
    """login = "LOGIN" SP userid SP password"""

    user: bytes
    password: bytes = field(repr=False)


# --- authenticated --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Enable(Command):
    """RFC 5161: the names in capitals, in the order given."""

    capabilities: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class QResync:
    """RFC 7162 3.2.5: the parameter of SELECT (QRESYNC (...))."""

    uidvalidity: int
    modseq: int
    known_uids: NumberSet | None = None
    match_seqs: NumberSet | None = None
    match_uids: NumberSet | None = None


@dataclass(frozen=True, slots=True)
class Select(Command):
    """SELECT, or EXAMINE when *read_only* (RFC 3501 6.3.1, 6.3.2; RFC 7162)."""

    mailbox: bytes
    read_only: bool = False
    condstore: bool = False
    qresync: QResync | None = None


@dataclass(frozen=True, slots=True)
class Create(Command):
    """CREATE, with RFC 6154's USE: attributes as sent, backslash included."""

    mailbox: bytes
    use: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Delete(Command):
    """delete = "DELETE" SP mailbox"""

    mailbox: bytes


@dataclass(frozen=True, slots=True)
class Rename(Command):
    """rename = "RENAME" SP mailbox SP mailbox"""

    mailbox: bytes
    new_name: bytes


@dataclass(frozen=True, slots=True)
class Subscribe(Command):
    """subscribe = "SUBSCRIBE" SP mailbox"""

    mailbox: bytes


@dataclass(frozen=True, slots=True)
class Unsubscribe(Command):
    """unsubscribe = "UNSUBSCRIBE" SP mailbox"""

    mailbox: bytes


@dataclass(frozen=True, slots=True)
class List(Command):
    """LIST, basic or extended (RFC 3501 6.3.8, RFC 5258, RFC 5819, RFC 9590).

    Options are in capitals; *status_items* belong to RETURN (STATUS (...)), *entries* to METADATA.  *extended* is true
    when any syntax of RFC 5258 was used: selection options, several patterns, or RETURN.
    """

    reference: bytes
    patterns: tuple[bytes, ...]
    select_options: frozenset[bytes] = frozenset()
    return_options: frozenset[bytes] = frozenset()
    status_items: tuple[bytes, ...] = ()
    extended: bool = False
    entries: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Lsub(Command):
    """lsub = "LSUB" SP mailbox SP list-mailbox"""

    reference: bytes
    pattern: bytes


@dataclass(frozen=True, slots=True)
class Xlist(Command):
    """Gmail's XLIST, which old Outlooks and node-imap send without looking at the capability."""

    reference: bytes
    pattern: bytes


@dataclass(frozen=True, slots=True)
class Namespace(Command):
    """namespace = "NAMESPACE" """


@dataclass(frozen=True, slots=True)
class Status(Command):
    """STATUS: item names in capitals, each once, in the order asked."""

    mailbox: bytes
    items: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class UidBatches(Command):
    """RFC 10022: how many messages a batch has, and which batches are wanted: the first and the last, or None."""

    size: int
    batches: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class CatUrl:
    """RFC 4469: a part of a CATENATE given by URL."""

    url: bytes


@dataclass(frozen=True, slots=True)
class CatText:
    """RFC 4469: a part of a CATENATE given as a literal: octets, or the sink that took them."""

    data: Any
    literal8: bool = False


@dataclass(frozen=True, slots=True)
class AppendMessage:
    """One message of APPEND: *data* is octets, or the ``Sink`` that a streamed literal went to.

    *date* is an aware datetime or None.  *catenate* replaces *data* for CATENATE.  *utf8* marks
    ``UTF8 (~{...})`` of RFC 6855.
    """

    data: Any
    flags: tuple[bytes, ...] = ()
    date: dt.datetime | None = None
    literal8: bool = False
    utf8: bool = False
    catenate: tuple[CatUrl | CatText, ...] | None = None


@dataclass(frozen=True, slots=True)
class Append(Command):
    """APPEND (RFC 3501 6.3.11); more than one message is MULTIAPPEND (RFC 3502)."""

    mailbox: bytes
    messages: tuple[AppendMessage, ...]


@dataclass(frozen=True, slots=True)
class Replace(Command):
    """RFC 8508: REPLACE or UID REPLACE one message; *number* is 0 for ``*``."""

    number: int
    mailbox: bytes
    message: AppendMessage
    uid: bool = False


@dataclass(frozen=True, slots=True)
class Idle(Command):
    """RFC 2177."""


@dataclass(frozen=True, slots=True)
class Compress(Command):
    """RFC 4978: the mechanism in capitals."""

    mechanism: bytes


@dataclass(frozen=True, slots=True)
class Unauthenticate(Command):
    """RFC 8437."""


@dataclass(frozen=True, slots=True)
class GetQuota(Command):
    """RFC 9208."""

    root: bytes


@dataclass(frozen=True, slots=True)
class GetQuotaRoot(Command):
    """RFC 9208."""

    mailbox: bytes


@dataclass(frozen=True, slots=True)
class SetQuota(Command):
    """RFC 9208: resource names in capitals with their limits."""

    root: bytes
    limits: tuple[tuple[bytes, int], ...]


@dataclass(frozen=True, slots=True)
class GetAcl(Command):
    """RFC 4314 3.3."""

    mailbox: bytes


@dataclass(frozen=True, slots=True)
class SetAcl(Command):
    """RFC 4314 3.1: *rights* as sent, with its leading + or -."""

    mailbox: bytes
    identifier: bytes
    rights: bytes


@dataclass(frozen=True, slots=True)
class DeleteAcl(Command):
    """RFC 4314 3.2."""

    mailbox: bytes
    identifier: bytes


@dataclass(frozen=True, slots=True)
class ListRights(Command):
    """RFC 4314 3.4."""

    mailbox: bytes
    identifier: bytes


@dataclass(frozen=True, slots=True)
class MyRights(Command):
    """RFC 4314 3.5."""

    mailbox: bytes


@dataclass(frozen=True, slots=True)
class GetMetadata(Command):
    """RFC 5464 4.2: *depth* is 0, 1 or -1 for infinity."""

    mailbox: bytes
    entries: tuple[bytes, ...]
    max_size: int | None = None
    depth: int = 0


@dataclass(frozen=True, slots=True)
class SetMetadata(Command):
    """RFC 5464 4.3: entry names with their new values; None deletes."""

    mailbox: bytes
    entries: tuple[tuple[bytes, bytes | None], ...]


@dataclass(frozen=True, slots=True)
class Language(Command):
    """RFC 5255 3.2: language ranges (RFC 4647 2.1), the one wanted most first."""

    ranges: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Comparator(Command):
    """RFC 5255 4.7."""

    comparators: tuple[bytes, ...]


# --- selected -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Check(Command):
    """check = "CHECK" """


@dataclass(frozen=True, slots=True)
class Close(Command):
    """close = "CLOSE" """


@dataclass(frozen=True, slots=True)
class Unselect(Command):
    """RFC 3691."""


@dataclass(frozen=True, slots=True)
class Expunge(Command):
    """EXPUNGE, or UID EXPUNGE (RFC 4315) when *uids* is given."""

    uids: NumberSet | None = None


@dataclass(frozen=True, slots=True)
class Copy(Command):
    """COPY, UID COPY; MOVE, UID MOVE (RFC 6851) when *move*."""

    numbers: NumberSet
    mailbox: bytes
    uid: bool = False
    move: bool = False


@dataclass(frozen=True, slots=True)
class Store(Command):
    """STORE: *action* is b"+", b"-" or b"" (replace); flags as sent."""

    numbers: NumberSet
    action: bytes
    flags: tuple[bytes, ...]
    silent: bool = False
    uid: bool = False
    unchanged_since: int | None = None


# FETCH


@dataclass(frozen=True, slots=True)
class Section:
    """The section between the brackets of BODY[...]: part numbers, then b"", b"HEADER",
    b"HEADER.FIELDS", b"HEADER.FIELDS.NOT", b"TEXT" or b"MIME"; field names as the client spelled them,
    since the answer must echo them.
    """

    part: tuple[int, ...] = ()
    kind: bytes = b""
    fields: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class FetchAtt:
    """An item without arguments, in capitals: ENVELOPE FLAGS INTERNALDATE RFC822.SIZE UID BODY
    BODYSTRUCTURE MODSEQ SAVEDATE EMAILID THREADID ...; macros are expanded by the parser.
    """

    name: bytes


@dataclass(frozen=True, slots=True)
class FetchBody:
    """BODY[section]<partial>, RFC822, RFC822.HEADER, RFC822.TEXT, BINARY[...] and BINARY.SIZE[...].

    *label* is the item's name in the answer up to and without ``<origin>``: b"BODY[1.TEXT]",
    b"RFC822.HEADER".  *partial* is (first octet, count).  RFC822 and RFC822.TEXT have ``peek`` False,
    RFC822.HEADER True (RFC 3501 6.4.5).
    """

    label: bytes
    section: Section
    partial: tuple[int, int] | None = None
    peek: bool = False
    binary: bool = False
    size_only: bool = False


@dataclass(frozen=True, slots=True)
class FetchPreview:
    """RFC 8970."""

    lazy: bool = False


FetchItem = FetchAtt | FetchBody | FetchPreview


@dataclass(frozen=True, slots=True)
class Fetch(Command):
    """FETCH, UID FETCH: items in the order asked, each once (RFC 3501 6.4.5, RFC 7162, RFC 9394).

    *partial* is RFC 9394's range as (first, last); negative numbers count from the end.
    """

    numbers: NumberSet
    items: tuple[FetchItem, ...]
    uid: bool = False
    changed_since: int | None = None
    vanished: bool = False
    partial: tuple[int, int] | None = None


# SEARCH


@dataclass(frozen=True, slots=True)
class ReturnOptions:
    """RFC 4731, 5182, 5267, 9394: the RETURN list of SEARCH, SORT; empty RETURN () has ALL.

    *update_items* are what RFC 5465 lets UPDATE ask for of new messages.
    """

    names: frozenset[bytes]
    partial: tuple[int, int] | None = None
    update_items: tuple[FetchItem, ...] = ()


@dataclass(frozen=True, slots=True)
class SearchSource:
    """RFC 7377: IN (...): *scope* in capitals (b"SELECTED", b"INBOXES", b"PERSONAL", b"SUBSCRIBED",
    b"SUBTREE", b"SUBTREE-ONE", b"MAILBOXES"), mailboxes for the last three."""

    scope: bytes
    mailboxes: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Search(Command):
    """SEARCH, UID SEARCH; ESEARCH when *sources* is given (RFC 7377).

    *returning* is None for the plain form, which answers ``* SEARCH``.
    """

    key: SearchKey
    uid: bool = False
    returning: ReturnOptions | None = None
    charset: bytes | None = None
    sources: tuple[SearchSource, ...] = ()


@dataclass(frozen=True, slots=True)
class Sort(Command):
    """SORT, UID SORT (RFC 5256, 5957, 5267): criteria as (name in capitals, reverse)."""

    criteria: tuple[tuple[bytes, bool], ...]
    key: SearchKey
    uid: bool = False
    charset: bytes | None = None
    returning: ReturnOptions | None = None


@dataclass(frozen=True, slots=True)
class Thread(Command):
    """THREAD, UID THREAD (RFC 5256): the algorithm in capitals."""

    algorithm: bytes
    key: SearchKey
    uid: bool = False
    charset: bytes | None = None


@dataclass(frozen=True, slots=True)
class CancelUpdate(Command):
    """RFC 5267 4.3.4."""

    tags: tuple[bytes, ...]


# URLAUTH


@dataclass(frozen=True, slots=True)
class GenUrlAuth(Command):
    """RFC 4467: URLs without a token, each with the mechanism, in capitals."""

    urls: tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class ResetKey(Command):
    """RFC 4467: without *mailbox* the keys of all; the mechanisms in capitals."""

    mailbox: bytes | None = None
    mechanisms: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class UrlFetch(Command):
    """RFC 4467: URLs with what is wanted of each, in capitals (RFC 5524); () for what RFC 4467 gives."""

    urls: tuple[tuple[bytes, tuple[bytes, ...]], ...] = field(repr=False)


# NOTIFY


@dataclass(frozen=True, slots=True)
class NotifyEvent:
    """RFC 5465 5: the event's name as in the RFC (b"MessageNew"), and its FETCH items."""

    name: bytes
    items: tuple[FetchItem, ...] = ()


@dataclass(frozen=True, slots=True)
class NotifyGroup:
    """RFC 5465 6: a filter (as SearchSource.scope; also b"SELECTED-DELAYED") with its events; () is NONE."""

    scope: bytes
    mailboxes: tuple[bytes, ...]
    events: tuple[NotifyEvent, ...]


@dataclass(frozen=True, slots=True)
class Notify(Command):
    """RFC 5465: None is NOTIFY NONE."""

    groups: tuple[NotifyGroup, ...] | None
    status: bool = False
