"""A folder under its lock: the two directories, the index, and how the one is brought to agree with the other.

Everything here needs the folder's lock (lock.py); Mailbox takes it, and tells the listeners afterwards.
Paths are below the folder's own descriptor, so a folder that is renamed under us is never mistaken for
the one that takes its place.
"""

from __future__ import annotations

import errno
import logging
import os
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from maildir_imapd import errors
from maildir_imapd.store.disk import descriptors, durable
from maildir_imapd.store.disk.descriptors import Descriptor
from maildir_imapd.store.folder import compare, mailboxid
from maildir_imapd.store.folder.files import Files
from maildir_imapd.store.folder.keeping import AS_USUAL, Keeping
from maildir_imapd.store.folder.reconcile import Reconciler
from maildir_imapd.store.index.index import Index
from maildir_imapd.store.index.journal import NEVER, Batch
from maildir_imapd.store.index.lock import FolderLock
from maildir_imapd.store.index.snapshot import Snapshot, empty
from maildir_imapd.store.index.state import State
from maildir_imapd.store.maildir import delivery, keywords, scan
from maildir_imapd.store.maildir.filename import DELETED, RECENT
from maildir_imapd.store.neighbours import servers
from maildir_imapd.store.neighbours.neighbour import Neighbour, Place
from maildir_imapd.store.neighbours.seed import Seed
from maildir_imapd.store.neighbours.turns import Turns

log = logging.getLogger(__name__)


