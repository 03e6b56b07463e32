"""Small values made from a message once and kept in the folder's cache: what SEARCH, SORT and THREAD need."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar, cast
from weakref import WeakKeyDictionary

from maildir_imapd.errors import MessageGone, MessageUnreadable
from maildir_imapd.imap.columns.danger import danger
from maildir_imapd.imap.columns.message import Content, read, report

if TYPE_CHECKING:
    from maildir_imapd.imap.view import Positions, View
    from maildir_imapd.store.mailbox import Mailbox

Make = Callable[[Content], bytes]
T = TypeVar("T")


class LastAnswer(Generic[T]):
    """The last answer of each mailbox, for whoever asks the same again.

    What was asked must name all that the answer depends on; of a message, the UID will do, for it never changes.
    """

    def __init__(self) -> None:
        self._kept: WeakKeyDictionary[Mailbox, tuple[object, T]] = WeakKeyDictionary()

    def get(self, mailbox: Mailbox, asked: object) -> T | None:
        """The answer, if this was the last question."""
        kept = self._kept.get(mailbox)
        return kept[1] if kept is not None and kept[0] == asked else None

    def keep(self, mailbox: Mailbox, asked: object, answer: T) -> None:
        """Remember an answer in place of the one before."""
        self._kept[mailbox] = (asked, answer)


def read_or_none(view: View, uid: int) -> Content | None:
    """Read a message that a search may pass over when it is gone or cannot be read."""
    try:
        return read(view, uid)
    except MessageGone:
        return None
    except MessageUnreadable as error:
        report(view, error)
        return None


def column_of(
    view: View, positions: Positions, field: bytes, make: Make, unread: list[int] | None = None
) -> list[bytes]:
    """The value of each message, from the cache or made and kept; b"" for what cannot be read.

    One read of a file at most, and one write to the cache for all that was missing.  UIDs of messages that could
    not be read are added to *unread*.
    """
    uids = view.uids_at(positions)
    found = view.cache.get_many(uids, field)
    missing = [k for k, blob in enumerate(found) if blob is None]
    if not missing:
        return cast("list[bytes]", found)
    made: list[tuple[int, bytes]] = []
    try:
        with danger.of(view) as note:
            for n, k in enumerate(missing):
                note.end()
                view.progress.report(n, len(missing))
                left_out = not note.begin(uids[k])
                if left_out:
                    danger.say(view, uids[k])
                content = None if left_out else read_or_none(view, uids[k])
                if content is None:
                    found[k] = b""
                    if unread is not None:
                        unread.append(uids[k])
                else:
                    found[k] = fresh = make(content)
                    made.append((uids[k], fresh))
    finally:
        # Also for a client that has gone, and comes again to ask the same.
        if made:
            view.cache.put_many(field, made)
    return cast("list[bytes]", found)
