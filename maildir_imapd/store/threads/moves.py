"""Telling whoever runs hooks (server/beside.py) that a client has put messages into a mailbox.

Nothing here runs anything, and no command waits for it or depends on it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final

# Messages of one command for which hooks are run; whoever moves more learns enough of these.
MESSAGES: Final = 1000
_FIELDS: Final = 6


@dataclass(frozen=True, slots=True)
class Moved:
    """Messages from UID *first* to *last* of the folder at *path*, as they came there.

    *verb*: COPY, MOVE or APPEND; *source* and *target*: names of mailboxes, *source* empty for APPEND.
    """

    verb: str
    source: str
    target: str
    path: bytes
    uidvalidity: int
    first: int
    last: int

    def render(self) -> bytes:
        """Write it down for another process."""
        names = (each.encode(errors="surrogateescape") for each in (self.verb, self.source, self.target))
        return b"\0".join([*names, self.path, b"%d" % self.uidvalidity, b"%d:%d" % (self.first, self.last)])


def parse(written: bytes) -> Moved:
    """Read what ``Moved.render`` wrote; raises ValueError."""
    verb, source, target, path, uidvalidity, uids = written.split(b"\0", _FIELDS - 1)
    first, last = uids.split(b":")
    verb_, source_, target_ = (each.decode(errors="surrogateescape") for each in (verb, source, target))
    return Moved(verb_, source_, target_, path, int(uidvalidity), int(first), int(last))


class Moves:
    """Knows for which mailboxes of an account somebody wants to hear; safe from any thread."""

    def __init__(self) -> None:
        # Is told; waits for nothing, raises nothing.  None: nobody is to hear.
        self.wanted: Callable[[Moved], None] | None = None
        self.folders: Collection[str] = ()

    def note(self, verb: str, source: str, target: str, path: bytes, uidvalidity: int, uids: Sequence[int]) -> None:
        """Tell that messages have come into *target*; *uids* are theirs there, rising, one behind the other."""
        wanted = self.wanted
        if wanted is None or not uids or source == target or not {source, target}.intersection(self.folders):
            return
        last = min(uids[-1], uids[0] + MESSAGES - 1)
        wanted(Moved(verb, source, target, path, uidvalidity, uids[0], last))
