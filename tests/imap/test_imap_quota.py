"""Quotas that take a setting (RFC 9208): SETQUOTA, and the number of mailboxes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from imap_script import Runner
from memory import POLICY, MemoryWires
from spool import Spool

from maildir_imapd.store.account import Account

SETTABLE = replace(POLICY, quota_set=True)


@pytest.mark.parametrize("fsync", ["never", "delivery"])
def test_setquota(spool: Spool, fsync: str) -> None:
    wires = MemoryWires(Account(bytes(spool.root), fsync=fsync), SETTABLE)
    Runner(spool, wires).run(Path(__file__).parent / "quotaset.imap")


@pytest.mark.parametrize("limits", [{"quota_storage": 4096}, {"quota_messages": 3}])
def test_a_limit_of_the_administrator_is_not_the_clients(spool: Spool, limits: dict[str, int]) -> None:
    account = Account(bytes(spool.root), fsync="never", **limits)
    client = MemoryWires(account, SETTABLE).connect(login=True)
    assert b"QUOTASET" not in client.command(b"a CAPABILITY")[0]
    before = client.command(b'b GETQUOTA "User quota"')[0]
    for asked in (b"STORAGE 1", b"STORAGE 100000", b"MESSAGE 1", b"MESSAGE 9", b""):
        assert client.command(b'c SETQUOTA "User quota" (%b)' % asked)[0].startswith(b"c NO [NOPERM]")
    assert client.command(b'd GETQUOTA "User quota"')[0] == before


def test_without_the_setting_nobody_may(spool: Spool) -> None:
    client = MemoryWires(spool.root).connect(login=True)
    assert b"QUOTASET" not in client.command(b"a CAPABILITY")[0]
    assert client.command(b'b SETQUOTA "User quota" (MESSAGE 9)')[0].startswith(b"b NO [NOPERM]")
    assert not (spool.root / "maildirsize").exists()


def test_the_number_of_mailboxes(spool: Spool) -> None:
    account = Account(bytes(spool.root), fsync="never", quota_mailboxes=4)
    client = MemoryWires(account).connect(login=True)

    def usage() -> bytes:
        return client.command(b'q GETQUOTA "User quota"')[0]

    assert b"QUOTA=RES-MAILBOX" in client.command(b"a CAPABILITY")[0]
    assert usage() == b'* QUOTA "User quota" (MAILBOX 1 4)'
    # Parents are made as mailboxes and count: INBOX, a and a.b are three.
    assert client.command(b"b CREATE a.b")[0].startswith(b"b OK")
    assert usage() == b'* QUOTA "User quota" (MAILBOX 3 4)'
    assert client.command(b"c CREATE c.d")[0].startswith(b"c NO [OVERQUOTA]")
    assert client.command(b"d RENAME a c.d.a")[0].startswith(b"d NO [OVERQUOTA]")
    assert usage() == b'* QUOTA "User quota" (MAILBOX 3 4)'
    assert client.command(b"e RENAME a c.a")[0].startswith(b"e OK")
    assert usage() == b'* QUOTA "User quota" (MAILBOX 4 4)'
    # A new name costs nothing; INBOX under another name is one more.
    assert client.command(b"f RENAME c d")[0].startswith(b"f OK")
    assert client.command(b"g RENAME INBOX old")[0].startswith(b"g NO [OVERQUOTA]")
    assert client.command(b"h CREATE x")[0].startswith(b"h NO [OVERQUOTA]")
    assert client.command(b"i DELETE d.a.b")[0].startswith(b"i OK")
    assert client.command(b"j RENAME INBOX old")[0].startswith(b"j OK")
    # Others may have made more.
    spool.folder("one")
    spool.folder("two")
    account.names.changed()
    assert usage() == b'* QUOTA "User quota" (MAILBOX 6 4)'
    assert client.command(b"k RENAME one three")[0].startswith(b"k OK")
    assert client.command(b"l CREATE x")[0].startswith(b"l NO [OVERQUOTA]")


def test_mailboxes_beside_the_limits_of_the_file(spool: Spool) -> None:
    spool.simple("INBOX", 1)
    account = Account(bytes(spool.root), fsync="never", quota_mailboxes=2)
    client = MemoryWires(account, SETTABLE).connect(login=True)
    # It is not the client's to change, and stays when the others go.
    assert client.command(b'a SETQUOTA "User quota" (MESSAGE 9)')[0] == (
        b'* QUOTA "User quota" (MESSAGE 1 9 MAILBOX 1 2)'
    )
    assert client.command(b'b SETQUOTA "User quota" ()')[0] == b'* QUOTA "User quota" (MAILBOX 1 2)'


@pytest.mark.parametrize(
    ("limits", "file", "settable", "announced"),
    [
        ({}, None, False, False),
        ({}, None, True, True),
        ({"quota_storage": 4096}, None, False, True),
        ({"quota_messages": 3}, None, False, True),
        ({"quota_mailboxes": 3}, None, False, True),
        ({}, "4096S\n", False, True),
        ({}, "0S,7C\n", False, True),
        ({}, "0S\n0 0\n", False, False),
        ({}, "", False, False),
    ],
)
def test_who_has_or_gets_a_limit_is_told_of_quotas(
    spool: Spool, limits: dict[str, int], file: str | None, settable: bool, announced: bool
) -> None:
    """Others never see an empty bar in their client, and get a line that every client can read."""
    if file is not None:
        (spool.root / "maildirsize").write_text(file)
    account = Account(bytes(spool.root), fsync="never", **limits)
    client = MemoryWires(account, SETTABLE if settable else POLICY).connect(login=True)
    assert (b" QUOTA " in client.command(b"a CAPABILITY")[0]) is announced
    assert (b"QUOTASET" in client.command(b"a CAPABILITY")[0]) is settable
    lines = client.command(b"b GETQUOTAROOT INBOX")
    assert lines[0] == b'* QUOTAROOT INBOX "User quota"'
    assert (lines[1] == b'* QUOTA "User quota" ()') is (not announced or settable)
    assert lines[2].startswith(b"b OK")
