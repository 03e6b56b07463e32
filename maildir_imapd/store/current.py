"""A folder in memory that keeps up with the disk: what the watcher and those who listen see of a mailbox.

``snapshot`` may be read at any time without a lock: it is replaced as a whole. Here is all that makes it the folder
of now: looking whether anything happened, taking it in under the folder's lock, and waking the listeners when it has
let go of it. What clients do to a mailbox is in mailbox.py.
"""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Final

from maildir_imapd import errors
from maildir_imapd.events import Log
from maildir_imapd.store.disk import descriptors, fresh, inotify
from maildir_imapd.store.disk.unused import Cost
from maildir_imapd.store.folder import changes, tidying
from maildir_imapd.store.folder.folder import Folder, let_rest
from maildir_imapd.store.folder.rounds import Rounds
from maildir_imapd.store.folder.showing import Showing
from maildir_imapd.store.index import history, loading, lock
from maildir_imapd.store.index.constants import JOURNAL
from maildir_imapd.store.index.loading import Unfit
from maildir_imapd.store.index.ring import Ring
from maildir_imapd.store.index.snapshot import Delta, Snapshot
from maildir_imapd.store.maildir import filename
from maildir_imapd.store.threads.listeners import Listener, Listeners
from maildir_imapd.store.unmoved import Unmoved

if TYPE_CHECKING:
    from maildir_imapd.store.disk.unused import Shelf
    from maildir_imapd.store.index.cache import Cache
    from maildir_imapd.store.index.state import IndexState
    from maildir_imapd.store.watch import Watcher

log = Log(__name__)

# What a mailbox takes in memory without a message in it; and a file that is named unusually.
_OCTETS: Final = 16 * 1024
# Seconds for which its price is that of before: what was read of it meanwhile counts after that.
_PRICED_SECONDS: Final = 1.0
_ODD_OCTETS: Final = 250


def _nowhere() -> None:
    """A folder has no place to stand in while nobody uses it: whoever opened it has it."""


def unwatch(box: CurrentFolder) -> None:
    """Have a folder watched no longer, unless somebody listens."""
    if box._watcher is not None:
        box._watcher.leave(box)


def _tell_arrived(folder: Folder, messages: int) -> None:
    """Tell whoever works in the background that there are new messages."""
    keeping = folder.keeping
    if keeping.texts is not None:
        keeping.texts.want(folder.path)
    if keeping.ahead is not None:
        keeping.ahead.arrived(folder.path, messages)


def _price(box: CurrentFolder) -> Cost:
    folder, cache = box._folder, box._cache
    open_files = (not folder.directories.folder.resting) + len(folder.directories.others)
    open_files += folder.lock.is_open + folder.claim.is_open
    octets = _OCTETS + folder.index.state.octets + box._ring.octets + _ODD_OCTETS * len(folder.files.odd)
    if cache is not None:
        octets += cache.octets
        open_files += cache.is_open
    return Cost(open_files + (folder.index.on_disk() and not folder.index.resting) + folder.rows.stored, octets)


def _remounted(box: CurrentFolder) -> bool:
    """Say whether the folder is in another mount than what is open of it; its journal is on another device."""
    folder = box._folder
    if box._apart:
        return False
    if box.identity != folder.directories.identity:
        # It was opened anew meanwhile; the next look compares with that.
        box.identity = folder.directories.identity
    else:
        folder.standing.lost = True
    return True


def turn_of(box: CurrentFolder) -> int | None:
    """A number for ``unmoved``, which tells by it whether anything has happened to the folder from here on.

    None where that cannot be told.
    """
    state, proved = box._folder.index.state, box._unmoved.proved
    return proved[1] if proved is not None and not box._apart and box._unmoved.holds(state) else None


def at_rest(box: CurrentFolder, *, keep_new: bool) -> bool:
    """Say whether one look tells that ``sync`` would find nothing, nor look at any message; never raises."""
    return not box._rounds.due(box.snapshot) and box._unchanged(keep_new, by_events=True)


def unchanged(box: CurrentFolder) -> bool:
    """Say whether ``sync`` with *keep_new* would find nothing, by what has been noted of the folder; never raises."""
    return box._unchanged(keep_new=True)


