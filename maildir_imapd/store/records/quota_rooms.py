"""Mailboxes that the quota treats otherwise: those that do not count, and those in which there is more room.

Other programs that count ``maildirsize`` anew count all mailboxes.  So where some do not count there is a second file,
``maildir-imapd.quota.counted``: of which file of that name, begun by which lines, we have counted, and which folders
were left out.  A file that is another one since, or of other folders, is counted anew by whoever asks next.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from maildir_imapd.errors import BadMailboxName
from maildir_imapd.events import Log
from maildir_imapd.store.disk import durable

log = Log(__name__)

COUNTED: Final = b"maildir-imapd.quota.counted"
BELOW: Final = "*"
_PERCENT: Final = 100


@dataclass(frozen=True, slots=True)
class MailboxRoom:
    """A mailbox, by the levels of its name, and what it is to the quota; a last level ``*`` is all below."""

    levels: tuple[str, ...]
    ignored: bool = False
    """Nothing in it counts, and all goes into it."""
    storage: int = 0
    """Octets by which the limit is higher for what comes into it; with the percent of the limit."""
    storage_percent: int = 0
    messages: int = 0
    messages_percent: int = 0

    @property
    def below(self) -> bool:
        """Whether it is about the mailboxes below, and not about that one."""
        return self.levels[-1] == BELOW

    def name(self, prefix: str, delimiter: str) -> str:
        """Return its name for clients; of those below, the name of one that could be there."""
        if self.levels == ("INBOX",):
            return "INBOX"
        return prefix + delimiter.join([*self.levels[:-1], "x"] if self.below else self.levels)

    def more(self, storage: int, messages: int) -> tuple[int, int]:
        """Return by how much limits that are so high are higher here."""
        return (
            self.storage + storage * self.storage_percent // _PERCENT,
            self.messages + messages * self.messages_percent // _PERCENT,
        )


@dataclass(frozen=True, slots=True)
class Grace:
    """Room beyond the limit of storage for the last message of a delivery: octets, and percent of the limit."""

    octets: int = 0
    percent: int = 0

    def of(self, storage: int) -> int:
        """Return the octets, for a limit that is so high."""
        return self.octets + storage * self.percent // _PERCENT


NO_GRACE: Final = Grace()


class Rooms:
    """Which folders those are, by their paths."""

    def __init__(self, exact: dict[bytes, MailboxRoom], below: Sequence[tuple[bytes, MailboxRoom]] = ()) -> None:
        self._exact = exact
        # The longest first: what is said of fewer mailboxes goes before.
        self._below = sorted(below, key=lambda each: -len(each[0]))
        self.ignores = any(room.ignored for room in (*exact.values(), *(room for _, room in below)))

    def at(self, folder: bytes) -> MailboxRoom | None:
        """Return what is said of the folder at this path."""
        found = self._exact.get(folder)
        if found is None and self._below:
            found = next((room for begin, room in self._below if folder.startswith(begin)), None)
        return found

    def ignored(self, folder: bytes) -> bool:
        """Whether what is in the folder at this path does not count."""
        room = self.at(folder)
        return room is not None and room.ignored

    def left_out(self, folders: Callable[[], list[bytes]]) -> bytes:
        """Return what tells which folders do not count now: others, or by the same names others, give other octets.

        *folders*: names all there are.
        """
        among = folders() if self._below else self._exact
        found = hashlib.blake2b(digest_size=16)
        for path in sorted(path for path in among if self.ignored(path)):
            try:
                state = os.stat(path)
            except OSError:
                continue
            found.update(b"%b\0%d %d\0" % (path, state.st_dev, state.st_ino))
        return found.hexdigest().encode()


ALIKE: Final = Rooms({})


def resolve(rooms: Sequence[MailboxRoom], path: Callable[[str], bytes], prefix: str, delimiter: str) -> Rooms:
    """Find the folders; *path* returns that of a mailbox, whether it is there or not, or raises BadMailboxName."""
    exact: dict[bytes, MailboxRoom] = {}
    below: list[tuple[bytes, MailboxRoom]] = []
    for room in rooms:
        name = room.name(prefix, delimiter)
        try:
            found = path(name)
        except BadMailboxName as error:
            log.warning("no mailbox can have a name that the quota is to treat otherwise", name=name, why=error.text)
            continue
        if room.below:
            below.append((found[:-1], room))
        else:
            exact[found] = room
    return Rooms(exact, below)


def counted(root: bytes) -> bytes | None:
    """Read what was counted last; None where there is no word of it, or it cannot be read."""
    try:
        return durable.read_dated(root, COUNTED)[0]
    except OSError:
        return b""


def note(inode: int, begin: bytes, left_out: bytes) -> bytes:
    """Write down of which file, with which lines at its begin, which folders were left out."""
    return b"%d %b %b\n" % (inode, left_out, hashlib.blake2b(begin, digest_size=16).hexdigest().encode())


def keep(root: int, data: bytes | None, temporary: bytes) -> None:
    """Put what was counted beside the file, or with None take it away; raises OSError."""
    if data is not None:
        durable.put(COUNTED, data, root, durable=False, temporary=temporary)
        return
    try:
        durable.unlink(COUNTED, root)
    except FileNotFoundError:
        pass
