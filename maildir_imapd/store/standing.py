"""The figures of mailboxes that are not open: what STATUS says of them, for as long as their files bear it out.

A user may have ten thousand folders, and a process keeps a few thousand open. To open a folder and its index takes a
thousand times as long as to look at the stamps of its directories and files: where these are what they were when the
figures were told last, so are the figures. Whatever changes a folder changes one of them: another program the
directories, we the journal. They are kept in the account's directory, too, so that the first look of a process finds
them; the file can be thrown away, and a line of it that is not understood is passed over.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from maildir_imapd.errors import StoreError
from maildir_imapd.events import Log
from maildir_imapd.store.disk import descriptors, durable
from maildir_imapd.store.disk.filesystems import is_shared_path
from maildir_imapd.store.index.constants import CHECKPOINT, JOURNAL
from maildir_imapd.store.maildir.layout import GRAIN_SECONDS

if TYPE_CHECKING:
    from maildir_imapd.store.disk.filesystems import SharedSpool
    from maildir_imapd.store.index.snapshot import Snapshot
    from maildir_imapd.store.mailbox import Mailbox

log = Log(__name__)

FILE: Final = b"maildir-imapd.figures"
_HEADER: Final = b"maildir-imapd figures 1\n"
# From so many folders on it is worth a file, and from so many new figures on it is written again.
FOLDERS: Final = 500
FRESH: Final = 100

# What is looked at of a folder, each by its inode, size and times.
_NAMES: Final = (b"cur", b"new", JOURNAL, CHECKPOINT)

# Numbers of a stamp before those of the last file.
_WHOLE: Final = 2 + 4 * (len(_NAMES) - 1)

Stamp = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class StatusFigures:
    """The figures of one moment, by the names that a snapshot has for them."""

    messages: int
    recent: int
    unseen: int
    deleted: int
    uidnext: int
    uidvalidity: int
    modseq: int

    def __len__(self) -> int:
        return self.messages


class StandingFigures:
    """One account's; safe from any thread. *is_open*: whether a folder's mailbox is open, which knows better then."""

    def __init__(self, root: bytes, is_open: Callable[[bytes], bool], shared_spool: SharedSpool = "auto") -> None:
        self._root = root
        # Not where another host changes folders whose stamps this one may see late.
        self._used = not is_shared_path(root, shared_spool)
        self._is_open = is_open
        # By folder; an entry is replaced whole, so no lock is needed.
        self._known: dict[bytes, tuple[Stamp, StatusFigures]] = {}
        self._fresh = 0
        self._read = False

    def of(self, path: bytes) -> StatusFigures | None:
        """The figures of the folder at *path*; None: go and look."""
        if not self._used:
            return None
        if not self._read:
            self._load()
        known = self._known.get(path)
        if known is None or self._is_open(path) or stamp_of(path) != known[0]:
            return None
        return known[1]

    def note(self, path: bytes, before: Stamp | None, mailbox: Mailbox, snapshot: Snapshot) -> None:
        """Keep what was found of a folder whose stamp was *before*, if nothing has happened to it since.

        Of one whose history is not on the disk nothing is kept, nor of one that may change again within its stamp.
        """
        if not self._used or before is None or mailbox.read_only or stamp_of(path) != before or not _settled(before):
            return
        found = StatusFigures(
            len(snapshot),
            snapshot.recent,
            snapshot.unseen,
            snapshot.deleted,
            snapshot.uidnext,
            snapshot.uidvalidity,
            snapshot.modseq,
        )
        if self._known.get(path) != (before, found):
            self._known[path] = before, found
            self._fresh += 1

    # --- the file -----------------------------------------------------------------------------------

    def _load(self) -> None:
        self._read = True
        try:
            data, _ = durable.read_dated(self._root, FILE, durable.LARGE_OCTETS)
        except (OSError, StoreError) as error:
            log.info("figures not read", path=self._root, why=error)
            return
        self._known = {**parse(data or b"", self._root), **self._known}

    def save(self) -> None:
        """Write down what is known, where that is much and there is something new; never an error."""
        if self._fresh < FRESH or len(self._known) < FOLDERS or durable.is_untouched():
            return
        self._fresh = 0
        try:
            directory = descriptors.open_directory(self._root)
            try:
                durable.put(FILE, render(dict(self._known), self._root), directory, durable=False)
            finally:
                os.close(directory)
        except OSError as error:
            log.info("figures not kept", path=self._root, why=error)

    def forget_but(self, paths: set[bytes]) -> None:
        """Forget folders that are not among *paths*."""
        for path in list(self._known):
            if path not in paths:
                self._known.pop(path, None)


def stamp_of(path: bytes) -> Stamp | None:
    """Look at a folder: another stamp where anything has happened to it; None where it is not whole.

    Without a journal there is a history nowhere but in memory.
    """
    stat = os.stat
    found: list[int] = []
    try:
        folder = stat(path)
        found += (folder.st_dev, folder.st_ino)
        for name in _NAMES:
            state = stat(path + b"/" + name)
            found += (state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
    except FileNotFoundError:
        # A small folder has no checkpoint.
        if len(found) != _WHOLE:
            return None
        found += (0, 0, 0, 0)
    except OSError:
        return None
    return tuple(found)


def _settled(stamp: Stamp) -> bool:
    """Whether the directories were changed so long ago that another change would show."""
    return time.time() - max(stamp[4], stamp[5], stamp[8], stamp[9]) / 1e9 > GRAIN_SECONDS


def parse(data: bytes, root: bytes) -> dict[bytes, tuple[Stamp, StatusFigures]]:
    """Read the file of the account at *root*; never fails."""
    found: dict[bytes, tuple[Stamp, StatusFigures]] = {}
    if not data.startswith(_HEADER) or not data.endswith(b"\n"):
        return found
    width = 2 + 4 * len(_NAMES)
    for line in data[len(_HEADER) :].split(b"\n"):
        words = line.split(b" ")
        if len(words) != width + 8:
            continue
        try:
            numbers = [int(word) for word in words[:-1]]
            path = bytes.fromhex(words[-1].decode("ascii"))
        except ValueError:
            continue
        if b"\0" not in path and not path.startswith(b"/") and b".." not in path.split(b"/"):
            place = os.path.join(root, path) if path else root
            found[place] = tuple(numbers[:width]), StatusFigures(*numbers[width:])
    return found


def render(known: dict[bytes, tuple[Stamp, StatusFigures]], root: bytes) -> bytes:
    """Write what ``parse`` reads; of folders that lie elsewhere nothing."""
    lines = []
    inside = root + b"/"
    for path, (stamp, each) in known.items():
        if path != root and not path.startswith(inside):
            continue
        figures = each.messages, each.recent, each.unseen, each.deleted, each.uidnext, each.uidvalidity, each.modseq
        name = path[len(inside) :].hex().encode()
        lines.append(b" ".join([*(b"%d" % number for number in (*stamp, *figures)), name]) + b"\n")
    return _HEADER + b"".join(lines)
