"""One user's mailboxes: which there are, and making, removing, renaming and subscribing them.

One ``Account`` serves all sessions of a user in a process.  Other processes and other programs change the
same directories: nothing here is believed for longer than the directory's time stamps bear it out.

What a crash may leave: a folder under a hidden name (maildir/attic.py), swept at the next start; and a RENAME with
children that was half done, which its intent file finishes (records/renaming.py).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Unpack

from maildir_imapd.errors import (
    CannotDo,
    HasChildren,
    MailboxExists,
    MailboxMissing,
    NotSelectable,
    OverQuota,
    StoreError,
)
from maildir_imapd.events import Log
from maildir_imapd.store import deleted, trees
from maildir_imapd.store.deleted import Deleted
from maildir_imapd.store.disk import descriptors, durable
from maildir_imapd.store.disk.unused import Unused
from maildir_imapd.store.folder.keeping import AS_USUAL, Differing, Keeping
from maildir_imapd.store.index.constants import CHECKPOINT, JOURNAL
from maildir_imapd.store.listing import Listed, Listing
from maildir_imapd.store.mailbox import Mailbox
from maildir_imapd.store.mailboxes import Mailboxes, Opening, look
from maildir_imapd.store.maildir import census, decide, ground, scan
from maildir_imapd.store.maildir.attic import Attic
from maildir_imapd.store.maildir.layout import Places, absent
from maildir_imapd.store.maildir.layouts import KINDS
from maildir_imapd.store.names import Known, Names
from maildir_imapd.store.neighbours import servers, takeover
from maildir_imapd.store.records import metadata, quota_rooms, renaming, special_use, url_keys
from maildir_imapd.store.records.account_lock import AccountLock
from maildir_imapd.store.records.acl import Acl, Acls
from maildir_imapd.store.records.metadata import Metadata
from maildir_imapd.store.records.quota import Amount, Quota
from maildir_imapd.store.records.quota_rooms import MailboxRoom
from maildir_imapd.store.records.quota_warned import Warned
from maildir_imapd.store.records.seen import SeenDevices
from maildir_imapd.store.records.subscriptions import Subscriptions
from maildir_imapd.store.records.texts import Texts
from maildir_imapd.store.records.uidvalidity import Counter
from maildir_imapd.store.records.url_keys import UrlKeys
from maildir_imapd.store.records.usual import FOR_NEW_USERS, Making, UsualMailbox, begin
from maildir_imapd.store.standing import StandingFigures
from maildir_imapd.store.threads.ahead import Ahead
from maildir_imapd.store.threads.moves import Moves
from maildir_imapd.store.trees import Trees
from maildir_imapd.store.ways import Ways

if TYPE_CHECKING:
    from maildir_imapd.store.maildir.layout import Layout, Tree
    from maildir_imapd.store.neighbours.neighbour import Kind
    from maildir_imapd.store.watch import Watcher

__all__ = ["Account", "Keeping", "Listed"]

log = Log(__name__)


class Account:
    """*root* is the Maildir of the INBOX, or says where all is.  INBOX is made, for its owner only, if it is not there.

    *keeping*: how its folders are kept; *other*: what is to be otherwise than that says.  *delimiter*: "auto" is "."
    for Maildir++ and "/" for fs.  *prefix*: of all names but INBOX, as clients see them; ends in the delimiter; "auto"
    is "INBOX." where a server has been that shows all folders below INBOX, none elsewhere.
    ``mirror`` is the server whose files are kept true beside ours, None for none.
    *quota_storage* (octets), *quota_messages*: limits, 0 for none; without either the file maildirsize decides.
    *quota_mailboxes*: how many mailboxes there may be, INBOX counted; 0 for any number.
    *unused*: the process's list of what is open unused; without, one of this account's own.
    *inbox*: without, INBOX is not made, and there may be none: it is no user's mail, but folders beside it.
    *welcome*: where INBOX is made here, its user is new, and is to have the mailboxes that new users have.
    """

    last_tree: Tree | None = None
    """The folders but INBOX, as somebody has listed them last."""
    usual: tuple[UsualMailbox, ...] = ()
    """The mailboxes that are set up for this user."""
    arranged = False
    """Whether those that are to be there have been made since the account was opened (arranging.py)."""
    expiring: Callable[[], None] | None = None
    """Has messages go that are over, in the background; None where none do."""
    _rooms: tuple[MailboxRoom, ...] = ()
    beside: tuple[str, ...] = ()
    """What names of other namespaces begin with, as this user's sessions see them (namespaces.py)."""
    _uses: tuple[tuple[object, ...], dict[str, tuple[bytes, ...]]] | None = None

    def __init__(
        self,
        root: bytes | Places,
        keeping: Keeping = AS_USUAL,
        *,
        delimiter: str = "auto",
        watcher: Watcher | None = None,
        prefix: str = "auto",
        quota_storage: int = 0,
        quota_messages: int = 0,
        quota_mailboxes: int = 0,
        unused: Unused | None = None,
        welcome: bool = False,
        inbox: bool = True,
        **other: Unpack[Differing],
    ) -> None:
        keeping = replace(keeping, **other)  # the layout is kept once there is something to keep it for
        self.layout = decide.decide(root if isinstance(root, Places) else Places(root))
        places = self.layout.places
        self._layout = layout = KINDS[places.kind](places, delimiter, links=keeping.follow_links == "owner")
        self.root, self.inbox = root, _ = places.root, layout.inbox
        self._glance = ground.glance(root, self.inbox)
        self.delimiter, self._attic = layout.delimiter, Attic(layout)
        _make_inbox(layout, wanted=inbox, welcome=welcome)
        server = takeover.last_server(self.inbox, layout.control(self.inbox))
        self.prefix = layout.prefix = _usual_prefix(server, self.delimiter) if prefix == "auto" else prefix
        if keeping.mirror == "auto":
            keeping = replace(keeping, mirror=server)
        neighbour = keeping.neighbour
        self.mirror, self._subscriptions = neighbour and neighbour.kind, Subscriptions(layout, neighbour)
        self.quota = Quota(
            root,
            Amount(quota_storage, quota_messages),
            counts_deleted=neighbour is None or neighbour.counts_deleted,
            padded=neighbour is not None and neighbour.pads_quota,
            synced=keeping.fsync != "never",
            folders=layout.storage,
        )
        self.quota_mailboxes, self.unused = quota_mailboxes, Unused() if unused is None else unused
        # None of these knows the account, so that it and they go as soon as nobody has them any more.
        self.texts, self.ahead, self.moves = texts, ahead, _ = Texts(layout.cache(self.inbox) or root), Ahead(), Moves()
        keeping = replace(keeping, uidvalidity=Counter(root).next, quota=self.quota, texts=texts, ahead=ahead)
        self.deleted = _deleted(layout, places, keeping, self.unused)
        self._mailboxes = Mailboxes(Opening(layout, keeping, watcher, self.deleted.keep), self.unused)
        find, self._chosen = partial(trees.find, layout), special_use.ChosenUses(root)
        self._renamed = renamed = partial(_renamed, self._chosen, layout.delimiter)
        self._changing = AccountLock(layout, lambda opened: renaming.finish(opened, layout.places(), renamed))
        self.making, self._trees = Making(root, self._changing), Trees(layout, self._changing)
        self.quota.warned, self.census = Warned(root, self._changing), partial(census.of, layout)
        self.metadata, self.url_keys = Metadata(root, find, self._changing), UrlKeys(root, self._changing)
        self.acls, self.seen = Acls(find, self._changing, self._trees.all), SeenDevices(root, self._changing)
        self.listing = Listing(layout, self.acls, None if watcher is None else watcher.still)
        self.standing = StandingFigures(root, self._mailboxes.known, keeping.shared_spool)
        self.ways, self.names = Ways(layout, self.acls, self._mailboxes), Names(self, watcher, renaming.INTENT)
        self._changing.changed = self.names.changed
        # Finish what a crash interrupted.
        self._trees.finish_rename()
        self._attic.sweep()

    def limit(
        self, storage: int, messages: int, mailboxes: int | None = None, rooms: tuple[MailboxRoom, ...] = ()
    ) -> None:
        """Change the limits of the quota, and which mailboxes it treats otherwise; *mailboxes* None: as they are."""
        if mailboxes is not None:
            self.quota_mailboxes = mailboxes
        if rooms != self._rooms:
            self._rooms = rooms
            self.quota.set_rooms(quota_rooms.resolve(rooms, self._layout.path, self.prefix, self.delimiter))
        self.quota.set_limit(Amount(storage, messages))

    def mailbox_count(self) -> int:
        """How many mailboxes there are, names that are only parents left out."""
        return 1 + len(self._trees.folders())

    def _demand_mailboxes(self, name: str, more: int) -> None:
        """Raise OverQuota when there is no room for *more* mailboxes and the parents that *name* lacks.

        The account's lock is held.
        """
        more += sum(self._trees.find(parent) is None for parent in self._trees.parents(name))
        if more and 0 < self.quota_mailboxes < self.mailbox_count() + more:
            raise OverQuota

    def demand_there(self) -> None:
        """Raise SpoolGone where the directory of the mail has gone since, unmounted or moved: it may come back."""
        try:
            os.stat(self._glance)  # one look, at each command that needs the mail
        except OSError:
            ground.demand_served(self.root, self.inbox)

    # --- what there is ----------------------------------------------------------------------------

    def known(self) -> Known:
        """Look at what mailboxes, names and subscriptions there are, for ``Names``; raises StoreError.

        A RENAME under way may show neither name.
        """
        with durable.as_store_error(self.root):
            tree, directories = self._layout.scan_from()
        mailboxes = {}
        rights: dict[str, Acl | None] = {}
        for name, path in {"INBOX": self._layout.inbox, **tree.folders}.items():
            try:
                state = os.stat(path)
            except OSError as error:
                if not absent(error):
                    raise durable.store_error(error, path) from error
                continue  # it went while we looked
            mailboxes[name] = (state.st_dev, state.st_ino, scan.born(scan.AT_FDCWD, path) or 0)
            try:
                acl = self.acls.at(path)
            except StoreError:
                rights[name] = None
            else:
                if acl.limits:
                    rights[name] = acl
        bare = {parent for name in [*mailboxes, *tree.bare] for parent in self._trees.parents(name)}
        return Known(
            mailboxes,
            frozenset(bare | tree.bare).difference(mailboxes),
            frozenset(self.subscriptions()),
            self.metadata.latest(),
            rights,
            self._beside(directories),
        )

    def directories(self) -> list[bytes]:
        """The directories in which folders, and the account's own files, come and go."""
        with durable.as_store_error(self.root):
            return list(self._beside(self._layout.scan_from()[1]))

    def _beside(self, directories: Iterable[bytes]) -> tuple[bytes, ...]:
        return tuple(dict.fromkeys((self.root, self._layout.control_root, *directories)))

    def paths(self) -> list[bytes]:
        """The folder of every mailbox."""
        return list(self._trees.all().values())

    def look(self, path: bytes) -> takeover.Found:
        """See what other servers have left for the folder at *path*."""
        return look(self._layout, path)

    def folders(self) -> tuple[Listed, ...]:
        """INBOX first, then every name in order, with the parents that exist as names only.

        The same object as long as nothing changed.
        """
        tree = self._trees.tree()
        if tree is not self.last_tree:
            # What some other program has removed may still be open, and known.
            there = {self._layout.inbox, *tree.folders.values()}
            self._mailboxes.gone_but(there)
            self.acls.forget_but(there)
            self.standing.forget_but(there)
            self.last_tree = tree
        return self.listing.rows(tree)

    def passed_over(self) -> tuple[tuple[bytes, str], ...]:
        """Folders on the disk that no client is shown, with why in words for people."""
        return self._trees.tree().passed_over

    def special_use(self) -> dict[str, tuple[bytes, ...]]:
        """The special-use attributes of mailboxes that have one (RFC 6154)."""
        paths, chosen, usual = self._trees.folders(), self._chosen.read(), self.usual
        before = self._uses
        if before is None or before[0][0] is not paths or before[0][1:] != (chosen, usual):
            settled = {each.name(self.prefix, self.delimiter): each.use for each in usual if each.use is not None}
            uses = special_use.by_name(paths, self.delimiter, chosen, settled)
            before = self._uses = (paths, chosen, usual), uses
        return before[1]

    def set_special_use(self, name: str, attributes: tuple[bytes, ...]) -> int:
        """Give a mailbox exactly these special uses, for good, and take them from any other that was given them.

        Returns the serial of the change of metadata that it is (RFC 6154 4), 0 when it changes nothing.
        """
        serial = 0
        with self._changing() as root:
            before = self.special_use()
            chosen = {
                other: tuple(a for a in uses if other == name or a not in attributes)
                for other, uses in {**self._chosen.read(), name: attributes}.items()
            }
            self._chosen.put(chosen, root)
            after = self.special_use()
            entry = (special_use.ENTRY,)
            others = {n: entry for n in {*before, *after} - {name} if before.get(n, ()) != after.get(n, ())}
            self.metadata.note(root, others)
            if before.get(name, ()) != after.get(name, ()):
                serial = self.metadata.note(root, {name: entry})
        self.metadata.wake()
        return serial

    def mailbox(self, name: str, patiently: Callable[[Callable[[], Mailbox]], Mailbox] | None = None) -> Mailbox:
        """Open a mailbox; raises MailboxMissing, NotSelectable, BadMailboxName, StoreError.

        *patiently* does what it is given, and is asked where that may take long: where there is no index yet.
        """
        return self.mailbox_at(self.folder_of(name), patiently)

    def folder_of(self, name: str) -> bytes:
        """The folder of a mailbox; raises MailboxMissing, NotSelectable, StoreError."""
        path = self._trees.find(name)
        if path is None:
            # Not ``exists``, which would look for the folder again: it may have been made in between.
            raise NotSelectable if self._trees.is_bare(name) else MailboxMissing
        return path

    def mailbox_at(self, path: bytes, patiently: Callable[[Callable[[], Mailbox]], Mailbox] | None = None) -> Mailbox:
        """As ``mailbox``, for who has asked for its folder."""
        if not self.layout.said:
            self._keep_layout()
        if patiently is not None and not self._mailboxes.known(path) and not _has_index(path):
            return patiently(lambda: self._mailboxes.at(path))
        return self._mailboxes.at(path)

    def _keep_layout(self) -> None:
        """Write down how the folders are laid out; where the spool is not ours to write it is decided at each start."""
        try:
            with self._changing() as root, durable.as_store_error(self.root):
                decide.keep(self.layout, root)
        except StoreError as error:
            log.info("layout not kept", path=self.root, why=error.detail)
        self.layout = replace(self.layout, said=True)

    def exists(self, name: str) -> bool:
        """Whether there is a mailbox of that name, or one below it, or a name that is none."""
        return self._trees.exists(name)

    # --- changing it ------------------------------------------------------------------------------

    def check_name(self, name: str) -> None:
        """Raise BadMailboxName for a name that no mailbox can have."""
        self._layout.path(name)

    def create(self, name: str) -> None:
        """Make a mailbox and the parents it lacks; raises MailboxExists, BadMailboxName."""
        path = self._layout.path(name)
        with self._changing():
            if self._trees.find(name) is not None:
                raise MailboxExists
            self._demand_mailboxes(name, 1)
            self._make_parents(name)
            self._attic.make(path)
            self._inherit(name, path)
        self.acls.named_anew()

    def delete(self, name: str) -> None:
        """Remove a mailbox; its children stay, and with them its name (RFC 3501 6.3.4)."""
        if self.deleted.seconds and (there := self._trees.find(name)) is not None:
            self.deleted.keep_all(partial(self._mailboxes.at, there))
        with self._changing() as root:
            path = self._trees.find(name)
            if path is None:
                if self._trees.has_children(name):
                    raise HasChildren
                if name in self._trees.tree().bare:
                    self._layout.remove_bare(name)
                    self._layout.forget()
                    self._forget(name, root)
                    return
                raise MailboxMissing
            told = self.acls.shared is not None and bool(self.acls.among([path]))
            trash = self._attic.take_out(path)
            self.quota.doubt()
            self._attic.clear_beside(path)
            self._forget(name, root)
        self._mailboxes.gone(path)
        self._attic.empty(trash)
        self.quota.tell()
        if told:
            self.acls.tell()

    def _forget(self, name: str, root: int) -> None:
        """Forget what was noted of a mailbox that is no more."""
        try:
            url_keys.deleted(root, name)
            self._chosen.forget(name, root)
            # Of mailboxes that are not here there may be private annotations.
            self.metadata.deleted(root, name, lambda each: each.startswith(self.beside) or self._trees.exists(each))
        except OSError as error:
            # It is gone all the same, and the client must hear so.
            log.warning("what was noted of a deleted folder stays", detail=error)

    def rename(self, old: str, new: str) -> None:
        """Rename a mailbox with its children, or move what is in INBOX to a new mailbox (RFC 3501 6.3.5)."""
        if old == "INBOX":
            self.create(new)
            inbox = self.mailbox("INBOX")
            uids = list(inbox.sync().uids)
            if uids:
                self.mailbox(new).copy_from(inbox, uids, move=True)
            # RFC 5464 4.1: INBOX keeps its annotations, and the new mailbox has them too.
            self.metadata.change(new, list(self.metadata.entries(old).values()))
            return
        if new == old:
            raise MailboxExists
        if new.startswith(old + self.delimiter):
            raise CannotDo(why="A mailbox cannot become a child of itself")
        with self._changing() as root:
            if self._trees.find(new) is not None or self._trees.has_children(new):
                raise MailboxExists
            moves = self._layout.moves(old, new)
            if not moves:
                raise MailboxMissing
            self._demand_mailboxes(new, 0)
            within = old + self.delimiter
            gone = [path for name, path in self._trees.folders().items() if name == old or name.startswith(within)]
            beside = self._layout.control_moves(moves)
            self._make_parents(new)
            for _, b in beside:
                # No mailbox has been there until now: what there is was left behind.
                shutil.rmtree(b, ignore_errors=True)
                os.makedirs(os.path.dirname(b), mode=0o700, exist_ok=True)
            renaming.carry_out(moves + beside, (old, new), root, self._renamed)
            if not self.quota.alike:
                self.quota.doubt()
        for path in gone:
            self._mailboxes.gone(path)
        self.quota.tell()
        self.acls.named_anew()

    def _make_parents(self, name: str) -> None:
        """Make the mailboxes above *name* that are not there."""
        levels = name.split(self.delimiter)
        for depth in range(1, len(levels)):
            parent = self.delimiter.join(levels[:depth])
            if self._trees.find(parent) is None:
                path = self._layout.path(parent)
                self._attic.make(path)
                self._inherit(parent, path)

    def _inherit(self, name: str, path: bytes) -> None:
        """Give a new mailbox the access control list of its parent (RFC 4314 4, CREATE)."""
        parent, _, _ = name.rpartition(self.delimiter)
        above = self._trees.find(parent) if parent else None
        if above is not None:
            self.acls.inherit(above, path)

    # --- subscriptions ----------------------------------------------------------------------------

    def subscriptions(self) -> list[str]:
        """The subscribed names, in the file's order, existing or not."""
        with durable.as_store_error(self.root):
            return self._subscriptions.read(self.beside)

    def release_subscriptions(self, kind: Kind) -> int:
        """Write the other server's file of subscriptions; returns how many there are."""
        with self._changing():
            return self._subscriptions.write(kind)

    def subscribe(self, name: str, *, elsewhere: bool = False) -> None:
        """Subscribe a mailbox, or a name that has children; raises MailboxMissing for any other.

        *elsewhere*: it is in another namespace, where the caller has seen it.
        """
        if not (elsewhere or self.exists(name)):
            raise MailboxMissing
        with self._changing():
            self._subscriptions.change(name, wanted=True, beside=self.beside)

    def unsubscribe(self, name: str) -> None:
        """Take a subscription back, if there is one."""
        with self._changing():
            self._subscriptions.change(name, wanted=False, beside=self.beside)


