"""COPY and MOVE while others expunge: what is there is carried, however often something goes in the middle."""

from __future__ import annotations

import os

import pytest
from memory import MemoryWires
from spool import Spool

from maildir_imapd.store.account import Account
from maildir_imapd.store.mailbox import Mailbox


@pytest.mark.parametrize("command", [b"UID COPY 1:*", b"COPY 1:*", b"UID MOVE 1:*", b"MOVE 1:*"])
def test_one_goes_each_time(spool: Spool, monkeypatch: pytest.MonkeyPatch, command: bytes) -> None:
    """An OK without a copy would have the client throw the rest away."""
    spool.simple("INBOX", 8)
    spool.folder("Other")
    client = MemoryWires(Account(os.fsencode(spool.root), fsync="never")).connect(login=True)
    client.command(b"s SELECT INBOX")
    gone = iter(spool.files("INBOX")[:5])
    true = Mailbox.copy_from

    def copy_from(self: Mailbox, source: Mailbox, uids: list[int], **more: object) -> object:
        if (name := next(gone, None)) is not None:
            (spool.path("INBOX") / "cur" / name).unlink()
        return true(self, source, uids, **more)  # type: ignore[arg-type]  # handed on as it is

    monkeypatch.setattr(Mailbox, "copy_from", copy_from)
    answer = client.command(b"a " + command + b" Other")
    assert b"6:8 1:3" in b"".join(answer), answer
    assert answer[-1].startswith(b"a OK")
    assert client.command(b"b STATUS Other (MESSAGES)")[0] == b"* STATUS Other (MESSAGES 3)"
