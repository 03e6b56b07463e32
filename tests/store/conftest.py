"""What every test of the store needs: a Maildir, messages in it, and a way to look at it as others do."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import lockcheck
import pytest
from crash import Died

from maildir_imapd.store.disk import durable
from maildir_imapd.store.mailbox import Mailbox


class Maildir:
    """A folder on the disk, as a mail program without our locks sees it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        for name in ("", "cur", "new", "tmp"):
            (path / name).mkdir(exist_ok=True)
        self._boxes: list[Mailbox] = []
        self._count = 0

    def __fspath__(self) -> str:
        return str(self.path)

    def put(self, name: str, text: bytes = b"Subject: x\n\nbody\n", *, where: str = "cur") -> Path:
        """Deliver by hand: tmp/, then rename."""
        temporary = self.path / "tmp" / "t"
        temporary.write_bytes(text)
        target = self.path / where / name
        temporary.rename(target)
        return target

    def fill(self, count: int, flags: str = "") -> list[str]:
        """Deliver *count* messages into cur/, and return their bases."""
        bases = []
        for _ in range(count):
            base = f"{1700000000 + self._count}.M1P1.host"
            self._count += 1
            self.put(f"{base}:2,{flags}", b"Subject: %d\n\nbody\n" % self._count)
            bases.append(base)
        return bases

    def names(self, where: str = "cur") -> list[str]:
        return sorted(os.listdir(self.path / where))

    def open(self, **options: object) -> Mailbox:
        """Open another object for the folder, as another process would."""
        options.setdefault("fsync", "never")
        box = Mailbox(os.fsencode(self.path), **options)
        self._boxes.append(box)
        return box

    def close(self) -> None:
        for box in self._boxes:
            box.close()

    def settle(self) -> None:
        """Make both directories look as if nothing had happened for a while."""
        for name in ("cur", "new"):
            os.utime(self.path / name, (1_600_000_000, 1_600_000_000))

    def deliver(self, box: Mailbox, text: bytes = b"Subject: x\r\n\r\nbody\r\n", bits: int = 0) -> int:
        item = box.deliver()
        item.write(text)
        return box.commit([(item, bits, frozenset(), 1_000_000_000)])[0]


@pytest.fixture
def make_maildir(tmp_path: Path) -> Iterator[Callable[[str], Maildir]]:
    made: list[Maildir] = []

    def make(name: str = "Box") -> Maildir:
        made.append(Maildir(tmp_path / name))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def maildir(make_maildir: Callable[[str], Maildir]) -> Maildir:
    return make_maildir("Box")


@pytest.fixture(autouse=True)
def _locks_checked() -> Iterator[None]:
    """The order of locks is kept, in whatever thread."""
    with lockcheck.checking():
        yield


@pytest.fixture(autouse=True)
def no_steps() -> Iterator[None]:
    """Whatever a test puts in the way of the disk is gone after it."""
    yield
    durable.step = None


@pytest.fixture
def dying() -> Iterator[list[int]]:
    """A counter: the n-th step of the disk from now raises Died (0: none)."""
    left = [0]

    def step(action: str, what: object) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise Died

    durable.step = step
    yield left
    durable.step = None
