"""A mailbox as the rest of the server sees it: one object per folder and process, shared by all threads.

``snapshot`` may be read at any time without a lock: it is replaced as a whole. Everything that changes
something takes the folder's lock (folder.py, lock.py), decides there, and wakes the listeners when it has
let go of it.
"""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Unpack

from maildir_imapd import errors
from maildir_imapd.store.disk import descriptors, durable, inotify
from maildir_imapd.store.folder import changes, mailboxid, reading, release
from maildir_imapd.store.folder.folder import Folder
from maildir_imapd.store.folder.keeping import AS_USUAL, Differing, Keeping
from maildir_imapd.store.index import history, loading, lock
from maildir_imapd.store.index.cache import Cache
from maildir_imapd.store.index.constants import JOURNAL
from maildir_imapd.store.index.journal import SIZE_UNKNOWN, Batch
from maildir_imapd.store.index.loading import Unfit
from maildir_imapd.store.index.ring import Ring
from maildir_imapd.store.index.snapshot import SYSTEM_FLAGS, Delta, Snapshot
from maildir_imapd.store.maildir import filename, keywords
from maildir_imapd.store.maildir.delivery import Delivery
from maildir_imapd.store.maildir.filename import RECENT, keyword_bit
from maildir_imapd.store.neighbours.seed import Seed
from maildir_imapd.store.results import FlagResult, Given
from maildir_imapd.store.threads.listeners import Listener, Listeners
from maildir_imapd.store.threads.syncing import SharedSync

if TYPE_CHECKING:
    from maildir_imapd.store.folder.release import Released
    from maildir_imapd.store.neighbours.neighbour import Kind
    from maildir_imapd.store.records.quota import Amount
    from maildir_imapd.store.watch import Watcher

__all__ = ["FlagResult", "Given", "Listener", "Mailbox", "Seed"]

log = logging.getLogger(__name__)

# Messages that STORE and EXPUNGE change under one hold of the lock: a twentieth of a second's work.
_PIECE: Final = 2000
_SYSTEM: Final = {name.lower(): bit for name, bit in SYSTEM_FLAGS}
_NO_WORDS: Final[frozenset[int]] = frozenset()


def _pieces(uids: Sequence[int]) -> list[Sequence[int]]:
    """Cut work that need not be done in one go, so that nobody waits long for the lock; at least one piece."""
    return [uids[start : start + _PIECE] for start in range(0, len(uids), _PIECE)] or [uids]


