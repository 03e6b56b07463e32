"""Figures of mailboxes that are not open."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from memory import MemoryClient, MemoryWires

from maildir_imapd.store import standing
from maildir_imapd.store.account import Account
from maildir_imapd.store.standing import StatusFigures, parse, render, stamp_of

ASKED = b"(MESSAGES RECENT UNSEEN DELETED UIDNEXT UIDVALIDITY HIGHESTMODSEQ)"
_times = itertools.count(1_000_000_000)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stamps are believed however young they are; the tests see to it that no two are the same."""
    monkeypatch.setattr(standing, "GRAIN_SECONDS", -1e9)
    monkeypatch.setattr(standing, "FOLDERS", 1)
    monkeypatch.setattr(standing, "FRESH", 1)


class Spool:
    """A folder that is looked at by new accounts, of which none has it open."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / ".Work"
        Account(bytes(root), fsync="never").create("Work")
        self.put("1700000000.M1P1.h:2,")
        self.put("1700000001.M2P1.h:2,S")

    def put(self, name: str, where: str = "cur") -> None:
        (self.folder / where / name).write_bytes(b"Subject: x\n\nx\n")
        self.changed()

    def changed(self) -> None:
        for name in ("cur", "new"):
            os.utime(self.folder / name, ns=(0, next(_times) * 1_000_000_000))

    def client(self) -> MemoryClient:
        return MemoryWires(self.root).connect(login=True)

    def do(self, *lines: bytes) -> list[bytes]:
        """Give a new client's commands, and return what came of the last one."""
        client = self.client()
        return [client.command(line) for line in lines][-1]

    def status(self) -> bytes:
        """Return what LIST says by an account that has nothing open."""
        return self.do(b'a LIST "" Work RETURN (STATUS %b)' % ASKED)[1]

    def opened(self) -> bytes:
        return self.client().command(b"a STATUS Work " + ASKED)[0]


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "Maildir")


def test_they_are_kept_and_found(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    spool.status()  # which makes the index
    first = spool.status()
    assert first.startswith(b"* STATUS Work (MESSAGES 2 RECENT")
    assert (spool.root / "maildir-imapd.figures").exists()

    def opens(*_: object) -> None:
        raise AssertionError("opened")

    monkeypatch.setattr(Account, "mailbox_at", opens)
    assert spool.client().command(b'a LIST "" Work RETURN (STATUS %b)' % ASKED)[1] == first


CHANGES: dict[str, Callable[[Spool], object]] = {
    "delivery": lambda spool: spool.put("1700000009.M9P1.h", "new"),
    "flag": lambda spool: (
        (spool.folder / "cur/1700000000.M1P1.h:2,").rename(spool.folder / "cur/1700000000.M1P1.h:2,ST"),
        spool.changed(),
    ),
    "removal": lambda spool: ((spool.folder / "cur/1700000001.M2P1.h:2,S").unlink(), spool.changed()),
    "keyword": lambda spool: spool.do(
        b"s SELECT Work", b"t STORE 1 +FLAGS (%b)" % b" ".join(b"Word%d" % n for n in range(40))
    ),
    "expunge": lambda spool: spool.do(b"s SELECT Work", b"t STORE 1 +FLAGS (\\Deleted)", b"u EXPUNGE"),
    "select": lambda spool: spool.do(b"s SELECT Work"),
    "append": lambda spool: spool.client().command(b"p APPEND Work {4+}\r\nx\r\n\r\n"),
    "made anew": lambda spool: spool.do(b"d DELETE Work", b"c CREATE Work"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_whatever_happens_is_seen(spool: Spool, change: Callable[[Spool], object]) -> None:
    before = spool.status()
    assert spool.status() == before
    change(spool)
    after = spool.status()
    assert after == spool.opened()
    assert after != before or change is CHANGES["select"]


def test_of_a_mailbox_that_is_open_they_are_not_asked(spool: Spool) -> None:
    spool.status()
    client = spool.client()
    client.command(b"s SELECT Work")
    client.command(b"t STORE 1 +FLAGS (\\Seen)")
    line = client.command(b'a LIST "" Work RETURN (STATUS (UNSEEN))')[1]
    assert line == b"* STATUS Work (UNSEEN 0)"


def test_nothing_young_is_kept(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standing, "GRAIN_SECONDS", 1e12)
    spool.status()
    assert not (spool.root / "maildir-imapd.figures").exists()


def test_a_file_that_lies_or_is_torn(spool: Spool) -> None:
    spool.status()
    good = spool.status()
    path = spool.root / "maildir-imapd.figures"
    data = path.read_bytes()
    for text in (b"", b"rubbish", data[:-5], data.replace(b" ", b"  "), data.replace(b"1", b"x"), b"\0" * 1000):
        path.write_bytes(text)
        assert spool.status() == good
    path.unlink()
    path.mkdir()
    assert spool.status() == good


def test_there_and_back(tmp_path: Path) -> None:
    root = bytes(tmp_path)
    figures = StatusFigures(3, 1, 2, 0, 9, 77, 12)
    known = {root: (tuple(range(18)), figures), root + b"/.a b\xff": (tuple(range(1, 19)), figures)}
    assert parse(render({**known, b"/elsewhere": known[root]}, root), root) == known


def test_a_folder_without_a_history_has_no_stamp(tmp_path: Path) -> None:
    for name in ("cur", "new", "tmp"):
        (tmp_path / name).mkdir()
    assert stamp_of(bytes(tmp_path)) is None
    assert stamp_of(bytes(tmp_path / "gone")) is None
    (tmp_path / "maildir-imapd.journal").write_bytes(b"")
    assert stamp_of(bytes(tmp_path)) is not None
