"""Small values made from a message once and kept in the folder's cache: what SEARCH, SORT and THREAD need."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from maildir_imapd.errors import MessageGone, MessageUnreadable
from maildir_imapd.imap.content import Content, read, report

if TYPE_CHECKING:
    from maildir_imapd.imap.view import Positions, View

Make = Callable[[Content], bytes]


def read_or_none(view: View, uid: int) -> Content | None:
    """Read a message that a search may pass over when it is gone or cannot be read."""
    try:
        return read(view, uid)
    except MessageGone:
        return None
    except MessageUnreadable as error:
        report(view, error)
        return None


def column_of(view: View, positions: Positions, field: bytes, make: Make) -> list[bytes]:
    """The value of each message, from the cache or made and kept; b"" for what cannot be read.

    One read of a file at most, and one write to the cache for all that was missing.
    """
    uids = view.uids_at(positions)
    found = view.mailbox.cache.get_many(uids, field)
    missing = [k for k, blob in enumerate(found) if blob is None]
    made: list[tuple[int, bytes]] = []
    for k in missing:
        content = read_or_none(view, uids[k])
        if content is None:
            found[k] = b""
        else:
            found[k] = fresh = make(content)
            made.append((uids[k], fresh))
    if made:
        view.mailbox.cache.put_many(field, made)
    return cast("list[bytes]", found)
