"""One folder's index: checkpoint and journal as one history, and how it survives.

Files, beside the folder's cur/ or in a directory of their own:

    maildir-imapd.index        the checkpoint: "I cover generation g up to byte p"      .old: the one before
    maildir-imapd.journal      generation g, or g+1 that says "I follow g at p"

Reading needs no lock. Checkpoint and journal are two files, and a rotation may come between reading the
one and the other, so a load begins again until the two fit. A process that has the old journal open reads
it to its end (the inode lives on), sees that it has no name any more, and goes on in the new one if that
follows where it stands; else it loads anew.

Writing needs the folder's lock. The order is always: folder first, journal second. Dying in between leaves
a folder that differs from its history and a cur/ whose stamp is not the recorded one, so the next sync
finds the difference and writes the batch that is missing.

No UID twice: before UIDs beyond the reserve are given out, a higher reserve is noted in the lock file and
in the journal, and synced. After a boot that the history does not know, the tail of the journal may be
lost, and UIDNEXT is the reserve plus one.

When the disk is full or not ours, a batch of changes that the folder itself remembers (flags, expunges)
is kept in memory and written with the next one that can be. Should another process write first, we forget
ours, load what it wrote and compare the folder again.
"""

from __future__ import annotations

import errno
import logging
import os
import time
from array import array
from collections.abc import Callable
from typing import Final

from maildir_imapd import errors
from maildir_imapd.store import checkpoint, durable, journal
from maildir_imapd.store.journal import NEVER, Batch
from maildir_imapd.store.lock import FolderLock
from maildir_imapd.store.state import State

log = logging.getLogger(__name__)

CHECKPOINT: Final = b"maildir-imapd.index"
OLD: Final = b"maildir-imapd.index.old"
JOURNAL: Final = b"maildir-imapd.journal"
DAMAGED: Final = b".damaged"

RESERVE: Final = 1000  # UIDs per synced reserve record
LAST_UID: Final = 2**32 - 2
ROTATE_BYTES: Final = 256 * 1024
_LOAD_ATTEMPTS: Final = 30


def boot_id() -> bytes:
    """Return what changes with every start of this machine."""
    try:
        with open("/proc/sys/kernel/random/boot_id", "rb") as file:
            return file.read().strip().replace(b"-", b"")
    except OSError:
        # No such file: each process is a boot of its own, which costs a gap in the UIDs and is safe.
        return b"%x-%x" % (os.getpid(), time.time_ns())


def clock_uidvalidity() -> int:
    """Return a UIDVALIDITY, for want of a counter."""
    return int(time.time())


class Unfit(Exception):
    """Checkpoint and journal do not fit together: wait for the writer, or, under the lock, rebuild."""


