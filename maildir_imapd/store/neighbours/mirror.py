"""Keeping the other server's list of UIDs true while we run, so that the way back is: stop us, start it.

After every change under the folder's lock that brought messages, the new UIDs are appended to
``dovecot-uidlist`` (under its own lock, as Dovecot does it), or ``courierimapuiddb`` is written anew (Courier
knows no append).  Lines of messages that are gone stay until a quarter of them is dead; Dovecot does the same.

What cannot be written costs the mirror, never the mail: it is said in the log, and made good at the next change.
"""

from __future__ import annotations

import logging
import os
import time
from bisect import bisect_right
from contextlib import AbstractContextManager, nullcontext
from typing import Final, Literal

from maildir_imapd.store.disk import descriptors, durable
from maildir_imapd.store.disk.descriptors import Descriptor
from maildir_imapd.store.index.journal import Batch
from maildir_imapd.store.index.snapshot import Snapshot
from maildir_imapd.store.neighbours import courier, uidlist
from maildir_imapd.store.neighbours.dotlock import TIMEOUT, DotLock

logger = logging.getLogger(__name__)

Kind = Literal["dovecot", "courier"]

UIDLIST: Final = b"dovecot-uidlist"
LOCK: Final = b"dovecot-uidlist.lock"
COURIER_LOCK: Final = b"tmp/courier.lock"
# With more dead lines than this share the file is written anew (Dovecot: records <= 75 % of lines read).
DEAD_SHARE: Final = 0.25

_Stamp = tuple[int, int, int]


