"""Which mailboxes a virtual one is made of, and what is found in them at one moment.

Nothing here holds a lock: looking at mailboxes wakes who listens to them, and a search may read messages.
"""

from __future__ import annotations

import hashlib
import os
import struct
import time
import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from maildir_imapd.errors import ImapdError, MailboxMissing
from maildir_imapd.events import Log
from maildir_imapd.store.current import unchanged
from maildir_imapd.store.folder.overlay import Overlaid
from maildir_imapd.store.index.journal import Stamp
from maildir_imapd.store.namespaces import why
from maildir_imapd.store.records.acl import ALL

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Set

    from maildir_imapd.store.branch import Branch
    from maildir_imapd.store.index.snapshot import Snapshot
    from maildir_imapd.store.mailbox import Mailbox
    from maildir_imapd.store.namespaces import Namespaces

log = Log(__name__)

# Mailboxes that one virtual mailbox is made of: each is looked at whenever that is, and watched while somebody has it
# open.
MAILBOXES: Final = 250
_KEY_OCTETS: Final = 6


class Searching(Protocol):
    """A search that is made in some mailboxes."""

    @property
    def digest(self) -> bytes:
        """Another one for another search."""

    @property
    def period(self) -> float:
        """Seconds after which the answer may be another one although nothing has happened; 0: never."""

    def run(self, mailbox: Mailbox, rows: Snapshot, among: Sequence[int] | None) -> Iterable[int]:
        """Return the UIDs of messages of *rows* that are found; *among*, if given: positions that alone are looked at.

        Raises ImapdError.
        """


class VirtualDefinition(Protocol):
    """The definition of a virtual mailbox."""

    @property
    def digest(self) -> bytes:
        """Another one for another definition."""

    @property
    def saves(self) -> str:
        """The mailbox that takes what is put into this one, "" for none."""

    @property
    def use(self) -> bytes:
        """Its special use, b"" for none."""

    def searching(self, mail: Namespaces) -> Callable[[str, bool], Searching | None]:
        """Return what says of each mailbox what is wanted of it; None: nothing.

        By its name, and whether it is of the user's own account.
        """


