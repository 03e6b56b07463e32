"""One folder's index: checkpoint and journal as one history, and how it survives.

Files, beside the folder's cur/ or in a directory of their own:

    maildir-imapd.index        the checkpoint: "I cover generation g up to byte p"      .old: the one before
    maildir-imapd.journal      generation g, or g+1 that says "I follow g at p"

Reading needs no lock (loading.py); a load begins again until checkpoint and journal fit. A process that has the
old journal open reads it to its end (the inode lives on), sees that another file has the name, and goes on in that
one if it follows where it stands; else it loads anew. Whether the old one has another name still (``cp -al``) says
nothing.

Writing needs the folder's lock. The order is always: folder first, journal second. Dying in between leaves
a folder that differs from its history and a cur/ whose stamp is not the recorded one, so the next sync
finds the difference and writes the batch that is missing.

No UID twice: before UIDs beyond the reserve are given out, a higher reserve is noted in the lock file and
in the journal, and synced. When this machine has started anew since it wrote here (boot.py), the tail of the
journal may be lost: a batch that raises UIDNEXT to the reserve plus one is written before anything is shown.

Memory and disk: the next state is made first, then the batch is written, then the state is put in its place
by one assignment, and with it what is new for the mailbox (``news``). An error before the write leaves both
as they were; behind it nothing can fail that matters (docs/rules.md, T5).

When the disk is full or not ours, a batch of changes that the folder itself remembers (flags, expunges)
is kept in memory and written with the next one that can be. Should another process write first, we forget
ours, load what it wrote and compare the folder again.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Final

from maildir_imapd import errors
from maildir_imapd.events import Log
from maildir_imapd.store.disk import descriptors, durable
from maildir_imapd.store.disk.descriptors import Descriptor
from maildir_imapd.store.index import boot, checkpoint, damage, journal, loading, numbering
from maildir_imapd.store.index.columns import ColumnSource
from maildir_imapd.store.index.constants import CHECKPOINT, JOURNAL, LAST_UID, LAST_UIDVALIDITY, OLD, RESERVE
from maildir_imapd.store.index.journal import NEVER, Batch
from maildir_imapd.store.index.loading import Opened, Unfit
from maildir_imapd.store.index.lock import FolderLock
from maildir_imapd.store.index.snapshot import Snapshot
from maildir_imapd.store.index.state import IndexState

log = Log(__name__)

ROTATE_OCTETS: Final = 256 * 1024
_LOAD_ATTEMPTS: Final = 30


def clock_uidvalidity() -> int:
    """Return a UIDVALIDITY, for want of a counter; a clock beyond 2106 says nothing."""
    now = int(time.time())
    return now if 0 < now <= LAST_UIDVALIDITY else 1


class Index:
    """The history of one folder. Every method needs the folder's lock, load() and catch_up() that of the threads.

    *directory* is the folder's descriptor, in use for as long as a lock of it is held. *state* may be read at any
    time without a lock: it is replaced as a whole.
    """

    boot = boot.own()

    def __init__(
        self,
        directory: Descriptor,
        path: bytes,
        lock: FolderLock,
        *,
        sync: bool = True,
        mode: int = 0o600,
        uidvalidity: Callable[[], int] = clock_uidvalidity,
        unseen: Callable[[Snapshot], ColumnSource] | None = None,
        shared: bool = False,
    ) -> None:
        """*unseen*: gives a way to the columns of files, for a snapshot that was recorded without them.

        *shared*: other hosts write it, too: it is opened anew for each look, and synced with each batch.
        """
        self.path = path
        self.state = IndexState()
        self.news: list[Batch] | None = []  # what the mailbox has not taken in yet; None: all of it is new
        self.loaded = False
        self.writable = True  # else the history lives in memory, beside what was on disk
        self._directory = directory
        self._lock = lock
        self._sync = sync or shared
        self._shared = shared
        self._mode = mode
        self._uidvalidity = uidvalidity
        self._unseen = unseen
        self.partial = False  # the checkpoint lacks what only the messages' files tell
        self._journal: Descriptor | None = None
        # There is a journal, which is closed until the next look; by its name it might be another one on its inode.
        self.resting = False
        self._size = 0  # of the journal, as last seen
        self._unwritten: list[Batch] = []
        self._imagined = False  # memory has batches that were never to be written
        self.rotations = 0
        self._floor = 0  # clients have been told this mod-sequence, whatever the disk says
        self._rotate_at = ROTATE_OCTETS

    def _publish(self, state: IndexState, batches: list[Batch] | None) -> None:
        """Let *state* be what is so from here on, and *batches* what has led there; None: nobody knows."""
        news = None if batches is None or self.news is None else [*self.news, *batches]
        self.state, self.news = state, news

    def taken(self) -> None:
        """Note that the mailbox has taken in the news."""
        self.news = []

    # --- reading -------------------------------------------------------------------------------

    def load(self, *, patient: bool = True) -> None:
        """Read the whole history; raise Unfit if it does not verify or does not fit.

        A writer is in the middle of a rotation for microseconds: *patient* waits for it.
        """
        for attempt in range(_LOAD_ATTEMPTS if patient else 1):
            if attempt:
                time.sleep(0.001)
            try:
                state = loading.read_checkpoint(self._directory.number, whole=self._shared)
                self.partial = not state.snapshot.seen
                state = loading.completed(state, self._unseen)
                opened = self._open_journal()
                try:
                    self._take(loading.joined(state, opened), opened)
                except BaseException:
                    opened.file.close()
                    raise
            except (FileNotFoundError, Unfit):
                continue
            return
        raise Unfit

    def _open_journal(self) -> Opened:
        opened = loading.open_journal(self._directory.number)
        # Whatever comes of what is in it: this much is known.
        self.writable = self.writable and opened.writable
        return opened

    def _take(self, state: IndexState, opened: Opened, news: list[Batch] | None = None) -> None:
        """Let the history that was read, or written, be ours from here on; *news* as of ``_publish``."""
        floor = max(self._floor, self.state.snapshot.modseq) if self.loaded else self._floor
        if state.snapshot.modseq < floor:
            state = replace(state, snapshot=state.snapshot.evolve(modseq=floor))
        old = self._journal
        rotate_at = max(ROTATE_OCTETS, 20 * len(state.snapshot))  # a quarter of the checkpoint
        self._publish(state, news)
        # From here on nothing can fail.
        self._journal, self._size, self._floor, self.loaded = opened.file, len(opened.data), floor, True
        self.resting = False
        self._unwritten, self._imagined = [], False
        self._rotate_at = rotate_at
        if old is not None:
            old.close()

    def on_disk(self) -> bool:
        """Say whether there is a journal at all."""
        return self._journal is not None or self.resting

    def catch_up(self) -> None:
        """Take in what others have committed; raises Unfit, OSError."""
        if self._shared:
            _open_again(self)
        if self.resting:
            _wake(self)
        while self._journal is not None:
            state, number = self.state, self._journal.number
            try:
                # Before reading: once another file has the name, ours does not grow any more.
                there = loading.named(self._directory.number, anew=self._shared)
                named = there is not None and there.st_ino == state.inode
                size = there.st_size if there is not None and named else os.fstat(number).st_size
                data = loading.read_from(number, state.position) if size > state.position else b""
            except OSError as error:
                if error.errno != errno.ESTALE:
                    raise
                # NFS: the journal was rotated on another host, and nothing is left of the old one.
                self._load_anew()
                return
            if size < state.position:
                raise Unfit
            if data:
                if self._ahead() and next(journal.replay(data), None) is not None:
                    self._load_anew()
                    return
                self._apply_tail(data)
            self._size = max(size, self.state.position)
            if named:
                return
            if self._ahead() or not self._follow():
                self._load_anew()
                return

    def _load_anew(self) -> None:
        """Load all of it. Where memory was ahead, the other's history counts: what ours had is in the folder."""
        ahead = self._ahead()
        self.load()
        if ahead:
            self._publish(replace(self.state, stamp=NEVER), [])

    def _apply_tail(self, data: bytes) -> None:
        start = self.state.position
        batches = list(journal.replay(data))
        if batches:
            fresh = [batch for batch, _ in batches]
            self._publish(self.state.after(fresh, position=start + batches[-1][1]), fresh)

    def _follow(self) -> bool:
        """Go on in the next generation, if it begins where we are."""
        try:
            opened = self._open_journal()
        except FileNotFoundError:
            return False
        try:
            found = loading.following(self.state, opened)
            if found is None:
                opened.file.close()
                return False
            old = self._journal
            self._publish(*found)
        except BaseException:
            opened.file.close()
            raise
        self._journal, self._size = opened.file, len(opened.data)
        if old is not None:
            old.close()
        return True

    # --- under the lock ------------------------------------------------------------------------

    def settle(
        self, before_rebuilding: Callable[[], None] = lambda: None, listed: Callable[[], int] = lambda: 0
    ) -> bool:
        """Catch up under the lock: what does not verify now is no writer at work but a dead one, or damage.

        *before_rebuilding* raises where there is nothing to be mended: a folder that is being removed has no damage.
        *listed*: as of ``rebuild``. Returns whether the index was rebuilt.
        """
        rebuilt = False
        try:
            if not self.loaded:
                self.load(patient=False)
            else:
                self.catch_up()
            if self._size > self.state.position and self._journal is not None:
                data = loading.read_from(self._journal.number, self.state.position)
                if journal.of_another_version(data):
                    raise errors.OtherVersion(detail=os.fsdecode(self.path))
                if journal.salvage(data, 0):
                    raise Unfit
                self._cut()
            if self._shared and self._lock.rung() > self.state.snapshot.modseq:
                self._load_anew()
            if self._lock.rung() > self.state.snapshot.modseq:
                # The bell is rung after the batch: one that others have been told of is missing.
                raise Unfit
            if self.state.snapshot.damaged:
                # Found when a column was asked for, long after the head was read.
                raise Unfit
        except (FileNotFoundError, Unfit):
            before_rebuilding()
            self.rebuild(listed())
            rebuilt = True
        if self.started_anew:
            self._raise_uidnext()
        return rebuilt

    @property
    def started_anew(self) -> bool:
        """Whether the machine has started since it gave out UIDs here, and they may not be shown as they are."""
        return self.writable and boot.anew(self.boot, self.state.boots)

    def _raise_uidnext(self) -> None:
        """Give out no UID any more that may have been given out before the machine started, and put that on record.

        On record first: a process that knew it by itself would take for old what another one gives out meanwhile.
        """
        first = max(self.state.snapshot.uidnext, self.state.reserve + 1)
        try:
            self.commit(Batch(raised=first, boot=self.boot), keep=False)
            if self._sync and self._journal is not None:
                durable.sync_data(self._journal.number)
        except OSError as error:
            # Nothing can be given out then either.
            if not durable.cannot_write(error):
                raise

    def _cut(self) -> None:
        """Cut off what a dead writer left: half a batch is nobody's, and we hold the lock."""
        assert self._journal is not None
        try:
            durable.truncate(self._journal.number, self.state.position)
            self._size = self.state.position
        except OSError as error:
            if not durable.cannot_write(error):
                raise

    def allocate(self, count: int) -> int:
        """Return the first of *count* UIDs that nobody has had, and see to it that nobody gets them again."""
        if self.started_anew:
            self._raise_uidnext()
        first = self.state.snapshot.uidnext
        last = first + count - 1
        if last > LAST_UID:
            raise errors.OutOfUids(detail=os.fsdecode(self.path))
        if self.writable and (last > self.state.reserve or not boot.known(self.boot, self.state.boots)):
            reserve = min(max(last + RESERVE, self.state.reserve), LAST_UID)
            self._lock.note_reserve(self.state.snapshot.uidvalidity, reserve, sync=self._sync)
            self.commit(Batch(reserve=reserve, raised=first), keep=False)
            if self._sync and self._journal is not None:
                durable.sync_data(self._journal.number)
        return first

    def number_anew(self, why: str = "UIDs used up, numbered anew") -> None:
        """Give all messages UIDs from 1 under another UIDVALIDITY; *why* is for the log.

        Raises OutOfUids where there is no higher UIDVALIDITY, or none can be put on record; OSError.
        """
        before = self.state.snapshot
        uidvalidity = self.another_uidvalidity(before.uidvalidity)
        if not self.writable or uidvalidity <= before.uidvalidity:
            raise errors.OutOfUids(detail=os.fsdecode(self.path))
        self.flush()
        state = numbering.anew(self.state, uidvalidity, max(before.modseq, self._floor) + 1, self.boot)
        self._lock.note_reserve(uidvalidity, state.reserve, sync=self._sync)
        self._write_generation(state, durable_too=self._sync)
        self._lock.ring(state.snapshot.modseq)
        log.warning(
            why,
            path=self.path,
            messages=len(before),
            uidvalidity=uidvalidity,
            before=before.uidvalidity,
        )

    def commit(self, batch: Batch, *, keep: bool = True) -> None:
        """Write one batch; with *keep*, a full disk leaves it in memory for later.

        Never *keep* a batch with new messages: their UIDs must be on record before anybody hears of them.
        If anything is raised, nothing of the batch is on record, and memory is as it was.
        """
        now = self.state.snapshot
        batch.modseq = max(now.modseq, self._floor) + 1 if batch.visible() else now.modseq
        batch.uidnext = max(now.uidnext, batch.raised or 0)
        if batch.added:
            batch.uidnext = max(batch.uidnext, batch.added[-1].uid + 1)
        try:
            self.flush()
            if self.writable:
                if not boot.known(self.boot, self.state.boots):
                    batch.boot, batch.raised = self.boot, batch.uidnext
                data = journal.render(batch)
                after = self.state.after([batch], position=self.state.position + len(data))
                news = None if self.news is None else [*self.news, batch]
                self._append(data)
                self._size = after.position
            else:
                after = self.state.after([batch])
                news = None if self.news is None else [*self.news, batch]
                self._imagined = True
        except OSError as error:
            if not keep or batch.added or not durable.cannot_write(error):
                raise
            batch.boot = None
            after = self.state.after([batch])
            news = None if self.news is None else [*self.news, batch]
            self._unwritten.append(batch)
        self.state, self.news = after, news
        try:
            self._written(batch)
        except Exception:
            # It is on record: whoever hears of an error now would do it again.
            log.exception("after a commit", path=self.path)

    def _written(self, batch: Batch) -> None:
        """Do what follows a batch that is on record, and may as well fail."""
        if self._unwritten or not self.writable:
            return
        if batch.visible():
            self._lock.ring(batch.modseq)
        if self.state.position > self._rotate_at:
            try:
                self.rotate()
            except (OSError, MemoryError) as error:
                # The journal can grow on; try again when it has.
                self._rotate_at = self.state.position + ROTATE_OCTETS
                log.warning("rotation failed", path=self.path, why=error)

    @property
    def behind(self) -> bool:
        """Whether memory is ahead of the disk, because there was no room."""
        return bool(self._unwritten) and self.writable

    def _ahead(self) -> bool:
        return bool(self._unwritten) or self._imagined

    def flush(self) -> None:
        """Write what had to stay in memory, each batch by itself: half of a batch is nobody's, a whole one counts."""
        while self.behind:
            data = journal.render(self._unwritten[0])
            after = replace(self.state, position=self.state.position + len(data))
            self._append(data)
            self._size, self.state = after.position, after
            self._lock.ring(self._unwritten.pop(0).modseq)

    def _append(self, data: bytes) -> None:
        """Write *data* behind what is on record; after an error nothing of it counts."""
        assert self._journal is not None
        position = self.state.position
        if self._size > position:
            self._cut()
        try:
            if self._shared:
                self._lock.prove()
            durable.write_at(self._journal.number, data, position)
            if self._shared:
                durable.sync_data(self._journal.number)
        except Exception:
            self._size = position + len(data)
            self._cut()
            raise

    def create(self, state: IndexState, *, reserve: int = RESERVE) -> None:
        """Begin a history. Not synced: if it is lost, the next one has another UIDVALIDITY.

        *reserve*: of UIDs; 0 for who gives out none.
        """
        state = replace(state, reserve=min(state.snapshot.uidnext - 1 + reserve, LAST_UID), boots=(self.boot,))
        self._lock.note_reserve(state.snapshot.uidvalidity, state.reserve, sync=False)
        self._write_generation(state, durable_too=self._shared)
        self._lock.ring(state.snapshot.modseq)

    def imagine(self, state: IndexState) -> None:
        """Keep a history in memory only: nothing can be written here, and reading must not need it."""
        self.writable = False
        if self._journal is not None:
            # What is there is behind us; what comes after it is news.
            found = os.fstat(self._journal.number)
            state = replace(state, position=found.st_size, inode=found.st_ino)
        self._publish(state, None)
        self.loaded = True

    def rotate(self, *, stow: bool = False) -> None:
        """Write a checkpoint and begin a new journal behind it.

        *stow*: from then on the columns lie in the checkpoint alone, as after a start.
        """
        directory = self._directory.number
        try:
            try:
                durable.unlink(OLD, directory)
            except FileNotFoundError:
                pass
            durable.link(CHECKPOINT, OLD, directory, directory)
        except OSError:
            pass  # no hard links here, so no .old: it is a second net
        self._write_generation(self.state, durable_too=self._sync)
        self.rotations += 1
        if stow and not self._shared:
            self._publish(replace(self.state, snapshot=loading.stowed(directory, self.state.snapshot)), [])

    def _write_generation(self, state: IndexState, *, durable_too: bool) -> None:
        directory = self._directory.number
        self.partial = not state.snapshot.seen
        durable.put(CHECKPOINT, checkpoint.render(state), directory, durable=durable_too, mode=self._mode)
        now = state.snapshot
        first = Batch(
            modseq=now.modseq,
            uidnext=now.uidnext,
            header=(state.generation + 1, state.generation, state.position),
            uidvalidity=now.uidvalidity,
            reserve=state.reserve,
        )
        data = journal.render(first)
        durable.put(JOURNAL, data, directory, durable=durable_too, mode=self._mode)
        if durable_too:
            durable.sync(directory)
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
        file = Descriptor(descriptors.open(JOURNAL, flags, dir_fd=directory), "journal")
        try:
            inode = os.fstat(file.number).st_ino
            after = replace(state, generation=state.generation + 1, position=len(data), inode=inode)
            self._take(after, Opened(file, inode, data), news=[] if state is self.state else None)
        except BaseException:
            file.close()
            raise

    def rebuild(self, listed: int = 0) -> None:
        """Make a whole index from what verifies, and say so once; the caller compares the folder with it.

        *listed*: the UIDVALIDITY under which another server's list has the UIDs, 0 for none.
        Raises IndexDamaged for another version's, OSError.
        """
        told = max(self._lock.rung(), self._floor)
        directory = self._directory.number
        found = damage.evidence(directory, self.path, self._mode, self._lock.reserve(), told, self._unseen)
        state, replayed = damage.mended(found, self.boot, self.another_uidvalidity, listed)
        log.error(
            "index damaged, rebuilt",
            path=self.path,
            messages=len(state.snapshot),
            batches=replayed,
            uidvalidity=state.snapshot.uidvalidity,
            kept=state.snapshot.uidvalidity == found.uidvalidity(),
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
        return min(max(self._uidvalidity(), last + 1, noted[0] + 1 if noted else 0), LAST_UIDVALIDITY)

    def close(self) -> None:
        """Let go of the journal."""
        self.loaded = False
        if self._journal is not None:
            self._journal.close()


def _open_again(index: Index) -> None:
    """Open the journal anew, if another one has not taken its name: what another host has written shows then."""
    old = index._journal
    if old is None:
        return
    try:
        opened = loading.reopened(index._directory.number, index.state, writing=index.writable)
    except (FileNotFoundError, Unfit):
        index._load_anew()
        return
    if opened is not None:
        index._journal = opened
        old.close()


def close_journal(index: Index) -> None:
    """Close the journal until somebody catches up, where all that is known is on the disk; under the threads' lock."""
    file = index._journal
    if file is None or not index.loaded or not index.writable or index._ahead():
        return
    index.resting, index._journal = True, None
    file.close()


def _wake(index: Index) -> None:
    """Open the journal that rested; where another one has its place all is loaded.  Raises Unfit, OSError."""
    try:
        opened = loading.reopened(index._directory.number, index.state, writing=True)
    except Unfit:
        opened = None
    except OSError as error:
        if not (isinstance(error, FileNotFoundError) or durable.not_ours(error)):
            raise
        opened = None
    if opened is None:
        index._load_anew()
    else:
        index._journal, index.resting = opened, False


def forget(index: Index) -> None:
    """Believe nothing that is in memory: the next look loads all of it; what clients know goes on from there."""
    index._floor = max(index._floor, index.state.snapshot.modseq)
    with suppress(OSError):
        index.close()
    index._journal, index.resting, index.writable = None, False, not durable.is_untouched()
