"""Small values made from a message once and kept in the folder's cache: what SEARCH, SORT and THREAD need."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Generic, TypeVar, cast
from weakref import WeakKeyDictionary

from maildir_imapd.errors import MessageGone, MessageUnreadable
from maildir_imapd.imap.columns.danger import Note, danger
from maildir_imapd.imap.columns.message import Content, read, report
from maildir_imapd.imap.tally import cache_use
from maildir_imapd.store.mailbox import nearby, see
from maildir_imapd.store.threads.ahead import Want

if TYPE_CHECKING:
    from maildir_imapd.imap.columns.fields import Field
    from maildir_imapd.imap.view import Positions, View
    from maildir_imapd.store.index.cache import Cache
    from maildir_imapd.store.mailbox import Mailbox, Nearby

T = TypeVar("T")

# Messages whose values are made together where another process makes them from the other end (ahead.py): at most so
# many are made twice where the two meet.
PIECE_MESSAGES: Final = 200
# For fewer messages another process is not worth while.
HURRY_MESSAGES: Final = 1000
_PROBES: Final = 6
# So many are read from the directory, which is kept open for that.
MANY: Final = 8


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


def keep(
    mailbox: Mailbox, cache: Cache, made: Mapping[bytes, Sequence[tuple[int, bytes]]], read: Mapping[int, int]
) -> None:
    """Put what was made into the cache, by field, of those messages alone that have settled.

    *read*: their fingerprints, by UID, rising; any other message may be half of one that somebody is writing.
    """
    kept = False
    for field, blobs in made.items():
        some = [(uid, blob) for uid, blob in blobs if uid in read]
        if some:
            cache.put_many(field, some)
            kept = True
    if kept:
        mailbox.confirm(cache, read)


def add_values(
    content: Content,
    fields: Sequence[Field],
    found: Mapping[bytes, list[bytes | None]],
    k: int,
    made: Mapping[bytes, list[tuple[int, bytes]]],
) -> None:
    """Make what *found*, by the key of a field, lacks at *k*, and note it in *made*.

    Of a file that has been written to since, all is made anew. Raises MessageGone, MessageUnreadable.
    """
    # Of what looks at headers alone all but the longest are there already.
    with nullcontext() if all(field.header_only for field in fields) else content.opened():
        for field in fields:
            values = found[field.key]
            if values[k] is None or content.changed:
                value = values[k] = field.make(content)
                made[field.key].append((content.uid, value))


def hurry(view: View, fields: Sequence[Field], positions: Positions) -> bool:
    """Have the values of many messages made from the other end, where somebody can (ahead.py); say if somebody may.

    Which of them are there already is told by a few of them.
    """
    ahead = view.mailbox.ahead
    if ahead is None:
        return False
    keys = tuple(field.key for field in fields)
    ahead.asked(keys)
    if ahead.wanted is None or len(positions) < HURRY_MESSAGES:
        return False
    some = view.uids_at([positions[n * (len(positions) - 1) // (_PROBES - 1)] for n in range(_PROBES)])
    if not any(view.cache.get_many(some, key).count(None) > _PROBES // 2 for key in keys):
        return False
    uids = view.snapshot.uids
    ahead.hurry(Want(view.mailbox.path, keys, uids[positions[PIECE_MESSAGES]], uids[positions[-1]]))
    return True


def made_of(
    view: View, uid: int, make: Callable[[Content], T], *, whole: bool = True, near: Nearby | None = None
) -> tuple[Content, T] | None:
    """Read a message (``read``), and return it with what *make* makes of it.

    None for one that is gone or cannot be read, perhaps found out by *make*: a search may pass over it.
    """
    try:
        content = read(view, uid, whole=whole, near=near)
        return content, make(content)
    except MessageGone:
        return None
    except MessageUnreadable as error:
        report(view, error)
        return None


def column_of(
    view: View,
    positions: Positions,
    field: Field,
    unread: list[int] | None = None,
) -> list[bytes]:
    """The value of each message, from the cache or made and kept; b"" for what cannot be read.

    One read of a file at most, and one write to the cache for all that was missing, or a few where another process
    helps.  UIDs of messages that could not be read are added to *unread*.
    """
    uids = view.uids_at(positions)
    found = view.cache.get_many(uids, field.key)
    missing = [k for k, blob in enumerate(found) if blob is None]
    cache_use.misses += len(missing)
    cache_use.hits += len(found) - len(missing)
    if not missing:
        return cast("list[bytes]", found)
    see(view.mailbox, len(missing))
    helped = hurry(view, [field], [positions[k] for k in missing])
    size = PIECE_MESSAGES if helped else len(missing)
    with danger.of(view) as note, nearby(view.mailbox) if len(missing) >= MANY else nullcontext() as near:
        making = _Making(view, uids, field, found, note, near, [] if unread is None else unread, len(missing))
        for start in range(0, len(missing), size):
            making.piece(missing[start : start + size], start)
    return cast("list[bytes]", found)


@dataclass(frozen=True, slots=True)
class _Making:
    """The values of one field on their way: *found* by index in *uids*, and UIDs that could not be read, *unread*."""

    view: View
    uids: Sequence[int]
    field: Field
    found: list[bytes | None]
    note: Note
    near: Nearby | None
    unread: list[int]
    goal: int

    def piece(self, missing: Sequence[int], before: int) -> None:
        """Make what is *missing*, by index, and keep it; *before* were done before it."""
        uids, found = self.uids, self.found
        if before:
            # Another process may have been here meanwhile.
            known = self.view.cache.get_many([uids[k] for k in missing], self.field.key)
            for k, blob in zip(missing, known, strict=True):
                found[k] = blob
        made: list[tuple[int, bytes]] = []
        read: dict[int, int] = {}
        try:
            for n, k in enumerate(missing, before):
                if found[k] is not None:
                    continue
                self.note.end()
                self.view.progress.report(n, self.goal)
                content = self._make(k)
                if content is not None:
                    made.append((uids[k], cast("bytes", found[k])))
                    if content.settled:
                        read[uids[k]] = content.fingerprint
                if content is None or not content.settled:
                    # An answer with it is none to be kept.
                    self.unread.append(uids[k])
        finally:
            # Also for a client that has gone, and comes again to ask the same.
            keep(self.view.mailbox, self.view.cache, {self.field.key: made}, read)

    def _make(self, k: int) -> Content | None:
        """Make one value, and return of what; None where it cannot be had, and stands for nothing."""
        uid = self.uids[k]
        self.found[k] = b""
        if not self.note.begin(uid):
            danger.say(self.view, uid)
            return None
        both = made_of(self.view, uid, self.field.make, whole=not self.field.header_only, near=self.near)
        if both is None:
            return None
        content, self.found[k] = both
        content.release()
        return content
