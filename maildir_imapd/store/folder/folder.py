"""A folder under its lock: the two directories, the index, and how the one is brought to agree with the other.

Everything here needs the folder's lock (lock.py); Mailbox takes it, and tells the listeners afterwards.
What is open of it is in directories.py, the first look at a folder in first_contact.py, every later one in
reconcile.py, and the changes that clients make in changes.py and copying.py.
"""

from __future__ import annotations

import errno
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from maildir_imapd import errors
from maildir_imapd.events import Log
from maildir_imapd.store.disk import descriptors, durable
from maildir_imapd.store.folder import compare, directories, first_contact, mailboxid, unseen
from maildir_imapd.store.folder.files import Files
from maildir_imapd.store.folder.keeping import AS_USUAL, Keeping
from maildir_imapd.store.folder.kept import KeptMessages
from maildir_imapd.store.folder.reconcile import Reconciler
from maildir_imapd.store.index import foreign, loading
from maildir_imapd.store.index.claim import Claim
from maildir_imapd.store.index.constants import CHECKPOINT, JOURNAL, LAST_UIDVALIDITY
from maildir_imapd.store.index.index import Index, close_journal, forget
from maildir_imapd.store.index.journal import NEVER, Batch
from maildir_imapd.store.index.loading import Unfit
from maildir_imapd.store.index.lock import FolderLock
from maildir_imapd.store.index.snapshot import Snapshot
from maildir_imapd.store.index.state import IndexState
from maildir_imapd.store.maildir import delivery, keywords, scan
from maildir_imapd.store.maildir.filename import DELETED
from maildir_imapd.store.neighbours import servers
from maildir_imapd.store.neighbours.neighbour import Neighbour, Place
from maildir_imapd.store.neighbours.seed import Seed
from maildir_imapd.store.neighbours.turns import Turns

log = Log(__name__)


