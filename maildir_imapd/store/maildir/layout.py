"""Mailbox names to folders and back: the one door from names to paths, for both ways of laying folders out.

What both ways have in common is here; flat.py and nested.py are the two.

A name never meets ``os.path`` anywhere else.  Every level is checked before a path is composed, a path is
composed, never normalised, and a link is followed only if the settings say so, to a folder of whom the root is too
(robustness rule 17). Behind a link no other one is: what is looked at stays as large as what there is.

    Maildir++   ``A.B`` is ``root/.A.B``: flat, so that a folder is always one entry of the root
    fs          ``A/B`` is ``root/A/B``: nested; a directory without cur/ is \\Noselect (Dovecot's LAYOUT=fs)
"""

from __future__ import annotations

import errno
import os
import stat
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar, Final

from maildir_imapd import mutf7
from maildir_imapd.errors import BadMailboxName
from maildir_imapd.phrases import Phrase
from maildir_imapd.store.disk import descriptors, durable
from maildir_imapd.store.threads import locks
from maildir_imapd.store.threads.locks import Rank

DEPTH = 16
# ext4, xfs and most others: 255 octets a directory entry.
ENTRY_OCTETS = 255
# A directory stamped less than this many seconds ago may change again within its clock's grain.
GRAIN_SECONDS: Final = 2.0
SHARED: Final = b"dovecot-shared"
MAILDIR: Final = (b"cur", b"new", b"tmp")

_Stamp = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Looked:
    """The directories in a directory at one stamp of it, and the links to directories, by name."""

    stamp: _Stamp
    directories: list[bytes] = field(default_factory=list)
    links: list[bytes] = field(default_factory=list)


Seen = dict[bytes, Looked]


class NotShown(Exception):
    """A folder has no name that clients could be shown; says why, to the administrator."""


LINK: Final = "it is a link, which is not followed"
OTHERS_LINK: Final = "it is a link to what is not the user's own, or out of reach"
LOOP: Final = "it is a link to a folder above it"
MANY: Final = "it is one of too many folders behind links"
OF_LINKS: Final = frozenset({LINK, OTHERS_LINK, LOOP, MANY})
# So many folders behind links are shown; there may be links to whole trees.
LINKED_FOLDERS: Final = 1000
TAKEN: Final = "another folder has its name"


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
    return is_directory(path) and is_directory(path + b"/cur")


def is_folder(path: bytes) -> bool:
    """Whether there is a Maildir at *path*, or a directory that we may not look into: it may be one.

    Nobody who asks for the latter hears that there is nothing: it is named, and refused when it is opened.
    """
    return is_maildir(path) or _is_closed(path)


def _is_closed(path: bytes) -> bool:
    try:
        os.lstat(path + b"/cur")
    except OSError as error:
        return error.errno in (errno.EACCES, errno.EPERM) and is_directory(path)
    return False


_ABSENT: Final = {errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENAMETOOLONG}


def absent(error: OSError) -> bool:
    """Whether *error* says that there is nothing, or nothing for us.

    Any other is the disk's, or the process's, and no folder is gone for its sake.
    """
    return error.errno in _ABSENT


def stamp_of(path: bytes) -> _Stamp:
    """Return mtime and ctime (ns) of what is at *path*, (0, 0) where there is nothing for us; raises OSError.

    Of a link it is that of what it leads to: another one changes the directory that the link is in.
    """
    try:
        state = os.stat(path)
    except OSError as error:
        if not absent(error):
            raise
        return 0, 0
    return state.st_mtime_ns, state.st_ctime_ns


def _mode(path: bytes) -> int:
    """The mode of what is at *path*, itself a link or not, 0 where there is nothing for us; raises OSError."""
    try:
        return os.lstat(path).st_mode
    except OSError as error:
        if not absent(error):
            raise
        return 0


def is_directory(path: bytes) -> bool:
    """Whether there is a directory, and no link to one, at *path*; raises OSError where that cannot be seen."""
    return stat.S_ISDIR(_mode(path))


def is_link(path: bytes) -> bool:
    """Whether there is a link at *path*, wherever it leads; raises OSError where that cannot be seen."""
    return stat.S_ISLNK(_mode(path))


