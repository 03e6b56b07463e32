"""A folder's message files: where each lies, and giving one another name.

The name that index and base ask for is where a message should be. Other programs rename files as they like, and some
names cannot be made what we would have them be (a tail of somebody's, another mark before the flags than the rest of
the folder has, a spool that is not ours to write): where such a file lies is remembered as odd.
"""

from __future__ import annotations

import os
import stat
from typing import Final

from maildir_imapd.events import Log
from maildir_imapd.store.disk import descriptors, durable
from maildir_imapd.store.disk.descriptors import Descriptor
from maildir_imapd.store.index.snapshot import Snapshot
from maildir_imapd.store.maildir import filename, scan
from maildir_imapd.store.maildir.filename import IN_NEW

log = Log(__name__)

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# So many files that are not served are named in the log, of one folder.
_NAMED_FILES: Final = 100


class Files:
    """One folder's. *directory* is in use meanwhile; whatever renames runs under the folder's lock.

    *owner*: the uid whose directories and files links may lead to (``descriptors.open``); None for nobody's.
    *shared*: other hosts change them, too.
    """

    def __init__(self, directory: Descriptor, path: bytes, owner: int | None, *, shared: bool = False) -> None:
        self.path = path
        self._shared = shared
        self.owner = owner
        self.mark = scan.mark(directory.number, owner)  # what names here have before the flags (filename.py)
        self.odd: dict[bytes, bytes] = {}  # base -> path of a file that is not named as usual
        self.suspicious = False  # a listing was not to be trusted: list again at the next chance
        self._directory = directory
        self._noted: set[bytes] = set()  # files that are not served, of which the log has a line

    @property
    def fd(self) -> int:
        """The folder's directory."""
        return self._directory.number

    def look(self) -> tuple[int, int, int, int]:
        """The stamps of cur/ and new/, see scan.py."""
        return scan.look_anew(self.fd) if self._shared else scan.look(self.fd)

    def suspect(self) -> None:
        """Have cur/ listed at the next chance: a message was not where it should be."""
        self.suspicious = True

    def place(self, rows: Snapshot, at: int, base: bytes | None = None) -> bytes:
        """Return the path below the folder where the message at position *at* of *rows*, of *base*, should be."""
        if base is None:
            base = rows.name(at)
        return self.odd.get(base) or filename.render(base, rows.flags[at], self.mark)

    def open_cur(self) -> int:
        """Open cur/, for who opens many messages in it; whoever calls closes it. Raises OSError."""
        with self._directory.use() as directory:
            return descriptors.open(b"cur", _DIRECTORY, dir_fd=directory, owner=self.owner)

    def names(self, directory: bytes) -> list[bytes]:
        """List the names in new/ or cur/ that may be messages."""
        return scan.names(self.fd, directory, self.owner)

    def listing(self, directory: bytes) -> tuple[list[bytes], set[bytes]]:
        """List the names in new/ or cur/ that may be messages, and which of them are no regular files."""
        return scan.listing(self.fd, directory, self.owner)

    def inspect(self, path: bytes) -> os.stat_result | None:
        """Return the status of the message file at *path*, None if it is gone, or nothing that is served."""
        return scan.inspect(self.fd, path, self.owner)

    def pass_over(self, path: bytes) -> None:
        """Name in the log, once, what lies among the messages and is none."""
        if path in self._noted or len(self._noted) >= _NAMED_FILES or not self.is_link(path):
            return
        self._noted.add(path)
        log.warning("message passed over", path=self.path + b"/" + path, why="it is a link that is not followed")

    def is_link(self, path: bytes) -> bool:
        """Whether there is a link at *path*, wherever it leads; no if that cannot be seen."""
        try:
            return stat.S_ISLNK(os.stat(path, dir_fd=self.fd, follow_symlinks=False).st_mode)
        except OSError:
            return False

    def locate(self) -> dict[bytes, bytes]:
        """List both directories: base -> path. For messages that are not where they should be."""
        found: dict[bytes, bytes] = {}
        for directory in (b"new", b"cur"):
            for name in self.names(directory):
                found[filename.parse(name).base] = directory + b"/" + name
        return found

    def rename(self, base: bytes, source: bytes, bits: int) -> bytes:
        """Give the file at *source* the name that its base and *bits* ask for, and return its path; raises OSError."""
        parsed = filename.parse(source)
        mark = parsed.mark or self.mark
        cramped = filename.cramped(base)
        target = b"cur/" + source[4:] if cramped else filename.render(base, bits & ~IN_NEW, mark) + parsed.tail
        if target != source:
            try:
                durable.rename(source, target, self.fd, self.fd)
            except FileExistsError:
                # Another message has our name, base and all. It gets a name of its own, and we get ours.
                self.make_way(target)
                durable.rename(source, target, self.fd, self.fd)
        if parsed.tail or mark != self.mark or cramped:
            self.odd[base] = target
        else:
            self.odd.pop(base, None)
        return target

    def make_way(self, path: bytes) -> bytes:
        """Give the file at *path* a base that nobody has, and return its new path; raises OSError.

        The next scan takes it for a message of its own.
        """
        parsed = filename.parse(path[4:])
        size, wire = filename.disk_size(parsed.base), filename.wire_size(parsed.base)
        target = b"cur/" + filename.sized(filename.unique(), size, wire) + filename.info(parsed.bits, self.mark)
        log.info("same base twice, renamed", path=self.path)
        durable.rename(path, target, self.fd, self.fd)
        self.suspicious = True
        return target
