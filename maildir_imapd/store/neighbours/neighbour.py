"""Another server on the same spool: what its files about one folder are asked, and told, whichever server it is.

While we run, its list of UIDs is kept true, so that the way back is: stop us, start it. After every change under the
folder's lock that brought messages the list is brought up to date, under that server's own lock. Lines of messages
that are gone may stay for a while.

What cannot be written costs these files, never the mail: it is said in the log, and made good at the next change.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Container
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import ClassVar, Final, Literal

from maildir_imapd.events import Log
from maildir_imapd.store.disk import descriptors, durable
from maildir_imapd.store.disk.descriptors import Descriptor
from maildir_imapd.store.index.journal import Batch
from maildir_imapd.store.index.snapshot import Snapshot
from maildir_imapd.store.maildir.layout import Layout
from maildir_imapd.store.neighbours import uidlist
from maildir_imapd.store.neighbours.dotlock import TIMEOUT_SECONDS, DotLock

log = Log(__name__)

Kind = Literal["dovecot", "courier"]

_Stamp = tuple[int, int, int]
# How much of the list is read to see its first line and its last one.
_END_OCTETS: Final = 4096


@dataclass(frozen=True, slots=True)
class Place:
    """Where files about a folder lie: directories that are in use under the folder's lock; *mode* is for new files."""

    folder: Descriptor
    control: Descriptor  # the other server's own
    index: Descriptor  # ours
    path: bytes
    mode: int


