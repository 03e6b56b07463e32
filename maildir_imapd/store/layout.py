"""Mailbox names to folders and back: the one door from names to paths.

A name never meets ``os.path`` anywhere else.  Every level is checked before a path is composed, and a
path is composed, never normalised (robustness rule 17).
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass

from maildir_imapd import mutf7
from maildir_imapd.errors import BadMailboxName

DEPTH = 16
# ext4, xfs and most others: 255 octets a directory entry.
ENTRY = 255


def split(name: str, delimiter: str) -> list[str]:
    """Check a mailbox name and return its levels; raises BadMailboxName.

    What is refused here could leave the spool, could not be told from another name, or could not be
    listed again.
    """
    levels = name.split(delimiter)
    if len(levels) > DEPTH:
        raise BadMailboxName(why=f"it has more than {DEPTH} levels")
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


@dataclass(frozen=True, slots=True)
class MaildirPlusPlus:
    """Flat folders: ``A.B`` is ``root/.A.B``, INBOX the root itself (maildir-formats 1).

    *delimiter* is what clients see; on disk it is always a dot.  So a level may hold neither, unless
    they are the same.  *prefix* (``INBOX.``, as Courier has it) stands before every name but INBOX for clients
    and is no folder.
    """

    root: bytes
    delimiter: str = "."
    prefix: str = ""

    def path(self, name: str) -> bytes:
        """The folder of a mailbox; raises BadMailboxName."""
        if name == "INBOX":
            return self.root
        levels = split(name, self.delimiter)
        if self.prefix:
            if not name.upper().startswith(self.prefix.upper()):
                raise BadMailboxName(why=f"it does not begin with {self.prefix}")
            levels = levels[self.prefix.count(self.delimiter) :]
        if any("." in level for level in levels):
            raise BadMailboxName(why="a level of it has a dot in it")
        entry = b"." + mutf7.encode(".".join(levels))
        if len(entry) > ENTRY:
            raise BadMailboxName(why="it is too long")
        return os.path.join(self.root, entry)

    def name(self, entry: bytes) -> str | None:
        """The mailbox of an entry of the root directory; None for what is none.

        Names that are not proper modified UTF-7 but are UTF-8 come from Courier 5 and are shown.
        """
        if entry[:1] != b"." or entry[:2] == b".." or len(entry) < 2:
            return None
        try:
            text = mutf7.decode(entry[1:])
        except ValueError:
            try:
                text = entry[1:].decode("utf-8")
            except UnicodeDecodeError:
                return None
        name = self.prefix + text.replace(".", self.delimiter)
        try:
            split(name, self.delimiter)
        except BadMailboxName:
            return None
        return name

    def scan(self) -> dict[str, bytes]:
        """Every mailbox but INBOX with its folder.  Links are passed over: they may lead out of the spool.

        Raises OSError when the root cannot be read.
        """
        found: dict[str, bytes] = {}
        with os.scandir(self.root) as entries:
            for entry in entries:
                name = self.name(entry.name)
                if name is None or not entry.is_dir(follow_symlinks=False):
                    continue
                if is_maildir(entry.path):
                    # Two spellings of one name: the canonical one is the mailbox.
                    if name in found and entry.path != self.path(name):
                        continue
                    found[name] = entry.path
        return found


def is_maildir(path: bytes) -> bool:
    """Whether *path* is a directory, and no link to one, with a cur/ of its own."""
    try:
        return all(stat.S_ISDIR(os.lstat(part).st_mode) for part in (path, os.path.join(path, b"cur")))
    except OSError:
        return False
