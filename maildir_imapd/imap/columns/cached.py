"""Small values made from a message once and kept in the folder's cache: what SEARCH, SORT and THREAD need."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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

    What was asked must name all that the answer depends on; of a message the UID will do, as long as nobody has
    written to a message's file.
    """

    def __init__(self) -> None:
        self._kept: WeakKeyDictionary[Mailbox, tuple[object, int, T]] = WeakKeyDictionary()

    def get(self, mailbox: Mailbox, asked: object) -> T | None:
        """The answer, if this was the last question."""
        kept = self._kept.get(mailbox)
        if kept is None or kept[1] != mailbox.snapshot.rewrites or kept[0] != asked:
            return None
        return kept[2]

    def keep(self, mailbox: Mailbox, asked: object, answer: T) -> None:
        """Remember an answer in place of the one before."""
        self._kept[mailbox] = (asked, mailbox.snapshot.rewrites, answer)


def keep(view: View, made: Mapping[bytes, Sequence[tuple[int, bytes]]], read: Mapping[int, int]) -> None:
    """Put what was made into the cache, by field, of those messages alone that have settled.

    *read*: their fingerprints, by UID, rising; any other message may be half of one that somebody is writing.
    """
    cache = view.cache
    kept = False
    for field, blobs in made.items():
        some = [(uid, blob) for uid, blob in blobs if uid in read]
        if some:
            cache.put_many(field, some)
            kept = True
    if kept:
        view.mailbox.confirm(cache, read)


def made_of(view: View, uid: int, make: Callable[[Content], T], *, whole: bool = True) -> tuple[Content, T] | None:
    """Read a message (``read``), and return it with what *make* makes of it.

    None for one that is gone or cannot be read, perhaps found out by *make*: a search may pass over it.
    """
    try:
        content = read(view, uid, whole=whole)
        return content, make(content)
    except MessageGone:
        return None
    except MessageUnreadable as error:
        report(view, error)
        return None


def column_of(
    view: View,
    positions: Positions,
    field: bytes,
    make: Make,
    unread: list[int] | None = None,
    *,
    whole: bool = False,
) -> list[bytes]:
    """The value of each message, from the cache or made and kept; b"" for what cannot be read.

    *whole*: *make* looks at more than the header.
    One read of a file at most, and one write to the cache for all that was missing.  UIDs of messages that could
    not be read are added to *unread*.
    """
    uids = view.uids_at(positions)
    found = view.cache.get_many(uids, field)
    missing = [k for k, blob in enumerate(found) if blob is None]
    if not missing:
        return cast("list[bytes]", found)
    made: list[tuple[int, bytes]] = []
    read: dict[int, int] = {}
    try:
        with danger.of(view) as note:
            for n, k in enumerate(missing):
                note.end()
                view.progress.report(n, len(missing))
                left_out = not note.begin(uids[k])
                if left_out:
                    danger.say(view, uids[k])
                both = None if left_out else made_of(view, uids[k], make, whole=whole)
                if both is None:
                    found[k] = b""
                    if unread is not None:
                        unread.append(uids[k])
                else:
                    content, fresh = both
                    content.release()
                    found[k] = fresh
                    made.append((uids[k], fresh))
                    if content.settled:
                        read[uids[k]] = content.fingerprint
                    elif unread is not None:
                        # An answer with it is none to be kept.
                        unread.append(uids[k])
    finally:
        # Also for a client that has gone, and comes again to ask the same.
        keep(view, {field: made}, read)
    return cast("list[bytes]", found)
