"""NOTIFY: news between commands, of the open mailbox and of others (RFC 5465).

What the client wants of the open mailbox is a matter of how ``updates`` moves its view on: what it does not want to
hear is held back there.  Of other mailboxes it is told figures (STATUS) and names (LIST), each when what it was told
last is no longer so; so that many changes are told as one, and nothing piles up however slowly the client reads.
"""

from __future__ import annotations

from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from maildir_imapd.errors import BadArgument, BadEvent, ImapdError, MailboxMissing, NotifyOverflow, StoreError
from maildir_imapd.imap.columns.items import plan_of
from maildir_imapd.imap.columns.plan import Plan
from maildir_imapd.imap.later import later
from maildir_imapd.imap.mailboxes.list import attributes
from maildir_imapd.imap.mailboxes.metadata import may_hear
from maildir_imapd.imap.mailboxes.rights import known_to, look_into, rights_of
from maildir_imapd.imap.mailboxes.status import figures
from maildir_imapd.imap.name_changes import NameChange, follow, steps
from maildir_imapd.imap.registry import LOGGED_IN, command
from maildir_imapd.imap.reply import Done
from maildir_imapd.store.names import Known
from maildir_imapd.wire import render
from maildir_imapd.wire.names import in_subtree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from maildir_imapd.imap.reply import Reply
    from maildir_imapd.imap.session import Session
    from maildir_imapd.store.branch import Branch
    from maildir_imapd.store.index.snapshot import Snapshot
    from maildir_imapd.store.mailbox import Mailbox
    from maildir_imapd.store.threads.listeners import Listener
    from maildir_imapd.wire import commands as ast

NEW: Final = b"MessageNew"
EXPUNGE: Final = b"MessageExpunge"
FLAGS: Final = b"FlagChange"
NAMES: Final = b"MailboxName"
SUBSCRIPTIONS: Final = b"SubscriptionChange"
METADATA: Final = b"MailboxMetadataChange"
SERVER_METADATA: Final = b"ServerMetadataChange"
# AnnotationChange is of RFC 5257, which is not here.
EVENTS: Final = (NEW, EXPUNGE, FLAGS, NAMES, SUBSCRIPTIONS, METADATA, SERVER_METADATA)
_MESSAGES: Final = frozenset((NEW, EXPUNGE, FLAGS, b"AnnotationChange"))
_SELECTED: Final = (b"SELECTED", b"SELECTED-DELAYED")

# Mailboxes that one session may have watched for messages: each is open, with a descriptor and four watches.
MAILBOXES_LIMIT: Final = 1000

# How closely a filter names what it means: NONE takes a mailbox from those that name it less closely.
_CLOSENESS: Final = {
    scope: n
    for n, scope in enumerate((b"MAILBOXES", b"SUBTREE-ONE", b"SUBTREE", b"SUBSCRIBED", b"INBOXES", b"PERSONAL"))
}

# No mailbox has so many unseen messages.
_UNKNOWN: Final = -1

# No folder is identified so.
_SOME_FOLDER: Final = (0, 0, 0)

_NOTHING: Final[frozenset[bytes]] = frozenset()


@command(b"NOTIFY", states=LOGGED_IN, announces=[b"NOTIFY"])
def notify(session: Session, cmd: ast.Notify, reply: Reply) -> Done:
    """Set what is told unasked (RFC 5465 3.1).  What has piled up for the open mailbox is told at the end."""
    wanted = Notifications(session, cmd.groups or ())
    wanted.begin(session, reply)
    session.stop_notify()
    session.notify = wanted
    if cmd.status:
        wanted.tell_status(session, reply)
    return Done("NOTIFY completed")


