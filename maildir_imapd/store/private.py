"""A mailbox of somebody else's in which \\Seen is each reader's own.

What the reader has seen stands in an index of his own, which is an overlay (folder/overlay.py) of the one mailbox, with
its UIDs and its UIDVALIDITY, and with mod-sequences and \\Recent of its own. Whatever else is done to its messages is
done there.  The indexes lie in a hidden directory of the reader's own mail, one for each folder that he has opened.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Final

from maildir_imapd import errors
from maildir_imapd.store.account import hidden, kept_below
from maildir_imapd.store.disk import durable
from maildir_imapd.store.folder.overlay import AgreeingPrivately, PrivateFolder, mark_seen, reference
from maildir_imapd.store.index.journal import NEVER
from maildir_imapd.store.mailboxes import Mailboxes, Opening
from maildir_imapd.store.maildir.filename import SEEN, VISIBLE_BITS
from maildir_imapd.store.maildir.flags import NO_FLAGS, Flags
from maildir_imapd.store.neighbours import takeover
from maildir_imapd.store.results import FlagResult, Given
from maildir_imapd.store.virtual import VirtualMailbox
from maildir_imapd.store.virtual_current import VirtualSpace
from maildir_imapd.store.virtual_sources import OneSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from maildir_imapd.store.account import Account
    from maildir_imapd.store.folder.folder import Folder
    from maildir_imapd.store.folder.keeping import Keeping
    from maildir_imapd.store.folder.overlay import Agreeing, Where
    from maildir_imapd.store.index.snapshot import Snapshot
    from maildir_imapd.store.mailbox import Mailbox
    from maildir_imapd.store.maildir.delivery import Delivery
    from maildir_imapd.store.virtual_sources import VirtualMoment
    from maildir_imapd.store.watch import Watcher

NAME: Final = b"maildir-imapd.seen"
_KEY_OCTETS: Final = 8
_SEEN: Final = Flags(SEEN)


class _All:
    """The definition of a mailbox that is all of another one."""

    digest = b"private"
    saves = ""
    use = b""

    def searching(self, mail: object) -> Callable[[str, bool], None]:
        """Nothing is asked by names."""
        return lambda _name, _own: None


class PrivateMailbox(VirtualMailbox):
    """See the module; *source* is the mailbox with the messages, after whose *word* it is called.

    *before*: where Dovecot's private index of it is, for what had been seen when this one is begun.
    """

    folder_type: ClassVar[type[Folder]] = PrivateFolder

    def __init__(
        self,
        path: bytes,
        keeping: Keeping,
        source: OneSource,
        before: bytes | None,
        *,
        root: bytes | None = None,
        watcher: Watcher | None = None,
    ) -> None:
        box = source.mailbox()
        self._home = source
        self._before = before
        keeping = replace(keeping, uidvalidity=lambda: box.snapshot.uidvalidity)
        super().__init__(path, keeping, _All(), VirtualSpace(source), root=root, watcher=watcher)
        self.lies_at = box.path
        self._word = box.word

    def _agree(self, *, leave: bool = False, patience: float | None = None) -> Snapshot:
        try:
            return super()._agree(patience=patience)
        except errors.MailboxMissing:
            # Its messages have gone, or have other UIDs: then this one is of nothing any more.
            self.mark_gone()
            raise

    def _agreeing(self, moment: VirtualMoment, where: Where, *, leave: bool) -> Agreeing:
        rows, (part,) = self._folder.rows, moment.parts.values()
        seen: set[int] = set()
        if rows.uidvalidity != part.rows.uidvalidity or rows.uidnext > part.rows.uidnext:
            # What was damaged has got other numbers; what has been seen is known by the messages.
            assert isinstance(self._folder, PrivateFolder)
            named = zip(rows.names, rows.flags, strict=True)
            seen = {reference(base)[1] for base, bits in named if bits & SEEN and reference(base)[0] == part.key}
            self._folder.begin_again(rows.modseq + 1)
            where.clear()
        elif self._before is not None and rows.uidnext == 1 and self._folder.index.state.stamp == NEVER:
            seen.update(takeover.seen_by_reader(self._before, part.rows.uids, part.rows.uidvalidity))
        work = AgreeingPrivately(self._folder, where, seen=seen)
        work.up_to(part.rows.uidnext)
        return work

    # --- flags ----------------------------------------------------------------------------------------

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
        """As ``Mailbox.set_flags``: \\Seen here, all others where the messages lie."""
        rows = self.sync(keep_new=True)
        others = add - _SEEN
        less = (rows.within(VISIBLE_BITS) if replace else remove) - others - _SEEN
        modified: list[int] = []
        gone: list[int] = []
        changed: set[int] = set()
        if others or less:
            done = super().set_flags(uids, add=others, remove=less, unchanged_since=unchanged_since, under=under)
            modified, gone, changed = done.modified, done.gone, set(done.changed)
            uids = sorted(set(uids).difference(modified, gone))
            unchanged_since = None
        if replace or add.bits & SEEN or remove.bits & SEEN:
            seen = bool(add.bits & SEEN)
            with self._changing(), self._folder.exclusive(settles=True):
                self._demand_same(under)
                try:
                    here, left = mark_seen(self._folder, uids, seen=seen, since=unchanged_since)
                finally:
                    self._adopt_rows()
            modified, changed = sorted({*modified, *left}), changed.union(here)
        there = self.snapshot.positions(uids)
        gone = sorted({*gone, *(uid for uid, at in zip(uids, there, strict=True) if at < 0)})
        return FlagResult(modified, gone, sorted(changed), self.snapshot)

    def _mark(self, uids: Iterable[int]) -> None:
        """Note that messages that have just come are seen."""
        some = sorted(uids)
        if some:
            with self._changing(), self._folder.exclusive(settles=True):
                mark_seen(self._folder, some, seen=True, since=None)
                self._adopt_rows()

    # --- in and out -----------------------------------------------------------------------------------

    def copied_to(
        self, target: Mailbox, uids: Sequence[int], *, move: bool = False, keep: int = -1, under: int | None = None
    ) -> Given[tuple[int, int]]:
        """As ``Mailbox.copied_to``: a copy is seen if the message is, by the reader."""
        rows = self.snapshot
        seen = {uid for uid, at in zip(uids, rows.positions(uids), strict=True) if at >= 0 and rows.flags[at] & SEEN}
        given = super().copied_to(target, uids, move=move, keep=keep & ~SEEN, under=under)
        made = sorted(new for old, new in given if old in seen)
        if made and keep & SEEN and given.known:
            target.set_flags(made, add=_SEEN, under=given.uidvalidity)
        return given

    def copy_from(
        self, source: Mailbox, uids: Sequence[int], *, move: bool = False, keep: int = -1, under: int | None = None
    ) -> Given[tuple[int, int]]:
        """As ``Mailbox.copy_from``."""
        rows = source.snapshot
        seen = {uid for uid, at in zip(uids, rows.positions(uids), strict=True) if at >= 0 and rows.flags[at] & SEEN}
        given = self._home.mailbox().copy_from(source, uids, move=move, keep=keep & ~SEEN, under=under)
        self._agree()
        if keep & SEEN:
            self._mark(new for old, new in given if old in seen)
        return given

    def commit(self, deliveries: Sequence[tuple[Delivery, Flags, int]]) -> Given[int]:
        """As ``Mailbox.commit``."""
        box = self._home.mailbox()
        made = [(item, self._named(box, flags - _SEEN, create=True), received) for item, flags, received in deliveries]
        given = box.commit(made)
        self._agree()
        self._mark(uid for uid, (_, flags, _) in zip(given, deliveries, strict=True) if flags.bits & SEEN)
        return given


@dataclass(frozen=True, slots=True)
class _PrivateOpening(Opening):
    """As Opening; *sources*: of what the folder at a path is, and where Dovecot's private index of that lies."""

    sources: dict[bytes, tuple[OneSource, bytes | None]] = field(kw_only=True)

    def mailbox(self, path: bytes) -> Mailbox:
        """Make the object for a folder."""
        above = self.layout.above(path)
        return PrivateMailbox(path, self.keeping, *self.sources[path], root=above, watcher=self.watcher)


