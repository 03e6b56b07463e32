"""One user's mailboxes: which there are, and making, removing, renaming and subscribing them.

One ``Account`` serves all sessions of a user in a process.  Other processes and other programs change the
same directories: nothing here is believed for longer than the directory's time stamps bear it out.

What a crash may leave: a folder under a hidden name that was not yet put in place or not yet emptied, both
swept at the next start; and a RENAME with children that was half done, which its intent file finishes.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from maildir_imapd.errors import (
    BadMailboxName,
    CannotDo,
    HasChildren,
    MailboxExists,
    MailboxMissing,
    NotSelectable,
    Refused,
)
from maildir_imapd.store import courier, durable, special_use, subscriptions, takeover
from maildir_imapd.store.layout import MaildirPlusPlus, is_maildir
from maildir_imapd.store.mailbox import Mailbox
from maildir_imapd.store.metadata import Metadata
from maildir_imapd.store.quota import Amount, Quota

if TYPE_CHECKING:
    from maildir_imapd.store.folder import Seed
    from maildir_imapd.store.mirror import Kind
    from maildir_imapd.store.watch import Watcher

logger = logging.getLogger(__name__)

LOCK = b"maildir-imapd.account.lock"
UIDVALIDITY = b"maildir-imapd.uidvalidity"
INTENT = b"maildir-imapd.rename"
SUBSCRIPTIONS = b"subscriptions"
SPECIAL_USE = b"maildir-imapd.special-use"
TRASH = b"..maildir-imapd-trash-"
NASCENT = b"..maildir-imapd-new-"

# A directory stamped less than this many seconds ago may change again within its clock's grain.
GRAIN = 2.0
# Mailboxes kept open although no session has them selected: STATUS and the next SELECT are quick then.
KEPT = 256


@dataclass(frozen=True, slots=True)
class Folder:
    """A row of LIST.  *marked* is whether new mail waits in it."""

    name: str
    path: bytes | None
    selectable: bool
    children: bool
    marked: bool | None = None


class Account:
    """*root* is the Maildir of the INBOX.  It is made, private to its owner, when it is not there.

    *mirror*: "dovecot", "courier" or "none", the server whose files are kept true beside ours; "auto" takes the
    one that has been here.  *coexist*: that server runs at the same time.  *prefix*: of all names but INBOX, as
    clients see them; ends in the delimiter; "auto" is "INBOX." where Courier has been, none elsewhere.
    *quota_storage* (octets), *quota_messages*: limits, 0 for none; without either the file maildirsize decides.
    """

    def __init__(
        self,
        root: bytes,
        *,
        delimiter: str = ".",
        fsync: str = "delivery",
        watcher: Watcher | None = None,
        mirror: str = "auto",
        coexist: bool = False,
        prefix: str = "auto",
        quota_storage: int = 0,
        quota_messages: int = 0,
    ) -> None:
        self.root = root
        self.delimiter = delimiter
        self._fsync = fsync
        self._watcher = watcher
        self._coexist = coexist
        # Guards _mailboxes, _kept and _listing; taken before any mailbox's lock, never held while a folder
        # is read.
        self._lock = threading.Lock()
        self._mailboxes: WeakValueDictionary[bytes, Mailbox] = WeakValueDictionary()
        self._kept: OrderedDict[bytes, Mailbox] = OrderedDict()
        self._listing: tuple[tuple[int, int], dict[str, bytes]] | None = None
        # Whether new/ had anything in it at these stamps; an entry is replaced whole, so no lock is needed.
        self._marks: dict[bytes, tuple[tuple[int, int], bool]] = {}
        # What was made of the paths last, and the paths: good for as long as they are the same object.
        self._rows: tuple[dict[str, bytes], tuple[Folder, ...]] | None = None
        self._uses: tuple[dict[str, bytes], dict[str, tuple[bytes, ...]], dict[str, tuple[bytes, ...]]] | None = None
        with durable.told(root):
            for name in (b"", b"cur", b"new", b"tmp"):
                os.makedirs(os.path.join(root, name), mode=0o700, exist_ok=True)
        server = takeover.look(root).server
        if prefix == "auto":
            # Courier has no other way than to show all folders below INBOX; Dovecot's files do not tell.
            prefix = "INBOX" + delimiter if server == "courier" else ""
        self.prefix = prefix
        self._layout = MaildirPlusPlus(root, delimiter, prefix)
        self._mirror: Kind | None = None
        if mirror == "auto":
            mirror = server
        if mirror != "none":
            self._mirror = "courier" if mirror == "courier" else "dovecot" if mirror == "dovecot" else None
        self.quota = Quota(
            root, Amount(quota_storage, quota_messages), padded=self._mirror == "courier", synced=fsync != "never"
        )
        self.metadata = Metadata(root, self._find, self._changing)
        self._recover()

    def limit(self, storage: int, messages: int) -> None:
        """Change the limits of the quota."""
        self.quota.set_limit(Amount(storage, messages))

    # --- what there is ----------------------------------------------------------------------------

    def _paths(self) -> dict[str, bytes]:
        """Every folder but INBOX, by mailbox name.  The same object as long as nothing changed."""
        with durable.told(self.root):
            state = os.stat(self.root)
            stamp = (state.st_mtime_ns, state.st_ctime_ns)
            with self._lock:
                if self._listing is not None and self._listing[0] == stamp:
                    return self._listing[1]
            paths = dict(sorted(self._layout.scan().items()))
        # A stamp that is too young may hide a later change: then this listing is good for once only.
        if time.time() - max(stamp) / 1e9 > GRAIN:
            with self._lock:
                self._listing = (stamp, paths)
                self._marks = {}
        return paths

    def folders(self) -> tuple[Folder, ...]:
        """INBOX first, then every name in order, with the parents that exist as names only.

        The same object as long as nothing changed.
        """
        paths = self._paths()
        before = self._rows
        if before is not None and before[0] is paths:
            rows = before[1]
            marks = [self._marked(row.path) for row in rows]
            if any(row.marked is not marked for row, marked in zip(rows, marks, strict=True)):
                rows = tuple([replace(row, marked=marked) for row, marked in zip(rows, marks, strict=True)])
        else:
            rows = self._tree(paths)
        self._rows = (paths, rows)
        return rows

    def _tree(self, paths: dict[str, bytes]) -> tuple[Folder, ...]:
        names: dict[str, bytes | None] = {"INBOX": self.root}
        names.update(paths)
        parents: set[str] = set()
        for name in paths:
            end = name.rfind(self.delimiter)
            while end > 0:
                parent = name[:end]
                if parent in parents:
                    break
                parents.add(parent)
                names.setdefault(parent, None)
                end = name.rfind(self.delimiter, 0, end)
        order = sorted(names, key=lambda name: (name != "INBOX", name))
        return tuple(
            [
                Folder(name, names[name], names[name] is not None, name in parents, self._marked(names[name]))
                for name in order
            ]
        )

    def _marked(self, path: bytes | None) -> bool | None:
        if path is None:
            return None
        new = path + b"/new"
        try:
            state = os.stat(new)
            stamp = (state.st_mtime_ns, state.st_ctime_ns)
            known = self._marks.get(path)
            if known is not None and known[0] == stamp:
                return known[1]
            with os.scandir(new) as entries:
                marked = any(not entry.name.startswith(b".") for entry in entries)
        except OSError:
            return None
        if time.time() - max(stamp) / 1e9 > GRAIN:
            self._marks[path] = (stamp, marked)
        return marked

    def special_use(self) -> dict[str, tuple[bytes, ...]]:
        """The special-use attributes of mailboxes that have one (RFC 6154)."""
        paths, chosen = self._paths(), self._chosen_uses()
        before = self._uses
        if before is None or before[0] is not paths or before[1] != chosen:
            before = self._uses = (paths, chosen, special_use.by_name(paths, self.delimiter, chosen))
        return before[2]

    def _chosen_uses(self) -> dict[str, tuple[bytes, ...]]:
        try:
            with open(os.path.join(self.root, SPECIAL_USE), "rb") as file:
                return special_use.parse(file.read())
        except FileNotFoundError:
            return {}

    def set_special_use(self, name: str, attributes: tuple[bytes, ...]) -> int:
        """Give a mailbox exactly these special uses, for good, and take them from any other that was given them.

        Returns the serial of the change of metadata that it is (RFC 6154 4), 0 when it changes nothing.
        """
        serial = 0
        with self._changing() as root:
            before = self.special_use()
            chosen = {
                other: tuple(a for a in uses if other == name or a not in attributes)
                for other, uses in {**self._chosen_uses(), name: attributes}.items()
            }
            self._put_uses(chosen, root)
            after = self.special_use()
            entry = (special_use.ENTRY,)
            others = {n: entry for n in {*before, *after} - {name} if before.get(n, ()) != after.get(n, ())}
            self.metadata.note(root, others)
            if before.get(name, ()) != after.get(name, ()):
                serial = self.metadata.note(root, {name: entry})
        self.metadata.wake()
        return serial

    def _put_uses(self, chosen: dict[str, tuple[bytes, ...]], root: int) -> None:
        if chosen != self._chosen_uses():
            durable.put(SPECIAL_USE, special_use.render(chosen), root, durable=True)
            durable.sync(root)

    def mailbox(self, name: str) -> Mailbox:
        """Open a mailbox; raises MailboxMissing, NotSelectable, BadMailboxName, StoreError."""
        path = self._find(name)
        if path is None:
            if self._has_children(name):
                raise NotSelectable
            raise MailboxMissing
        with self._lock:
            mailbox = self._mailboxes.get(path)
            if mailbox is None or mailbox.gone:
                mailbox = self._mailboxes[path] = self._open(path)
            self._kept[path] = mailbox
            self._kept.move_to_end(path)
            dropped = self._kept.popitem(last=False) if len(self._kept) > KEPT else None
        del dropped
        return mailbox

    def _open(self, path: bytes) -> Mailbox:
        """Make the object for a folder; at first contact it takes over what another server knew of it."""
        found: list[takeover.Found] = []

        def seed() -> Seed | None:
            found.append(takeover.look(path))
            return found[0].seed()

        mailbox = Mailbox(
            path,
            fsync=self._fsync,
            watcher=self._watcher,
            uidvalidity=self._next_uidvalidity,
            seed=seed,
            mirror=self._mirror,
            coexist=self._coexist,
            quota=self.quota,
        )
        if found and found[0].words:
            takeover.set_keywords(mailbox, found[0].words)
        return mailbox

    def _find(self, name: str) -> bytes | None:
        """The folder of *name*, also one that is spelled unusually on disk; None where there is none."""
        if name == "INBOX":
            return self.root
        try:
            path = self._layout.path(name)
        except BadMailboxName:
            return None
        if is_maildir(path):
            return path
        found = self._paths().get(name)
        return found if found is not None and is_maildir(found) else None

    def exists(self, name: str) -> bool:
        """Whether there is a mailbox of that name, or one below it."""
        return self._find(name) is not None or self._has_children(name)

    def _has_children(self, name: str) -> bool:
        prefix = name + self.delimiter
        return any(other.startswith(prefix) for other in self._paths())

    # --- changing it ------------------------------------------------------------------------------

    @contextmanager
    def _changing(self) -> Iterator[int]:
        """Hold the account's lock file; yields a descriptor of the root.

        Taken before any folder's lock.  The kernel frees it when its holder dies.
        """
        with durable.told(self.root):
            root = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                lock = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600, dir_fd=root)
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX)
                    yield root
                finally:
                    os.close(lock)
            finally:
                os.close(root)
                with self._lock:
                    self._listing = None

    def _next_uidvalidity(self) -> int:
        """A UIDVALIDITY that no mailbox of this account ever had: max(now, last + 1) (robustness rule 6).

        Called while a folder's lock is held, so its lock is a leaf of its own: the counter file itself,
        which is never replaced.
        """
        path = os.path.join(self.root, UIDVALIDITY)
        with durable.told(path):
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)
                text = os.pread(fd, 32, 0).strip()
                value = max(int(time.time()), int(text) + 1 if text.isdigit() else 0)
                durable.write_at(fd, b"%d\n" % value, 0)
                durable.sync(fd)
                return value
            finally:
                os.close(fd)

    def create(self, name: str) -> None:
        """Make a mailbox and the parents it lacks; raises MailboxExists, BadMailboxName."""
        path = self._layout.path(name)
        with self._changing() as root:
            if self._find(name) is not None:
                raise MailboxExists
            self._make_parents(name, root)
            self._make(path, root)

    def _make(self, path: bytes, root: int) -> None:
        """Make a folder under a hidden name and rename it into place: nobody sees half of one."""
        entry = os.path.basename(path)
        nascent = NASCENT + secrets.token_hex(8).encode()
        mode = os.fstat(root).st_mode & 0o777
        os.mkdir(nascent, mode, dir_fd=root)
        for sub in (b"cur", b"new", b"tmp"):
            os.mkdir(os.path.join(nascent, sub), mode, dir_fd=root)
        os.close(durable.create(os.path.join(nascent, b"maildirfolder"), root))
        try:
            durable.rename(nascent, entry, root, root)
        except FileExistsError:
            self._remove_tree(nascent)
            raise MailboxExists from None
        durable.sync(root)

    def delete(self, name: str) -> None:
        """Remove a mailbox; its children stay, and with them its name (RFC 3501 6.3.4)."""
        with self._changing() as root:
            path = self._find(name)
            if path is None:
                if self._has_children(name):
                    raise HasChildren
                raise MailboxMissing
            trash = TRASH + secrets.token_hex(8).encode()
            # One rename, and it is gone for everybody; emptying it can be interrupted.
            durable.rename(os.path.basename(path), trash, root, root)
            durable.sync(root)
            self.quota.doubt()
            try:
                self._put_uses({other: uses for other, uses in self._chosen_uses().items() if other != name}, root)
                self.metadata.deleted(root, name, self.exists)
            except OSError as error:
                # The mailbox is gone all the same, and the client must hear so.
                logger.warning("what was noted of a deleted folder stays", extra={"fields": {"detail": error}})
        self._gone(path)
        self._remove_tree(trash)

    def _gone(self, path: bytes) -> None:
        with self._lock:
            mailbox = self._mailboxes.pop(path, None)
            self._kept.pop(path, None)
        if mailbox is not None:
            mailbox.mark_gone()

    def _remove_tree(self, entry: bytes) -> None:
        """Remove a hidden folder; what cannot be removed now is swept at the next start."""

        def complain(function: object, path: str, info: object) -> None:
            logger.warning("cannot remove a deleted folder", extra={"fields": {"detail": f"{path}: {info}"}})

        shutil.rmtree(os.path.join(self.root, entry), onerror=complain)

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
            if self._find(new) is not None or self._has_children(new):
                raise MailboxExists
            moves = self._moves(old, new)
            if not moves:
                raise MailboxMissing
            self._make_parents(new, root)
            if len(moves) > 1:
                lines = b"".join(a + b"\0" + b + b"\n" for a, b in moves)
                durable.put(INTENT, lines, root, durable=True)
                durable.sync(root)
            for a, b in moves:
                durable.rename(a, b, root, root)
            durable.sync(root)
            if len(moves) > 1:
                durable.unlink(INTENT, root)
            self._rename_uses(old, new, root)
            self.metadata.renamed(root, old, new, self.delimiter)
        for a, _ in moves:
            self._gone(os.path.join(self.root, a))

    def _make_parents(self, name: str, root: int) -> None:
        """Make the mailboxes above *name* that are not there."""
        levels = name.split(self.delimiter)
        for depth in range(1, len(levels)):
            parent = self.delimiter.join(levels[:depth])
            if self._find(parent) is None:
                self._make(self._layout.path(parent), root)

    def _rename_uses(self, old: str, new: str, root: int) -> None:
        """Let the special uses that were chosen go along with their mailboxes."""
        chosen = self._chosen_uses()
        moved = {
            new + name[len(old) :] if name == old or name.startswith(old + self.delimiter) else name: uses
            for name, uses in chosen.items()
        }
        self._put_uses(moved, root)

    def _moves(self, old: str, new: str) -> list[tuple[bytes, bytes]]:
        """The renames of directory entries that RENAME is made of; checks every new name."""
        moves = []
        for name, path in self._paths().items():
            if name == old or name.startswith(old + self.delimiter):
                moves.append((os.path.basename(path), os.path.basename(self._layout.path(new + name[len(old) :]))))
        return moves

    def _recover(self) -> None:
        """Finish what a crash interrupted: a RENAME of several folders; sweep hidden ones."""
        try:
            entries = os.listdir(self.root)
        except OSError:
            return
        if INTENT in entries:
            with self._changing() as root:
                try:
                    lines = durable.read_file(INTENT, root).split(b"\n")
                except FileNotFoundError:
                    lines = []
                for line in lines:
                    a, _, b = line.partition(b"\0")
                    if b:
                        try:
                            durable.rename(a, b, root, root)
                        except (FileNotFoundError, FileExistsError):
                            # It was done before the crash, or somebody has taken the name since.
                            pass
                if lines:
                    durable.sync(root)
                    durable.unlink(INTENT, root)
        for entry in entries:
            if entry.startswith((TRASH, NASCENT)) and self._abandoned(entry):
                self._remove_tree(entry)

    def _abandoned(self, entry: bytes) -> bool:
        """Whether a hidden folder is old enough that nobody is still at work on it."""
        try:
            return time.time() - os.stat(os.path.join(self.root, entry)).st_ctime > 3600
        except OSError:
            return False

    # --- subscriptions ----------------------------------------------------------------------------

    def subscriptions(self) -> list[str]:
        """The subscribed names, in the file's order, existing or not."""
        return self._read_subscriptions()[0]

    def _read_subscriptions(self) -> tuple[list[str], int]:
        with durable.told(self.root):
            root = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                names, version = subscriptions.parse(durable.read_file(SUBSCRIPTIONS, root), self.delimiter)
                return self._prefixed(names), version
            except FileNotFoundError:
                pass
            try:
                # No file of Dovecot's form yet: what Courier's users subscribed to.
                names = courier.parse_subscriptions(durable.read_file(courier.SUBSCRIBED, root), self.delimiter)
                return self._prefixed(names), 2
            except FileNotFoundError:
                return [], 2
            finally:
                os.close(root)

    def release_subscriptions(self, kind: Kind) -> int:
        """Write the other server's file of subscriptions; returns how many there are."""
        with self._changing() as root:
            names, version = self._read_subscriptions()
            if kind == "courier":
                text = courier.render_subscriptions(self._plain(names), self.delimiter, utf8=self._utf8_names())
                durable.put(courier.SUBSCRIBED, text, root, durable=True)
            else:
                text = subscriptions.render(self._plain(names), self.delimiter, version)
                durable.put(SUBSCRIPTIONS, text, root, durable=True)
            durable.sync(root)
            return len(names)

    def _prefixed(self, names: list[str]) -> list[str]:
        """Names of a file, which lack the prefix, as clients see them."""
        return [name if name == "INBOX" else self.prefix + name for name in names]

    def _plain(self, names: list[str]) -> list[str]:
        """Names as the files have them."""
        return [name.removeprefix(self.prefix) for name in names]

    def _utf8_names(self) -> bool:
        """Whether Courier spells names in UTF-8 here (from version 5 on), told by those that need it."""
        return any(not os.path.basename(path).isascii() for path in self._paths().values())

    def subscribe(self, name: str) -> None:
        """Subscribe a mailbox, or a name that has children; raises MailboxMissing for any other."""
        if not self.exists(name):
            raise MailboxMissing
        self._change_subscription(name, wanted=True)

    def unsubscribe(self, name: str) -> None:
        """Take a subscription back; raises Refused when there is none."""
        self._change_subscription(name, wanted=False)

    def _change_subscription(self, name: str, *, wanted: bool) -> None:
        with self._changing() as root:
            names, version = self._read_subscriptions()
            if wanted == (name in names):
                if not wanted:
                    raise Refused("This mailbox is not subscribed")
                return
            if wanted:
                names.append(name)
            else:
                names.remove(name)
            durable.put(
                SUBSCRIPTIONS, subscriptions.render(self._plain(names), self.delimiter, version), root, durable=True
            )
            if self._mirror == "courier":
                text = courier.render_subscriptions(self._plain(names), self.delimiter, utf8=self._utf8_names())
                durable.put(courier.SUBSCRIBED, text, root, durable=True)
            durable.sync(root)
