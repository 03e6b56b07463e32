"""A virtual mailbox: what a search finds in other mailboxes, as a mailbox of its own.

Its messages lie where they were found, and what is done to them is done there, within the rights that the user has
there. How its index follows is in virtual_current.py.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TypeVar

from maildir_imapd import errors
from maildir_imapd.store.branch import flag_mask
from maildir_imapd.store.folder.overlay import base_of, masked, reference
from maildir_imapd.store.maildir.filename import KEYWORD_BITS, VISIBLE_BITS
from maildir_imapd.store.maildir.flags import NO_FLAGS, Flags
from maildir_imapd.store.records.quota import Amount
from maildir_imapd.store.results import FileRead, FlagResult, Given
from maildir_imapd.store.virtual_cache import VirtualCache
from maildir_imapd.store.virtual_current import CurrentVirtual

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from maildir_imapd.budget import Shares
    from maildir_imapd.store.index.cache import Cache
    from maildir_imapd.store.mailbox import Mailbox, Nearby
    from maildir_imapd.store.maildir.delivery import Delivery
    from maildir_imapd.store.virtual_sources import VirtualPart

T = TypeVar("T")


class VirtualMailbox(CurrentVirtual):
    """See the module."""

    _virtual_cache: VirtualCache | None = None

    # --- messages out ---------------------------------------------------------------------------------

    def _place(self, uid: int, under: int | None) -> tuple[Mailbox, int, int]:
        """Where a message lies: the mailbox, its UID and UIDVALIDITY there; raises MessageGone."""
        rows = self.snapshot
        at = rows.position(uid) if under in (None, rows.uidvalidity) else -1
        key, theirs = reference(rows.name(at)) if at >= 0 else (b"", 0)
        found = self._source(key)
        if found is None:
            raise errors.MessageGone(detail=f"{os.fsdecode(self.path)} uid {uid}")
        return found[1], theirs, found[0].rows.uidvalidity

    def _there(self, uid: int, under: int | None, work: Callable[[Mailbox, int, int], T]) -> T:
        box, theirs, validity = self._place(uid, under)
        try:
            return work(box, theirs, validity)
        except errors.MailboxMissing as error:
            raise errors.MessageGone(detail=error.detail) from error

    @property
    def cache(self) -> Cache:
        """As ``Mailbox.cache``: those of the mailboxes."""
        found = self._virtual_cache
        if found is None or found.uidvalidity != self.snapshot.uidvalidity:
            found = self._virtual_cache = VirtualCache(self.snapshot.uidvalidity, self._sorted)
        return found

    def open(self, uid: int, *, under: int | None = None) -> int:
        """As ``Mailbox.open``."""
        return self._there(uid, under, lambda box, theirs, validity: box.open(theirs, under=validity))

    def load(
        self,
        uid: int,
        *,
        under: int | None = None,
        limit: int | None = None,
        shares: Shares | None = None,
        near: Nearby | None = None,
    ) -> FileRead:
        """As ``Mailbox.load``."""

        def work(box: Mailbox, theirs: int, validity: int) -> FileRead:
            return box.load(theirs, under=validity, limit=limit, shares=shares)

        return self._there(uid, under, work)

    def still(self, uid: int, fingerprint: int) -> bool:
        """As ``Mailbox.still``."""
        try:
            return self._there(uid, None, lambda box, theirs, _: box.still(theirs, fingerprint))
        except errors.MessageGone:
            return True

    def confirm(self, cache: Cache, read: Mapping[int, int]) -> None:
        """As ``Mailbox.confirm``."""
        uids = list(read)
        for box, indices, theirs in self._sorted(uids):
            box.confirm(box.cache, {uid: read[uids[n]] for n, uid in zip(indices, theirs, strict=True)})

    def amount(self, uids: Sequence[int]) -> Amount:
        """As ``Mailbox.amount``."""
        found = [box.amount(theirs) for box, _, theirs in self._sorted(uids)]
        return Amount(*map(sum, zip(*found, strict=True))) if found else Amount()

    # --- changes --------------------------------------------------------------------------------------

    def _work(
        self, uids: Sequence[int], under: int | None, work: Callable[[VirtualPart, Mailbox, dict[int, int]], bool]
    ) -> list[int]:
        """Have *work* done in each mailbox with its messages, {UID there: UID here}; return those that lie nowhere.

        *work* says whether the user's rights there allow any of it; raises NoPermission where none do anywhere.
        """
        rows = self.snapshot
        if under is not None and under != rows.uidvalidity:
            raise errors.MailboxMissing(detail=f"{os.fsdecode(self.path)}: UIDVALIDITY is no longer {under}")
        sorted_ = self._sort(rows, uids)
        gone = set(uids).difference(mine for pairs in sorted_.values() for _, mine in pairs)
        done = refused = False
        for key, pairs in sorted_.items():
            found = self._source(key)
            try:
                if found is None:
                    raise errors.MailboxMissing
                allowed = work(*found, dict(pairs))
            except errors.MailboxMissing:
                gone.update(mine for _, mine in pairs)
                continue
            done, refused = done or allowed, refused or not allowed
        if refused and not done:
            raise errors.NoPermission
        return sorted(gone)

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
        """As ``Mailbox.set_flags``: in each mailbox those that the user may change there."""
        rows = self.sync(keep_new=True)
        modified: list[int] = []
        if unchanged_since is not None:
            at = rows.positions(uids)
            modified = [uid for uid, n in zip(uids, at, strict=True) if n >= 0 and rows.modseqs[n] > unchanged_since]
            uids = sorted(set(uids).difference(modified))
        gone: list[int] = []
        changed: list[int] = []

        def work(part: VirtualPart, box: Mailbox, pairs: dict[int, int]) -> bool:
            mask = flag_mask(part.source.rights)
            wanted = [masked(flags, mask) for flags in (add, remove)]
            if box.read_only or not mask or ((add or remove) and not any(wanted)):
                return False
            more, less = (self._named(box, flags, create=n == 0) for n, flags in enumerate(wanted))
            whole = replace and mask == flag_mask(frozenset("swt"))
            if replace and not whole:
                less = box.snapshot.within(mask) - more
            # What the index agrees with is no older than what the client has seen.
            since = None if unchanged_since is None else part.rows.modseq
            validity = part.rows.uidvalidity
            done = box.set_flags(
                list(pairs), add=more, remove=less, replace=whole, unchanged_since=since, under=validity
            )
            modified.extend(pairs[uid] for uid in done.modified)
            gone.extend(pairs[uid] for uid in done.gone)
            changed.extend(pairs[uid] for uid in done.changed)
            return True

        try:
            gone += self._work(uids, under, work)
        finally:
            after = self._agree()
        return FlagResult(sorted(modified), sorted(gone), sorted(changed), after)

    def _named(self, box: Mailbox, flags: Flags, *, create: bool) -> Flags:
        """Return flags of ours as *box* numbers them."""
        words = self.snapshot.keywords
        names = [words[number] for number in flags.keywords if number < len(words) and words[number]]
        plain = Flags(flags.bits & VISIBLE_BITS & ~KEYWORD_BITS)
        return plain | box.flags(names, create=create) if names else plain

    def expunge(self, uids: Sequence[int], *, under: int | None = None, flagged: int = 0) -> list[int]:
        """As ``Mailbox.expunge``; and what is no longer found goes, too."""
        removed: list[int] = []

        def work(part: VirtualPart, box: Mailbox, pairs: dict[int, int]) -> bool:
            if "e" not in part.source.rights or box.read_only:
                return False
            gone = box.expunge(list(pairs), under=part.rows.uidvalidity, flagged=flagged)
            removed.extend(pairs[uid] for uid in gone)
            return True

        try:
            self._work(uids, under, work)
        finally:
            self._agree(leave=True)
        return sorted(removed)

    def settle(self) -> None:
        """As ``Mailbox.settle``; and what is no longer found goes."""
        super().settle()
        self._agree(leave=True)

    def copied_to(
        self, target: Mailbox, uids: Sequence[int], *, move: bool = False, keep: int = -1, under: int | None = None
    ) -> Given[tuple[int, int]]:
        """As ``Mailbox.copied_to``, mailbox by mailbox; where one fails, copies that are there are taken back.

        Those that were moved stay so.
        """
        made: list[tuple[int, int]] = []
        validity = target.uidvalidity
        known = True

        def work(part: VirtualPart, box: Mailbox, pairs: dict[int, int]) -> bool:
            nonlocal validity, known
            if move and not part.source.rights.issuperset("te"):
                return False
            if move:
                _demand_room(box, target, list(pairs))
            given = box.copied_to(target, list(pairs), move=move, keep=keep, under=part.rows.uidvalidity)
            validity, known = given.uidvalidity, known and given.known
            made.extend((pairs[theirs], new) for theirs, new in given)
            return True

        try:
            gone = self._work(uids, under, work)
            if gone or (len(made) < len(uids) and not move):
                raise errors.MessageGone(detail=os.fsdecode(self.path))
        except errors.ImapdError:
            if move and made:
                self._agree()
            elif made and known:
                target.expunge(sorted(new for _, new in made), under=validity)
            if not move or not made:
                raise
        self._agree()
        given = Given(validity, sorted(made))
        given.known = known
        return given

    # --- messages in ----------------------------------------------------------------------------------

    def _saving(self) -> Mailbox:
        """The mailbox that takes what is put into this one; raises NoPermission where none does."""
        found = self._space.sources.saving(self._definition)
        if found is None:
            raise errors.NoPermission
        return found

    def _taken(self, box: Mailbox, given: Given[int]) -> Given[int]:
        """Return the UIDs here of messages that *box* has just got; not ``known`` if not all of them are found."""
        rows = self._agree()
        for key, part in (self._moment.parts if self._moment is not None else {}).items():
            if part.rows.uidvalidity == given.uidvalidity and key == part.source.key(box, part.rows):
                here = {base: uid for uid, base in zip(rows.uids, rows.names, strict=True)}
                uids = [here.get(base_of(key, uid), 0) for uid in given]
                if all(uids):
                    return Given(rows.uidvalidity, uids)
        left = Given(given.uidvalidity, given)
        left.known = False
        return left

    def deliver(self) -> Delivery:
        """As ``Mailbox.deliver``, into the mailbox that takes it."""
        return self._saving().deliver()

    def taking(self, delivery: Delivery, *, share: bool = False) -> Delivery:
        """As ``Mailbox.taking``."""
        return self._saving().taking(delivery, share=share)

    def commit(self, deliveries: Sequence[tuple[Delivery, Flags, int]]) -> Given[int]:
        """As ``Mailbox.commit``."""
        box = self._saving()
        made = [(item, self._named(box, flags, create=True), received) for item, flags, received in deliveries]
        return self._taken(box, box.commit(made))

    def copy_from(
        self, source: Mailbox, uids: Sequence[int], *, move: bool = False, keep: int = -1, under: int | None = None
    ) -> Given[tuple[int, int]]:
        """As ``Mailbox.copy_from``."""
        box = self._saving()
        given = box.copy_from(source, uids, move=move, keep=keep, under=under)
        taken = self._taken(box, Given(given.uidvalidity, [new for _, new in given]))
        pairs = Given(taken.uidvalidity, list(zip((old for old, _ in given), taken, strict=True)))
        pairs.known = taken.known
        return pairs


def _demand_room(source: Mailbox, target: Mailbox, uids: list[int]) -> None:
    """Raise OverQuota where messages that are moved come to count for another account, which has no room for them."""
    quota = target._folder.keeping.quota
    if quota is not None and source._folder.keeping.quota is not quota:
        quota.demand_copy(target.path, lambda: source.amount(uids))
