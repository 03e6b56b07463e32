"""Messages that were expunged and can be had back for a while: in a hidden account, under the mailboxes they were in.

A message gets a second name there, on the disk before the first one goes: a crash in between leaves it in both places,
never in none.  It came there when it was expunged, so that is its saved date, by which it goes for good.  The account
is one like others, without a quota, of which no client knows; no other server takes its directory for a mailbox.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

from maildir_imapd.errors import ImapdError, MailboxExists, MailboxMissing, MessageGone, NotSelectable
from maildir_imapd.events import Log
from maildir_imapd.store.expiring import expire
from maildir_imapd.store.maildir.filename import DELETED
from maildir_imapd.store.records.usual import UsualMailbox
from maildir_imapd.store.threads import locks
from maildir_imapd.store.threads.locks import Rank

if TYPE_CHECKING:
    from maildir_imapd.store.listing import Listed
    from maildir_imapd.store.mailbox import Mailbox

log = Log(__name__)

NAME: Final = b"maildir-imapd.deleted"
# As often messages are looked for again of which some have gone meanwhile.
_TRIES: Final = 5
# Seconds that an empty folder stays beyond the time of what was in it.
_EMPTY_SECONDS: Final = 3600


class HiddenAccount(Protocol):
    """A hidden account, as far as it is asked."""

    def create(self, name: str) -> None: ...

    def delete(self, name: str) -> None: ...

    def folder_of(self, name: str) -> bytes: ...

    def folders(self) -> Iterable[Listed]: ...

    def mailbox(self, name: str) -> Mailbox: ...


A = TypeVar("A", bound=HiddenAccount)


class Deleted(Generic[A]):
    """Those of one account, at *root*.  Safe from any thread.

    *name_of* says which mailbox a folder is, None where it has gone; *opens* opens the hidden account, or makes it.
    """

    seconds = 0.0
    """How long they are kept; 0: nothing more is."""
    octets = 0
    """What they may take up on the disk; 0: any number. The oldest go where it is more."""
    wanted: Callable[[], None] | None = None
    """Has those that are over go, in the background."""

    def __init__(self, root: bytes, name_of: Callable[[bytes], str | None], opens: Callable[[], A]) -> None:
        self._root = root
        self._name_of = name_of
        self._opens = opens
        self._guard = locks.make(Rank.GUARD)  # guards the next
        self._account: A | None = None

    def there(self) -> bool:
        """Whether anything has ever been kept."""
        return os.path.isdir(self._root)

    def account(self) -> A:
        """The hidden account; raises StoreError."""
        with self._guard:
            account = self._account
        if account is None or not self.there():
            made = self._opens()
            with self._guard:
                account = self._account = made
        return account

    def keep(self, source: Mailbox, uids: Sequence[int], flagged: int = 0) -> None:
        """Keep messages (UIDs rising) that are about to be expunged, with all these flags; never an error.

        Nobody holds a lock.  What cannot be kept, for the disk is full, goes all the same: or no room could be made.
        """
        if not self.seconds:
            return
        try:
            name = self._name_of(source.path)
            if name is None:
                return  # the folder has gone, and with it what was to be expunged
            target = self._mailbox(name)
            for _ in range(_TRIES):
                rows = source.snapshot
                flags = rows.flags
                there = [
                    uid
                    for uid, at in zip(uids, rows.positions(uids), strict=True)
                    if at >= 0 and flags[at] & flagged == flagged
                ]
                try:
                    target.copy_from(source, there, keep=~DELETED, under=rows.uidvalidity)
                except MessageGone:
                    source.sync(look=True, keep_new=True)
                else:
                    break
        except ImapdError as error:
            log.warning("expunged messages not kept", path=source.path, why=error.text, detail=error.detail)
        if self.wanted is not None:
            self.wanted()

    def keep_all(self, opens: Callable[[], Mailbox]) -> None:
        """Keep what is in a mailbox that is about to be deleted; never an error."""
        try:
            source = opens()
            uids = list(source.sync(keep_new=True).uids)
        except ImapdError as error:
            log.warning("messages of a deleted mailbox not kept", why=error.text, detail=error.detail)
        else:
            self.keep(source, uids)

    def _mailbox(self, name: str) -> Mailbox:
        """The hidden mailbox of that name, made if it is not there."""
        account = self.account()
        try:
            account.folder_of(name)
        except (MailboxMissing, NotSelectable):
            try:
                account.create(name)
            except MailboxExists:
                pass  # somebody was faster
        return account.mailbox(name)

    # --- for good -------------------------------------------------------------------------------------

    def expire(self, now: float, go_on: Callable[[], bool] = lambda: True) -> int:
        """Let go for good what was kept for long enough, and the oldest beyond the limit; returns how many that were.

        In pieces, between which *go_on* says whether to.  Raises LockTimeout, StoreError.
        """
        if not self.seconds or not self.there():
            return 0
        account, count = self.account(), 0
        rule = UsualMailbox((), expunge_after=max(1, int(self.seconds)))
        boxes = []
        for row in account.folders():
            if row.path is None or not row.selectable:
                continue
            if not go_on():
                return count
            try:
                mailbox = account.mailbox(row.name)
                count += expire(mailbox, rule, now, go_on)
                if len(mailbox.snapshot):
                    boxes.append(mailbox)
                elif row.name != "INBOX" and self._unused(row.path, now):
                    account.delete(row.name)
            except (MailboxMissing, NotSelectable):
                continue
        return count + self._shrink(boxes, go_on)

    def _unused(self, path: bytes, now: float) -> bool:
        """Whether nothing has come into a folder for so long that nothing is on its way, either."""
        try:
            changed = os.stat(os.path.join(path, b"cur")).st_mtime
        except OSError:
            return False
        return changed < now - self.seconds - _EMPTY_SECONDS

    def _shrink(self, boxes: Sequence[Mailbox], go_on: Callable[[], bool]) -> int:
        """Let go of the oldest beyond the limit of octets."""
        if not self.octets:
            return 0
        total = sum(box.amount(list(box.snapshot.uids)).storage for box in boxes)
        if total <= self.octets:
            return 0
        oldest = sorted(
            (saved, number, uid)
            for number, box in enumerate(boxes)
            for saved, uid in zip(box.snapshot.saved, box.snapshot.uids, strict=True)
        )
        gone: dict[int, list[int]] = {}
        for _, number, uid in oldest:
            if total <= self.octets or not go_on():
                break
            total -= boxes[number].amount([uid]).storage
            gone.setdefault(number, []).append(uid)
        return sum(
            len(boxes[number].expunge(sorted(uids), under=boxes[number].snapshot.uidvalidity))
            for number, uids in gone.items()
        )
