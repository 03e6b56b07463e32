"""Who holds which lock? Raises where the order of ``store.locks`` is not kept: for tests.

While it is installed, each lock that ``locks.make`` gives, and each lock of a file, is known to the thread that holds
it. ``OutOfOrder`` is raised, with where the other lock was taken, when a thread

- takes a lock of a rank below one it holds, or beside it and not in the order that both have of their own,
- waits, for a disk, a client or a lock, and holds one of rank GUARD,
- calls back what somebody has left, and holds any.

Some threads swallow what is raised in them, so it is also kept: whoever installs looks at ``broken`` in the end.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Any

from maildir_imapd.store.threads import locks
from maildir_imapd.store.threads.locks import Rank

_DEPTH = 10


class OutOfOrder(AssertionError):
    """The order of locks was not kept."""


def _where() -> str:
    """Where the thread is, in a line, cheap enough for each lock."""
    frame: Any = sys._getframe(1)
    found: list[str] = []
    while frame is not None and len(found) < _DEPTH:
        code = frame.f_code
        if code.co_filename != __file__:
            found.append(f"{os.path.basename(code.co_filename)}:{frame.f_lineno} {code.co_name}")
        frame = frame.f_back
    return " < ".join(found)


class Held:
    """A lock that a thread holds. *number* and *file*: of a file's lock, its descriptor and what that was open for."""

    __slots__ = ("file", "lock", "number", "order", "rank", "where")

    def __init__(self, rank: Rank, order: tuple[int, ...], lock: object, number: int = -1) -> None:
        self.rank, self.order, self.lock, self.number = rank, order, lock, number
        self.file = _file(number)
        self.where = _where()

    @property
    def gone(self) -> bool:
        """Whether the file's lock has ended with its descriptor."""
        return self.number >= 0 and _file(self.number) != self.file

    def __str__(self) -> str:
        return f"{self.rank.name} {self.order or ''}, taken at {self.where}"


def _file(number: int) -> tuple[int, int] | None:
    if number < 0:
        return None
    try:
        state = os.fstat(number)
    except OSError:
        return None
    return state.st_dev, state.st_ino


class CheckedLock:
    """A lock between threads that knows its rank and its holder."""

    def __init__(self, checker: Checker, rank: Rank, order: tuple[int, ...]) -> None:
        self._checker, self._rank, self._order = checker, rank, order
        self._lock = threading.Lock()
        self._held: tuple[list[Held], Held] | None = None

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        mine = self._checker.mine()
        if blocking:
            self._checker.may_take(self._rank, self._order, self)
        if not self._lock.acquire(blocking, timeout):
            return False
        held = Held(self._rank, self._order, self)
        mine.append(held)
        self._held = mine, held
        return True

    def release(self) -> None:
        if self._held is not None:
            mine, held = self._held
            self._held = None
            # A file's lock that was taken behind this one, and ended with its descriptor, ends here at the latest.
            after = mine[mine.index(held) :] if held in mine else []
            for each in after:
                if each is held or (each.number >= 0 and each.rank == self._rank and each.gone):
                    mine.remove(each)
        self._lock.release()

    def locked(self) -> bool:
        return self._lock.locked()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class Checker:
    """What ``locks.checker`` is while tests run."""

    def __init__(self) -> None:
        self._local = threading.local()
        self.broken: list[str] = []

    def mine(self) -> list[Held]:
        """What the calling thread holds, in the order in which it was taken."""
        found: list[Held] | None = getattr(self._local, "held", None)
        if found is None:
            found = self._local.held = []
        if any(held.number >= 0 and held.gone for held in found):
            found[:] = [held for held in found if not held.gone]
        return found

    def _wrong(self, what: str, held: Held) -> None:
        text = f"{what} at {_where()}\n  while holding {held}"
        self.broken.append(text)
        raise OutOfOrder(text)

    def may_take(self, rank: Rank, order: tuple[int, ...], lock: object) -> None:
        for held in self.mine():
            if held.lock is lock:
                self._wrong(f"takes {rank.name} {order or ''}, which it holds already,", held)
            if held.rank < rank:
                continue
            unknown = rank == Rank.FOLDER and not (held.order and order)
            if held.rank == rank and (unknown or (held.order and held.order < order)):
                continue
            self._wrong(f"takes {rank.name} {order or ''}", held)

    # --- what locks.py calls ------------------------------------------------------------------------

    def make(self, rank: Rank, order: tuple[int, ...]) -> CheckedLock:
        return CheckedLock(self, rank, order)

    def taken(self, rank: Rank) -> None:
        number = sys._getframe(1).f_locals.get("number", -1)
        mine = self.mine()
        mine[:] = [held for held in mine if number < 0 or held.number != number]
        wrong = None
        for held in mine:
            # Behind the threads' lock of a rank comes the file's.
            beside = held.rank == rank and (held.number < 0 or rank == Rank.FOLDER)
            if held.rank >= rank and not beside:
                wrong = held
        # It has the order of the threads' lock before it, if that is of its rank.
        order = next((held.order for held in reversed(mine) if held.rank == rank), ())
        mine.append(Held(rank, order, None, number))
        if wrong is not None:
            self._wrong(f"takes the file's lock of {rank.name}", wrong)

    def given_back(self, rank: Rank) -> None:
        number = sys._getframe(1).f_locals.get("number", -1)
        mine = self.mine()
        for held in reversed(mine):
            if held.lock is None and held.rank == rank and (number < 0 or held.number == number):
                mine.remove(held)
                return

    def waits(self, what: str) -> None:
        for held in self.mine():
            if held.rank == Rank.GUARD:
                self._wrong(f"waits for {what}", held)

    def calls_back(self, what: str) -> None:
        for held in self.mine():
            self._wrong(f"calls back ({what})", held)


def install() -> Checker:
    """Check every lock that is made from here on."""
    locks.checker = checker = Checker()
    return checker


@contextlib.contextmanager
def checking() -> Iterator[Checker]:
    """Check during the block; raises in the end what was raised in other threads."""
    before = locks.checker
    checker = install()
    try:
        yield checker
    finally:
        locks.checker = before
    assert not checker.broken, "\n".join(checker.broken[:3])
