"""Work under a lock in a thread of its own: what it gives, who it is, and that nobody waits for a client's sake."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from spool import Spool

from maildir_imapd.server import owners
from maildir_imapd.server.background import meanwhile
from maildir_imapd.store.account import Account
from maildir_imapd.store.disk import durable
from maildir_imapd.store.maildir.filename import SEEN
from maildir_imapd.store.maildir.flags import Flags

SOON = 0.001


def never() -> None:
    raise AssertionError


def test_quick_work_is_not_spoken_of() -> None:
    assert meanwhile(lambda: 7, never, interval=60) == 7


def test_a_word_while_it_goes_on() -> None:
    spoken = threading.Event()
    assert meanwhile(lambda: spoken.wait(30), spoken.set, interval=SOON) is True


def test_what_it_raises_is_raised() -> None:
    def work() -> None:
        raise TimeoutError("of its own")

    with pytest.raises(TimeoutError, match="of its own"):
        meanwhile(work, never, interval=60)


def test_a_word_that_fails_is_the_last_and_the_work_is_done() -> None:
    spoken = threading.Event()
    words = []
    done = []

    def word() -> None:
        words.append(1)
        spoken.set()
        raise ConnectionError("gone")

    def work() -> None:
        assert spoken.wait(30)
        done.append(1)

    with pytest.raises(ConnectionError):
        meanwhile(work, word, interval=SOON)
    assert (words, done) == ([1], [1])


def test_without_a_thread_it_is_done_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    assert meanwhile(lambda: 7, never, interval=SOON) == 7


def test_a_client_that_does_not_read_holds_no_lock(spool: Spool) -> None:
    spool.simple("INBOX", 3)
    spool.folder("box")
    account = Account(bytes(spool.root), fsync="never")
    inbox, box = account.mailbox("INBOX"), account.mailbox("box")
    spoken = threading.Event()

    def step(action: str, what: object) -> None:
        if action == "link":
            # Both folders are locked now.
            assert spoken.wait(30)

    def word() -> None:
        durable.step = None
        spoken.set()
        # As long as a client does not read, others go on: these wait for the work, and the work not for this.
        inbox.set_flags([1], add=Flags(SEEN))
        box.sync(look=True)

    durable.step = step
    try:
        pairs = meanwhile(lambda: box.copy_from(inbox, [1, 2, 3]), word, interval=SOON)
    finally:
        durable.step = None
    assert pairs == [(1, 1), (2, 2), (3, 3)]
    assert len(box.snapshot) == 3


@pytest.mark.skipif(not owners.supported(), reason="only root can become others")
def test_it_acts_as_the_one_who_asks(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    directory = os.open(tmp_path, os.O_RDONLY)

    def make_file() -> tuple[int, int]:
        fd = os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=directory)
        try:
            status = os.fstat(fd)
            return status.st_uid, status.st_gid
        finally:
            os.close(fd)

    made: list[object] = []

    def as_somebody() -> None:
        owners.become(owners.Owner(12345, 12346, (12346,)))
        made.append(meanwhile(make_file, never, interval=60))
        made.append(meanwhile(owners.current, never, interval=60).uid)

    thread = threading.Thread(target=as_somebody)
    thread.start()
    thread.join()
    os.close(directory)
    assert made == [(12345, 12346), 12345]