class SeenOfReader:
    """Those of one reader, in his own account *own*.  Safe from any thread."""

    def __init__(self, own: Account, keeping: Keeping, watcher: Watcher | None = None) -> None:
        self._root = hidden(own, NAME)
        self.own_quota = own.quota
        self._sources: dict[bytes, tuple[OneSource, bytes | None]] = {}
        keeping = replace(keeping, mirror="none", coexist=False, texts=None, ahead=None, quota=None)
        opening = _PrivateOpening(own._layout, keeping, watcher, sources=self._sources)
        self._mailboxes = Mailboxes(opening, own.unused)

    def of(
        self,
        account: Account,
        path: bytes,
        mailbox: Mailbox,
        patiently: Callable[[Callable[[], Mailbox]], Mailbox] | None,
        *,
        below: bytes | None = None,
    ) -> Mailbox:
        """As ``PrivateSeen``; *below*: the directory in which Dovecot had its private indexes of the account."""
        which = b"%b\0%b\0%d" % (account.root, mailbox.word, mailbox.uidvalidity)
        here = os.path.join(self._root, hashlib.blake2b(which, digest_size=_KEY_OCTETS).hexdigest().encode())
        known = self._mailboxes.known(here)
        if not known:
            with durable.as_store_error(here):
                for name in (b"cur", b"new", b"tmp"):
                    os.makedirs(os.path.join(here, name), mode=0o700, exist_ok=True)
        # By the path of now: it may have been renamed.
        source = OneSource(lambda: account.mailbox_at(path), mailbox.uidvalidity, mailbox.word)
        self._sources[here] = source, None if below is None else kept_below(account, below, path)
        found = self._mailboxes.at(here)
        assert isinstance(found, PrivateMailbox)
        if patiently is not None and not found.looked:
            return patiently(found.first_look)
        return found