class Folder:
    """The directories and the index of one Maildir."""

    def __init__(
        self,
        path: bytes,
        keeping: Keeping = AS_USUAL,
        *,
        root: bytes | None = None,
        index: bytes | None = None,
        control: bytes | None = None,
        seed: Callable[[], Seed | None] | None = None,
    ) -> None:
        self.path = path
        self._seed = seed
        self._listed_at = time.monotonic()  # of the last listing of cur/
        self._pause_until = 0.0  # monotonic: not before, unless a stamp says that something has changed
        self.owed = False  # something was committed since the last sync of ``exclusive``: with fsync = always only
        self._whole = False  # sync() has made sure of what a first contact wrote without waiting
        self._keywords_at = -1  # mtime of the file of keywords as last read
        self.out_of_uids = False  # the last look has found more new messages than there are UIDs left
        self._restoring = False  # those of ``foreign`` were given under our own eyes, and lost
        self.foreign: dict[bytes, int] = {}  # base -> UID that another server gave to a message new to us
        self.standing = _stand(path, index or path, control or path, root, keeping)
        where = self.directories = self.standing.now
        self._shared = where.shared
        try:
            self.keeping = keeping if where.control is not None else replace(keeping, mirror="none")
            foreign.replace(where.index, where.index_path, where.mode)
            self.ground = Place(where.folder, where.control or where.folder, where.index, path, where.mode)
            with durable.as_store_error(path):
                self.files = Files(where.folder, path, where.owner, shared=where.shared)
            self.kept = KeptMessages(where.folder, path)
            self._locked_away = not where.writable
            self.claim = Claim(where.index, path, shared=where.shared)
            self.lock = FolderLock(
                where.index,
                where.index_path,
                keeping.lock_timeout,
                where.mode,
                where.identity,
                shared=where.shared,
                guest=self.claim,
                hint=keeping.hint,
            )
            self.index = Index(
                where.index,
                where.index_path,
                self.lock,
                sync=keeping.fsync != "never",
                mode=where.mode,
                uidvalidity=keeping.uidvalidity,
                unseen=partial(unseen.of, self.files, where.folder),
                shared=where.shared,
            )
            # With nothing to be changed the history lives in memory, beside what is on the disk.
            self.index.writable = not durable.is_untouched()
            self.neighbour = None if self.read_only else self._meet_neighbours()
            self.turns = Turns(self.neighbour, path, coexist=self.keeping.coexist)
        except BaseException:
            where.close()
            raise

    def _meet_neighbours(self) -> Neighbour | None:
        """Return the one whose files are kept, and forget what was agreed with any other."""
        kind = self.keeping.neighbour
        for other in servers.others(kind):
            other.part(self.ground)
        return None if kind is None else kind(self.ground)

    @property
    def fd(self) -> int:
        """The folder's directory, for whoever holds a lock of it, or has it in use."""
        return self.ground.folder.number

    @property
    def control_fd(self) -> int:
        """Where the other server's own files about it lie; likewise."""
        return self.ground.control.number

    def close(self) -> None:
        """Let go of every descriptor; nobody else may be at work here, or begin to."""
        self.index.close()
        self.claim.close()  # it may have the lock's file
        self.lock.close()
        self.directories.close()

    # --- the lock ------------------------------------------------------------------------------

    @contextmanager
    def shared(self, patience: float | None = None) -> Iterator[None]:
        """Shut out the other threads only: to read what other processes have written.

        *patience*: seconds to wait for any lock, None for the setting's, 0 for who must not wait. Raises LockTimeout.
        """
        used = self.directories.begin_use()
        try:
            self.lock.acquire_threads(patience)
            try:
                if self.standing.lost:
                    # Nothing in memory is believed: the history is read anew, and the folder listed.
                    self.directories = self.standing.renew()
                    self._locked_away = not self.directories.writable
                    self.lock.close()
                    forget(self.index)
                    self.files.suspect()
                yield
            finally:
                self.lock.release_threads()
        finally:
            used.__exit__(None, None, None)

    @contextmanager
    def exclusive(self, *, adds: bool = False, settles: bool = False, patience: float | None = None) -> Iterator[None]:
        """Shut everybody out, and begin with the folder's history as it is now.

        *adds*: messages may get UIDs. *settles*: somebody is to hear OK; with fsync = always all is on the disk then,
        what was there before too, for the sync that it was owed may have failed, in any process. *patience*: as of
        ``shared``.
        """
        with self.shared(patience), self._file_lock(patience), self.turns.lock(adds, patience):
            self.standing.check_place()
            with durable.as_store_error(self.path):
                self._catch_up()
                if adds or self.keeping.coexist:
                    self._take_foreign_uids()
                try:
                    yield
                finally:
                    if self.neighbour is not None:
                        if not self.turns.busy:
                            self.neighbour.update(self.rows, locked=self.turns.held)
                        self.neighbour.update_keywords(self.rows, self.files.locate)
                if self.keeping.fsync == "always" and (self.owed or settles):
                    _settle(self, demanded=settles)

    @contextmanager
    def _file_lock(self, patience: float | None) -> Iterator[None]:
        try:
            self.lock.acquire_file(patience)
        except OSError as error:
            lost = self.standing.lose(error)
            self.standing.check_place()
            if lost or not durable.cannot_write(error):
                raise durable.store_error(error, self.directories.index_path) from error
            # Rule 12: reading must not need writing. The history goes on in memory.
            self.index.writable = False
            if durable.not_ours(error):
                self._locked_away = True
        try:
            yield
        finally:
            self.lock.release_file()

    def _catch_up(self) -> None:
        index = self.index
        if index.loaded and not index.writable:
            try:
                index.catch_up()
            except (Unfit, FileNotFoundError):
                pass  # it was removed or broken, and nothing can be written: memory is what there is
        elif index.loaded or loading.exists(self.ground.index.number):
            if index.writable:
                if index.settle(self.standing.check_place, lambda: _listed_uidvalidity(self.neighbour)):
                    self._restore_uids()
                try:
                    index.flush()
                except OSError as error:
                    if not durable.cannot_write(error):
                        raise
            else:
                try:
                    index.load()
                except (Unfit, FileNotFoundError):
                    self.adopt()  # it is broken, and we may not mend it: what the directory says is what there is
        else:
            self.adopt()

    def _restore_uids(self) -> None:
        """Give messages that a rebuilt index does not know the UIDs that they have in the other server's list."""
        listed = self.neighbour.listed() if self.neighbour is not None else None
        if listed is None or listed.uidvalidity != self.rows.uidvalidity:
            return
        self.foreign, self._restoring = listed.uids(), True
        try:
            self.refresh(look=True)
        finally:
            self.foreign, self._restoring = {}, False

    def _take_foreign_uids(self) -> None:
        """See whether the other server has given out UIDs since we wrote its list; they are not ours to give.

        Needs its lock: it lists a message before that is where we would find it.
        """
        if self.neighbour is None or not self.index.writable:
            return
        news = self.neighbour.news(self.rows)
        if news is None:
            return
        self.foreign = news.uids()
        try:
            if news.uidnext > self.rows.uidnext:
                self.refresh(look=True)
                if self.out_of_uids:
                    # The other server's UIDs are of before, like ours; it gets its list anew.
                    self.number_anew()
                elif news.uidnext > self.rows.uidnext:
                    self.commit(Batch(raised=news.uidnext))
        finally:
            self.foreign = {}

    def allocate(self, count: int) -> int:
        """Return the first of *count* UIDs for messages; all others get new ones where there are not so many left.

        Whoever knows messages by their UIDs asks ``index.allocate``. Raises OutOfUids, OSError.
        """
        try:
            return self.index.allocate(count)
        except errors.OutOfUids:
            self.index.number_anew()
            return self.index.allocate(count)

    def number_anew(self, *, keep_new: bool = False) -> None:
        """Give all messages new UIDs, and then those that had to wait for one; without a way to they wait on."""
        self.foreign = {}
        try:
            self.index.number_anew()
        except errors.OutOfUids as error:
            log.warning("no UID for new messages", path=error.detail, why=error)
            return
        except OSError as error:
            if not durable.cannot_write(error):
                raise
            log.warning("no room for new messages", path=self.path, why=error)
            return
        self.refresh(look=True, keep_new=keep_new)

    def commit(self, batch: Batch, *, keep: bool = True) -> None:
        """Write a batch; if anything is raised, nothing of it is on record, and memory is as it was."""
        if self.neighbour is not None:
            self.neighbour.expect(batch, self.rows.modseq)
        self.index.commit(batch, keep=keep)
        if self.neighbour is not None:
            self.neighbour.note(batch)
        self.owed = True

    @property
    def rows(self) -> Snapshot:
        """The folder as the index knows it."""
        return self.index.state.snapshot

    def place(self, at: int) -> bytes:
        """Return the path below the folder where the message at position *at* should be."""
        return self.files.place(self.rows, at)

    @property
    def read_only(self) -> bool:
        """Whether nothing may be changed: the spool is not ours to write, or an index that others keep is not."""
        return self._locked_away or (not self.index.writable and self.index.on_disk())

    def write_keywords(self, names: dict[int, bytes]) -> None:
        """Tell other programs what the letters mean."""
        self._keywords_at = keywords.write(self.control_fd, names, self.ground.mode)

    def sync(self) -> None:
        """Return when every batch and every name so far is on the disk."""
        with self.directories.folder.use() as directory:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
            cur = descriptors.open(b"cur", flags, dir_fd=directory, owner=self.files.owner)
            try:
                durable.sync(cur)
            finally:
                os.close(cur)
        if self.index.writable:
            # By name, so without the lock: should the journal have been rotated since, what was before is synced.
            with self.ground.index.use() as directory:
                if self._whole:
                    durable.sync_named([JOURNAL], directory)
                else:
                    # A first contact has made these without waiting for the disk.
                    durable.sync_named([CHECKPOINT, JOURNAL], directory)
                    durable.sync(directory)
            self._whole = True

    # --- stamps --------------------------------------------------------------------------------

    def unseen_change(self) -> bool:
        """Say whether a directory's stamp is not the one we know; then no stamp may be taken after our own change."""
        return self.files.look() != self.index.state.stamp[:4]

    def stamp_own(self, batch: Batch, unseen: bool) -> None:
        """Take the stamp after our own renames, unless that would hide somebody else's."""
        if not unseen:
            batch.stamp = compare.stamp(self.files.look(), time.time_ns(), ours=True)

    def due_at(self, seen: tuple[int, int, int, int]) -> float:
        """The moment (monotonic) from which on cur/ must be listed again although its stamp is the one we know.

        Infinity where nothing but another stamp asks for it.
        """
        if self.files.suspicious:
            return -math.inf
        if self.index.state.stamp.settled:
            return math.inf
        # As a rule no other host stamps it, and this is asked at each look.
        settle_ns, again_ns = (scan.SETTLE_NS, 2 * scan.SETTLE_NS) if not self._shared else _patience()
        now, wait = time.monotonic(), max(seen[0], seen[1]) + settle_ns - time.time_ns()
        # A stamp in the future, or a clock that was set back: by our own clock then.
        return max(self._pause_until, min(now + wait / 1e9, self._listed_at + again_ns / 1e9))

    def recheck(self) -> float | None:
        """Return in how many seconds somebody should look again, None if not before something happens."""
        if self.files.suspicious:
            return 0.05
        stamp = self.index.state.stamp
        if stamp.settled:
            return None
        settle_ns, again_ns = (scan.SETTLE_NS, 2 * scan.SETTLE_NS) if not self._shared else _patience()
        wait = min((max(stamp[:4]) + settle_ns - time.time_ns()) / 1e9, again_ns / 1e9)
        return max(wait, self._pause_until - time.monotonic(), 0.05) + 0.01

    # --- bringing the index up to date ---------------------------------------------------------

    def refresh(self, *, look: bool = False, keep_new: bool = False) -> None:
        """Compare the directories with the index, as far as their stamps ask for it, and commit the difference."""
        state = self.index.state
        seen = self.files.look()
        now = time.time_ns()
        list_cur = look or seen[:2] != state.stamp[:2] or time.monotonic() >= self.due_at(seen)
        list_new = look or seen[2:] != state.stamp[2:4] or not state.stamp.settled
        if state.snapshot.in_new:
            # A message that we left in new/ may have been taken to cur/, or be gone.
            list_cur = list_cur or list_new
            list_new = list_new or not (keep_new or self.read_only)
        if not list_cur and not list_new:
            return
        batch = Batch()
        work = self._reconciler(batch, keep_new=keep_new or self.read_only)
        self.out_of_uids = False
        self.files.suspicious = False
        if list_cur:
            began = time.monotonic()
            self._read_keywords(batch)
            seen, now = work.scan_cur(seen, now)
            # A folder of 100,000 that never rests must not keep us listing: a twentieth of the time at most.
            self._pause_until = began + 20 * (time.monotonic() - began)
        if list_new:
            work.take_new()
        self.out_of_uids = work.out_of_uids
        self._finish(batch, work, seen, now, listed=list_cur)

    def _reconciler(self, batch: Batch, *, keep_new: bool) -> Reconciler:
        return Reconciler(
            self.files,
            self.index,
            batch,
            keep_new=keep_new,
            read_only=self.read_only,
            lettered=self.neighbour is None or self.neighbour.letters_tell,
            foreign=self.foreign,
            restoring=self._restoring,
        )

    def _finish(
        self, batch: Batch, work: Reconciler, seen: tuple[int, int, int, int], now: int, *, listed: bool
    ) -> None:
        if listed:
            self._listed_at = time.monotonic()
        if self.files.suspicious:
            batch.stamp = NEVER
        elif work.renamed:
            batch.stamp = compare.stamp(self.files.look(), now, ours=True)
        else:
            fresh = compare.stamp(seen, now, shared=self.directories.shared)
            # Without a listing of cur/ its half of the stamp is not newer than it was.
            batch.stamp = fresh if listed else fresh._replace(settled=False)
        if batch.stamp[:4] == self.index.state.stamp[:4] and batch.stamp.settled <= self.index.state.stamp.settled:
            batch.stamp = None
        if batch.stamp is None and not batch.touches():
            return
        if batch.added or batch.vanished:
            self.doubt_quota()
        elif any((add | remove) & DELETED for _, add, remove in batch.flagged):
            self.doubt_quota(deleted=True)
        if self.foreign:
            batch.added.sort(key=lambda row: row.uid)
        try:
            self.commit(batch)
        except OSError as error:
            if not batch.added or not durable.cannot_write(error):
                raise
            # New messages need UIDs on record; the rest does not. They are found again when there is room.
            log.warning("no room for new messages", path=self.path, why=error)
            batch.added, batch.stamp, batch.boot, batch.raised = [], NEVER, None, None
            if batch.touches():
                self.commit(batch)

    def doubt_quota(self, *, deleted: bool = False) -> None:
        """Have the quota counted anew: others have added or removed messages, and may have counted them or not.

        *deleted*: they have marked some only, which matters where what is marked does not count.
        """
        quota = self.keeping.quota
        if quota is not None and quota.on and not (deleted and quota.counts_deleted):
            quota.doubt()

    def _read_keywords(self, batch: Batch) -> None:
        mtime = keywords.mtime(self.control_fd)
        if mtime == self._keywords_at:
            return
        names, self._keywords_at = keywords.read(self.control_fd)
        batch.keywords.update(keywords.merge(self.rows.keywords, names))

    # --- first contact -------------------------------------------------------------------------

    def adopt(self) -> None:
        """Make an index for a folder that has none, with the UIDs another server gave if there is a seed."""
        seed = self._seed() if self._seed is not None else None
        now = time.time_ns()
        seen = self.files.look()
        letters, self._keywords_at = keywords.read(self.control_fd)
        another: Callable[[], int] = self.index.another_uidvalidity
        if not self.index.writable:
            another = partial(_by_time, self.fd)
        rows = first_contact.begin(seed, letters, another)
        work = self._reconciler(Batch(), keep_new=self.read_only)
        first_contact.fill(rows, work, seed, lambda: max(another(), (rows.uidvalidity + 1) % (1 << 32)))
        if rows.uids:
            self.doubt_quota()
        # From here on it is as immutable as every other snapshot.
        rows.draw(unseen.of(self.files, self.directories.folder, rows.evolve()))
        if len(rows) <= first_contact.FEW_MESSAGES:
            rows.see()
        if self.files.suspicious:
            stamp = NEVER
        elif work.renamed:
            stamp = compare.stamp(self.files.look(), now, ours=True)
        else:
            stamp = compare.stamp(seen, now, shared=self.directories.shared)
        state = IndexState(snapshot=rows, stamp=stamp, whole_above=rows.modseq if seed is not None else 0)
        self._listed_at = time.monotonic()
        try:
            if not self.index.writable:
                raise OSError(errno.EROFS, os.strerror(errno.EROFS))
            if seed is not None:
                mailboxid.make(self.fd)
            self.index.create(state)
        except OSError as error:
            if not durable.cannot_write(error):
                raise
            log.warning("index in memory only", path=self.directories.index_path, why=error)
            self.index.imagine(state)

    def clean_tmp(self) -> None:
        """Remove old litter from tmp/; never an error, it is only litter."""
        try:
            delivery.clean_tmp(self.fd, time.time())
        except OSError:
            pass


