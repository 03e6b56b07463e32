"""A session counts what it does; slow commands and the end of a login have a line in the log."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import pytest
from spool import Spool

from maildir_imapd.imap.engine import Engine
from maildir_imapd.imap.gate import Access
from maildir_imapd.imap.policy import Policy
from maildir_imapd.imap.reply import Reply
from maildir_imapd.imap.tally import Tally
from maildir_imapd.store.account import Account

MESSAGE = b"Subject: x\r\n\r\nsecret words\r\n"


class Clock:
    """Each look at it is so much later."""

    def __init__(self) -> None:
        self.now, self.step = 1000.0, 0.0

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def lines(caplog: pytest.LogCaptureFixture, event: str) -> list[dict[str, Any]]:
    return [record.__dict__["fields"] for record in caplog.records if record.msg == event]


@pytest.fixture
def heard(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    monkeypatch.setattr(logging.getLogger("maildir_imapd"), "propagate", True)
    caplog.set_level(logging.INFO)
    return caplog


def test_a_slow_command_is_named_without_its_arguments(tmp_path: Path, heard: pytest.LogCaptureFixture) -> None:
    spool, clock, tally = Spool(tmp_path / "Maildir"), Clock(), Tally()
    spool.put("INBOX", MESSAGE)
    account = Account(os.fsencode(tmp_path / "Maildir"), fsync="never")
    engine = Engine(Policy(slow_command=5.0), preauth=Access("ann", account), secure=True, ticks=clock, tally=tally)
    reply = Reply(lambda _: None)
    engine.greet(reply)
    engine.feed(b"a SELECT INBOX\r\n", reply)
    clock.step = 1.0
    engine.feed(b"a SEARCH SUBJECT private\r\n", reply)
    assert lines(heard, "slow command") == []
    assert [(each.command, each.mailbox) for each in tally.long] == [("SEARCH", "INBOX")]
    clock.step = 5.0
    engine.feed(b"a SEARCH SUBJECT private\r\n", reply)
    engine.feed(b"a PRIVATE words\r\n", reply)
    (line,) = lines(heard, "slow command")
    assert (line["command"], line["mailbox"], line["user"]) == ("SEARCH", "INBOX", "ann")
    assert line["seconds"] >= 5
    assert "private" not in repr(line)
    assert set(tally.kinds) == {b"SELECT", b"SEARCH", b"UNKNOWN"}, "clients make up no names here"
    engine.close()


def test_a_login_has_its_logout(tmp_path: Path, heard: pytest.LogCaptureFixture) -> None:
    spool, tally = Spool(tmp_path / "Maildir"), Tally()
    spool.put("INBOX", MESSAGE)
    account = Account(os.fsencode(tmp_path / "Maildir"), fsync="never")
    policy = Policy(plaintext_login=True)
    engine = Engine(policy, lambda credential: Access("ann", account), peer="192.0.2.7:1", tally=tally)
    reply = Reply(lambda _: None)
    tally.answers = reply
    engine.greet(reply)
    engine.feed(b"a NOOP\r\na LOGIN ann secret\r\n", reply)
    engine.feed(b"a SELECT INBOX\r\na FETCH 1 BODY[]\r\na STORE 1 FLAGS (\\Deleted)\r\na EXPUNGE\r\n", reply)
    engine.feed(b"a APPEND INBOX {2+}\r\nab\r\na NOOP\r\n", reply)
    assert tally.running is None
    engine.feed(b"a UNAUTHENTICATE\r\n", reply)
    (line,) = lines(heard, "logout")
    assert (line["user"], line["peer"]) == ("ann", "192.0.2.7:1")
    assert (line["commands"], line["fetched"], line["expunged"], line["appended"]) == (7, 1, 1, 1)
    assert line["octets_in"] > 0
    assert line["octets_out"] > len(MESSAGE)
    engine.feed(b"a LOGIN ann secret\r\na LOGOUT\r\n", reply)
    engine.close()
    assert len(lines(heard, "logout")) == 2
    assert tally.logins == 2
