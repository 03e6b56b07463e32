"""One user's mail as his sessions see it: his own account, and behind prefixes the mail of others and of everybody.

``Namespaces`` has the face of an account and sends each name where it belongs (RFC 2342).  A **branch** is an account
behind a prefix, a **place** a mailbox's name within its branch.  Whose mail it is decides nothing about what may be
done: that is for access control lists, and for who asks (imap/mailboxes/rights.py).

All names have one delimiter, that of the user's own account: what others have is spelled with it.  A name that
begins with a prefix is never one of the user's own account, whatever lies there.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from operator import is_
from typing import TYPE_CHECKING, Final

from maildir_imapd.errors import CannotDo, ImapdError, MailboxMissing, NotSelectable
from maildir_imapd.events import Log
from maildir_imapd.store.branch import Branch, Branches, Located, SpaceKind
from maildir_imapd.store.listing import Listed
from maildir_imapd.store.several import SeveralMetadata, SeveralNames

if TYPE_CHECKING:
    from maildir_imapd.store.account import Account
    from maildir_imapd.store.branch import Listing, Space

log = Log(__name__)

# Owners whose mail one session opens: each costs a look at every LIST.
OWNERS: Final = 1000
# Until mail that could not be opened is tried again.
RETRY_SECONDS: Final = 10.0


class OneAccount:
    """A namespace that is one account: a public one, or another one of the user's.

    *opens* opens it when it is first asked for, and again later where that failed.
    """

    def __init__(
        self,
        kind: SpaceKind,
        prefix: str,
        opens: Callable[[], Branch | None],
        *,
        listed: Listing = "children",
        subscriptions: bool = False,
        virtual: bool = False,
    ) -> None:
        self.kind, self.prefix, self.listed, self.subscriptions = kind, prefix, listed, subscriptions
        self.virtual = virtual
        self._opens = opens
        self._part: Branch | None = None

    def branches(self) -> tuple[Branch, ...]:
        """As ``Space.branches``."""
        try:
            branch = self.branch(self.prefix)
        except (ImapdError, OSError) as error:
            log.warning("namespace not shown", prefix=self.prefix, why=why(error))
            return ()
        return () if branch is None else (branch,)

    def branch(self, name: str) -> Branch | None:
        """As ``Space.branch``."""
        if self._part is None:
            self._part = self._opens()
        return self._part

    def opened(self) -> list[Account]:
        """As ``Space.opened``."""
        return [] if self._part is None else [self._part.account]


class OtherUsers:
    """The mail that other users share, each behind a prefix of his own.

    *spelled* makes of a user's name what stands between *prefix* and his mailboxes, *read* a user's name of that;
    None for one that cannot be.  *owners* gives those who share something with the user, the same object while it is
    so, and *opens* the branch of one of them, None where there is no such user; it raises ImapdError
    where there is no mail, or it cannot be opened.
    """

    kind = SpaceKind.OTHERS
    subscriptions = False
    virtual = False

    def __init__(
        self,
        prefix: str,
        delimiter: str,
        *,
        spelled: Callable[[str], str | None],
        read: Callable[[str], str | None],
        owners: Callable[[], tuple[str, ...]],
        opens: Callable[[str, str], Branch | None],
        listed: Listing = "children",
    ) -> None:
        self.prefix, self.listed = prefix, listed
        self._delimiter = delimiter
        self._spelled, self._read, self._owners, self._opens = spelled, read, owners, opens
        self._known: tuple[tuple[str, ...], tuple[Branch, ...]] = (), ()
        # When to look again, by the monotonic clock.
        self._again = 0.0
        # Of whom the log has been told that his mail cannot be opened.
        self._told: set[str] = set()
        # By the user, once opened; None for whoever is not there.
        self._branches: dict[str, Branch | None] = {}

    def branches(self) -> tuple[Branch, ...]:
        """As ``Space.branches``: those of users who say that they share something."""
        owners = self._owners()
        if self._known[0] is owners and time.monotonic() < self._again:
            return self._known[1]
        if len(owners) > OWNERS:
            log.warning("too many users share mail with one", count=len(owners), shown=OWNERS)
        found = []
        failed = False
        for owner in owners[:OWNERS]:
            try:
                branch = self._of(owner)
            except (ImapdError, OSError) as error:
                if owner not in self._told:
                    self._told.add(owner)
                    log.warning("mail of another user not shown", owner=owner, why=why(error))
                failed = True
                continue
            if branch is not None:
                found.append(branch)
        branches = tuple(found)
        self._known = owners, self._known[1] if self._known[1] == branches else branches
        self._again = time.monotonic() + RETRY_SECONDS if failed else math.inf
        return self._known[1]

    def branch(self, name: str) -> Branch | None:
        """As ``Space.branch``: the user's whose name fits, of those who share something the longest one."""
        rest = name[len(self.prefix) :]
        if not rest:
            return None
        fitting = [branch for branch in self.branches() if (name + self._delimiter).startswith(branch.prefix)]
        if fitting:
            return max(fitting, key=lambda branch: len(branch.prefix))
        # One who is not on the list may share something all the same: the list may lie.
        levels = rest.split(self._delimiter)
        for depth in range(1, len(levels) + 1):
            owner = self._read(self._delimiter.join(levels[:depth]))
            if owner is not None:
                return self._of(owner)
        return None

    def opened(self) -> list[Account]:
        """As ``Space.opened``."""
        return [branch.account for branch in self._branches.values() if branch is not None]

    def _of(self, owner: str) -> Branch | None:
        if owner not in self._branches:
            spelled = self._spelled(owner)
            branch = None if spelled is None else self._opens(owner, self.prefix + spelled + self._delimiter)
            if len(self._branches) >= 2 * OWNERS:
                self._branches = {user: known for user, known in self._branches.items() if known is not None}
            self._branches[owner] = branch
        return self._branches[owner]


