"""NOTIFY (RFC 5465) where a script cannot reach: too many mailboxes, ones that cannot be read, what is forgotten."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from imap_script import Runner
from memory import MemoryClient, MemoryWires
from spool import Spool

from maildir_imapd.errors import SpoolUnreadable
from maildir_imapd.imap import notify
from maildir_imapd.store.account import Account
from maildir_imapd.store.mailbox import Mailbox

ALL = b"n NOTIFY SET (personal (MessageNew MessageExpunge MailboxName))"


def told(client: MemoryClient) -> list[bytes]:
    lines = []
    while client.unread():
        line = client.read_line()
        assert line is not None
        lines.append(line)
    return lines


def test_too_many_mailboxes_are_refused(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "LIMIT", 2)
    for name in ("A", "B"):
        spool.folder(name)
    client = MemoryWires(spool.root).connect(login=True)
    assert client.command(ALL)[-1].startswith(b"n NO [NOTIFICATIONOVERFLOW] ")
    assert client.session.notify is None


def test_too_many_that_come_later_end_it(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """5.8: the client is told once, and hears of nothing after that."""
    monkeypatch.setattr(notify, "LIMIT", 2)
    spool.folder("A")
    wires = MemoryWires(spool.root)
    client, other = wires.connect(login=True), wires.connect(login=True)
    assert client.command(ALL)[-1].startswith(b"n OK")
    other.command(b"c CREATE B")
    assert told(client)[-1].startswith(b"* OK [NOTIFICATIONOVERFLOW] ")
    other.command(b"c CREATE C")
    assert told(client) == []


def test_a_mailbox_that_cannot_be_read(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """3.1: it is named with \\NoAccess, and the others are watched all the same."""
    spool.folder("Closed")
    wires = MemoryWires(spool.root)
    client, other = wires.connect(login=True), wires.connect(login=True)
    true = Account.mailbox

    def mailbox(self: Account, name: str, *rest: Any) -> Mailbox:
        if name == "Closed":
            raise SpoolUnreadable(detail="x")
        return true(self, name, *rest)

    monkeypatch.setattr(Account, "mailbox", mailbox)
    lines = client.command(ALL)
    assert lines == [b'* LIST (\\NoAccess) "." Closed', b"n OK NOTIFY completed"]
    other.command(b"a APPEND INBOX {4+}\r\na: b")
    assert told(client) == [b"* STATUS INBOX (MESSAGES 1 UIDNEXT 2)"]


@pytest.mark.parametrize("end", [b"LOGOUT", b"UNAUTHENTICATE", b"NOTIFY NONE"])
def test_nobody_listens_when_it_is_over(end: bytes, spool: Spool) -> None:
    wires = MemoryWires(spool.root)
    client = wires.connect(login=True)
    client.command(ALL)
    inbox = wires.account.mailbox("INBOX")
    assert inbox.listened
    assert wires.account.names.listened
    assert client.command(b"l " + end)[-1].startswith(b"l OK")
    assert not inbox.listened
    assert not wires.account.names.listened


def test_rights_given_and_taken_by_hand(spool: Spool) -> None:
    Runner(spool, MemoryWires(spool.root)).run(Path(__file__).parent / "notify-granted.imap")
