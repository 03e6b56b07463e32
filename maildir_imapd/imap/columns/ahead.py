"""Fields worked out before a client asks for them, in another process: the one beside the worker (server/beside.py).

It has nothing to tell but by the folder's cache, where whoever needs a value looks first. So a client that fetches many
messages that nobody has read is served by two processes: his session makes values from the beginning and the other one
from the end, piece by piece, and where they meet, the session finds the rest done.
"""

from __future__ import annotations

import time
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Protocol

from maildir_imapd.errors import ImapdError, LockTimeout, MessageGone, MessageUnreadable
from maildir_imapd.events import Log
from maildir_imapd.imap.columns.cached import PIECE_MESSAGES, add_values, keep
from maildir_imapd.imap.columns.fields import Field, field_of
from maildir_imapd.imap.columns.message import LARGE_OCTETS, Content
from maildir_imapd.imap.progress import Progress
from maildir_imapd.store.mailbox import nearby
from maildir_imapd.store.threads.ahead import Want

if TYPE_CHECKING:
    from maildir_imapd.store.index.snapshot import Snapshot
    from maildir_imapd.store.mailbox import Mailbox, Nearby

log = Log(__name__)

# Of a folder that nobody waits for so many, the newest: those that are looked at.
MESSAGES: Final = 10_000


class Stopping(Protocol):
    """Whoever works ahead, as the messages pass by."""

    def at(self, uid: int) -> bool:
        """Note that work on a message begins, 0: ends; False for one that is to be left out."""

    @property
    def ending(self) -> bool:
        """Whether to stop."""


def work(mailbox: Mailbox, want: Want, worker: Stopping) -> int:
    """Make the fields that the cache lacks, from the newest message to the oldest; returns of how many messages.

    What can't be read now, or is being written, is left for whoever asks. Raises StoreError, MailboxMissing.
    """
    fields = [field for field in map(field_of, want.fields) if field is not None]
    if not fields:
        return 0
    try:
        rows = mailbox.sync(keep_new=True, patience=0)
    except LockTimeout:
        rows = mailbox.snapshot
    rows.see()
    first, last = bisect_left(rows.uids, want.first), bisect_right(rows.uids, want.last)
    done = 0
    for stop in range(last, max(first, last - MESSAGES), -PIECE_MESSAGES):
        if worker.ending:
            break
        done += _piece(mailbox, rows, rows.uids[max(first, stop - PIECE_MESSAGES) : stop], fields, worker)
    return done


def _piece(mailbox: Mailbox, rows: Snapshot, uids: Sequence[int], fields: Sequence[Field], worker: Stopping) -> int:
    cache = mailbox.cache
    if cache.uidvalidity != rows.uidvalidity:
        return 0
    found = {field.key: cache.get_many(uids, field.key) for field in fields}
    made: dict[bytes, list[tuple[int, bytes]]] = {field.key: [] for field in fields}
    read: dict[int, int] = {}
    with nearby(mailbox) as near:
        for k in sorted({k for values in found.values() for k, value in enumerate(values) if value is None}):
            if worker.ending:
                break
            if not worker.at(uids[k]):
                continue
            try:
                content = _read(mailbox, rows, uids[k], fields, near)
                add_values(content, fields, found, k, made)
                if content.settled:
                    read[uids[k]] = content.fingerprint
            except (MessageGone, MessageUnreadable):
                continue
            except ImapdError:
                raise
            except Exception:
                # One message costs no other its place; the client who asks for it hears of it.
                log.exception("message not worked out ahead", path=mailbox.path, uid=uids[k])
            finally:
                worker.at(0)
    keep(mailbox, cache, made, read)
    return len(read)


def _read(mailbox: Mailbox, rows: Snapshot, uid: int, fields: Sequence[Field], near: Nearby | None = None) -> Content:
    limit = 0 if all(field.header_only for field in fields) else LARGE_OCTETS
    file = mailbox.load(uid, under=rows.uidvalidity, limit=limit, near=near)
    # Nobody waits, and what is held is this process's own.
    return Content(uid, file, mailbox, rows.uidvalidity, Progress(time.monotonic))
