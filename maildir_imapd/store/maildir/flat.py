"""Flat folders, Maildir++: every folder is one entry of the root."""

from __future__ import annotations

import os
from typing import Final

from maildir_imapd import normal
from maildir_imapd.errors import BadMailboxName
from maildir_imapd.store.disk import durable
from maildir_imapd.store.maildir.layout import (
    ENTRY_OCTETS,
    LINKED_FOLDERS,
    MAILDIR,
    MANY,
    TAKEN,
    Layout,
    Looked,
    NotShown,
    Places,
    Seen,
    Tree,
    is_maildir,
    share,
    split,
    stamp_of,
    touch,
)

# Names whose paths an account remembers.
SPELLINGS: Final = 2048


class MaildirPlusPlus(Layout):
    """Flat folders: ``A.B`` is ``root/.A.B`` (maildir-formats 1).

    On disk there is always a dot between levels.  So a level may hold neither it nor the delimiter.
    """

    natural = "."
    separator = b"."
    attic = b""

    def __init__(self, places: Places, delimiter: str = "auto", prefix: str = "", *, links: bool = False) -> None:
        super().__init__(places, delimiter, prefix, links=links)
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
                if self.is_folder(usual):
                    return usual
        return super().find(name)

    def first(self, name: str) -> bytes | None:
        """The path that counts as a mailbox's before any other, whatever else there is; None where others may."""
        if name != "INBOX":
            try:
                return self._spellings(name)[0]
            except BadMailboxName:
                return None
        return super().first(name)

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
        path = self._usual(name)
        if not name.isascii() and self.delimiter in name and not os.path.lexists(path):
            path = self._below_another(name, path)
        if len(os.path.basename(path)) > ENTRY_OCTETS:
            raise BadMailboxName(why="it is too long")
        return path

    def _below_another(self, name: str, path: bytes) -> bytes:
        """The path of a new folder below one that is spelled in decomposed letters: to others it is one tree."""
        try:
            folders = self.scan().folders
        except OSError:
            return path
        end = name.rfind(self.delimiter)
        while end > 0:
            if (above := folders.get(name[:end])) is not None:
                usual = self._usual(name[:end])
                return above + path[len(usual) :] if path.startswith(usual + b".") else path
            end = name.rfind(self.delimiter, 0, end)
        return path

    def _usual(self, name: str) -> bytes:
        """As ``path``, whatever the folders above it are called; raises BadMailboxName."""
        path, other = self._spellings(name)
        # Courier 5 has new folders in UTF-8 beside old ones that are not.
        if other is not None and not os.path.lexists(path) and (os.path.lexists(other) or self.spells_utf8()):
            path = other
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
        """The mailbox of an entry of the root directory; None for what is none, or cannot be shown."""
        try:
            return self._read(entry)
        except (NotShown, BadMailboxName):
            return None

    def _read(self, entry: bytes) -> str | None:
        """As ``name``, but raises NotShown or BadMailboxName for one that cannot be shown."""
        if entry[:1] != b"." or entry[:2] == b".." or len(entry) < 2:
            return None
        text = self.decode(entry[1:])
        if text is None:
            raise NotShown("its name is spelled in no known way")
        if not text.isascii() and (composed := normal.composed(text)) != text and not self._is_there(composed):
            text = composed
        # Spelled as clients' names are: INBOX in capitals, also above others.
        return self.delimiter.join(split(self.prefix + text.replace(".", self.delimiter), self.delimiter))

    def _is_there(self, text: str) -> bool:
        """Whether there is an entry of the root that is spelled just so."""
        spelled = (self.encode(text), self.plain(text))
        return any(entry is not None and os.path.lexists(os.path.join(self.root, b"." + entry)) for entry in spelled)

    def storage(self) -> list[bytes]:
        """Every folder that may hold mail, also those whose names cannot be shown: for counting."""
        found = [os.path.join(self.root, entry) for entry in self._entries(self.root, {})]
        hidden = os.path.join(self.root, b"..")
        beside = [path for path in found if os.path.basename(path)[:1] == b"." and not path.startswith(hidden)]
        return [self.inbox, *[path for path in beside if path != self.inbox]]

    def _look(self, seen: Seen) -> Tree:
        found: dict[str, bytes] = {}
        passed_over: list[tuple[bytes, str]] = []
        entries = self._entries(self.root, seen)
        links = [entry for entry in seen[self.root].links if entry[:1] == b"." and entry[:2] != b".."]
        links = self._followed(self.root, links, passed_over)
        passed_over += [(os.path.join(self.root, entry), MANY) for entry in links[LINKED_FOLDERS:]]
        for entry in [*entries, *links[:LINKED_FOLDERS]]:
            path = os.path.join(self.root, entry)
            if path == self.inbox:
                continue
            try:
                name = self._read(entry)
            except (NotShown, BadMailboxName) as error:
                if self.is_folder(path):
                    passed_over.append((path, str(error)))
                continue
            if name is None:
                continue
            if not is_maildir(path):
                # Half made perhaps: it is a folder once it has a cur/, which its parent's stamp does not show. Or it is
                # closed to us, for now.
                seen[path] = Looked(stamp_of(path))
            if not self.is_folder(path):
                continue
            if name == "INBOX":
                passed_over.append((path, TAKEN))
            elif name not in found:
                found[name] = path
            elif path == self._usual(name):
                # Two spellings of one name: the canonical one is the mailbox.
                passed_over.append((found[name], TAKEN))
                found[name] = path
            else:
                passed_over.append((path, TAKEN))
        return Tree(found, passed_over=tuple(passed_over))

    def make(self, path: bytes, nascent: bytes) -> None:
        """Make a folder that nobody sees half of; *nascent* is a hidden name.  Raises MailboxExists, OSError."""
        hidden = os.path.join(self.root, nascent)
        durable.make_directory(hidden, self.root)
        for sub in MAILDIR:
            durable.make_directory(os.path.join(hidden, sub), self.root)
        share(hidden, self.root)
        touch(hidden, b"maildirfolder")
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
