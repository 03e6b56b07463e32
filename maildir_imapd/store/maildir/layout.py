"""Mailbox names to folders and back: the one door from names to paths, for both ways of laying folders out.

A name never meets ``os.path`` anywhere else.  Every level is checked before a path is composed, a path is
composed, never normalised, and no link is followed (robustness rule 17).

    Maildir++   ``A.B`` is ``root/.A.B``: flat, so that a folder is always one entry of the root
    fs          ``A/B`` is ``root/A/B``: nested; a directory without cur/ is \\Noselect (Dovecot's LAYOUT=fs)
"""

from __future__ import annotations

import errno
import os
import stat
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, Final

from maildir_imapd import mutf7
from maildir_imapd.errors import BadMailboxName, MailboxExists
from maildir_imapd.phrases import Phrase
from maildir_imapd.store.disk import descriptors, durable
from maildir_imapd.store.threads import locks
from maildir_imapd.store.threads.locks import Rank

DEPTH = 16
# ext4, xfs and most others: 255 octets a directory entry.
ENTRY = 255
# A directory stamped less than this many seconds ago may change again within its clock's grain.
GRAIN: Final = 2.0
# Names whose paths an account remembers.
SPELLINGS: Final = 2048
SHARED: Final = b"dovecot-shared"
_MAILDIR: Final = (b"cur", b"new", b"tmp")
# Directories that programs keep among nested folders.
_OTHERS: Final = frozenset({*_MAILDIR, b"courierimapkeywords", b"courierimaphieracl"})
# What a folder's directory holds besides its children: a child may not have such a name.
_FILES: Final = frozenset({b"subscriptions", b"maildirsize", b"maildirfolder"})
_OF_SERVERS: Final = (b"dovecot-", b"dovecot.", b"courierimap", b"maildir-imapd.")

_Stamp = tuple[int, int]
_Seen = dict[bytes, tuple[_Stamp, list[bytes]]]


def split(name: str, delimiter: str) -> list[str]:
    """Check a mailbox name and return its levels; raises BadMailboxName.

    What is refused here could leave the spool, could not be told from another name, or could not be
    listed again.
    """
    levels = name.split(delimiter)
    if len(levels) > DEPTH:
        raise BadMailboxName(why=Phrase("it has more than {limit} levels", limit=DEPTH))
    for level in levels:
        if not level:
            raise BadMailboxName(why="a level of it is empty")
        if level in (".", "..") or "/" in level:
            raise BadMailboxName(why="it has a level that cannot be a directory name")
        if level[0] == "~":
            raise BadMailboxName(why="a level of it begins with ~")
        if any(ord(char) < 32 or ord(char) == 127 for char in level):
            raise BadMailboxName(why="it has control characters")
    if levels[0].isascii() and levels[0].upper() == "INBOX":
        levels[0] = "INBOX"
    return levels


def is_maildir(path: bytes) -> bool:
    """Whether *path* is a directory, and no link to one, with a cur/ of its own."""
    return _is_directory(path) and _is_directory(path + b"/cur")


_ABSENT: Final = {errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENAMETOOLONG}


def absent(error: OSError) -> bool:
    """Whether *error* says that there is nothing, or nothing for us.

    Any other is the disk's, or the process's, and no folder is gone for its sake.
    """
    return error.errno in _ABSENT


def _stamp(path: bytes) -> _Stamp:
    try:
        state = os.lstat(path)
    except OSError as error:
        if not absent(error):
            raise
        return 0, 0
    return state.st_mtime_ns, state.st_ctime_ns


def _is_directory(path: bytes) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError as error:
        if not absent(error):
            raise
        return False


