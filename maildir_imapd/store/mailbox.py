"""A mailbox as the rest of the server sees it: what clients do to it, and ask of its messages.

Everything that changes something takes the folder's lock (folder.py, lock.py), decides there, and wakes the listeners
when it has let go of it. How it keeps up with others is in current.py.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Final, Unpack

from maildir_imapd import errors
from maildir_imapd.budget import Share, Shares
from maildir_imapd.events import Log
from maildir_imapd.line_ends import bare
from maildir_imapd.store.current import CurrentFolder, at_rest, one_folder
from maildir_imapd.store.current import rest as rest
from maildir_imapd.store.disk import durable
from maildir_imapd.store.disk.descriptors import Descriptor
from maildir_imapd.store.folder import changes, copying, mailboxid, reading, release, unseen
from maildir_imapd.store.folder.folder import Folder
from maildir_imapd.store.folder.keeping import AS_USUAL, Differing, Keeping
from maildir_imapd.store.folder.reading import is_still
from maildir_imapd.store.index.cache import Cache, name_in
from maildir_imapd.store.index.journal import SIZE_UNKNOWN, Batch
from maildir_imapd.store.index.snapshot import SYSTEM_FLAGS, Snapshot
from maildir_imapd.store.maildir import filename, keywords, scan
from maildir_imapd.store.maildir.delivery import Delivery
from maildir_imapd.store.maildir.filename import RECENT
from maildir_imapd.store.maildir.flags import NO_FLAGS, Flags, of_keywords
from maildir_imapd.store.neighbours.seed import Seed
from maildir_imapd.store.results import FileRead, FlagResult, Given
from maildir_imapd.store.threads.listeners import Listener
from maildir_imapd.store.threads.syncing import SharedSync

if TYPE_CHECKING:
    from maildir_imapd.store.folder.release import Released
    from maildir_imapd.store.neighbours.neighbour import Kind
    from maildir_imapd.store.records.quota import Amount
    from maildir_imapd.store.watch import Watcher

__all__ = ["FlagResult", "Flags", "Given", "Listener", "Mailbox", "Nearby", "Seed", "at_rest", "is_still"]

log = Log(__name__)

# A look at the files of so many messages is made for them alone, where nobody has looked at all of them yet.
FEW_FILES: Final = 200
_SYSTEM: Final = {name.lower(): bit for name, bit in SYSTEM_FLAGS}


# Of ``nearby``.
Nearby = Descriptor


@contextmanager
def nearby(mailbox: Mailbox) -> Iterator[Nearby | None]:
    """Keep cur/ open meanwhile, for who is about to ``load`` many messages; None where that cannot be."""
    try:
        near = Descriptor(mailbox._folder.files.open_cur(), "cur")
    except OSError:
        yield None
        return
    try:
        with near.use():
            yield near
    finally:
        near.close()


def dates(mailbox: Mailbox, rows: Snapshot, positions: Sequence[int], *, saved: bool = False) -> Sequence[int] | None:
    """Return when some messages were received, or *saved*, where nobody has looked at the files of all yet.

    None where the columns have it, or where all had better be looked at.
    """
    few = _few(mailbox, rows, positions)
    return None if few is None else [each[1 if saved else 0] for each in few]


def see(mailbox: Mailbox, messages: int) -> None:
    """Have the files looked at by who is about to read so many messages, and would keep what he makes of them.

    Of a few nothing is kept until somebody has. Raises StoreError.
    """
    if messages > FEW_FILES:
        mailbox.snapshot.see()


def _few(mailbox: Mailbox, rows: Snapshot, positions: Sequence[int]) -> list[tuple[int, int, int]] | None:
    if len(positions) > FEW_FILES or rows.has("received"):
        return None
    folder = mailbox._folder
    return unseen.look_at(folder.files, folder.directories.folder, rows, positions)


def looked_at(mailbox: Mailbox) -> bool:
    """Whether somebody has looked at the files themselves, and the checkpoint has it: ``sync`` need not."""
    index = mailbox._folder.index
    return mailbox.snapshot.seen and not (index.partial and index.writable)


def _crlf_octets(mailbox: Mailbox, file: FileRead, uid: int, under: int) -> int:
    """Count the octets of a message with CRLF line ends; of a large one block by block."""
    if file.whole:
        return len(file.data) + bare(file.data)
    number = mailbox.open(uid, under=under)
    try:
        return reading.crlf_octets(number, f"{os.fsdecode(mailbox.path)} uid {uid}")
    finally:
        os.close(number)


class Mailbox(CurrentFolder):
    """One folder of one user.

    *index* and *cache*: directories, if not the folder itself; *control*: the other server's, likewise. *seed*: asked
    at first contact for the UIDs another server gave. *other*: what is to be otherwise than *keeping* says.
    """

    folder_type: ClassVar[type[Folder]] = Folder

    def __init__(
        self,
        path: bytes,
        keeping: Keeping = AS_USUAL,
        *,
        root: bytes | None = None,
        index: bytes | None = None,
        control: bytes | None = None,
        cache: bytes | None = None,
        seed: Callable[[], Seed | None] | None = None,
        watcher: Watcher | None = None,
        **other: Unpack[Differing],
    ) -> None:
        keeping = replace(keeping, **other) if other else keeping
        folder = self.folder_type(path, keeping, root=root, index=index, control=control, seed=seed)
        super().__init__(folder, watcher)
        self._shared_sync = SharedSync(self._folder.sync)
        self.cache_path = cache or self.index_path
        self._word: bytes | None = None
        self.texts = keeping.texts
        self.ahead = keeping.ahead
        self.keeps: Callable[[Mailbox, Sequence[int], int], None] | None = None  # as Deleted.keep

    def close(self) -> None:
        """Let go of all descriptors. The object is of no use afterwards: whoever tries gets StoreError."""
        super().close()
        if self._cache is not None:
            self._cache.close()

    def _rotated(self, rows: Snapshot) -> None:
        """Let the cache forget what belongs to no message any more."""
        if self._cache is not None:
            self._cache.trim(rows.uids)

    @property
    def word(self) -> bytes:
        """The word that tells the mailbox from others of its UIDVALIDITY, for MAILBOXID (mailboxid.py)."""
        if self._word is None:
            try:
                with self._folder.directories.folder.use() as folder:
                    self._word = mailboxid.read(folder)
            except OSError as error:
                # The mail is there all the same.
                log.warning("no word for MAILBOXID", path=self.path, why=error)
                return b""
        return self._word

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

    # --- flags --------------------------------------------------------------------------------

    def claim_recent(self) -> frozenset[int]:
        """Take the messages no session has seen yet, and note that they are taken.

        RFC 3501 section 2.3.2: at most one session gets \\Recent for a message. The note goes into the
        journal before the client hears of it, so a crash can lose a \\Recent but never give it twice.
        """
        if not self.snapshot.recent:
            return frozenset()
        with self._changing(), self._folder.exclusive():
            rows = self._folder.rows
            mine = frozenset(rows.uids_with(RECENT))
            if mine:
                self._folder.commit(Batch(claimed=rows.uidnext))
            self._adopt_rows()
        return mine

    def flags(self, names: Iterable[bytes], *, create: bool) -> Flags:
        """Return flags by their names.

        With *create*, keywords that the folder does not know yet are made known; without, they are left out.
        """
        bits = 0
        words: list[bytes] = []
        for name in names:
            system = _SYSTEM.get(name.lower())
            if system is not None:
                bits |= system
            elif not name.startswith(b"\\"):
                words.append(name)
        if not words:
            return Flags(bits)
        known = keywords.numbers(self.snapshot.keywords, words)
        if create and len(known) < len(set(words)) and not self.read_only:
            with self._changing(), self._folder.exclusive(settles=True):
                known = changes.name_keywords(self._folder, words)
                self._adopt_rows()
        return Flags(bits) | of_keywords(known.values())

    def set_flags(
        self,
        uids: Sequence[int],
        *,
        add: Flags = NO_FLAGS,
        remove: Flags = NO_FLAGS,
        replace: bool = False,
        unchanged_since: int | None = None,
        under: int | None = None,
    ) -> FlagResult:
        """Add and remove flags of messages (UIDs rising); with *replace*, *add* is all that stays.

        An error is raised when one rename fails; what was changed until then is on record. *under*: ``_demand_same``.
        """
        change = changes.FlagChange(add, remove, replace)
        done = changes.Outcome([], [], [])
        for piece in changes.pieces(uids):
            with self._changing(), self._folder.exclusive(settles=True):
                self._demand_writable()
                self._demand_same(under)
                try:
                    done.add(changes.set_flags(self._folder, piece, change, unchanged_since))
                finally:
                    after = self._adopt_rows()
        return FlagResult(done.modified, done.gone, done.changed, after)

    def expunge(self, uids: Sequence[int], *, under: int | None = None, flagged: int = 0) -> list[int]:
        """Remove messages (UIDs rising) for good, and return those that are gone now.

        *flagged*: one that has lost any of these flags stays. *under*: ``_demand_same``. What another session of this
        host still shows can be read until it has been told.
        """
        gone: list[int] = []
        for piece in changes.pieces(uids):
            if self.keeps is not None:
                self.keeps(self, piece, flagged)
            with self._changing(), self._folder.exclusive(settles=True):
                self._demand_writable()
                self._demand_same(under)
                try:
                    keep, before = self.showing.elsewhere(), self.showing.last_expunge
                    gone += changes.expunge(self._folder, piece, flagged=flagged, keep=keep)
                    if not keep:
                        self.showing.removed(before)
                finally:
                    self._adopt_rows()
        return gone

    def settle(self) -> None:
        """Return when what this process has changed before is on the disk, where ``fsync`` is "always"."""
        if self._folder.owed and self._folder.keeping.fsync == "always":
            with self._changing(), self._folder.exclusive(settles=True):
                self._adopt_rows()

    # --- other servers ------------------------------------------------------------------------

    def release(self, kind: Kind) -> Released:
        """Write another server's files for this folder in full (release.py)."""
        with self._changing(), self._folder.exclusive(settles=True):
            self._demand_writable()
            self._folder.refresh(look=True)
            changes.take_words(self._folder)
            try:
                return release.write(self._folder, kind)
            finally:
                self._adopt_rows()

    # --- messages in --------------------------------------------------------------------------

    def deliver(self) -> Delivery:
        """Begin to take in a message. The result is a sink; nothing is in the mailbox before commit()."""
        self._demand_writable()
        with self._in_place(), durable.as_store_error(self.path):
            folder, keeping = self._folder.directories, self._folder.keeping
            return Delivery(folder.folder, self.path, folder.mode, packing=keeping.compress_mail)

    def taking(self, delivery: Delivery, *, share: bool = False) -> Delivery:
        """Return a delivery that this folder can take: the same one, or its copy if it lies in another folder.

        *share*: rather its file under a second name, for the folders are one owner's. Raises MailboxMissing where
        nothing is left to copy (``Delivery.pieces``).
        """
        here = self._folder.directories
        with self._in_place(), here.in_use():
            if delivery.is_in(here.folder):
                return delivery
            if share and (second := delivery.second(here.folder, self.path, here.mode)) is not None:
                return second
        copy = self.deliver()
        try:
            for piece in delivery.pieces():
                copy.write(piece)
        except BaseException:
            copy.abort()
            raise
        return copy

    def commit(self, deliveries: Sequence[tuple[Delivery, Flags, int]]) -> Given[int]:
        """Put messages into the mailbox, each with its flags and received date (epoch).

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
            with self._in_place(), durable.as_store_error(self.path):
                if not all(item.is_in(folder.directories.folder) for item, *_ in deliveries):
                    # They were for a folder that is gone, and this one has its name.
                    raise errors.MailboxMissing(detail=os.fsdecode(self.path))
                for item, *_ in deliveries:
                    item.finish()
                for item, _, received in deliveries:
                    if item.trouble is not None:
                        raise item.trouble
                    item.date(received)
                if durable_too:
                    for item, *_ in deliveries:
                        item.sync()
            with self._changing(), folder.exclusive(settles=True, adds=True):
                try:
                    uids = changes.bring_in(folder, deliveries)
                finally:
                    rows = self._adopt_rows()
            if durable_too:
                with self._in_place(), durable.as_store_error(self.path):
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
        of their bits is. When it returns, all is on the disk, unless the setting ``fsync`` is "never".
        """
        self._demand_writable()
        if move:
            source._demand_writable()
        if not uids:
            return Given(self.uidvalidity)
        if source is not self and source.identity == self.identity and one_folder(source, self):
            source = self  # another object for the same folder would wait for our own lock
        copied: Given[tuple[int, int]] | None = None
        try:
            with self._changing(), source._changing():
                # Lock order: two folders by what they are, which is the same in every process whatever their names.
                first, second = sorted((self, source), key=lambda box: box.identity)
                with first._folder.exclusive(settles=True, adds=first is self):
                    if first is second:
                        copied = self._copy(source, uids, move, keep, under)
                    else:
                        with second._folder.exclusive(settles=True, adds=second is self):
                            copied = self._copy(source, uids, move, keep, under)
            if self._folder.keeping.fsync != "never" and not move:
                with self._in_place(), durable.as_store_error(self.path):
                    self._shared_sync.wait()
        except errors.MailboxMissing:
            if copied is None:
                raise
            # As after ``commit``: they have gone with their folder, after they were put in.
        return copied

    def copied_to(
        self, target: Mailbox, uids: Sequence[int], *, move: bool = False, keep: int = -1, under: int | None = None
    ) -> Given[tuple[int, int]]:
        """As ``copy_from``, of messages that are here."""
        return target.copy_from(self, uids, move=move, keep=keep, under=under)

    def _copy(
        self, source: Mailbox, uids: Sequence[int], move: bool, keep: int, under: int | None
    ) -> Given[tuple[int, int]]:
        source._demand_same(under)
        try:
            shown = move and source.showing.elsewhere()
            pairs = copying.copy(source._folder, self._folder, uids, move=move, keep=keep, shown=shown)
        finally:
            rows = self._adopt_rows()
            if source is not self:
                source._adopt_rows()
        return Given(rows.uidvalidity, pairs)

    def amount(self, uids: Sequence[int]) -> Amount:
        """Return what messages (UIDs rising) take up on the disk, as the quota counts."""
        with self._folder.shared():
            return changes.amount(self._folder, uids)

    # --- messages out -------------------------------------------------------------------------

    def open(self, uid: int, *, under: int | None = None) -> int:
        """Open a message for reading; the caller closes the descriptor.

        *under*: the UIDVALIDITY that the UID is of, None for that of now. Raises MessageGone, MessageUnreadable.
        """
        return reading.open_message(self._folder, self.snapshot, uid, under, self._look_again).number

    def read(self, uid: int, *, under: int | None = None) -> bytes:
        """Return a message as it is on the disk; as ``open``."""
        return self.load(uid, under=under).data

    def load(
        self,
        uid: int,
        *,
        under: int | None = None,
        limit: int | None = None,
        shares: Shares | None = None,
        near: Nearby | None = None,
    ) -> FileRead:
        """Read a message with what can be said of its file; as ``open``. *limit*, *shares*: as of ``reading.read``.

        Where another program has written to it since it was looked at last, that is noted. *near*: as of ``nearby``.
        """
        folder, rows = self._folder, self.snapshot
        share: Share | None = None
        number = None if near is None else near.number
        plain = reading.read_plain(folder, rows, uid, under, limit, number)
        if plain is not None:
            data, status, base, known = plain
            octets = status.st_size
        else:
            data, octets, opened, share = reading.read(folder, rows, uid, under, self._look_again, limit, shares)
            status, base, known = opened.status, opened.base, opened.known
        # A name that claims the very size says that its writer is done, however young the file is.
        settled = not scan.young(status, time.time_ns()) or filename.disk_size(base) == octets
        seen = scan.fingerprint(status)
        # Before there is a fingerprint on record nobody would notice that what was kept is of another content.
        settled = settled and known is not None
        changed = known is not None and scan.rewritten(known, seen)
        if changed:
            self._rewritten([(uid, seen)])
        return FileRead(data, seen, settled, changed, octets, share)

    def still(self, uid: int, fingerprint: int) -> bool:
        """Say whether a message's file is what it was when it was read; yes if nobody can tell."""
        return reading.still(self._folder, self.snapshot, uid, fingerprint)

    def confirm(self, cache: Cache, read: Mapping[int, int]) -> None:
        """Let *cache* forget again what was put there of messages that others have meanwhile noted as written to.

        *read*: by UID, rising, the fingerprints they were read under. Who notes it forgets before and after the note,
        so that one of the two finds it, whichever comes first.
        """
        uids = list(read)
        try:
            rows = self.sync(keep_new=True, patience=0)
        except errors.LockTimeout:
            # What is being written there nobody can tell yet.
            cache.forget(uids)
            return
        if not rows.has("fingerprints"):
            return
        stale = [
            uid
            for uid, at in zip(uids, rows.positions(uids), strict=True)
            if at >= 0 and scan.rewritten(rows.fingerprints[at], read[uid])
        ]
        if stale:
            cache.forget(stale)

    def _rewritten(self, files: Sequence[tuple[int, int]]) -> None:
        """Forget what is known of messages that another program has written to.

        Where it cannot be noted, it is found again.
        """
        if not files:
            return
        uids = [uid for uid, _ in files]
        cache = self.cache
        cache.forget(uids)
        try:
            with self._changing(), self._folder.exclusive():
                if cache.uidvalidity == self._folder.rows.uidvalidity:
                    changes.note_rewritten(self._folder, files)
                self._adopt_rows()
        except errors.MailboxMissing:
            raise
        except errors.StoreError as error:
            log.info("not noted that messages were written to", path=self.path, why=error)
        cache.forget(uids)

    def _look_again(self) -> Snapshot:
        return self.sync(look=True, keep_new=True)

    def sizes(
        self,
        positions: Sequence[int],
        snapshot: Snapshot | None = None,
        report: Callable[[int, int], None] | None = None,
        failures: dict[int, errors.StoreError] | None = None,
        shares: Shares | None = None,
    ) -> list[int]:
        """Return the CRLF sizes of the messages at *positions*, counting, and remembering, those not known.

        A message that is gone or cannot be read counts 0, and *failures* says why, by index in *positions*.  While
        messages are read, *report* is called without locks, with how many of how many are done.
        """
        self._rewritten(self._rounds.look(self.snapshot, demanded=True))
        rows = self.snapshot if snapshot is None else snapshot
        found = self._known_sizes(rows, positions)
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
                file = self.load(uid, under=rows.uidvalidity, limit=reading.LARGE_OCTETS, shares=shares)
                found[n] = _crlf_octets(self, file, uid, rows.uidvalidity)
            except (errors.MessageGone, errors.MessageUnreadable) as error:
                found[n] = 0
                if failures is not None:
                    failures[n] = error
                continue
            if file.settled:
                counted.append((uid, found[n]))
        self.note_sizes(counted)
        return found

    def _known_sizes(self, rows: Snapshot, positions: Sequence[int]) -> list[int]:
        """Return the sizes of messages of *rows*, or of later where they were written to since."""
        now = self.snapshot
        if now.rewrites == rows.rewrites or now.uidvalidity != rows.uidvalidity:
            few = _few(self, rows, positions)
            if few is not None:
                return [each[2] for each in few]
            if isinstance(positions, range):
                # All messages of a long FETCH: a slice costs a fifth.
                return list(rows.sizes[positions.start : positions.stop])
            return [rows.sizes[at] for at in positions]
        later = now.positions([rows.uids[at] for at in positions])
        return [rows.sizes[at] if new < 0 else now.sizes[new] for at, new in zip(positions, later, strict=True)]

    def note_sizes(self, sizes: Sequence[tuple[int, int]]) -> None:
        """Remember the true CRLF sizes of messages, (UID, size): counted, or seen to differ from what the name says."""
        if not sizes:
            return
        with self._changing(), self._folder.exclusive():
            changes.note_sizes(self._folder, sizes)
            self._adopt_rows()

    # --- the cache ----------------------------------------------------------------------------

    @property
    def cache(self) -> Cache:
        """Derived blobs by UID and field; disposable."""
        found = self._cache
        if found is None or found.uidvalidity != self.snapshot.uidvalidity:
            keeping, made = self._folder.keeping, self.cache_path != self._folder.directories.index_path
            name = name_in(self.cache_path, keeping.shared_spool)
            found = Cache(self.cache_path, self.snapshot.uidvalidity, keeping.cache_version, name, made=made)
            self._cache = found
            self._rewritten(self._rounds.look(self.snapshot, demanded=True))
        return found
