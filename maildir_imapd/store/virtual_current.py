"""How a virtual mailbox keeps up with the mailboxes that it is made of.

Whoever looks at it looks at all of them first, without any lock, and then, under its own, has its index
(folder/overlay.py) agree with what was found. The moment that it agrees with is on record as the folder's stamp, so
that other processes need not do it again; where one has written in between it is done again.

A message that is no longer found stays for as long as any client shows the mailbox, until one expunges there, or opens
it: who reads what is unread would otherwise lose it from under his eyes. One that has gone from its mailbox goes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final, Protocol

from maildir_imapd import errors
from maildir_imapd.events import Log
from maildir_imapd.store.current import unchanged
from maildir_imapd.store.folder.overlay import Agreeing, OverlayFolder, places, reference
from maildir_imapd.store.folder.rounds import NoRounds
from maildir_imapd.store.index.claim import EVER
from maildir_imapd.store.index.loading import Unfit
from maildir_imapd.store.mailbox import Mailbox
from maildir_imapd.store.threads import locks
from maildir_imapd.store.threads.locks import Rank
from maildir_imapd.store.virtual_sources import VirtualMoment, follows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence, Set

    from maildir_imapd.store.folder.folder import Folder
    from maildir_imapd.store.folder.keeping import Keeping
    from maildir_imapd.store.folder.overlay import Where
    from maildir_imapd.store.index.journal import Stamp
    from maildir_imapd.store.index.snapshot import Snapshot
    from maildir_imapd.store.index.state import IndexState
    from maildir_imapd.store.threads.listeners import Listener
    from maildir_imapd.store.virtual_sources import VirtualDefinition, VirtualPart
    from maildir_imapd.store.watch import Watcher

log = Log(__name__)

# So often another process may write to the index while the mailboxes are looked at, before what was found is taken.
TRIES: Final = 5
_NONE: Final[Set[int]] = frozenset()


class Looking(Protocol):
    """Whoever looks at the mailboxes that others are made of; as ``VirtualSources``."""

    def moment(self, definition: VirtualDefinition, before: VirtualMoment | None) -> VirtualMoment: ...

    def stamp(self, definition: VirtualDefinition, moment: VirtualMoment) -> Stamp | None: ...

    def saving(self, definition: VirtualDefinition) -> Mailbox | None: ...


class VirtualSpace:
    """The ground of one user's virtual mailboxes: his mailboxes, as he sees them since his last login."""

    def __init__(self, sources: Looking) -> None:
        self.sources = sources