def unmoved(box: CurrentFolder, turn: int | None = None) -> Snapshot | None:
    """Return the mailbox as it is now, as ``sync`` would with *keep_new*, where one look tells; None: ``sync``.

    It is in its place, too (``stands``): its journal is, which lies in it, and the kernel has told of nothing.
    *turn*: nor has it since then.
    """
    if box.gone or box._apart or not box._unchanged(keep_new=True, by_events=True, turn=turn):
        return None
    found = box.snapshot
    if written := box._rounds.look(found):
        box._rewritten(written)
        return box.snapshot
    return found


def _is_news(before: Snapshot, after: Snapshot) -> bool:
    """Whether the later of two moments has something to tell those who listen."""
    return after is not before and (after.modseq, after.uidvalidity) != (before.modseq, before.uidvalidity)


def one_folder(box: CurrentFolder, other: CurrentFolder) -> bool:
    """Whether the two are one folder: of two that are open no inode is the same.  Raises StoreError."""
    with box._in_place(), box._folder.directories.in_use(), other._in_place(), other._folder.directories.in_use():
        return box.identity == other.identity


def rest(box: CurrentFolder) -> None:
    """Have it let go of what can be had again, for all who show it only wait; nothing here waits."""
    if box.rests:
        let_rest(box._folder)
        if box._cache is not None:
            box._cache.rest()


