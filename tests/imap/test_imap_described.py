"""What is kept of the answer to SELECT: another moment, other rights or another kind of client gets another answer."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from memory import MemoryClient
from spool import Spool

from maildir_imapd.imap.selected import select as module
from maildir_imapd.store.account import Account


def connect(account: Account) -> MemoryClient:
    client = MemoryClient(account)
    client.read_line()
    client.command(b"L LOGIN ann secret")
    return client


@pytest.fixture
def account(spool: Spool) -> Account:
    spool.simple("INBOX", 3)
    return Account(os.fsencode(spool.root), fsync="never")


def test_each_moment_is_described_as_it_is(spool: Spool, account: Account) -> None:
    client = connect(account)
    first = client.command(b"s SELECT INBOX")
    assert b"* 3 EXISTS" in first
    again = client.command(b"s SELECT INBOX")
    assert [line for line in again if b"[CLOSED]" not in line] == [line for line in first if b"[CLOSED]" not in line]
    spool.simple("INBOX", 1, None)
    arrived = client.command(b"s SELECT INBOX")
    assert {b"* 4 EXISTS", b"* 1 RECENT"} <= {*arrived}
    assert {b"* 4 EXISTS", b"* 0 RECENT"} <= {*client.command(b"s SELECT INBOX")}
    other = connect(account)
    other.command(b"s SELECT INBOX")
    other.command(b"s STORE 1:2 +FLAGS (\\Seen Important)")
    told = client.command(b"s SELECT INBOX")
    assert any(line.startswith(b"* FLAGS ") and b"Important" in line for line in told)
    assert any(b"[UNSEEN 3]" in line for line in told)


def test_rights_and_examine_say_which_flags_are_kept(spool: Spool, account: Account) -> None:
    client = connect(account)

    def permanent(command: bytes) -> bytes:
        [line] = [line for line in client.command(command) if b"PERMANENTFLAGS" in line]
        return line[line.index(b"(") : line.index(b")") + 1]

    for _ in range(2):
        assert b"\\*" in permanent(b"s SELECT INBOX")
        assert permanent(b"s EXAMINE INBOX") == b"()"
        (spool.root / "dovecot-acl").write_text("owner lrs\n")
        assert permanent(b"s SELECT INBOX") == b"(\\Seen)"
        (spool.root / "dovecot-acl").unlink()


def test_each_client_is_answered_in_its_revision_and_language(account: Account) -> None:
    old, new = connect(account), connect(account)
    new.command(b"e ENABLE IMAP4rev2")
    german = connect(account)
    german.command(b"l LANGUAGE de")
    for _ in range(2):
        told = old.command(b"s EXAMINE INBOX")
        assert b"* 0 RECENT" in told
        assert any(b"[UNSEEN 1]" in line for line in told)
        told_new = new.command(b"s EXAMINE INBOX")
        assert not any(b"RECENT" in line or b"[UNSEEN" in line for line in told_new)
        assert any(line.startswith(b"* LIST ") for line in told_new)
        [ours] = [line for line in told if b"[UIDNEXT" in line]
        [theirs] = [line for line in german.command(b"s EXAMINE INBOX") if b"[UIDNEXT" in line]
        assert ours != theirs


def test_a_mailbox_that_was_made_anew_is_described_anew(account: Account) -> None:
    client = connect(account)
    client.command(b"c CREATE Work")
    first = {line for line in client.command(b"s EXAMINE Work") if b"UIDVALIDITY" in line or b"MAILBOXID" in line}
    client.command(b"u UNSELECT")
    client.command(b"d DELETE Work")
    client.command(b"c CREATE Work")
    assert not first & {*client.command(b"s EXAMINE Work")}


def test_no_more_is_kept_of_a_mailbox_than_that(
    spool: Spool, account: Account, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "LINES", 2)
    client = connect(account)
    box = account.mailbox("INBOX")
    for _ in range(2):
        for rights in ("lr", "lrs", "lrw", "lrt"):
            (spool.root / "dovecot-acl").write_text(f"owner {rights}\n")
            assert any(b"PERMANENTFLAGS" in line for line in client.command(b"s SELECT INBOX"))
            assert len(box.described) <= 2
