"""Somebody who may change nothing: every command that changes something is NO [NOPERM], and SELECT is EXAMINE."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from memory import POLICY
from spool import Spool

from maildir_imapd.auth.base import Credential
from maildir_imapd.imap.engine import Engine
from maildir_imapd.imap.gate import Access
from maildir_imapd.imap.registry import TABLE
from maildir_imapd.imap.reply import Reply
from maildir_imapd.store.account import Account

Send = Callable[[bytes], list[bytes]]
CHANGES = {
    b"APPEND", b"REPLACE", b"UID REPLACE", b"COPY", b"UID COPY", b"MOVE", b"UID MOVE", b"EXPUNGE", b"UID EXPUNGE",
    b"STORE", b"UID STORE", b"SETACL", b"DELETEACL", b"CREATE", b"DELETE", b"RENAME", b"SUBSCRIBE", b"UNSUBSCRIBE",
    b"SETMETADATA", b"SETQUOTA", b"GENURLAUTH", b"RESETKEY",
}  # fmt: skip
CHANGE_NOTHING = {
    b"CAPABILITY", b"NOOP", b"LOGOUT", b"STARTTLS", b"LOGIN", b"AUTHENTICATE", b"UNAUTHENTICATE", b"ID", b"LANGUAGE",
    b"COMPRESS", b"ENABLE", b"COMPARATOR", b"NAMESPACE", b"SELECT", b"EXAMINE", b"CLOSE", b"UNSELECT", b"CHECK",
    b"FETCH",
    b"UID FETCH", b"SEARCH", b"UID SEARCH", b"SORT", b"UID SORT", b"THREAD", b"UID THREAD", b"ESEARCH", b"UID ESEARCH",
    b"CANCELUPDATE", b"IDLE", b"NOTIFY", b"LIST", b"LSUB", b"XLIST", b"STATUS", b"GETACL", b"LISTRIGHTS", b"MYRIGHTS",
    b"GETMETADATA", b"GETQUOTA", b"GETQUOTAROOT", b"UIDBATCHES", b"URLFETCH",
}  # fmt: skip


def test_of_each_command_it_is_known() -> None:
    """A new one goes into one of the two lists."""
    assert set(TABLE) == CHANGES | CHANGE_NOTHING
    assert {name for name, spec in TABLE.items() if spec.changes} == CHANGES


@pytest.fixture
def used() -> list[str]:
    return []


@pytest.fixture
def send(spool: Spool, used: list[str]) -> Send:
    spool.simple("INBOX", 2)
    spool.folder("Work")
    account = Account(bytes(spool.root), fsync="never")
    out = bytearray()

    def gate(credential: Credential) -> Access:
        return Access("ann", account, read_only=True, used=used.append)

    engine = Engine(POLICY, gate)
    reply = Reply(out.extend)

    def send(line: bytes) -> list[bytes]:
        out.clear()
        engine.feed(line + b"\r\n", reply)
        return bytes(out).split(b"\r\n")[:-1]

    return send


def test_what_is_refused(send: Send, spool: Spool) -> None:
    send(b"a LOGIN ann x")
    before = sorted(path.relative_to(spool.root) for path in spool.root.rglob("*:2,*"))
    assert send(b"b SELECT INBOX")[-1].startswith(b"b OK [READ-ONLY]")
    for command in (
        b"STORE 1 +FLAGS (\\Deleted)",
        b"UID STORE 1 FLAGS ()",
        b"EXPUNGE",
        b"UID EXPUNGE 1",
        b"COPY 1 Work",
        b"UID COPY 1 Work",
        b"MOVE 1 Work",
        b"UID MOVE 1 Work",
        b"CREATE New",
        b"DELETE Work",
        b"RENAME Work New",
        b"SUBSCRIBE Work",
        b"UNSUBSCRIBE Work",
        b"SETACL Work ben lr",
        b"DELETEACL Work ben",
        b'SETQUOTA "" (STORAGE 1)',
        b'SETMETADATA "" (/private/comment "x")',
    ):
        assert send(b"c " + command) == [b"c NO [NOPERM] You do not have the right to do this"], command
    for command in (b"APPEND Work {3}", b"REPLACE 1 Work {3}", b"UID REPLACE 1 Work {3}"):
        assert send(b"d " + command) == [b"+ OK"], command  # it is short: it is thrown away
        assert send(b"abc")[-1].startswith(b"d NO [NOPERM]"), command
    assert send(b"d APPEND Work {99999}")[-1].startswith(b"d NO [NOPERM]")
    assert send(b"d APPEND Work {3+}\r\nabc")[-1].startswith(b"d NO [NOPERM]")
    assert send(b"e FETCH 1 BODY[]")[-1].startswith(b"e OK")
    assert b"\\Seen" not in b"".join(send(b"f FETCH 1 FLAGS"))
    assert send(b"g CLOSE")[-1].startswith(b"g OK")
    assert sorted(path.relative_to(spool.root) for path in spool.root.rglob("*:2,*")) == before
    assert not any((spool.root / ".Work" / "cur").iterdir())


def test_which_program_it_is(send: Send, used: list[str]) -> None:
    send(b'a ID ("name" "Mail" "version" "1.0")')
    assert used == []
    send(b"b LOGIN ann x")
    send(b'c ID ("NAME" "Other" "os" NIL)')
    send(b"d ID NIL")
    assert used == ["Mail 1.0", "Other"]
