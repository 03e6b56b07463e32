"""Courier's keyword files kept true while we run, and what Courier changes in them taken (maildir-formats 6).

Courier has keywords in ``courierimapkeywords/`` alone. Ours are letters in file names besides, which Courier drops,
all of them, whenever it changes a flag; so here a name without such letters says nothing.

Each change of ours writes ``:list`` anew, Courier's as yet unmerged changes included; those files go then, for in
Courier's eyes they are newer than the list. What the two differ in is Courier's doing, unless a batch of ours did
not get as far as the list: ``maildir-imapd.courier`` says so, a file that holds the mod-sequence above which our
keywords count, nothing while all of ours are in the list, and does not exist before the two have met once. Then no
keyword of either is dropped.

All of it runs under the folder's lock and, with ``coexist``, Courier's. What cannot be written costs the mirror,
never the mail: it is said in the log, and made good at the next change.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Container
from dataclasses import dataclass, field
from typing import Final

from maildir_imapd.events import Log
from maildir_imapd.store.disk import durable
from maildir_imapd.store.disk.descriptors import Descriptor
from maildir_imapd.store.index.journal import Batch
from maildir_imapd.store.index.snapshot import Snapshot
from maildir_imapd.store.maildir import scan
from maildir_imapd.store.maildir.filename import KEYWORD_BITS
from maildir_imapd.store.neighbours import courier_files

log = Log(__name__)

NAME: Final = b"maildir-imapd.courier"

_Stamp = tuple[int, int, int]
_Words = tuple[bytes, ...]


@dataclass(slots=True)
class _Agreed:
    """The keywords that both sides should have: by base what is to be listed, by UID where ours have something else."""

    listed: dict[bytes, _Words] = field(default_factory=dict)
    ours: dict[int, _Words] = field(default_factory=dict)
    stale: bool = False  # the list has something else


class CourierKeywords:
    """One folder's. *folder* and *index* are where Courier's files and ours lie, in use under the folder's lock."""

    def __init__(self, folder: Descriptor, index: Descriptor, path: bytes, mode: int) -> None:
        self._folder_place = folder
        self._index_place = index
        self._path = path
        self._mode = mode
        self._stamp: _Stamp | None = None  # of Courier's files as last read or written
        self._theirs: dict[bytes, _Words] = {}  # what they said
        self._files: tuple[bytes, ...] = ()  # that held it, besides the list
        self._added: set[bytes] = set()  # bases that are new since the two were compared
        self._behind = False  # the list lacks something of ours

    def changed(self) -> bool:
        """Say whether Courier's files are others than we know; safe without a lock."""
        with self._folder_place.use():
            return self._look() != self._stamp

    @property
    def _folder(self) -> int:
        return self._folder_place.number

    @property
    def _index(self) -> int:
        return self._index_place.number

    def expect(self, batch: Batch, modseq: int) -> None:
        """Hear of a change before it is committed; *modseq* is the mod-sequence before it."""
        self._added.update([row.base for row in batch.added])
        if not self._behind and _touches_keywords(batch):
            self._behind = True
            # A new one stays above what is missing since before.
            if self._above() == -1:
                self._mark(b"%d" % modseq)

    def take(self, rows: Snapshot) -> dict[int, _Words]:
        """Return the UIDs to which Courier has given other keywords than *rows* say, with these."""
        if not self.changed() and not self._added & self._theirs.keys():
            return {}
        try:
            self._read()
        except OSError as error:
            self._complain("cannot read Courier's keywords", error)
            return {}
        found = self._agree(rows)
        self._behind = self._behind or found.stale
        if not found.ours and not self._behind:
            self._settle()
        return found.ours

    def update(self, rows: Snapshot, there: Callable[[], Container[bytes]]) -> None:
        """Write the list if *rows* have other keywords than it; *there* lists the bases of all files there are."""
        if not self._behind:
            return
        try:
            self.write(rows, there)
        except OSError as error:
            self._complain("Courier's keywords are behind", error)

    def write(self, rows: Snapshot, there: Callable[[], Container[bytes]]) -> None:
        """Write the list; raises OSError."""
        self._read()
        listed = self._agree(rows).listed
        known = set(rows.names)
        strangers = {base: words for base, words in self._theirs.items() if base not in known}
        if strangers:
            # Of messages that we have not seen yet, or of some that are gone.
            bases = there()
            listed.update({base: words for base, words in strangers.items() if base in bases})
        fd = courier_files.open_keywords(self._folder)
        try:
            courier_files.write_keyword_files(fd, listed, self._files, mode=self._mode, synced=False)
        finally:
            os.close(fd)
        self._theirs, self._files = {base: words for base, words in listed.items() if words}, ()
        self._stamp = _believable(self._look())
        self._settle()

    def _agree(self, rows: Snapshot) -> _Agreed:
        found = _Agreed()
        theirs, above, extra = self._theirs, self._above(), rows.extra
        for uid, base, bits, modseq in zip(rows.uids, rows.names, rows.flags, rows.modseqs, strict=True):
            if not bits & KEYWORD_BITS and uid not in extra and base not in theirs:
                continue
            mine = tuple(name for name in rows.flag_names(bits, uid) if not name.startswith(b"\\"))
            yours = theirs.get(base, ())
            agreed = mine
            if not _equal(mine, yours):
                if above is None or base in self._added:
                    have = {name.lower() for name in mine}
                    agreed = mine + tuple(name for name in yours if name.lower() not in have)
                elif above < 0 or modseq <= above:
                    agreed = yours
                if not _equal(agreed, mine):
                    found.ours[uid] = agreed
                found.stale = found.stale or not _equal(agreed, yours)
            if agreed:
                found.listed[base] = agreed
        return found

    # Courier's files

    def _look(self) -> _Stamp | None:
        """Stamp of the directory, which changes with every file that comes or goes."""
        try:
            state = os.stat(courier_files.KEYWORDS, dir_fd=self._folder, follow_symlinks=False)
        except OSError:
            return None
        return state.st_mtime_ns, state.st_ctime_ns, state.st_ino

    def _read(self) -> None:
        """Read what Courier says, if it says something new."""
        stamp = self._look()
        if stamp == self._stamp:
            return
        self._theirs, self._files = {}, ()
        if stamp is not None:
            fd = courier_files.open_keywords(self._folder)
            try:
                found, self._files = courier_files.read_keyword_files(fd)
            finally:
                os.close(fd)
            self._theirs = {base: words for base, words in found.items() if words}
        self._stamp = _believable(stamp)

    # our mark

    def _above(self) -> int | None:
        """The mod-sequence above which our keywords count; -1: all of ours are in the list; None: they never met."""
        try:
            text = durable.read_file(NAME, self._index)
        except FileNotFoundError:
            return None
        return int(text) if text.isdigit() else -1

    def _settle(self) -> None:
        self._behind = False
        self._added.clear()
        if self._above() != -1:
            self._mark(b"")

    def _mark(self, text: bytes) -> None:
        try:
            fd = durable.open_lasting(NAME, self._index, self._mode)
            try:
                durable.truncate(fd, 0)
                durable.write_at(fd, text, 0)
            finally:
                os.close(fd)
        except OSError as error:
            self._complain("cannot note what Courier does not know yet", error)

    def _complain(self, what: str, error: OSError) -> None:
        log.warning(what, path=self._path, why=error)


def _believable(stamp: _Stamp | None) -> _Stamp | None:
    """Forget a stamp within the clock's grain: another change in the same tick would not show."""
    return stamp if stamp is None or scan.quiet_in(stamp[:2], time.time_ns()) == 0 else None


def meet(index: int, mode: int) -> None:
    """Note that Courier's list has all that we have: it has just been written by release.py."""
    os.close(durable.open_lasting(NAME, index, mode))


def part(index: int) -> None:
    """Forget that the two have met: from here on Courier's files are not kept."""
    try:
        durable.unlink(NAME, index)
    except OSError:
        pass  # it was not there, or we may not; then nothing of ours changes either


def _touches_keywords(batch: Batch) -> bool:
    return bool(
        batch.worded
        or batch.renamed
        or any((add | remove) & KEYWORD_BITS for _, add, remove in batch.flagged)
        or any(row.flags & KEYWORD_BITS for row in batch.added)
    )


def _equal(one: _Words, other: _Words) -> bool:
    return {name.lower() for name in one} == {name.lower() for name in other}
