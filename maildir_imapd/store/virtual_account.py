"""The virtual mailboxes of one user as an account: its folders hold indexes and no message.

It lies in a hidden directory of the user's own mail, as what was expunged does (deleted.py).  A folder is made when a
mailbox is defined, and stays when it is no longer: it may be again, and then has the UIDs that clients know.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from maildir_imapd.errors import ImapdError, MailboxExists, MailboxMissing, NoPermission, NotSelectable
from maildir_imapd.events import Log
from maildir_imapd.store.account import Account, hidden
from maildir_imapd.store.disk import durable
from maildir_imapd.store.mailboxes import Mailboxes, Opening
from maildir_imapd.store.maildir.layout import Places
from maildir_imapd.store.namespaces import why
from maildir_imapd.store.records.uidvalidity import Counter
from maildir_imapd.store.virtual import VirtualMailbox
from maildir_imapd.store.ways import Ways

if TYPE_CHECKING:
    from collections.abc import Callable

    from maildir_imapd.store.disk.unused import Unused
    from maildir_imapd.store.folder.keeping import Keeping
    from maildir_imapd.store.listing import Listed
    from maildir_imapd.store.mailbox import Mailbox
    from maildir_imapd.store.names import Known
    from maildir_imapd.store.virtual_current import VirtualSpace
    from maildir_imapd.store.virtual_sources import VirtualDefinition
    from maildir_imapd.store.watch import Watcher

    Definitions = Mapping[str, VirtualDefinition]

log = Log(__name__)

NAME: Final = b"maildir-imapd.virtual"


@dataclass(slots=True, eq=False)
class _Meant:
    """The meaning of an account's folders, by their paths, as of *definitions*."""

    definitions: Definitions = field(default_factory=dict)
    by_path: Mapping[bytes, VirtualDefinition] = field(default_factory=dict)
    names: Set[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _VirtualOpening(Opening):
    """As Opening, of virtual mailboxes."""

    meant: _Meant = field(kw_only=True)
    space: VirtualSpace = field(kw_only=True)

    def mailbox(self, path: bytes) -> Mailbox:
        """Make the object for a folder."""
        definition = self.meant.by_path.get(path)
        if definition is None:
            raise MailboxMissing(detail=os.fsdecode(path))
        above = self.layout.above(path)
        return VirtualMailbox(path, self.keeping, definition, self.space, root=above, watcher=self.watcher)


class VirtualAccount(Account):
    """See the module.

    *beside*: the user's own account; *definitions*: what there is to be, by the name, the same object while nothing has
    changed; *space*: what it is made of.  *name*: of the directory, for a user may have several of them.
    """

    def __init__(
        self,
        beside: Account,
        definitions: Callable[[], Definitions],
        space: VirtualSpace,
        keeping: Keeping,
        *,
        name: bytes = NAME,
        watcher: Watcher | None = None,
        unused: Unused | None = None,
    ) -> None:
        root, laid_out = hidden(beside, name), beside.layout.places
        with durable.as_store_error(root):
            if not durable.is_untouched():
                os.makedirs(root, mode=0o700, exist_ok=True)
        self.definitions, self.space = definitions, space
        self._meant = meant = _Meant()
        self._shown: tuple[Definitions, tuple[Listed, ...], tuple[Listed, ...]] = {}, (), ()
        keeping = replace(keeping, mirror="none", coexist=False, texts=None, ahead=None, quota=None)
        super().__init__(
            Places(root, laid_out.kind, utf8=laid_out.utf8),
            keeping,
            delimiter=beside.delimiter,
            prefix="",
            watcher=watcher,
            unused=unused,
            inbox="INBOX" in definitions(),
        )
        # A message counts where it lies.
        self.quota = beside.quota
        keeping = replace(keeping, uidvalidity=Counter(self.root).next)
        opening = _VirtualOpening(self._layout, keeping, watcher, meant=meant, space=space)
        self._mailboxes = Mailboxes(opening, self.unused)
        self.ways = Ways(self._layout, self.acls, self._mailboxes)
        self._defined()

    def _defined(self) -> Definitions:
        """Return what is defined, with a folder for each; raises StoreError."""
        wanted, meant = self.definitions(), self._meant
        if meant.definitions is wanted:
            return wanted
        by_path, names = {}, set()
        for name, definition in wanted.items():
            try:
                path = self._trees.find(name)
                if path is None:
                    try:
                        super().create(name)
                    except MailboxExists:
                        pass  # another process was faster
                    path = self._trees.find(name)
            except ImapdError as error:
                log.warning("a virtual mailbox cannot be made", path=self.root, name=name, why=why(error))
                continue
            if path is not None:
                by_path[path] = definition
                names.add(name)
        meant.by_path, meant.names, meant.definitions = by_path, names, wanted
        for path, definition in by_path.items():
            if self._mailboxes.known(path):
                box = self._mailboxes.at(path)
                assert isinstance(box, VirtualMailbox)
                box.redefine(definition)
        return wanted

    def folders(self) -> tuple[Listed, ...]:
        """As ``Account.folders``: those that are defined, and what is above them."""
        wanted, rows = self._defined(), super().folders()
        last = self._shown
        if last[0] is not wanted or last[1] is not rows:
            paths = self._meant.by_path
            left = [replace(row, marked=None) for row in rows if row.path in paths]
            parents = {parent for row in left for parent in self._trees.parents(row.name)}
            left += [replace(row, path=None, selectable=False, marked=None) for row in rows if row.name in parents]
            unique = {row.name: row for row in reversed(left)}
            shown = tuple([replace(row, children=row.name in parents) for _, row in sorted(unique.items())])
            last = self._shown = wanted, rows, shown
        return last[2]

    def folder_of(self, name: str) -> bytes:
        """As ``Account.folder_of``."""
        self._defined()
        path = self._trees.find(name)
        if path is None or path not in self._meant.by_path:
            raise NotSelectable if any(row.name == name for row in self.folders()) else MailboxMissing
        return path

    def exists(self, name: str) -> bool:
        """As ``Account.exists``."""
        return any(row.name == name for row in self.folders())

    def known(self) -> Known:
        """As ``Account.known``: makes nothing, for whoever looks at names holds a lock."""
        found, names = super().known(), self._meant.names
        mailboxes = {name: key for name, key in found.mailboxes.items() if name in names}
        bare = {parent for name in mailboxes for parent in self._trees.parents(name)}
        return replace(found, mailboxes=mailboxes, bare=frozenset(bare).difference(mailboxes))

    def mailbox_at(self, path: bytes, patiently: Callable[[Callable[[], Mailbox]], Mailbox] | None = None) -> Mailbox:
        """As ``Account.mailbox_at``; what is looked for the first time takes long, too."""
        self._defined()
        box = super().mailbox_at(path, patiently)
        assert isinstance(box, VirtualMailbox)
        if patiently is not None and not box.looked:
            return patiently(box.first_look)
        return box

    def special_use(self) -> dict[str, tuple[bytes, ...]]:
        """As ``Account.special_use``: as they are defined."""
        return {name: (each.use,) for name, each in self._defined().items() if each.use}

    def create(self, name: str) -> None:
        """Raise NoPermission: what there is the administrator says, or a file."""
        raise NoPermission

    def delete(self, name: str) -> None:
        """As ``create``."""
        raise NoPermission

    def rename(self, old: str, new: str) -> None:
        """As ``create``."""
        raise NoPermission