def _leads_to_directory(link: os.DirEntry[str]) -> bool:
    try:
        return link.is_dir()
    except OSError as error:
        if not absent(error):
            raise
        return False  # in a circle, say


def look_into(path: bytes, stamp: _Stamp = (0, 0), *, root: bytes | None = None, links: bool = False) -> Looked:
    """List the directories in the directory at *path*, and the links to some; *stamp* is its own.  Raises OSError.

    With *root*, *path* lies below it, and *links* are followed from there on as ``descriptors.open_below`` does.
    """
    # By a descriptor: a path may have become a link to what another thread has open.
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    directory, _ = descriptors.open_below(path, flags, root=path if root is None else root, links=links)
    try:
        found = Looked(stamp)
        with descriptors.again(os.scandir, directory) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    found.directories.append(os.fsencode(entry.name))
                elif entry.is_symlink() and _leads_to_directory(entry):
                    found.links.append(os.fsencode(entry.name))
    finally:
        os.close(directory)
    return found


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
    """The result of a look at the spool: mailboxes but INBOX with their folders, and *bare* names that are none.

    *passed_over*: folders that no client is shown, with why in words for people.
    """

    folders: dict[str, bytes] = field(default_factory=dict)
    bare: frozenset[str] = frozenset()
    passed_over: tuple[tuple[bytes, str], ...] = ()