class Neighbour(ABC):
    """One folder's. All of it but ``keywords_changed`` runs under the folder's lock."""

    kind: ClassVar[Kind]
    uids_name: ClassVar[bytes]  # of the list of UIDs
    lock_name: ClassVar[bytes]
    # Whether it shows every folder below INBOX.
    below_inbox: ClassVar[bool]
    # Whether its quota counts messages that are on their way out, and whether it pads the numbers of its file.
    counts_deleted: ClassVar[bool]
    pads_quota: ClassVar[bool]
    # Whether a file's name without letters for keywords says that the message has none.
    letters_tell: ClassVar[bool]
    # Whether keywords without a letter are nowhere in the files that we write.
    letters_only: ClassVar[bool]
    # Whether our list of subscriptions is its list, too, so that its lock is taken for it.
    shares_subscriptions: ClassVar[bool]

    def __init__(self, place: Place, lists: Descriptor) -> None:
        self.place = place
        self._lists = lists  # where the list of UIDs and its lock are
        self._uids: object = None  # the column that was written last; columns are immutable
        self._stamp: _Stamp | None = None  # of the list as we left it
        self._last = 0  # the highest UID in it
        self._uidvalidity = 0
        self._renamed = False  # a base has changed: its line is wrong

    @property
    def _directory(self) -> int:
        return self._lists.number

    # --- its list of UIDs ---------------------------------------------------------------------

    def lock(self, patience: float = TIMEOUT_SECONDS) -> AbstractContextManager[object]:
        """The other server's own lock, for as long as a scan or a change takes; *patience* in seconds."""
        return DotLock(self.lock_name, self._directory, timeout=patience)

    def news(self, rows: Snapshot) -> uidlist.UidList | None:
        """The list, when somebody else has given out UIDs in it under our UIDVALIDITY; None otherwise.

        Costs a stat as long as nobody has written it, and a look at its end when another process of ours has.
        """
        try:
            stamp = self._look()
            if stamp is None or stamp == self._stamp:
                return None
            if self._ends_below(stamp[1], rows):
                self._stamp, self._last, self._uidvalidity = stamp, rows.uidnext - 1, rows.uidvalidity
                return None
            found = uidlist.parse(durable.read_file(self.uids_name, self._directory, durable.LARGE_OCTETS))
        except OSError as error:
            log.warning("cannot read the other server's UIDs", path=self.place.path, why=error)
            return None
        if found is None or found.uidvalidity != rows.uidvalidity:
            return None
        return found

    def listed(self) -> uidlist.UidList | None:
        """Everything that is in the list; None where there is none that can be read. Never an error."""
        try:
            return uidlist.parse(durable.read_file(self.uids_name, self._directory, durable.LARGE_OCTETS))
        except FileNotFoundError:
            return None
        except OSError as error:
            log.warning("cannot read the other server's UIDs", path=self.place.path, why=error)
            return None

    def _ends_below(self, size: int, rows: Snapshot) -> bool:
        """Whether the last line's UID is one that we know of, under our UIDVALIDITY: then there is no news."""
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        fd = descriptors.open(self.uids_name, flags, dir_fd=self._directory)
        try:
            head = uidlist.parse(os.pread(fd, _END_OCTETS, 0).partition(b"\n")[0] + b"\n")
            tail = os.pread(fd, _END_OCTETS, max(0, size - _END_OCTETS))
        finally:
            os.close(fd)
        lines = tail.split(b"\n")
        if head is None or head.uidvalidity != rows.uidvalidity or len(lines) < 3 or lines[-1]:
            return False
        number = lines[-2].partition(b" ")[0]
        return number.isdigit() and int(number) == rows.uidnext - 1 and head.uidnext <= rows.uidnext

    def update(self, rows: Snapshot, *, locked: bool = False) -> None:
        """Bring the list up to *rows*; *locked*: the other server's lock is ours already. Never an error."""
        if rows.uids is self._uids and rows.uidvalidity == self._uidvalidity and not self._renamed:
            return
        try:
            with nullcontext() if locked else self.lock():
                self._bring_up(rows)
        except OSError as error:
            self._stamp = None
            log.warning("the other server's list of UIDs is behind", path=self.place.path, server=self.kind, why=error)
            return
        self._uids, self._uidvalidity, self._renamed = rows.uids, rows.uidvalidity, False

    @abstractmethod
    def _bring_up(self, rows: Snapshot) -> None:
        """Write what the list lacks, in whatever way costs least; raises OSError."""

    @abstractmethod
    def write(self, rows: Snapshot) -> None:
        """Write all files of the folder in full, under the other server's lock, so that it goes on from here.

        Raises OSError.
        """

    def _look(self) -> _Stamp | None:
        try:
            state = os.stat(self.uids_name, dir_fd=self._directory, follow_symlinks=False)
        except FileNotFoundError:
            return None
        return (state.st_mtime_ns, state.st_size, state.st_ino)

    # --- changes of ours ----------------------------------------------------------------------

    def expect(self, batch: Batch, modseq: int) -> None:  # noqa: B027  # most have no use for it
        """Hear of a change before it is committed; *modseq* is the mod-sequence before it."""

    def note(self, batch: Batch) -> None:
        """Hear of a change that is on record, so that ``update`` knows what to do."""
        self._renamed = self._renamed or bool(batch.renamed)

    # --- keywords of a server that has them in files of their own -----------------------------

    @classmethod  # noqa: B027  # most have agreed nothing
    def part(cls, place: Place) -> None:
        """Forget what was agreed with a server whose files are not kept from here on. Never an error."""

    def watched(self) -> tuple[bytes, ...]:
        """The directories below the folder in which this server's changes show."""
        return ()

    def keywords_changed(self) -> bool:
        """Say whether its keywords are others than we know; safe without a lock."""
        return False

    def take_keywords(self, rows: Snapshot) -> dict[int, tuple[bytes, ...]]:
        """Return the UIDs to which it has given other keywords than *rows* say, with these. Never an error."""
        return {}

    def update_keywords(  # noqa: B027  # most have letters in the names
        self, rows: Snapshot, there: Callable[[], Container[bytes]]
    ) -> None:
        """Write its keywords if *rows* have others; *there* lists the bases of all files there are. Never an error."""

    # --- the account's subscriptions ----------------------------------------------------------

    @classmethod
    def subscriptions(cls, layout: Layout) -> tuple[list[str] | None, int]:
        """The names in a list of its own, without prefix, and when it was written (ns); None where it has none.

        Raises OSError.
        """
        return None, 0

    @classmethod
    def render_subscriptions(cls, layout: Layout, names: list[str]) -> tuple[bytes, bytes, bytes] | None:
        """Where a list of its own is: the directory, the file's name and its octets; None where ours is its own."""
        return None
