"""APPEND: messages that stream into the target's tmp/ while they arrive."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Final

from maildir_imapd.errors import (
    BadArgument,
    BadMessage,
    ExpungeIssued,
    LimitReached,
    LockTimeout,
    MailboxMissing,
    NeedsUtf8,
    NoPermission,
    NotSelectable,
    ReadOnly,
    TooBig,
    TooLong,
    TryCreate,
    UnknownCte,
)
from maildir_imapd.imap.columns.attached import keywords_of
from maildir_imapd.imap.mailboxes import rights
from maildir_imapd.imap.news import updates
from maildir_imapd.imap.registry import LOGGED_IN, command
from maildir_imapd.imap.reply import Done
from maildir_imapd.imap.search import limit
from maildir_imapd.imap.selected import catenate
from maildir_imapd.imap.selected.store_flags import check_flags
from maildir_imapd.imap.session import State
from maildir_imapd.message.binary import without_binary
from maildir_imapd.message.lines import to_crlf
from maildir_imapd.phrases import Phrase
from maildir_imapd.store.maildir.delivery import Delivery
from maildir_imapd.store.records.quota import NOTHING, Amount
from maildir_imapd.wire.numbers import STAR
from maildir_imapd.wire.parse_append import Role
from maildir_imapd.wire.render import appenduid_code

if TYPE_CHECKING:
    from collections.abc import Sequence

    from maildir_imapd.imap.reply import Reply
    from maildir_imapd.imap.session import Session
    from maildir_imapd.store.mailbox import Given, Mailbox
    from maildir_imapd.store.maildir.flags import Flags
    from maildir_imapd.store.records.quota import Quota
    from maildir_imapd.wire.commands import Append, AppendMessage, Replace
    from maildir_imapd.wire.parse_append import AppendStart


# How often a mailbox may go and come again while something is put into it.
TRIES: Final = 3
# A message with binary parts is held as it came, with CRLF, and in base64 in rows and joined.
ENCODED_TIMES: Final = 6


def target(session: Session, raw: bytes) -> Mailbox:
    """The mailbox that APPEND, COPY or MOVE names; raises NoPermission where nothing may be put.

    TRYCREATE when CREATE would make it (RFC 3501 6.3.11, 6.4.7): mutt does so then and tries again.  For one that is
    there, only not for as long as it takes to open it, the answer is never that: raises LockTimeout.
    """
    name = session.mailbox_name(raw)
    for _ in range(TRIES):
        try:
            return rights.open_mailbox(session, name, "i")
        except (MailboxMissing, NotSelectable) as error:
            session.account.check_name(name)
            if not _is_there(session, name):
                raise TryCreate from error
    raise in_use()


def _is_there(session: Session, name: str) -> bool:
    """Whether there is a mailbox of that name now, as far as the user may know."""
    try:
        session.account.folder_of(name)
    except (MailboxMissing, NotSelectable):
        return False
    granted = rights.rights_of(session, name)
    return granted is None or "l" in granted


def begin(session: Session, start: AppendStart, size: int) -> Delivery | None:
    """Decide about a literal of APPEND before its octets are sent: where it goes, or why not.

    None for a literal that is only an argument (a mailbox name).
    """
    if start.role is Role.MAILBOX:
        if size > session.buffer.limits.literal:
            raise TooLong("A mailbox name may have {limit} octets here", limit=session.buffer.limits.literal)
        return None
    if start.role is Role.URL:
        if size > session.buffer.limits.literal:
            raise TooLong("A URL may have {limit} octets here", limit=session.buffer.limits.literal)
        return None
    if size > session.policy.append_limit:
        raise TooBig(limit=session.policy.append_limit)
    freed = NOTHING
    if start.number is not None:
        freed = _freed(session, start.mailbox, _replaced(session, start.number, uid=start.uid))
    # What was found for the first literal of a command is looked at again when all of them are there.
    mailbox = session.filled if session.deliveries and session.filled is not None else target(session, start.mailbox)
    if session.deliveries:
        # It is whole.  A command has room for more than there are descriptors, and for too many to add up each time.
        session.deliveries[-1].close()
        session.delivered += session.deliveries[-1].size_disk
    quota = _quota(session, start.mailbox)
    if not session.deliveries or quota.on:
        _demand_room(quota, mailbox, session.delivered + size, start.index + 1, freed)
    for _ in range(TRIES):
        try:
            delivery = mailbox.deliver()
        except MailboxMissing:
            delivery = None
        if delivery is not None and (delivery.trouble is None or mailbox.stands()):
            if start.role is Role.MESSAGE:
                delivery.binary = start.literal8
                delivery.received = _received(session, start.message)
            session.deliveries.append(delivery)
            session.filled = mailbox
            return delivery
        # It went while we looked: another one has the name, or none.
        mailbox = target(session, start.mailbox)
    raise in_use()


def _received(session: Session, message: AppendMessage | None) -> int:
    """Return the date that a message asks for; without one it is now."""
    asked = None if message is None else message.date
    return int(session.clock() if asked is None else asked.timestamp())


def _announced(session: Session) -> list[bytes]:
    names = [b"MULTIAPPEND", b"CATENATE", b"APPENDLIMIT=%d" % session.policy.append_limit]
    return names if session.policy.utf8 == "no" else [*names, b"UTF8=ACCEPT"]


@command(b"APPEND", states=LOGGED_IN, changes=True, literal=begin, announces=_announced, impersonal=True)
def append(session: Session, cmd: Append, reply: Reply) -> Done:
    """Put messages into a mailbox, all or none (RFC 3501 6.3.11, RFC 3502); OK when they are on disk."""
    limit.demand_saved(session, None, len(cmd.messages))
    stored = commit(session, cmd.mailbox, cmd.messages)
    return Done("APPEND completed", appenduid_code(stored.uidvalidity, stored) if stored.known else None)


@command(
    b"REPLACE",
    b"UID REPLACE",
    states=State.SELECTED,
    changes=True,
    takes_numbers=True,
    literal=begin,
    announces=[b"REPLACE"],
)
def replace(session: Session, cmd: Replace, reply: Reply) -> Done:
    """Put a message in the place of another (RFC 8508): it is on disk before the old one goes.

    Where that is gone already the new one is stored all the same, as APPEND and UID EXPUNGE would do (3.4): it is
    perhaps the only copy of a draft.
    """
    view = session.selected
    if view.read_only:
        raise ReadOnly
    if not view.rights >= rights.REMOVING:
        raise NoPermission
    old = _replaced(session, cmd.number, uid=cmd.uid)
    stored = commit(session, cmd.mailbox, (cmd.message,), _freed(session, cmd.mailbox, old))
    code = appenduid_code(stored.uidvalidity, stored) if stored.known else None
    session.say(reply, b"OK", "Replacement is stored", code)
    removed = view.mailbox.expunge(old, under=view.snapshot.uidvalidity)
    if not removed:
        return Done("Stored; the message in whose place it was to go is gone already", ExpungeIssued.code)
    session.note_own(view.mailbox, removed=removed)
    return Done("REPLACE completed", updates.code_after_expunge(session, reply))


def _replaced(session: Session, number: int, *, uid: bool) -> list[int]:
    """The UID of the message that REPLACE names; none for one that is gone.  Raises BadArgument."""
    view = session.selected
    snapshot = view.snapshot
    if number == STAR:
        position = len(snapshot) - 1
    else:
        position = snapshot.position(number) if uid else number - 1
    if not 0 <= position < len(snapshot):
        if uid and number != STAR:
            return []
        raise BadArgument(Phrase("a sequence number up to {count}", count=len(snapshot)))
    found = snapshot.uids[position]
    return [] if view.is_ghost(found) else [found]


def _freed(session: Session, raw: bytes, uids: list[int]) -> Amount:
    """Return the room that REPLACE gives back: only the difference counts against the quota (RFC 8508 3.4).

    Of the mailbox named *raw*, which may be somebody else's: then none.
    """
    view, quota = session.selected, _quota(session, raw)
    if session.account.demanded(view.name).branch.account.quota is not quota:
        return NOTHING
    counts = uids and quota.look() and quota.counts(view.mailbox.lies_at, 0)
    return view.mailbox.amount(uids) if counts else NOTHING


def _flags(session: Session, mailbox: Mailbox, given: Sequence[bytes], delivery: Delivery) -> Flags:
    """Return the flags of a message: those of the client, and whether it has attachments, where that is kept."""
    flags = mailbox.flags(given, create=True)
    if not session.policy.attachment_keywords:
        return flags
    try:
        return flags | mailbox.flags(keywords_of(delivery, given), create=True)
    except LimitReached:
        # That many keywords are the user's, and no reason to refuse a message.
        return flags


def _quota(session: Session, raw: bytes) -> Quota:
    """Return the quota that the mailbox of that name counts for."""
    return session.account.demanded(session.mailbox_name(raw)).branch.account.quota


def _demand_room(quota: Quota, mailbox: Mailbox, size: int, messages: int, freed: Amount) -> None:
    """Raise OverQuota when there is no room in the mailbox for so many octets and *messages* more."""
    if quota.look():
        quota.demand(Amount(size - freed.storage, messages - freed.messages), mailbox.lies_at)


def commit(session: Session, raw: bytes, messages: tuple[AppendMessage, ...], freed: Amount = NOTHING) -> Given[int]:
    """Put messages that have streamed in into the mailbox of that name, all or none; returns their UIDs.

    It is the mailbox that has the name now, be it that it was deleted and made anew while they came; raises TryCreate
    where there is none. LockTimeout: it goes faster than anything can be put into it, or took one of several messages
    along, of which only the last has its file open.
    """
    for _ in range(TRIES):
        mailbox = target(session, raw)
        try:
            stored = mailbox.commit(_prepared(session, raw, mailbox, messages, freed))
        except MailboxMissing:
            continue
        if stored.known:
            session.note_own(mailbox, made=stored)
        branch, inner = session.account.demanded(session.mailbox_name(raw))
        branch.account.moves.note("APPEND", "", inner, mailbox.lies_at, stored.uidvalidity, stored)
        session.tally.appended += len(stored)
        session.drop_deliveries()
        return stored
    raise in_use()


def in_use() -> LockTimeout:
    """Return the error for a mailbox that somebody deletes and makes anew while something is put into it."""
    return LockTimeout(detail=f"deleted and made anew meanwhile, tried {TRIES} times")


def _encoded(session: Session, mailbox: Mailbox, raw: Delivery, raw_from: int) -> Delivery:
    """Return a delivery of what *raw* has taken, whose binary parts are base64 now; raises StoreError, NoMemory."""
    with closing(session.progress.share(ENCODED_TIMES * raw.size_disk)), closing(raw.pieces()) as pieces:
        kept = b"".join(pieces)
        delivery = mailbox.deliver()
        delivery.write(without_binary(to_crlf(kept[:raw_from]) + kept[raw_from:]))
        delivery.finish()
    return delivery


def _prepared(
    session: Session, raw: bytes, mailbox: Mailbox, messages: tuple[AppendMessage, ...], freed: Amount
) -> list[tuple[Delivery, Flags, int]]:
    """Make of messages the arguments of ``Mailbox.commit``; raises whatever speaks against one of them."""
    batch = []
    catenate.demand_few(messages)
    granted = rights.rights_in(session, session.mailbox_name(raw), mailbox)
    for message in messages:
        if message.catenate:
            delivery = catenate.assemble(session, mailbox, message.catenate)
        elif isinstance(message.data, Delivery):
            if message.data.raw_from is None:
                delivery = mailbox.taking(message.data)
            else:
                delivery = _encoded(session, mailbox, message.data, message.data.raw_from)
            if delivery is not message.data:
                session.deliveries.append(delivery)
        else:
            raise BadMessage(why="it must come as a literal")
        if delivery.size_crlf == 0 and delivery.trouble is None:
            raise BadMessage(why="it is empty")
        if delivery.has_nul:
            if message.literal8:
                # RFC 3516 4.4: a Maildir of text lines is no place for it, and nothing says how it could be encoded.
                raise UnknownCte("Messages with NUL octets outside of a binary part cannot be stored")
            raise BadMessage(why="it holds a NUL octet")
        if session.policy.utf8 == "strict" and not session.utf8 and delivery.has_utf8_header():
            raise NeedsUtf8
        check_flags(message.flags)
        flags = _flags(session, mailbox, rights.settable(granted, message.flags), delivery)
        received = delivery.received
        if received is None:
            received = _received(session, message)
        batch.append((delivery, flags, received))
    octets = sum(delivery.size_disk for delivery, *_ in batch)
    _demand_room(_quota(session, raw), mailbox, octets, len(batch), freed)
    return batch
