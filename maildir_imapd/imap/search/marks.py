"""Searches by flags and numbers alone: an octet for each message, 1 where it matches, and no loop in Python.

Octets of all messages are one large integer, so that "and", "or" and "not" are one operation each.
"""

from __future__ import annotations

from itertools import compress
from typing import TYPE_CHECKING, Final

from maildir_imapd.store.maildir.filename import ANSWERED, DELETED, DRAFT, FLAGGED, SEEN
from maildir_imapd.wire import search_keys
from maildir_imapd.wire.numbers import LARGEST_TEXT, texts_up_to

if TYPE_CHECKING:
    from collections.abc import Iterable

    from maildir_imapd.imap.view import View

SYSTEM_BITS: Final = {
    b"\\Answered": ANSWERED,
    b"\\Deleted": DELETED,
    b"\\Draft": DRAFT,
    b"\\Flagged": FLAGGED,
    b"\\Seen": SEEN,
}
_YES, _NO = b"\1", b"\0"


def marks_of(view: View, key: search_keys.SearchKey) -> bytes | None:
    """The marks of all messages of *view* for *key*; None where more than flags and numbers is asked for.

    Recursion is bounded: the parser limits nesting.
    """
    count = len(view.snapshot)
    match key:
        case search_keys.KeyAll() | search_keys.KeySaveDateSupported():
            return _YES * count
        case search_keys.KeyFlag():
            return flag_marks(view, key.flag, present=key.present)
        case search_keys.KeyNumbers():
            wanted = view.resolve(key.numbers, uid=key.uid, strict=False)
            if not isinstance(wanted, range):
                return None
            return _NO * wanted.start + _YES * len(wanted) + _NO * (count - max(wanted.start, wanted.stop))
        case search_keys.KeyNot():
            found = marks_of(view, key.key)
            return None if found is None else found.translate(_OTHERWISE)
        case search_keys.KeyAnd() | search_keys.KeyOr():
            every = isinstance(key, search_keys.KeyAnd)
            sum_ = -1 if every else 0
            for part in key.keys:
                found = marks_of(view, part)
                if found is None:
                    return None
                number = int.from_bytes(found, "little")
                sum_ = sum_ & number if every else sum_ | number
            return sum_.to_bytes(count, "little")
        case _:
            return None


_OTHERWISE: Final = bytes([1, 0, *range(2, 256)])


def flag_marks(view: View, flag: bytes, *, present: bool) -> bytes:
    """The marks of all messages that have *flag*, or lack it."""
    snapshot = view.snapshot
    if flag == b"\\Recent":
        if not view.recent:
            return (_NO if present else _YES) * len(snapshot)
        recent = view.recent
        return bytes([(uid in recent) == present for uid in snapshot.uids])
    bit = SYSTEM_BITS.get(flag)
    if bit is not None:
        return snapshot.marks(bit, present=present)
    number = snapshot.keyword_number(flag)
    if number < 0:
        return (_NO if present else _YES) * len(snapshot)
    return snapshot.keyword_marks(number, present=present)


def words(view: View, marks: bytes, *, uid: bool) -> Iterable[bytes]:
    """The numbers of the messages that are marked, or their UIDs, as they stand in an answer."""
    uids = view.snapshot.uids
    count = len(uids)
    found = compress(uids if uid else range(1, count + 1), marks)
    largest = uids[-1] if uid and count else count
    if largest > LARGEST_TEXT:
        return [b"%d" % number for number in found]
    texts = texts_up_to(largest)
    return [texts[number - 1] for number in found] if uid else compress(texts, marks)