class Folder:
    """The directories and the index of one Maildir."""

    def __init__(
        self,
        path: bytes,
        keeping: Keeping = AS_USUAL,
        *,
        index: bytes | None = None,
        control: bytes | None = None,
        seed: Callable[[], Seed | None] | None = None,
    ) -> None:
        self.path = path
        self.index_path = index or path
        self.control_path = control or path
        self.keeping = keeping
        self._seed = seed
        self._listed_at = time.monotonic()  # of the last listing of cur/
        self._pause_until = 0.0  # monotonic: not before, unless a stamp says that something has changed
        self._unsynced = False  # something was committed under this lock
        self._whole = False  # sync() has made sure of what a first contact wrote without waiting
        self._keywords_at = -1  # mtime of the file of keywords as last read
        self.foreign: dict[bytes, int] = {}  # base -> UID that another server gave to a message new to us
        self.neighbour: Neighbour | None = None
        with ExitStack() as half_made:
            self._open(half_made)
            if not self.read_only:
                if self.keeping.neighbour is not None:
                    self.neighbour = self.keeping.neighbour(self.ground)
                for other in servers.others(self.keeping.neighbour):
                    other.part(self.ground)
            self.turns = Turns(self.neighbour, self.path, coexist=self.keeping.coexist)
            half_made.pop_all()

    def _open(self, half_made: ExitStack) -> None:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        try:
            self.directory = Descriptor(descriptors.open(self.path, flags), "folder")
            half_made.callback(self.directory.close)
            status = os.fstat(self.fd)
            os.stat(b"cur", dir_fd=self.fd)
            for name in (b"new", b"tmp"):
                self._make_directory(name, status.st_mode)
        except (FileNotFoundError, NotADirectoryError):
            raise errors.MailboxMissing(detail=os.fsdecode(self.path)) from None
        except OSError as error:
            raise durable.store_error(error, self.path) from error
        # Nobody else gets the inode as long as the directory is open.
        self.identity = (status.st_dev, status.st_ino)
        self.mode = status.st_mode & 0o666 or 0o600
        self.files = Files(self.directory, self.path)
        self._locked_away = not _writable(self.fd)
        self._control_directory = self._open_control(flags)
        half_made.callback(self._control_directory.close)
        if self.index_path != self.path:
            try:
                os.makedirs(self.index_path, mode=0o700, exist_ok=True)
            except OSError as error:
                if not durable.cannot_write(error):
                    raise durable.store_error(error, self.index_path) from error
        self._index_directory = self._open_index(flags)
        half_made.callback(self._index_directory.close)
        others = {id(each): each for each in (self._control_directory, self._index_directory)}
        others.pop(id(self.directory), None)
        # What is open beside the folder's own directory; mostly nothing is.
        self._others = tuple(others.values())
        directory, timeout = self._index_directory, self.keeping.lock_timeout
        self.lock = FolderLock(directory, self.index_path, timeout, self.mode, self.identity)
        self.index = Index(
            directory,
            self.index_path,
            self.lock,
            sync=self.keeping.fsync != "never",
            mode=self.mode,
            uidvalidity=self.keeping.uidvalidity,
        )

    def _open_control(self, flags: int) -> Descriptor:
        """Open where a neighbour's files about the folder are; where that cannot be, its list of UIDs is not kept."""
        if self.control_path != self.path:
            try:
                os.makedirs(self.control_path, mode=0o700, exist_ok=True)
                return Descriptor(descriptors.open(self.control_path, flags), "control directory")
            except OSError as error:
                # Beside a server that runs, its lock must be had.
                if self.keeping.coexist or descriptors.out_of_descriptors(error):
                    raise durable.store_error(error, self.control_path) from error
                log.warning("no control directory path=%s error=%s", os.fsdecode(self.control_path), error)
                self.keeping = replace(self.keeping, mirror="none")
        return self.directory

    def _open_index(self, flags: int) -> Descriptor:
        if self.index_path == self.path:
            return self.directory
        try:
            return Descriptor(descriptors.open(self.index_path, flags), "index directory")
        except FileNotFoundError:
            # No room or no right to make it: the history lives in memory.
            return self.directory
        except OSError as error:
            raise durable.store_error(error, self.index_path) from error

    @property
    def fd(self) -> int:
        """The folder's directory, for whoever holds a lock of it, or has it in use."""
        return self.directory.number

    @property
    def control_fd(self) -> int:
        """Where the other server's own files about it lie; likewise."""
        return self._control_directory.number

    @property
    def ground(self) -> Place:
        """Where a neighbour's files about this folder lie."""
        return Place(self.directory, self._control_directory, self._index_directory, self.path, self.mode)

    def _make_directory(self, name: bytes, mode: int) -> None:
        """Make a directory that every Maildir has and some copies of one lack; a cur/ alone can be read."""
        try:
            os.mkdir(name, mode & 0o777, dir_fd=self.fd)
        except OSError:
            pass  # it is there, or we may not

    def close(self) -> None:
        """Let go of every descriptor; nobody else may be at work here, or begin to."""
        self.index.close()
        self.lock.close()
        descriptors.close_all({self.directory, *self._others})

    # --- the lock ------------------------------------------------------------------------------

    @contextmanager
    def shared(self, patience: float | None = None) -> Iterator[None]:
        """Shut out the other threads only: to read what other processes have written.

        *patience*: seconds to wait for any lock, None for the setting's, 0 for who must not wait. Raises LockTimeout.
        """
        with ExitStack() as used:
            for directory in self._others:
                used.enter_context(directory.use())
            with self.directory.use():
                self.lock.acquire_threads(patience)
                try:
                    yield
                finally:
                    self.lock.release_threads()

    @contextmanager
    def exclusive(self, *, adds: bool = False, patience: float | None = None) -> Iterator[None]:
        """Shut everybody out, and begin with the folder's history as it is now.

        *adds*: messages may get UIDs. *patience*: as of ``shared``.
        """
        with self.shared(patience), self._file_lock(patience), self.turns.lock(adds, patience):
            self.check_place()
            with durable.told(self.path):
                self._catch_up()
                if adds or self.keeping.coexist:
                    self._take_foreign_uids()
                self._unsynced = False
                try:
                    yield
                finally:
                    if self.neighbour is not None:
                        if not self.turns.busy:
                            self.neighbour.update(self.rows, locked=self.turns.held)
                        self.neighbour.update_keywords(self.rows, self.files.locate)
                if self._unsynced and self.keeping.fsync == "always":
                    self.sync()

    @contextmanager
    def _file_lock(self, patience: float | None) -> Iterator[None]:
        try:
            self.lock.acquire_file(patience)
        except OSError as error:
            self.check_place()
            if not durable.cannot_write(error):
                raise durable.store_error(error, self.index_path) from error
            # Rule 12: reading must not need writing. The history goes on in memory.
            self.index.writable = False
            if durable.not_ours(error):
                self._locked_away = True
        try:
            yield
        finally:
            self.lock.release_file()

    def check_place(self) -> None:
        """Raise MailboxMissing if the folder is no longer where it was: deleted, renamed, or another one."""
        try:
            status = os.stat(self.path)
            if (status.st_dev, status.st_ino) == self.identity:
                # On nested directories a name may go and its directory stay, for the sake of its children.
                os.stat(self.path + b"/cur")
                return
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:
            raise durable.store_error(error, self.path) from error
        raise errors.MailboxMissing(detail=os.fsdecode(self.path))

    def in_place(self) -> bool:
        """Whether the folder is still where it was; yes if that cannot be seen."""
        try:
            self.check_place()
        except errors.MailboxMissing:
            return False
        except errors.StoreError:
            pass
        return True

    def _catch_up(self) -> None:
        index = self.index
        if index.loaded and not index.writable:
            index.catch_up()
        elif index.loaded or index.exists():
            if index.writable:
                index.settle(self.check_place)
                try:
                    index.flush()
                except OSError as error:
                    if not durable.cannot_write(error):
                        raise
            else:
                index.load()
        else:
            self.adopt()

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
                if news.uidnext > self.rows.uidnext:
                    self.commit(Batch(raised=news.uidnext))
        finally:
            self.foreign = {}

    def commit(self, batch: Batch, *, keep: bool = True) -> None:
        """Write a batch; if anything is raised, nothing of it is on record, and memory is as it was."""
        if self.neighbour is not None:
            self.neighbour.expect(batch, self.rows.modseq)
        self.index.commit(batch, keep=keep)
        if self.neighbour is not None:
            self.neighbour.note(batch)
        self._unsynced = True

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
        self._keywords_at = keywords.write(self.control_fd, names, self.mode)

    def sync(self) -> None:
        """Return when every batch and every name so far is on the disk."""
        with self.directory.use() as directory:
            cur = descriptors.open(b"cur", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
            try:
                durable.sync(cur)
            finally:
                os.close(cur)
        if self.index.writable:
            self.index.sync_named(everything=not self._whole)
            self._whole = True

    # --- stamps --------------------------------------------------------------------------------

    def unseen_change(self) -> bool:
        """Say whether a directory's stamp is not the one we know; then no stamp may be taken after our own change."""
        return scan.look(self.fd) != self.index.state.stamp[:4]

    def stamp_own(self, batch: Batch, unseen: bool) -> None:
        """Take the stamp after our own renames, unless that would hide somebody else's."""
        if not unseen:
            batch.stamp = compare.stamp(scan.look(self.fd), time.time_ns(), ours=True)

    def due(self, seen: tuple[int, int, int, int]) -> bool:
        """Say whether cur/ must be listed again although its stamp is the one we know."""
        state = self.index.state
        if self.files.suspicious:
            return True
        if state.stamp.settled or time.monotonic() < self._pause_until:
            return False
        if time.time_ns() >= max(seen[0], seen[1]) + scan.SETTLE_NS:
            return True
        # A stamp in the future, or a clock that was set back: by our own clock then.
        return time.monotonic() >= self._listed_at + 2 * scan.SETTLE_NS / 1e9

    def recheck(self) -> float | None:
        """Return in how many seconds somebody should look again, None if not before something happens."""
        if self.files.suspicious:
            return 0.05
        stamp = self.index.state.stamp
        if stamp.settled:
            return None
        wait = min((max(stamp[:4]) + scan.SETTLE_NS - time.time_ns()) / 1e9, 4.0)
        return max(wait, self._pause_until - time.monotonic(), 0.05) + 0.01

    # --- bringing the index up to date ---------------------------------------------------------

    def refresh(self, *, look: bool = False, keep_new: bool = False) -> None:
        """Compare the directories with the index, as far as their stamps ask for it, and commit the difference."""
        state = self.index.state
        seen = scan.look(self.fd)
        now = time.time_ns()
        list_cur = look or seen[:2] != state.stamp[:2] or self.due(seen)
        list_new = look or seen[2:] != state.stamp[2:4] or not state.stamp.settled
        if state.snapshot.in_new:
            # A message that we left in new/ may have been taken to cur/, or be gone.
            list_cur = list_cur or list_new
            list_new = list_new or not (keep_new or self.read_only)
        if not list_cur and not list_new:
            return
        batch = Batch()
        work = self._reconciler(batch, keep_new=keep_new or self.read_only)
        self.files.suspicious = False
        if list_cur:
            began = time.monotonic()
            self._read_keywords(batch)
            seen, now = work.scan_cur(seen, now)
            # A folder of 100,000 that never rests must not keep us listing: a twentieth of the time at most.
            self._pause_until = began + 20 * (time.monotonic() - began)
        if list_new:
            work.take_new()
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
        )

    def _finish(
        self, batch: Batch, work: Reconciler, seen: tuple[int, int, int, int], now: int, *, listed: bool
    ) -> None:
        if listed:
            self._listed_at = time.monotonic()
        if self.files.suspicious:
            batch.stamp = NEVER
        elif work.renamed:
            batch.stamp = compare.stamp(scan.look(self.fd), now, ours=True)
        else:
            fresh = compare.stamp(seen, now)
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
            log.warning("no room for new messages path=%s error=%s", os.fsdecode(self.path), error)
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
        seen = scan.look(self.fd)
        rows = empty(seed.uidvalidity if seed else self.index.another_uidvalidity())
        if seed is not None:
            rows.modseq = max(seed.modseq, 1)
            rows.uidnext = max([seed.uidnext, *[uid + 1 for uid in seed.uids.values()]])
        names, self._keywords_at = keywords.read(self.control_fd)
        names = keywords.merge((), {**(seed.keywords if seed else {}), **names})
        rows.keywords = tuple(names.get(number, b"") for number in range(max(names, default=-1) + 1))
        work = self._reconciler(Batch(), keep_new=self.read_only)
        work.adopt(rows, seed.uids if seed else {})
        if seed is not None and seed.first_recent:
            for at in range(bisect_left(rows.uids, seed.first_recent), len(rows)):
                rows.flags[at] |= RECENT
        if rows.uids:
            self.doubt_quota()
        # From here on it is as immutable as every other snapshot.
        if self.files.suspicious:
            stamp = NEVER
        elif work.renamed:
            stamp = compare.stamp(scan.look(self.fd), now, ours=True)
        else:
            stamp = compare.stamp(seen, now)
        state = State(snapshot=rows, stamp=stamp, whole_above=rows.modseq if seed is not None else 0)
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
            log.warning("index in memory only path=%s error=%s", os.fsdecode(self.index_path), error)
            self.index.imagine(state)

    def clean_tmp(self) -> None:
        """Remove old litter from tmp/; never an error, it is only litter."""
        try:
            delivery.clean_tmp(self.fd, time.time())
        except OSError:
            pass


def _writable(folder: int) -> bool:
    """Say whether messages can be renamed and removed here."""
    return all(
        os.access(name, os.W_OK | os.X_OK, dir_fd=folder, effective_ids=True) for name in (b"cur", b"new", b"tmp")
    )
