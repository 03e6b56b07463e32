"""What a UID and a name stand for: a UID for a message as long as UIDVALIDITY is the same, a name for one mailbox."""

from __future__ import annotations

from typing import Any

import pytest
from memory import MemoryClient, MemoryWires
from spool import Spool

from maildir_imapd.imap.mailboxes.status import figures
from maildir_imapd.store.index.constants import LAST_UID
from maildir_imapd.store.index.journal import Batch
from maildir_imapd.store.mailbox import Mailbox


@pytest.fixture
def client(spool: Spool) -> MemoryClient:
    spool.simple("INBOX", 3)
    spool.folder("Work")
    client = MemoryWires(spool.root).connect(login=True)
    client.command(b"a SELECT INBOX")
    return client


def number_anew(mailbox: Mailbox) -> None:
    """Let another process have begun anew with the folder's index, as another thread has just seen."""
    snapshot = mailbox.snapshot.evolve()
    snapshot.uidvalidity += 1
    mailbox.snapshot = snapshot


@pytest.mark.parametrize(
    "command",
    [
        b"FETCH 1 (UID ENVELOPE)",
        b"UID FETCH 1:* (BODY.PEEK[])",
        b"STORE 1 +FLAGS (\\Deleted)",
        b"UID MOVE 1 Work",
        b"SORT (SUBJECT) UTF-8 ALL",
        b"SEARCH TEXT x",
    ],
)
def test_a_uid_of_another_uidvalidity_names_nothing(command: bytes, client: MemoryClient) -> None:
    assert client.session.view is not None
    number_anew(client.session.view.mailbox)
    lines = client.command(b"b " + command)
    assert not any(b" FETCH " in line or line.startswith((b"* SEARCH", b"* SORT")) for line in lines)
    assert lines[-1] == b"* BYE UIDVALIDITY of the selected mailbox changed"


def test_a_message_that_is_read_while_all_is_numbered_anew(
    client: MemoryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Mailbox.load

    def meanwhile(self: Mailbox, uid: int, **more: Any) -> bytes:
        found = read(self, uid, **more)
        number_anew(self)
        return found

    monkeypatch.setattr(Mailbox, "load", meanwhile)
    for command in (b"FETCH 1 (BODY.PEEK[])", b"FETCH 1 (BODYSTRUCTURE)"):
        wires = MemoryWires(client.account)
        other = wires.connect(login=True)
        other.command(b"a SELECT INBOX")
        assert other.command(b"b " + command) == [b"* BYE UIDVALIDITY of the selected mailbox changed"]


def test_esearch_of_another_mailbox_goes_on(client: MemoryClient, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Mailbox.load

    def meanwhile(self: Mailbox, uid: int, **more: Any) -> bytes:
        found = read(self, uid, **more)
        number_anew(self)
        return found

    client.command(b"b SELECT Work")
    monkeypatch.setattr(Mailbox, "load", meanwhile)
    assert client.command(b"c ESEARCH IN (personal) TEXT x") == [b"c OK ESEARCH completed"]


def test_the_values_of_one_answer_are_of_one_moment(client: MemoryClient) -> None:
    session = client.session
    assert session.view is not None
    mailbox, snapshot = session.view.mailbox, session.view.snapshot
    items = (b"UIDVALIDITY", b"MAILBOXID", b"MESSAGES", b"DELETED-STORAGE")
    before = figures(session, "INBOX", mailbox, snapshot, items)
    mailbox.expunge(list(snapshot.uids))
    number_anew(mailbox)
    assert figures(session, "INBOX", mailbox, snapshot, items) == before


def use_up(client: MemoryClient) -> None:
    """Leave the selected mailbox one UID to give."""
    assert client.session.view is not None
    folder = client.session.view.mailbox._folder
    with folder.exclusive():
        folder.commit(Batch(raised=LAST_UID))


def test_uids_used_up(spool: Spool) -> None:
    """RFC 3501 2.3.1.1: a higher UIDVALIDITY, and who has the mailbox open is sent away."""
    spool.simple("INBOX", 3)
    wires = MemoryWires(spool.root)
    client, other, idle = (wires.connect(login=True) for _ in range(3))
    for each in (client, other, idle):
        each.command(b"a SELECT INBOX")
    use_up(client)
    line = b"APPEND INBOX {3+}\r\na\r\n"
    first = client.command(b"b " + line)[-1]
    assert first.startswith(b"b OK [APPENDUID")
    assert first.split()[4].startswith(b"%d]" % LAST_UID)
    # The one whose message it was hears that it is there, and does not put it in again.
    *_, done, bye = client.command(b"c " + line)
    assert done.startswith(b"c OK [APPENDUID ")
    assert done.split()[4].startswith(b"5]")
    assert bye == b"* BYE UIDVALIDITY of the selected mailbox changed"
    assert other.command(b"d UID FETCH 1:* FLAGS")[-1] == bye
    assert idle.command(b"e NOOP")[-1] == bye
    again = wires.connect(login=True)
    lines = again.command(b"f SELECT INBOX")
    assert b"* 5 EXISTS" in lines
    assert any(text.startswith(b"* OK [UIDVALIDITY %b]" % done.split()[3]) for text in lines)
    assert any(text.startswith(b"* OK [UIDNEXT 6]") for text in lines)


def test_a_move_within_a_mailbox_whose_uids_are_used_up(spool: Spool) -> None:
    spool.simple("INBOX", 3)
    wires = MemoryWires(spool.root)
    client = wires.connect(login=True)
    client.command(b"a SELECT INBOX")
    use_up(client)
    lines = client.command(b"b UID MOVE 1:3 INBOX")
    assert lines[-1] == b"* BYE UIDVALIDITY of the selected mailbox changed"
    assert not any(b"EXPUNGE" in line or b"deleted" in line for line in lines)
    assert b"* 3 EXISTS" in wires.connect(login=True).command(b"a SELECT INBOX")