@dataclass(slots=True, eq=False)
class VirtualSource:
    """A mailbox that is a part; *place* tells its account from others, *rights* are the user's."""

    name: str
    place: bytes
    rights: frozenset[str]
    search: Searching
    opens: Callable[[], Mailbox]
    _box: Callable[[], Mailbox | None] = field(default=lambda: None)

    def mailbox(self) -> Mailbox:
        """Open it; raises as ``Account.mailbox_at``."""
        found = self._box()
        if found is None or found.gone:
            found = self.opens()
            self._box = weakref.ref(found)
        return found

    def key(self, mailbox: Mailbox, rows: Snapshot) -> bytes:
        """Return the key that tells its messages from those of all other mailboxes, whatever it is called."""
        return b"%b%b.%d" % (self.place, mailbox.word, rows.uidvalidity)

    @property
    def turn(self) -> int:
        """Another number for each period of the search."""
        return int(time.time() // self.search.period) if self.search.period else 0


@dataclass(frozen=True, slots=True, eq=False)
class VirtualPart(Overlaid):
    """The messages that were found in a mailbox, and by what search."""

    source: VirtualSource
    turn: int

    def is_of(self, source: VirtualSource, turn: int) -> bool:
        """Whether it was found by the same search."""
        return self.turn == turn and self.source.search.digest == source.search.digest

    def changed_since(self, old: VirtualPart | None) -> Set[int]:
        """UIDs of messages that may be otherwise than they were in *old*."""
        if old is None or not follows(old.rows, self.rows):
            found = set(self.found)
            return found if old is None else found | old.found
        delta = self.rows.since(old.rows)
        touched = {*delta.added, *delta.changed, *delta.expunged}
        return touched if old.is_of(self.source, self.turn) else touched | (self.found ^ old.found)


def follows(old: Snapshot, new: Snapshot) -> bool:
    """Whether what has changed from *old* to *new* can be told by the messages' mod-sequences."""
    words = len(old.keywords)
    same = old.rewrites == new.rewrites and old.uidvalidity == new.uidvalidity and old.keywords == new.keywords[:words]
    return same and not old.damaged


@dataclass(frozen=True, slots=True, eq=False)
class VirtualMoment:
    """All parts, by their keys, when they were looked at; *stamp* tells this moment from others.

    Not *whole*: some mailbox could not be looked at, so that nothing can be said of it.
    """

    parts: Mapping[bytes, VirtualPart] = field(default_factory=dict)
    stamp: Stamp | None = None
    whole: bool = False

    @property
    def period(self) -> float:
        """Seconds until another look is due, 0: none is."""
        return min((part.source.search.period for part in self.parts.values() if part.source.search.period), default=0)


class VirtualSources:
    """The mailboxes of one user that virtual ones are made of, *mail* being all that he sees but these.

    *lists*: whether access control lists count. Safe from any thread.
    """

    def __init__(self, mail: Namespaces, user: str, groups: frozenset[str], *, lists: bool) -> None:
        self.mail = mail
        self._user, self._groups, self._lists = user, groups, lists
        self._told: set[bytes] = set()  # definitions of which the log has been told that they are of too many

    def of(self, definition: VirtualDefinition) -> list[VirtualSource]:
        """Those that a virtual mailbox is made of; raises StoreError."""
        wanted = definition.searching(self.mail)
        found: list[VirtualSource] = []
        for branch, name, path, limited in self._readable():
            search = wanted(name, branch is self.mail.branch)
            if search is None:
                continue
            if len(found) == MAILBOXES:
                if definition.digest not in self._told:
                    self._told.add(definition.digest)
                    log.warning("a virtual mailbox is of too many mailboxes", user=self._user, shown=MAILBOXES)
                break
            rights = self._rights(branch, path, limited)
            if "r" in rights and "l" in rights:
                found.append(_source(branch, name, path, rights, search, own=branch.account is self.mail.own))
        return found

    def saving(self, definition: VirtualDefinition) -> Mailbox | None:
        """The mailbox of the user's own that takes what is put into a virtual one; None where there is none."""
        place = self.mail.locate(definition.saves) if definition.saves else None
        if place is None or place.branch.account is not self.mail.own:
            return None
        try:
            path = self.mail.own.folder_of(place.name)
        except ImapdError:
            return None
        return self.mail.own.mailbox_at(path) if "i" in self._rights(place.branch, path, {path}) else None

    def _readable(self) -> Iterator[tuple[Branch, str, bytes, Collection[bytes]]]:
        """Every mailbox: its branch, its name, its folder, and which folders of its account have lists."""
        own = self.mail.own
        rows = self.mail.own_rows()
        limited = own.listing.limited(own.folders()) if self._lists else ()
        for row in rows:
            if row.path is not None:
                yield self.mail.branch, row.name, row.path, limited
        for branch, others in self.mail.others():
            if branch.account is own:
                continue  # by another name
            for row in others:
                if row.path is not None:
                    yield branch, row.name, row.path, (row.path,)

    def _rights(self, branch: Branch, path: bytes, limited: Collection[bytes]) -> frozenset[str]:
        if branch.own and path not in limited:
            return branch.most
        try:
            return branch.rights(branch.account.acls.at(path), self._user, self._groups, lists=self._lists)
        except ImapdError as error:
            log.warning("a mailbox is not shown in a virtual one", path=path, why=why(error))
            return frozenset()

    def moment(self, definition: VirtualDefinition, before: VirtualMoment | None) -> VirtualMoment:
        """Look at all mailboxes; *before*: what was found last.  Raises StoreError."""
        known = {} if before is None else before.parts
        of_sources = {part.source.name: part for part in known.values()}
        parts: dict[bytes, VirtualPart] = {}
        whole = True
        for source in self.of(definition):
            try:
                part = _look(source, known)
            except MailboxMissing:
                continue
            except ImapdError as error:
                log.warning("a mailbox of a virtual one cannot be looked at", mailbox=source.name, why=why(error))
                whole = False
                old = of_sources.get(source.name)
                if old is not None:
                    parts[old.key] = old
                continue
            parts[part.key] = part
        return VirtualMoment(parts, _stamp(definition, parts.values()) if whole else None, whole)

    def stamp(self, definition: VirtualDefinition, moment: VirtualMoment) -> Stamp | None:
        """The stamp of now if nothing has happened since *moment* to be seen at a look; None if something has."""
        sources = self.of(definition)
        if len(sources) != len(moment.parts):
            return None
        by_name = {part.source.name: part for part in moment.parts.values()}
        for source in sources:
            part = by_name.get(source.name)
            if part is None or not part.is_of(source, source.turn) or part.source.rights != source.rights:
                return None
            try:
                box = part.source.mailbox()
            except ImapdError:
                return None
            if box.snapshot is not part.rows or not box.stands() or not unchanged(box):
                return None
        return moment.stamp


class OneSource:
    """As ``VirtualSources``, of all that is in one mailbox, which must be there and the one that it was."""

    def __init__(self, opens: Callable[[], Mailbox], uidvalidity: int, word: bytes) -> None:
        self._source = VirtualSource("", b"", ALL, Everything(), opens)
        self._same = uidvalidity, word

    def mailbox(self) -> Mailbox:
        """The mailbox; raises MailboxMissing where there is another one in its place, or none."""
        found = self._source.mailbox()
        if not found.stands():
            found = self._source.opens()
        if (found.uidvalidity, found.word) != self._same:
            raise MailboxMissing(detail=os.fsdecode(found.path))
        return found

    def moment(self, definition: VirtualDefinition, before: VirtualMoment | None) -> VirtualMoment:
        """As ``VirtualSources.moment``."""
        self.mailbox()
        part = _look(self._source, {} if before is None else before.parts)
        if part.rows.uidvalidity != self._same[0]:
            raise MailboxMissing(detail="UIDVALIDITY is another one")
        return VirtualMoment({part.key: part}, _stamp(definition, [part]), whole=True)

    def stamp(self, definition: VirtualDefinition, moment: VirtualMoment) -> Stamp | None:
        """As ``VirtualSources.stamp``."""
        box = self.mailbox()
        same = all(part.rows is box.snapshot for part in moment.parts.values())
        return moment.stamp if same and unchanged(box) else None

    def saving(self, definition: VirtualDefinition) -> Mailbox | None:
        """The mailbox itself."""
        return self.mailbox()


class Everything:
    """A search that finds all."""

    digest = b"everything"
    period = 0.0

    def run(self, mailbox: Mailbox, rows: Snapshot, among: Sequence[int] | None) -> Iterable[int]:
        """As ``Searching.run``."""
        return rows.uids if among is None else [rows.uids[at] for at in among]


def _source(
    branch: Branch, name: str, path: bytes, rights: frozenset[str], search: Searching, *, own: bool
) -> VirtualSource:
    account = branch.account
    # Two accounts may give one UIDVALIDITY.
    place = b"" if own else hashlib.blake2b(os.fsencode(account.root), digest_size=_KEY_OCTETS).hexdigest().encode()
    return VirtualSource(name, place, rights, search, lambda: branch.mailbox_at(path))


def _look(source: VirtualSource, known: Mapping[bytes, VirtualPart]) -> VirtualPart:
    """Search a mailbox, of what was found before only what has changed since."""
    mailbox, turn = source.mailbox(), source.turn
    rows = mailbox.sync(keep_new=True)
    key, search = source.key(mailbox, rows), source.search
    old = known.get(key)
    if old is not None and old.is_of(source, turn) and follows(old.rows, rows):
        if old.rows is rows:
            found = old.found
        else:
            delta = rows.since(old.rows)
            again = sorted([*delta.added, *delta.changed])
            hits = search.run(mailbox, rows, [at for at in rows.positions(again) if at >= 0]) if again else ()
            gone = {*again, *delta.expunged}
            found = (old.found - gone) | set(hits) if gone else old.found
    else:
        found = frozenset(search.run(mailbox, rows, None))
    if found:
        rows.see()
    return VirtualPart(key, rows, found, source, turn)


def _stamp(definition: VirtualDefinition, parts: Iterable[VirtualPart]) -> Stamp:
    """Make of what was looked at four numbers, which stand for it in the index."""
    summed = hashlib.blake2b(definition.digest, digest_size=32)
    for part in sorted(parts, key=lambda part: part.key):
        rows = part.rows
        which = b"%b %d %d %d " % (part.key, rows.uidnext, rows.modseq, part.turn)
        summed.update(which + part.source.search.digest + b"\n")
    one, two, three, four = (number >> 1 for number in struct.unpack("<4Q", summed.digest()))
    return Stamp(one, two, three, four, True)
