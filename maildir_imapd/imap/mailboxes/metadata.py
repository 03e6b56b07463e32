"""GETMETADATA and SETMETADATA, and telling what others have set (RFC 5464)."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from maildir_imapd.errors import (
    AnnotationTooBig,
    BadArgument,
    ImapdError,
    MailboxMissing,
    NoPermission,
    UseAttribute,
)
from maildir_imapd.imap.mailboxes import filters
from maildir_imapd.imap.mailboxes.rights import demand, is_own, is_parent, name_there, rights_of
from maildir_imapd.imap.registry import LOGGED_IN, command
from maildir_imapd.imap.reply import Done
from maildir_imapd.phrases import Phrase
from maildir_imapd.store.records.metadata import VALUE_LIMIT_OCTETS, Entries
from maildir_imapd.store.records.special_use import ENTRY, SPELLED
from maildir_imapd.wire import render

if TYPE_CHECKING:
    from collections.abc import Iterable

    from maildir_imapd.imap.reply import Reply
    from maildir_imapd.imap.session import Session
    from maildir_imapd.wire.commands import GetMetadata, SetMetadata

SERVER: Final = ""
# RFC 5464 3.3: "l" and any of these.
ACCESS: Final = frozenset("rswip")


@command(b"GETMETADATA", states=LOGGED_IN)
def getmetadata(session: Session, cmd: GetMetadata, reply: Reply) -> Done:
    """Tell annotations (RFC 5464 4.2).  An entry that was named and has no value is NIL, as other servers have it."""
    for entry in cmd.entries:
        check_entry(entry, shortest=1)
    mailbox = _mailbox(session, cmd.mailbox)
    entries = all_entries(session, mailbox)
    found: dict[bytes, tuple[bytes, bytes | None]] = {}
    longest = 0
    for entry, value in _chosen(entries, cmd.entries, cmd.depth):
        if value is not None and cmd.max_size is not None and len(value) > cmd.max_size:
            longest = max(longest, len(value))
        else:
            found.setdefault(entry.lower(), (entry, value))
    if found:
        reply.write(render.metadata_line(session.spell(mailbox), found.values(), utf8=session.utf8))
    return Done("GETMETADATA completed", b"METADATA LONGENTRIES %d" % longest if longest else None)


def too_big(session: Session) -> AnnotationTooBig:
    """Return the answer to a value that is not even read (RFC 5464 4.3)."""
    return AnnotationTooBig(code=b"METADATA MAXSIZE %d" % min(VALUE_LIMIT_OCTETS, session.buffer.limits.literal))


@command(b"SETMETADATA", states=LOGGED_IN, changes=True, announces=[b"METADATA", b"FILTERS"], oversize=too_big)
def setmetadata(session: Session, cmd: SetMetadata, reply: Reply) -> Done:
    """Set annotations (RFC 5464 4.3): all of the values or none."""
    for entry, _ in cmd.entries:
        check_entry(entry, shortest=2)
    mailbox = _mailbox(session, cmd.mailbox)
    values = []
    uses: tuple[bytes, ...] | None = None
    for entry, value in cmd.entries:
        name = entry.lower()
        if mailbox == SERVER:
            filters.check(entry, value)
        if mailbox == SERVER and not name.startswith(b"/private/"):
            # RFC 5464 3.3: what all users see is the administrator's to say.
            raise NoPermission("Only the administrator sets what all users see")
        if mailbox != SERVER and name == ENTRY:
            uses = _special_uses(session, mailbox, value or b"")
        else:
            values.append((entry, value))
    account = session.account
    before = account.special_use().get(name_there(session, mailbox), ())
    ours = []
    if uses is not None:
        ours.append(account.set_special_use(mailbox, uses))
    try:
        ours += account.metadata.change(mailbox, values)
    except ImapdError:
        if uses is not None:
            account.set_special_use(mailbox, before)
        raise
    note_own(session, *ours)
    session.note("setmetadata", mailbox=mailbox, entries=len(cmd.entries))
    return Done("SETMETADATA completed")


def note_own(session: Session, *serials: int) -> None:
    """Note changes of metadata that this session made itself: of them it need not hear (RFC 5464 4.1, RFC 5465 5)."""
    for listening in (session.following, session.notify):
        if listening is not None:
            listening.ours.update(serials)


def all_entries(session: Session, mailbox: str) -> Entries:
    """Every entry with a value, also those that are kept elsewhere; "" is the server."""
    entries = session.account.metadata.entries(mailbox)
    if mailbox == SERVER:
        for entry, value in session.policy.server_metadata:
            entries.put(entry, value)
    else:
        uses = session.account.special_use().get(name_there(session, mailbox))
        if uses:
            # RFC 6154 4: as LIST shows them.
            entries.put(ENTRY, b" ".join(uses))
    return entries


def check_entry(entry: bytes, *, shortest: int) -> None:
    """Raise BadArgument for a name that RFC 5464 3.2 does not allow; *shortest* is in components.

    The rest of that section's rules are in the grammar.
    """
    first, *rest = entry.lower()[1:].split(b"/")
    if first not in (b"private", b"shared"):
        raise BadArgument("an entry below /private or /shared")
    if rest[:1] == [b"vendor"] and shortest > 1:
        shortest = 4
    if len(rest) + 1 < shortest:
        raise BadArgument(Phrase("an entry of at least {count} components", count=shortest))


def _mailbox(session: Session, raw: bytes) -> str:
    """The mailbox that is meant, which must exist, or may be only a parent; "" is the server."""
    if not raw:
        return SERVER
    name = session.lookup_name(raw)
    _demand_access(session, name)
    return name


def _demand_access(session: Session, name: str) -> None:
    """Raise NoPermission where the user may not see a mailbox's annotations, MailboxMissing where there is none."""
    rights = rights_of(session, name)
    if rights is None:
        if not is_parent(session, name):
            raise MailboxMissing
    elif not demand(session, name, "l") & ACCESS:
        raise NoPermission


