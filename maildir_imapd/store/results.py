"""Results of the changes of a mailbox, and of reading a message."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from maildir_imapd.budget import Share
from maildir_imapd.store.index.snapshot import Snapshot

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FlagResult:
    """The result of set_flags."""

    modified: list[int]  # changed since UNCHANGEDSINCE, so left alone
    gone: list[int]  # no longer there
    changed: list[int]  # have other flags now
    snapshot: Snapshot


class FileRead(NamedTuple):
    """A message as it was read, and which file it was (scan.py, fingerprint).

    *settled*: nobody is writing it, so that what is made of it may be kept. *changed*: it is not what it was when its
    size and all that is cached of it were found. *octets*: of the file; more than *data* has if that is its beginning.
    """

    data: bytes
    fingerprint: int
    settled: bool
    changed: bool
    octets: int
    share: Share | None = None  # of memory, where it was unpacked and is large

    @property
    def whole(self) -> bool:
        """Whether *data* is all of it."""
        return len(self.data) >= self.octets


class Given(list[T]):
    """UIDs that were given out, or pairs of (their UID, ours), with the UIDVALIDITY of that very moment.

    The mailbox may have another one as soon as its lock is free. Not *known*: they are of another mailbox, which keeps
    the messages (virtual.py), and a client that was told of them would look for them in the wrong place.
    """

    known = True

    def __init__(self, uidvalidity: int, uids: Iterable[T] = ()) -> None:
        super().__init__(uids)
        self.uidvalidity = uidvalidity
