"""What is worked out ahead, by somebody else: answers are the same, and whoever asks reads no file for it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from memory import POLICY
from spool import Spool

from maildir_imapd.errors import LockTimeout
from maildir_imapd.imap.columns import ahead, cached
from maildir_imapd.imap.engine import Engine
from maildir_imapd.imap.gate import Access
from maildir_imapd.imap.reply import Reply
from maildir_imapd.store.account import Account
from maildir_imapd.store.mailbox import Mailbox
from maildir_imapd.store.threads.ahead import Want

MESSAGES = 60
QUESTIONS = [
    b"FETCH 1:* (ENVELOPE)",
    b"UID FETCH 1:* (FLAGS BODYSTRUCTURE ENVELOPE)",
    b"FETCH 1:* (BODY.PEEK[HEADER.FIELDS (Subject From)])",
    b"SORT (SUBJECT) UTF-8 ALL",
    b"SORT (REVERSE DATE) UTF-8 ALL",
    b"THREAD REFERENCES UTF-8 ALL",
    b"SEARCH SUBJECT 7",
    b"SEARCH SENTBEFORE 20-Feb-1994",
]


def message(n: int) -> bytes:
    day = n % 28 + 1
    return (
        f"From: Ann <a{n}@example.org>\nSubject: number {n * 7 % MESSAGES}\nDate: {day} Feb 1994 21:52:25 -0800\n"
        f"Message-ID: <{n}@example.org>\nReferences: <{n // 3}@example.org>\n\ntext {n}\n"
    ).encode()


def spool_in(root: Path, messages: int = MESSAGES) -> Spool:
    spool = Spool(root)
    for n in range(messages):
        spool.put("INBOX", message(n), "S", base=f"17000{n:05}.M1P{n}.host")
    return spool


class Helped:
    """A session, with somebody beside it who opens the same folder as another process does."""

    def __init__(self, root: Path) -> None:
        self.account = Account(os.fsencode(root), fsync="never")
        self.other = Account(os.fsencode(root), fsync="never")
        self.account.ahead.wanted = self.note
        self.wants: list[tuple[Want, bool]] = []
        self.at_once: Callable[[Want], object] = lambda want: None
        self.engine = Engine(POLICY, preauth=Access("ann", self.account))
        self.out = bytearray()
        self.reply = Reply(self.out.extend)
        self.engine.greet(self.reply)

    def note(self, want: Want, urgent: bool) -> None:
        self.wants.append((want, urgent))
        self.at_once(want)

    def work(self, want: Want, worker: ahead.Stopping | None = None) -> int:
        return ahead.work(self.other.mailbox_at(want.path), want, worker or Notes())

    def ask(self, line: bytes) -> bytes:
        self.out.clear()
        self.engine.feed(b"a " + line + b"\r\n", self.reply)
        return bytes(self.out)


class Notes:
    """Leaves nothing out."""

    ending = False

    def __init__(self) -> None:
        self.seen: list[int] = []

    def at(self, uid: int) -> bool:
        if uid:
            self.seen.append(uid)
        return True


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Which messages have been read, by whomever."""
    found: list[int] = []
    load = Mailbox.load

    def noted(self: Mailbox, uid: int, **how: object) -> object:
        found.append(uid)
        return load(self, uid, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(Mailbox, "load", noted)
    return found


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mailbox of some dozens is a large one, a handful a piece."""
    from maildir_imapd.imap.columns import rows

    for place in (cached, ahead, rows):
        monkeypatch.setattr(place, "PIECE_MESSAGES", 7)
    monkeypatch.setattr(cached, "HURRY_MESSAGES", 30)


@pytest.mark.parametrize("question", QUESTIONS)
def test_answers_are_the_same_whoever_has_worked_it_out(tmp_path: Path, question: bytes) -> None:
    spool_in(tmp_path / "alone")
    spool_in(tmp_path / "helped")
    alone, helped = Helped(tmp_path / "alone"), Helped(tmp_path / "helped")
    alone.account.ahead.wanted = None
    helped.at_once = helped.work
    alone.ask(b"SELECT INBOX"), helped.ask(b"SELECT INBOX")
    assert alone.ask(question) == helped.ask(question)
    [(want, urgent)] = helped.wants
    assert urgent
    assert (want.first, want.last) == (8, MESSAGES)


@pytest.mark.parametrize("question", [QUESTIONS[0], QUESTIONS[3]])
def test_each_message_is_read_once(tmp_path: Path, reads: list[int], question: bytes) -> None:
    spool_in(tmp_path)
    helped = Helped(tmp_path)
    helped.at_once = helped.work
    helped.ask(b"SELECT INBOX")
    del reads[:]
    helped.ask(question)
    theirs = list(range(MESSAGES - 6, MESSAGES + 1))
    assert reads[:7] == theirs, "from the end, and there upwards: a disk reads so"
    assert sorted(reads) == list(range(1, MESSAGES + 1))
    del reads[:]
    helped.ask(question)
    assert reads == []
    assert len(helped.wants) == 1, "what is there is not asked for"


def test_where_the_two_meet_half_way(tmp_path: Path, reads: list[int]) -> None:
    """The other one is at work while the session is: here he does a piece whenever a message is read."""
    spool_in(tmp_path)
    helped = Helped(tmp_path)
    helped.ask(b"SELECT INBOX")
    half = Want(helped.account.inbox, (b"envelope",), 31, MESSAGES)
    helped.at_once = lambda want: helped.work(half)
    del reads[:]
    said = helped.ask(b"FETCH 1:* (ENVELOPE)")
    assert re.findall(rb"\* (\d+) FETCH", said) == [b"%d" % n for n in range(1, MESSAGES + 1)]
    assert sorted(reads) == list(range(1, MESSAGES + 1))


@pytest.mark.parametrize("question", [b"FETCH 1:20 (ENVELOPE)", b"FETCH 1:* (FLAGS)", b"FETCH 1:* (BODY.PEEK[])"])
def test_nobody_is_asked_for_what_is_soon_done(tmp_path: Path, question: bytes) -> None:
    spool_in(tmp_path)
    helped = Helped(tmp_path)
    helped.ask(b"SELECT INBOX")
    helped.ask(question)
    assert helped.wants == []


def test_mail_that_comes_in_is_worked_out_as_its_user_is_used_to(tmp_path: Path, reads: list[int]) -> None:
    spool = spool_in(tmp_path, 3)
    helped = Helped(tmp_path)
    helped.ask(b"SELECT INBOX")
    for n in range(40):
        spool.put("INBOX", message(n), "", base=f"18000{n:05}.M1P{n}.host")
    helped.ask(b"NOOP")
    assert helped.wants == [], "nobody has asked for anything yet"
    helped.ask(b"FETCH 1:2 (ENVELOPE)")
    helped.ask(b"SORT (SUBJECT) UTF-8 1:2")
    for n in range(40, 45):
        spool.put("INBOX", message(n), "", base=f"18000{n:05}.M1P{n}.host")
    helped.ask(b"NOOP")
    [(want, urgent)] = helped.wants
    assert not urgent
    assert want == Want(helped.account.inbox, (b"envelope", b"sort:SUBJECT"))
    assert helped.work(want) == 46, "the two whose values are there are left alone"
    del reads[:]
    helped.ask(b"FETCH 1:* (ENVELOPE)")
    helped.ask(b"SORT (SUBJECT) UTF-8 ALL")
    assert reads == []


def test_a_few_are_no_reason_for_a_process(tmp_path: Path) -> None:
    spool = spool_in(tmp_path, 3)
    helped = Helped(tmp_path)
    helped.ask(b"SELECT INBOX")
    helped.ask(b"FETCH 1:2 (ENVELOPE)")
    for n in range(28):  # and three when the folder was new
        spool.put("INBOX", message(n), "", base=f"18000{n:05}.M1P{n}.host")
        helped.ask(b"NOOP")
    assert helped.wants == []
    spool.put("INBOX", message(50), "", base="1800000050.M1P50.host")
    helped.ask(b"NOOP")
    assert len(helped.wants) == 1


def test_a_folder_that_is_new_to_us_is_mail_that_comes_in(tmp_path: Path) -> None:
    spool = spool_in(tmp_path, 3)
    for n in range(40):
        spool.put("old", message(n), "S", base=f"18000{n:05}.M1P{n}.host")
    helped = Helped(tmp_path)
    helped.ask(b"SELECT INBOX")
    helped.ask(b"FETCH 1:2 (ENVELOPE)")
    helped.ask(b"SELECT old")
    assert [want.path for want, _ in helped.wants] == [os.fsencode(spool.path("old"))]


# --- whoever works ahead ----------------------------------------------------------------------------


def test_the_newest_of_a_large_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool_in(tmp_path)
    monkeypatch.setattr(ahead, "MESSAGES", 20)
    helped = Helped(tmp_path)
    notes = Notes()
    helped.work(Want(helped.account.inbox, (b"envelope",)), notes)
    assert min(notes.seen) > MESSAGES - 20 - 7
    assert max(notes.seen) == MESSAGES


def test_it_ends_when_it_is_to(tmp_path: Path) -> None:
    spool_in(tmp_path)

    class Ending(Notes):
        @property
        def ending(self) -> bool:  # type: ignore[override]
            return len(self.seen) >= 10

    helped = Helped(tmp_path)
    assert helped.work(Want(helped.account.inbox, (b"envelope",)), Ending()) == 10
    assert helped.other.mailbox("INBOX").cache.get_many([MESSAGES], b"envelope") != [None], "what it has, it keeps"


def test_what_is_left_out_and_what_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    spool = spool_in(tmp_path, 5)
    next(spool.root.glob("cur/1700000003*")).unlink()

    class Leaving(Notes):
        def at(self, uid: int) -> bool:
            return super().at(uid) and uid != 2

    helped = Helped(tmp_path)
    box = helped.other.mailbox("INBOX")
    add = cached.add_values

    def fails(content: object, *more: object) -> None:
        if content.uid == 1:  # type: ignore[attr-defined]
            raise RuntimeError("of this message")
        add(content, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(ahead, "add_values", fails)
    assert helped.work(Want(helped.account.inbox, (b"envelope",)), Leaving()) == 2
    found = box.cache.get_many([1, 2, 3, 4], b"envelope")
    assert [value is None for value in found] == [True, True, False, False]
    assert "message not worked out ahead" in caplog.text


def test_a_file_that_somebody_is_writing_is_left_for_whoever_asks(tmp_path: Path) -> None:
    """Else its first half would be shown for the whole."""
    spool = spool_in(tmp_path, 3)
    spool.put("INBOX", message(3)[:40], "S", when=None, base="1800000000.M1P4.host")
    helped = Helped(tmp_path)
    assert helped.work(Want(helped.account.inbox, (b"envelope",))) == 3
    [*_, last] = helped.other.mailbox("INBOX").cache.get_many([1, 2, 3, 4], b"envelope")
    assert last is None
    (spool.root / "cur" / "1800000000.M1P4.host:2,S").write_bytes(message(3))
    helped.ask(b"SELECT INBOX")
    assert b"number 21" in helped.ask(b"FETCH 4 (ENVELOPE)")


def test_nothing_that_anybody_could_ask_for_is_nothing(tmp_path: Path, reads: list[int]) -> None:
    spool_in(tmp_path, 5)
    helped = Helped(tmp_path)
    assert helped.work(Want(helped.account.inbox, (b"nonsense", b"pieces"))) == 0
    assert reads == []


def test_a_folder_that_somebody_holds_is_taken_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool_in(tmp_path, 5)
    helped = Helped(tmp_path)
    helped.other.mailbox("INBOX").sync()

    def held(*args: object, **how: object) -> object:
        raise LockTimeout

    monkeypatch.setattr(Mailbox, "sync", held)
    monkeypatch.setattr(Mailbox, "confirm", lambda *args: None)
    assert helped.work(Want(helped.account.inbox, (b"envelope",))) == 5


def test_numbers_of_before_are_not_given_the_values_of_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """UIDVALIDITY has changed between the look at the folder and the cache."""
    spool_in(tmp_path, 5)
    helped = Helped(tmp_path)
    seen = SimpleNamespace(uids=[1, 2, 3], uidvalidity=1, see=lambda: None)
    monkeypatch.setattr(Mailbox, "sync", lambda *args, **how: seen)
    assert helped.work(Want(helped.account.inbox, (b"envelope",))) == 0