class CurrentVirtual(Mailbox):
    """See the module; *definition* says what it is made of."""

    # Those of its sources are looked at together.
    rests = False

    folder_type: ClassVar[type[Folder]] = OverlayFolder

    def __init__(
        self,
        path: bytes,
        keeping: Keeping,
        definition: VirtualDefinition,
        space: VirtualSpace,
        *,
        root: bytes | None = None,
        watcher: Watcher | None = None,
    ) -> None:
        self._definition, self._space = definition, space
        self._moment: VirtualMoment | None = None  # what was found last by this process, and the index agrees with
        # Where messages lie, and the UIDs that this is of; under the folder's lock.
        self._where: tuple[object, Where] | None = None
        # What has no message that is no longer found: a moment, and the UIDs.
        self._clean: tuple[object, object] | None = None
        self._opened = False  # since the last look, by somebody who is to see only what is found now
        self._guard = locks.make(Rank.GUARD)  # guards the next
        self._followed: dict[Mailbox, Listener] = {}
        super().__init__(path, keeping, root=root, watcher=watcher)
        self._rounds = NoRounds(self._folder)

    def redefine(self, definition: VirtualDefinition) -> None:
        """Take another definition, if it is one."""
        if definition.digest != self._definition.digest:
            self._definition = definition
            self._stir()

    @property
    def looked(self) -> bool:
        """Whether this process has looked at its mailboxes."""
        return self._moment is not None

    def first_look(self) -> CurrentVirtual:
        """Do so; raises StoreError."""
        self.sync(keep_new=True)
        return self

    # --- keeping up -----------------------------------------------------------------------------------

    def _take_in(self, look: bool, keep_new: bool, patience: float | None) -> Snapshot:
        return self._agree(patience=patience)

    def _agree(self, *, leave: bool = False, patience: float | None = None) -> Snapshot:
        """Bring the index to agree with the mailboxes, and return what it has; as ``_take_in``.

        *leave*: what is no longer found goes whoever shows it.
        """
        self.stirred = False
        leave, self._opened = leave or self._opened, False
        folder = self._folder
        for left in reversed(range(TRIES)):
            try:
                before = self._read(patience)
                moment = self._space.sources.moment(self._definition, self._moment)
                self._follow(moment)
                going = leave or not self._is_shown()
                if before is not None and self._agrees(moment, before, going, patience):
                    return self.snapshot
                with self._changing(), folder.exclusive(adds=True, patience=patience):
                    if folder.index.state is before or not left:
                        self._bring(moment, leave=going)
                        return self._adopt_rows()
                    self._adopt_rows()
            except errors.LockTimeout as error:
                if patience is not None:
                    raise
                log.warning("folder busy", path=error.detail)
                return self.snapshot
            except errors.MailboxMissing:
                # Unless it has gone, its UIDs have: then all is found anew.
                if not left or not self.stands():
                    raise
        raise AssertionError

    def _read(self, patience: float | None) -> IndexState | None:
        """Take in what others have written; None where that takes the lock."""
        index = self._folder.index
        with self._changing(), self._folder.shared(patience):
            try:
                if not index.loaded:
                    return None
                self._folder.directories.check_place()
                index.catch_up()
            except (Unfit, errors.StoreError, OSError):
                return None
            if index.started_anew or index.behind or index.state.snapshot.damaged:
                return None
            self._adopt_rows()
            return index.state

    def _agrees(self, moment: VirtualMoment, state: IndexState, leave: bool, patience: float | None) -> bool:
        """Whether there is nothing to be written."""
        if moment.stamp is None or state.stamp != moment.stamp:
            return False
        if leave and self._clean != (moment.stamp, state.snapshot.uids):
            with self._folder.shared(patience):
                if self._folder.index.state is not state:
                    return False
                where = self._places(state.snapshot)
                if any(have.keys() - _found(moment, key) for key, have in where.items()):
                    return False
            self._clean = moment.stamp, state.snapshot.uids
        self._moment = moment
        return True

    def _places(self, rows: Snapshot) -> Where:
        """Where the messages of the index lie; under the folder's lock."""
        known = self._where
        if known is None or known[0] is not rows.uids:
            known = self._where = rows.uids, places(rows)
        return known[1]

    def _bring(self, moment: VirtualMoment, *, leave: bool) -> None:
        """Write the difference; under the folder's lock."""
        folder, before = self._folder, self._moment
        where = self._places(folder.rows)
        work = self._agreeing(moment, where, leave=leave)
        agreed = before is not None and before.stamp is not None and folder.index.state.stamp == before.stamp
        known: Mapping[bytes, VirtualPart] = before.parts if before is not None and agreed else {}
        self._where = None  # until it is known to be right again
        for key in [key for key in where if key not in moment.parts] if moment.whole else ():
            work.drop(key)
        for key, part in moment.parts.items():
            old, have = known.get(key), where.get(key, {})
            look = part.changed_since(old)
            if old is None:
                look = look | have.keys()
            elif leave:
                look = look | (have.keys() - part.found)
            if look:
                work.take(part, look, files=old is None or not follows(old.rows, part.rows))
        work.commit(moment.stamp)
        self._where = folder.rows.uids, where
        if moment.stamp is not None and folder.index.state.stamp == moment.stamp:
            self._moment = moment
            if leave:
                self._clean = moment.stamp, folder.rows.uids
        else:
            # Not all of it could be written, or looked at: by the next look nothing is taken for known.
            self._moment = VirtualMoment(moment.parts)

    def _agreeing(self, moment: VirtualMoment, where: Where, *, leave: bool) -> Agreeing:
        """Return what writes the difference; under the folder's lock."""
        return Agreeing(self._folder, where, lingers=not leave)

    def _is_shown(self) -> bool:
        """Whether any client of this host shows it."""
        return bool(self._listeners.told()) or self._folder.claim.others(EVER)

    def _unchanged(self, keep_new: bool, *, by_events: bool = False, turn: int | None = None) -> bool:
        moment, index, state = self._moment, self._folder.index, self._folder.index.state
        if by_events or moment is None or moment.stamp is None or self.stirred or self._opened or index.behind:
            return False
        if state.snapshot is not self.snapshot or state.snapshot.damaged or state.stamp != moment.stamp:
            return False
        try:
            if state.inode:
                journal = self._stat(self._journal)
                if (journal.st_ino, journal.st_size) != (state.inode, state.position):
                    return False
                if journal.st_dev != self.identity[0]:
                    return False
            if self._clean != (moment.stamp, state.snapshot.uids) and not self._is_shown():
                return False
            return self._space.sources.stamp(self._definition, moment) is not None
        except (OSError, errors.ImapdError):
            return False

    # --- who listens ----------------------------------------------------------------------------------

    def listen(self, wake: Callable[[], None], *, keep_new: bool = False) -> Listener:
        """As ``CurrentFolder.listen``; who does not only look is to see what is found now, and nothing else."""
        found = super().listen(wake, keep_new=keep_new)
        self._opened = self._opened or not keep_new
        return found

    def _stir(self) -> None:
        """Hear that something has happened to a part: whoever shows this one looks what that means for it."""
        self.stirred = True
        self._listeners.wake()

    def _heard(self) -> None:
        super()._heard()
        if self._moment is not None:
            self._follow(self._moment)

    def _unheard(self) -> None:
        self._unfollow()
        super()._unheard()
        if self.listened or self.gone:
            return
        try:
            self._agree(patience=0)
        except (errors.ImapdError, OSError) as error:
            log.info("virtual mailbox left as it was", path=self.path, why=error)

    def _follow(self, moment: VirtualMoment) -> None:
        """Listen to the mailboxes of *moment*, and to no others, if anybody listens to this one."""
        if not self.listened:
            return
        wanted: set[Mailbox] = set()
        for part in moment.parts.values():
            try:
                wanted.add(part.source.mailbox())
            except errors.ImapdError:
                continue
        with self._guard:
            missing = wanted.difference(self._followed)
            ended = [self._followed.pop(box) for box in list(self._followed) if box not in wanted]
        for listener in ended:
            listener.close()
        for box in missing:
            listener = box.listen(self._stir, keep_new=True)
            with self._guard:
                extra = self._followed.setdefault(box, listener)
            # Race: another thread may have come first, or the last who listened have gone.
            if extra is not listener:
                listener.close()
        if missing and not self._listeners:
            self._unfollow()
        elif missing and not all(map(unchanged, missing)):
            # What happened before they were listened to is nobody's event.
            self.stirred = True

    def _unfollow(self) -> None:
        with self._guard:
            followed, self._followed = self._followed, {}
        for listener in followed.values():
            listener.close()

    def refresh(self) -> float | None:
        """As ``CurrentFolder.refresh``; the watch thread searches nothing: that is for those who listen."""
        self._read(0)
        self.showing.sweep()
        moment = self._moment
        if moment is not None and any(part.turn != part.source.turn for part in moment.parts.values()):
            self._stir()
        return self.recheck()

    def recheck(self) -> float | None:
        """As ``CurrentFolder.recheck``."""
        return None if self._moment is None else self._moment.period or None

    # --- where messages lie ---------------------------------------------------------------------------

    def _source(self, key: bytes) -> tuple[VirtualPart, Mailbox] | None:
        """The mailbox that a reference's key means, with what was found in it; None where there is none now."""
        part = None if self._moment is None else self._moment.parts.get(key)
        if part is None:
            return None
        try:
            return part, part.source.mailbox()
        except errors.ImapdError:
            return None

    def _sort(self, rows: Snapshot, uids: Sequence[int]) -> dict[bytes, list[tuple[int, int]]]:
        """Of messages that are there: (UID there, UID here), rising, by the key of the mailbox."""
        found: dict[bytes, list[tuple[int, int]]] = {}
        names = rows.names if len(uids) > 1 else None
        for uid, at in zip(uids, (rows.position(uid) for uid in uids), strict=True):
            if at >= 0:
                key, theirs = reference(rows.name(at) if names is None else names[at])
                found.setdefault(key, []).append((theirs, uid))
        for pairs in found.values():
            pairs.sort()
        return found

    def _sorted(self, uids: Sequence[int]) -> Iterator[tuple[Mailbox, list[int], list[int]]]:
        """As ``VirtualCache`` wants it."""
        number = {uid: n for n, uid in enumerate(uids)}
        for key, pairs in self._sort(self.snapshot, uids).items():
            found = self._source(key)
            if found is not None and found[1].uidvalidity == found[0].rows.uidvalidity:
                yield found[1], [number[mine] for _, mine in pairs], [theirs for theirs, _ in pairs]


def _found(moment: VirtualMoment, key: bytes) -> Set[int]:
    part = moment.parts.get(key)
    return _NONE if part is None else part.found