def hidden(account: Account, name: bytes) -> bytes:
    """Where something is kept in an account that is no mailbox to any server."""
    return os.path.join(account._layout.root, account._layout.attic, name)


def kept_below(account: Account, directory: bytes, path: bytes) -> bytes:
    """Where Dovecot keeps in *directory* what it knows of the folder at *path*."""
    return account._layout.below(directory, path)


def _deleted(layout: Layout, places: Places, keeping: Keeping, unused: Unused) -> Deleted[Account]:
    """Return what keeps the messages of an account that are expunged; it knows not the account, but how it is laid out.

    The directory is no mailbox to any server: in Maildir++ for want of a dot, among nested ones for it is in tmp/.
    """
    root = os.path.join(layout.root, layout.attic, deleted.NAME)
    places = Places(root, places.kind, utf8=places.utf8)

    def opens() -> Account:
        with durable.as_store_error(root):
            if not durable.is_untouched():
                os.makedirs(root, mode=0o700, exist_ok=True)
        alone = replace(keeping, mirror="none", coexist=False)
        return Account(places, alone, delimiter=layout.delimiter, prefix=layout.prefix, unused=unused)

    return Deleted(root, partial(_name_of, layout), opens)


def _name_of(layout: Layout, path: bytes) -> str | None:
    """The mailbox whose folder is at *path*; None where there is none. Raises StoreError."""
    if path == layout.inbox:
        return "INBOX"
    with durable.as_store_error(layout.root):
        return next((name for name, folder in layout.scan().folders.items() if folder == path), None)


