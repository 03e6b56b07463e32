"""What fails half-way leaves nothing behind: no listener, no file in tmp/, no half-selected mailbox."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from memory import MemoryClient, MemoryWires
from spool import Spool

from maildir_imapd.errors import LockTimeout, StoreError
from maildir_imapd.store.account import Account
from maildir_imapd.store.mailbox import Mailbox
from maildir_imapd.store.names import Names
from maildir_imapd.store.records.metadata import Metadata


@pytest.fixture
def wires(spool: Spool) -> MemoryWires:
    spool.simple("INBOX", 2, None)
    spool.folder("Work")
    return MemoryWires(spool.root)


def fails(times: int = 0, real: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """Something that works *times* times."""
    left = [times]

    def call(*args: Any, **kwargs: Any) -> Any:
        left[0] -= 1
        if left[0] < 0 or real is None:
            raise LockTimeout(detail="somebody else has it")
        return real(*args, **kwargs)

    return call


def nobody_listens(account: Account) -> bool:
    listening = [account.names._listeners, account.metadata._listeners]
    mailboxes = [account.mailbox(name) for name in ("INBOX", "Work")]
    return not any([*listening, *(mailbox.listened for mailbox in mailboxes)])


def refused(client: MemoryClient, command: bytes) -> None:
    assert client.command(command)[-1].split()[1] == b"NO"


@pytest.mark.parametrize(
    ("owner", "method"),
    [(Mailbox, "sync"), (Mailbox, "claim_recent"), (Mailbox, "vanished_since"), (Account, "special_use")],
)
@pytest.mark.parametrize("command", [b"SELECT INBOX (QRESYNC (%d 1))", b"EXAMINE INBOX (QRESYNC (%d 1))"])
def test_a_mailbox_that_cannot_be_opened(
    owner: type, method: str, command: bytes, wires: MemoryWires, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = wires.connect(login=True)
    client.command(b"a ENABLE QRESYNC")
    uidvalidity = wires.account.mailbox("INBOX").uidvalidity
    with monkeypatch.context() as patch:
        patch.setattr(owner, method, fails())
        if client.command(b"b " + command % uidvalidity)[-1].split()[1] == b"NO":
            assert client.session.view is None
            assert client.command(b"c CHECK")[-1].startswith(b"c BAD")
            assert nobody_listens(wires.account)
    assert client.command(b"d SELECT INBOX")[-1].startswith(b"d OK")
    client.command(b"e UNSELECT")
    assert nobody_listens(wires.account)


@pytest.mark.parametrize(("owner", "method"), [(Metadata, "latest"), (Metadata, "listen"), (Names, "look")])
@pytest.mark.parametrize("command", [b"b NOTIFY SET (personal (MessageNew MessageExpunge))", b"b ENABLE METADATA"])
@pytest.mark.parametrize("times", [0, 1])
def test_a_session_that_cannot_listen(
    owner: type, method: str, command: bytes, times: int, wires: MemoryWires, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = wires.connect(login=True)
    with monkeypatch.context() as patch:
        patch.setattr(owner, method, fails(times, getattr(owner, method)))
        if client.command(command)[-1].startswith(b"b NO"):
            assert client.session.notify is None
            assert client.session.following is None
            assert nobody_listens(wires.account)
    client.command(command)
    client.command(b"z LOGOUT")
    assert nobody_listens(wires.account)


def test_notify_that_was_refused_leaves_the_last_one(wires: MemoryWires, monkeypatch: pytest.MonkeyPatch) -> None:
    client = wires.connect(login=True)
    client.command(b"a NOTIFY SET (mailboxes Work (MessageNew MessageExpunge))")
    before = client.session.notify
    with monkeypatch.context() as patch:
        patch.setattr(Metadata, "latest", fails())
        refused(client, b"b NOTIFY SET (personal (MessageNew MessageExpunge))")
    assert client.session.notify is before
    assert not wires.account.mailbox("INBOX").listened
    assert wires.account.mailbox("Work").listened


def test_all_is_let_go_though_one_thing_fails(wires: MemoryWires, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever LOGOUT meets, and UNAUTHENTICATE, the rest is done."""
    for command in (b"z LOGOUT", b"z UNAUTHENTICATE"):
        client = wires.connect(login=True)
        for line in (b"a SELECT INBOX", b"b ENABLE METADATA", b"c NOTIFY SET (personal (MessageNew MessageExpunge))"):
            assert client.command(line)[-1].split()[1] == b"OK"
        view = client.session.view
        assert view is not None
        close = view._listener.close

        def broken(close: Callable[[], None] = close) -> None:
            close()
            raise StoreError

        monkeypatch.setattr(type(view), "close", lambda self, broken=broken: broken())
        client.command(command)
        monkeypatch.undo()
        assert nobody_listens(wires.account)


def test_what_came_in_for_a_command_that_failed_is_taken_away(
    spool: Spool, wires: MemoryWires, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = wires.connect(login=True)
    tmp = spool.path("Work") / "tmp"
    client.command(b"a SELECT INBOX")
    refused(client, b'b APPEND Work CATENATE (TEXT {4+}\r\na: b URL "/;UID=1" URL "/nowhere;UID=9")')
    assert not list(tmp.iterdir())
    # The second literal is too large: the first has streamed in already.
    client.send(b"c APPEND Work {4+}\r\na: b {999999999999}\r\n")
    assert b"c NO [TOOBIG]" in client.unread()
    client._out.clear()
    assert not list(tmp.iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(Mailbox, "commit", fails())
        refused(client, b"d APPEND Work {4+}\r\na: b")
    assert not list(tmp.iterdir())
    client.send(b"e APPEND Work {400}\r\na: b")
    assert len(list(tmp.iterdir())) == 1
    client.session.close()
    assert not list(tmp.iterdir())
