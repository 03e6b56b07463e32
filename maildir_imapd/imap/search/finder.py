"""A search: keys evaluated over columns, the cheap ones first.

Each key narrows a list of positions.  Flags, dates and sizes are columns; header fields are kept in the
folder's cache as folded text once somebody has searched them; only TEXT and BODY read messages, and only
those that every other key has let through.  Where in a message its texts are is kept there, too: it is parsed once.
"""

from __future__ import annotations

import datetime as dt
import struct
from bisect import bisect_left
from functools import partial
from itertools import compress
from typing import TYPE_CHECKING, assert_never

from maildir_imapd.imap.columns.cached import column_of, keep, made_of
from maildir_imapd.imap.columns.danger import danger
from maildir_imapd.imap.columns.fields import Field, alone, family
from maildir_imapd.imap.columns.items import EMAILID, THREADID
from maildir_imapd.imap.columns.message import LARGE_OCTETS, Content
from maildir_imapd.imap.search import marks, proposals, relevancy
from maildir_imapd.imap.view import Positions, column
from maildir_imapd.message import order, text
from maildir_imapd.store.mailbox import see
from maildir_imapd.wire import search_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from maildir_imapd.imap.view import View
    from maildir_imapd.wire import commands as ast

# A text of a large message is there as it came, decoded, and folded.
TEXT_TIMES = 3
DAY_SECONDS = 86400
_EPOCH = dt.date(1970, 1, 1)

# In the cache a field that a message lacks is the empty string; one that it has begins with this.
_PRESENT = b"\x01"


