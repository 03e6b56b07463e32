"""What a worker leaves when it stands still, or dies of a message."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from memory import MemoryWires
from spool import Spool

from maildir_imapd.config import load
from maildir_imapd.imap.columns.danger import Message, danger
from maildir_imapd.log import set_up
from maildir_imapd.message import order, text
from maildir_imapd.server.deaths import CELLS, DEATHS, LISTED, Deaths
from maildir_imapd.server.stacks import Stacks
from maildir_imapd.server.supervisor import STANDS_AFTER_SECONDS, Child, Supervisor

SLOT = 2
DEADLY = Message(1, 2**63, 3, 2**32 - 1)


@pytest.fixture(autouse=True)
def _notes_as_before() -> Iterator[None]:
    before = danger.notes
    yield
    danger.notes = before


# --- notes ----------------------------------------------------------------------------------------


def test_what_a_dead_worker_was_at_is_counted() -> None:
    deaths = Deaths(4)
    other = deaths.notes(SLOT + 1)
    *folder, uid = DEADLY
    for death in range(DEATHS):
        deaths.born(SLOT)
        note = deaths.notes(SLOT).folder(*folder)
        for each in range(1, 100):
            assert note.begin(each)
            note.end()
        assert note.begin(uid), death
        # Another message's, each time.
        assert deaths.notes(SLOT + 1).folder(*folder).begin(7 + death)
        deaths.died(SLOT)
    # Seen at once by who is there, and by who comes.
    assert not other.folder(*folder).begin(uid)
    assert not deaths.notes(SLOT).folder(*folder).begin(uid)
    assert other.folder(*folder).begin(1)
    assert other.folder(1, 1, 1).begin(uid)


def test_more_threads_than_cells_note_nothing() -> None:
    deaths = Deaths(4)
    notes = deaths.notes(SLOT)
    taken = [notes.folder(1, 1, 1) for _ in range(CELLS + 3)]
    for uid, note in enumerate(taken, 1):
        assert note.begin(uid)
    for note in taken:
        note.close()
        note.close()
    deaths.died(SLOT)
    assert not deaths._counts
    assert len(notes.free) == CELLS


def test_the_list_has_an_end() -> None:
    deaths = Deaths(1)
    for uid in range(1, LISTED + 10):
        deaths._put(Message(1, 1, 1, uid))
    note = deaths.notes(0).folder(1, 1, 1)
    assert not note.begin(LISTED)
    assert note.begin(LISTED + 1)


@pytest.mark.parametrize(
    "command",
    [b"SORT (SUBJECT) UTF-8 ALL", b"THREAD REFERENCES UTF-8 ALL", b"SEARCH SUBJECT message", b"SEARCH BODY x"],
)
def test_a_third_worker_lives(spool: Spool, command: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    spool.simple("INBOX", 3)
    spool.put("INBOX", b"Subject: bomb\n\nbomb", "")
    deaths = Deaths(1)

    def explode(*_args: object, **_rest: object) -> None:
        os._exit(9)

    def life() -> int:
        """A worker's: 9 if it dies of the message, 0 if it answers."""
        deaths.born(0)
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                danger.notes = deaths.notes(0)
                fold = text.fold
                for module in (text, order):
                    monkeypatch.setattr(module, "fold", lambda value: explode() if "bomb" in value else fold(value))
                monkeypatch.setattr(text, "_in_text", explode_at(b"bomb"))
                client = MemoryWires(spool.root).connect(login=True)
                client.command(b"a SELECT INBOX")
                said = client.command(b"b " + command)
                status = 0 if said[-1].startswith(b"b OK") else 2
            finally:
                os._exit(status)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if status:
            deaths.died(0)
        return status

    def explode_at(word: bytes) -> object:
        def look(octets: bytes, charset: bytes, needle: str, ascii_needle: bytes | None) -> bool:
            if word in octets:
                explode()
            return False

        return look

    assert [life() for _ in range(4)] == [9, 9, 0, 0]


# --- stacks ---------------------------------------------------------------------------------------