class CurrentFolder:
    """One object per folder and process, shared by all threads. Takes *folder*, and closes it."""

    # What the watcher watches of it stays the same.
    grows = False
    # Whether those who show it are to ``sync`` themselves, for nobody does it for them (virtual.py).
    stirred = False
    # Whether it lets go of its files while all who show it only wait.
    rests = True

    def __init__(self, folder: Folder, watcher: Watcher | None) -> None:
        self.path = path = folder.path
        # Where the index lies: the folder itself, or a directory of its own.
        self.index_path = folder.directories.index_path
        # Device and inode of the folder: nobody else's as long as this object has it open, whatever its name.
        self.identity = folder.directories.identity
        # The folder that the messages are in, where it is another one.
        self.lies_at = path
        self.gone = False  # the folder was deleted or renamed; every further call raises MailboxMissing
        self._folder = folder
        self._watcher = watcher
        self._listeners = Listeners()
        self._ring = Ring()
        self._rounds = Rounds(folder)
        self.showing = Showing(folder, self._listeners)
        self._cache: Cache | None = None
        self._apart = self.index_path != path
        self._journal = self.index_path + b"/" + JOURNAL
        self._cur, self._new = path + b"/cur", path + b"/new"
        self._rotations = 0
        # Where it stands while nobody uses it; whose that is may end before.
        self.shelf: Callable[[], Shelf[bytes, CurrentFolder] | None] = _nowhere
        self._priced: tuple[IndexState, float, Cost] | None = None
        shared = self._shared = folder.directories.shared
        self._unmoved = Unmoved(path, None if watcher is None or shared else watcher.still)
        self._stat: Callable[[bytes], os.stat_result | fresh.Look] = fresh.stat if shared else os.stat
        # Answers to STATUS and SELECT with the moment that they are of: imap keeps them here (mailboxes/status.py,
        # selected/select.py), and none outlives its moment, whose columns may be large.
        self.figures: dict[tuple[str, tuple[bytes, ...], bool], tuple[Snapshot, bytes]] = {}
        self.described: dict[tuple[object, ...], tuple[Snapshot, bytes, bytes]] = {}
        try:
            with self._in_place():
                self.snapshot = self._load()
        except BaseException:
            folder.close()
            raise
        # Not __del__: that runs while the account can still hand this object out.
        self._let_go = weakref.finalize(self, folder.close)
        self._let_go.atexit = False

    def __repr__(self) -> str:
        return f"<Mailbox {os.fsdecode(self.path)} {self.snapshot!r}>"

    def _load(self) -> Snapshot:
        folder = self._folder
        try:
            with folder.shared():
                if loading.exists(folder.directories.index.number):
                    folder.index.load()
        except (Unfit, OSError):
            pass  # under the lock it is made, or made anew
        if not folder.index.loaded or folder.index.started_anew:
            with folder.exclusive(adds=True):
                pass
            if folder.keeping.ahead is not None:
                folder.keeping.ahead.arrived(self.path, len(folder.rows))
        folder.clean_tmp()
        self._ring = Ring((), folder.rows.modseq)
        folder.index.taken()
        return folder.rows

    def stands(self) -> bool:
        """Whether the folder of that name is still this one: not deleted, renamed, or made anew by anybody."""
        if self.gone:
            return False
        if self._shared:
            return self._folder.standing.in_place()
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            return False
        except OSError:
            return True  # nobody can tell; whoever touches it hears why
        return self._folder.directories.same(self.path, found)

    @property
    def read_only(self) -> bool:
        """Whether messages cannot be changed here, because the spool is not ours to write."""
        return self._folder.read_only

    @property
    def uidvalidity(self) -> int:
        """UIDVALIDITY."""
        return self.snapshot.uidvalidity

    def close(self) -> None:
        """Let go of all descriptors. The object is of no use afterwards: whoever tries gets StoreError."""
        if not self._let_go.alive:
            return
        self._listeners.clear()
        if self._watcher is not None:
            self._watcher.remove(self)
        with self._folder.shared():
            self._let_go()

    # --- staying up to date -------------------------------------------------------------------

    def sync(
        self, *, look: bool = False, keep_new: bool = False, patience: float | None = None, files: bool = False
    ) -> Snapshot:
        """Take in what others have done, and return the mailbox as it is now.

        Costs three stats when nothing happened. *look* lists the folder whatever its stamps say. *keep_new*
        leaves files in new/ where they are, for EXAMINE and STATUS; they count as messages all the same.
        Where somebody holds the folder and does not let go, what is known is returned; with *patience* 0 nothing
        waits, and LockTimeout says so. *files*: this is the time to look at the files of a folder of which nobody has
        seen but the names.
        """
        if not look and self._unchanged(keep_new):
            found = self.snapshot
        else:
            found = self._take_in(look, keep_new, patience)
        if files and not found.seen:
            # Without a lock, for it takes longer than anything else here.
            found.see()
        if files and self._folder.index.partial and self._folder.index.writable:
            with self._changing(), self._folder.exclusive():
                tidying.complete(self._folder)
                found = self._adopt_rows()
        if patience is None and (written := self._rounds.look(found)):
            self._rewritten(written)
            return self.snapshot
        return found

    def _take_in(self, look: bool, keep_new: bool, patience: float | None) -> Snapshot:
        folder = self._folder
        try:
            for again in (False, True):
                try:
                    with self._changing():
                        with folder.shared(patience):
                            # The journal's tail needs no file lock, and often is all there is to see.
                            if self._read_tail(look, keep_new):
                                return self.snapshot
                        with folder.exclusive(adds=True, patience=patience):
                            folder.refresh(look=look, keep_new=keep_new)
                            if folder.out_of_uids:
                                folder.number_anew(keep_new=keep_new)
                            changes.take_words(folder)
                            return self._adopt_rows()
                except errors.SpoolGone:
                    # What is open is of a mount that has gone; there may be another one in its place.
                    if again or not folder.standing.lost:
                        raise
        except errors.LockTimeout as error:
            if patience is not None:
                raise
            log.warning("folder busy", path=error.detail)
        return self.snapshot

    def _read_tail(self, look: bool, keep_new: bool) -> bool:
        folder = self._folder
        if look or not folder.index.loaded:
            return False
        try:
            folder.standing.check_place()
            before, rested = folder.index.state, folder.index.resting
            folder.index.catch_up()
            if folder.index.started_anew or before.snapshot.damaged:
                return False  # it must not be shown yet
            if folder.index.state is before and not rested:
                return False  # the journal has no news, so the directories have
        except (Unfit, OSError):
            return False
        self._adopt_rows()
        return self._unchanged(keep_new)

    def _unchanged(self, keep_new: bool, *, by_events: bool = False, turn: int | None = None) -> bool:
        """Say whether journal and directories are as we know them. Safe without a lock: at worst it says no.

        *by_events*: no, too, where the kernel's word, since *turn*, is not enough for them, or there is no journal.
        """
        folder = self._folder
        state = folder.index.state
        try:
            proved = self._unmoved.holds(state, turn)
            if by_events and not (proved and state.inode):
                return False
            if state.inode:
                journal = self._stat(self._journal)
                if (journal.st_ino, journal.st_size) != (state.inode, state.position):
                    return False
                if folder.index.resting and not self._shared:
                    return False  # the inode may be another one's; on a shared spool it may at any time, open or not
                moved = (by_events or self._shared) and journal.st_dev != self.identity[0]
                if moved and (by_events or _remounted(self)):
                    return False
            if state.snapshot.damaged:
                return False
            began = seen = None
            if not proved:
                began = self._unmoved.begin(state)
                cur, new = self._stat(self._cur), self._stat(self._new)
                seen = (cur.st_mtime_ns, cur.st_ctime_ns, new.st_mtime_ns, new.st_ctime_ns)
                if seen != state.stamp[:4]:
                    return False
            if folder.files.suspicious or folder.index.behind:
                return False
            if folder.neighbour is not None and folder.neighbour.keywords_changed():
                return False
            if state.snapshot is not self.snapshot:
                return False  # another thread has seen something and is about to show it
            if state.snapshot.in_new and not keep_new and not folder.read_only:
                return False
            if seen is None:
                return True
            due = folder.due_at(seen)
            # new/ is empty most of the time, so listing it is as cheap as asking for its stamp.
            if not state.stamp.settled and (
                time.monotonic() >= due
                or any(map(filename.usable, map(os.fsencode, descriptors.again(os.listdir, self._new))))
            ):
                return False
            if began is not None:
                # Whoever looked again before that would find the same: what happens from this turn on is an event.
                self._unmoved.proved = state, began, due
            return True
        except OSError:
            return False

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Wake the listeners when the block, and every lock in it, is done with."""
        before = self.snapshot
        try:
            with self._in_place():
                yield
        finally:
            after = self.snapshot
            if self._rotations != self._folder.index.rotations:
                self._rotations = self._folder.index.rotations
                self._rotated(after)
            if after.uidnext > before.uidnext:
                _tell_arrived(self._folder, min(after.uidnext - before.uidnext, len(after.uids)))
            if (quota := self._folder.keeping.quota) is not None:
                quota.tell()
            if _is_news(before, after):
                self._listeners.wake()

    @contextmanager
    def _in_place(self) -> Iterator[None]:
        """Of what fails because the folder has gone in the meantime say just that; no lock of it may be held.

        What fails may be about another folder, or nobody's fault: this one is gone only if it is not there.
        """
        try:
            yield
        except (errors.MailboxMissing, errors.StoreError) as error:
            if isinstance(error, errors.SpoolGone) and self._folder.standing.lose(error.__cause__):
                self._folder.files.suspect()
            if self._folder.standing.in_place():
                raise
            self.mark_gone()
            if isinstance(error, errors.MailboxMissing):
                raise
            raise errors.MailboxMissing(detail=error.detail) from error

    def _adopt_rows(self) -> Snapshot:
        """Show everybody what the index says now; under the threads' lock, so that no moment overtakes another.

        The ring first: whoever asks it about a moment of before hears of more than he sees, never of less.
        """
        index = self._folder.index
        rows = index.state.snapshot
        ring = self._ring.after(index.news, rows.modseq)
        self._ring = ring
        if rows is not self.snapshot:
            self.snapshot = rows
            # Race: one of a moment before may still be put into the new ones; it is never taken for one of now.
            self.figures, self.described, self._priced = {}, {}, None
        index.taken()
        return rows

    def _rewritten(self, files: Sequence[tuple[int, int]]) -> None:
        """Hear of messages, (UID, fingerprint), that another program has written to; no lock is held."""

    def _rotated(self, rows: Snapshot) -> None:
        """Hear that the index has been written anew, the time to tidy up what hangs on it; no lock is held."""

    def mark_gone(self) -> None:
        """Say that the folder has been deleted or renamed, and tell everybody who listens; without any it is let go."""
        if not self.gone:
            self.gone = True
            shelf = self.shelf()
            if shelf is not None:
                shelf.take(self.path, self)
            unwatch(self)
            self._listeners.wake()

    def used(self) -> None:
        """Note that somebody uses it now, and nobody may from now on; whoever listens goes on to use it."""
        shelf = self.shelf()
        if shelf is not None and not self.gone and not self._listeners:
            shelf.put(self.path, self, self.cost)
            # Race: who has begun to listen, or seen it go, meanwhile took it away before it was there.
            if self._listeners or self.gone:
                shelf.take(self.path, self)

    @property
    def cost(self) -> Cost:
        """The price of keeping it open; that of a moment ago where nothing has changed in the index since.

        To add it up takes longer than a STATUS.
        """
        state, now = self._folder.index.state, time.monotonic()
        priced = self._priced
        if priced is None or priced[0] is not state or now >= priced[1]:
            priced = self._priced = state, now + _PRICED_SECONDS, _price(self)
        return priced[2]

    # --- who listens, and what the watcher asks -----------------------------------------------

    def listen(self, wake: Callable[[], None], *, keep_new: bool = False) -> Listener:
        """Call *wake* whenever the snapshot has been replaced by another moment, or the folder is gone.

        It is called without locks, from any thread, also from the one that made the change. *keep_new*: this
        one only looks (EXAMINE), so on its account no file leaves new/.
        """
        return self._listeners.add(wake, self._heard, self._unheard, keep_new=keep_new)

    def _heard(self) -> None:
        shelf = self.shelf()
        if shelf is not None:
            shelf.take(self.path, self)
        self.showing.began(self.snapshot.modseq)
        if self._watcher is not None:
            self._watcher.add(self, self._folder.lock.mark())

    def _unheard(self) -> None:
        self.showing.ended()
        if self._watcher is not None:
            self._watcher.release(self)
        self._priced = None
        self.used()
        if self.listened or not tidying.untidy(self._folder):
            return
        try:
            with self._changing(), self._folder.exclusive(patience=0):
                tidying.tidy(self._folder)
                self._adopt_rows()
        except (errors.StoreError, errors.MailboxMissing, OSError) as error:
            # The journal has it all.
            log.info("checkpoint left as it was", path=self.path, why=error)

    @property
    def listened(self) -> bool:
        """Whether anybody listens."""
        return bool(self._listeners)

    @property
    def keep_new(self) -> bool:
        """Whether nobody who listens would have files leave new/."""
        return self._listeners.keep_new

    def watches(self) -> Sequence[tuple[bytes, int]]:
        """List what the watcher is to watch: the folder, its directories, and the bell."""
        found = [
            (self.path, inotify.PLACE),
            (self._new, inotify.DIRECTORY | inotify.ONCE),
            (self._cur, inotify.DIRECTORY | inotify.ONCE),
            (self.index_path + b"/" + lock.NAME, inotify.BELL),
        ]
        if self._folder.neighbour is not None:
            found += [(self.path + b"/" + name, inotify.DIRECTORY) for name in self._folder.neighbour.watched()]
        return found

    def looking(self) -> AbstractContextManager[None]:
        """Nothing to enter: the process may look at what it keeps."""
        return nullcontext()

    def refresh(self) -> float | None:
        """``sync`` as those who listen would have it, and then ``recheck``; for the watch thread, so nothing waits.

        Raises LockTimeout when somebody holds the folder.
        """
        rested, before = self._folder.index.resting, self.snapshot
        self.sync(keep_new=self.keep_new, patience=0)
        self.showing.sweep()
        again = self.recheck()
        if rested and not _is_news(before, self.snapshot):
            # Else those who have been woken need it open, and have it rest when they have told it.
            rest(self)
        return again

    def recheck(self) -> float | None:
        """Return in how many seconds somebody should sync() again even if nothing happens; None: no need."""
        return self._folder.recheck()

    # --- what has happened since --------------------------------------------------------------

    def since(self, modseq: int) -> Delta | None:
        """Return what happened after *modseq*, from the batches in memory; None: compare the columns."""
        return self._ring.since(modseq)

    def vanished_since(self, modseq: int) -> list[tuple[int, int]] | None:
        """Return the UIDs expunged after *modseq*; None if the history does not reach back so far (RFC 7162)."""
        state = self._folder.index.state
        if modseq < state.whole_above:
            return None
        return history.vanished(state.history.since(modseq), state.snapshot)