def _usual_prefix(server: str, delimiter: str) -> str:
    """Return what stands before all names but INBOX where *server* has been."""
    # One server has no other way than to show all folders below INBOX; the files of others do not tell.
    known = servers.SERVERS.get(server)
    return "INBOX" + delimiter if known is not None and known.below_inbox else ""


def _renamed(chosen: special_use.ChosenUses, delimiter: str, opened: int, old: str, new: str) -> None:
    """Let what is noted of mailboxes follow a RENAME; the root is open as *opened*."""
    chosen.renamed(opened, old, new, delimiter)
    metadata.renamed(opened, old, new, delimiter)
    url_keys.renamed(opened, old, new, delimiter)


def _make_inbox(layout: Layout, *, wanted: bool, welcome: bool) -> None:
    """Make the root and INBOX, for their owner only, if they are not there; raises StoreError.

    Not *wanted*: nothing is made.
    *welcome*: where there was no mailbox at all, those for new users are noted to be made.
    """
    with durable.as_store_error(layout.root):
        if wanted and not durable.is_untouched():
            os.makedirs(layout.root, mode=0o700, exist_ok=True)
            if welcome and not os.path.isdir(os.path.join(layout.inbox, b"cur")) and not layout.scan().folders:
                begin(layout.root, FOR_NEW_USERS)
            for name in (b"cur", b"new", b"tmp"):
                os.makedirs(os.path.join(layout.inbox, name), mode=0o700, exist_ok=True)
        for path in {layout.root, layout.inbox} if wanted else {layout.root}:
            # Whose it is, and that no link of /proc leads there, shows before anything is asked of it.
            os.close(descriptors.open_directory(path))


def _has_index(folder: bytes) -> bool:
    return any(os.path.lexists(os.path.join(folder, name)) for name in (CHECKPOINT, JOURNAL))