class Namespaces:
    """See the module; one session's, for it keeps what it has opened.

    *spaces* none: a user's own account alone, and nothing costs more than it does there.  *listen*: has a function
    called whenever who shares with the user may have changed; returns what ends that.  *partial*: it is of some of
    those that the user's sessions have.
    """

    def __init__(
        self,
        own: Account,
        spaces: Sequence[Space] = (),
        *,
        user: str = "",
        listen: Callable[[Callable[[], None]], Callable[[], None]] | None = None,
        partial: bool = False,
    ) -> None:
        self.own = own
        self.delimiter, self.prefix = own.delimiter, own.prefix
        self.branch = Branch(own, delimiter=own.delimiter, owner=user)
        self.single = not spaces
        # It knows not this object, so that what hangs on it makes no circle.
        self._all = Branches(self.branch, spaces)
        self.spaces = self._all.spaces
        if spaces and not partial:
            own.beside = tuple(space.prefix for space in self.spaces)
        self._listen = listen
        # What was joined last, and made of each branch's rows; each of it is the same object while nothing has changed.
        self._joined: tuple[tuple[tuple[Listed, ...], ...], tuple[Listed, ...]] | None = None
        self._renamed: dict[Branch, tuple[tuple[Listed, ...], tuple[Listed, ...]]] = {}
        self._seen: dict[Branch, tuple[tuple[Listed, ...], frozenset[str], tuple[Listed, ...]]] = {}

    # --- where names lead ---------------------------------------------------------------------------

    def locate(self, name: str) -> Located | None:
        """As ``Branches.locate``."""
        return Located(self.branch, name) if self.single else self._all.locate(name)

    def demanded(self, name: str) -> Located:
        """As ``locate``; raises MailboxMissing, NotSelectable for a name that is there for those below it."""
        place = self.locate(name)
        if place is None:
            raise NotSelectable if self.is_root(name) else MailboxMissing
        return place

    def is_root(self, name: str) -> bool:
        """Whether a name is only there for a namespace below it."""
        return any(space.prefix.startswith(name + self.delimiter) for space in self.spaces if space.listed != "no")

    def is_personal(self, name: str) -> bool:
        """Whether a name belongs to the user himself (RFC 2342 5, RFC 5465 6.3), and no other has the same messages."""
        space = self._all.space_of(name)
        return space is None or (space.kind is SpaceKind.PERSONAL and not space.virtual)

    def branches(self) -> tuple[Branch, ...]:
        """As ``Branches.listed``, with those that are not listed."""
        return self._all.all()

    def opened(self) -> list[Account]:
        """As ``Branches.opened``."""
        return self._all.opened()

    # --- what there is ------------------------------------------------------------------------------

    def folders(self) -> tuple[Listed, ...]:
        """The rows of LIST, whoever may see them: INBOX first; the same object as long as nothing has changed."""
        if self.single:
            return self.own.folders()
        return self.joined([self.own_rows(), *(rows for _, rows in self.others())])

    def own_rows(self) -> tuple[Listed, ...]:
        """Those of the user's own account: without what lies where a namespace is, which nobody can name."""
        rows = self.own.folders()
        if self.single or not any(self._is_hidden(row) for row in rows):
            return rows
        known = self._seen.get(self.branch)
        if known is None or known[0] is not rows:
            hidden = frozenset(row.name for row in rows if self._is_hidden(row))
            if known is None:
                names = sorted(hidden)
                log.warning("mailboxes of a user lie where a namespace is", path=self.own.root, mailboxes=names)
            known = self._seen[self.branch] = rows, hidden, tuple([row for row in rows if row.name not in hidden])
        return known[2]

    def _is_hidden(self, row: Listed) -> bool:
        if not row.selectable or self._all.space_of(row.name) is None:
            return False
        try:
            place = self.locate(row.name)
        except ImapdError:
            return True
        return place is None or place.branch.account is not self.own or place.name != row.name

    def others(self) -> list[tuple[Branch, tuple[Listed, ...]]]:
        """The branches of namespaces that LIST shows, with their rows by the names that these have there."""
        found = []
        for space in self.spaces:
            if space.listed == "no":
                continue
            for branch in space.branches():
                try:
                    rows = branch.account.folders()
                except (ImapdError, OSError) as error:
                    log.warning("namespace not shown", prefix=branch.prefix, why=why(error))
                    continue
                known = self._renamed.get(branch)
                if known is None or known[0] is not rows:
                    known = self._renamed[branch] = rows, renamed(branch, rows)
                found.append((branch, known[1]))
        return found

    def without(self, branch: Branch, rows: tuple[Listed, ...], hidden: frozenset[str]) -> tuple[Listed, ...]:
        """Of a branch's rows leave out mailboxes that are not for the user, and names that nothing is left below."""
        if rows and not hidden and all(row.selectable for row in rows):
            return rows
        known = self._seen.get(branch)
        if known is None or known[0] is not rows or known[1] != hidden:
            left = tuple([row for row in rows if row.selectable and row.name not in hidden])
            known = self._seen[branch] = rows, hidden, left
        return known[2]

    def joined(self, lists: Sequence[tuple[Listed, ...]]) -> tuple[Listed, ...]:
        """Join the user's own rows, which come first, and others under the names that clients see."""
        key = tuple(lists)
        known = self._joined
        if known is not None and len(known[0]) == len(key) and all(map(is_, known[0], key)):
            return known[1]
        rows = join(lists, self.delimiter, [space.prefix for space in self.spaces if space.listed == "yes"])
        self._joined = key, rows
        return rows

    def exists(self, name: str) -> bool:
        """As ``Account.exists``."""
        place = self.locate(name)
        return self.is_root(name) if place is None else place.branch.account.exists(place.name)

    def folder_of(self, name: str) -> bytes:
        """As ``Account.folder_of``."""
        place = self.demanded(name)
        return place.branch.account.folder_of(place.name)

    def special_use(self) -> dict[str, tuple[bytes, ...]]:
        """As ``Account.special_use``: of the user's own account, for what others use a mailbox for is their matter.

        And of virtual mailboxes.
        """
        uses = self.own.special_use()
        for space in self.spaces:
            for branch in space.branches() if space.virtual else ():
                more = {branch.outer(name): use for name, use in branch.account.special_use().items()}
                uses = {**uses, **{name: use for name, use in more.items() if name is not None}}
        return uses

    def subscriptions(self) -> list[str]:
        """As ``Account.subscriptions``, over all namespaces."""
        names = self.own.subscriptions()
        for space in self.spaces:
            if space.subscriptions:
                for branch in space.branches():
                    if branch.account is not self.own:
                        names += filter(None, map(branch.outer, branch.account.subscriptions()))
        return names

    def demand_there(self) -> None:
        """As ``Account.demand_there``: of the user's own mail."""
        self.own.demand_there()

    # --- changing it --------------------------------------------------------------------------------

    def check_name(self, name: str) -> None:
        """As ``Account.check_name``; raises CannotDo where the name belongs to a namespace and to no mailbox in it."""
        place = self._changing(name)
        place.branch.account.check_name(place.name)

    def create(self, name: str) -> None:
        """As ``Account.create``."""
        place = self._changing(name)
        place.branch.account.create(place.name)

    def delete(self, name: str) -> None:
        """As ``Account.delete``."""
        place = self.demanded(name)
        if place.name == "INBOX":
            raise CannotDo(why="INBOX cannot be deleted")
        place.branch.account.delete(place.name)

    def rename(self, old: str, new: str) -> None:
        """As ``Account.rename``, within one branch: to move mail to somebody else is for MOVE."""
        here, there = self.demanded(old), self._changing(new)
        if here.branch.account is not there.branch.account:
            raise CannotDo(why="A mailbox cannot be renamed into another namespace")
        here.branch.account.rename(here.name, there.name)

    def _changing(self, name: str) -> Located:
        place = self.locate(name)
        if place is None:
            raise CannotDo(why="There can be no mailbox of that name in this namespace")
        return place

    def set_special_use(self, name: str, attributes: tuple[bytes, ...]) -> int:
        """As ``Account.set_special_use``; the caller has seen that it is a mailbox of the user's own account."""
        return self.own.set_special_use(self.demanded(name).name, attributes)

    def subscribe(self, name: str) -> None:
        """As ``Account.subscribe``."""
        self._subscribe(name, wanted=True)

    def unsubscribe(self, name: str) -> None:
        """As ``Account.unsubscribe``."""
        self._subscribe(name, wanted=False)

    def _subscribe(self, name: str, *, wanted: bool) -> None:
        space = None if self.single else self._all.space_of(name)
        account, inner = self.own, name
        if space is not None and space.subscriptions:
            place = self.demanded(name)
            account, inner = place.branch.account, place.name
        elif space is not None and wanted and not self.exists(name):
            raise MailboxMissing
        if not wanted:
            account.unsubscribe(inner)
        else:
            account.subscribe(inner, elsewhere=space is not None and not space.subscriptions)

    # --- annotations and news -----------------------------------------------------------------------

    @cached_property
    def names(self) -> SeveralNames:
        """Which mailboxes there are, for whoever wants to hear when that changes."""
        return SeveralNames(self._all.listed, self.delimiter, self._listen)

    @cached_property
    def metadata(self) -> SeveralMetadata:
        """The annotations of all mailboxes."""
        return SeveralMetadata(self._all.listed, self.branch, self._all.locate)