class Mailbox:
    """One folder of one user.

    *index* and *cache*: directories, if not the folder itself; *control*: the other server's, likewise. *seed*: asked
    at first contact for the UIDs another server gave. *other*: what is to be otherwise than *keeping* says.
    """

    # What the watcher watches of it stays the same.
    grows = False

    def __init__(
        self,
        path: bytes,
        keeping: Keeping = AS_USUAL,
        *,
        index: bytes | None = None,
        control: bytes | None = None,
        cache: bytes | None = None,
        seed: Callable[[], Seed | None] | None = None,
        watcher: Watcher | None = None,
        **other: Unpack[Differing],
    ) -> None:
        self.path = path
        self.gone = False  # the folder was deleted or renamed; every further call raises MailboxMissing
        self._folder = Folder(path, replace(keeping, **other), index=index, control=control, seed=seed)
        self._watcher = watcher
        self._listeners = Listeners()
        self._ring = Ring()
        self._shared_sync = SharedSync(self._folder.sync)
        self._journal = self._folder.directories.index_path + b"/" + JOURNAL
        self._cur, self._new = path + b"/cur", path + b"/new"
        self._cache: Cache | None = None
        self._rotations = 0
        self._cache_path = cache or self._folder.directories.index_path
        self._word: bytes | None = None
        try:
            with self._in_place():
                self.snapshot = self._load()
        except BaseException:
            self._folder.close()
            raise
        # Not __del__: that runs while the account can still hand this object out.
        self._let_go = weakref.finalize(self, self._folder.close)
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
        folder.clean_tmp()
        self._ring = Ring((), folder.rows.modseq)
        folder.index.taken()
        return folder.rows

    def stands(self) -> bool:
        """Whether the folder of that name is still this one: not deleted, renamed, or made anew by anybody."""
        if self.gone:
            return False
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            return False
        except OSError:
            return True  # nobody can tell; whoever touches it hears why
        return (found.st_dev, found.st_ino) == self._folder.directories.identity

    @property
    def identity(self) -> tuple[int, int]:
        """Device and inode of the folder: nobody else's as long as this object has it open, whatever its name."""
        return self._folder.directories.identity

    @property
    def read_only(self) -> bool:
        """Whether messages cannot be changed here, because the spool is not ours to write."""
        return self._folder.read_only

    @property
    def uidvalidity(self) -> int:
        """UIDVALIDITY."""
        return self.snapshot.uidvalidity

    @property
    def word(self) -> bytes:
        """What tells the mailbox from others that have its UIDVALIDITY, for MAILBOXID (mailboxid.py)."""
        if self._word is None:
            try:
                with self._folder.directories.folder.use() as folder:
                    self._word = mailboxid.read(folder)
            except OSError as error:
                # The mail is there all the same.
                log.warning("no word for MAILBOXID path=%s error=%s", os.fsdecode(self.path), error)
                return b""
        return self._word

    def close(self) -> None:
        """Let go of all descriptors. The object is of no use afterwards: whoever tries gets StoreError."""
        if not self._let_go.alive:
            return
        self._listeners.clear()
        if self._watcher is not None:
            self._watcher.remove(self)
        with self._folder.shared():
            self._let_go()
        if self._cache is not None:
            self._cache.close()

    # --- staying up to date --------------------------------------------------------------------

    def sync(self, *, look: bool = False, keep_new: bool = False, patience: float | None = None) -> Snapshot:
        """Take in what others have done, and return the mailbox as it is now.

        Costs three stats when nothing happened. *look* lists the folder whatever its stamps say. *keep_new*
        leaves files in new/ where they are, for EXAMINE and STATUS; they count as messages all the same.
        Where somebody holds the folder and does not let go, what is known is returned; with *patience* 0 nothing
        waits, and LockTimeout says so.
        """
        folder = self._folder
        if not look and self._unchanged(keep_new):
            return self.snapshot
        try:
            with self._changing():
                with folder.shared(patience):
                    # The journal's tail needs no file lock, and often is all there is to see.
                    if self._read_tail(look, keep_new):
                        return self.snapshot
                with folder.exclusive(adds=True, patience=patience):
                    folder.refresh(look=look, keep_new=keep_new)
                    changes.take_words(folder)
                    return self._adopt_rows()
        except errors.LockTimeout as error:
            if patience is not None:
                raise
            log.warning("folder busy path=%s", error.detail)
            return self.snapshot

    def _read_tail(self, look: bool, keep_new: bool) -> bool:
        folder = self._folder
        if look or not folder.index.loaded:
            return False
        try:
            folder.directories.check_place()
            before = folder.index.state
            folder.index.catch_up()
            if folder.index.state is before or folder.index.started_anew:
                return False  # the journal has no news, so the directories have; or it must not be shown yet
        except (Unfit, OSError):
            return False
        self._adopt_rows()
        return self._unchanged(keep_new)

    def _unchanged(self, keep_new: bool) -> bool:
        """Say whether journal and directories are as we know them. Safe without a lock: at worst it says no."""
        folder = self._folder
        state = folder.index.state
        try:
            if state.inode:
                journal = os.stat(self._journal)
                if (journal.st_ino, journal.st_size) != (state.inode, state.position):
                    return False
            cur, new = os.stat(self._cur), os.stat(self._new)
            seen = (cur.st_mtime_ns, cur.st_ctime_ns, new.st_mtime_ns, new.st_ctime_ns)
            if seen != state.stamp[:4] or folder.files.suspicious or folder.index.behind:
                return False
            if folder.neighbour is not None and folder.neighbour.keywords_changed():
                return False
            if state.snapshot is not self.snapshot:
                return False  # another thread has seen something and is about to show it
            if state.snapshot.in_new and not keep_new and not folder.read_only:
                return False
            if state.stamp.settled:
                return True
            # new/ is empty most of the time, so listing it is as cheap as asking for its stamp.
            return not folder.due(seen) and not any(
                map(filename.usable, map(os.fsencode, descriptors.again(os.listdir, self._new)))
            )
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
                if self._cache is not None:
                    self._cache.trim(after.uids)
            if after is not before and (after.modseq, after.uidvalidity) != (before.modseq, before.uidvalidity):
                self._listeners.wake()

    @contextmanager
    def _in_place(self) -> Iterator[None]:
        """Of what fails because the folder has gone in the meantime say just that; no lock of it may be held.

        What fails may be about another folder, or nobody's fault: this one is gone only if it is not there.
        """
        try:
            yield
        except (errors.MailboxMissing, errors.StoreError) as error:
            if self._folder.directories.in_place():
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
        self.snapshot = rows
        index.taken()
        return rows

    def mark_gone(self) -> None:
        """Say that the folder has been deleted or renamed, and tell everybody who listens."""
        if not self.gone:
            self.gone = True
            self._listeners.wake()

    def listen(self, wake: Callable[[], None], *, keep_new: bool = False) -> Listener:
        """Call *wake* whenever the snapshot has been replaced by another moment, or the folder is gone.

        It is called without locks, from any thread, also from the one that made the change. *keep_new*: this
        one only looks (EXAMINE), so on its account no file leaves new/.
        """
        return self._listeners.add(wake, self._heard, self._unheard, keep_new=keep_new)

    def _heard(self) -> None:
        if self._watcher is not None:
            self._watcher.add(self)

    def _unheard(self) -> None:
        if self._watcher is not None:
            self._watcher.release(self)

    @property
    def listened(self) -> bool:
        """Whether anybody listens."""
        return bool(self._listeners)

    @property
    def keep_new(self) -> bool:
        """Whether nobody who listens would have files leave new/."""
        return self._listeners.keep_new

    @property
    def index_path(self) -> bytes:
        """Where the index lies: the folder itself, or a directory of its own."""
        return self._folder.directories.index_path

    def watches(self) -> Sequence[tuple[bytes, int]]:
        """What the watcher is to watch: the folder, its directories, and the bell."""
        found = [
            (self.path, inotify.PLACE),
            (self._new, inotify.DIRECTORY),
            (self._cur, inotify.DIRECTORY),
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
        self.sync(keep_new=self.keep_new, patience=0)
        return self.recheck()

    def recheck(self) -> float | None:
        """Return in how many seconds somebody should sync() again even if nothing happens; None: no need."""
        return self._folder.recheck()

    # --- history -------------------------------------------------------------------------------

    def since(self, modseq: int) -> Delta | None:
        """Return what happened after *modseq*, from the batches in memory; None: compare the columns."""
        return self._ring.since(modseq)

    def vanished_since(self, modseq: int) -> list[tuple[int, int]] | None:
        """Return the UIDs expunged after *modseq*; None if the history does not reach back so far (RFC 7162)."""
        state = self._folder.index.state
        if modseq < state.whole_above:
            return None
        ranges = [(lo, hi) for when, lo, hi in state.history if when > modseq]
        return history.vanished(ranges, state.snapshot)

    def claim_recent(self) -> frozenset[int]:
        """Take the messages no session has seen yet, and note that they are taken.

        RFC 3501 section 2.3.2: at most one session gets \\Recent for a message. The note goes into the
        journal before the client hears of it, so a crash can lose a \\Recent but never give it twice.
        """
        if not self.snapshot.recent:
            return frozenset()
        with self._changing(), self._folder.exclusive():
            rows = self._folder.rows
            mine = frozenset(uid for uid, bits in zip(rows.uids, rows.flags, strict=True) if bits & RECENT)
            if mine:
                self._folder.commit(Batch(claimed=rows.uidnext))
            self._adopt_rows()
        return mine

    # --- flags ---------------------------------------------------------------------------------

    def bits(self, flags: Iterable[bytes], *, create: bool) -> tuple[int, frozenset[int]]:
        """Return flag names as bits, and the numbers of keywords that have no bit.

        With *create*, keywords that the folder does not know yet are made known; without, they are left out.
        """
        bits = 0
        words: list[bytes] = []
        for name in flags:
            system = _SYSTEM.get(name.lower())
            if system is not None:
                bits |= system
            elif not name.startswith(b"\\"):
                words.append(name)
        if not words:
            return bits, _NO_WORDS
        known = keywords.numbers(self.snapshot.keywords, words)
        if create and len(known) < len(set(words)) and not self.read_only:
            with self._changing(), self._folder.exclusive():
                known = changes.name_keywords(self._folder, words)
                self._adopt_rows()
        extra = set()
        for number in known.values():
            bit = keyword_bit(number)
            bits |= bit
            if not bit:
                extra.add(number)
        return bits, frozenset(extra)

    def set_flags(
        self,
        uids: Sequence[int],
        *,
        add: int = 0,
        remove: int = 0,
        replace: bool = False,
        extra_add: frozenset[int] = _NO_WORDS,
        extra_remove: frozenset[int] = _NO_WORDS,
        unchanged_since: int | None = None,
        under: int | None = None,
    ) -> FlagResult:
        """Add and remove flags of messages (UIDs rising); with *replace*, *add* is all that stays.

        An error is raised when one rename fails; what was changed until then is on record. *under*: ``_demand_same``.
        """
        change = changes.FlagChange(add, remove, replace, extra_add, extra_remove)
        done = changes.Outcome([], [], [])
        for piece in _pieces(uids):
            with self._changing(), self._folder.exclusive():
                self._demand_writable()
                self._demand_same(under)
                try:
                    done.add(changes.set_flags(self._folder, piece, change, unchanged_since))
                finally:
                    after = self._adopt_rows()
        return FlagResult(done.modified, done.gone, done.changed, after)

    def expunge(self, uids: Sequence[int], *, under: int | None = None, flagged: int = 0) -> list[int]:
        """Remove messages (UIDs rising) for good, and return those that are gone now.

        *flagged*: one that has lost any of these flags stays. *under*: ``_demand_same``.
        """
        gone: list[int] = []
        for piece in _pieces(uids):
            with self._changing(), self._folder.exclusive():
                self._demand_writable()
                self._demand_same(under)
                try:
                    gone += changes.expunge(self._folder, piece, flagged=flagged)
                finally:
                    self._adopt_rows()
        return gone

    def _demand_same(self, under: int | None) -> None:
        """Raise MailboxMissing if UIDs of UIDVALIDITY *under* mean nothing any more; None: they are of now.

        Under the lock. A UID is a message only together with its UIDVALIDITY: on nested directories a folder that was
        deleted and made anew may be the same directory, and an index that was lost begins again.
        """
        if under is not None and under != self._folder.rows.uidvalidity:
            raise errors.MailboxMissing(detail=f"{os.fsdecode(self.path)}: UIDVALIDITY is no longer {under}")

    def _demand_writable(self) -> None:
        """Raise ReadOnly, or MailboxMissing: a folder that was opened on its way out looks as if it were not ours."""
        if self._folder.read_only:
            if not self.stands():
                raise errors.MailboxMissing(detail=os.fsdecode(self.path))
            raise errors.ReadOnly

    # --- other servers -------------------------------------------------------------------------

    def release(self, kind: Kind) -> Released:
        """Write another server's files for this folder in full (release.py)."""
        with self._changing(), self._folder.exclusive():
            self._demand_writable()
            self._folder.refresh(look=True)
            changes.take_words(self._folder)
            try:
                return release.write(self._folder, kind)
            finally:
                self._adopt_rows()

    # --- messages in ---------------------------------------------------------------------------

    def deliver(self) -> Delivery:
        """Begin to take in a message. The result is a sink; nothing is in the mailbox before commit()."""
        self._demand_writable()
        with durable.told(self.path):
            return Delivery(self._folder.directories.folder, self.path, self._folder.directories.mode)

    def taking(self, delivery: Delivery) -> Delivery:
        """Return a delivery that this folder can take: the same one, or its copy if it lies in another folder.

        Raises MailboxMissing where nothing is left to copy (``Delivery.pieces``).
        """
        if delivery.is_in(self._folder.directories.folder):
            return delivery
        copy = self.deliver()
        try:
            for piece in delivery.pieces():
                copy.write(piece)
        except BaseException:
            copy.abort()
            raise
        return copy

    def commit(self, deliveries: Sequence[tuple[Delivery, int, frozenset[int], int]]) -> Given[int]:
        """Put messages into the mailbox, each with flags, keywords without a bit, and received date (epoch).

        All of them or none; their UIDs come back in order. When it returns, the messages and their UIDs are on the
        disk, unless the setting ``fsync`` is "never". After MailboxMissing, and only then, they may be given to
        another mailbox (``taking``).
        """
        folder = self._folder
        self._demand_writable()
        if not deliveries:
            return Given(self.uidvalidity)
        durable_too = folder.keeping.fsync != "never"
        uids: list[int] | None = None
        try:
            with self._in_place(), durable.told(self.path):
                if not all(item.is_in(folder.directories.folder) for item, *_ in deliveries):
                    # They were for a folder that is gone, and this one has its name.
                    raise errors.MailboxMissing(detail=os.fsdecode(self.path))
                for item, *_ in deliveries:
                    item.finish()
                for item, _, _, received in deliveries:
                    if item.trouble is not None:
                        raise item.trouble
                    item.date(received)
                if durable_too:
                    for item, *_ in deliveries:
                        item.sync()
            with self._changing(), folder.exclusive(adds=True):
                try:
                    uids = changes.bring_in(folder, deliveries)
                finally:
                    rows = self._adopt_rows()
            if durable_too:
                with self._in_place(), durable.told(self.path):
                    self._shared_sync.wait()
        except errors.MailboxMissing:
            if uids is None:
                raise  # the folder of that name may be another one by now, and take them
            # They were put in, and have gone with their folder since: nothing of them is left to be on the disk.
        except BaseException:
            for item, *_ in deliveries:
                item.abort()
            raise
        return Given(rows.uidvalidity, uids)

    def copy_from(
        self, source: Mailbox, uids: Sequence[int], *, move: bool = False, keep: int = -1, under: int | None = None
    ) -> Given[tuple[int, int]]:
        """Copy messages (UIDs rising) from *source*, or move them, all or none; return (their UID, our UID) pairs.

        Flags, keywords (by name) and received dates come along; of the flags those in *keep*, and keywords if any
        of their bits is. When it returns, all is on the disk, unless
        the setting ``fsync`` is "never".
        """
        self._demand_writable()
        if move:
            source._demand_writable()
        if not uids:
            return Given(self.uidvalidity)
        if source.identity == self.identity:
            source = self  # another object for the same folder would wait for our own lock
        copied: Given[tuple[int, int]] | None = None
        try:
            with self._changing(), source._changing():
                # Lock order: two folders by what they are, which is the same in every process whatever their names.
                first, second = sorted((self, source), key=lambda box: box.identity)
                with first._folder.exclusive(adds=first is self):
                    if first is second:
                        copied = self._copy(source, uids, move, keep, under)
                    else:
                        with second._folder.exclusive(adds=second is self):
                            copied = self._copy(source, uids, move, keep, under)
            if self._folder.keeping.fsync != "never" and not move:
                with self._in_place(), durable.told(self.path):
                    self._shared_sync.wait()
        except errors.MailboxMissing:
            if copied is None:
                raise
            # As after ``commit``: they have gone with their folder, after they were put in.
        return copied

    def _copy(
        self, source: Mailbox, uids: Sequence[int], move: bool, keep: int, under: int | None
    ) -> Given[tuple[int, int]]:
        source._demand_same(under)
        try:
            pairs = changes.copy(source._folder, self._folder, uids, move=move, keep=keep)
        finally:
            rows = self._adopt_rows()
            if source is not self:
                source._adopt_rows()
        return Given(rows.uidvalidity, pairs)

    def amount(self, uids: Sequence[int]) -> Amount:
        """Return what messages (UIDs rising) take up on the disk, as the quota counts."""
        with self._folder.shared():
            return changes.amount(self._folder, uids)

    # --- messages out --------------------------------------------------------------------------

    def open(self, uid: int, *, under: int | None = None) -> int:
        """Open a message for reading; the caller closes the descriptor.

        *under*: the UIDVALIDITY that the UID is of, None for that of now. Raises MessageGone, MessageUnreadable.
        """
        return reading.open_message(self._folder, self.snapshot, uid, under, self._look_again)[0]

    def read(self, uid: int, *, under: int | None = None) -> bytes:
        """Return a message as it is on the disk; as ``open``."""
        return reading.read(self._folder, self.snapshot, uid, under, self._look_again)

    def _look_again(self) -> Snapshot:
        return self.sync(look=True, keep_new=True)

    def sizes(
        self,
        positions: Sequence[int],
        snapshot: Snapshot | None = None,
        report: Callable[[int, int], None] | None = None,
        failures: dict[int, errors.StoreError] | None = None,
    ) -> list[int]:
        """Return the CRLF sizes of the messages at *positions*, counting, and remembering, those not known.

        A message that is gone or cannot be read counts 0, and *failures* says why, by index in *positions*.  While
        messages are read, *report* is called without locks, with how many of how many are done.
        """
        rows = self.snapshot if snapshot is None else snapshot
        found = [rows.sizes[at] for at in positions]
        if SIZE_UNKNOWN not in found:
            return found
        counted: list[tuple[int, int]] = []
        for n, size in enumerate(found):
            if size != SIZE_UNKNOWN:
                continue
            if report is not None:
                report(n, len(found))
            uid = rows.uids[positions[n]]
            try:
                data = self.read(uid, under=rows.uidvalidity)
            except (errors.MessageGone, errors.MessageUnreadable) as error:
                found[n] = 0
                if failures is not None:
                    failures[n] = error
                continue
            found[n] = len(data) + data.count(b"\n") - data.count(b"\r\n")
            counted.append((uid, found[n]))
        self.note_sizes(counted)
        return found

    def note_sizes(self, sizes: Sequence[tuple[int, int]]) -> None:
        """Remember the true CRLF sizes of messages, (UID, size): counted, or seen to differ from what the name says."""
        if not sizes:
            return
        with self._changing(), self._folder.exclusive():
            changes.note_sizes(self._folder, sizes)
            self._adopt_rows()

    # --- the cache -----------------------------------------------------------------------------

    @property
    def cache(self) -> Cache:
        """Derived blobs by UID and field; disposable."""
        found = self._cache
        if found is None or found.uidvalidity != self.snapshot.uidvalidity:
            if self._cache_path != self._folder.directories.index_path:
                try:
                    os.makedirs(self._cache_path, mode=0o700, exist_ok=True)
                except OSError as error:
                    log.warning("no place for the cache path=%s error=%s", os.fsdecode(self._cache_path), error)
            found = Cache(self._cache_path, self.snapshot.uidvalidity, self._folder.keeping.cache_version)
            self._cache = found
        return found
