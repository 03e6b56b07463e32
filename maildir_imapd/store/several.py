"""Several accounts as one: which mailboxes they have, and the annotations of all of these."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from operator import is_
from typing import TYPE_CHECKING

from maildir_imapd.errors import ImapdError, MailboxMissing, StoreError
from maildir_imapd.events import Log
from maildir_imapd.store.branch import Located
from maildir_imapd.store.names import Known
from maildir_imapd.store.records.acl import NO_FILE
from maildir_imapd.store.records.metadata import Entries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence, Set

    from maildir_imapd.store.branch import Branch
    from maildir_imapd.store.records.acl import Acl
    from maildir_imapd.store.threads.listeners import Listener

log = Log(__name__)

SHARED = b"/shared/"


class SeveralNames:
    """As ``Names``, of all *branches*, by the names that clients see; of one session, whose thread alone asks.

    Whose it is not to see is among it: each mailbox of a branch that is not the user's own has its list of rights in
    ``Known.rights``, an empty one where there is none.  *listen*: as of ``Namespaces``.
    """

    def __init__(
        self,
        branches: Callable[[], tuple[Branch, ...]],
        delimiter: str,
        listen: Callable[[Callable[[], None]], Callable[[], None]] | None = None,
    ) -> None:
        self._branches = branches
        self._delimiter = delimiter
        self._listen = listen
        self._listening: list[SeveralListener] = []
        # Of each branch what was seen last, for one that cannot be looked at just now; and what was made of all.
        self._last: dict[Branch, Known] = {}
        self._joined: tuple[tuple[Known, ...], Known] | None = None

    @property
    def known(self) -> Known:
        """As ``Names.known``."""
        return self._of(lambda branch: branch.account.names.known)

    def look(self) -> Known:
        """As ``Names.look``."""
        return self._of(lambda branch: branch.account.names.look())

    def listen(self, wake: Callable[[], None]) -> SeveralListener:
        """As ``Names.listen``; branches that come later are listened to from the next look on."""
        following = SeveralListener(wake, self._listening)
        try:
            if self._listen is not None:
                following.stops.append(self._listen(wake))
            following.follow(self._branches())
        except BaseException:
            following.close()
            raise
        return following

    def _of(self, look: Callable[[Branch], Known]) -> Known:
        branches = self._branches()
        for following in self._listening:
            following.follow(branches)
        if len(branches) == 1:
            return look(branches[0])
        found = []
        for branch in branches:
            try:
                known = look(branch)
            except (ImapdError, OSError) as error:
                if not branch.prefix:
                    raise
                # That it cannot be seen just now is not that it has gone.
                log.warning("namespace cannot be looked at", prefix=branch.prefix, why=error)
                known = self._last.get(branch, NOTHING_KNOWN)
            self._last[branch] = known
            found.append(known)
        key = tuple(found)
        joined = self._joined
        if joined is None or len(joined[0]) != len(key) or not all(map(is_, joined[0], key)):
            joined = self._joined = key, _join(list(zip(branches, key, strict=True)), self._delimiter)
        return joined[1]


NOTHING_KNOWN = Known({}, frozenset(), frozenset(), 0, {})


@dataclass(slots=True, eq=False)
class SeveralListener:
    """A listener of several accounts, and of what says which these are; it is in *among* until it is closed."""

    wake: Callable[[], None]
    among: list[SeveralListener]
    stops: list[Callable[[], None]] = field(default_factory=list)
    _heard: dict[Branch, Listener] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.among.append(self)

    def follow(self, branches: Sequence[Branch]) -> None:
        """Listen to these, and to no others."""
        heard = self._heard
        if len(heard) == len(branches) and all(branch in heard for branch in branches):
            return
        for branch in branches:
            if branch not in heard:
                heard[branch] = branch.account.names.listen(self.wake)
        for branch in set(heard) - set(branches):
            heard.pop(branch).close()

    def close(self) -> None:
        """Do not wake any more."""
        if self in self.among:
            self.among.remove(self)
        with ExitStack() as stops:
            for stop in self.stops:
                stops.callback(stop)
            for listener in self._heard.values():
                stops.callback(listener.close)
            self.stops.clear()
            self._heard.clear()


def _join(known: Sequence[tuple[Branch, Known]], delimiter: str) -> Known:
    (_, own), *others = known
    mailboxes, rights = dict(own.mailboxes), dict(own.rights)
    bare, subscribed = set(own.bare), set(own.subscribed)
    metadata = own.metadata
    for branch, each in others:
        for name, key in each.mailboxes.items():
            outer = branch.outer(name)
            if outer is None:
                continue
            mailboxes[outer] = key
            found: Acl | None = each.rights.get(name, NO_FILE)
            if not branch.own or name in each.rights:
                rights[outer] = found
            end = outer.rfind(delimiter)
            while end > 0:
                bare.add(outer[:end])
                end = outer.rfind(delimiter, 0, end)
        metadata += each.metadata  # it is only asked whether it is another one
    return Known(mailboxes, frozenset(bare).difference(mailboxes), frozenset(subscribed), metadata, rights)


class SeveralMetadata:
    """As ``Metadata``, of all *branches*; *own* is the user's own one, *locate* says where a name leads.

    What is private is each user's own (RFC 5464 3.3): of a mailbox that is not his it is kept in his own account, under
    the name by which he knows it.
    """

    def __init__(
        self, branches: Callable[[], tuple[Branch, ...]], own: Branch, locate: Callable[[str], Located | None]
    ) -> None:
        self._branches = branches
        self._own = own
        self._locate = locate

    def _where(self, mailbox: str) -> Located:
        if not mailbox:
            return Located(self._own, "")
        place = self._locate(mailbox)
        if place is None:
            raise MailboxMissing
        return place

    def entries(self, mailbox: str) -> Entries:
        """As ``Metadata.entries``."""
        branch, inner = self._where(mailbox)
        found = branch.account.metadata.entries(inner)
        if branch.own:
            return found
        private = self._own.account.metadata.entries(mailbox)
        both = Entries()
        for entries, shared in ((found, True), (private, False)):
            for key, (entry, value) in entries.items():
                if key.startswith(SHARED) is shared:
                    both.put(entry, value)
        return both

    def change(self, mailbox: str, values: Sequence[tuple[bytes, bytes | None]]) -> tuple[int, ...]:
        """As ``Metadata.change``; returns the serials of the changes that it takes."""
        branch, inner = self._where(mailbox)
        if branch.own:
            return (branch.account.metadata.change(inner, values),)
        own, theirs = self._own.account.metadata, branch.account.metadata
        shared = [each for each in values if each[0].lower().startswith(SHARED)]
        private = [each for each in values if not each[0].lower().startswith(SHARED)]
        before = own.entries(mailbox) if private else Entries()
        serials = [own.change(mailbox, private)] if private else []
        if shared:
            try:
                serials.append(theirs.change(inner, shared))
            except ImapdError:
                # All of the values, or none of them.
                own.change(mailbox, [(entry, before.value(entry)) for entry, _ in private])
                raise
        return tuple(serials)

    def listen(self, wake: Callable[[], None]) -> Listening:
        """As ``Metadata.listen``."""
        with ExitStack() as undo:
            for branch in self._branches():
                undo.callback(branch.account.metadata.listen(wake).close)
            return Listening(undo.pop_all())

    def latest(self) -> dict[Branch, int]:
        """As ``Metadata.latest``, by branch."""
        return dict(self._serials())

    def _serials(self) -> Iterator[tuple[Branch, int]]:
        for branch in self._branches():
            try:
                yield branch, branch.account.metadata.latest()
            except StoreError as error:
                if not branch.prefix:
                    raise
                log.warning("namespace cannot be looked at", prefix=branch.prefix, why=error)

    def changes(
        self, since: Mapping[Branch, int], *, ours: Set[int]
    ) -> tuple[dict[Branch, int], dict[str, list[bytes]]]:
        """As ``Metadata.changes``; of a branch that has come since nothing is news."""
        heard: dict[Branch, int] = {}
        found: dict[str, list[bytes]] = {}
        for branch in self._branches():
            try:
                if branch not in since:
                    heard[branch] = branch.account.metadata.latest()
                    continue
                heard[branch], changed = branch.account.metadata.changes(since[branch], ours=frozenset(ours))
            except StoreError as error:
                if not branch.prefix:
                    raise
                log.warning("namespace cannot be looked at", prefix=branch.prefix, why=error)
                if branch in since:
                    heard[branch] = since[branch]
                continue
            for mailbox, entries in changed.items():
                outer = branch.outer(mailbox) if mailbox or not branch.prefix else None
                seen = entries if branch.own else [entry for entry in entries if entry.startswith(SHARED)]
                if outer is not None and seen:
                    found.setdefault(outer, []).extend(seen)
        return heard, found


@dataclass(frozen=True, slots=True)
class Listening:
    """Several listeners that are closed together."""

    stops: ExitStack

    def close(self) -> None:
        """Do not wake any more."""
        self.stops.close()