class Layout(ABC):
    """One account's.  Safe from any thread.

    *delimiter* is what clients see between levels ("auto": what is natural).  *prefix* (``INBOX.``, as Courier has
    it) stands before every name but INBOX for clients and is no folder.  *links*: whether links to folders are
    followed.
    """

    natural: ClassVar[str]
    # Between the levels on disk and in version 1 of the file of subscriptions.
    separator: ClassVar[bytes]
    # Where hidden folders are, below the root.
    attic: ClassVar[bytes]

    def __init__(self, places: Places, delimiter: str = "auto", prefix: str = "", *, links: bool = False) -> None:
        self.root = places.root
        self.links = links
        self.inbox = places.inbox or places.root
        self.control_root = places.control or places.root
        self.utf8 = places.utf8
        self.delimiter = self.natural if delimiter == "auto" else delimiter
        self.prefix = prefix
        self._control, self._cache = places.control, places.cache
        self._lock = locks.make(Rank.GUARD)  # guards what follows; held for no call
        self._tree = Tree()
        self._seen: Seen = {}  # what was found in each directory, and at which stamp
        self._seen_at = 0.0  # when that look began; set after it, read before it
        self._settled = False  # whether the tree is good for as long as these stamps are

    # --- what there is ----------------------------------------------------------------------------

    def scan(self) -> Tree:
        """Look for every mailbox but INBOX, in the order of their names.

        The same object as long as nothing has changed.  Raises OSError when the root cannot be read.
        """
        return self.scan_from()[0]

    def scan_from(self) -> tuple[Tree, tuple[bytes, ...]]:
        """The same, with the directories that this very look looked into, be they half-made mailboxes."""
        with self._lock:
            tree, seen, settled = self._tree, self._seen, self._settled
        if settled and all(stamp_of(path) == entries.stamp for path, entries in seen.items()):
            return tree, tuple(seen)
        began = time.time()
        fresh: Seen = {}
        found = self._look(fresh)
        tree = Tree(dict(sorted(found.folders.items())), found.bare, tuple(sorted(found.passed_over)))
        # A stamp that is too young may hide a later change: then this look is good for once only.
        newest = max([max(entries.stamp) for entries in fresh.values()], default=0)
        with self._lock:
            self._seen, self._settled = fresh, began - newest / 1e9 > GRAIN_SECONDS
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
            if self.is_folder(path):
                return path
        except BadMailboxName:
            pass  # another server may have made it all the same
        found = self.scan().folders.get(name)
        return found if found is not None and self.is_folder(found) else None

    def first(self, name: str) -> bytes | None:
        """The path that counts as a mailbox's before any other, whatever else there is; None where others may."""
        return self.inbox if name == "INBOX" else None

    def above(self, path: bytes) -> bytes | None:
        """The root if the folder at *path* lies below it; None for one where the settings say it is."""
        return self.root if path != self.inbox and path.startswith(os.path.join(self.root, b"")) else None

    def is_folder(self, path: bytes) -> bool:
        """As the function of that name; also behind links, where they are followed.  Raises OSError."""
        if is_folder(path):
            return True
        return self.links and (is_link(path) or is_link(os.path.join(path, b"cur"))) and self._leads_to_folder(path)

    def _leads_to_folder(self, path: bytes) -> bool:
        flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
        try:
            folder, owner = descriptors.open_below(path, flags, root=self.above(path) or path, links=True)
            try:
                os.close(descriptors.open(b"cur", flags, dir_fd=folder, owner=owner))
            finally:
                os.close(folder)
        except OSError as error:
            if not absent(error):
                raise
            return False
        return True

    def _why_not(self, path: bytes) -> str | None:
        """Why the link at *path* is not followed; None if it is, to a directory of whom the root is."""
        if not self.links:
            return LINK
        flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
        try:
            found, _ = descriptors.open_below(path, flags, root=self.root, links=True)
        except OSError as error:
            if not absent(error):
                raise
            return OTHERS_LINK
        try:
            here = os.fstat(found)
        finally:
            os.close(found)
        while len(path) > len(self.root):
            path = os.path.dirname(path)
            try:
                if os.path.samestat(os.stat(path), here):
                    return LOOP
            except OSError:
                continue  # it is gone meanwhile, and so is what is below
        return None

    @abstractmethod
    def path(self, name: str) -> bytes:
        """Where the folder of a mailbox is, or would be made; raises BadMailboxName."""

    @abstractmethod
    def storage(self) -> list[bytes]:
        """Every folder that may hold mail, also those whose names cannot be shown: for counting."""

    @abstractmethod
    def _look(self, seen: Seen) -> Tree: ...

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

    def _followed(self, directory: bytes, links: Iterable[bytes], passed_over: list[tuple[bytes, str]]) -> list[bytes]:
        """Those of the *links* to directories in *directory* that are followed; notes the others in *passed_over*."""
        found: list[bytes] = []
        for entry in links:
            path = os.path.join(directory, entry)
            why = self._why_not(path)
            if why is None:
                found.append(entry)
            else:
                passed_over.append((path, why))
        return found

    def _entries(self, path: bytes, seen: Seen) -> list[bytes]:
        """The directories in a directory at or below the root, no links; notes both in *seen*.  Raises OSError."""
        stamp = stamp_of(path)
        # What was listed while the stamp was young may lack what came later in the grain of its clock.
        seen_at = self._seen_at
        known = self._seen.get(path)
        if known is not None and known.stamp == stamp and seen_at - max(stamp) / 1e9 > GRAIN_SECONDS:
            seen[path] = known
            return known.directories
        found = look_into(path, stamp, root=self.root, links=self.links)
        seen[path] = found
        return found.directories

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
                if source is not None and target is not None and is_directory(source):
                    found.append((source, target))
        return found

    # --- beside it --------------------------------------------------------------------------------

    def control(self, path: bytes) -> bytes | None:
        """Dovecot's control directory for the folder at *path*; None where it is the folder itself."""
        return None if self._control is None else self.below(self._control, path)

    def cache(self, path: bytes) -> bytes | None:
        """Where our cache of the folder at *path* is to be; None for beside its index."""
        return None if self._cache is None else self.below(self._cache, path)

    def below(self, other: bytes, path: bytes) -> bytes:
        """Where Dovecot keeps in the directory *other* what it knows of the folder at *path*."""
        return os.path.join(other, self._inbox_entry() if path == self.inbox else os.path.relpath(path, self.root))

    @abstractmethod
    def _inbox_entry(self) -> bytes: ...


def share(path: bytes, root: bytes) -> None:
    """Copy the mark of a shared spool into a new folder, as Dovecot does: with the mode of the folder."""
    if os.path.lexists(os.path.join(root, SHARED)):
        touch(path, SHARED)


def touch(directory: bytes, name: bytes) -> None:
    """Make an empty file with the mode of its directory, if it is not there; raises OSError."""
    fd = descriptors.open_directory(directory)
    try:
        os.close(durable.create(name, fd, os.fstat(fd).st_mode & 0o666))
    except FileExistsError:
        pass
    finally:
        os.close(fd)
