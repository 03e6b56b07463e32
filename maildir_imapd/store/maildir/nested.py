"""Nested folders, Dovecot's LAYOUT=fs: a folder below a folder, and directories that are no mailboxes between them."""

from __future__ import annotations

import os
from typing import Final

from maildir_imapd import normal
from maildir_imapd.errors import BadMailboxName, CannotDo, MailboxExists
from maildir_imapd.phrases import Phrase
from maildir_imapd.store.disk import descriptors, durable
from maildir_imapd.store.maildir.layout import (
    DEPTH,
    ENTRY_OCTETS,
    LINK,
    LINKED_FOLDERS,
    MAILDIR,
    MANY,
    TAKEN,
    Layout,
    NotShown,
    Seen,
    Tree,
    absent,
    is_directory,
    is_link,
    share,
    split,
)

# Directories that programs keep among nested folders.
_OTHERS: Final = frozenset({*MAILDIR, b"courierimapkeywords", b"courierimaphieracl"})
# What a folder's directory holds besides its children: a child may not have such a name.
_FILES: Final = frozenset({b"subscriptions", b"maildirsize", b"maildirfolder"})
_OF_SERVERS: Final = (b"dovecot-", b"dovecot.", b"courierimap", b"maildir-imapd.")


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
        if entry in _OTHERS or (taken and not is_directory(os.path.join(directory, entry))):
            raise BadMailboxName(why=Phrase("the name {level} is reserved", level=level))
        if entry[:1] == b"~":
            raise BadMailboxName(why="a level of it begins with ~")
        path = os.path.join(directory, entry)
        if not is_directory(path) and not (self.links and is_link(path)):
            if os.path.lexists(path):
                raise BadMailboxName(why=Phrase("{level} is no directory here", level=level))
            plain = self.plain(level)
            if plain is not None and is_directory(other := os.path.join(directory, plain)):
                return other
            if not level.isascii() and (spelled := self._decomposed(directory, level)) is not None:
                return spelled
            if len(entry) > ENTRY_OCTETS:
                raise BadMailboxName(why="it is too long")
        return path

    def _decomposed(self, directory: bytes, level: str) -> bytes | None:
        """The directory in *directory* whose name is *level* once it is composed; None where there is none."""
        for entry in self._entries_of(directory, {}):
            if not entry.isascii() or b"&" in entry:
                text = self.decode(entry)
                if text is not None and text != level and normal.composed(text) == level:
                    return os.path.join(directory, entry)
        return None

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

    def _look(self, seen: Seen) -> Tree:
        found: dict[str, bytes] = {}
        bare: set[str] = set()
        passed_over: list[tuple[bytes, str]] = []
        stack = [(self.root, self.prefix, 0, False)]
        self._entries(self.root, seen)
        behind_links = 0
        while stack:
            directory, above, depth, linked = stack.pop()
            entries = [(entry, linked) for entry in self._entries_of(directory, seen)]
            links = [entry for entry in seen[directory].links if entry not in _OTHERS] if directory in seen else []
            if linked:
                passed_over += [(os.path.join(directory, entry), LINK) for entry in links]
            else:
                entries += [(entry, True) for entry in self._followed(directory, links, passed_over)]
            for entry, through in entries:
                if entry in _OTHERS:
                    continue
                path = os.path.join(directory, entry)
                behind_links += through
                if through and behind_links > LINKED_FOLDERS:
                    passed_over.append((path, MANY))
                    continue
                try:
                    level = self._read(directory, entry)
                    # Spelled as clients' names are: INBOX in capitals, also above others.
                    name = self.delimiter.join(split(above + level, self.delimiter))
                except (NotShown, BadMailboxName) as error:
                    if path != self.inbox and self.is_folder(path):
                        passed_over.append((path, str(error)))
                    continue
                if depth < DEPTH - 1:
                    stack.append((path, name + self.delimiter, depth + 1, through))
                if path == self.inbox or name == "INBOX":
                    continue
                if b"cur" in self._entries_of(path, seen) or self.is_folder(path):
                    found[name] = path
                else:
                    bare.add(name)
        return Tree(found, frozenset(bare), tuple(passed_over))

    def _read(self, directory: bytes, entry: bytes) -> str:
        """The level of a name that an entry of *directory* is; raises NotShown where it cannot be."""
        level = self.decode(entry)
        if level is None:
            raise NotShown("its name is spelled in no known way")
        if self.delimiter in level:
            raise NotShown("its name has the delimiter in it")
        usual = os.path.join(directory, self.encode(level))
        if usual != os.path.join(directory, entry) and is_directory(usual):
            # Two spellings of one name: the canonical one is the mailbox.
            raise NotShown(TAKEN)
        if level.isascii() or (composed := normal.composed(level)) == level:
            return level
        # Beside one that is spelled composed it is another, with the name that it has.
        spelled = (self.encode(composed), self.plain(composed))
        beside = [os.path.join(directory, other) for other in spelled if other is not None]
        return level if any(map(os.path.lexists, beside)) else composed

    def _entries_of(self, path: bytes, seen: Seen) -> list[bytes]:
        if path in seen:
            return seen[path].directories
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
        if not is_directory(path):
            durable.make_directory(path, os.path.dirname(path))
        for sub in (b"tmp", b"new"):
            if not is_directory(os.path.join(path, sub)):
                durable.make_directory(os.path.join(path, sub), path)
        share(path, self.root)
        durable.make_directory(os.path.join(path, b"cur"), path)

    def remove(self, path: bytes, trash: bytes) -> None:
        """Take a folder out of the tree, its children not, and what is left of it to the hidden name *trash*."""
        if is_link(path) and any(entry not in _OTHERS for entry in self._entries_of(path, {})):
            raise CannotDo(why="It is a link to a folder with others below")
        attic = os.path.join(self.root, self.attic)
        if not is_directory(attic):
            durable.make_directory(attic, self.root)
        hidden = os.path.join(attic, os.path.basename(trash))
        # Of a link it is the link that goes, and not what it leads to.
        if is_link(path) or all(entry in _OTHERS for entry in self._entries_of(path, {})):
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
        if is_link(source) and os.path.dirname(source) != os.path.dirname(target):
            raise CannotDo(why="It is a link, which stays where it is")
        if is_directory(target):
            # A name that is no mailbox gives way, unless there is anything in it.
            try:
                durable.remove_directory(target)
            except OSError:
                raise MailboxExists from None
        return [(source, target)]

    def _inbox_entry(self) -> bytes:
        return b"INBOX"