def why(error: Exception) -> object:
    """Return what has gone wrong, for the log."""
    return (error.detail or error.text) if isinstance(error, ImapdError) else error


def join(lists: Sequence[tuple[Listed, ...]], delimiter: str, roots: Iterable[str] = ()) -> tuple[Listed, ...]:
    """Join rows whose names are those that clients see, with the parents that they lack; INBOX first, then in order.

    Of two rows of one name that which can be opened counts, and else the later one, which is a namespace's.
    """
    rows: dict[str, Listed] = {}
    for each in lists:
        for row in each:
            before = rows.get(row.name)
            if before is None or row.selectable or not before.selectable:
                rows[row.name] = row
    for root in roots:
        name = root.removesuffix(delimiter)
        rows.setdefault(name, Listed(name, None, selectable=False, children=False))
    parents: set[str] = set()
    for name in list(rows):
        end = name.rfind(delimiter)
        while end > 0:
            parent = name[:end]
            if parent in parents:
                break
            parents.add(parent)
            rows.setdefault(parent, Listed(parent, None, selectable=False, children=True))
            end = name.rfind(delimiter, 0, end)
    order = sorted(rows, key=lambda name: (name != "INBOX", name))
    return tuple(
        [
            row if row.children == (row.name in parents) else replace(row, children=not row.children)
            for row in map(rows.__getitem__, order)
        ]
    )


def renamed(branch: Branch, rows: Iterable[Listed]) -> tuple[Listed, ...]:
    """The rows of a branch by the names that clients see; those that cannot be spelled so are left out, and noted."""
    found = []
    for row in rows:
        name = branch.outer(row.name)
        if name is None and row.name == "INBOX":
            continue
        if name is None:
            log.warning("mailbox not shown, its name has the delimiter in it", prefix=branch.prefix, mailbox=row.name)
        else:
            found.append(replace(row, name=name))
    return tuple(found)
