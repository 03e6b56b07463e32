"""An account behind a prefix, and where a name leads: what ``Namespaces`` is made of."""

from __future__ import annotations

import enum
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from maildir_imapd.store.maildir.filename import DELETED, KEYWORD_BITS, SEEN, VISIBLE_BITS
from maildir_imapd.store.records.acl import ALL, NONE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from maildir_imapd.store.account import Account
    from maildir_imapd.store.mailbox import Mailbox
    from maildir_imapd.store.records.acl import Acl


def flag_mask(rights: frozenset[str]) -> int:
    """The flags that may be changed, as bits; those of keywords stand for all keywords."""
    mask = 0
    if "s" in rights:
        mask |= SEEN
    if "t" in rights:
        mask |= DELETED
    if "w" in rights:
        mask |= VISIBLE_BITS & ~(SEEN | DELETED) | KEYWORD_BITS
    return mask


class SpaceKind(enum.Enum):
    """The three kinds of RFC 2342 5: what is one's own, what other users share, what belongs to nobody."""

    PERSONAL = enum.auto()
    OTHERS = enum.auto()
    PUBLIC = enum.auto()


class PrivateSeen(Protocol):
    """Gives one reader others' mailboxes with \\Seen as he has it (private.py)."""

    def __call__(
        self,
        account: Account,
        path: bytes,
        mailbox: Mailbox,
        patiently: Callable[[Callable[[], Mailbox]], Mailbox] | None,
    ) -> Mailbox:
        """Return *mailbox* as the reader has it, whose folder of *account* is at *path*.  Raises StoreError."""


@dataclass(frozen=True, slots=True, eq=False)
class Branch:
    """An account behind a prefix.

    *prefix* stands before its names and ends in *delimiter*; without one they are what clients see.  *owner*: whose it
    is, "" for nobody's; *own*: whether that is the user of the session.  *usual*: the rights to a mailbox without a
    list, of whoever is not the owner; *most*: the rights that anybody may have at all.  *private*: keeps \\Seen for
    the reader alone, where it is his own.
    *inbox*: what INBOX is called: by the ``prefix`` alone, ``shared/bob``, or ``named``, ``shared/bob/INBOX``; there is
    ``none``.
    """

    account: Account
    kind: SpaceKind = SpaceKind.PERSONAL
    prefix: str = ""
    delimiter: str = ""
    owner: str = ""
    own: bool = True
    usual: frozenset[str] = NONE
    most: frozenset[str] = ALL
    private: PrivateSeen | None = None
    inbox: Literal["prefix", "named", "none"] = "named"

    @property
    def free(self) -> bool:
        """Whether all may be done in a mailbox that has no list."""
        return self.own and self.most is ALL

    def rights(self, acl: Acl, user: str, groups: frozenset[str], *, lists: bool) -> frozenset[str]:
        """Return the rights of *user* to a mailbox that has this list; *lists*: whether lists count at all."""
        if not lists:
            return self.most
        if not (self.own or acl.limits or acl.otherwise):
            found = self.usual & self.most
        else:
            found = acl.rights(user, groups, owner=self.own) & self.most
        # What one has seen is one's own to say (RFC 4314 4: "s" is about a flag that is shared).
        return found | {"s"} if self.private is not None and "r" in found else found

    def mailbox_at(self, path: bytes, patiently: Callable[[Callable[[], Mailbox]], Mailbox] | None = None) -> Mailbox:
        """Open the mailbox whose folder is at *path* as the reader has it; as ``Account.mailbox_at``."""
        found = self.account.mailbox_at(path, patiently)
        return found if self.private is None else self.private(self.account, path, found, patiently)

    @property
    def tag(self) -> bytes:
        """Letters and digits that tell the account from the others of one session, the same for every reader."""
        whose = self.owner if self.kind is SpaceKind.OTHERS else f"{self.prefix}\0{self.owner}"
        return hashlib.sha256(whose.encode("utf-8", "surrogateescape")).hexdigest()[:16].encode()

    def inner(self, name: str) -> str | None:
        """The name within the account of what clients call *name*, which begins with the prefix; None for none."""
        if not self.prefix:
            return name
        if name + self.delimiter == self.prefix:
            return "INBOX" if self.inbox == "prefix" else None
        rest = name[len(self.prefix) :]
        if rest == "INBOX":
            return rest if self.inbox == "named" else None
        if self.account.delimiter != self.delimiter:
            if self.account.delimiter in rest:
                return None
            rest = rest.replace(self.delimiter, self.account.delimiter)
        return self.account.prefix + rest

    def outer(self, name: str) -> str | None:
        """Return what clients call a mailbox of the account; None for a name that has their delimiter in it."""
        if not self.prefix:
            return name
        if name == "INBOX":
            if self.inbox == "none":
                return None
            return self.prefix + name if self.inbox == "named" else self.prefix.removesuffix(self.delimiter)
        rest = name.removeprefix(self.account.prefix)
        if self.account.delimiter != self.delimiter:
            if self.delimiter in rest:
                return None
            rest = rest.replace(self.account.delimiter, self.delimiter)
        return self.prefix + rest


class Located(NamedTuple):
    """Where a name leads: a branch, and what the mailbox is called there."""

    branch: Branch
    name: str


Listing = Literal["yes", "children", "no"]


class Space(Protocol):
    """A namespace other than the one without a prefix."""

    kind: SpaceKind
    prefix: str
    """What all its names begin with; ends in the delimiter."""
    listed: Listing
    """Whether LIST shows it: yes, with its root; children: what there is in it; no: for who knows the name."""
    subscriptions: bool
    """Whether its subscriptions are kept in it; else in the user's own account."""
    virtual: bool
    """Whether its messages are those of other mailboxes."""

    def branches(self) -> tuple[Branch, ...]:
        """Return what there is to see; the same object while nothing has changed. Never an error."""

    def branch(self, name: str) -> Branch | None:
        """Return the branch that a name of the namespace leads to; raises ImapdError where that cannot be known."""

    def opened(self) -> list[Account]:
        """Return the accounts that have been opened."""


class Branches:
    """The accounts of one session: the user's own, and those of *spaces*."""

    def __init__(self, own: Branch, spaces: Sequence[Space]) -> None:
        self.own = own
        # The closest one counts.
        self.spaces = tuple(sorted(spaces, key=lambda space: -len(space.prefix)))

    def space_of(self, name: str) -> Space | None:
        """Return the namespace that a name belongs to; None for the user's own account without a prefix."""
        whole = name + self.own.delimiter
        return next((space for space in self.spaces if whole.startswith(space.prefix)), None)

    def locate(self, name: str) -> Located | None:
        """Return where a name leads; None where there can be no mailbox of that name.  Raises ImapdError."""
        space = self.space_of(name)
        if space is None:
            return Located(self.own, name)
        branch = space.branch(name)
        inner = None if branch is None else branch.inner(name)
        return None if branch is None or inner is None else Located(branch, inner)

    def all(self) -> tuple[Branch, ...]:
        """Every account that there is something to see of: the user's own first."""
        return (self.own, *(branch for space in self.spaces for branch in space.branches()))

    def opened(self) -> list[Account]:
        """The accounts that have been opened but the user's own."""
        return [account for space in self.spaces for account in space.opened()]

    def listed(self) -> tuple[Branch, ...]:
        """Those whose mailboxes LIST shows."""
        return (self.own, *(branch for space in self.spaces if space.listed != "no" for branch in space.branches()))
