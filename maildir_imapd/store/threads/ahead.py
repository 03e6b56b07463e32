"""Telling whoever works ahead (server/beside.py) what clients will ask of messages.

Nothing here works anything out, and no answer depends on it: what was not done ahead is done when it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from maildir_imapd.store.threads import locks

# Fields of an account that are remembered, those that were asked for last; no client asks for many again and again.
_FIELDS: Final = 16
# Folders of which arrivals are counted.
_FOLDERS: Final = 256
# Messages that have to arrive in a folder until it is worth a process.
ARRIVALS: Final = 32
# The last UID there is.
LAST_UID: Final = (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class Want:
    """Fields, by their keys in the cache, of the messages of the folder at *path* from UID *first* to *last*."""

    path: bytes
    fields: tuple[bytes, ...]
    first: int = 1
    last: int = LAST_UID

    def render(self) -> bytes:
        """Write it down for another process; a key with a NUL is left out."""
        fields = [field for field in self.fields if b"\0" not in field]
        return b"\0".join([self.path, b"%d:%d" % (self.first, self.last), *fields])


def parse(written: bytes) -> Want:
    """Read what ``Want.render`` wrote; raises ValueError."""
    path, uids, *fields = written.split(b"\0")
    first, last = uids.split(b":")
    return Want(path, tuple(fields), int(first), int(last))


# Is told what is wanted, and whether a client is waiting for it now; waits for nothing, raises nothing.
Wanted = Callable[[Want, bool], None]


class Ahead:
    """Knows what the clients of one account ask for, and what has arrived since; safe from any thread."""

    def __init__(self) -> None:
        # None: nobody works ahead.
        self.wanted: Wanted | None = None
        self._lock = locks.make(locks.Rank.GUARD)  # guards everything below
        self._asked: dict[bytes, None] = {}  # what was asked for last comes last
        self._arrived: dict[bytes, int] = {}

    def asked(self, fields: Sequence[bytes]) -> None:
        """Note that a client has asked for these fields."""
        if self.wanted is None or not fields:
            return
        with self._lock:
            for field in fields:
                self._asked.pop(field, None)
                self._asked[field] = None
            while len(self._asked) > _FIELDS:
                del self._asked[next(iter(self._asked))]

    def arrived(self, path: bytes, messages: int) -> None:
        """Have what clients ask for worked out of what has come into a folder, once that is enough."""
        wanted = self.wanted
        if wanted is None:
            return
        with self._lock:
            count = self._arrived.pop(path, 0) + messages
            if count < ARRIVALS or not self._asked:
                if len(self._arrived) < _FOLDERS:
                    self._arrived[path] = count
                return
            fields = tuple(self._asked)
        wanted(Want(path, fields), False)

    def hurry(self, want: Want) -> None:
        """Have something worked out that a client is waiting for, from its end; he goes on from its beginning."""
        if self.wanted is not None:
            self.wanted(want, True)
