"""Reading an index's files: no lock is needed, and nothing is changed.

Checkpoint and journal are two files, and a rotation may come between reading the one and the other: then they do not
fit, and who reads begins again.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from maildir_imapd.events import Log
from maildir_imapd.store.disk import descriptors, durable, fresh
from maildir_imapd.store.disk.descriptors import Descriptor
from maildir_imapd.store.index import checkpoint, journal
from maildir_imapd.store.index.columns import ColumnSource
from maildir_imapd.store.index.constants import CHECKPOINT, JOURNAL, OLD
from maildir_imapd.store.index.journal import Batch
from maildir_imapd.store.index.snapshot import Snapshot
from maildir_imapd.store.index.state import IndexState

log = Log(__name__)

_READING: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITING: Final = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Unfit(Exception):
    """Checkpoint and journal do not fit together: wait for the writer, or, under the lock, rebuild."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A journal, and what was in it when it was opened; *writable*: we may write to it."""

    file: Descriptor
    inode: int
    data: bytes
    writable: bool = True


def exists(directory: int) -> bool:
    """Say whether there is an index, whole or not; raises OSError."""
    for name in (CHECKPOINT, JOURNAL, OLD):
        try:
            os.stat(name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            continue
        return True
    return False


def read_from(fd: int, position: int) -> bytes:
    """Return what the journal has from *position* on; raises OSError."""
    return durable.read_on(fd, position, JOURNAL)


def open_journal(directory: int) -> Opened:
    """Open the journal that has the name now, and read it; raises FileNotFoundError, OSError."""
    writable = True
    try:
        fd = descriptors.open(JOURNAL, _WRITING, dir_fd=directory)
    except OSError as error:
        if not durable.not_ours(error):
            raise
        fd = descriptors.open(JOURNAL, _READING, dir_fd=directory)
        writable = False
    file = Descriptor(fd, "journal")
    try:
        return Opened(file, os.fstat(fd).st_ino, read_from(fd, 0), writable)
    except BaseException:
        file.close()
        raise


def named(directory: int, *, anew: bool = False) -> os.stat_result | fresh.Look | None:
    """Look at the journal that has the name now, be it one that is open or not; raises OSError.

    *anew*: whatever this kernel remembers of it.
    """
    try:
        return (fresh.stat if anew else os.stat)(JOURNAL, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None


def reopened(directory: int, state: IndexState, *, writing: bool) -> Descriptor | None:
    """Open the journal that has the name now, for *writing* or not, if it is the one of *state*; None for another.

    Raises Unfit where it is another one that has the number of its inode, which is free again once another host has
    removed the file; FileNotFoundError, OSError.
    """
    file = Descriptor(descriptors.open(JOURNAL, _WRITING if writing else _READING, dir_fd=directory), "journal")
    try:
        words = os.pread(file.number, 128, 0).partition(b"\n")[0].split(b" ")
        if fresh.fstat(file.number).st_ino == state.inode:
            if words[:3] != [b"j", b"1", b"%d" % state.generation]:
                raise Unfit
            return file
    except BaseException:
        file.close()
        raise
    file.close()
    return None


def read_checkpoint(directory: int, *, whole: bool = False) -> IndexState:
    """Read the checkpoint, *whole* or its columns when they are asked for; raises Unfit, FileNotFoundError, OSError."""
    try:
        return checkpoint.load(directory, whole=whole)
    except checkpoint.Unverified as error:
        raise Unfit from error


def stowed(directory: int, now: Snapshot) -> Snapshot:
    """Return the moment *now* as the checkpoint has it, with nothing in memory; *now* itself where that is another."""
    try:
        found = read_checkpoint(directory).snapshot
    except (Unfit, OSError) as error:
        log.info("columns stay in memory", why=error)
        return now
    if (len(found), found.uidvalidity, found.uidnext, found.modseq) != (
        len(now),
        now.uidvalidity,
        now.uidnext,
        now.modseq,
    ):
        return now
    found.revivals, found.rewrites = now.revivals, now.rewrites
    return found


def completed(state: IndexState, unseen: Callable[[Snapshot], ColumnSource] | None) -> IndexState:
    """Return *state* with a way to the columns that it was recorded without: *unseen* gives one for a snapshot."""
    if state.snapshot.seen or unseen is None:
        return state
    rows = state.snapshot.evolve()
    rows.draw(unseen(state.snapshot))
    return replace(state, snapshot=rows)


def joined(state: IndexState, opened: Opened) -> IndexState:
    """Return the checkpoint's state with what follows it in the journal; raises Unfit."""
    data = opened.data
    batches = list(journal.replay(data))
    if not batches or batches[0][0].header is None:
        raise Unfit
    generation, followed, position = batches[0][0].header
    if generation == state.generation:
        # A rotation died between its two renames, or is between them now.
        if state.position > len(data) or not any(end == state.position for _, end in batches):
            raise Unfit
        batches = [(batch, end) for batch, end in batches if end > state.position]
    elif (followed, position) != (state.generation, state.position):
        raise Unfit
    else:
        state = replace(state, generation=generation, position=0)
    end = batches[-1][1] if batches else state.position
    return state.after([batch for batch, _ in batches], position=end, inode=opened.inode)


def following(state: IndexState, opened: Opened) -> tuple[IndexState, list[Batch]] | None:
    """Return the state after the next generation's journal, and its batches; None if it does not begin where we are."""
    batches = list(journal.replay(opened.data))
    header = batches[0][0].header if batches else None
    if header is None or header[1:] != (state.generation, state.position):
        return None
    fresh = [batch for batch, _ in batches]
    state = replace(state, generation=header[0])
    return state.after(fresh, position=batches[-1][1], inode=opened.inode), fresh