@dataclass(frozen=True, slots=True)
class Places:
    """Where an account's files lie, as absolute paths; what Dovecot's mail_location says.

    *inbox*: of INBOX, if not *root*.  *control*: where Dovecot keeps its lists of UIDs, keywords and subscriptions,
    if not beside the mail.  *cache*: where our cache is kept, if not there.  *utf8*: folders are named in UTF-8, not
    modified UTF-7; otherwise new ones are as the old ones are.
    """

    root: bytes
    kind: str = "maildir++"  # maildir++ | fs
    inbox: bytes | None = None
    control: bytes | None = None
    cache: bytes | None = None
    utf8: bool = False


@dataclass(frozen=True, slots=True)
class Tree:
    """What a look at the spool found: mailboxes but INBOX with their folders, and *bare* names that are none."""

    folders: dict[str, bytes] = field(default_factory=dict)
    bare: frozenset[str] = frozenset()


class Layout(ABC):
    """One account's.  Safe from any thread.

    *delimiter* is what clients see between levels ("auto": what is natural).  *prefix* (``INBOX.``, as Courier has
    it) stands before every name but INBOX for clients and is no folder.
    """

    natural: ClassVar[str]
    # Between the levels on disk and in version 1 of the file of subscriptions.
    separator: ClassVar[bytes]
    # Where hidden folders are, below the root.
    attic: ClassVar[bytes]

    def __init__(self, places: Places, delimiter: str = "auto", prefix: str = "") -> None:
        self.root = places.root
        self.inbox = places.inbox or places.root
        self.control_root = places.control or places.root
        self.utf8 = places.utf8
        self.delimiter = self.natural if delimiter == "auto" else delimiter
        self.prefix = prefix
        self._control, self._cache = places.control, places.cache
        self._lock = locks.make(Rank.GUARD)  # guards what follows; held for no call
        self._tree = Tree()
        self._seen: _Seen = {}  # what was found in each directory, and at which stamp
        self._seen_at = 0.0  # when that look began; set after it, read before it
        self._settled = False  # whether the tree is good for as long as these stamps are

    # --- what there is ----------------------------------------------------------------------------

    def scan(self) -> Tree:
        """Look for every mailbox but INBOX, in the order of their names.  Links are passed over: they may lead out.

        The same object as long as nothing has changed.  Raises OSError when the root cannot be read.
        """
        return self.scan_from()[0]

    def scan_from(self) -> tuple[Tree, tuple[bytes, ...]]:
        """The same, with the directories that this very look looked into, be they half-made mailboxes."""
        with self._lock:
            tree, seen, settled = self._tree, self._seen, self._settled
        if settled and all(_stamp(path) == stamp for path, (stamp, _) in seen.items()):
            return tree, tuple(seen)
        began = time.time()
        fresh: _Seen = {}
        found = self._look(fresh)
        tree = Tree(dict(sorted(found.folders.items())), found.bare)
        # A stamp that is too young may hide a later change: then this look is good for once only.
        newest = max([max(stamp) for stamp, _ in fresh.values()], default=0)
        with self._lock:
            self._seen, self._settled = fresh, began - newest / 1e9 > GRAIN
            self._seen_at = began
            if tree != self._tree:
                self._tree = tree
            return self._tree, tuple(fresh)

    def places(self) -> tuple[bytes, ...]:
        """The directories below which all of the account lies."""
        return tuple(dict.fromkeys(path for path in (self.root, self._control, self._cache) if path is not None))

    def forget(self) -> None:
        """Look again at the next chance, whatever the stamps say."""
        with self._lock:
            self._seen, self._settled = {}, False

    def find(self, name: str) -> bytes | None:
        """The folder of a mailbox, also one that is spelled unusually on disk; None where there is none."""
        if name == "INBOX":
            return self.inbox
        try:
            path = self.path(name)
            if is_maildir(path):
                return path
        except BadMailboxName:
            pass  # another server may have made it all the same
        found = self.scan().folders.get(name)
        return found if found is not None and is_maildir(found) else None

    @abstractmethod
    def path(self, name: str) -> bytes:
        """Where the folder of a mailbox is, or would be made; raises BadMailboxName."""

    @abstractmethod
    def storage(self) -> list[bytes]:
        """Every folder that may hold mail, also those whose names cannot be shown: for counting."""

    @abstractmethod
    def _look(self, seen: _Seen) -> Tree: ...

    def spells_utf8(self) -> bool:
        """Whether folders are named in UTF-8 here."""
        return self.utf8

    def levels(self, name: str) -> list[str]:
        """The levels of a name as they are on disk, checked and without the prefix; raises BadMailboxName."""
        levels = split(name, self.delimiter)
        if self.prefix:
            if not name.upper().startswith(self.prefix.upper()):
                raise BadMailboxName(why=Phrase("it does not begin with {prefix}", prefix=self.prefix))
            levels = levels[self.prefix.count(self.delimiter) :]
        return levels

    def encode(self, text: str) -> bytes:
        """Spell a name for the disk."""
        return text.encode("utf-8") if self.utf8 else mutf7.encode(text)

    def plain(self, text: str) -> bytes | None:
        """The other spelling of a name on disk, in UTF-8; None where it has none, or that reads as another name."""
        if self.utf8:
            return None
        entry = text.encode("utf-8")
        return entry if entry != self.encode(text) and self.decode(entry) == text else None

    def decode(self, entry: bytes) -> str | None:
        """Read a name of the disk; None for what is none.

        Names that are not proper modified UTF-7 but are UTF-8 come from Courier 5 and are shown.
        """
        return mutf7.decode_utf8(entry) if self.utf8 else mutf7.decode_either(entry)

    def _entries(self, path: bytes, seen: _Seen) -> list[bytes]:
        """The directories in a directory, no links; notes them in *seen*.  Raises OSError."""
        stamp = _stamp(path)
        # What was listed while the stamp was young may lack what came later in the grain of its clock.
        seen_at = self._seen_at
        known = self._seen.get(path)
        if known is not None and known[0] == stamp and seen_at - max(stamp) / 1e9 > GRAIN:
            seen[path] = known
            return known[1]
        # By a descriptor: a path may have become a link to what another thread has open.
        directory = descriptors.open_directory(path)
        try:
            with descriptors.again(os.scandir, directory) as entries:
                found = [os.fsencode(entry.name) for entry in entries if entry.is_dir(follow_symlinks=False)]
        finally:
            os.close(directory)
        seen[path] = (stamp, found)
        return found

    # --- changing it ------------------------------------------------------------------------------

    @abstractmethod
    def make(self, path: bytes, nascent: bytes) -> None:
        """Make a folder that nobody sees half of; *nascent* is a hidden name.  Raises MailboxExists, OSError."""

    @abstractmethod
    def remove(self, path: bytes, trash: bytes) -> None:
        """Take a folder out of the tree, its children not, and what is left of it to the hidden name *trash*."""

    @abstractmethod
    def remove_bare(self, name: str) -> None:
        """Remove a name that is no mailbox and has no children; raises OSError."""

    @abstractmethod
    def moves(self, old: str, new: str) -> list[tuple[bytes, bytes]]:
        """The renames that RENAME is made of, as absolute paths; [] if there is nothing to rename.

        Checks every new name: raises BadMailboxName.
        """

    def control_moves(self, moves: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """The renames of Dovecot's control directories, where they lie apart, and of our caches, to go with *moves*."""
        found = []
        for of in (self.control, self.cache):
            for a, b in moves:
                source, target = of(a), of(b)
                if source is not None and target is not None and _is_directory(source):
                    found.append((source, target))
        return found

    # --- beside it --------------------------------------------------------------------------------

    def control(self, path: bytes) -> bytes | None:
        """Dovecot's control directory for the folder at *path*; None where it is the folder itself."""
        return self._beside(self._control, path)

    def cache(self, path: bytes) -> bytes | None:
        """Where our cache of the folder at *path* is to be; None for beside its index."""
        return self._beside(self._cache, path)

    def _beside(self, other: bytes | None, path: bytes) -> bytes | None:
        if other is None:
            return None
        return os.path.join(other, self._inbox_entry() if path == self.inbox else os.path.relpath(path, self.root))

    @abstractmethod
    def _inbox_entry(self) -> bytes: ...


class MaildirPlusPlus(Layout):
    """Flat folders: ``A.B`` is ``root/.A.B`` (maildir-formats 1).

    On disk there is always a dot between levels.  So a level may hold neither it nor the delimiter.
    """

    natural = "."
    separator = b"."
    attic = b""

    def __init__(self, places: Places, delimiter: str = "auto", prefix: str = "") -> None:
        super().__init__(places, delimiter, prefix)
        self._spelled: dict[str, tuple[bytes, bytes | None]] = {}

    def find(self, name: str) -> bytes | None:
        """The folder of a mailbox, also one that is spelled unusually on disk; None where there is none."""
        if name != "INBOX":
            try:
                usual, _ = self._spellings(name)
            except BadMailboxName:
                pass  # as below
            else:
                # It counts before any other, so that nobody need look whether there is one.
                if is_maildir(usual):
                    return usual
        return super().find(name)

    def _spellings(self, name: str) -> tuple[bytes, bytes | None]:
        """The usual path of a mailbox's folder, and the one in UTF-8 (``plain``); raises BadMailboxName."""
        found = self._spelled.get(name)
        if found is None:
            levels = self.levels(name)
            if any("." in level for level in levels):
                raise BadMailboxName(why="a level of it has a dot in it")
            text = ".".join(levels)
            plain = self.plain(text)
            found = (
                os.path.join(self.root, b"." + self.encode(text)),
                None if plain is None else os.path.join(self.root, b"." + plain),
            )
            if len(self._spelled) >= SPELLINGS:
                self._spelled.clear()
            self._spelled[name] = found
        return found

    def path(self, name: str) -> bytes:
        """Where the folder of a mailbox is, or would be made; raises BadMailboxName."""
        if name == "INBOX":
            return self.inbox
        path, other = self._spellings(name)
        # Courier 5 has new folders in UTF-8 beside old ones that are not.
        if other is not None and not os.path.lexists(path) and (os.path.lexists(other) or self.spells_utf8()):
            path = other
        if len(os.path.basename(path)) > ENTRY:
            raise BadMailboxName(why="it is too long")
        return path

    def spells_utf8(self) -> bool:
        """Whether folders are named in UTF-8 here, by the setting or told by those that need it."""
        if self.utf8:
            return True
        try:
            return any(self.name(entry) is not None and not entry.isascii() for entry in self._entries(self.root, {}))
        except OSError:
            return False

    def name(self, entry: bytes) -> str | None:
        """The mailbox of an entry of the root directory; None for what is none."""
        if entry[:1] != b"." or entry[:2] == b".." or len(entry) < 2:
            return None
        text = self.decode(entry[1:])
        if text is None:
            return None
        name = self.prefix + text.replace(".", self.delimiter)
        try:
            split(name, self.delimiter)
        except BadMailboxName:
            return None
        return name

    def storage(self) -> list[bytes]:
        """Every folder that may hold mail, also those whose names cannot be shown: for counting."""
        found = [os.path.join(self.root, entry) for entry in self._entries(self.root, {})]
        hidden = os.path.join(self.root, b"..")
        beside = [path for path in found if os.path.basename(path)[:1] == b"." and not path.startswith(hidden)]
        return [self.inbox, *[path for path in beside if path != self.inbox]]

    def _look(self, seen: _Seen) -> Tree:
        found: dict[str, bytes] = {}
        for entry in self._entries(self.root, seen):
            name = self.name(entry)
            path = os.path.join(self.root, entry)
            if name is None or name == "INBOX" or path == self.inbox:
                continue
            if is_maildir(path):
                # Two spellings of one name: the canonical one is the mailbox.
                if name in found and path != self.path(name):
                    continue
                found[name] = path
            else:
                # Half made perhaps: it is a folder once it has a cur/, which its parent's stamp does not show.
                seen[path] = _stamp(path), []
        return Tree(found)

    def make(self, path: bytes, nascent: bytes) -> None:
        """Make a folder that nobody sees half of; *nascent* is a hidden name.  Raises MailboxExists, OSError."""
        hidden = os.path.join(self.root, nascent)
        durable.make_directory(hidden, self.root)
        for sub in _MAILDIR:
            durable.make_directory(os.path.join(hidden, sub), self.root)
        _share(hidden, self.root)
        _touch(hidden, b"maildirfolder")
        durable.rename(hidden, path, -1, -1)

    def remove(self, path: bytes, trash: bytes) -> None:
        """Take a folder out of the tree, its children not, and what is left of it to the hidden name *trash*."""
        # One rename, and it is gone for everybody; emptying it can be interrupted.
        durable.rename(path, os.path.join(os.path.dirname(path), trash), -1, -1)

    def remove_bare(self, name: str) -> None:
        """Here there are no such names: one exists by its children only."""
        raise FileNotFoundError(name)

    def moves(self, old: str, new: str) -> list[tuple[bytes, bytes]]:
        """The renames that RENAME is made of, as absolute paths; [] if there is nothing to rename."""
        return [
            (path, self.path(new + name[len(old) :]))
            for name, path in self.scan().folders.items()
            if name == old or name.startswith(old + self.delimiter)
        ]

    def _inbox_entry(self) -> bytes:
        return b".INBOX"


class Nested(Layout):
    """Nested folders: ``A/B`` is ``root/A/B``, Dovecot's LAYOUT=fs (maildir-formats 1)."""

    natural = "/"
    separator = b"/"
    # Whatever a directory is called, Dovecot shows it, but for cur, new and tmp.
    attic = b"tmp"

    def path(self, name: str) -> bytes:
        """Where the folder of a mailbox is, or would be made; raises BadMailboxName."""
        if name == "INBOX":
            return self.inbox
        path = self.root
        for level in self.levels(name):
            path = self._child(path, level)
        return path

    def _child(self, directory: bytes, level: str) -> bytes:
        entry = self.encode(level)
        taken = entry in _FILES or entry.startswith(_OF_SERVERS)
        # What Dovecot has made all the same is a mailbox.
        if entry in _OTHERS or (taken and not _is_directory(os.path.join(directory, entry))):
            raise BadMailboxName(why=Phrase("the name {level} is reserved", level=level))
        if entry[:1] == b"~":
            raise BadMailboxName(why="a level of it begins with ~")
        path = os.path.join(directory, entry)
        if not _is_directory(path):
            if os.path.lexists(path):
                raise BadMailboxName(why=Phrase("{level} is no directory here", level=level))
            plain = self.plain(level)
            if plain is not None and _is_directory(other := os.path.join(directory, plain)):
                return other
            if len(entry) > ENTRY:
                raise BadMailboxName(why="it is too long")
        return path

    def storage(self) -> list[bytes]:
        """Every folder that may hold mail, also those whose names cannot be shown: for counting."""
        found, stack = [], [(self.root, 0)]
        while stack:
            path, depth = stack.pop()
            entries = self._entries_of(path, {})
            if b"cur" in entries and path != self.inbox:
                found.append(path)
            if depth < DEPTH:
                stack += [(os.path.join(path, entry), depth + 1) for entry in entries if entry not in _OTHERS]
        return [self.inbox, *found]

    def _look(self, seen: _Seen) -> Tree:
        found: dict[str, bytes] = {}
        bare: set[str] = set()
        stack = [(self.root, self.prefix, 0)]
        self._entries(self.root, seen)
        while stack:
            directory, above, depth = stack.pop()
            for entry in self._entries_of(directory, seen):
                level = None if entry in _OTHERS else self.decode(entry)
                if level is None or self.delimiter in level:
                    continue
                name = above + level
                try:
                    split(name, self.delimiter)
                except BadMailboxName:
                    continue
                path = os.path.join(directory, entry)
                if path != os.path.join(directory, self.encode(level)) and _is_directory(
                    os.path.join(directory, self.encode(level))
                ):
                    continue  # two spellings of one name: the canonical one is the mailbox
                if depth < DEPTH - 1:
                    stack.append((path, name + self.delimiter, depth + 1))
                if path == self.inbox or name == "INBOX":
                    continue
                if b"cur" in self._entries_of(path, seen):
                    found[name] = path
                else:
                    bare.add(name)
        return Tree(found, frozenset(bare))

    def _entries_of(self, path: bytes, seen: _Seen) -> list[bytes]:
        if path in seen:
            return seen[path][1]
        try:
            return self._entries(path, seen)
        except OSError as error:
            if not absent(error):
                raise
            return []  # it is gone, or not for us to read

    def make(self, path: bytes, nascent: bytes) -> None:
        """Make a folder that nobody sees half of.  Raises MailboxExists, OSError.

        It may be there as a directory that is no mailbox; cur/, which makes it one, comes last.
        """
        if not _is_directory(path):
            durable.make_directory(path, os.path.dirname(path))
        for sub in (b"tmp", b"new"):
            if not _is_directory(os.path.join(path, sub)):
                durable.make_directory(os.path.join(path, sub), path)
        _share(path, self.root)
        durable.make_directory(os.path.join(path, b"cur"), path)

    def remove(self, path: bytes, trash: bytes) -> None:
        """Take a folder out of the tree, its children not, and what is left of it to the hidden name *trash*."""
        attic = os.path.join(self.root, self.attic)
        if not _is_directory(attic):
            durable.make_directory(attic, self.root)
        hidden = os.path.join(attic, os.path.basename(trash))
        if all(entry in _OTHERS for entry in self._entries_of(path, {})):
            durable.rename(path, hidden, -1, -1)
            return
        os.mkdir(hidden, 0o700)
        # Without cur/ it is no mailbox any more; the rest is litter from then on.
        durable.rename(os.path.join(path, b"cur"), os.path.join(hidden, b"cur"), -1, -1)
        with descriptors.again(os.scandir, path) as entries:
            rest = [entry.name for entry in entries if entry.name in _OTHERS or not entry.is_dir(follow_symlinks=False)]
        for entry in rest:
            durable.rename(os.path.join(path, entry), os.path.join(hidden, entry), -1, -1)

    def remove_bare(self, name: str) -> None:
        """Remove a name that is no mailbox and has no children; raises OSError."""
        durable.remove_directory(self.path(name))

    def moves(self, old: str, new: str) -> list[tuple[bytes, bytes]]:
        """The renames that RENAME is made of: one, for children are inside."""
        tree = self.scan()
        source = tree.folders.get(old) or (self.path(old) if old in tree.bare else None)
        if source is None:
            return []
        for name in (*tree.folders, *tree.bare):
            if name.startswith(old + self.delimiter):
                split(new + name[len(old) :], self.delimiter)
        target = self.path(new)
        if _is_directory(target):
            # A name that is no mailbox gives way, unless there is anything in it.
            try:
                durable.remove_directory(target)
            except OSError:
                raise MailboxExists from None
        return [(source, target)]

    def _inbox_entry(self) -> bytes:
        return b"INBOX"


def _share(path: bytes, root: bytes) -> None:
    """Copy the mark of a shared spool into a new folder, as Dovecot does: with the mode of the folder."""
    if os.path.lexists(os.path.join(root, SHARED)):
        _touch(path, SHARED)


def _touch(directory: bytes, name: bytes) -> None:
    fd = descriptors.open_directory(directory)
    try:
        os.close(durable.create(name, fd, os.fstat(fd).st_mode & 0o666))
    except FileExistsError:
        pass
    finally:
        os.close(fd)


KINDS: Final[dict[str, type[Layout]]] = {"maildir++": MaildirPlusPlus, "fs": Nested}
