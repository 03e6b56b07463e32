"""The checkers of the tests find what they are for: tests/lockcheck.py and tests/sanitizer.py."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import pytest
import sanitizer
from lockcheck import Checker, OutOfOrder

from maildir_imapd.store.disk import descriptors
from maildir_imapd.store.threads import locks
from maildir_imapd.store.threads.locks import Rank


@pytest.fixture
def checker(monkeypatch: pytest.MonkeyPatch) -> Checker:
    found = Checker()
    monkeypatch.setattr(locks, "checker", found)
    return found


def test_the_order_from_the_top_is_right(checker: Checker) -> None:
    first, second = locks.make(Rank.FOLDER, (1, 2)), locks.make(Rank.FOLDER, (1, 3))
    with locks.make(Rank.ACCOUNT), first, second, locks.make(Rank.CACHE), locks.make(Rank.GUARD):
        pass
    with first:
        pass
    assert not checker.broken


@pytest.mark.parametrize(
    ("outer", "inner"),
    [
        ((Rank.FOLDER, ()), (Rank.ACCOUNT, ())),
        ((Rank.GUARD, ()), (Rank.CACHE, ())),
        ((Rank.GUARD, ()), (Rank.GUARD, ())),
        ((Rank.FOLDER, (1, 3)), (Rank.FOLDER, (1, 2))),
    ],
)
def test_another_order_is_wrong(
    outer: tuple[Rank, tuple[int, ...]], inner: tuple[Rank, tuple[int, ...]], checker: Checker
) -> None:
    with locks.make(*outer), pytest.raises(OutOfOrder, match="while holding"):
        locks.make(*inner).acquire()


def test_taking_a_lock_again_raises_and_does_not_hang(checker: Checker) -> None:
    lock = locks.make(Rank.FOLDER, (1,))
    with lock, pytest.raises(OutOfOrder, match="already"):
        lock.acquire()


def test_waiting_and_calling_back(checker: Checker) -> None:
    with locks.make(Rank.FOLDER):
        locks.waits("a disk")
        with pytest.raises(OutOfOrder, match="calls back"):
            locks.calls_back("wake")
    with locks.make(Rank.GUARD), pytest.raises(OutOfOrder, match="waits for a disk"):
        locks.waits("a disk")
    locks.calls_back("wake")


def test_another_thread_may_release(checker: Checker) -> None:
    lock = locks.make(Rank.FOLDER)
    lock.acquire()
    thread = threading.Thread(target=lock.release)
    thread.start()
    thread.join()
    with locks.make(Rank.ACCOUNT):
        pass


def test_a_file_lock_has_a_rank_and_ends_with_its_descriptor(checker: Checker, tmp_path: Path) -> None:
    path = os.fsencode(tmp_path / "lock")

    def opened() -> int:
        return os.open(path, os.O_RDWR | os.O_CREAT)

    number = opened()
    with locks.make(Rank.FOLDER):
        locks.flock(number, path, rank=Rank.FOLDER)
        with pytest.raises(OutOfOrder):
            locks.make(Rank.ACCOUNT).acquire()
        locks.unlock(number, rank=Rank.FOLDER)
    locks.flock(number, path, rank=Rank.COUNTER)
    with pytest.raises(OutOfOrder):
        locks.make(Rank.FOLDER).acquire()
    os.close(number)
    with locks.make(Rank.FOLDER):
        pass


def test_a_number_that_is_closed_twice() -> None:
    with sanitizer.watching() as found:
        number = os.open(os.devnull, os.O_RDONLY)
        os.close(number)
        with pytest.raises(OSError, match="Bad file"):
            os.close(number)
    assert found
    assert "closed twice" in found[0]
    assert found[0].count("test_a_number_that_is_closed_twice") == 3  # who, opened by whom, and closed by whom


def test_a_bell_in_a_mail_file(tmp_path: Path) -> None:
    with sanitizer.watching() as found:
        bell = os.eventfd(0)
        os.eventfd_write(bell, 1)
        os.close(bell)
        (tmp_path / "tmp").mkdir()
        mail = os.open(tmp_path / "tmp" / "1", os.O_RDWR | os.O_CREAT)
        assert mail == bell
        os.eventfd_write(bell, 1)
        os.pwrite(mail, b"x", 0)
        os.close(mail)
    assert [what.partition("\n")[0] for what in found] == [
        "a bell rings in what is no bell",
        "a write at an offset to a mail file",
    ]


def test_only_the_owner_closes() -> None:
    with sanitizer.watching() as found:
        descriptor = descriptors.Descriptor(os.open(os.devnull, os.O_RDONLY))
        with descriptor.use() as number:
            os.fstat(number)
        descriptor.close()
        assert not found
        descriptor = descriptors.Descriptor(os.open(os.devnull, os.O_RDONLY))
        os.close(descriptor.number)
        one, other = socket.socketpair()
        with one, other:
            pass
    assert len(found) == 1
    assert found[0].startswith("closed by another than its owner, a Descriptor")


def test_who_closed_what_is_used() -> None:
    with sanitizer.watching() as found:
        number = os.open(os.devnull, os.O_RDONLY)
        os.close(number)
        with pytest.raises(OSError, match="Bad file"):
            os.fstat(number)
    assert [what.partition("\n")[0] for what in found] == ["used after it was closed"]
