"""Dovecot as a neighbour: ``dovecot-uidlist`` is appended to, as Dovecot does it, under its own lock.

Lines of messages that are gone stay until a quarter of them is dead; Dovecot does the same.
"""

from __future__ import annotations

import os
import time
from bisect import bisect_right
from typing import Final

from maildir_imapd.store.disk import descriptors, durable
from maildir_imapd.store.index.snapshot import Snapshot
from maildir_imapd.store.neighbours import uidlist
from maildir_imapd.store.neighbours.neighbour import Neighbour, Place

# With more dead lines than this share the file is written anew (Dovecot: records <= 75 % of lines read).
DEAD_SHARE: Final = 0.25
# Dead lines that are no reason to write a short list anew.
_DEAD_ANYWAY: Final = 16


class Dovecot(Neighbour):
    """Its files lie in its CONTROL directory. Keywords are letters in file names; more are in its own index alone."""

    kind = "dovecot"
    uids_name = b"dovecot-uidlist"
    lock_name = b"dovecot-uidlist.lock"
    below_inbox = False
    counts_deleted = True
    pads_quota = False
    letters_tell = True
    letters_only = True
    shares_subscriptions = True

    def __init__(self, place: Place) -> None:
        super().__init__(place, place.control)
        self._lines = 0

    def write(self, rows: Snapshot) -> None:
        """Write the whole list, under Dovecot's lock; raises OSError."""
        try:
            old = uidlist.parse(durable.read_file(self.uids_name, self._directory, durable.LARGE_OCTETS))
        except FileNotFoundError:
            old = None
        else:
            if old is None:
                # It is not ours to throw away, and Dovecot would.
                durable.replace(self.uids_name, self.uids_name + b".unreadable", self._directory)
        pairs = zip(rows.uids, rows.names, strict=True)
        new = uidlist.updated(old, uidvalidity=rows.uidvalidity, uidnext=rows.uidnext, rows=pairs, version=3)
        if not any(word.startswith(b"G") for word in new.others):
            # Dovecot knows a mailbox by this name; it makes one itself when there is none, and then another.
            others = (b"G" + os.urandom(16).hex().encode(), *new.others)
            new = uidlist.UidList(new.uidvalidity, new.uidnext, new.records, others, 3)
        before = self._look()
        durable.put(self.uids_name, uidlist.render(new), self._directory, durable=False, mode=self.place.mode)
        after = self._look()
        if before is not None and after is not None and after[0] <= before[0]:
            # Dovecot takes a file with the old time stamp for the old file.
            stamp = before[0] + 1_000_000_000
            os.utime(self.uids_name, ns=(time.time_ns(), stamp), dir_fd=self._directory)
        self._lines = len(new.records)
        self._last = rows.uidnext - 1
        # What is listed and not ours yet is still news.
        news = uidlist.unseen(new, rows.uidnext)
        self._stamp = None if news else self._look()

    def _bring_up(self, rows: Snapshot) -> None:
        stamp = self._look()
        ours = self._stamp is not None and stamp is not None and rows.uidvalidity == self._uidvalidity
        first = bisect_right(rows.uids, self._last)
        # What others have appended is no reason to write while we have nothing to say.
        known = ours and (stamp == self._stamp or first == len(rows))
        # A message that came back under an old UID has its line still, unless the file was written anew since.
        whole = not known or rows.revivals > 0 or self._renamed
        dead = self._lines - first  # the messages before that are listed and still there
        if whole or dead > self._lines * DEAD_SHARE + _DEAD_ANYWAY:
            self.write(rows)
        elif first < len(rows):
            self._append(rows, first)

    def _append(self, rows: Snapshot, first: int) -> None:
        lines = b"".join(b"%d :%b\n" % pair for pair in zip(rows.uids[first:], rows.names[first:], strict=True))
        flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = descriptors.open(self.uids_name, flags, dir_fd=self._directory)
        try:
            durable.write(fd, lines)
        finally:
            os.close(fd)
        self._lines += len(rows) - first
        self._last = rows.uids[-1]
        self._stamp = self._look()