class Mirror:
    """One folder's.  All of it runs under the folder's lock; *directory* is where the file lies, in use meanwhile."""

    def __init__(self, kind: Kind, directory: Descriptor, path: bytes, mode: int) -> None:
        self.kind = kind
        self._place = directory
        self._path = path
        self._mode = mode
        self._uids: object = None  # the column that was mirrored last; columns are immutable
        self._stamp: _Stamp | None = None  # of the file as we left it
        self._last = 0  # the highest UID in it
        self._lines = 0
        self._uidvalidity = 0
        self._renamed = False  # a base has changed: its line is wrong

    @property
    def _directory(self) -> int:
        return self._place.number

    def note(self, batch: Batch) -> None:
        """Hear of a change, so that ``update`` knows what to do."""
        self._renamed = self._renamed or bool(batch.renamed)

    def lock(self, patience: float = TIMEOUT) -> AbstractContextManager[object]:
        """The other server's own lock, for as long as a scan or a change takes; *patience* in seconds."""
        return DotLock(COURIER_LOCK if self.kind == "courier" else LOCK, self._directory, timeout=patience)

    def news(self, rows: Snapshot) -> uidlist.UidList | None:
        """The file, when somebody else has given out UIDs in it under our UIDVALIDITY; None otherwise.

        Costs a stat as long as nobody has written it, and a look at its end when another process of ours has.
        """
        name = courier.UIDDB if self.kind == "courier" else UIDLIST
        try:
            stamp = self._look(name)
            if stamp is None or stamp == self._stamp:
                return None
            if self._ends_below(name, stamp[1], rows):
                self._stamp, self._last, self._uidvalidity = stamp, rows.uidnext - 1, rows.uidvalidity
                return None
            found = uidlist.parse(durable.read_file(name, self._directory, durable.LARGE))
        except OSError as error:
            logger.warning(
                "cannot read the other server's UIDs", extra={"fields": {"folder": self._path, "why": error}}
            )
            return None
        if found is None or found.uidvalidity != rows.uidvalidity:
            return None
        return found

    def _ends_below(self, name: bytes, size: int, rows: Snapshot) -> bool:
        """Whether the last line's UID is one that we know of, under our UIDVALIDITY: then there is no news."""
        fd = descriptors.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=self._directory)
        try:
            head = uidlist.parse(os.pread(fd, 4096, 0).partition(b"\n")[0] + b"\n")
            tail = os.pread(fd, 4096, max(0, size - 4096))
        finally:
            os.close(fd)
        lines = tail.split(b"\n")
        if head is None or head.uidvalidity != rows.uidvalidity or len(lines) < 3 or lines[-1]:
            return False
        number = lines[-2].partition(b" ")[0]
        return number.isdigit() and int(number) == rows.uidnext - 1 and head.uidnext <= rows.uidnext

    def update(self, rows: Snapshot, *, locked: bool = False) -> None:
        """Bring the file up to *rows*; *locked*: the other server's lock is ours already."""
        if rows.uids is self._uids and rows.uidvalidity == self._uidvalidity and not self._renamed:
            return
        try:
            with nullcontext() if locked else self.lock():
                if self.kind == "courier":
                    self._write_courier(rows)
                else:
                    self._write_dovecot(rows)
        except OSError as error:
            self._stamp = None
            logger.warning(
                "the other server's list of UIDs is behind",
                extra={"fields": {"folder": self._path, "server": self.kind, "why": error}},
            )
            return
        self._uids, self._uidvalidity, self._renamed = rows.uids, rows.uidvalidity, False

    def write(self, rows: Snapshot) -> None:
        """Write the whole file, under the other server's lock; raises OSError."""
        if self.kind == "courier":
            self._write_courier(rows)
        else:
            self._rewrite(rows)

    def _write_dovecot(self, rows: Snapshot) -> None:
        stamp = self._look(UIDLIST)
        ours = self._stamp is not None and stamp is not None and rows.uidvalidity == self._uidvalidity
        first = bisect_right(rows.uids, self._last)
        # What others have appended is no reason to write while we have nothing to say.
        known = ours and (stamp == self._stamp or first == len(rows))
        # A message that came back under an old UID has its line still, unless the file was written anew since.
        whole = not known or rows.revivals > 0 or self._renamed
        dead = self._lines + len(rows) - first - len(rows)
        if whole or dead > self._lines * DEAD_SHARE + 16:
            self._rewrite(rows)
        elif first < len(rows):
            lines = b"".join(b"%d :%b\n" % pair for pair in zip(rows.uids[first:], rows.names[first:], strict=True))
            flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
            fd = descriptors.open(UIDLIST, flags, dir_fd=self._directory)
            try:
                durable.write(fd, lines)
            finally:
                os.close(fd)
            self._lines += len(rows) - first
            self._last = rows.uids[-1]
            self._stamp = self._look(UIDLIST)

    def _rewrite(self, rows: Snapshot) -> None:
        try:
            old = uidlist.parse(durable.read_file(UIDLIST, self._directory, durable.LARGE))
        except FileNotFoundError:
            old = None
        else:
            if old is None:
                # It is not ours to throw away, and Dovecot would.
                durable.replace(UIDLIST, UIDLIST + b".unreadable", self._directory)
        pairs = zip(rows.uids, rows.names, strict=True)
        new = uidlist.updated(old, uidvalidity=rows.uidvalidity, uidnext=rows.uidnext, rows=pairs, version=3)
        if not any(word.startswith(b"G") for word in new.others):
            # Dovecot knows a mailbox by this name; it makes one itself when there is none, and then another.
            new = uidlist.UidList(
                new.uidvalidity, new.uidnext, new.records, (b"G" + os.urandom(16).hex().encode(), *new.others), 3
            )
        before = self._look(UIDLIST)
        durable.put(UIDLIST, uidlist.render(new), self._directory, durable=False, mode=self._mode)
        after = self._look(UIDLIST)
        if before is not None and after is not None and after[0] <= before[0]:
            # Dovecot takes a file with the old time stamp for the old file.
            stamp = before[0] + 1_000_000_000
            os.utime(UIDLIST, ns=(time.time_ns(), stamp), dir_fd=self._directory)
        self._lines = len(new.records)
        self._last = rows.uidnext - 1
        # What is listed and not ours yet is still news.
        news = uidlist.unseen(new, rows.uidnext)
        self._stamp = None if news else self._look(UIDLIST)

    def _write_courier(self, rows: Snapshot) -> None:
        try:
            old = uidlist.parse(durable.read_file(courier.UIDDB, self._directory, durable.LARGE))
        except FileNotFoundError:
            old = None
        pairs = zip(rows.uids, rows.names, strict=True)
        new = uidlist.updated(old, uidvalidity=rows.uidvalidity, uidnext=rows.uidnext, rows=pairs, version=1)
        durable.put(courier.UIDDB, uidlist.render(new), self._directory, durable=False, mode=self._mode)
        self._stamp = None if uidlist.unseen(new, rows.uidnext) else self._look(courier.UIDDB)

    def _look(self, name: bytes) -> _Stamp | None:
        try:
            state = os.stat(name, dir_fd=self._directory, follow_symlinks=False)
        except FileNotFoundError:
            return None
        return (state.st_mtime_ns, state.st_size, state.st_ino)
