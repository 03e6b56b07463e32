"""Locks between threads with a rank, and the one function that takes a lock of a file.

Who holds a lock may take another only of a higher rank, and of one rank only those of files in the order of their
folders. Nobody waits for a disk, a client or another lock while he holds one of rank GUARD, and nobody calls back
while he holds any. In the server that costs nothing: ``make`` gives a plain lock. Tests set ``checker``, and then
every lock that is made after that knows who holds it, and a breach raises where it happens (docs/rules.md, T1 to T4).
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
import time
from enum import IntEnum
from types import TracebackType
from typing import Final, Protocol

from maildir_imapd import errors

# Seconds for which a lock is waited for that nobody holds for long.
TIMEOUT_SECONDS: Final = 30.0
_FIRST_PAUSE_SECONDS: Final = 0.0002
_LONGEST_PAUSE_SECONDS: Final = 0.02


class Waits:
    """How often a thread of this process found a folder's lock, or that of a file, in other hands; any thread adds."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


waited: Final = Waits()


class Rank(IntEnum):
    """The order in which locks are taken: from the top downwards, never back."""

    TEXTS = 5  # filling the index of an account's texts: a file, behind which folders are looked at
    ACCOUNT = 10  # the names of an account: the file's lock
    NAMES = 20  # looking which names there are
    FOLDER = 30  # a folder: the threads' lock, and behind it the file's; two of them in the order of their identity
    CACHE = 40  # what was worked out of a folder's messages
    COUNTER = 50  # UIDVALIDITY's and the quota's: files, and nothing behind them
    GUARD = 60  # of something in memory: held for no call that waits


class Lock(Protocol):
    """The lock that ``make`` gives."""

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """As threading.Lock."""
        ...

    def release(self) -> None:
        """As threading.Lock."""
        ...

    def locked(self) -> bool:
        """As threading.Lock."""
        ...

    def __enter__(self) -> bool: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Checker(Protocol):
    """Tests only: told of everything that the rules are about."""

    def make(self, rank: Rank, order: tuple[int, ...]) -> Lock:
        """A lock that keeps the rules."""
        ...

    def taken(self, rank: Rank) -> None:
        """A file's lock is ours."""
        ...

    def given_back(self, rank: Rank) -> None:
        """It is so no longer."""
        ...

    def waits(self, what: str) -> None:
        """The thread is about to wait for *what*."""
        ...

    def calls_back(self, what: str) -> None:
        """The thread is about to call what somebody else has left here."""
        ...


checker: Checker | None = None


def make(rank: Rank, order: tuple[int, ...] = ()) -> Lock:
    """Return a lock between threads; *order*: among those of its rank."""
    return threading.Lock() if checker is None else checker.make(rank, order)


def waits(what: str) -> None:
    """Say that the thread may wait now: no lock of rank GUARD may be held."""
    if checker is not None:
        checker.waits(what)


def calls_back(what: str) -> None:
    """Say that somebody else's function is called now: no lock may be held."""
    if checker is not None:
        checker.calls_back(what)


def flock(number: int, path: bytes, timeout: float = TIMEOUT_SECONDS, *, rank: Rank | None) -> None:
    """Take the exclusive lock of the open file *number*, or raise LockTimeout, which names *path*; raises OSError.

    *timeout* in seconds; with 0 it is tried once and nothing waits. *rank*: None for one that stands behind a lock
    between threads, which has the rank of both. flock(2) has no time-out, and a signal would hit
    the wrong thread: so it is tried, and looked at again ever later.
    """
    if timeout > 0:
        waits("flock")
    deadline = time.monotonic() + timeout
    pause = _FIRST_PAUSE_SECONDS
    while True:
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise
        if pause == _FIRST_PAUSE_SECONDS:
            waited.count += 1
        left = deadline - time.monotonic()
        if left <= 0:
            raise errors.LockTimeout(detail=os.fsdecode(path))
        time.sleep(min(pause, left))
        pause = min(pause * 1.5, _LONGEST_PAUSE_SECONDS)
    if checker is not None and rank is not None:
        checker.taken(rank)


def unlock(number: int, *, rank: Rank | None) -> None:
    """Give back what ``flock`` has taken; closing the last descriptor of the open file does so, too."""
    if checker is not None and rank is not None:
        checker.given_back(rank)
    fcntl.flock(number, fcntl.LOCK_UN)