class Index:
    """The history of one folder. Every method but load() and catch_up() needs the folder's lock."""

    boot = boot_id()

    def __init__(
        self,
        directory: int,
        path: bytes,
        lock: FolderLock,
        *,
        sync: bool = True,
        mode: int = 0o600,
        uidvalidity: Callable[[], int] = clock_uidvalidity,
    ) -> None:
        self.path = path
        self.state = State()
        self.loaded = False
        self.writable = True  # else the history lives in memory, beside what was on disk
        self._directory = directory
        self._lock = lock
        self._sync = sync
        self._mode = mode
        self._uidvalidity = uidvalidity
        self._fd = -1
        self._size = self._inode = 0  # of the journal, as last seen
        self._unwritten: list[Batch] = []
        self._imagined = False  # memory has batches that were never to be written
        self.rotations = 0
        self._floor = 0  # clients have been told this mod-sequence, whatever the disk says
        self._rotate_at = ROTATE_BYTES

    # --- reading -------------------------------------------------------------------------------

    def exists(self) -> bool:
        """Say whether the folder has an index, whole or not."""
        for name in (CHECKPOINT, JOURNAL, OLD):
            try:
                os.stat(name, dir_fd=self._directory, follow_symlinks=False)
            except FileNotFoundError:
                continue
            return True
        return False

    def load(self, *, patient: bool = True) -> None:
        """Read the whole history; raise Unfit if it does not verify or does not fit.

        A writer is in the middle of a rotation for microseconds: *patient* waits for it.
        """
        for attempt in range(_LOAD_ATTEMPTS if patient else 1):
            if attempt:
                time.sleep(0.001)
            try:
                self._load()
            except (FileNotFoundError, Unfit):
                continue
            return
        raise Unfit

    def _load(self) -> None:
        state = checkpoint.parse(durable.read_file(CHECKPOINT, self._directory))
        if state is None:
            raise Unfit
        fd, data = self._open_journal()
        try:
            batches = list(journal.replay(data))
            if not batches or batches[0][0].header is None:
                raise Unfit
            generation, followed, position = batches[0][0].header
            if generation == state.generation:
                # A rotation died between its two renames, or is between them now.
                if state.position > len(data):
                    raise Unfit
                if not any(end == state.position for _, end in batches):
                    raise Unfit
                batches = [(batch, end) for batch, end in batches if end > state.position]
            elif (followed, position) != (state.generation, state.position):
                raise Unfit
            else:
                state.generation, state.position = generation, 0
            state.apply_all([batch for batch, _ in batches])
            if batches:
                state.position = batches[-1][1]
        except BaseException:
            os.close(fd)
            raise
        self._take(state, fd, len(data))

    def _take(self, state: State, fd: int, size: int) -> None:
        if self.boot not in state.boots and state.reserve >= state.snapshot.uidnext:
            # What was given out before this boot may have been lost with the journal's tail.
            state.snapshot = state.snapshot.evolve(uidnext=state.reserve + 1)
        if self.loaded:
            self._floor = max(self._floor, self.state.snapshot.modseq)
        if state.snapshot.modseq < self._floor:
            state.snapshot = state.snapshot.evolve(modseq=self._floor)
        self._unwritten.clear()
        self._imagined = False
        # The state first: who looks without a lock must not take the old moment for the new file's.
        self.state, self.loaded = state, True
        old, self._fd = self._fd, fd
        self._size, self._inode = size, os.fstat(fd).st_ino
        if old >= 0:
            os.close(old)
        self._rotate_at = max(ROTATE_BYTES, 20 * len(state.snapshot))  # a quarter of the checkpoint

    def _open_journal(self) -> tuple[int, bytes]:
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            fd = os.open(JOURNAL, flags, dir_fd=self._directory)
        except OSError as error:
            if not durable.not_ours(error):
                raise
            fd = os.open(JOURNAL, flags & ~os.O_RDWR | os.O_RDONLY, dir_fd=self._directory)
            self.writable = False
        try:
            return fd, _read_from(fd, 0)
        except BaseException:
            os.close(fd)
            raise

    def on_disk(self) -> bool:
        """Say whether there is a journal at all."""
        return self._fd >= 0

    def seen(self) -> tuple[int, int]:
        """Return inode and size of the journal as far as it is known, to compare with a stat of its name."""
        return self._inode, self.state.position

    def catch_up(self) -> list[Batch] | None:
        """Apply what others have committed and return it; None if all had to be loaded anew."""
        fresh: list[Batch] = []
        while self._fd >= 0:
            state = self.state
            try:
                found = os.fstat(self._fd)  # before reading: a journal without a name does not grow any more
                data = _read_from(self._fd, state.position) if found.st_size > state.position else b""
            except OSError as error:
                if error.errno != errno.ESTALE:
                    raise
                # NFS: the journal was rotated on another host, and nothing is left of the old one.
                self._load_anew()
                return None
            if found.st_size < state.position:
                raise Unfit
            if data:
                if self._ahead() and next(journal.replay(data), None) is not None:
                    self._load_anew()
                    return None
                self._apply_tail(data, fresh)
            self._size = max(found.st_size, state.position)
            if found.st_nlink:
                return fresh
            if self._ahead() or not self._follow(fresh):
                self._load_anew()
                return None
        return fresh

    def _load_anew(self) -> None:
        """Load all of it. Where memory was ahead, the other's history counts: what ours had is in the folder."""
        ahead = self._ahead()
        self.load()
        if ahead:
            self.state.stamp = NEVER

    def _apply_tail(self, data: bytes, fresh: list[Batch]) -> None:
        start = self.state.position
        batches = list(journal.replay(data))
        if batches:
            self.state.apply_all([batch for batch, _ in batches])
            self.state.position = start + batches[-1][1]
            fresh += [batch for batch, _ in batches]

    def _follow(self, fresh: list[Batch]) -> bool:
        """Go on in the next generation, if it begins where we are."""
        try:
            fd, data = self._open_journal()
        except FileNotFoundError:
            return False
        batches = list(journal.replay(data))
        header = batches[0][0].header if batches else None
        if header is None or header[1:] != (self.state.generation, self.state.position):
            os.close(fd)
            return False
        os.close(self._fd)
        self._fd, self._inode = fd, os.fstat(fd).st_ino
        self.state.generation = header[0]
        self.state.position = 0
        self._apply_tail(data, fresh)
        self._size = len(data)
        return True

    # --- under the lock ------------------------------------------------------------------------

    def settle(self) -> list[Batch] | None:
        """Catch up under the lock: what does not verify now is no writer at work but a dead one, or damage."""
        try:
            if not self.loaded:
                self.load(patient=False)
                fresh = None
            else:
                fresh = self.catch_up()
            if self._size > self.state.position:
                data = _read_from(self._fd, self.state.position)
                if journal.salvage(data, 0):
                    raise Unfit
                self._cut()
            if self._lock.rung() > self.state.snapshot.modseq:
                # The bell is rung after the batch: one that others have been told of is missing.
                raise Unfit
        except (FileNotFoundError, Unfit):
            self.rebuild()
            return None
        return fresh

    def _cut(self) -> None:
        """Cut off what a dead writer left: half a batch is nobody's, and we hold the lock."""
        try:
            durable.truncate(self._fd, self.state.position)
            self._size = self.state.position
        except OSError as error:
            if not durable.cannot_write(error):
                raise

    def allocate(self, count: int) -> int:
        """Return the first of *count* UIDs that nobody has had, and see to it that nobody gets them again."""
        first = self.state.snapshot.uidnext
        last = first + count - 1
        if last > LAST_UID:
            raise errors.OutOfUids(detail=os.fsdecode(self.path))
        if self.writable and (last > self.state.reserve or self.boot not in self.state.boots):
            reserve = min(last + RESERVE, LAST_UID)
            self._lock.note_reserve(self.state.snapshot.uidvalidity, reserve, sync=self._sync)
            self.commit(Batch(reserve=reserve, raised=first), keep=False)
            if self._sync:
                durable.sync_data(self._fd)
        return first

    def commit(self, batch: Batch, *, keep: bool = True) -> None:
        """Write one batch; with *keep*, a full disk leaves it in memory for later.

        Never *keep* a batch with new messages: their UIDs must be on record before anybody hears of them.
        """
        now = self.state.snapshot
        batch.modseq = max(now.modseq, self._floor) + 1 if batch.visible() else now.modseq
        batch.uidnext = max(now.uidnext, batch.raised or 0)
        if batch.added:
            batch.uidnext = max(batch.uidnext, batch.added[-1].uid + 1)
        try:
            self.flush()
            if self.writable:
                if self.boot not in self.state.boots:
                    batch.boot, batch.raised = self.boot, batch.uidnext
                self._append(journal.render(batch))
            else:
                self._imagined = True
        except OSError as error:
            if not keep or batch.added or not durable.cannot_write(error):
                raise
            batch.boot = None
            self._unwritten.append(batch)
        self.state.apply_all([batch])
        if self._unwritten or not self.writable:
            return
        if batch.visible():
            self._lock.ring(batch.modseq)
        if self.state.position > self._rotate_at:
            try:
                self.rotate()
            except OSError as error:
                # The journal can grow on; try again when it has.
                self._rotate_at = self.state.position + ROTATE_BYTES
                log.warning("rotation failed path=%s error=%s", os.fsdecode(self.path), error)

    @property
    def behind(self) -> bool:
        """Whether memory is ahead of the disk, because there was no room."""
        return bool(self._unwritten) and self.writable

    def _ahead(self) -> bool:
        return bool(self._unwritten) or self._imagined

    def flush(self) -> None:
        """Write what had to stay in memory, each batch by itself: half of a batch is nobody's, a whole one counts."""
        while self.behind:
            self._append(journal.render(self._unwritten[0]))
            self._lock.ring(self._unwritten.pop(0).modseq)

    def _append(self, data: bytes) -> None:
        position = self.state.position
        if self._size > position:
            self._cut()
        try:
            durable.write_at(self._fd, data, position)
        except OSError:
            self._size = position + len(data)
            self._cut()
            raise
        self.state.position = self._size = position + len(data)

    def sync_named(self, *, everything: bool) -> None:
        """Return when every batch so far is on the disk.

        By name, so without the lock: should the journal have been rotated since, what was before is synced.

        *everything*: also what a first contact made without waiting for the disk.
        """
        for name in (CHECKPOINT, JOURNAL) if everything else (JOURNAL,):
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._directory)
            try:
                durable.sync_data(fd)
            finally:
                os.close(fd)
        if everything:
            durable.sync(self._directory)

    def create(self, state: State) -> None:
        """Begin a history. Not synced: if it is lost, the next one has another UIDVALIDITY."""
        state.reserve = min(state.snapshot.uidnext - 1 + RESERVE, LAST_UID)
        state.boots = (self.boot,)
        self._lock.note_reserve(state.snapshot.uidvalidity, state.reserve, sync=False)
        self._write_generation(state, durable_too=False)
        self._lock.ring(state.snapshot.modseq)

    def imagine(self, state: State) -> None:
        """Keep a history in memory only: nothing can be written here, and reading must not need it."""
        self.writable = False
        self.state = state
        self.loaded = True

    def rotate(self) -> None:
        """Write a checkpoint and begin a new journal behind it."""
        try:
            try:
                durable.unlink(OLD, self._directory)
            except FileNotFoundError:
                pass
            durable.link(CHECKPOINT, OLD, self._directory, self._directory)
        except OSError:
            pass  # no hard links here, so no .old: it is a second net
        self._write_generation(self.state, durable_too=self._sync)
        self.rotations += 1

    def _write_generation(self, state: State, *, durable_too: bool) -> None:
        durable.put(CHECKPOINT, checkpoint.render(state), self._directory, durable=durable_too, mode=self._mode)
        now = state.snapshot
        first = Batch(
            modseq=now.modseq,
            uidnext=now.uidnext,
            header=(state.generation + 1, state.generation, state.position),
            uidvalidity=now.uidvalidity,
            reserve=state.reserve,
        )
        data = journal.render(first)
        durable.put(JOURNAL, data, self._directory, durable=durable_too, mode=self._mode)
        if durable_too:
            durable.sync(self._directory)
        fd = os.open(JOURNAL, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._directory)
        state.generation += 1
        state.position = len(data)
        self._take(state, fd, len(data))

    # --- damage --------------------------------------------------------------------------------

    def rebuild(self) -> None:
        """Make a whole index from what verifies, and say so once; the caller compares the folder with it.

        What clients hold must stay true: a UID keeps its message or is never used again, and where that
        cannot be promised UIDVALIDITY changes. All mod-sequences rise, so that nobody misses a change that
        the lost part knew of, and the history of expunges begins anew.
        """
        found: list[State] = []
        for name in (CHECKPOINT, OLD):
            try:
                data = durable.read_file(name, self._directory)
            except FileNotFoundError:
                continue
            state = checkpoint.parse(data)
            if state is None:
                if checkpoint.of_another_version(data):
                    raise errors.IndexDamaged(detail=f"{os.fsdecode(self.path)}: written by another version")
                self._set_aside(name, data)
            else:
                found.append(state)
        try:
            data = durable.read_file(JOURNAL, self._directory)
        except FileNotFoundError:
            data = b""
        batches = journal.replay(data)
        good = list(batches)
        later = journal.salvage(data, good[-1][1] if good else 0)
        if data:
            self._set_aside(JOURNAL, data)
        heard = [batch for batch, _ in good] + later
        state, replayed = _best(found, good)
        last = max([old.snapshot.uidvalidity for old in found] + [batch.uidvalidity or 0 for batch in heard], default=0)
        noted = self._lock.reserve()
        uidnext = max(
            [old.snapshot.uidnext for old in found]
            + [old.reserve + 1 for old in found]
            + [max(batch.uidnext, (batch.reserve or 0) + 1) for batch in heard],
            default=1,
        )
        modseq = max(
            [self._lock.rung(), self._floor]
            + [old.snapshot.modseq for old in found]
            + [batch.modseq for batch in heard]
        )
        generation = max(
            [old.generation for old in found] + [batch.header[0] for batch in heard if batch.header], default=0
        )
        if state is None:
            state = State()
            state.snapshot.uidvalidity = self.another_uidvalidity(last)
            uidnext = 1
        elif noted is not None and noted[0] == state.snapshot.uidvalidity:
            uidnext = max(uidnext, noted[1] + 1)
        else:
            # Nothing says which UIDs the lost part gave out.
            state.snapshot.uidvalidity = self.another_uidvalidity(last)
        state.snapshot = state.snapshot.evolve(uidnext=min(uidnext, LAST_UID), modseq=modseq + 1)
        state.snapshot.modseqs = array("Q", [modseq + 1]) * len(state.snapshot)
        state.history.clear()
        state.whole_above = modseq + 1
        state.stamp = NEVER
        state.generation, state.position = generation + 1, 0
        state.reserve = min(state.snapshot.uidnext - 1 + RESERVE, LAST_UID)
        state.boots = (self.boot,)
        log.error(
            "index damaged, rebuilt path=%s messages=%d batches=%d uidvalidity=%d kept=%s",
            os.fsdecode(self.path),
            len(state.snapshot),
            replayed,
            state.snapshot.uidvalidity,
            state.snapshot.uidvalidity == last,
        )
        try:
            self._lock.note_reserve(state.snapshot.uidvalidity, state.reserve, sync=self._sync)
            self._write_generation(state, durable_too=self._sync)
            self._lock.ring(state.snapshot.modseq)
        except OSError as error:
            if not durable.cannot_write(error):
                raise
            self.imagine(state)

    def another_uidvalidity(self, last: int = 0) -> int:
        """Return one that this folder has not had: clients remember, whatever the clock or the counter says."""
        noted = self._lock.reserve()
        return max(self._uidvalidity(), last + 1, noted[0] + 1 if noted else 0)

    def _set_aside(self, name: bytes, data: bytes) -> None:
        # A copy, not a rename: readers that have the journal open must see it lose its name.
        try:
            durable.put(name + DAMAGED, data, self._directory, durable=False, mode=self._mode)
        except OSError as error:
            if not durable.cannot_write(error):
                raise

    def close(self) -> None:
        """Let go of the journal."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        self.loaded = False


def _best(found: list[State], good: list[tuple[Batch, int]]) -> tuple[State | None, int]:
    """Choose the checkpoint to build on, and replay onto it what follows it."""
    header = good[0][0].header if good else None
    for state in found:
        if header is not None and (header[1:] == (state.generation, state.position)):
            state.apply_all([batch for batch, _ in good])
            return state, len(good)
        if header is not None and header[0] == state.generation:
            tail = [batch for batch, end in good if end > state.position]
            state.apply_all(tail)
            return state, len(tail)
    return (found[0], 0) if found else (None, 0)


def _read_from(fd: int, position: int) -> bytes:
    pieces = []
    while piece := os.pread(fd, 1 << 22, position):
        pieces.append(piece)
        position += len(piece)
    return b"".join(pieces)
