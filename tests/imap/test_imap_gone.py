"""The mail goes under a session, and comes back: unmounted, or moved away and put back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from maildir_imapd.imap.engine import Engine
from maildir_imapd.imap.gate import Access
from maildir_imapd.imap.policy import Policy
from maildir_imapd.imap.reply import Reply
from maildir_imapd.store.account import Account

MESSAGE = b"Subject: x\r\n\r\n"
COMMANDS = [
    b"SELECT INBOX",
    b"EXAMINE Work",
    b'LIST "" "*"',
    b'LSUB "" "*"',
    b"STATUS INBOX (MESSAGES)",
    b"CREATE Other",
    b"DELETE Work",
    b"RENAME Work Other",
    b"SUBSCRIBE Work",
    b"UNSUBSCRIBE Work",
    b"GETQUOTAROOT INBOX",
    b"GETACL INBOX",
    b'GETMETADATA "" /private/comment',
    b'SETMETADATA "" (/private/comment "x")',
    b"APPEND INBOX {%d+}\r\n%b" % (len(MESSAGE), MESSAGE),
    b"APPEND INBOX {70000}",
]


class Client:
    def __init__(self, account: Account) -> None:
        self.engine = Engine(Policy(), secure=True, preauth=Access("ann", account))
        self.said: list[bytes] = []
        self.reply = Reply(self.said.append)
        self.engine.greet(self.reply)

    def __call__(self, line: bytes) -> bytes:
        self.said.clear()
        self.engine.feed(b"a " + line + b"\r\n", self.reply)
        return b"".join(self.said)


def move(root: Path) -> None:
    root.rename(root.parent / "away")


def unmount(root: Path) -> None:
    move(root)
    root.mkdir()


def back(root: Path) -> None:
    if root.exists():
        root.rmdir()
    (root.parent / "away").rename(root)


@pytest.fixture
def account(tmp_path: Path) -> Account:
    account = Account(bytes(tmp_path / "Maildir"), fsync="never")
    account.create("Work")
    return account


@pytest.mark.parametrize("go", [move, unmount])
def test_a_session_without_its_mail(
    account: Account, tmp_path: Path, go: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    root, client = tmp_path / "Maildir", Client(account)
    assert b"a OK" in client(b"STATUS Work (MESSAGES)")
    go(root)
    for line in COMMANDS:
        caplog.clear()
        assert client(line).startswith(b"a NO [UNAVAILABLE] The mail is not there"), line
        assert [record for record in caplog.records if record.fields["detail"].startswith(str(root))]  # type: ignore[attr-defined]
    for line in (b"NOOP", b"CAPABILITY", b"NAMESPACE", b"ENABLE CONDSTORE"):
        assert b"\r\na OK" in b"\r\n" + client(line)
    assert not root.exists() or not any(root.iterdir())
    back(root)
    for line in COMMANDS[:-1]:
        assert b"UNAVAILABLE" not in client(line), line
    assert b"* STATUS INBOX (MESSAGES 1)" in client(b"STATUS INBOX (MESSAGES)")


@pytest.mark.parametrize("line", [b"NOOP", b"FETCH 1 FLAGS", b"COPY 1 Work", b"EXPUNGE", b"STATUS INBOX (MESSAGES)"])
@pytest.mark.parametrize("go", [move, unmount])
def test_a_selected_mailbox_that_went_with_all_the_others(
    account: Account, tmp_path: Path, go: Callable[[Path], None], line: bytes
) -> None:
    """The mailbox was not deleted, and no client should believe so."""
    client = Client(account)
    client(b"APPEND INBOX {%d+}\r\n%b" % (len(MESSAGE), MESSAGE))
    assert b"* 1 EXISTS" in client(b"SELECT INBOX")
    go(tmp_path / "Maildir")
    said = client(line)
    assert b"[UNAVAILABLE] The mail is not there just now" in said
    assert b"deleted" not in said
    assert b"NONEXISTENT" not in said
    back(tmp_path / "Maildir")
    again = Client(account)
    assert b"* 1 EXISTS" in again(b"SELECT INBOX")


def test_a_mailbox_that_was_deleted_was_deleted(account: Account) -> None:
    client = Client(account)
    client(b"SELECT Work")
    account.delete("Work")
    assert client(b"NOOP") == b"* BYE The selected mailbox was deleted\r\n"