@dataclass(frozen=True, slots=True)
class EventGroup:
    """An event group for mailboxes other than the open one, its names decoded."""

    scope: bytes
    names: tuple[str, ...]
    events: frozenset[bytes]

    def means(self, name: str, subscribed: Iterable[str], delimiter: str, *, personal: bool = True) -> bool:
        """Whether the filter covers a mailbox of that name, existing or not (6.2 to 6.6; RFC 7377 2.2).

        *personal*: whether it is in one of the user's own namespaces.
        """
        match self.scope:
            case b"PERSONAL" | b"INBOXES":
                # Nobody knows where a delivery agent's rules put mail.
                return personal
            case b"SUBSCRIBED":
                return name in subscribed
            case b"SUBTREE" | b"SUBTREE-ONE":
                one = self.scope == b"SUBTREE-ONE"
                return any(in_subtree(name, root, delimiter, one=one) for root in self.names)
            case b"MAILBOXES":
                return name in self.names
            case _:
                raise AssertionError(self.scope)


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of a mailbox that the client has been told."""

    uidvalidity: int
    uidnext: int
    messages: int
    unseen: int
    modseq: int

    @staticmethod
    def of(snapshot: Snapshot) -> Figures:
        """The figures that there are to tell now."""
        return Figures(snapshot.uidvalidity, snapshot.uidnext, len(snapshot), snapshot.unseen, snapshot.modseq)


@dataclass(slots=True)
class WatchedMailbox:
    """A mailbox that is watched for messages.  *seen*: the moment that the client has been told of last."""

    mailbox: Mailbox
    listener: Listener
    seen: Snapshot | None = None


class Notifications:
    """Tells one session what it has asked to hear.

    *messages*, *flags*: of the open mailbox; *delayed*: EXPUNGE only with commands that allow it; *plan*: with what
    new messages are fetched.  ``updates`` goes by them.
    """

    def __init__(self, session: Session, groups: Sequence[ast.NotifyGroup]) -> None:
        self.messages = self.flags = self.delayed = False
        self.plan = Plan()
        self.groups: list[EventGroup] = []
        named = [event.name for group in groups for event in group.events]
        if any(name not in EVENTS for name in named):
            raise BadEvent(code=b"BADEVENT (%b)" % b" ".join(EVENTS))
        for group in groups:
            events = frozenset(event.name for event in group.events)
            if group.scope not in _SELECTED:
                names = tuple([session.lookup_name(name) for name in group.mailboxes])
                self.groups.append(EventGroup(group.scope, names, events))
                continue
            if events - _MESSAGES:
                raise BadArgument("message events only for the selected mailbox")
            self.messages, self.flags = NEW in events, FLAGS in events
            self.delayed = group.scope == b"SELECTED-DELAYED"
            for event in group.events:
                self.plan = self.plan.followed_by(plan_of(event.items, rev2=session.rev2))
        self._watched: dict[str, WatchedMailbox] = {}
        # What the client knows of mailboxes, by the names it knows; of one that is not here it knows that it is empty.
        self._told: dict[str, Figures] = {}
        # What ends the listening to names and to metadata; empty as long as there is none.
        self._stop: list[Callable[[], None]] = []
        # The last look at what there is, and what of it the user may see.
        self._looked = self._known = self._told_names = Known({}, frozenset(), frozenset(), 0, {})
        self._heard: dict[Branch, int] = {}
        self._without_access: set[str] = set()
        # Serials of this session's own changes of metadata.
        self.ours: set[int] = set()

    def begin(self, session: Session, reply: Reply) -> None:
        """Start to listen; raises NotifyOverflow when that is too much, StoreError, and then listens to nothing."""
        if not any(group.events for group in self.groups):
            return
        account = session.account
        with ExitStack() as undo:
            undo.callback(self.close)
            self._stop.append(account.names.listen(session.wake).close)
            self._looked = account.names.look()
            self._known = self._told_names = known_to(session, self._looked)
            self._stop.append(account.metadata.listen(session.wake).close)
            self._heard = account.metadata.latest()
            self._watch(session, reply)
            # The client knows what it wants to know of what there is (3.1).
            self._told = {name: Figures.of(watched.mailbox.snapshot) for name, watched in self._watched.items()}
            undo.pop_all()

    def close(self) -> None:
        """Listen no longer."""
        with ExitStack() as stops:
            for watched in self._watched.values():
                stops.callback(watched.listener.close)
            for stop in self._stop:
                stops.callback(stop)
            self._watched.clear()
            self._stop.clear()

    @property
    def mailboxes(self) -> list[Mailbox]:
        """Those that are watched for messages."""
        return [watched.mailbox for watched in self._watched.values()]

    def events(self, session: Session, name: str, known: Known | None = None) -> frozenset[bytes]:
        """Return the events that the client wants to hear of a mailbox that is not open."""
        subscribed = (known or self._known).subscribed
        delimiter = session.account.delimiter
        personal = session.account.is_personal(name)
        meant = [group for group in self.groups if group.means(name, subscribed, delimiter, personal=personal)]
        limit = min((_CLOSENESS[group.scope] for group in meant if not group.events), default=len(_CLOSENESS))
        return _NOTHING.union(*(group.events for group in meant if _CLOSENESS[group.scope] <= limit))

    # --- messages in other mailboxes ---------------------------------------------------------------

    def _watch(self, session: Session, reply: Reply) -> None:
        """Watch those mailboxes whose messages matter now, and no others."""
        wanted = [name for name in self._known.mailboxes if self.events(session, name) & _MESSAGES]
        if len(wanted) > MAILBOXES_LIMIT:
            raise NotifyOverflow
        for name in sorted(set(self._watched) - set(wanted)):
            self._watched.pop(name).listener.close()
            if name in self._looked.mailboxes and name not in self._known.mailboxes:
                self._no_access(session, reply, name)
        for n, name in enumerate(wanted):
            old = self._watched.get(name)
            if old is not None and not old.mailbox.gone:
                if name in self._looked.rights and not self._may_read(session, reply, name):
                    self._watched.pop(name).listener.close()
                continue
            session.progress.report(n, len(wanted))
            if old is not None:
                self._watched.pop(name).listener.close()
            try:
                mailbox = _look(session, name)
                self._watched[name] = WatchedMailbox(mailbox, mailbox.listen(session.wake, keep_new=True))
            except MailboxMissing:
                continue  # it has gone in the meantime, or nobody here may know of it
            except ImapdError as error:
                session.note("notify-failed", mailbox=name, why=error.text, detail=error.detail)
                # 3.1: there, and not to be read.
                self._no_access(session, reply, name)
                continue
            if name in self._without_access:
                self._access(session, reply, name)

    def tell_status(self, session: Session, reply: Reply) -> None:
        """Say how the watched mailboxes are now, for SET STATUS (3.1)."""
        for name, watched in self._watched.items():
            if session.view is not None and session.view.mailbox is watched.mailbox:
                continue
            snapshot = watched.mailbox.snapshot
            items = [b"MESSAGES", b"UIDNEXT", b"UIDVALIDITY"]
            if FLAGS in self.events(session, name):
                items.append(b"HIGHESTMODSEQ")
            self._write_status(session, reply, name, watched, snapshot, items)

    def _tell_messages(self, session: Session, reply: Reply) -> None:
        view = session.view
        for name, watched in self._watched.items():
            if view is not None and view.mailbox is watched.mailbox:
                # The selected mailbox has its own rules; what it was told there is known once it is left.
                told = replace(Figures.of(view.snapshot), modseq=view.safe_modseq)
                if not self.flags and name in self._told:
                    told = replace(told, unseen=self._told[name].unseen)
                self._told[name] = told
                watched.seen = None
                continue
            snapshot = _now(watched.mailbox)
            if snapshot is not watched.seen and self._may_read(session, reply, name):
                items = self._news(session, name, self._told.get(name), Figures.of(snapshot))
                self._write_status(session, reply, name, watched, snapshot, items)

    def _may_read(self, session: Session, reply: Reply, name: str) -> bool:
        """Whether there are still the rights to hear of a mailbox, and say so when that has changed (5, 5.9)."""
        try:
            rights = rights_of(session, name)
        except StoreError:
            rights = None
        may = rights is not None and rights.issuperset("lr")
        if may and name in self._without_access:
            self._access(session, reply, name)
        elif not may:
            self._no_access(session, reply, name)
        return may

    def _no_access(self, session: Session, reply: Reply, name: str) -> None:
        """Say once that a mailbox which was there for the client cannot be read now (3.1, 5.9).

        Whoever hears of names has heard of one that he may not even see that it is not there (5.4).
        """
        told = name not in self._known.mailboxes and NAMES in self.events(session, name)
        if not told and name not in self._without_access:
            self._without_access.add(name)
            reply.write(_list_line(session, name, [b"\\NoAccess"]))

    def _access(self, session: Session, reply: Reply, name: str) -> None:
        """Say that what was lost has come back (5.9)."""
        self._without_access.remove(name)
        reply.write(_list_line(session, name, attributes(session, [name])[name]))

    def _news(self, session: Session, name: str, old: Figures | None, new: Figures) -> list[bytes]:
        """Which items of STATUS say what has changed (5.1, 5.2, 5.3)."""
        events = self.events(session, name)
        condstore = b"CONDSTORE" in session.enabled
        if old is None:
            # A mailbox that has just come, or comes to matter; what it has is new.
            old = Figures(new.uidvalidity, 1, 0, 0 if new.uidnext == 1 else _UNKNOWN, new.modseq)
        other = new.uidvalidity != old.uidvalidity
        counts = other or (new.messages, new.uidnext) != (old.messages, old.uidnext)
        flagged = FLAGS in events and new.modseq != old.modseq
        items = []
        if counts and NEW in events:
            items += [b"MESSAGES", b"UIDNEXT"]
        if other or (flagged and condstore):
            items.append(b"UIDVALIDITY")
        if FLAGS in events and new.unseen != old.unseen:
            items.append(b"UNSEEN")
        if condstore and (counts or flagged):
            items.append(b"HIGHESTMODSEQ")
        return items

    def _write_status(
        self,
        session: Session,
        reply: Reply,
        name: str,
        watched: WatchedMailbox,
        snapshot: Snapshot,
        items: Sequence[bytes],
    ) -> None:
        told, old = Figures.of(snapshot), self._told.get(name)
        if FLAGS not in self.events(session, name):
            # It may come to where flags matter, by a RENAME or a subscription: then these are news.
            told = replace(told, unseen=old.unseen if old else 0, modseq=old.modseq if old else 0)
        self._told[name] = told
        watched.seen = snapshot
        if items:
            values = figures(session, name, watched.mailbox, snapshot, items)
            reply.write(render.status_line(session.spell(name), values, utf8=session.utf8))

    def note_messages(self, mailbox: Mailbox, made: int) -> None:
        """Note that this session has put *made* messages somewhere: if that is all that is new, it is none (5)."""
        for name, watched in self._watched.items():
            old = self._told.get(name)
            if watched.mailbox is mailbox and old is not None:
                new = Figures.of(mailbox.snapshot)
                alike = (new.messages, new.uidnext) == (old.messages + made, old.uidnext + made)
                if alike and new.modseq == old.modseq + 1:
                    self._told[name] = new
                else:
                    # Others have done something too, and how many are unseen the client cannot know.
                    uidnext, messages = (new.uidnext, new.messages) if alike else (old.uidnext, old.messages)
                    self._told[name] = replace(old, uidnext=uidnext, messages=messages, unseen=_UNKNOWN)

    # --- names --------------------------------------------------------------------------------------

    def note_names(self, session: Session, changes: Iterable[NameChange]) -> None:
        """Note that this session has itself done what *changes* would say (5)."""
        if not self._stop:
            return
        delimiter = session.account.delimiter
        mailboxes = dict(self._told_names.mailboxes)
        now = known_to(session, session.account.names.look()).mailboxes
        for change in changes:
            follow(change, mailboxes, delimiter)
            follow(change, self._told, delimiter)
            if change.old is None and not change.gone and change.name not in mailboxes and change.name in now:
                mailboxes[change.name] = now[change.name]
        self._told_names = replace(self._told_names, mailboxes=mailboxes)

    def note_subscription(self, session: Session, name: str) -> None:
        """Note that this session has itself subscribed a name, or taken that back (5)."""
        if self._stop:
            now = known_to(session, session.account.names.look()).subscribed
            self._told_names = replace(
                self._told_names, subscribed=(self._told_names.subscribed - {name}) | (now & {name})
            )

    def _tell_names(self, session: Session, reply: Reply) -> None:
        old, new = self._told_names, self._known
        if (old.mailboxes, old.subscribed) == (new.mailboxes, new.subscribed):
            self._told_names = new
            return
        delimiter = session.account.delimiter

        def wants(event: bytes, name: str) -> bool:
            return event in self.events(session, name, old) or event in self.events(session, name, new)

        changes = steps(old.mailboxes, new.mailboxes, lambda name: wants(NAMES, name), delimiter)
        named = {change.name for change in changes}
        affected = []
        for change in changes:
            affected.append(change)
            if change.old is None:
                parent = change.name.rpartition(delimiter)[0]
                if parent and parent not in named and wants(NAMES, parent):
                    affected.append(NameChange(parent))
                    named.add(parent)
        affected += [
            NameChange(name)
            for name in sorted(old.subscribed ^ new.subscribed)
            if name not in named and wants(SUBSCRIPTIONS, name)
        ]
        # The last thing that may fail: until here the client has been told nothing.
        found = attributes(session, {change.name for change in affected})
        for change in changes:
            follow(change, self._told, delimiter)
        # Not what is there but what the client believes: of names that it does not ask for it has heard nothing.
        believed = dict(old.mailboxes)
        for change in affected:
            follow(change, believed, delimiter)
            if not change.gone and change.name in new.mailboxes:
                believed[change.name] = new.mailboxes[change.name]
            words = found[change.name]
            if change.gone and b"\\NonExistent" not in words:
                # It has come again: that is in another line.
                words = [b"\\NonExistent", *words]
            elif b"\\NonExistent" in words:
                # It has gone again since the look: so the client hears, and so it is.
                believed.pop(change.name, None)
                self._told.pop(change.name, None)
            else:
                # A parent may have come since the look: so the client hears, and the next look says which it is.
                believed.setdefault(change.name, _SOME_FOLDER)
            reply.write(_list_line(session, change.name, words, change.old))
        self._told_names = replace(new, mailboxes=believed)

    def _tell_metadata(self, session: Session, reply: Reply) -> None:
        heard, changed = session.account.metadata.changes(self._heard, ours=self.ours)
        lines = []
        for mailbox, entries in changed.items():
            if mailbox:
                wanted = METADATA in self.events(session, mailbox) and may_hear(session, mailbox)
            else:
                wanted = any(SERVER_METADATA in group.events for group in self.groups)
            if wanted:
                lines.append(render.metadata_changed_line(session.spell(mailbox), entries, utf8=session.utf8))
        self._heard = heard
        self.ours.clear()
        reply.extend(lines)

    # --- all of it ----------------------------------------------------------------------------------

    def tell(self, session: Session, reply: Reply) -> None:
        """Say what has happened elsewhere since the client was told last.

        Mailboxes may have come that are too many to be watched: then the client hears of that, and of nothing more
        (5.8).
        """
        if not self._stop:
            return
        known = session.account.names.known
        if known is not self._looked or any(watched.mailbox.gone for watched in self._watched.values()):
            self._known = known_to(session, known)
            self._without_access &= known.mailboxes.keys()
            self._tell_names(session, reply)
            self._looked = known
            try:
                self._watch(session, reply)
            except NotifyOverflow:
                session.stop_notify()
                session.notify = Notifications(session, ())
                session.say(reply, b"OK", "Too many mailboxes to watch", b"NOTIFICATIONOVERFLOW")
                return
        self._tell_messages(session, reply)
        self._tell_metadata(session, reply)


def _now(mailbox: Mailbox) -> Snapshot:
    """Return what a watched mailbox has now; one that cannot be looked at is as it was."""
    if mailbox.stirred:
        with suppress(MailboxMissing), later("other mailboxes"):
            mailbox.sync(keep_new=True)
    return mailbox.snapshot


def _look(session: Session, name: str) -> Mailbox:
    """Open a mailbox and look at it; raises as ``open_mailbox`` does, and StoreError."""
    return look_into(session, name, "l", "r", look=lambda mailbox, _: (mailbox.sync(keep_new=True), mailbox)[1])


def _list_line(session: Session, name: str, words: Sequence[bytes], before: str | None = None) -> bytes:
    return render.list_line(
        b"LIST",
        words,
        session.account.delimiter.encode(),
        session.spell(name),
        old_name=None if before is None else session.spell(before),
        utf8=session.utf8,
    )