class Finder:
    """One search, over a view; *now* gives the time of day."""

    def __init__(self, view: View, now: Callable[[], float]) -> None:
        self.view, self.now = view, now

    def run(self, key: search_keys.SearchKey, among: Positions | None = None) -> list[int]:
        """The positions that match, ascending; of *among*, if given."""
        return list(self._eval(key, range(len(self.view.snapshot)) if among is None else among))

    def scores(self, cmd: ast.Search | ast.Sort, found: Sequence[int]) -> list[int] | None:
        """How relevant what was found is, if RETURN asks for that."""
        if cmd.returning is None or relevancy.RELEVANCY not in cmd.returning.names:
            return None
        return relevancy.scores(self.run, cmd.key, found)

    def _eval(self, key: search_keys.SearchKey, among: Positions) -> Positions:
        """Narrow *among* to what matches *key*.  Recursion is bounded: the parser limits nesting."""
        if not len(among):
            return among
        snapshot = self.view.snapshot
        match key:
            case search_keys.KeyAll():
                return among
            case search_keys.KeyAnd():
                for part in sorted(key.keys, key=_cost):
                    among = self._eval(part, among)
                return among
            case search_keys.KeyOr():
                left = among
                hits: set[int] = set()
                for part in sorted(key.keys, key=_cost):
                    hits.update(self._eval(part, left))
                    left = [i for i in left if i not in hits]
                return [i for i in among if i in hits]
            case search_keys.KeyNot():
                hits = set(self._eval(key.key, among))
                return [i for i in among if i not in hits]
            case search_keys.KeyFlag():
                return self._flag(key.flag, key.present, among)
            case search_keys.KeyNumbers():
                return self._numbers(key, among)
            case search_keys.KeySize():
                sizes = self.view.sizes(among)
                limit = key.size
                if key.larger:
                    return [i for i, size in zip(among, sizes, strict=True) if size > limit]
                return [i for i, size in zip(among, sizes, strict=True) if size < limit]
            case search_keys.KeyDate():
                return self._date(key, among)
            case search_keys.KeyWithin():
                border = int(self.now()) - key.seconds
                received = column(snapshot.received, among)
                if key.older:
                    return [i for i, t in zip(among, received, strict=True) if t <= border]
                return [i for i, t in zip(among, received, strict=True) if t >= border]
            case search_keys.KeyModSeq():
                modseqs = column(snapshot.modseqs, among)
                return [i for i, m in zip(among, modseqs, strict=True) if m >= key.modseq]
            case search_keys.KeyHeader():
                return self._header(key, among)
            case search_keys.KeyText():
                return self._text(key, among)
            case search_keys.KeyFuzzy():
                # RFC 6203 3: how fuzzy is ours to say.
                return self._eval(key.key, among)
            case search_keys.KeySaveDateSupported():
                return among
            case search_keys.KeyObjectId():
                blobs = column_of(self.view, among, EMAILID if key.name == b"EMAILID" else THREADID)
                return [i for i, blob in zip(among, blobs, strict=True) if blob == key.value]
            case _:
                assert_never(key)

    def _flag(self, flag: bytes, present: bool, among: Positions) -> Positions:
        found = marks.flag_marks(self.view, flag, present=present)
        if isinstance(among, range):
            return list(compress(among, found[among.start : among.stop]))
        return [i for i in among if found[i]]

    def _numbers(self, key: search_keys.KeyNumbers, among: Positions) -> Positions:
        wanted = self.view.resolve(key.numbers, uid=key.uid, strict=False)
        if isinstance(wanted, range) and isinstance(among, range):
            return range(max(wanted.start, among.start), min(wanted.stop, among.stop))
        if isinstance(wanted, range):
            return among[bisect_left(among, wanted.start) : bisect_left(among, wanted.stop)]
        chosen = set(wanted)
        return [i for i in among if i in chosen]

    def _date(self, key: search_keys.KeyDate, among: Positions) -> Positions:
        day = (key.date - _EPOCH).days
        if key.kind == "sent":
            days: Sequence[int | None] = self._sent_days(among)
        elif key.kind == "saved":
            days = [
                seconds // DAY_SECONDS if seconds > 0 else None for seconds in column(self.view.snapshot.saved, among)
            ]
        else:
            # INTERNALDATE is always shown in UTC, so its date is the date in UTC.
            times = column(self.view.snapshot.received, among)
            days = [seconds // DAY_SECONDS for seconds in times]
        pairs = zip(among, days, strict=True)
        if key.relation == "before":
            return [i for i, d in pairs if d is not None and d < day]
        if key.relation == "since":
            return [i for i, d in pairs if d is not None and d >= day]
        return [i for i, d in pairs if d == day]

    def _sent_days(self, among: Positions) -> list[int | None]:
        """Day numbers of the Date fields, as written there, zone and time disregarded (RFC 3501 6.4.4).

        None for a message without a readable one: it was sent on no day.
        """
        blobs = column_of(self.view, among, _SENT)
        return [struct.unpack("<i", blob)[0] if blob else None for blob in blobs]

    def _header(self, key: search_keys.KeyHeader, among: Positions) -> Positions:
        needle = text.fold(key.text).encode("utf-8", "surrogatepass")
        name = key.field
        # A field of addresses was kept as "text:" without them as ENVELOPE shows them.
        blobs = column_of(self.view, among, _shown(name) if name in text.ADDRESS_FIELDS else _as_text(name))
        if not needle:
            return [i for i, blob in zip(among, blobs, strict=True) if blob]
        return [i for i, blob in zip(among, blobs, strict=True) if needle in blob]

    def _text(self, key: search_keys.KeyText, among: Positions) -> list[int]:
        """Read the messages, of which an index may say that most need not be read.

        Where in each of them the texts are has been kept, if they were read before.
        """
        needle = text.fold(key.text)
        among, sure = proposals.propose(self.view, among, needle, body_only=key.body_only)
        see(self.view.mailbox, len(among))
        uids, cache = self.view.uids_at(among), self.view.cache
        made: list[tuple[int, bytes]] = []
        read: dict[int, int] = {}
        found = []
        with danger.of(self.view) as note:
            for n, (i, uid, blob) in enumerate(zip(among, uids, cache.get_many(uids, b"pieces"), strict=True)):
                note.end()
                self.view.progress.report(n, len(among))
                if not note.begin(uid):
                    danger.say(self.view, uid)
                    continue
                both = made_of(self.view, uid, partial(_contains, key.body_only, needle, blob, made))
                if both is None:
                    continue
                content, hit = both
                if content.settled:
                    read[uid] = content.fingerprint
                if hit:
                    found.append(i)
                content.release()
        keep(self.view.mailbox, cache, {b"pieces": made}, read)
        return sorted({*found, *sure}) if sure else found


def _contains(
    body_only: bool, needle: str, blob: bytes | None, made: list[tuple[int, bytes]], content: Content
) -> bool:
    """Whether a message has *needle*; *blob* says where its texts are, or else that goes to *made*."""
    if blob is None or content.changed:
        pieces = partial(_pieces, content, made)
    else:
        pieces = partial(text.parse_pieces, blob)
    found = partial(_counted, content, pieces) if content.large else pieces
    with content.opened():
        return text.contains(content.window(), found, needle, body_only=body_only)


def _counted(content: Content, pieces: Callable[[], Iterable[text.Piece]]) -> Iterator[text.Piece]:
    """Give the texts of a large message, each once what it takes in memory is counted; raises NoMemory."""
    held = LARGE_OCTETS
    for piece in pieces():
        wanted = TEXT_TIMES * (piece.end - piece.start)
        if wanted > held:
            content.hold(wanted - held)
            held = wanted
        yield piece


def _pieces(content: Content, made: list[tuple[int, bytes]]) -> list[text.Piece]:
    found = text.pieces(content.tree(), content.window())
    made.append((content.uid, text.render_pieces(found)))
    return found


def _cost(key: search_keys.SearchKey) -> int:
    match key:
        case search_keys.KeyAll() | search_keys.KeyNumbers():
            return 0
        case search_keys.KeyFlag() | search_keys.KeyWithin() | search_keys.KeyModSeq():
            return 1
        case search_keys.KeyDate():
            return 3 if key.kind == "sent" else 1
        case search_keys.KeySize():
            return 2
        case search_keys.KeyHeader():
            return 4
        case search_keys.KeyText():
            return 6
        case search_keys.KeyNot() | search_keys.KeyFuzzy():
            return _cost(key.key)
        case search_keys.KeyAnd() | search_keys.KeyOr():
            return max(_cost(part) for part in key.keys)
        case _:
            return 5


@family(b"shown:")
def _shown(name: bytes) -> Field:
    return Field(b"shown:" + name, lambda c: _header_blob(c, name))


@family(b"text:")
def _as_text(name: bytes) -> Field:
    return Field(b"text:" + name, lambda c: _header_blob(c, name))


def _header_blob(content: Content, name: bytes) -> bytes:
    folded = text.folded_fields(content.header, name)
    return b"" if folded is None else _PRESENT + folded.encode("utf-8", "surrogatepass")


def _sent_blob(content: Content) -> bytes:
    date = order.sent_day(content.header)
    return b"" if date is None else struct.pack("<i", (date - _EPOCH).days)


_SENT = alone(Field(b"sent", _sent_blob))