def metadata_of(session: Session, mailbox: str, names: Iterable[bytes]) -> bytes:
    """Render the METADATA response of a mailbox as GETMETADATA does; raises as ``_demand_access``."""
    _demand_access(session, mailbox)
    entries = all_entries(session, mailbox)
    found: dict[bytes, tuple[bytes, bytes | None]] = {}
    for entry, value in _chosen(entries, names, 0):
        found.setdefault(entry.lower(), (entry, value))
    return render.metadata_line(session.spell(mailbox), found.values(), utf8=session.utf8)


def may_hear(session: Session, mailbox: str) -> bool:
    """Whether there is a mailbox of that name whose annotations the user may get."""
    rights = rights_of(session, mailbox)
    if rights is None:
        return is_parent(session, mailbox)
    return "l" in rights and bool(rights & ACCESS)


def _chosen(entries: Entries, names: Iterable[bytes], depth: int) -> Iterable[tuple[bytes, bytes | None]]:
    """The entries asked for, with those up to *depth* levels below (-1: all)."""
    for name in names:
        value = entries.value(name)
        if value is not None or depth == 0:
            yield name, value
        if depth:
            prefix = name.lower() + b"/"
            for key in sorted(entries):
                if key.startswith(prefix) and (depth < 0 or b"/" not in key[len(prefix) :]):
                    yield entries[key]


def _special_uses(session: Session, mailbox: str, value: bytes) -> tuple[bytes, ...]:
    """Check special uses as CREATE does (RFC 6154 4); raises UseAttribute."""
    words = value.split()
    try:
        uses = tuple(dict.fromkeys(SPELLED[word.lower()] for word in words))
    except KeyError:
        raise UseAttribute from None
    folder = {folder.name: folder for folder in session.account.folders()}.get(mailbox)
    if uses and (mailbox == "INBOX" or folder is None or not folder.selectable or not is_own(session, mailbox)):
        raise UseAttribute
    return uses


class AnnotationNews:
    """Keeps what one session has heard of metadata, once it asked to hear (RFC 5464 4.1, ENABLE)."""

    __slots__ = ("_close", "_heard", "_metadata", "ours")

    def __init__(self, session: Session) -> None:
        self._metadata = session.account.metadata
        # Of what other processes do, too.
        names = session.account.names
        with ExitStack() as undo:
            self._close = names.listen(session.wake).close
            undo.callback(self._close)
            names.look()
            self._heard = self._metadata.latest()
            undo.pop_all()
        # Serials of this session's own changes, which it need not hear of.
        self.ours: set[int] = set()

    def tell(self, session: Session, reply: Reply) -> None:
        """Name the entries that others have changed, without their values (RFC 5464 4.4.2)."""
        heard, changed = self._metadata.changes(self._heard, ours=self.ours)
        lines = [
            render.metadata_changed_line(session.spell(mailbox), entries, utf8=session.utf8)
            for mailbox, entries in changed.items()
            if mailbox == SERVER or may_hear(session, mailbox)
        ]
        self._heard = heard
        self.ours.clear()
        reply.extend(lines)

    def close(self) -> None:
        """Do not wake the session any more."""
        self._close()