def test_a_worker_that_stands_still_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    parent = Supervisor(load(None, {}), lambda: load(None, {}))
    asked: list[int] = []
    forced: list[int] = []
    monkeypatch.setattr(parent, "_stacks", SimpleNamespace(ask=asked.append, force=forced.append))
    parent.children[4711] = Child(4711, SLOT, 1000.0)
    parent._page.beat(SLOT, 1000.0)
    for now in (1001.0, 1000.0 + STANDS_AFTER_SECONDS, 1000.5 + STANDS_AFTER_SECONDS, 1000.6 + STANDS_AFTER_SECONDS):
        parent._kill_hanging(now)
    assert asked == [], "it is looked at again a while later, not at once"
    for now in (1001.5 + STANDS_AFTER_SECONDS, 1002.5 + STANDS_AFTER_SECONDS, 1003.5 + STANDS_AFTER_SECONDS):
        parent._kill_hanging(now)
    assert asked == [4711]
    parent._page.beat(SLOT, 1010.0)
    parent._kill_hanging(1011.0)
    for now in (1017.0, 1018.0, 1019.0):
        parent._kill_hanging(now)
    assert asked == [4711, 4711]
    assert forced == []


@pytest.mark.parametrize("answers", [True, False])
def test_one_that_does_not_answer_has_its_stacks_written(monkeypatch: pytest.MonkeyPatch, answers: bool) -> None:
    parent = Supervisor(load(None, {}), lambda: load(None, {}))
    said: list[str] = []

    def ask(pid: int) -> None:
        said.append("asked")
        if answers:
            parent._page.tell(SLOT, 1007.5)

    monkeypatch.setattr(parent, "_stacks", SimpleNamespace(ask=ask, force=lambda pid: said.append("forced")))
    parent.children[4711] = Child(4711, SLOT, 1000.0)
    parent._page.beat(SLOT, 1000.0)
    for second in range(1, 30):
        parent._kill_hanging(1000.0 + second)
    assert said == (["asked"] if answers else ["asked", "forced"])


@pytest.mark.slow
def test_a_worker_that_runs_is_none_the_worse_for_being_asked(tmp_path: Path) -> None:
    """Other threads of it are in the midst of their frames: that is where the handler in C has ended a worker."""
    log = tmp_path / "log"
    reading, ready = os.pipe()
    asks = 200
    pid = os.fork()
    if pid == 0:
        try:
            set_up("info", str(log))
            stacks = Stacks()
            stacks.answer(lambda: os.write(ready, b"t"))
            for _ in range(3):
                threading.Thread(target=work_without_end, daemon=True).start()
            os.write(ready, b"+")
            time.sleep(600)
        finally:
            os._exit(1)
    try:
        os.close(ready)
        assert os.read(reading, 1) == b"+"
        for _ in range(asks):
            Stacks.ask(pid)
            assert os.read(reading, 1) == b"t"
        assert os.waitpid(pid, os.WNOHANG) == (0, 0)
    finally:
        os.close(reading)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    said = log.read_text()
    assert said.count("in work_without_end") >= asks
    assert "Thread MainThread (most recent call first):" in said


def work_without_end() -> None:
    def deeper(levels: int) -> int:
        return levels and deeper(levels - 1)

    while True:
        deeper(50)


def hold_the_lock() -> None:
    """A call into C that lets no other thread run, without end."""
    ctypes.PyDLL(None).pause()


@pytest.mark.parametrize("rotated", [False, True])
def test_the_stacks_of_who_holds_the_lock_are_in_the_log(tmp_path: Path, rotated: bool) -> None:
    log = tmp_path / "log"
    reading, ready = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            set_up("info", str(log))
            stacks = Stacks()
            if rotated:
                log.rename(tmp_path / "log.1")
                logging.getLogger("maildir_imapd").info("anew")
                stacks.follow()
            threading.Thread(target=lambda: (os.write(ready, b"+"), hold_the_lock())).start()
            time.sleep(60)
        finally:
            os._exit(1)
    try:
        os.close(ready)
        assert os.read(reading, 1) == b"+"
        while b"hold_the_lock" not in log.read_bytes():
            # Asked again until it is in there: it may have been a moment too early.
            Stacks.force(pid)
            assert os.waitpid(pid, os.WNOHANG) == (0, 0)
            time.sleep(0.01)
    finally:
        os.close(reading)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert b"most recent call first" in log.read_bytes()
    assert rotated == (tmp_path / "log.1").exists()