def _stand(path: bytes, index: bytes, control: bytes, root: bytes | None, keeping: Keeping) -> directories.Standing:
    opens = partial(directories.open_all, path, index, control, root=root, links=keeping.follow_links == "owner")
    return directories.Standing(partial(opens, needed=keeping.coexist, shared=keeping.shared_spool))


def let_rest(folder: Folder) -> None:
    """Close what can be opened again, until it is used next; nothing waits for that.

    What is claimed for those who show the folder stays.
    """
    if folder.standing.lost:
        return
    try:
        folder.lock.acquire_threads(0)
    except errors.LockTimeout:
        return
    try:
        close_journal(folder.index)
        if folder.index.resting and folder.directories.may_rest:
            folder.directories.folder.rest()
    finally:
        folder.lock.release_threads()


@contextmanager
def locked(folder: Folder) -> Iterator[None]:
    """Shut everybody out, and take nothing in; raises LockTimeout, StoreError."""
    with folder.shared(), folder._file_lock(None):
        yield


def _listed_uidvalidity(neighbour: Neighbour | None) -> int:
    """The UIDVALIDITY of the list that is kept for another server; 0 where there is none."""
    listed = neighbour.listed() if neighbour is not None else None
    return listed.uidvalidity if listed is not None else 0


def _patience() -> tuple[int, int]:
    """On a shared spool: nanoseconds until stamps of directories tell all, and until cur/ is listed again before that.

    Other hosts' clocks are not ours, and to list is dear there: new/ is, at each look.
    """
    return scan.SHARED_SETTLE_NS, scan.SHARED_SETTLE_NS // 4


def _by_time(folder: int) -> int:
    """Return a UIDVALIDITY for a folder where none can be kept: as long as nothing comes and goes, the same one.

    Then all processes give the same UIDs, in the order of arrival.
    """
    return min(max(max(scan.look(folder)) // 1_000_000_000, 1), LAST_UIDVALIDITY)


def _settle(folder: Folder, *, demanded: bool) -> None:
    """Have all on the disk; unless that is *demanded*, what fails is left to the next."""
    folder.owed = True
    try:
        folder.sync()
    except OSError as error:
        if demanded:
            raise
        log.warning("not on the disk yet", path=folder.path, why=error)
    else:
        folder.owed = False
